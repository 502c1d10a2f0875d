//! Local confirmation: a head proved at a sealed header, and own nodes that agree, disagree or know nothing yet. What nodes
//! answer that are limited, pruned, newer than we are, or away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::post;
use cityrelay_api::client::to_opaque;
use cityrelay_api::source::{Confirmation, HeadProofAnswer, HeadProofRequest, NodeError, Source};
use cityrelay_api::turns::Turns;
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::claim::Claim;
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, Domain, Height, Index, UnixMillis};
use cityrelay_core::lane::{Direction, Flow, LaneIdentity};
use cityrelay_core::light_client::SetStatement;
use cityrelay_core::message::{Message, Payload};
use cityrelay_core::opaque::Opaque;
use cityrelay_core::verify::{self, VerifiedExtension, VerifiedHeader, VerifiedUpdate};
use serde_json::{Value, json};

use super::endpoint::{CallError, Endpoint};
use super::events::{LogFilter, walk_back};
use super::heads::Heads;
use super::pool::Pool;
use super::source::EvmSource;
use crate::ADAPTER;
use crate::codec::account::Account;
use crate::codec::header::Header;
use crate::codec::json;
use crate::codec::rlp::{bytes_item, list_item, minimal, uint_item};
use crate::config::NodeSettings;
use crate::verify::client::Client;
use crate::verify::head::{HeadProof, mapping_slot};
use crate::verify::tests::contract::secure_trie;
use crate::verify::tests::kit::{Plan, SealedByTest, at, member, members, sealed, update};

const CHAIN_ID: u64 = 571;

/// A message on a lane, proved at a block of a chain sealed by the test.
struct Proved {
    client: Client,
    header: VerifiedHeader,
    block: Value,
    gateway: Address,
    extension: VerifiedExtension,
    proof: Opaque,
}

fn lane(gateway: Address) -> LaneIdentity {
    LaneIdentity {
        source_domain: Domain(keccak256(b"here")),
        destination_domain: Domain(keccak256(b"there")),
        source_gateway: gateway,
        destination_gateway: Address::from_20([2; 20]),
        source_verifier: Address::from_20([3; 20]),
        destination_verifier: Address::from_20([4; 20]),
        channel: "medical".to_owned(),
        salt: Hash32([5; 32]),
    }
}

fn proved() -> Proved {
    let gateway = Address::from_20([0xaa; 20]);
    let lane = lane(gateway);
    let flow = Flow { lane: lane.id(), direction: Direction::Outbox };
    let message = Message {
        index: Index(1),
        sender: Address::from_20([6; 20]),
        receiver: Address::from_20([7; 20]),
        deadline: UnixMillis(1),
        gas_limit: 1,
        payload: Payload::Bytes(b"hello".to_vec()),
    };
    let entry = Entry::Message(message);
    let point = ChainPoint::start(flow).extended(flow.direction, entry.link(flow));

    let slots = [mapping_slot(flow.lane.0, 0), mapping_slot(flow.lane.0, 1)].map(|slot| slot.0.to_vec());
    let values = [point.head, Hash32::from_u64(1)].map(|word| bytes_item(minimal(word.as_bytes())));
    let storage: BTreeMap<_, _> = slots.iter().cloned().zip(values).collect();
    let (storage_root, paths) = secure_trie(&storage, &slots);
    let account = [uint_item(1), uint_item(0), bytes_item(&storage_root.0), bytes_item(&keccak256(b"code").0)];
    let accounts = BTreeMap::from([(vec![0xaa; 20], list_item(&account))]);
    let (state_root, account) = secure_trie(&accounts, &[vec![0xaa; 20]]);
    let proof = HeadProof::Storage { account: account[0].clone(), head: paths[0].clone(), index: paths[1].clone() };

    let chain = SealedByTest::new();
    let (header, _) = chain.draft(&Plan::new(&[1, 2, 3, 4], &[1]));
    let extra = crate::codec::extra::BftExtra {
        vanity: [0; 32],
        validators: members(&[1, 2, 3, 4]).members().iter().map(|member| member.account).collect(),
        vote: None,
        round: 0,
        seals: Vec::new(),
    };
    let (header, item) = sealed(Header { state_root, ..header }, extra, &[1, 2, 3]);
    let client = chain.client();
    let (anchor, hash) = (chain.anchor(&[1, 2, 3, 4]), item.hash);
    let verdict = verify::verify_update(&client, lane.source_domain, &anchor, &update(&[item]), at(header.timestamp));
    let VerifiedUpdate::Advanced { headers, .. } = verdict else { panic!("{verdict:?}") };
    let verified = headers.into_iter().next().unwrap();
    let opaque = to_opaque(ADAPTER, &proof);
    let claim = Claim {
        flow,
        first: Index(1),
        entries: vec![entry],
        tail: Vec::new(),
        height: verified.height(),
        proof: opaque.clone(),
    };
    let base = ChainPoint::start(flow);
    let extension = verify::verify_extension(&client, &verified, &lane, base, claim, &proof).unwrap();
    Proved { client, header: verified, block: block(&header, hash), gateway, extension, proof: opaque }
}

fn block(header: &Header, hash: Hash32) -> Value {
    let hex = |bytes: &[u8]| format!("0x{}", hex::encode(bytes));
    let number = |number: u64| format!("{number:#x}");
    json!({
        "hash": hash.to_string(), "parentHash": header.parent_hash.to_string(),
        "sha3Uncles": header.ommers_hash.to_string(), "miner": hex(&header.beneficiary),
        "stateRoot": header.state_root.to_string(), "transactionsRoot": header.transactions_root.to_string(),
        "receiptsRoot": header.receipts_root.to_string(), "logsBloom": hex(&header.logs_bloom),
        "difficulty": number(header.difficulty), "number": number(header.number),
        "gasLimit": number(header.gas_limit), "gasUsed": number(header.gas_used),
        "timestamp": number(header.timestamp), "extraData": hex(&header.extra_data),
        "mixHash": header.mix_hash.to_string(), "nonce": hex(&header.nonce), "transactions": [],
    })
}

/// A node that answers with this block and this head.
async fn node(block: Value, point: Option<ChainPoint>) -> String {
    let respond = move |body: String| {
        let call: Value = serde_json::from_str(&body).unwrap();
        let data = call["params"][0]["data"].as_str().unwrap_or_default();
        let is_head = data.starts_with(&hex_of(&cityrelay_gateway::query::head(call_lane())[..4]));
        let result = match (call["method"].as_str().unwrap(), point) {
            ("eth_chainId", _) => json!(format!("{CHAIN_ID:#x}")),
            ("eth_getBlockByNumber", _) => block.clone(),
            ("eth_blockNumber", _) => json!("0x1"),
            ("qbft_getValidatorsByBlockNumber", _) => json!([member(1).to_string(), member(2).to_string()]),
            ("eth_call", Some(point)) if is_head => json!(point.head.to_string()),
            ("eth_call", Some(point)) => json!(Hash32::from_u64(point.index.0).to_string()),
            _ => Value::Null,
        };
        let error = json!({ "jsonrpc": "2.0", "id": call["id"], "error": { "code": -32000, "message": "no state" } });
        let answer = json!({ "jsonrpc": "2.0", "id": call["id"], "result": result });
        let is_error = result.is_null() && call["method"] != "eth_getBlockByNumber";
        async move { if is_error { error.to_string() } else { answer.to_string() } }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(respond))).await });
    url
}

/// A node that answers each call with a status and a body.
async fn answering<F>(respond: F) -> String
where
    F: Fn(&Value) -> (u16, String) + Clone + Send + Sync + 'static,
{
    let respond = move |body: String| {
        let call: Value = serde_json::from_str(&body).unwrap();
        let (status, body) = if call["method"] == "eth_chainId" {
            (200, result(&call, &json!(format!("{CHAIN_ID:#x}"))))
        } else {
            respond(&call)
        };
        async move { (axum::http::StatusCode::from_u16(status).unwrap(), body) }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(respond))).await });
    url
}

fn result(call: &Value, result: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": call["id"], "result": result }).to_string()
}

fn fault(call: &Value, code: i64, message: &str) -> String {
    json!({ "jsonrpc": "2.0", "id": call["id"], "error": { "code": code, "message": message } }).to_string()
}

const fn call_lane() -> cityrelay_core::ids::LaneId {
    cityrelay_core::ids::LaneId(Hash32::ZERO)
}

fn hex_of(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

fn source(client: &Client, urls: &[(&str, bool)]) -> EvmSource {
    rustls::crypto::ring::default_provider().install_default().ok();
    let endpoints = urls.iter().map(|(url, is_own)| {
        let settings = NodeSettings {
            key: "nodes[0]".to_owned(),
            name: (*url).to_owned(),
            url: (*url).to_owned(),
            ws: None,
            is_own: *is_own,
            ca_file: None,
            client_identity: None,
            basic_auth_file: None,
            bearer_token_file: None,
        };
        Arc::new(Endpoint::new(&settings, reqwest::Client::new(), reqwest::header::HeaderMap::new(), CHAIN_ID, 1 << 20))
    });
    let pool = Arc::new(Pool::new(endpoints.collect()));
    EvmSource {
        pool,
        client: client.clone(),
        heads: Heads::new(Vec::new()),
        turns: Turns::default(),
        lookout: Arc::default(),
    }
}

fn endpoint(url: &str) -> Arc<Endpoint> {
    source(&SealedByTest::new().client(), &[(url, true)]).pool.all()[0].clone()
}

async fn confirm(proved: &Proved, urls: &[(&str, bool)]) -> Confirmation {
    let source = source(&proved.client, urls);
    source.confirm_extension(&proved.header, proved.gateway, &proved.extension, &proved.proof).await.unwrap()
}

#[tokio::test]
async fn an_own_node_agrees_only_with_the_same_block_and_the_same_head() {
    let proved = proved();
    let point = proved.extension.tip();
    let good = node(proved.block.clone(), Some(point)).await;
    assert_eq!(confirm(&proved, &[(&good, true)]).await, Confirmation::Agrees);
    assert_eq!(confirm(&proved, &[(&good, false)]).await, Confirmation::NoOwnNode);

    let other_head = ChainPoint { head: keccak256(b"other"), ..point };
    let other_index = ChainPoint { index: Index(2), ..point };
    for wrong in [other_head, other_index] {
        let bad = node(proved.block.clone(), Some(wrong)).await;
        assert_eq!(confirm(&proved, &[(&good, true), (&bad, true)]).await, Confirmation::Disagrees);
    }
    let mut other_block = proved.block.clone();
    other_block["hash"] = Hash32([1; 32]).to_string().into();
    let fork = node(other_block, Some(point)).await;
    assert_eq!(confirm(&proved, &[(&fork, true)]).await, Confirmation::Disagrees);

    let behind = node(Value::Null, Some(point)).await;
    let stateless = node(proved.block.clone(), None).await;
    for late in [behind.as_str(), &stateless, "http://127.0.0.1:9"] {
        assert_eq!(confirm(&proved, &[(late, true)]).await, Confirmation::NotYet, "{late}");
    }
}

#[tokio::test]
async fn a_header_of_an_unknown_fork_is_an_error_and_no_lie() {
    let proved = proved();
    let served = |block: Value| async {
        let url = node(block, None).await;
        let source = source(&proved.client, &[(&url, true)]);
        let answer = source.next_update(Height(0), 8).await;
        (answer.map(|served| served.is_some()).map_err(|error| error.to_string()), source.endpoints()[0].lies)
    };
    assert_eq!(served(proved.block.clone()).await, (Ok(true), 0));
    let mut block = proved.block.clone();
    block["hash"] = Hash32([1; 32]).to_string().into();
    assert_eq!(served(block.clone()).await.1, 1);
    block["slotRoot"] = Hash32([2; 32]).to_string().into();
    let (answer, lies) = served(block).await;
    assert_eq!(lies, 0);
    assert!(answer.unwrap_err().contains("got slotRoot besides (header-fork)"));
}

#[tokio::test]
async fn an_own_node_is_asked_for_its_validators() {
    let proved = proved();
    let url = node(proved.block.clone(), None).await;
    let source = source(&proved.client, &[(&url, true)]);
    let statement = |numbers: &[u8]| SetStatement { height: Height(5), digest: members(numbers).digest() };
    assert_eq!(source.confirm_set(&statement(&[1, 2])).await.unwrap(), Confirmation::Agrees);
    assert_eq!(source.confirm_set(&statement(&[1, 3])).await.unwrap(), Confirmation::Disagrees);
}

/// What a node answers to a question for too much.
type TooMuchFor = fn(&Value) -> (u16, String);

/// Walks over the logs of these blocks at a node that gives `refusal` for more than `most` blocks.
async fn walk(most: u64, newest: u64, refusal: TooMuchFor) -> (Result<(), NodeError>, Arc<Endpoint>) {
    let url = answering(move |call| {
        let range = &call["params"][0];
        let [from, to] = ["fromBlock", "toBlock"].map(|name| json::number(range, name).unwrap());
        if to - from + 1 > most { refusal(call) } else { (200, result(call, &json!([]))) }
    });
    let endpoint = endpoint(&url.await);
    let filter = LogFilter { address: Account([7; 20]), topics: Vec::new() };
    (walk_back(&endpoint, &filter, 0, newest, |_| false).await, endpoint)
}

#[tokio::test]
async fn logs_that_are_too_much_at_once_are_asked_for_in_parts() {
    let refusals: [TooMuchFor; 5] = [
        |_| (413, String::new()),
        |_| (502, String::new()),
        |call| (200, fault(call, -32005, "query returned more than 10000 results")),
        |call| (200, result(call, &json!("0".repeat(2 << 20)))),
        |call| (200, result(call, &json!(vec![0; 65_537]))),
    ];
    for refusal in refusals {
        let (walked, endpoint) = walk(100, 3_000, refusal).await;
        let health = endpoint.health();
        assert_eq!((walked, health.errors, health.is_usable), (Ok(()), 0, true), "{}", health.last_error);
    }
    let (walked, endpoint) = walk(0, 3_000, |_| (413, String::new())).await;
    assert!(matches!(walked, Err(NodeError::Unreachable { .. })), "{walked:?}");
    assert_eq!(endpoint.health().errors, 1);
}

#[tokio::test]
async fn a_walk_that_ends_before_its_end_is_an_error() {
    let (walked, endpoint) = walk(1, 3_000, |_| (413, String::new())).await;
    let error = walked.unwrap_err().to_string();
    assert!(error.contains("the logs of blocks 0 to 3000 in 1024 answers"), "{error}");
    assert_eq!(endpoint.health().errors, 0);
}

#[tokio::test]
async fn a_method_that_a_node_does_not_offer_is_no_error_and_is_asked_once() {
    for (code, message) in [(-32601, "unknown"), (-32604, "Method not enabled"), (-32004, "Method not supported")] {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let url = answering(move |call| {
            counter.fetch_add(1, Ordering::Relaxed);
            (200, fault(call, code, message))
        });
        let endpoint = endpoint(&url.await);
        for _ in 0..2 {
            let proof = endpoint.proof(Account([7; 20]), &[Hash32::ZERO], 1).await;
            assert!(matches!(proof, Err(CallError::Fault(fault)) if fault.is_unknown_method()));
            assert_eq!(endpoint.validators_after(1).await, Ok(None));
        }
        assert_eq!((asked.load(Ordering::Relaxed), endpoint.health().errors), (4, 0));
        // What every node has is an error where it is missing, and asked again.
        for _ in 0..2 {
            endpoint.height().await.unwrap_err();
        }
        assert_eq!((asked.load(Ordering::Relaxed), endpoint.health().errors), (6, 2));
    }
}

#[tokio::test]
async fn a_node_that_no_longer_has_the_state_says_so_where_no_checkpoint_helps() {
    let proved = proved();
    let point = proved.extension.tip();
    let url = answering(move |call| {
        let data = call["params"][0]["data"].as_str().unwrap_or_default();
        let is_head = data.starts_with(&hex_of(&cityrelay_gateway::query::head(call_lane())[..4]));
        let answer = match call["method"].as_str().unwrap() {
            "eth_getProof" => return (200, fault(call, -32000, "missing trie node 0011")),
            "eth_getLogs" => json!([]),
            "eth_call" if is_head => json!(point.head.to_string()),
            _ => json!(Hash32::from_u64(point.index.0).to_string()),
        };
        (200, result(call, &answer))
    });
    let source = source(&proved.client, &[(&url.await, true)]);
    let mut request = HeadProofRequest {
        gateway: proved.gateway,
        flow: proved.extension.flow(),
        at_least: Index(1),
        oldest: Height(1),
        newest: Height(5),
    };
    let pruned = source.head_proof(&request).await;
    assert!(matches!(pruned, Err(NodeError::Pruned { height: Height(5), .. })), "{pruned:?}");
    request.at_least = Index(2);
    assert!(matches!(source.head_proof(&request).await, Ok(HeadProofAnswer::NothingNew)));
}

#[tokio::test]
async fn a_node_that_never_answers_and_one_that_lied_hold_up_no_question_for_the_tip() {
    let hole = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hole = (format!("http://{}", hole.local_addr().unwrap()), hole);
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let liar = answering(move |call| {
        counter.fetch_add(1, Ordering::Relaxed);
        (200, result(call, &json!("0xff")))
    });
    let (good, liar) = (node(Value::Null, None).await, liar.await);
    let source = source(&SealedByTest::new().client(), &[(&good, true), (&hole.0, true), (&liar, true)]);
    source.report_lie(&liar, "block-hash");
    assert_eq!(source.tip().await, Ok(Height(1)));
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}
