//! A configured peer that means harm: what it costs is bounded, and others have their turn.

use super::boundaries::{STRANGER, with_stranger};
use super::*;
use crate::frame::CommitteeNotice;
use crate::light_client::Refusal;
use crate::machine::effect::UpdateOrigin;
use crate::machine::input::Recipient;
use crate::set_attestation::Attestable;
use crate::verify::VerifiedUpdate;

fn request(last: u64, epoch: u64) -> Frame {
    let claim = extension(0, last, 5).claim_without_payloads();
    Frame::AttestRequest { claim, index: Index(last), epoch: Epoch(epoch) }
}

fn refusal() -> Refusal {
    Refusal::new("proof", "a proof", "noise")
}

/// Refuses the claim that is to be verified, and tells whose it was.
fn refuse(driven: &mut Driven, effects: &[Effect]) -> (PeerId, Vec<Effect>) {
    let check = effects.iter().find_map(|effect| match effect {
        Effect::VerifyClaim(check) => Some(check.clone()),
        _ => None,
    });
    let check = check.unwrap();
    let ClaimOrigin::Requester(peer) = check.origin else { panic!("{:?}", check.origin) };
    let result = Err(ClaimRefusal::Claim(refusal()));
    (peer, driven.give(Input::ClaimVerified { origin: check.origin, claim: check.claim, result }))
}

#[test]
fn at_a_desk_peers_take_turns() {
    let mut driven = with_stranger(Bench::new(None));
    let first = driven.frame(PEER, request(1, 1));
    for last in 2..=200 {
        driven.frame(PEER, request(last, 1));
    }
    driven.frame(STRANGER, request(1, 1));
    driven.frame(STRANGER, request(2, 1));
    let mut effects = first;
    let mut order = Vec::new();
    for _ in 0..5 {
        let (peer, next) = refuse(&mut driven, &effects);
        order.push(peer);
        effects = next;
    }
    assert_eq!(order, [PEER, STRANGER, PEER, STRANGER, PEER]);
}

#[test]
fn what_waits_at_desks_for_a_peer_has_a_bound_in_bytes() {
    let busy = |effects: &[Effect]| declines(effects).iter().filter(|one| one.reason == DeclineReason::Busy).count();
    let heavy = |last: u64, bytes: usize| {
        let mut claim = extension(0, last, 5).claim_without_payloads();
        claim.proof.bytes = vec![0; bytes];
        Frame::AttestRequest { claim, index: Index(last), epoch: Epoch(1) }
    };
    let mut driven = with_stranger(Bench::new(None));
    // The first one is under way, it does not wait.
    driven.frame(PEER, request(1, 1));
    let declined: usize = (2..=7).map(|last| busy(&driven.frame(PEER, heavy(last, 1 << 20)))).sum();
    assert_eq!(declined, 3, "three of the six fit into four MiB");
    assert_eq!(busy(&driven.frame(STRANGER, heavy(2, 1 << 20))), 0, "each peer has its own room");
    // One that is larger than all the room passes where nothing else of its peer waits.
    let mut driven = with_stranger(Bench::new(None));
    driven.frame(PEER, request(1, 1));
    assert_eq!(busy(&driven.frame(PEER, heavy(2, 8 << 20))), 0);
    assert_eq!(busy(&driven.frame(PEER, heavy(3, 8 << 20))), 1);
}

#[test]
fn signatures_under_way_for_a_peer_have_a_bound() {
    let mut bench = Bench::new(None).holding(&[3], vec![]);
    bench.recovered.flows.iter_mut().for_each(|flow| flow.outstanding.clear());
    let mut driven = with_stranger(bench);
    let flow = flow(Direction::Outbox);
    // What is held already is signed again for each epoch that is asked about, as fast as the journal lets it.
    let mut wanted = Vec::new();
    for epoch in 1..=100 {
        let mut effects = driven.frame(PEER, request(3, epoch));
        while !effects.is_empty() {
            let mut next = Vec::new();
            for effect in effects {
                match effect {
                    Effect::ReadPoint { index, .. } => {
                        next.extend(driven.give(Input::PointRead { flow, index, point: Some(point(3)) }));
                    }
                    Effect::Append { ticket, .. } => next.extend(driven.give(Input::Durable(ticket))),
                    Effect::Sign { what, peer } => wanted.push((what, peer)),
                    _ => {}
                }
            }
            effects = next;
        }
    }
    assert_eq!(wanted.len(), 32);
    let (what, peer) = wanted[0];
    let effects = driven.give(Input::Signed { what, peer, signature: None });
    assert!(effects.iter().any(|effect| matches!(effect, Effect::ReadPoint { .. })), "the next one: {effects:?}");
    assert!(matches!(what, Attestable::Head(_)));
}

fn update(text: &str) -> Frame {
    Frame::Update { domain: domain("here"), update: opaque(text) }
}

fn updates(effects: &[Effect]) -> Vec<(UpdateOrigin, Opaque)> {
    let verified = effects.iter().filter_map(|effect| match effect {
        Effect::VerifyUpdate { origin, update, .. } => Some((origin.clone(), update.clone())),
        _ => None,
    });
    verified.collect()
}

fn refused(origin: &UpdateOrigin, update: &Opaque) -> Input {
    let result = VerifiedUpdate::Refused(refusal());
    Input::UpdateVerified { domain: domain("here"), update: update.clone(), origin: origin.clone(), result }
}

#[test]
fn headers_in_vain_let_their_peer_rest() {
    let mut driven = Bench::new(Some("there")).start();
    driven.greet(PEER, Role::Relay, vec![]);
    let effects = driven.frame(PEER, update("false"));
    let (origin, first) = updates(&effects).remove(0);
    driven.frame(PEER, update("older"));
    driven.frame(PEER, update("newer"));
    driven.now = UnixMillis(NOW.0 + 100);
    assert_eq!(updates(&driven.give(refused(&origin, &first))), [], "it took 100 ms, and rests nine times as long");
    let wake = driven.machine.poll_timeout().unwrap();
    assert!(wake > driven.now, "nothing is looked at before: {wake:?}");
    driven.now = UnixMillis(NOW.0 + 999);
    assert_eq!(updates(&driven.give(Input::Tick)), []);
    driven.now = UnixMillis(NOW.0 + 1000);
    let next = updates(&driven.give(Input::Tick));
    assert_eq!(next, [(UpdateOrigin::Peer(PEER), opaque("newer"))], "nothing is lost, and only the newest is kept");
}

#[test]
fn our_own_nodes_come_before_what_peers_offer() {
    let mut bench = Bench::new(Some("there"));
    bench.config.chains[0].has_source = true;
    let mut driven = bench.start();
    let fetches = |effects: &[Effect]| {
        let own = |effect: &&Effect| matches!(effect, Effect::FetchUpdate { recipient: Recipient::Own, domain: of, .. } if *of == domain("here"));
        effects.iter().filter(own).count()
    };
    let begun = driven.effects();
    assert_eq!(fetches(&begun), 1);
    driven.greet(PEER, Role::Relay, vec![]);
    driven.frame(PEER, update("one"));
    let nothing = || Input::UpdateFetched {
        domain: domain("here"),
        recipient: Recipient::Own,
        after: Height(10),
        answer: Fetched::Nothing,
    };
    let effects = driven.give(nothing());
    let (origin, first) = updates(&effects).remove(0);
    driven.frame(PEER, update("two"));
    // By the time that it is refused our nodes are to be asked again.
    driven.now = UnixMillis(NOW.0 + 5_000);
    let effects = driven.give(refused(&origin, &first));
    driven.now = UnixMillis(NOW.0 + 120_000);
    let later = driven.give(Input::Tick);
    assert_eq!(fetches(&effects) + fetches(&later), 1, "{effects:?} {later:?}");
}

#[test]
fn an_attester_set_of_others_lanes_is_not_taken_from_a_peer() {
    let mut driven = with_stranger(Bench::new(Some("here")));
    let (domain, verifier) = lane().target_verifier(Direction::Outbox);
    let notice = |epoch: u64| {
        let members: Vec<_> = (5..=8).map(|seed| attester_id(key(seed).verifying_key())).collect();
        Frame::Committee(CommitteeNotice { domain, verifier, epoch: Epoch(epoch), members, threshold: 3 })
    };
    let known = driven.machine.committee_key((domain, verifier), PEER);
    let held = |driven: &Driven| driven.machine.committees.get(&known).map(Committee::epoch);
    driven.frame(STRANGER, notice(u64::MAX));
    assert_eq!(held(&driven), Some(Epoch(1)), "it would never be replaced");
    // Of the lane's own peer one is taken, and the next one after a while: each costs a round of requests.
    driven.frame(PEER, notice(2));
    driven.frame(PEER, notice(3));
    assert_eq!(held(&driven), Some(Epoch(2)));
    driven.now = UnixMillis(NOW.0 + 1_000);
    driven.frame(PEER, notice(3));
    assert_eq!(held(&driven), Some(Epoch(3)));
}

#[test]
fn a_false_attester_set_of_one_peer_holds_up_no_lane_of_another() {
    // A third city takes part in a lane of its own, whose heads the same contract on the far chain counts.
    let mut bench = Bench::new(Some("here"));
    let other = LaneSetup {
        identity: LaneIdentity { channel: "trade".to_owned(), ..lane() },
        peer: Some(STRANGER),
        ..bench.config.lanes[0].clone()
    };
    bench.config.lanes.push(other);
    let mut driven = with_stranger(Bench::of(bench.config).holding(&[3], vec![]));
    let (domain, verifier) = lane().target_verifier(Direction::Outbox);
    let members: Vec<_> = (5..=8).map(|seed| attester_id(key(seed).verifying_key())).collect();
    let notice = CommitteeNotice { domain, verifier, epoch: Epoch(u64::MAX), members, threshold: 3 };
    driven.frame(STRANGER, Frame::Committee(notice));
    let told = driven.machine.committee_key((domain, verifier), STRANGER);
    let epoch = driven.machine.committees.get(&told).map(Committee::epoch);
    assert_eq!(epoch, Some(Epoch(u64::MAX)), "it counts on the lane of who said it");
    let effects = driven.greet(ATTESTER, Role::Attester, vec![]);
    let asked = effects.iter().find_map(|effect| match effect {
        Effect::Send { frame: Frame::AttestRequest { claim, epoch, .. }, .. } => Some((claim.flow, *epoch)),
        _ => None,
    });
    assert_eq!(asked, Some((flow(Direction::Outbox), Epoch(1))), "and on no other");
}

#[test]
fn however_often_a_peer_says_where_it_stands_nodes_are_asked_once_at_a_time() {
    let mut driven = Bench::new(Some("here")).holding(&[3], vec![evidence(3, 1)]).start();
    driven.give(Input::PeerUp(PEER));
    let hello = Hello { oldest_version: 1, newest_version: 1, role: Role::Relay, clients: vec![], flows: vec![] };
    driven.frame(PEER, Frame::Hello(hello));
    let asked = |effects: &[Effect]| {
        let feeds = |effect: &&Effect| matches!(effect, Effect::FetchUpdate { recipient: Recipient::Peer(_), .. });
        effects.iter().filter(feeds).count()
    };
    let mut questions = 0;
    for height in [1, 2, 1, 2, 3, 4] {
        let at = ClientAt { domain: domain("here"), height: Height(height), hash: Hash32::ZERO };
        questions += asked(&driven.frame(PEER, Frame::ClientAt(at)));
    }
    assert_eq!(questions, 1);
    let (domain, recipient) = (domain("here"), Recipient::Peer(PEER));
    driven.give(Input::UpdateFetched { domain, recipient, after: Height(1), answer: Fetched::Failed });
    driven.now = UnixMillis(NOW.0 + 10_000);
    assert_eq!(asked(&driven.give(Input::Tick)), 1, "after the answer it is asked again");
}

#[test]
fn signatures_are_refused_once_for_what_was_sent() {
    let mut driven = Bench::new(Some("here")).holding(&[3], vec![evidence(3, 1)]).start();
    driven.greet(ATTESTER, Role::Attester, vec![]);
    assert_eq!(sent(&driven.greet(PEER, Role::Relay, vec![])), 1);
    let declined = Declined { flow: flow(Direction::Outbox), index: Index(1), reason: DeclineReason::Evidence };
    let asked: Vec<usize> = (0..5).map(|_| requests(&driven.frame(PEER, Frame::Declined(declined))).len()).collect();
    assert_eq!(asked, [1, 0, 0, 0, 0], "the attesters are asked anew once");
}

#[test]
fn false_signatures_of_an_attester_are_checked_a_few_times_only() {
    let mut driven = Bench::new(Some("here")).holding(&[3], vec![]).start();
    assert_eq!(requests(&driven.greet(ATTESTER, Role::Attester, vec![])).len(), 1);
    let (flow, point, epoch) = (flow(Direction::Outbox), point(3), Epoch(1));
    let vote = |seed: u8| Frame::Attestation { flow, point, epoch, signature: sign(seed, point, 1) };
    let counted = |effects: &[Effect]| {
        effects.iter().filter(|effect| matches!(effect, Effect::Report(Report::Vote { .. }))).count()
    };
    // Key 9 is no member's.
    for _ in 0..10 {
        assert_eq!(counted(&driven.frame(ATTESTER, vote(9))), 0);
    }
    assert_eq!(counted(&driven.frame(ATTESTER, vote(1))), 0, "it is not looked at any more");
    driven.now = UnixMillis(NOW.0 + 10_000);
    assert_eq!(requests(&driven.give(Input::Tick)).len(), 1);
    assert_eq!(counted(&driven.frame(ATTESTER, vote(1))), 1, "it was asked again");
}

#[test]
fn frames_that_are_replayed_or_come_out_of_order_change_nothing() {
    let mut driven = Bench::new(Some("there")).start();
    driven.greet(PEER, Role::Relay, vec![]);
    let claim = |base: u64, last: u64| {
        let evidence = vec![evidence(last, 1)];
        Frame::Extension { claim: extension(base, last, 5).claim(), evidence }
    };
    let works = |effects: &[Effect]| {
        let is_work = |effect: &&Effect| matches!(effect, Effect::VerifyClaim(_) | Effect::Append { .. });
        effects.iter().filter(is_work).count()
    };
    let released = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Release(_)));
    // Out of order: what would leave a gap is declined, and nobody verifies it.
    let effects = driven.frame(PEER, claim(3, 5));
    assert_eq!((works(&effects), declines(&effects)[0].reason), (0, DeclineReason::Gap));
    assert!(released(&effects));
    let mut effects = driven.frame(PEER, claim(0, 3));
    while let Some(effect) =
        effects.iter().find(|effect| matches!(effect, Effect::VerifyClaim(_) | Effect::Append { .. }))
    {
        effects = match effect {
            Effect::VerifyClaim(check) => driven.give(super::memory::verified(check)),
            Effect::Append { ticket, .. } => driven.give(Input::Durable(*ticket)),
            _ => Vec::new(),
        };
    }
    let held = |driven: &Driven| driven.machine.inbound[&flow(Direction::Outbox)].durable;
    assert_eq!(held(&driven), point(3));
    // Replayed, whole and in part: it is told where we stand, and that is all.
    for again in [claim(0, 3), claim(0, 2), claim(2, 3), claim(0, 3)] {
        let effects = driven.frame(PEER, again);
        assert_eq!(works(&effects), 0, "{effects:?}");
        let told = |effect: &Effect| matches!(effect, Effect::Send { frame: Frame::Accepted { point: at, .. }, .. } if *at == point(3));
        assert!(effects.iter().any(told) && released(&effects), "{effects:?}");
    }
    assert_eq!(held(&driven), point(3));
}
