//! Proving, hinting and confirming heads.

use std::sync::Arc;

use cityrelay_api::adapter::Chain;
use cityrelay_api::source::{Confirmation, EntryRequest, HeadProofAnswer, HeadProofRequest, NodeError};
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::claim::Claim;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Height, Index, UnixMillis};
use cityrelay_core::light_client::ProofStrength;
use cityrelay_core::verify::{VerifiedExtension, VerifiedHeader, VerifiedUpdate};
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use cityrelay_gateway::query;
use serde_json::{Value, json};

use crate::gateway_chain::{DOMAIN, GATEWAY, GatewayChain, checkpoint, flow, lane, message, point, send};
use crate::nodes::{configure, section};
use crate::stand_in::StandInNode;

/// The chain at one own stand-in whose gateway stands at `stands`.
pub async fn serve(chain: &GatewayChain, stands: ChainPoint, filters_logs: bool) -> (Arc<dyn Chain>, StandInNode) {
    let node = StandInNode::serve(&chain.blocks, chain.chain.height).await;
    node.edit(|script| script.filters_logs = filters_logs);
    stand(&node, stands);
    let mut section = section(&chain.anchor(), &[("own", &node.url, true)]);
    section["crypto"] = json!(chain.chain.suite.as_str());
    (configure(&section), node)
}

pub fn stand(node: &StandInNode, at: ChainPoint) {
    let answer = |word: Hash32| json!({ "blockNumber": 1, "output": word.to_string(), "status": 0 });
    node.edit(|script| {
        let key = |data: Vec<u8>| format!("0x{}", hex::encode(data));
        script.views.insert(key(query::index(flow().lane)), answer(Hash32::from_u64(at.index.0)));
        script.views.insert(key(query::head(flow().lane)), answer(at.head));
    });
}

pub fn request(at_least: u64, oldest: u64, newest: u64) -> HeadProofRequest {
    HeadProofRequest {
        gateway: Address::from_20(GATEWAY),
        flow: flow(),
        at_least: Index(at_least),
        oldest: Height(oldest),
        newest: Height(newest),
    }
}

pub async fn header(chain: &Arc<dyn Chain>, height: Height) -> VerifiedHeader {
    let served = chain.source().next_update(Height(1), 100).await.unwrap().unwrap();
    let verdict = chain.client().verify_update(DOMAIN, &chain.anchor(), &served.update, UnixMillis(0));
    let VerifiedUpdate::Advanced { headers, .. } = verdict else { panic!("{verdict:?}") };
    headers.into_iter().find(|header| header.height() == height).unwrap()
}

pub fn claim(height: Height, proof: cityrelay_core::opaque::Opaque) -> Claim {
    Claim {
        flow: flow(),
        first: Index(1),
        entries: vec![Entry::Message(message(1)), Entry::Message(message(2))],
        tail: Vec::new(),
        height,
        proof,
    }
}

#[tokio::test]
async fn a_checkpoint_is_found_proved_verified_and_confirmed_in_both_suites_by_both_means() {
    for suite in [CryptoSuite::Standard, CryptoSuite::Gm] {
        for filters_logs in [true, false] {
            let (chain, node) = serve(&GatewayChain::with_two_messages(suite), point(2), filters_logs).await;
            let answer = chain.source().head_proof(&request(1, 2, 7)).await.unwrap();
            let HeadProofAnswer::Proof { height, point: proved, proof, endpoint } = answer else {
                panic!("{answer:?}")
            };
            assert_eq!((height, proved, endpoint.as_str()), (Height(6), point(2), "own"));
            assert_eq!(node.calls("getTransactionReceipt") > 1, !filters_logs);
            let header = header(&chain, height).await;
            let claim = claim(height, proof.clone());
            let client = chain.client();
            let extension = client.verify_extension(&header, &lane(), ChainPoint::start(flow()), claim).unwrap();
            assert_eq!(extension.strength(), ProofStrength::NeedsLocalConfirmation);
            assert_eq!(extension.tip(), point(2));
            let confirmed =
                chain.source().confirm_extension(&header, Address::from_20(GATEWAY), &extension, &proof).await.unwrap();
            assert_eq!(confirmed, Confirmation::Agrees);
        }
    }
}

#[tokio::test]
async fn a_node_whose_filter_fails_in_any_way_is_read_by_its_receipts() {
    for code in [-32601, -32603, -32602, -32700, 3006, -1] {
        let (chain, node) = serve(&GatewayChain::with_two_messages(CryptoSuite::Standard), point(2), true).await;
        node.edit(|script| script.filter_error = Some(code));
        let answer = chain.source().head_proof(&request(1, 2, 7)).await.unwrap();
        assert!(matches!(answer, HeadProofAnswer::Proof { height: Height(6), .. }), "{code}: {answer:?}");
    }
    let (chain, node) = serve(&GatewayChain::with_two_messages(CryptoSuite::Standard), point(2), true).await;
    node.edit(|script| script.filter_answer = Some(json!({ "logs": [] })));
    let answer = chain.source().head_proof(&request(1, 2, 7)).await.unwrap();
    assert!(matches!(answer, HeadProofAnswer::Proof { height: Height(6), .. }), "{answer:?}");
}

#[tokio::test]
async fn blocks_are_read_once() {
    let (chain, node) = serve(&GatewayChain::with_two_messages(CryptoSuite::Standard), point(2), true).await;
    let source = chain.source();
    for _ in 0..3 {
        assert!(matches!(source.head_proof(&request(1, 2, 7)).await.unwrap(), HeadProofAnswer::Proof { .. }));
    }
    assert_eq!(node.calls("getLogs"), 1);
}

#[tokio::test]
async fn nothing_new_and_a_missing_checkpoint_are_told_apart() {
    let (chain, _node) = serve(&GatewayChain::with_two_messages(CryptoSuite::Standard), point(2), true).await;
    let source = chain.source();
    assert!(matches!(source.head_proof(&request(3, 2, 7)).await.unwrap(), HeadProofAnswer::NothingNew));
    assert!(matches!(source.head_proof(&request(1, 2, 5)).await.unwrap(), HeadProofAnswer::NeedsCheckpoint));
    assert_eq!(source.head_hint(Address::from_20(GATEWAY), flow()).await.unwrap(), point(2));
}

#[tokio::test]
async fn a_missing_checkpoint_is_told_without_a_walk_through_the_history() {
    let mut chain = GatewayChain::new(CryptoSuite::Standard);
    for _ in 0..100 {
        chain.add(Vec::new());
    }
    chain.add(vec![send(1, 1)]);
    chain.add(vec![send(2, 2)]);
    let newest = chain.chain.height;
    let (configured, node) = serve(&chain, point(2), true).await;
    let answer = configured.source().head_proof(&request(2, 2, newest)).await.unwrap();
    assert!(matches!(answer, HeadProofAnswer::NeedsCheckpoint), "{answer:?}");
    assert_eq!(node.calls("getLogs"), 1);
    assert!(node.calls("getBlockByNumber") < 10, "{} blocks were read", node.calls("getBlockByNumber"));
}

#[tokio::test]
async fn what_a_lagging_node_has_not_seen_is_read_when_it_has() {
    let (chain, node) = serve(&GatewayChain::with_two_messages(CryptoSuite::Standard), point(2), true).await;
    let source = chain.source();
    node.edit(|script| script.tip = 5);
    let answer = source.head_proof(&request(1, 2, 7)).await;
    assert!(matches!(answer, Err(NodeError::Unreachable { .. })), "{answer:?}");
    node.edit(|script| script.tip = 7);
    assert!(matches!(source.head_proof(&request(1, 2, 7)).await.unwrap(), HeadProofAnswer::Proof { .. }));
}

#[tokio::test]
async fn equal_receipts_in_one_block_are_proved_by_the_whole_list() {
    let mut chain = GatewayChain::with_two_messages(CryptoSuite::Standard);
    chain.add(vec![checkpoint(20, 2), checkpoint(21, 2)]);
    let (configured, _node) = serve(&chain, point(2), true).await;
    let answer = configured.source().head_proof(&request(2, 8, 8)).await.unwrap();
    let HeadProofAnswer::Proof { height, proof, .. } = answer else { panic!("{answer:?}") };
    let header = header(&configured, height).await;
    let extension =
        configured.client().verify_extension(&header, &lane(), ChainPoint::start(flow()), claim(height, proof));
    assert_eq!(extension.unwrap().tip(), point(2));
}

#[tokio::test]
async fn a_checkpoint_called_in_another_form_is_passed_over() {
    let mut chain = GatewayChain::with_two_messages(CryptoSuite::Standard);
    let mut loose = checkpoint(30, 2);
    loose.data.nonce = "30".to_owned();
    chain.add(vec![loose]);
    let (configured, _node) = serve(&chain, point(2), true).await;
    let answer = configured.source().head_proof(&request(2, 2, 8)).await.unwrap();
    assert!(matches!(answer, HeadProofAnswer::Proof { height: Height(6), .. }), "{answer:?}");
    let answer = configured.source().head_proof(&request(2, 8, 8)).await.unwrap();
    assert!(matches!(answer, HeadProofAnswer::NeedsCheckpoint), "{answer:?}");
}

#[tokio::test]
async fn entries_are_found_by_walking_back() {
    for filters_logs in [true, false] {
        let (chain, _node) =
            serve(&GatewayChain::with_two_messages(CryptoSuite::Standard), point(2), filters_logs).await;
        let request = |first, last| EntryRequest {
            gateway: Address::from_20(GATEWAY),
            flow: flow(),
            first: Index(first),
            last: Index(last),
            newest: Height(7),
        };
        let entries = chain.source().entry_hints(&request(1, 2)).await.unwrap();
        assert_eq!(entries, [Entry::Message(message(1)), Entry::Message(message(2))]);
        assert_eq!(chain.source().entry_hints(&request(2, 2)).await.unwrap(), [Entry::Message(message(2))]);
        assert_eq!(chain.source().entry_hints(&request(3, 4)).await.unwrap(), []);
    }
}

async fn confirmable()
-> (Arc<dyn Chain>, StandInNode, VerifiedHeader, VerifiedExtension, cityrelay_core::opaque::Opaque) {
    let (chain, node) = serve(&GatewayChain::with_two_messages(CryptoSuite::Standard), point(2), true).await;
    let answer = chain.source().head_proof(&request(1, 2, 7)).await.unwrap();
    let HeadProofAnswer::Proof { height, proof, .. } = answer else { panic!("{answer:?}") };
    let header = header(&chain, height).await;
    let claim = claim(height, proof.clone());
    let extension = chain.client().verify_extension(&header, &lane(), ChainPoint::start(flow()), claim).unwrap();
    (chain, node, header, extension, proof)
}

#[tokio::test]
async fn an_own_node_that_says_anything_else_disagrees() {
    let edits: [fn(&mut Value); 6] = [
        |block| block["block"]["timestamp"] = json!(1),
        |block| block["transactions"][1]["getTransaction"]["to"] = json!("0x00000000000000000000000000000000000000ee"),
        |block| block["transactions"][1]["getTransaction"]["input"] = json!("0x"),
        |block| block["transactions"][1]["getTransaction"]["type"] = json!(1),
        |block| block["transactions"][1]["getTransaction"]["groupID"] = json!(""),
        |block| block["transactions"][1]["getTransactionReceipt"]["status"] = json!(16),
    ];
    for edit in edits {
        let (chain, node, header, extension, proof) = confirmable().await;
        node.edit(|script| edit(script.blocks.get_mut(&6).unwrap()));
        let gateway = Address::from_20(GATEWAY);
        let answer = chain.source().confirm_extension(&header, gateway, &extension, &proof).await.unwrap();
        assert_eq!(answer, Confirmation::Disagrees);
    }
}

/// Nodes may archive old transactions and receipts, and keep the headers.
#[tokio::test]
async fn an_own_node_that_has_dropped_the_transaction_or_its_receipt_says_nothing_against_the_head() {
    let drops: [fn(&mut Value); 3] = [
        |block| block["transactions"] = json!([]),
        |block| drop(block["transactions"][1].as_object_mut().unwrap().remove("getTransaction")),
        |block| drop(block["transactions"][1].as_object_mut().unwrap().remove("getTransactionReceipt")),
    ];
    for dropped in drops {
        let (chain, node, header, extension, proof) = confirmable().await;
        node.edit(|script| dropped(script.blocks.get_mut(&6).unwrap()));
        let gateway = Address::from_20(GATEWAY);
        let answer = chain.source().confirm_extension(&header, gateway, &extension, &proof).await.unwrap();
        assert_eq!(answer, Confirmation::NotYet);
    }
}

#[tokio::test]
async fn the_head_by_call_must_be_the_proved_one_or_have_moved_on() {
    let (chain, node, header, extension, proof) = confirmable().await;
    let gateway = Address::from_20(GATEWAY);
    let cases = [
        (point(2), Confirmation::Agrees),
        (point(3), Confirmation::Agrees),
        (point(1), Confirmation::Disagrees),
        (ChainPoint { head: Hash32([9; 32]), ..point(2) }, Confirmation::Disagrees),
    ];
    for (stands, expected) in cases {
        stand(&node, stands);
        let answer = chain.source().confirm_extension(&header, gateway, &extension, &proof).await.unwrap();
        assert_eq!(answer, expected, "{stands:?}");
    }
    node.edit(|script| script.tip = 5);
    let answer = chain.source().confirm_extension(&header, gateway, &extension, &proof).await.unwrap();
    assert_eq!(answer, Confirmation::NotYet);
}
