//! Sending: what is signed, what the node's codes mean, and the fate of an intent.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use cityrelay_api::source::NodeError;
use cityrelay_api::target::{Fate, Fit, Intent, Target, TargetError};
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::ids::{Address, Height};
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use cityrelay_fisco_bcos::codec::transaction::Transaction;
use cityrelay_fisco_bcos::verify::checkpoint::{checkpoint_input, is_strict_nonce};
use serde_json::{Value, json};

use crate::gateway_chain::{GATEWAY, GatewayChain, flow};
use crate::nodes::{configure, section};
use crate::stand_in::StandInNode;

const KEY: &str = "bcec428d5205abe0f0cc8a734083908d9eb8563e31f943d760786edf42ad67dd";

struct Sending {
    target: Arc<dyn Target>,
    node: StandInNode,
    suite: CryptoSuite,
    key_file: tempfile::NamedTempFile,
}

async fn sending_with(suite: CryptoSuite, edit: impl Fn(&mut Value)) -> Sending {
    let chain = GatewayChain::with_two_messages(suite);
    let node = StandInNode::serve(&chain.blocks, chain.chain.height).await;
    let mut key_file = tempfile::NamedTempFile::new().unwrap();
    writeln!(key_file, "{KEY}").unwrap();
    let mut section = section(&chain.anchor(), &[("own", &node.url, true)]);
    section["crypto"] = json!(suite.as_str());
    section["account"] = json!({ "key_file": key_file.path() });
    edit(&mut section);
    Sending { target: configure(&section).target().unwrap(), node, suite, key_file }
}

async fn sending() -> Sending {
    sending_with(CryptoSuite::Standard, |_| ()).await
}

fn call() -> GatewayCall {
    GatewayCall::Checkpoint { gateway: Address::from_20(GATEWAY), flow: flow() }
}

/// The submitted bytes, read back.
async fn submitted(sending: &Sending, intent: &Intent) -> Transaction {
    sending.node.edit(|script| script.sent = Some(Ok(json!({}))));
    sending.target.broadcast(intent).await.unwrap();
    let bytes = sending.node.script.lock().unwrap().submitted.last().unwrap().clone();
    Transaction::decode(&hex::decode(&bytes[2..]).unwrap()).unwrap()
}

#[tokio::test]
async fn a_checkpoint_is_signed_in_the_strict_form_in_both_suites() {
    for suite in [CryptoSuite::Standard, CryptoSuite::Gm] {
        let sending = sending_with(suite, |section| section["transaction_version"] = json!(1)).await;
        let intent = sending.target.prepare(&call(), &[], None).await.unwrap();
        let transaction = submitted(&sending, &intent).await;
        let data = &transaction.data;
        assert_eq!((data.version, transaction.kind), (0, 0));
        assert!(is_strict_nonce(&data.nonce));
        assert_eq!(data.to, format!("0x{}", hex::encode(GATEWAY)));
        assert_eq!(data.input, checkpoint_input(flow()));
        assert_eq!((data.abi.as_str(), data.block_limit), ("", 507));
        assert_eq!((data.chain_id.as_str(), data.group_id.as_str()), ("chain0", "group0"));
        assert_eq!(data.hash(suite), intent.hash);
        assert_eq!(transaction.data_hash, intent.hash.0);
        let signer = suite.transaction_signer(&intent.hash, &transaction.signature).unwrap();
        assert_eq!(Address::from_20(suite.account(&signer)), sending.target.account());
    }
}

/// Nodes before 3.3.0 answer with an error to a nonce that is no decimal number of 256 bits.
#[tokio::test]
async fn every_nonce_is_a_decimal_number_in_the_strict_form() {
    let sending = sending().await;
    for _ in 0..64 {
        let intent = sending.target.prepare(&call(), &[], None).await.unwrap();
        let nonce = submitted(&sending, &intent).await.data.nonce;
        assert!(is_strict_nonce(&nonce), "{nonce}");
        let number: u128 = nonce.parse().unwrap();
        assert_eq!(number.to_string(), nonce, "no zero in front, which some libraries read as octal");
    }
}

#[tokio::test]
async fn other_calls_take_the_configured_version_and_deployments_have_no_receiver() {
    let sending = sending_with(CryptoSuite::Standard, |section| section["transaction_version"] = json!(1)).await;
    let intent = sending.target.prepare(&GatewayCall::DeployCode { code: vec![0x60, 0x80] }, &[], None).await.unwrap();
    let data = submitted(&sending, &intent).await.data;
    assert_eq!((data.version, data.to.as_str(), data.input), (1, "", vec![0x60, 0x80]));
}

#[tokio::test]
async fn a_replacement_takes_the_nonce_and_other_intents_draw_their_own() {
    let sending = sending().await;
    let first = sending.target.prepare(&call(), &[], None).await.unwrap();
    let second = sending.target.prepare(&call(), core::slice::from_ref(&first), None).await.unwrap();
    let replacement = sending.target.prepare(&call(), &[], Some(&first)).await.unwrap();
    let nonces = [
        submitted(&sending, &first).await.data.nonce,
        submitted(&sending, &second).await.data.nonce,
        submitted(&sending, &replacement).await.data.nonce,
    ];
    assert_ne!(nonces[0], nonces[1]);
    assert_eq!(nonces[0], nonces[2]);
}

/// Puts a receipt for `intent` into block 7.
fn mine(sending: &Sending, intent: &Intent, status: i64) {
    let hash = intent.hash.to_string();
    sending.node.edit(|script| {
        let block = script.blocks.get_mut(&7).unwrap();
        let mut receipt = block["transactions"][0]["getTransactionReceipt"].clone();
        receipt["transactionHash"] = json!(hash);
        receipt["status"] = json!(status);
        receipt["gasUsed"] = json!("4321");
        receipt["output"] = json!("0x0102");
        receipt["contractAddress"] = json!(format!("0x{}", hex::encode([9; 20])));
        let entry = json!({ "hash": hash, "getTransactionReceipt": receipt });
        block["transactions"].as_array_mut().unwrap().push(entry);
    });
}

#[tokio::test]
async fn used_nonce_means_mine_is_in_only_when_its_receipt_is_there() {
    let sending = sending().await;
    let intent = sending.target.prepare(&call(), &[], None).await.unwrap();
    sending.node.edit(|script| script.sent = Some(Err((10000, "NonceCheckFail"))));
    let error = sending.target.broadcast(&intent).await.unwrap_err();
    assert!(matches!(error, TargetError::Node(NodeError::Rpc { code: 10000, .. })), "{error:?}");
    assert_eq!(sending.target.track(&intent).await.unwrap(), Fate::Dropped);
    mine(&sending, &intent, 0);
    sending.target.broadcast(&intent).await.unwrap();
}

#[tokio::test]
async fn bytes_that_are_pooled_already_are_handed_over() {
    let sending = sending().await;
    let intent = sending.target.prepare(&call(), &[], None).await.unwrap();
    sending.node.edit(|script| script.sent = Some(Err((10004, "AlreadyInTxPool"))));
    sending.target.broadcast(&intent).await.unwrap();
    assert_eq!(sending.target.track(&intent).await.unwrap(), Fate::Pending);
}

#[tokio::test]
async fn a_node_that_is_still_executing_when_the_time_is_over_has_the_bytes() {
    let sending = sending().await;
    let intent = sending.target.prepare(&call(), &[], None).await.unwrap();
    sending.node.edit(|script| script.delay = Duration::from_millis(900));
    sending.target.broadcast(&intent).await.unwrap();
    sending.node.edit(|script| script.delay = Duration::ZERO);
    assert_eq!(sending.target.track(&intent).await.unwrap(), Fate::Pending);
}

#[tokio::test]
async fn a_refused_block_limit_is_an_error_and_a_full_pool_too() {
    for code in [10001, 10002, 10006, 10007, 10008] {
        let sending = sending().await;
        let intent = sending.target.prepare(&call(), &[], None).await.unwrap();
        sending.node.edit(|script| script.sent = Some(Err((code, "refused"))));
        let error = sending.target.broadcast(&intent).await.unwrap_err();
        assert!(matches!(error, TargetError::Node(NodeError::Rpc { code: got, .. }) if got == code));
    }
}

#[tokio::test]
async fn a_full_pool_at_one_node_is_not_the_end() {
    let full = sending().await;
    let chain = GatewayChain::with_two_messages(CryptoSuite::Standard);
    let other = StandInNode::serve(&chain.blocks, chain.chain.height).await;
    let nodes = [("own", full.node.url.as_str(), true), ("other", other.url.as_str(), false)];
    let mut section = section(&chain.anchor(), &nodes);
    section["account"] = json!({ "key_file": full.key_file.path() });
    let target = configure(&section).target().unwrap();
    let intent = target.prepare(&call(), &[], None).await.unwrap();
    other.edit(|script| script.sent = Some(Ok(json!({}))));
    target.broadcast(&intent).await.unwrap();
    assert_eq!(other.script.lock().unwrap().submitted.len(), 1);
}

#[tokio::test]
async fn the_fate_of_an_intent_is_dropped_final_or_dead() {
    let sending = sending().await;
    let intent = sending.target.prepare(&call(), &[], None).await.unwrap();
    assert_eq!(sending.target.track(&intent).await.unwrap(), Fate::Dropped);
    sending.node.edit(|script| script.tip = 507);
    assert_eq!(sending.target.track(&intent).await.unwrap(), Fate::Dropped, "block 507 may still hold it");
    sending.node.edit(|script| script.tip = 508);
    assert_eq!(sending.target.track(&intent).await.unwrap(), Fate::Dead);
    for status in [0, 16] {
        mine(&sending, &intent, status);
        let expected = Fate::Final {
            height: Height(7),
            is_success: status == 0,
            gas_used: 4321,
            created: (status == 0).then(|| Address::from_20([9; 20])),
            output: vec![1, 2],
        };
        assert_eq!(sending.target.track(&intent).await.unwrap(), expected);
        sending.node.edit(|script| {
            let transactions = &mut script.blocks.get_mut(&7).unwrap()["transactions"];
            transactions.as_array_mut().unwrap().retain(|entry| entry["hash"] != json!(intent.hash.to_string()));
        });
    }
}

#[tokio::test]
async fn too_long_a_call_does_not_fit() {
    let sending = sending_with(CryptoSuite::Standard, |section| section["max_transaction_bytes"] = json!(1024)).await;
    let raw = |length| GatewayCall::Raw { to: Address::from_20(GATEWAY), data: vec![1; length] };
    assert!(matches!(sending.target.fits(&raw(64)).await.unwrap(), Fit::Fits { .. }));
    assert_eq!(sending.target.fits(&raw(1024)).await.unwrap(), Fit::TooLarge);
    let refused = sending.target.prepare(&raw(1024), &[], None).await;
    assert!(matches!(refused, Err(TargetError::Unsupported { .. })), "{refused:?}");
}

#[tokio::test]
async fn the_clock_is_the_last_blocks() {
    let sending = sending().await;
    assert_eq!(sending.suite, CryptoSuite::Standard);
    assert_eq!(sending.target.clock().await.unwrap().0, 1_700_000_006_000);
}
