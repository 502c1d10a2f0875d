//! The labels of metrics, and the words that each may take.
//!
//! A label is a name of the configuration, an id of the protocol, or a word of a closed enum; never free text.

use cityrelay_api::target::LaneState;
use cityrelay_core::frame::Role;
use cityrelay_core::ids::LaneId;
use cityrelay_core::lane::Direction;
use cityrelay_core::light_client::HoldReason;
use cityrelay_core::machine::status::WaitReason;
use cityrelay_core::record::Purpose;
use cityrelay_core::recovery::Side;
use cityrelay_link::CloseCode;
use prometheus_client::encoding::EncodeLabelSet;

use super::super::health::TroubleKind;

/// A set of labels that knows its names, and the words of those that are closed lists.
pub(super) trait Labelled {
    /// The names, in the order in which they are written.
    const NAMES: &'static [&'static str];

    /// The words of each label that has a closed list.
    fn words() -> Vec<(&'static str, Vec<&'static str>)>;
}

macro_rules! labels {
    ($($(#[$doc:meta])* $visibility:vis struct $name:ident { $($field:ident: $type:ty $(= $words:expr)?),* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
            $visibility struct $name { $(pub(super) $field: $type),* }

            impl Labelled for $name {
                const NAMES: &'static [&'static str] = &[$(stringify!($field)),*];

                fn words() -> Vec<(&'static str, Vec<&'static str>)> {
                    vec![$($((stringify!($field), $words),)?)*]
                }
            }
        )*
    };
}

labels! {
    pub(super) struct OfBuild { version: &'static str }
    pub(super) struct OfChain { chain: String }
    pub(super) struct OfCheck { chain: String, check: &'static str }
    pub(super) struct OfAnswer { chain: String, answer: &'static str = vec![AGREES, CONTRADICTS, SILENT] }
    pub(super) struct OfHold { chain: String, reason: &'static str = HoldReason::ALL.to_vec() }
    pub(super) struct OfEndpoint { chain: String, endpoint: String }
    /// One flow as it is named in labels.
    pub struct FlowLabel { lane: String, channel: String, direction: &'static str = directions() }
    pub(super) struct OfDepth {
        lane: String, channel: String, direction: &'static str = directions(), side: &'static str = sides(),
        state: &'static str = vec![UNPROVED, UNFINISHED]
    }
    pub(super) struct OfPosition {
        lane: String, channel: String, direction: &'static str = directions(), side: &'static str = sides(),
        state: &'static str = vec![SEEN, DURABLE, FINISHED]
    }
    pub(super) struct OfWait {
        lane: String, channel: String, direction: &'static str = directions(), side: &'static str = sides(),
        reason: &'static str = WaitReason::ALL.map(WaitReason::as_str).to_vec()
    }
    pub(super) struct OfClaim {
        lane: String, channel: String, direction: &'static str = directions(), check: &'static str
    }
    pub(super) struct OfLaneState {
        lane: String, channel: String, chain: String,
        state: &'static str = LANE_STATES.map(lane_state_word).to_vec()
    }
    pub(super) struct OfAttester { attester: String }
    pub(super) struct OfTransaction {
        chain: String, kind: &'static str = CarryKind::ALL.map(CarryKind::as_str).to_vec()
    }
    pub(super) struct OfEnd {
        chain: String, kind: &'static str = CarryKind::ALL.map(CarryKind::as_str).to_vec(),
        end: &'static str = vec![SUCCEEDED, REVERTED, DEAD]
    }
    pub(super) struct OfPeer { peer: String }
    pub(super) struct OfSession { peer: String, role: &'static str = roles() }
    pub(super) struct OfDecline { peer: String, reason: &'static str }
    pub(super) struct OfDial { peer: String, reason: &'static str }
    pub(super) struct OfRefusal {
        reason: &'static str = CloseCode::ALL.iter().map(|code| code.as_str()).collect()
    }
    pub(super) struct OfEvidence { kind: &'static str = EvidenceKind::ALL.map(EvidenceKind::as_str).to_vec() }
    pub(super) struct OfTrouble { kind: &'static str = TroubleKind::ALL.map(TroubleKind::as_str).to_vec() }
    pub(super) struct OfRetry { retryable: &'static str = vec!["no", "yes"] }
    pub(super) struct OfSpanLoss { reason: &'static str = SpanLoss::ALL.map(SpanLoss::as_str).to_vec() }
    pub(super) struct OfReload { result: &'static str = vec![APPLIED, REFUSED] }
}

impl FlowLabel {
    /// The flow of `lane`, whose channel has this name.
    #[must_use]
    pub fn new(lane: LaneId, channel: &str, direction: Direction) -> Self {
        Self { lane: lane.to_string(), channel: channel.to_owned(), direction: direction.as_str() }
    }
}

pub(super) const AGREES: &str = "agrees";
pub(super) const CONTRADICTS: &str = "contradicts";
pub(super) const SILENT: &str = "silent";
pub(super) const UNPROVED: &str = "unproved";
pub(super) const UNFINISHED: &str = "unfinished";
pub(super) const SEEN: &str = "seen";
pub(super) const DURABLE: &str = "durable";
pub(super) const FINISHED: &str = "finished";
pub(super) const SUCCEEDED: &str = "succeeded";
pub(super) const REVERTED: &str = "reverted";
pub(super) const DEAD: &str = "dead";
pub(super) const APPLIED: &str = "applied";
pub(super) const REFUSED: &str = "refused";

/// What a label means, whatever its words.
pub(super) const MEANINGS: &[(&str, &str)] = &[
    ("answer", "what an own node says of a verified header"),
    ("attester", "address under which the committee knows it"),
    ("chain", "name of a `[chains.NAME]`"),
    ("channel", "name of the lane's channel"),
    ("check", "name of a check; the chain's adapter lists them"),
    ("direction", "`outbox` for messages, `inbox` for outcomes"),
    ("end", "how a transaction ended"),
    ("endpoint", "name of a node of the chain"),
    ("kind", "what it is about"),
    ("lane", "id of the lane"),
    ("peer", "name of a peer"),
    ("reason", "why"),
    ("result", "what came of it"),
    ("retryable", "whether the same may succeed later"),
    ("role", "what the peer does"),
    ("side", "where this process stands in the flow"),
    ("state", "how far it is"),
    ("version", "of this program"),
];

/// The states of a lane on a gateway.
pub(super) const LANE_STATES: [LaneState; 7] = [
    LaneState::Unknown,
    LaneState::Announced,
    LaneState::Open,
    LaneState::Paused,
    LaneState::Halted,
    LaneState::Closing,
    LaneState::Closed,
];

/// The word for a lane's state.
#[must_use]
pub const fn lane_state_word(state: LaneState) -> &'static str {
    match state {
        LaneState::Unknown => "unknown",
        LaneState::Announced => "announced",
        LaneState::Open => "open",
        LaneState::Paused => "paused",
        LaneState::Halted => "halted",
        LaneState::Closing => "closing",
        LaneState::Closed => "closed",
    }
}

fn sides() -> Vec<&'static str> {
    [Side::Outbound, Side::Inbound, Side::Attester].map(Side::as_str).to_vec()
}

fn roles() -> Vec<&'static str> {
    [Role::Relay, Role::Attester].map(Role::as_str).to_vec()
}

fn directions() -> Vec<&'static str> {
    [Direction::Outbox, Direction::Inbox].map(Direction::as_str).to_vec()
}

/// What a transaction was for, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CarryKind {
    /// Delivers messages.
    Deliver,
    /// Settles outcomes.
    Settle,
    /// Makes a head provable.
    Checkpoint,
    /// An operator's or application's call.
    Operator,
}

impl CarryKind {
    const ALL: [Self; 4] = [Self::Deliver, Self::Settle, Self::Checkpoint, Self::Operator];

    /// The kind of a transaction with this purpose.
    #[must_use]
    pub const fn of(purpose: &Purpose) -> Self {
        match purpose {
            Purpose::Carry { flow, .. } => match flow.direction {
                Direction::Outbox => Self::Deliver,
                Direction::Inbox => Self::Settle,
            },
            Purpose::Checkpoint { .. } => Self::Checkpoint,
            Purpose::Operator => Self::Operator,
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Deliver => "deliver",
            Self::Settle => "settle",
            Self::Checkpoint => "checkpoint",
            Self::Operator => "operator",
        }
    }
}

/// Why no collector will see a span, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SpanLoss {
    /// Too many waited while the collector was away.
    Waited,
    /// The collector did not want it.
    Refused,
}

impl SpanLoss {
    /// Every reason.
    pub const ALL: [Self; 2] = [Self::Waited, Self::Refused];

    /// The word of the label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waited => "waited",
            Self::Refused => "refused",
        }
    }
}

/// What kept evidence is about, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EvidenceKind {
    /// Two final headers at one height.
    Equivocation,
    /// An own node holds another block than a sealed header.
    Contradiction,
    /// An attester signed a head that is not ours.
    ConflictingHead,
    /// A gateway holds another head than the journal.
    AuditDifference,
}

impl EvidenceKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Equivocation, Self::Contradiction, Self::ConflictingHead, Self::AuditDifference];

    /// The kind of a record.
    #[must_use]
    pub const fn of(record: &cityrelay_core::record::Misbehaviour) -> Self {
        use cityrelay_core::record::Misbehaviour;
        match record {
            Misbehaviour::Equivocation { .. } => Self::Equivocation,
            Misbehaviour::Contradiction { .. } => Self::Contradiction,
            Misbehaviour::ConflictingHead { .. } => Self::ConflictingHead,
            Misbehaviour::AuditDifference { .. } => Self::AuditDifference,
        }
    }

    /// What to do about it, and what has stopped until then.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Equivocation | Self::Contradiction => {
                "Nothing more is believed of this chain. Ask other institutions which of the two blocks is the real one, \
                 then decide; keep both as evidence."
            }
            Self::ConflictingHead => {
                "The signature was not counted. Show both heads to the attester's institution, and have the attester \
                 replaced (`cityrelay attesters rotate`)."
            }
            Self::AuditDifference => {
                "Nothing more is carried on this flow. Ask several nodes of the chain for the head before anything else: a \
                 node that lies or lags can look like this."
            }
        }
    }

    /// The word used everywhere.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equivocation => "equivocation",
            Self::Contradiction => "contradiction",
            Self::ConflictingHead => "conflicting-head",
            Self::AuditDifference => "audit-difference",
        }
    }
}
