//! Files of every format that was ever written: what this build takes over, and what it refuses by name.

use std::fs;
use std::path::{Path, PathBuf};

use cityrelay_core::lane::Flow;
use cityrelay_core::recovery::{Recovered, Side};
use redb::{ReadableDatabase, TableDefinition};

use super::crash::{batches, dump, images};
use super::disk::append;
use super::disk_image::Disk;
use super::fixture::Chain;
use crate::store::Store;
use crate::{FILE_NAME, FORMAT, Journal, JournalError, MemoryJournal, OLDEST_FORMAT, Options, View};

const META: TableDefinition<'_, &str, u32> = TableDefinition::new("meta");

/// A file of this format that holds the batches of `crash.rs`.
fn golden(format: u32) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "vectors", &format!("format-{format}.redb")].iter().collect()
}

/// A folder with a copy of that file.
fn journal_of(format: u32) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(golden(format), dir.path().join(FILE_NAME)).unwrap();
    dir
}

fn copy_of(dir: &Path, format: u32) -> PathBuf {
    dir.join(format!("{FILE_NAME}.format-{format}"))
}

/// What such a file must say.
fn expected() -> (Vec<(Flow, Side)>, (Recovered, String)) {
    let (flows, batches) = batches();
    let mut model = MemoryJournal::new();
    for batch in &batches {
        model.append(batch).unwrap();
    }
    model.sync();
    let says = dump(&model.view(), &flows).unwrap();
    (flows, says)
}

fn format_in(file: &Path) -> u32 {
    let database = redb::Database::open(file).unwrap();
    let transaction = database.begin_read().unwrap();
    transaction.open_table(META).unwrap().get("format").unwrap().unwrap().value()
}

fn set_format(file: &Path, format: u32) {
    let database = redb::Database::open(file).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert("format", format).unwrap();
    transaction.commit().unwrap();
}

#[test]
fn this_build_writes_the_golden_file_of_its_format() {
    let path = golden(FORMAT);
    if !path.exists() && std::env::var_os("CITYRELAY_WRITE_GOLDEN").is_some() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path(), Options::default()).unwrap();
        for batch in batches().1 {
            append(&journal, batch).unwrap();
        }
        journal.close();
        fs::copy(dir.path().join(FILE_NAME), &path).unwrap();
    }
    assert_eq!(format_in(&journal_of(FORMAT).path().join(FILE_NAME)), FORMAT);
}

#[test]
fn the_file_of_the_last_format_that_can_be_is_refused() {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "vectors", "format-newest.redb"].iter().collect();
    if !path.exists() && std::env::var_os("CITYRELAY_WRITE_GOLDEN").is_some() {
        let dir = tempfile::tempdir().unwrap();
        Journal::open(dir.path(), Options::default()).unwrap().close();
        set_format(&dir.path().join(FILE_NAME), u32::MAX);
        fs::copy(dir.path().join(FILE_NAME), &path).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    fs::copy(&path, dir.path().join(FILE_NAME)).unwrap();
    let error = Journal::open(dir.path(), Options::default()).unwrap_err();
    assert!(matches!(error, JournalError::NewerFormat { expected: FORMAT, got: u32::MAX }), "{error}");
}

#[test]
fn a_file_of_every_format_is_opened_and_says_the_same() {
    let (flows, expected) = expected();
    for format in OLDEST_FORMAT..=FORMAT {
        let dir = journal_of(format);
        assert_eq!(format_in(&dir.path().join(FILE_NAME)), format);
        for round in 1..=2 {
            let journal = Journal::open(dir.path(), Options::default()).unwrap();
            let says = journal.read(|view| dump(view, &flows)).unwrap();
            assert_eq!(says, expected, "format {format}, opening {round}");
            journal.close();
            assert_eq!(format_in(&dir.path().join(FILE_NAME)), FORMAT);
        }
        // It goes on, and what is added is there next time.
        let journal = Journal::open(dir.path(), Options::default()).unwrap();
        let more = Chain::outbox("later", 3);
        append(&journal, vec![more.extension(0, 3)]).unwrap();
        journal.close();
        let journal = Journal::open(dir.path(), Options::default()).unwrap();
        assert_eq!(journal.point(more.flow, more.tip().index).unwrap(), Some(more.tip()));
        assert_eq!(copy_of(dir.path(), format).exists(), format < FORMAT);
    }
}

#[test]
fn the_copy_beside_a_journal_that_was_taken_over_is_the_journal_before() {
    let dir = journal_of(1);
    // What an attempt that was killed leaves behind.
    fs::write(dir.path().join(format!("{FILE_NAME}.format-1.part")), b"half a copy").unwrap();
    Journal::open(dir.path(), Options::default()).unwrap().close();
    let copy = copy_of(dir.path(), 1);
    assert_eq!(format_in(&copy), 1);
    // The road back: the copy in place of the journal.
    fs::rename(&copy, dir.path().join(FILE_NAME)).unwrap();
    let (flows, expected) = expected();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    assert_eq!(journal.read(|view| dump(view, &flows)).unwrap(), expected);
    assert!(!dir.path().join(format!("{FILE_NAME}.format-1.part")).exists());
}

#[test]
fn without_a_copy_nothing_is_taken_over() {
    let dir = journal_of(1);
    let in_the_way = dir.path().join(format!("{FILE_NAME}.format-1.part"));
    fs::create_dir(&in_the_way).unwrap();
    let error = Journal::open(dir.path(), Options::default()).unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(format_in(&dir.path().join(FILE_NAME)), 1);
    fs::remove_dir(&in_the_way).unwrap();
    Journal::open(dir.path(), Options::default()).unwrap();
}

#[test]
fn who_only_looks_is_told_that_the_format_is_older() {
    let dir = journal_of(1);
    let options = Options { take_over: false, ..Options::default() };
    let error = Journal::open(dir.path(), options).unwrap_err();
    assert!(matches!(error, JournalError::OlderFormat { expected: FORMAT, got: 1 }), "{error}");
    assert_eq!(format_in(&dir.path().join(FILE_NAME)), 1);
    assert!(!copy_of(dir.path(), 1).exists());
    Journal::open(journal_of(FORMAT).path(), options).unwrap();
}

#[test]
fn a_newer_and_an_unknown_format_are_refused_by_name() {
    let dir = journal_of(FORMAT);
    let file = dir.path().join(FILE_NAME);
    set_format(&file, FORMAT + 1);
    let error = Journal::open(dir.path(), Options::default()).unwrap_err();
    assert!(matches!(error, JournalError::NewerFormat { expected: FORMAT, got } if got == FORMAT + 1), "{error}");
    set_format(&file, OLDEST_FORMAT - 1);
    let error = Journal::open(dir.path(), Options::default()).unwrap_err();
    assert!(
        matches!(error, JournalError::UnknownFormat { oldest: OLDEST_FORMAT, got } if got == OLDEST_FORMAT - 1),
        "{error}"
    );
    assert!(!error.is_damage() && !error.is_retryable());
    set_format(&file, FORMAT);
    Journal::open(dir.path(), Options::default()).unwrap();
}

#[test]
fn a_journal_of_a_build_between_the_formats_is_taken_over_as_it_is() {
    let dir = journal_of(FORMAT);
    let file = dir.path().join(FILE_NAME);
    // Such builds counted validator sets already, and wrote 1.
    set_format(&file, 1);
    let (flows, expected) = expected();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    assert_eq!(journal.read(|view| dump(view, &flows)).unwrap(), expected);
}

#[test]
fn power_lost_at_any_write_of_taking_over_leaves_the_old_or_the_new_journal() {
    let (flows, expected) = expected();
    let image = fs::read(golden(1)).unwrap();
    let disk = Disk::new(image.clone());
    drop(Store::open(&disk).unwrap());
    let mut tried = 0;
    images(image, &disk.log(), &[1, 2, 3, 4, 5], |cut, seed, image| {
        let store = Store::open(&Disk::new(image)).unwrap_or_else(|error| panic!("cut {cut} seed {seed}: {error}"));
        let says = store.read(|rows| dump(&View::new(rows), &flows)).unwrap();
        assert_eq!(says, expected, "cut {cut} seed {seed}");
        tried += 1;
    });
    assert!(tried > 20, "{tried} crashes tried");
}
