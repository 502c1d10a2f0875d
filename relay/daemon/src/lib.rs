//! The cityrelay daemon: configuration, command line, control socket, observability, and the event loop between them.

pub mod cli;
pub mod clock;
pub mod config;
pub mod contracts;
pub mod control;
mod core_dumps;
pub mod demo;
pub mod doctor;
mod durable_file;
pub mod keys;
mod listening_socket;
pub mod observability;
pub mod page;
pub mod replay;
pub mod run;
pub mod signer;
pub mod top;

#[cfg(test)]
mod fake_chain;
#[cfg(test)]
mod fake_target;
