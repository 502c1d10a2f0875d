//! In which way a chain differs from others for the contracts.

use crate::artifact;

/// How a chain computes keccak256, which decides the build of the contracts that stands on it.
///
/// The builds differ in nothing else that is seen from outside: the same calldata, events, errors and heads. Their
/// known-answer tests refuse to go into service on a chain of another flavour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// `hash = opcode`: the hash opcode is keccak256.
    Opcode,
    /// `hash = precompile`: the opcode is SM3, and the chain's crypto contract at 0x100a computes keccak256.
    Precompile {
        /// Selectors of the chain's applications.
        callbacks: Selectors,
    },
}

/// With which hash the compiler of a chain's applications makes function selectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selectors {
    /// keccak256, as usual.
    Keccak256,
    /// SM3.
    Sm3,
}

impl Flavour {
    pub(crate) const fn gateway_init_code(self) -> &'static [u8] {
        match self {
            Self::Opcode => artifact::GATEWAY_INIT_CODE,
            Self::Precompile { .. } => artifact::PRECOMPILE_GATEWAY_INIT_CODE,
        }
    }

    pub(crate) const fn committee_init_code(self) -> &'static [u8] {
        match self {
            Self::Opcode => artifact::COMMITTEE_INIT_CODE,
            Self::Precompile { .. } => artifact::PRECOMPILE_COMMITTEE_INIT_CODE,
        }
    }
}

impl Selectors {
    const ALL: [Self; 2] = [Self::Keccak256, Self::Sm3];

    /// The word used in configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keccak256 => "keccak256",
            Self::Sm3 => "sm3",
        }
    }

    /// The selectors called `name`, or `None`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|selectors| selectors.as_str() == name)
    }

    /// As `PrecompileGateway` numbers them.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Keccak256 => 0,
            Self::Sm3 => 1,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|selectors| selectors.code() == code)
    }
}
