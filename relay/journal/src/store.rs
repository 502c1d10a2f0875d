//! The file: redb's tables, its format version, its lock, and what its errors mean.

use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::error::JournalError;
use crate::format::{FORMAT, Reading, reading, take_over};
use crate::rows::{Changes, KeyValue, Rows};
use crate::table::Table;

/// Name of the file in the journal's folder.
pub const FILE_NAME: &str = "journal.redb";

const NEW_FILE_NAME: &str = "journal.redb.new";

const MARK_NAME: &str = "journal.opening";

const META: TableDefinition<'_, &str, u32> = TableDefinition::new("meta");
const FORMAT_KEY: &str = "format";

type Bytes = &'static [u8];

const fn definition(table: Table) -> TableDefinition<'static, Bytes, Bytes> {
    TableDefinition::new(table.name())
}

/// Opens the database again and again: at the start, and after the disk failed.
pub(crate) trait Open: Send + Sync {
    /// The database, created when there is none.
    fn open(&self) -> Result<Database, JournalError>;

    /// Bytes on disk.
    fn size(&self) -> u64;

    /// Called before a journal of an older format is taken over: keeps a copy of it, durably, or refuses.
    fn keep_copy(&self, format: u32) -> Result<(), JournalError>;

    /// The journal was read without trouble: the next opening need not be careful.
    fn settled(&self) {}
}

/// A file in a folder.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) dir: PathBuf,
    pub(crate) cache_bytes: usize,
    pub(crate) check: bool,
    pub(crate) take_over: bool,
}

impl Open for OpenFile {
    fn open(&self) -> Result<Database, JournalError> {
        fs::create_dir_all(&self.dir)?;
        let path = self.dir.join(FILE_NAME);
        if !path.exists() {
            self.create(&path, self.check)?;
        }
        // A file that is damaged badly enough can take the whole process with it while it is opened or first read.
        // Whoever comes next finds the mark, and has every checksum compared before anything is believed.
        let mark = self.dir.join(MARK_NAME);
        let is_marked = mark.exists();
        // On a full disk there may be no room for the mark; the journal matters more.
        let _ = File::create(&mark);
        let database = self.open_path(&path, self.check || is_marked);
        if !is_marked && matches!(database, Err(JournalError::AlreadyOpen { .. })) {
            let _ = fs::remove_file(&mark);
        }
        database
    }

    fn settled(&self) {
        // A mark that stays costs a slow start, nothing else.
        let _ = fs::remove_file(self.dir.join(MARK_NAME));
    }

    fn size(&self) -> u64 {
        fs::metadata(self.dir.join(FILE_NAME)).map_or(0, |data| data.len())
    }

    /// The file is open, but nothing is being written: what is on disk is the journal, as after a kill.
    fn keep_copy(&self, format: u32) -> Result<(), JournalError> {
        if !self.take_over {
            return Err(JournalError::OlderFormat { expected: FORMAT, got: format });
        }
        let kept = self.dir.join(format!("{FILE_NAME}.format-{format}"));
        let aside = self.dir.join(format!("{FILE_NAME}.format-{format}.part"));
        fs::copy(self.dir.join(FILE_NAME), &aside)?;
        File::open(&aside)?.sync_all()?;
        // A copy of an earlier attempt is replaced: between the two the older version may have gone on.
        fs::rename(&aside, &kept)?;
        File::open(&self.dir)?.sync_all()?;
        Ok(())
    }
}

impl OpenFile {
    /// Makes the file aside and moves it into place whole: power lost meanwhile leaves no half-made journal.
    fn create(&self, path: &Path, check: bool) -> Result<(), JournalError> {
        let aside = self.dir.join(NEW_FILE_NAME);
        let database = self.open_path(&aside, check)?;
        if database.begin_read().map_err(JournalError::from_store)?.open_table(META).is_err() {
            create_tables(&database)?;
        }
        drop(database);
        fs::rename(&aside, path)?;
        // The new name is durable only once its folder is.
        File::open(&self.dir)?.sync_all()?;
        Ok(())
    }

    fn open_path(&self, path: &Path, check: bool) -> Result<Database, JournalError> {
        let database =
            redb::Builder::new().set_cache_size(self.cache_bytes).set_check_integrity_on_open(check).create(path);
        database.map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => JournalError::AlreadyOpen { path: path.to_owned() },
            error => JournalError::from_store(error),
        })
    }
}

/// Every table exists from the start, so that readers need not ask.
fn create_tables(database: &Database) -> Result<(), JournalError> {
    let transaction = begin(database)?;
    for table in Table::ALL {
        transaction.open_table(definition(table)).map_err(JournalError::from_store)?;
    }
    write_format(&transaction)?;
    transaction.commit().map_err(JournalError::from_store)
}

fn write_format(transaction: &redb::WriteTransaction) -> Result<(), JournalError> {
    let mut meta = transaction.open_table(META).map_err(JournalError::from_store)?;
    meta.insert(FORMAT_KEY, FORMAT).map_err(JournalError::from_store)?;
    Ok(())
}

pub(crate) fn begin(database: &Database) -> Result<redb::WriteTransaction, JournalError> {
    let mut transaction = database.begin_write().map_err(JournalError::from_store)?;
    transaction.set_durability(Durability::Immediate).map_err(JournalError::from_store)?;
    // Opening after a crash must not walk the whole file. It also means two-phase commits, so that a torn write
    // can't make an unfinished state look committed.
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// An open database of the right format.
pub(crate) struct Store(Option<Database>);

impl Drop for Store {
    fn drop(&mut self) {
        // Closing a damaged file can make the store panic as well; everything acknowledged is durable already.
        let database = self.0.take();
        let _ = guarded(|| {
            drop(database);
            Ok(())
        });
    }
}

impl Store {
    pub(crate) fn open(open: &dyn Open) -> Result<Self, JournalError> {
        guarded(|| {
            let store = Self(Some(open.open()?));
            store.check_format(open)?;
            Ok(store)
        })
    }

    fn database(&self) -> Result<&Database, JournalError> {
        self.0.as_ref().ok_or(JournalError::Closed)
    }

    fn check_format(&self, open: &dyn Open) -> Result<(), JournalError> {
        let transaction = self.database()?.begin_read().map_err(JournalError::from_store)?;
        let format = match transaction.open_table(META) {
            Ok(meta) => meta.get(FORMAT_KEY).map_err(JournalError::from_store)?.map(|format| format.value()),
            Err(redb::TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(JournalError::from_store(error)),
        };
        drop(transaction);
        let Some(got) = format else { return create_tables(self.database()?) };
        match reading(got)? {
            Reading::Now => Ok(()),
            Reading::Older => {
                open.keep_copy(got)?;
                let transaction = begin(self.database()?)?;
                take_over(&transaction, got)?;
                write_format(&transaction)?;
                transaction.commit().map_err(JournalError::from_store)
            }
        }
    }

    /// Calls `read` with a durable snapshot.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&dyn Rows) -> Result<T, JournalError>) -> Result<T, JournalError> {
        let transaction = guarded(|| self.database()?.begin_read().map_err(JournalError::from_store))?;
        read(&Snapshot(transaction))
    }

    /// Lets `write` make changes and commits them, if there are any; durable when it returns.
    pub(crate) fn write<T>(
        &self,
        write: impl FnOnce(&mut WriteTables<'_>) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        guarded(|| {
            let transaction = begin(self.database()?)?;
            let (answer, is_changed) = {
                let tables = Table::ALL.map(|table| transaction.open_table(definition(table)));
                let tables = tables.into_iter().collect::<Result<Vec<_>, _>>().map_err(JournalError::from_store)?;
                let mut tables = WriteTables { tables, is_changed: false };
                (write(&mut tables)?, tables.is_changed)
            };
            if is_changed {
                transaction.commit().map_err(JournalError::from_store)?;
            } else {
                transaction.abort().map_err(JournalError::from_store)?;
            }
            Ok(answer)
        })
    }
}

/// A damaged file can make the store panic; that is damage with a name, not the end of the process.
pub(crate) fn guarded<T>(call: impl FnOnce() -> Result<T, JournalError>) -> Result<T, JournalError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(Err(JournalError::StorePanicked))
}

/// A durable snapshot.
struct Snapshot(redb::ReadTransaction);

impl Rows for Snapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, JournalError> {
        guarded(|| get(&self.0.open_table(definition(table)).map_err(JournalError::from_store)?, key))
    }

    fn seek(&self, table: Table, from: &[u8]) -> Result<Option<KeyValue>, JournalError> {
        guarded(|| seek(&self.0.open_table(definition(table)).map_err(JournalError::from_store)?, from))
    }
}

/// The tables of a transaction that is still open.
pub(crate) struct WriteTables<'txn> {
    tables: Vec<redb::Table<'txn, Bytes, Bytes>>,
    is_changed: bool,
}

impl<'txn> WriteTables<'txn> {
    fn table(&self, table: Table) -> Result<&redb::Table<'txn, Bytes, Bytes>, JournalError> {
        self.tables.get(table.place()).ok_or(JournalError::Closed)
    }

    /// Makes the changes of one batch.
    pub(crate) fn apply(&mut self, changes: Changes) -> Result<(), JournalError> {
        self.is_changed |= !changes.is_empty();
        for ((table, key), value) in changes {
            let table = self.tables.get_mut(table.place()).ok_or(JournalError::Closed)?;
            match value {
                Some(value) => table.insert(key.as_slice(), value.as_slice()),
                None => table.remove(key.as_slice()),
            }
            .map_err(JournalError::from_store)?;
        }
        Ok(())
    }
}

impl Rows for WriteTables<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, JournalError> {
        get(self.table(table)?, key)
    }

    fn seek(&self, table: Table, from: &[u8]) -> Result<Option<KeyValue>, JournalError> {
        seek(self.table(table)?, from)
    }
}

fn get(table: &impl ReadableTable<Bytes, Bytes>, key: &[u8]) -> Result<Option<Vec<u8>>, JournalError> {
    let value = table.get(key).map_err(JournalError::from_store)?;
    Ok(value.map(|value| value.value().to_vec()))
}

fn seek(table: &impl ReadableTable<Bytes, Bytes>, from: &[u8]) -> Result<Option<KeyValue>, JournalError> {
    let mut range = table.range::<&[u8]>(from..).map_err(JournalError::from_store)?;
    match range.next() {
        None => Ok(None),
        Some(Err(error)) => Err(JournalError::from_store(error)),
        Some(Ok((key, value))) => Ok(Some((key.value().to_vec(), value.value().to_vec()))),
    }
}
