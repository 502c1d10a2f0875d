//! How the chain seals its blocks and chooses its validators.

/// A header format with its rules, by the word that a relay's configuration has for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SealMode {
    /// QBFT, the validators in the headers, changed by votes.
    #[default]
    Qbft,
    /// QBFT, the validators in a contract, changed by transactions. The block after a change is sealed by the set before,
    /// as was recorded of GoQuorum.
    QbftContract,
    /// IBFT2, as Besu has it.
    Ibft2,
    /// IBFT1 (EIP-650), as GoQuorum has it.
    Ibft1,
    /// Polygon Edge with one signature for each seal.
    EdgeEcdsa,
    /// Polygon Edge with one aggregate signature under each block.
    EdgeBls,
}

impl SealMode {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Qbft, Self::QbftContract, Self::Ibft2, Self::Ibft1, Self::EdgeEcdsa, Self::EdgeBls];

    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qbft => "qbft",
            Self::QbftContract => "qbft-contract",
            Self::Ibft2 => "ibft2",
            Self::Ibft1 => "ibft1",
            Self::EdgeEcdsa => "edge-ecdsa",
            Self::EdgeBls => "edge-bls",
        }
    }

    /// The mode with this word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }

    /// Whether it is one of Polygon Edge's.
    pub const fn is_edge(self) -> bool {
        matches!(self, Self::EdgeEcdsa | Self::EdgeBls)
    }

    /// Seals that make a block final: ceil(2n/3) (besu `BftHelpers.calculateRequiredValidatorQuorum`); Edge wants all of
    /// up to three (`consensus/ibft/validators.go`).
    pub(crate) const fn quorum(self, validators: usize) -> usize {
        if self.is_edge() && validators <= 3 { validators } else { (2 * validators).div_ceil(3) }
    }

    /// Whether headers have a base fee: the recorded IBFT1 and Edge chains never came to London.
    pub(super) const fn has_base_fee(self) -> bool {
        matches!(self, Self::Qbft | Self::QbftContract | Self::Ibft2)
    }

    /// Whether `miner` and `nonce` carry the vote, and the proposer signs the block apart from its seals.
    pub(super) const fn votes_in_miner(self) -> bool {
        matches!(self, Self::Ibft1 | Self::EdgeEcdsa | Self::EdgeBls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_names_one_mode() {
        for mode in SealMode::ALL {
            assert_eq!(SealMode::from_name(mode.name()), Some(mode));
        }
        assert_eq!(SealMode::from_name("clique"), None);
    }

    #[test]
    fn quorums_are_those_of_the_clients() {
        assert_eq!([1, 2, 3, 4, 5, 6].map(|n| SealMode::Qbft.quorum(n)), [1, 2, 2, 3, 4, 4]);
        assert_eq!([1, 2, 3, 4, 5, 6].map(|n| SealMode::EdgeBls.quorum(n)), [1, 2, 3, 3, 4, 4]);
    }
}
