//! The light client: which headers are final, and which head a gateway had at one.
//!
//! Pure: no clock, no network, no randomness. The entry is [`client::Client`].

pub mod anchor;
pub mod client;
mod equivocation;
mod finality;
pub mod head;
pub mod mode;
mod reading;
pub mod rules;
mod seals;
pub mod set;
mod span;
pub mod state;
pub mod storage;
pub mod tally;
pub mod update;

#[cfg(feature = "node")]
pub(crate) use reading::rlp_refusal;

#[cfg(test)]
pub(crate) mod tests;
