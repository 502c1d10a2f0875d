//! A relay restored from an older journal, seen from both sides; and a target chain that takes nothing in.

use super::*;
use crate::machine::config::Limits;
use crate::machine::effect::ReceiptId;
use crate::machine::outbound::Outgoing;

/// A relay beside `here` whose peer has acknowledged messages 1 to 5.
fn acknowledged() -> Driven {
    let mut bench = Bench::new(Some("here")).holding(&[5], vec![]);
    let flow = bench.recovered.flows.iter_mut().find(|found| found.flow == flow(Direction::Outbox)).unwrap();
    flow.outstanding.clear();
    flow.peer_accepted = point(5);
    bench.start()
}

fn loads_after(effects: &[Effect]) -> Vec<Index> {
    let load = |effect: &Effect| match effect {
        Effect::LoadExtensions { after, .. } => Some(*after),
        _ => None,
    };
    effects.iter().filter_map(load).collect()
}

/// The peer comes back with an older journal, and ours holds the point that it names.
fn fallen_back() -> (Driven, Vec<Effect>) {
    let mut driven = acknowledged();
    driven.effects();
    // What was asked of the nodes meanwhile is answered first.
    driven.give(Input::HintRead { flow: flow(Direction::Outbox), answer: Fetched::Some(point(5)) });
    let effects = driven.greet(PEER, Role::Relay, vec![(flow(Direction::Outbox), point(3))]);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::ReadPoint { index: Index(3), .. })), "{effects:?}");
    let flow = flow(Direction::Outbox);
    let effects = driven.give(Input::PointRead { flow, index: Index(3), point: Some(point(3)) });
    (driven, effects)
}

#[test]
fn a_peer_that_fell_back_is_sent_the_rest_again_from_the_journal() {
    let (mut driven, effects) = fallen_back();
    let fell =
        |effect: &Effect| matches!(effect, Effect::Report(Report::PeerFellBack { from: Index(5), to: Index(3), .. }));
    assert!(effects.iter().any(fell), "{effects:?}");
    assert_eq!(loads_after(&effects), [Index(3)]);
    let flow = flow(Direction::Outbox);
    let extensions = Some(vec![(extension(3, 5, 5), Some(evidence(5, 1)))]);
    let effects = driven.give(Input::ExtensionsLoaded { flow, after: Index(3), extensions });
    assert_eq!(sent(&effects), 1);
    assert_eq!(loads_after(&effects), [], "the journal holds no more than that");
    let effects = driven.frame(PEER, Frame::Accepted { flow, point: point(5) });
    let accepted = Record::PeerAccepted { flow, point: point(5), at: NOW };
    assert!(
        effects.iter().any(|effect| matches!(effect, Effect::Append { records, .. } if *records == [accepted.clone()]))
    );
}

#[test]
fn a_message_on_its_way_to_the_disk_as_the_peer_fell_back_is_settled_later() {
    let (mut driven, _) = fallen_back();
    let flow = flow(Direction::Outbox);
    // Its append ended after the queue it stood in was cleared; only the journal brings it.
    let extensions = Some(vec![(extension(3, 5, 5), Some(evidence(5, 1))), (extension(5, 6, 6), None)]);
    driven.give(Input::ExtensionsLoaded { flow, after: Index(3), extensions });
    let sent = &driven.machine.outbound[&flow].sent;
    assert!(sent.unsettled.contains_key(&Index(6)), "{:?}", sent.unsettled.keys());
    assert_eq!(sent.proved.back(), Some(&Index(6)));
}

#[test]
fn what_a_failing_disk_leaves_out_is_brought_again_before_what_follows() {
    let (mut driven, _) = fallen_back();
    let flow = flow(Direction::Outbox);
    // Pruned, so it is read from the chain and appended once more, while the journal brings what follows.
    driven.give(Input::ExtensionsLoaded { flow, after: Index(3), extensions: None });
    let out = driven.machine.outbound.get_mut(&flow).unwrap();
    let read_again = Outgoing { is_durable: false, ticket: Ticket(77), ..Outgoing::durable(extension(3, 4, 4), None) };
    out.verified = read_again.tip;
    out.queue.push_back(read_again);
    let extensions = Some(vec![(extension(4, 5, 5), Some(evidence(5, 1)))]);
    let effects = driven.give(Input::ExtensionsLoaded { flow, after: Index(4), extensions });
    assert_eq!(sent(&effects), 0, "nothing is sent before what it follows");
    driven.machine.outbound_append_failed(flow, Ticket(77));
    let out = &driven.machine.outbound[&flow];
    assert_eq!((out.queue.iter().count(), out.durable, out.verified), (0, point(3), point(3)));
}

#[test]
fn what_the_journal_has_pruned_is_read_from_the_chain_again() {
    let (mut driven, _) = fallen_back();
    let flow = flow(Direction::Outbox);
    let effects = driven.give(Input::ExtensionsLoaded { flow, after: Index(3), extensions: None });
    assert!(effects.iter().any(|effect| matches!(effect, Effect::ReadHint { .. })), "{effects:?}");
    // A short batch waits a moment for more.
    driven.give(Input::HintRead { flow, answer: Fetched::Some(point(5)) });
    driven.now = UnixMillis(NOW.0 + 1000);
    driven.give(Input::Tick);
    let effects = driven.give(Input::HintRead { flow, answer: Fetched::Some(point(5)) });
    let from = |effect: &Effect| matches!(effect, Effect::Observe(request) if request.base == point(3));
    assert!(effects.iter().any(from), "{effects:?}");
}

#[test]
fn a_peer_that_names_another_head_is_no_peer_that_fell_back() {
    let mut driven = acknowledged();
    let other = ChainPoint { index: Index(3), head: keccak256(b"another head") };
    driven.greet(PEER, Role::Relay, vec![(flow(Direction::Outbox), other)]);
    let flow = flow(Direction::Outbox);
    let effects = driven.give(Input::PointRead { flow, index: Index(3), point: Some(point(3)) });
    let differs = |effect: &Effect| matches!(effect, Effect::Report(Report::AuditDifference { .. }));
    assert!(effects.iter().any(differs), "{effects:?}");
    assert_eq!(loads_after(&effects), []);
}

#[test]
fn where_a_peer_stood_in_an_earlier_session_counts_no_more() {
    let flow = flow(Direction::Outbox);
    let mut driven = Bench::new(Some("here")).start();
    let is_behind = |driven: &Driven, index| driven.machine.outbound[&flow].resending.is_behind(Index(index));
    driven.greet(PEER, Role::Relay, vec![(flow, point(5))]);
    assert!(is_behind(&driven, 4), "our journal is an older one");
    driven.give(Input::PeerDown(PEER));
    driven.greet(PEER, Role::Relay, vec![(flow, point(3))]);
    assert!(is_behind(&driven, 2) && !is_behind(&driven, 3), "and so is the peer's since");
}

#[test]
fn an_acknowledgement_that_comes_late_in_a_session_is_no_older_journal() {
    let mut driven = acknowledged();
    driven.greet(PEER, Role::Relay, vec![(flow(Direction::Outbox), point(5))]);
    let effects = driven.frame(PEER, Frame::Accepted { flow: flow(Direction::Outbox), point: point(3) });
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::ReadPoint { .. })), "{effects:?}");
}

fn claims_to_verify(effects: &[Effect]) -> Vec<(Index, usize)> {
    let check = |effect: &Effect| match effect {
        Effect::VerifyClaim(check) => Some((check.claim.first, check.claim.entries.len())),
        _ => None,
    };
    effects.iter().filter_map(check).collect()
}

#[test]
fn what_is_held_already_is_left_out_of_a_claim_that_is_cut_elsewhere() {
    let mut driven = Bench::new(Some("there")).holding(&[3], vec![evidence(3, 1)]).start();
    driven.greet(PEER, Role::Relay, vec![]);
    let claim = extension(1, 5, 5).claim();
    let effects = driven.frame(PEER, Frame::Extension { claim, evidence: vec![evidence(5, 1)] });
    assert_eq!(claims_to_verify(&effects), [(Index(4), 2)]);
}

#[test]
fn what_a_peer_that_is_away_cannot_take_in_stays_on_our_chain() {
    let reads = |effects: &[Effect]| {
        let hint =
            |effect: &&Effect| matches!(effect, Effect::ReadHint { flow } if flow.direction == Direction::Outbox);
        effects.iter().filter(hint).count()
    };
    let limits: [fn(&mut Limits); 2] = [|limits| limits.outbound_window = 1, |limits| limits.outbound_bytes = 1];
    for limit in limits {
        let mut bench = Bench::new(Some("here")).holding(&[5], vec![evidence(5, 1)]);
        limit(&mut bench.config.limits);
        let mut driven = bench.start();
        assert_eq!(reads(&driven.effects()), 0, "nothing more is read");
        driven.greet(PEER, Role::Relay, vec![]);
        let effects = driven.frame(PEER, Frame::Accepted { flow: flow(Direction::Outbox), point: point(5) });
        assert_eq!(reads(&effects), 1, "there is room again");
    }
    let mut driven = Bench::new(Some("here")).holding(&[5], vec![evidence(5, 1)]).start();
    assert_eq!(reads(&driven.effects()), 1);
}

#[test]
fn what_a_stopped_chain_cannot_take_in_stays_with_the_peer() {
    let limits: [fn(&mut Limits); 2] = [|limits| limits.inbound_window = 1, |limits| limits.inbound_bytes = 1];
    for limit in limits {
        let mut bench = Bench::new(Some("there")).holding(&[3], vec![evidence(3, 1)]);
        limit(&mut bench.config.limits);
        let mut driven = bench.start();
        driven.greet(PEER, Role::Relay, vec![]);
        let claim = extension(3, 5, 5).claim();
        let effects = driven.frame(PEER, Frame::Extension { claim, evidence: vec![evidence(5, 1)] });
        assert_eq!(claims_to_verify(&effects), []);
        let is_released = |effect: &Effect| matches!(effect, Effect::Release(ReceiptId(_)));
        assert!(!effects.iter().any(is_released), "it keeps its room: {effects:?}");
        assert!(driven.machine.poll_timeout().is_none_or(|wake| wake > NOW), "only the chain can change that");
        let flow = flow(Direction::Outbox);
        let effects = driven.give(Input::AcceptedRead { flow, answer: Fetched::Some(point(3)) });
        let done = effects.iter().find_map(|effect| match effect {
            Effect::Append { ticket, .. } => Some(*ticket),
            _ => None,
        });
        let effects = driven.give(Input::Durable(done.unwrap()));
        assert_eq!(claims_to_verify(&effects), [(Index(4), 2)], "there is room again");
    }
}
