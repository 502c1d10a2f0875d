//! What finalises what (`DESIGN` §3, Ancestry).

use cityrelay_core::ids::Height;
use cityrelay_core::light_client::{AdapterValue, HoldReason, Verdict};

use super::kit::{Plan, SealedByTest, accepted, held, members, refused, run};
use crate::codec::extra::{BftExtra, BftLayout};
use crate::codec::header::Header;
use crate::verify::state::State;
use crate::verify::update::UpdateItem;

const FOUR: [u8; 4] = [1, 2, 3, 4];
const FIVE: [u8; 5] = [1, 2, 3, 4, 5];

#[test]
fn a_short_header_waits_and_a_sealed_child_finalises_it() {
    let mut chain = SealedByTest::new();
    let state = chain.anchor(&FOUR);
    let short = chain.next(&Plan::new(&FOUR, &[1, 2]));
    let (state, headers, reason) = held(run(&chain.client(), &state, &[short]));
    assert_eq!((headers.len(), state.height, state.held.len()), (0, 0, 1));
    assert_eq!(reason, HoldReason::ShortOfQuorum { height: Height(1), expected: 3, got: 2 });
    let state = State::decode(State::VERSION, &state.encode()).unwrap();
    let child = chain.next(&Plan::new(&FOUR, &[1, 2, 3]));
    let (state, headers) = accepted(run(&chain.client(), &state, &[child]));
    assert_eq!(headers.iter().map(|header| header.height.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((state.height, state.held.len()), (2, 0));
}

#[test]
fn a_held_back_header_can_come_again_with_more_seals_or_be_replaced() {
    let mut chain = SealedByTest::new();
    let state = chain.anchor(&FOUR);
    let plan = Plan::new(&FOUR, &[1, 2]);
    let (waiting, _, _) = held(run(&chain.client(), &state, &[chain.draft(&plan).1]));
    let again = chain.draft(&Plan { signers: vec![2, 3, 4], ..plan.clone() }).1;
    assert_eq!(accepted(run(&chain.client(), &waiting, &[again])).0.height, 1);
    let other = chain.next(&Plan { signers: vec![2, 3, 4], gas_used: 1, ..plan });
    assert_eq!(accepted(run(&chain.client(), &waiting, &[other])).0.height, 1);
}

#[test]
fn a_child_of_another_block_does_not_follow_the_held_back_one() {
    let mut chain = SealedByTest::new();
    let state = chain.anchor(&FOUR);
    let (waiting, _, _) = held(run(&chain.client(), &state, &[chain.draft(&Plan::new(&FOUR, &[1, 2])).1]));
    chain.next(&Plan { gas_used: 1, ..Plan::new(&FOUR, &[1, 2, 3]) });
    let child = chain.next(&Plan::new(&FOUR, &[1, 2, 3]));
    assert_eq!(refused(run(&chain.client(), &waiting, &[child])).check, "parent-hash");
}

/// Three votes that add validator 5, with these signers at the third.
fn voted_in(chain: &mut SealedByTest, last: &[u8]) -> Vec<UpdateItem> {
    let quorum = [1, 2, 3];
    let mut items: Vec<_> =
        [1, 2].map(|voter| chain.next(&Plan::new(&FOUR, &quorum).by(voter).voting(5, true))).to_vec();
    items.push(chain.next(&Plan::new(&FOUR, last).by(3).voting(5, true)));
    items
}

#[test]
fn a_set_that_no_final_header_fixed_finalises_nothing() {
    let mut chain = SealedByTest::new();
    let state = chain.anchor(&FOUR);
    // The third vote is short of a quorum of the four, so the five are not fixed yet.
    let mut items = voted_in(&mut chain, &[3]);
    let by_new = chain.draft(&Plan::new(&FIVE, &[4, 5])).1;
    items.push(by_new);
    let (state, headers, reason) = held(run(&chain.client(), &state, &items));
    assert_eq!((headers.len(), state.height, state.held.len()), (2, 2, 2));
    assert_eq!(reason, HoldReason::ShortOfQuorum { height: Height(4), expected: 4, got: 2 });
    assert_eq!(state.set.as_ref(), &members(&FOUR));
    assert_eq!(state.votes.len(), 2);
}

#[test]
fn a_quorum_of_the_new_set_alone_is_not_enough_over_a_change() {
    // From 2 validators to 3: two of the three are a quorum of the new set.
    let mut chain = SealedByTest::new();
    let state = chain.anchor(&[1, 2]);
    let first = chain.next(&Plan::new(&[1, 2], &[1, 2]).by(1).voting(3, true));
    let (state, _) = accepted(run(&chain.client(), &state, &[first]));
    let change = chain.next(&Plan::new(&[1, 2], &[2]).by(2).voting(3, true));
    let tip = chain.draft(&Plan::new(&[1, 2, 3], &[2, 3])).1;
    let (waiting, headers, reason) = held(run(&chain.client(), &state, &[change.clone(), tip]));
    assert_eq!((headers.len(), waiting.height), (0, 1));
    // It has the quorum of the new set; what it lacks is that of the set held before.
    assert_eq!(reason, HoldReason::ShortOfQuorum { height: Height(3), expected: 2, got: 1 });
    let both = chain.draft(&Plan::new(&[1, 2, 3], &[1, 2])).1;
    let (state, headers) = accepted(run(&chain.client(), &state, &[change, both]));
    assert_eq!((headers.len(), state.set.size()), (2, 3));
}

#[test]
fn a_change_that_is_final_by_itself_lets_the_new_set_go_on() {
    let mut chain = SealedByTest::new();
    let state = chain.anchor(&FOUR);
    let mut items = voted_in(&mut chain, &[1, 2, 3]);
    items.push(chain.next(&Plan::new(&FIVE, &[2, 3, 4, 5])));
    let verdict = run(&chain.client(), &state, &items);
    let Verdict::Advanced { state, headers, set_changes } = verdict else { panic!("{verdict:?}") };
    assert_eq!((headers.len(), set_changes), (4, vec![Height(3)]));
    assert_eq!(state.set.as_ref(), &members(&FIVE));
}

#[test]
fn a_header_found_on_the_way_back_lets_the_tip_be_judged_by_the_new_set() {
    let mut chain = SealedByTest::new();
    let state = chain.anchor(&[1, 2]);
    let items = [
        chain.next(&Plan::new(&[1, 2], &[1, 2]).by(1).voting(3, true)),
        chain.next(&Plan::new(&[1, 2], &[2]).by(2).voting(3, true)),
        // This one has both quorums and fixes the three; the tip then needs only theirs.
        chain.next(&Plan::new(&[1, 2, 3], &[1, 2])),
        chain.next(&Plan::new(&[1, 2, 3], &[2, 3])),
    ];
    assert_eq!(accepted(run(&chain.client(), &state, &items)).0.height, 4);
}

#[test]
fn catching_up_looks_at_the_seals_of_the_tip_only() {
    let mut chain = SealedByTest::new();
    let state = chain.anchor(&FOUR);
    let mut items: Vec<_> = (0..20).map(|_| chain.next(&Plan::new(&FOUR, &[1, 2, 3]))).collect();
    // Seals are outside the hash: a stranger's in the middle changes nothing, at the tip it is refused.
    let with_stranger = |item: &UpdateItem| {
        let mut header = Header::decode(&item.header).unwrap();
        let mut extra = BftExtra::decode(BftLayout::Qbft, &header.extra_data).unwrap();
        extra.seals[0] = super::kit::seal(9, item.hash);
        header.extra_data = extra.encode(BftLayout::Qbft);
        UpdateItem { header: header.encode(), ..item.clone() }
    };
    items[10] = with_stranger(&items[10]);
    assert_eq!(accepted(run(&chain.client(), &state, &items)).1.len(), 20);
    items[19] = with_stranger(&items[19]);
    assert_eq!(refused(run(&chain.client(), &state, &items)).check, "seal-stranger");
}

#[test]
fn a_short_tip_leaves_what_an_earlier_header_finalised() {
    let mut chain = SealedByTest::new();
    let state = chain.anchor(&FOUR);
    let items = [&[1, 2, 3][..], &[1], &[2, 3, 4], &[4]].map(|signers| chain.next(&Plan::new(&FOUR, signers)));
    let (state, headers, _) = held(run(&chain.client(), &state, &items));
    assert_eq!((headers.len(), state.height, state.held.len()), (3, 3, 1));
}

#[test]
fn too_many_held_back_headers_wait_with_the_likely_cause_and_go_on_with_a_sealed_one() {
    let mut chain = SealedByTest::new();
    let state = chain.anchor(&FOUR);
    let short: Vec<_> = (0..64).map(|_| chain.next(&Plan::new(&FOUR, &[1, 2]))).collect();
    let (state, _, _) = held(run(&chain.client(), &state, &short));
    assert_eq!(state.held.len(), 64);
    let one_more = chain.draft(&Plan::new(&FOUR, &[1, 2])).1;
    let (bounded, _, reason) = held(run(&chain.client(), &state, &[one_more]));
    let expected = HoldReason::AtBound { height: Height(65), held: 65, limit: 64, expected: 3, got: 2 };
    assert_eq!((reason, bounded), (expected, state.clone()));
    let at_last = chain.draft(&Plan::new(&FOUR, &[1, 2, 3])).1;
    assert_eq!(accepted(run(&chain.client(), &state, &[at_last])).0.height, 65);
}

#[test]
fn a_chain_that_commits_at_2f_plus_1_is_named() {
    for validators in [&[1, 2, 3, 4, 5][..], &[1, 2, 3, 4, 5, 6]] {
        let mut chain = SealedByTest::new();
        let state = chain.anchor(validators);
        let items: Vec<_> = (0..65).map(|_| chain.next(&Plan::new(validators, &[1, 2, 3]))).collect();
        let (state, _, reason) = held(run(&chain.client(), &state, &items));
        let expected = HoldReason::WeakCommitRule { height: Height(65), expected: 4, got: 3 };
        assert_eq!(reason, expected, "{} validators", validators.len());
        let mut items = items;
        items.push(chain.next(&Plan::new(validators, validators)));
        assert_eq!(accepted(run(&chain.client(), &state, &items)).0.height, 66, "later data ends it");
    }
}

#[test]
fn a_configured_override_replaces_the_set_and_clears_the_votes() {
    let mut chain = SealedByTest::new();
    chain.rules.overrides.insert(3, members(&[7, 8]));
    let state = chain.anchor(&FOUR);
    let first = chain.next(&Plan::new(&FOUR, &[1, 2, 3]).by(1).voting(5, true));
    let second = chain.next(&Plan::new(&FOUR, &[1, 2, 3]));
    let (state, _) = accepted(run(&chain.client(), &state, &[first, second]));
    assert_eq!((state.set.as_ref(), state.votes.len()), (&members(&[7, 8]), 0));
    let old = chain.draft(&Plan::new(&FOUR, &[1, 2, 3])).1;
    assert_eq!(refused(run(&chain.client(), &state, &[old])).check, "validator-list");
    let new = chain.draft(&Plan::new(&[7, 8], &[7, 8])).1;
    assert_eq!(accepted(run(&chain.client(), &state, &[new])).0.height, 3);
}
