//! Extensions that wait, in order, and what they weigh together.

use std::collections::VecDeque;
use std::collections::vec_deque::{Iter, IterMut};

use crate::record::ExtensionRecord;

/// An extension that waits for something.
pub(super) trait Waiting {
    fn record(&self) -> &ExtensionRecord;
}

/// Extensions of one flow, the oldest first. What they weigh is kept up with them, so that a limit in bytes costs nothing
/// to check.
#[derive(Debug)]
pub(super) struct Queue<T> {
    items: VecDeque<T>,
    weight: usize,
}

impl<T: Waiting> Queue<T> {
    pub fn push_back(&mut self, item: T) {
        self.weight = self.weight.saturating_add(item.record().weight());
        self.items.push_back(item);
    }

    /// Takes the front out where it satisfies `predicate`.
    pub fn pop_front_if(&mut self, predicate: impl FnOnce(&T) -> bool) -> Option<T> {
        let item = self.items.pop_front_if(|item| predicate(item))?;
        self.weight = self.weight.saturating_sub(item.record().weight());
        Some(item)
    }

    /// Keeps the first `count` only.
    pub fn truncate(&mut self, count: usize) {
        self.items.truncate(count);
        self.weight = self.items.iter().map(|item| item.record().weight()).sum();
    }

    /// Keeps what satisfies `predicate`.
    pub fn retain(&mut self, predicate: impl FnMut(&T) -> bool) {
        self.items.retain(predicate);
        self.weight = self.items.iter().map(|item| item.record().weight()).sum();
    }

    /// Whether no more should come: as many as `window` wait, or they weigh `bytes` or more. One may exceed that alone.
    pub fn is_full(&self, window: usize, bytes: usize) -> bool {
        self.items.len() >= window || (self.weight >= bytes && !self.items.is_empty())
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub fn front(&self) -> Option<&T> {
        self.items.front()
    }

    pub fn iter(&self) -> Iter<'_, T> {
        self.items.iter()
    }

    /// The items, to change anything but what they weigh.
    pub fn iter_mut(&mut self) -> IterMut<'_, T> {
        self.items.iter_mut()
    }
}

impl<T: Waiting> FromIterator<T> for Queue<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let items: VecDeque<T> = items.into_iter().collect();
        let weight = items.iter().map(|item| item.record().weight()).sum();
        Self { items, weight }
    }
}
