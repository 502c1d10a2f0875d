//! Receipts and what is hashed of them.

use cityrelay_core::hash::Hash32;

use super::suite::CryptoSuite;

/// The hashed fields of a receipt. Transaction hash, index, message, sender and receiver are not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// 0, 1 (since 3.6) or 2 (since 3.7).
    pub version: u32,
    /// Gas as decimal text.
    pub gas_used: String,
    /// Created contract as 40 hex digits without `0x`, or empty.
    pub contract_address: String,
    /// 0 for success; a signed number on the chain.
    pub status: i32,
    /// Return data.
    pub output: Vec<u8>,
    /// From version 1 on hashed: empty, or `0x` and hex.
    pub effective_gas_price: String,
    /// Events in order, those of reverted inner calls included on the classic executor.
    pub logs: Vec<LogEntry>,
    /// Height.
    pub block_number: u64,
}

/// One event of a receipt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogEntry {
    /// Emitter as 40 hex digits without `0x`.
    pub address: String,
    /// Topics.
    pub topics: Vec<Hash32>,
    /// Data.
    pub data: Vec<u8>,
}

impl Receipt {
    /// What is hashed (`TarsHashable.h`, `TransactionReceiptData`): no lengths, no separators, hence ambiguous.
    ///
    /// ```text
    /// version 4 ‖ gasUsed text ‖ contractAddress text ‖ status 4 ‖ output ‖ from version 1: effectiveGasPrice text
    ///   ‖ per log: address text ‖ 32 per topic ‖ data   ‖ blockNumber 8
    /// ```
    #[must_use]
    pub fn preimage(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128 + self.output.len() + 256 * self.logs.len());
        bytes.extend_from_slice(&self.version.to_be_bytes());
        bytes.extend_from_slice(self.gas_used.as_bytes());
        bytes.extend_from_slice(self.contract_address.as_bytes());
        bytes.extend_from_slice(&self.status.to_be_bytes());
        bytes.extend_from_slice(&self.output);
        if self.version >= 1 {
            bytes.extend_from_slice(self.effective_gas_price.as_bytes());
        }
        for log in &self.logs {
            bytes.extend_from_slice(log.address.as_bytes());
            for topic in &log.topics {
                bytes.extend_from_slice(&topic.0);
            }
            bytes.extend_from_slice(&log.data);
        }
        bytes.extend_from_slice(&self.block_number.to_be_bytes());
        bytes
    }

    /// The receipt's hash, the leaf of the block's receipt tree.
    #[must_use]
    pub fn hash(&self, suite: CryptoSuite) -> Hash32 {
        suite.hash(&self.preimage())
    }
}
