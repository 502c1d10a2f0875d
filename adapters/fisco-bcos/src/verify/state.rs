//! What the light client trusts, and its encoding.

use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Height, UnixMillis};
use cityrelay_core::light_client::{AdapterValue, Refusal, SetStatement};

use super::sealer_set::SealerSet;
use crate::codec::binary::{BinaryError, Decoder, Encoder};

/// The most confirmed set changes that wait for their headers.
pub const MAX_STATEMENTS: usize = 16;

/// The most earlier headers that others are compared with.
pub const MAX_RECENT: usize = 64;

/// The last final header, the set that sealed it, and the changes that were confirmed ahead.
///
/// No header is kept back in it: one under an unconfirmed set is asked for again after the confirmation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedState {
    /// Height of the last final header.
    pub height: Height,
    /// Its hash.
    pub hash: Hash32,
    /// The set in force for it; the next header must list the same or a confirmed other.
    pub set: SealerSet,
    /// Its roots; unknown for an anchor.
    pub roots: Option<Roots>,
    /// The earlier of its own time and the time when it was verified; unknown for an anchor.
    pub trusted_since: Option<UnixMillis>,
    /// Confirmed changes, ascending by height.
    pub statements: Vec<SetStatement>,
    /// Heights and hashes of the final headers before it that the same set sealed, ascending, at most [`MAX_RECENT`].
    pub recent: Vec<(Height, Hash32)>,
}

/// The roots of a header that proofs hang on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roots {
    /// Over the transaction hashes.
    pub transactions: Hash32,
    /// Over the receipt hashes.
    pub receipts: Hash32,
}

impl TrustedState {
    /// The state that an operator's anchor gives.
    #[must_use]
    pub const fn anchored(height: Height, hash: Hash32, set: SealerSet) -> Self {
        Self { height, hash, set, roots: None, trusted_since: None, statements: Vec::new(), recent: Vec::new() }
    }

    /// Keeps a final header among the recent ones.
    pub(super) fn remember(&mut self, height: Height, hash: Hash32) {
        self.recent.push((height, hash));
        let surplus = self.recent.len().saturating_sub(MAX_RECENT);
        self.recent.drain(..surplus);
    }
}

impl AdapterValue for TrustedState {
    /// Version 1 ended before the recent headers.
    const VERSION: u16 = 2;

    fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::default();
        encoder.number(self.height.0);
        encoder.hash(&self.hash);
        self.set.write(&mut encoder);
        match &self.roots {
            None => encoder.byte(0),
            Some(roots) => {
                encoder.byte(1);
                encoder.hash(&roots.transactions);
                encoder.hash(&roots.receipts);
            }
        }
        match self.trusted_since {
            None => encoder.byte(0),
            Some(since) => {
                encoder.byte(1);
                encoder.number(since.0);
            }
        }
        encoder.count(self.statements.len());
        for statement in &self.statements {
            encoder.number(statement.height.0);
            encoder.hash(&statement.digest);
        }
        encoder.count(self.recent.len());
        for (height, hash) in &self.recent {
            encoder.number(height.0);
            encoder.hash(hash);
        }
        encoder.into_bytes()
    }

    fn decode(version: u16, bytes: &[u8]) -> Result<Self, Refusal> {
        if version != 1 {
            expect_version(Self::VERSION, version)?;
        }
        let mut decoder = Decoder::new(bytes);
        let height = Height(decoder.number().map_err(encoding)?);
        let hash = decoder.hash().map_err(encoding)?;
        let set = SealerSet::read(&mut decoder)?;
        let read = |decoder: &mut Decoder<'_>| {
            let roots = match decoder.byte()? {
                0 => None,
                1 => Some(Roots { transactions: decoder.hash()?, receipts: decoder.hash()? }),
                _ => return Err(BinaryError::Form { expected: "0 or 1" }),
            };
            let trusted_since = match decoder.byte()? {
                0 => None,
                1 => Some(UnixMillis(decoder.number()?)),
                _ => return Err(BinaryError::Form { expected: "0 or 1" }),
            };
            let count = decoder.count(MAX_STATEMENTS, 40)?;
            let statements = (0..count)
                .map(|_| Ok(SetStatement { height: Height(decoder.number()?), digest: decoder.hash()? }))
                .collect::<Result<Vec<_>, _>>()?;
            let count = if version == 1 { 0 } else { decoder.count(MAX_RECENT, 40)? };
            let recent = (0..count)
                .map(|_| Ok((Height(decoder.number()?), decoder.hash()?)))
                .collect::<Result<Vec<_>, BinaryError>>()?;
            Ok((roots, trusted_since, statements, recent))
        };
        let (roots, trusted_since, statements, recent) = read(&mut decoder).map_err(encoding)?;
        decoder.finish().map_err(encoding)?;
        Ok(Self { height, hash, set, roots, trusted_since, statements, recent })
    }
}

/// Refuses another version of an encoding.
pub(crate) fn expect_version(expected: u16, got: u16) -> Result<(), Refusal> {
    if expected == got { Ok(()) } else { Err(Refusal::new("encoding-version", u64::from(expected), u64::from(got))) }
}

/// Names bytes that are not a value of this adapter.
pub(crate) fn encoding(error: BinaryError) -> Refusal {
    match error {
        BinaryError::Truncated { expected, got } => Refusal::new("encoding", expected, got),
        BinaryError::TooMany { limit, got } => Refusal::new("encoding", limit, got),
        BinaryError::Trailing { got } => Refusal::new("encoding", 0_u64, got),
        BinaryError::Form { expected } => Refusal::new("encoding", expected, "something else"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::suite::PublicKey;
    use crate::verify::sealer_set::Sealer;

    fn state() -> TrustedState {
        let set = SealerSet::new(vec![Sealer { id: PublicKey([0xaa; 64]), weight: 3 }]).unwrap();
        TrustedState {
            roots: Some(Roots { transactions: Hash32([2; 32]), receipts: Hash32([3; 32]) }),
            trusted_since: Some(UnixMillis(7)),
            statements: vec![SetStatement { height: Height(9), digest: Hash32([4; 32]) }],
            recent: vec![(Height(4), Hash32([5; 32]))],
            ..TrustedState::anchored(Height(5), Hash32([1; 32]), set)
        }
    }

    #[test]
    fn the_encoding_is_golden() {
        let before = format!(
            "{:016x}{}{:08x}{}{:016x}01{}{}01{:016x}{:08x}{:016x}{}",
            5,
            "01".repeat(32),
            1,
            "aa".repeat(64),
            3,
            "02".repeat(32),
            "03".repeat(32),
            7,
            1,
            9,
            "04".repeat(32)
        );
        let expected = format!("{before}{:08x}{:016x}{}", 1, 4, "05".repeat(32));
        assert_eq!(hex::encode(state().encode()), expected);
        assert_eq!(TrustedState::decode(2, &state().encode()), Ok(state()));
        let first = TrustedState { recent: Vec::new(), ..state() };
        assert_eq!(TrustedState::decode(1, &hex::decode(before).unwrap()), Ok(first), "what version 1 wrote");
    }

    #[test]
    fn every_shorter_prefix_and_one_more_byte_are_refused() {
        let bytes = state().encode();
        for length in 0..bytes.len() {
            assert!(TrustedState::decode(2, &bytes[..length]).is_err(), "{length}");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(TrustedState::decode(2, &longer).unwrap_err().check, "encoding");
    }

    #[test]
    fn another_version_is_refused_by_name() {
        for version in [0, 3] {
            assert_eq!(TrustedState::decode(version, &state().encode()).unwrap_err().check, "encoding-version");
        }
    }
}
