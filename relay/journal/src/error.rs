//! What can go wrong, whose fault it is, and whether trying again can help.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Domain, Height, Index};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::record::Frozen;
use cityrelay_wire::{DecodeError, EncodeError};

/// Why the journal did not do what it was asked.
///
/// Cloneable, since one failed sync answers every batch in its group.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    // The operator's or the machine's fault. Nothing is lost; what was not acknowledged is not there.
    /// Another process, or another journal in this one, has the file open. Stop it first.
    #[error("{} is in use by another process", path.display())]
    AlreadyOpen {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer version.
    #[error(
        "expected a journal of format {expected} or older, got {got}: run the version that wrote it, or a newer one"
    )]
    NewerFormat {
        /// Format of this build.
        expected: u32,
        /// Format of the file.
        got: u32,
    },
    /// The file has an older format, and was opened without [`crate::Options::take_over`].
    #[error(
        "expected a journal of format {expected}, got {got}: the daemon takes it over at its start and keeps a copy"
    )]
    OlderFormat {
        /// Format of this build.
        expected: u32,
        /// Format of the file.
        got: u32,
    },
    /// The file has a format that no build takes over any more, or never existed.
    #[error("expected a journal of format {oldest} or newer, got {got}: let a version in between take it over first")]
    UnknownFormat {
        /// The oldest that this build takes over.
        oldest: u32,
        /// Format of the file.
        got: u32,
    },
    /// The disk (or the quota) is full. Make room; the batch may be tried again.
    #[error("no space left for the journal")]
    DiskFull,
    /// The disk or the file system fails. The batch may be tried again.
    #[error("the journal's disk: {source}")]
    Io {
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The writer stopped, or the journal was closed.
    #[error("the journal is closed")]
    Closed,

    // Damage. Nothing is guessed; restore the file or merge back from peers.
    /// The store found its file damaged.
    #[error("the journal's file is damaged: {source}")]
    Damaged {
        /// What the store said.
        source: Arc<redb::Error>,
    },
    /// The store gave up in the middle of something: its file is damaged, or it has a fault.
    #[error("the store gave up in the middle of a call: its file is damaged")]
    StorePanicked,
    /// The store refused something that it never should.
    #[error("the store: {source}")]
    Store {
        /// What the store said.
        source: Arc<redb::Error>,
    },
    /// A row is damaged, or of a build with another layout.
    #[error("table {table}: {source}")]
    Row {
        /// The table.
        table: &'static str,
        /// What is wrong.
        source: DecodeError,
    },
    /// Rows that each are sound don't fit together.
    #[error("table {table}: the row of index {index} is missing or does not fit its neighbours")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The position.
        index: Index,
    },

    /// A row is gone.
    #[error("table {table}: expected {expected} rows, got {got}")]
    LostRow {
        /// The table.
        table: &'static str,
        /// Rows that were written.
        expected: u64,
        /// Rows found.
        got: u64,
    },

    // Refused batches: our own fault, or a contradiction that must be looked at. Trying again does not help.
    /// A value is larger than anything may be.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A record names a position that the flow has not reached.
    #[error("lane {} {}: expected an index up to {expected}, got {got}", flow.lane, flow.direction.as_str())]
    Gap {
        /// The flow.
        flow: Flow,
        /// Its durable tip.
        expected: Index,
        /// What was named.
        got: Index,
    },
    /// A record names another head than the one held at that position.
    #[error("lane {} {} index {index}: expected head {expected}, got {got}", flow.lane, flow.direction.as_str())]
    Fork {
        /// The flow.
        flow: Flow,
        /// The position.
        index: Index,
        /// The head held.
        expected: Hash32,
        /// The head named.
        got: Hash32,
    },
    /// Another validator set, or one of another history, is held for that height.
    #[error("chain {domain} height {height}: expected validator set {expected}, got {got}")]
    SetConflict {
        /// The chain.
        domain: Domain,
        /// The first header under the set.
        height: Height,
        /// Digest of the set held.
        expected: Hash32,
        /// Digest of the set named.
        got: Hash32,
    },
    /// A validator set would be signed that our own nodes have not confirmed.
    #[error("chain {domain} height {height}: expected a validator set that our own nodes confirmed, got another one")]
    SetUnconfirmed {
        /// The chain.
        domain: Domain,
        /// The first header under the set.
        height: Height,
    },
    /// A second head would be signed for one index.
    #[error("lane {} {} index {index}: may sign only {expected}, got {got}", flow.lane, flow.direction.as_str())]
    SignConflict {
        /// The flow.
        flow: Flow,
        /// The position.
        index: Index,
        /// The only head that may be signed.
        expected: Hash32,
        /// The head named.
        got: Hash32,
    },
    /// An extension has no entry, or too many.
    #[error("expected 1 to {expected} entries, got {got}")]
    EntryCount {
        /// The most.
        expected: usize,
        /// What came.
        got: usize,
    },
    /// An entry is on the wrong chain.
    #[error("expected an entry of the {}, got one of the {}", expected.as_str(), got.as_str())]
    EntryDirection {
        /// The flow's direction.
        expected: Direction,
        /// The entry's.
        got: Direction,
    },
    /// An entry is out of order.
    #[error("expected entry {expected}, got {got}")]
    EntryIndex {
        /// The next index.
        expected: Index,
        /// The entry's.
        got: Index,
    },
    /// An attested head carries no signature, or is the start of the chain.
    #[error("an attested head needs an index and a signature, got index {index} and {signatures} signatures")]
    EmptyEvidence {
        /// Index of the head.
        index: Index,
        /// Signatures that it carries.
        signatures: usize,
    },
    /// A light client would go back, or sideways.
    #[error("chain {domain}: expected a client at or above block {expected} ({expected_hash}), got {got} ({got_hash})")]
    ClientBackwards {
        /// The chain.
        domain: Domain,
        /// Height held.
        expected: Height,
        /// Hash held.
        expected_hash: Hash32,
        /// Height of the record.
        got: Height,
        /// Hash of the record.
        got_hash: Hash32,
    },
    /// A second final header for one height.
    #[error("chain {domain} block {height}: expected header {expected}, got {got}")]
    HeaderConflict {
        /// The chain.
        domain: Domain,
        /// The height.
        height: Height,
        /// Hash held.
        expected: Hash32,
        /// Hash of the record.
        got: Hash32,
    },
    /// The headers of a client record don't ascend up to its height.
    #[error("chain {domain}: expected ascending headers up to block {expected}, got block {got}")]
    HeaderOrder {
        /// The chain.
        domain: Domain,
        /// The record's height.
        expected: Height,
        /// The header out of order.
        got: Height,
    },
    /// The chain's client is frozen until an operator decides.
    #[error("chain {domain} is frozen")]
    Frozen {
        /// The chain.
        domain: Domain,
    },
    /// The chain's client is not frozen.
    #[error("chain {domain} is not frozen")]
    NotFrozen {
        /// The chain.
        domain: Domain,
    },
    /// The chain is frozen over other statements than those that the order is about.
    #[error("chain {domain} is frozen over {expected}, the order is about {got}")]
    OtherStatements {
        /// The chain.
        domain: Domain,
        /// What froze it.
        expected: Box<Frozen>,
        /// What the order names.
        got: Box<Frozen>,
    },
    /// No such transaction was recorded.
    #[error("no transaction {hash} was recorded for chain {domain}")]
    UnknownIntent {
        /// The chain.
        domain: Domain,
        /// Hash of the transaction.
        hash: Hash32,
    },
    /// The record of a transaction contradicts what is held of it.
    #[error("transaction {hash} on chain {domain} contradicts what was recorded of it before")]
    IntentConflict {
        /// The chain.
        domain: Domain,
        /// Hash of the transaction.
        hash: Hash32,
    },

    // Reads.
    /// The bodies asked for are pruned; links, heads and outcomes are still there.
    #[error("lane {} {}: the body of index {index} was pruned", flow.lane, flow.direction.as_str())]
    Pruned {
        /// The flow.
        flow: Flow,
        /// The first index whose body is gone.
        index: Index,
    },
}

impl JournalError {
    /// Whether the same batch may succeed later, after the operator or the system put the cause right.
    ///
    /// A batch that failed this way is not durable as far as anybody was told; it may turn out to be there after all
    /// (the disk failed after it had written). Appending it again is right either way.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::DiskFull | Self::Io { .. })
    }

    /// Whether the file (or the store) is damaged.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. }
                | Self::StorePanicked
                | Self::Store { .. }
                | Self::Row { .. }
                | Self::Inconsistent { .. }
                | Self::LostRow { .. }
        )
    }

    /// Names what the store said.
    pub(crate) fn from_store(error: impl Into<redb::Error>) -> Self {
        match error.into() {
            // Not a journal's file, or the end of one.
            redb::Error::Io(error)
                if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                Self::Damaged { source: Arc::new(redb::Error::Io(error)) }
            }
            redb::Error::Io(error) => error.into(),
            redb::Error::PreviousIo => io::Error::other("an earlier call failed").into(),
            redb::Error::DatabaseClosed => Self::Closed,
            error @ (redb::Error::Corrupted(_) | redb::Error::RepairAborted) => {
                Self::Damaged { source: Arc::new(error) }
            }
            error => Self::Store { source: Arc::new(error) },
        }
    }
}

impl From<io::Error> for JournalError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Io { source: Arc::new(error) },
        }
    }
}
