//! What relays and attesters say to each other. `relay/wire` writes it as bytes.

use crate::attestation::SignatureBytes;
use crate::chain::ChainPoint;
use crate::claim::Claim;
use crate::gateway_call::Evidence;
use crate::hash::Hash32;
use crate::ids::{Address, AttesterId, Domain, Epoch, Height, Index, LaneId};
use crate::lane::Flow;
use crate::opaque::Opaque;
use crate::set_attestation::{SetAttestation, SetEvidence};

/// The newest protocol version that this build speaks, and the oldest that it still understands.
pub const PROTOCOL_VERSIONS: core::ops::RangeInclusive<u16> = 1..=1;

/// The most signatures that one frame may carry.
pub const MAX_SIGNATURES: usize = crate::attestation::MAX_ATTESTERS;

/// The most lanes that one `Hello` may name.
pub const MAX_HELLO_LANES: usize = 4096;

/// The most chains that one `Hello` may name.
pub const MAX_HELLO_CLIENTS: usize = 64;

/// One thing said on a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// First on every session, in both directions.
    Hello(Hello),
    /// The next headers for the receiver's light client of `domain`.
    Update {
        /// The chain.
        domain: Domain,
        /// Headers that follow the height that the receiver named in [`Frame::ClientAt`] or [`Hello`].
        update: Opaque,
    },
    /// Where the sender's light client of a chain stands, durably.
    ClientAt(ClientAt),
    /// An extension with the attestations that its delivery needs. Step 5 and 6 of the walk.
    Extension {
        /// The claim.
        claim: Claim,
        /// Attested heads, ascending; the last one covers the last entry of the claim.
        evidence: Vec<Evidence>,
    },
    /// "I hold this flow up to this point, durably." Step 8 of the walk.
    Accepted {
        /// The flow.
        flow: Flow,
        /// The point.
        point: ChainPoint,
    },
    /// "I don't take this extension."
    Declined(Declined),
    /// "Please attest these heads."
    AttestRequest {
        /// The claim, payloads replaced by their hashes.
        claim: Claim,
        /// The index whose head is to be signed; the last entry of the claim or an earlier one.
        index: Index,
        /// Generation of the set that must sign.
        epoch: Epoch,
    },
    /// An attester's answer.
    Attestation {
        /// The flow.
        flow: Flow,
        /// The head signed.
        point: ChainPoint,
        /// Generation for which it was signed.
        epoch: Epoch,
        /// The signature.
        signature: SignatureBytes,
    },
    /// The attester set that a verifier has in force, as the sender's node says.
    Committee(CommitteeNotice),
    /// "Please attest this validator set", to attesters; to a relay: "please ask them".
    SetRequest(SetAttestation),
    /// Attestations of a validator set: an attester's own, or what a relay has collected.
    SetAttested(SetEvidence),
}

/// What a session begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Oldest protocol version that the sender understands.
    pub oldest_version: u16,
    /// Newest protocol version that the sender speaks.
    pub newest_version: u16,
    /// The sender's role.
    pub role: Role,
    /// Where the sender's light clients stand.
    pub clients: Vec<ClientAt>,
    /// Per flow that the sender takes in, the point it holds durably.
    pub flows: Vec<(Flow, ChainPoint)>,
}

/// What a party does on a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Carries messages.
    Relay,
    /// Signs heads.
    Attester,
}

impl Role {
    /// The word used in the configuration, in answers and in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Attester => "attester",
        }
    }
}

/// Where a light client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAt {
    /// The chain.
    pub domain: Domain,
    /// Height of the last final header.
    pub height: Height,
    /// Hash of that header.
    pub hash: Hash32,
}

/// An attester set as one side reads it from its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitteeNotice {
    /// The chain of the verifier.
    pub domain: Domain,
    /// The verifier.
    pub verifier: Address,
    /// Generation in force.
    pub epoch: Epoch,
    /// Members, ascending.
    pub members: Vec<AttesterId>,
    /// Signatures that are enough.
    pub threshold: u32,
}

/// Why an extension or a request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declined {
    /// The flow.
    pub flow: Flow,
    /// The index of the first entry that was not taken.
    pub index: Index,
    /// Why.
    pub reason: DeclineReason,
}

/// The closed list of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeclineReason {
    /// The lane is not configured here for this peer.
    UnknownLane,
    /// The claim does not follow what the decliner holds: its point is in [`Frame::Accepted`], sent along.
    Gap,
    /// The claim's header is not (or no longer) known to the decliner.
    UnknownHeader,
    /// The claim is false. The sender is at fault.
    Refused,
    /// A signature is bad, too few, or of another epoch; the committee in force is sent along.
    Evidence,
    /// The decliner's own node says otherwise, or its client of that chain is frozen.
    Unconfirmed,
    /// Too much is waiting; ask again later.
    Busy,
    /// The decliner is an attester that must first merge its own signatures.
    Mute,
    /// The decliner's operator has paused the lane.
    Paused,
}

impl DeclineReason {
    /// The word used as a metric label and in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownLane => "unknown-lane",
            Self::Gap => "gap",
            Self::UnknownHeader => "unknown-header",
            Self::Refused => "refused",
            Self::Evidence => "evidence",
            Self::Unconfirmed => "unconfirmed",
            Self::Busy => "busy",
            Self::Mute => "mute",
            Self::Paused => "paused",
        }
    }
}

impl Frame {
    /// The lane that the frame is about, where it is about one.
    #[must_use]
    pub const fn lane(&self) -> Option<LaneId> {
        match self {
            Self::Hello(_)
            | Self::Update { .. }
            | Self::ClientAt(_)
            | Self::Committee(_)
            | Self::SetRequest(_)
            | Self::SetAttested(_) => None,
            Self::Extension { claim, .. } | Self::AttestRequest { claim, .. } => Some(claim.flow.lane),
            Self::Accepted { flow, .. } | Self::Attestation { flow, .. } => Some(flow.lane),
            Self::Declined(declined) => Some(declined.flow.lane),
        }
    }

    /// The word used as a metric label and in logs.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Update { .. } => "update",
            Self::ClientAt(_) => "client-at",
            Self::Extension { .. } => "extension",
            Self::Accepted { .. } => "accepted",
            Self::Declined(_) => "declined",
            Self::AttestRequest { .. } => "attest-request",
            Self::Attestation { .. } => "attestation",
            Self::Committee(_) => "committee",
            Self::SetRequest(_) => "set-request",
            Self::SetAttested(_) => "set-attested",
        }
    }
}
