//! The formats of the file, and the way from each to the next.
//!
//! | format | what changed |
//! |---|---|
//! | 1 | |
//! | 2 | the table `sets`; the row in `counters` counts what is in it |
//!
//! A journal of an older format is taken over when it is opened: the whole file is copied aside first, then all steps up
//! to this build's format become durable together with its number, in one transaction. Whenever the process is killed,
//! the next opening finds the old journal or the new one.
//!
//! To add a format: raise [`FORMAT`], add a row above and a step to `STEPS`, keep the golden files of the older formats in
//! `vectors/` as they are, and add one of the new format.

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use cityrelay_wire::DecodeError;
use cityrelay_wire::row::format_1::CountersWithoutSets;
use cityrelay_wire::row::{CountersRow, decode_row, encode_row};

use crate::apply::COUNTERS_KEY;
use crate::error::JournalError;
use crate::table::Table;

/// The format that this build reads and writes.
pub const FORMAT: u32 = 2;

/// The oldest format that this build takes over.
pub const OLDEST_FORMAT: u32 = 1;

/// From one format to the next.
type Step = fn(&WriteTransaction) -> Result<(), JournalError>;

/// The way from [`OLDEST_FORMAT`] to [`FORMAT`], one step for each format between.
const STEPS: [Step; (FORMAT - OLDEST_FORMAT) as usize] = [count_sets];

/// How a journal of some format can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// As it is.
    Now,
    /// Once it is taken over.
    Older,
}

/// Whether this build reads a journal of format `got`.
///
/// # Errors
/// [`JournalError::NewerFormat`] and [`JournalError::UnknownFormat`].
pub(crate) fn reading(got: u32) -> Result<Reading, JournalError> {
    match got {
        FORMAT => Ok(Reading::Now),
        OLDEST_FORMAT..FORMAT => Ok(Reading::Older),
        0..OLDEST_FORMAT => Err(JournalError::UnknownFormat { oldest: OLDEST_FORMAT, got }),
        _ => Err(JournalError::NewerFormat { expected: FORMAT, got }),
    }
}

/// Takes every step from format `from` on. Nothing is durable before the transaction is committed.
pub(crate) fn take_over(transaction: &WriteTransaction, from: u32) -> Result<(), JournalError> {
    let taken = usize::try_from(from.saturating_sub(OLDEST_FORMAT)).unwrap_or(usize::MAX);
    for step in STEPS.iter().skip(taken) {
        step(transaction)?;
    }
    Ok(())
}

/// From 1 to 2. Builds before the first release wrote 1 too when they already had the table `sets`: what is there stays.
fn count_sets(transaction: &WriteTransaction) -> Result<(), JournalError> {
    let table = |table: Table| TableDefinition::<&[u8], &[u8]>::new(table.name());
    transaction.open_table(table(Table::Sets)).map_err(JournalError::from_store)?;
    let mut counters = transaction.open_table(table(Table::Counters)).map_err(JournalError::from_store)?;
    let name = Table::Counters.name();
    let damaged = |source: DecodeError| JournalError::Row { table: name, source };
    let Some(held) = counters.get(COUNTERS_KEY).map_err(JournalError::from_store)?.map(|row| row.value().to_vec())
    else {
        // A journal without a record.
        return Ok(());
    };
    if decode_row::<CountersRow>(name, COUNTERS_KEY, &held).is_ok() {
        return Ok(());
    }
    let CountersWithoutSets(row) = decode_row(name, COUNTERS_KEY, &held).map_err(damaged)?;
    let bytes = encode_row(name, COUNTERS_KEY, &row)?;
    counters.insert(COUNTERS_KEY, bytes.as_slice()).map_err(JournalError::from_store)?;
    Ok(())
}
