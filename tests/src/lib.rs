//! The test harness over the whole system: the trials with processes, an attester that is fooled, and the checker of the
//! architecture. The seeded simulation is a crate of its own, `tests/simulation`.
//!
//! Code here runs in tests only; a broken assumption of the harness itself may end the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod architecture;
pub mod process;
pub mod roads;
