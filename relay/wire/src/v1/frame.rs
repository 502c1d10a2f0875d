//! The fields of each frame, in order. The number in front of a frame's fields is its `KIND`.

use bincode::{Decode, Encode};
use cityrelay_core::attestation::SignatureBytes;
use cityrelay_core::frame;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, AttesterId, Epoch, Height, Index};

use super::Mirrored;
use super::parts::{Claim, Evidence, Flow, Opaque, Point, Word, domain};
use crate::EncodeError;
use crate::bounded::{Code, Coded, EvidenceCount, HelloClients, HelloLanes, List, MemberCount};

pub const HELLO: u8 = 1;
pub const UPDATE: u8 = 2;
pub const CLIENT_AT: u8 = 3;
pub const EXTENSION: u8 = 4;
pub const ACCEPTED: u8 = 5;
pub const DECLINED: u8 = 6;
pub const ATTEST_REQUEST: u8 = 7;
pub const ATTESTATION: u8 = 8;
pub const COMMITTEE: u8 = 9;
pub const SET_REQUEST: u8 = 10;
pub const SET_ATTESTED: u8 = 11;

impl Code for frame::Role {
    const WHAT: &'static str = "role";

    fn code(self) -> u8 {
        match self {
            Self::Relay => 1,
            Self::Attester => 2,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Relay),
            2 => Some(Self::Attester),
            _ => None,
        }
    }
}

impl Code for frame::DeclineReason {
    const WHAT: &'static str = "reason to decline";

    fn code(self) -> u8 {
        match self {
            Self::UnknownLane => 1,
            Self::Gap => 2,
            Self::UnknownHeader => 3,
            Self::Refused => 4,
            Self::Evidence => 5,
            Self::Unconfirmed => 6,
            Self::Busy => 7,
            Self::Mute => 8,
            Self::Paused => 9,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::UnknownLane),
            2 => Some(Self::Gap),
            3 => Some(Self::UnknownHeader),
            4 => Some(Self::Refused),
            5 => Some(Self::Evidence),
            6 => Some(Self::Unconfirmed),
            7 => Some(Self::Busy),
            8 => Some(Self::Mute),
            9 => Some(Self::Paused),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct ClientAt {
    domain: Word,
    height: u64,
    hash: Word,
}

impl From<frame::ClientAt> for ClientAt {
    fn from(at: frame::ClientAt) -> Self {
        Self { domain: at.domain.0.0, height: at.height.0, hash: at.hash.0 }
    }
}

impl From<ClientAt> for frame::ClientAt {
    fn from(at: ClientAt) -> Self {
        Self { domain: domain(at.domain), height: Height(at.height), hash: Hash32(at.hash) }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct FlowAt {
    flow: Flow,
    point: Point,
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct Hello {
    oldest_version: u16,
    newest_version: u16,
    role: Coded<frame::Role>,
    clients: List<ClientAt, HelloClients>,
    flows: List<FlowAt, HelloLanes>,
}

impl Mirrored for frame::Hello {
    type Mirror = Hello;

    fn mirror(&self) -> Result<Hello, EncodeError> {
        Ok(Hello {
            oldest_version: self.oldest_version,
            newest_version: self.newest_version,
            role: Coded(self.role),
            clients: List::collect(&self.clients, |at| Ok((*at).into()))?,
            flows: List::collect(&self.flows, |(flow, point)| {
                Ok(FlowAt { flow: (*flow).into(), point: (*point).into() })
            })?,
        })
    }

    fn original(mirror: Hello) -> Self {
        Self {
            oldest_version: mirror.oldest_version,
            newest_version: mirror.newest_version,
            role: mirror.role.0,
            clients: mirror.clients.convert(Into::into),
            flows: mirror.flows.convert(|at| (at.flow.into(), at.point.into())),
        }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct Update {
    pub domain: Word,
    pub update: Opaque,
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct Extension {
    pub claim: Claim,
    pub evidence: List<Evidence, EvidenceCount>,
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct Accepted {
    pub flow: Flow,
    pub point: Point,
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct Declined {
    flow: Flow,
    index: u64,
    reason: Coded<frame::DeclineReason>,
}

impl From<frame::Declined> for Declined {
    fn from(declined: frame::Declined) -> Self {
        Self { flow: declined.flow.into(), index: declined.index.0, reason: Coded(declined.reason) }
    }
}

impl From<Declined> for frame::Declined {
    fn from(declined: Declined) -> Self {
        Self { flow: declined.flow.into(), index: Index(declined.index), reason: declined.reason.0 }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct AttestRequest {
    pub claim: Claim,
    pub index: u64,
    pub epoch: u64,
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct Attestation {
    pub flow: Flow,
    pub point: Point,
    pub epoch: u64,
    pub signature: [u8; 65],
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct Committee {
    domain: Word,
    verifier: Word,
    epoch: u64,
    members: List<[u8; 20], MemberCount>,
    threshold: u32,
}

impl Mirrored for frame::CommitteeNotice {
    type Mirror = Committee;

    fn mirror(&self) -> Result<Committee, EncodeError> {
        Ok(Committee {
            domain: self.domain.0.0,
            verifier: self.verifier.0.0,
            epoch: self.epoch.0,
            members: List::collect(&self.members, |member| Ok(member.0))?,
            threshold: self.threshold,
        })
    }

    fn original(mirror: Committee) -> Self {
        Self {
            domain: domain(mirror.domain),
            verifier: Address(Hash32(mirror.verifier)),
            epoch: Epoch(mirror.epoch),
            members: mirror.members.convert(AttesterId),
            threshold: mirror.threshold,
        }
    }
}

/// The bytes of a signature as the protocol holds them.
pub const fn signature(bytes: [u8; 65]) -> SignatureBytes {
    SignatureBytes(bytes)
}
