//! A sealed block with its transactions and receipts.

use alloy_consensus::{Eip658Value, Header, Receipt, ReceiptEnvelope, Transaction, TxType, Typed2718, proofs};
use alloy_primitives::{Address, B256, Bloom, Bytes};

use super::pool::Signed;
use super::unsealed::{Seal, Unsealed};
use crate::execution::{Ended, Execution};

/// One block.
#[derive(Clone, Debug)]
pub struct Block {
    /// All fields but `extraData`, which is empty here and made of the fields below.
    pub header: Header,
    /// The block hash.
    pub hash: B256,
    /// The hashed part of `extraData`.
    pub unsealed: Unsealed,
    /// Who proposed it; zero for block 0.
    pub proposer: Address,
    /// The set that was to seal it.
    pub sealers: Vec<Address>,
    /// The round at which it was agreed.
    pub round: u32,
    /// All commit seals that were made, in the order of the sealers.
    pub seals: Vec<Seal>,
    /// What it contains.
    pub transactions: Vec<Included>,
}

impl Block {
    /// The bytes of `extraData` as one node holds them: it may have collected other seals than its neighbours.
    pub fn extra_data_at_node(&self, node: usize) -> Bytes {
        if self.header.number == 0 {
            return self.unsealed.genesis_extra_data();
        }
        let mut seals = self.seals.clone();
        if seals.len() > self.unsealed.mode.quorum(self.sealers.len()) {
            let missed = (self.header.number as usize).wrapping_add(node) % seals.len();
            seals.remove(missed);
        }
        self.unsealed.extra_data(self.round, &seals)
    }
}

/// A transaction in a block, with its receipt.
#[derive(Clone, Debug)]
pub struct Included {
    /// The transaction and its sender.
    pub transaction: Signed,
    /// As it is hashed into the receipts root.
    pub receipt: ReceiptEnvelope,
    /// Gas of this transaction alone.
    pub gas_used: u64,
    /// The contract that it created.
    pub created: Option<Address>,
    /// What a revert returned; empty otherwise.
    pub revert_reason: Bytes,
}

impl Included {
    /// Makes the receipt of an execution.
    pub fn new(transaction: Signed, result: Execution, cumulative_gas_used: u64) -> Self {
        let status = Eip658Value::Eip658(result.ended == Ended::Success);
        let receipt = Receipt { status, cumulative_gas_used, logs: result.logs };
        let kind = TxType::try_from(transaction.ty()).unwrap_or(TxType::Legacy);
        Self {
            receipt: ReceiptEnvelope::from_typed(kind, receipt),
            gas_used: result.gas_used,
            // The contract's address stands in the receipt of a failed deployment, too.
            created: transaction.is_create().then(|| transaction.signer().create(transaction.nonce())),
            revert_reason: if result.ended == Ended::Revert { result.output } else { Bytes::new() },
            transaction,
        }
    }

    /// The transaction hash.
    pub fn hash(&self) -> B256 {
        *self.transaction.tx_hash()
    }
}

/// Sets transactions root, receipts root, bloom and gas.
pub fn fill_roots(header: &mut Header, transactions: &[Included]) {
    let envelopes: Vec<_> = transactions.iter().map(|included| included.transaction.inner().clone()).collect();
    let receipts: Vec<_> = transactions.iter().map(|included| included.receipt.clone()).collect();
    header.transactions_root = proofs::calculate_transaction_root(&envelopes);
    header.receipts_root = proofs::calculate_receipt_root(&receipts);
    header.logs_bloom = receipts.iter().fold(Bloom::ZERO, |bloom, receipt| bloom | *receipt.logs_bloom());
    header.gas_used = transactions.iter().map(|included| included.gas_used).sum();
}
