//! Reading a chain: what its nodes say, to be checked by the light client before anybody believes it.

use std::time::Duration;

use async_trait::async_trait;
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Height, Index, UnixMillis};
use cityrelay_core::lane::Flow;
use cityrelay_core::light_client::SetStatement;
use cityrelay_core::machine::input::NodeStatement;
use cityrelay_core::opaque::Opaque;
use cityrelay_core::verify::{VerifiedExtension, VerifiedHeader};

/// Read access to one chain through its configured nodes, with failover among them.
///
/// Every answer is a claim. Calls are safe to repeat and to cancel.
#[async_trait]
pub trait Source: Send + Sync {
    /// The highest block that the nodes call final.
    async fn tip(&self) -> Result<Height, NodeError>;

    /// Waits until a node says by itself that there is a new block: a reason to look now instead of at the next poll. It
    /// says nothing about the block, and may come twice or never; it never comes where no node offers it.
    async fn news(&self) {
        core::future::pending().await
    }

    /// An update of at most `max_headers` headers that follow `after`, or `None` when there is no newer block. Where the node
    /// still has it, the header at `after` comes before them: a node on another branch shows itself so. It serves this relay's own client and those of its peers, so it depends on nothing but the height.
    /// Blame for an update that the client refuses goes back through [`Source::report_lie`].
    async fn next_update(&self, after: Height, max_headers: u32) -> Result<Option<ServedUpdate>, NodeError>;

    /// Headers of a node that shows another one than was served, at or below `after`: for this relay's own client, which
    /// judges them, before it asks for what follows. `None` where all nodes that were compared agree. See
    /// [`crate::lookout`].
    async fn other_branch(&self, after: Height, max_headers: u32) -> Option<ServedUpdate> {
        let _ = (after, max_headers);
        None
    }

    /// What the nodes say the head of `flow` is at the tip, unproved: a hint that there is something to prove.
    async fn head_hint(&self, gateway: Address, flow: Flow) -> Result<ChainPoint, NodeError>;

    /// A proof of the head of `flow` at some block in `oldest..=newest` whose header the caller has verified, for an
    /// index of at least `at_least`.
    async fn head_proof(&self, request: &HeadProofRequest) -> Result<HeadProofAnswer, NodeError>;

    /// Candidates for the entries `first..=last` of `flow`: what events said, found by reading back from `newest`,
    /// ascending; several for an index where a chain shows several. Hints only.
    async fn entry_hints(&self, request: &EntryRequest) -> Result<Vec<Entry>, NodeError>;

    /// Asks an *own* node, one that executes blocks itself, whether it agrees with a verified extension: same header
    /// at that height and the same head by call. `first_seen` is the header at which it was proved.
    async fn confirm_extension(
        &self,
        header: &VerifiedHeader,
        gateway: Address,
        extension: &VerifiedExtension,
        proof: &Opaque,
    ) -> Result<Confirmation, NodeError>;

    /// Asks every own node for the hash of its block at the height of a verified header: one statement for each, in no
    /// order, empty when there is no own node. The machine compares them; one that has no such block yet, or does not
    /// answer, states nothing.
    async fn confirm_header(&self, header: &VerifiedHeader) -> Vec<NodeStatement>;

    /// Asks the own nodes whether a validator set is the one in force from that height on.
    async fn confirm_set(&self, statement: &SetStatement) -> Result<Confirmation, NodeError>;

    /// How many transactions wait in the pool of the first node that says so; `None` where no node of this chain does.
    /// A chain with waiting transactions that makes no block is stalled; one without them may only be idle.
    async fn pending(&self) -> Result<Option<u64>, NodeError>;

    /// Why no new block can come, as every node that answers says of itself, in words with the name of each: it has lost the
    /// validators, say. `None` where one of them is well, and where nodes of this chain can't tell. Only what lasts is a
    /// trouble.
    async fn ailment(&self) -> Result<Option<String>, NodeError> {
        Ok(None)
    }

    /// What every configured node says of one block as an anchor, in the order of the configuration; each is asked by
    /// itself. `None` stands for the newest block that can be an anchor: at or below the lowest tip among the nodes that
    /// answer, the last block after which no votes are pending where votes change the set, elsewhere that tip itself.
    ///
    /// Nothing of it is believed and nothing of it may be used before an operator has compared it out of band. A height
    /// that can be no anchor of this chain is [`NodeError::Refused`] in every answer.
    async fn anchors(&self, at: Option<Height>) -> Vec<AnchorAnswer>;

    /// The endpoints with what is known of each, for `status` and metrics.
    fn endpoints(&self) -> Vec<EndpointHealth>;

    /// Tells the source that the light client refused what this endpoint served.
    fn report_lie(&self, endpoint: &str, check: &'static str);
}

/// What one node says of a block as an anchor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorAnswer {
    /// The node, as named in the configuration.
    pub endpoint: String,
    /// Whether the operator's own institution runs it.
    pub is_own: bool,
    /// The block, or why there is none to show.
    pub answer: Result<AnchorCandidate, NodeError>,
}

/// A block that could be an anchor, as one node shows it. Two nodes agree when all of it is equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorCandidate {
    /// Its height.
    pub height: Height,
    /// Its hash, computed from the header that the node served.
    pub hash: Hash32,
    /// Its time, as its proposer said.
    pub timestamp: UnixMillis,
    /// The value of the section's `anchor` key: one inline TOML table on one line.
    pub toml: String,
    /// How many validators it names.
    pub validators: usize,
}

/// An update and the endpoint that served it.
#[derive(Clone, Debug)]
pub struct ServedUpdate {
    /// The adapter's update.
    pub update: Opaque,
    /// Who served it, as named in the configuration.
    pub endpoint: String,
}

/// What [`Source::head_proof`] is asked.
#[derive(Clone, Copy, Debug)]
pub struct HeadProofRequest {
    /// The gateway that holds the head.
    pub gateway: Address,
    /// Which head.
    pub flow: Flow,
    /// The proved index must be at least this.
    pub at_least: Index,
    /// First block whose header the caller still holds.
    pub oldest: Height,
    /// Last block that the caller has verified.
    pub newest: Height,
}

/// What [`Source::head_proof`] answers.
#[derive(Clone, Debug)]
pub enum HeadProofAnswer {
    /// A proof at the header of `height`.
    Proof {
        /// The block.
        height: Height,
        /// The point that it claims to prove.
        point: ChainPoint,
        /// The adapter's proof.
        proof: Opaque,
        /// Who served it.
        endpoint: String,
    },
    /// This chain proves a head only by a checkpoint, and no fitting one is in that range: call
    /// [`cityrelay_core::gateway_call::GatewayCall::Checkpoint`].
    NeedsCheckpoint,
    /// The head has not reached `at_least` in that range.
    NothingNew,
}

/// What [`Source::entry_hints`] is asked.
#[derive(Clone, Copy, Debug)]
pub struct EntryRequest {
    /// The gateway that emitted the events.
    pub gateway: Address,
    /// Which flow.
    pub flow: Flow,
    /// First index wanted.
    pub first: Index,
    /// Last index wanted.
    pub last: Index,
    /// Block to read back from.
    pub newest: Height,
}

/// What an own node says to a verified fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// The same.
    Agrees,
    /// Something else: alarm, no signature.
    Disagrees,
    /// Nothing yet: it has not executed that block, has dropped what would tell, or does not answer.
    NotYet,
    /// No own node is configured.
    NoOwnNode,
}

/// An endpoint's standing.
#[derive(Clone, Debug)]
pub struct EndpointHealth {
    /// Name in the configuration.
    pub name: String,
    /// Run by the operator's own institution.
    pub is_own: bool,
    /// Whether calls go to it at present.
    pub is_usable: bool,
    /// Smoothed time to answer.
    pub latency: Duration,
    /// Last height that it reported.
    pub height: Height,
    /// Calls that failed.
    pub errors: u64,
    /// Answers that the light client refused.
    pub lies: u64,
    /// The last failure in words, empty when there was none.
    pub last_error: String,
}

/// Why a node could not be asked, or why what it said is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// No endpoint could be reached. Retry with backoff.
    #[error("no node of this chain answers (last tried {endpoint}: {reason})")]
    Unreachable {
        /// The endpoint tried last.
        endpoint: String,
        /// What happened.
        reason: String,
    },
    /// The node answered with an error. Retry with backoff, on another endpoint where there is one.
    #[error("{endpoint} answered {method} with error {code}: {message}")]
    Rpc {
        /// The endpoint.
        endpoint: String,
        /// The method called.
        method: String,
        /// The node's error code.
        code: i64,
        /// The node's text, cut to 256 characters.
        message: String,
    },
    /// The answer is no sense: wrong type, size or encoding. The endpoint's fault.
    #[error("{endpoint} answered {method} with something else than expected: {expected}")]
    Malformed {
        /// The endpoint.
        endpoint: String,
        /// The method called.
        method: String,
        /// What was expected, and where.
        expected: String,
    },
    /// The node no longer has that block's state or body.
    #[error("{endpoint} no longer has block {height}: ask an archive node")]
    Pruned {
        /// The endpoint.
        endpoint: String,
        /// The block.
        height: Height,
    },
    /// The caller handed over a value that is not this adapter's.
    #[error(transparent)]
    Refused(#[from] cityrelay_core::light_client::Refusal),
}
