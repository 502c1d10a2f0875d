//! Flipped bits and cut files: an error with a name or the right answer, never another answer.
//!
//! Attested heads may get lost (they are asked for again), and so may what only tells the history of a message.

use cityrelay_core::ids::Index;
use cityrelay_core::lane::Flow;
use cityrelay_core::recovery::{Recovered, Side};

use super::crash::{batches, dump};
use super::disk::append;
use super::disk_image::{Dice, Disk};
use crate::store::Store;
use crate::{Journal, JournalError, Options, View};

fn closed_image() -> Vec<u8> {
    let disk = Disk::new(Vec::new());
    let journal = Journal::open_with(Box::new(disk.clone()), Options::default()).unwrap();
    for batch in batches().1 {
        append(&journal, batch).unwrap();
    }
    journal.close();
    disk.image()
}

fn essentials(view: &View<'_>, flows: &[(Flow, Side)]) -> Result<(Recovered, String), JournalError> {
    let (mut recovered, _) = dump(view, flows)?;
    for flow in &mut recovered.flows {
        flow.evidence.clear();
    }
    let mut text = format!("{:?} {:?} {:?}", view.flows()?, view.misbehaviour()?, view.counts()?);
    for (flow, _) in flows {
        text += &format!("{:?}", view.entries(*flow, Index(1), Index(u64::MAX))?);
        for index in 1..=12 {
            text += &format!("{:?}", view.point(*flow, Index(index))?);
        }
    }
    Ok((recovered, text))
}

/// Flips bits of a closed file, and says how often that was named and how often harmless.
fn flip(count: usize, seed: u64, disk: impl Fn(Vec<u8>) -> Disk) -> (usize, usize) {
    let flows = batches().0;
    let image = closed_image();
    let read = |image: Vec<u8>| {
        Store::open(&disk(image)).and_then(|store| store.read(|rows| essentials(&View::new(rows), &flows)))
    };
    let expected = read(image.clone()).unwrap();
    let used: Vec<usize> = (0..image.len()).filter(|at| image[*at] != 0).collect();
    let mut dice = Dice(seed);
    let (mut named, mut harmless) = (0, 0);
    for _ in 0..count {
        let at = used[dice.roll(used.len())];
        let bit = dice.roll(8);
        let mut damaged = image.clone();
        damaged[at] ^= 1 << bit;
        match read(damaged) {
            Ok(found) => {
                assert_eq!(found, expected, "byte {at} bit {bit}");
                harmless += 1;
            }
            Err(error) => {
                assert!(!error.is_retryable(), "byte {at} bit {bit}: {error}");
                named += 1;
            }
        }
    }
    (named, harmless)
}

#[test]
fn a_flipped_bit_is_named_or_harmless() {
    let (named, harmless) = flip(1500, 0x5eed, Disk::new);
    assert!(named > 80 && harmless > 80, "{named} named, {harmless} harmless");
}

#[test]
fn a_flipped_bit_is_named_or_harmless_when_every_checksum_is_compared() {
    let (named, harmless) = flip(1500, 0xdeed, |image| Disk::new(image).checked());
    assert!(named > 50 && harmless > 80, "{named} named, {harmless} harmless");
}

/// Damage can take the process with it. The next one finds the mark and compares every checksum.
#[test]
fn after_an_opening_that_did_not_come_back_every_checksum_is_compared() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("journal.opening");
    let path = dir.path().join(crate::FILE_NAME);
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    assert!(mark.exists());
    let chain = super::fixture::Chain::outbox("lane", 500);
    let batch = (0..500).map(|base| chain.extension(base, base + 1)).collect();
    append(&journal, batch).unwrap();
    journal.recover(&batches().0).unwrap();
    assert!(!mark.exists(), "it was read without trouble");
    journal.close();

    // Damage where nothing outstanding is.
    let mut bytes = std::fs::read(&path).unwrap();
    let payload = bytes.windows(7).position(|window| window == b"payload").unwrap();
    bytes[payload] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    // A second journal in the same folder is refused and does not disturb the mark of the first.
    assert!(matches!(Journal::open(dir.path(), Options::default()), Err(JournalError::AlreadyOpen { .. })));
    assert!(mark.exists());
    journal.close();
    assert!(!mark.exists());

    std::fs::write(&mark, b"").unwrap();
    let error = Journal::open(dir.path(), Options::default()).unwrap_err();
    assert!(error.is_damage(), "{error}");
}

/// The first bytes say which of two commits is the newest: the older one must never be taken for it.
#[test]
fn a_flipped_bit_in_the_head_of_the_file_never_brings_an_old_state_back() {
    let flows = batches().0;
    let image = closed_image();
    let read = |image: Vec<u8>| {
        Store::open(&Disk::new(image)).and_then(|store| store.read(|rows| View::new(rows).recover(&flows)))
    };
    let expected = read(image.clone()).unwrap();
    for bit in 0..320 * 8 {
        let mut damaged = image.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        match read(damaged) {
            Ok(found) => assert!(found == expected, "byte {} bit {}", bit / 8, bit % 8),
            Err(error) => assert!(!error.is_retryable(), "byte {} bit {}: {error}", bit / 8, bit % 8),
        }
    }
}

#[test]
fn a_file_cut_short_is_refused() {
    let image = closed_image();
    for parts in 1..16 {
        let cut = image[..image.len() * parts / 16].to_vec();
        let opened =
            Store::open(&Disk::new(cut)).and_then(|store| store.read(|rows| dump(&View::new(rows), &batches().0)));
        let error = opened.err().unwrap_or_else(|| panic!("{parts} of 16 parts were enough"));
        assert!(error.is_damage(), "{parts}: {error}");
    }
}

#[test]
fn a_file_that_is_something_else_is_refused() {
    let error = Store::open(&Disk::new(b"#!/bin/sh\n".repeat(1000))).err().unwrap();
    assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
}
