//! Layout version 1. A layout that has been released never changes: a change is a new module beside this one.

pub mod frame;
pub mod parts;
pub mod record;
pub mod row;
pub mod signer;

/// A value with a mirror in this layout: the mirror has checked limits, and is what bincode sees.
pub trait Mirrored: Sized {
    /// The struct whose fields, in order, are the layout.
    type Mirror: bincode::Encode + bincode::Decode<crate::bounded::Fault>;

    /// The mirror, or the limit that the value breaks.
    fn mirror(&self) -> Result<Self::Mirror, crate::EncodeError>;

    /// The value. What decoded is within the limits already.
    fn original(mirror: Self::Mirror) -> Self;
}
