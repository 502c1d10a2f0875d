//! What the relay and its operator ask of a gateway, without a word about calldata: `adapters/gateway` encodes it.

use std::collections::BTreeMap;

use crate::attestation::SignatureBytes;
use crate::chain::ChainPoint;
use crate::hash::Hash32;
use crate::ids::{Address, AttesterId, Domain, Epoch, Index, LaneId, MessageId, UnixMillis};
use crate::lane::{Flow, LaneIdentity};
use crate::message::Message;
use crate::outcome::Outcome;

/// A source gateway keeps its outbox head at every multiple of this index, so that old messages can be settled. The
/// contracts' own constant is compared with it in `adapters/gateway/tests`.
pub const ANCHOR_INTERVAL: u64 = 64;

/// A head with enough signatures under one attester epoch: what a committee verifier takes as evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The attested head; its index may lie beyond the entries of the call.
    pub point: ChainPoint,
    /// Generation of the set that signed.
    pub epoch: Epoch,
    /// One signature per member; the map keeps them unique and ascending.
    pub signatures: BTreeMap<AttesterId, SignatureBytes>,
}

/// Limits of a lane that its source gateway enforces when applications send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneLimits {
    /// Largest payload in bytes.
    pub max_payload_bytes: u32,
    /// Largest gas limit that a message may ask for.
    pub max_gas_limit: u64,
    /// How far ahead a deadline may lie.
    pub max_deadline: core::time::Duration,
    /// Gas for the sender's callback at settlement.
    pub callback_gas: u64,
    /// Whether a failed message halts the lane until the owner skips it; needs both allow-lists.
    pub is_strict: bool,
    /// Most messages that may be sent and not yet settled; 0 for no quota.
    pub quota: u64,
    /// Accounts that may send; empty for everyone.
    pub senders: Vec<Address>,
    /// Contracts that may receive; empty for every contract.
    pub receivers: Vec<Address>,
}

/// One transaction to a gateway or a verifier.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GatewayCall {
    /// Deploys an attester-committee verifier.
    DeployCommittee {
        /// Domain of the chain it is deployed on.
        domain: Domain,
        /// First members.
        members: Vec<AttesterId>,
        /// First threshold.
        threshold: u32,
    },
    /// Deploys a gateway.
    DeployGateway {
        /// Domain of the chain it is deployed on.
        domain: Domain,
        /// Its owner.
        owner: Address,
        /// How long a lane must have been announced before it opens.
        announce_delay: core::time::Duration,
        /// How long a closing must have been announced before it takes effect.
        close_delay: core::time::Duration,
        /// Whether the chain's `block.timestamp` counts milliseconds instead of seconds.
        clock_is_millis: bool,
    },
    /// Announces a lane.
    AnnounceLane {
        /// The gateway.
        gateway: Address,
        /// Who the lane is.
        lane: LaneIdentity,
        /// What it allows.
        limits: LaneLimits,
    },
    /// Opens an announced lane.
    OpenLane {
        /// The gateway.
        gateway: Address,
        /// The lane.
        lane: LaneId,
    },
    /// Sends a message on a lane.
    Send {
        /// The gateway.
        gateway: Address,
        /// The lane.
        lane: LaneId,
        /// Receiver on the other chain.
        receiver: Address,
        /// When it expires.
        deadline: UnixMillis,
        /// Gas for the receiver.
        gas_limit: u64,
        /// What the receiver gets.
        payload: Vec<u8>,
    },
    /// Makes the gateway say the current head of a flow in an event of its own.
    Checkpoint {
        /// The gateway.
        gateway: Address,
        /// The flow whose head lives there.
        flow: Flow,
    },
    /// Delivers messages. Step 9 of the walk.
    Deliver {
        /// The destination gateway.
        gateway: Address,
        /// The lane.
        lane: LaneId,
        /// Consecutive messages.
        messages: Vec<Message>,
        /// Ids of the messages between the last of `messages` and the attested head.
        tail: Vec<MessageId>,
        /// The attested head.
        evidence: Evidence,
    },
    /// Settles outcomes. Step 10 of the walk.
    Settle {
        /// The source gateway.
        gateway: Address,
        /// The lane.
        lane: LaneId,
        /// Consecutive outcomes, each with its message (the payload may be a hash).
        settlements: Vec<(Message, Outcome)>,
        /// Hashes of the outcomes between the last of `settlements` and the attested head.
        tail_outcomes: Vec<Hash32>,
        /// Ids of the messages after the last of `settlements`, up to the next outbox head that the gateway keeps.
        tail_ids: Vec<MessageId>,
        /// The attested head.
        evidence: Evidence,
    },
    /// Tries a failed settlement callback again.
    RetryCallback {
        /// The source gateway.
        gateway: Address,
        /// The lane.
        lane: LaneId,
        /// The message.
        message: Message,
        /// Its outcome.
        outcome: Outcome,
    },
    /// Changes the attester set of a committee.
    Rotate {
        /// The verifier.
        verifier: Address,
        /// New members.
        members: Vec<AttesterId>,
        /// New threshold.
        threshold: u32,
        /// Signatures of the set in force.
        old: BTreeMap<AttesterId, SignatureBytes>,
        /// Signatures of every new member.
        new: BTreeMap<AttesterId, SignatureBytes>,
    },
    /// Pauses or resumes one lane, or the whole gateway.
    SetPaused {
        /// The gateway.
        gateway: Address,
        /// The lane, or `None` for all of them.
        lane: Option<LaneId>,
        /// Paused or not.
        is_paused: bool,
    },
    /// Steps over the next message of a halted strict lane.
    Skip {
        /// The gateway.
        gateway: Address,
        /// The lane.
        lane: LaneId,
        /// The index that must be next.
        index: Index,
    },
    /// Announces that a lane will close.
    AnnounceClose {
        /// The gateway.
        gateway: Address,
        /// The lane.
        lane: LaneId,
    },
    /// Closes a lane for good.
    Close {
        /// The gateway.
        gateway: Address,
        /// The lane.
        lane: LaneId,
    },
    /// Offers the gateway to another owner.
    OfferOwnership {
        /// The gateway.
        gateway: Address,
        /// The next owner.
        owner: Address,
    },
    /// Takes an offered gateway over.
    AcceptOwnership {
        /// The gateway.
        gateway: Address,
    },
    /// Deploys any other contract, for tests and the demo.
    DeployCode {
        /// Init code with its constructor arguments.
        code: Vec<u8>,
    },
    /// Any other call, for tests and the demo.
    Raw {
        /// The contract.
        to: Address,
        /// Calldata.
        data: Vec<u8>,
    },
}
