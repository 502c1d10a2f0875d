//! The fields of each row, in order.

use bincode::{Decode, Encode};
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Epoch, Height, Index, MessageId, UnixMillis};
use cityrelay_core::outcome::Status;
use cityrelay_core::record::Frozen;

use super::Mirrored;
use super::parts::{self, Evidence, Flow, Opaque, Point, SetEvidence, SetFact, Word, domain, words};
use super::record::{IntentEnd, Purpose};
use crate::EncodeError;
use crate::bounded::{ClaimEntries, ClaimTail, Coded, List, SetEvidenceCount};
use crate::row;

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct FlowRow {
    ordinal: u32,
    tip: Point,
    peer_accepted: Point,
    done: Point,
    signed: Option<Point>,
    extensions: u64,
    payloads_pruned: u64,
    bodies_pruned: u64,
}

impl Mirrored for row::FlowRow {
    type Mirror = FlowRow;

    fn mirror(&self) -> Result<FlowRow, EncodeError> {
        Ok(FlowRow {
            ordinal: self.ordinal,
            tip: self.tip.into(),
            peer_accepted: self.peer_accepted.into(),
            done: self.done.into(),
            signed: self.signed.map(Into::into),
            extensions: self.extensions,
            payloads_pruned: self.payloads_pruned.0,
            bodies_pruned: self.bodies_pruned.0,
        })
    }

    fn original(mirror: FlowRow) -> Self {
        Self {
            ordinal: mirror.ordinal,
            tip: mirror.tip.into(),
            peer_accepted: mirror.peer_accepted.into(),
            done: mirror.done.into(),
            signed: mirror.signed.map(Into::into),
            extensions: mirror.extensions,
            payloads_pruned: Index(mirror.payloads_pruned),
            bodies_pruned: Index(mirror.bodies_pruned),
        }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct KeptOutcome {
    message: Word,
    status: Coded<Status>,
    result_hash: Word,
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub enum Kept {
    Ids(List<Word, ClaimEntries>),
    Outcomes(List<KeptOutcome, ClaimEntries>),
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct SpanRow {
    base: Point,
    tip: Point,
    proved_at: u64,
    block_hash: Word,
    block_time: u64,
    at: u64,
    kept: Kept,
}

impl Mirrored for row::SpanRow {
    type Mirror = SpanRow;

    fn mirror(&self) -> Result<SpanRow, EncodeError> {
        Ok(SpanRow {
            base: self.base.into(),
            tip: self.tip.into(),
            proved_at: self.proved_at.0,
            block_hash: self.block_hash.0,
            block_time: self.block_time.0,
            at: self.at.0,
            kept: match &self.kept {
                row::Kept::Ids(ids) => Kept::Ids(List::collect(ids, |id| Ok(id.0))?),
                row::Kept::Outcomes(outcomes) => Kept::Outcomes(List::collect(outcomes, |outcome| {
                    Ok(KeptOutcome {
                        message: outcome.message.0.0,
                        status: Coded(outcome.status),
                        result_hash: outcome.result_hash.0,
                    })
                })?),
            },
        })
    }

    fn original(mirror: SpanRow) -> Self {
        Self {
            base: mirror.base.into(),
            tip: mirror.tip.into(),
            proved_at: Height(mirror.proved_at),
            block_hash: Hash32(mirror.block_hash),
            block_time: UnixMillis(mirror.block_time),
            at: UnixMillis(mirror.at),
            kept: match mirror.kept {
                Kept::Ids(ids) => row::Kept::Ids(ids.convert(Hash32)),
                Kept::Outcomes(outcomes) => row::Kept::Outcomes(outcomes.convert(|outcome| row::KeptOutcome {
                    message: MessageId(Hash32(outcome.message)),
                    status: outcome.status.0,
                    result_hash: Hash32(outcome.result_hash),
                })),
            },
        }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct BodyRow {
    messages: List<parts::Message, ClaimEntries>,
    tail: List<Word, ClaimTail>,
    proof: Option<Opaque>,
}

impl Mirrored for row::BodyRow {
    type Mirror = BodyRow;

    fn mirror(&self) -> Result<BodyRow, EncodeError> {
        Ok(BodyRow {
            messages: List::collect(&self.messages, Mirrored::mirror)?,
            tail: words(&self.tail)?,
            proof: self.proof.as_ref().map(Mirrored::mirror).transpose()?,
        })
    }

    fn original(mirror: BodyRow) -> Self {
        Self {
            messages: mirror.messages.convert(Mirrored::original),
            tail: mirror.tail.convert(Hash32),
            proof: mirror.proof.map(Mirrored::original),
        }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct AttestedRow {
    evidence: Evidence,
    at: u64,
}

impl Mirrored for row::AttestedRow {
    type Mirror = AttestedRow;

    fn mirror(&self) -> Result<AttestedRow, EncodeError> {
        Ok(AttestedRow { evidence: self.evidence.mirror()?, at: self.at.0 })
    }

    fn original(mirror: AttestedRow) -> Self {
        Self { evidence: Mirrored::original(mirror.evidence), at: UnixMillis(mirror.at) }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct AcceptedRow {
    at: u64,
}

impl Mirrored for row::AcceptedRow {
    type Mirror = AcceptedRow;

    fn mirror(&self) -> Result<AcceptedRow, EncodeError> {
        Ok(AcceptedRow { at: self.at.0 })
    }

    fn original(mirror: AcceptedRow) -> Self {
        Self { at: UnixMillis(mirror.at) }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct DoneRow {
    at: u64,
}

impl Mirrored for row::DoneRow {
    type Mirror = DoneRow;

    fn mirror(&self) -> Result<DoneRow, EncodeError> {
        Ok(DoneRow { at: self.at.0 })
    }

    fn original(mirror: DoneRow) -> Self {
        Self { at: UnixMillis(mirror.at) }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct SignedRow {
    head: Word,
    epoch: u64,
}

impl Mirrored for row::SignedRow {
    type Mirror = SignedRow;

    fn mirror(&self) -> Result<SignedRow, EncodeError> {
        Ok(SignedRow { head: self.head.0, epoch: self.epoch.0 })
    }

    fn original(mirror: SignedRow) -> Self {
        Self { head: Hash32(mirror.head), epoch: Epoch(mirror.epoch) }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct ClientRow {
    state: Opaque,
    height: u64,
    hash: Word,
    headers: u32,
}

impl Mirrored for row::ClientRow {
    type Mirror = ClientRow;

    fn mirror(&self) -> Result<ClientRow, EncodeError> {
        Ok(ClientRow { state: self.state.mirror()?, height: self.height.0, hash: self.hash.0, headers: self.headers })
    }

    fn original(mirror: ClientRow) -> Self {
        Self {
            state: Mirrored::original(mirror.state),
            height: Height(mirror.height),
            hash: Hash32(mirror.hash),
            headers: mirror.headers,
        }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct ClosedIntentRow {
    purpose: Purpose,
    replaces: Option<Word>,
    at: u64,
    end: IntentEnd,
}

impl Mirrored for row::ClosedIntentRow {
    type Mirror = ClosedIntentRow;

    fn mirror(&self) -> Result<ClosedIntentRow, EncodeError> {
        Ok(ClosedIntentRow {
            purpose: self.purpose.into(),
            replaces: self.replaces.map(|hash| hash.0),
            at: self.at.0,
            end: self.end.into(),
        })
    }

    fn original(mirror: ClosedIntentRow) -> Self {
        Self {
            purpose: mirror.purpose.into(),
            replaces: mirror.replaces.map(Hash32),
            at: UnixMillis(mirror.at),
            end: mirror.end.into(),
        }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct DomainRow {
    domain: Word,
}

impl Mirrored for row::DomainRow {
    type Mirror = DomainRow;

    fn mirror(&self) -> Result<DomainRow, EncodeError> {
        Ok(DomainRow { domain: self.domain.0.0 })
    }

    fn original(mirror: DomainRow) -> Self {
        Self { domain: domain(mirror.domain) }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct OrdinalRow {
    flow: Flow,
}

impl Mirrored for row::OrdinalRow {
    type Mirror = OrdinalRow;

    fn mirror(&self) -> Result<OrdinalRow, EncodeError> {
        Ok(OrdinalRow { flow: self.flow.into() })
    }

    fn original(mirror: OrdinalRow) -> Self {
        Self { flow: mirror.flow.into() }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct FrozenRow {
    height: u64,
    ours: Word,
    theirs: Word,
    at: u64,
}

impl Mirrored for row::FrozenRow {
    type Mirror = FrozenRow;

    fn mirror(&self) -> Result<FrozenRow, EncodeError> {
        let Frozen { height, ours, theirs } = self.frozen;
        Ok(FrozenRow { height: height.0, ours: ours.0, theirs: theirs.0, at: self.at.0 })
    }

    fn original(mirror: FrozenRow) -> Self {
        let (ours, theirs) = (Hash32(mirror.ours), Hash32(mirror.theirs));
        Self { frozen: Frozen { height: Height(mirror.height), ours, theirs }, at: UnixMillis(mirror.at) }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct SetRow {
    fact: SetFact,
    is_confirmed: bool,
    is_signed: bool,
    evidence: List<SetEvidence, SetEvidenceCount>,
}

impl Mirrored for row::SetRow {
    type Mirror = SetRow;

    fn mirror(&self) -> Result<SetRow, EncodeError> {
        Ok(SetRow {
            fact: self.fact.into(),
            is_confirmed: self.is_confirmed,
            is_signed: self.is_signed,
            evidence: List::collect(&self.evidence, Mirrored::mirror)?,
        })
    }

    fn original(mirror: SetRow) -> Self {
        Self {
            fact: mirror.fact.into(),
            is_confirmed: mirror.is_confirmed,
            is_signed: mirror.is_signed,
            evidence: mirror.evidence.convert(Mirrored::original),
        }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct DecidedRow {
    chosen: Word,
    rejected: Word,
}

impl Mirrored for row::DecidedRow {
    type Mirror = DecidedRow;

    fn mirror(&self) -> Result<DecidedRow, EncodeError> {
        Ok(DecidedRow { chosen: self.chosen.0, rejected: self.rejected.0 })
    }

    fn original(mirror: DecidedRow) -> Self {
        Self { chosen: Hash32(mirror.chosen), rejected: Hash32(mirror.rejected) }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct PausedRow {
    at: u64,
}

impl Mirrored for row::PausedRow {
    type Mirror = PausedRow;

    fn mirror(&self) -> Result<PausedRow, EncodeError> {
        Ok(PausedRow { at: self.at.0 })
    }

    fn original(mirror: PausedRow) -> Self {
        Self { at: UnixMillis(mirror.at) }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct SignedOnceRow {
    content: Word,
}

impl Mirrored for row::SignedOnceRow {
    type Mirror = SignedOnceRow;

    fn mirror(&self) -> Result<SignedOnceRow, EncodeError> {
        Ok(SignedOnceRow { content: self.content.0 })
    }

    fn original(mirror: SignedOnceRow) -> Self {
        Self { content: Hash32(mirror.content) }
    }
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct CountersRow {
    flows: u32,
    records: u64,
    signed: u64,
    audits: u64,
    clients: u32,
    intents: u32,
    frozen: u32,
    misbehaviour: u32,
    decided: u32,
    paused: u32,
    sets: u32,
}

impl Mirrored for row::CountersRow {
    type Mirror = CountersRow;

    fn mirror(&self) -> Result<CountersRow, EncodeError> {
        Ok(CountersRow {
            flows: self.flows,
            records: self.records,
            signed: self.signed,
            audits: self.audits,
            clients: self.clients,
            intents: self.intents,
            frozen: self.frozen,
            misbehaviour: self.misbehaviour,
            decided: self.decided,
            paused: self.paused,
            sets: self.sets,
        })
    }

    fn original(mirror: CountersRow) -> Self {
        Self {
            flows: mirror.flows,
            records: mirror.records,
            signed: mirror.signed,
            audits: mirror.audits,
            clients: mirror.clients,
            intents: mirror.intents,
            frozen: mirror.frozen,
            misbehaviour: mirror.misbehaviour,
            decided: mirror.decided,
            paused: mirror.paused,
            sets: mirror.sets,
        }
    }
}
