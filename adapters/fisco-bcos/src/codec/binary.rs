//! How this adapter writes its own values: fixed order, big-endian numbers, a 4-byte count before what varies.
//!
//! Strict in both directions: no optional padding, nothing left over, limits before anything is allocated.

use cityrelay_core::hash::Hash32;

use super::header::{BlockHeader, HeaderSignature, Parent, SealedHeader};
use super::receipt::{LogEntry, Receipt};
use super::suite::{PUBLIC_KEY_BYTES, PublicKey};
use super::transaction::TransactionData;

/// The most sealers in one set: far above any real chain, far below what would hurt.
pub const MAX_SEALERS: usize = 1024;

/// The most transactions whose hashes one proof may list: a hundred times the chain's default block limit.
pub const MAX_BLOCK_TRANSACTIONS: usize = 100_000;

/// The longest text or byte string inside a value, 1 MiB: one log of that size was accepted by real nodes.
pub const MAX_FIELD_BYTES: usize = 1 << 20;

/// The most logs and the most topics of one log that a receipt may carry here.
pub const MAX_LOGS: usize = 4096;

/// Why bytes are not a value of this adapter. Whoever sent them is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BinaryError {
    /// The bytes end early.
    #[error("expected {expected} more bytes, got {got}")]
    Truncated {
        /// Bytes needed.
        expected: usize,
        /// Bytes left.
        got: usize,
    },
    /// A count or length is above its limit.
    #[error("expected at most {limit}, got {got}")]
    TooMany {
        /// The limit.
        limit: usize,
        /// The count.
        got: usize,
    },
    /// Bytes are left over.
    #[error("expected the end, got {got} more bytes")]
    Trailing {
        /// Bytes left.
        got: usize,
    },
    /// A text is not UTF-8, or a marker byte has no meaning.
    #[error("expected {expected}, got something else")]
    Form {
        /// What was expected.
        expected: &'static str,
    },
}

/// Writes a value.
#[derive(Debug, Default)]
pub struct Encoder {
    out: Vec<u8>,
}

impl Encoder {
    /// One byte.
    pub fn byte(&mut self, value: u8) {
        self.out.push(value);
    }

    /// Four bytes.
    pub fn word(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    /// Eight bytes.
    pub fn number(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    /// A count.
    pub fn count(&mut self, value: usize) {
        self.word(u32::try_from(value).unwrap_or(u32::MAX));
    }

    /// 32 bytes.
    pub fn hash(&mut self, value: &Hash32) {
        self.out.extend_from_slice(&value.0);
    }

    /// A count and that many bytes.
    pub fn bytes(&mut self, value: &[u8]) {
        self.count(value.len());
        self.out.extend_from_slice(value);
    }

    /// A count and that many hashes.
    pub fn hashes(&mut self, value: &[Hash32]) {
        self.count(value.len());
        for hash in value {
            self.hash(hash);
        }
    }

    /// A public key.
    pub fn key(&mut self, value: &PublicKey) {
        self.out.extend_from_slice(&value.0);
    }

    /// A header with its signatures.
    pub fn sealed_header(&mut self, sealed: &SealedHeader) {
        let header = &sealed.header;
        self.word(header.version);
        self.count(header.parents.len());
        for parent in &header.parents {
            self.number(parent.number);
            self.hash(&parent.hash);
        }
        self.bytes(&header.txs_root);
        self.bytes(&header.receipts_root);
        self.bytes(&header.state_root);
        self.number(header.number);
        self.bytes(header.gas_used.as_bytes());
        self.number(header.timestamp);
        self.number(header.sealer);
        self.count(header.sealers.len());
        header.sealers.iter().for_each(|sealer| self.key(sealer));
        self.bytes(&header.extra_data);
        self.count(header.weights.len());
        header.weights.iter().for_each(|weight| self.number(*weight));
        self.hash(&sealed.claimed_hash);
        self.count(sealed.signatures.len());
        for signature in &sealed.signatures {
            self.number(signature.sealer);
            self.bytes(&signature.signature);
        }
    }

    /// The signed fields of a transaction.
    pub fn transaction(&mut self, data: &TransactionData) {
        self.word(data.version);
        self.bytes(data.chain_id.as_bytes());
        self.bytes(data.group_id.as_bytes());
        self.number(data.block_limit);
        self.bytes(data.nonce.as_bytes());
        self.bytes(data.to.as_bytes());
        self.bytes(&data.input);
        self.bytes(data.abi.as_bytes());
        self.bytes(data.value.as_bytes());
        self.bytes(data.gas_price.as_bytes());
        self.number(data.gas_limit);
        self.bytes(data.max_fee_per_gas.as_bytes());
        self.bytes(data.max_priority_fee_per_gas.as_bytes());
        self.bytes(&data.extension);
    }

    /// The hashed fields of a receipt.
    pub fn receipt(&mut self, receipt: &Receipt) {
        self.word(receipt.version);
        self.bytes(receipt.gas_used.as_bytes());
        self.bytes(receipt.contract_address.as_bytes());
        self.word(receipt.status.cast_unsigned());
        self.bytes(&receipt.output);
        self.bytes(receipt.effective_gas_price.as_bytes());
        self.count(receipt.logs.len());
        for log in &receipt.logs {
            self.bytes(log.address.as_bytes());
            self.hashes(&log.topics);
            self.bytes(&log.data);
        }
        self.number(receipt.block_number);
    }

    /// What was written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }
}

/// Reads a value.
#[derive(Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Reads from `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// [`BinaryError::Trailing`].
    pub const fn finish(self) -> Result<(), BinaryError> {
        if self.rest.is_empty() { Ok(()) } else { Err(BinaryError::Trailing { got: self.rest.len() }) }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], BinaryError> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(BinaryError::Truncated { expected: count, got: self.rest.len() });
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BinaryError> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(BinaryError::Truncated { expected: N, got: self.rest.len() });
        };
        self.rest = rest;
        Ok(*taken)
    }

    /// One byte.
    ///
    /// # Errors
    /// A [`BinaryError`] at the end of the bytes.
    pub fn byte(&mut self) -> Result<u8, BinaryError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Four bytes.
    ///
    /// # Errors
    /// As [`Self::byte`].
    pub fn word(&mut self) -> Result<u32, BinaryError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// As [`Self::byte`].
    pub fn number(&mut self) -> Result<u64, BinaryError> {
        self.array().map(u64::from_be_bytes)
    }

    /// 32 bytes.
    ///
    /// # Errors
    /// As [`Self::byte`].
    pub fn hash(&mut self) -> Result<Hash32, BinaryError> {
        self.array().map(Hash32)
    }

    /// A public key.
    ///
    /// # Errors
    /// As [`Self::byte`].
    pub fn key(&mut self) -> Result<PublicKey, BinaryError> {
        self.array::<PUBLIC_KEY_BYTES>().map(PublicKey)
    }

    /// A count of at most `limit` items of at least `item_bytes` each, which the rest must be able to hold.
    ///
    /// # Errors
    /// [`BinaryError::TooMany`] above the limit or beyond what is left.
    pub fn count(&mut self, limit: usize, item_bytes: usize) -> Result<usize, BinaryError> {
        let got = usize::try_from(self.word()?).unwrap_or(usize::MAX);
        let limit = limit.min(self.rest.len().checked_div(item_bytes).unwrap_or(limit));
        if got > limit { Err(BinaryError::TooMany { limit, got }) } else { Ok(got) }
    }

    /// A count and that many bytes.
    ///
    /// # Errors
    /// A [`BinaryError`] above [`MAX_FIELD_BYTES`] or at the end of the bytes.
    pub fn bytes(&mut self) -> Result<Vec<u8>, BinaryError> {
        let count = self.count(MAX_FIELD_BYTES, 1)?;
        self.take(count).map(<[u8]>::to_vec)
    }

    /// A count and that many bytes of text.
    ///
    /// # Errors
    /// As [`Self::bytes`], or [`BinaryError::Form`] when they are not UTF-8.
    pub fn text(&mut self) -> Result<String, BinaryError> {
        String::from_utf8(self.bytes()?).map_err(|_| BinaryError::Form { expected: "UTF-8" })
    }

    /// A count and that many hashes.
    ///
    /// # Errors
    /// A [`BinaryError`] above `limit` or at the end of the bytes.
    pub fn hashes(&mut self, limit: usize) -> Result<Vec<Hash32>, BinaryError> {
        let count = self.count(limit, 32)?;
        (0..count).map(|_| self.hash()).collect()
    }

    /// A header with its signatures.
    ///
    /// # Errors
    /// A [`BinaryError`] for anything else.
    pub fn sealed_header(&mut self) -> Result<SealedHeader, BinaryError> {
        let version = self.word()?;
        let parents = self.count(MAX_PARENTS, 40)?;
        let parents = (0..parents)
            .map(|_| Ok(Parent { number: self.number()?, hash: self.hash()? }))
            .collect::<Result<_, BinaryError>>()?;
        let txs_root = self.bytes()?;
        let receipts_root = self.bytes()?;
        let state_root = self.bytes()?;
        let number = self.number()?;
        let gas_used = self.text()?;
        let timestamp = self.number()?;
        let sealer = self.number()?;
        let sealers = self.count(MAX_SEALERS, PUBLIC_KEY_BYTES)?;
        let sealers = (0..sealers).map(|_| self.key()).collect::<Result<_, _>>()?;
        let extra_data = self.bytes()?;
        let weights = self.count(MAX_SEALERS, 8)?;
        let weights = (0..weights).map(|_| self.number()).collect::<Result<_, _>>()?;
        let claimed_hash = self.hash()?;
        let signatures = self.count(MAX_SEALERS, 12)?;
        let signatures = (0..signatures)
            .map(|_| Ok(HeaderSignature { sealer: self.number()?, signature: self.bytes()? }))
            .collect::<Result<_, BinaryError>>()?;
        let header = BlockHeader {
            version,
            parents,
            txs_root,
            receipts_root,
            state_root,
            number,
            gas_used,
            timestamp,
            sealer,
            sealers,
            extra_data,
            weights,
        };
        Ok(SealedHeader { header, claimed_hash, signatures })
    }

    /// The signed fields of a transaction.
    ///
    /// # Errors
    /// A [`BinaryError`] for anything else.
    pub fn transaction(&mut self) -> Result<TransactionData, BinaryError> {
        Ok(TransactionData {
            version: self.word()?,
            chain_id: self.text()?,
            group_id: self.text()?,
            block_limit: self.number()?,
            nonce: self.text()?,
            to: self.text()?,
            input: self.bytes()?,
            abi: self.text()?,
            value: self.text()?,
            gas_price: self.text()?,
            gas_limit: self.number()?,
            max_fee_per_gas: self.text()?,
            max_priority_fee_per_gas: self.text()?,
            extension: self.bytes()?,
        })
    }

    /// The hashed fields of a receipt.
    ///
    /// # Errors
    /// A [`BinaryError`] for anything else.
    pub fn receipt(&mut self) -> Result<Receipt, BinaryError> {
        let version = self.word()?;
        let gas_used = self.text()?;
        let contract_address = self.text()?;
        let status = self.word()?.cast_signed();
        let output = self.bytes()?;
        let effective_gas_price = self.text()?;
        let logs = self.count(MAX_LOGS, 12)?;
        let logs = (0..logs)
            .map(|_| Ok(LogEntry { address: self.text()?, topics: self.hashes(MAX_LOGS)?, data: self.bytes()? }))
            .collect::<Result<_, BinaryError>>()?;
        let block_number = self.number()?;
        Ok(Receipt { version, gas_used, contract_address, status, output, effective_gas_price, logs, block_number })
    }
}

/// Real headers have one parent; a few more still decode, so that the check for exactly one can name them.
const MAX_PARENTS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_beyond_the_bytes_is_refused_before_anything_is_allocated() {
        let mut decoder = Decoder::new(&[0xff, 0xff, 0xff, 0xff, 1, 2]);
        assert_eq!(decoder.bytes(), Err(BinaryError::TooMany { limit: 2, got: 0xffff_ffff }));
    }

    #[test]
    fn a_byte_left_over_is_refused() {
        assert_eq!(Decoder::new(&[0]).finish(), Err(BinaryError::Trailing { got: 1 }));
    }
}
