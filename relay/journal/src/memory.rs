//! A journal in memory, under the same rules: for simulations, where syncing and crashing are decided by a seed.

use std::collections::{BTreeMap, VecDeque};

use cityrelay_core::ids::UnixMillis;
use cityrelay_core::record::Record;

use crate::apply::apply_batch;
use crate::error::JournalError;
use crate::prune::{PruneDepth, Pruned, prune};
use crate::rows::{Changes, KeyValue, Rows};
use crate::table::Table;
use crate::view::View;

/// Tables in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryRows(BTreeMap<(Table, Vec<u8>), Vec<u8>>);

impl MemoryRows {
    pub(crate) fn apply(&mut self, changes: Changes) {
        for (key, value) in changes {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(&key),
            };
        }
    }

    /// Rows and bytes of a table, keys included.
    #[cfg(test)]
    pub(crate) fn size(&self, table: Table) -> (usize, usize) {
        let rows = self.0.iter().filter(|((of, _), _)| *of == table);
        rows.fold((0, 0), |(count, bytes), ((_, key), value)| (count + 1, bytes + key.len() + value.len()))
    }
}

impl Rows for MemoryRows {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, JournalError> {
        Ok(self.0.get(&(table, key.to_vec())).cloned())
    }

    fn seek(&self, table: Table, from: &[u8]) -> Result<Option<KeyValue>, JournalError> {
        let next = self.0.range((table, from.to_vec())..).next().filter(|((of, _), _)| *of == table);
        Ok(next.map(|((_, key), value)| (key.clone(), value.clone())))
    }
}

/// Number of an appended batch, from 1, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

/// A journal whose disk is a map, and whose sync and crash are calls.
///
/// Reads see what is durable, as they do in [`crate::Journal`]; a batch is checked against everything appended before
/// it. The rules are the same code.
#[derive(Clone, Debug, Default)]
pub struct MemoryJournal {
    durable: MemoryRows,
    appended: MemoryRows,
    waiting: VecDeque<(BatchId, Changes)>,
    last: u64,
}

impl MemoryJournal {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a batch in, not durably yet.
    ///
    /// # Errors
    /// That of the first record that does not fit; nothing of the batch is kept.
    pub fn append(&mut self, records: &[Record]) -> Result<BatchId, JournalError> {
        let changes = apply_batch(&self.appended, records)?;
        Ok(self.keep(changes))
    }

    fn keep(&mut self, changes: Changes) -> BatchId {
        self.last += 1;
        let id = BatchId(self.last);
        self.appended.apply(changes.clone());
        self.waiting.push_back((id, changes));
        id
    }

    /// Makes everything so far durable; returns the batches that became so, in order.
    pub fn sync(&mut self) -> Vec<BatchId> {
        self.sync_first(usize::MAX)
    }

    /// Makes the first `count` waiting batches durable, as a sync that is still under way may have.
    pub fn sync_first(&mut self, count: usize) -> Vec<BatchId> {
        let count = count.min(self.waiting.len());
        self.waiting
            .drain(..count)
            .map(|(id, changes)| {
                self.durable.apply(changes);
                id
            })
            .collect()
    }

    /// Loses what was not synced, but for the first `kept` batches, which had reached the disk unseen.
    ///
    /// Returns the batches that are gone.
    pub fn crash(&mut self, kept: usize) -> Vec<BatchId> {
        self.sync_first(kept);
        self.appended = self.durable.clone();
        self.waiting.drain(..).map(|(id, _)| id).collect()
    }

    /// Batches that are not durable yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What is durable.
    #[must_use]
    pub const fn view(&self) -> View<'_> {
        View::new(&self.durable)
    }

    /// Drops what finished messages don't need any more, not durably yet; at most `limit` extensions.
    ///
    /// # Errors
    /// Those of damage only.
    pub fn prune(
        &mut self,
        before: UnixMillis,
        depth: PruneDepth,
        limit: usize,
    ) -> Result<(BatchId, Pruned), JournalError> {
        let (changes, pruned, _) = prune(&self.appended, before, depth, limit)?;
        Ok((self.keep(changes), pruned))
    }

    #[cfg(test)]
    pub(crate) const fn rows(&self) -> &MemoryRows {
        &self.durable
    }
}
