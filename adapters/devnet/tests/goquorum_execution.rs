//! The execution behind the devnet against a recorded chain: every block's gas, bloom and roots come out the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use alloy_consensus::transaction::SignerRecoverable;
use alloy_consensus::{SignableTransaction, TxEnvelope, TxLegacy};
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256};
use cityrelay_devnet::execution::{self, Environment, Rules};
use cityrelay_devnet::sealed_evm::block::{self, Included};
use cityrelay_devnet::sealed_evm::extra_data::blank_header;
use cityrelay_devnet::sealed_evm::pool::{Signed, machine_input};
use cityrelay_devnet::world::World;
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use revm::primitives::hardfork::SpecId;
use serde_json::Value;

fn number(value: &Value) -> U256 {
    U256::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

fn small(value: &Value) -> u64 {
    number(value).to()
}

fn signed(recorded: &Value, chain_id: u64) -> Signed {
    let to = recorded["to"].as_str().map(|to| to.parse::<Address>().unwrap());
    let transaction = TxLegacy {
        chain_id: Some(chain_id),
        nonce: small(&recorded["nonce"]),
        gas_price: number(&recorded["gasPrice"]).to(),
        gas_limit: small(&recorded["gas"]),
        to: to.map_or(TxKind::Create, TxKind::Call),
        value: number(&recorded["value"]),
        input: recorded["input"].as_str().unwrap().parse::<Bytes>().unwrap(),
    };
    let is_odd = small(&recorded["v"]) == chain_id * 2 + 36;
    let signature = Signature::new(number(&recorded["r"]), number(&recorded["s"]), is_odd);
    TxEnvelope::from(transaction.into_signed(signature)).try_into_recovered().unwrap()
}

#[test]
fn a_recorded_chain_executes_to_the_same_roots() {
    let recorded: Value = serde_json::from_str(include_str!("../vectors/goquorum-execution.json")).unwrap();
    let chain_id = recorded["chainId"].as_u64().unwrap();
    let rules = Rules {
        spec: SpecId::LONDON,
        chain_id,
        max_code_bytes: 65_536,
        ordered_nonces: true,
        suite: CryptoSuite::Standard,
        has_crypto_contract: false,
        is_classic: false,
    };
    let mut world = World::default();
    let mut executed = 0;
    for recorded_block in recorded["blocks"].as_array().unwrap() {
        let height = small(&recorded_block["number"]);
        let environment = Environment {
            number: height,
            timestamp: small(&recorded_block["timestamp"]),
            gas_limit: small(&recorded_block["gasLimit"]),
            beneficiary: recorded_block["miner"].as_str().unwrap().parse().unwrap(),
            base_fee: 0,
            difficulty: U256::from(1),
        };
        let mut included = Vec::new();
        let mut gas = 0;
        for transaction in recorded_block["transactions"].as_array().unwrap() {
            let transaction = signed(transaction, chain_id);
            let (result, changes) =
                execution::execute(&world, &rules, &environment, machine_input(&transaction), None).unwrap();
            world.apply(changes);
            gas += result.gas_used;
            included.push(Included::new(transaction, result, gas));
            executed += 1;
        }
        for (included, recorded) in included.iter().zip(recorded_block["transactions"].as_array().unwrap()) {
            assert_eq!(included.hash().to_string(), recorded["hash"].as_str().unwrap(), "block {height}");
            let sender = included.transaction.signer();
            assert_eq!(sender, recorded["from"].as_str().unwrap().parse::<Address>().unwrap());
        }
        let mut header = blank_header();
        block::fill_roots(&mut header, &included);
        let text = |name: &str| recorded_block[name].as_str().unwrap();
        assert_eq!(header.gas_used, small(&recorded_block["gasUsed"]), "gas of block {height}");
        assert_eq!(header.transactions_root.to_string(), text("transactionsRoot"), "block {height}");
        assert_eq!(header.receipts_root.to_string(), text("receiptsRoot"), "block {height}");
        assert_eq!(header.logs_bloom.to_string(), text("logsBloom"), "block {height}");
        assert_eq!(world.state_root().to_string(), text("stateRoot"), "state of block {height}");
    }
    assert_eq!(executed, EXECUTED);
}

/// Transactions in the recording.
const EXECUTED: usize = 146;
