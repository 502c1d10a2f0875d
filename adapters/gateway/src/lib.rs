//! The gateway contracts, their compiled artifacts and the only code that knows their calldata.
//!
//! The contracts lie in `contracts/`, what the compiler makes of them in `artifacts/`; the README says how to make it
//! again. Adapters hand a [`cityrelay_core::gateway_call::GatewayCall`] to [`call::encode_for`], read events by
//! [`event::decode`], ask the contracts by [`query`], find the proved slots by [`storage`], cut batches by [`cost`] and
//! explain a revert by [`refusal::Refusal`]. Nothing here does I/O.
//!
//! Every decoder is strict: what is accepted is exactly what the contracts produce, byte for byte.

#![forbid(unsafe_code)]

#[expect(clippy::too_many_arguments, reason = "the bindings have the arguments that the contracts have")]
mod abi;
pub mod artifact;
pub mod call;
pub mod cost;
pub mod event;
pub mod examples;
pub mod flavour;
pub mod known_answers;
pub mod query;
pub mod refusal;
pub mod storage;
mod strict;

pub use call::{EncodeError, EncodedCall, encode, encode_for};
pub use event::GatewayEvent;
pub use flavour::Flavour;
pub use refusal::Refusal;
pub use strict::DecodeError;
