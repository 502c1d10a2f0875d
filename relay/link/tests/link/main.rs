//! The link over real sockets on 127.0.0.1: two links, or one link and a peer that breaks the rules.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod backpressure;
mod forwarder;
mod frames;
mod handshake;
mod keys;
mod node;
mod protocol;
mod reconnect;
mod rogue;
mod sessions;
mod versions;
