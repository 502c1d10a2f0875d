//! Who may speak about what: another peer's lanes and our own chain's attester set are not a peer's to tell.

use super::*;
use crate::frame::CommitteeNotice;
use crate::machine::effect::ReceiptId;

/// A relay of another city, with no lane of ours.
pub(super) const STRANGER: PeerId = PeerId(3);

pub(super) fn with_stranger(mut bench: Bench) -> Driven {
    let setup = PeerSetup { id: STRANGER, name: "third city".to_owned(), role: Role::Relay, attester: None };
    bench.config.peers.push(setup);
    let mut driven = bench.start();
    driven.greet(PEER, Role::Relay, vec![]);
    driven.greet(STRANGER, Role::Relay, vec![]);
    driven
}

#[test]
fn a_peer_speaks_about_its_own_lanes_only() {
    let mut driven = with_stranger(Bench::new(Some("there")));
    let extension = Frame::Extension { claim: extension(0, 3, 5).claim(), evidence: vec![evidence(3, 1)] };
    let effects = driven.frame(STRANGER, extension.clone());
    let outbox = flow(Direction::Outbox);
    let expected = Declined { flow: outbox, index: Index(1), reason: DeclineReason::UnknownLane };
    assert_eq!(declines(&effects), [expected]);
    assert!(matches!(effects[..], [_, Effect::Release(ReceiptId(1))]), "nothing else comes of it: {effects:?}");
    let update = Frame::Update { domain: domain("here"), update: opaque("update") };
    let effects = driven.frame(STRANGER, update.clone());
    assert!(matches!(effects[..], [Effect::Release(_)]), "headers of a chain that it does not feed: {effects:?}");
    // From the lane's own peer both are looked at.
    let is_verified = |effects: &[Effect]| {
        effects.iter().any(|effect| matches!(effect, Effect::VerifyClaim(_) | Effect::VerifyUpdate { .. }))
    };
    assert!(is_verified(&driven.frame(PEER, extension)) && is_verified(&driven.frame(PEER, update)));

    let mut driven = with_stranger(Bench::new(Some("here")).holding(&[3], vec![evidence(3, 1)]));
    let accepted = Frame::Accepted { flow: outbox, point: point(3) };
    let is_recorded = |effects: &[Effect]| {
        let is_record = |record: &Record| matches!(record, Record::PeerAccepted { .. });
        effects.iter().any(|effect| matches!(effect, Effect::Append { records, .. } if records.iter().any(is_record)))
    };
    assert!(!is_recorded(&driven.frame(STRANGER, accepted.clone())), "an acknowledgement by somebody else");
    assert!(is_recorded(&driven.frame(PEER, accepted)));
}

#[test]
fn an_attester_set_of_our_own_chain_is_not_taken_from_a_peer() {
    for (target, is_taken) in [("there", false), ("here", true)] {
        let mut driven = Bench::new(Some(target)).start();
        driven.greet(PEER, Role::Relay, vec![]);
        let (domain, verifier) = lane().target_verifier(Direction::Outbox);
        let known = driven.machine.committee_key((domain, verifier), PEER);
        let members: Vec<_> = (5..=8).map(|seed| attester_id(key(seed).verifying_key())).collect();
        let notice = CommitteeNotice { domain, verifier, epoch: Epoch(2), members, threshold: 3 };
        driven.frame(PEER, Frame::Committee(notice));
        let held = driven.machine.committees.get(&known).map(Committee::epoch);
        assert_eq!(held == Some(Epoch(2)), is_taken, "beside {target}");
    }
}
