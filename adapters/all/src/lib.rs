//! The adapters that the release ships, and the only place that registers them.

use cityrelay_api::Adapter;

/// Every adapter of this build, in the order in which the reference lists them.
#[must_use]
pub fn adapters() -> &'static [&'static dyn Adapter] {
    &[]
}
