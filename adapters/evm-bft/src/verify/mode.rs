//! How a chain seals its blocks, and from which height on.

/// A header format with its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// IBFT1 (EIP-650), GoQuorum.
    Ibft1,
    /// IBFT2, Besu.
    Ibft2,
    /// QBFT with the validator list in the header.
    Qbft,
    /// QBFT with the validators in a contract.
    QbftContract,
    /// Polygon Edge, secp256k1 seals.
    EdgeEcdsa,
    /// Polygon Edge, BLS seals.
    EdgeBls,
}

/// Every mode with the word used in the configuration.
pub const MODES: [(&str, Mode); 6] = [
    ("ibft1", Mode::Ibft1),
    ("ibft2", Mode::Ibft2),
    ("qbft", Mode::Qbft),
    ("qbft-contract", Mode::QbftContract),
    ("edge-ecdsa", Mode::EdgeEcdsa),
    ("edge-bls", Mode::EdgeBls),
];

impl Mode {
    /// The mode with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        MODES.iter().find(|(known, _)| *known == name).map(|(_, mode)| *mode)
    }

    /// Whether it is one of Polygon Edge's.
    #[must_use]
    pub const fn is_edge(self) -> bool {
        matches!(self, Self::EdgeEcdsa | Self::EdgeBls)
    }

    /// Seals that finalise a block of `validators`: ceil(2n/3), on Edge all of them up to three
    /// (`consensus/ibft/validators.go`). Nothing lowers it.
    #[must_use]
    pub const fn quorum(self, validators: usize) -> usize {
        if self.is_edge() && validators <= 3 { validators } else { validators.saturating_mul(2).div_ceil(3) }
    }
}

/// Which mode applies from which height on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModeTable {
    first: Mode,
    later: Vec<(u64, Mode)>,
}

/// Why a table is none. The operator's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModeTableError {
    /// There is no entry.
    #[error("expected at least one mode, got none")]
    Empty,
    /// The heights do not ascend.
    #[error("expected ascending heights, got {got} after {before}")]
    Order {
        /// Height of the entry before.
        before: u64,
        /// Height of the entry.
        got: u64,
    },
    /// The first mode does not begin at block 0.
    #[error("expected the first mode from block 0 on, got {got}")]
    Start {
        /// Height given.
        got: u64,
    },
    /// A chain cannot change between Edge and the others.
    #[error("expected modes that a chain can change between, got Polygon Edge modes and others")]
    Mixed,
}

impl ModeTable {
    /// Checks and keeps a table.
    ///
    /// # Errors
    /// Every [`ModeTableError`].
    pub fn new(entries: &[(u64, Mode)]) -> Result<Self, ModeTableError> {
        let [(start, first), later @ ..] = entries else { return Err(ModeTableError::Empty) };
        if *start != 0 {
            return Err(ModeTableError::Start { got: *start });
        }
        if let Some([(before, _), (got, _)]) = entries.array_windows::<2>().find(|[a, b]| a.0 >= b.0) {
            return Err(ModeTableError::Order { before: *before, got: *got });
        }
        let is_mixed = later.iter().any(|(_, mode)| *mode != *first && (mode.is_edge() || first.is_edge()));
        if is_mixed {
            return Err(ModeTableError::Mixed);
        }
        Ok(Self { first: *first, later: later.to_vec() })
    }

    /// The mode of the header at `height`.
    #[must_use]
    pub fn at(&self, height: u64) -> Mode {
        self.later.iter().rev().find(|(from, _)| *from <= height).map_or(self.first, |(_, mode)| *mode)
    }

    /// Whether any of its modes is `mode`.
    #[must_use]
    pub fn contains(&self, mode: Mode) -> bool {
        self.first == mode || self.later.iter().any(|(_, later)| *later == mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quorum_is_two_thirds_rounded_up() {
        let quorums = [(1, 1), (2, 2), (3, 2), (4, 3), (5, 4), (6, 4), (7, 5), (10, 7)];
        for (size, quorum) in quorums {
            assert_eq!(Mode::Qbft.quorum(size), quorum, "{size}");
        }
        assert_eq!([1, 2, 3, 4].map(|size| Mode::EdgeBls.quorum(size)), [1, 2, 3, 3]);
    }

    #[test]
    fn a_mode_applies_from_its_height_on() {
        let table = ModeTable::new(&[(0, Mode::Ibft1), (30, Mode::Qbft)]).unwrap();
        assert_eq!([0, 29, 30, 31].map(|height| table.at(height)), [Mode::Ibft1, Mode::Ibft1, Mode::Qbft, Mode::Qbft]);
    }

    #[test]
    fn a_table_that_makes_no_sense_is_refused() {
        assert_eq!(ModeTable::new(&[]), Err(ModeTableError::Empty));
        assert_eq!(ModeTable::new(&[(1, Mode::Qbft)]), Err(ModeTableError::Start { got: 1 }));
        let twice = [(0, Mode::Qbft), (5, Mode::Ibft2), (5, Mode::Qbft)];
        assert_eq!(ModeTable::new(&twice), Err(ModeTableError::Order { before: 5, got: 5 }));
        assert_eq!(ModeTable::new(&[(0, Mode::Qbft), (5, Mode::EdgeBls)]), Err(ModeTableError::Mixed));
        assert_eq!(ModeTable::new(&[(0, Mode::EdgeEcdsa), (5, Mode::EdgeBls)]), Err(ModeTableError::Mixed));
    }
}
