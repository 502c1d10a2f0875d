//! What is refused before it is allocated. Limits that the protocol itself knows live in `cityrelay-core`.

/// The most bytes of one frame, version and kind included, 32 MiB: one opaque value of the largest size and as much again.
pub const MAX_FRAME_BYTES: usize = 32 << 20;

/// The most bytes of one record or row, 64 MiB: a frame's claim, with what the journal adds to it.
pub const MAX_RECORD_BYTES: usize = 64 << 20;

/// The most payload bytes of one message, 1 MiB; gateways enforce less.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;

/// The most attested heads that travel with one claim: one for each entry.
pub const MAX_EVIDENCE: usize = cityrelay_core::claim::MAX_CLAIM_ENTRIES;

/// The most verifiers whose attesters vouch for one validator set: one for each lane's target, and few share a relay.
pub const MAX_SET_EVIDENCE: usize = 64;

/// The most headers in one client record; an update of 16 MiB holds fewer.
pub const MAX_RECORD_HEADERS: usize = 65_536;

/// The most bytes that an adapter may keep with one header, 64 KiB: a few roots, with room.
pub const MAX_HEADER_DETAIL_BYTES: usize = 64 << 10;
