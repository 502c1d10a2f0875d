//! The adapters that the release ships, and the only place that registers them.

use cityrelay_api::Adapter;

static ADAPTERS: [&dyn Adapter; 2] = [&cityrelay_evm_bft::EvmBft, &cityrelay_fisco_bcos::node::ADAPTER];

/// Every adapter of this build, in the order in which the reference lists them.
#[must_use]
pub fn adapters() -> &'static [&'static dyn Adapter] {
    &ADAPTERS
}
