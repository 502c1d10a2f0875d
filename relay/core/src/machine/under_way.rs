//! How many signatures are under way for each peer that asked.

use std::collections::BTreeMap;

use crate::machine::config::PeerId;

/// Signatures under way, by who asked. Peers come from the configuration, so their number is bounded.
#[derive(Debug, Default)]
pub(super) struct UnderWay(BTreeMap<PeerId, usize>);

impl UnderWay {
    pub fn count(&self, peer: PeerId) -> usize {
        self.0.get(&peer).copied().unwrap_or(0)
    }

    /// One more was asked for.
    pub fn begin(&mut self, peer: PeerId) {
        let count = self.0.entry(peer).or_default();
        *count = count.saturating_add(1);
    }

    /// One came, or will not come.
    pub fn end(&mut self, peer: PeerId) {
        if let Some(count) = self.0.get_mut(&peer) {
            *count = count.saturating_sub(1);
        }
    }
}
