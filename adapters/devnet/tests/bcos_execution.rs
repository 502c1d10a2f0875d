//! The BCOS chain against a recorded one: the same submitted bytes give the same hashes, roots, addresses, statuses,
//! return data and logs. Gas is not compared: the recorded nodes charge by a schedule of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use cityrelay_devnet::weighted_bcos::{WeightedBcosChain, WeightedBcosConfig};
use cityrelay_fisco_bcos::codec::json::{prefixed, receipt_to_json};
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use serde_json::Value;

/// Sends what was sent and compares what came of it; returns how many receipts were compared.
fn replay(recorded: &str, suite: CryptoSuite, is_classic: bool) -> usize {
    let recorded: Value = serde_json::from_str(recorded).unwrap();
    let config = WeightedBcosConfig { suite, is_classic, founding_block: false, ..WeightedBcosConfig::default() };
    let mut chain = WeightedBcosChain::new(config);
    let mut compared = 0;
    for block in recorded["blocks"].as_array().unwrap() {
        for transaction in block["transactions"].as_array().unwrap() {
            let sent = transaction["sent"].as_str().unwrap().trim_start_matches("0x");
            let hash = chain.submit(&hex::decode(sent).unwrap()).unwrap();
            assert_eq!(hash.to_string(), transaction["hash"].as_str().unwrap());
        }
        let made = chain.produce_block(block["timestamp"].as_u64().unwrap()).unwrap();
        assert_eq!(made.header.number, block["number"].as_u64().unwrap());
        assert_eq!(prefixed(&made.header.txs_root), block["txsRoot"].as_str().unwrap());
        for (included, recorded) in made.transactions.iter().zip(block["transactions"].as_array().unwrap()) {
            let ours = receipt_to_json(&included.receipt, &included.receipt_hash);
            let fields = recorded["receipt"].as_object().unwrap();
            for (name, value) in fields {
                assert_eq!(&ours[name], value, "{name} of {} in block {}", recorded["hash"], block["number"]);
            }
            assert_eq!(prefixed(&included.signed.sender), recorded["from"].as_str().unwrap());
            compared += 1;
        }
    }
    compared
}

#[test]
fn a_recorded_chain_executes_to_the_same_receipts() {
    let recorded = include_str!("../vectors/bcos-execution.json");
    assert_eq!(replay(recorded, CryptoSuite::Standard, false), RECEIPTS);
}

/// SM2 signers, SM3 transaction hashes, SM3 behind the KECCAK256 instruction, and the classic executor: events of inner
/// and outer calls that were reverted, and the status of a call to nobody.
#[test]
fn a_recorded_gm_chain_executes_to_the_same_receipts() {
    let recorded = include_str!("../vectors/bcos-gm-execution.json");
    assert_eq!(replay(recorded, CryptoSuite::Gm, true), GM_RECEIPTS);
}

/// Receipts in the recording of the standard chain.
const RECEIPTS: usize = 82;
/// Receipts in the recording of the GM chain.
const GM_RECEIPTS: usize = 33;
