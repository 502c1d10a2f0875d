//! Batches on their way to the writer: bounded in number and in bytes.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use cityrelay_core::chain::Entry;
use cityrelay_core::ids::UnixMillis;
use cityrelay_core::message::Message;
use cityrelay_core::record::{Misbehaviour, Record};

use crate::error::JournalError;
use crate::prune::{PruneDepth, Pruned};

/// Called once, from the writer's thread, when a batch is durable or refused.
pub(crate) type OnDurable = Box<dyn FnOnce(Result<(), JournalError>) + Send>;

/// Something for the writer to do.
pub(crate) enum Job {
    /// Make a batch durable.
    Append { records: Vec<Record>, on_durable: OnDurable },
    /// Prune at most so many extensions.
    Prune {
        before: UnixMillis,
        depth: PruneDepth,
        limit: usize,
        answer: SyncSender<Result<(Pruned, bool), JournalError>>,
    },
    /// Open the file again.
    Reopen { answer: SyncSender<Result<(), JournalError>> },
}

/// Why a job was not taken; it comes back.
pub(crate) enum NotTaken {
    Full(Job),
    Closed(Job),
}

/// The queue between everybody and the writer.
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    max_jobs: usize,
    max_bytes: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<(Job, usize)>,
    bytes: usize,
    is_closed: bool,
}

impl Queue {
    pub(crate) fn new(max_jobs: usize, max_bytes: usize) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), max_jobs: max_jobs.max(1), max_bytes }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is sound after every statement that changes it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job. A job that is larger than the whole queue is taken once the queue is empty.
    pub(crate) fn push(&self, job: Job, wait: Wait) -> Result<(), NotTaken> {
        let bytes = weight(&job);
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return Err(NotTaken::Closed(job));
            }
            let is_full = state.jobs.len() >= self.max_jobs
                || (!state.jobs.is_empty() && state.bytes.saturating_add(bytes) > self.max_bytes);
            match wait {
                Wait::UntilRoom if is_full => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Wait::No if is_full => return Err(NotTaken::Full(job)),
                _ => break,
            }
        }
        state.bytes = state.bytes.saturating_add(bytes);
        state.jobs.push_back((job, bytes));
        self.changed.notify_all();
        Ok(())
    }

    /// Takes what is waiting, at most `max_jobs` and `max_bytes` of it but at least one job; waits for one.
    ///
    /// `None` once the queue is closed and empty.
    pub(crate) fn take(&self, max_jobs: usize, max_bytes: usize) -> Option<Vec<Job>> {
        let mut state = self.lock();
        while state.jobs.is_empty() {
            if state.is_closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let mut group = Vec::new();
        let mut taken = 0_usize;
        while let Some((_, bytes)) = state.jobs.front() {
            taken = taken.saturating_add(*bytes);
            if !group.is_empty() && (group.len() >= max_jobs || taken > max_bytes) {
                break;
            }
            if let Some((job, bytes)) = state.jobs.pop_front() {
                state.bytes = state.bytes.saturating_sub(bytes);
                group.push(job);
            }
        }
        self.changed.notify_all();
        Some(group)
    }

    /// Takes no more jobs; what is waiting is still done.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Takes no more jobs and returns those that were waiting.
    pub(crate) fn abandon(&self) -> Vec<Job> {
        let mut state = self.lock();
        state.is_closed = true;
        state.bytes = 0;
        self.changed.notify_all();
        state.jobs.drain(..).map(|(job, _)| job).collect()
    }

    /// Jobs and bytes waiting.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let state = self.lock();
        (state.jobs.len(), state.bytes)
    }
}

/// Whether to wait for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Wait until there is room.
    UntilRoom,
    /// Give the job back.
    No,
    /// Take it whatever is waiting: from the writer itself, which must not wait for itself.
    Never,
}

/// Roughly the bytes that a job holds in memory.
fn weight(job: &Job) -> usize {
    match job {
        Job::Append { records, .. } => records.iter().map(record_weight).sum(),
        Job::Prune { .. } | Job::Reopen { .. } => 0,
    }
}

fn record_weight(record: &Record) -> usize {
    let content = match record {
        Record::Client { state, headers, .. } => {
            state.bytes.len() + headers.iter().map(|header| 128 + header.detail.len()).sum::<usize>()
        }
        Record::Extension(extension) => {
            let entries: usize = extension.entries.iter().map(entry_weight).sum();
            entries + extension.tail.len() * 32 + extension.proof.bytes.len()
        }
        Record::Attested { evidence, .. } => evidence.signatures.len() * 85,
        Record::SetStated { evidence, .. } => {
            evidence.iter().map(|evidence| 192 + evidence.signatures.len() * 85).sum::<usize>()
        }
        Record::Intent(intent) => intent.bytes.bytes.len(),
        Record::Misbehaviour(Misbehaviour::Equivocation { theirs, .. }) => theirs.bytes.len(),
        Record::PeerAccepted { .. }
        | Record::Done { .. }
        | Record::IntentClosed { .. }
        | Record::Signed { .. }
        | Record::SetSigned(_)
        | Record::Misbehaviour(_)
        | Record::Audit(_) => 0,
    };
    256 + content
}

fn entry_weight(entry: &Entry) -> usize {
    match entry {
        Entry::Message(Message { payload, .. }) => 192 + payload.len(),
        Entry::Outcome(_) => 128,
    }
}
