//! Outcomes: what the destination gateway says became of a message.

use crate::hash::{Hash32, hash_words};
use crate::ids::{Index, LaneId, MessageId};
use crate::tag;

/// What became of one message, as its destination gateway recorded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Position on the lane, from 1.
    pub index: Index,
    /// Id of the message.
    pub message: MessageId,
    /// What happened.
    pub status: Status,
    /// keccak256 of the result: the magic word when executed, the bounded return data when failed, else of nothing.
    pub result_hash: Hash32,
}

impl Outcome {
    /// `H(OUTCOME_TAG, lane, index, id, status, H(result))`.
    #[must_use]
    pub fn hash(&self, lane: LaneId) -> Hash32 {
        hash_words(&[
            tag::outcome(),
            lane.0,
            Hash32::from_u64(self.index.0),
            self.message.0,
            Hash32::from_u64(u64::from(self.status.code())),
            self.result_hash,
        ])
    }
}

/// What happened to a message. Every message gets exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// The receiver answered with the magic word. Hashed as 1.
    Executed,
    /// The receiver reverted, or answered anything else. Hashed as 2.
    Failed,
    /// The deadline had passed on the destination chain. Hashed as 3.
    Expired,
    /// The owner of a halted strict lane stepped over it. Hashed as 4.
    Skipped,
}

impl Status {
    /// The number that is hashed and passed to contracts.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Executed => 1,
            Self::Failed => 2,
            Self::Expired => 3,
            Self::Skipped => 4,
        }
    }

    /// The status with this number, or `None`.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Executed),
            2 => Some(Self::Failed),
            3 => Some(Self::Expired),
            4 => Some(Self::Skipped),
            _ => None,
        }
    }

    /// The word used in logs, metrics and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Executed => "executed",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Skipped => "skipped",
        }
    }
}
