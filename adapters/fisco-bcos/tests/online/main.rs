//! Source, target and recordings against nodes that are stand-ins on loopback.

#![cfg(feature = "node")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod anchors;
mod attacks;
#[path = "../offline/chain.rs"]
mod chain;
mod gateway_chain;
mod heads;
mod nodes;
mod stand_in;
mod tls;
mod transactions;
mod updates;
mod versions;
