//! The contracts as they behave: in an EVM in memory, and on a development chain through its JSON-RPC.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../../src/abi.rs"]
#[allow(clippy::too_many_arguments)]
mod abi;
mod artifacts;
mod bindings;
mod chain;
mod committee;
mod delivery;
mod development_chain;
mod gas;
mod governance;
mod probes;
mod random_walk;
mod sending;
mod settlement;
mod strict_lane;
mod vectors;
mod world;
