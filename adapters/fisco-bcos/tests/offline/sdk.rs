//! What the official SDK computes: keys, signatures, transactions, receipts, headers, trees and selectors.

use crate::vectors::{unhex, vectors};
use cityrelay_core::hash::Hash32;
use cityrelay_fisco_bcos::codec::account::SecretKey;
use cityrelay_fisco_bcos::codec::header::BlockHeader;
use cityrelay_fisco_bcos::codec::json::{header_from_json, header_to_json, receipt_from_json};
use cityrelay_fisco_bcos::codec::json_transaction::{ShownTransaction, transaction_from_json, transaction_to_json};
use cityrelay_fisco_bcos::codec::merkle;
use cityrelay_fisco_bcos::codec::receipt::Receipt;
use cityrelay_fisco_bcos::codec::suite::{CryptoSuite, PublicKey};
use cityrelay_fisco_bcos::codec::transaction::{Transaction, TransactionData};
use cityrelay_fisco_bcos::verify::merkle_path::{Place, Tree, verify_path};
use cityrelay_fisco_bcos::verify::sealer_set::SealerSet;
use cityrelay_fisco_bcos::verify::signatures::verify_quorum;
use serde_json::Value;

const MODES: [CryptoSuite; 2] = [CryptoSuite::Standard, CryptoSuite::Gm];

fn hash(value: &Value) -> Hash32 {
    Hash32(unhex(value).try_into().unwrap())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Bytes given as hex, or by the rule of the vectors: byte i = (7 i + 3) mod 256.
fn big(value: &Value) -> Vec<u8> {
    match value["length"].as_u64() {
        Some(length) => (0..length).map(|i| u8::try_from((7 * i + 3) % 256).unwrap()).collect(),
        None => unhex(value),
    }
}

/// Large values are given as head, the input, and tail.
fn whole(value: &Value, inner: &[u8]) -> Vec<u8> {
    if value.is_string() {
        unhex(value)
    } else {
        [unhex(&value["head"]), inner.to_vec(), unhex(&value["tail"])].concat()
    }
}

#[test]
fn keys_addresses_and_signatures_are_the_sdks() {
    let keys = vectors("sdk/keys.json");
    for suite in MODES {
        let mode = &keys[suite.as_str()];
        let secrets: Vec<SecretKey> = mode["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| {
                let secret = SecretKey::from_bytes(suite, &unhex(&key["private"]).try_into().unwrap()).unwrap();
                assert_eq!(secret.public().0.to_vec(), unhex(&key["public"]));
                assert_eq!(secret.address().to_string(), key["address"].as_str().unwrap());
                secret
            })
            .collect();
        for case in mode["signatures"].as_array().unwrap() {
            let secret = &secrets[usize::try_from(case["keyIndex"].as_u64().unwrap()).unwrap()];
            let digest = hash(&case["hash"]);
            for field in ["signatureJavaSdk", "signatureJni"] {
                let signature = unhex(&case[field]);
                assert_eq!(suite.transaction_signer(&digest, &signature).as_ref(), Some(secret.public()));
                // libsecp256k1 does not reduce a hash above the group order before drawing the nonce, RFC 6979 does.
                if case["rfc6979Equal"][field] == true && digest.0[..4] != [0xff; 4] {
                    assert_eq!(secret.sign_header(&digest).unwrap(), signature);
                }
            }
            let own = secret.sign_transaction(&digest).unwrap();
            assert_eq!(own.len(), suite.transaction_signature_bytes());
            assert_eq!(suite.transaction_signer(&digest, &own).as_ref(), Some(secret.public()));
        }
    }
}

#[test]
fn good_and_bad_signatures_are_told_apart() {
    let keys = vectors("sdk/keys.json");
    for suite in MODES {
        for case in keys[suite.as_str()]["verification"].as_array().unwrap() {
            let public = unhex(&case["public"]);
            let key = PublicKey(public[public.len() - 64..].try_into().unwrap());
            let is_valid = Hash32::from_hex(case["hash"].as_str().unwrap())
                .is_ok_and(|digest| suite.is_signed_by(&key, &digest, &unhex(&case["signature"])));
            assert_eq!(is_valid, case["valid"].as_bool().unwrap(), "{}: {}", suite.as_str(), case["case"]);
        }
    }
}

fn data(case: &Value) -> TransactionData {
    let data = &case["data"];
    TransactionData {
        version: u32::try_from(data["version"].as_u64().unwrap()).unwrap(),
        chain_id: text(&data["chainID"]),
        group_id: text(&data["groupID"]),
        block_limit: data["blockLimit"].as_u64().unwrap(),
        nonce: text(&data["nonce"]),
        to: text(&data["to"]),
        input: big(&data["input"]),
        abi: text(&data["abi"]),
        value: text(&data["value"]),
        gas_price: text(&data["gasPrice"]),
        gas_limit: data["gasLimit"].as_u64().unwrap_or_default(),
        max_fee_per_gas: text(&data["maxFeePerGas"]),
        max_priority_fee_per_gas: text(&data["maxPriorityFeePerGas"]),
        extension: data.get("extension").map(unhex).unwrap_or_default(),
    }
}

#[test]
fn transactions_hash_encode_and_decode_as_the_sdk_and_the_node_write_them() {
    let cases = vectors("sdk/transactions.json");
    for case in cases["cases"].as_array().unwrap() {
        let name = &case["name"];
        let data = data(case);
        assert_eq!(data.encode(), whole(&case["dataTars"], &data.input), "{name}");
        if let Some(preimage) = case.get("hashPreimage") {
            assert_eq!(data.preimage(), unhex(preimage), "{name}");
        }
        for suite in MODES {
            let mode = &case[suite.as_str()];
            let digest = hash(&mode["hash"]);
            assert_eq!(data.hash(suite), digest, "{name}");
            let signature = unhex(&mode["signature"]);
            let signer = suite.transaction_signer(&digest, &signature).unwrap();
            assert_eq!(format!("0x{}", hex::encode(suite.account(&signer))), mode["sender"].as_str().unwrap());
            let import_time = case.get("importTimeEncoded").unwrap_or(&case["importTime"]).as_i64().unwrap();
            let sender = case["senderField"].as_str().filter(|sender| !sender.is_empty());
            let transaction = Transaction {
                data: data.clone(),
                data_hash: digest.0.to_vec(),
                signature,
                import_time,
                attribute: i32::try_from(case["attribute"].as_i64().unwrap()).unwrap(),
                sender: sender.map(|sender| hex::decode(&sender[2..]).unwrap()).unwrap_or_default(),
                extra_data: text(&case["extraData"]),
                ..Transaction::default()
            };
            let bytes = whole(&mode["txTars"], &data.input);
            assert_eq!(transaction.encode(), bytes, "{name}");
            assert_eq!(Transaction::decode(&bytes).as_ref(), Ok(&transaction), "{name}");
            if let Some(node) = mode.get("nodeReencoded") {
                let node = Transaction::decode(&whole(node, &data.input)).unwrap();
                assert_eq!(node.data.hash(suite), digest, "{name}");
                assert_eq!(node.signature, transaction.signature, "{name}");
            }
        }
    }
}

#[test]
fn tars_bytes_cut_anywhere_are_refused() {
    let cases = vectors("sdk/transactions.json");
    let bytes = unhex(&cases["cases"][1]["standard"]["txTars"]);
    let whole = Transaction::decode(&bytes).unwrap();
    for length in 0..bytes.len() {
        // A cut between two optional fields leaves a shorter transaction, never the same one.
        assert_ne!(Transaction::decode(&bytes[..length]).as_ref(), Ok(&whole), "{length}");
    }
    assert!(Transaction::decode(&[&bytes[..], &[0x1c]].concat()).is_err(), "a repeated tag");
}

#[test]
fn receipts_hash_as_the_sdk_says() {
    let cases = vectors("sdk/receipts.json");
    for case in cases["cases"].as_array().unwrap() {
        let shown = &case["receipt"];
        let mut plain = shown.clone();
        plain["output"] = Value::from("0x");
        let contract_address = text(&shown["contractAddress"]);
        let receipt = Receipt { output: big(&shown["output"]), contract_address, ..receipt_from_json(&plain).unwrap() };
        assert_eq!(receipt.preimage(), whole(&case["hashPreimage"], &receipt.output), "{}", case["name"]);
        for suite in MODES {
            assert_eq!(receipt.hash(suite), hash(&case[suite.as_str()]["hash"]), "{}", case["name"]);
        }
    }
}

#[test]
fn headers_of_every_version_hash_and_verify() {
    let cases = vectors("sdk/headers.json");
    for case in cases["cases"].as_array().unwrap() {
        let suite = CryptoSuite::from_name(case["mode"].as_str().unwrap()).unwrap();
        let sealed = header_from_json(&case["header"]).unwrap();
        let header = BlockHeader { gas_used: text(&case["header"]["gasUsed"]), ..sealed.header.clone() };
        assert_eq!(header.preimage(), unhex(&case["hashPreimage"]), "{}", case["name"]);
        assert_eq!(header.hash(suite), sealed.claimed_hash, "{}", case["name"]);
        if !header.sealers.is_empty() {
            let set = SealerSet::of_header(&header).unwrap();
            assert_eq!(set.total(), case["quorum"]["totalWeight"].as_u64().unwrap());
            assert_eq!(set.quorum(), case["quorum"]["required"].as_u64().unwrap());
            let signers = verify_quorum(suite, &set, &sealed.claimed_hash, &sealed.signatures).unwrap();
            let weight: u64 = signers.iter().map(|id| set.weight_of(id)).sum();
            assert_eq!(weight, case["quorum"]["signed"].as_u64().unwrap());
            if !header.txs_root.is_empty() {
                assert_eq!(header_from_json(&header_to_json(&sealed)).unwrap(), sealed);
            }
        }
    }
}

#[test]
fn trees_and_proofs_are_the_nodes() {
    let vectors = vectors("sdk/merkle.json");
    for tree in vectors["trees"].as_array().unwrap() {
        let suite = CryptoSuite::from_name(tree["mode"].as_str().unwrap()).unwrap();
        let count = u32::try_from(tree["leafCount"].as_u64().unwrap()).unwrap();
        let leaves: Vec<Hash32> = (0..count).map(|k| suite.hash(&k.to_be_bytes())).collect();
        let root = merkle::root(suite, &leaves);
        assert_eq!(root, hash(&tree["root"]));
        for case in tree["proofs"].as_array().unwrap() {
            let index = usize::try_from(case["index"].as_u64().unwrap()).unwrap();
            let proof: Vec<Hash32> = case["proof"].as_array().unwrap().iter().map(hash).collect();
            assert_eq!(proof, merkle::proof(suite, &leaves, index));
            let place = Place { index, leaves: leaves.len() };
            let verify = |proof: &[Hash32]| verify_path(suite, Tree::Transactions, proof, leaves[index], place, root);
            assert_eq!(verify(&proof), Ok(()));
            let mut broken = proof.clone();
            broken.last_mut().unwrap().0[31] ^= 1;
            assert!(verify(&broken).is_err());
        }
    }
    for case in vectors["lenientVerifier"].as_array().unwrap().iter().filter(|case| case["proof"].is_array()) {
        let suite = CryptoSuite::from_name(case["mode"].as_str().unwrap()).unwrap();
        let words: Option<Vec<Hash32>> = case["proof"]
            .as_array()
            .unwrap()
            .iter()
            .map(|word| Hash32::from_hex(word.as_str().unwrap()).ok())
            .collect();
        let Some(words) = words else { continue };
        for leaves in 1..40 {
            for index in 0..leaves {
                let place = Place { index, leaves };
                let verdict =
                    verify_path(suite, Tree::Transactions, &words, hash(&case["leaf"]), place, hash(&case["root"]));
                assert!(verdict.is_err(), "{}", case["case"]);
            }
        }
    }
}

#[test]
fn selectors_and_topics_follow_the_suite() {
    let cases = vectors("sdk/abi.json");
    for case in cases["cases"].as_array().unwrap() {
        let signature = case["signature"].as_str().unwrap();
        for suite in MODES {
            let mode = &case[suite.as_str()];
            match case["kind"].as_str().unwrap() {
                "function" => assert_eq!(suite.selector(signature).to_vec(), unhex(&mode["selector"]), "{signature}"),
                "event" => assert_eq!(suite.hash(signature.as_bytes()), hash(&mode["topics"][0]), "{signature}"),
                _ => assert_eq!(suite.hash(signature.as_bytes()), hash(&mode["hash"]), "{signature}"),
            }
        }
    }
}

#[test]
fn shown_transactions_are_read_back() {
    let cases = vectors("sdk/transactions.json");
    for case in cases["cases"].as_array().unwrap() {
        let data = data(case);
        if data.group_id.is_empty() {
            continue;
        }
        let is_priced_v0 = data.version == 0 && !data.value.is_empty();
        let signature = unhex(&case["gm"]["signature"]);
        let shown = transaction_from_json(CryptoSuite::Gm, &transaction_to_json(CryptoSuite::Gm, &data, &signature));
        let Ok(ShownTransaction::Native { data: read, signature: read_signature, claimed_hash }) = shown else {
            panic!("{shown:?}")
        };
        assert_eq!(claimed_hash, data.hash(CryptoSuite::Gm));
        assert_eq!(read_signature, signature);
        assert!(is_priced_v0 || *read == data, "{}", case["name"]);
    }
}
