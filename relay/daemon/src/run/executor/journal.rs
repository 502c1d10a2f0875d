//! Effects on the journal.

use std::collections::HashMap;

use cityrelay_api::source::EntryRequest;
use cityrelay_core::chain::Entry;
use cityrelay_core::claim::MAX_CLAIM_ENTRIES;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{AttesterId, Index};
use cityrelay_core::lane::Flow;
use cityrelay_core::machine::config::PeerId;
use cityrelay_core::machine::effect::Ticket;
use cityrelay_core::machine::input::Input;
use cityrelay_core::record::Record;
use cityrelay_journal::{Journal, JournalError};
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
            let extensions = unless_pruned(loaded, "extensions");
            Input::ExtensionsLoaded { flow, after, extensions }
        });
    }

    pub(super) fn load_signed(
        &self,
        flow: Flow,
        peer: PeerId,
        attester: Option<AttesterId>,
        first: Index,
        last: Index,
    ) {
        let journal = self.journal.clone();
        self.work(move || {
            let loaded = journal.read(|view| view.reminder(flow, first, last, attester));
            // Where it is pruned another relay may have it; it is asked for again and again.
            Input::SignedLoaded { peer, found: unless_pruned(loaded, "what an attester signed").flatten() }
        });
    }

    /// Entries that the journal has pruned are read from their chain again, where we have a node there.
    pub(super) fn load_claim(&self, flow: Flow, peer: PeerId, first: Index, last: Index) {
        let (journal, origin) = (self.journal.clone(), self.origin(flow));
        let load = async move {
            let held = tokio::task::spawn_blocking(move || read_claim(&journal, flow, first, last)).await?;
            match (held?, origin) {
                (Held { entries: Some(entries), links }, _) => Ok((entries, links)),
                (Held { entries: None, links }, None) => Ok((Vec::new(), links)),
                (Held { entries: None, links }, Some((origin, source, _))) => {
                    let end = last.min(first.plus(MAX_CLAIM_ENTRIES - 1));
                    let newest = source.tip().await?;
                    let request = EntryRequest { gateway: origin.gateway, flow, first, last: end, newest };
                    let hints = source.entry_hints(&request).await?;
                    Ok(fit(flow, first, &links, hints))
                }
            }
        };
        self.ask(load, move |outcome: Option<anyhow::Result<_>>| {
            let (entries, tail) = match outcome {
                Some(Ok(loaded)) => loaded,
                Some(Err(error)) => {
                    warn!(error = format!("{error:#}"), "reading entries for an attester failed");
                    (Vec::new(), Vec::new())
                }
                None => (Vec::new(), Vec::new()),
            };
            let entries = entries.iter().map(Entry::without_payload).collect();
            Input::ClaimLoaded { flow, peer, entries, tail }
        });
    }
}

/// What was read of `what`; nothing where it is pruned, and nothing but a warning where it could not be read.
fn unless_pruned<T>(read: Result<T, JournalError>, what: &str) -> Option<T> {
    match read {
        Ok(found) => Some(found),
        Err(JournalError::Pruned { .. }) => None,
        Err(error) => {
            warn!(%error, "reading {what} from the journal failed");
            None
        }
    }
}

/// What the journal holds of a claim.
struct Held {
    /// The first entries; `None` where they are pruned.
    entries: Option<Vec<Entry>>,
    /// The links after those entries, or, without them, all links.
    links: Vec<Hash32>,
}

fn read_claim(journal: &Journal, flow: Flow, first: Index, last: Index) -> Result<Held, JournalError> {
    let end = last.min(first.plus(MAX_CLAIM_ENTRIES - 1));
    match journal.entries(flow, first, end) {
        Ok(entries) => {
            let links = if end < last { journal.links(flow, end.next(), last)? } else { Vec::new() };
            Ok(Held { entries: Some(entries), links })
        }
        Err(JournalError::Pruned { .. }) => Ok(Held { entries: None, links: journal.links(flow, first, last)? }),
        Err(error) => Err(error),
    }
}

/// The entries from `first` on that have the links which the journal keeps, and the links after them. Hints are anybody's
/// word: what has another link is passed over.
fn fit(flow: Flow, first: Index, links: &[Hash32], hints: Vec<Entry>) -> (Vec<Entry>, Vec<Hash32>) {
    let mut by_link: HashMap<(Index, Hash32), Entry> =
        hints.into_iter().map(|entry| ((entry.index(), entry.link(flow)), entry)).collect();
    let indices = (0..).map(|offset| first.plus(offset));
    let entries: Vec<Entry> =
        links.iter().zip(indices).map_while(|(link, index)| by_link.remove(&(index, *link))).collect();
    let tail = links.get(entries.len()..).unwrap_or_default().to_vec();
    (entries, tail)
}

#[cfg(test)]
mod tests {
    use cityrelay_core::ids::{Address, LaneId, UnixMillis};
    use cityrelay_core::lane::Direction;
    use cityrelay_core::message::{Message, Payload};

    use super::*;

    #[test]
    fn only_entries_with_the_links_that_the_journal_keeps_are_taken() {
        let flow = Flow { lane: LaneId(Hash32([1; 32])), direction: Direction::Outbox };
        let entry = |index: u64, gas_limit: u64| {
            Entry::Message(Message {
                index: Index(index),
                sender: Address::from_20([1; 20]),
                receiver: Address::from_20([2; 20]),
                deadline: UnixMillis(5_000),
                gas_limit,
                payload: Payload::Bytes(b"payload".to_vec()),
            })
        };
        let links: Vec<Hash32> = (3..=6).map(|index| entry(index, 1).link(flow)).collect();
        let hints = vec![entry(3, 9), entry(3, 1), entry(4, 1), entry(5, 9), entry(6, 1)];
        let (entries, tail) = fit(flow, Index(3), &links, hints);
        assert_eq!(entries, [entry(3, 1), entry(4, 1)], "up to the first that nobody showed");
        assert_eq!(tail, links[2..]);
        assert_eq!(fit(flow, Index(3), &links, Vec::new()), (Vec::new(), links));
    }
}
