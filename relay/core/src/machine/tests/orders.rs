//! What own nodes say of headers, and what operators order.

use super::*;
use crate::hash::keccak256;
use crate::light_client::{HoldReason, Refusal};
use crate::machine::effect::{OrderId, UpdateOrigin};
use crate::machine::input::NodeStatement;
use crate::machine::status::{ClientStatus, WaitReason};
use crate::order::{Action, Choice, Operator, Order, OrderRefusal, Subject};
use crate::record::{Decided, Frozen};
use crate::verify::VerifiedUpdate;

fn hash_at(height: u64) -> Hash32 {
    keccak256(&height.to_be_bytes())
}

fn other() -> Hash32 {
    keccak256(b"another block")
}

/// An attester whose chain `here` needs local confirmation.
fn weak() -> Bench {
    let mut bench = Bench::new(None);
    bench.config.chains[0].strength = ProofStrength::NeedsLocalConfirmation;
    bench
}

fn statements(hashes: &[Option<Hash32>]) -> Input {
    let node = |(number, hash): (usize, &Option<Hash32>)| NodeStatement { node: format!("own-{number}"), hash: *hash };
    let answer = Fetched::Some(hashes.iter().enumerate().map(node).collect());
    Input::HeaderConfirmed { domain: domain("here"), height: Height(10), hash: hash_at(10), answer }
}

fn order(action: Action) -> Order {
    Order { who: Operator { uid: 1000, name: "chen".to_owned() }, reason: "asked".to_owned(), action }
}

fn frozen() -> Frozen {
    Frozen { height: Height(10), ours: hash_at(10), theirs: other() }
}

fn unfreeze(choice: Choice) -> Action {
    let Frozen { height, ours, theirs } = frozen();
    Action::Unfreeze { domain: domain("here"), height, ours, theirs, choice }
}

fn appended(effects: &[Effect]) -> Option<(crate::machine::effect::Ticket, Vec<Record>)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Append { ticket, records } => Some((*ticket, records.clone())),
        _ => None,
    })
}

fn ended(effects: &[Effect]) -> Option<Result<(), OrderRefusal>> {
    effects.iter().find_map(|effect| match effect {
        Effect::Report(Report::OrderEnded { end, .. }) => Some(end.clone()),
        _ => None,
    })
}

fn questions(effects: &[Effect]) -> Vec<Height> {
    let asked = |effect: &Effect| match effect {
        Effect::ConfirmHeader { header } => Some(header.height()),
        _ => None,
    };
    effects.iter().filter_map(asked).collect()
}

fn verifies(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::VerifyClaim(_)))
}

impl Driven {
    fn client(&self) -> ClientStatus {
        self.machine.status().clients.into_iter().find(|client| client.domain == domain("here")).unwrap()
    }

    /// Gives an order, which must be durable before anything comes of it.
    fn order(&mut self, action: Action) -> Vec<Effect> {
        let effects = self.give(Input::Order { id: OrderId(7), order: order(action.clone()) });
        assert_eq!(ended(&effects), None, "nothing before it is durable");
        let (ticket, records) = appended(&effects).unwrap();
        assert!(matches!(&records[..], [Record::Audit(audit)] if audit.order.action == action && audit.at == self.now));
        let effects = self.give(Input::Durable(ticket));
        assert_eq!(ended(&effects), Some(Ok(())));
        effects
    }

    fn refused(&mut self, action: Action) -> OrderRefusal {
        let effects = self.give(Input::Order { id: OrderId(7), order: order(action) });
        assert_eq!(appended(&effects), None);
        ended(&effects).unwrap().unwrap_err()
    }

    fn request(&mut self) -> Vec<Effect> {
        let claim = extension(0, 3, 10).claim_without_payloads();
        self.frame(PEER, Frame::AttestRequest { claim, index: Index(3), epoch: Epoch(1) })
    }
}

#[test]
fn nothing_that_hangs_on_an_unconfirmed_header_is_attested() {
    let mut driven = weak().start();
    assert_eq!(questions(&driven.effects()), [Height(10)], "the tip of what is held, once");
    driven.greet(PEER, Role::Relay, vec![]);
    assert!(!verifies(&driven.request()));
    let effects = driven.give(statements(&[None, None]));
    assert!(!verifies(&effects) && questions(&effects).is_empty(), "silence is no agreement, and no disagreement");
    assert_eq!(driven.client().frozen, None);
    driven.now = UnixMillis(NOW.0 + 60_000);
    assert_eq!(questions(&driven.give(Input::Tick)), [Height(10)], "asked again after a wait");
    let effects = driven.give(statements(&[None, Some(hash_at(10))]));
    assert!(verifies(&effects), "one that agrees is enough: {effects:?}");
    assert_eq!(driven.client().confirmed, Height(10));
}

#[test]
fn a_conclusive_chain_asks_nobody() {
    let mut driven = Bench::new(None).start();
    assert_eq!(questions(&driven.effects()), []);
    assert_eq!(driven.client().confirmed, Height(10));
    driven.greet(PEER, Role::Relay, vec![]);
    assert!(verifies(&driven.request()));
}

#[test]
fn i8_an_own_node_with_another_block_freezes_even_when_others_agree() {
    let mut driven = weak().start();
    let effects = driven.give(statements(&[Some(hash_at(10)), Some(other())]));
    let named = effects.iter().any(|effect| {
        matches!(effect, Effect::Report(Report::Contradicted { node, theirs, .. }) if node == "own-1" && *theirs == other())
    });
    assert!(named, "{effects:?}");
    let (ticket, records) = appended(&effects).unwrap();
    let [Record::Misbehaviour(Misbehaviour::Contradiction { ours, theirs, node, .. })] = &records[..] else {
        panic!("{records:?}")
    };
    assert_eq!((ours.hash, *theirs, node.as_str()), (hash_at(10), other(), "own-1"));
    assert_eq!(driven.client().frozen, Some(frozen()), "at once");
    let effects = driven.give(Input::Durable(ticket));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Report(Report::Frozen { .. }))), "{effects:?}");
    driven.greet(PEER, Role::Relay, vec![]);
    assert_eq!(declines(&driven.request())[0].reason, DeclineReason::Unconfirmed);
}

/// A client that is frozen over block 10, after a restart.
fn frozen_bench() -> Bench {
    let mut bench = Bench::new(None);
    bench.recovered.frozen = vec![(domain("here"), frozen())];
    bench
}

#[test]
fn i8_unfreezing_needs_both_headers_and_a_choice() {
    let mut driven = frozen_bench().start();
    let both = frozen();
    for (height, ours, theirs) in [
        (Height(9), both.ours, both.theirs),
        (both.height, both.theirs, both.theirs),
        (both.height, both.ours, both.ours),
        (both.height, both.theirs, both.ours),
    ] {
        let choice = Choice::Ours;
        let refusal = driven.refused(Action::Unfreeze { domain: domain("here"), height, ours, theirs, choice });
        let got = Frozen { height, ours, theirs };
        assert_eq!(refusal, OrderRefusal::OtherStatements { expected: Box::new(both), got: Box::new(got) });
    }
    driven.order(unfreeze(Choice::Ours));
    assert_eq!(driven.client().frozen, None);
    assert_eq!(driven.refused(unfreeze(Choice::Ours)), OrderRefusal::NotFrozen(domain("here")));
}

#[test]
fn i8_what_was_rejected_freezes_no_more_and_is_never_followed() {
    let mut driven = frozen_bench().start();
    let effects = driven.order(unfreeze(Choice::Ours));
    let origin = || UpdateOrigin::Node("second".to_owned());
    assert!(effects.iter().any(|effect| matches!(effect, Effect::FetchUpdate { .. })), "{effects:?}");
    let after = Height(10);
    let (recipient, update) = (crate::machine::input::Recipient::Own, opaque("update"));
    let answer = Fetched::Some((update.clone(), origin()));
    driven.give(Input::UpdateFetched { domain: domain("here"), recipient, after, answer });
    let refusal = Refusal::new("equivocation", hash_at(10), other()).at(Height(10)).equivocation();
    let result = VerifiedUpdate::Refused(refusal);
    let effects = driven.give(Input::UpdateVerified { domain: domain("here"), update, origin: origin(), result });
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Report(Report::Lie { .. }))), "{effects:?}");
    assert_eq!((appended(&effects), driven.client().frozen), (None, None));
}

#[test]
fn i8_a_second_final_header_is_kept_with_the_name_of_who_served_it() {
    let mut driven = Bench::new(None).start();
    let update = opaque("update");
    let refusal = Refusal::new("equivocation", hash_at(10), other()).at(Height(10)).equivocation();
    let (origin, result) = (UpdateOrigin::Peer(PEER), VerifiedUpdate::Refused(refusal));
    let effects = driven.give(Input::UpdateVerified { domain: domain("here"), update, origin, result });
    let (_, records) = appended(&effects).unwrap();
    let [Record::Misbehaviour(Misbehaviour::Equivocation { theirs_hash, served_by, .. })] = &records[..] else {
        panic!("{records:?}")
    };
    assert_eq!((*theirs_hash, served_by.as_str()), (other(), "far"));
    assert_eq!(driven.client().frozen, Some(frozen()));
}

#[test]
fn i8_a_client_that_follows_the_other_header_goes_back_to_its_anchor() {
    let mut bench = frozen_bench();
    bench.config.chains[0].height = Height(10);
    let refusal = bench.start().refused(unfreeze(Choice::Theirs));
    assert_eq!(refusal, OrderRefusal::AnchorTooHigh { expected: Height(10), got: Height(10) });

    let mut driven = frozen_bench().start();
    let effects = driven.order(unfreeze(Choice::Theirs));
    let fetches = effects.iter().any(|effect| matches!(effect, Effect::FetchUpdate { after: Height(0), .. }));
    assert!(fetches && driven.client().height == Height(0), "{effects:?}");
}

#[test]
fn who_feeds_a_client_that_went_back_to_its_anchor_is_told() {
    let mut bench = Bench::new(Some("there"));
    bench.recovered.frozen = vec![(domain("here"), frozen())];
    let mut driven = bench.start();
    driven.greet(PEER, Role::Relay, vec![]);
    let effects = driven.order(unfreeze(Choice::Theirs));
    assert_eq!(clients_told(&effects), [(PEER, Height(0))], "from the height before it would send nothing any more");
}

#[test]
fn what_was_decided_before_a_restart_still_holds() {
    let mut bench = weak();
    let decided = Decided { height: Height(10), chosen: hash_at(10), rejected: other() };
    bench.recovered.decided = vec![(domain("here"), decided)];
    let mut driven = bench.start();
    driven.give(statements(&[Some(other())]));
    assert_eq!((driven.client().frozen, driven.client().confirmed), (None, Height(0)), "no news, and no agreement");
}

#[test]
fn an_update_that_cannot_go_on_is_nobodys_lie() {
    let mut driven = Bench::new(None).start();
    let reason = HoldReason::AtBound { height: Height(74), held: 65, limit: 64, expected: 3, got: 2 };
    let give = |driven: &mut Driven, result| {
        let origin = UpdateOrigin::Node("honest".to_owned());
        driven.give(Input::UpdateVerified { domain: domain("here"), update: opaque("update"), origin, result })
    };
    let (headers, set_changes) = (Vec::new(), Vec::new());
    let held = VerifiedUpdate::HeldBack { state: opaque("state"), headers, set_changes, reason };
    let effects = give(&mut driven, held.clone());
    let reports = |effects: &[Effect]| -> Vec<Report> {
        let report = |effect: &Effect| match effect {
            Effect::Report(report) => Some(report.clone()),
            _ => None,
        };
        effects.iter().filter_map(report).collect()
    };
    assert_eq!(reports(&effects), [Report::HeadersHeldBack { domain: domain("here"), reason }]);
    assert_eq!(driven.client().held, Some(reason));
    assert_eq!(reports(&give(&mut driven, held)), [], "said once");
    let (state, headers, set_changes) = (opaque("state"), Vec::new(), Vec::new());
    give(&mut driven, VerifiedUpdate::Advanced { state, headers, set_changes });
    assert_eq!(driven.client().held, None, "later data ends it");
}

#[test]
fn a_paused_lane_lets_messages_rest_and_outcomes_go_on() {
    let lane = lane().id();
    let mut driven = Bench::new(None).start();
    driven.greet(PEER, Role::Relay, vec![]);
    driven.order(Action::PauseLane { lane });
    assert_eq!(driven.refused(Action::PauseLane { lane }), OrderRefusal::AlreadyPaused(lane));
    assert_eq!(declines(&driven.request())[0].reason, DeclineReason::Paused);
    driven.order(Action::ResumeLane { lane });
    assert!(verifies(&driven.request()));
    assert_eq!(driven.refused(Action::ResumeLane { lane }), OrderRefusal::NotPaused(lane));

    let mut bench = Bench::new(Some("here")).holding(&[3], vec![evidence(3, 1)]);
    bench.recovered.paused = vec![lane];
    let mut driven = bench.start();
    let effects = driven.greet(PEER, Role::Relay, vec![]);
    assert_eq!(sent(&effects), 0, "a pause outlasts a restart");
    let waits: Vec<_> = driven.machine.status().flows.iter().map(|found| (found.flow, found.waits_for)).collect();
    assert!(waits.contains(&(flow(Direction::Outbox), WaitReason::Paused)), "{waits:?}");
    assert!(waits.contains(&(flow(Direction::Inbox), WaitReason::Idle)), "{waits:?}");
    assert_eq!(sent(&driven.order(Action::ResumeLane { lane })), 1);

    let mut driven = Bench::new(Some("there")).start();
    driven.greet(PEER, Role::Relay, vec![]);
    driven.order(Action::PauseLane { lane });
    let claim = extension(0, 3, 5).claim();
    let effects = driven.frame(PEER, Frame::Extension { claim, evidence: vec![evidence(3, 1)] });
    assert_eq!(declines(&effects)[0].reason, DeclineReason::Paused);
}

#[test]
fn retry_forgets_the_wait_after_a_failure() {
    let held = vec![evidence(3, 1)];
    for subject in [Subject::Lane(lane().id()), Subject::Everything] {
        let mut driven = Bench::new(Some("here")).holding(&[3], held.clone()).start();
        driven.greet(PEER, Role::Relay, vec![]);
        let declined = Declined { flow: flow(Direction::Outbox), index: Index(1), reason: DeclineReason::Busy };
        for _ in 0..5 {
            driven.now = UnixMillis(driven.now.0 + 60_000);
            driven.give(Input::Tick);
            driven.frame(PEER, Frame::Declined(declined));
        }
        assert_eq!(sent(&driven.give(Input::Tick)), 0, "it waits");
        assert_eq!(sent(&driven.order(Action::Retry(subject))), 1, "{subject:?}");
    }
    let unknown = LaneId(Hash32::ZERO);
    let mut driven = Bench::new(Some("here")).start();
    let refusal = driven.refused(Action::Retry(Subject::Lane(unknown)));
    assert_eq!(refusal, OrderRefusal::UnknownLane(unknown));
}

#[test]
fn an_order_without_a_durable_record_is_not_carried_out() {
    let lane = lane().id();
    let mut driven = Bench::new(Some("here")).start();
    let effects = driven.give(Input::Order { id: OrderId(7), order: order(Action::PauseLane { lane }) });
    let (ticket, _) = appended(&effects).unwrap();
    let effects = driven.give(Input::AppendFailed { ticket, is_retryable: true });
    assert_eq!(ended(&effects), Some(Err(OrderRefusal::NotDurable { is_retryable: true })));
    assert_eq!(driven.refused(Action::ResumeLane { lane }), OrderRefusal::NotPaused(lane));
    let what = "x".repeat(crate::order::MAX_OTHER_ACTION_BYTES + 1);
    let refusal = driven.refused(Action::Other { what });
    assert!(matches!(refusal, OrderRefusal::TooLong { got: 129, .. }), "{refusal}");
}
