//! The light client: what may be believed of headers, sealer sets and checkpoints. Pure.

pub mod checkpoint;
pub mod client;
pub mod header;
pub mod merkle_path;
pub mod sealer_set;
pub mod set_change;
pub mod signatures;
pub mod state;
pub mod update;
