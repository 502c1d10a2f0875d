//! The cityrelay daemon: configuration, command line, control socket, observability, and the event loop between them.

pub mod config;
pub mod replay;

#[cfg(test)]
mod fake_chain;
#[cfg(test)]
mod fake_target;
