//! Block headers: RLP in both directions.

use cityrelay_core::hash::{Hash32, keccak256};

use super::rlp::{self, Item, RlpError, bytes_item, uint_item, uint128_item};

/// The longest header accepted, in bytes: room for 256 validators with two lists of seals.
pub const MAX_HEADER_BYTES: usize = 256 << 10;

/// Item counts that a header can have, by fork: before London, London, Shanghai, Cancun, Prague.
///
/// (EIP-1559 adds one item, EIP-4895 one, EIP-4844 and EIP-4788 three together, EIP-7685 one.)
pub const ITEM_COUNTS: [usize; 5] = [15, 16, 17, 20, 21];

/// What items 14 and up hold; each fork adds to the one before.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ForkItems {
    /// London (EIP-1559), in wei.
    pub base_fee: Option<u128>,
    /// Shanghai (EIP-4895).
    pub withdrawals_root: Option<Hash32>,
    /// Cancun (EIP-4844, EIP-4788).
    pub cancun: Option<CancunItems>,
    /// Prague (EIP-7685).
    pub requests_hash: Option<Hash32>,
}

/// The three items that Cancun adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CancunItems {
    /// Blob gas used by the block.
    pub blob_gas_used: u64,
    /// Running excess of blob gas.
    pub excess_blob_gas: u64,
    /// Root of the parent beacon block; any word on chains without one.
    pub parent_beacon_root: Hash32,
}

/// A header with every item in its own type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Hash of the block before it.
    pub parent_hash: Hash32,
    /// Hash of the list of ommers.
    pub ommers_hash: Hash32,
    /// Coinbase: 20 bytes, longer where a mode carries a vote in it.
    pub beneficiary: Vec<u8>,
    /// Root of the state after the block.
    pub state_root: Hash32,
    /// Root of the transactions.
    pub transactions_root: Hash32,
    /// Root of the receipts.
    pub receipts_root: Hash32,
    /// Bloom filter of the logs.
    pub logs_bloom: [u8; 256],
    /// Difficulty.
    pub difficulty: u64,
    /// Number of the block.
    pub number: u64,
    /// Gas limit.
    pub gas_limit: u64,
    /// Gas used.
    pub gas_used: u64,
    /// Seconds since 1970-01-01 UTC.
    pub timestamp: u64,
    /// Where the seals are.
    pub extra_data: Vec<u8>,
    /// Mix hash.
    pub mix_hash: Hash32,
    /// Nonce.
    pub nonce: [u8; 8],
    /// What later forks added.
    pub fork: ForkItems,
}

/// Why bytes are no header. The server's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Longer than [`MAX_HEADER_BYTES`].
    #[error("expected at most {expected} bytes, got {got}")]
    Size {
        /// The limit.
        expected: usize,
        /// Bytes given.
        got: usize,
    },
    /// The list is no strict RLP.
    #[error("header: {0}")]
    Rlp(RlpError),
    /// No fork has that many items.
    #[error("expected 15, 16, 17, 20 or 21 items, got {got}")]
    Items {
        /// Items found, or the limit plus one.
        got: usize,
    },
    /// One item has another form.
    #[error("header item {item}: {error}")]
    Field {
        /// Name of the item.
        item: &'static str,
        /// What is wrong with it.
        error: RlpError,
    },
}

impl Header {
    /// Reads a header strictly.
    ///
    /// # Errors
    /// Every [`HeaderError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        if bytes.len() > MAX_HEADER_BYTES {
            return Err(HeaderError::Size { expected: MAX_HEADER_BYTES, got: bytes.len() });
        }
        let items = rlp::decode(bytes).and_then(|item| item.items(64)).map_err(HeaderError::Rlp)?;
        let got = items.len();
        if !ITEM_COUNTS.contains(&got) {
            return Err(HeaderError::Items { got });
        }
        let mut items = Fields { items: items.into_iter() };
        let mut header = Self {
            parent_hash: items.word("parentHash")?,
            ommers_hash: items.word("sha3Uncles")?,
            beneficiary: items.read("miner", Item::bytes)?.to_vec(),
            state_root: items.word("stateRoot")?,
            transactions_root: items.word("transactionsRoot")?,
            receipts_root: items.word("receiptsRoot")?,
            logs_bloom: items.read("logsBloom", Item::fixed)?,
            difficulty: items.read("difficulty", Item::uint)?,
            number: items.read("number", Item::uint)?,
            gas_limit: items.read("gasLimit", Item::uint)?,
            gas_used: items.read("gasUsed", Item::uint)?,
            timestamp: items.read("timestamp", Item::uint)?,
            extra_data: items.read("extraData", Item::bytes)?.to_vec(),
            mix_hash: items.word("mixHash")?,
            nonce: items.read("nonce", Item::fixed)?,
            fork: ForkItems::default(),
        };
        if got >= 16 {
            header.fork.base_fee = Some(items.read("baseFeePerGas", Item::uint128)?);
        }
        if got >= 17 {
            header.fork.withdrawals_root = Some(items.word("withdrawalsRoot")?);
        }
        if got >= 20 {
            header.fork.cancun = Some(CancunItems {
                blob_gas_used: items.read("blobGasUsed", Item::uint)?,
                excess_blob_gas: items.read("excessBlobGas", Item::uint)?,
                parent_beacon_root: items.word("parentBeaconBlockRoot")?,
            });
        }
        if got >= 21 {
            header.fork.requests_hash = Some(items.word("requestsHash")?);
        }
        Ok(header)
    }

    /// The header's RLP.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        rlp::list_item(&self.items(&self.extra_data))
    }

    /// Number of items: which fork the header is of.
    #[must_use]
    pub const fn item_count(&self) -> usize {
        match &self.fork {
            ForkItems { requests_hash: Some(_), .. } => 21,
            ForkItems { cancun: Some(_), .. } => 20,
            ForkItems { withdrawals_root: Some(_), .. } => 17,
            ForkItems { base_fee: Some(_), .. } => 16,
            _ => 15,
        }
    }

    /// keccak256 of the header with `extra` in the place of its extraData: the `H(x)` of every digest here.
    #[must_use]
    pub fn hash_with_extra(&self, extra: &[u8]) -> Hash32 {
        keccak256(&rlp::list_item(&self.items(extra)))
    }

    /// keccak256 of the first 13 items, with `extra` in the place of the last of them (Polygon Edge
    /// `consensus/ibft/signer/helper.go`).
    #[must_use]
    pub fn hash_of_13_with_extra(&self, extra: &[u8]) -> Hash32 {
        let mut items = self.items(extra);
        items.truncate(13);
        keccak256(&rlp::list_item(&items))
    }

    fn items(&self, extra: &[u8]) -> Vec<Vec<u8>> {
        let mut items = Vec::with_capacity(21);
        let word = |word: &Hash32| bytes_item(word.as_bytes());
        items.push(word(&self.parent_hash));
        items.push(word(&self.ommers_hash));
        items.push(bytes_item(&self.beneficiary));
        items.push(word(&self.state_root));
        items.push(word(&self.transactions_root));
        items.push(word(&self.receipts_root));
        items.push(bytes_item(&self.logs_bloom));
        items.extend([self.difficulty, self.number, self.gas_limit, self.gas_used, self.timestamp].map(uint_item));
        items.push(bytes_item(extra));
        items.push(word(&self.mix_hash));
        items.push(bytes_item(&self.nonce));
        items.extend(self.fork.base_fee.map(uint128_item));
        items.extend(self.fork.withdrawals_root.as_ref().map(word));
        if let Some(cancun) = &self.fork.cancun {
            items.push(uint_item(cancun.blob_gas_used));
            items.push(uint_item(cancun.excess_blob_gas));
            items.push(word(&cancun.parent_beacon_root));
        }
        items.extend(self.fork.requests_hash.as_ref().map(word));
        items
    }
}

struct Fields<'a> {
    items: std::vec::IntoIter<Item<'a>>,
}

impl<'a> Fields<'a> {
    fn read<T>(
        &mut self,
        item: &'static str,
        read: impl FnOnce(Item<'a>) -> Result<T, RlpError>,
    ) -> Result<T, HeaderError> {
        let next = self.items.next().ok_or(HeaderError::Items { got: 0 })?;
        read(next).map_err(|error| HeaderError::Field { item, error })
    }

    fn word(&mut self, item: &'static str) -> Result<Hash32, HeaderError> {
        self.read(item, Item::fixed).map(Hash32)
    }
}
