//! Published headers of other chains (`vectors/qbft`, `vectors/polygon-edge`).

use cityrelay_core::hash::Hash32;
use serde_json::Value;

use super::kit::{accepted, accounts, bytes, plain, plain_set, reading, refused, rules, run, vector, word};
use crate::codec::extra::{BftExtra, BftLayout, ExtraError, LegacyExtra};
use crate::codec::header::Header;
use crate::codec::json;
use crate::codec::rlp::{Item, decode};
use crate::codec::transaction::read_transaction;
use crate::verify::client::Client;
use crate::verify::mode::Mode;
use crate::verify::reading::Seals;
use crate::verify::seals::recover_signers;
use crate::verify::set::ValidatorSet;
use crate::verify::state::State;
use crate::verify::update::UpdateItem;

/// Reads a published header, compares everything that was published about it, and runs the client over it.
fn verify_published(mode: Mode, vector: &Value) {
    let raw = bytes(&vector["header_rlp"]);
    let header = Header::decode(&raw).unwrap();
    assert_eq!(header.encode(), raw);
    let read = reading(mode, &header);
    assert_eq!(read.hash, word(&vector["block_hash"]));
    assert_eq!(read.listed, plain(&accounts(&vector["validators"])));
    let Seals::Each { digest, .. } = &read.seals else { panic!("separate seals") };
    assert_eq!(*digest, word(&vector["commit_digest"]));
    let set = plain_set(&accounts(&vector["validators"]));
    let signers = recover_signers(&read.seals, &set, None).unwrap();
    assert_eq!(signers, plain(&accounts(&vector["recovered_signers"])));

    let set = ValidatorSet::of_accounts(&accounts(&vector["validators"])).unwrap();
    let before = State::anchor(header.number - 1, header.parent_hash, 0, set, Vec::new());
    let item = UpdateItem { header: raw, hash: read.hash, set_proof: None };
    let client = Client::new(rules(&[(0, mode)], 30_000));
    let (state, headers) = accepted(run(&client, &before, std::slice::from_ref(&item)));
    assert_eq!((state.height, headers.len()), (header.number, 1));
    let wrong = UpdateItem { hash: Hash32::ZERO, ..item };
    assert_eq!(refused(run(&client, &before, &[wrong])).check, "block-hash");
}

#[test]
fn besu_qbft_headers_verify_at_round_1_and_in_london_form() {
    verify_published(Mode::Qbft, &vector("qbft/qbft-besu-7528-round1.json"));
    verify_published(Mode::Qbft, &vector("qbft/qbft-besu-58866-london.json"));
}

#[test]
fn the_commit_digest_at_round_1_is_not_the_block_hash() {
    let vector = vector("qbft/qbft-besu-7528-round1.json");
    let header = Header::decode(&bytes(&vector["header_rlp"])).unwrap();
    let extra = BftExtra::decode(BftLayout::Qbft, &header.extra_data).unwrap();
    assert_eq!(extra.round, 1);
    let digest = header.hash_with_extra(&extra.encode_for_commit(BftLayout::Qbft));
    assert_eq!(digest, cityrelay_core::hash::keccak256(&bytes(&vector["unsealed_header_rlp"])));
    assert_ne!(digest, word(&vector["block_hash"]));
}

#[test]
fn a_besu_block_reads_the_same_from_json_and_from_rlp() {
    let vector = vector("qbft/qbft-besu-58866-london.json");
    let (header, hash) = json::read_header(&vector["rpc_block"]).unwrap();
    assert_eq!(header.encode(), bytes(&vector["header_rlp"]));
    assert_eq!(hash, word(&vector["block_hash"]));
    let receipt = json::read_receipt(&vector["rpc_receipt_0"]).unwrap();
    assert_eq!(receipt.encode(), bytes(&vector["receipt_0_trie_value"]));
    let transaction = read_transaction(&vector["rpc_transaction_0"]).unwrap().unwrap();
    assert_eq!(transaction, bytes(&vector["transaction_0_rlp"]));
}

#[test]
fn ibft2_headers_verify() {
    let file = vector("qbft/ibft2-besu.json");
    let vectors = file["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 4);
    for vector in vectors {
        verify_published(Mode::Ibft2, vector);
        let header = Header::decode(&bytes(&vector["header_rlp"])).unwrap();
        assert!(BftExtra::decode(BftLayout::Qbft, &header.extra_data).is_err(), "read as the other layout");
    }
}

#[test]
fn an_ibft1_chain_of_100_blocks_verifies() {
    let file = vector("qbft/ibft1-quorum-chain-0-100.json");
    let blocks = file["blocks"].as_array().unwrap();
    let set = ValidatorSet::of_accounts(&accounts(&file["validators"])).unwrap();
    let anchor = State::anchor(0, word(&blocks[0]["block_hash"]), 0, set, Vec::new());
    let items: Vec<_> = blocks[1..]
        .iter()
        .map(|block| UpdateItem {
            header: bytes(&block["header_rlp"]),
            hash: word(&block["block_hash"]),
            set_proof: None,
        })
        .collect();
    for (item, block) in items.iter().zip(&blocks[1..]) {
        let header = Header::decode(&item.header).unwrap();
        let read = reading(Mode::Ibft1, &header);
        assert_eq!(vec![read.proposer], accounts(&Value::Array(vec![block["proposer"].clone()])));
        let Seals::Each { digest, .. } = read.seals else { panic!("separate seals") };
        assert_eq!(digest, word(&block["commit_digest"]));
    }
    let client = Client::new(rules(&[(0, Mode::Ibft1)], 30_000));
    let one_by_one =
        items.iter().fold(anchor.clone(), |state, item| accepted(run(&client, &state, std::slice::from_ref(item))).0);
    let (at_once, headers) = accepted(run(&client, &anchor, &items));
    assert_eq!((headers.len(), at_once), (100, one_by_one));
}

#[test]
fn published_extra_data_reads_and_writes_the_same() {
    let file = vector("qbft/extradata-known-answers.json");
    let (mut seen, mut strange) = (0, 0);
    for vector in file["vectors"].as_array().unwrap() {
        let layout = match vector["consensus"].as_str().unwrap() {
            "qbft" => BftLayout::Qbft,
            "ibft2" => BftLayout::Ibft2,
            _ => {
                let header = Header::decode(&bytes(&vector["header_rlp"])).unwrap();
                let extra = LegacyExtra::decode(&header.extra_data).unwrap();
                assert_eq!(extra.encode(), header.extra_data);
                assert_eq!(header.hash_with_extra(&extra.encode_for_block_hash()), word(&vector["block_hash"]));
                seen += 1;
                continue;
            }
        };
        let raw = bytes(&vector["extra_data"]);
        seen += 1;
        if decode(&raw).unwrap().items(5).unwrap()[0] == Item::Bytes(&[]) {
            // Besu's own test encodes no vanity at all, which no real header does.
            assert_eq!(BftExtra::decode(layout, &raw), Err(ExtraError::Vanity { got: 0 }));
            strange += 1;
            continue;
        }
        let extra = BftExtra::decode(layout, &raw).unwrap();
        assert_eq!(extra.encode(layout), raw);
        assert_eq!(u64::from(extra.round), vector["round"].as_u64().unwrap());
        assert_eq!(extra.validators, accounts(&vector["validators"]));
        if let Some(reduced) = vector.get("extra_for_commit_digest") {
            assert_eq!(extra.encode_for_commit(layout), bytes(reduced));
            assert_eq!(extra.encode_for_block_hash(layout), bytes(&vector["extra_for_block_hash"]));
        }
    }
    assert_eq!((seen, strange), (6, 2));
}

/// The published block of an Edge chain with BLS seals, of the older layout without a round.
fn edge_block() -> (Value, Header, ValidatorSet) {
    let vector = vector("polygon-edge/ibft-bls-5384.json");
    let header = Header::decode(&bytes(&vector["header_rlp"])).unwrap();
    let set = ValidatorSet::new(reading(Mode::EdgeBls, &header).listed).unwrap();
    (vector, header, set)
}

#[test]
fn an_edge_block_without_a_round_verifies() {
    let (vector, header, set) = edge_block();
    let read = reading(Mode::EdgeBls, &header);
    assert_eq!(read.hash, word(&vector["block_hash"]));
    assert_eq!(vec![read.proposer], accounts(&Value::Array(vec![vector["recovered_proposer"].clone()])));
    let Seals::Aggregate { digest, .. } = &read.seals else { panic!("an aggregate") };
    assert_eq!(*digest, word(&vector["commit_digest"]));
    assert_eq!(recover_signers(&read.seals, &set, None).unwrap().len(), 3);
    let before = State::anchor(header.number - 1, header.parent_hash, 0, set, Vec::new());
    let item = UpdateItem { header: header.encode(), hash: read.hash, set_proof: None };
    let client = Client::new(rules(&[(0, Mode::EdgeBls)], 30_000));
    assert_eq!(accepted(run(&client, &before, &[item])).0.height, 5384);
}

#[test]
fn an_aggregate_with_one_thing_broken_is_refused_by_that_check() {
    let (_, header, set) = edge_block();
    let Seals::Aggregate { digest, bitmap, signature } = reading(Mode::EdgeBls, &header).seals else {
        panic!("an aggregate")
    };
    let check = |digest, bitmap: &[u8], signature: &[u8], set: &ValidatorSet| {
        let seals = Seals::Aggregate { digest, bitmap: bitmap.to_vec(), signature: signature.to_vec() };
        recover_signers(&seals, set, None).unwrap_err().check
    };
    assert_eq!(check(digest, &[], &signature, &set), "seals-empty");
    assert_eq!(check(digest, &[0x17], &signature, &set), "seal-bitmap");
    assert_eq!(check(digest, &[1, 7], &signature, &set), "seal-bitmap");
    assert_eq!(check(digest, &[11], &signature, &set), "seal-aggregate");
    assert_eq!(check(Hash32::ZERO, &bitmap, &signature, &set), "seal-aggregate");
    assert_eq!(check(digest, &bitmap, &[], &set), "seal-aggregate");
    let mut flipped = signature.clone();
    flipped[50] ^= 1;
    assert_eq!(check(digest, &bitmap, &flipped, &set), "seal-aggregate");
    let mut infinity = [0; 48];
    infinity[0] = 0xc0;
    for key in [[0x11; 48], infinity] {
        let mut members = set.members().to_vec();
        members[0].bls_key = Some(key);
        assert_eq!(check(digest, &bitmap, &signature, &ValidatorSet::new(members).unwrap()), "validator-key");
    }
    let plain = ValidatorSet::of_accounts(&set.members().iter().map(|m| m.account).collect::<Vec<_>>()).unwrap();
    assert_eq!(check(digest, &bitmap, &signature, &plain), "validator-key");
}
