//! Fuzz targets over everything that reads what strangers wrote: frames, records, headers, proofs, transactions, node
//! answers, configuration, the control socket, and the state machine itself.
//!
//! A target takes bytes and panics when a property does not hold; [`TARGETS`] is the list of them, and its
//! documentation there says what each one holds. `tests/fuzz/run` drives them with libFuzzer; the test `corpus` runs
//! every committed input, the ones that once failed among them, on any toolchain.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod blocks;
mod conversation;
mod proofs;
mod settings;
mod transactions;
mod updates;
mod wire;

/// A target: its name, which is also the folder of its corpus, and what it does with an input.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name in kebab-case.
    pub name: &'static str,
    /// The longest input worth trying, in bytes.
    pub max_bytes: usize,
    /// Runs one input.
    ///
    /// # Panics
    /// When a property of the target does not hold.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    target("frame", 1 << 14, wire::frame),
    target("stream", 1 << 14, wire::stream),
    target("record", 1 << 14, wire::record),
    target("row", 1 << 12, wire::row),
    target("signer", 1 << 11, wire::signer),
    target("rlp", 1 << 11, blocks::rlp),
    target("evm-header", 1 << 12, blocks::evm_header),
    target("evm-extra", 1 << 11, blocks::evm_extra),
    target("evm-receipt", 1 << 12, blocks::evm_receipt),
    target("evm-answer", 1 << 13, blocks::evm_answer),
    target("evm-update", 1 << 10, updates::evm),
    target("trie-proof", 1 << 12, proofs::trie),
    target("merkle-path", 1 << 11, proofs::merkle),
    target("tars", 1 << 12, transactions::tars),
    target("web3", 1 << 11, transactions::web3),
    target("bcos-answer", 1 << 13, blocks::bcos_answer),
    target("bcos-update", 1 << 10, updates::bcos),
    target("config", 1 << 12, settings::config),
    target("control", 1 << 12, settings::control),
    target("machine", 1 << 11, conversation::machine),
];

const fn target(name: &'static str, max_bytes: usize, run: fn(&[u8])) -> Target {
    Target { name, max_bytes, run }
}

/// The target called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
