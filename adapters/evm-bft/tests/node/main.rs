//! Node access against a development chain of another implementation, and against recorded answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod anchors;
mod development_chain;
mod encrypted;
mod reading;
mod recorded_node;
mod writing;

/// A folder of the test's own, gone when dropped.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}
