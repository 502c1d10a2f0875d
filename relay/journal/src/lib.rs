//! Durable storage: what must be on disk before anything leaves the relay.
//!
//! [`Journal`] keeps `cityrelay-core`'s records in one file, `journal.redb`: one writer, group commit, one sync for
//! everything that waits. [`MemoryJournal`] runs the same rules over a map, with sync and crash as calls. [`View`] answers
//! questions about either.
//!
//! [`SignOnceRecord`] is the smaller record of a signer that is a process of its own.
//!
//! # What is kept
//! One row per extension for good: its points and, of each entry, what its link is made of (32 bytes of a message, 65 of
//! an outcome; 20 more find a message by its id: 117 of the 128 bytes that a message may cost). Every head can be had
//! again from them. Bodies, proofs and signatures stand in rows of their own and can be pruned. Each row carries a
//! checksum over table, key and content; every chain read back must end in the head that was proved.
//!
//! # What is refused
//! The journal does not believe the machine: an extension that is not our own chain's continuation, a mark or a
//! signature for a head that is not ours, a second header for a height, a client that goes back. A refused batch leaves
//! nothing behind, and does not touch the batches beside it.
//!
//! # Another format
//! A journal of an older format is taken over when it is opened, after a copy of the file was put beside it
//! (`journal.redb.format-N`); one of a newer or unknown format is refused by name. The formats stand in `format.rs`.
//!
//! # After a crash
//! Everything acknowledged is there; of what was not, whole batches in order. Opening costs no walk over the file
//! (allocator state is saved with each commit), recovery reads only what is outstanding.
//!
//! # Damage
//! An error with a name, never another answer: rows carry checksums, counts find lost ones, chains must end in their
//! heads. Two things are weaker. Attested heads and what only tells the history of a message (times, transactions, the
//! way from an id to its message) may get lost unnoticed; the former are asked for again. And the store can take the
//! process with it when it meets a damaged page of its own; the next opening then compares every checksum of the file
//! and names the damage ([`Options::check_on_open`] does so always). Damage never heals by itself: the writer refuses
//! everything until the file is restored.

pub mod error;
pub mod journal;
pub mod memory;
pub mod prune;
pub mod sign_once;
pub mod stats;
pub mod view;

mod apply;
mod format;
mod queue;
mod recover;
mod rows;
mod spans;
mod store;
mod table;
mod writer;

pub use error::JournalError;
pub use format::{FORMAT, OLDEST_FORMAT};
pub use journal::{Journal, NotAppended, Options};
pub use memory::{BatchId, MemoryJournal};
pub use prune::{PruneDepth, Pruned};
pub use sign_once::{SIGN_ONCE_FILE_NAME, SignOnce, SignOnceRecord};
pub use stats::Stats;
pub use store::FILE_NAME;
pub use view::{CarryTransaction, Counts, FlowCounts, Timeline, View};

#[cfg(test)]
mod tests;
