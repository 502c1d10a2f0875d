//! An operator's questions to a chain: what each node says of itself, and what a contract and an account look like there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Height};
use futures_util::future::join_all;

use crate::source::NodeError;
use crate::target::TargetError;

/// Questions whose answers are shown to an operator and decide nothing. No answer is proved.
#[async_trait]
pub trait Inspect: Send + Sync {
    /// What every configured node says of itself, in the order of the configuration; each is asked by itself. All that
    /// answer are compared at one block: the newest that all of them have.
    async fn nodes(&self) -> Vec<NodeReport>;

    /// The answer of a contract to a read-only call in the newest state, from an own node where one answers.
    async fn call(&self, contract: Address, data: &[u8]) -> Result<Vec<u8>, NodeError>;

    /// Runs a call in the newest state, from an own node where one answers, and drops what it changes. `None` where it is
    /// to be run as an account and this chain's nodes run calls as nobody only.
    async fn try_call(&self, contract: Address, data: &[u8], by: Option<Address>) -> Result<Option<Ended>, NodeError>;

    /// The code of a contract; empty where there is none.
    async fn code(&self, contract: Address) -> Result<Vec<u8>, NodeError>;

    /// A call as any wallet of this chain makes it. Touches no network.
    ///
    /// # Errors
    /// [`TargetError::Unsupported`] when the call can't be expressed.
    fn unsigned(&self, call: &GatewayCall) -> Result<UnsignedCall, TargetError>;

    /// How the transactions of an account stand; `None` where a chain numbers none.
    async fn transactions(&self, account: Address) -> Result<Option<TransactionCounts>, NodeError>;
}

/// How a call ended that changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With an answer.
    Returned(Vec<u8>),
    /// With revert data; empty where there are none.
    Reverted(Vec<u8>),
}

/// A call without account, nonce and signature. It carries no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsignedCall {
    /// The contract; `None` to create one.
    pub to: Option<Address>,
    /// Calldata, or init code with its arguments.
    pub data: Vec<u8>,
}

/// What one node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// The node, as named in the configuration.
    pub endpoint: String,
    /// Whether the operator's own institution runs it.
    pub is_own: bool,
    /// What it says, or why it says nothing.
    pub answer: Result<NodeFacts, NodeError>,
}

/// A node that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Name and version of its program as it gives them, at most 128 characters; empty where it gives none.
    pub version: String,
    /// Its newest block.
    pub height: Height,
    /// The block at which all nodes are compared.
    pub compared_at: Height,
    /// The hash that it gives for that block.
    pub hash: Hash32,
    /// How long it took to give its height.
    pub latency: Duration,
    /// What it says at the moment that keeps it from getting new blocks; `None` where it says nothing of the kind.
    pub ailment: Option<String>,
}

/// A node that an adapter can ask about itself; see [`compare_nodes`].
#[async_trait]
pub trait Comparable: Send + Sync {
    /// The node, as named in the configuration.
    fn name(&self) -> &str;

    /// Whether the operator's own institution runs it.
    fn is_own(&self) -> bool;

    /// Its newest block.
    async fn newest(&self) -> Result<Height, NodeError>;

    /// Name and version of its program, as in [`NodeFacts::version`], and the hash that it gives for a block.
    async fn facts(&self, at: Height) -> Result<(String, Hash32), NodeError>;

    /// What keeps it from getting new blocks, as in [`NodeFacts::ailment`].
    async fn ailment(&self) -> Option<String> {
        None
    }
}

/// Asks each node by itself, all at once, and compares them at the newest block that all who answer have. The reports
/// are in the order of the nodes.
pub async fn compare_nodes<N: Comparable>(nodes: &[Arc<N>]) -> Vec<NodeReport> {
    let heights = join_all(nodes.iter().map(|node| async move {
        let started = Instant::now();
        node.newest().await.map(|height| (height, started.elapsed()))
    }))
    .await;
    let lowest = heights.iter().filter_map(|height| height.as_ref().ok()).map(|(height, _)| *height).min();
    let asked = nodes.iter().zip(heights).map(|(node, answer)| async move {
        let facts = async {
            let (height, latency) = answer?;
            let compared_at = lowest.unwrap_or(height);
            let (version, hash) = node.facts(compared_at).await?;
            let ailment = node.ailment().await;
            Ok(NodeFacts { version, height, compared_at, hash, latency, ailment })
        };
        NodeReport { endpoint: node.name().to_owned(), is_own: node.is_own(), answer: facts.await }
    });
    join_all(asked).await
}

/// How many transactions of an account there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionCounts {
    /// In blocks: the next number.
    pub mined: u64,
    /// In blocks and, without a gap, in the pool of the node that was asked.
    pub with_waiting: u64,
    /// In the pool of that node behind a number that is missing, so that no block can take them; `None` where it does not
    /// tell.
    pub behind_gap: Option<u64>,
}

/// The most characters kept of a version.
pub const MAX_VERSION_CHARS: usize = 128;
