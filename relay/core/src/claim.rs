//! Claims: what somebody says a chain did. Nothing in here is believed.

use crate::chain::Entry;
use crate::hash::Hash32;
use crate::ids::{Height, Index};
use crate::lane::Flow;
use crate::opaque::Opaque;

/// The most entries that one claim may carry in full: a few megabytes at the usual payload sizes.
pub const MAX_CLAIM_ENTRIES: usize = 1024;

/// The most entries that one claim may name by their link only: 2 MiB of them.
pub const MAX_CLAIM_TAIL: usize = 65_536;

/// "The chain of `flow` goes on with these entries, as the proof at this header shows."
///
/// Step 1 of the walk on the side of the origin chain, step 6 on the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which chain of which lane.
    pub flow: Flow,
    /// Index of the first entry.
    pub first: Index,
    /// Consecutive entries from `first` on, at most [`MAX_CLAIM_ENTRIES`].
    pub entries: Vec<Entry>,
    /// Links of the entries that follow them up to the proved head, at most [`MAX_CLAIM_TAIL`]: they let a long
    /// queue travel in pieces when only its end can be proved.
    pub tail: Vec<Hash32>,
    /// The header at which the head is proved.
    pub height: Height,
    /// The adapter's proof of the head at that header.
    pub proof: Opaque,
}

impl Claim {
    /// Bytes that it takes in memory, roughly.
    #[must_use]
    pub fn weight(&self) -> usize {
        weight(&self.entries, &self.tail, &self.proof)
    }
}

/// Bytes that entries, links and a proof take in memory, roughly.
pub(crate) fn weight(entries: &[Entry], tail: &[Hash32], proof: &Opaque) -> usize {
    let entry = |entry: &Entry| match entry {
        Entry::Message(message) => size_of::<Entry>().saturating_add(message.payload.len()),
        Entry::Outcome(_) => size_of::<Entry>(),
    };
    let entries: usize = entries.iter().map(entry).sum();
    entries.saturating_add(size_of_val(tail)).saturating_add(proof.bytes.len())
}
