//! What is sound and what is not, line by line, each with the command that repairs it.
//!
//! [`host`] looks at this machine, [`chains`] at nodes and anchors, [`gateways`] at contracts and accounts, [`attesters`]
//! at the attester sets, [`peers`] at the other ends of the link, [`journal`] at what is on disk. Each gives findings and
//! changes nothing. `doctor` asks all of them, `config check --live` and `gateway status` some.

pub mod attesters;
pub mod chains;
mod finding;
pub mod gateways;
pub mod host;
pub mod journal;
pub mod peers;

pub use finding::{Area, Finding, Verdict};
