//! The light client, its codecs and recordings, without a network.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod chain;
mod checkpoints;
mod fixtures;
mod headers;
mod live;
mod names;
mod properties;
mod sdk;
mod vectors;
mod verdicts;

/// The check that must refuse, and the edit that it must refuse for.
type Case<T> = (&'static str, fn(&mut T));
