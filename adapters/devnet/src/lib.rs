#![doc = include_str!("../README.md")]

pub mod bcos_rpc;
mod chain_hash;
pub mod city;
mod devnet;
pub mod eth_rpc;
pub mod execution;
mod head_server;
pub mod keys;
#[cfg(feature = "misbehave")]
pub mod misbehave;
mod node_server;
mod pair;
pub mod rpc_fault;
pub mod sealed_evm;
mod section;
pub mod weighted_bcos;
pub mod world;

pub use devnet::{CityConfig, Devnet, DevnetConfig, DevnetError, Running};
pub use pair::{CityPlan, Pair, PairError, Pairing};
pub use section::Section;
