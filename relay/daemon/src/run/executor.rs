//! Doing what the machine decided. Every effect that is answered is answered by exactly one input, whatever happens.

mod journal;
mod source;
mod target;
mod verifier;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cityrelay_core::machine::config::PeerId;
use cityrelay_core::machine::effect::{Effect, ReceiptId};
use cityrelay_core::machine::input::{Fetched, Input};
use cityrelay_journal::Journal;
use cityrelay_link::FramePermit;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{debug, error};

use super::plan::Handles;
use super::ration::{Ration, Worth};
use super::session::Session;
use super::signer::Signer;

/// How long one question to a chain's nodes may take, failover included; longer than any adapter's own time-out.
const NODE_TIMEOUT: Duration = Duration::from_secs(60);

/// Does effects and answers with inputs.
pub(super) struct Executor {
    pub handles: Arc<Handles>,
    pub journal: Journal,
    pub signer: Option<Arc<Signer>>,
    pub inputs: mpsc::UnboundedSender<Input>,
    /// The peers with a session.
    pub sessions: HashMap<PeerId, Session>,
    /// Room that received frames still hold, given back when the machine releases them.
    pub permits: HashMap<ReceiptId, FramePermit>,
    /// Verifying what peers claim, in a share of each peer's own.
    pub verification: Ration,
    /// Signing what peers ask for, likewise.
    pub signing: Ration,
    /// Set when work on a thread broke off: an answer that the machine waits for will never come.
    pub has_lost_work: Arc<AtomicBool>,
}

impl Executor {
    /// Starts one effect. Reports are not for here.
    pub fn execute(&mut self, effect: Effect) {
        match effect {
            Effect::Append { ticket, records } => self.append(ticket, records),
            Effect::ReadPoint { flow, index } => self.read_point(flow, index),
            Effect::LoadExtensions { flow, after, max } => self.load_extensions(flow, after, max),
            Effect::LoadClaim { flow, peer, first, last } => self.load_claim(flow, peer, first, last),
            Effect::LoadSigned { flow, peer, attester, first, last } => {
                self.load_signed(flow, peer, attester, first, last);
            }
            Effect::Send { peer, frame } => {
                // A session that is gone loses what is said on it; the machine says it again.
                if let Some(session) = self.sessions.get_mut(&peer) {
                    session.send(frame);
                }
            }
            Effect::Release(receipt) => drop(self.permits.remove(&receipt)),
            Effect::Sign { what, peer } => {
                let signer = self.signer.clone();
                let sign = self.answered(move || {
                    let signature = signer.and_then(|signer| signer.sign(&what));
                    (Input::Signed { what, peer, signature }, Worth::Good)
                });
                self.signing.run(peer, sign);
            }
            Effect::VerifyUpdate { domain, trusted, update, origin } => {
                self.verify_update(domain, trusted, update, origin);
            }
            Effect::ApplySetStatement { domain, trusted, statement } => {
                self.apply_set_statement(domain, trusted, statement);
            }
            Effect::VerifyClaim(check) => self.verify_claim(*check),
            Effect::FetchUpdate { domain, recipient, after, max_headers } => {
                self.fetch_update(domain, recipient, after, max_headers);
            }
            Effect::ConfirmHeader { header } => self.confirm_header(*header),
            Effect::ConfirmSet { domain, statement } => self.confirm_set(domain, statement),
            Effect::ReadHint { flow } => self.read_hint(flow),
            Effect::Observe(request) => self.observe(request),
            Effect::Confirm { header, extension, proof } => self.confirm(header, *extension, proof),
            Effect::Prepare { job, domain, call, open, replaces } => {
                self.prepare(job, domain, *call, open, replaces.map(|intent| *intent));
            }
            Effect::Broadcast { job, intent } => self.broadcast(job, *intent),
            Effect::Track { job, intent } => self.track(job, *intent),
            Effect::ReadAccepted { flow } => self.read_accepted(flow),
            Effect::ReadCommittee { flow } => self.read_committee(flow),
            Effect::Report(_) => {}
        }
    }

    /// Runs a question to nodes in a task of its own; `None` stands for one that did not end in time, or that broke off by
    /// a fault of ours: the chain's nodes are asked again.
    fn ask<T: Send + 'static>(
        &self,
        question: impl Future<Output = T> + Send + 'static,
        to_input: impl FnOnce(Option<T>) -> Input + Send + 'static,
    ) {
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            let mut asking = JoinSet::new();
            asking.spawn(question);
            let outcome = match tokio::time::timeout(NODE_TIMEOUT, asking.join_next()).await {
                Ok(Some(Ok(outcome))) => Some(outcome),
                Ok(Some(Err(error))) => {
                    error!(%error, "a question to the chain's nodes broke off: report this log");
                    None
                }
                Ok(None) | Err(_) => None,
            };
            answer(&inputs, to_input(outcome));
        });
    }

    /// Runs something heavy or blocking on a worker thread.
    fn work(&self, work: impl FnOnce() -> Input + Send + 'static) {
        tokio::task::spawn_blocking(self.answered(|| (work(), Worth::Good)));
    }

    /// Work that hands its answer to the loop itself. One that breaks off is noticed.
    fn answered(
        &self,
        work: impl FnOnce() -> (Input, Worth) + Send + 'static,
    ) -> impl FnOnce() -> Worth + Send + 'static {
        let (inputs, has_lost_work) = (self.inputs.clone(), Arc::clone(&self.has_lost_work));
        // Nothing of what broke off is used again.
        move || match catch_unwind(AssertUnwindSafe(work)) {
            Ok((input, worth)) => {
                answer(&inputs, input);
                worth
            }
            Err(_) => {
                has_lost_work.store(true, Ordering::Release);
                Worth::Vain
            }
        }
    }
}

/// Hands an input to the loop; after the loop ended nobody needs it.
fn answer(inputs: &mpsc::UnboundedSender<Input>, input: Input) {
    if inputs.send(input).is_err() {
        debug!("an answer came after the end");
    }
}

/// The machine's form of a node's answer; failures are logged here, with the question.
fn fetched<T, E: fmt::Display>(question: &'static str, chain: &str, outcome: Option<Result<T, E>>) -> Fetched<T> {
    match outcome {
        Some(Ok(value)) => Fetched::Some(value),
        Some(Err(error)) => {
            debug!(question, chain, %error, "a question to the chain's nodes failed");
            Fetched::Failed
        }
        None => {
            debug!(question, chain, "a question to the chain's nodes took too long");
            Fetched::Failed
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cityrelay_core::hash::Hash32;
    use cityrelay_core::ids::{Domain, Height};

    use super::*;

    fn executor(dir: &std::path::Path) -> (Executor, mpsc::UnboundedReceiver<Input>) {
        let (inputs, answers) = mpsc::unbounded_channel();
        let handles = Handles { chains: BTreeMap::new(), lanes: BTreeMap::new(), peers: BTreeMap::new() };
        let executor = Executor {
            handles: Arc::new(handles),
            journal: Journal::open(dir, cityrelay_journal::Options::default()).unwrap(),
            signer: None,
            inputs,
            sessions: HashMap::new(),
            permits: HashMap::new(),
            verification: Ration::new(1, |_, _| {}),
            signing: Ration::new(1, |_, _| {}),
            has_lost_work: Arc::default(),
        };
        (executor, answers)
    }

    #[tokio::test]
    async fn a_question_that_breaks_off_is_one_without_an_answer() {
        let dir = tempfile::tempdir().unwrap();
        let (executor, mut answers) = executor(dir.path());
        let domain = Domain::derive("north", Hash32::ZERO);
        executor.ask(async { panic!("a fault of ours") }, move |outcome: Option<Height>| {
            assert_eq!(outcome, None);
            Input::NewBlock { domain }
        });
        assert!(matches!(answers.recv().await, Some(Input::NewBlock { .. })));
        assert!(!executor.has_lost_work.load(Ordering::Acquire), "the machine has its answer");
    }

    #[tokio::test]
    async fn work_that_breaks_off_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (executor, mut answers) = executor(dir.path());
        executor.work(|| panic!("a fault of ours"));
        executor.work(|| Input::Tick);
        assert!(matches!(answers.recv().await, Some(Input::Tick)));
        while !executor.has_lost_work.load(Ordering::Acquire) {
            tokio::task::yield_now().await;
        }
    }
}
