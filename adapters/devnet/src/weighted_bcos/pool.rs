//! Which transactions are taken, and with which words the others are refused (`bcos-txpool` `TxValidator`).

use std::collections::{HashMap, VecDeque};

use cityrelay_core::hash::Hash32;
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use cityrelay_fisco_bcos::codec::transaction::Transaction;

use crate::rpc_fault::RpcFault;

/// How far ahead of the chain a block limit may be (`LedgerNonceChecker.cpp:checkBlockLimit`).
pub const BLOCK_LIMIT_RANGE: u64 = 600;
/// Most transactions the pool holds; `txpool.limit` of a default node.
const MAX_POOLED: usize = 15_000;

/// A transaction with what was found out about it.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The transaction as submitted.
    pub transaction: Transaction,
    /// Hash of its signed part.
    pub hash: Hash32,
    /// Who signed.
    pub sender: [u8; 20],
}

/// Waiting transactions in the order of their arrival, and the nonces of recent blocks.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    waiting: VecDeque<Signed>,
    /// Nonce → the block limit of its transaction.
    used_nonces: HashMap<String, u64>,
}

/// What a transaction must name.
#[derive(Clone, Copy, Debug)]
pub struct Domain<'a> {
    /// Hash and curve.
    pub suite: CryptoSuite,
    /// Chain id as text.
    pub chain_id: &'a str,
    /// Group id as text.
    pub group_id: &'a str,
    /// Height of the newest block.
    pub height: u64,
}

impl Pool {
    /// Reads, checks and keeps a transaction.
    ///
    /// # Errors
    /// The fault that `sendTransaction` answers.
    pub fn insert(&mut self, raw: &[u8], domain: Domain<'_>) -> Result<Hash32, RpcFault> {
        let transaction = Transaction::decode(raw).map_err(|error| {
            let text = format!("Dynamic exception type: tars::TarsDecodeMismatch\nstd::exception::what: {error}\n");
            RpcFault::new(-1, text)
        })?;
        let data = &transaction.data;
        if transaction.kind != 0 || data.version > 2 {
            return Err(RpcFault::new(10_003, "Malform"));
        }
        if data.chain_id != domain.chain_id {
            return Err(RpcFault::new(10_006, "InvalidChainId"));
        }
        if data.group_id != domain.group_id {
            return Err(RpcFault::new(10_007, "InvalidGroupId"));
        }
        let hash = data.hash(domain.suite);
        if self.waiting.iter().any(|other| other.hash == hash) {
            return Err(RpcFault::new(10_004, "AlreadyInTxPool"));
        }
        let is_nonce_used = self.used_nonces.contains_key(&data.nonce)
            || self.waiting.iter().any(|other| other.transaction.data.nonce == data.nonce);
        if is_nonce_used {
            return Err(RpcFault::new(10_000, "NonceCheckFail"));
        }
        if data.block_limit <= domain.height || data.block_limit > domain.height + BLOCK_LIMIT_RANGE {
            return Err(RpcFault::new(10_001, "BlockLimitCheckFail"));
        }
        let is_hash_right = transaction.data_hash.is_empty() || transaction.data_hash == hash.0;
        let signer = domain.suite.transaction_signer(&hash, &transaction.signature);
        let Some(signer) = signer.filter(|_| is_hash_right) else {
            return Err(RpcFault::new(10_008, "InvalidSignature"));
        };
        if self.waiting.len() >= MAX_POOLED {
            return Err(RpcFault::new(10_002, "TxPoolIsFull"));
        }
        self.waiting.push_back(Signed { sender: domain.suite.account(&signer), transaction, hash });
        Ok(hash)
    }

    /// Waiting transactions.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// True when this transaction waits.
    pub fn contains(&self, hash: Hash32) -> bool {
        self.waiting.iter().any(|waiting| waiting.hash == hash)
    }

    /// Takes out the transactions of the block at `height`. One whose block limit has passed is dropped.
    pub fn take(&mut self, count: usize, height: u64) -> Vec<Signed> {
        self.waiting.retain(|waiting| waiting.transaction.data.block_limit >= height);
        self.used_nonces.retain(|_, limit| *limit >= height);
        let taken: Vec<Signed> = self.waiting.drain(..count.min(self.waiting.len())).collect();
        for signed in &taken {
            self.used_nonces.insert(signed.transaction.data.nonce.clone(), signed.transaction.data.block_limit);
        }
        taken
    }

    /// Forgets everything that waits.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }
}
