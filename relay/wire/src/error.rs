//! Why bytes are refused, and why a value can't be written.

/// Why bytes are not a value. The fault of whoever sent or stored them; trying again does not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The layout is of a version that this build does not read.
    #[error("expected layout version {expected}, got {got}")]
    Version {
        /// Version that this build reads.
        expected: u8,
        /// Version found.
        got: u8,
    },
    /// No such kind of frame, record or row exists, or another one was expected.
    #[error("unknown or unexpected {what} kind {got}")]
    Kind {
        /// Frame, record or row.
        what: &'static str,
        /// Kind found.
        got: u8,
    },
    /// The bytes end inside a value.
    #[error("the bytes end inside a value")]
    Truncated,
    /// Bytes are left after the value.
    #[error("expected no bytes after the value, got {got}")]
    Trailing {
        /// Bytes left.
        got: usize,
    },
    /// Something is longer than it may be.
    #[error("expected at most {expected} {what}, got {got}")]
    TooLong {
        /// What is counted.
        what: &'static str,
        /// The limit.
        expected: usize,
        /// What the bytes claim.
        got: usize,
    },
    /// A number that stands for something stands for nothing.
    #[error("{got} is no {what}")]
    Code {
        /// What the number should stand for.
        what: &'static str,
        /// The number.
        got: u32,
    },
    /// A text is not UTF-8.
    #[error("{what}: not UTF-8")]
    Text {
        /// Which text.
        what: &'static str,
    },
    /// Items that must ascend, each once, do not.
    #[error("{what}: expected ascending, each once")]
    Order {
        /// Which items.
        what: &'static str,
    },
    /// The checksum of a row differs: the disk (or its table) is damaged.
    #[error("expected checksum {expected:08x}, got {got:08x}")]
    Checksum {
        /// Computed from what was read.
        expected: u32,
        /// Stored.
        got: u32,
    },
    /// Bytes that no field can have.
    #[error("malformed value")]
    Malformed,
}

/// Why a value can't be written: it breaks a limit that every reader enforces. Our fault, or the adapter's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Something is longer than it may be.
    #[error("expected at most {expected} {what}, got {got}")]
    TooLong {
        /// What is counted.
        what: &'static str,
        /// The limit.
        expected: usize,
        /// What the value has.
        got: usize,
    },
}
