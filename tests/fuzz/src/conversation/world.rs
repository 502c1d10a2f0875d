//! What the play is about: one lane, a chain whose blocks are easy to make, and two stories of what was sent on it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use cityrelay_api::client::{ErasedClient, erase};
use cityrelay_core::attestation::{Committee, SignatureBytes, Statement, attester_id};
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::claim::Claim;
use cityrelay_core::frame::Role;
use cityrelay_core::gateway_call::Evidence;
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, Domain, Epoch, Height, Index, UnixMillis};
use cityrelay_core::lane::{Direction, Flow, LaneIdentity};
use cityrelay_core::light_client::{
    AdapterValue, Header, HoldReason, LightClient, ProofStrength, Refusal, SetStatement, Verdict,
};
use cityrelay_core::machine::Machine;
use cityrelay_core::machine::config::{ChainSetup, LaneSetup, Limits, MachineConfig, PeerSetup};
use cityrelay_core::message::{Message, Payload};
use cityrelay_core::opaque::Opaque;
use cityrelay_core::outcome::{Outcome, Status};
use cityrelay_core::recovery::{Recovered, RecoveredFlow};
use k256::ecdsa::SigningKey;

pub(super) const NOW: UnixMillis = UnixMillis(1_000_000);

const ADAPTER: &str = "play";

/// The longest that either story gets, in entries.
const LAST: u64 = 64;

pub(super) fn opaque(bytes: &[u8]) -> Opaque {
    Opaque { adapter: ADAPTER.to_owned(), version: 1, bytes: bytes.to_vec() }
}

pub(super) fn domain(name: &str) -> Domain {
    Domain(keccak256(name.as_bytes()))
}

pub(super) fn lane() -> LaneIdentity {
    LaneIdentity {
        source_domain: domain("here"),
        destination_domain: domain("there"),
        source_gateway: Address::from_20([1; 20]),
        destination_gateway: Address::from_20([2; 20]),
        source_verifier: Address::from_20([3; 20]),
        destination_verifier: Address::from_20([4; 20]),
        channel: "medical".to_owned(),
        salt: Hash32::ZERO,
    }
}

pub(super) fn flow(direction: Direction) -> Flow {
    Flow { lane: lane().id(), direction }
}

/// One of two versions of what happened on the lane; they part at the second entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Story(pub(super) u8);

impl Story {
    pub(super) fn entry(self, flow: Flow, index: u64) -> Entry {
        let told = if index < 2 { 0 } else { self.0 };
        let message = Message {
            index: Index(index),
            sender: Address::from_20([7; 20]),
            receiver: Address::from_20([8; 20]),
            deadline: UnixMillis(u64::MAX),
            gas_limit: 1,
            payload: Payload::Bytes(vec![told]),
        };
        match flow.direction {
            Direction::Outbox => Entry::Message(message),
            Direction::Inbox => {
                let (message, result_hash) = (message.id(flow.lane), keccak256(&[told]));
                Entry::Outcome(Outcome { index: Index(index), message, status: Status::Executed, result_hash })
            }
        }
    }

    pub(super) fn point(self, flow: Flow, index: u64) -> ChainPoint {
        (1..=index.min(LAST)).fold(ChainPoint::start(flow), |point, index| {
            point.extended(flow.direction, self.entry(flow, index).link(flow))
        })
    }
}

/// `count` entries from `first` on, with a proof of the head after them.
pub(super) fn claim(story: Story, flow: Flow, first: u64, count: u8, height: Height) -> Claim {
    let last = first + u64::from(count) - 1;
    let end = story.point(flow, last);
    let proof = opaque(&[&end.index.0.to_be_bytes()[..], &end.head.0].concat());
    let entries = (first..=last).map(|index| story.entry(flow, index)).collect();
    Claim { flow, first: Index(first), entries, tail: Vec::new(), height, proof }
}

pub(super) fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed.max(1); 32]).unwrap()
}

pub(super) fn committee(epoch: u64) -> Committee {
    let members: Vec<_> = (1..=4).map(|seed| attester_id(key(seed).verifying_key())).collect();
    Committee::new(Epoch(epoch), &members, 3).unwrap()
}

pub(super) fn statement(flow: Flow, point: ChainPoint, epoch: Epoch) -> Statement {
    Statement { flow, point, epoch, verifying: lane().target(flow.direction) }
}

thread_local! {
    // Signing is slow beside everything else that an input makes happen.
    static SIGNED: RefCell<BTreeMap<(u8, Hash32), SignatureBytes>> = const { RefCell::new(BTreeMap::new()) };
}

pub(super) fn signature(seed: u8, statement: &Statement) -> SignatureBytes {
    let digest = statement.digest();
    SIGNED.with_borrow_mut(|signed| {
        *signed.entry((seed, digest)).or_insert_with(|| {
            let (signature, recovery) = key(seed).sign_prehash_recoverable(&digest.0).unwrap();
            SignatureBytes::from_parts(&signature, recovery)
        })
    })
}

pub(super) fn evidence(story: Story, flow: Flow, index: u64, epoch: Epoch) -> Evidence {
    let point = story.point(flow, index);
    let statement = statement(flow, point, epoch);
    let signatures = (1..=3).map(|seed| (attester_id(key(seed).verifying_key()), signature(seed, &statement)));
    Evidence { point, epoch, signatures: signatures.collect() }
}

pub(super) fn block_hash(height: Height) -> Hash32 {
    keccak256(&height.0.to_be_bytes())
}

/// The blocks after `after`: more of them, too few seals, false ones, or two at one height, as `shape` says.
pub(super) fn update(after: Height, shape: u8) -> Opaque {
    opaque(&[&after.0.to_be_bytes()[..], &[shape]].concat())
}

/// The machine's part: an attester, or the relay on either side; with the weaker kind of proof when bit 2 is set.
pub(super) fn config(cast: u8) -> MachineConfig {
    let target = [None, Some("here"), Some("there")][usize::from(cast % 3)];
    let chain = |name: &str| ChainSetup {
        domain: domain(name),
        anchor: state(Height(0)),
        height: Height(0),
        hash: block_hash(Height(0)),
        has_source: target.is_none_or(|target| target == name),
        has_target: target == Some(name),
        strength: if cast & 4 == 0 { ProofStrength::Conclusive } else { ProofStrength::NeedsLocalConfirmation },
        poll_interval: core::time::Duration::from_secs(1),
    };
    MachineConfig {
        role: if target.is_some() { Role::Relay } else { Role::Attester },
        chains: vec![chain("here"), chain("there")],
        lanes: vec![LaneSetup {
            identity: lane(),
            peer: target.map(|_| super::PEERS[0].0),
            source_committee: Some(committee(1)),
            destination_committee: Some(committee(1)),
        }],
        peers: super::PEERS
            .iter()
            .map(|(id, role)| PeerSetup { id: *id, name: format!("peer-{}", id.0), role: *role, attester: None })
            .collect(),
        limits: Limits::default(),
        jitter_seed: 1,
    }
}

/// Nothing has happened yet.
pub(super) fn recovered(cast: u8) -> Recovered {
    let flows = Machine::sides(&config(cast)).into_iter().map(|(flow, side)| {
        let start = ChainPoint::start(flow);
        let (outstanding, evidence, unsettled) = (Vec::new(), Vec::new(), Vec::new());
        RecoveredFlow { flow, side, tip: start, peer_accepted: start, done: start, outstanding, evidence, unsettled }
    });
    Recovered { flows: flows.collect(), ..Recovered::default() }
}

pub(super) fn client() -> impl ErasedClient {
    erase(ADAPTER, PlayClient)
}

fn state(height: Height) -> Opaque {
    opaque(&Number(height.0).encode())
}

/// A light client of a chain whose block `n` has the hash of `n`, and that proves whatever the proof says.
#[derive(Debug)]
struct PlayClient;

struct Number(u64);

struct Blocks {
    after: u64,
    shape: u8,
}

struct Proof(ChainPoint);

impl LightClient for PlayClient {
    type State = Number;
    type Update = Blocks;
    type HeadProof = Proof;

    fn trusted_height(&self, state: &Number) -> Height {
        Height(state.0)
    }

    fn trusted_hash(&self, state: &Number) -> Hash32 {
        block_hash(Height(state.0))
    }

    fn verify_update(&self, trusted: &Number, update: &Blocks, _: UnixMillis) -> Verdict<Number> {
        let last = update.after.saturating_add(1 + u64::from(update.shape % 4)).min(1 << 20);
        if update.after > trusted.0 || last <= trusted.0 {
            return Verdict::Refused(Refusal::new("order", trusted.0, update.after));
        }
        let header = |height: u64| Header {
            height: Height(height),
            hash: block_hash(Height(height)),
            parent: block_hash(Height(height.saturating_sub(1))),
            timestamp: NOW,
            detail: Vec::new(),
        };
        let headers = (trusted.0 + 1..=last).map(header).collect();
        match update.shape {
            5 => Verdict::Refused(Refusal::new("seals", 3_u64, 0_u64)),
            6 => Verdict::Refused(Refusal::new("sibling", 0_u64, 1_u64).at(Height(last)).equivocation()),
            7 => {
                let reason = HoldReason::ShortOfQuorum { height: Height(last), expected: 3, got: 2 };
                Verdict::HeldBack { state: Number(trusted.0), headers: Vec::new(), set_changes: Vec::new(), reason }
            }
            _ => Verdict::Advanced { state: Number(last), headers, set_changes: Vec::new() },
        }
    }

    fn apply_set_statement(&self, _: &Number, _: &SetStatement) -> Result<Number, Refusal> {
        Err(Refusal::new("set-statement", "none", "one"))
    }

    fn verify_head(&self, _: &Header, proof: &Proof, _: Address, _: Flow) -> Result<ChainPoint, Refusal> {
        Ok(proof.0)
    }

    fn strength(&self) -> ProofStrength {
        ProofStrength::Conclusive
    }
}

impl AdapterValue for Number {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }

    fn decode(_: u16, bytes: &[u8]) -> Result<Self, Refusal> {
        let bytes = bytes.try_into().map_err(|_| Refusal::new("state", 8_u64, bytes.len()))?;
        Ok(Self(u64::from_be_bytes(bytes)))
    }
}

impl AdapterValue for Blocks {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        [&self.after.to_be_bytes()[..], &[self.shape]].concat()
    }

    fn decode(_: u16, bytes: &[u8]) -> Result<Self, Refusal> {
        let bytes: [u8; 9] = bytes.try_into().map_err(|_| Refusal::new("update", 9_u64, bytes.len()))?;
        let [after @ .., shape] = bytes;
        Ok(Self { after: u64::from_be_bytes(after), shape })
    }
}

impl AdapterValue for Proof {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        [&self.0.index.0.to_be_bytes()[..], &self.0.head.0].concat()
    }

    fn decode(_: u16, bytes: &[u8]) -> Result<Self, Refusal> {
        let refused = || Refusal::new("proof", 40_u64, bytes.len());
        let (index, head) = bytes.split_first_chunk::<8>().ok_or_else(refused)?;
        let head = head.try_into().map_err(|_| refused())?;
        Ok(Self(ChainPoint { index: Index(u64::from_be_bytes(*index)), head: Hash32(head) }))
    }
}
