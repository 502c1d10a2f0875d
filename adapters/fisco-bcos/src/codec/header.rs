//! Block headers and what is hashed of them.

use cityrelay_core::hash::Hash32;

use super::suite::{CryptoSuite, PublicKey};

/// A header as a node shows it. Fields may be wrong in any way that the types allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// Compatibility version, `0x03MMPP00`.
    pub version: u32,
    /// Parents; exactly one in every block but the first.
    pub parents: Vec<Parent>,
    /// Root over the transaction hashes; empty in the genesis block.
    pub txs_root: Vec<u8>,
    /// Root over the receipt hashes; empty in the genesis block.
    pub receipts_root: Vec<u8>,
    /// XOR over the entries that changed; proves nothing. Empty in the genesis block.
    pub state_root: Vec<u8>,
    /// Height.
    pub number: u64,
    /// Gas of all transactions as decimal text; empty in the genesis block.
    pub gas_used: String,
    /// Milliseconds since 1970, as the leader said.
    pub timestamp: u64,
    /// The leader's position in [`Self::sealers`].
    pub sealer: u64,
    /// The set in force for this block, ascending by id.
    pub sealers: Vec<PublicKey>,
    /// Empty in every block but the first.
    pub extra_data: Vec<u8>,
    /// One weight for each sealer.
    pub weights: Vec<u64>,
}

/// A parent of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its height.
    pub number: u64,
    /// Its hash.
    pub hash: Hash32,
}

/// One entry of a signature list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderSignature {
    /// Position of the signer in the header's own list.
    pub sealer: u64,
    /// The bytes; see [`CryptoSuite::header_signature_bytes`].
    pub signature: Vec<u8>,
}

/// A header with its signatures and the hash that the node claims for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedHeader {
    /// The fields.
    pub header: BlockHeader,
    /// The hash that came with them.
    pub claimed_hash: Hash32,
    /// Lists differ between nodes: collecting stops at a quorum.
    pub signatures: Vec<HeaderSignature>,
}

impl BlockHeader {
    /// What is hashed (`TarsHashable.h`, the same from v3.0.0 to v3.16.4): no lengths, no separators.
    ///
    /// ```text
    /// version 4 ‖ (number 8 ‖ hash 32) per parent ‖ txsRoot ‖ receiptsRoot ‖ stateRoot ‖ number 8
    ///   ‖ gasUsed as decimal text ‖ timestamp 8 ‖ sealer 8 ‖ 64 per sealer ‖ extraData ‖ 8 per weight
    /// ```
    #[must_use]
    pub fn preimage(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(184 + 72 * self.sealers.len() + self.extra_data.len());
        bytes.extend_from_slice(&self.version.to_be_bytes());
        for parent in &self.parents {
            bytes.extend_from_slice(&parent.number.to_be_bytes());
            bytes.extend_from_slice(&parent.hash.0);
        }
        bytes.extend_from_slice(&self.txs_root);
        bytes.extend_from_slice(&self.receipts_root);
        bytes.extend_from_slice(&self.state_root);
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(self.gas_used.as_bytes());
        bytes.extend_from_slice(&self.timestamp.to_be_bytes());
        bytes.extend_from_slice(&self.sealer.to_be_bytes());
        for sealer in &self.sealers {
            bytes.extend_from_slice(&sealer.0);
        }
        bytes.extend_from_slice(&self.extra_data);
        for weight in &self.weights {
            bytes.extend_from_slice(&weight.to_be_bytes());
        }
        bytes
    }

    /// The block's hash.
    #[must_use]
    pub fn hash(&self, suite: CryptoSuite) -> Hash32 {
        suite.hash(&self.preimage())
    }
}
