//! Bytes that only one adapter understands: light-client states, updates, proofs and transaction intents.

/// The most bytes that one opaque value may have, 16 MiB: an update of a few thousand headers, with room.
pub const MAX_OPAQUE_BYTES: usize = 16 << 20;

/// The longest adapter name, in bytes.
pub const MAX_ADAPTER_NAME_BYTES: usize = 32;

/// An adapter's own encoding of one of its values. Everybody else carries it without looking inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opaque {
    /// Name of the adapter that wrote it, such as it is called in the configuration.
    pub adapter: String,
    /// Version of that adapter's encoding.
    pub version: u16,
    /// The encoded value, at most [`MAX_OPAQUE_BYTES`].
    pub bytes: Vec<u8>,
}
