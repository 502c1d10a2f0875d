//! `cityrelay demo`: two city chains, two relays and four attesters on loopback, and messages between them.
//!
//! The chains are the stand-ins of `adapters/devnet` in a process of their own; relays and attesters are this same
//! program under `run`, started, killed and restarted like an operator would. What is claimed at the end is read back
//! from both chains and checked.

pub mod cities;
pub mod configs;
pub mod ledger;
mod narrator;
pub mod setup;
mod show;
mod table;
pub mod traffic;
pub mod world;

pub use show::{DemoOptions, show};
