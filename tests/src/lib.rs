//! The test harness over the whole system: the seeded simulation, the trials with processes, and the checker of the
//! architecture.
//!
//! Code here runs in tests only; a broken assumption of the harness itself may end the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod architecture;
pub mod process;
pub mod simulation;
