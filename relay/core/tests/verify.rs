//! The only producer of verified things, predicate by predicate: the real case passes, and with one field broken it is
//! refused by exactly that check.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use cityrelay_core::attestation::{AttestationError, Committee, SignatureBytes, Statement, attester_id};
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::claim::{Claim, MAX_CLAIM_ENTRIES, MAX_CLAIM_TAIL};
use cityrelay_core::gateway_call::Evidence;
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, AttesterId, Domain, Epoch, Height, Index, UnixMillis};
use cityrelay_core::lane::{Direction, Flow, LaneIdentity};
use cityrelay_core::light_client::{
    AdapterValue, Header, HoldReason, LightClient, ProofStrength, Refusal, SetStatement, Verdict,
};
use cityrelay_core::message::{Message, Payload};
use cityrelay_core::opaque::Opaque;
use cityrelay_core::outcome::{Outcome, Status};
use cityrelay_core::verify::{
    EvidenceError, VerifiedHeader, VerifiedUpdate, verify_evidence, verify_extension, verify_update,
};
use k256::ecdsa::SigningKey;

const NOW: UnixMillis = UnixMillis(1_000_000);
const EPOCH: Epoch = Epoch(3);

fn domain(name: &str) -> Domain {
    Domain(keccak256(name.as_bytes()))
}

fn lane() -> LaneIdentity {
    LaneIdentity {
        source_domain: domain("source"),
        destination_domain: domain("destination"),
        source_gateway: Address::from_20([1; 20]),
        destination_gateway: Address::from_20([2; 20]),
        source_verifier: Address::from_20([3; 20]),
        destination_verifier: Address::from_20([4; 20]),
        channel: "medical".to_owned(),
        salt: Hash32::ZERO,
    }
}

fn outbox() -> Flow {
    Flow { lane: lane().id(), direction: Direction::Outbox }
}

fn message(index: u64) -> Message {
    Message {
        index: Index(index),
        sender: Address::from_20([7; 20]),
        receiver: Address::from_20([8; 20]),
        deadline: UnixMillis(u64::MAX),
        gas_limit: 1,
        payload: Payload::Bytes(vec![1]),
    }
}

fn entry(index: u64) -> Entry {
    Entry::Message(message(index))
}

fn point(index: u64) -> ChainPoint {
    let start = ChainPoint::start(outbox());
    (1..=index).fold(start, |point, index| point.extended(Direction::Outbox, entry(index).link(outbox())))
}

/// Messages 3 to 5 after point 2.
fn claim() -> Claim {
    Claim {
        flow: outbox(),
        first: Index(3),
        entries: (3..=5).map(entry).collect(),
        tail: Vec::new(),
        height: Height(10),
        proof: Opaque { adapter: String::new(), version: 1, bytes: Vec::new() },
    }
}

fn header(height: u64) -> Header {
    Header {
        height: Height(height),
        hash: keccak256(&height.to_be_bytes()),
        parent: keccak256(&(height - 1).to_be_bytes()),
        timestamp: NOW,
        detail: Vec::new(),
    }
}

/// A client that finds final whatever headers the update names, and proves whatever head the proof says, for the
/// source gateway only.
struct Believer;

#[derive(Clone, Debug)]
struct Text(Vec<u8>);

impl AdapterValue for Text {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        self.0.clone()
    }

    fn decode(_: u16, bytes: &[u8]) -> Result<Self, Refusal> {
        Ok(Self(bytes.to_vec()))
    }
}

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
    type State = Text;
    type Update = Text;
    type HeadProof = Proved;

    fn trusted_height(&self, state: &Text) -> Height {
        Height(state.0.len() as u64)
    }

    fn trusted_hash(&self, _: &Text) -> Hash32 {
        Hash32::ZERO
    }

    fn verify_update(&self, trusted: &Text, update: &Text, _: UnixMillis) -> Verdict<Text> {
        let headers = update.0.iter().map(|height| header(u64::from(*height))).collect();
        let state = trusted.clone();
        if update.0.len() > 3 {
            let reason = HoldReason::ShortOfQuorum { height: Height(9), expected: 3, got: 2 };
            return Verdict::HeldBack { state, headers, set_changes: Vec::new(), reason };
        }
        Verdict::Advanced { state, headers, set_changes: Vec::new() }
    }

    fn apply_set_statement(&self, _: &Text, _: &SetStatement) -> Result<Text, Refusal> {
        Err(Refusal::new("set-statement", "none", "one"))
    }

    fn verify_head(&self, _: &Header, proof: &Proved, gateway: Address, flow: Flow) -> Result<ChainPoint, Refusal> {
        let expected = lane().origin(flow.direction).gateway;
        if gateway != expected {
            return Err(Refusal::new("gateway", expected, gateway));
        }
        Ok(proof.0)
    }

    fn strength(&self) -> ProofStrength {
        ProofStrength::NeedsLocalConfirmation
    }
}

fn verified_header(domain_name: &str, height: u8) -> VerifiedHeader {
    let trusted = Text(vec![0; usize::from(height) - 1]);
    match verify_update(&Believer, domain(domain_name), &trusted, &Text(vec![height]), NOW) {
        VerifiedUpdate::Advanced { mut headers, .. } => headers.remove(0),
        other => panic!("{other:?}"),
    }
}

fn check_of(claim: Claim, base: ChainPoint, proved: ChainPoint) -> Result<ChainPoint, &'static str> {
    let header = verified_header("source", 10);
    verify_extension(&Believer, &header, &lane(), base, claim, &Proved(proved))
        .map(|extension| extension.tip())
        .map_err(|refusal| refusal.check)
}

#[test]
fn entries_under_a_proved_head_are_an_extension() {
    let header = verified_header("source", 10);
    let extension = verify_extension(&Believer, &header, &lane(), point(2), claim(), &Proved(point(5))).unwrap();
    assert_eq!((extension.base(), extension.tip()), (point(2), point(5)));
    assert_eq!(extension.points(), [point(3), point(4), point(5)]);
    assert_eq!(extension.strength(), ProofStrength::NeedsLocalConfirmation);
    assert_eq!((extension.proved_at(), extension.block_hash()), (Height(10), header.hash()));
}

#[test]
fn a_proved_head_may_lie_beyond_the_entries() {
    let tail = [6, 7].map(|index| entry(index).link(outbox())).to_vec();
    let longer = Claim { tail, ..claim() };
    assert_eq!(check_of(longer.clone(), point(2), point(7)), Ok(point(5)));
    assert_eq!(check_of(longer, point(2), point(6)), Err("head-index"));
}

#[test]
fn the_claim_is_about_the_lane_its_chain_and_the_header_given() {
    let elsewhere = LaneIdentity { channel: "trade".to_owned(), ..lane() };
    let other = Claim { flow: Flow { lane: elsewhere.id(), ..outbox() }, ..claim() };
    assert_eq!(check_of(other, point(2), point(5)), Err("claim-lane"));
    assert_eq!(check_of(Claim { height: Height(11), ..claim() }, point(2), point(5)), Err("claim-height"));
    let foreign = verified_header("destination", 10);
    let refused = verify_extension(&Believer, &foreign, &lane(), point(2), claim(), &Proved(point(5)));
    assert_eq!(refused.unwrap_err().check, "claim-chain");
}

#[test]
fn a_claim_has_entries_and_not_too_many() {
    assert_eq!(check_of(Claim { entries: Vec::new(), ..claim() }, point(2), point(2)), Err("claim-entries"));
    let many = (3..=3 + MAX_CLAIM_ENTRIES as u64).map(entry).collect();
    assert_eq!(check_of(Claim { entries: many, ..claim() }, point(2), point(5)), Err("claim-entries"));
    let tail = vec![Hash32::ZERO; MAX_CLAIM_TAIL + 1];
    assert_eq!(check_of(Claim { tail, ..claim() }, point(2), point(5)), Err("claim-tail"));
}

#[test]
fn entries_follow_the_base_one_by_one_in_their_direction() {
    assert_eq!(check_of(claim(), point(1), point(5)), Err("claim-base"));
    assert_eq!(check_of(claim(), point(3), point(5)), Err("claim-base"));
    let gap = Claim { entries: [3, 5].map(entry).to_vec(), ..claim() };
    assert_eq!(check_of(gap, point(2), point(5)), Err("entry-index"));
    let twice = Claim { entries: [3, 3].map(entry).to_vec(), ..claim() };
    assert_eq!(check_of(twice, point(2), point(5)), Err("entry-index"));
    let outcome = Outcome {
        index: Index(3),
        message: message(3).id(lane().id()),
        status: Status::Executed,
        result_hash: Hash32::ZERO,
    };
    let turned = Claim { entries: vec![Entry::Outcome(outcome)], ..claim() };
    assert_eq!(check_of(turned, point(2), point(3)), Err("entry-direction"));
}

#[test]
fn the_recomputed_chain_ends_in_the_proved_head() {
    assert_eq!(check_of(claim(), point(2), point(4)), Err("head-index"));
    assert_eq!(check_of(claim(), point(2), point(6)), Err("head-index"));
    let forged = ChainPoint { head: keccak256(b"forged"), ..point(5) };
    assert_eq!(check_of(claim(), point(2), forged), Err("head-mismatch"));
    let mut changed = claim();
    changed.entries[1] = Entry::Message(Message { gas_limit: 2, ..message(4) });
    assert_eq!(check_of(changed, point(2), point(5)), Err("head-mismatch"));
    let other_base = ChainPoint { head: keccak256(b"another past"), ..point(2) };
    assert_eq!(check_of(claim(), other_base, point(5)), Err("head-mismatch"));
}

#[test]
fn the_head_is_proved_for_the_lanes_own_gateway() {
    let other = LaneIdentity { source_gateway: Address::from_20([9; 20]), ..lane() };
    let flow = Flow { lane: other.id(), direction: Direction::Outbox };
    let header = verified_header("source", 10);
    let claim = Claim { flow, first: Index(1), entries: vec![entry(1)], ..claim() };
    let end = ChainPoint::start(flow).extended(Direction::Outbox, entry(1).link(flow));
    let refused = verify_extension(&Believer, &header, &other, ChainPoint::start(flow), claim, &Proved(end));
    assert_eq!(refused.unwrap_err().check, "gateway", "the client was asked about the gateway of that lane");
}

#[test]
fn final_headers_ascend_without_a_gap() {
    let trusted = Text(vec![0; 4]);
    let update = |heights: &[u8]| verify_update(&Believer, domain("source"), &trusted, &Text(heights.to_vec()), NOW);
    let VerifiedUpdate::Advanced { headers, .. } = update(&[5, 6]) else { panic!("5 and 6 follow 4") };
    assert_eq!(headers.iter().map(VerifiedHeader::height).collect::<Vec<_>>(), [Height(5), Height(6)]);
    assert!(headers.iter().all(|header| header.domain() == domain("source")));
    for heights in [&[6][..], &[4, 5], &[5, 7], &[5, 5], &[5, 6, 8, 9]] {
        let VerifiedUpdate::Refused(refusal) = update(heights) else { panic!("{heights:?} has a gap") };
        assert_eq!(refusal.check, "header-gap");
    }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).unwrap()
}

fn member(seed: u8) -> AttesterId {
    attester_id(key(seed).verifying_key())
}

fn committee() -> Committee {
    Committee::new(EPOCH, &[1, 2, 3, 4].map(member), 3).unwrap()
}

fn signature(seed: u8, lane: &LaneIdentity, point: ChainPoint, epoch: Epoch) -> SignatureBytes {
    let statement = Statement { flow: outbox(), point, epoch, verifying: lane.target(Direction::Outbox) };
    let (signature, recovery) = key(seed).sign_prehash_recoverable(&statement.digest().0).unwrap();
    SignatureBytes::from_parts(&signature, recovery)
}

fn evidence(seeds: &[u8], point: ChainPoint, epoch: Epoch) -> Evidence {
    let signatures = seeds.iter().map(|seed| (member(*seed), signature(*seed, &lane(), point, epoch)));
    Evidence { point, epoch, signatures: signatures.collect() }
}

fn judged(evidence: Evidence) -> Result<(), EvidenceError> {
    verify_evidence(&lane(), outbox(), &committee(), point(5), evidence).map(drop)
}

#[test]
fn a_threshold_of_members_is_evidence() {
    let good = evidence(&[1, 2, 4], point(5), EPOCH);
    let verified = verify_evidence(&lane(), outbox(), &committee(), point(5), good.clone()).unwrap();
    assert_eq!(verified.into_evidence(), good);
}

#[test]
fn one_signature_short_of_the_threshold_is_no_evidence() {
    assert_eq!(judged(evidence(&[1, 2], point(5), EPOCH)), Err(EvidenceError::Threshold { expected: 3, got: 2 }));
    assert_eq!(judged(evidence(&[], point(5), EPOCH)), Err(EvidenceError::Threshold { expected: 3, got: 0 }));
}

#[test]
fn evidence_is_about_the_head_that_was_verified() {
    let other = evidence(&[1, 2, 3], point(4), EPOCH);
    assert!(matches!(judged(other), Err(EvidenceError::Head { .. })));
}

#[test]
fn evidence_of_another_epoch_is_refused() {
    let stale = evidence(&[1, 2, 3], point(5), Epoch(2));
    let expected = AttestationError::Epoch { expected: EPOCH, got: Epoch(2) };
    assert_eq!(judged(stale), Err(EvidenceError::Attestation(expected)));
}

#[test]
fn one_member_does_not_count_twice_and_a_stranger_not_at_all() {
    // Member 1 signs three times, filed under three names.
    let mut doubled = evidence(&[1, 2, 3], point(5), EPOCH);
    let first = doubled.signatures[&member(1)];
    doubled.signatures.insert(member(2), first);
    assert!(matches!(judged(doubled), Err(EvidenceError::Signer { .. })));
    let strange = evidence(&[1, 2, 9], point(5), EPOCH);
    let expected = AttestationError::Stranger { got: member(9) };
    assert_eq!(judged(strange), Err(EvidenceError::Attestation(expected)));
}

#[test]
fn signatures_for_another_gateway_or_lane_are_worth_nothing_here() {
    let other = LaneIdentity { destination_gateway: Address::from_20([9; 20]), ..lane() };
    let mut replayed = evidence(&[1, 2, 3], point(5), EPOCH);
    replayed.signatures.insert(member(1), signature(1, &other, point(5), EPOCH));
    assert!(matches!(
        judged(replayed),
        Err(EvidenceError::Signer { .. } | EvidenceError::Attestation(AttestationError::Stranger { .. }))
    ));
}
