//! The journal in a real file: locks, formats, groups, order, closing.

use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cityrelay_core::ids::{Index, UnixMillis};
use cityrelay_core::lane::Direction;
use cityrelay_core::record::Record;
use cityrelay_core::recovery::Side;

use super::crash::{batches, dump};
use super::fixture::Chain;
use crate::{FILE_NAME, Journal, JournalError, MemoryJournal, Options, PruneDepth};

/// Appends and waits.
pub fn append(journal: &Journal, records: Vec<Record>) -> Result<(), JournalError> {
    let (answer, answered) = sync_channel(1);
    journal.append(records, move |result| answer.send(result).unwrap());
    answered.recv_timeout(Duration::from_secs(60)).unwrap()
}

/// Holds the writer in a callback: what is appended until the returned end is dropped becomes one group.
///
/// Returns when the writer is held. A batch that was appended before that would be of the callback's own group.
pub fn hold(journal: &Journal) -> Sender<()> {
    let (release, held) = channel();
    let (holds, is_held) = channel();
    journal.append(vec![], move |_| {
        holds.send(()).unwrap();
        let _ = held.recv();
    });
    is_held.recv_timeout(Duration::from_secs(60)).unwrap();
    release
}

#[test]
fn what_was_appended_is_there_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let (flows, batches) = batches();
    let mut model = MemoryJournal::new();
    for round in batches.chunks(4) {
        let journal = Journal::open(dir.path(), Options::default()).unwrap();
        for batch in round {
            append(&journal, batch.clone()).unwrap();
            model.append(batch).unwrap();
        }
        model.sync();
        let on_disk = journal.read(|view| dump(view, &flows)).unwrap();
        assert_eq!(on_disk, dump(&model.view(), &flows).unwrap());
    }
    let options = Options { check_on_open: true, ..Options::default() };
    let journal = Journal::open(dir.path(), options).unwrap();
    assert_eq!(journal.read(|view| dump(view, &flows)).unwrap(), dump(&model.view(), &flows).unwrap());
    assert_eq!(journal.recover(&flows).unwrap(), model.view().recover(&flows).unwrap());
}

#[test]
fn a_second_journal_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let first = Journal::open(dir.path(), Options::default()).unwrap();
    let error = Journal::open(dir.path(), Options::default()).unwrap_err();
    assert!(matches!(&error, JournalError::AlreadyOpen { path } if path.ends_with(FILE_NAME)), "{error}");
    first.close();
    Journal::open(dir.path(), Options::default()).unwrap();
}

#[test]
fn a_journal_that_was_being_made_when_power_was_lost_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    Journal::open(dir.path(), Options::default()).unwrap().close();
    // Made, but not moved into place yet.
    std::fs::rename(dir.path().join(FILE_NAME), dir.path().join("journal.redb.new")).unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    append(&journal, vec![Chain::outbox("lane", 1).extension(0, 1)]).unwrap();
    assert!(!dir.path().join("journal.redb.new").exists());
}

#[test]
fn a_bad_batch_in_a_group_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    let (one, other) = (Chain::outbox("one", 20), Chain::outbox("other", 20));
    let held = hold(&journal);
    let answers = Arc::new(Mutex::new(Vec::new()));
    for number in 0..20_usize {
        let records = match number {
            7 => vec![other.extension(3, 9)],
            8 => vec![
                other.extension(0, 9),
                Record::PeerAccepted { flow: other.flow, point: other.wrong(2), at: UnixMillis(1) },
            ],
            _ => vec![one.extension(number - usize::from(number > 8) * 2, number + 1 - usize::from(number > 8) * 2)],
        };
        let answers = answers.clone();
        journal.append(records, move |result| answers.lock().unwrap().push((number, result.is_ok())));
    }
    drop(held);
    append(&journal, vec![other.extension(0, 20)]).unwrap();
    let expected: Vec<_> = (0..20).map(|number| (number, number != 7 && number != 8)).collect();
    assert_eq!(*answers.lock().unwrap(), expected, "in order, and only the bad ones refused");
    let stats = journal.stats();
    assert!(stats.largest_group >= 18, "{stats:?}");
    assert_eq!((stats.refused, stats.failed, stats.batches), (2, 0, 20), "{stats:?}");
    assert!(stats.syncs <= 3 && stats.last_sync > Duration::ZERO && stats.bytes_on_disk > 0, "{stats:?}");
    assert_eq!(journal.point(one.flow, Index(18)).unwrap(), Some(one.points[18]));
    assert_eq!(journal.point(other.flow, Index(20)).unwrap(), Some(other.points[20]));
}

#[test]
fn a_group_of_refused_batches_costs_no_sync() {
    let disk = super::disk_image::Disk::new(Vec::new());
    let journal = Journal::open_with(Box::new(disk.clone()), Options::default()).unwrap();
    let before = disk.log().len();
    let error = append(&journal, vec![Chain::outbox("lane", 3).extension(1, 3)]).unwrap_err();
    assert!(matches!(error, JournalError::Gap { .. }), "{error}");
    assert_eq!(disk.log().len(), before);
    assert_eq!((journal.stats().syncs, journal.stats().refused), (0, 1));
}

#[test]
fn a_full_queue_gives_the_batch_back_or_waits() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { max_waiting_batches: 2, ..Options::default() };
    let journal = Journal::open(dir.path(), options).unwrap();
    let chain = Chain::outbox("lane", 3);
    let held = hold(&journal);
    journal.append(vec![chain.extension(0, 1)], |result| result.unwrap());
    journal.try_append(vec![chain.extension(1, 2)], |result| result.unwrap()).unwrap();
    let (answer, answered) = channel();
    let back = journal.try_append(vec![chain.extension(2, 3)], move |result| answer.send(result).unwrap());
    let back = back.err().unwrap();
    assert_eq!(back.records, [chain.extension(2, 3)]);
    assert!(answered.try_recv().is_err(), "the callback was not called");
    let waiting = journal.clone();
    let waiter = std::thread::spawn(move || waiting.append(back.records, back.on_durable));
    std::thread::sleep(Duration::from_millis(50));
    assert!(!waiter.is_finished(), "it waits for room");
    assert_eq!(journal.stats().waiting_batches, 2);
    drop(held);
    waiter.join().unwrap();
    answered.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
    assert_eq!(journal.point(chain.flow, Index(3)).unwrap(), Some(chain.tip()));
}

#[test]
fn a_queue_full_of_bytes_takes_a_large_batch_only_when_it_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { max_waiting_bytes: 1000, ..Options::default() };
    let journal = Journal::open(dir.path(), options).unwrap();
    let chain = Chain::outbox("lane", 100);
    append(&journal, vec![chain.extension(0, 50)]).unwrap();
    let held = hold(&journal);
    journal.try_append(vec![chain.extension(50, 100)], |result| result.unwrap()).unwrap();
    assert!(journal.try_append(vec![chain.accepted(1)], |_| ()).is_err());
    drop(held);
    append(&journal, vec![chain.accepted(100)]).unwrap();
}

#[test]
fn a_callback_may_append_even_when_the_queue_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { max_waiting_batches: 1, ..Options::default() };
    let journal = Journal::open(dir.path(), options).unwrap();
    let chain = Chain::outbox("lane", 3);
    let (answer, answered) = channel();
    let (inner, records) = (journal.clone(), chain.clone());
    journal.append(vec![chain.extension(0, 1)], move |result| {
        result.unwrap();
        for base in 1..3 {
            let answer = answer.clone();
            inner.append(vec![records.extension(base, base + 1)], move |result| answer.send(result).unwrap());
        }
    });
    for _ in 0..2 {
        answered.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
    }
}

#[test]
fn a_callback_that_panics_does_not_take_the_others_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    journal.append(vec![], |_| panic!("this panic is part of a test"));
    append(&journal, vec![Chain::outbox("lane", 1).extension(0, 1)]).unwrap();
}

#[test]
fn closing_makes_everything_durable_and_answers_everybody() {
    let dir = tempfile::tempdir().unwrap();
    let chain = Chain::outbox("lane", 30);
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    let (answer, answered) = channel();
    for base in 0..30 {
        let answer = answer.clone();
        journal.append(vec![chain.extension(base, base + 1)], move |result| answer.send(result).unwrap());
    }
    journal.close();
    drop(answer);
    assert_eq!(answered.iter().filter(Result::is_ok).count(), 30);
    let error = append(&journal, vec![chain.accepted(1)]).unwrap_err();
    assert!(matches!(error, JournalError::Closed), "{error}");
    assert!(matches!(journal.flows(), Err(JournalError::Closed)));
    assert!(matches!(journal.reopen(), Err(JournalError::Closed)));
    assert!(matches!(journal.prune(UnixMillis(1), PruneDepth::Payloads), Err(JournalError::Closed)));
    let again = Journal::open(dir.path(), Options::default()).unwrap();
    assert_eq!(again.flows().unwrap()[0].tip, chain.tip());
    // Dropping the last handle closes as well.
    drop(again);
    Journal::open(dir.path(), Options::default()).unwrap();
}

#[test]
fn reads_see_a_durable_snapshot_while_others_append() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    let chain = Chain::outbox("lane", 50);
    let reader = journal.clone();
    let flow = chain.flow;
    let reading = std::thread::spawn(move || {
        let started = Instant::now();
        let mut seen = 0;
        while seen < 50 && started.elapsed() < Duration::from_secs(60) {
            seen = reader
                .read(|view| {
                    let tip = view.flows()?.first().map_or(Index(0), |flow| flow.tip.index);
                    assert_eq!(view.entries(flow, Index(1), Index(99))?.len() as u64, tip.0);
                    Ok(tip.0)
                })
                .unwrap();
        }
        seen
    });
    for base in 0..50 {
        append(&journal, vec![chain.extension(base, base + 1)]).unwrap();
    }
    assert_eq!(reading.join().unwrap(), 50);
}

#[test]
fn pruning_works_in_steps_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    let chain = Chain::outbox("lane", 200);
    let batch: Vec<_> = (0..200).map(|base| chain.extension(base, base + 1)).collect();
    append(&journal, batch).unwrap();
    append(&journal, vec![chain.done(150, 5)]).unwrap();
    let pruned = journal.prune(UnixMillis(6), PruneDepth::Bodies).unwrap();
    assert_eq!((pruned.extensions, pruned.payload_bytes), (150, 150 * 7));
    assert!(matches!(journal.entries(chain.flow, Index(150), Index(151)), Err(JournalError::Pruned { .. })));
    assert_eq!(journal.entries(chain.flow, Index(151), Index(200)).unwrap(), chain.entries[150..]);
    let recovered = journal.recover(&[(chain.flow, Side::Inbound)]).unwrap();
    assert_eq!(recovered.flows[0].outstanding.len(), 50);
}

/// Prints how fast 64-entry extensions become durable on this machine: `cargo test -p cityrelay-journal speed -- --nocapture`.
#[test]
fn speed_of_durable_extensions_is_worth_a_city() {
    const ENTRIES: usize = 64;
    let run = |lanes: usize, rounds: usize| {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let journal = Journal::open(dir.path(), Options::default()).unwrap();
        let chains: Vec<_> = (0..lanes)
            .map(|lane| {
                let mut chain = Chain::new(&format!("lane {lane}"), Direction::Outbox);
                (0..rounds * ENTRIES).for_each(|_| chain.push(&[7; 200]));
                chain
            })
            .collect();
        let records: Vec<Vec<Record>> = (0..rounds)
            .flat_map(|round| chains.iter().map(move |chain| (round, chain)))
            .map(|(round, chain)| vec![chain.extension(round * ENTRIES, (round + 1) * ENTRIES)])
            .collect();
        let count = records.len();
        let (answer, answered) = channel();
        let started = Instant::now();
        for batch in records {
            let answer = answer.clone();
            if lanes == 1 {
                append(&journal, batch).unwrap();
                answer.send(Ok(())).unwrap();
            } else {
                journal.append(batch, move |result| answer.send(result).unwrap());
            }
        }
        for _ in 0..count {
            answered.recv().unwrap().unwrap();
        }
        let took = started.elapsed();
        let stats = journal.stats();
        println!(
            "{lanes} lanes: {count} extensions of {ENTRIES} in {took:?}, {} syncs, {:.0} extensions/s, {:.0} messages/s, \
             {:.1} ms a sync, {} bytes on disk",
            stats.syncs,
            count as f64 / took.as_secs_f64(),
            (count * ENTRIES) as f64 / took.as_secs_f64(),
            stats.total_sync.as_secs_f64() * 1000.0 / stats.syncs as f64,
            stats.bytes_on_disk,
        );
        assert_eq!(stats.batches, count as u64);
        count as f64 / took.as_secs_f64()
    };
    assert!(run(1, 20) > 1.0);
    assert!(run(24, 20) > 1.0);
}
