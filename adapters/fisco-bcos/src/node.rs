//! Access to nodes: configuration, JSON-RPC, and the source and target made of it.

mod account_file;
pub mod adapter;
mod ailment;
mod anchors;
mod config;
mod confirm;
mod endpoint;
mod event_index;
mod health;
mod inspect;
mod intent;
mod pool;
mod proofs;
mod recorder;
mod rpc;
mod set_evidence;
mod source;
mod target;
mod tls;

pub use adapter::ADAPTER;
