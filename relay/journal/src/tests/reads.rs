//! What can be asked.

use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::ids::{Epoch, Height, Index, MessageId, UnixMillis};
use cityrelay_core::record::{IntentEnd, Purpose, Record};

use super::fixture::{Chain, domain, intent, journal, word};
use crate::{CarryTransaction, MemoryJournal};

fn three_extensions(chain: &Chain) -> MemoryJournal {
    journal(&[vec![chain.extension(0, 2)], vec![chain.extension(2, 7)], vec![chain.extension(7, 8)]])
}

#[test]
fn every_point_can_be_had_again() {
    let outbox = Chain::outbox("lane", 8);
    for chain in [Chain::inbox(&outbox), outbox] {
        let journal = three_extensions(&chain);
        for point in &chain.points {
            assert_eq!(journal.view().point(chain.flow, point.index).unwrap(), Some(*point));
        }
        assert_eq!(journal.view().point(chain.flow, Index(9)).unwrap(), None);
    }
    let unknown = Chain::outbox("unknown", 0);
    let start = ChainPoint::start(unknown.flow);
    assert_eq!(journal(&[]).view().point(unknown.flow, Index(0)).unwrap(), Some(start));
    assert_eq!(journal(&[]).view().point(unknown.flow, Index(1)).unwrap(), None);
}

#[test]
fn every_range_of_entries_and_links_comes_back() {
    let outbox = Chain::outbox("lane", 8);
    for chain in [Chain::inbox(&outbox), outbox] {
        let journal = three_extensions(&chain);
        for first in 0..=9_usize {
            for last in 0..=10_usize {
                let (from, to) = (first.max(1) - 1, last.min(8));
                let expected = chain.entries.get(from..to.max(from)).unwrap_or_default();
                let (first, last) = (Index(first as u64), Index(last as u64));
                assert_eq!(journal.view().entries(chain.flow, first, last).unwrap(), expected, "{first}..={last}");
                let links: Vec<_> = expected.iter().map(|entry| entry.link(chain.flow)).collect();
                assert_eq!(journal.view().links(chain.flow, first, last).unwrap(), links, "{first}..={last}");
            }
        }
    }
}

#[test]
fn one_flow_is_not_read_into_the_next() {
    let (one, other) = (Chain::outbox("one", 3), Chain::outbox("other", 5));
    let journal = journal(&[vec![one.extension(0, 3), other.extension(0, 5)]]);
    for chain in [&one, &other] {
        assert_eq!(journal.view().entries(chain.flow, Index(1), Index(99)).unwrap(), chain.entries);
        assert_eq!(journal.view().point(chain.flow, Index(chain.entries.len() as u64 + 1)).unwrap(), None);
        assert_eq!(journal.view().timeline(chain.flow, Index(6)).unwrap(), None);
    }
    assert_eq!(journal.view().verify().unwrap(), 8);
}

#[test]
fn a_message_is_found_by_its_id() {
    let (one, other) = (Chain::outbox("one", 3), Chain::outbox("other", 5));
    let journal = journal(&[vec![one.extension(0, 3), other.extension(0, 5)]]);
    for chain in [&one, &other] {
        for entry in &chain.entries {
            let id = MessageId(entry.link(chain.flow));
            assert_eq!(journal.view().find(id).unwrap(), Some((chain.flow, entry.index())));
        }
    }
    // The first 7 bytes of an id are only a hint.
    let mut near = MessageId(one.entries[0].link(one.flow));
    near.0.0[31] ^= 1;
    assert_eq!(journal.view().find(near).unwrap(), None);
    assert_eq!(journal.view().find(MessageId(word("unknown"))).unwrap(), None);
}

#[test]
fn a_message_is_found_in_every_block_of_a_long_lane() {
    let chain = Chain::outbox("long", 2100);
    let journal =
        journal(&[vec![chain.extension(0, 1000)], vec![chain.extension(1000, 2000), chain.extension(2000, 2100)]]);
    for index in [1, 1023, 1024, 1025, 2047, 2048, 2100] {
        let id = MessageId(chain.entries[index - 1].link(chain.flow));
        assert_eq!(journal.view().find(id).unwrap(), Some((chain.flow, Index(index as u64))));
    }
}

#[test]
fn messages_are_found_by_the_first_digits_of_their_ids() {
    let (one, other) = (Chain::outbox("one", 2100), Chain::outbox("other", 5));
    let journal = journal(&[
        vec![one.extension(0, 1000)],
        vec![one.extension(1000, 2000), one.extension(2000, 2100), other.extension(0, 5)],
    ]);
    let view = journal.view();
    for (chain, place) in [(&one, 1), (&one, 1500), (&other, 5)] {
        let id = chain.entries[place - 1].link(chain.flow);
        let expected = (chain.flow, Index(place as u64), MessageId(id));
        let digits = id.to_string().trim_start_matches("0x").to_owned();
        for length in [8, 13, 14, 15, 40, 64] {
            let found = view.find_by_digits(None, &digits[..length], 10).unwrap();
            assert_eq!(found, [expected], "{length} digits");
        }
        assert_eq!(view.find_by_digits(Some(chain.flow.lane), &digits.to_uppercase(), 10).unwrap(), [expected]);
    }
    let all = view.find_by_digits(Some(one.flow.lane), "", 3000).unwrap();
    assert_eq!(all.len(), 2100);
    assert!(all.windows(2).all(|pair| pair[0].1 > pair[1].1), "the newest comes first");
    assert_eq!(view.find_by_digits(Some(one.flow.lane), "", 7).unwrap().len(), 7);
    assert_eq!(view.find_by_digits(None, "0000000000000000", 10).unwrap(), []);
}

#[test]
fn a_timeline_tells_what_happened_to_a_message() {
    let chain = Chain::outbox("lane", 8);
    let carry = |name, last| intent(name, Purpose::Carry { flow: chain.flow, last: Index(last) });
    let (all, half) = (carry("all", 7), carry("half", 4));
    let reverted = IntentEnd::Reverted { height: Height(90), gas_used: 1 };
    let mut journal = journal(&[
        vec![chain.extension(0, 2), chain.extension(2, 7), chain.attested(7, 1), chain.attested(7, 2)],
        vec![chain.signed(7, 1), chain.accepted(4)],
        vec![Record::Intent(all.clone())],
        vec![Record::IntentClosed { domain: domain(), hash: all.hash, end: reverted }],
        vec![Record::Intent(half.clone())],
        vec![chain.done(4, 777)],
    ]);
    let timeline = journal.view().timeline(chain.flow, Index(3)).unwrap().unwrap();
    assert_eq!((timeline.point, timeline.link), (chain.points[3], chain.entries[2].link(chain.flow)));
    assert_eq!(timeline.extension, (chain.points[2], chain.points[7]));
    assert_eq!((timeline.proved_at, timeline.block_hash), (Height(70), word("block")));
    assert_eq!((timeline.block_time, timeline.verified_at), (UnixMillis(700), UnixMillis(701)));
    assert_eq!(timeline.attested, Some((Index(7), Epoch(2), UnixMillis(702))));
    assert_eq!(timeline.signed, Some((Index(7), Epoch(1))));
    assert!(timeline.is_peer_accepted);
    assert_eq!(timeline.peer_accepted, Some((Index(4), UnixMillis(403))));
    assert_eq!(timeline.done, Some((Index(4), UnixMillis(777))));
    let row = |hash, last, end| CarryTransaction {
        domain: domain(),
        hash,
        last: Index(last),
        at: UnixMillis(7),
        replaces: None,
        end,
    };
    assert_eq!(timeline.transactions, [row(half.hash, 4, None), row(all.hash, 7, Some(reverted))]);

    let later = journal.view().timeline(chain.flow, Index(5)).unwrap().unwrap();
    assert!(!later.is_peer_accepted);
    assert_eq!(later.done, None);
    assert_eq!(later.transactions, [row(all.hash, 7, Some(reverted))]);
    assert_eq!(journal.view().timeline(chain.flow, Index(8)).unwrap(), None);
    assert_eq!(journal.view().timeline(chain.flow, Index(0)).unwrap(), None);

    journal.append(&[chain.extension(7, 8)]).unwrap();
    journal.sync();
    let newest = journal.view().timeline(chain.flow, Index(8)).unwrap().unwrap();
    assert_eq!((newest.attested, newest.signed, newest.done), (None, None, None));
    assert!(newest.transactions.is_empty());
}

#[test]
fn flows_and_counts_say_where_everything_stands() {
    let (one, other) = (Chain::outbox("one", 3), Chain::outbox("other", 5));
    let journal =
        journal(&[vec![one.extension(0, 1), one.extension(1, 3), other.extension(0, 5)], vec![one.accepted(2)]]);
    let flows = journal.view().flows().unwrap();
    assert_eq!(flows.len(), 2);
    let flow = flows.iter().find(|flow| flow.flow == one.flow).unwrap();
    assert_eq!((flow.tip, flow.peer_accepted, flow.extensions), (one.tip(), one.points[2], 2));
    let counts = journal.view().counts().unwrap();
    assert_eq!((counts.flows, counts.records, counts.signed), (2, 4, 0));
}

#[test]
fn an_attester_is_reminded_of_a_piece_of_the_chain_and_of_what_it_signed() {
    let outbox = Chain::outbox("lane", 8);
    for chain in [Chain::inbox(&outbox), outbox] {
        let attested = [2, 7, 8].map(|index| chain.attested(index, 1)).to_vec();
        let journal =
            journal(&[vec![chain.extension(0, 2)], vec![chain.extension(2, 7)], vec![chain.extension(7, 8)], attested]);
        let signer = *chain.evidence(2, 1).signatures.first_key_value().unwrap().0;
        let stranger = cityrelay_core::ids::AttesterId([0xee; 20]);
        for first in 1..=8_usize {
            for last in first..=8 {
                let ask =
                    |attester| journal.view().reminder(chain.flow, Index(first as u64), Index(last as u64), attester);
                let (claim, evidence) = ask(Some(signer)).unwrap().unwrap();
                // It reaches the next proved head at or after the last entry asked for.
                let expected = &chain.entries[first - 1..last];
                let without_payloads: Vec<_> = expected.iter().map(Entry::without_payload).collect();
                assert_eq!((claim.first, &claim.entries), (Index(first as u64), &without_payloads), "{first}..={last}");
                let end = first - 1 + claim.entries.len() + claim.tail.len();
                let proved = [2, 7, 8].into_iter().find(|proved| *proved >= last).unwrap();
                assert_eq!(end, proved, "{first}..={last}");
                let tail: Vec<_> = chain.entries[last..end].iter().map(|entry| entry.link(chain.flow)).collect();
                assert_eq!(claim.tail, tail, "{first}..={last}");
                let heads: Vec<_> = [2, 7, 8].into_iter().filter(|index| (first..=last).contains(index)).collect();
                let signed: Vec<_> = evidence.iter().map(|evidence| evidence.point.index.0 as usize).collect();
                assert_eq!(signed, heads, "{first}..={last}");
                assert_eq!(ask(None).unwrap().unwrap().1, evidence);
                assert_eq!(ask(Some(stranger)).unwrap().unwrap().1, []);
            }
        }
        assert_eq!(journal.view().reminder(chain.flow, Index(9), Index(8), None).unwrap(), None);
        assert_eq!(journal.view().reminder(chain.flow, Index(9), Index(9), None).unwrap(), None);
    }
}
