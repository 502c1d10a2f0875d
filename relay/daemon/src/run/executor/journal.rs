//! Effects on the journal.

use cityrelay_core::chain::Entry;
use cityrelay_core::claim::MAX_CLAIM_ENTRIES;
use cityrelay_core::ids::Index;
use cityrelay_core::lane::Flow;
use cityrelay_core::machine::config::PeerId;
use cityrelay_core::machine::effect::Ticket;
use cityrelay_core::machine::input::Input;
use cityrelay_core::record::Record;
use cityrelay_journal::JournalError;
use tracing::warn;

use super::{Executor, answer};

impl Executor {
    pub(super) fn append(&self, ticket: Ticket, records: Vec<Record>) {
        let inputs = self.inputs.clone();
        self.journal.append(records, move |result: Result<(), JournalError>| {
            let input = match result {
                Ok(()) => Input::Durable(ticket),
                Err(error) => {
                    let is_retryable = error.is_retryable();
                    warn!(%error, is_retryable, "the journal did not take records");
                    Input::AppendFailed { ticket, is_retryable }
                }
            };
            answer(&inputs, input);
        });
    }

    pub(super) fn read_point(&self, flow: Flow, index: Index) {
        let journal = self.journal.clone();
        self.work(move || {
            let point = journal.point(flow, index).unwrap_or_else(|error| {
                warn!(%error, "reading a head from the journal failed");
                None
            });
            Input::PointRead { flow, index, point }
        });
    }

    pub(super) fn load_extensions(&self, flow: Flow, after: Index, max: usize) {
        let journal = self.journal.clone();
        self.work(move || {
            let loaded = journal.read(|view| view.extensions_after(flow, after, max));
            let extensions = match loaded {
                Ok(extensions) => Some(extensions),
                Err(JournalError::Pruned { .. }) => None,
                Err(error) => {
                    warn!(%error, "reading extensions from the journal failed");
                    None
                }
            };
            Input::ExtensionsLoaded { flow, after, extensions }
        });
    }

    pub(super) fn load_claim(&self, flow: Flow, peer: PeerId, first: Index, last: Index) {
        let journal = self.journal.clone();
        self.work(move || {
            let end = last.min(first.plus(MAX_CLAIM_ENTRIES - 1));
            let loaded = journal.entries(flow, first, end).and_then(|entries| {
                let tail = if end < last { journal.links(flow, end.next(), last)? } else { Vec::new() };
                Ok((entries, tail))
            });
            let (entries, tail) = loaded.unwrap_or_else(|error| {
                warn!(%error, "reading entries from the journal failed");
                (Vec::new(), Vec::new())
            });
            let entries = entries.iter().map(Entry::without_payload).collect();
            Input::ClaimLoaded { flow, peer, entries, tail }
        });
    }
}
