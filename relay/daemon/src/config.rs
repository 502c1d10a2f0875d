//! Configuration: defaults ← files ← environment ← flags, read once and checked as a whole.
//!
//! [`layers::Layers`] merges, [`check`] turns the result into [`settings::Config`] or into every fault at once, each
//! with file, line and key. [`key_table`] is the one list of keys behind checking, defaults and [`reference`].

pub mod check;
mod credentials;
pub mod explain;
pub mod fault;
pub(crate) mod files;
pub mod key_table;
pub mod layers;
mod reader;
pub mod reference;
pub mod schema;
pub mod settings;
#[cfg(test)]
mod tests;
mod tree;

pub use fault::{Fault, Faults, Origin};
pub use layers::{Layers, Sources};
pub use settings::Config;
pub use tree::Origins;
