//! A sealed block with its transactions and receipts.

use cityrelay_core::hash::Hash32;
use cityrelay_fisco_bcos::codec::header::{BlockHeader, HeaderSignature, SealedHeader};
use cityrelay_fisco_bcos::codec::receipt::Receipt;

use super::pool::Signed;
use super::sealers::{Sealer, min_quorum, total_weight};

/// One block.
#[derive(Clone, Debug)]
pub struct Block {
    /// The header.
    pub header: BlockHeader,
    /// Its hash.
    pub hash: Hash32,
    /// Signatures of all sealers that ran.
    pub signatures: Vec<HeaderSignature>,
    /// What it contains.
    pub transactions: Vec<Included>,
}

/// A transaction in a block, with its receipt.
#[derive(Clone, Debug)]
pub struct Included {
    /// The transaction.
    pub signed: Signed,
    /// The receipt.
    pub receipt: Receipt,
    /// The receipt's hash.
    pub receipt_hash: Hash32,
}

impl Block {
    /// The header as one node shows it. A node stops collecting signatures at a quorum, so that lists differ.
    pub fn at_node(&self, node: usize) -> SealedHeader {
        let weight_of = |signature: &HeaderSignature| {
            let at = usize::try_from(signature.sealer).unwrap_or(usize::MAX);
            self.header.weights.get(at).copied().unwrap_or_default()
        };
        let needed = min_quorum(self.header.weights.iter().sum());
        let mut weight: u64 = self.signatures.iter().map(weight_of).sum();
        let mut signatures = self.signatures.clone();
        let first = (self.header.number as usize).wrapping_add(node);
        for step in 0..self.signatures.len() {
            let Some(late) = self.signatures.get((first + step) % self.signatures.len()) else { continue };
            if weight - weight_of(late) >= needed {
                weight -= weight_of(late);
                signatures.retain(|kept| kept.sealer != late.sealer);
            }
        }
        SealedHeader { header: self.header.clone(), claimed_hash: self.hash, signatures }
    }

    /// Hashes of the transactions in order: the leaves of the transactions root.
    pub fn transaction_hashes(&self) -> Vec<Hash32> {
        self.transactions.iter().map(|included| included.signed.hash).collect()
    }

    /// Hashes of the receipts in order: the leaves of the receipts root.
    pub fn receipt_hashes(&self) -> Vec<Hash32> {
        self.transactions.iter().map(|included| included.receipt_hash).collect()
    }

    /// Sealers and weights that the header lists.
    pub fn sealers(&self) -> Vec<Sealer> {
        let pairs = self.header.sealers.iter().zip(&self.header.weights);
        pairs.map(|(id, weight)| Sealer { id: *id, weight: *weight }).collect()
    }

    /// Weight of all sealers that the header lists.
    pub fn total_weight(&self) -> u64 {
        total_weight(&self.sealers())
    }
}
