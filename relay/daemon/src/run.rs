//! The running daemon: one machine, and everything around it that does what the machine decides.
//!
//! [`plan`] turns the checked configuration into a machine; [`event_loop`] feeds it inputs and hands its effects out;
//! [`executor`] does them, each in a task or a worker thread of its own, and answers with inputs. Nothing out here
//! decides anything about a message.

mod control;
mod event_loop;
mod executor;
mod observe;
mod plan;
mod report;
mod session;
mod signer;
mod supervisor;

pub use event_loop::run;
