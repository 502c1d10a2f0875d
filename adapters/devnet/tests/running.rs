//! The devnet over HTTP, as a relay meets it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::time::Duration;

use alloy_consensus::{SignableTransaction, TxEnvelope, TxLegacy};
use alloy_eips::Encodable2718;
use alloy_primitives::{Signature, TxKind, U256, hex};
use cityrelay_devnet::{CityConfig, Devnet, DevnetConfig, DevnetError};
use cityrelay_fisco_bcos::codec::transaction::{Transaction, TransactionData};
use serde_json::{Value, json};

async fn post(url: &str, method: &str, params: Value) -> reqwest::Result<Value> {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    // The client is built with rustls, which wants to know its cryptography even where no TLS is spoken.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
    client.post(url).json(&body).send().await?.json().await
}

async fn ask(url: &str, method: &str, params: Value) -> Value {
    let answer = post(url, method, params).await.unwrap();
    answer.get("result").unwrap_or_else(|| panic!("{method}: {answer}")).clone()
}

fn fast<T: Default>() -> CityConfig<T> {
    CityConfig { block_period: Duration::from_millis(50), ..CityConfig::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_chains_make_blocks_and_answer() {
    let devnet = Devnet::start(DevnetConfig { sealed_evm: Some(fast()), weighted_bcos: Some(fast()) }).await.unwrap();
    let evm = devnet.sealed_evm().unwrap();
    let bcos = devnet.weighted_bcos().unwrap();

    let url = &evm.urls()[1];
    let key = evm.with(|chain| chain.accounts()[0].clone());
    let to = evm.with(|chain| chain.accounts()[1].address());
    let transfer = TxLegacy {
        chain_id: Some(571),
        gas_limit: 21_000,
        to: TxKind::Call(to),
        value: U256::from(5),
        ..TxLegacy::default()
    };
    let signature = Signature::from_raw(&key.sign(transfer.signature_hash())).unwrap();
    let raw = TxEnvelope::from(transfer.into_signed(signature)).encoded_2718();
    let hash = ask(url, "eth_sendRawTransaction", json!([hex::encode_prefixed(&raw)])).await;
    evm.wait_for_height(evm.height() + 1).await;
    let receipt = ask(&evm.urls()[0], "eth_getTransactionReceipt", json!([hash])).await;
    assert_eq!(receipt["status"], json!("0x1"));

    let data = TransactionData {
        chain_id: "chain0".to_owned(),
        group_id: "group0".to_owned(),
        block_limit: 500,
        nonce: "1".repeat(32),
        // The identity contract returns what it gets.
        to: "0x0000000000000000000000000000000000000004".to_owned(),
        input: vec![1, 2, 3],
        ..TransactionData::default()
    };
    let raw = bcos.with(|chain| Transaction::sign(data, &chain.accounts()[0]).unwrap().encode());
    let before = bcos.height();
    let url = &bcos.urls()[0];
    let receipt = ask(url, "sendTransaction", json!(["group0", "", hex::encode(&raw), true])).await;
    assert_eq!((&receipt["status"], &receipt["output"]), (&json!(0), &json!("0x010203")));
    assert_eq!(receipt["blockNumber"], json!(before + 1));
    assert_eq!(ask(url, "getBlockNumber", json!(["group0", ""])).await, json!(before + 1));
    devnet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_bcos_chain_stands_still_and_an_evm_chain_does_not() {
    let devnet = Devnet::start(DevnetConfig { sealed_evm: Some(fast()), weighted_bcos: Some(fast()) }).await.unwrap();
    let evm = devnet.sealed_evm().unwrap();
    evm.wait_for_height(2).await;
    assert_eq!(devnet.weighted_bcos().unwrap().height(), 1);
    evm.stall(true);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let stalled_at = evm.height();
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(evm.height(), stalled_at);
    evm.stall(false);
    evm.wait_for_height(stalled_at + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_node_refuses_connections_until_it_is_started() {
    let devnet = Devnet::start(DevnetConfig { sealed_evm: Some(fast()), weighted_bcos: None }).await.unwrap();
    let evm = devnet.sealed_evm().unwrap();
    let urls = evm.urls();
    evm.stop_node(0).await.unwrap();
    assert!(post(&urls[0], "eth_chainId", json!([])).await.unwrap_err().is_connect());
    assert_eq!(ask(&urls[1], "eth_chainId", json!([])).await, json!("0x23b"));
    evm.start_node(0).await.unwrap();
    assert_eq!(ask(&urls[0], "eth_chainId", json!([])).await, json!("0x23b"));
    assert!(matches!(evm.stop_node(7).await, Err(DevnetError::UnknownNode { got: 7, expected: 2 })));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_runs_until_it_is_told_to_stop() {
    let devnet = Devnet::start(DevnetConfig::both()).await.unwrap();
    let url = devnet.sealed_evm().unwrap().urls()[0].clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(devnet.run_until(async move { stopped.await.unwrap_or(()) }));
    assert_eq!(ask(&url, "net_version", json!([])).await, json!("571"));
    stop.send(()).unwrap();
    running.await.unwrap();
    assert!(post(&url, "net_version", json!([])).await.unwrap_err().is_connect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let city = CityConfig { first_port: port, ..fast() };
    let error = Devnet::start(DevnetConfig { sealed_evm: Some(city), weighted_bcos: None }).await.unwrap_err();
    assert!(matches!(error, DevnetError::Listen { address, .. } if address.port() == port));
}
