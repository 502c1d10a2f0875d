//! Strict ABI decoding, and the one place where core types meet ABI types.

use alloy_primitives::{Address as Account, B256, U256};
use alloy_sol_types::{SolCall, SolEvent};
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, AttesterId};
use cityrelay_core::lane::Direction;
use cityrelay_core::outcome::Status;

/// Why bytes are not what a contract of ours produces. The fault of whoever served them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The first topic is none of our events.
    #[error("no event of the gateway or committee has topic {topic:?}")]
    UnknownEvent {
        /// The first topic, or `None` for an event without topics.
        topic: Option<Hash32>,
    },
    /// The bytes are no ABI encoding of the expected shape, or not the canonical one, or something is left over.
    #[error("{what} is not the canonical encoding of its values ({bytes} bytes)")]
    NotCanonical {
        /// Event, function or return that was expected.
        what: &'static str,
        /// Length of the data.
        bytes: usize,
    },
    /// A number is outside of the values that the contracts use.
    #[error("{field} is {got}, which the contracts never say")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// Its value.
        got: U256,
    },
}

/// Decodes the return data of `C`: canonical, nothing left over.
pub(crate) fn decode_return<C: SolCall>(data: &[u8]) -> Result<C::Return, DecodeError> {
    let not_canonical = || DecodeError::NotCanonical { what: C::SIGNATURE, bytes: data.len() };
    let value = C::abi_decode_returns_validate(data).map_err(|_| not_canonical())?;
    if C::abi_encode_returns(&value) != data {
        return Err(not_canonical());
    }
    Ok(value)
}

/// Decodes calldata of `C` with its selector: canonical, nothing left over.
pub(crate) fn decode_call<C: SolCall>(data: &[u8]) -> Result<C, DecodeError> {
    let not_canonical = || DecodeError::NotCanonical { what: C::SIGNATURE, bytes: data.len() };
    let call = C::abi_decode_validate(data).map_err(|_| not_canonical())?;
    if call.abi_encode() != data {
        return Err(not_canonical());
    }
    Ok(call)
}

/// Decodes an event of type `E`: canonical, nothing left over, no topic too many.
pub(crate) fn decode_event<E: SolEvent>(topics: &[Hash32], data: &[u8]) -> Result<E, DecodeError> {
    let not_canonical = || DecodeError::NotCanonical { what: E::SIGNATURE, bytes: data.len() };
    let words = topics.iter().map(|topic| B256::from(topic.0));
    let event = E::decode_raw_log_validate(words, data).map_err(|_| not_canonical())?;
    let same_topics = event.encode_topics().iter().map(|topic| topic.0.0).eq(topics.iter().map(|topic| topic.0));
    if !same_topics || event.encode_data() != data {
        return Err(not_canonical());
    }
    Ok(event)
}

pub(crate) fn word(hash: Hash32) -> B256 {
    B256::from(hash.0)
}

pub(crate) fn hash(word: B256) -> Hash32 {
    Hash32(word.0)
}

pub(crate) fn address(account: Account) -> Address {
    Address::from_20(account.into_array())
}

pub(crate) fn attester(account: Account) -> AttesterId {
    AttesterId(account.into_array())
}

pub(crate) fn direction(code: u8) -> Result<Direction, DecodeError> {
    Direction::from_code(code).ok_or(DecodeError::OutOfRange { field: "direction", got: U256::from(code) })
}

/// The chain that a gateway of this role keeps: 1, the source, keeps the outbox; 2, the destination, the inbox.
pub(crate) fn kept_by_role(role: u8) -> Result<Direction, DecodeError> {
    match role {
        1 => Ok(Direction::Outbox),
        2 => Ok(Direction::Inbox),
        _ => Err(DecodeError::OutOfRange { field: "role", got: U256::from(role) }),
    }
}

pub(crate) fn status(code: u8) -> Result<Status, DecodeError> {
    Status::from_code(code).ok_or(DecodeError::OutOfRange { field: "status", got: U256::from(code) })
}
