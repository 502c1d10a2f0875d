//! The machine loses power at every moment: what was acknowledged is there, and nothing but whole batches in order.

use cityrelay_core::lane::Flow;
use cityrelay_core::record::{Misbehaviour, Purpose, Record};
use cityrelay_core::recovery::{Recovered, Side};

use super::disk::append;
use super::disk_image::{Dice, Disk, Op, write};
use super::fixture::{Chain, client, domain, equivocation, intent};
use crate::store::Store;
use crate::{Journal, MemoryJournal, Options, View};

/// Every kind of record, one batch after another.
pub fn batches() -> (Vec<(Flow, Side)>, Vec<Vec<Record>>) {
    let outbox = Chain::outbox("lane", 12);
    let inbox = Chain::inbox(&outbox);
    let desk = Chain::outbox("attested elsewhere", 6);
    let carry = intent("carry", Purpose::Carry { flow: inbox.flow, last: cityrelay_core::ids::Index(4) });
    let end = cityrelay_core::record::IntentEnd::Dead;
    let closed = Record::IntentClosed { domain: domain(), hash: carry.hash, end };
    let conflict = Misbehaviour::ConflictingHead {
        flow: outbox.flow,
        ours: outbox.points[4],
        theirs: cityrelay_core::gateway_call::Evidence { point: outbox.wrong(4), ..outbox.evidence(4, 1) },
        at: cityrelay_core::ids::UnixMillis(3),
    };
    let batches = vec![
        vec![client(1, 4, "a")],
        vec![outbox.extension(0, 4)],
        vec![outbox.attested(4, 1)],
        vec![desk.extension(0, 6), desk.signed(6, 1)],
        vec![outbox.extension(4, 8), outbox.attested(8, 1)],
        vec![outbox.accepted(4)],
        vec![inbox.extension(0, 4), inbox.attested(4, 1)],
        vec![Record::Intent(carry)],
        vec![Record::Misbehaviour(conflict)],
        vec![closed, inbox.done(4, 9)],
        vec![client(5, 9, "a")],
        vec![outbox.extension(8, 12)],
        vec![Record::Misbehaviour(equivocation(2))],
    ];
    let flows = vec![(outbox.flow, Side::Outbound), (inbox.flow, Side::Inbound), (desk.flow, Side::Attester)];
    (flows, batches)
}

/// Everything that a journal says.
pub fn dump(view: &View<'_>, flows: &[(Flow, Side)]) -> Result<(Recovered, String), crate::JournalError> {
    use cityrelay_core::ids::Index;
    let mut text = format!("{:?} {:?} {:?}", view.flows()?, view.misbehaviour()?, view.counts()?);
    for (flow, _) in flows {
        text += &format!("{:?}", view.entries(*flow, Index(1), Index(u64::MAX))?);
        for index in 1..=12 {
            text += &format!("{:?}", view.timeline(*flow, Index(index))?);
        }
    }
    view.verify()?;
    Ok((view.recover(flows)?, text))
}

/// What the disk that held `synced` may look like after power was lost at `cut`: everything synced, and of each later
/// write nothing, all, or a part in sectors.
pub fn images(mut synced: Vec<u8>, log: &[Op], seeds: &[u64], mut check: impl FnMut(usize, u64, Vec<u8>)) {
    let mut unsynced: Vec<&Op> = Vec::new();
    for (cut, op) in log.iter().enumerate() {
        match op {
            Op::Write { .. } | Op::SetLen(_) => unsynced.push(op),
            Op::Sync => {
                for op in unsynced.drain(..) {
                    replay(&mut synced, op, |bytes| bytes.len());
                }
            }
            Op::Issued(_) | Op::Acknowledged(_) => continue,
        }
        for seed in seeds {
            let mut image = synced.clone();
            let mut dice = Dice((cut as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed);
            for op in &unsynced {
                match dice.roll(3) {
                    0 => {}
                    1 => replay(&mut image, op, |bytes| bytes.len()),
                    _ => replay(&mut image, op, |bytes| (dice.roll(bytes.len() / 512 + 1) * 512).min(bytes.len())),
                }
            }
            check(cut, *seed, image);
        }
    }
}

fn replay(image: &mut Vec<u8>, op: &Op, part: impl FnOnce(&[u8]) -> usize) {
    match op {
        Op::Write { offset, bytes } => write(image, *offset, &bytes[..part(bytes)]),
        Op::SetLen(len) => image.resize(*len, 0),
        Op::Sync | Op::Issued(_) | Op::Acknowledged(_) => {}
    }
}

#[test]
fn i2_after_a_crash_at_every_write_there_is_a_state_that_was_promised() {
    let (flows, batches) = batches();
    // What there must be after so many batches.
    let mut model = MemoryJournal::new();
    let mut states = vec![dump(&model.view(), &flows).unwrap()];
    for batch in &batches {
        model.append(batch).unwrap();
        model.sync();
        states.push(dump(&model.view(), &flows).unwrap());
    }

    // One by one, and in bursts that share a sync.
    for burst in [1, 4] {
        let disk = Disk::new(Vec::new());
        let journal = Journal::open_with(Box::new(disk.clone()), Options::default()).unwrap();
        for (round, batches) in batches.chunks(burst).enumerate() {
            let (answer, answered) = std::sync::mpsc::channel();
            for (place, batch) in batches.iter().enumerate() {
                let number = round * burst + place + 1;
                let (disk, answer) = (disk.clone(), answer.clone());
                disk.note(Op::Issued(number));
                journal.append(batch.clone(), move |result| {
                    disk.note(Op::Acknowledged(number));
                    answer.send(result).unwrap();
                });
            }
            drop(answer);
            answered.iter().for_each(|result| result.unwrap());
        }
        journal.close();
        crash_everywhere(&disk.log(), &states, &flows);
    }
}

fn crash_everywhere(log: &[Op], states: &[(Recovered, String)], flows: &[(Flow, Side)]) {
    let mut tried = 0;
    images(Vec::new(), log, &[1, 2, 3], |cut, seed, image| {
        let before = &log[..=cut];
        let acknowledged = before.iter().rev().find_map(|op| match op {
            Op::Acknowledged(count) => Some(*count),
            _ => None,
        });
        let issued = before.iter().rev().find_map(|op| match op {
            Op::Issued(count) => Some(*count),
            _ => None,
        });
        let store = match Store::open(&Disk::new(image)) {
            Ok(store) => store,
            // Power was lost while the file was being made, which `OpenFile` does aside.
            Err(error) if issued.is_none() => {
                assert!(error.is_damage(), "cut {cut} seed {seed}: {error}");
                return;
            }
            Err(error) => panic!("cut {cut} seed {seed}: {error}"),
        };
        let found = store.read(|rows| dump(&View::new(rows), flows)).unwrap();
        let (least, most) = (acknowledged.unwrap_or(0), issued.unwrap_or(0));
        assert!(
            states[least..=most].contains(&found),
            "cut {cut} seed {seed}: {least} batches acknowledged, {most} issued, found another state"
        );
        tried += 1;
    });
    assert!(tried > 300, "{tried} crashes tried");
}

#[test]
fn after_a_crash_it_goes_on() {
    let chain = Chain::outbox("lane", 4);
    let disk = Disk::new(Vec::new());
    let journal = Journal::open_with(Box::new(disk.clone()), Options::default()).unwrap();
    append(&journal, vec![chain.extension(0, 2)]).unwrap();
    // The image of a process that was killed: nothing closed the file.
    let image = disk.image();
    let second = Journal::open_with(Box::new(Disk::new(image)), Options::default()).unwrap();
    append(&second, vec![chain.extension(2, 4)]).unwrap();
    assert_eq!(second.flows().unwrap()[0].tip, chain.tip());
}

#[test]
fn opening_after_a_crash_does_not_walk_the_history() {
    let opening_reads = |extensions: usize| {
        let chain = Chain::outbox("lane", extensions * 8);
        let disk = Disk::new(Vec::new());
        let journal = Journal::open_with(Box::new(disk.clone()), Options::default()).unwrap();
        for number in 0..extensions {
            journal.append(vec![chain.extension(number * 8, number * 8 + 8)], |result| result.unwrap());
        }
        append(&journal, vec![chain.done(extensions * 8, 1)]).unwrap();
        // Killed here: nothing closed the file.
        let image = disk.image();
        let size = image.len();
        let killed = Disk::new(image);
        let store = Store::open(&killed).unwrap();
        store.read(|rows| View::new(rows).recover(&[(chain.flow, Side::Inbound)])).unwrap();
        (killed.read_bytes(), size)
    };
    let (short, _) = opening_reads(50);
    let (long, size) = opening_reads(2000);
    assert!(long < short * 2 && long < size / 50, "{short} bytes of a short history, {long} of {size} of a long one");
}
