//! A validator set that no own node can confirm: asked for, attested, applied, and only then believed.

use super::*;
use crate::light_client::{HoldReason, SetStatement};
use crate::machine::effect::ReceiptId;
use crate::set_attestation::{Attestable, SetAttestation, SetEvidence, SetFact};
use crate::verify::VerifiedUpdate;

fn fact() -> SetFact {
    let statement = SetStatement { height: Height(11), digest: keccak256(b"set") };
    SetFact { domain: domain("here"), parent: keccak256(&10_u64.to_be_bytes()), statement }
}

fn attestation(fact: SetFact, epoch: u64) -> SetAttestation {
    let (verifier_domain, verifier) = lane().target_verifier(Direction::Outbox);
    SetAttestation { fact, epoch: Epoch(epoch), verifier, verifier_domain }
}

fn signed(attestation: SetAttestation, seeds: &[u8]) -> Frame {
    let sign = |seed: &u8| {
        let (signature, recovery) = key(*seed).sign_prehash_recoverable(&attestation.digest().0).unwrap();
        (attester_id(key(*seed).verifying_key()), SignatureBytes::from_parts(&signature, recovery))
    };
    Frame::SetAttested(SetEvidence { attestation, signatures: seeds.iter().map(sign).collect() })
}

/// The client of `here` meets a header under another set.
fn hold(driven: &mut Driven) -> Vec<Effect> {
    let SetStatement { height, digest } = fact().statement;
    driven.give(Input::UpdateVerified {
        domain: domain("here"),
        update: opaque("update"),
        origin: crate::machine::effect::UpdateOrigin::Peer(PEER),
        result: VerifiedUpdate::HeldBack {
            state: opaque("state"),
            headers: vec![],
            set_changes: vec![],
            reason: HoldReason::SetUnconfirmed { height, digest },
        },
    })
}

fn asked(effects: &[Effect]) -> Vec<(PeerId, SetAttestation)> {
    let asked = |effect: &Effect| match effect {
        Effect::Send { peer, frame: Frame::SetRequest(attestation) } => Some((*peer, *attestation)),
        _ => None,
    };
    effects.iter().filter_map(asked).collect()
}

fn applied(effects: &[Effect]) -> Vec<SetStatement> {
    let applied = |effect: &Effect| match effect {
        Effect::ApplySetStatement { statement, .. } => Some(*statement),
        _ => None,
    };
    effects.iter().filter_map(applied).collect()
}

fn refused(effects: &[Effect]) -> Vec<&'static str> {
    let refused = |effect: &Effect| match effect {
        Effect::Report(Report::SetRefused { refusal, .. }) => Some(refusal.check()),
        _ => None,
    };
    effects.iter().filter_map(refused).collect()
}

fn appended(effects: &[Effect]) -> (Ticket, Vec<Record>) {
    let appended = effects.iter().find_map(|effect| match effect {
        Effect::Append { ticket, records } => Some((*ticket, records.clone())),
        _ => None,
    });
    appended.unwrap()
}

/// A relay without a node on `here`, with sessions to its peer and an attester, whose client waits for a set.
fn waiting() -> (Driven, Vec<Effect>) {
    let mut driven = Bench::new(Some("there")).start();
    driven.greet(PEER, Role::Relay, vec![]);
    driven.greet(ATTESTER, Role::Attester, vec![]);
    let effects = hold(&mut driven);
    (driven, effects)
}

#[test]
fn enough_attesters_are_believed_and_the_client_goes_on() {
    let (mut driven, effects) = waiting();
    let wanted = attestation(fact(), 1);
    assert_eq!(asked(&effects), [(PEER, wanted), (ATTESTER, wanted)]);
    assert_eq!(applied(&driven.frame(ATTESTER, signed(wanted, &[1]))), []);
    assert_eq!(applied(&driven.frame(PEER, signed(wanted, &[1, 2]))), [], "the same attester counts once");
    let here = |driven: &Driven| {
        driven.machine.status().clients.iter().find(|client| client.domain == domain("here")).copied()
    };
    assert_eq!(here(&driven).unwrap().set_votes, Some((2, 3)));
    assert!(here(&driven).unwrap().held.is_some(), "too few: it stays held back and says so");
    assert_eq!(applied(&driven.frame(PEER, signed(wanted, &[4]))), [fact().statement]);
    let (domain, statement, result) = (domain("here"), fact().statement, Ok(opaque("state with the set")));
    let effects = driven.give(Input::SetApplied { domain, statement, result });
    let (ticket, records) = appended(&effects);
    let stated = records.iter().find_map(|record| match record {
        Record::SetStated { fact, evidence } => Some((*fact, evidence.iter().map(|one| one.signatures.len()).sum())),
        _ => None,
    });
    assert_eq!(stated, Some((fact(), 3)), "what it was believed for is durable with it");
    driven.give(Input::Durable(ticket));
    assert_eq!((here(&driven).unwrap().held, here(&driven).unwrap().set_votes), (None, None));
}

#[test]
fn what_is_forged_or_replayed_is_refused_by_name() {
    let (mut driven, _) = waiting();
    let other = SetFact { statement: SetStatement { digest: keccak256(b"forged"), ..fact().statement }, ..fact() };
    let forked = SetFact { parent: keccak256(b"fork"), ..fact() };
    let good = attestation(fact(), 1);
    let elsewhere = SetAttestation { verifier: Address::from_20([9; 20]), ..good };
    let cases = [
        (signed(attestation(other, 1), &[1, 2, 3]), "set-attested"),
        (signed(attestation(forked, 1), &[1, 2, 3]), "set-attested"),
        (signed(attestation(fact(), 2), &[1, 2, 3]), "set-epoch"),
        (signed(elsewhere, &[1, 2, 3]), "set-verifier"),
        (signed(good, &[7, 8, 9]), "set-stranger"),
    ];
    for (frame, check) in cases {
        let effects = driven.frame(PEER, frame);
        assert_eq!((refused(&effects), applied(&effects)), (vec![check], vec![]));
    }
    assert_eq!(applied(&driven.frame(PEER, signed(good, &[1, 2, 3]))), [fact().statement]);
}

#[test]
fn a_rotated_set_of_attesters_is_asked_anew_and_old_votes_do_not_count() {
    let (mut driven, _) = waiting();
    driven.frame(ATTESTER, signed(attestation(fact(), 1), &[1, 2]));
    let answer = Fetched::Some(committee(2));
    driven.give(Input::CommitteeRead { flow: flow(Direction::Outbox), answer });
    driven.now = UnixMillis(NOW.0 + 60_000);
    let effects = driven.give(Input::Tick);
    assert!(asked(&effects).contains(&(ATTESTER, attestation(fact(), 2))), "{effects:?}");
    assert_eq!(applied(&driven.frame(ATTESTER, signed(attestation(fact(), 2), &[3]))), []);
    assert_eq!(applied(&driven.frame(ATTESTER, signed(attestation(fact(), 2), &[1, 2]))), [fact().statement]);
}

/// An attester, or a relay with a node, whose own nodes have confirmed the set.
fn confirmed(target: Option<&str>) -> Driven {
    let mut bench = Bench::new(target);
    bench.recovered.sets = vec![fact()];
    let mut driven = bench.start();
    driven.greet(PEER, Role::Relay, vec![]);
    driven
}

#[test]
fn an_attester_signs_what_its_own_nodes_confirmed_after_the_sign_once_record() {
    let mut driven = confirmed(None);
    let wanted = attestation(fact(), 1);
    let effects = driven.frame(PEER, Frame::SetRequest(wanted));
    let (ticket, records) = appended(&effects);
    assert_eq!(records, [Record::SetSigned(wanted)]);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Sign { .. })), "not before it is durable");
    let effects = driven.give(Input::Durable(ticket));
    let what = Attestable::Set(wanted);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Sign { what: said, peer: PEER } if *said == what)));
    let Frame::SetAttested(evidence) = signed(wanted, &[1]) else { panic!("no evidence") };
    let signature = Some(*evidence.signatures.values().next().unwrap());
    let effects = driven.give(Input::Signed { what, peer: PEER, signature });
    let sent = |effect: &Effect| matches!(effect, Effect::Send { peer: PEER, frame } if *frame == signed(wanted, &[1]));
    assert!(effects.iter().any(sent), "{effects:?}");
}

#[test]
fn an_attester_signs_no_set_that_its_own_nodes_did_not_confirm() {
    let mut driven = Bench::new(None).start();
    driven.greet(PEER, Role::Relay, vec![]);
    let receipt = ReceiptId(1);
    let effects = driven.frame(PEER, Frame::SetRequest(attestation(fact(), 1)));
    assert!(matches!(effects[..], [Effect::Release(released)] if released == receipt), "{effects:?}");
    let mut driven = confirmed(None);
    let other = SetFact { statement: SetStatement { digest: keccak256(b"forged"), ..fact().statement }, ..fact() };
    assert_eq!(refused(&driven.frame(PEER, Frame::SetRequest(attestation(other, 1)))), ["set-contradiction"]);
    let forked = SetFact { parent: keccak256(b"fork"), ..fact() };
    assert_eq!(refused(&driven.frame(PEER, Frame::SetRequest(attestation(forked, 1)))), ["set-contradiction"]);
    let stranger = SetAttestation { verifier: Address::from_20([9; 20]), ..attestation(fact(), 1) };
    let effects = driven.frame(PEER, Frame::SetRequest(stranger));
    assert!(matches!(effects[..], [Effect::Release(_)]), "a verifier of no lane of ours: {effects:?}");
}

#[test]
fn a_relay_with_a_node_asks_the_attesters_for_one_without_and_passes_their_votes_on() {
    let mut driven = confirmed(Some("here"));
    driven.greet(ATTESTER, Role::Attester, vec![]);
    let wanted = attestation(fact(), 1);
    assert_eq!(asked(&driven.frame(PEER, Frame::SetRequest(wanted))), [(ATTESTER, wanted)]);
    let passed = |effects: &[Effect]| {
        let passed = |effect: &Effect| match effect {
            Effect::Send { peer: PEER, frame: Frame::SetAttested(evidence) } => Some(evidence.signatures.len()),
            _ => None,
        };
        effects.iter().find_map(passed)
    };
    assert_eq!(passed(&driven.frame(ATTESTER, signed(wanted, &[9]))), None, "a stranger's is not passed on");
    assert_eq!(passed(&driven.frame(ATTESTER, signed(wanted, &[1]))), Some(1));
    assert_eq!(passed(&driven.frame(ATTESTER, signed(wanted, &[1]))), None, "once");
    assert_eq!(passed(&driven.frame(ATTESTER, signed(wanted, &[2, 3]))), Some(3));
    let effects = driven.frame(PEER, Frame::SetRequest(wanted));
    assert_eq!((passed(&effects), asked(&effects).len()), (Some(3), 0), "enough: nobody is asked again");
}

#[test]
fn a_set_that_own_nodes_confirm_is_recorded_and_can_be_attested_from_then_on() {
    let mut driven = Bench::new(None).start();
    driven.greet(PEER, Role::Relay, vec![]);
    hold(&mut driven);
    let (domain, statement) = (domain("here"), fact().statement);
    let effects = driven.give(Input::SetConfirmed { domain, statement, agrees: Some(true) });
    assert_eq!(applied(&effects), [statement]);
    let effects = driven.give(Input::SetApplied { domain, statement, result: Ok(opaque("state with the set")) });
    let (ticket, records) = appended(&effects);
    assert!(records.contains(&Record::SetStated { fact: fact(), evidence: vec![] }), "{records:?}");
    driven.give(Input::Durable(ticket));
    let effects = driven.frame(PEER, Frame::SetRequest(attestation(fact(), 1)));
    assert_eq!(appended(&effects).1, [Record::SetSigned(attestation(fact(), 1))]);
}
