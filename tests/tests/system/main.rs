//! The whole system as real processes: what may happen to it, and what operators do with it.
//!
//! One program: trials wait for blocks most of the time, so that several of them fit beside each other on two cores.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod doctor;
mod living;
mod operator;
mod process;
mod service;
mod signers;
mod traces;
mod unsigned;
mod watched;
