//! The architecture as rules that can fail: layers, purity, where a chain's name may occur, names of modules.
//!
//! Each rule works on plain data ([`Package`], [`Tree`], [`SourceFile`]), so that it can be shown to fail on made-up input.

pub mod layers;
pub mod purity;
pub mod reader;
pub mod sources;
pub mod words;

use std::collections::BTreeSet;

/// A workspace member and the members that it depends on, tests aside.
#[derive(Clone, Debug, Default)]
pub struct Package {
    /// Crate name.
    pub name: String,
    /// Folder from the workspace's root, such as `relay/core`.
    pub folder: String,
    /// Names of the members that it depends on in any but dev dependencies.
    pub uses: BTreeSet<String>,
}

/// Everything that one crate pulls in when it is built alone without its default features.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Crate name.
    pub root: String,
    /// Its direct dependencies.
    pub direct: BTreeSet<String>,
    /// Those and all that they pull in.
    pub all: BTreeSet<String>,
}

/// A text file of the repository.
#[derive(Clone, Debug, Default)]
pub struct SourceFile {
    /// Path from the workspace's root, with `/`.
    pub path: String,
    /// Its content.
    pub text: String,
}

/// One breach of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{place}: {what}")]
pub struct Breach {
    /// Crate or file, with the line where there is one.
    pub place: String,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl Breach {
    /// A breach at a place.
    #[must_use]
    pub fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

/// Folders directly under `adapters/` that are no chain.
const NO_CHAINS: [&str; 4] = ["api", "gateway", "devnet", "all"];

/// The chain whose folder a path lies in, such as `adapters/x/src/lib.rs` → `x`.
#[must_use]
pub fn chain_of(path: &str) -> Option<&str> {
    let name = path.strip_prefix("adapters/")?.split('/').next()?;
    (!NO_CHAINS.contains(&name)).then_some(name)
}
