//! What a lying node could make of preimages without separators, of foreign leaves and of reverted calls, through the whole
//! adapter.

use cityrelay_api::client::{from_opaque, to_opaque};
use cityrelay_api::source::{Confirmation, EntryRequest, HeadProofAnswer, HeadProofRequest};
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::claim::Claim;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Height, Index, UnixMillis};
use cityrelay_core::lane::{Flow, LaneIdentity};
use cityrelay_core::light_client::{HoldReason, SetStatement};
use cityrelay_core::verify::VerifiedUpdate;
use cityrelay_fisco_bcos::NAME;
use cityrelay_fisco_bcos::codec::json::{proof_from_json, receipt_from_json, transaction_hashes};
use cityrelay_fisco_bcos::codec::json_transaction::{ShownTransaction, transaction_from_json};
use cityrelay_fisco_bcos::codec::receipt::Receipt;
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use cityrelay_fisco_bcos::codec::transaction::TransactionData;
use cityrelay_fisco_bcos::verify::checkpoint::{CheckpointProof, ReceiptInclusion};
use cityrelay_fisco_bcos::verify::update::ChainUpdate;
use cityrelay_gateway::query;
use serde_json::{Value, json};

use crate::chain::TestChain;
use crate::gateway_chain::{DOMAIN, GATEWAY, GatewayChain, Step, checkpoint, flow, lane, message, other, point};
use crate::heads::{claim, header, request, serve};
use crate::nodes::{configure, recorded, section, vectors};
use crate::stand_in::StandInNode;

fn negative(name: &str) -> Value {
    let fixture = vectors("fixtures/negative_cases.json");
    fixture["cases"].as_array().unwrap().iter().find(|case| case["name"] == name).unwrap().clone()
}

/// What becomes of real block 72 as a node shows it, when its parent is trusted.
async fn verdict(shown: &Value, real: &Value) -> Result<Height, &'static str> {
    let node = StandInNode::serve(&[json!({ "block": shown, "transactions": [] })], 72).await;
    let anchor = json!({
        "number": 71,
        "hash": real["parentInfo"][0]["blockHash"],
        "sealerList": real["sealerList"],
        "consensusWeights": real["consensusWeights"],
    });
    let chain = configure(&section(&anchor, &[("n", &node.url, false)]));
    let served = chain.source().next_update(Height(71), 8).await.unwrap().unwrap();
    match chain.client().verify_update(DOMAIN, &chain.anchor(), &served.update, UnixMillis(0)) {
        VerifiedUpdate::Advanced { headers, .. } => Ok(headers[0].height()),
        VerifiedUpdate::Refused(refusal) => Err(refusal.check),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_negative_case_of_a_header_is_refused_by_name_from_whichever_node() {
    let real = vectors("fixtures/header_keccak_v3.2_block72_quorum_3of4.json")["header"].clone();
    assert_eq!(verdict(&real, &real).await, Ok(Height(72)));
    let edited = |edit: &Value| {
        let mut shown = real.clone();
        shown.as_object_mut().unwrap().extend(edit.as_object().unwrap().clone());
        shown
    };
    for (name, expected) in [
        ("duplicate_sealer_index", "signature-duplicate"),
        ("high_s_malleated_signature", "signature-duplicate"),
        ("swapped_sealer_indexes", "signature-invalid"),
        ("below_quorum", "quorum"),
    ] {
        let shown = edited(&json!({ "signatureList": negative(name)["signatureList"] }));
        assert_eq!(verdict(&shown, &real).await, Err(expected), "{name}");
    }
    for moved in negative("header_field_boundary_collision")["sameHashAlternatives"].as_array().unwrap() {
        assert_eq!(verdict(&edited(moved), &real).await, Err("header-extra-data"));
    }
    let tampered = json!({ "receiptsRoot": negative("tampered_root_keeps_claimed_hash")["receiptsRoot"] });
    assert_eq!(verdict(&edited(&tampered), &real).await, Err("header-hash"));
    let candidate = json!({ "version": negative("rc4_header_hash_not_reproducible")["header"]["version"] });
    assert_eq!(verdict(&edited(&candidate), &real).await, Err("header-version"));
}

/// `0x` taken away.
fn digits(value: &Value) -> String {
    value.as_str().unwrap().strip_prefix("0x").unwrap().to_owned()
}

/// Moves the data of the first event into topics (`receipt_field_boundary_collision`, 1).
fn data_as_topics(entry: &mut Value) {
    let log = &mut entry["getTransactionReceipt"]["logEntries"][0];
    let data = digits(&log["data"]);
    let topics = log["topics"].as_array_mut().unwrap();
    topics.extend((0..data.len() / 64).map(|word| json!(format!("0x{}", &data[64 * word..][..64]))));
    log["data"] = json!("0x");
}

/// Hides the event in the output (`receipt_field_boundary_collision`, 2).
fn log_as_output(entry: &mut Value) {
    let receipt = &mut entry["getTransactionReceipt"];
    let log = receipt["logEntries"][0].clone();
    let topics: String = log["topics"].as_array().unwrap().iter().map(digits).collect();
    let address = hex::encode(log["address"].as_str().unwrap());
    receipt["output"] = json!(format!("0x{address}{topics}{}", digits(&log["data"])));
    receipt["logEntries"] = json!([]);
}

/// Shows one event more, which takes no bytes (`receipt_field_boundary_collision`, 3).
fn one_log_more(entry: &mut Value) {
    let logs = entry["getTransactionReceipt"]["logEntries"].as_array_mut().unwrap();
    logs.push(json!({ "address": "", "topics": [], "data": "0x" }));
}

/// Shows the call as a deployment (`transaction_field_boundary_collision`).
fn to_as_nonce(entry: &mut Value) {
    let shown = &mut entry["getTransaction"];
    let moved = hex::encode(shown["to"].as_str().unwrap());
    shown["nonce"] = json!(format!("{}{moved}", shown["nonce"].as_str().unwrap()));
    shown["to"] = json!("");
}

/// Moves the end of the receiver into the input.
fn to_as_input(entry: &mut Value) {
    let shown = &mut entry["getTransaction"];
    let to = shown["to"].as_str().unwrap().to_owned();
    let (kept, moved) = to.split_at(40);
    shown["input"] = json!(format!("0x{}{}", hex::encode(moved), digits(&shown["input"])));
    shown["to"] = json!(kept);
}

/// Moves the end of the input into the ABI text.
fn input_as_abi(entry: &mut Value) {
    let shown = &mut entry["getTransaction"];
    let input = digits(&shown["input"]);
    let (kept, moved) = input.split_at(input.len() - 64);
    shown["abi"] = json!(String::from_utf8(hex::decode(moved).unwrap()).unwrap());
    shown["input"] = json!(format!("0x{kept}"));
}

#[tokio::test]
async fn a_checkpoint_whose_bytes_are_read_in_another_way_proves_nothing() {
    let readings: [fn(&mut Value); 6] =
        [data_as_topics, log_as_output, one_log_more, to_as_nonce, to_as_input, input_as_abi];
    for suite in [CryptoSuite::Standard, CryptoSuite::Gm] {
        for reading in readings {
            for filters_logs in [true, false] {
                let mut chain = GatewayChain::with_two_messages(suite);
                let entry = &mut chain.blocks[4]["transactions"][1];
                let before = entry.clone();
                reading(entry);
                assert_ne!(*entry, before);
                let ShownTransaction::Native { data, claimed_hash, .. } =
                    transaction_from_json(suite, &entry["getTransaction"]).unwrap()
                else {
                    panic!("{entry}")
                };
                let receipt = receipt_from_json(&entry["getTransactionReceipt"]).unwrap();
                assert_eq!(data.hash(suite), claimed_hash, "no hash tells the readings apart");
                assert_eq!(receipt.hash(suite).to_string(), before["getTransactionReceipt"]["hash"]);
                let (chain, _node) = serve(&chain, point(2), filters_logs).await;
                let answer = chain.source().head_proof(&request(1, 2, 7)).await.unwrap();
                assert!(matches!(answer, HeadProofAnswer::NeedsCheckpoint), "{answer:?}");
            }
        }
    }
}

/// The third case of `receipt_field_boundary_collision` as an attack: a contract returns what reads as an event of the gateway.
#[tokio::test]
async fn an_output_that_is_shown_as_an_event_proves_nothing() {
    let mut chain = GatewayChain::new(CryptoSuite::Standard);
    let shown = checkpoint(4, 2).receipt;
    let log = &shown.logs[0];
    let output = [log.address.as_bytes(), &log.topics[0].0, &log.topics[1].0, &log.data].concat();
    let mut step = other(3);
    step.data.input = checkpoint(4, 2).data.input;
    step.receipt = Receipt { output, logs: Vec::new(), ..shown.clone() };
    chain.add(vec![step]);
    let served = &mut chain.blocks[0]["transactions"][0]["getTransactionReceipt"];
    served["output"] = json!("0x");
    let topics: Vec<String> = log.topics.iter().map(Hash32::to_string).collect();
    let data = format!("0x{}", hex::encode(&log.data));
    served["logEntries"] = json!([{ "address": log.address, "topics": topics, "data": data }]);
    let hash = receipt_from_json(served).unwrap().hash(CryptoSuite::Standard).to_string();
    assert_eq!(hash, served["hash"], "the root holds for it");
    for filters_logs in [true, false] {
        let (configured, _node) = serve(&chain, point(2), filters_logs).await;
        let answer = configured.source().head_proof(&request(1, 2, 2)).await.unwrap();
        assert!(matches!(answer, HeadProofAnswer::NeedsCheckpoint), "{answer:?}");
    }
}

/// `merkle_internal_node_as_leaf`: the inner nodes of a tree, shown as the block's transactions, give the same root.
#[tokio::test]
async fn inner_nodes_that_are_shown_as_transactions_prove_nothing() {
    let suite = CryptoSuite::Standard;
    let mut chain = GatewayChain::new(suite);
    chain.add(vec![other(1), checkpoint(2, 2), other(3), other(4)]);
    let (configured, _node) = serve(&chain, point(2), true).await;
    let answer = configured.source().head_proof(&request(1, 2, 2)).await.unwrap();
    assert!(matches!(answer, HeadProofAnswer::Proof { .. }), "{answer:?}");
    let leaves = transaction_hashes(&chain.blocks[0]["block"]).unwrap();
    let parents = leaves.chunks(2).map(|pair| suite.hash(&[pair[0].0, pair[1].0].concat()).to_string());
    chain.blocks[0]["block"]["transactions"] = parents.collect();
    for filters_logs in [true, false] {
        let (configured, _node) = serve(&chain, point(2), filters_logs).await;
        let answer = configured.source().head_proof(&request(1, 2, 2)).await;
        assert!(!matches!(answer, Ok(HeadProofAnswer::Proof { .. })), "{answer:?}");
    }
}

/// The forms in which nodes show what else may stand behind the leaf of a checkpoint.
fn executed_instead(shown: &Value) -> Vec<(&'static str, Value)> {
    let attacker = "0x00000000000000000000000000000000000000ee";
    let sender = hex::encode("0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a0x1");
    let of_type_1 = json!({ "value": "0", "gasLimit": 1_000_000, "gasPrice": "0" });
    let raw = json!({ "groupID": "", "blockLimit": 0, "chainID": "20200", "to": attacker });
    let edited = |edits: &[&Value]| {
        let mut shown = shown.clone();
        for edit in edits {
            shown.as_object_mut().unwrap().extend(edit.as_object().unwrap().clone());
        }
        shown
    };
    let mut deployment = json!({ "getTransaction": shown });
    to_as_nonce(&mut deployment);
    vec![
        ("raw, as 3.9 to 3.14 show it", edited(&[&of_type_1, &raw, &json!({ "nonce": sender })])),
        ("raw, as 3.16 shows it", edited(&[&of_type_1, &raw, &json!({ "nonce": hex::encode("0x1") })])),
        ("submitted as native with type 1", edited(&[&of_type_1, &json!({ "to": attacker })])),
        ("submitted as native with type 1, the same fields", edited(&[&of_type_1])),
        ("the type shown", edited(&[&json!({ "type": 1 })])),
        ("another contract", edited(&[&json!({ "to": attacker })])),
        ("a nonce that runs into the receiver", deployment["getTransaction"].take()),
    ]
}

/// The leaf of an Ethereum-signed transaction is its submitter's word, and a nonce may end in what reads as a receiver. No
/// proof tells these from a checkpoint; only a node that executed the block does.
#[tokio::test]
async fn a_leaf_that_stands_for_another_transaction_is_never_confirmed() {
    let truth = GatewayChain::with_two_messages(CryptoSuite::Standard);
    let (liar, _liar) = serve(&truth, point(2), true).await;
    let answer = liar.source().head_proof(&request(1, 2, 7)).await.unwrap();
    let HeadProofAnswer::Proof { height, proof, .. } = answer else { panic!("{answer:?}") };
    let shown = truth.blocks[4]["transactions"][1]["getTransaction"].clone();
    for (name, executed) in executed_instead(&shown) {
        let (chain, own) = serve(&truth, point(2), true).await;
        own.edit(|script| script.blocks.get_mut(&6).unwrap()["transactions"][1]["getTransaction"] = executed.clone());
        let header = header(&chain, height).await;
        let claim = claim(height, proof.clone());
        let extension = chain.client().verify_extension(&header, &lane(), ChainPoint::start(flow()), claim).unwrap();
        let gateway = Address::from_20(GATEWAY);
        let answer = chain.source().confirm_extension(&header, gateway, &extension, &proof).await.unwrap();
        assert_eq!(answer, Confirmation::Disagrees, "{name}");
        let answer = chain.source().head_proof(&request(1, 2, 7)).await.unwrap();
        assert!(matches!(answer, HeadProofAnswer::NeedsCheckpoint), "{name}: {answer:?}");
    }
}

/// A call of the consensus contract as the official SDKs sign it: its address without `0x`.
fn add_sealer(suite: CryptoSuite, newcomer: u8) -> Step {
    let mut keys = TestChain::new(suite, &[]);
    keys.add(newcomer, 1);
    let word = |value: u64| Hash32::from_u64(value).0;
    let mut input = suite.selector("addSealer(string,uint256)").to_vec();
    for part in [&word(64)[..], &word(1), &word(128), hex::encode(keys.nodes[0].key.public().0).as_bytes()] {
        input.extend(part);
    }
    let mut step = other(50);
    step.data = TransactionData {
        to: "0000000000000000000000000000000000001003".to_owned(),
        nonce: "21057836295043339615578907092452971954661623224251924593750627344535423728157".to_owned(),
        input,
        ..step.data
    };
    step.receipt.output = vec![0; 32];
    step
}

/// Anybody may submit an Ethereum-signed transaction to the consensus contract under a leaf that is not its hash.
#[tokio::test]
async fn a_set_change_is_followed_beside_a_transaction_with_a_foreign_leaf() {
    for suite in [CryptoSuite::Standard, CryptoSuite::Gm] {
        let mut chain = GatewayChain::new(suite);
        chain.add(Vec::new());
        chain.add(vec![other(1), add_sealer(suite, 5), other(2), other(3)]);
        let shown = chain.blocks[1]["transactions"].as_array().unwrap()[1]["getTransaction"].clone();
        let of_type_1 = json!({
            "value": "0", "gasLimit": 1_000_000, "gasPrice": "0", "maxFeePerGas": "", "maxPriorityFeePerGas": "",
        });
        for (position, version) in [(2, 0), (3, 1)] {
            let foreign = &mut chain.blocks[1]["transactions"][position]["getTransaction"];
            foreign["to"] = shown["to"].clone();
            foreign["version"] = json!(version);
            foreign.as_object_mut().unwrap().extend(of_type_1.as_object().unwrap().clone());
        }
        let anchor = chain.anchor();
        chain.chain.add(5, 1);
        chain.add(Vec::new());
        let node = StandInNode::serve(&chain.blocks, chain.chain.height).await;
        let mut section = section(&anchor, &[("own", &node.url, true)]);
        section["crypto"] = json!(suite.as_str());
        let configured = configure(&section);
        let (client, source) = (configured.client(), configured.source());
        let served = source.next_update(Height(1), 8).await.unwrap().unwrap();
        let update: ChainUpdate = from_opaque(NAME, &served.update).unwrap();
        let evidence = update.headers.last().unwrap().evidence.as_ref().unwrap();
        assert_eq!(evidence.calls.iter().map(|call| call.position).collect::<Vec<_>>(), [1]);
        let held = client.verify_update(DOMAIN, &configured.anchor(), &served.update, UnixMillis(0));
        let VerifiedUpdate::HeldBack { state, reason: HoldReason::SetUnconfirmed { height, digest }, .. } = held else {
            panic!("{held:?}")
        };
        let statement = SetStatement { height, digest };
        assert_eq!(source.confirm_set(&statement).await.unwrap(), Confirmation::Agrees);
        let state = client.apply_set_statement(&state, &statement).unwrap();
        let followed = client.verify_update(DOMAIN, &state, &served.update, UnixMillis(0));
        let VerifiedUpdate::Advanced { headers, .. } = followed else { panic!("{followed:?}") };
        assert_eq!(headers.last().unwrap().height(), Height(4));
    }
}

/// Blocks 9, 17 and 25 of the recorded v3.9.0 chain: `Caller.tryFail` succeeds, and its receipt keeps the gateway's event of the
/// inner call that was reverted.
#[tokio::test]
async fn the_recorded_event_of_a_reverted_inner_call_proves_nothing() {
    let recording = vectors("live/std.json");
    let (chain, node, _other) = recorded(30).await;
    let contract = digits(&recording["contracts"]["gateway"]);
    let gateway = Address::from_20(hex::decode(&contract).unwrap().try_into().unwrap());
    let lane = LaneIdentity { source_gateway: gateway, ..lane() };
    let flow = Flow { lane: lane.id(), ..flow() };
    let served = chain.source().next_update(Height(1), 30).await.unwrap().unwrap();
    let verdict = chain.client().verify_update(DOMAIN, &chain.anchor(), &served.update, UnixMillis(0));
    let VerifiedUpdate::Advanced { headers, .. } = verdict else { panic!("{verdict:?}") };
    for height in [9, 17, 25] {
        let block = &recording["blocks"][height];
        let entries = block["transactions"].as_array().unwrap();
        let position = entries.iter().position(|entry| entry["tag"] == "Caller.tryFail").unwrap();
        let entry = &entries[position];
        let receipt = receipt_from_json(&entry["getTransactionReceipt"]).unwrap();
        assert_eq!(receipt.status, 0);
        assert!(receipt.logs.iter().any(|log| log.address == contract), "the event is there, under an honest root");
        let ShownTransaction::Native { data, .. } =
            transaction_from_json(CryptoSuite::Standard, &entry["getTransaction"]).unwrap()
        else {
            panic!()
        };
        let path = proof_from_json(&entry["getTransactionReceipt"]["txReceiptProof"]).unwrap();
        let proof = CheckpointProof {
            transaction: *data,
            transaction_hashes: transaction_hashes(&block["block"]).unwrap(),
            receipt,
            inclusion: ReceiptInclusion::Path(path),
        };
        let header = headers.iter().find(|header| header.height().0 == height as u64).unwrap();
        let claim = Claim {
            flow,
            first: Index(1),
            entries: vec![Entry::Message(message(1))],
            tail: Vec::new(),
            height: header.height(),
            proof: to_opaque(NAME, &proof),
        };
        let refusal = chain.client().verify_extension(header, &lane, ChainPoint::start(flow), claim).unwrap_err();
        assert!(refusal.check.starts_with("transaction-"), "{refusal:?}");
    }
    // A node that says that the lane has gone on, and its receipts with those events.
    node.edit(|script| {
        let index = json!({ "blockNumber": 30, "output": Hash32::from_u64(1).to_string(), "status": 0 });
        let key = |data: Vec<u8>| format!("0x{}", hex::encode(data));
        script.views.insert(key(query::index(flow.lane)), index.clone());
        script.views.insert(key(query::head(flow.lane)), index);
    });
    let newest = Height(30);
    let wanted = HeadProofRequest { gateway, flow, at_least: Index(1), oldest: Height(2), newest };
    let answer = chain.source().head_proof(&wanted).await.unwrap();
    assert!(matches!(answer, HeadProofAnswer::NeedsCheckpoint), "{answer:?}");
    let hints = EntryRequest { gateway, flow, first: Index(1), last: Index(1), newest };
    assert_eq!(chain.source().entry_hints(&hints).await.unwrap(), []);
}
