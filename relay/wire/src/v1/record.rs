//! The fields of each record, in order. The number in front of a record's fields is its kind.

use bincode::{Decode, Encode};
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Height, Index, LaneId, UnixMillis};
use cityrelay_core::{order, record};

use super::Mirrored;
use super::parts::{Entry, Evidence, Flow, Header, Opaque, Point, SetEvidence, SetFact, Word, domain, words};
use crate::EncodeError;
use crate::bounded::{
    ClaimEntries, ClaimTail, List, OperatorBytes, OtherActionBytes, ReasonBytes, RecordHeaders, SetEvidenceCount, Text,
    WitnessBytes,
};

pub const CLIENT: u8 = 1;
pub const EXTENSION: u8 = 2;
pub const ATTESTED: u8 = 3;
pub const PEER_ACCEPTED: u8 = 4;
pub const DONE: u8 = 5;
pub const INTENT: u8 = 6;
pub const INTENT_CLOSED: u8 = 7;
pub const SIGNED: u8 = 8;
pub const MISBEHAVIOUR: u8 = 9;
pub const AUDIT: u8 = 10;
pub const SET_STATED: u8 = 12;
pub const SET_SIGNED: u8 = 13;

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct Client {
    pub domain: Word,
    pub state: Opaque,
    pub height: u64,
    pub hash: Word,
    pub headers: List<Header, RecordHeaders>,
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct Extension {
    flow: Flow,
    base: Point,
    entries: List<Entry, ClaimEntries>,
    proved_at: u64,
    block_hash: Word,
    block_time: u64,
    tail: List<Word, ClaimTail>,
    proof: Opaque,
    at: u64,
}

impl Mirrored for record::ExtensionRecord {
    type Mirror = Extension;

    fn mirror(&self) -> Result<Extension, EncodeError> {
        Ok(Extension {
            flow: self.flow.into(),
            base: self.base.into(),
            entries: List::collect(&self.entries, Mirrored::mirror)?,
            proved_at: self.proved_at.0,
            block_hash: self.block_hash.0,
            block_time: self.block_time.0,
            tail: words(&self.tail)?,
            proof: self.proof.mirror()?,
            at: self.at.0,
        })
    }

    fn original(mirror: Extension) -> Self {
        Self {
            flow: mirror.flow.into(),
            base: mirror.base.into(),
            entries: mirror.entries.convert(Mirrored::original),
            proved_at: Height(mirror.proved_at),
            block_hash: Hash32(mirror.block_hash),
            block_time: UnixMillis(mirror.block_time),
            tail: mirror.tail.convert(Hash32),
            proof: Mirrored::original(mirror.proof),
            at: UnixMillis(mirror.at),
        }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct Attested {
    pub flow: Flow,
    pub evidence: Evidence,
    pub at: u64,
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct PeerAccepted {
    pub flow: Flow,
    pub point: Point,
    pub at: u64,
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct Done {
    pub flow: Flow,
    pub point: Point,
    pub at: u64,
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub enum Purpose {
    Carry { flow: Flow, last: u64 },
    Checkpoint { flow: Flow },
    Operator,
}

impl From<record::Purpose> for Purpose {
    fn from(purpose: record::Purpose) -> Self {
        match purpose {
            record::Purpose::Carry { flow, last } => Self::Carry { flow: flow.into(), last: last.0 },
            record::Purpose::Checkpoint { flow } => Self::Checkpoint { flow: flow.into() },
            record::Purpose::Operator => Self::Operator,
        }
    }
}

impl From<Purpose> for record::Purpose {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Carry { flow, last } => Self::Carry { flow: flow.into(), last: Index(last) },
            Purpose::Checkpoint { flow } => Self::Checkpoint { flow: flow.into() },
            Purpose::Operator => Self::Operator,
        }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct Intent {
    domain: Word,
    hash: Word,
    bytes: Opaque,
    purpose: Purpose,
    replaces: Option<Word>,
    at: u64,
}

impl Mirrored for record::IntentRecord {
    type Mirror = Intent;

    fn mirror(&self) -> Result<Intent, EncodeError> {
        Ok(Intent {
            domain: self.domain.0.0,
            hash: self.hash.0,
            bytes: self.bytes.mirror()?,
            purpose: self.purpose.into(),
            replaces: self.replaces.map(|hash| hash.0),
            at: self.at.0,
        })
    }

    fn original(mirror: Intent) -> Self {
        Self {
            domain: domain(mirror.domain),
            hash: Hash32(mirror.hash),
            bytes: Mirrored::original(mirror.bytes),
            purpose: mirror.purpose.into(),
            replaces: mirror.replaces.map(Hash32),
            at: UnixMillis(mirror.at),
        }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub enum IntentEnd {
    Succeeded { height: u64, gas_used: u64 },
    Reverted { height: u64, gas_used: u64 },
    Dead,
}

impl From<record::IntentEnd> for IntentEnd {
    fn from(end: record::IntentEnd) -> Self {
        match end {
            record::IntentEnd::Succeeded { height, gas_used } => Self::Succeeded { height: height.0, gas_used },
            record::IntentEnd::Reverted { height, gas_used } => Self::Reverted { height: height.0, gas_used },
            record::IntentEnd::Dead => Self::Dead,
        }
    }
}

impl From<IntentEnd> for record::IntentEnd {
    fn from(end: IntentEnd) -> Self {
        match end {
            IntentEnd::Succeeded { height, gas_used } => Self::Succeeded { height: Height(height), gas_used },
            IntentEnd::Reverted { height, gas_used } => Self::Reverted { height: Height(height), gas_used },
            IntentEnd::Dead => Self::Dead,
        }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct IntentClosed {
    pub domain: Word,
    pub hash: Word,
    pub end: IntentEnd,
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct Signed {
    pub flow: Flow,
    pub point: Point,
    pub epoch: u64,
}

/// The configured name of a node or peer.
#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct Witness(Text<WitnessBytes>);

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct SetStated {
    pub fact: SetFact,
    pub evidence: List<SetEvidence, SetEvidenceCount>,
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub enum Misbehaviour {
    Equivocation { domain: Word, ours: Header, theirs: Opaque, theirs_hash: Word, served_by: Witness, at: u64 },
    ConflictingHead { flow: Flow, ours: Point, theirs: Evidence, at: u64 },
    AuditDifference { flow: Flow, gateway: Word, ours: Point, theirs: Point, at: u64 },
    Contradiction { domain: Word, ours: Header, theirs: Word, node: Witness, at: u64 },
}

impl Mirrored for record::Misbehaviour {
    type Mirror = Misbehaviour;

    fn mirror(&self) -> Result<Misbehaviour, EncodeError> {
        Ok(match self {
            Self::Equivocation { domain, ours, theirs, theirs_hash, served_by, at } => Misbehaviour::Equivocation {
                domain: domain.0.0,
                ours: ours.mirror()?,
                theirs: theirs.mirror()?,
                theirs_hash: theirs_hash.0,
                served_by: Witness(Text::copy(served_by)?),
                at: at.0,
            },
            Self::Contradiction { domain, ours, theirs, node, at } => Misbehaviour::Contradiction {
                domain: domain.0.0,
                ours: ours.mirror()?,
                theirs: theirs.0,
                node: Witness(Text::copy(node)?),
                at: at.0,
            },
            Self::ConflictingHead { flow, ours, theirs, at } => Misbehaviour::ConflictingHead {
                flow: (*flow).into(),
                ours: (*ours).into(),
                theirs: theirs.mirror()?,
                at: at.0,
            },
            Self::AuditDifference { flow, gateway, ours, theirs, at } => Misbehaviour::AuditDifference {
                flow: (*flow).into(),
                gateway: gateway.0.0,
                ours: (*ours).into(),
                theirs: (*theirs).into(),
                at: at.0,
            },
        })
    }

    fn original(mirror: Misbehaviour) -> Self {
        match mirror {
            Misbehaviour::Equivocation { domain: word, ours, theirs, theirs_hash, served_by, at } => {
                Self::Equivocation {
                    domain: domain(word),
                    ours: Mirrored::original(ours),
                    theirs: Mirrored::original(theirs),
                    theirs_hash: Hash32(theirs_hash),
                    served_by: served_by.0.into_string(),
                    at: UnixMillis(at),
                }
            }
            Misbehaviour::Contradiction { domain: word, ours, theirs, node, at } => Self::Contradiction {
                domain: domain(word),
                ours: Mirrored::original(ours),
                theirs: Hash32(theirs),
                node: node.0.into_string(),
                at: UnixMillis(at),
            },
            Misbehaviour::ConflictingHead { flow, ours, theirs, at } => Self::ConflictingHead {
                flow: flow.into(),
                ours: ours.into(),
                theirs: Mirrored::original(theirs),
                at: UnixMillis(at),
            },
            Misbehaviour::AuditDifference { flow, gateway, ours, theirs, at } => Self::AuditDifference {
                flow: flow.into(),
                gateway: Address(Hash32(gateway)),
                ours: ours.into(),
                theirs: theirs.into(),
                at: UnixMillis(at),
            },
        }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct Audit {
    at: u64,
    uid: u32,
    name: Text<OperatorBytes>,
    reason: Text<ReasonBytes>,
    action: Action,
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
enum Action {
    Unfreeze { domain: Word, height: u64, ours: Word, theirs: Word, choice: Choice },
    PauseLane { lane: Word },
    ResumeLane { lane: Word },
    Retry(Subject),
    Other { what: Text<OtherActionBytes> },
}

#[derive(Clone, Copy, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
enum Choice {
    Ours,
    Theirs,
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
enum Subject {
    Lane(Word),
    Chain(Word),
    Everything,
}

impl Action {
    fn mirror(action: &order::Action) -> Result<Self, EncodeError> {
        Ok(match action {
            order::Action::Unfreeze { domain, height, ours, theirs, choice } => Self::Unfreeze {
                domain: domain.0.0,
                height: height.0,
                ours: ours.0,
                theirs: theirs.0,
                choice: match choice {
                    order::Choice::Ours => Choice::Ours,
                    order::Choice::Theirs => Choice::Theirs,
                },
            },
            order::Action::PauseLane { lane } => Self::PauseLane { lane: lane.0.0 },
            order::Action::ResumeLane { lane } => Self::ResumeLane { lane: lane.0.0 },
            order::Action::Retry(subject) => Self::Retry(match subject {
                order::Subject::Lane(lane) => Subject::Lane(lane.0.0),
                order::Subject::Chain(domain) => Subject::Chain(domain.0.0),
                order::Subject::Everything => Subject::Everything,
            }),
            order::Action::Other { what } => Self::Other { what: Text::copy(what)? },
        })
    }

    fn original(self) -> order::Action {
        let lane = |word: Word| LaneId(Hash32(word));
        match self {
            Self::Unfreeze { domain: word, height, ours, theirs, choice } => order::Action::Unfreeze {
                domain: domain(word),
                height: Height(height),
                ours: Hash32(ours),
                theirs: Hash32(theirs),
                choice: match choice {
                    Choice::Ours => order::Choice::Ours,
                    Choice::Theirs => order::Choice::Theirs,
                },
            },
            Self::PauseLane { lane: word } => order::Action::PauseLane { lane: lane(word) },
            Self::ResumeLane { lane: word } => order::Action::ResumeLane { lane: lane(word) },
            Self::Retry(subject) => order::Action::Retry(match subject {
                Subject::Lane(word) => order::Subject::Lane(lane(word)),
                Subject::Chain(word) => order::Subject::Chain(domain(word)),
                Subject::Everything => order::Subject::Everything,
            }),
            Self::Other { what } => order::Action::Other { what: what.into_string() },
        }
    }
}

impl Mirrored for order::AuditRecord {
    type Mirror = Audit;

    fn mirror(&self) -> Result<Audit, EncodeError> {
        let order::Order { who, reason, action } = &self.order;
        Ok(Audit {
            at: self.at.0,
            uid: who.uid,
            name: Text::copy(&who.name)?,
            reason: Text::copy(reason)?,
            action: Action::mirror(action)?,
        })
    }

    fn original(mirror: Audit) -> Self {
        let who = order::Operator { uid: mirror.uid, name: mirror.name.into_string() };
        let order = order::Order { who, reason: mirror.reason.into_string(), action: mirror.action.original() };
        Self { at: UnixMillis(mirror.at), order }
    }
}
