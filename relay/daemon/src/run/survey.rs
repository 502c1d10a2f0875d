//! Looking at what no message shows by itself: how lanes stand on their gateways, what waits in the nodes' pools, what
//! the account can pay, how much room is left, and whether the journal and the chains say the same.
//!
//! One task for each chain, so that a chain in trouble holds up no other. Nothing found here is decided upon by the
//! machine: it is for the metrics and for readiness.

mod audit;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cityrelay_api::target::{Funds, LaneState};
use cityrelay_core::ids::{Domain, Height, LaneId, UnixMillis};
use cityrelay_core::lane::Flow;
use cityrelay_journal::Journal;
use tokio::task::JoinHandle;
use tracing::{debug, error, warn};

use super::plan::Handles;
use crate::clock::unix_millis;
use crate::observability::EvidenceKind;

/// The pause between two looks at a chain: a lane costs two calls each time.
const SURVEY_INTERVAL: Duration = Duration::from_secs(5);

/// How long one question may take.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(20);

/// What was found, each part as of its last look.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    pub chains: BTreeMap<Domain, ChainSurvey>,
    /// The journal's volume; `None` before the first look.
    pub space: Option<Space>,
    /// Records of misbehaviour that the journal keeps.
    pub evidence: BTreeMap<EvidenceKind, usize>,
}

/// What was found on one chain.
#[derive(Clone, Debug, Default)]
pub(super) struct ChainSurvey {
    /// Transactions that wait in the nodes' pool, where a node says so.
    pub pending: Option<u64>,
    /// Why no new block can come, as the nodes say.
    pub ailment: Option<String>,
    /// What the account can pay, where there is one.
    pub funds: Option<Funds>,
    /// How the gateway holds each lane that has an end here; only where there is an account.
    pub lanes: BTreeMap<LaneId, LaneState>,
    /// Flows on which the journal and this chain differ, seen twice in a row.
    pub differences: BTreeSet<Flow>,
    /// When the journal was last compared with all that this chain holds.
    pub audited: Option<UnixMillis>,
}

/// Room on a volume, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Space {
    pub size: u64,
    pub free: u64,
}

/// The tasks; dropping this ends them.
pub(super) struct Surveyor {
    found: Arc<Mutex<Survey>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Surveyor {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Surveyor {
    /// Starts looking. `journal_dir` is where the journal lives.
    pub fn start(handles: &Arc<Handles>, journal: &Journal, journal_dir: PathBuf) -> Self {
        let found = Arc::new(Mutex::new(Survey::default()));
        let chains = handles.chains.iter().filter(|(_, chain)| chain.source.is_some() || chain.target.is_some());
        let mut tasks: Vec<JoinHandle<()>> = chains
            .map(|(domain, _)| {
                lock(&found).chains.insert(*domain, ChainSurvey::default());
                let look = Look {
                    handles: handles.clone(),
                    journal: journal.clone(),
                    domain: *domain,
                    found: found.clone(),
                    suspects: BTreeSet::new(),
                    reached: Height::default(),
                };
                tokio::spawn(look.run())
            })
            .collect();
        tasks.push(tokio::spawn(watch_journal(journal.clone(), journal_dir, found.clone())));
        Self { found, tasks }
    }

    /// Whether a part of it has ended, which none does by itself.
    pub fn has_lost_a_task(&self) -> bool {
        self.tasks.iter().any(JoinHandle::is_finished)
    }

    /// What was found up to now.
    pub fn read(&self) -> Survey {
        lock(&self.found).clone()
    }
}

fn lock(found: &Mutex<Survey>) -> MutexGuard<'_, Survey> {
    found.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks at the journal and its volume, off the async threads: a disk may take its time.
async fn watch_journal(journal: Journal, dir: PathBuf, found: Arc<Mutex<Survey>>) {
    loop {
        let (journal, dir) = (journal.clone(), dir.clone());
        let look = tokio::task::spawn_blocking(move || (space(&dir), journal.misbehaviour()));
        if let Ok((space, misbehaviour)) = look.await {
            let mut found = lock(&found);
            found.space = space.or(found.space);
            match misbehaviour {
                Ok(records) => {
                    found.evidence.clear();
                    for record in &records {
                        *found.evidence.entry(EvidenceKind::of(record)).or_default() += 1;
                    }
                }
                Err(error) => warn!(%error, "kept evidence can't be read"),
            }
        }
        tokio::time::sleep(SURVEY_INTERVAL).await;
    }
}

fn space(dir: &Path) -> Option<Space> {
    match rustix::fs::statvfs(dir) {
        Ok(volume) => Some(Space {
            size: volume.f_blocks.saturating_mul(volume.f_frsize),
            free: volume.f_bavail.saturating_mul(volume.f_frsize),
        }),
        Err(error) => {
            warn!(dir = %dir.display(), %error, "the room on the journal's volume can't be read");
            None
        }
    }
}

/// One chain being looked at.
struct Look {
    handles: Arc<Handles>,
    journal: Journal,
    domain: Domain,
    found: Arc<Mutex<Survey>>,
    /// Flows that differed at the last look.
    suspects: BTreeSet<Flow>,
    /// The highest block that the nodes have shown at a comparison.
    reached: Height,
}

impl Look {
    async fn run(mut self) {
        loop {
            self.around().await;
            tokio::time::sleep(SURVEY_INTERVAL).await;
        }
    }

    async fn around(&mut self) {
        let handles = self.handles.clone();
        let Some(chain) = handles.chains.get(&self.domain) else { return };
        if let Some(source) = &chain.source {
            if let Some(pending) = asked(&chain.name, "pool", source.pending()).await {
                self.note(|chain| chain.pending = pending);
            }
            // Nodes that do not answer are a trouble of their own.
            let ailment = asked(&chain.name, "ailment", source.ailment()).await.flatten();
            self.note(|chain| chain.ailment = ailment);
        }
        if let Some(target) = &chain.target {
            if let Some(funds) = asked(&chain.name, "funds", target.funds()).await {
                self.note(|chain| chain.funds = Some(funds));
            }
            for (lane, identity) in &handles.lanes {
                let ends = [
                    (identity.source_domain, identity.source_gateway),
                    (identity.destination_domain, identity.destination_gateway),
                ];
                let Some((_, gateway)) = ends.into_iter().find(|(domain, _)| *domain == self.domain) else { continue };
                if let Some(state) = asked(&chain.name, "lane state", target.lane_state(gateway, *lane)).await {
                    self.note(|chain| {
                        chain.lanes.insert(*lane, state);
                    });
                }
            }
        }
        self.audit(chain).await;
    }

    async fn audit(&mut self, chain: &super::plan::ChainHandles) {
        let compared = audit::audit(&self.handles, &self.journal, self.domain, &mut self.reached).await;
        // What was found before stands until something can be compared again.
        let Some(audit::Audit { differences, is_complete }) = compared else { return };
        let certain: BTreeSet<Flow> = differences.intersection(&self.suspects).copied().collect();
        for flow in &certain {
            error!(chain = chain.name, lane = %flow.lane, direction = flow.direction.as_str(), "journal and chain differ");
        }
        self.suspects = differences;
        self.note(|chain| {
            chain.differences = certain;
            if is_complete {
                chain.audited = Some(unix_millis());
            }
        });
    }

    fn note(&self, change: impl FnOnce(&mut ChainSurvey)) {
        change(lock(&self.found).chains.entry(self.domain).or_default());
    }
}

/// An answer in time; failures are only noted, the endpoints keep count of them.
async fn asked<T, E: std::fmt::Display>(
    chain: &str,
    question: &'static str,
    answer: impl Future<Output = Result<T, E>>,
) -> Option<T> {
    match tokio::time::timeout(QUESTION_TIMEOUT, answer).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            debug!(chain, question, %error, "a look at the chain failed");
            None
        }
        Err(_) => {
            debug!(chain, question, "a look at the chain took too long");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_broke_off_is_noticed() {
        let surveyor =
            |task| Surveyor { found: Arc::default(), tasks: vec![tokio::spawn(std::future::pending()), task] };
        assert!(!surveyor(tokio::spawn(std::future::pending())).has_lost_a_task());
        let broken = surveyor(tokio::spawn(async { panic!("a fault of ours") }));
        while !broken.has_lost_a_task() {
            tokio::task::yield_now().await;
        }
    }
}
