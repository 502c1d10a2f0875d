//! Messages and their ids.

use crate::hash::{Hash32, hash_words, keccak256};
use crate::ids::{Address, Index, LaneId, MessageId, UnixMillis};
use crate::tag;

/// What an application sent on a lane, as its source gateway recorded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Position on the lane, from 1.
    pub index: Index,
    /// The account or contract that called the source gateway.
    pub sender: Address,
    /// The contract on the destination chain that takes the message.
    pub receiver: Address,
    /// After this moment of the destination chain's clock the message expires instead of being executed.
    pub deadline: UnixMillis,
    /// Gas that the receiver is called with, exactly.
    pub gas_limit: u64,
    /// The payload, or only its hash where the body is not needed or no longer kept.
    pub payload: Payload,
}

impl Message {
    /// `H(MESSAGE_TAG, lane, index, sender, receiver, deadline, gas limit, H(payload))`.
    #[must_use]
    pub fn id(&self, lane: LaneId) -> MessageId {
        MessageId(hash_words(&[
            tag::message(),
            lane.0,
            Hash32::from_u64(self.index.0),
            self.sender.0,
            self.receiver.0,
            Hash32::from_u64(self.deadline.0),
            Hash32::from_u64(self.gas_limit),
            self.payload.hash(),
        ]))
    }
}

/// A payload in full or by its hash; both give the same message id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The bytes that the receiver gets.
    Bytes(Vec<u8>),
    /// keccak256 of the bytes: enough to settle, and to deliver a message that has expired.
    Hash(Hash32),
}

impl Payload {
    /// keccak256 of the payload's bytes.
    #[must_use]
    pub fn hash(&self) -> Hash32 {
        match self {
            Self::Bytes(bytes) => keccak256(bytes),
            Self::Hash(hash) => *hash,
        }
    }

    /// The payload with its bytes replaced by their hash.
    #[must_use]
    pub fn hashed(&self) -> Self {
        Self::Hash(self.hash())
    }

    /// Bytes held, 0 for a hash.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Hash(_) => 0,
        }
    }

    /// Whether no payload bytes are held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
