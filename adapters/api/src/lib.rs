//! What a chain adapter offers to the daemon: configuration, light client, source, target, recordings.
//!
//! A chain is one folder under `adapters/`. It implements [`Adapter`] (one static per adapter) and, for each configured
//! chain, [`Chain`]. Inside, its types are its own; out here they are [`cityrelay_core::opaque::Opaque`] bytes, so that
//! no generics and no enum over chains reach the daemon.

pub mod adapter;
pub mod client;
#[cfg(feature = "contract-test")]
pub mod contract_test;
#[cfg(feature = "http")]
pub mod http;
pub mod inspect;
pub mod lookout;
pub mod recording;
pub mod source;
pub mod target;
pub mod turns;

pub use adapter::{Adapter, Chain, ConfigFault};
pub use client::ErasedClient;
