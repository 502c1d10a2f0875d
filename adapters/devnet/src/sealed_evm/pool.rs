//! Transactions that wait for a block, ordered by sender and nonce.

use std::collections::BTreeMap;

use alloy_consensus::transaction::{Recovered, SignerRecoverable};
use alloy_consensus::{Transaction, TxEnvelope, Typed2718};
use alloy_eips::Decodable2718;
use alloy_primitives::{Address, B256, U256};
use alloy_rlp::Buf;
use revm::context::TxEnv;
use revm::context::transaction::{AccessList, AccessListItem};
use thiserror::Error;

use crate::world::World;

/// Most transactions the pool holds.
const MAX_POOLED: usize = 4096;
/// Longest raw transaction in bytes, as go-ethereum and GoQuorum (`txpool.go:txMaxSize`, 4 slots of 32 KiB).
const MAX_RAW_BYTES: usize = 128 * 1024;

/// A signed transaction with its sender.
pub type Signed = Recovered<TxEnvelope>;

/// Why a raw transaction is not taken. The texts are those of GoQuorum (`core/error.go`, `core/tx_pool.go`).
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubmitError {
    /// The bytes are no transaction.
    #[error("rlp: {0}")]
    Malformed(String),
    /// A type this chain does not have.
    #[error("transaction type not supported")]
    UnsupportedType,
    /// Signed for another chain, or not signed.
    #[error("invalid sender")]
    InvalidSender,
    /// Already waiting, or already in a block.
    #[error("already known")]
    AlreadyKnown,
    /// The nonce is used up.
    #[error("nonce too low")]
    NonceTooLow,
    /// Another transaction with this nonce waits and pays as much.
    #[error("replacement transaction underpriced")]
    Underpriced,
    /// The account cannot pay gas and value.
    #[error("insufficient funds for gas * price + value")]
    InsufficientFunds,
    /// Less gas than its bytes cost.
    #[error("intrinsic gas too low")]
    IntrinsicGas,
    /// More gas than a block has.
    #[error("exceeds block gas limit")]
    GasLimit,
    /// More bytes than a node takes.
    #[error("oversized data")]
    Oversized,
    /// The pool is full.
    #[error("txpool is full")]
    Full,
}

/// Waiting transactions.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    by_sender: BTreeMap<Address, BTreeMap<u64, Signed>>,
}

impl Pool {
    /// Checks a raw transaction and keeps it.
    ///
    /// # Errors
    /// Any [`SubmitError`]; the pool is unchanged then.
    pub fn insert(&mut self, raw: &[u8], world: &World, chain_id: u64, gas_limit: u64) -> Result<B256, SubmitError> {
        let transaction = decode(raw, chain_id)?;
        let hash = *transaction.tx_hash();
        let sender = transaction.signer();
        if transaction.nonce() < world.nonce(sender) {
            return Err(SubmitError::NonceTooLow);
        }
        if transaction.gas_limit() > gas_limit {
            return Err(SubmitError::GasLimit);
        }
        if transaction.gas_limit() < intrinsic_gas(&transaction) {
            return Err(SubmitError::IntrinsicGas);
        }
        let price = U256::from(transaction.max_fee_per_gas());
        let cost = price.saturating_mul(U256::from(transaction.gas_limit())).saturating_add(transaction.value());
        if cost > world.balance(sender) {
            return Err(SubmitError::InsufficientFunds);
        }
        if self.len() >= MAX_POOLED {
            return Err(SubmitError::Full);
        }
        let of_sender = self.by_sender.entry(sender).or_default();
        if let Some(waiting) = of_sender.get(&transaction.nonce()) {
            if waiting.tx_hash() == &hash {
                return Err(SubmitError::AlreadyKnown);
            }
            // go-ethereum's price bump: ten percent.
            let bump = waiting.max_fee_per_gas().saturating_mul(110) / 100;
            if transaction.max_fee_per_gas() < bump || transaction.max_fee_per_gas() <= waiting.max_fee_per_gas() {
                return Err(SubmitError::Underpriced);
            }
        }
        of_sender.insert(transaction.nonce(), transaction);
        Ok(hash)
    }

    /// Waiting transactions of all senders.
    pub fn len(&self) -> usize {
        self.by_sender.values().map(BTreeMap::len).sum()
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The transaction with this hash, if it waits.
    pub fn find(&self, hash: B256) -> Option<&Signed> {
        self.by_sender.values().flat_map(BTreeMap::values).find(|waiting| waiting.tx_hash() == &hash)
    }

    /// The first nonce of a sender that neither the chain nor the pool has used.
    pub fn next_nonce(&self, sender: Address, world: &World) -> u64 {
        let mut nonce = world.nonce(sender);
        if let Some(of_sender) = self.by_sender.get(&sender) {
            while of_sender.contains_key(&nonce) {
                nonce += 1;
            }
        }
        nonce
    }

    /// What waits: what can run, and what has a gap before it.
    pub fn queues(&self, world: &World) -> (Vec<&Signed>, Vec<&Signed>) {
        let waiting = self.by_sender.values().flat_map(BTreeMap::values);
        waiting.partition(|transaction| transaction.nonce() < self.next_nonce(transaction.signer(), world))
    }

    /// Takes out what can run next: one transaction for each sender whose turn has come, dearest first.
    pub fn take_ready(&mut self, world: &World) -> Vec<Signed> {
        let mut ready = Vec::new();
        for (sender, of_sender) in &mut self.by_sender {
            let next = world.nonce(*sender);
            of_sender.retain(|nonce, _| *nonce >= next);
            if let Some(transaction) = of_sender.remove(&next) {
                ready.push(transaction);
            }
        }
        self.by_sender.retain(|_, of_sender| !of_sender.is_empty());
        ready.sort_by_key(|transaction| std::cmp::Reverse(transaction.max_fee_per_gas()));
        ready
    }

    /// Puts back what did not fit into a block.
    pub fn put_back(&mut self, transaction: Signed) {
        self.by_sender.entry(transaction.signer()).or_default().entry(transaction.nonce()).or_insert(transaction);
    }

    /// Forgets everything that waits.
    pub fn clear(&mut self) {
        self.by_sender.clear();
    }
}

fn decode(raw: &[u8], chain_id: u64) -> Result<Signed, SubmitError> {
    if raw.len() > MAX_RAW_BYTES {
        return Err(SubmitError::Oversized);
    }
    let mut rest = raw;
    let envelope = TxEnvelope::decode_2718(&mut rest).map_err(|error| SubmitError::Malformed(error.to_string()))?;
    if rest.has_remaining() {
        return Err(SubmitError::Malformed("trailing bytes".to_owned()));
    }
    if envelope.ty() > 2 {
        return Err(SubmitError::UnsupportedType);
    }
    if envelope.chain_id().is_some_and(|signed_for| signed_for != chain_id) {
        return Err(SubmitError::InvalidSender);
    }
    envelope.try_into_recovered().map_err(|_| SubmitError::InvalidSender)
}

/// Yellow paper g0 with EIP-2028 and EIP-2930 prices.
fn intrinsic_gas(transaction: &Signed) -> u64 {
    let base = if transaction.is_create() { 53_000 } else { 21_000 };
    let data: u64 = transaction.input().iter().map(|byte| if *byte == 0 { 4u64 } else { 16 }).sum();
    let list: u64 = transaction
        .access_list()
        .map_or(0, |list| list.iter().map(|item| 2_400 + 1_900 * item.storage_keys.len() as u64).sum());
    base + data + list
}

/// The transaction as revm takes it.
pub fn machine_input(transaction: &Signed) -> TxEnv {
    TxEnv {
        tx_type: transaction.ty(),
        caller: transaction.signer(),
        gas_limit: transaction.gas_limit(),
        gas_price: transaction.max_fee_per_gas(),
        kind: transaction.kind(),
        value: transaction.value(),
        data: transaction.input().clone(),
        nonce: transaction.nonce(),
        chain_id: transaction.chain_id(),
        access_list: AccessList(
            transaction
                .access_list()
                .map(|list| {
                    list.iter()
                        .map(|item| AccessListItem { address: item.address, storage_keys: item.storage_keys.clone() })
                        .collect()
                })
                .unwrap_or_default(),
        ),
        gas_priority_fee: transaction.max_priority_fee_per_gas(),
        ..TxEnv::default()
    }
}
