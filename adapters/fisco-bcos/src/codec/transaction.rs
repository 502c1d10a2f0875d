//! Native transactions: fields, hash, and the tars bytes that are submitted.

use cityrelay_core::hash::Hash32;

use super::account::{KeyError, SecretKey};
use super::suite::CryptoSuite;
use super::tars::{Reader, TarsError, Writer};

/// The signed part of a transaction (`Transaction.tars`, `TransactionData`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransactionData {
    /// 0, 1 (since 3.6) or 2 (since 3.7).
    pub version: u32,
    /// Chain id as text.
    pub chain_id: String,
    /// Group id as text.
    pub group_id: String,
    /// Last block that may hold it.
    pub block_limit: u64,
    /// Text that may be used once.
    pub nonce: String,
    /// Receiver exactly as sent; empty for a deployment.
    pub to: String,
    /// Calldata or init code.
    pub input: Vec<u8>,
    /// ABI text that a deployment may store.
    pub abi: String,
    /// From version 1 on hashed, `0x…`; in version 0 anybody may change it.
    pub value: String,
    /// As [`Self::value`].
    pub gas_price: String,
    /// From version 1 on hashed.
    pub gas_limit: u64,
    /// As [`Self::value`].
    pub max_fee_per_gas: String,
    /// As [`Self::value`].
    pub max_priority_fee_per_gas: String,
    /// From version 2 on hashed.
    pub extension: Vec<u8>,
}

/// A transaction as it is submitted (`Transaction.tars`, `Transaction`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// The signed part.
    pub data: TransactionData,
    /// Hash of the signed part; a node refuses a wrong one.
    pub data_hash: Vec<u8>,
    /// See [`CryptoSuite::transaction_signature_bytes`].
    pub signature: Vec<u8>,
    /// Milliseconds; not signed.
    pub import_time: i64,
    /// Flags; not signed.
    pub attribute: i32,
    /// Claimed sender; not signed, never to be believed.
    pub sender: Vec<u8>,
    /// Free text; not signed.
    pub extra_data: String,
    /// 0 native, 1 Ethereum-signed.
    pub kind: u8,
    /// For kind 1: the Ethereum signing payload.
    pub extra_bytes: Vec<u8>,
    /// For kind 1: the leaf of the transaction tree, keccak256 of the raw Ethereum transaction.
    pub extra_hash: Vec<u8>,
}

impl TransactionData {
    /// What is hashed and signed: no lengths, no separators.
    ///
    /// ```text
    /// version 4 ‖ chainID ‖ groupID ‖ blockLimit 8 ‖ nonce ‖ to ‖ input ‖ abi
    ///   from version 1: ‖ value ‖ gasPrice ‖ gasLimit 8 ‖ maxFeePerGas ‖ maxPriorityFeePerGas
    ///   from version 2: ‖ extension
    /// ```
    #[must_use]
    pub fn preimage(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(192 + self.input.len() + self.abi.len() + self.extension.len());
        bytes.extend_from_slice(&self.version.to_be_bytes());
        bytes.extend_from_slice(self.chain_id.as_bytes());
        bytes.extend_from_slice(self.group_id.as_bytes());
        bytes.extend_from_slice(&self.block_limit.to_be_bytes());
        bytes.extend_from_slice(self.nonce.as_bytes());
        bytes.extend_from_slice(self.to.as_bytes());
        bytes.extend_from_slice(&self.input);
        bytes.extend_from_slice(self.abi.as_bytes());
        if self.version >= 1 {
            bytes.extend_from_slice(self.value.as_bytes());
            bytes.extend_from_slice(self.gas_price.as_bytes());
            bytes.extend_from_slice(&self.gas_limit.to_be_bytes());
            bytes.extend_from_slice(self.max_fee_per_gas.as_bytes());
            bytes.extend_from_slice(self.max_priority_fee_per_gas.as_bytes());
        }
        if self.version >= 2 {
            bytes.extend_from_slice(&self.extension);
        }
        bytes
    }

    /// The transaction's hash, the leaf of the block's transaction tree.
    #[must_use]
    pub fn hash(&self, suite: CryptoSuite) -> Hash32 {
        suite.hash(&self.preimage())
    }

    /// The tars bytes as the official SDK writes them: tags 1 to 5 and 7 always, the others when they are set.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.integer(1, i64::from(self.version));
        writer.text(2, &self.chain_id);
        writer.text(3, &self.group_id);
        writer.integer(4, i64::try_from(self.block_limit).unwrap_or(i64::MAX));
        writer.text(5, &self.nonce);
        writer.text_unless_empty(6, &self.to);
        writer.bytes(7, &self.input);
        writer.text_unless_empty(8, &self.abi);
        writer.text_unless_empty(9, &self.value);
        writer.text_unless_empty(10, &self.gas_price);
        writer.integer_unless_zero(11, i64::try_from(self.gas_limit).unwrap_or(i64::MAX));
        writer.text_unless_empty(12, &self.max_fee_per_gas);
        writer.text_unless_empty(13, &self.max_priority_fee_per_gas);
        writer.bytes_unless_empty(14, &self.extension);
        writer.into_bytes()
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, TarsError> {
        Ok(Self {
            version: reader.number(1)?,
            chain_id: reader.text(2)?,
            group_id: reader.text(3)?,
            block_limit: reader.number(4)?,
            nonce: reader.text(5)?,
            to: reader.text(6)?,
            input: reader.bytes(7)?,
            abi: reader.text(8)?,
            value: reader.text(9)?,
            gas_price: reader.text(10)?,
            gas_limit: reader.number(11)?,
            max_fee_per_gas: reader.text(12)?,
            max_priority_fee_per_gas: reader.text(13)?,
            extension: reader.bytes(14)?,
        })
    }
}

impl Transaction {
    /// Signs `data` as a native transaction.
    ///
    /// # Errors
    /// [`KeyError::Signing`] when the library refuses.
    pub fn sign(data: TransactionData, key: &SecretKey) -> Result<Self, KeyError> {
        let hash = data.hash(key.suite());
        let signature = key.sign_transaction(&hash)?;
        Ok(Self { data, data_hash: hash.0.to_vec(), signature, ..Self::default() })
    }

    /// The leaf of the block's transaction tree: the hash of the signed part, or what an Ethereum-signed transaction claims
    /// for it; `None` when that is not 32 bytes.
    #[must_use]
    pub fn leaf(&self, suite: CryptoSuite) -> Option<Hash32> {
        match self.kind {
            0 => Some(self.data.hash(suite)),
            _ => self.extra_hash.as_slice().try_into().ok().map(Hash32),
        }
    }

    /// The tars bytes as the official SDK writes them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.structure(1, &self.data.encode());
        writer.bytes_unless_empty(2, &self.data_hash);
        writer.bytes_unless_empty(3, &self.signature);
        writer.integer_unless_zero(4, self.import_time);
        writer.integer_unless_zero(5, i64::from(self.attribute));
        writer.bytes_unless_empty(7, &self.sender);
        writer.text_unless_empty(8, &self.extra_data);
        writer.integer_unless_zero(9, i64::from(self.kind));
        writer.bytes_unless_empty(10, &self.extra_bytes);
        writer.bytes_unless_empty(11, &self.extra_hash);
        writer.into_bytes()
    }

    /// Reads the bytes that somebody submitted, in the SDK's form or the node's.
    ///
    /// One transaction has several tars encodings: compare fields or hashes, never the bytes.
    ///
    /// # Errors
    /// A [`TarsError`] where the bytes are no transaction.
    pub fn decode(bytes: &[u8]) -> Result<Self, TarsError> {
        let mut reader = Reader::new(bytes);
        let data = reader.structure(1)?.ok_or(TarsError::Missing { tag: 1 })?;
        let mut inner = Reader::new(data);
        let data = TransactionData::read(&mut inner)?;
        inner.finish()?;
        let transaction = Self {
            data,
            data_hash: reader.bytes(2)?,
            signature: reader.bytes(3)?,
            import_time: reader.number(4)?,
            attribute: reader.number(5)?,
            sender: reader.bytes(7)?,
            extra_data: reader.text(8)?,
            kind: reader.number(9)?,
            extra_bytes: reader.bytes(10)?,
            extra_hash: reader.bytes(11)?,
        };
        reader.finish()?;
        Ok(transaction)
    }
}
