//! Each fault shows at the node that has it, nowhere else, and the light clients see through the sealed ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::time::Duration;

use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Height, UnixMillis};
use cityrelay_core::light_client::{LightClient, Verdict};
use cityrelay_devnet::city::{City, Reply};
use cityrelay_devnet::misbehave::Fault;
use cityrelay_devnet::sealed_evm::{SealedEvmChain, SealedEvmConfig};
use cityrelay_devnet::weighted_bcos::{SealerChange, WeightedBcosChain, WeightedBcosConfig};
use cityrelay_devnet::{CityConfig, Devnet, DevnetConfig};
use cityrelay_evm_bft::codec::account::Account;
use cityrelay_evm_bft::codec::json::read_header;
use cityrelay_evm_bft::verify::client::Client;
use cityrelay_evm_bft::verify::mode::{Mode, ModeTable};
use cityrelay_evm_bft::verify::rules::{EpochVotes, Rules};
use cityrelay_evm_bft::verify::set::ValidatorSet;
use cityrelay_evm_bft::verify::state::State;
use cityrelay_evm_bft::verify::update::{Update, UpdateItem};
use cityrelay_fisco_bcos::codec::json::header_from_json;
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use cityrelay_fisco_bcos::codec::transaction::{Transaction, TransactionData};
use cityrelay_fisco_bcos::verify::client::FiscoClient;
use cityrelay_fisco_bcos::verify::sealer_set::SealerSet;
use cityrelay_fisco_bcos::verify::state::TrustedState;
use cityrelay_fisco_bcos::verify::update::{ChainUpdate, UpdateHeader};
use serde_json::{Value, json};

fn ask<C: City>(chain: &mut C, node: usize, method: &str, params: Value) -> Value {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    match chain.respond(node, body.as_bytes()) {
        Reply::Now(answer) => answer,
        other => panic!("{method}: {other:?}"),
    }
}

fn result<C: City>(chain: &mut C, node: usize, method: &str, params: Value) -> Value {
    let answer = ask(chain, node, method, params);
    answer.get("result").unwrap_or_else(|| panic!("{method}: {answer}")).clone()
}

fn evm_chain(blocks: u64) -> SealedEvmChain {
    let mut chain = SealedEvmChain::new(SealedEvmConfig::default());
    for height in 1..=blocks {
        chain.produce_block(100 + height).unwrap();
    }
    chain
}

fn bcos_chain(blocks: u64) -> WeightedBcosChain {
    let mut chain = WeightedBcosChain::new(WeightedBcosConfig::default());
    let spare = *chain.node_keys()[4].public();
    for height in 2..=blocks {
        chain.change_sealers(SealerChange::AddObserver(spare));
        chain.produce_block(1_000 * height).unwrap();
    }
    chain
}

fn evm_client(chain: &SealedEvmChain) -> (Client, State) {
    let client = Client::new(Rules {
        modes: ModeTable::new(&[(0, Mode::Qbft)]).unwrap(),
        epochs: BTreeMap::from([(0, 30)]),
        epoch_votes: EpochVotes::Ignored,
        overrides: BTreeMap::new(),
        contracts: BTreeMap::new(),
        trusting_period: Duration::from_secs(3_600),
        max_clock_drift: Duration::from_secs(10),
    });
    let genesis = chain.block(0).unwrap();
    let accounts: Vec<Account> =
        genesis.unsealed.validators.iter().map(|validator| Account(validator.into_array())).collect();
    let set = ValidatorSet::of_accounts(&accounts).unwrap();
    (client, State::anchor(0, Hash32(genesis.hash.0), 0, set, Vec::new()))
}

fn evm_update(chain: &mut SealedEvmChain, node: usize, heights: std::ops::RangeInclusive<u64>) -> Update {
    let items = heights
        .map(|height| {
            let block = result(chain, node, "eth_getBlockByNumber", json!([format!("{height:#x}"), false]));
            let (header, hash) = read_header(&block).unwrap();
            UpdateItem { header: header.encode(), hash, set_proof: None }
        })
        .collect();
    Update { items }
}

#[test]
fn an_equivocating_qbft_node_is_found_out() {
    let mut chain = evm_chain(5);
    chain.faults().add(Some(1), Fault::Equivocate { height: 4 });
    let (client, anchor) = evm_client(&chain);
    let now = UnixMillis(110_000);
    let honest = evm_update(&mut chain, 0, 1..=5);
    let Verdict::Advanced { state, .. } = client.verify_update(&anchor, &honest, now) else { panic!() };
    let other = evm_update(&mut chain, 1, 4..=4);
    let Verdict::Refused(refusal) = client.verify_update(&state, &other, now) else { panic!() };
    assert_eq!(refusal.check, "equivocation");
    // To somebody who has not seen the honest block the other one is as good.
    let until = evm_update(&mut chain, 1, 1..=4);
    assert!(matches!(client.verify_update(&anchor, &until, now), Verdict::Advanced { .. }));
}

#[test]
fn an_equivocating_bcos_node_is_found_out() {
    let mut chain = bcos_chain(4);
    chain.faults().add(Some(1), Fault::Equivocate { height: 4 });
    let client = FiscoClient {
        suite: CryptoSuite::Standard,
        chain_id: "chain0".to_owned(),
        group_id: "group0".to_owned(),
        trusting_period: Duration::from_secs(3_600),
    };
    let first = chain.block(1).unwrap();
    let anchor = TrustedState::anchored(Height(1), first.hash, SealerSet::of_header(&first.header).unwrap());
    let mut update = |node: usize, heights: std::ops::RangeInclusive<u64>| {
        let headers = heights
            .map(|height| {
                let block = result(&mut chain, node, "getBlockByNumber", json!(["group0", "", height, true, true]));
                UpdateHeader { sealed: header_from_json(&block).unwrap(), skips_parent: false, evidence: None }
            })
            .collect();
        ChainUpdate { headers }
    };
    let now = UnixMillis(5_000);
    let Verdict::Advanced { state, .. } = client.verify_update(&anchor, &update(0, 2..=4), now) else { panic!() };
    let Verdict::Refused(refusal) = client.verify_update(&state, &update(1, 4..=4), now) else { panic!() };
    assert_eq!(refusal.check, "equivocation");
}

#[test]
fn a_lie_is_told_by_one_node_and_does_not_verify() {
    let mut chain = evm_chain(2);
    let lie = Fault::Lie {
        method: "eth_getBlockByNumber".to_owned(),
        pointer: "/stateRoot".to_owned(),
        value: json!(format!("0x{}", "ab".repeat(32))),
    };
    chain.faults().add(Some(1), lie);
    let (client, anchor) = evm_client(&chain);
    let lied = evm_update(&mut chain, 1, 1..=1);
    assert!(matches!(client.verify_update(&anchor, &lied, UnixMillis(110_000)), Verdict::Refused(_)));
    let honest = evm_update(&mut chain, 0, 1..=1);
    assert!(matches!(client.verify_update(&anchor, &honest, UnixMillis(110_000)), Verdict::Advanced { .. }));
    chain.faults().clear();
    let again = evm_update(&mut chain, 1, 1..=1);
    assert!(matches!(client.verify_update(&anchor, &again, UnixMillis(110_000)), Verdict::Advanced { .. }));
}

#[test]
fn a_lie_of_a_bcos_node_shows_where_it_points() {
    let mut chain = bcos_chain(2);
    let lie = Fault::Lie { method: "getBlockNumber".to_owned(), pointer: String::new(), value: json!(77) };
    chain.faults().add(Some(0), lie);
    assert_eq!(result(&mut chain, 0, "getBlockNumber", json!(["group0", ""])), json!(77));
    assert_eq!(result(&mut chain, 1, "getBlockNumber", json!(["group0", ""])), json!(2));
}

#[test]
fn a_lagging_node_hides_the_newest_blocks() {
    let mut evm = evm_chain(5);
    evm.faults().add(Some(0), Fault::Lag { blocks: 2 });
    assert_eq!(result(&mut evm, 0, "eth_blockNumber", json!([])), json!("0x3"));
    assert_eq!(result(&mut evm, 0, "eth_getBlockByNumber", json!(["latest", false]))["number"], json!("0x3"));
    assert_eq!(result(&mut evm, 0, "eth_getBlockByNumber", json!(["0x4", false])), Value::Null);
    assert_eq!(result(&mut evm, 1, "eth_blockNumber", json!([])), json!("0x5"));

    let mut bcos = bcos_chain(4);
    bcos.faults().add(Some(0), Fault::Lag { blocks: 1 });
    assert_eq!(result(&mut bcos, 0, "getBlockNumber", json!(["group0", ""])), json!(3));
    let hidden = ask(&mut bcos, 0, "getBlockByNumber", json!(["group0", "", 4, true, true]));
    assert_eq!(hidden["error"]["code"], json!(3006));
    assert_eq!(result(&mut bcos, 1, "getBlockByNumber", json!(["group0", "", 4, true, true]))["number"], json!(4));
}

#[test]
fn a_pruned_node_has_no_old_states_or_bodies() {
    let mut evm = evm_chain(5);
    evm.faults().add(Some(1), Fault::Prune { below: 4 });
    let account = json!(evm.accounts()[0].address());
    let proof = |height: &str| json!([account, [], height]);
    assert_eq!(ask(&mut evm, 1, "eth_getProof", proof("0x3"))["error"]["code"], json!(-32000));
    assert!(ask(&mut evm, 1, "eth_getProof", proof("latest"))["result"].is_object());
    assert!(ask(&mut evm, 0, "eth_getProof", proof("0x3"))["result"].is_object());

    let mut bcos = bcos_chain(4);
    bcos.faults().add(Some(1), Fault::Prune { below: 4 });
    let hash =
        |height: u64, chain: &WeightedBcosChain| chain.block(height).unwrap().transaction_hashes()[0].to_string();
    let (old, new) = (hash(3, &bcos), hash(4, &bcos));
    for method in ["getTransaction", "getTransactionReceipt"] {
        assert_eq!(ask(&mut bcos, 1, method, json!(["group0", "", old, true]))["error"]["code"], json!(3008));
        assert!(ask(&mut bcos, 1, method, json!(["group0", "", new, true]))["result"].is_object());
        assert!(ask(&mut bcos, 0, method, json!(["group0", "", old, true]))["result"].is_object());
    }
}

#[test]
fn a_failing_method_answers_its_error() {
    let mut evm = evm_chain(1);
    let fault = Fault::Fail { method: "eth_chainId".to_owned(), code: -32099, message: "broken".to_owned() };
    evm.faults().add(None, fault.clone());
    assert_eq!(ask(&mut evm, 0, "eth_chainId", json!([]))["error"], json!({"code": -32099, "message": "broken"}));
    assert!(ask(&mut evm, 0, "eth_blockNumber", json!([]))["result"].is_string());
}

#[test]
fn dropped_transactions_never_reach_a_block() {
    let mut evm = evm_chain(1);
    evm.faults().add(Some(0), Fault::DropTransactions);
    let hash = result(&mut evm, 0, "eth_sendRawTransaction", json!(["0x1234"]));
    assert_eq!(hash.as_str().unwrap().len(), 66);
    assert!(evm.pool().is_empty());

    let mut bcos = bcos_chain(1);
    bcos.faults().add(Some(0), Fault::DropTransactions);
    let data = TransactionData {
        chain_id: "chain0".to_owned(),
        group_id: "group0".to_owned(),
        block_limit: 100,
        nonce: "0".repeat(32),
        to: format!("0x{}04", "0".repeat(38)),
        ..TransactionData::default()
    };
    let raw = Transaction::sign(data, &bcos.accounts()[0]).unwrap().encode();
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "sendTransaction", "params": ["group0", "", hex::encode(raw)]});
    let Reply::Later(waiting) = bcos.respond(0, body.to_string().as_bytes()) else { panic!("answered") };
    assert!(bcos.produce_block(9_000).is_none());
    let late = bcos.resume(0, &waiting, true).unwrap();
    assert_eq!(late["error"]["code"], json!(10010));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_endpoint_switches_faults_and_nodes() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let devnet =
        Devnet::start(DevnetConfig { sealed_evm: Some(CityConfig::default()), weighted_bcos: None }).await.unwrap();
    let admin = devnet.serve_admin(0).await.unwrap();
    let client = reqwest::Client::builder().timeout(Duration::from_secs(1)).build().unwrap();
    let urls = devnet.sealed_evm().unwrap().urls();
    let order = |path: &str, body: Value| client.post(format!("http://{admin}{path}")).json(&body).send();
    let chain_id = |url: &str| {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []});
        client.post(url).json(&body).send()
    };

    let hang = json!({"chain": "sealed_evm", "node": 0, "fault": {"kind": "hang", "method": "*"}});
    assert_eq!(order("/misbehave", hang).await.unwrap().status(), 204);
    assert!(chain_id(&urls[0]).await.unwrap_err().is_timeout());
    assert!(chain_id(&urls[1]).await.is_ok());
    assert_eq!(order("/behave", json!({"chain": "sealed_evm"})).await.unwrap().status(), 204);
    assert!(chain_id(&urls[0]).await.is_ok());

    let stop = |running: bool| order("/node", json!({"chain": "sealed_evm", "node": 1, "running": running}));
    assert_eq!(stop(false).await.unwrap().status(), 204);
    assert!(chain_id(&urls[1]).await.is_err());
    assert_eq!(stop(true).await.unwrap().status(), 204);
    assert!(chain_id(&urls[1]).await.is_ok());

    assert_eq!(order("/stall", json!({"chain": "sealed_evm", "stalled": true})).await.unwrap().status(), 204);
    assert_eq!(order("/behave", json!({"chain": "weighted_bcos"})).await.unwrap().status(), 404);
    devnet.stop().await;
}
