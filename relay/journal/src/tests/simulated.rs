//! The journal in memory: what syncs and crashes do.

use super::fixture::Chain;
use crate::{BatchId, MemoryJournal};

#[test]
fn reads_see_what_is_durable_and_batches_see_what_is_appended() {
    let chain = Chain::outbox("lane", 4);
    let mut journal = MemoryJournal::new();
    assert_eq!(journal.append(&[chain.extension(0, 2)]).unwrap(), BatchId(1));
    assert_eq!(journal.append(&[chain.extension(2, 4)]).unwrap(), BatchId(2));
    assert_eq!(journal.view().flows().unwrap(), []);
    assert_eq!(journal.sync(), [BatchId(1), BatchId(2)]);
    assert_eq!(journal.view().flows().unwrap()[0].tip, chain.tip());
    assert_eq!(journal.sync(), []);
}

#[test]
fn a_crash_keeps_a_prefix_of_what_was_not_synced() {
    let chain = Chain::outbox("lane", 8);
    for kept in 0..=3_usize {
        let mut journal = MemoryJournal::new();
        journal.append(&[chain.extension(0, 2)]).unwrap();
        journal.sync();
        for base in [2, 4, 6] {
            journal.append(&[chain.extension(base, base + 2)]).unwrap();
        }
        let lost = journal.crash(kept);
        assert_eq!(lost.len(), 3 - kept);
        assert_eq!(journal.view().flows().unwrap()[0].tip, chain.points[2 + 2 * kept]);
        // It goes on from there, and numbers are not used twice.
        if kept < 3 {
            let next = 2 + 2 * kept;
            assert_eq!(journal.append(&[chain.extension(next, next + 2)]).unwrap(), BatchId(5));
        }
    }
}
