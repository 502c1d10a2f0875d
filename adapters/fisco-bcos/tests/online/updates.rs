//! Following the chain: updates, set changes, failover and blame.

use std::time::Duration;

use cityrelay_api::client::from_opaque;
use cityrelay_api::source::{Confirmation, NodeError};
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Domain, Height, UnixMillis};
use cityrelay_core::light_client::{HoldReason, SetStatement};
use cityrelay_core::verify::VerifiedUpdate;
use cityrelay_fisco_bcos::verify::update::ChainUpdate;
use serde_json::json;

use crate::nodes::{configure, recorded, recorded_in, section, vectors};
use crate::stand_in::StandInNode;

const DOMAIN: Domain = Domain(Hash32([7; 32]));
const NOW: UnixMillis = UnixMillis(1_795_480_000_000);

/// Follows a recorded chain to block 110; each set change comes with evidence, and the own node confirms it.
async fn follow(file: &str) -> Vec<u64> {
    let (chain, _own, _other) = recorded_in(file, 110).await;
    let (client, source) = (chain.client(), chain.source());
    let mut state = chain.anchor();
    let mut confirmed = Vec::new();
    assert_eq!(source.tip().await.unwrap(), Height(110));
    loop {
        let after = client.trusted_height(&state).unwrap();
        let Some(served) = source.next_update(after, 40).await.unwrap() else { break };
        match client.verify_update(DOMAIN, &state, &served.update, NOW) {
            VerifiedUpdate::Advanced { state: next, .. } => state = next,
            VerifiedUpdate::HeldBack { state: next, reason: HoldReason::SetUnconfirmed { height, digest }, .. } => {
                let update: ChainUpdate = from_opaque("fisco-bcos", &served.update).unwrap();
                let header = update.headers.iter().find(|item| item.sealed.header.number == height.0).unwrap();
                assert!(header.evidence.is_some(), "block {height}");
                let statement = SetStatement { height, digest };
                assert_eq!(source.confirm_set(&statement).await.unwrap(), Confirmation::Agrees);
                confirmed.push(height.0);
                state = client.apply_set_statement(&next, &statement).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(client.trusted_height(&state).unwrap(), Height(110));
    confirmed
}

#[tokio::test]
async fn real_set_changes_are_replayed_from_their_calls_and_confirmed_by_an_own_node() {
    for file in ["live/std.json", "live/gm.json"] {
        assert_eq!(follow(file).await, [49, 56, 60, 83, 89, 92, 96], "{file}");
    }
    assert_eq!(follow("live/n16.json").await, [47, 54, 58, 81, 87, 90, 94]);
}

#[tokio::test]
async fn evidence_of_a_direct_call_comes_with_the_update() {
    let (chain, _own, _other) = recorded(60).await;
    let served = chain.source().next_update(Height(48), 1).await.unwrap().unwrap();
    let update: ChainUpdate = from_opaque("fisco-bcos", &served.update).unwrap();
    let evidence = update.headers[0].evidence.as_ref().unwrap();
    assert_eq!(evidence.calls.len(), 1);
    assert_eq!(evidence.calls[0].transaction.to, "0x0000000000000000000000000000000000001003");
}

#[tokio::test]
async fn no_newer_block_is_no_update() {
    let (chain, _own, _other) = recorded(20).await;
    assert!(chain.source().next_update(Height(20), 8).await.unwrap().is_none());
}

#[tokio::test]
async fn another_set_than_the_own_nodes_is_disagreed_with_and_a_future_one_waits() {
    let (chain, own, _other) = recorded(60).await;
    let source = chain.source();
    let statement = |height| SetStatement { height: Height(height), digest: Hash32([1; 32]) };
    assert_eq!(source.confirm_set(&statement(49)).await.unwrap(), Confirmation::Disagrees);
    assert_eq!(source.confirm_set(&statement(61)).await.unwrap(), Confirmation::NotYet);
    own.edit(|script| script.garbage = Some("{}".to_owned()));
    assert_eq!(source.confirm_set(&statement(49)).await.unwrap(), Confirmation::NotYet);
}

#[tokio::test]
async fn at_the_tip_the_own_nodes_state_must_show_the_set_too() {
    let (chain, own, _other) = recorded(49).await;
    let (client, source) = (chain.client(), chain.source());
    let served = source.next_update(Height(1), 48).await.unwrap().unwrap();
    let VerifiedUpdate::HeldBack { reason: HoldReason::SetUnconfirmed { height, digest }, .. } =
        client.verify_update(DOMAIN, &chain.anchor(), &served.update, NOW)
    else {
        panic!()
    };
    let statement = SetStatement { height, digest };
    assert_eq!(source.confirm_set(&statement).await.unwrap(), Confirmation::Agrees);
    own.edit(|script| script.sealers = Some(json!([])));
    assert_eq!(source.confirm_set(&statement).await.unwrap(), Confirmation::NotYet);
}

#[tokio::test]
async fn a_dead_a_mute_and_a_babbling_endpoint_do_not_stop_the_chain() {
    let (_, good, mute) = recorded(10).await;
    let babbling = mute.clone();
    mute.edit(|script| script.delay = Duration::from_secs(5));
    let block = vectors("live/std.json")["blocks"][1]["block"].clone();
    let nodes = [("dead", "http://127.0.0.1:9", false), ("mute", &mute.url, false), ("good", &good.url, false)];
    let chain = configure(&section(&block, &nodes));
    let source = chain.source();
    assert_eq!(source.tip().await.unwrap(), Height(10));
    assert_eq!(source.next_update(Height(1), 4).await.unwrap().unwrap().endpoint, "good");
    babbling.edit(|script| (script.delay, script.garbage) = (Duration::ZERO, Some("<html>".to_owned())));
    assert_eq!(source.tip().await.unwrap(), Height(10));
    let standing = source.endpoints();
    assert!(standing.iter().filter(|endpoint| endpoint.name != "good").all(|endpoint| endpoint.errors > 0));
    assert!(standing.iter().find(|endpoint| endpoint.name == "good").unwrap().is_usable);
}

#[tokio::test]
async fn a_liar_is_named_counted_and_left() {
    let (chain, own, other) = recorded(10).await;
    let source = chain.source();
    let lie = |script: &mut crate::stand_in::Script| {
        script.blocks.get_mut(&5).unwrap()["block"]["gasUsed"] = json!("1");
    };
    own.edit(lie);
    other.edit(|script| script.delay = Duration::from_millis(40));
    source.tip().await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let served = source.next_update(Height(1), 8).await.unwrap().unwrap();
    assert_eq!(served.endpoint, "own");
    let client = chain.client();
    let VerifiedUpdate::Refused(refusal) = client.verify_update(DOMAIN, &chain.anchor(), &served.update, NOW) else {
        panic!()
    };
    assert_eq!((refusal.check, refusal.height), ("header-hash", Some(Height(5))));
    source.report_lie(&served.endpoint, refusal.check);
    let served = source.next_update(Height(1), 8).await.unwrap().unwrap();
    assert_eq!(served.endpoint, "other");
    let verdict = client.verify_update(DOMAIN, &chain.anchor(), &served.update, NOW);
    assert!(matches!(verdict, VerifiedUpdate::Advanced { .. }));
    let liar = source.endpoints().into_iter().find(|endpoint| endpoint.name == "own").unwrap();
    assert_eq!((liar.lies, liar.is_usable), (1, false));
}

#[tokio::test]
async fn answers_that_are_too_long_or_no_json_rpc_are_refused() {
    let recording = vectors("live/std.json");
    let blocks = recording["blocks"].as_array().unwrap();
    let node = StandInNode::serve(blocks, 10).await;
    let mut section = section(&blocks[1]["block"], &[("n", &node.url, false)]);
    section["max_response_bytes"] = json!(65_536);
    let source = configure(&section).source();
    for garbage in ["x".repeat(65_537), "[]".to_owned(), "{\"id\":999,\"result\":5}".to_owned(), "{".to_owned()] {
        node.edit(|script| script.garbage = Some(garbage));
        assert!(matches!(source.tip().await, Err(NodeError::Malformed { .. })));
    }
    let error = "{\"error\":{\"code\":-32601,\"message\":\"no\"},\"id\":94559007789792,\"jsonrpc\":\"\"}";
    node.edit(|script| script.garbage = Some(error.to_owned()));
    assert!(matches!(source.tip().await, Err(NodeError::Rpc { code: -32601, .. })));
}

#[tokio::test]
async fn a_chain_without_nodes_says_so() {
    let block = vectors("live/std.json")["blocks"][1]["block"].clone();
    let source = configure(&section(&block, &[])).source();
    assert!(matches!(source.tip().await, Err(NodeError::Unreachable { .. })));
    assert!(matches!(source.next_update(Height(1), 1).await, Err(NodeError::Unreachable { .. })));
    let statement = SetStatement { height: Height(2), digest: Hash32::ZERO };
    assert_eq!(source.confirm_set(&statement).await.unwrap(), Confirmation::NoOwnNode);
}

#[tokio::test]
async fn what_is_recorded_from_nodes_is_read_back_and_verifies() {
    let (chain, _own, _other) = recorded(50).await;
    let recording = chain.recording();
    let written = recording.record(Height(1), Height(50)).await.unwrap();
    let original = vectors("live/std.json");
    for height in 1..=50 {
        assert_eq!(written["blocks"][height - 1]["block"], original["blocks"][height]["block"]);
    }
    let client = chain.client();
    let mut state = chain.anchor();
    let mut checks = 0;
    for step in recording.read(&written).unwrap() {
        if let Some(statement) = &step.statement {
            state = client.apply_set_statement(&state, statement).unwrap();
        }
        let verdict = client.verify_update(DOMAIN, &state, &step.update, step.time);
        let VerifiedUpdate::Advanced { state: next, headers, .. } = verdict else { panic!("{verdict:?}") };
        state = next;
        checks += recording.verify_body(&headers[0], &step).unwrap();
    }
    assert!(checks > 500, "{checks}");
}
