//! Tests of the light client: recorded chains, and chains sealed by the test's own keys.

mod ancestry;
mod contract;
mod encoding;
mod equivocation;
mod head;
pub(crate) mod kit;
mod recorded;
mod refusals;
mod vectors;
