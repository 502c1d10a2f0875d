//! Keccak-256 and the one hashing form of the protocol: 32-byte words, a tag first.

use core::fmt;

use sha3::{Digest, Keccak256};

/// A 32-byte hash or word, printed as `0x` and 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash32(pub [u8; 32]);

impl Hash32 {
    /// The all-zero word; never a valid hash of anything in the protocol.
    pub const ZERO: Self = Self([0; 32]);

    /// The word that holds `value` as a big-endian unsigned integer, as `abi.encode` writes it.
    #[must_use]
    pub fn from_u64(value: u64) -> Self {
        let mut word = [0; 32];
        if let Some(tail) = word.last_chunk_mut::<8>() {
            *tail = value.to_be_bytes();
        }
        Self(word)
    }

    /// The bytes of the word.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The word as a `u64`, or `None` when it is larger than `u64::MAX`.
    #[must_use]
    pub fn to_u64(&self) -> Option<u64> {
        let (high, low) = self.0.split_at(24);
        if high.iter().any(|byte| *byte != 0) {
            return None;
        }
        low.try_into().ok().map(u64::from_be_bytes)
    }

    /// Reads 64 hex digits, with or without a leading `0x`.
    ///
    /// # Errors
    /// [`ParseHashError`] when the length differs or a character is no hex digit.
    pub fn from_hex(text: &str) -> Result<Self, ParseHashError> {
        let mut bytes = [0; 32];
        parse_hex(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Hash32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a hash or an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseHashError {
    /// The number of hex digits is wrong.
    #[error("expected {expected} hex digits, got {got}")]
    Length {
        /// Digits that the type needs.
        expected: usize,
        /// Digits found after an optional `0x`.
        got: usize,
    },
    /// A character is no hex digit.
    #[error("not a hex digit at position {at}")]
    Digit {
        /// Position in the digits, from 0.
        at: usize,
    },
}

/// Fills `out` from hex text, with or without `0x`; the lengths must agree exactly.
pub(crate) fn parse_hex(text: &str, out: &mut [u8]) -> Result<(), ParseHashError> {
    let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
    if digits.len() != out.len() * 2 {
        return Err(ParseHashError::Length { expected: out.len() * 2, got: digits.len() });
    }
    for (at, (pair, byte)) in digits.chunks_exact(2).zip(out.iter_mut()).enumerate() {
        let mut value = 0_u8;
        for (offset, digit) in pair.iter().enumerate() {
            let nibble = char::from(*digit).to_digit(16).ok_or(ParseHashError::Digit { at: at * 2 + offset })?;
            value = (value << 4) | u8::try_from(nibble).unwrap_or(0);
        }
        *byte = value;
    }
    Ok(())
}

/// Keccak-256 of `bytes`, as Ethereum uses it (not SHA3-256).
#[must_use]
pub fn keccak256(bytes: &[u8]) -> Hash32 {
    Hash32(Keccak256::digest(bytes).into())
}

/// Keccak-256 over consecutive 32-byte words, which equals `keccak256(abi.encode(…))` of static arguments.
#[must_use]
pub fn hash_words(words: &[Hash32]) -> Hash32 {
    let mut hasher = Keccak256::new();
    for word in words {
        hasher.update(word.0);
    }
    Hash32(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keccak_of_nothing_is_the_known_constant() {
        let expected = Hash32::from_hex("c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470").unwrap();
        assert_eq!(keccak256(b""), expected);
    }

    #[test]
    fn hex_refuses_a_wrong_length_and_a_wrong_digit() {
        assert_eq!(Hash32::from_hex("0x00"), Err(ParseHashError::Length { expected: 64, got: 2 }));
        let text = format!("0x{}g{}", "0".repeat(10), "0".repeat(53));
        assert_eq!(Hash32::from_hex(&text), Err(ParseHashError::Digit { at: 10 }));
    }

    #[test]
    fn a_word_larger_than_u64_has_no_u64() {
        assert_eq!(Hash32::from_u64(7).to_u64(), Some(7));
        assert_eq!(keccak256(b"").to_u64(), None);
    }
}
