//! The fields of each question to a signer and of each answer, in order.

use bincode::{Decode, Encode};
use cityrelay_core::attestation::Statement;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, AttesterId, Epoch};
use cityrelay_core::lane::GatewayAt;
use cityrelay_core::signing::{self, SigningRefusal};

use super::Mirrored;
use super::parts::{Flow, Point, Word, domain};
use crate::bounded::{List, MemberCount};
use crate::error::{DecodeError, EncodeError};

pub const DESCRIBE: u8 = 1;
pub const SIGN_HEAD: u8 = 2;
pub const SIGN_SET: u8 = 3;
pub const SIGN_ROTATION: u8 = 4;
pub const KEY: u8 = 129;
pub const SIGNED: u8 = 130;
pub const REFUSED: u8 = 131;

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct SignHead {
    flow: Flow,
    point: Point,
    epoch: u64,
    verifying_domain: Word,
    verifying_gateway: Word,
}

impl From<Statement> for SignHead {
    fn from(statement: Statement) -> Self {
        Self {
            flow: statement.flow.into(),
            point: statement.point.into(),
            epoch: statement.epoch.0,
            verifying_domain: statement.verifying.domain.0.0,
            verifying_gateway: statement.verifying.gateway.0.0,
        }
    }
}

impl From<SignHead> for Statement {
    fn from(fields: SignHead) -> Self {
        Self {
            flow: fields.flow.into(),
            point: fields.point.into(),
            epoch: Epoch(fields.epoch),
            verifying: GatewayAt {
                domain: domain(fields.verifying_domain),
                gateway: Address(Hash32(fields.verifying_gateway)),
            },
        }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct SignRotation {
    verifier: Word,
    domain: Word,
    epoch: u64,
    members: List<[u8; 20], MemberCount>,
    threshold: u32,
}

impl SignRotation {
    /// Whether the members ascend, each once: any other order would be another encoding of the same set.
    pub fn ascends(&self) -> bool {
        self.members.items().is_sorted_by(|a, b| a < b)
    }
}

impl Mirrored for signing::Rotation {
    type Mirror = SignRotation;

    fn mirror(&self) -> Result<SignRotation, EncodeError> {
        let members: Vec<AttesterId> = self.members.iter().copied().collect();
        Ok(SignRotation {
            verifier: self.verifier.0.0,
            domain: self.domain.0.0,
            epoch: self.epoch.0,
            members: List::collect(&members, |member| Ok(member.0))?,
            threshold: self.threshold,
        })
    }

    fn original(mirror: SignRotation) -> Self {
        Self {
            verifier: Address(Hash32(mirror.verifier)),
            domain: domain(mirror.domain),
            epoch: Epoch(mirror.epoch),
            members: mirror.members.convert(AttesterId).into_iter().collect(),
            threshold: mirror.threshold,
        }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct Refused {
    why: u8,
    held: Word,
}

impl From<SigningRefusal> for Refused {
    fn from(refusal: SigningRefusal) -> Self {
        let (why, held) = match refusal {
            SigningRefusal::Conflict { held } => (1, held),
            SigningRefusal::Record => (2, Hash32::ZERO),
            SigningRefusal::Stranger => (3, Hash32::ZERO),
            SigningRefusal::Malformed => (4, Hash32::ZERO),
            SigningRefusal::Key => (5, Hash32::ZERO),
        };
        Self { why, held: held.0 }
    }
}

impl TryFrom<Refused> for SigningRefusal {
    type Error = DecodeError;

    fn try_from(refused: Refused) -> Result<Self, DecodeError> {
        match (refused.why, Hash32(refused.held)) {
            (1, held) => Ok(Self::Conflict { held }),
            (2, Hash32::ZERO) => Ok(Self::Record),
            (3, Hash32::ZERO) => Ok(Self::Stranger),
            (4, Hash32::ZERO) => Ok(Self::Malformed),
            (5, Hash32::ZERO) => Ok(Self::Key),
            (why, _) => Err(DecodeError::Code { what: "reason of a signer", got: u32::from(why) }),
        }
    }
}
