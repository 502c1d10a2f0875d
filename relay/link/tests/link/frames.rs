//! Frames to send: one of each kind.

use std::collections::BTreeMap;

use cityrelay_core::attestation::SignatureBytes;
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::claim::Claim;
use cityrelay_core::frame::{ClientAt, CommitteeNotice, DeclineReason, Declined, Frame, Hello, Role};
use cityrelay_core::gateway_call::Evidence;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, AttesterId, Domain, Epoch, Height, Index, LaneId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::message::{Message, Payload};
use cityrelay_core::opaque::Opaque;

pub fn lane(number: u8) -> LaneId {
    LaneId(Hash32([number; 32]))
}

pub fn flow(number: u8) -> Flow {
    Flow { lane: lane(number), direction: Direction::Outbox }
}

pub fn hello() -> Frame {
    hello_of(1, 1)
}

pub fn hello_of(oldest_version: u16, newest_version: u16) -> Frame {
    let flows = vec![(flow(1), point(7))];
    Frame::Hello(Hello { oldest_version, newest_version, role: Role::Relay, clients: vec![client_at(3)], flows })
}

pub fn point(index: u64) -> ChainPoint {
    ChainPoint { index: Index(index), head: Hash32([9; 32]) }
}

pub fn at(height: u64) -> Frame {
    Frame::ClientAt(client_at(height))
}

pub fn accepted(lane: u8, index: u64) -> Frame {
    Frame::Accepted { flow: flow(lane), point: point(index) }
}

/// An extension whose first index is `index`, with one message of `payload` bytes.
pub fn extension(lane: u8, index: u64, payload: usize) -> Frame {
    let evidence = Evidence {
        point: point(index),
        epoch: Epoch(1),
        signatures: BTreeMap::from([(AttesterId([5; 20]), SignatureBytes([6; 65]))]),
    };
    Frame::Extension { claim: claim(lane, index, Payload::Bytes(vec![0xa5; payload])), evidence: vec![evidence] }
}

pub fn attest_request(lane: u8) -> Frame {
    Frame::AttestRequest { claim: claim(lane, 1, Payload::Hash(Hash32([8; 32]))), index: Index(1), epoch: Epoch(1) }
}

pub fn of_each_kind() -> Vec<Frame> {
    vec![
        hello(),
        Frame::Update { domain: domain(), update: opaque(3000) },
        at(4),
        extension(1, 1, 100),
        accepted(1, 1),
        Frame::Declined(Declined { flow: flow(1), index: Index(2), reason: DeclineReason::Gap }),
        attest_request(1),
        Frame::Attestation { flow: flow(1), point: point(1), epoch: Epoch(1), signature: SignatureBytes([6; 65]) },
        Frame::Committee(CommitteeNotice {
            domain: domain(),
            verifier: Address::from_20([4; 20]),
            epoch: Epoch(1),
            members: vec![AttesterId([5; 20])],
            threshold: 1,
        }),
    ]
}

fn domain() -> Domain {
    Domain(Hash32([2; 32]))
}

fn client_at(height: u64) -> ClientAt {
    ClientAt { domain: domain(), height: Height(height), hash: Hash32([3; 32]) }
}

fn opaque(bytes: usize) -> Opaque {
    Opaque { adapter: "some-chain".to_owned(), version: 1, bytes: vec![7; bytes] }
}

fn claim(lane: u8, index: u64, payload: Payload) -> Claim {
    let message = Message {
        index: Index(index),
        sender: Address::from_20([1; 20]),
        receiver: Address::from_20([2; 20]),
        deadline: UnixMillis(1_700_000_000_000),
        gas_limit: 100_000,
        payload,
    };
    Claim {
        flow: flow(lane),
        first: Index(index),
        entries: vec![Entry::Message(message)],
        tail: Vec::new(),
        height: Height(12),
        proof: opaque(10),
    }
}
