//! The hash chain of a flow: points on it, and what extends it.

use crate::hash::{Hash32, hash_words};
use crate::ids::Index;
use crate::lane::{Direction, Flow};
use crate::message::Message;
use crate::outcome::Outcome;
use crate::tag;

/// A position on a flow's hash chain: everything up to `index` is fixed by `head`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChainPoint {
    /// Number of entries on the chain so far.
    pub index: Index,
    /// The head after that many entries.
    pub head: Hash32,
}

impl ChainPoint {
    /// Where the chain of `flow` begins: index 0, `H(tag, lane)`.
    #[must_use]
    pub fn start(flow: Flow) -> Self {
        Self { index: Index(0), head: hash_words(&[chain_tag(flow.direction), flow.lane.0]) }
    }

    /// The point after one more entry, whose hash is `link`.
    #[must_use]
    pub fn extended(self, direction: Direction, link: Hash32) -> Self {
        Self { index: self.index.next(), head: hash_words(&[chain_tag(direction), self.head, link]) }
    }
}

fn chain_tag(direction: Direction) -> Hash32 {
    match direction {
        Direction::Outbox => tag::outbox(),
        Direction::Inbox => tag::inbox(),
    }
}

/// One thing that a hash chain is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// On an outbox chain.
    Message(Message),
    /// On an inbox chain.
    Outcome(Outcome),
}

impl Entry {
    /// Position on the lane, from 1.
    #[must_use]
    pub const fn index(&self) -> Index {
        match self {
            Self::Message(message) => message.index,
            Self::Outcome(outcome) => outcome.index,
        }
    }

    /// The direction whose chain this entry can be on.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        match self {
            Self::Message(_) => Direction::Outbox,
            Self::Outcome(_) => Direction::Inbox,
        }
    }

    /// What the chain hashes for this entry: the message id, or the hash of the outcome.
    #[must_use]
    pub fn link(&self, flow: Flow) -> Hash32 {
        match self {
            Self::Message(message) => message.id(flow.lane).0,
            Self::Outcome(outcome) => outcome.hash(flow.lane),
        }
    }

    /// The entry without payload bytes; its link stays the same.
    #[must_use]
    pub fn without_payload(&self) -> Self {
        match self {
            Self::Message(message) => Self::Message(Message { payload: message.payload.hashed(), ..message.clone() }),
            Self::Outcome(outcome) => Self::Outcome(*outcome),
        }
    }
}
