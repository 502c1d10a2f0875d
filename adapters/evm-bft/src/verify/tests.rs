//! Tests of the light client: recorded chains, and chains sealed by the test's own keys.

mod ancestry;
mod anchor;
pub(crate) mod contract;
mod edge;
mod encoding;
mod equivocation;
mod forgery;
mod head;
pub(crate) mod kit;
mod readme;
mod recorded;
mod refusals;
mod vectors;
