use cityrelay_core::light_client::Gravity;

use super::kit::{Plan, SealedByTest, accepted, held, refused, run};
use crate::verify::state::MAX_RECENT_HEADERS;

const FOUR: [u8; 4] = [1, 2, 3, 4];

fn good() -> Plan {
    Plan::new(&FOUR, &[1, 2, 3])
}

#[test]
fn a_second_sealed_header_at_a_final_height_is_equivocation() {
    let mut chain = SealedByTest::new();
    let anchor = chain.anchor(&FOUR);
    let second_at_1 = chain.draft(&Plan { gas_used: 1, ..Plan::new(&FOUR, &[2, 3, 4]) }).1;
    let short_at_1 = chain.draft(&Plan { gas_used: 2, ..Plan::new(&FOUR, &[3, 4]) }).1;
    let first = chain.next(&good());
    let (state, _) = accepted(run(&chain.client(), &anchor, &[first]));
    let refusal = refused(run(&chain.client(), &state, std::slice::from_ref(&second_at_1)));
    assert_eq!((refusal.check, refusal.gravity), ("equivocation", Gravity::Equivocation));

    let short = refused(run(&chain.client(), &state, &[short_at_1]));
    assert_eq!((short.check, short.gravity), ("other-header", Gravity::Invalid));

    let more: Vec<_> = (0..5).map(|_| chain.next(&good())).collect();
    let (state, _) = accepted(run(&chain.client(), &state, &more));
    assert_eq!(refused(run(&chain.client(), &state, &[second_at_1])).gravity, Gravity::Equivocation);
}

#[test]
fn headers_that_are_final_already_are_passed_over() {
    let mut chain = SealedByTest::new();
    let anchor = chain.anchor(&FOUR);
    let items: Vec<_> = (0..3).map(|_| chain.next(&good())).collect();
    let (state, _) = accepted(run(&chain.client(), &anchor, &items[..2]));
    let (same, headers) = accepted(run(&chain.client(), &state, &items[..2]));
    assert_eq!((same, headers.len()), (state.clone(), 0));
    let (state, headers) = accepted(run(&chain.client(), &state, &items));
    assert_eq!((state.height, headers.len()), (3, 1));
}

#[test]
fn heights_that_are_no_longer_remembered_are_passed_over() {
    let mut chain = SealedByTest::new();
    let anchor = chain.anchor(&FOUR);
    let items: Vec<_> = (0..MAX_RECENT_HEADERS + 1).map(|_| chain.next(&good())).collect();
    let (state, _) = accepted(run(&chain.client(), &anchor, &items));
    assert_eq!(state.recent.len(), MAX_RECENT_HEADERS);
    let forgotten = SealedByTest::new().draft(&Plan { gas_used: 1, ..good() }).1;
    let remembered = items[1].clone();
    assert_eq!(accepted(run(&chain.client(), &state, &[forgotten, remembered])), (state, vec![]));
}

#[test]
fn a_second_header_where_none_is_final_is_no_equivocation() {
    let chain = SealedByTest::new();
    let anchor = chain.anchor(&FOUR);
    let (waiting, _, _) = held(run(&chain.client(), &anchor, &[chain.draft(&Plan::new(&FOUR, &[1])).1]));
    let other = chain.draft(&Plan { gas_used: 1, ..good() }).1;
    assert_eq!(accepted(run(&chain.client(), &waiting, &[other])).0.height, 1);
}

#[test]
fn another_header_at_the_anchors_height_cannot_be_judged_and_is_refused() {
    let mut chain = SealedByTest::new();
    chain.next(&good());
    let anchor = chain.anchor(&FOUR);
    let same_height = SealedByTest::new().draft(&Plan { gas_used: 1, ..good() }).1;
    assert_eq!(refused(run(&chain.client(), &anchor, &[same_height])).check, "other-header");
}
