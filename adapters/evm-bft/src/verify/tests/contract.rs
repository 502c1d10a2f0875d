//! Validator sets in a contract's storage.

use std::collections::BTreeMap;

use alloy_trie::proof::ProofRetainer;
use alloy_trie::{HashBuilder, Nibbles};
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::light_client::HoldReason;

use super::kit::{Plan, SealedByTest, accepted, held, member, refused, run, sealed};
use crate::codec::account::Account;
use crate::codec::extra::{BftExtra, BftLayout};
use crate::codec::header::Header;
use crate::codec::rlp::{bytes_item, list_item, minimal, uint_item};
use crate::verify::mode::{Mode, ModeTable};
use crate::verify::rules::ContractLayout;
use crate::verify::storage::{PathNodes, prove_set};
use crate::verify::update::{SetProof, UpdateItem};

const FOUR: [u8; 4] = [1, 2, 3, 4];
const FIVE: [u8; 5] = [1, 2, 3, 4, 5];

fn layout() -> ContractLayout {
    ContractLayout {
        address: Account([0xc5; 20]),
        length_slot: Hash32::ZERO,
        items_slot: keccak256(Hash32::ZERO.as_bytes()),
    }
}

/// A secure trie over these keys and values: its root, and the path to each key asked for.
pub(crate) fn secure_trie(values: &BTreeMap<Vec<u8>, Vec<u8>>, asked: &[Vec<u8>]) -> (Hash32, Vec<PathNodes>) {
    let path = |key: &[u8]| Nibbles::unpack(keccak256(key).0);
    let build = |target: &[u8]| {
        let retainer = ProofRetainer::new(vec![path(target)]);
        let mut builder = HashBuilder::default().with_proof_retainer(retainer);
        let leaves: BTreeMap<_, _> = values.iter().map(|(key, value)| (path(key), value)).collect();
        leaves.into_iter().for_each(|(path, value)| builder.add_leaf(path, value));
        let root = Hash32(builder.root().0);
        let nodes = builder.take_proof_nodes().into_nodes_sorted().into_iter().map(|(_, node)| node.to_vec());
        (root, nodes.collect::<PathNodes>())
    };
    let root = build(&[]).0;
    (root, asked.iter().map(|key| build(key).1).collect())
}

/// The state in which the contract holds these words, and the proof of `length` items.
fn state(words: &[Hash32], length: Hash32, asked: usize) -> (Hash32, SetProof) {
    let layout = layout();
    let slot = |index| layout.item_slot(index).unwrap().0.to_vec();
    let mut storage = BTreeMap::new();
    let value = |word: &Hash32| bytes_item(minimal(word.as_bytes()));
    storage.insert(layout.length_slot.0.to_vec(), value(&length));
    for (index, word) in words.iter().enumerate().filter(|(_, word)| **word != Hash32::ZERO) {
        storage.insert(slot(index), value(word));
    }
    let keys: Vec<_> = core::iter::once(layout.length_slot.0.to_vec()).chain((0..asked).map(slot)).collect();
    let (storage_root, slots) = secure_trie(&storage, &keys);
    let account = list_item(&[
        uint_item(1),
        uint_item(0),
        bytes_item(storage_root.as_bytes()),
        bytes_item(keccak256(b"code").as_bytes()),
    ]);
    let mut accounts: BTreeMap<_, _> = (0..20_u8).map(|n| (vec![n; 20], account.clone())).collect();
    accounts.insert(layout.address.0.to_vec(), account);
    let (root, paths) = secure_trie(&accounts, &[layout.address.0.to_vec()]);
    (root, SetProof { account: paths[0].clone(), slots })
}

fn words(numbers: &[u8]) -> Vec<Hash32> {
    numbers.iter().map(|n| member(*n).to_address().0).collect()
}

fn good_state(numbers: &[u8]) -> (Hash32, SetProof) {
    state(&words(numbers), Hash32::from_u64(numbers.len() as u64), numbers.len())
}

#[test]
fn a_set_in_storage_is_proved_in_ascending_order() {
    let (root, proof) = good_state(&[3, 1, 2]);
    assert_eq!(prove_set(&layout(), root, &proof).unwrap(), super::kit::members(&[1, 2, 3]));
}

#[test]
fn a_set_proof_with_one_thing_broken_is_refused_by_that_check() {
    let check = |root, proof: &SetProof| prove_set(&layout(), root, proof).unwrap_err().check;
    let (root, good) = good_state(&FOUR);
    let broken = |change: fn(&mut SetProof)| {
        let mut proof = good.clone();
        change(&mut proof);
        check(root, &proof)
    };
    assert_eq!(check(Hash32([1; 32]), &good), "proof-account");
    assert_eq!(broken(|proof| proof.account[0][5] ^= 1), "proof-account");
    assert_eq!(broken(|proof| proof.slots.clear()), "set-size");
    assert_eq!(broken(|proof| drop(proof.slots.pop())), "set-size");
    assert_eq!(broken(|proof| proof.slots.swap(1, 2)), "proof-storage");
    assert_eq!(broken(|proof| proof.slots[1][0][3] ^= 1), "proof-storage");

    let other = |words: &[Hash32], length: u64| {
        let (root, proof) = state(words, Hash32::from_u64(length), usize::try_from(length).unwrap());
        check(root, &proof)
    };
    assert_eq!(other(&words(&[1, 2, 2]), 3), "set-members");
    assert_eq!(other(&[words(&[1])[0], Hash32::ZERO], 2), "set-item");
    assert_eq!(other(&[words(&[1])[0], keccak256(b"a word")], 2), "set-item");
    let (root, proof) = state(&words(&[1]), Hash32::from_u64(257), 1);
    assert_eq!(check(root, &proof), "set-size");
    let (root, proof) = state(&words(&[1]), keccak256(b"a length"), 1);
    assert_eq!(check(root, &proof), "set-size");
}

/// A chain under a contract from block 1 on.
fn chain() -> SealedByTest {
    let mut chain = SealedByTest::new();
    chain.rules.modes = ModeTable::new(&[(0, Mode::Qbft), (1, Mode::QbftContract)]).unwrap();
    chain.rules.contracts.insert(0, layout());
    chain
}

/// The next block with `after` in the contract, sealed by `signers`.
fn next(chain: &mut SealedByTest, signers: &[u8], after: &[u8]) -> UpdateItem {
    let (header, item) = draft(chain, signers, after);
    chain.tip = header;
    chain.tip_hash = item.hash;
    item
}

fn draft(chain: &SealedByTest, signers: &[u8], after: &[u8]) -> (Header, UpdateItem) {
    let (root, proof) = good_state(after);
    let (header, _) = chain.draft(&Plan::new(signers, signers));
    let header = Header { state_root: root, ..header };
    let extra = BftExtra { vanity: [0; 32], validators: vec![], vote: None, round: 0, seals: vec![] };
    let (header, item) = sealed(header, extra, signers);
    (header, UpdateItem { set_proof: Some(proof), ..item })
}

#[test]
fn a_set_that_grew_is_sealed_late_and_its_child_finalises_the_block() {
    let mut chain = chain();
    let state = chain.anchor(&FOUR);
    let change = next(&mut chain, &[1, 2, 3], &FIVE);
    let (state, _) = accepted(run(&chain.client(), &state, &[change]));
    assert_eq!(state.set.size(), 5);
    let late = next(&mut chain, &[1, 2, 3], &FIVE);
    let (state, _, reason) = held(run(&chain.client(), &state, &[late]));
    let HoldReason::ShortOfQuorum { expected, got, .. } = reason else { panic!("{reason:?}") };
    assert_eq!((expected, got), (4, 3));
    let child = next(&mut chain, &[2, 3, 4, 5], &FIVE);
    assert_eq!(accepted(run(&chain.client(), &state, &[child])).1.len(), 2);
}

#[test]
fn a_removed_validator_may_seal_the_next_block_but_does_not_count() {
    let mut chain = chain();
    let state = chain.anchor(&FIVE);
    let change = next(&mut chain, &[1, 2, 3, 4], &FOUR);
    let (state, _) = accepted(run(&chain.client(), &state, &[change]));
    let late = next(&mut chain, &[5, 1, 2, 3], &FOUR);
    let (after, _) = accepted(run(&chain.client(), &state, &[late]));
    let later = draft(&chain, &[5, 1, 2, 3], &FOUR).1;
    assert_eq!(refused(run(&chain.client(), &after, &[later])).check, "seal-stranger");

    // Three of the old five, but only two of the four in force.
    let mut chain = self::chain();
    let change = next(&mut chain, &[1, 2, 3, 4], &FOUR);
    let (state, _) = accepted(run(&chain.client(), &self::chain().anchor(&FIVE), &[change]));
    let short = draft(&chain, &[5, 1, 2], &FOUR).1;
    let (_, _, reason) = held(run(&chain.client(), &state, &[short]));
    assert!(matches!(reason, HoldReason::ShortOfQuorum { expected: 3, got: 2, .. }));
}

#[test]
fn headers_between_may_go_without_a_proof() {
    let mut chain = chain();
    let state = chain.anchor(&FOUR);
    let mut items: Vec<_> = (0..6).map(|_| next(&mut chain, &[1, 2, 3], &FOUR)).collect();
    items[..4].iter_mut().for_each(|item| item.set_proof = None);
    assert_eq!(accepted(run(&chain.client(), &state, &items)).1.len(), 6);
    for missing in [4, 5] {
        let mut items = items.clone();
        items[missing].set_proof = None;
        assert_eq!(refused(run(&chain.client(), &state, &items)).check, "set-proof-missing");
    }
}

#[test]
fn a_change_between_needs_a_quorum_of_the_set_held_before() {
    // The set is replaced from {1..4} to {5..8} where nobody looks; the tip is sealed by the new set alone.
    let mut chain = chain();
    let state = chain.anchor(&FOUR);
    let new = [5, 6, 7, 8];
    let mut items =
        vec![next(&mut chain, &[1, 2, 3], &new), next(&mut chain, &new, &new), next(&mut chain, &new, &new)];
    items[0].set_proof = None;
    let (after, headers, reason) = held(run(&chain.client(), &state, &items));
    assert_eq!((headers.len(), after.height), (0, 0));
    assert!(matches!(reason, HoldReason::ShortOfQuorum { expected: 3, got: 0, .. }));
    // With its proof the first is final by itself and fixes the new set.
    let mut chain = self::chain();
    let items = [next(&mut chain, &[1, 2, 3], &new), next(&mut chain, &new, &new), next(&mut chain, &new, &new)];
    assert_eq!(accepted(run(&chain.client(), &state, &items)).1.len(), 3);
}

#[test]
fn a_short_header_that_proves_a_forged_set_finalises_nothing() {
    let mut chain = chain();
    let state = chain.anchor(&FOUR);
    let client = chain.client();
    let honest = draft(&chain, &[2, 3, 4], &FOUR).1;
    // One validator alone seals a block whose state root holds a contract with other members; they seal what follows.
    let forged = [9, 8, 7, 6];
    let short = next(&mut chain, &[1], &forged);
    let children = [next(&mut chain, &forged, &forged), next(&mut chain, &forged, &forged)];
    let mut waiting = state.clone();
    for items in [&[short.clone()][..], &children, &[&[short], children.as_slice()].concat()] {
        let (after, headers, reason) = held(run(&client, &waiting, items));
        assert_eq!((headers.len(), after.height, &after.set), (0, 0, &state.set));
        assert!(matches!(reason, HoldReason::ShortOfQuorum { expected: 3, .. }), "{reason:?}");
        waiting = after;
    }
    let (after, _) = accepted(run(&client, &waiting, &[honest]));
    assert_eq!((after.height, after.held.len(), &after.set), (1, 0, &state.set));
}

#[test]
fn headers_under_a_contract_list_nobody_and_cast_no_vote() {
    let mut chain = chain();
    chain.rules.modes = ModeTable::new(&[(0, Mode::QbftContract)]).unwrap();
    let state = chain.anchor(&FOUR);
    let with = |change: &dyn Fn(&mut BftExtra)| {
        let (header, item) = draft(&chain, &[1, 2, 3], &FOUR);
        let mut extra = BftExtra::decode(BftLayout::Qbft, &header.extra_data).unwrap();
        extra.seals.clear();
        change(&mut extra);
        let (_, changed) = sealed(header, extra, &[1, 2, 3]);
        refused(run(&chain.client(), &state, &[UpdateItem { set_proof: item.set_proof, ..changed }])).check
    };
    let listed: Vec<_> = super::kit::members(&FOUR).members().iter().map(|member| member.account).collect();
    assert_eq!(with(&|extra| extra.validators = listed.clone()), "validator-list");
    let ballot = crate::codec::extra::Ballot { candidate: member(9), is_add: true };
    assert_eq!(with(&|extra| extra.vote = Some(ballot)), "vote");
}

#[test]
fn the_first_header_under_a_contract_may_still_list_the_set() {
    let chain = chain();
    let state = chain.anchor(&FOUR);
    let (header, item) = draft(&chain, &[1, 2, 3], &FOUR);
    let mut extra = BftExtra::decode(BftLayout::Qbft, &header.extra_data).unwrap();
    extra.seals.clear();
    extra.validators = super::kit::members(&FOUR).members().iter().map(|member| member.account).collect();
    let (_, listing) = sealed(header.clone(), extra.clone(), &[1, 2, 3]);
    accepted(run(&chain.client(), &state, &[UpdateItem { set_proof: item.set_proof.clone(), ..listing }]));
    extra.validators.pop();
    let (_, wrong) = sealed(header, extra, &[1, 2, 3]);
    let wrong = UpdateItem { set_proof: item.set_proof, ..wrong };
    assert_eq!(refused(run(&chain.client(), &state, &[wrong])).check, "validator-list");
}
