//! What a restart begins with: everything outstanding, nothing that is finished.

use crate::chain::ChainPoint;
use crate::gateway_call::Evidence;
use crate::hash::Hash32;
use crate::ids::{Domain, Height, LaneId};
use crate::lane::Flow;
use crate::light_client::Header;
use crate::message::Message;
use crate::opaque::Opaque;
use crate::record::{Decided, ExtensionRecord, Frozen, IntentRecord};
use crate::set_attestation::SetFact;

/// On which side of a flow this process stands; it decides what is outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Beside the chain that holds the flow's head. Outstanding: what the peer has not accepted.
    Outbound,
    /// Beside the chain that takes the flow in. Outstanding: what that chain has not taken in.
    Inbound,
    /// Signing its heads. Nothing is outstanding.
    Attester,
}

impl Side {
    /// The word used as a metric label and in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
            Self::Attester => "attester",
        }
    }
}

/// The outstanding part of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The light clients that moved since their anchor.
    pub clients: Vec<RecoveredClient>,
    /// The flows asked for, in that order.
    pub flows: Vec<RecoveredFlow>,
    /// Transactions whose fate is not known.
    pub intents: Vec<IntentRecord>,
    /// Chains whose client is frozen, and over what.
    pub frozen: Vec<(Domain, Frozen)>,
    /// What operators decided about frozen clients.
    pub decided: Vec<(Domain, Decided)>,
    /// Lanes that an operator has paused.
    pub paused: Vec<LaneId>,
    /// The validator sets that our own nodes have confirmed, ever.
    pub sets: Vec<SetFact>,
}

/// A light client as it was last made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredClient {
    /// The chain.
    pub domain: Domain,
    /// The client's state.
    pub state: Opaque,
    /// Height of the last final header.
    pub height: Height,
    /// Hash of it.
    pub hash: Hash32,
    /// The newest headers kept, ascending, at most [`KEPT_HEADERS`].
    pub headers: Vec<Header>,
}

/// How many final headers are kept per chain, so that head proofs at them can still be checked.
pub const KEPT_HEADERS: usize = 4096;

/// A flow as it was last made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredFlow {
    /// The flow.
    pub flow: Flow,
    /// The side that was asked for.
    pub side: Side,
    /// Its durable tip; [`ChainPoint::start`] when nothing was recorded.
    pub tip: ChainPoint,
    /// What the peer has accepted ([`Side::Outbound`]).
    pub peer_accepted: ChainPoint,
    /// What the target chain has taken in ([`Side::Inbound`]).
    pub done: ChainPoint,
    /// The outstanding extensions, ascending.
    pub outstanding: Vec<ExtensionRecord>,
    /// Their attested heads, ascending, the newest epoch of each.
    pub evidence: Vec<Evidence>,
    /// For an outbound outbox: the messages that are not settled yet, payloads replaced by their hashes.
    pub unsettled: Vec<Message>,
}
