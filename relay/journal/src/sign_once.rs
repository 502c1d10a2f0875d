//! What a signer that is a process of its own has signed: one content for each place, for ever.
//!
//! A file of its own, `signed.redb`, with one row for each place; each row carries a checksum over its key. It grows by
//! about 120 bytes for each head that is signed, and is never pruned: a place that is forgotten could be signed anew.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use cityrelay_core::hash::Hash32;
use cityrelay_core::signing::SigningPlace;
use cityrelay_wire::row::{SignedOnceRow, decode_row, encode_row};
use cityrelay_wire::signer::place_key;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};

use crate::error::JournalError;
use crate::store::{begin, guarded};

/// Name of the file in the record's folder.
pub const SIGN_ONCE_FILE_NAME: &str = "signed.redb";

const SIGNED_NAME: &str = "signed-once";
const SIGNED: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(SIGNED_NAME);

/// Memory for pages of the file, in bytes.
const CACHE_BYTES: usize = 8 << 20;

/// Whether a content may be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignOnce {
    /// It is on disk as the only one for its place, and may be signed now and later.
    Recorded,
    /// Another one was signed for the same place.
    Conflict {
        /// That one.
        held: Hash32,
    },
}

/// The record of one signer. One process has it open at a time.
#[derive(Debug)]
pub struct SignOnceRecord {
    database: Database,
    path: PathBuf,
}

impl SignOnceRecord {
    /// Opens the record in `folder`; makes it, and the folder, when there is none.
    ///
    /// # Errors
    /// [`JournalError::AlreadyOpen`] while another process has it; otherwise what the disk, or damage, says.
    pub fn open(folder: &Path) -> Result<Self, JournalError> {
        fs::create_dir_all(folder)?;
        let path = folder.join(SIGN_ONCE_FILE_NAME);
        guarded(|| {
            let database = redb::Builder::new().set_cache_size(CACHE_BYTES).create(&path);
            let database = database.map_err(|error| match error {
                redb::DatabaseError::DatabaseAlreadyOpen => JournalError::AlreadyOpen { path: path.clone() },
                error => JournalError::from_store(error),
            })?;
            let transaction = begin(&database)?;
            drop(transaction.open_table(SIGNED).map_err(JournalError::from_store)?);
            transaction.commit().map_err(JournalError::from_store)?;
            // The new name is durable only once its folder is.
            File::open(folder)?.sync_all()?;
            Ok(Self { database, path: path.clone() })
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many places are held.
    ///
    /// # Errors
    /// What the disk, or damage, says.
    pub fn places(&self) -> Result<u64, JournalError> {
        guarded(|| {
            let transaction = self.database.begin_read().map_err(JournalError::from_store)?;
            transaction.open_table(SIGNED).map_err(JournalError::from_store)?.len().map_err(JournalError::from_store)
        })
    }

    /// Makes `content` the only one for `place`, or says which one is. What was recorded is on disk when this returns.
    ///
    /// # Errors
    /// What the disk, or damage, says: nothing may be signed then.
    pub fn record(&self, place: SigningPlace, content: Hash32) -> Result<SignOnce, JournalError> {
        let key = place_key(place);
        guarded(|| {
            let transaction = begin(&self.database)?;
            let held = {
                let mut table = transaction.open_table(SIGNED).map_err(JournalError::from_store)?;
                let held = table.get(key.as_slice()).map_err(JournalError::from_store)?;
                let held = held.map(|bytes| decode(&key, bytes.value())).transpose()?;
                if held.is_none() {
                    let row = encode_row(SIGNED_NAME, &key, &SignedOnceRow { content })?;
                    table.insert(key.as_slice(), row.as_slice()).map_err(JournalError::from_store)?;
                }
                held
            };
            match held {
                None => transaction.commit().map_err(JournalError::from_store)?,
                Some(_) => transaction.abort().map_err(JournalError::from_store)?,
            }
            Ok(match held {
                Some(SignedOnceRow { content: held }) if held != content => SignOnce::Conflict { held },
                _ => SignOnce::Recorded,
            })
        })
    }
}

fn decode(key: &[u8], bytes: &[u8]) -> Result<SignedOnceRow, JournalError> {
    decode_row(SIGNED_NAME, key, bytes).map_err(|source| JournalError::Row { table: SIGNED_NAME, source })
}

#[cfg(test)]
mod tests {
    use cityrelay_core::ids::{Address, Domain, Epoch, Height, Index, LaneId};
    use cityrelay_core::lane::{Direction, Flow};

    use super::*;

    fn word(byte: u8) -> Hash32 {
        Hash32([byte; 32])
    }

    fn places() -> [SigningPlace; 5] {
        let outbox = Flow { lane: LaneId(word(1)), direction: Direction::Outbox };
        let inbox = Flow { direction: Direction::Inbox, ..outbox };
        [
            SigningPlace::Head { flow: outbox, index: Index(7) },
            SigningPlace::Head { flow: outbox, index: Index(8) },
            SigningPlace::Head { flow: inbox, index: Index(7) },
            SigningPlace::Set { domain: Domain(word(1)), height: Height(7) },
            SigningPlace::Rotation { verifier: Address(word(1)), domain: Domain(word(2)), epoch: Epoch(7) },
        ]
    }

    #[test]
    fn i4_a_place_has_one_content_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let record = SignOnceRecord::open(&folder.path().join("record")).unwrap();
        for place in places() {
            assert_eq!(record.record(place, word(2)).unwrap(), SignOnce::Recorded);
            assert_eq!(record.record(place, word(2)).unwrap(), SignOnce::Recorded);
            assert_eq!(record.record(place, word(3)).unwrap(), SignOnce::Conflict { held: word(2) });
        }
        let second = SignOnceRecord::open(&folder.path().join("record")).unwrap_err();
        assert!(matches!(second, JournalError::AlreadyOpen { .. }), "{second}");
        drop(record);
        let record = SignOnceRecord::open(&folder.path().join("record")).unwrap();
        assert_eq!(record.places().unwrap(), 5);
        for place in places() {
            assert_eq!(record.record(place, word(3)).unwrap(), SignOnce::Conflict { held: word(2) });
        }
    }

    #[test]
    fn a_row_under_another_key_is_damage() {
        let folder = tempfile::tempdir().unwrap();
        let record = SignOnceRecord::open(folder.path()).unwrap();
        let [place, other, ..] = places();
        record.record(place, word(2)).unwrap();
        let transaction = begin(&record.database).unwrap();
        {
            let mut table = transaction.open_table(SIGNED).unwrap();
            let row = table.remove(place_key(place).as_slice()).unwrap().unwrap().value().to_vec();
            table.insert(place_key(other).as_slice(), row.as_slice()).unwrap();
        }
        transaction.commit().unwrap();
        let error = record.record(other, word(2)).unwrap_err();
        assert!(matches!(error, JournalError::Row { table: SIGNED_NAME, .. }), "{error}");
    }

    #[test]
    fn a_file_that_is_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(SIGN_ONCE_FILE_NAME), vec![7; 8192]).unwrap();
        assert!(SignOnceRecord::open(folder.path()).is_err());
    }
}
