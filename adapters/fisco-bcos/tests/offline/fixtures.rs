//! Real headers, receipts, transactions and proofs from public fixtures, and edits of them that must be refused.

use crate::vectors::{client, unhex, vectors};
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Height, UnixMillis};
use cityrelay_core::light_client::{LightClient, Refusal, Verdict};
use cityrelay_fisco_bcos::codec::header::SealedHeader;
use cityrelay_fisco_bcos::codec::json::{
    header_from_json, proof_from_json, receipt_from_json, receipt_to_json, signatures_from_json, transaction_hashes,
};
use cityrelay_fisco_bcos::codec::json_transaction::{ShownTransaction, transaction_from_json};
use cityrelay_fisco_bcos::codec::merkle;
use cityrelay_fisco_bcos::codec::suite::{CryptoSuite, PublicKey};
use cityrelay_fisco_bcos::codec::transaction::Transaction;
use cityrelay_fisco_bcos::codec::web3::{Web3Error, Web3Transaction};
use cityrelay_fisco_bcos::verify::merkle_path::{Place, Tree, verify_path};
use cityrelay_fisco_bcos::verify::sealer_set::SealerSet;
use cityrelay_fisco_bcos::verify::state::TrustedState;
use cityrelay_fisco_bcos::verify::update::{ChainUpdate, UpdateHeader};
use serde_json::Value;

fn hash(value: &Value) -> Hash32 {
    Hash32(unhex(value).try_into().unwrap())
}

/// The suite, from either of the two ways that the fixtures name it.
fn suite(value: &Value) -> CryptoSuite {
    if value.as_str().unwrap().starts_with("sm3") { CryptoSuite::Gm } else { CryptoSuite::Standard }
}

/// Runs a header through the client, anchored at its parent with the set it should list.
fn verify(suite: CryptoSuite, pinned: &SealedHeader, shown: SealedHeader) -> Result<Height, Refusal> {
    let set = SealerSet::of_header(&pinned.header).unwrap();
    let parent = pinned.header.parents[0];
    let state = TrustedState::anchored(Height(parent.number), parent.hash, set);
    let update = ChainUpdate { headers: vec![UpdateHeader { sealed: shown, skips_parent: false, evidence: None }] };
    match client(suite).verify_update(&state, &update, UnixMillis(0)) {
        Verdict::Advanced { state, .. } => Ok(state.height),
        Verdict::Refused(refusal) => Err(refusal),
        Verdict::HeldBack { reason, .. } => panic!("{reason}"),
    }
}

#[test]
fn real_headers_of_3_0_3_2_and_3_3_verify() {
    for file in [
        "header_keccak_v3.0_block9_51txs",
        "header_keccak_v3.2_block60_with_proofs",
        "header_keccak_v3.2_block72_quorum_3of4",
        "header_sm_v3.3_block2_quorum_3of4",
    ] {
        let fixture = vectors(&format!("fixtures/{file}.json"));
        let suite = suite(&fixture["cryptoSuite"]);
        let sealed = header_from_json(&fixture["header"]).unwrap();
        assert_eq!(sealed.header.preimage(), unhex(&fixture["expected"]["preimageHex"]), "{file}");
        assert_eq!(sealed.header.hash(suite), hash(&fixture["expected"]["hash"]), "{file}");
        assert_eq!(verify(suite, &sealed, sealed.clone()), Ok(Height(sealed.header.number)), "{file}");
        if let Some(receipt) = fixture.get("receipt") {
            let read = receipt_from_json(&receipt["receipt"]).unwrap();
            assert_eq!(read.preimage(), unhex(&receipt["expected"]["preimageHex"]), "{file}");
            assert_eq!(read.hash(suite), hash(&receipt["expected"]["hash"]), "{file}");
            assert_eq!(receipt_from_json(&receipt_to_json(&read, &read.hash(suite))), Ok(read), "{file}");
        }
        if let Some(transaction) = fixture.get("transaction") {
            assert_transaction(suite, transaction);
        }
        if fixture["transactions"].is_array() {
            let leaves = transaction_hashes(&fixture).unwrap();
            assert_eq!(merkle::root(suite, &leaves).0.to_vec(), sealed.header.txs_root, "{file}");
        }
    }
}

fn assert_transaction(suite: CryptoSuite, case: &Value) {
    let shown = transaction_from_json(suite, &case["transaction"]);
    let Ok(ShownTransaction::Native { data, signature, claimed_hash }) = shown else { panic!("{shown:?}") };
    assert_eq!(data.nonce, case["expected"]["nonceAsHashed"].as_str().unwrap());
    assert_eq!(data.preimage(), unhex(&case["expected"]["preimageHex"]));
    assert_eq!(data.hash(suite), claimed_hash);
    let signer = suite.transaction_signer(&claimed_hash, &signature).unwrap();
    let sender = format!("0x{}", hex::encode(suite.account(&signer)));
    assert_eq!(sender, case["expected"]["sender"].as_str().unwrap());
}

#[test]
fn nonces_are_read_in_the_form_before_and_after_3_3() {
    let fixture = vectors("fixtures/rpc_transactions_nonce_forms.json");
    for case in fixture["cases"].as_array().unwrap() {
        assert_transaction(CryptoSuite::Standard, case);
    }
}

#[test]
fn the_proofs_of_block_60_have_the_shape_of_their_positions() {
    let fixture = vectors("fixtures/header_keccak_v3.2_block60_with_proofs.json");
    let suite = CryptoSuite::Standard;
    let index =
        usize::try_from(fixture["expected"]["merkle"]["transactionIndexFromTxProof"].as_u64().unwrap()).unwrap();
    let proof = proof_from_json(&fixture["transaction"]["transaction"]["txProof"]).unwrap();
    let leaf = hash(&fixture["transaction"]["expected"]["hash"]);
    let root = hash(&fixture["header"]["txsRoot"]);
    // The lone node at level 8 says that the tree has 513 to 768 leaves; the served index says more than 695.
    let fitting: Vec<usize> = (index + 1..2000)
        .filter(|leaves| {
            verify_path(suite, Tree::Transactions, &proof, leaf, Place { index, leaves: *leaves }, root).is_ok()
        })
        .collect();
    assert!(fitting.iter().all(|leaves| (697..=768).contains(leaves)), "{fitting:?}");
    assert!(!fitting.is_empty());
    let elsewhere = Place { index: index - 1, leaves: fitting[0] };
    assert!(verify_path(suite, Tree::Transactions, &proof, leaf, elsewhere, root).is_err());
}

#[test]
fn the_gm_genesis_hash_comes_from_empty_roots_and_empty_gas() {
    let fixture = vectors("fixtures/genesis_sm_v3.3.json");
    let sealed = header_from_json(&fixture["header"]).unwrap();
    assert_eq!(sealed.header.preimage(), unhex(&fixture["expected"]["preimageHex"]));
    assert_eq!(sealed.header.hash(CryptoSuite::Gm), hash(&fixture["expected"]["hash"]));
}

#[test]
fn real_receipts_hash_in_both_suites() {
    let fixture = vectors("fixtures/receipts.json");
    for case in fixture["cases"].as_array().unwrap() {
        let receipt = receipt_from_json(&case["receipt"]).unwrap();
        assert_eq!(receipt.preimage(), unhex(&case["expected"]["preimageHex"]));
        assert_eq!(receipt.hash(suite(&case["cryptoSuite"])), hash(&case["expected"]["hash"]));
    }
}

#[test]
fn real_signed_transactions_decode_and_recover_their_sender() {
    let fixture = vectors("fixtures/signed_tars_transactions.json");
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 8);
    for case in cases {
        let (suite, bytes, expected) = signed(case);
        let transaction = Transaction::decode(&bytes).unwrap();
        let digest = transaction.data.hash(suite);
        assert_eq!(digest, hash(&expected["dataHash"]), "{case}");
        let signer = suite.transaction_signer(&digest, &transaction.signature).unwrap();
        assert_eq!(format!("0x{}", hex::encode(suite.account(&signer))), expected["sender"].as_str().unwrap());
    }
}

fn signed(case: &Value) -> (CryptoSuite, Vec<u8>, &Value) {
    (suite(&case["cryptoSuite"]), unhex(&case["signedTarsHex"]), &case["expected"])
}

#[test]
fn hash_and_key_constants_hold() {
    let fixture = vectors("fixtures/crypto_constants.json");
    for case in fixture["hashes"].as_array().unwrap() {
        let digest = suite(&case["hash"]).hash(case["messageUtf8"].as_str().unwrap().as_bytes());
        assert_eq!(digest, hash(&case["digest"]));
    }
    let sm2 = &fixture["sm2"];
    let key = PublicKey(unhex(&sm2["publicKey"]).try_into().unwrap());
    let digest = hash(&sm2["messageHash"]);
    assert!(CryptoSuite::Gm.is_signed_by(&key, &digest, &unhex(&sm2["signature_r_s"])));
    assert_eq!(CryptoSuite::Gm.transaction_signer(&digest, &unhex(&sm2["signature_r_s_pub"])), Some(key));
    assert!(!CryptoSuite::Gm.is_signed_by(&key, &Hash32::ZERO, &unhex(&sm2["signature_r_s"])));
}

#[test]
fn small_trees_have_the_derived_roots_and_proofs() {
    let fixture = vectors("fixtures/merkle_small_trees.json");
    for case in fixture["cases"].as_array().unwrap() {
        let suite = suite(&case["hash"]);
        let count = u32::try_from(case["leafCount"].as_u64().unwrap()).unwrap();
        let leaves: Vec<Hash32> = (0..count).map(|k| suite.hash(&k.to_be_bytes())).collect();
        assert_eq!(merkle::root(suite, &leaves), hash(&case["root"]));
        let index = usize::try_from(case["proofForIndex"].as_u64().unwrap()).unwrap();
        let proof = proof_from_json(&case["proof"]).unwrap();
        assert_eq!(merkle::proof(suite, &leaves, index), proof);
    }
}

fn negative(name: &str) -> Value {
    let fixture = vectors("fixtures/negative_cases.json");
    fixture["cases"].as_array().unwrap().iter().find(|case| case["name"] == name).unwrap().clone()
}

fn block72() -> (Value, SealedHeader) {
    let fixture = vectors("fixtures/header_keccak_v3.2_block72_quorum_3of4.json");
    let sealed = header_from_json(&fixture["header"]).unwrap();
    (fixture["header"].clone(), sealed)
}

#[test]
fn negative_signature_lists_are_refused_by_name() {
    for (name, expected) in [
        ("duplicate_sealer_index", "signature-duplicate"),
        ("high_s_malleated_signature", "signature-duplicate"),
        ("swapped_sealer_indexes", "signature-invalid"),
        ("below_quorum", "quorum"),
    ] {
        let (_, good) = block72();
        let signatures = signatures_from_json(&negative(name)["signatureList"]).unwrap();
        let refusal = verify(CryptoSuite::Standard, &good, SealedHeader { signatures, ..good.clone() }).unwrap_err();
        assert_eq!(refusal.check, expected, "{name}");
    }
}

#[test]
fn headers_with_a_field_moved_into_extra_data_are_refused() {
    let (shown, good) = block72();
    for alternative in negative("header_field_boundary_collision")["sameHashAlternatives"].as_array().unwrap() {
        let mut moved = shown.clone();
        for (key, value) in alternative.as_object().unwrap() {
            moved[key] = value.clone();
        }
        let moved = header_from_json(&moved).unwrap();
        assert_eq!(moved.header.hash(CryptoSuite::Standard), good.claimed_hash, "the hash can't tell them apart");
        assert_eq!(verify(CryptoSuite::Standard, &good, moved).unwrap_err().check, "header-extra-data");
    }
}

#[test]
fn a_tampered_root_under_the_old_hash_is_refused() {
    let (mut shown, good) = block72();
    shown["receiptsRoot"] = negative("tampered_root_keeps_claimed_hash")["receiptsRoot"].clone();
    let tampered = header_from_json(&shown).unwrap();
    assert_eq!(verify(CryptoSuite::Standard, &good, tampered).unwrap_err().check, "header-hash");
}

#[test]
fn a_header_of_a_release_candidate_is_refused_by_its_version() {
    let sealed = header_from_json(&negative("rc4_header_hash_not_reproducible")["header"]).unwrap();
    assert_eq!(verify(CryptoSuite::Standard, &sealed, sealed.clone()).unwrap_err().check, "header-version");
}

#[test]
fn an_internal_node_is_refused_as_a_leaf_wherever_it_is_put() {
    let case = negative("merkle_internal_node_as_leaf");
    let proof = proof_from_json(&case["proof"]).unwrap();
    let (leaf, root) = (hash(&case["claimedLeaf"]), hash(&case["txsRoot"]));
    // Block 60 has more than 695 transactions, so ten levels; this proof has nine.
    for leaves in 696..=768 {
        for index in 0..leaves {
            let place = Place { index, leaves };
            let refusal =
                verify_path(CryptoSuite::Standard, Tree::Transactions, &proof, leaf, place, root).unwrap_err();
            assert_eq!(refusal.check, "transaction-path");
        }
    }
}

#[test]
fn field_boundary_collisions_really_collide() {
    let case = negative("receipt_field_boundary_collision");
    for shown in case["sameHashAlternatives"].as_array().unwrap() {
        assert_eq!(receipt_from_json(shown).unwrap().hash(CryptoSuite::Standard), hash(&case["hash"]));
    }
    let case = negative("transaction_field_boundary_collision");
    for shown in case["sameHashAlternatives"].as_array().unwrap() {
        let Ok(ShownTransaction::Native { data, .. }) = transaction_from_json(CryptoSuite::Standard, shown) else {
            panic!("{shown}")
        };
        assert_eq!(data.hash(CryptoSuite::Standard), hash(&case["hash"]));
        assert!(data.to.is_empty(), "a call re-read as a deployment");
    }
}

#[test]
fn raw_ethereum_signed_transactions_give_leaf_payload_signature_and_sender() {
    let fixture = vectors("fixtures/web3_raw_transactions.json");
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 14);
    for case in cases {
        let raw = unhex(&case["rawTransaction"]);
        let expected = &case["expected"];
        let read = Web3Transaction::read(&raw).unwrap();
        assert_eq!(read.leaf, hash(&expected["extraTransactionHash"]));
        assert_eq!(read.signing_payload, unhex(&expected["extraTransactionBytesForSigning"]));
        assert_eq!(keccak256(&read.signing_payload), hash(&expected["dataHash_signingHash"]));
        assert_eq!(read.signature, unhex(&expected["tarsSignature_r_s_v"]));
        assert_eq!(format!("0x{}", hex::encode(read.sender)), expected["sender"].as_str().unwrap());
        for length in 0..raw.len() {
            assert!(Web3Transaction::read(&raw[..length]).is_err(), "{length}");
        }
        assert_eq!(Web3Transaction::read(&[&raw[..], &[0]].concat()), Err(Web3Error::Rlp));
    }
    assert_eq!(Web3Transaction::read(&[4, 0xc0]), Err(Web3Error::Type { got: 4 }));
    assert_eq!(Web3Transaction::read(&[2, 0xc0]), Err(Web3Error::Items { expected: 12, got: 0 }));
}

#[test]
fn the_leaf_of_a_submitted_transaction_follows_its_kind() {
    let (suite, bytes, expected) = {
        let fixture = vectors("fixtures/signed_tars_transactions.json");
        let case = fixture["cases"][0].clone();
        let (suite, bytes, expected) = signed(&case);
        (suite, bytes, expected.clone())
    };
    let native = Transaction::decode(&bytes).unwrap();
    assert_eq!(native.leaf(suite), Some(hash(&expected["dataHash"])));
    let web3 = Transaction { kind: 1, extra_hash: vec![7; 32], ..native.clone() };
    assert_eq!(Transaction::decode(&web3.encode()).unwrap().leaf(suite), Some(Hash32([7; 32])));
    assert_eq!(Transaction { kind: 1, extra_hash: vec![7; 31], ..native }.leaf(suite), None);
}
