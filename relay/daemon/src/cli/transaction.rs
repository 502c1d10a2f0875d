//! Following a single transaction to its end, for commands that need no journal: what was broadcast is named on
//! stderr first, so that nothing is lost when the command is stopped.

use std::time::Duration;

use cityrelay_api::target::{Fate, Fit, Intent, Target};
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Height};
use tokio::time::Instant;

use super::answer::{Exit, Failure, say};

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

/// Makes a call with the configured account and waits until a final block holds it. `what` names it for people.
pub(super) async fn carry_out(
    target: &dyn Target,
    call: &GatewayCall,
    what: &str,
    timeout: Duration,
) -> Result<Done, Failure> {
    match target.fits(call).await? {
        Fit::Fits { .. } => {}
        Fit::TooLarge => return Err(Failure::new(Exit::Refused, format!("{what}: too large for one transaction"))),
        Fit::Reverts { output } => {
            let problem = format!("{what}: the chain would refuse it (revert data 0x{})", hex::encode(output));
            return Err(Failure::new(Exit::Refused, problem));
        }
    }
    let intent = target.prepare(call, &[], None).await?;
    say(format_args!("{what}: transaction {}", intent.hash));
    target.broadcast(&intent).await?;
    let deadline = Instant::now() + timeout;
    loop {
        match target.track(&intent).await? {
            Fate::Final { height, is_success: true, gas_used, created, .. } => {
                return Ok(Done { hash: intent.hash, height, gas_used, created });
            }
            Fate::Final { height, output, .. } => {
                let problem = format!("{what}: reverted in block {height} (revert data 0x{})", hex::encode(output));
                return Err(Failure::new(Exit::Refused, problem));
            }
            Fate::Dead => return Err(Failure::new(Exit::Refused, dead(what, &intent))),
            Fate::Dropped => target.broadcast(&intent).await?,
            Fate::Pending => {}
        }
        if Instant::now() >= deadline {
            let waited = humantime::format_duration(timeout);
            let problem =
                format!("{what}: transaction {} is not final after {waited}; it may still become so", intent.hash);
            return Err(Failure::new(Exit::Unreachable, problem));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
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

    async fn run(target: &FakeTarget) -> Result<Done, Failure> {
        carry_out(target, &call(), "a call", Duration::from_secs(5)).await
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
        let failure = carry_out(&target, &call(), "a call", Duration::from_millis(10)).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Unreachable);
    }
}
