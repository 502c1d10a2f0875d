//! The running daemon: one machine, and everything around it that does what the machine decides.
//!
//! [`plan`] turns the checked configuration into a machine; [`event_loop`] feeds it inputs and hands its effects out;
//! [`executor`] does them, each in a task or a worker thread of its own, and answers with inputs; what a peer causes runs in
//! that peer's share of [`ration`]. Nothing out here
//! decides anything about a message. [`traces`] tells a collector of each message's walk. [`survey`] looks at what no message shows, and [`readiness`] says from all of it why
//! the daemon is not making the progress that it should. [`reload`] takes a changed configuration over meanwhile.

mod control;
mod event_loop;
mod exchange;
mod executor;
mod observe;
mod plan;
mod ration;
mod readiness;
mod reload;
mod report;
mod retention;
mod session;
mod signer;
mod signing_counter;
mod supervisor;
mod survey;
mod traces;

pub use event_loop::run;
pub(crate) use plan::link_config;
pub use ration::{REST_FACTOR, Ration, Worth};
pub use reload::{Change, ReadFrom, ReloadRefusal, ReloadReport, Reloader};
pub use session::VAIN_FRAMES;
