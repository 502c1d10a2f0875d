//! Golden bytes, and strictness of what is stored and sent.

use std::sync::Arc;

use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::light_client::{AdapterValue, LightClient, SetStatement};
use proptest::prelude::*;

use super::kit::{SealedByTest, members};
use crate::codec::account::Account;
use crate::verify::head::{Detail, HeadProof};
use crate::verify::set::{Validator, ValidatorSet};
use crate::verify::state::{Recent, State};
use crate::verify::tally::Vote;
use crate::verify::update::{SetProof, Update, UpdateItem};

fn item() -> UpdateItem {
    UpdateItem {
        header: vec![0xc0],
        hash: Hash32([3; 32]),
        set_proof: Some(SetProof { account: vec![vec![1], vec![2, 3]], slots: vec![vec![vec![4]], vec![]] }),
    }
}

fn state() -> State {
    let key = Validator { account: Account([6; 20]), bls_key: Some([7; 48]) };
    let set = Arc::new(ValidatorSet::new(vec![key]).unwrap());
    State {
        height: 300,
        hash: Hash32([1; 32]),
        timestamp: 1_800_000_000,
        item_count: 15,
        set: Arc::clone(&set),
        votes: Arc::new(vec![Vote { voter: Account([6; 20]), candidate: key, is_add: true }]),
        recent: vec![
            Recent { height: 299, hash: Hash32([2; 32]), set: None },
            Recent { height: 300, hash: Hash32([1; 32]), set: Some(set) },
        ],
        held: vec![item(), UpdateItem { set_proof: None, ..item() }],
    }
}

fn proof() -> HeadProof {
    HeadProof::Storage { account: vec![vec![1]], head: vec![vec![2], vec![3]], index: vec![] }
}

#[test]
fn the_encodings_of_version_1_do_not_change() {
    let update = Update { items: vec![item()] };
    assert_eq!(hex::encode(update.encode()), GOLDEN_UPDATE);
    assert_eq!(hex::encode(proof().encode()), GOLDEN_PROOF);
    let receipt = HeadProof::Receipt { position: 130, path: vec![vec![9; 3]] };
    assert_eq!(hex::encode(receipt.encode()), GOLDEN_RECEIPT);
    assert_eq!(keccak256(&state().encode()).to_string(), GOLDEN_STATE_HASH);
}

const GOLDEN_UPDATE: &str =
    "eeed81c0a00303030303030303030303030303030303030303030303030303030303030303c9c401820203c3c104c0";
const GOLDEN_PROOF: &str = "c880c101c4c20203c0";
const GOLDEN_RECEIPT: &str = "c8018182c483090909";
const GOLDEN_STATE_HASH: &str = "0x3200b301dca36506fb6792ae1c6d50f0546c92790c035b6d2988d7a7ca6668d9";

#[test]
fn what_was_written_reads_back() {
    assert_eq!(State::decode(1, &state().encode()), Ok(state()));
    let update = Update { items: vec![item()] };
    assert_eq!(Update::decode(1, &update.encode()), Ok(update));
    assert_eq!(HeadProof::decode(1, &proof().encode()), Ok(proof()));
}

#[test]
fn another_version_and_bytes_that_do_not_belong_are_refused() {
    fn checks<V: AdapterValue + PartialEq + core::fmt::Debug>(value: &V) -> [&'static str; 3] {
        let bytes = value.encode();
        let more = [bytes.as_slice(), &[0]].concat();
        let decode = |version, bytes: &[u8]| V::decode(version, bytes).unwrap_err().check;
        [decode(2, &bytes), decode(1, &more), decode(1, &bytes[..bytes.len() - 1])]
    }
    assert_eq!(checks(&state()), ["state-version", "state-encoding", "state-encoding"]);
    assert_eq!(checks(&Update { items: vec![item()] }), ["update-version", "update-encoding", "update-encoding"]);
    assert_eq!(checks(&proof()), ["proof-version", "proof-encoding", "proof-encoding"]);
}

#[test]
fn a_set_statement_is_refused() {
    let chain = SealedByTest::new();
    let statement = SetStatement { height: cityrelay_core::ids::Height(1), digest: members(&[1]).digest() };
    let refusal = chain.client().apply_set_statement(&chain.anchor(&[1]), &statement).unwrap_err();
    assert_eq!(refusal.check, "set-statement");
}

#[test]
fn a_headers_detail_reads_back() {
    let detail = Detail {
        state_root: Hash32([1; 32]),
        receipts_root: Hash32([2; 32]),
        transactions_root: Hash32([3; 32]),
        set_digest: Hash32([4; 32]),
    };
    assert_eq!(detail.encode().len(), 129);
    assert_eq!(Detail::decode(&detail.encode()), Ok(detail));
}

proptest! {
    #[test]
    fn whatever_decodes_is_written_the_same(at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        fn same<V: AdapterValue>(bytes: &[u8]) -> bool {
            V::decode(1, bytes).map_or(true, |value| value.encode() == bytes)
        }
        let changed = |mut bytes: Vec<u8>| {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        };
        prop_assert!(same::<State>(&changed(state().encode())));
        let update = Update { items: vec![item()] };
        prop_assert!(same::<Update>(&changed(update.encode())));
        prop_assert!(same::<HeadProof>(&changed(proof().encode())));
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(State::decode(1, &bytes));
        drop(Update::decode(1, &bytes));
        drop(HeadProof::decode(1, &bytes));
        drop(crate::codec::header::Header::decode(&bytes));
        drop(crate::codec::receipt::Receipt::decode(&bytes));
        drop(crate::codec::extra::LegacyExtra::decode(&bytes));
    }
}
