//! The one thread that writes: takes everything that waits, makes it durable with one sync, answers in order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use cityrelay_core::ids::UnixMillis;

use crate::apply::apply_batch;
use crate::error::JournalError;
use crate::prune::{PruneDepth, Pruned, prune};
use crate::queue::{Job, OnDurable, Queue};
use crate::stats::Recorder;
use crate::store::{Open, Store, WriteTables};

/// What the writer shares with the readers.
pub(crate) struct Shared {
    pub(crate) store: RwLock<Option<Store>>,
    pub(crate) queue: Queue,
    pub(crate) recorder: Recorder,
    pub(crate) open: Box<dyn Open>,
}

impl Shared {
    /// Calls `with` with the open store.
    pub(crate) fn with_store<T>(
        &self,
        with: impl FnOnce(&Store) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        store.as_ref().map_or(Err(JournalError::Closed), with)
    }
}

/// How the writer groups batches, and when it tries a failed disk again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriterLimits {
    pub(crate) max_group: usize,
    pub(crate) max_group_bytes: usize,
    pub(crate) retry_interval: Duration,
}

/// Runs until the queue is closed and empty.
pub(crate) fn run(shared: &Arc<Shared>, limits: WriterLimits) {
    // Whatever ends this thread, nobody waits for it in vain.
    let _abandon = Abandon(shared);
    let mut writer = Writer { shared, limits, failed: None };
    while let Some(jobs) = shared.queue.take(limits.max_group, limits.max_group_bytes) {
        writer.work(jobs);
    }
    *shared.store.write().unwrap_or_else(PoisonError::into_inner) = None;
    shared.open.settled();
}

struct Abandon<'a>(&'a Arc<Shared>);

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        for job in self.0.queue.abandon() {
            refuse(job, &JournalError::Closed);
        }
    }
}

struct Writer<'a> {
    shared: &'a Arc<Shared>,
    limits: WriterLimits,
    /// After a failed commit: why, and when it was tried last.
    failed: Option<(JournalError, Instant)>,
}

impl Writer<'_> {
    fn work(&mut self, jobs: Vec<Job>) {
        let mut group = Vec::new();
        for job in jobs {
            match job {
                Job::Append { records, on_durable } => group.push((records, on_durable)),
                Job::Prune { before, depth, limit, answer } => {
                    self.commit(std::mem::take(&mut group));
                    self.prune(before, depth, limit, &answer);
                }
                Job::Reopen { answer } => {
                    self.commit(std::mem::take(&mut group));
                    // The asker may be gone; then nobody wants to know.
                    let _ = answer.send(self.reopen());
                }
            }
        }
        self.commit(group);
    }

    fn commit(&mut self, group: Vec<(Vec<cityrelay_core::record::Record>, OnDurable)>) {
        if group.is_empty() {
            return;
        }
        if let Err(error) = self.ready() {
            for (_, on_durable) in group {
                self.shared.recorder.refused(&error);
                call(on_durable, Err(error.clone()));
            }
            return;
        }
        let started = Instant::now();
        let committed = self.write(|tables| {
            let mut answers = Vec::with_capacity(group.len());
            for (records, _) in &group {
                // A record that does not fit fails its own batch; a store that fails, all of them.
                answers.push(match apply_batch(tables, records) {
                    Ok(changes) => {
                        tables.apply(changes)?;
                        Ok(records.len())
                    }
                    Err(error) if error.is_retryable() || error.is_damage() => return Err(error),
                    Err(error) => Err(error),
                });
            }
            Ok(answers)
        });
        let answers = match committed {
            Ok(answers) => {
                let records = answers.iter().flatten().sum();
                let batches = answers.iter().filter(|answer| answer.is_ok()).count();
                if batches > 0 {
                    self.shared.recorder.synced(started.elapsed(), batches, records, self.shared.open.size());
                }
                answers
            }
            Err(error) => {
                self.fail(error.clone());
                group.iter().map(|_| Err(error.clone())).collect()
            }
        };
        for ((_, on_durable), answer) in group.into_iter().zip(answers) {
            if let Err(error) = &answer {
                self.shared.recorder.refused(error);
            }
            call(on_durable, answer.map(|_| ()));
        }
    }

    fn prune(
        &mut self,
        before: UnixMillis,
        depth: PruneDepth,
        limit: usize,
        answer: &SyncSender<Result<(Pruned, bool), JournalError>>,
    ) {
        let pruned = self.ready().and_then(|()| {
            self.write(|tables| {
                let (changes, pruned, has_more) = prune(tables, before, depth, limit)?;
                tables.apply(changes)?;
                Ok((pruned, has_more))
            })
        });
        if let Err(error) = &pruned
            && self.failed.is_none()
        {
            self.fail(error.clone());
        }
        let _ = answer.send(pruned);
    }

    /// Makes changes durable; until it returns the statistics say since when it has been at it.
    fn write<T>(
        &self,
        change: impl FnOnce(&mut WriteTables<'_>) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        self.shared.recorder.writes(Some(Instant::now()));
        let written = self.shared.with_store(|store| store.write(change));
        self.shared.recorder.writes(None);
        written
    }

    fn fail(&mut self, error: JournalError) {
        self.shared.recorder.failed(Some(error.clone()));
        self.failed = Some((error, Instant::now()));
    }

    /// Nothing, or why nothing can be written. A failed disk is tried again by itself after a while.
    fn ready(&mut self) -> Result<(), JournalError> {
        match &self.failed {
            None => Ok(()),
            Some((error, since)) if !error.is_retryable() || since.elapsed() < self.limits.retry_interval => {
                Err(error.clone())
            }
            Some(_) => self.reopen(),
        }
    }

    /// Closes the file and opens it again. Readers wait meanwhile.
    fn reopen(&mut self) -> Result<(), JournalError> {
        let mut store = self.shared.store.write().unwrap_or_else(PoisonError::into_inner);
        // The file's lock must be free before it can be taken again.
        *store = None;
        match Store::open(&*self.shared.open) {
            Ok(opened) => {
                *store = Some(opened);
                drop(store);
                self.shared.open.settled();
                self.failed = None;
                self.shared.recorder.failed(None);
                Ok(())
            }
            Err(error) => {
                drop(store);
                self.fail(error.clone());
                Err(error)
            }
        }
    }
}

/// A callback that panics has reported itself; the others still wait for theirs.
fn call(on_durable: OnDurable, answer: Result<(), JournalError>) {
    let _ = catch_unwind(AssertUnwindSafe(|| on_durable(answer)));
}

fn refuse(job: Job, error: &JournalError) {
    match job {
        Job::Append { on_durable, .. } => call(on_durable, Err(error.clone())),
        Job::Prune { answer, .. } => {
            let _ = answer.send(Err(error.clone()));
        }
        Job::Reopen { answer } => {
            let _ = answer.send(Err(error.clone()));
        }
    }
}
