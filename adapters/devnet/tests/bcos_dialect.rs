//! Every answer of the BCOS chain's nodes against what a real node answered: the same fields, types and encodings.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use cityrelay_devnet::bcos_rpc::{self, Answer};
use cityrelay_devnet::city::Reply;
use cityrelay_devnet::weighted_bcos::{SealerChange, WeightedBcosChain, WeightedBcosConfig, contract_address};
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use cityrelay_fisco_bcos::codec::transaction::{Transaction, TransactionData};
use serde_json::{Value, json};

fn recorded() -> Value {
    serde_json::from_str(include_str!("../vectors/bcos-answers.json")).unwrap()
}

/// How a JSON value is written.
fn form(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
        Value::String(text) if text.is_empty() => "empty text".to_owned(),
        Value::String(text) => match text.strip_prefix("0x") {
            Some(digits) if [40, 64, 128].contains(&digits.len()) => format!("0x and {} digits", digits.len()),
            Some(_) => "0x and digits".to_owned(),
            None if text.bytes().all(|byte| byte.is_ascii_digit()) => "decimal text".to_owned(),
            None if text.bytes().all(|byte| byte.is_ascii_hexdigit()) => "digits".to_owned(),
            None => "text".to_owned(),
        },
    }
}

/// Our answer has exactly the recorded fields, written the same way; lists are compared by their first items.
fn assert_same_fields(ours: &Value, real: &Value, path: &str) {
    match (ours, real) {
        (Value::Object(answered), Value::Object(recorded)) => {
            let names = |fields: &serde_json::Map<String, Value>| {
                let mut names: Vec<String> = fields.keys().cloned().collect();
                names.sort();
                names
            };
            assert_eq!(names(answered), names(recorded), "{path}");
            for (name, value) in recorded {
                assert_same_fields(&answered[name], value, &format!("{path}.{name}"));
            }
        }
        (Value::Array(answered), Value::Array(recorded)) => {
            assert_eq!(answered.is_empty(), recorded.is_empty(), "{path}");
            if let (Some(answered), Some(recorded)) = (answered.first(), recorded.first()) {
                assert_same_fields(answered, recorded, &format!("{path}[0]"));
            }
        }
        _ => {
            let (mut got, mut expected) = (form(ours), form(real));
            // Hex may happen to have decimal digits only.
            for side in [&mut got, &mut expected] {
                if (path.ends_with("nonce") || path.contains("Proof[")) && side == "decimal text" {
                    *side = "digits".to_owned();
                }
            }
            assert_eq!(got, expected, "{path}: {ours}, recorded {real}");
        }
    }
}

fn ask(chain: &mut WeightedBcosChain, method: &str, params: Value) -> Value {
    match bcos_rpc::answer(chain, 0, method, params.as_array().unwrap()).unwrap() {
        Answer::Value(value) => value,
        Answer::WhenMined { .. } => panic!("{method} waits"),
    }
}

fn sign(chain: &WeightedBcosChain, nonce: &str, to: &str, input: Vec<u8>, version: u32) -> Vec<u8> {
    let data = TransactionData {
        version,
        chain_id: "chain0".to_owned(),
        group_id: "group0".to_owned(),
        block_limit: chain.height() + 500,
        nonce: nonce.to_owned(),
        to: to.to_owned(),
        input,
        ..TransactionData::default()
    };
    Transaction::sign(data, &chain.accounts()[0]).unwrap().encode()
}

fn bytes(text: &Value) -> Vec<u8> {
    hex::decode(text.as_str().unwrap().trim_start_matches("0x")).unwrap()
}

/// A chain with the recorded gateway in block 2, and what was recorded of it sent again in block 3, in version 0 and 2.
fn chain_with_gateway() -> (WeightedBcosChain, String) {
    let mut chain = WeightedBcosChain::new(WeightedBcosConfig::default());
    let answers = recorded();
    chain.submit(&sign(&chain, "deploy", "", bytes(&answers["gatewayInit"]), 0)).unwrap();
    chain.produce_block(1_000).unwrap();
    let gateway = format!("0x{}", hex::encode(contract_address(CryptoSuite::Standard, 2, 0)));
    let checkpoint = bytes(&answers["getTransaction"]["input"]);
    let fail = bytes(&answers["getTransactionReceipt (reverted)"]["input"]);
    let many = bytes(&answers["getTransaction (version 2)"]["input"]);
    for (index, (input, version)) in
        [(checkpoint.clone(), 0), (fail, 0), (many, 2), (checkpoint.clone(), 0), (checkpoint, 0)]
            .into_iter()
            .enumerate()
    {
        chain.submit(&sign(&chain, &format!("{index:032x}"), &gateway, input, version)).unwrap();
    }
    chain.produce_block(2_000).unwrap();
    (chain, gateway)
}

/// Asks for a transaction or a receipt by its place; with or without proof.
fn ask_at(chain: &mut WeightedBcosChain, method: &str, place: (u64, usize), proof: Option<bool>) -> Value {
    let hash = hash_of(chain, place.0, place.1);
    let params = match proof {
        Some(proof) => json!(["group0", "", hash, proof]),
        None => json!(["group0", "", hash]),
    };
    ask(chain, method, params)
}

fn hash_of(chain: &WeightedBcosChain, height: u64, index: usize) -> String {
    chain.block(height).unwrap().transactions[index].signed.hash.to_string()
}

#[test]
fn blocks_have_the_recorded_fields() {
    let (mut chain, _) = chain_with_gateway();
    let real = recorded();
    let header = ask(&mut chain, "getBlockByNumber", json!(["group0", "", 3, true, true]));
    assert_same_fields(&header, &real["getBlockByNumber (header)"], "header");
    let hashes = ask(&mut chain, "getBlockByNumber", json!(["group0", "", 3, false, true]));
    assert_same_fields(&hashes, &real["getBlockByNumber (hashes)"], "block");
    let by_hash = ask(&mut chain, "getBlockByHash", json!(["group0", "", hashes["hash"], false, true]));
    assert_eq!(by_hash, hashes);
    let by_number = ask(&mut chain, "getBlockHashByNumber", json!(["group0", "", 3]));
    assert_eq!(by_number, hashes["hash"]);
    let full = ask(&mut chain, "getBlockByNumber", json!(["group0", "", 3, false, false]));
    assert_eq!(full["transactions"][0]["hash"], hashes["transactions"][0]);
    let genesis = ask(&mut chain, "getBlockByNumber", json!(["group0", "", 0, false, true]));
    assert_same_fields(&genesis, &real["getBlockByNumber (genesis)"], "genesis");
    let settings = |block: &Value| {
        let text = String::from_utf8(bytes(&block["extraData"])).unwrap();
        text.lines()
            .filter(|line| !line.starts_with("node.") && !line.starts_with("auth"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(settings(&genesis), settings(&real["getBlockByNumber (genesis)"]));
}

#[test]
fn transactions_have_the_recorded_fields_and_proofs() {
    let (mut chain, _) = chain_with_gateway();
    let real = recorded();
    let single = ask_at(&mut chain, "getTransaction", (2, 0), Some(true));
    assert_eq!(single["txProof"].as_array().unwrap().len(), 1);
    let of_five = ask_at(&mut chain, "getTransaction", (3, 3), Some(true));
    assert_same_fields(&of_five, &real["getTransaction"], "transaction");
    assert_eq!(
        of_five["txProof"].as_array().unwrap().len(),
        real["getTransaction (of five)"]["txProof"].as_array().unwrap().len()
    );
    let version_2 = ask_at(&mut chain, "getTransaction", (3, 2), Some(true));
    let mut real_version_2 = real["getTransaction (version 2)"].clone();
    // Recorded of a block with one transaction, where the proof is the leaf.
    real_version_2["txProof"] = version_2["txProof"].clone();
    if version_2["extension"] == json!([]) {
        real_version_2["extension"] = json!([]);
    }
    assert_same_fields(&version_2, &real_version_2, "transaction of version 2");
    let without = ask_at(&mut chain, "getTransaction", (3, 3), None);
    assert_eq!(without.get("txProof"), None);
}

#[test]
fn receipts_have_the_recorded_fields_and_values() {
    let (mut chain, gateway) = chain_with_gateway();
    let real = recorded();
    for (height, index, name) in [(2, 0, "deployment"), (3, 0, "logs"), (3, 1, "reverted"), (3, 2, "version 2")] {
        let ours = ask_at(&mut chain, "getTransactionReceipt", (height, index), Some(true));
        let recorded = &real[format!("getTransactionReceipt ({name})")];
        assert_same_fields(&ours, recorded, name);
        assert_eq!(ours["status"], recorded["status"]);
        if name == "logs" {
            assert_eq!(ours["logEntries"][0]["topics"][0], recorded["logEntries"][0]["topics"][0]);
            assert_eq!(ours["logEntries"][0]["address"], json!(gateway.trim_start_matches("0x")));
        }
        if ["deployment", "reverted"].contains(&name) {
            assert_eq!(ours["output"], recorded["output"], "{name}");
        }
    }
    let (last, gateway_logs) = (chain.height(), json!([gateway]));
    let filter = json!(["group0", {"fromBlock": 0, "toBlock": last, "address": gateway_logs, "topics": []}]);
    assert_eq!(ask(&mut chain, "getLogs", filter).as_array().unwrap().len(), 4);
}

#[test]
fn equal_receipts_share_the_path_of_the_first() {
    let (mut chain, gateway) = chain_with_gateway();
    let count = bytes(&json!("0x06661abd"));
    for nonce in ["first", "second", "third"] {
        chain.submit(&sign(&chain, nonce, &gateway, count.clone(), 0)).unwrap();
    }
    chain.produce_block(3_000).unwrap();
    let receipt =
        |chain: &mut WeightedBcosChain, index: usize| ask_at(chain, "getTransactionReceipt", (4, index), Some(true));
    let (first, third) = (receipt(&mut chain, 0), receipt(&mut chain, 2));
    assert_eq!(first["hash"], third["hash"]);
    assert_eq!(first["txReceiptProof"], third["txReceiptProof"]);
}

#[test]
fn node_group_and_consensus_have_the_recorded_fields() {
    let (mut chain, _) = chain_with_gateway();
    let state = &recorded()["state"];
    for method in ["getGroupInfo", "getSealerList"] {
        let ours = ask(&mut chain, method, json!(["group0", ""]));
        assert_same_fields(&ours, &state[method], method);
    }
    let by_type = ask(&mut chain, "getNodeListByType", json!(["group0", "", "consensus_sealer"]));
    assert_same_fields(&by_type, &state["getNodeListByType_consensus_sealer"], "getNodeListByType");
    let node = ask(&mut chain, "getGroupNodeInfo", json!(["group0", ""]));
    assert_same_fields(&node, &state["getGroupInfo"]["nodeList"][0], "getGroupNodeInfo");
    let inner = |text: &Value| -> Value { serde_json::from_str(text.as_str().unwrap()).unwrap() };
    let status = ask(&mut chain, "getConsensusStatus", json!(["group0", ""]));
    assert_same_fields(&inner(&status), &inner(&state["getConsensusStatus"]), "getConsensusStatus");
    let (info, real) = (ask(&mut chain, "getGroupInfo", json!(["group0"])), &state["getGroupInfo"]);
    assert_same_fields(&inner(&info["genesisConfig"]), &inner(&real["genesisConfig"]), "genesisConfig");
    for (name, value) in state.as_object().unwrap() {
        let Some(key) = name.strip_prefix("getSystemConfigByKey_") else { continue };
        let ours = bcos_rpc::answer(&mut chain, 0, "getSystemConfigByKey", &[json!("group0"), json!(""), json!(key)]);
        match ours {
            Ok(Answer::Value(ours)) => assert_eq!(&ours, value, "{key}"),
            Ok(other) => panic!("{other:?}"),
            Err(fault) => assert_eq!(&fault.to_json(), value, "{key}"),
        }
    }
}

#[test]
fn observers_are_a_list_of_ids() {
    let (mut chain, _) = chain_with_gateway();
    assert_eq!(ask(&mut chain, "getObserverList", json!(["group0", ""])), json!([]));
    let spare = *chain.node_keys()[4].public();
    chain.change_sealers(SealerChange::AddObserver(spare));
    chain.produce_block(5_000).unwrap();
    let list = ask(&mut chain, "getObserverList", json!(["group0", ""]));
    assert_same_fields(&list, &recorded()["getObserverList"], "getObserverList");
}

/// Every recorded refusal, asked again as it was recorded; only an unreadable id is random there.
#[test]
fn refusals_are_the_recorded_ones() {
    let (mut chain, _) = chain_with_gateway();
    let answers = recorded();
    let mut compared = 0;
    for name in [
        "batch",
        "blockByHash_unknown",
        "block_future",
        "block_negative",
        "block_string_number",
        "block_wrong_group",
        "getLogs",
        "id_string",
        "method_unknown",
        "nodelist_unknown",
        "not_json",
        "params_object",
        "receipt_unknown",
        "syscfg_unknown",
        "tx_badhash",
        "tx_unknown",
        "sendtx_wrong_chain",
    ] {
        let case = &answers["errors"][name];
        let reply = bcos_rpc::respond(&mut chain, 0, case["request"].as_str().unwrap().as_bytes());
        let Reply::Now(mut ours) = reply else { panic!("{name} waits") };
        let mut real: Value = serde_json::from_str(case["body"].as_str().unwrap()).unwrap();
        if real["jsonrpc"] == json!("") {
            assert!(ours["id"].is_u64());
            (ours["id"], real["id"]) = (Value::Null, Value::Null);
        }
        assert_eq!(ours, real, "{name}");
        compared += 1;
    }
    assert_eq!(compared, 17);
}

#[test]
fn block_limits_and_nonces_are_checked_with_the_recorded_words() {
    let (mut chain, gateway) = chain_with_gateway();
    let mut refuse = |raw: &[u8]| {
        let params = [json!("group0"), json!(""), json!(format!("0x{}", hex::encode(raw))), json!(false)];
        bcos_rpc::answer(&mut chain, 0, "sendTransaction", &params).unwrap_err().to_json()
    };
    let errors = &recorded()["errors"];
    let real =
        |name: &str| serde_json::from_str::<Value>(errors[name]["body"].as_str().unwrap()).unwrap()["error"].clone();
    let (reference, _) = chain_with_gateway();
    let limited = |limit: u64, nonce: &str| {
        let mut transaction = Transaction::decode(&sign(&reference, nonce, &gateway, vec![1, 2, 3, 4], 0)).unwrap();
        transaction.data.block_limit = limit;
        Transaction::sign(transaction.data, &reference.accounts()[0]).unwrap().encode()
    };
    let height = reference.height();
    assert_eq!(refuse(&limited(height, "low")), real("sendtx_blocklimit_low"));
    assert_eq!(refuse(&limited(height + 601, "high")), real("sendtx_blocklimit_high"));
    assert_eq!(refuse(&limited(height + 600, "deploy")), real("sendtx_duplicate"));
    let garbage = refuse(&[0x12, 0x34]);
    assert_eq!(garbage["code"], real("sendtx_garbage")["code"]);
    let mut broken = Transaction::decode(&limited(height + 600, "broken")).unwrap();
    broken.signature = vec![0; 65];
    assert_eq!(refuse(&broken.encode()), json!({"code": 10008, "message": "InvalidSignature"}));
}

#[test]
fn a_sent_transaction_is_answered_when_it_is_in_a_block() {
    let (mut chain, gateway) = chain_with_gateway();
    let checkpoint = bytes(&recorded()["getTransaction"]["input"]);
    let raw = sign(&chain, "again", &gateway, checkpoint, 0);
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "sendTransaction",
        "params": ["group0", "", format!("0x{}", hex::encode(&raw)), true]})
    .to_string();
    let Reply::Later(waiting) = bcos_rpc::respond(&mut chain, 0, body.as_bytes()) else { panic!("answered at once") };
    assert_eq!(bcos_rpc::resume(&chain, &waiting, false), None);
    let again = bcos_rpc::respond(&mut chain, 0, body.as_bytes());
    let Reply::Now(again) = again else { panic!("a second copy waits") };
    assert_eq!(again["error"], json!({"code": 10004, "message": "AlreadyInTxPool"}));
    chain.produce_block(9_000).unwrap();
    let answer = bcos_rpc::resume(&chain, &waiting, false).unwrap();
    let real: Value =
        serde_json::from_str(recorded()["errors"]["sendtx_ok_with_proof"]["body"].as_str().unwrap()).unwrap();
    assert_same_fields(&answer, &real, "sendTransaction");
}

#[test]
fn calls_answer_as_recorded() {
    let (mut chain, gateway) = chain_with_gateway();
    let errors = &recorded()["errors"];
    for name in ["call_head", "call_revert"] {
        let request: Value = serde_json::from_str(errors[name]["request"].as_str().unwrap()).unwrap();
        let real: Value = serde_json::from_str(errors[name]["body"].as_str().unwrap()).unwrap();
        let ours = ask(&mut chain, "call", json!(["group0", "", gateway, request["params"][3]]));
        assert_same_fields(&ours, &real["result"], name);
        assert_eq!(ours["status"], real["result"]["status"]);
    }
    let code = ask(&mut chain, "getCode", json!(["group0", "", gateway]));
    let real: Value = serde_json::from_str(errors["getCode"]["body"].as_str().unwrap()).unwrap();
    assert_eq!(code, real["result"]);
}

#[test]
fn a_failed_transaction_is_answered_without_hash() {
    let (mut chain, gateway) = chain_with_gateway();
    let fail = bytes(&recorded()["getTransactionReceipt (reverted)"]["input"]);
    let raw = sign(&chain, "fails", &gateway, fail, 0);
    let body = json!({"jsonrpc": "2.0", "id": 4, "method": "sendTransaction",
        "params": ["group0", "", hex::encode(&raw)]})
    .to_string();
    let Reply::Later(waiting) = bcos_rpc::respond(&mut chain, 0, body.as_bytes()) else { panic!("answered at once") };
    chain.produce_block(9_000).unwrap();
    let answer = bcos_rpc::resume(&chain, &waiting, false).unwrap();
    assert_eq!((&answer["result"]["hash"], &answer["result"]["status"]), (&json!("0x"), &json!(16)));
    assert_eq!(answer["id"], json!(4));
}

#[test]
fn deployments_land_at_the_recorded_addresses() {
    for (number, index, expected) in [
        (1, 0, "6849f21d1e455e9f0712b1e99fa4fcd23758e8f1"),
        (2, 0, "4721d1a77e0e76851d460073e64ea06d9c104194"),
        (40, 11, "ef1733cfe52e344e1972cbc27509fa9946136bb0"),
        (40, 14, "d664c53871ec987aaee8c2ba4b24257928272ac4"),
        (41, 16, "07ee6646292d8a55c3130a848684e93e5d3a54fd"),
        (42, 19, "6d75fb1f330273517b248b6a4a3e2c9cb9a69c95"),
    ] {
        assert_eq!(hex::encode(contract_address(CryptoSuite::Standard, number, index)), expected);
    }
}
