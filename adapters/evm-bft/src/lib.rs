//! Adapter for EVM chains whose blocks carry BFT seals: QBFT, IBFT2, IBFT1 and Polygon Edge.
//!
//! [`codec`] reads and writes what such chains encode, [`verify`] decides what is final, [`config`] checks the chain's
//! section, [`recording`] takes recordings apart, and `node` (feature `node`, on by default) talks to nodes. The README
//! says who is trusted for what.
#![forbid(unsafe_code)]

pub mod codec;
pub mod config;
#[cfg(feature = "node")]
pub mod node;
pub mod recording;
pub mod verify;

#[cfg(feature = "node")]
pub use node::EvmBft;

/// The adapter's name in `adapter = "…"` and in its opaque bytes.
pub const ADAPTER: &str = "evm-bft";
