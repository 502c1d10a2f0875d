//! The parts that frames, records and rows have in common.

use bincode::{Decode, Encode};
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Domain, Epoch, Height, Index, LaneId, MessageId, UnixMillis};
use cityrelay_core::{chain, claim, gateway_call, lane, light_client, message, opaque, outcome, set_attestation};

use super::Mirrored;
use crate::EncodeError;
use crate::bounded::{
    AdapterName, Bytes, ClaimEntries, ClaimTail, Code, Coded, DetailBytes, List, OpaqueBytes, PayloadBytes, Signatures,
    Text,
};

/// 32 bytes of a hash, a lane, a domain, an id or an address.
pub type Word = [u8; 32];

impl Code for lane::Direction {
    const WHAT: &'static str = "direction";

    fn code(self) -> u8 {
        Self::code(self)
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::from_code(code)
    }
}

impl Code for outcome::Status {
    const WHAT: &'static str = "status";

    fn code(self) -> u8 {
        Self::code(self)
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::from_code(code)
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct Flow {
    lane: Word,
    direction: Coded<lane::Direction>,
}

impl From<lane::Flow> for Flow {
    fn from(flow: lane::Flow) -> Self {
        Self { lane: flow.lane.0.0, direction: Coded(flow.direction) }
    }
}

impl From<Flow> for lane::Flow {
    fn from(flow: Flow) -> Self {
        Self { lane: LaneId(Hash32(flow.lane)), direction: flow.direction.0 }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct Point {
    index: u64,
    head: Word,
}

impl From<chain::ChainPoint> for Point {
    fn from(point: chain::ChainPoint) -> Self {
        Self { index: point.index.0, head: point.head.0 }
    }
}

impl From<Point> for chain::ChainPoint {
    fn from(point: Point) -> Self {
        Self { index: Index(point.index), head: Hash32(point.head) }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct Opaque {
    adapter: Text<AdapterName>,
    version: u16,
    bytes: Bytes<OpaqueBytes>,
}

impl Mirrored for opaque::Opaque {
    type Mirror = Opaque;

    fn mirror(&self) -> Result<Opaque, EncodeError> {
        Ok(Opaque { adapter: Text::copy(&self.adapter)?, version: self.version, bytes: Bytes::copy(&self.bytes)? })
    }

    fn original(mirror: Opaque) -> Self {
        Self { adapter: mirror.adapter.into_string(), version: mirror.version, bytes: mirror.bytes.into_vec() }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub enum Payload {
    Bytes(Bytes<PayloadBytes>),
    Hash(Word),
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct Message {
    index: u64,
    sender: Word,
    receiver: Word,
    deadline: u64,
    gas_limit: u64,
    payload: Payload,
}

impl Mirrored for message::Message {
    type Mirror = Message;

    fn mirror(&self) -> Result<Message, EncodeError> {
        Ok(Message {
            index: self.index.0,
            sender: self.sender.0.0,
            receiver: self.receiver.0.0,
            deadline: self.deadline.0,
            gas_limit: self.gas_limit,
            payload: match &self.payload {
                message::Payload::Bytes(bytes) => Payload::Bytes(Bytes::copy(bytes)?),
                message::Payload::Hash(hash) => Payload::Hash(hash.0),
            },
        })
    }

    fn original(mirror: Message) -> Self {
        Self {
            index: Index(mirror.index),
            sender: Address(Hash32(mirror.sender)),
            receiver: Address(Hash32(mirror.receiver)),
            deadline: UnixMillis(mirror.deadline),
            gas_limit: mirror.gas_limit,
            payload: match mirror.payload {
                Payload::Bytes(bytes) => message::Payload::Bytes(bytes.into_vec()),
                Payload::Hash(hash) => message::Payload::Hash(Hash32(hash)),
            },
        }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct Outcome {
    index: u64,
    message: Word,
    status: Coded<outcome::Status>,
    result_hash: Word,
}

impl From<outcome::Outcome> for Outcome {
    fn from(outcome: outcome::Outcome) -> Self {
        Self {
            index: outcome.index.0,
            message: outcome.message.0.0,
            status: Coded(outcome.status),
            result_hash: outcome.result_hash.0,
        }
    }
}

impl From<Outcome> for outcome::Outcome {
    fn from(outcome: Outcome) -> Self {
        Self {
            index: Index(outcome.index),
            message: MessageId(Hash32(outcome.message)),
            status: outcome.status.0,
            result_hash: Hash32(outcome.result_hash),
        }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub enum Entry {
    Message(Message),
    Outcome(Outcome),
}

impl Mirrored for chain::Entry {
    type Mirror = Entry;

    fn mirror(&self) -> Result<Entry, EncodeError> {
        Ok(match self {
            Self::Message(message) => Entry::Message(message.mirror()?),
            Self::Outcome(outcome) => Entry::Outcome((*outcome).into()),
        })
    }

    fn original(mirror: Entry) -> Self {
        match mirror {
            Entry::Message(message) => Self::Message(Mirrored::original(message)),
            Entry::Outcome(outcome) => Self::Outcome(outcome.into()),
        }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct Claim {
    flow: Flow,
    first: u64,
    entries: List<Entry, ClaimEntries>,
    tail: List<Word, ClaimTail>,
    height: u64,
    proof: Opaque,
}

impl Mirrored for claim::Claim {
    type Mirror = Claim;

    fn mirror(&self) -> Result<Claim, EncodeError> {
        Ok(Claim {
            flow: self.flow.into(),
            first: self.first.0,
            entries: List::collect(&self.entries, Mirrored::mirror)?,
            tail: words(&self.tail)?,
            height: self.height.0,
            proof: self.proof.mirror()?,
        })
    }

    fn original(mirror: Claim) -> Self {
        Self {
            flow: mirror.flow.into(),
            first: Index(mirror.first),
            entries: mirror.entries.convert(Mirrored::original),
            tail: mirror.tail.convert(Hash32),
            height: Height(mirror.height),
            proof: Mirrored::original(mirror.proof),
        }
    }
}

/// Links after the entries of a claim or an extension.
pub fn words(links: &[Hash32]) -> Result<List<Word, ClaimTail>, EncodeError> {
    List::collect(links, |link| Ok(link.0))
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct Evidence {
    point: Point,
    epoch: u64,
    signatures: Signatures,
}

impl Mirrored for gateway_call::Evidence {
    type Mirror = Evidence;

    fn mirror(&self) -> Result<Evidence, EncodeError> {
        Ok(Evidence { point: self.point.into(), epoch: self.epoch.0, signatures: Signatures::copy(&self.signatures)? })
    }

    fn original(mirror: Evidence) -> Self {
        Self { point: mirror.point.into(), epoch: Epoch(mirror.epoch), signatures: mirror.signatures.0 }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct Header {
    height: u64,
    hash: Word,
    parent: Word,
    timestamp: u64,
    detail: Bytes<DetailBytes>,
}

impl Mirrored for light_client::Header {
    type Mirror = Header;

    fn mirror(&self) -> Result<Header, EncodeError> {
        Ok(Header {
            height: self.height.0,
            hash: self.hash.0,
            parent: self.parent.0,
            timestamp: self.timestamp.0,
            detail: Bytes::copy(&self.detail)?,
        })
    }

    fn original(mirror: Header) -> Self {
        Self {
            height: Height(mirror.height),
            hash: Hash32(mirror.hash),
            parent: Hash32(mirror.parent),
            timestamp: UnixMillis(mirror.timestamp),
            detail: mirror.detail.into_vec(),
        }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct SetFact {
    domain: Word,
    height: u64,
    parent: Word,
    digest: Word,
}

impl From<set_attestation::SetFact> for SetFact {
    fn from(fact: set_attestation::SetFact) -> Self {
        let set_attestation::SetFact { domain, parent, statement } = fact;
        Self { domain: domain.0.0, height: statement.height.0, parent: parent.0, digest: statement.digest.0 }
    }
}

impl From<SetFact> for set_attestation::SetFact {
    fn from(fact: SetFact) -> Self {
        let statement = light_client::SetStatement { height: Height(fact.height), digest: Hash32(fact.digest) };
        Self { domain: domain(fact.domain), parent: Hash32(fact.parent), statement }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct SetAttestation {
    fact: SetFact,
    epoch: u64,
    verifier: Word,
    verifier_domain: Word,
}

impl From<set_attestation::SetAttestation> for SetAttestation {
    fn from(attestation: set_attestation::SetAttestation) -> Self {
        Self {
            fact: attestation.fact.into(),
            epoch: attestation.epoch.0,
            verifier: attestation.verifier.0.0,
            verifier_domain: attestation.verifier_domain.0.0,
        }
    }
}

impl From<SetAttestation> for set_attestation::SetAttestation {
    fn from(attestation: SetAttestation) -> Self {
        Self {
            fact: attestation.fact.into(),
            epoch: Epoch(attestation.epoch),
            verifier: Address(Hash32(attestation.verifier)),
            verifier_domain: domain(attestation.verifier_domain),
        }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct SetEvidence {
    attestation: SetAttestation,
    signatures: Signatures,
}

impl Mirrored for set_attestation::SetEvidence {
    type Mirror = SetEvidence;

    fn mirror(&self) -> Result<SetEvidence, EncodeError> {
        Ok(SetEvidence { attestation: self.attestation.into(), signatures: Signatures::copy(&self.signatures)? })
    }

    fn original(mirror: SetEvidence) -> Self {
        Self { attestation: mirror.attestation.into(), signatures: mirror.signatures.0 }
    }
}

/// The chain that these 32 bytes name.
pub const fn domain(word: Word) -> Domain {
    Domain(Hash32(word))
}
