//! The disk fails: every batch is answered with the cause, nothing half-written is seen, and it goes on afterwards.

use std::time::Duration;

use super::disk::{append, hold};
use super::disk_image::{Disk, Fault};
use super::fixture::Chain;
use crate::{Journal, JournalError, Options};

const NEVER: Duration = Duration::from_secs(3600);

fn journal(disk: &Disk, retry_interval: Duration) -> Journal {
    Journal::open_with(Box::new(disk.clone()), Options { retry_interval, ..Options::default() }).unwrap()
}

#[test]
fn a_full_disk_is_named_and_left_behind_by_reopening() {
    let chain = Chain::outbox("lane", 6);
    let disk = Disk::new(Vec::new());
    let journal = journal(&disk, NEVER);
    append(&journal, vec![chain.extension(0, 2)]).unwrap();
    disk.fail(Fault::Full);
    for _ in 0..3 {
        let error = append(&journal, vec![chain.extension(2, 4)]).unwrap_err();
        assert!(matches!(error, JournalError::DiskFull), "{error}");
        assert!(error.is_retryable());
    }
    assert!(matches!(journal.stats().failure, Some(JournalError::DiskFull)));
    assert_eq!(journal.stats().failed, 3);
    disk.fail(Fault::None);
    // Still failed: nobody has opened the file again.
    assert!(append(&journal, vec![chain.extension(2, 4)]).is_err());
    journal.reopen().unwrap();
    assert!(journal.stats().failure.is_none());
    assert_eq!(journal.flows().unwrap()[0].tip, chain.points[2], "nothing half-written");
    append(&journal, vec![chain.extension(2, 4)]).unwrap();
    assert_eq!(journal.flows().unwrap()[0].tip, chain.points[4]);
}

#[test]
fn after_a_while_the_next_batch_opens_the_file_again() {
    let chain = Chain::outbox("lane", 6);
    let disk = Disk::new(Vec::new());
    let journal = journal(&disk, Duration::ZERO);
    append(&journal, vec![chain.extension(0, 2)]).unwrap();
    disk.fail(Fault::Gone);
    for _ in 0..3 {
        let error = append(&journal, vec![chain.extension(2, 4)]).unwrap_err();
        assert!(matches!(error, JournalError::Io { .. }) && error.is_retryable(), "{error}");
    }
    disk.fail(Fault::None);
    append(&journal, vec![chain.extension(2, 4)]).unwrap();
    assert_eq!(journal.flows().unwrap()[0].tip, chain.points[4]);
}

#[test]
fn a_batch_whose_sync_failed_can_be_appended_again_whether_it_was_written_or_not() {
    let chain = Chain::outbox("lane", 6);
    let disk = Disk::new(Vec::new());
    let journal = journal(&disk, Duration::ZERO);
    append(&journal, vec![chain.extension(0, 2), chain.signed(2, 1)]).unwrap();
    disk.fail(Fault::Sync);
    let batch = vec![chain.extension(2, 4), chain.attested(4, 1), chain.signed(4, 1), chain.accepted(3)];
    let error = append(&journal, batch.clone()).unwrap_err();
    assert!(error.is_retryable(), "{error}");
    disk.fail(Fault::None);
    append(&journal, batch.clone()).unwrap();
    // As it would be if the failed sync had been durable.
    append(&journal, batch).unwrap();
    let flow = journal.flows().unwrap()[0];
    assert_eq!((flow.tip, flow.signed, flow.peer_accepted), (chain.points[4], Some(chain.points[4]), chain.points[3]));
    append(&journal, vec![chain.extension(4, 6)]).unwrap();
}

#[test]
fn a_failed_sync_fails_every_batch_of_its_group() {
    let (one, other) = (Chain::outbox("one", 2), Chain::outbox("other", 2));
    let disk = Disk::new(Vec::new());
    let journal = journal(&disk, NEVER);
    let held = hold(&journal);
    let (answer, answered) = std::sync::mpsc::channel();
    for chain in [&one, &other] {
        let answer = answer.clone();
        journal.append(vec![chain.extension(0, 2)], move |result| answer.send(result).unwrap());
    }
    disk.fail(Fault::Sync);
    drop(held);
    for _ in 0..2 {
        let error = answered.recv_timeout(Duration::from_secs(60)).unwrap().unwrap_err();
        assert!(matches!(error, JournalError::Io { .. }), "{error}");
    }
}

#[test]
fn a_disk_that_fails_at_the_start_is_named() {
    let disk = Disk::new(Vec::new());
    disk.fail(Fault::Full);
    let error = Journal::open_with(Box::new(disk), Options::default()).unwrap_err();
    assert!(matches!(error, JournalError::DiskFull), "{error}");
}
