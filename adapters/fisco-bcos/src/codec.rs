//! The chain's bytes: hash preimages, tars, Merkle trees, JSON forms, keys. Nothing here decides whether to believe.

pub mod account;
pub mod binary;
pub mod header;
pub mod json;
pub mod json_transaction;
pub mod merkle;
pub mod receipt;
pub mod suite;
pub mod tars;
pub mod transaction;
pub mod web3;
