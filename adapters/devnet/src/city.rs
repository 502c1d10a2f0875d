//! What a running devnet needs of a chain: make blocks when it is time, answer what nodes are asked.

use std::time::Duration;

use serde_json::Value;

/// A chain that can be driven by a clock and asked over HTTP.
pub trait City: Send + 'static {
    /// Makes the next block if one is due. `now` is the time since 1970. True when a block was made.
    fn tick(&mut self, now: Duration) -> bool;

    /// Height of the newest block.
    fn height(&self) -> u64;

    /// Answers the body of one HTTP request to one node.
    fn respond(&mut self, node: usize, body: &[u8]) -> Reply;

    /// Answers a request that had to wait; `None` while it still has to. `is_late` when it may wait no longer.
    fn resume(&mut self, node: usize, waiting: &Waiting, is_late: bool) -> Option<Value>;

    /// The newest block as a node tells it to whoever subscribed to new heads; `None` on chains whose nodes tell nothing.
    fn told_head(&mut self, node: usize) -> Option<Value> {
        let _ = node;
        None
    }

    /// Whether its nodes tell new heads.
    fn tells_heads(&self) -> bool {
        false
    }

    /// What its nodes do wrong.
    #[cfg(feature = "misbehave")]
    fn faults(&mut self) -> &mut crate::misbehave::FaultBook;
}

/// The answer to a request, or what it waits for.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The JSON to send.
    Now(Value),
    /// The request is answered when its transaction is in a block.
    Later(Waiting),
    /// The connection stays open and nothing is sent: a node that hangs.
    Never,
}

/// A request that waits for a transaction.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The transaction.
    pub transaction: [u8; 32],
    /// The `id` of the request.
    pub id: Value,
    /// With Merkle proof.
    pub with_proof: bool,
}
