//! An attester whose journal forgot what it signed: mute until its chain leads there again, and never two heads.

use std::collections::BTreeMap;

use super::*;
use crate::ids::AttesterId;
use crate::light_client::{AdapterValue, LightClient, Refusal, SetStatement, Verdict};
use crate::machine::effect::ClaimCheck;
use crate::machine::memory::Remembered;
use crate::machine::status::{FlowStatus, WaitReason};
use crate::set_attestation::{Attestable, SetAttestation, SetFact};
use crate::verify::verify_extension;

/// A client that finds proved whatever head its proof says.
struct Believer;

#[derive(Clone, Debug)]
struct Proved(ChainPoint);

impl AdapterValue for Proved {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }

    fn decode(_: u16, _: &[u8]) -> Result<Self, Refusal> {
        Err(Refusal::new("proof", "none", "one"))
    }
}

impl LightClient for Believer {
    type State = Proved;
    type Update = Proved;
    type HeadProof = Proved;

    fn trusted_height(&self, _: &Proved) -> Height {
        Height(0)
    }

    fn trusted_hash(&self, _: &Proved) -> Hash32 {
        Hash32::ZERO
    }

    fn verify_update(&self, trusted: &Proved, _: &Proved, _: UnixMillis) -> Verdict<Proved> {
        Verdict::Advanced { state: trusted.clone(), headers: Vec::new(), set_changes: Vec::new() }
    }

    fn apply_set_statement(&self, _: &Proved, _: &SetStatement) -> Result<Proved, Refusal> {
        Err(Refusal::new("set-statement", "none", "one"))
    }

    fn verify_head(&self, _: &Header, proof: &Proved, _: Address, _: Flow) -> Result<ChainPoint, Refusal> {
        Ok(proof.0)
    }

    fn strength(&self) -> ProofStrength {
        ProofStrength::Conclusive
    }
}

/// The key of the attester under test.
const OWN: u8 = 1;

fn own() -> AttesterId {
    attester_id(key(OWN).verifying_key())
}

/// An attester that signed up to `signed` and whose journal holds nothing.
fn forgetful(signed: ChainPoint) -> Driven {
    let mut driven = Bench::new(None).start();
    let lost = BTreeMap::from([(flow(Direction::Outbox), signed)]);
    driven.machine.remember(Remembered { id: Some(own()), lost, ..Remembered::default() });
    driven
}

fn standing(driven: &Driven) -> FlowStatus {
    let flows = driven.machine.status().flows;
    flows.into_iter().find(|found| found.flow == flow(Direction::Outbox)).unwrap()
}

/// Verifies what is to be verified and makes durable what is to be, until nothing more is asked. Returns all effects.
fn work(driven: &mut Driven, effects: Vec<Effect>) -> Vec<Effect> {
    let (mut all, mut todo) = (Vec::new(), effects);
    while !todo.is_empty() {
        let mut next = Vec::new();
        for effect in todo {
            match &effect {
                Effect::VerifyClaim(check) => next.extend(driven.give(verified(check))),
                Effect::Append { ticket, .. } => next.extend(driven.give(Input::Durable(*ticket))),
                _ => {}
            }
            all.push(effect);
        }
        todo = next;
    }
    all
}

/// What the verifier says of a claim whose proof is always good for the chain that it shows.
pub(super) fn verified(check: &ClaimCheck) -> Input {
    let ClaimCheck { origin, lane, base, header, claim, .. } = check.clone();
    let links = claim.entries.iter().map(|entry| entry.link(claim.flow)).chain(claim.tail.iter().copied());
    let proved = links.fold(base, |point, link| point.extended(claim.flow.direction, link));
    let extension = verify_extension(&Believer, &header, &lane, base, claim.clone(), &Proved(proved)).unwrap();
    Input::ClaimVerified { origin, claim, result: Ok((extension, Vec::new())) }
}

/// Messages `(base, last]` as a relay shows them, with the heads at `signed` as attested by the first three attesters.
fn reminder(base: u64, last: u64, signed: &[u64]) -> Frame {
    let evidence = signed.iter().map(|index| evidence(*index, 1)).collect();
    Frame::Extension { claim: extension(base, last, 5).claim_without_payloads(), evidence }
}

fn request(base: u64, last: u64) -> Frame {
    let claim = extension(base, last, 5).claim_without_payloads();
    Frame::AttestRequest { claim, index: Index(last), epoch: Epoch(1) }
}

fn signed(effects: &[Effect]) -> Vec<ChainPoint> {
    let head = |effect: &Effect| match effect {
        Effect::Sign { what: Attestable::Head(statement), .. } => Some(statement.point),
        _ => None,
    };
    effects.iter().filter_map(head).collect()
}

fn recorded(effects: &[Effect]) -> Vec<ChainPoint> {
    let records = effects.iter().filter_map(|effect| match effect {
        Effect::Append { records, .. } => Some(records),
        _ => None,
    });
    let point = |record: &Record| match record {
        Record::Signed { point, .. } => Some(*point),
        _ => None,
    };
    records.flatten().filter_map(point).collect()
}

fn mute_from(index: u64) -> Declined {
    Declined { flow: flow(Direction::Outbox), index: Index(index), reason: DeclineReason::Mute }
}

#[test]
fn it_asks_each_relay_that_comes_and_asks_again() {
    let mut driven = forgetful(point(5));
    assert_eq!(standing(&driven).waits_for, WaitReason::Mute);
    assert_eq!((standing(&driven).durable, standing(&driven).hint), (Index(0), Index(5)));
    let effects = driven.greet(PEER, Role::Relay, vec![]);
    assert_eq!(declines(&effects), [mute_from(1)]);
    let wake = driven.machine.poll_timeout().unwrap();
    assert!(wake > NOW && wake.0 <= NOW.0 + 2_000, "{wake:?}");
    assert_eq!(declines(&driven.give(Input::Tick)), []);
    driven.now = wake;
    assert_eq!(declines(&driven.give(Input::Tick)), [mute_from(1)]);
}

#[test]
fn i4_it_signs_nothing_before_its_chain_leads_to_what_it_signed() {
    let mut driven = forgetful(point(5));
    driven.greet(PEER, Role::Relay, vec![]);
    // A request that leads there only half way: the chain is taken in, and nothing is signed.
    let effects = driven.frame(PEER, request(0, 3));
    let effects = work(&mut driven, effects);
    assert_eq!((signed(&effects), recorded(&effects)), (vec![], vec![]));
    assert!(declines(&effects).contains(&mute_from(3)), "{effects:?}");
    assert_eq!(standing(&driven).durable, Index(3));
    // Nor is what it holds by now.
    let effects = driven.frame(PEER, request(0, 2));
    assert_eq!(signed(&work(&mut driven, effects)), []);
    assert_eq!(standing(&driven).waits_for, WaitReason::Mute);
    // One that leads there is signed, and what was signed before has its record again.
    let effects = driven.frame(PEER, request(3, 6));
    let effects = work(&mut driven, effects);
    assert_eq!((signed(&effects), recorded(&effects)), (vec![point(6)], vec![point(5), point(6)]));
    assert_eq!(standing(&driven).waits_for, WaitReason::Idle);
}

#[test]
fn what_relays_bring_back_is_recorded_and_it_signs_again() {
    let mut driven = forgetful(point(5));
    driven.greet(PEER, Role::Relay, vec![]);
    let effects = driven.frame(PEER, reminder(0, 3, &[2, 3]));
    let effects = work(&mut driven, effects);
    assert_eq!((signed(&effects), recorded(&effects)), (vec![], vec![point(2), point(3)]));
    // It goes on asking from where it stands, at once.
    assert!(declines(&effects).contains(&mute_from(4)), "{effects:?}");
    let effects = driven.frame(PEER, reminder(3, 5, &[]));
    let effects = work(&mut driven, effects);
    assert_eq!((signed(&effects), recorded(&effects)), (vec![], vec![point(5)]));
    assert_eq!(standing(&driven).waits_for, WaitReason::Idle);
    // What it signed it signs again, and what comes next.
    let effects = driven.frame(PEER, request(5, 6));
    assert_eq!(signed(&work(&mut driven, effects)), [point(6)]);
    // Who is whole takes no reminders.
    let effects = driven.frame(PEER, reminder(6, 7, &[7]));
    assert_eq!((recorded(&effects), standing(&driven).durable), (vec![], Index(6)));
}

#[test]
fn signatures_of_others_and_false_ones_are_no_records() {
    let mut driven = forgetful(point(5));
    driven.greet(PEER, Role::Relay, vec![]);
    let claim = extension(0, 3, 5).claim_without_payloads();
    let mut of_others = evidence(2, 1);
    of_others.signatures.remove(&own());
    let mut under_our_name = evidence(3, 1);
    under_our_name.signatures.insert(own(), sign(2, point(3), 1));
    let effects = driven.frame(PEER, Frame::Extension { claim, evidence: vec![of_others, under_our_name] });
    let effects = work(&mut driven, effects);
    assert_eq!(recorded(&effects), []);
    assert_eq!(standing(&driven).durable, Index(3));
}

/// Nothing is signed on the flow any more, somebody is told, and it is kept.
fn assert_contradicted(driven: &mut Driven, effects: &[Effect]) {
    let told = |effect: &Effect| matches!(effect, Effect::Report(Report::ConflictingHead { .. }));
    let kept = |effect: &Effect| match effect {
        Effect::Append { records, .. } => matches!(records[..], [Record::Misbehaviour(_)]),
        _ => false,
    };
    assert!(effects.iter().any(told) && effects.iter().any(kept), "{effects:?}");
    assert_eq!((signed(effects), recorded(effects)), (vec![], vec![]));
    assert_eq!(standing(driven).waits_for, WaitReason::Dispute);
    for frame in [request(0, 6), reminder(0, 6, &[6]), request(0, 7), request(6, 8), request(0, 2)] {
        let effects = driven.frame(PEER, frame);
        let effects = work(driven, effects);
        assert_eq!(signed(&effects), [], "{effects:?}");
    }
    assert_eq!(standing(driven).waits_for, WaitReason::Dispute);
}

#[test]
fn i4_a_chain_with_another_head_than_the_one_that_was_signed_is_never_signed() {
    let other = ChainPoint { index: Index(5), head: keccak256(b"another chain") };
    for frame in [request(0, 6), reminder(0, 6, &[])] {
        let mut driven = forgetful(other);
        driven.greet(PEER, Role::Relay, vec![]);
        let effects = driven.frame(PEER, frame);
        let effects = work(&mut driven, effects);
        assert_contradicted(&mut driven, &effects);
    }
}

#[test]
fn i4_an_own_signature_beside_the_chain_ends_all_signing() {
    let mut driven = forgetful(point(5));
    driven.greet(PEER, Role::Relay, vec![]);
    let other = ChainPoint { index: Index(2), head: keccak256(b"another chain") };
    let signatures = [(own(), sign(OWN, other, 1))].into();
    let beside = Evidence { point: other, epoch: Epoch(1), signatures };
    let claim = extension(0, 3, 5).claim_without_payloads();
    let effects = driven.frame(PEER, Frame::Extension { claim, evidence: vec![beside] });
    let effects = work(&mut driven, effects);
    assert_contradicted(&mut driven, &effects);
}

#[test]
fn a_relay_reminds_an_attester_of_what_it_signed() {
    for target in ["here", "there"] {
        let mut bench = Bench::new(Some(target)).holding(&[3, 5], vec![evidence(3, 1), evidence(5, 1)]);
        bench.config.peers[1].attester = Some(own());
        let mut driven = bench.start();
        let outbox = flow(Direction::Outbox);
        driven.greet(ATTESTER, Role::Attester, vec![(outbox, point(5))]);
        let loads = |effects: &[Effect]| {
            let load = |effect: &Effect| match effect {
                Effect::LoadSigned { peer: ATTESTER, attester, first, last, .. } => Some((*attester, *first, *last)),
                _ => None,
            };
            effects.iter().filter_map(load).collect::<Vec<_>>()
        };
        let effects = driven.frame(ATTESTER, Frame::Declined(mute_from(2)));
        assert_eq!(loads(&effects), [(Some(own()), Index(2), Index(5))], "beside {target}");
        // What lies in the piece that was just given is not given again at once, but later.
        assert_eq!(loads(&driven.frame(ATTESTER, Frame::Declined(mute_from(2)))), []);
        assert_eq!(loads(&driven.frame(ATTESTER, Frame::Declined(mute_from(3)))), []);
        driven.now = UnixMillis(NOW.0 + 60_000);
        assert_eq!(loads(&driven.frame(ATTESTER, Frame::Declined(mute_from(3)))).len(), 1);
        assert_eq!(loads(&driven.frame(ATTESTER, Frame::Declined(mute_from(6)))), [], "there is no more");
        let claim = extension(1, 5, 5).claim_without_payloads();
        let loaded = |found| Input::SignedLoaded { peer: ATTESTER, found };
        let effects = driven.give(loaded(Some((claim.clone(), vec![evidence(5, 1)]))));
        let shown = Frame::Extension { claim, evidence: vec![evidence(5, 1)] };
        let is_shown = |effect: &Effect| matches!(effect, Effect::Send { peer: ATTESTER, frame } if *frame == shown);
        assert!(effects.len() == 1 && effects.iter().all(is_shown), "{effects:?}");
        assert!(driven.give(loaded(None)).is_empty(), "pruned");
    }
}

#[test]
fn a_validator_set_is_signed_only_after_the_newest_one_signed_was_confirmed_again() {
    let set = |height: u64, digest: &[u8]| {
        let statement = SetStatement { height: Height(height), digest: keccak256(digest) };
        SetFact { domain: domain("here"), parent: keccak256(b"parent"), statement }
    };
    let ask = |confirmed: Vec<SetFact>, wanted: SetFact| {
        let mut bench = Bench::new(None);
        bench.recovered.sets = confirmed;
        let mut driven = bench.start();
        let sets = [(domain("here"), set(9, b"signed"))].into();
        driven.machine.remember(Remembered { id: Some(own()), sets, ..Remembered::default() });
        driven.greet(PEER, Role::Relay, vec![]);
        let (verifier_domain, verifier) = lane().target_verifier(Direction::Outbox);
        let attestation = SetAttestation { fact: wanted, epoch: Epoch(1), verifier, verifier_domain };
        let effects = driven.frame(PEER, Frame::SetRequest(attestation));
        effects.iter().any(|effect| matches!(effect, Effect::Append { .. }))
    };
    let (older, signed, other) = (set(7, b"older"), set(9, b"signed"), set(9, b"another"));
    assert!(!ask(vec![older], older), "the newest one is not confirmed yet");
    assert!(ask(vec![older, signed], older) && ask(vec![older, signed], signed));
    assert!(!ask(vec![older, other], older) && !ask(vec![older, other], other), "another one was signed");
}
