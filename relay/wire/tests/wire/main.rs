//! Golden bytes, round trips, damage and limits of everything that goes to a peer or to disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod damage;
mod golden;
mod limits;
mod released;
mod round_trip;
mod samples;
mod stream;
