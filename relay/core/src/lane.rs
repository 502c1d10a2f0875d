//! Lanes: one channel in one direction, and the two hash chains that each lane has.

use crate::hash::{Hash32, hash_words, keccak256};
use crate::ids::{Address, Domain, LaneId};
use crate::tag;

/// Everything that makes a lane this lane and no other. Both gateways hold it; nothing in it ever changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LaneIdentity {
    /// Chain on which applications send.
    pub source_domain: Domain,
    /// Chain on which messages are executed.
    pub destination_domain: Domain,
    /// Gateway on the source chain.
    pub source_gateway: Address,
    /// Gateway on the destination chain.
    pub destination_gateway: Address,
    /// Contract that vouches for inbox heads on the source chain.
    pub source_verifier: Address,
    /// Contract that vouches for outbox heads on the destination chain.
    pub destination_verifier: Address,
    /// Name that people use, such as `medical`.
    pub channel: String,
    /// Drawn when the lane is opened, so that a redeployed or reset chain always means a new lane.
    pub salt: Hash32,
}

impl LaneIdentity {
    /// The lane's id: a hash over every field.
    #[must_use]
    pub fn id(&self) -> LaneId {
        LaneId(hash_words(&[
            tag::lane(),
            self.source_domain.0,
            self.destination_domain.0,
            self.source_gateway.0,
            self.destination_gateway.0,
            self.source_verifier.0,
            self.destination_verifier.0,
            keccak256(self.channel.as_bytes()),
            self.salt,
        ]))
    }

    /// The chain that holds the head of `direction`: the source for the outbox, the destination for the inbox.
    #[must_use]
    pub const fn origin(&self, direction: Direction) -> GatewayAt {
        match direction {
            Direction::Outbox => GatewayAt { domain: self.source_domain, gateway: self.source_gateway },
            Direction::Inbox => GatewayAt { domain: self.destination_domain, gateway: self.destination_gateway },
        }
    }

    /// The chain that takes the head of `direction` in: it delivers the outbox, it settles the inbox.
    #[must_use]
    pub const fn target(&self, direction: Direction) -> GatewayAt {
        self.origin(direction.opposite())
    }

    /// The contract that vouches for heads of `direction` on the chain that takes them in, with that chain.
    #[must_use]
    pub const fn target_verifier(&self, direction: Direction) -> (Domain, Address) {
        match direction {
            Direction::Outbox => (self.destination_domain, self.destination_verifier),
            Direction::Inbox => (self.source_domain, self.source_verifier),
        }
    }
}

/// A gateway on its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GatewayAt {
    /// The chain.
    pub domain: Domain,
    /// The contract on it.
    pub gateway: Address,
}

/// Which of the two hash chains of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Messages, on the source chain. Signed as 0.
    Outbox,
    /// Outcomes, on the destination chain. Signed as 1.
    Inbox,
}

impl Direction {
    /// The number that is hashed, signed and passed to contracts.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Outbox => 0,
            Self::Inbox => 1,
        }
    }

    /// The direction with this number, or `None` when it is neither 0 nor 1.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Outbox),
            1 => Some(Self::Inbox),
            _ => None,
        }
    }

    /// The other direction.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Outbox => Self::Inbox,
            Self::Inbox => Self::Outbox,
        }
    }

    /// The word used in logs, metrics and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Outbox => "outbox",
            Self::Inbox => "inbox",
        }
    }
}

/// One hash chain of one lane: what an extension extends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// The lane.
    pub lane: LaneId,
    /// Which of its chains.
    pub direction: Direction,
}
