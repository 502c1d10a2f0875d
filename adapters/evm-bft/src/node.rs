//! Access to nodes: endpoints, reading, writing, recording. Behind the feature `node`.

mod adapter;
mod anchors;
mod connect;
mod endpoint;
mod events;
mod head_proof;
mod heads;
mod inspect;
mod pool;
mod questions;
mod recorder;
mod signer;
mod source;
mod target;
#[cfg(test)]
mod tests;
mod txpool;
mod updates;

pub use adapter::EvmBft;
