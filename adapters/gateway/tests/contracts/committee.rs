//! The committee: which signatures are enough, and how the set changes.

use alloy_primitives::Bytes;
use alloy_sol_types::{SolCall, SolConstructor};
use cityrelay_core::attestation::{Committee as CommitteeSet, SignatureBytes, Statement, rotation_digest};
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::gateway_call::{Evidence, GatewayCall};
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, AttesterId, Domain, Epoch, Index, LaneId};
use cityrelay_core::lane::{Direction, Flow, GatewayAt};
use cityrelay_gateway::call::encode_evidence;
use cityrelay_gateway::{EncodedCall, GatewayEvent, artifact, encode, query};
use k256::ecdsa::SigningKey;

use crate::abi::Committee;
use crate::chain::{Chain, Receipt, USUAL};
use crate::world::{account, attester_key, members, owner, sign, signed, user};

/// A committee of four with threshold three, asked by `account(30)` as its gateway.
struct Bench {
    chain: Chain,
    committee: Address,
    domain: Domain,
    keys: Vec<SigningKey>,
}

/// Keys whose addresses ascend.
fn ascending_keys(numbers: impl Iterator<Item = u8>) -> Vec<SigningKey> {
    let mut keys: Vec<_> = numbers.map(attester_key).collect();
    keys.sort_by_key(|key| members(std::slice::from_ref(key))[0]);
    keys
}

impl Bench {
    fn new() -> Self {
        let mut chain = Chain::new(USUAL);
        let domain = Domain(keccak256(b"here"));
        let keys = ascending_keys(1..=4);
        let call = GatewayCall::DeployCommittee { domain, members: members(&keys), threshold: 3 };
        let receipt = chain.transact(owner(), &encode(&call).unwrap()).ok();
        let committee = CommitteeSet::new(Epoch(1), &members(&keys), 3).unwrap();
        assert_eq!(receipt.events, [GatewayEvent::Rotated { committee }]);
        Self { chain, committee: receipt.created.unwrap(), domain, keys }
    }

    fn gateway() -> Address {
        account(30)
    }

    fn statement(&self) -> Statement {
        Statement {
            flow: Flow { lane: LaneId(keccak256(b"lane")), direction: Direction::Outbox },
            point: ChainPoint { index: Index(7), head: keccak256(b"head") },
            epoch: Epoch(1),
            verifying: GatewayAt { domain: self.domain, gateway: Self::gateway() },
        }
    }

    fn verify(&mut self, statement: &Statement, evidence: Vec<u8>) -> Receipt {
        self.verify_as(Self::gateway(), statement, evidence)
    }

    fn verify_as(&mut self, gateway: Address, statement: &Statement, evidence: Vec<u8>) -> Receipt {
        let call = Committee::verifyCall {
            lane: statement.flow.lane.0.0.into(),
            direction: statement.flow.direction.code(),
            index: statement.point.index.0,
            head: statement.point.head.0.into(),
            evidence: evidence.into(),
        };
        let receipt = self.chain.call(gateway, self.committee, call.abi_encode());
        assert!(!receipt.is_success || receipt.output == keccak256(b"cityrelay.v1.verified").0);
        receipt
    }

    fn evidence(&self, signers: usize) -> Evidence {
        signed(&self.statement(), self.keys.iter().take(signers))
    }

    /// Evidence whose signature bytes are `change`d.
    fn with_signatures(&self, change: impl FnOnce(&mut Vec<[u8; 65]>)) -> Vec<u8> {
        let mut signatures: Vec<_> = self.evidence(3).signatures.into_values().map(|it| it.0).collect();
        change(&mut signatures);
        raw_evidence(1, &signatures.concat())
    }

    fn verify_with(&mut self, change: impl FnOnce(&mut Vec<[u8; 65]>)) -> String {
        let (statement, evidence) = (self.statement(), self.with_signatures(change));
        self.verify(&statement, evidence).refused()
    }
}

fn raw_evidence(epoch: u64, signatures: &[u8]) -> Vec<u8> {
    let mut bytes = [Hash32::from_u64(epoch), Hash32::from_u64(64), Hash32::from_u64(signatures.len() as u64)]
        .iter()
        .flat_map(|word| word.0)
        .collect::<Vec<_>>();
    bytes.extend_from_slice(signatures);
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes
}

#[test]
fn the_threshold_is_enough_and_one_less_is_not() {
    let mut bench = Bench::new();
    let statement = bench.statement();
    for signers in [3, 4] {
        let evidence = encode_evidence(&bench.evidence(signers));
        bench.verify(&statement, evidence).ok();
    }
    for signers in [0, 1, 2] {
        let evidence = encode_evidence(&bench.evidence(signers));
        assert_eq!(bench.verify(&statement, evidence).refused(), "TooFewSignatures");
    }
}

#[test]
fn every_part_of_the_statement_is_signed() {
    let mut bench = Bench::new();
    let (good, evidence) = (bench.statement(), encode_evidence(&bench.evidence(3)));
    type Change = fn(&mut Statement);
    let changes: [Change; 4] = [
        |it| it.flow.lane = LaneId(keccak256(b"other")),
        |it| it.flow.direction = Direction::Inbox,
        |it| it.point.index = Index(8),
        |it| it.point.head = keccak256(b"other"),
    ];
    let mut refused = Vec::new();
    for change in changes {
        let mut statement = good;
        change(&mut statement);
        refused.push(bench.verify(&statement, evidence.clone()));
    }
    // Another gateway asks; or the attesters signed for another chain.
    refused.push(bench.verify_as(account(31), &good, evidence.clone()));
    let mut elsewhere = good;
    elsewhere.verifying.domain = Domain(keccak256(b"there"));
    let signed_elsewhere = encode_evidence(&signed(&elsewhere, bench.keys.iter().take(3)));
    refused.push(bench.verify(&good, signed_elsewhere));
    for receipt in refused {
        // A signature over something else recovers to a stranger.
        assert!(["SignerUnknown", "SignersNotAscending"].contains(&receipt.refused().as_str()));
    }
    bench.verify(&good, evidence).ok();
}

#[test]
fn another_epoch_is_unknown() {
    let mut bench = Bench::new();
    let statement = bench.statement();
    for epoch in [0, 2, u64::MAX] {
        let other = Statement { epoch: Epoch(epoch), ..statement };
        let evidence = encode_evidence(&signed(&other, bench.keys.iter().take(3)));
        assert_eq!(bench.verify(&statement, evidence).refused(), "EpochUnknown");
    }
}

#[test]
fn a_signer_counts_once() {
    let mut bench = Bench::new();
    assert_eq!(bench.verify_with(|it| it[2] = it[1]), "SignersNotAscending");
    assert_eq!(bench.verify_with(|it| it.swap(0, 1)), "SignersNotAscending");
    assert_eq!(bench.verify_with(|it| *it = vec![it[0]; 4]), "SignersNotAscending");
}

#[test]
fn a_stranger_does_not_count() {
    let mut bench = Bench::new();
    let statement = bench.statement();
    let keys = ascending_keys([1, 2, 9].into_iter());
    let evidence = encode_evidence(&signed(&statement, keys.iter()));
    assert_eq!(bench.verify(&statement, evidence).refused(), "SignerUnknown");
}

#[test]
fn more_signatures_than_members_are_refused() {
    let mut bench = Bench::new();
    assert_eq!(bench.verify_with(|it| *it = vec![it[0]; 5]), "TooManySignatures");
}

#[test]
fn a_high_s_is_refused() {
    let mut bench = Bench::new();
    let flipped = bench.verify_with(|it| {
        let s = k256::NonZeroScalar::try_from(&it[0][32..64]).unwrap();
        it[0][32..64].copy_from_slice(&(-s).to_bytes());
        it[0][64] = 55 - it[0][64];
    });
    assert_eq!(flipped, "SignatureInvalid");
}

#[test]
fn v_is_27_or_28_and_something_must_be_recovered() {
    let mut bench = Bench::new();
    for v in [0, 1, 26, 29, 255] {
        assert_eq!(bench.verify_with(|it| it[0][64] = v), "SignatureInvalid");
    }
    assert_eq!(bench.verify_with(|it| it[0][..32].fill(0)), "SignatureInvalid");
    assert_eq!(bench.verify_with(|it| it[0][32..64].fill(0)), "SignatureInvalid");
    assert_eq!(bench.verify_with(|it| it[0][..32].fill(0xff)), "SignatureInvalid");
}

#[test]
fn signatures_come_whole() {
    let mut bench = Bench::new();
    let statement = bench.statement();
    for cut in [1, 64] {
        let all: Vec<u8> = bench.evidence(4).signatures.values().flat_map(|it| it.0).collect();
        let evidence = raw_evidence(1, &all[..all.len() - cut]);
        assert_eq!(bench.verify(&statement, evidence).refused(), "SignaturesMalformed");
    }
}

#[test]
fn evidence_has_exactly_one_form() {
    let mut bench = Bench::new();
    let statement = bench.statement();
    let good = encode_evidence(&bench.evidence(3));
    type Change = fn(&mut Vec<u8>);
    let changes: [Change; 10] = [
        |it| it.clear(),
        |it| it.truncate(95),
        |it| it.truncate(64),
        |it| it.push(0),
        |it| it.extend([0; 32]),
        |it| it.truncate(it.len() - 32),
        |it| it[0] = 1,
        |it| it[63] = 96,
        |it| it[64] = 0xff,
        |it| *it.last_mut().unwrap() = 1,
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut evidence = good.clone();
        change(&mut evidence);
        assert_eq!(bench.verify(&statement, evidence).refused(), "EvidenceMalformed", "change {number}");
    }
    bench.verify(&statement, good).ok();
}

fn constructed(domain: Hash32, members: &[AttesterId], threshold: u32) -> String {
    let arguments = Committee::constructorCall {
        domain: domain.0.into(),
        members: members.iter().map(|member| member.0.into()).collect(),
        threshold,
    };
    let data = [artifact::COMMITTEE_INIT_CODE, &arguments.abi_encode()].concat();
    let receipt = Chain::new(USUAL).transact(owner(), &EncodedCall { to: None, data });
    if receipt.is_success { "accepted".to_owned() } else { receipt.refused() }
}

#[test]
fn a_set_is_ascending_without_zero_and_of_at_most_64() {
    let here = keccak256(b"here");
    let id = |number: u8| AttesterId([number; 20]);
    let set = |count: u8| (1..=count).map(id).collect::<Vec<_>>();
    assert_eq!(constructed(here, &set(3), 2), "accepted");
    assert_eq!(constructed(Hash32::ZERO, &set(3), 2), "DomainIsZero");
    assert_eq!(constructed(here, &[], 0), "NoMembers");
    assert_eq!(constructed(here, &[], 1), "NoMembers");
    assert_eq!(constructed(here, &[id(1), id(1), id(2)], 2), "MembersNotAscending");
    assert_eq!(constructed(here, &[id(2), id(1), id(3)], 2), "MembersNotAscending");
    assert_eq!(constructed(here, &[id(0), id(1), id(2)], 2), "MembersNotAscending");
    assert_eq!(constructed(here, &set(64), 33), "accepted");
    assert_eq!(constructed(here, &set(65), 33), "TooManyMembers");
}

#[test]
fn a_threshold_is_more_than_half_and_at_most_all() {
    for count in 1..=7_u8 {
        let set: Vec<_> = (1..=count).map(|number| AttesterId([number; 20])).collect();
        for threshold in 0..=u32::from(count) + 1 {
            let is_sound = 2 * threshold > u32::from(count) && threshold <= u32::from(count);
            let expected = if is_sound { "accepted" } else { "ThresholdOutOfRange" };
            assert_eq!(constructed(keccak256(b"here"), &set, threshold), expected, "{threshold} of {count}");
            assert_eq!(CommitteeSet::new(Epoch(1), &set, threshold).is_ok(), is_sound);
        }
    }
}

#[test]
fn two_of_three_is_not_the_whole_of_u32() {
    let set: Vec<_> = (1..=3).map(|number| AttesterId([number; 20])).collect();
    assert_eq!(constructed(keccak256(b"here"), &set, u32::MAX), "ThresholdOutOfRange");
}

/// A rotation, with who signs chosen apart from what is asked for.
struct Rotation {
    new: Vec<SigningKey>,
    threshold: u32,
    old_signers: Vec<SigningKey>,
    new_signers: Vec<SigningKey>,
    signed_epoch: u64,
    signed_verifier: Address,
}

impl Rotation {
    /// To members 3, 4, 5 with threshold two.
    fn good(bench: &Bench) -> Self {
        let new = ascending_keys(3..=5);
        Self {
            new_signers: new.clone(),
            new,
            threshold: 2,
            old_signers: bench.keys.iter().take(3).cloned().collect(),
            signed_epoch: 2,
            signed_verifier: bench.committee,
        }
    }

    fn submit(&self, bench: &mut Bench) -> Receipt {
        let set = members(&self.new).into_iter().collect();
        let digest =
            rotation_digest(self.signed_verifier, bench.domain, Epoch(self.signed_epoch), &set, self.threshold);
        let all = |keys: &[SigningKey]| keys.iter().map(|key| sign(key, digest)).collect();
        let call = GatewayCall::Rotate {
            verifier: bench.committee,
            members: members(&self.new),
            threshold: self.threshold,
            old: all(&self.old_signers),
            new: all(&self.new_signers),
        };
        bench.chain.transact(user(), &encode(&call).unwrap())
    }
}

#[test]
fn a_rotation_puts_another_set_in_force() {
    let mut bench = Bench::new();
    let rotation = Rotation::good(&bench);
    let old_evidence = encode_evidence(&bench.evidence(4));
    let receipt = rotation.submit(&mut bench).ok();
    let committee = CommitteeSet::new(Epoch(2), &members(&rotation.new), 2).unwrap();
    assert_eq!(receipt.events, [GatewayEvent::Rotated { committee: committee.clone() }]);
    let answer = bench.chain.view(bench.committee, query::committee());
    assert_eq!(query::decode_committee(&answer).unwrap(), committee);
    let answer = bench.chain.view(bench.committee, query::committee_domain());
    assert_eq!(query::decode_committee_domain(&answer).unwrap(), bench.domain);

    let statement = bench.statement();
    assert_eq!(bench.verify(&statement, old_evidence).refused(), "EpochUnknown");
    let later = Statement { epoch: Epoch(2), ..statement };
    // Members 1 and 2 are no longer; 3, 4 and 5 are.
    let gone = encode_evidence(&signed(&later, ascending_keys(1..=2).iter()));
    assert_eq!(bench.verify(&statement, gone).refused(), "SignerUnknown");
    let there = encode_evidence(&signed(&later, ascending_keys(4..=5).iter()));
    bench.verify(&statement, there).ok();

    let is_member = |bench: &mut Bench, number| {
        let account = members(&[attester_key(number)])[0].0.into();
        let answer = bench.chain.view(bench.committee, Committee::isMemberCall { account }.abi_encode());
        Committee::isMemberCall::abi_decode_returns_validate(&answer).unwrap()
    };
    assert!(!is_member(&mut bench, 1) && is_member(&mut bench, 5));
    // The same signatures do not work twice.
    assert!(!rotation.submit(&mut bench).is_success);
}

#[test]
fn a_rotation_needs_the_old_threshold() {
    let mut bench = Bench::new();
    let mut rotation = Rotation::good(&bench);
    rotation.old_signers.pop();
    assert_eq!(rotation.submit(&mut bench).refused(), "TooFewSignatures");
    rotation.old_signers = ascending_keys([1, 2, 9].into_iter());
    assert_eq!(rotation.submit(&mut bench).refused(), "SignerUnknown");
}

#[test]
fn a_rotation_needs_every_new_member() {
    let mut bench = Bench::new();
    let mut rotation = Rotation::good(&bench);
    rotation.new_signers.pop();
    assert_eq!(rotation.submit(&mut bench).refused(), "TooFewSignatures");
    rotation.new_signers = ascending_keys([3, 4, 9].into_iter());
    assert_eq!(rotation.submit(&mut bench).refused(), "NewMemberMissing");
    rotation.new_signers = ascending_keys(3..=6);
    assert_eq!(rotation.submit(&mut bench).refused(), "TooManySignatures");
}

#[test]
fn a_rotation_is_for_the_next_epoch_of_this_committee() {
    let mut bench = Bench::new();
    for epoch in [0, 1, 3] {
        let rotation = Rotation { signed_epoch: epoch, ..Rotation::good(&bench) };
        assert!(["SignerUnknown", "SignersNotAscending"].contains(&rotation.submit(&mut bench).refused().as_str()));
    }
    let rotation = Rotation { signed_verifier: account(31), ..Rotation::good(&bench) };
    assert!(["SignerUnknown", "SignersNotAscending"].contains(&rotation.submit(&mut bench).refused().as_str()));
}

#[test]
fn a_rotation_to_an_unsound_set_is_refused() {
    let mut bench = Bench::new();
    for threshold in [0, 1, 4] {
        let rotation = Rotation { threshold, ..Rotation::good(&bench) };
        assert_eq!(rotation.submit(&mut bench).refused(), "ThresholdOutOfRange");
    }
    let nobody = Rotation { new: vec![], new_signers: vec![], threshold: 0, ..Rotation::good(&bench) };
    assert_eq!(nobody.submit(&mut bench).refused(), "NoMembers");
}

#[test]
fn rotation_signatures_are_exact() {
    let mut bench = Bench::new();
    let call = Committee::rotateCall {
        newMembers: vec![[1; 20].into()],
        newThreshold: 1,
        oldSignatures: Bytes::from_static(&[0; 66]),
        newSignatures: Bytes::new(),
    };
    let receipt = bench.chain.call(user(), bench.committee, call.abi_encode());
    assert_eq!(receipt.refused(), "SignaturesMalformed");
}

/// What core takes for a good signature and what the contract takes are the same.
#[test]
fn core_and_contract_agree_on_signatures() {
    let mut bench = Bench::new();
    let statement = bench.statement();
    let set = CommitteeSet::new(Epoch(1), &members(&bench.keys), 3).unwrap();
    for byte in 0..65 {
        let evidence = bench.with_signatures(|it| it[0][byte] ^= 0x55);
        let accepted = bench.verify(&statement, evidence).is_success;
        let mut first = bench.evidence(3).signatures.into_values().next().unwrap();
        first.0[byte] ^= 0x55;
        assert_eq!(set.verify_attestation(&statement, &SignatureBytes(first.0)).is_ok(), accepted, "byte {byte}");
    }
}
