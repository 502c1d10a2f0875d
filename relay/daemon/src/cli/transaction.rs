//! Making a single transaction and following it to its end, for commands that work without the daemon's journal.

use std::time::Duration;

use cityrelay_api::target::{Fate, Fit, Intent, Target};
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Height};
use tokio::time::Instant;

use super::answer::{Exit, Failure, say};
use super::intents::{IntentFolder, IntentKey};
use super::progress::Progress;

/// How often a transaction's fate is asked.
const POLL_INTERVAL: Duration = Duration::from_millis(300);

/// A transaction that did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Done {
    /// Its hash.
    pub(super) hash: Hash32,
    /// The block.
    pub(super) height: Height,
    /// Gas used.
    pub(super) gas_used: u64,
    /// Contract created, for deployments.
    pub(super) created: Option<Address>,
}

/// How transactions are sent.
#[derive(Clone, Debug)]
pub(super) struct Sending {
    /// The chain's name in the configuration.
    pub(super) chain: String,
    /// Where each is noted before it is broadcast.
    pub(super) intents: IntentFolder,
    /// How long each may take to become final.
    pub(super) timeout: Duration,
}

/// Makes a call with the configured account and waits until a final block holds it. `what` names it for people.
///
/// The transaction is on disk, and its hash on stderr, before it is broadcast. Where an earlier run was stopped, the same
/// transaction is followed to its end and no second one is made.
pub(super) async fn carry_out(
    target: &dyn Target,
    call: &GatewayCall,
    what: &str,
    sending: &Sending,
) -> Result<Done, Failure> {
    let key = IntentKey::new(&sending.chain, target.account(), call)?;
    if let Some(intent) = sending.intents.find(&key)? {
        say(format_args!("{what}: an earlier run made transaction {}; it is followed", intent.hash));
        match follow(target, &intent, what, sending.timeout).await {
            Followed::Dead => sending.intents.forget(&key)?,
            Followed::Ended(ended) => {
                sending.intents.forget(&key)?;
                return ended;
            }
            Followed::Open(failure) => return Err(failure),
        }
    }
    match target.fits(call).await? {
        Fit::Fits { .. } => {}
        Fit::TooLarge => return Err(Failure::new(Exit::Refused, format!("{what}: too large for one transaction"))),
        Fit::Reverts { output } => {
            let problem = format!("{what}: the chain would refuse it: {}", revert_words(&output));
            return Err(Failure::new(Exit::Refused, problem));
        }
    }
    let intent = target.prepare(call, &[], None).await?;
    sending.intents.keep(&key, what, &intent)?;
    say(format_args!("{what}: transaction {}", intent.hash));
    // Whether it was taken is told by following it: a node may refuse in words what another one took.
    let taken = target.broadcast(&intent).await;
    match follow(target, &intent, what, sending.timeout).await {
        Followed::Dead => {
            sending.intents.forget(&key)?;
            Err(Failure::new(Exit::Refused, dead(what, &intent)))
        }
        Followed::Ended(ended) => {
            sending.intents.forget(&key)?;
            ended
        }
        Followed::Open(failure) => Err(match taken {
            Ok(()) => failure,
            Err(error) => Failure::new(failure.exit, format!("{}; the last broadcast said: {error}", failure.message)),
        }),
    }
}

/// What became of a transaction in the time that it had.
enum Followed {
    /// A final block holds it, or shows that it failed.
    Ended(Result<Done, Failure>),
    /// It can never be executed any more.
    Dead,
    /// It may still be executed.
    Open(Failure),
}

async fn follow(target: &dyn Target, intent: &Intent, what: &str, timeout: Duration) -> Followed {
    let start = Instant::now();
    let deadline = start + timeout;
    let mut progress = Progress::new();
    loop {
        let trouble = match target.track(intent).await {
            Ok(Fate::Final { height, is_success: true, gas_used, created, .. }) => {
                return Followed::Ended(Ok(Done { hash: intent.hash, height, gas_used, created }));
            }
            Ok(Fate::Final { height, output, .. }) => {
                let problem = format!("{what}: reverted in block {height}: {}", revert_words(&output));
                return Followed::Ended(Err(Failure::new(Exit::Refused, problem)));
            }
            Ok(Fate::Dead) => return Followed::Dead,
            Ok(Fate::Dropped) => target.broadcast(intent).await.err().map(|error| error.to_string()),
            Ok(Fate::Pending) => None,
            Err(error) => Some(error.to_string()),
        };
        if Instant::now() >= deadline {
            let waited = humantime::format_duration(timeout);
            let trouble = trouble.map_or_else(String::new, |trouble| format!(" ({trouble})"));
            let problem = format!(
                "{what}: transaction {} is not final after {waited}{trouble}; repeat this command to follow it further",
                intent.hash
            );
            return Followed::Open(Failure::new(Exit::Unreachable, problem));
        }
        let waited = start.elapsed().as_secs();
        progress.step(format_args!("{what}: not final yet, {waited} s of at most {} s", timeout.as_secs()));
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// A revert of the contracts by its name and values; anything else as hex.
pub(super) fn revert_words(output: &[u8]) -> String {
    match cityrelay_gateway::Refusal::decode(output) {
        Some(refusal) => refusal.to_string(),
        None if output.is_empty() => "it gives no reason".to_owned(),
        None => format!("revert data 0x{}", hex::encode(output)),
    }
}

fn dead(what: &str, intent: &Intent) -> String {
    format!("{what}: transaction {} can never be executed any more: its place was taken, or it is too old", intent.hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_target::FakeTarget;

    fn call() -> GatewayCall {
        GatewayCall::DeployCode { code: vec![1] }
    }

    fn sending(dir: &tempfile::TempDir, timeout: Duration) -> Sending {
        Sending { chain: "north".to_owned(), intents: IntentFolder::open(dir.path()).unwrap(), timeout }
    }

    async fn run(target: &FakeTarget) -> Result<Done, Failure> {
        let dir = tempfile::tempdir().unwrap();
        carry_out(target, &call(), "a call", &sending(&dir, Duration::from_secs(5))).await
    }

    fn files(dir: &tempfile::TempDir) -> usize {
        std::fs::read_dir(dir.path()).unwrap().count()
    }

    #[tokio::test]
    async fn a_repeated_command_follows_the_transaction_of_the_one_that_was_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let target = FakeTarget::default();
        target.fates.lock().unwrap().extend(vec![Fate::Pending; 100]);
        let failure = carry_out(&target, &call(), "a call", &sending(&dir, Duration::ZERO)).await.unwrap_err();
        assert_eq!((failure.exit, files(&dir)), (Exit::Unreachable, 1));
        target.fates.lock().unwrap().clear();
        let done = carry_out(&target, &call(), "a call", &sending(&dir, Duration::from_secs(5))).await.unwrap();
        assert_eq!((done.hash, files(&dir)), (Hash32::from_u64(1), 0));
        assert_eq!(target.calls.lock().unwrap().len(), 1, "no second transaction was made");
    }

    #[tokio::test]
    async fn a_transaction_of_an_earlier_run_that_is_dead_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let target = FakeTarget::default();
        target.fates.lock().unwrap().push_back(Fate::Pending);
        carry_out(&target, &call(), "a call", &sending(&dir, Duration::ZERO)).await.unwrap_err();
        target.fates.lock().unwrap().push_back(Fate::Dead);
        let done = carry_out(&target, &call(), "a call", &sending(&dir, Duration::from_secs(5))).await.unwrap();
        assert_eq!(done.hash, Hash32::from_u64(2));
    }

    #[test]
    fn a_revert_is_shown_by_its_name() {
        let name = "TooEarly(uint64,uint64)";
        let selector = cityrelay_core::hash::keccak256(name.as_bytes());
        let mut data = selector.as_bytes()[..4].to_vec();
        data.extend(Hash32::from_u64(5).0);
        data.extend(Hash32::from_u64(9).0);
        let words = revert_words(&data);
        assert!(words.contains("TooEarly") && words.contains('5') && words.contains('9'), "{words}");
        assert_eq!(revert_words(&[0xab]), "revert data 0xab");
    }

    fn last(is_success: bool) -> Fate {
        Fate::Final { height: Height(9), is_success, gas_used: 5, created: None, output: vec![0xab] }
    }

    #[tokio::test]
    async fn a_dropped_transaction_is_broadcast_again_until_it_is_final() {
        let target = FakeTarget::default();
        target.fates.lock().unwrap().extend([Fate::Pending, Fate::Dropped, last(true)]);
        let done = run(&target).await.unwrap();
        assert_eq!((done.height, done.gas_used), (Height(9), 5));
        assert_eq!(target.calls.lock().unwrap().len(), 1);
        assert_eq!(target.broadcasts.lock().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_reverted_transaction_is_refused_with_its_data() {
        let target = FakeTarget::default();
        target.fates.lock().unwrap().push_back(last(false));
        let failure = run(&target).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Refused);
        assert!(failure.message.contains("block 9") && failure.message.contains("0xab"), "{}", failure.message);
    }

    #[tokio::test]
    async fn a_dead_transaction_is_refused() {
        let target = FakeTarget::default();
        target.fates.lock().unwrap().push_back(Fate::Dead);
        assert_eq!(run(&target).await.unwrap_err().exit, Exit::Refused);
    }

    #[tokio::test]
    async fn a_call_that_would_revert_is_not_broadcast() {
        let target = FakeTarget::default();
        *target.fit.lock().unwrap() = Some(Fit::Reverts { output: vec![1, 2] });
        assert_eq!(run(&target).await.unwrap_err().exit, Exit::Refused);
        assert!(target.calls.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn waiting_ends() {
        let target = FakeTarget::default();
        target.fates.lock().unwrap().extend(vec![Fate::Pending; 100]);
        let dir = tempfile::tempdir().unwrap();
        let sending = sending(&dir, Duration::from_millis(10));
        let failure = carry_out(&target, &call(), "a call", &sending).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Unreachable);
    }
}
