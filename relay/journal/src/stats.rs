//! What the writer has done, for metrics.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::JournalError;

/// What a journal has done since it was opened. Gauges of flows are in [`crate::View::flows`].
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Size of the file in bytes, as of the last sync.
    pub bytes_on_disk: u64,
    /// How long the last group took from its first record to the end of its sync.
    pub last_sync: Duration,
    /// The longest of them.
    pub longest_sync: Duration,
    /// All of them together.
    pub total_sync: Duration,
    /// Groups made durable.
    pub syncs: u64,
    /// Batches made durable.
    pub batches: u64,
    /// Records made durable.
    pub records: u64,
    /// The most batches that one sync made durable.
    pub largest_group: usize,
    /// Batches refused because a record did not fit.
    pub refused: u64,
    /// Batches not written because the disk or the store failed.
    pub failed: u64,
    /// Batches waiting for the writer.
    pub waiting_batches: usize,
    /// Their bytes in memory, roughly.
    pub waiting_bytes: usize,
    /// Since when the writer has been at work on what it has not finished yet: the disk takes it, or hangs.
    pub writing_since: Option<Instant>,
    /// Why nothing can be written at the moment.
    pub failure: Option<JournalError>,
}

/// Where the writer notes what it does.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Stats>);

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, Stats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn synced(&self, took: Duration, batches: usize, records: usize, bytes_on_disk: u64) {
        let mut stats = self.lock();
        stats.bytes_on_disk = bytes_on_disk;
        stats.last_sync = took;
        stats.longest_sync = stats.longest_sync.max(took);
        stats.total_sync = stats.total_sync.saturating_add(took);
        stats.syncs += 1;
        stats.batches += u64::try_from(batches).unwrap_or(u64::MAX);
        stats.records += u64::try_from(records).unwrap_or(u64::MAX);
        stats.largest_group = stats.largest_group.max(batches);
    }

    pub(crate) fn writes(&self, since: Option<Instant>) {
        self.lock().writing_since = since;
    }

    pub(crate) fn refused(&self, error: &JournalError) {
        let mut stats = self.lock();
        if error.is_retryable() || error.is_damage() {
            stats.failed += 1;
        } else {
            stats.refused += 1;
        }
    }

    pub(crate) fn failed(&self, failure: Option<JournalError>) {
        self.lock().failure = failure;
    }

    pub(crate) fn opened(&self, bytes_on_disk: u64) {
        self.lock().bytes_on_disk = bytes_on_disk;
    }

    pub(crate) fn snapshot(&self, (waiting_batches, waiting_bytes): (usize, usize)) -> Stats {
        Stats { waiting_batches, waiting_bytes, ..self.lock().clone() }
    }
}
