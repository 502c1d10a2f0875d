//! What is sound and what is not, line by line, each with the command that repairs it.
//!
//! [`host`] looks at this machine, [`chains`] at nodes and anchors, [`gateways`] at contracts, [`accounts`] at accounts,
//! [`attesters`] at the attester sets, [`peers`] at the other ends of the link, [`journal`] at what is on disk. Each gives
//! findings and changes nothing. `doctor` asks all of them, `config check --live` and `gateway status` some.

pub mod accounts;
pub mod attesters;
pub mod chains;
mod finding;
pub mod gateways;
pub mod host;
mod instance;
pub mod journal;
mod known_answers;
pub mod peers;
mod repair;

pub use finding::{Area, Finding, Verdict};
pub use instance::Instance;
pub use repair::Repair;
