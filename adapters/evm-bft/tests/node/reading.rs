use std::path::Path;
use std::sync::Arc;

use cityrelay_api::source::{EntryRequest, HeadProofAnswer, HeadProofRequest, NodeError};
use cityrelay_api::{Adapter, Chain};
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Domain, Height, Index, UnixMillis};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::light_client::{AdapterValue, Header, LightClient};
use cityrelay_core::message::Payload;
use cityrelay_core::verify::VerifiedUpdate;
use cityrelay_evm_bft::EvmBft;
use cityrelay_evm_bft::codec::edge::{EdgeExtra, EdgeScheme, EdgeValidator};
use cityrelay_evm_bft::codec::json;
use cityrelay_evm_bft::config::read_section;
use cityrelay_evm_bft::verify::client::Client;
use cityrelay_evm_bft::verify::head::{Detail, HeadProof};
use cityrelay_evm_bft::verify::update::Update;
use serde_json::{Value, json};

use crate::development_chain::{Anvil, section};
use crate::recorded_node::{Filtered, Manners, RecordedNode};

pub fn recording(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/evm-live").join(format!("{name}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The section for a recorded chain, with these nodes.
pub fn recorded_section(recording: &Value, modes: Value, nodes: Value) -> Value {
    let genesis = &recording["blocks"][0];
    json!({
        "chain_id": 571,
        "modes": modes,
        "epoch_length": recording["epoch_length"],
        "validator_contract": { "address": "0x00000000000000000000000000000000000000c5" },
        "anchor": { "height": 0, "hash": genesis["block"]["hash"], "validators": genesis["validators"] },
        "nodes": nodes,
    })
}

pub fn configured(section: &Value) -> Arc<dyn Chain> {
    EvmBft.configure(section, Path::new("/")).map_err(|faults| format!("{faults:?}")).unwrap()
}

pub fn qbft() -> Value {
    json!([{ "from": 0, "mode": "qbft" }])
}

/// Follows the chain to its end by the source alone; gives the height reached.
async fn follow(chain: &Arc<dyn Chain>, max_headers: u32) -> Height {
    let (client, source) = (chain.client(), chain.source());
    let mut state = chain.anchor();
    let domain = Domain(Hash32::ZERO);
    // A few hours after the recordings were made.
    let now = UnixMillis(1_795_500_000_000);
    loop {
        let height = client.trusted_height(&state).unwrap();
        let Some(served) = source.next_update(height, max_headers).await.unwrap() else { return height };
        state = match client.verify_update(domain, &state, &served.update, now) {
            VerifiedUpdate::Advanced { state, .. } => state,
            VerifiedUpdate::HeldBack { state, headers, .. } if !headers.is_empty() => state,
            other => panic!("{other:?}"),
        };
    }
}

pub fn node(name: &str, url: &str) -> Value {
    json!({ "name": name, "url": url, "own": true })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_chain_is_followed_through_its_node() {
    let recording = recording("qbft-votes");
    for manners in [Manners::default(), Manners { refuses_batches: true, ..Manners::default() }] {
        let server = RecordedNode::start(recording.clone(), 571, manners).await;
        let chain = configured(&recorded_section(&recording, qbft(), json!([node("a", &server.url)])));
        assert_eq!(chain.source().tip().await.unwrap(), Height(73));
        assert_eq!(follow(&chain, 10).await, Height(73));
        let health = &chain.source().endpoints()[0];
        assert_eq!((health.height, health.lies, health.is_usable), (Height(73), 0, true));
    }
}

/// The validators that an Edge header lists, as a configuration has them.
fn listed(block: &Value, scheme: EdgeScheme) -> Value {
    let (header, _) = json::read_header(block).unwrap();
    let validators = EdgeExtra::decode(scheme, &header.extra_data).unwrap().validators;
    let member = |validator: &EdgeValidator| match validator.bls_key {
        None => json!(validator.account.to_string()),
        Some(key) => json!({ "address": validator.account.to_string(), "bls_key": format!("0x{}", hex::encode(key)) }),
    };
    validators.iter().map(member).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_chain_is_followed_through_its_node_whatever_its_mode() {
    let from_0 = |mode: &str| json!([{ "from": 0, "mode": mode }]);
    let chains = [
        ("qbft-votes", qbft()),
        ("qbft-contract", json!([{ "from": 0, "mode": "qbft" }, { "from": 8, "mode": "qbft-contract" }])),
        ("ibft1-to-qbft", json!([{ "from": 0, "mode": "ibft1" }, { "from": 30, "mode": "qbft" }])),
        ("edge-ecdsa", from_0("edge-ecdsa")),
        ("edge-bls", from_0("edge-bls")),
    ];
    for (name, modes) in chains {
        let recording = recording(name);
        let last = recording["blocks"].as_array().unwrap().len() as u64 - 1;
        let server = RecordedNode::start(recording.clone(), 571, Manners::default()).await;
        let mut section = recorded_section(&recording, modes, json!([node("a", &server.url)]));
        // Edge's own snapshots are in a form of their own; its header lists the set.
        let scheme = [("edge-ecdsa", EdgeScheme::Ecdsa), ("edge-bls", EdgeScheme::Bls)];
        if let Some((_, scheme)) = scheme.into_iter().find(|(mode, _)| *mode == name) {
            section["anchor"]["validators"] = listed(&recording["blocks"][0]["block"], scheme);
        }
        let chain = configured(&section);
        for max_headers in [2, 9, 4_096] {
            assert_eq!(follow(&chain, max_headers).await, Height(last), "{name}, {max_headers} at a time");
        }
        let health = &chain.source().endpoints()[0];
        assert_eq!((health.lies, health.is_usable), (0, true), "{name}: {health:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contracts_set_comes_with_the_headers_as_far_as_the_node_has_it() {
    let recording = recording("qbft-contract");
    let modes = json!([{ "from": 0, "mode": "qbft" }, { "from": 8, "mode": "qbft-contract" }]);
    let server = RecordedNode::start(recording.clone(), 571, Manners::default()).await;
    let chain = configured(&recorded_section(&recording, modes, json!([node("a", &server.url)])));
    assert_eq!(follow(&chain, 7).await, Height(32));

    // With old states gone, only the last two headers carry a proof; the tip is sealed by enough of the first set.
    server.manners.lock().unwrap().pruned_below = 13;
    let served = chain.source().next_update(Height(7), 7).await.unwrap().unwrap();
    let update = Update::decode(served.update.version, &served.update.bytes).unwrap();
    let with_proof: Vec<_> = update.items.iter().map(|item| item.set_proof.is_some()).collect();
    assert_eq!(with_proof, [false, false, false, false, false, false, true, true], "the trusted header comes first");
    server.manners.lock().unwrap().pruned_below = 14;
    let pruned = chain.source().next_update(Height(7), 7).await.unwrap_err();
    assert_eq!(pruned, NodeError::Pruned { endpoint: "a".to_owned(), height: Height(13) });
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_takes_over_from_one_that_is_dead_lies_or_is_of_another_chain() {
    let recording = recording("qbft-votes");
    let good = RecordedNode::start(recording.clone(), 571, Manners::default()).await;
    let bad = [
        Manners { lies: true, ..Manners::default() },
        Manners { wrong_chain: true, ..Manners::default() },
        Manners { padding: 2 << 20, ..Manners::default() },
        Manners { tip: Some(0), ..Manners::default() },
    ];
    for manners in bad {
        let other = RecordedNode::start(recording.clone(), 571, manners.clone()).await;
        let nodes = json!([node("bad", &other.url), node("good", &good.url)]);
        let mut section = recorded_section(&recording, qbft(), nodes);
        section["max_response_bytes"] = (1 << 20).into();
        let chain = configured(&section);
        let served = chain.source().next_update(Height(0), 5).await.unwrap().unwrap();
        assert_eq!(served.endpoint, "good", "{manners:?}");
        let health = chain.source().endpoints();
        assert_eq!(health[0].lies == 1, manners.lies, "{manners:?}");
        assert_eq!(health[0].errors == 0, manners.lies || manners.tip.is_some(), "{manners:?}");
        assert!(health[1].is_usable);
    }
    let closed = json!([node("closed", "http://127.0.0.1:9"), node("good", &good.url)]);
    let chain = configured(&recorded_section(&recording, qbft(), closed));
    assert_eq!(chain.source().next_update(Height(0), 5).await.unwrap().unwrap().endpoint, "good");
    let alone = json!([node("closed", "http://127.0.0.1:9")]);
    let chain = configured(&recorded_section(&recording, qbft(), alone));
    assert!(matches!(chain.source().tip().await, Err(NodeError::Unreachable { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_answer_everything_with_an_error_are_not_in_use_and_say_why() {
    let recording = recording("qbft-votes");
    let server = RecordedNode::start(recording.clone(), 571, Manners { is_starting: true, ..Manners::default() }).await;
    let source = configured(&recorded_section(&recording, qbft(), json!([node("a", &server.url)]))).source();
    assert!(matches!(source.tip().await, Err(NodeError::Rpc { code: -32000, .. })));
    let health = &source.endpoints()[0];
    assert!(!health.is_usable && health.errors == 1, "{health:?}");
    assert!(health.last_error.contains("the node is not ready yet"), "{health:?}");
    // It may be asked again as long as it is the only one.
    server.manners.lock().unwrap().is_starting = false;
    assert_eq!(source.tip().await, Ok(Height(73)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_the_client_refused_is_left_for_a_while() {
    let recording = recording("qbft-votes");
    let (one, two) = (
        RecordedNode::start(recording.clone(), 571, Manners::default()).await,
        RecordedNode::start(recording.clone(), 571, Manners::default()).await,
    );
    let nodes = json!([node("one", &one.url), node("two", &two.url)]);
    let source = configured(&recorded_section(&recording, qbft(), nodes)).source();
    let first = source.next_update(Height(0), 5).await.unwrap().unwrap().endpoint;
    source.report_lie(&first, "seal-stranger");
    let second = source.next_update(Height(0), 5).await.unwrap().unwrap().endpoint;
    assert_ne!(first, second);
    let health = source.endpoints().into_iter().find(|health| health.name == first).unwrap();
    assert_eq!((health.lies, health.is_usable), (1, false));
    assert!(health.last_error.contains("seal-stranger"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lied_comes_after_the_others_from_then_on() {
    let recording = recording("qbft-votes");
    let one = RecordedNode::start(recording.clone(), 571, Manners::default()).await;
    let two = RecordedNode::start(recording.clone(), 571, Manners { tip: Some(70), ..Manners::default() }).await;
    let nodes = json!([node("one", &one.url), node("two", &two.url)]);
    let source = configured(&recorded_section(&recording, qbft(), nodes)).source();
    source.tip().await.unwrap();
    assert_eq!(source.next_update(Height(0), 5).await.unwrap().unwrap().endpoint, "one");
    source.report_lie("one", "seal-stranger");
    // Another height each time, so that nobody is asked for having been no help.
    for height in 1..4 {
        assert_eq!(source.next_update(Height(height), 5).await.unwrap().unwrap().endpoint, "two");
    }
    // It is still the only one with the last blocks.
    assert_eq!(source.next_update(Height(70), 5).await.unwrap().unwrap().endpoint, "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_wants_to_be_left_alone_is() {
    let recording = recording("qbft-votes");
    let date = httpdate::fmt_http_date(std::time::SystemTime::now() + std::time::Duration::from_secs(3_600));
    for (status, wait) in [(429, "3600"), (503, "3600"), (429, date.as_str())] {
        let manners = Manners { refuses: Some((status, wait.to_owned())), ..Manners::default() };
        let busy = RecordedNode::start(recording.clone(), 571, manners).await;
        let other = RecordedNode::start(recording.clone(), 571, Manners::default()).await;
        let nodes = json!([node("busy", &busy.url), node("other", &other.url)]);
        let source = configured(&recorded_section(&recording, qbft(), nodes)).source();
        for height in 0..5 {
            assert_eq!(source.tip().await.unwrap(), Height(73));
            assert_eq!(source.next_update(Height(height), 5).await.unwrap().unwrap().endpoint, "other");
        }
        assert_eq!(busy.count("refused"), 1, "asked once, then not before it said");
        let health = &source.endpoints()[0];
        assert!(!health.is_usable && health.last_error.contains("left alone"), "{health:?}");

        let alone = configured(&recorded_section(&recording, qbft(), json!([node("busy", &busy.url)]))).source();
        for _ in 0..3 {
            assert!(matches!(alone.tip().await, Err(NodeError::Unreachable { .. })));
        }
        assert_eq!(busy.count("refused"), 2, "not even when it is the only one");
    }
    // Without a time it is a failure like any other.
    let manners = Manners { refuses: Some((429, String::new())), ..Manners::default() };
    let busy = RecordedNode::start(recording.clone(), 571, manners).await;
    let alone = configured(&recorded_section(&recording, qbft(), json!([node("busy", &busy.url)]))).source();
    alone.tip().await.unwrap_err();
    alone.tip().await.unwrap_err();
    assert_eq!(busy.count("refused"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_did_not_help_are_asked_of_another_node() {
    let recording = recording("qbft-votes");
    let one = RecordedNode::start(recording.clone(), 571, Manners::default()).await;
    let nodes = json!([node("one", &one.url), node("two", &one.url)]);
    let source = configured(&recorded_section(&recording, qbft(), nodes)).source();
    let mut served = std::collections::BTreeSet::new();
    for _ in 0..8 {
        served.insert(source.next_update(Height(0), 5).await.unwrap().unwrap().endpoint);
    }
    assert_eq!(served.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_behind_authentication_is_reached_by_file() {
    let recording = recording("qbft-votes");
    let folder = crate::folder();
    std::fs::write(folder.path().join("basic"), "relay:pass word\n").unwrap();
    std::fs::write(folder.path().join("token"), "abc.def\n").unwrap();
    for (key, file, header) in
        [("basic_auth_file", "basic", "Basic cmVsYXk6cGFzcyB3b3Jk"), ("bearer_token_file", "token", "Bearer abc.def")]
    {
        let manners = Manners { authorization: Some(header.to_owned()), ..Manners::default() };
        let server = RecordedNode::start(recording.clone(), 571, manners).await;
        let mut section = recorded_section(&recording, qbft(), json!([node("a", &server.url)]));
        let without = configured(&section);
        assert!(matches!(without.source().tip().await, Err(NodeError::Unreachable { .. })));
        section["nodes"][0][key] = file.into();
        let chain = EvmBft.configure(&section, folder.path()).map_err(|faults| format!("{faults:?}")).unwrap();
        assert_eq!(chain.source().tip().await.unwrap(), Height(73));
        section["nodes"][0][key] = "missing".into();
        let faults = EvmBft.configure(&section, folder.path()).err().unwrap();
        assert_eq!(faults[0].key, format!("nodes[0].{key}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_answers_is_recorded_and_replays() {
    let original = recording("qbft-votes");
    for has_block_receipts in [false, true] {
        let manners = Manners { has_block_receipts, ..Manners::default() };
        let server = RecordedNode::start(original.clone(), 571, manners).await;
        let chain = configured(&recorded_section(&original, qbft(), json!([node("a", &server.url)])));
        let made = chain.recording().record(Height(0), Height(20)).await.unwrap_or_else(|error| panic!("{error}"));
        let steps = chain.recording().read(&made).unwrap();
        assert_eq!(steps.len(), 20);
        let mut state = chain.anchor();
        let mut checks = 0;
        for step in &steps {
            let verdict = chain.client().verify_update(Domain(Hash32::ZERO), &state, &step.update, step.time);
            let VerifiedUpdate::Advanced { state: next, headers, .. } = verdict else { panic!("{verdict:?}") };
            checks += chain.recording().verify_body(&headers[0], step).unwrap();
            state = next;
        }
        assert!(checks >= 3 * 20);
        for (made, original) in made["blocks"].as_array().unwrap().iter().zip(original["blocks"].as_array().unwrap()) {
            assert_eq!(made["block"], original["block"]);
            assert_eq!(made["validators"], original["validators"]);
        }
        assert_eq!(server.count("eth_getTransactionReceipt") == 0, has_block_receipts);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_makes_no_sense_is_not_recorded() {
    let original = recording("qbft-votes");
    let server = RecordedNode::start(original.clone(), 571, Manners::default()).await;
    let chain = configured(&recorded_section(&original, qbft(), json!([node("a", &server.url)])));
    let refused = chain.recording().record(Height(5), Height(4)).await.unwrap_err();
    assert!(matches!(refused, NodeError::Refused(refusal) if refusal.check == "recording-range"));
    let beyond = chain.recording().record(Height(73), Height(74)).await.unwrap_err();
    assert!(matches!(beyond, NodeError::Pruned { height: Height(74), .. }));
}

/// A header of a development chain, as if it had been verified.
async fn header(anvil: &Anvil, height: Height) -> Header {
    let block = anvil.rpc("eth_getBlockByNumber", json!([format!("{:#x}", height.0), false])).await;
    let (header, hash) = json::read_header(&block).unwrap();
    let (state_root, receipts_root) = (header.state_root, header.receipts_root);
    let transactions_root = header.transactions_root;
    let detail = Detail { state_root, receipts_root, transactions_root, set_digest: Hash32::ZERO };
    let timestamp = UnixMillis(header.timestamp * 1000);
    Header { height, hash, parent: header.parent_hash, timestamp, detail: detail.encode() }
}

fn client() -> Client {
    Client::new(read_section(&section("http://a", json!({ "key_file": "k" })), Path::new("/")).unwrap().rules)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_is_proved_by_storage_and_its_entries_are_found() {
    let anvil = Anvil::start(&[], &json!({}));
    let (gateway, _, lane) = anvil.open_lane().await;
    let flow = Flow { lane, direction: Direction::Outbox };
    let source = anvil.source();
    let request =
        |at_least, newest| HeadProofRequest { gateway, flow, at_least: Index(at_least), oldest: Height(1), newest };
    let tip = source.tip().await.unwrap();
    let start = source.head_proof(&request(1, tip)).await.unwrap();
    assert!(matches!(start, HeadProofAnswer::NothingNew), "{start:?}");
    let mut point = ChainPoint::start(flow);
    for payload in [&b"one"[..], b"two", b"three"] {
        anvil.submit(&anvil.send(gateway, lane, payload).await).await;
    }
    let tip = source.tip().await.unwrap();
    let answer = source.head_proof(&request(3, tip)).await.unwrap();
    let HeadProofAnswer::Proof { height, point: claimed, proof, endpoint } = answer else { panic!("{answer:?}") };
    assert_eq!((height, endpoint.as_str()), (tip, "anvil"));
    let proof = HeadProof::decode(proof.version, &proof.bytes).unwrap();
    let proved = client().verify_head(&header(&anvil, height).await, &proof, gateway, flow).unwrap();
    assert_eq!(proved, claimed);
    assert_eq!(source.head_hint(gateway, flow).await.unwrap(), claimed);

    let request = EntryRequest { gateway, flow, first: Index(1), last: Index(3), newest: tip };
    let entries = source.entry_hints(&request).await.unwrap();
    assert_eq!(entries.len(), 3);
    for entry in &entries {
        point = point.extended(Direction::Outbox, entry.link(flow));
    }
    assert_eq!(point, proved);
    let Entry::Message(message) = &entries[1] else { panic!("a message") };
    assert_eq!(message.payload, Payload::Bytes(b"two".to_vec()));
    let one = EntryRequest { first: Index(2), last: Index(2), ..request };
    assert_eq!(source.entry_hints(&one).await.unwrap(), entries[1..2]);
    let other = EntryRequest { gateway: Address::from_20([1; 20]), ..request };
    assert_eq!(source.entry_hints(&other).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_is_proved_by_a_checkpoint_where_the_node_gives_no_storage_proofs() {
    let anvil = Anvil::start(&[], &json!({}));
    let (gateway, _, lane) = anvil.open_lane().await;
    let flow = Flow { lane, direction: Direction::Outbox };
    anvil.submit(&anvil.send(gateway, lane, b"one").await).await;
    let filtered = Filtered::without_storage_proofs(&anvil.url).await;
    let chain = configured_at(&filtered.url);
    let source = chain.source();
    let request =
        |at_least, newest| HeadProofRequest { gateway, flow, at_least: Index(at_least), oldest: Height(1), newest };
    let tip = source.tip().await.unwrap();
    assert!(matches!(source.head_proof(&request(2, tip)).await.unwrap(), HeadProofAnswer::NothingNew));
    assert!(matches!(source.head_proof(&request(1, tip)).await.unwrap(), HeadProofAnswer::NeedsCheckpoint));
    anvil.submit(&GatewayCall::Checkpoint { gateway, flow }).await;
    let at = source.tip().await.unwrap();
    anvil.submit(&anvil.send(gateway, lane, b"two").await).await;
    let tip = source.tip().await.unwrap();
    let answer = source.head_proof(&request(1, tip)).await.unwrap();
    let HeadProofAnswer::Proof { height, point, proof, .. } = answer else { panic!("{answer:?}") };
    assert_eq!((height, point.index), (at, Index(1)));
    let proof = HeadProof::decode(proof.version, &proof.bytes).unwrap();
    assert!(matches!(proof, HeadProof::Receipt { .. }));
    assert_eq!(client().verify_head(&header(&anvil, height).await, &proof, gateway, flow).unwrap(), point);
    assert!(matches!(source.head_proof(&request(2, tip)).await.unwrap(), HeadProofAnswer::NeedsCheckpoint));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_logs_that_a_node_refuses_is_halved() {
    let anvil = Anvil::start(&[], &json!({}));
    let (gateway, _, lane) = anvil.open_lane().await;
    let flow = Flow { lane, direction: Direction::Outbox };
    for payload in [&b"one"[..], b"two", b"three"] {
        anvil.submit(&anvil.send(gateway, lane, payload).await).await;
    }
    let tip = anvil.source().tip().await.unwrap();
    let request = EntryRequest { gateway, flow, first: Index(1), last: Index(3), newest: tip };
    for (most, is_enough) in [(2, true), (1, true), (0, false)] {
        let filtered = Filtered::with_few_logs(&anvil.url, most).await;
        let found = configured_at(&filtered.url).source().entry_hints(&request).await;
        assert!(filtered.refused() > 0);
        match found {
            Ok(entries) => assert!(is_enough && entries.len() == 3, "{most}: {entries:?}"),
            Err(error) => {
                assert!(!is_enough && matches!(error, NodeError::Rpc { code: -32005, .. }), "{most}: {error}")
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_entries_are_looked_for_in_few_blocks() {
    let anvil = Anvil::start(&[], &json!({}));
    let (gateway, _, lane) = anvil.open_lane().await;
    let flow = Flow { lane, direction: Direction::Outbox };
    let count = 40;
    for _ in 0..count {
        anvil.submit(&anvil.send(gateway, lane, b"one of many").await).await;
    }
    let newest = anvil.source().tip().await.unwrap();
    // The node would refuse more.
    let filtered = Filtered::with_few_logs(&anvil.url, 16).await;
    for (first, is_refused) in [(count, false), (1, true)] {
        let request = EntryRequest { gateway, flow, first: Index(first), last: Index(count), newest };
        let entries = configured_at(&filtered.url).source().entry_hints(&request).await.unwrap();
        assert_eq!(entries.len() as u64, count - first + 1);
        assert_eq!(filtered.refused() > 0, is_refused);
    }
}

fn configured_at(url: &str) -> Arc<dyn Chain> {
    let mut section = section(url, json!({}));
    section.as_object_mut().unwrap().remove("account");
    configured(&section)
}
