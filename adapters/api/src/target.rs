//! Writing to a chain: one transaction at a time, journalled before it is broadcast, followed to finality.

use async_trait::async_trait;
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Height, LaneId, UnixMillis};
use cityrelay_core::lane::Flow;
use cityrelay_core::opaque::Opaque;

use crate::source::NodeError;

/// Write access to one chain with the relay's own account.
///
/// The caller keeps the order: [`Target::prepare`] signs, the caller makes the [`Intent`] durable, only then
/// [`Target::broadcast`], then [`Target::track`] until the fate is known. After a crash it broadcasts and tracks the
/// intents that its journal holds; the same bytes can never take effect twice.
#[async_trait]
pub trait Target: Send + Sync {
    /// The relay's account on this chain.
    fn account(&self) -> Address;

    /// Builds and signs a transaction. `open` are the intents that are not final yet, so that no nonce is used twice;
    /// with `replaces`, the new one takes the place (the nonce) of that one, which the chain dropped.
    async fn prepare(
        &self,
        call: &GatewayCall,
        open: &[Intent],
        replaces: Option<&Intent>,
    ) -> Result<Intent, TargetError>;

    /// Hands the intent's bytes to the nodes. Safe to repeat.
    async fn broadcast(&self, intent: &Intent) -> Result<(), TargetError>;

    /// What became of the intent.
    async fn track(&self, intent: &Intent) -> Result<Fate, TargetError>;

    /// The point of the *other* chain's flow that `gateway` has taken in, in its final state: delivered messages for
    /// an outbox, settled outcomes for an inbox.
    async fn accepted(&self, gateway: Address, flow: Flow) -> Result<ChainPoint, NodeError>;

    /// The attester set that the verifier of `lane` on this chain has in force.
    async fn committee(&self, verifier: Address) -> Result<cityrelay_core::attestation::Committee, NodeError>;

    /// How the lane stands on `gateway`.
    async fn lane_state(&self, gateway: Address, lane: LaneId) -> Result<LaneState, NodeError>;

    /// The chain's clock: time of its latest block, in milliseconds whatever the chain's own unit.
    async fn clock(&self) -> Result<UnixMillis, NodeError>;

    /// What the account can still pay for.
    async fn funds(&self) -> Result<Funds, NodeError>;

    /// Whether one transaction can carry this call: size and gas against the chain's limits.
    async fn fits(&self, call: &GatewayCall) -> Result<Fit, TargetError>;
}

/// A signed transaction that may or may not be on the chain yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Hash under which the chain knows it.
    pub hash: Hash32,
    /// The adapter's bytes: the signed transaction and what it needs to follow it.
    pub bytes: Opaque,
}

/// What became of an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A node knows it, no final block holds it yet.
    Pending,
    /// No node knows it and its place is still free: broadcast again, or replace it.
    Dropped,
    /// It can never be executed any more: its nonce is used by another transaction, or it is too old.
    Dead,
    /// A final block holds it.
    Final {
        /// The block.
        height: Height,
        /// Whether it did its work; a reverted transaction did not.
        is_success: bool,
        /// Gas used.
        gas_used: u64,
        /// Contract created, for deployments.
        created: Option<Address>,
        /// Return or revert data that the chain shows, at most 4 KiB; empty where the chain shows none.
        output: Vec<u8>,
    },
}

/// How a lane stands on one gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneState {
    /// This gateway does not know it.
    Unknown,
    /// Announced, not open yet.
    Announced,
    /// Messages flow.
    Open,
    /// The owner stopped it for now.
    Paused,
    /// A strict lane after a failed message.
    Halted,
    /// Closing is announced.
    Closing,
    /// Closed for good.
    Closed,
}

/// What an account can still pay for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Funds {
    /// Transactions cost nothing on this chain at present.
    NotNeeded,
    /// They cost something, and this is left.
    Left {
        /// The balance, in the chain's smallest unit.
        wei: u128,
        /// How many deliveries of full batches it still pays at the present price; with 0 the next one may fail.
        transactions: u64,
    },
}

/// Whether a call fits into one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It does, and would use about this much gas.
    Fits {
        /// Estimate.
        gas: u64,
    },
    /// It does not: halve the batch.
    TooLarge,
    /// The gateway would refuse it whatever its size; the data is the revert data.
    Reverts {
        /// Revert data, at most 4 KiB.
        output: Vec<u8>,
    },
}

/// Why a transaction could not be made or sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// See [`NodeError`].
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The call can't be made on this chain. Ours or the operator's fault; no retry.
    #[error("this call can't be made: {reason}")]
    Unsupported {
        /// Why.
        reason: &'static str,
    },
    /// No account key is configured for this chain. The operator's.
    #[error("no account key is configured for this chain: set `account.key_file`")]
    NoAccount,
}
