//! Every answer of the QBFT chain's nodes against what a real node answered: the same fields, types and encodings.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope, TxLegacy};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, hex, keccak256};
use cityrelay_devnet::city::Reply;
use cityrelay_devnet::eth_rpc;
use cityrelay_devnet::keys::DevKey;
use cityrelay_devnet::sealed_evm::{SealedEvmChain, SealedEvmConfig};
use serde_json::{Value, json};

fn recorded() -> Value {
    serde_json::from_str(include_str!("../vectors/goquorum-answers.json")).unwrap()
}

/// How a JSON value is written: type, and for hex its length where that is fixed.
fn form(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
        Value::String(text) => {
            let Some(digits) = text.strip_prefix("0x") else { return "text".to_owned() };
            assert_eq!(digits, digits.to_lowercase());
            match digits.len() {
                64 => "word".to_owned(),
                40 => "address".to_owned(),
                512 => "bloom".to_owned(),
                _ if digits == "0" || !digits.starts_with('0') => "quantity or bytes".to_owned(),
                _ => "bytes".to_owned(),
            }
        }
    }
}

/// Our answer has every recorded field, written the same way, and only the named extra ones.
fn assert_same_fields(ours: &Value, real: &Value, extra: &[&str], path: &str) {
    let (ours, real) = (ours.as_object().expect(path), real.as_object().unwrap());
    for (name, recorded) in real {
        let answered = ours.get(name).unwrap_or_else(|| panic!("{path}: {name} is missing"));
        let (got, expected) = (form(answered), form(recorded));
        let is_open = |form: &str| form == "bytes" || form == "quantity or bytes";
        assert!(got == expected || (is_open(&got) && is_open(&expected)), "{path}.{name}: {got}, recorded {expected}");
        if let (Value::Array(answered), Value::Array(recorded)) = (answered, recorded)
            && let (Some(answered), Some(recorded)) = (answered.first(), recorded.first())
        {
            if recorded.is_object() {
                assert_same_fields(answered, recorded, &[], &format!("{path}.{name}[0]"));
            } else {
                assert_eq!(form(answered), form(recorded), "{path}.{name}[0]");
            }
        }
    }
    for name in ours.keys() {
        assert!(real.contains_key(name) || extra.contains(&name.as_str()), "{path}: {name} is not recorded");
    }
}

fn legacy(key: &DevKey, nonce: u64, to: Option<Address>, input: Bytes) -> Vec<u8> {
    let transaction = TxLegacy {
        chain_id: Some(571),
        nonce,
        gas_price: 0,
        gas_limit: 3_000_000,
        to: to.map_or(TxKind::Create, TxKind::Call),
        value: U256::ZERO,
        input,
    };
    let signature = Signature::from_raw(&key.sign(transaction.signature_hash())).unwrap();
    TxEnvelope::from(transaction.into_signed(signature)).encoded_2718()
}

fn ask(chain: &mut SealedEvmChain, method: &str, params: Value) -> Value {
    eth_rpc::answer(chain, 0, method, params.as_array().unwrap()).unwrap()
}

fn respond(chain: &mut SealedEvmChain, body: &[u8]) -> Value {
    match eth_rpc::respond(chain, 0, body) {
        Reply::Now(answer) => answer,
        other => panic!("{other:?}"),
    }
}

fn refused(chain: &mut SealedEvmChain, method: &str, params: Value) -> (i64, String) {
    let fault = eth_rpc::answer(chain, 0, method, params.as_array().unwrap()).unwrap_err();
    (fault.code, fault.message)
}

/// `send(bytes32,bytes)` of the Recorder.
fn send_call(lane: B256, payload: &[u8]) -> Bytes {
    let mut data = keccak256("send(bytes32,bytes)")[..4].to_vec();
    data.extend_from_slice(lane.as_slice());
    data.extend_from_slice(&U256::from(64).to_be_bytes::<32>());
    data.extend_from_slice(&U256::from(payload.len()).to_be_bytes::<32>());
    data.extend_from_slice(payload);
    data.resize(data.len().next_multiple_of(32) + 4, 0);
    data.into()
}

fn boom_call(lane: B256) -> Bytes {
    [&keccak256("boom(bytes32)")[..4], lane.as_slice()].concat().into()
}

/// A chain with the Recorder deployed in block 1 and one send in block 2.
fn chain_with_recorder() -> (SealedEvmChain, DevKey, Address, B256) {
    let mut chain = SealedEvmChain::new(SealedEvmConfig::default());
    let key = chain.accounts()[0].clone();
    let init: Bytes = recorded()["recorderInit"].as_str().unwrap().parse().unwrap();
    chain.submit(&legacy(&key, 0, None, init)).unwrap();
    chain.produce_block(100).unwrap();
    let recorder = key.address().create(0);
    let lane = keccak256("medical");
    chain.submit(&legacy(&key, 1, Some(recorder), send_call(lane, b"a letter of credit"))).unwrap();
    chain.produce_block(101).unwrap();
    (chain, key, recorder, lane)
}

#[test]
fn blocks_have_the_recorded_fields() {
    let (mut chain, ..) = chain_with_recorder();
    let full = ask(&mut chain, "eth_getBlockByNumber", json!(["0x2", true]));
    assert_same_fields(&full, &recorded()["eth_getBlockByNumber (full)"], &["baseFeePerGas"], "block");
    let hashes = ask(&mut chain, "eth_getBlockByNumber", json!(["latest", false]));
    assert_eq!(hashes["transactions"][0], full["transactions"][0]["hash"]);
    let by_hash = ask(&mut chain, "eth_getBlockByHash", json!([full["hash"], true]));
    assert_eq!(by_hash, full);
    assert_eq!(ask(&mut chain, "eth_getBlockByNumber", json!(["0x3", true])), Value::Null);
}

#[test]
fn receipts_have_the_recorded_fields() {
    let (mut chain, key, recorder, lane) = chain_with_recorder();
    chain.submit(&legacy(&key, 2, Some(recorder), boom_call(lane))).unwrap();
    chain.produce_block(102).unwrap();
    let extra = ["effectiveGasPrice"];
    for (height, name) in [("0x1", "deployment"), ("0x2", "logs"), ("0x3", "reverted")] {
        let all = ask(&mut chain, "eth_getBlockReceipts", json!([height]));
        let real = &recorded()[format!("eth_getTransactionReceipt ({name})")];
        assert_same_fields(&all[0], real, &extra, name);
        assert_eq!(all[0]["status"], real["status"]);
        let single = ask(&mut chain, "eth_getTransactionReceipt", json!([all[0]["transactionHash"]]));
        assert_eq!(single, all[0]);
        let transaction = ask(&mut chain, "eth_getTransactionByHash", json!([all[0]["transactionHash"]]));
        assert_eq!(transaction["blockNumber"], json!(height));
    }
}

#[test]
fn the_recorder_writes_the_recorded_log() {
    let (mut chain, _, recorder, lane) = chain_with_recorder();
    let logs = ask(
        &mut chain,
        "eth_getLogs",
        json!([{"fromBlock": "0x0", "toBlock": "latest",
        "address": recorder, "topics": [null, lane]}]),
    );
    let real = &recorded()["eth_getTransactionReceipt (logs)"]["logs"][0];
    assert_eq!(logs.as_array().unwrap().len(), 1);
    assert_eq!(logs[0]["topics"][0], real["topics"][0]);
    assert_same_fields(&logs[0], real, &[], "log");
    let none = ask(&mut chain, "eth_getLogs", json!([{"fromBlock": "0x0", "topics": [[keccak256("other")]]}]));
    assert_eq!(none, json!([]));
}

#[test]
fn proofs_have_the_recorded_fields_and_keys() {
    let (mut chain, _, recorder, lane) = chain_with_recorder();
    let slot = keccak256([lane.as_slice(), &[0; 32]].concat());
    let proof = ask(&mut chain, "eth_getProof", json!([recorder, [slot], "0x2"]));
    assert_same_fields(&proof, &recorded()["eth_getProof"], &[], "proof");
    assert_eq!(proof["storageProof"][0]["key"], json!(slot));
    assert_ne!(proof["storageProof"][0]["value"], json!("0x0"));
    let earlier = ask(&mut chain, "eth_getProof", json!([recorder, [slot], "0x1"]));
    assert_eq!(earlier["storageProof"][0]["value"], json!("0x0"));
    assert_eq!(earlier["storageProof"][0]["proof"], json!([]));
}

#[test]
fn validators_are_a_list_of_addresses() {
    let (mut chain, ..) = chain_with_recorder();
    for method in ["qbft_getValidatorsByBlockNumber", "istanbul_getValidators"] {
        let list = ask(&mut chain, method, json!(["latest"]));
        assert_eq!(list.as_array().unwrap().len(), recorded()["istanbul_getValidators"].as_array().unwrap().len());
        assert_eq!(form(&list[0]), "address");
    }
}

#[test]
fn a_dynamic_fee_transaction_is_taken() {
    let (mut chain, key, recorder, lane) = chain_with_recorder();
    let transaction = TxEip1559 {
        chain_id: 571,
        nonce: 2,
        gas_limit: 200_000,
        to: TxKind::Call(recorder),
        input: send_call(lane, b"second"),
        ..TxEip1559::default()
    };
    let signature = Signature::from_raw(&key.sign(transaction.signature_hash())).unwrap();
    let raw = TxEnvelope::from(transaction.into_signed(signature)).encoded_2718();
    let hash = ask(&mut chain, "eth_sendRawTransaction", json!([hex::encode_prefixed(&raw)]));
    assert_eq!(ask(&mut chain, "eth_getTransactionByHash", json!([hash]))["blockNumber"], Value::Null);
    assert_eq!(ask(&mut chain, "eth_getTransactionCount", json!([key.address(), "pending"])), json!("0x3"));
    chain.produce_block(103).unwrap();
    let receipt = ask(&mut chain, "eth_getTransactionReceipt", json!([hash]));
    assert_eq!((&receipt["status"], &receipt["type"]), (&json!("0x1"), &json!("0x2")));
    let shown = ask(&mut chain, "eth_getTransactionByHash", json!([hash]));
    assert_eq!((&shown["maxFeePerGas"], &shown["chainId"]), (&json!("0x0"), &json!("0x23b")));
}

#[test]
fn calls_read_the_state_of_the_asked_block() {
    let (mut chain, _, recorder, lane) = chain_with_recorder();
    let data: Bytes = [&keccak256("indexes(bytes32)")[..4], lane.as_slice()].concat().into();
    let call = json!({"to": recorder, "data": data});
    assert_eq!(ask(&mut chain, "eth_call", json!([call, "latest"])), json!(B256::from(U256::from(1))));
    assert_eq!(ask(&mut chain, "eth_call", json!([call, "0x1"])), json!(B256::ZERO));
    let boom = json!({"to": recorder, "input": boom_call(lane)});
    let fault = eth_rpc::answer(&mut chain, 0, "eth_call", &[boom, json!("latest")]).unwrap_err();
    assert_eq!((fault.code, fault.message.as_str()), (3, "execution reverted: boom"));
    assert!(fault.data.unwrap().as_str().unwrap().starts_with("0x08c379a0"));
    let fault = refused(&mut chain, "eth_call", json!([call, "0x9"]));
    assert_eq!(fault, (-32000, "header not found".to_owned()));
}

#[test]
fn an_estimate_is_just_enough() {
    let (mut chain, key, recorder, lane) = chain_with_recorder();
    let input = send_call(lane, b"how much");
    let estimate = ask(&mut chain, "eth_estimateGas", json!([{"from": key.address(), "to": recorder, "data": input}]));
    let gas = u64::from_str_radix(estimate.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    let run = |chain: &mut SealedEvmChain, gas: u64| {
        let call = json!({"from": key.address(), "to": recorder, "data": input, "gas": format!("{gas:#x}")});
        eth_rpc::answer(chain, 0, "eth_call", &[call, json!("latest")])
    };
    assert!(run(&mut chain, gas).is_ok());
    assert_eq!(run(&mut chain, gas - 1).unwrap_err().message, "out of gas");
}

#[test]
fn bad_transactions_are_refused_with_the_nodes_words() {
    let (mut chain, key, recorder, lane) = chain_with_recorder();
    let send = |chain: &mut SealedEvmChain, raw: &[u8]| {
        refused(chain, "eth_sendRawTransaction", json!([hex::encode_prefixed(raw)]))
    };
    let old = legacy(&key, 0, Some(recorder), send_call(lane, b"other"));
    assert_eq!(send(&mut chain, &old), (-32000, "nonce too low".to_owned()));
    let mined = legacy(&key, 1, Some(recorder), send_call(lane, b"a letter of credit"));
    assert_eq!(send(&mut chain, &mined).1, "already known");
    let next = legacy(&key, 2, Some(recorder), send_call(lane, b"x"));
    chain.submit(&next).unwrap();
    assert_eq!(send(&mut chain, &next).1, "already known");
    let rival = legacy(&key, 2, Some(recorder), send_call(lane, b"y"));
    assert_eq!(send(&mut chain, &rival).1, "replacement transaction underpriced");
    assert!(send(&mut chain, &[1, 2, 3]).1.starts_with("rlp: "));
}

#[test]
fn malformed_requests_get_the_usual_codes() {
    let mut chain = SealedEvmChain::new(SealedEvmConfig::default());
    assert_eq!(refused(&mut chain, "eth_nothing", json!([])).0, -32601);
    assert_eq!(refused(&mut chain, "eth_getBlockByNumber", json!([])).0, -32602);
    assert_eq!(refused(&mut chain, "eth_getBlockByHash", json!(["0x12", true])).0, -32602);
    assert_eq!(respond(&mut chain, b"{")["error"]["code"], json!(-32700));
    assert_eq!(respond(&mut chain, b"[]")["error"]["code"], json!(-32600));
    let batch = respond(
        &mut chain,
        br#"[{"jsonrpc":"2.0","id":7,"method":"eth_chainId"},{"jsonrpc":"2.0","id":8,"method":"eth_x"}]"#,
    );
    assert_eq!((&batch[0]["result"], &batch[0]["id"]), (&json!("0x23b"), &json!(7)));
    assert_eq!(batch[1]["error"]["code"], json!(-32601));
}

#[test]
fn fee_history_covers_the_asked_blocks() {
    let (mut chain, ..) = chain_with_recorder();
    let history = ask(&mut chain, "eth_feeHistory", json!(["0x2", "latest", [50]]));
    assert_eq!(history["oldestBlock"], json!("0x1"));
    assert_eq!(history["baseFeePerGas"], json!(["0x0", "0x0", "0x0"]));
    assert_eq!(history["gasUsedRatio"].as_array().unwrap().len(), 2);
    assert_eq!(history["reward"], json!([["0x0"], ["0x0"]]));
}

#[test]
fn a_pruned_state_is_named() {
    let (mut chain, _, recorder, _) = chain_with_recorder();
    chain.prune_states_below(2);
    let fault = refused(&mut chain, "eth_getProof", json!([recorder, [], "0x1"]));
    assert_eq!(fault.0, -32000);
    assert!(fault.1.starts_with("missing trie node "), "{}", fault.1);
}
