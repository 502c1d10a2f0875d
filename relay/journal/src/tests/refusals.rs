//! One test for each thing that the journal does not take: the right one is taken, the same with one thing wrong is not.

use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::claim::MAX_CLAIM_ENTRIES;
use cityrelay_core::ids::{Domain, Epoch, Height, Index, UnixMillis};
use cityrelay_core::lane::Direction;
use cityrelay_core::light_client::Header;
use cityrelay_core::order::{Action, Choice};
use cityrelay_core::record::{Decided, ExtensionRecord, Frozen, IntentEnd, Misbehaviour, Purpose, Record};
use cityrelay_core::recovery::KEPT_HEADERS;
use cityrelay_wire::row::{SignedRow, position_key};

use super::fixture::{
    Chain, audit, client, domain, equivocation, header, intent, journal, opaque, refusal, unfreeze, word,
};
use crate::memory::MemoryRows;
use crate::rows::Overlay;
use crate::table::Table;
use crate::{JournalError, MemoryJournal};

#[test]
fn an_extension_continues_the_tip() {
    let chain = Chain::outbox("lane", 6);
    let journal = journal(&[vec![chain.extension(0, 2)], vec![chain.extension(2, 6)]]);
    assert_eq!(journal.view().flows().unwrap()[0].tip, chain.tip());
}

#[test]
fn an_extension_above_the_tip_is_a_gap() {
    let chain = Chain::outbox("lane", 6);
    let journal = journal(&[vec![chain.extension(0, 2)]]);
    let error = refusal(&journal, &[chain.extension(3, 6)]);
    assert!(matches!(error, JournalError::Gap { expected: Index(2), got: Index(3), .. }), "{error}");
}

#[test]
fn an_extension_of_another_head_is_a_fork() {
    let chain = Chain::outbox("lane", 6);
    let journal = journal(&[vec![chain.extension(0, 2)]]);
    let record = ExtensionRecord { base: chain.wrong(2), ..chain.record(2, 6) };
    let error = refusal(&journal, &[Record::Extension(record)]);
    assert!(matches!(error, JournalError::Fork { index: Index(2), .. }), "{error}");
}

#[test]
fn the_first_extension_begins_at_the_start_of_the_chain() {
    let chain = Chain::outbox("lane", 2);
    let base = ChainPoint { index: Index(0), head: word("another start") };
    let error = refusal(&journal(&[]), &[Record::Extension(ExtensionRecord { base, ..chain.record(0, 2) })]);
    assert!(matches!(error, JournalError::Fork { index: Index(0), .. }), "{error}");
}

#[test]
fn an_extension_again_changes_nothing() {
    let chain = Chain::outbox("lane", 6);
    let before = journal(&[vec![chain.extension(0, 2)], vec![chain.extension(2, 6)]]);
    let mut after = before.clone();
    for (base, last) in [(0, 2), (2, 6), (3, 5), (0, 6)] {
        after.append(&[chain.extension(base, last)]).unwrap();
    }
    after.sync();
    assert_eq!(after.view().flows().unwrap(), before.view().flows().unwrap());
}

#[test]
fn an_extension_that_overlaps_adds_what_is_new() {
    let chain = Chain::outbox("lane", 6);
    let journal = journal(&[vec![chain.extension(0, 2)], vec![chain.extension(1, 6)]]);
    let view = journal.view();
    assert_eq!(view.flows().unwrap()[0].tip, chain.tip());
    assert_eq!(view.entries(chain.flow, Index(1), Index(6)).unwrap(), chain.entries);
    assert_eq!(view.extension(chain.flow, Index(3)).unwrap().unwrap().base, chain.points[2]);
    assert_eq!(view.verify().unwrap(), 6);
}

#[test]
fn an_extension_that_overlaps_with_other_entries_is_a_fork() {
    let chain = Chain::outbox("lane", 6);
    let journal = journal(&[vec![chain.extension(0, 2)]]);
    let mut other = Chain::outbox("lane", 1);
    other.push(b"another payload");
    other.push(b"payload");
    for last in [2, 3] {
        let error = refusal(&journal, &[other.extension(1, last)]);
        assert!(matches!(error, JournalError::Fork { index: Index(2), .. }), "{error}");
    }
}

#[test]
fn an_extension_has_1_to_1024_entries() {
    let chain = Chain::outbox("lane", MAX_CLAIM_ENTRIES + 1);
    let journal = journal(&[]);
    journal.clone().append(&[chain.extension(0, MAX_CLAIM_ENTRIES)]).unwrap();
    for (last, count) in [(0, 0), (MAX_CLAIM_ENTRIES + 1, MAX_CLAIM_ENTRIES + 1)] {
        let error = refusal(&journal, &[chain.extension(0, last)]);
        let JournalError::EntryCount { expected, got } = error else { panic!("{error}") };
        assert_eq!((expected, got), (MAX_CLAIM_ENTRIES, count));
    }
}

#[test]
fn an_entry_of_the_other_direction_is_refused() {
    let chain = Chain::outbox("lane", 2);
    let mut record = chain.record(0, 2);
    record.entries[1] = Chain::inbox(&chain).entries[1].clone();
    let error = refusal(&journal(&[]), &[Record::Extension(record)]);
    assert!(
        matches!(error, JournalError::EntryDirection { expected: Direction::Outbox, got: Direction::Inbox }),
        "{error}"
    );
}

#[test]
fn an_entry_out_of_order_is_refused() {
    let chain = Chain::outbox("lane", 3);
    let mut record = chain.record(0, 3);
    record.entries.remove(1);
    let error = refusal(&journal(&[]), &[Record::Extension(record)]);
    assert!(matches!(error, JournalError::EntryIndex { expected: Index(2), got: Index(3) }), "{error}");
}

#[test]
fn a_batch_is_taken_as_a_whole_or_not_at_all() {
    let chain = Chain::outbox("lane", 4);
    let mut journal = journal(&[]);
    let error = journal.append(&[chain.extension(0, 2), chain.extension(3, 4)]).unwrap_err();
    assert!(matches!(error, JournalError::Gap { .. }), "{error}");
    journal.sync();
    assert_eq!(journal.view().flows().unwrap(), []);
    assert_eq!(journal.view().counts().unwrap().records, 0);
    journal.append(&[chain.extension(0, 2), chain.extension(2, 4)]).unwrap();
    journal.sync();
    assert_eq!(journal.view().flows().unwrap()[0].tip, chain.tip());
}

#[test]
fn an_attested_head_is_on_our_chain() {
    let chain = Chain::outbox("lane", 6);
    let journal = journal(&[vec![chain.extension(0, 5)], vec![chain.attested(3, 1), chain.attested(5, 1)]]);
    let error = refusal(&journal, &[chain.attested(6, 1)]);
    assert!(matches!(error, JournalError::Gap { expected: Index(5), got: Index(6), .. }), "{error}");
    for index in [3, 5] {
        let mut evidence = chain.evidence(index, 1);
        evidence.point = chain.wrong(index);
        let error = refusal(&journal, &[Record::Attested { flow: chain.flow, evidence, at: UnixMillis(1) }]);
        assert!(matches!(error, JournalError::Fork { .. }), "{error}");
    }
}

#[test]
fn an_attested_head_may_lie_in_the_tail_of_the_proof() {
    let chain = Chain::outbox("lane", 6);
    let links = |entries: &[Entry]| entries.iter().map(|entry| entry.link(chain.flow)).collect();
    let record = ExtensionRecord { tail: links(&chain.entries[2..5]), ..chain.record(0, 2) };
    let journal = journal(&[vec![Record::Extension(record)], vec![chain.attested(5, 1)]]);
    let mut evidence = chain.evidence(5, 1);
    evidence.point = chain.wrong(5);
    let error = refusal(&journal, &[Record::Attested { flow: chain.flow, evidence, at: UnixMillis(1) }]);
    assert!(matches!(error, JournalError::Fork { .. }), "{error}");
    let error = refusal(&journal, &[chain.attested(6, 1)]);
    assert!(matches!(error, JournalError::Gap { .. }), "{error}");
}

#[test]
fn an_attested_head_has_an_index_and_signatures() {
    let chain = Chain::outbox("lane", 2);
    let journal = journal(&[vec![chain.extension(0, 2)]]);
    let mut unsigned = chain.evidence(2, 1);
    unsigned.signatures.clear();
    for evidence in [unsigned, chain.evidence(0, 1)] {
        let error = refusal(&journal, &[Record::Attested { flow: chain.flow, evidence, at: UnixMillis(1) }]);
        assert!(matches!(error, JournalError::EmptyEvidence { .. }), "{error}");
    }
}

#[test]
fn marks_are_on_our_chain_and_only_move_forward() {
    let chain = Chain::outbox("lane", 6);
    let mut journal = journal(&[
        vec![chain.extension(0, 5)],
        vec![chain.accepted(4), chain.done(3, 50)],
        // Going back is ignored.
        vec![chain.accepted(2), chain.done(1, 60), chain.accepted(0)],
    ]);
    let flow = journal.view().flows().unwrap()[0];
    assert_eq!((flow.peer_accepted, flow.done), (chain.points[4], chain.points[3]));
    for record in [chain.accepted(6), chain.done(6, 1)] {
        let error = refusal(&journal, &[record]);
        assert!(matches!(error, JournalError::Gap { expected: Index(5), got: Index(6), .. }), "{error}");
    }
    // Another head is refused even where going back would be ignored.
    for index in [1, 4, 5] {
        let (flow, point) = (chain.flow, chain.wrong(index));
        for record in
            [Record::PeerAccepted { flow, point, at: UnixMillis(1) }, Record::Done { flow, point, at: UnixMillis(1) }]
        {
            let error = refusal(&journal, &[record]);
            assert!(matches!(error, JournalError::Fork { .. }), "{error}");
        }
    }
    journal.append(&[chain.accepted(5), chain.done(5, 70)]).unwrap();
}

#[test]
fn i4_only_our_own_durable_head_is_signed() {
    let chain = Chain::outbox("lane", 6);
    let journal = journal(&[vec![chain.extension(0, 5), chain.signed(5, 1)], vec![chain.signed(3, 1)]]);
    assert_eq!(journal.view().signed(chain.flow, Index(5)).unwrap(), Some((chain.points[5], Epoch(1))));
    assert_eq!(journal.view().flows().unwrap()[0].signed, Some(chain.points[5]));
    let error = refusal(&journal, &[chain.signed(6, 1)]);
    assert!(matches!(error, JournalError::Gap { .. }), "{error}");
    for index in [2, 3, 5] {
        let signed = Record::Signed { flow: chain.flow, point: chain.wrong(index), epoch: Epoch(1) };
        let error = refusal(&journal, &[signed]);
        let JournalError::SignConflict { expected, .. } = error else { panic!("{error}") };
        assert_eq!(expected, chain.points[index].head);
    }
    let error = refusal(&journal, &[chain.signed(0, 1)]);
    assert!(matches!(error, JournalError::SignConflict { .. }), "{error}");
}

#[test]
fn i4_a_second_head_is_refused_even_if_the_chain_would_allow_it() {
    let chain = Chain::outbox("lane", 2);
    let mut rows = MemoryRows::default();
    rows.apply(crate::apply::apply_batch(&rows, &[chain.extension(0, 2)]).unwrap());
    let mut forged = Overlay::new(&rows);
    let row = SignedRow { head: word("another"), epoch: Epoch(1) };
    forged.write(Table::Signed, &position_key(chain.flow, Index(2)), &row).unwrap();
    let changes = forged.into_changes();
    rows.apply(changes);
    let error = crate::apply::apply_batch(&rows, &[chain.signed(2, 1)]).unwrap_err();
    assert!(matches!(error, JournalError::SignConflict { expected, .. } if expected == word("another")), "{error}");
}

#[test]
fn the_same_head_is_signed_again_for_another_epoch_and_counted() {
    let chain = Chain::outbox("lane", 2);
    let journal =
        journal(&[vec![chain.extension(0, 2), chain.signed(2, 1)], vec![chain.signed(2, 3)], vec![chain.signed(2, 2)]]);
    assert_eq!(journal.view().signed(chain.flow, Index(2)).unwrap(), Some((chain.points[2], Epoch(3))));
    assert_eq!(journal.view().counts().unwrap().signed, 3);
}

#[test]
fn a_client_moves_forward_and_keeps_the_newest_headers() {
    let kept = KEPT_HEADERS as u64;
    let journal = journal(&[vec![client(1, 10, "a")], vec![client(11, kept + 5, "a")]]);
    let recovered = journal.view().recover(&[]).unwrap();
    let client = &recovered.clients[0];
    assert_eq!((client.height, client.hash), (Height(kept + 5), header(kept + 5, "a").hash));
    assert_eq!(client.headers.len(), KEPT_HEADERS);
    assert_eq!(client.headers[0], header(6, "a"));
    assert_eq!(client.headers.last(), Some(&header(kept + 5, "a")));
}

#[test]
fn a_client_may_change_its_state_at_the_same_header() {
    let journal = journal(&[vec![client(1, 10, "a")]]);
    let Record::Client { domain, height, hash, .. } = client(1, 10, "a") else { panic!() };
    let state = opaque(b"a header is held back");
    let mut journal = journal;
    journal.append(&[Record::Client { domain, state: state.clone(), height, hash, headers: vec![] }]).unwrap();
    journal.sync();
    let recovered = journal.view().recover(&[]).unwrap();
    assert_eq!((&recovered.clients[0].state, recovered.clients[0].headers.len()), (&state, 10));
}

#[test]
fn a_client_does_not_go_back_or_sideways() {
    let journal = journal(&[vec![client(1, 10, "a")]]);
    for record in [client(8, 9, "a"), client(10, 10, "b")] {
        let error = refusal(&journal, &[record]);
        assert!(matches!(error, JournalError::ClientBackwards { expected: Height(10), .. }), "{error}");
    }
}

#[test]
fn i8_a_second_header_for_a_height_is_refused() {
    let journal = journal(&[vec![client(1, 10, "a")]]);
    let Record::Client { domain, state, height, hash, mut headers } = client(9, 12, "a") else { panic!() };
    headers[1] = header(10, "b");
    let error = refusal(&journal, &[Record::Client { domain, state, height, hash, headers }]);
    let JournalError::HeaderConflict { height, expected, got, .. } = error else { panic!("{error}") };
    assert_eq!((height, expected, got), (Height(10), header(10, "a").hash, header(10, "b").hash));
}

#[test]
fn headers_ascend_up_to_the_clients_height() {
    let Record::Client { domain, state, height, hash, headers } = client(9, 12, "a") else { panic!() };
    let broken: [Vec<Header>; 3] = [
        headers.iter().rev().cloned().collect(),
        vec![headers[0].clone(), headers[0].clone()],
        vec![headers[0].clone(), header(13, "a")],
    ];
    for headers in broken {
        let state = state.clone();
        let error = refusal(&journal(&[]), &[Record::Client { domain, state, height, hash, headers }]);
        assert!(matches!(error, JournalError::HeaderOrder { .. }), "{error}");
    }
}

fn frozen(journal: &MemoryJournal) -> Vec<(Domain, Frozen)> {
    journal.view().recover(&[]).unwrap().frozen
}

#[test]
fn i8_an_equivocation_freezes_until_an_operator_decides() {
    let mut journal = journal(&[vec![client(1, 10, "a")]]);
    let error = refusal(&journal, &[audit(1, unfreeze(Choice::Ours))]);
    assert!(matches!(error, JournalError::NotFrozen { .. }), "{error}");

    journal.append(&[Record::Misbehaviour(equivocation(1))]).unwrap();
    journal.sync();
    let both = Frozen { height: Height(5), ours: header(5, "a").hash, theirs: header(5, "b").hash };
    assert_eq!(frozen(&journal), [(domain(), both)]);
    let error = refusal(&journal, &[client(11, 12, "a")]);
    assert!(matches!(error, JournalError::Frozen { .. }), "{error}");
    let other = Action::Unfreeze {
        domain: domain(),
        height: both.height,
        ours: both.ours,
        theirs: header(5, "c").hash,
        choice: Choice::Ours,
    };
    let error = refusal(&journal, &[audit(2, other)]);
    assert!(matches!(error, JournalError::OtherStatements { .. }), "{error}");

    journal.append(&[audit(2, unfreeze(Choice::Ours))]).unwrap();
    journal.append(&[client(11, 12, "a")]).unwrap();
    journal.sync();
    let recovered = journal.view().recover(&[]).unwrap();
    assert_eq!((recovered.frozen.len(), recovered.clients[0].height), (0, Height(12)));
    let decided = Decided { height: Height(5), chosen: both.ours, rejected: both.theirs };
    assert_eq!(recovered.decided, [(domain(), decided)]);
}

#[test]
fn i8_a_client_that_follows_the_other_header_begins_at_its_anchor_and_never_returns() {
    let mut journal = journal(&[vec![client(1, 10, "a")], vec![Record::Misbehaviour(equivocation(1))]]);
    journal.append(&[audit(2, unfreeze(Choice::Theirs))]).unwrap();
    journal.sync();
    let recovered = journal.view().recover(&[]).unwrap();
    assert_eq!((recovered.frozen.len(), recovered.clients.len()), (0, 0));
    let error = refusal(&journal, &[client(1, 6, "a")]);
    assert!(matches!(error, JournalError::HeaderConflict { .. }), "{error}");
    journal.append(&[client(1, 6, "b")]).unwrap();
    journal.sync();
    let held: Vec<_> = journal.view().recover(&[]).unwrap().clients[0].headers.iter().map(|held| held.hash).collect();
    assert_eq!(held, (1..=6).map(|height| header(height, "b").hash).collect::<Vec<_>>());
}

#[test]
fn i8_an_own_node_that_says_otherwise_freezes_as_well() {
    let says = |at| {
        Record::Misbehaviour(Misbehaviour::Contradiction {
            domain: domain(),
            ours: header(7, "a"),
            theirs: header(7, "b").hash,
            node: "own".to_owned(),
            at: UnixMillis(at),
        })
    };
    let journal = journal(&[vec![client(1, 10, "a")], vec![says(3)], vec![says(4)]]);
    let expected = Frozen { height: Height(7), ours: header(7, "a").hash, theirs: header(7, "b").hash };
    assert_eq!(frozen(&journal), [(domain(), expected)]);
    assert_eq!(journal.view().misbehaviour().unwrap().len(), 1, "the same evidence is kept once");
}

#[test]
fn orders_are_kept_in_order_and_a_pause_outlasts_a_restart() {
    let lane = Chain::outbox("lane", 0).flow.lane;
    let (pause, resume) = (Action::PauseLane { lane }, Action::ResumeLane { lane });
    let other = Action::Other { what: "reload".to_owned() };
    let mut journal = journal(&[vec![audit(1, pause.clone()), audit(2, pause)], vec![audit(3, other)]]);
    assert_eq!(journal.view().recover(&[]).unwrap().paused, [lane]);
    let times = |journal: &MemoryJournal, limit| -> Vec<u64> {
        journal.view().audit(limit).unwrap().iter().map(|audit| audit.at.0).collect()
    };
    assert_eq!(times(&journal, 2), [3, 2]);
    journal.append(&[audit(4, resume)]).unwrap();
    journal.sync();
    assert_eq!(journal.view().recover(&[]).unwrap().paused, []);
    assert_eq!(times(&journal, 100), [4, 3, 2, 1]);
    assert_eq!(times(&journal, 0), [0; 0]);
}

#[test]
fn the_same_evidence_is_kept_once() {
    let journal = journal(&[
        vec![Record::Misbehaviour(equivocation(3))],
        vec![Record::Misbehaviour(equivocation(9)), Record::Misbehaviour(equivocation(3))],
    ]);
    assert_eq!(journal.view().misbehaviour().unwrap(), [equivocation(3)]);
}

#[test]
fn a_transaction_is_open_until_its_fate_is_known() {
    let first = intent("first", Purpose::Operator);
    let second = intent("second", Purpose::Operator);
    let closed = |end| Record::IntentClosed { domain: domain(), hash: first.hash, end };
    let succeeded = IntentEnd::Succeeded { height: Height(3), gas_used: 5 };
    let mut journal = journal(&[vec![Record::Intent(first.clone()), Record::Intent(second.clone())]]);
    assert_eq!(journal.view().recover(&[]).unwrap().intents.len(), 2);
    journal.append(&[closed(succeeded)]).unwrap();
    // The same again, and giving up what is known to have ended, is no news.
    journal.append(&[closed(succeeded), closed(IntentEnd::Dead)]).unwrap();
    journal.sync();
    assert_eq!(journal.view().recover(&[]).unwrap().intents, [second]);
    let reverted = closed(IntentEnd::Reverted { height: Height(3), gas_used: 5 });
    let error = refusal(&journal, &[reverted]);
    assert!(matches!(error, JournalError::IntentConflict { .. }), "{error}");
    let error = refusal(&journal, &[Record::Intent(first.clone())]);
    assert!(matches!(error, JournalError::IntentConflict { .. }), "{error}");
}

#[test]
fn a_transaction_that_was_given_up_may_be_recorded_again() {
    let first = intent("first", Purpose::Operator);
    let dead = Record::IntentClosed { domain: domain(), hash: first.hash, end: IntentEnd::Dead };
    let again = Record::Intent(first.clone());
    let mut journal = journal(&[vec![again.clone()], vec![again.clone()], vec![dead.clone(), again]]);
    assert_eq!(journal.view().recover(&[]).unwrap().intents.first(), Some(&first));
    let end = IntentEnd::Succeeded { height: Height(3), gas_used: 5 };
    // Given up, but executed after all.
    journal.append(&[dead, Record::IntentClosed { domain: domain(), hash: first.hash, end }]).unwrap();
    journal.sync();
    assert_eq!(journal.view().recover(&[]).unwrap().intents, []);
}

#[test]
fn an_unknown_transaction_is_not_closed_and_other_bytes_are_not_taken() {
    let first = intent("first", Purpose::Operator);
    let closed = Record::IntentClosed { domain: domain(), hash: first.hash, end: IntentEnd::Dead };
    let error = refusal(&journal(&[]), &[closed]);
    assert!(matches!(error, JournalError::UnknownIntent { .. }), "{error}");
    let journal = journal(&[vec![Record::Intent(first.clone())]]);
    let mut other = first;
    other.bytes.bytes.push(0);
    let error = refusal(&journal, &[Record::Intent(other)]);
    assert!(matches!(error, JournalError::IntentConflict { .. }), "{error}");
}

#[test]
fn a_record_that_could_not_be_read_back_is_refused() {
    let mut chain = Chain::new("lane", Direction::Outbox);
    chain.push(&vec![0; cityrelay_wire::limits::MAX_PAYLOAD_BYTES + 1]);
    let error = refusal(&journal(&[]), &[chain.extension(0, 1)]);
    assert!(matches!(error, JournalError::Encode(_)), "{error}");
}
