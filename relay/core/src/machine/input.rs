//! What happens to a machine: everything it learns comes in as one of these.

use crate::attestation::{Committee, SignatureBytes};
use crate::chain::{ChainPoint, Entry};
use crate::claim::Claim;
use crate::frame::Frame;
use crate::gateway_call::Evidence;
use crate::hash::Hash32;
use crate::ids::{Domain, Height, Index};
use crate::lane::Flow;
use crate::light_client::{Refusal, SetStatement};
use crate::machine::config::PeerId;
use crate::machine::effect::{JobId, OrderId, ReceiptId, Ticket, UpdateOrigin};
use crate::opaque::Opaque;
use crate::order::Order;
use crate::record::{ExtensionRecord, IntentEnd};
use crate::set_attestation::Attestable;
use crate::verify::{VerifiedEvidence, VerifiedExtension, VerifiedUpdate};

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time passed; something may be due.
    Tick,
    /// A session with a peer stands; nothing was said on it yet.
    PeerUp(PeerId),
    /// The session with a peer ended.
    PeerDown(PeerId),
    /// A peer said something.
    Frame {
        /// The peer.
        peer: PeerId,
        /// What it said.
        frame: Frame,
        /// Given back in [`crate::machine::effect::Effect::Release`] when the frame needs no more room.
        receipt: ReceiptId,
    },
    /// The records of a ticket are durable.
    Durable(Ticket),
    /// The records of a ticket are not, and will not be.
    AppendFailed {
        /// Which.
        ticket: Ticket,
        /// Whether the same records may succeed later (a full disk) or never (they contradict the journal).
        is_retryable: bool,
    },
    /// Answer to `FetchUpdate`.
    UpdateFetched {
        /// The chain.
        domain: Domain,
        /// For whom it was fetched.
        recipient: Recipient,
        /// The height it follows.
        after: Height,
        /// What came.
        answer: Fetched<(Opaque, UpdateOrigin)>,
    },
    /// Answer to `VerifyUpdate`.
    UpdateVerified {
        /// The chain.
        domain: Domain,
        /// The update.
        update: Opaque,
        /// Who served it.
        origin: UpdateOrigin,
        /// What came of it.
        result: VerifiedUpdate<Opaque>,
    },
    /// Answer to `ConfirmHeader`.
    HeaderConfirmed {
        /// The chain.
        domain: Domain,
        /// Height of the header.
        height: Height,
        /// Its hash.
        hash: Hash32,
        /// One statement for each own node; `Nothing` when none is configured.
        answer: Fetched<Vec<NodeStatement>>,
    },
    /// Answer to `ConfirmSet`: whether the own nodes agree; `None` when they can't say yet.
    SetConfirmed {
        /// The chain.
        domain: Domain,
        /// The statement.
        statement: SetStatement,
        /// What they say.
        agrees: Option<bool>,
    },
    /// Answer to `ApplySetStatement`.
    SetApplied {
        /// The chain.
        domain: Domain,
        /// The statement.
        statement: SetStatement,
        /// The new state.
        result: Result<Opaque, Refusal>,
    },
    /// Answer to `ReadHint`: where the nodes say the flow's head is.
    HintRead {
        /// The flow.
        flow: Flow,
        /// The point, unproved.
        answer: Fetched<ChainPoint>,
    },
    /// A node says by itself that its chain has a new block: a reason to look now rather than at the next poll. Nothing is
    /// believed of it, and nothing waits for it.
    NewBlock {
        /// The chain.
        domain: Domain,
    },
    /// Answer to `Observe`.
    Observed {
        /// The flow.
        flow: Flow,
        /// What came.
        answer: Fetched<Observation>,
    },
    /// Answer to `VerifyClaim`.
    ClaimVerified {
        /// Who made the claim.
        origin: ClaimOrigin,
        /// The claim, unchanged.
        claim: Claim,
        /// What came of it.
        result: Result<(VerifiedExtension, Vec<VerifiedEvidence>), ClaimRefusal>,
    },
    /// Answer to `LoadClaim`.
    ClaimLoaded {
        /// The flow.
        flow: Flow,
        /// The attester it is for.
        peer: PeerId,
        /// Entries without payloads.
        entries: Vec<Entry>,
        /// Links after them.
        tail: Vec<Hash32>,
    },
    /// Answer to `LoadSigned`.
    SignedLoaded {
        /// The attester it is for.
        peer: PeerId,
        /// The piece of the chain, and attested heads among its entries, ascending; `None` when it can't be had.
        found: Option<(Claim, Vec<Evidence>)>,
    },
    /// Answer to `LoadExtensions`.
    ExtensionsLoaded {
        /// The flow.
        flow: Flow,
        /// The index that they reach beyond.
        after: Index,
        /// Ascending; `None` when the journal has pruned them and only the chain still has their bodies.
        extensions: Option<Vec<(ExtensionRecord, Option<Evidence>)>>,
    },
    /// Answer to `ReadPoint`.
    PointRead {
        /// The flow.
        flow: Flow,
        /// The index.
        index: Index,
        /// The head held there.
        point: Option<ChainPoint>,
    },
    /// Answer to `Confirm`: whether the own node says the same; `None` when it can't say yet.
    Confirmed {
        /// The flow.
        flow: Flow,
        /// What it says.
        agrees: Option<bool>,
    },
    /// Answer to `Sign`.
    Signed {
        /// What was signed.
        what: Attestable,
        /// Who asked.
        peer: PeerId,
        /// The signature; `None` when the signer refused or is away.
        signature: Option<SignatureBytes>,
    },
    /// Answer to `Prepare`.
    Prepared {
        /// The job.
        job: JobId,
        /// What came.
        answer: Prepared,
    },
    /// Answer to `Broadcast`; a failure is found by tracking.
    Broadcasted(JobId),
    /// Answer to `Track`.
    Tracked {
        /// The job.
        job: JobId,
        /// What the nodes say.
        fate: TransactionFate,
    },
    /// Answer to `ReadAccepted`.
    AcceptedRead {
        /// The flow.
        flow: Flow,
        /// What the target gateway has taken in, finally.
        answer: Fetched<ChainPoint>,
    },
    /// Answer to `ReadCommittee`.
    CommitteeRead {
        /// The flow whose target verifier was asked.
        flow: Flow,
        /// The set.
        answer: Fetched<Committee>,
    },
    /// An operator orders something; answered by [`crate::machine::effect::Report::OrderEnded`].
    Order {
        /// Number of the order, given by the caller.
        id: OrderId,
        /// The order.
        order: Order,
    },
}

/// What one own node says of a height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatement {
    /// The node, as named in the configuration.
    pub node: String,
    /// Hash of its block there; `None` when it has none yet or does not answer.
    pub hash: Option<Hash32>,
}

/// For whom an update is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recipient {
    /// The own light client.
    Own,
    /// A peer's light client.
    Peer(PeerId),
}

/// The answer of somebody who may be away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched<T> {
    /// It.
    Some(T),
    /// There is nothing (yet).
    Nothing,
    /// Nobody answered, or not properly; the caller reported why.
    Failed,
}

/// What observing a flow brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// Entries with a proof of a head that covers them.
    Claim(Claim),
    /// The chain proves heads by checkpoints, and there is none that is new.
    NeedsCheckpoint,
}

/// Who made a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimOrigin {
    /// Our own observer.
    Observer,
    /// A relay, for us to take in.
    Peer(PeerId, ReceiptId),
    /// A relay, for us to attest.
    Requester(PeerId),
}

/// Why a claim is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimRefusal {
    /// The claim is false.
    #[error(transparent)]
    Claim(#[from] Refusal),
    /// The claim holds, its attestations don't.
    #[error(transparent)]
    Evidence(#[from] crate::verify::EvidenceError),
}

/// What came of preparing a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// Signed and ready to be journalled.
    Ready {
        /// Its hash.
        hash: Hash32,
        /// The adapter's bytes.
        bytes: Opaque,
    },
    /// One transaction can't carry it.
    TooLarge,
    /// The gateway would refuse it now.
    Reverts,
    /// No node answers.
    Failed,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionFate {
    /// Known to a node, in no final block yet; also when no node answers.
    Pending,
    /// No node knows it and its place is free.
    Dropped,
    /// It has come to its end.
    Ended(IntentEnd),
}
