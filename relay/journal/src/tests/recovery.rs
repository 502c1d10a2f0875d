//! What a restart begins with.

use std::cell::Cell;

use cityrelay_core::chain::ChainPoint;
use cityrelay_core::ids::{Height, Index};
use cityrelay_core::message::Payload;
use cityrelay_core::record::{Frozen, Purpose, Record};
use cityrelay_core::recovery::{RecoveredFlow, Side};

use super::fixture::{Chain, client, domain, equivocation, header, intent, journal};
use crate::memory::MemoryRows;
use crate::rows::{KeyValue, Rows};
use crate::table::Table;
use crate::{JournalError, MemoryJournal, PruneDepth, View};

fn recover(journal: &MemoryJournal, chain: &Chain, side: Side) -> RecoveredFlow {
    journal.view().recover(&[(chain.flow, side)]).unwrap().flows.remove(0)
}

#[test]
fn an_empty_journal_recovers_the_start_of_each_flow() {
    let chain = Chain::outbox("lane", 0);
    for side in [Side::Outbound, Side::Inbound, Side::Attester] {
        let flow = recover(&journal(&[]), &chain, side);
        let start = ChainPoint::start(chain.flow);
        assert_eq!((flow.tip, flow.peer_accepted, flow.done, flow.side), (start, start, start, side));
        assert!(flow.outstanding.is_empty() && flow.evidence.is_empty() && flow.unsettled.is_empty());
    }
}

#[test]
fn outbound_what_the_peer_has_not_accepted_is_outstanding() {
    let chain = Chain::outbox("lane", 9);
    let journal = journal(&[
        vec![chain.extension(0, 3), chain.extension(3, 6), chain.extension(6, 9)],
        vec![chain.attested(3, 1), chain.attested(6, 2), chain.attested(6, 3), chain.attested(9, 1)],
        // In the middle of the second extension: all of it is still outstanding.
        vec![chain.accepted(4)],
    ]);
    let flow = recover(&journal, &chain, Side::Outbound);
    assert_eq!((flow.tip, flow.peer_accepted), (chain.tip(), chain.points[4]));
    assert_eq!(flow.outstanding, [chain.record(3, 6), chain.record(6, 9)]);
    assert_eq!(flow.evidence, [chain.evidence(6, 3), chain.evidence(9, 1)], "the newest epoch of each head");
}

#[test]
fn inbound_what_is_not_done_is_outstanding() {
    let chain = Chain::outbox("lane", 9);
    let journal = journal(&[
        vec![chain.extension(0, 3), chain.attested(3, 1)],
        vec![chain.extension(3, 9), chain.attested(9, 1)],
        vec![chain.done(3, 5), chain.accepted(9)],
    ]);
    let flow = recover(&journal, &chain, Side::Inbound);
    assert_eq!((flow.tip, flow.done), (chain.tip(), chain.points[3]));
    assert_eq!(flow.outstanding, [chain.record(3, 9)]);
    assert_eq!(flow.evidence, [chain.evidence(9, 1)]);
    assert!(flow.unsettled.is_empty());
}

#[test]
fn an_attester_has_nothing_outstanding() {
    let chain = Chain::outbox("lane", 3);
    let journal = journal(&[vec![chain.extension(0, 3), chain.signed(3, 1), chain.attested(3, 1)]]);
    let flow = recover(&journal, &chain, Side::Attester);
    assert_eq!(flow.tip, chain.tip());
    assert!(flow.outstanding.is_empty() && flow.evidence.is_empty());
}

#[test]
fn an_outbox_recovers_its_unsettled_messages_by_hash() {
    let outbox = Chain::outbox("lane", 6);
    let inbox = Chain::inbox(&outbox);
    let journal = journal(&[
        vec![outbox.extension(0, 3), outbox.extension(3, 6), outbox.accepted(6)],
        vec![inbox.extension(0, 4), inbox.done(2, 5)],
    ]);
    let flow = recover(&journal, &outbox, Side::Outbound);
    assert!(flow.outstanding.is_empty());
    let indices: Vec<_> = flow.unsettled.iter().map(|message| message.index.0).collect();
    assert_eq!(indices, [3, 4, 5, 6]);
    assert!(flow.unsettled.iter().all(|message| matches!(message.payload, Payload::Hash(_))));
    for message in &flow.unsettled {
        let entry = &outbox.entries[message.index.0 as usize - 1];
        assert_eq!(message.id(outbox.flow.lane).0, entry.link(outbox.flow));
    }
    let back = recover(&journal, &inbox, Side::Inbound);
    assert_eq!(back.outstanding, [inbox.record(0, 4)]);
}

#[test]
fn clients_intents_and_frozen_chains_come_back() {
    let open = intent("open", Purpose::Operator);
    let journal =
        journal(&[vec![client(1, 3, "a"), Record::Intent(open.clone()), Record::Misbehaviour(equivocation(1))]]);
    let recovered = journal.view().recover(&[]).unwrap();
    assert_eq!((recovered.clients.len(), recovered.clients[0].headers.len()), (1, 3));
    assert_eq!(recovered.intents, [open]);
    let both = Frozen { height: Height(5), ours: header(5, "a").hash, theirs: header(5, "b").hash };
    assert_eq!(recovered.frozen, [(domain(), both)]);
}

/// Counts what is read.
struct Counting<'a> {
    rows: &'a MemoryRows,
    reads: Cell<usize>,
}

impl Rows for Counting<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, JournalError> {
        self.reads.set(self.reads.get() + 1);
        self.rows.get(table, key)
    }

    fn seek(&self, table: Table, from: &[u8]) -> Result<Option<KeyValue>, JournalError> {
        self.reads.set(self.reads.get() + 1);
        self.rows.seek(table, from)
    }
}

#[test]
fn recovery_reads_what_is_outstanding_and_not_the_history() {
    let reads = |history: usize, outstanding: usize| {
        let total = history + outstanding;
        let outbox = Chain::outbox("lane", total);
        let inbox = Chain::inbox(&outbox);
        let mut journal = MemoryJournal::new();
        for last in 1..=total {
            let carry = intent(&format!("{last}"), Purpose::Carry { flow: outbox.flow, last: Index(last as u64) });
            let end = cityrelay_core::record::IntentEnd::Dead;
            let closed = Record::IntentClosed { domain: domain(), hash: carry.hash, end };
            let batch = [outbox.extension(last - 1, last), outbox.attested(last, 1), Record::Intent(carry), closed];
            journal.append(&batch).unwrap();
            journal.append(&[inbox.extension(last - 1, last), inbox.attested(last, 1)]).unwrap();
        }
        journal.append(&[outbox.accepted(history), inbox.done(history, 1)]).unwrap();
        journal.sync();
        let rows = Counting { rows: journal.rows(), reads: Cell::new(0) };
        let recovered =
            View::new(&rows).recover(&[(outbox.flow, Side::Outbound), (inbox.flow, Side::Inbound)]).unwrap();
        for flow in &recovered.flows {
            assert_eq!(flow.outstanding.len(), outstanding);
        }
        rows.reads.get()
    };
    let (short, long, busy) = (reads(10, 5), reads(1000, 5), reads(10, 50));
    assert_eq!(short, long);
    assert!(busy > short);
    assert!(long < 120, "{long} reads for 10 outstanding extensions");
}

#[test]
fn pruning_and_recovery_agree_on_what_is_outstanding() {
    let outbox = Chain::outbox("lane", 6);
    let inbox = Chain::inbox(&outbox);
    let mut journal = journal(&[
        vec![outbox.extension(0, 2), outbox.extension(2, 6), outbox.accepted(6)],
        vec![inbox.extension(0, 4), inbox.done(2, 5)],
    ]);
    let before = recover(&journal, &outbox, Side::Outbound);
    let far = cityrelay_core::ids::UnixMillis(u64::MAX);
    journal.prune(far, PruneDepth::Bodies, usize::MAX).unwrap();
    journal.sync();
    assert_eq!(recover(&journal, &outbox, Side::Outbound), before);
}
