//! What goes and what stays.

use cityrelay_core::ids::{Epoch, Index, MessageId, UnixMillis};
use cityrelay_core::message::Payload;
use cityrelay_core::record::Record;

use super::fixture::{Chain, journal};
use crate::memory::MemoryRows;
use crate::table::Table;
use crate::{JournalError, MemoryJournal, PruneDepth, Pruned};

const FAR: UnixMillis = UnixMillis(u64::MAX);

fn prune(journal: &mut MemoryJournal, before: UnixMillis, depth: PruneDepth) -> Pruned {
    let (_, pruned) = journal.prune(before, depth, usize::MAX).unwrap();
    journal.sync();
    pruned
}

/// The relay beside the source: the peer holds the outbox, outcomes are settled here.
fn source(outbox: &Chain, inbox: &Chain) -> MemoryJournal {
    journal(&[
        vec![outbox.extension(0, 2), outbox.extension(2, 4), outbox.attested(2, 1), outbox.attested(4, 1)],
        vec![inbox.extension(0, 2), inbox.extension(2, 4), inbox.attested(2, 1)],
        vec![outbox.accepted(4), inbox.done(2, 1_000)],
    ])
}

#[test]
fn payloads_of_settled_messages_go_and_their_hashes_stay() {
    let outbox = Chain::outbox("lane", 4);
    let inbox = Chain::inbox(&outbox);
    let mut journal = source(&outbox, &inbox);
    let pruned = prune(&mut journal, FAR, PruneDepth::Payloads);
    assert_eq!(pruned, Pruned { extensions: 2, payload_bytes: 2 * "payload".len() as u64 });
    let view = journal.view();
    let entries = view.entries(outbox.flow, Index(1), Index(4)).unwrap();
    let expected: Vec<_> = outbox.entries[..2]
        .iter()
        .map(cityrelay_core::chain::Entry::without_payload)
        .chain(outbox.entries[2..].iter().cloned())
        .collect();
    assert_eq!(entries, expected, "only the settled ones");
    assert_eq!(view.entries(inbox.flow, Index(1), Index(4)).unwrap(), inbox.entries, "outcomes stay");
    assert!(matches!(view.extension(outbox.flow, Index(1)), Err(JournalError::Pruned { index: Index(1), .. })));
    assert!(view.extension(outbox.flow, Index(3)).unwrap().is_some());
    assert_eq!(
        view.timeline(outbox.flow, Index(1)).unwrap().unwrap().attested,
        Some((Index(4), cityrelay_core::ids::Epoch(1), UnixMillis(402)))
    );
    assert_eq!(view.verify().unwrap(), 8);
    assert_eq!(prune(&mut journal, FAR, PruneDepth::Payloads), Pruned::default(), "nothing twice");
}

#[test]
fn bodies_of_settled_messages_go_and_ids_heads_and_outcomes_stay() {
    let outbox = Chain::outbox("lane", 4);
    let inbox = Chain::inbox(&outbox);
    let mut journal = source(&outbox, &inbox);
    prune(&mut journal, FAR, PruneDepth::Payloads);
    prune(&mut journal, FAR, PruneDepth::Bodies);
    let view = journal.view();
    let error = view.entries(outbox.flow, Index(1), Index(4)).unwrap_err();
    assert!(matches!(error, JournalError::Pruned { index: Index(1), .. }), "{error}");
    assert_eq!(view.entries(outbox.flow, Index(3), Index(4)).unwrap(), outbox.entries[2..]);
    for chain in [&outbox, &inbox] {
        let links: Vec<_> = chain.entries.iter().map(|entry| entry.link(chain.flow)).collect();
        assert_eq!(view.links(chain.flow, Index(1), Index(4)).unwrap(), links);
        for point in &chain.points {
            assert_eq!(view.point(chain.flow, point.index).unwrap(), Some(*point));
        }
    }
    assert_eq!(view.entries(inbox.flow, Index(1), Index(4)).unwrap(), inbox.entries);
    let id = MessageId(outbox.entries[0].link(outbox.flow));
    assert_eq!(view.find(id).unwrap(), Some((outbox.flow, Index(1))));
    assert_eq!(view.verify().unwrap(), 8);
}

#[test]
fn nothing_goes_before_its_time() {
    let outbox = Chain::outbox("lane", 4);
    let inbox = Chain::inbox(&outbox);
    let mut journal = source(&outbox, &inbox);
    assert_eq!(prune(&mut journal, UnixMillis(1_000), PruneDepth::Payloads), Pruned::default());
    assert_eq!(prune(&mut journal, UnixMillis(1_001), PruneDepth::Payloads).extensions, 2);
}

#[test]
fn nothing_goes_that_is_not_finished() {
    let outbox = Chain::outbox("lane", 4);
    let inbox = Chain::inbox(&outbox);
    let extensions = vec![outbox.extension(0, 4), inbox.extension(0, 4)];
    // Nothing yet; held by the peer but not settled; settled but not held by the peer; settled in part.
    for marks in [vec![], vec![outbox.accepted(4)], vec![inbox.done(4, 1)], vec![outbox.accepted(4), inbox.done(3, 1)]]
    {
        let mut journal = journal(&[extensions.clone(), marks]);
        prune(&mut journal, FAR, PruneDepth::Bodies);
        assert_eq!(journal.view().entries(outbox.flow, Index(1), Index(4)).unwrap(), outbox.entries);
    }
}

#[test]
fn beside_the_destination_a_delivered_message_is_finished() {
    let outbox = Chain::outbox("lane", 4);
    let inbox = Chain::inbox(&outbox);
    let mut journal = journal(&[
        vec![outbox.extension(0, 4), outbox.attested(4, 1), outbox.done(4, 10)],
        vec![inbox.extension(0, 4), inbox.attested(4, 1), inbox.accepted(4)],
    ]);
    assert_eq!(prune(&mut journal, UnixMillis(11), PruneDepth::Payloads).extensions, 1);
    let entries = journal.view().entries(outbox.flow, Index(1), Index(4)).unwrap();
    assert!(entries.iter().all(|entry| matches!(entry, cityrelay_core::chain::Entry::Message(message) if matches!(message.payload, Payload::Hash(_)))));
    assert_eq!(prune(&mut journal, FAR, PruneDepth::Payloads).extensions, 1, "the inbox, by the time it was verified");
}

#[test]
fn an_attester_keeps_what_it_has_not_signed_and_can_sign_again_what_it_has() {
    let outbox = Chain::outbox("lane", 6);
    let mut journal = journal(&[vec![outbox.extension(0, 4), outbox.signed(4, 1)], vec![outbox.extension(4, 6)]]);
    assert_eq!(prune(&mut journal, UnixMillis(401), PruneDepth::Bodies), Pruned::default(), "verified at 401");
    assert_eq!(prune(&mut journal, FAR, PruneDepth::Bodies).extensions, 1);
    assert!(matches!(journal.view().entries(outbox.flow, Index(1), Index(4)), Err(JournalError::Pruned { .. })));
    assert_eq!(journal.view().entries(outbox.flow, Index(5), Index(6)).unwrap().len(), 2);
    // Under the next set; and never another head.
    journal.append(&[outbox.signed(4, 2)]).unwrap();
    let wrong = Record::Signed { flow: outbox.flow, point: outbox.wrong(4), epoch: Epoch(2) };
    assert!(matches!(journal.append(&[wrong]), Err(JournalError::SignConflict { .. } | JournalError::Fork { .. })));
    journal.view().verify().unwrap();
}

#[test]
fn a_limit_stops_in_between_and_goes_on() {
    let outbox = Chain::outbox("lane", 4);
    let mut journal = journal(&[vec![outbox.extension(0, 2), outbox.extension(2, 4), outbox.done(4, 1)]]);
    for _ in 0..2 {
        let (_, pruned) = journal.prune(FAR, PruneDepth::Payloads, 1).unwrap();
        assert_eq!(pruned.extensions, 1);
    }
    let (_, pruned) = journal.prune(FAR, PruneDepth::Payloads, 1).unwrap();
    assert_eq!(pruned.extensions, 0);
}

#[test]
fn i3_a_pruned_message_costs_at_most_128_bytes_for_good() {
    const COUNT: usize = 2048;
    let outbox = Chain::outbox("lane", COUNT);
    let inbox = Chain::inbox(&outbox);
    let mut journal = MemoryJournal::new();
    for last in (64..=COUNT).step_by(64) {
        let signed = outbox.attested(last, 1);
        journal.append(&[outbox.extension(last - 64, last), signed, outbox.accepted(last)]).unwrap();
        journal.append(&[inbox.extension(last - 64, last), inbox.attested(last, 1), inbox.done(last, 1)]).unwrap();
    }
    prune(&mut journal, FAR, PruneDepth::Bodies);
    let bytes = |rows: &MemoryRows| Table::ALL.iter().map(|table| rows.size(*table).1).sum::<usize>();
    let total = bytes(journal.rows());
    assert!(total <= 128 * COUNT, "{} bytes a message", total as f64 / COUNT as f64);
    assert_eq!(journal.view().point(outbox.flow, Index(100)).unwrap(), Some(outbox.points[100]));
    assert_eq!(journal.view().point(inbox.flow, Index(100)).unwrap(), Some(inbox.points[100]));
}
