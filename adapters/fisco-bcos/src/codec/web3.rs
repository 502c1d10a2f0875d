//! Ethereum-signed transactions (type 1, since 3.9): raw bytes whose keccak256 is the leaf of the transaction tree.
//!
//! `Web3Transaction.cpp`: always keccak256 and secp256k1, on a GM chain too. The chain's native JSON does not show the raw
//! bytes, and no check was found that ties what is executed to them: nothing is proved by such a transaction.

use alloy_rlp::{Decodable, Header};
use cityrelay_core::hash::{Hash32, keccak256};

use super::suite::CryptoSuite;

/// What the raw bytes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Web3Transaction {
    /// keccak256 of the raw bytes: the leaf.
    pub leaf: Hash32,
    /// The bytes whose hash was signed.
    pub signing_payload: Vec<u8>,
    /// r ‖ s ‖ parity.
    pub signature: Vec<u8>,
    /// Who signed.
    pub sender: [u8; 20],
}

/// Why bytes are no such transaction. Whoever submitted or recorded them is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Web3Error {
    /// Not canonical RLP, or something after it.
    #[error("expected one canonical RLP list, got something else")]
    Rlp,
    /// A list with another number of items than its type has.
    #[error("expected {expected} items, got {got}")]
    Items {
        /// Items of the type.
        expected: usize,
        /// Items found.
        got: usize,
    },
    /// A type that the chain does not take.
    #[error("expected type 1, 2 or 3, got {got}")]
    Type {
        /// The type.
        got: u8,
    },
    /// No key fits the signature.
    #[error("expected a signature, got one that recovers to no key")]
    Signature,
}

impl Web3Transaction {
    /// Reads raw bytes: legacy with or without chain id (EIP-155), or types 1 (EIP-2930), 2 (EIP-1559), 3 (EIP-4844).
    ///
    /// # Errors
    /// See [`Web3Error`].
    pub fn read(raw: &[u8]) -> Result<Self, Web3Error> {
        let (kind, list) = match raw.split_first() {
            Some((kind @ 1..=3, list)) => (*kind, list),
            Some((0xc0..=0xff, _)) => (0, raw),
            Some((got, _)) => return Err(Web3Error::Type { got: *got }),
            None => return Err(Web3Error::Rlp),
        };
        let items = items(list)?;
        let expected = match kind {
            0 => 9,
            1 => 11,
            2 => 12,
            _ => 14,
        };
        let (Some((signed, [v, r, s])), true) = (items.split_last_chunk::<3>(), items.len() == expected) else {
            return Err(Web3Error::Items { expected, got: items.len() });
        };
        let v = u64::decode(&mut &**v).map_err(|_| Web3Error::Rlp)?;
        let mut payload: Vec<u8> = signed.concat();
        let parity = match (kind, v) {
            (0, 27 | 28) => v - 27,
            (0, 35..) => {
                // EIP-155: chain id and two empty items follow the six fields.
                payload.extend_from_slice(&alloy_rlp::encode((v - 35) / 2));
                payload.extend_from_slice(&[0x80, 0x80]);
                (v - 35) % 2
            }
            (1..=3, 0 | 1) => v,
            _ => return Err(Web3Error::Signature),
        };
        let mut signing_payload = if kind == 0 { Vec::new() } else { vec![kind] };
        Header { list: true, payload_length: payload.len() }.encode(&mut signing_payload);
        signing_payload.extend_from_slice(&payload);
        let mut signature = [word(r)?, word(s)?].concat();
        signature.push(u8::try_from(parity).map_err(|_| Web3Error::Signature)?);
        let suite = CryptoSuite::Standard;
        let signer = suite.transaction_signer(&keccak256(&signing_payload), &signature).ok_or(Web3Error::Signature)?;
        Ok(Self { leaf: keccak256(raw), signing_payload, signature, sender: suite.account(&signer) })
    }
}

/// The items of the list that `bytes` is, each with its own header.
fn items(bytes: &[u8]) -> Result<Vec<&[u8]>, Web3Error> {
    let mut rest = bytes;
    let header = Header::decode(&mut rest).map_err(|_| Web3Error::Rlp)?;
    if !header.list || header.payload_length != rest.len() {
        return Err(Web3Error::Rlp);
    }
    let mut items = Vec::new();
    while !rest.is_empty() {
        let from = rest;
        let item = Header::decode(&mut rest).map_err(|_| Web3Error::Rlp)?;
        rest = rest.get(item.payload_length..).ok_or(Web3Error::Rlp)?;
        items.push(from.get(..from.len() - rest.len()).ok_or(Web3Error::Rlp)?);
    }
    Ok(items)
}

/// A number of a signature as 32 bytes.
fn word(item: &[u8]) -> Result<[u8; 32], Web3Error> {
    let number = alloy_primitives::U256::decode(&mut &*item).map_err(|_| Web3Error::Rlp)?;
    Ok(number.to_be_bytes())
}
