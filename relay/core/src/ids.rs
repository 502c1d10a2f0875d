//! Identifiers and numbers with a meaning: one newtype each, so that the compiler tells them apart.

use core::fmt;

use crate::hash::{Hash32, ParseHashError, hash_words, keccak256, parse_hex};
use crate::tag;

macro_rules! word_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Hash32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl core::str::FromStr for $name {
            type Err = ParseHashError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Hash32::from_hex(text).map(Self)
            }
        }
    };
}

macro_rules! number_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

word_newtype! {
    /// One chain as the protocol names it: a hash over a name and the hash of an anchor block.
    Domain
}
word_newtype! {
    /// One channel in one direction between two gateways; see [`crate::lane::LaneIdentity`].
    LaneId
}
word_newtype! {
    /// The id of one message: [`crate::message::Message::id`].
    MessageId
}

number_newtype! {
    /// Position of a message on its lane. The first message is 1; 0 means "none yet".
    Index
}
number_newtype! {
    /// Number of a block on its chain; the genesis block is 0.
    Height
}
number_newtype! {
    /// Generation of an attester set; grows by one at each rotation, starts at 1.
    Epoch
}
number_newtype! {
    /// Milliseconds since 1970-01-01 UTC.
    UnixMillis
}

impl Domain {
    /// The domain of the chain called `name` whose anchor block has hash `anchor`.
    #[must_use]
    pub fn derive(name: &str, anchor: Hash32) -> Self {
        Self(hash_words(&[tag::domain(), keccak256(name.as_bytes()), anchor]))
    }
}

impl Index {
    /// The index after this one; saturates at `u64::MAX`, which no gateway can reach.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// This index moved forward by `count`; saturates.
    #[must_use]
    pub fn plus(self, count: usize) -> Self {
        Self(self.0.saturating_add(u64::try_from(count).unwrap_or(u64::MAX)))
    }
}

impl Height {
    /// The height after this one; saturates.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// An account or contract as the protocol names it: 32 bytes, 20-byte addresses left-padded with zeros.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub Hash32);

impl Address {
    /// The 20-byte address `bytes`, left-padded.
    #[must_use]
    pub fn from_20(bytes: [u8; 20]) -> Self {
        let mut word = [0; 32];
        if let Some(tail) = word.last_chunk_mut::<20>() {
            *tail = bytes;
        }
        Self(Hash32(word))
    }

    /// The 20-byte form, or `None` when one of the first 12 bytes is set.
    #[must_use]
    pub fn to_20(&self) -> Option<[u8; 20]> {
        let (pad, tail) = self.0.0.split_at(12);
        if pad.iter().any(|byte| *byte != 0) {
            return None;
        }
        tail.try_into().ok()
    }
}

impl core::str::FromStr for Address {
    type Err = ParseHashError;

    /// Reads 40 hex digits (a 20-byte address) or 64 (the 32-byte form), with or without `0x`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.strip_prefix("0x").unwrap_or(text).len() == 64 {
            return Hash32::from_hex(text).map(Self);
        }
        let mut bytes = [0; 20];
        parse_hex(text, &mut bytes)?;
        Ok(Self::from_20(bytes))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_20() {
            Some(bytes) => {
                f.write_str("0x")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            None => fmt::Display::fmt(&self.0, f),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// The Ethereum-style address of an attester's secp256k1 key: last 20 bytes of keccak256 of the 64-byte public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttesterId(pub [u8; 20]);

impl fmt::Display for AttesterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Address::from_20(self.0), f)
    }
}

impl fmt::Debug for AttesterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AttesterId({self})")
    }
}

impl core::str::FromStr for AttesterId {
    type Err = ParseHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 20];
        parse_hex(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_in_both_lengths_and_printed_short() {
        let short = "0xae519fc2ba8e6ffe6473195c092bf1bae986ff90";
        let address: Address = short.parse().unwrap();
        assert_eq!(address.to_string(), short);
        assert_eq!(format!("0x{:0>64}", &short[2..]).parse::<Address>().unwrap(), address);
        assert!("0x12".parse::<Address>().is_err());
    }

    #[test]
    fn an_address_with_high_bytes_has_no_short_form() {
        assert_eq!(Address(keccak256(b"")).to_20(), None);
    }
}
