//! Adapter for FISCO BCOS 3.x chains: light client, recordings, and access to nodes.
//!
//! [`codec`] knows the chain's bytes in both directions and decides nothing; [`verify`] decides and does no I/O;
//! [`recording`] runs both over what nodes once answered; `node` (feature `node`) talks to nodes.

pub mod codec;
pub mod recording;
pub mod verify;

#[cfg(feature = "node")]
pub mod node;

/// The adapter's name in `adapter = "…"` and in every opaque value of it.
pub const NAME: &str = "fisco-bcos";
