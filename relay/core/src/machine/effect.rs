//! What a machine wants done. Each effect names the input that answers it.

use crate::attestation::Committee;
use crate::chain::ChainPoint;
use crate::claim::Claim;
use crate::frame::Frame;
use crate::gateway_call::{Evidence, GatewayCall};
use crate::hash::Hash32;
use crate::ids::{AttesterId, Domain, Height, Index};
use crate::lane::{Flow, LaneIdentity};
use crate::light_client::{HoldReason, Refusal, SetStatement};
use crate::machine::config::PeerId;
use crate::machine::input::{ClaimOrigin, Recipient};
use crate::opaque::Opaque;
use crate::order::OrderRefusal;
use crate::record::{IntentRecord, Record};
use crate::set_attestation::{Attestable, SetFact, SetRefusal};
use crate::verify::{VerifiedExtension, VerifiedHeader};

/// Number of a batch of records; grows by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Number of a transaction in the making.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// Number of a received frame, given by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReceiptId(pub u64);

/// Number of an operator's order, given by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(pub u64);

/// Who served an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateOrigin {
    /// One of our own configured nodes, by name.
    Node(String),
    /// A peer.
    Peer(PeerId),
}

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Make these durable, as a whole, after everything appended before → `Durable` or `AppendFailed`.
    Append {
        /// Number of the batch.
        ticket: Ticket,
        /// The records.
        records: Vec<Record>,
    },
    /// Say this to a peer. Lost when the session is down; the machine says it again when needed.
    Send {
        /// The peer.
        peer: PeerId,
        /// What to say.
        frame: Frame,
    },
    /// The received frame needs no more room.
    Release(ReceiptId),
    /// Ask the nodes for the headers after `after` → `UpdateFetched`.
    FetchUpdate {
        /// The chain.
        domain: Domain,
        /// For whom.
        recipient: Recipient,
        /// The height to follow.
        after: Height,
        /// At most this many headers.
        max_headers: u32,
    },
    /// Run the light client → `UpdateVerified`.
    VerifyUpdate {
        /// The chain.
        domain: Domain,
        /// The trusted state.
        trusted: Opaque,
        /// The update.
        update: Opaque,
        /// Who served it.
        origin: UpdateOrigin,
    },
    /// Ask every own node for the hash of its block at the height of a verified header → `HeaderConfirmed`.
    ConfirmHeader {
        /// The header.
        header: Box<VerifiedHeader>,
    },
    /// Ask the own nodes about a validator set → `SetConfirmed`.
    ConfirmSet {
        /// The chain.
        domain: Domain,
        /// The statement.
        statement: SetStatement,
    },
    /// Hand a confirmed statement to the light client → `SetApplied`.
    ApplySetStatement {
        /// The chain.
        domain: Domain,
        /// The trusted state.
        trusted: Opaque,
        /// The statement.
        statement: SetStatement,
    },
    /// Ask the nodes where a flow's head is → `HintRead`.
    ReadHint {
        /// The flow.
        flow: Flow,
    },
    /// Get entries after `base` and a proof of a head that covers them → `Observed`.
    Observe(ObserveRequest),
    /// Run [`crate::verify::verify_extension`] and, with evidence, [`crate::verify::verify_evidence`] → `ClaimVerified`.
    /// One at a time and in order per flow.
    VerifyClaim(Box<ClaimCheck>),
    /// Read entries (without payloads) and links of a flow → `ClaimLoaded`.
    LoadClaim {
        /// The flow.
        flow: Flow,
        /// The attester it is for.
        peer: PeerId,
        /// First entry.
        first: Index,
        /// Last index; entries are loaded up to the claim limit, the rest as links.
        last: Index,
    },
    /// Read, for an attester that forgot what it signed, entries (without payloads) and links of a flow up to a proved head,
    /// and the attested heads among the entries that it signed → `SignedLoaded`.
    LoadSigned {
        /// The flow.
        flow: Flow,
        /// The attester.
        peer: PeerId,
        /// What it signs with, where that is known; else every attested head is of use.
        attester: Option<AttesterId>,
        /// First entry.
        first: Index,
        /// The durable tip; entries are loaded up to the claim limit, the rest as links.
        last: Index,
    },
    /// Read extensions of a flow that reach beyond an index, with their newest attestations → `ExtensionsLoaded`.
    LoadExtensions {
        /// The flow.
        flow: Flow,
        /// The index.
        after: Index,
        /// At most so many.
        max: usize,
    },
    /// Read the head that the journal holds at an index → `PointRead`.
    ReadPoint {
        /// The flow.
        flow: Flow,
        /// The index.
        index: Index,
    },
    /// Ask the own node whether it says the same → `Confirmed`.
    Confirm {
        /// The header at which the head was proved.
        header: VerifiedHeader,
        /// The extension.
        extension: Box<VerifiedExtension>,
        /// The adapter's proof.
        proof: Opaque,
    },
    /// Sign something whose sign-once record is durable → `Signed`.
    Sign {
        /// What to sign.
        what: Attestable,
        /// Who asked.
        peer: PeerId,
    },
    /// Build and sign a transaction → `Prepared`.
    Prepare {
        /// The job.
        job: JobId,
        /// The chain.
        domain: Domain,
        /// The call.
        call: Box<GatewayCall>,
        /// Transactions of this chain whose fate is open.
        open: Vec<IntentRecord>,
        /// The dropped transaction whose place it takes.
        replaces: Option<Box<IntentRecord>>,
    },
    /// Hand a durable transaction to the nodes → `Broadcasted`.
    Broadcast {
        /// The job.
        job: JobId,
        /// The transaction.
        intent: Box<IntentRecord>,
    },
    /// Ask what became of a transaction → `Tracked`.
    Track {
        /// The job.
        job: JobId,
        /// The transaction.
        intent: Box<IntentRecord>,
    },
    /// Read what the target gateway has taken in → `AcceptedRead`.
    ReadAccepted {
        /// The flow.
        flow: Flow,
    },
    /// Read the attester set of the flow's target verifier → `CommitteeRead`.
    ReadCommittee {
        /// The flow.
        flow: Flow,
    },
    /// Tell people and counters.
    Report(Report),
}

/// What [`Effect::Observe`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObserveRequest {
    /// The flow.
    pub flow: Flow,
    /// The point that is held; entries after it are wanted.
    pub base: ChainPoint,
    /// First header that the machine still holds.
    pub oldest: Height,
    /// Last verified header.
    pub newest: Height,
    /// Most entries to take in full.
    pub max_entries: usize,
    /// Most payload bytes.
    pub max_bytes: usize,
    /// Most gas that the messages may ask for together.
    pub max_gas: u64,
}

/// What [`Effect::VerifyClaim`] checks.
#[derive(Clone, Debug)]
pub struct ClaimCheck {
    /// Who made the claim.
    pub origin: ClaimOrigin,
    /// The lane.
    pub lane: LaneIdentity,
    /// The point that is held.
    pub base: ChainPoint,
    /// The header that the claim names.
    pub header: VerifiedHeader,
    /// The claim.
    pub claim: Claim,
    /// Attestations that came with it, and the set that must have made them.
    pub evidence: Option<(Committee, Vec<Evidence>)>,
}

/// How a transaction in the making ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// The transaction came to its end.
    Transaction(crate::record::IntentEnd),
    /// One transaction can't carry it.
    TooLarge,
    /// The contract would refuse it now.
    WouldRevert,
    /// It could not be prepared or journalled.
    Failed,
}

/// Things worth a log line, a counter or an alarm. A closed list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A client advanced.
    HeadersVerified {
        /// The chain.
        domain: Domain,
        /// How many headers.
        count: usize,
        /// Last one.
        height: Height,
        /// Validator sets that changed.
        set_changes: usize,
    },
    /// Headers wait.
    HeadersHeldBack {
        /// The chain.
        domain: Domain,
        /// Why.
        reason: HoldReason,
    },
    /// An anchor newer than what was verified is configured: the client goes on from there. What the chain did in between
    /// is proved by later headers.
    Anchored {
        /// The chain.
        domain: Domain,
        /// The last final header before.
        left: Height,
        /// The anchor.
        at: Height,
    },
    /// Somebody served something false.
    Lie {
        /// The chain.
        domain: Domain,
        /// Who.
        origin: UpdateOrigin,
        /// The check that failed.
        refusal: Refusal,
    },
    /// Own nodes were asked about a verified header.
    HeaderConfirmed {
        /// The chain.
        domain: Domain,
        /// The header.
        height: Height,
        /// Own nodes that have the same one.
        agreeing: usize,
        /// Own nodes that have another one.
        contrary: usize,
        /// Own nodes that can't say yet.
        silent: usize,
    },
    /// An own node has another block than a sealed header.
    Contradicted {
        /// The chain.
        domain: Domain,
        /// The height.
        height: Height,
        /// The node, by its configured name.
        node: String,
        /// Hash of its block.
        theirs: Hash32,
    },
    /// The client of a chain is frozen: two statements about one height, kept as evidence.
    Frozen {
        /// The chain.
        domain: Domain,
    },
    /// An operator's order was carried out, or refused. Its record is durable in the first case.
    OrderEnded {
        /// Which.
        id: OrderId,
        /// How it ended.
        end: Result<(), OrderRefusal>,
    },
    /// A claim about a flow was refused.
    ClaimRefused {
        /// The flow.
        flow: Flow,
        /// Who made it, `None` for our own observer.
        peer: Option<PeerId>,
        /// The refusal.
        refusal: crate::machine::input::ClaimRefusal,
    },
    /// An extension is durable on its way out or in.
    Journalled {
        /// The flow.
        flow: Flow,
        /// The new tip.
        tip: ChainPoint,
        /// How many entries.
        count: usize,
    },
    /// Enough signatures are durable.
    Attested {
        /// The flow.
        flow: Flow,
        /// The head.
        point: ChainPoint,
        /// Milliseconds since it was first asked for.
        millis: u64,
    },
    /// One attester voted.
    Vote {
        /// The flow.
        flow: Flow,
        /// Who.
        attester: crate::ids::AttesterId,
    },
    /// A peer or attester declined something.
    Declined {
        /// The peer.
        peer: PeerId,
        /// What and why.
        declined: crate::frame::Declined,
    },
    /// A transaction came to its end.
    TransactionEnded {
        /// The chain.
        domain: Domain,
        /// What it was for.
        purpose: crate::record::Purpose,
        /// How it ended.
        end: crate::record::IntentEnd,
    },
    /// A call made through [`crate::machine::Machine::submit`] came to its end.
    JobEnded {
        /// Which.
        job: JobId,
        /// The last transaction made for it, if any was made.
        transaction: Option<Hash32>,
        /// How it ended.
        end: JobEnd,
    },
    /// The target chain has taken a flow in up to this point.
    Done {
        /// The flow.
        flow: Flow,
        /// The point.
        point: ChainPoint,
        /// For each entry that is now done: milliseconds from its source block to now.
        millis: Vec<u64>,
    },
    /// The gateway holds another head than ours: stop and look.
    AuditDifference {
        /// The flow.
        flow: Flow,
        /// What we hold.
        ours: ChainPoint,
        /// What the gateway says.
        theirs: ChainPoint,
    },
    /// An attester signed a head that is not ours, or two heads for one index.
    ConflictingHead {
        /// The flow.
        flow: Flow,
        /// Ours.
        ours: ChainPoint,
        /// Theirs.
        theirs: ChainPoint,
        /// Who signed.
        attester: crate::ids::AttesterId,
    },
    /// A peer holds less of a flow than it once acknowledged: its journal is an older one. It is sent the rest again.
    PeerFellBack {
        /// The flow.
        flow: Flow,
        /// What it had acknowledged.
        from: Index,
        /// What it holds now.
        to: Index,
    },
    /// A chain's validator set is now believed, without a node of our own, since enough attesters signed it.
    SetAttested {
        /// The set.
        fact: SetFact,
        /// Signatures collected, of all verifiers together.
        signatures: usize,
    },
    /// What somebody said or asked about a validator set was refused.
    SetRefused {
        /// The chain.
        domain: Domain,
        /// Who.
        peer: PeerId,
        /// The refusal.
        refusal: SetRefusal,
    },
    /// The journal refused or failed.
    JournalTrouble {
        /// Whether it may succeed later.
        is_retryable: bool,
    },
}
