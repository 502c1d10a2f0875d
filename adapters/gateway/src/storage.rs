//! The two storage slots that are part of the protocol: `contracts/GatewayState.sol`, slots 0 and 1.

use cityrelay_core::hash::{Hash32, hash_words};
use cityrelay_core::ids::LaneId;

/// Slot of `heads[lane]`: the 32-byte head that the gateway vouches for on `lane`.
///
/// Solidity puts `mapping` values at keccak256(key ‖ slot of the mapping).
#[must_use]
pub fn head_slot(lane: LaneId) -> Hash32 {
    hash_words(&[lane.0, Hash32::from_u64(0)])
}

/// Slot of `indexes[lane]`: the index of that head, as a 256-bit number.
#[must_use]
pub fn index_slot(lane: LaneId) -> Hash32 {
    hash_words(&[lane.0, Hash32::from_u64(1)])
}
