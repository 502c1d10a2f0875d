//! Recordings: whole blocks as nodes answered them, taken apart and checked without a network.
pub mod body;
pub mod read;
