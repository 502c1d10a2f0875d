//! One test for each check of a header: the real case passes, the same with one thing broken is refused by that check.

use std::time::Duration;

use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::Height;
use cityrelay_core::light_client::{HoldReason, LightClient, Refusal};

use super::kit::{Plan, SealedByTest, accepted, at, held, key, member, members, refused, run, seal, sealed, update};
use crate::codec::extra::{BftExtra, BftLayout};
use crate::codec::header::{ForkItems, Header};
use crate::codec::rlp::{self, bytes_item, list_item};
use crate::verify::rules::EpochVotes;
use crate::verify::state::State;
use crate::verify::update::UpdateItem;

const FOUR: [u8; 4] = [1, 2, 3, 4];

fn chain() -> (SealedByTest, State) {
    let chain = SealedByTest::new();
    let state = chain.anchor(&FOUR);
    (chain, state)
}

fn plan() -> Plan {
    Plan::new(&FOUR, &[1, 2, 3])
}

/// The next block with its header changed before it is sealed.
fn with_header(chain: &SealedByTest, change: impl FnOnce(&mut Header)) -> UpdateItem {
    let (mut header, _) = chain.draft(&plan());
    let mut extra = BftExtra::decode(BftLayout::Qbft, &header.extra_data).unwrap();
    change(&mut header);
    extra.seals.clear();
    sealed(header, extra, &[1, 2, 3]).1
}

/// The next block with its extraData changed before it is sealed.
fn with_extra(chain: &SealedByTest, change: impl FnOnce(&mut BftExtra)) -> UpdateItem {
    let (header, _) = chain.draft(&plan());
    let mut extra = BftExtra::decode(BftLayout::Qbft, &header.extra_data).unwrap();
    change(&mut extra);
    sealed(header, extra, &[1, 2, 3]).1
}

/// The next block with its seals changed after it was sealed.
fn with_seals(chain: &SealedByTest, change: impl FnOnce(&mut Vec<[u8; 65]>, Hash32)) -> UpdateItem {
    let (mut header, item) = chain.draft(&plan());
    let mut extra = BftExtra::decode(BftLayout::Qbft, &header.extra_data).unwrap();
    change(&mut extra.seals, item.hash);
    header.extra_data = extra.encode(BftLayout::Qbft);
    UpdateItem { header: header.encode(), ..item }
}

fn check(chain: &SealedByTest, state: &State, item: UpdateItem) -> Refusal {
    refused(run(&chain.client(), state, &[item]))
}

#[test]
fn the_case_that_all_others_break_passes() {
    let (chain, state) = chain();
    let (next, headers) = accepted(run(&chain.client(), &state, &[with_header(&chain, |_| {})]));
    assert_eq!((next.height, headers.len()), (1, 1));
    let round = with_extra(&chain, |extra| extra.round = 3);
    accepted(run(&chain.client(), &state, &[round]));
}

#[test]
fn fixed_fields_are_checked() {
    let (chain, state) = chain();
    let refusal = |change: fn(&mut Header)| check(&chain, &state, with_header(&chain, change)).check;
    assert_eq!(refusal(|header| header.mix_hash = Hash32::ZERO), "mix-hash");
    assert_eq!(refusal(|header| header.difficulty = 2), "difficulty");
    assert_eq!(refusal(|header| header.ommers_hash = Hash32::ZERO), "ommers");
    assert_eq!(refusal(|header| header.beneficiary = vec![1; 21]), "miner");
}

#[test]
fn heights_hashes_and_times_are_chained() {
    let (chain, state) = chain();
    let refusal = |change: fn(&mut Header)| check(&chain, &state, with_header(&chain, change));
    assert_eq!(refusal(|header| header.parent_hash = Hash32::ZERO).check, "parent-hash");
    assert_eq!(refusal(|header| header.number = 2).check, "update-gap");
    assert_eq!(refusal(|header| header.timestamp -= 1).check, "timestamp");
    let mut other = with_header(&chain, |_| {});
    other.hash = Hash32([1; 32]);
    assert_eq!(check(&chain, &state, other).check, "block-hash");
    let (header, first) = chain.draft(&plan());
    let mut after = SealedByTest::new();
    after.tip = Header { number: 5, ..header };
    after.tip_hash = first.hash;
    let gap = after.draft(&plan()).1;
    assert_eq!(refused(run(&chain.client(), &state, &[first, gap])).check, "height");
}

#[test]
fn a_header_ahead_of_our_clock_waits_and_nobody_is_blamed() {
    let (mut chain, state) = chain();
    let client = chain.client();
    let unsealed = chain.draft(&Plan::new(&FOUR, &[])).1;
    let items = [chain.next(&plan()), chain.next(&plan())];
    let time = chain.tip.timestamp;
    accepted(client.verify_update(&state, &update(&items), at(time - 10)));
    let (after, headers, reason) = held(client.verify_update(&state, &update(&items), at(time - 11)));
    let expected = HoldReason::AheadOfClock { height: Height(2), ahead_seconds: 11, allowed_seconds: 10 };
    assert_eq!((after.height, after.held.len(), headers.len(), reason), (1, 0, 1, expected));
    // The clock has been set.
    accepted(client.verify_update(&after, &update(&items[1..]), at(time)));
    // What is wrong anyway is refused, whatever its time.
    let slow = at(time - 1_000);
    assert_eq!(refused(client.verify_update(&state, &update(&[unsealed]), slow)).check, "seals-empty");
    let (same, headers, reason) = held(client.verify_update(&state, &update(&items), slow));
    assert_eq!((same, headers.len(), reason.height()), (state, 0, Height(1)));
}

#[test]
fn a_state_beyond_the_trusting_period_stops_the_client() {
    let (mut chain, state) = chain();
    chain.rules.trusting_period = Duration::from_secs(100);
    let item = with_header(&chain, |_| {});
    let client = chain.client();
    let last = chain.tip.timestamp + 100;
    accepted(client.verify_update(&state, &update(std::slice::from_ref(&item)), at(last)));
    let (kept, headers, reason) =
        held(client.verify_update(&state, &update(std::slice::from_ref(&item)), at(last + 1)));
    let expected = HoldReason::TrustExpired { height: Height(state.height), age_seconds: 101, period_seconds: 100 };
    assert_eq!((&kept, headers.len(), reason), (&state, 0, expected));
    let undated = State { timestamp: 0, ..state };
    accepted(client.verify_update(&undated, &update(&[item]), at(last + 1)));
}

#[test]
fn the_items_of_extra_data_are_strict() {
    let (chain, state) = chain();
    let broken = |at: usize, item: Vec<u8>| {
        let (mut header, claimed) = chain.draft(&plan());
        let items = rlp::decode(&header.extra_data).unwrap().items(5).unwrap();
        let mut items: Vec<_> = items.into_iter().map(rlp::Item::encode).collect();
        if at < items.len() {
            items[at] = item;
        } else {
            items.push(item);
        }
        header.extra_data = list_item(&items);
        check(&chain, &state, UpdateItem { header: header.encode(), ..claimed }).check
    };
    assert_eq!(broken(0, bytes_item(&[0; 31])), "vanity");
    assert_eq!(broken(1, list_item(&[bytes_item(&[1; 19])])), "validator-form");
    assert_eq!(broken(2, bytes_item(&[])), "vote");
    assert_eq!(broken(2, list_item(&[bytes_item(&[1; 20]), bytes_item(&[1])])), "vote");
    assert_eq!(broken(2, list_item(&[bytes_item(&[1; 20]), bytes_item(&[0])])), "vote");
    assert_eq!(broken(3, bytes_item(&[0])), "round");
    assert_eq!(broken(3, bytes_item(&[0x80, 0, 0, 0])), "round");
    assert_eq!(broken(4, list_item(&[bytes_item(&[1; 64])])), "seal-form");
    assert_eq!(broken(5, bytes_item(&[])), "extra-data");
}

#[test]
fn the_listed_set_is_the_computed_one() {
    let (chain, state) = chain();
    let refusal = |change: &dyn Fn(&mut BftExtra)| check(&chain, &state, with_extra(&chain, change)).check;
    assert_eq!(refusal(&|extra| extra.validators.swap(0, 1)), "validator-order");
    assert_eq!(refusal(&|extra| extra.validators[1] = extra.validators[0]), "validator-order");
    assert_eq!(refusal(&|extra| extra.validators.truncate(3)), "validator-list");
    assert_eq!(refusal(&|extra| extra.validators.clear()), "validator-list");
    let stranger = members(&[1, 2, 3, 5]).members().iter().map(|member| member.account).collect::<Vec<_>>();
    assert_eq!(refusal(&|extra| extra.validators = stranger.clone()), "validator-list");
}

#[test]
fn the_proposer_is_a_validator() {
    let (chain, state) = chain();
    let stranger = with_header(&chain, |header| header.beneficiary = member(9).0.to_vec());
    assert_eq!(check(&chain, &state, stranger).check, "proposer");
}

#[test]
fn seals_are_genuine_distinct_and_of_validators() {
    let (chain, state) = chain();
    let refusal = |change: fn(&mut Vec<[u8; 65]>, Hash32)| check(&chain, &state, with_seals(&chain, change)).check;
    assert_eq!(refusal(|seals, _| seals.clear()), "seals-empty");
    assert_eq!(refusal(|seals, _| seals[0] = [0; 65]), "seal-signature");
    assert_eq!(refusal(|seals, _| seals[0][64] += 27), "seal-signature");
    assert_eq!(refusal(|seals, _| seals[1] = seals[0]), "seal-repeated");
    assert_eq!(refusal(|seals, hash| seals[1] = seal(9, hash)), "seal-stranger");
    assert_eq!(refusal(|seals, _| seals[1][0] ^= 1), "seal-stranger");
    assert_eq!(refusal(|seals, _| seals.resize(5, [0; 65])), "seal-count");
}

#[test]
fn the_same_seal_with_the_other_s_counts_once() {
    let (chain, state) = chain();
    let twice = with_seals(&chain, |seals, _| {
        let signature = k256::ecdsa::Signature::from_slice(&seals[0][..64]).unwrap();
        let (r, s) = signature.split_scalars();
        let other = k256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
        seals[1][..64].copy_from_slice(&other.to_bytes());
        seals[1][64] = 1 - seals[0][64];
    });
    assert_eq!(check(&chain, &state, twice).check, "seal-repeated");
}

#[test]
fn a_seal_for_another_round_is_a_strangers() {
    let (chain, state) = chain();
    let (mut header, item) = chain.draft(&plan());
    let mut extra = BftExtra::decode(BftLayout::Qbft, &header.extra_data).unwrap();
    extra.round = 1;
    header.extra_data = extra.encode(BftLayout::Qbft);
    let refusal = check(&chain, &state, UpdateItem { header: header.encode(), ..item });
    assert_eq!(refusal.check, "seal-stranger");
    assert!(!state.set.contains(crate::codec::account::Account::of_key(key(9).verifying_key())));
}

#[test]
fn the_bytes_of_a_header_are_strict() {
    let (chain, state) = chain();
    let (_, item) = chain.draft(&plan());
    let broken = |bytes: Vec<u8>| {
        let item = UpdateItem { header: bytes, ..item.clone() };
        refused(chain.client().verify_update(&state, &update(&[item]), at(chain.tip.timestamp))).check
    };
    let items = rlp::decode(&item.header).unwrap().items(21).unwrap();
    let items: Vec<_> = items.into_iter().map(rlp::Item::encode).collect();
    let with = |at: usize, new: Vec<u8>| {
        let mut items = items.clone();
        items[at] = new;
        list_item(&items)
    };
    assert_eq!(broken([item.header.as_slice(), &[0x80]].concat()), "header-rlp");
    assert_eq!(broken(list_item(&items[..14])), "header-items");
    let more = |count: usize| list_item(&[items.clone(), vec![bytes_item(&[]); count]].concat());
    assert_eq!(broken(more(3)), "header-items");
    assert_eq!(broken(with(0, bytes_item(&[0; 31]))), "header-field");
    assert_eq!(broken(with(8, bytes_item(&[0, 1]))), "header-field");
    assert_eq!(broken(with(6, bytes_item(&[0; 255]))), "header-field");
    assert_eq!(broken(vec![0; (256 << 10) + 1]), "header-size");
}

#[test]
fn a_chain_never_goes_back_to_an_older_fork() {
    let (mut chain, state) = chain();
    let london = with_header(&chain, |header| header.fork.base_fee = Some(7));
    let (after, _) = accepted(run(&chain.client(), &state, std::slice::from_ref(&london)));
    assert_eq!(after.item_count, 16);
    chain.tip = Header::decode(&london.header).unwrap();
    chain.tip_hash = london.hash;
    accepted(run(&chain.client(), &after, &[with_header(&chain, |_| {})]));
    let older = with_header(&chain, |header| header.fork = ForkItems::default());
    assert_eq!(check(&chain, &after, older).check, "header-fork");
}

#[test]
fn an_update_has_headers_and_not_too_many() {
    let (chain, state) = chain();
    let client = chain.client();
    assert_eq!(refused(client.verify_update(&state, &update(&[]), at(0))).check, "update-size");
    let many = vec![with_header(&chain, |_| {}); 4097];
    assert_eq!(refused(client.verify_update(&state, &update(&many), at(0))).check, "update-size");
}

#[test]
fn a_set_proof_outside_contract_mode_is_refused() {
    let (chain, state) = chain();
    let proof = crate::verify::update::SetProof { account: vec![], slots: vec![] };
    let item = UpdateItem { set_proof: Some(proof), ..with_header(&chain, |_| {}) };
    assert_eq!(check(&chain, &state, item).check, "set-proof-unused");
}

#[test]
fn a_vote_in_an_epoch_block_counts_as_configured() {
    for (epoch_votes, pending) in [(EpochVotes::Counted, 1), (EpochVotes::Ignored, 0)] {
        let mut chain = SealedByTest::new();
        chain.rules.epoch_votes = epoch_votes;
        chain.tip.number = 29;
        let state = chain.anchor(&FOUR);
        let item = chain.next(&plan().voting(5, true));
        let (state, _) = accepted(run(&chain.client(), &state, &[item]));
        assert_eq!((state.height, state.votes.len()), (30, pending));
    }
}

#[test]
fn votes_are_pending_until_the_epoch_ends() {
    let mut chain = SealedByTest::new();
    chain.tip.number = 27;
    let state = chain.anchor(&FOUR);
    let votes: Vec<_> = [1, 2].map(|voter| chain.next(&plan().by(voter).voting(5, true))).to_vec();
    let (state, _) = accepted(run(&chain.client(), &state, &votes));
    assert_eq!(state.votes.len(), 2);
    let epoch = chain.next(&plan());
    let (state, _) = accepted(run(&chain.client(), &state, &[epoch]));
    assert_eq!((state.votes.len(), state.set.size()), (0, 4));
    let third = chain.next(&plan().by(3).voting(5, true));
    let (state, _) = accepted(run(&chain.client(), &state, &[third]));
    assert_eq!((state.votes.len(), state.set.size()), (1, 4));
}

#[test]
fn the_last_validator_cannot_be_voted_out() {
    let mut chain = SealedByTest::new();
    let state = chain.anchor(&[1]);
    let item = chain.next(&Plan::new(&[1], &[1]).voting(1, false));
    assert_eq!(check(&chain, &state, item).check, "set-size");
}
