//! Adapter for EVM chains whose blocks carry BFT seals.
#![forbid(unsafe_code)]

pub mod codec;
pub mod config;
pub mod recording;
pub mod verify;
