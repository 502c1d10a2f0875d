//! Every byte layout that the relay itself promises to a peer or to its disk.
//!
//! The only place that names `bincode`. Its output is never hashed by the protocol and never signed: what is signed is
//! made of 32-byte words in `cityrelay-core`. Core types derive nothing; the structs in [`v1`](self) mirror them and
//! are what the golden bytes in `vectors/` pin.
//!
//! # Layout
//! Integers are fixed width, big-endian; hashes, lane ids and addresses are their 32 bytes; nothing is padded.
//!
//! ```text
//! list, bytes, text     u32 count, then that many items (bytes)      the count is checked before anything is allocated
//! optional              u8 0 | u8 1, value
//! choice                u32 number of the alternative, its fields
//!
//! on a stream           u32 length of what follows (2 ..= MAX_FRAME_BYTES), frame
//! frame                 u8 version = 1 | u8 kind | fields in the order of the struct
//! record                u8 version = 1 | u8 kind | fields in the order of the struct
//! row                   u8 version = 1 | u8 kind | fields in the order of the struct | u32 CRC-32 of table, key and all before
//! signer                see [`signer`]
//! ```
//!
//! Fixed width and not variable: a value has exactly one encoding, so what decodes encodes to the same bytes again.
//! There is no self-description: a field more is a new version, see `vectors/README.md`.

pub mod error;
pub mod frame;
pub mod framing;
pub mod limits;
pub mod record;
pub mod row;
pub mod signer;

mod bounded;
mod codec;
mod v1;

pub use error::{DecodeError, EncodeError};
