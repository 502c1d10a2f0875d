//! What is going to happen, in order of time and, at one moment, in the order in which it was planned.

use std::collections::BTreeMap;

use cityrelay_core::ids::UnixMillis;

/// A queue over virtual time.
#[derive(Debug)]
pub struct Agenda<T> {
    events: BTreeMap<(UnixMillis, u64), T>,
    planned: u64,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self { events: BTreeMap::new(), planned: 0 }
    }
}

impl<T> Agenda<T> {
    /// Plans `event` for `at`.
    pub fn plan(&mut self, at: UnixMillis, event: T) {
        self.planned += 1;
        self.events.insert((at, self.planned), event);
    }

    /// The next event and its moment.
    pub fn pop(&mut self) -> Option<(UnixMillis, T)> {
        self.events.pop_first().map(|((at, _), event)| (at, event))
    }
}
