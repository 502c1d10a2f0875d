//! The chain's encodings, in both directions: headers, extraData, receipts, transactions, proofs.
//!
//! Nothing in here judges a seal or counts a quorum.

pub mod account;
pub mod edge;
pub mod extra;
pub mod header;
pub mod json;
pub mod ordered_trie;
pub mod receipt;
pub mod rlp;
pub mod transaction;
pub mod trie_proof;
