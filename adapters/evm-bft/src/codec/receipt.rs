//! Transaction receipts as the receipts trie holds them: `type ‖ RLP [status, gas, bloom, logs]` (EIP-2718; no type
//! byte for legacy transactions).

use cityrelay_core::hash::Hash32;

use super::account::Account;
use super::rlp::{self, Item, RlpError, bytes_item, list_item, uint_item};

/// The most logs that one receipt may have.
pub const MAX_LOGS: usize = 65_536;

/// A receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Transaction type, 0 for legacy.
    pub kind: u8,
    /// Whether the transaction did its work.
    pub is_success: bool,
    /// Gas used by the block up to and with this transaction.
    pub cumulative_gas_used: u64,
    /// Bloom filter of its logs.
    pub logs_bloom: Box<[u8; 256]>,
    /// Its logs.
    pub logs: Vec<Log>,
}

/// A log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The contract that wrote it.
    pub address: Account,
    /// Up to four topics.
    pub topics: Vec<Hash32>,
    /// Its data.
    pub data: Vec<u8>,
}

/// Why a trie value is no receipt. The server's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// No strict RLP, or of another shape.
    #[error("receipt: {0}")]
    Rlp(#[from] RlpError),
    /// The type byte is none.
    #[error("expected a legacy receipt or a type below 0x80, got first byte {got}")]
    Kind {
        /// The byte found.
        got: u8,
    },
    /// The status is neither 0 nor 1 (a state root stood there before Byzantium).
    #[error("expected status 0 or 1, got something else")]
    Status,
}

impl Receipt {
    /// Reads a value of the receipts trie strictly.
    ///
    /// # Errors
    /// Every [`ReceiptError`].
    pub fn decode(value: &[u8]) -> Result<Self, ReceiptError> {
        let (kind, body) = match value.split_first() {
            Some((kind @ 0x01..=0x7f, body)) => (*kind, body),
            Some((0xc0..=0xff, _)) => (0, value),
            other => return Err(ReceiptError::Kind { got: other.map_or(0, |(byte, _)| *byte) }),
        };
        let [status, gas, bloom, logs] = rlp::decode(body)?.exactly::<4>()?;
        let is_success = match status {
            Item::Bytes([]) => false,
            Item::Bytes([1]) => true,
            _ => return Err(ReceiptError::Status),
        };
        let logs = logs.items(MAX_LOGS)?.into_iter().map(Log::read).collect::<Result<_, _>>()?;
        Ok(Self { kind, is_success, cumulative_gas_used: gas.uint()?, logs_bloom: Box::new(bloom.fixed()?), logs })
    }

    /// What the receipts root of a GoQuorum chain holds for a private transaction whose own receipt, which parties to it are
    /// shown, is this one: success without logs, at the same gas (`core/state_processor.go:applyTransaction`).
    #[must_use]
    pub fn public_of_private(&self) -> Self {
        Self { is_success: true, logs_bloom: Box::new([0; 256]), logs: Vec::new(), ..*self }
    }

    /// The value that the receipts trie holds.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let logs: Vec<_> = self.logs.iter().map(Log::encode).collect();
        let body = list_item(&[
            uint_item(u64::from(self.is_success)),
            uint_item(self.cumulative_gas_used),
            bytes_item(self.logs_bloom.as_slice()),
            list_item(&logs),
        ]);
        if self.kind == 0 { body } else { [&[self.kind], body.as_slice()].concat() }
    }
}

impl Log {
    fn read(item: Item<'_>) -> Result<Self, RlpError> {
        let [address, topics, data] = item.exactly::<3>()?;
        let topics = topics.items(4)?.into_iter().map(|topic| topic.fixed().map(Hash32)).collect::<Result<_, _>>()?;
        Ok(Self { address: Account(address.fixed()?), topics, data: data.bytes()?.to_vec() })
    }

    fn encode(&self) -> Vec<u8> {
        let topics: Vec<_> = self.topics.iter().map(|topic| bytes_item(topic.as_bytes())).collect();
        list_item(&[bytes_item(&self.address.0), list_item(&topics), bytes_item(&self.data)])
    }
}
