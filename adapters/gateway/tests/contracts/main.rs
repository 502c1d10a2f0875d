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
mod flavours;
mod gas;
mod governance;
mod known_answers;
mod probes;
mod sending;
mod settlement;
mod strict_lane;
mod vectors;
mod walk;
mod walk_attacks;
mod walk_model;
mod world;
