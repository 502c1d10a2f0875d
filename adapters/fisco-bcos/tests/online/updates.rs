//! Following the chain: updates, set changes, failover and blame.

use std::time::Duration;

use cityrelay_api::client::from_opaque;
use cityrelay_api::source::{Confirmation, NodeError};
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Domain, Height, UnixMillis};
use cityrelay_core::light_client::{Gravity, HoldReason, SetStatement};
use cityrelay_core::verify::VerifiedUpdate;
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use cityrelay_fisco_bcos::verify::update::ChainUpdate;
use serde_json::json;

use crate::gateway_chain::{GatewayChain, other as quiet};
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
    let evidence = update.headers[1].evidence.as_ref().unwrap();
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
async fn a_node_that_wants_to_be_left_alone_is() {
    for status in [429, 503] {
        let (chain, own, other) = recorded(10).await;
        own.edit(|script| script.refuses = Some((status, "3600".to_owned())));
        let source = chain.source();
        for _ in 0..4 {
            assert_eq!(source.tip().await.unwrap(), Height(10));
        }
        assert_eq!(own.calls("refused"), 1, "asked once, then not before it said");
        let standing = source.endpoints();
        let left: Vec<_> = standing.iter().filter(|endpoint| !endpoint.is_usable).collect();
        assert!(left.len() == 1 && left[0].last_error.contains("left alone"), "{standing:?}");
        other.edit(|script| script.refuses = Some((status, String::new())));
        assert!(matches!(source.tip().await, Err(NodeError::Unreachable { .. })));
        assert_eq!(
            (own.calls("refused"), other.calls("refused")),
            (1, 1),
            "without a time it is a failure like any other"
        );
    }
}

#[tokio::test]
async fn a_node_on_another_branch_shows_it_with_what_follows_the_trusted_header() {
    let (chain, own, _other) = recorded(10).await;
    let served = chain.source().next_update(Height(4), 2).await.unwrap().unwrap();
    let update: ChainUpdate = from_opaque("fisco-bcos", &served.update).unwrap();
    let heights: Vec<_> = update.headers.iter().map(|item| item.sealed.header.number).collect();
    assert_eq!(heights, [4, 5, 6]);
    assert!(chain.source().next_update(Height(10), 2).await.unwrap().is_none(), "the trusted header alone is no news");
    own.edit(|script| drop(script.blocks.remove(&4)));
    let alone = configure(&section(&vectors("live/std.json")["blocks"][1]["block"], &[("own", &own.url, true)]));
    let served = alone.source().next_update(Height(4), 2).await.unwrap().unwrap();
    let update: ChainUpdate = from_opaque("fisco-bcos", &served.update).unwrap();
    assert_eq!(update.headers.len(), 2, "a node that has no such block any more serves what it has");
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

#[tokio::test]
async fn a_node_that_is_not_of_the_group_is_not_in_use_and_says_why() {
    let recording = vectors("live/std.json");
    let blocks = recording["blocks"].as_array().unwrap();
    let node = StandInNode::serve(blocks, 20).await;
    let mut section = section(&blocks[1]["block"], &[("alone", &node.url, true)]);
    section["group_id"] = json!("group7");
    let source = configure(&section).source();
    assert!(matches!(source.tip().await, Err(NodeError::Rpc { code: -32000, .. })));
    let health = &source.endpoints()[0];
    assert!(!health.is_usable && health.errors > 0, "{health:?}");
    assert!(health.last_error.contains("doesn't exist or doesn't started"), "{health:?}");
}

#[tokio::test]
async fn a_node_whose_headers_make_no_sense_is_left_for_the_other() {
    let recording = vectors("live/std.json");
    let blocks = recording["blocks"].as_array().unwrap();
    let mut broken = blocks.clone();
    broken[2]["block"]["txsRoot"] = json!(7);
    let (bad, good) = (StandInNode::serve(&broken, 20).await, StandInNode::serve(blocks, 20).await);
    let nodes = [("bad", bad.url.as_str(), true), ("good", good.url.as_str(), true)];
    let source = configure(&section(&blocks[1]["block"], &nodes)).source();
    assert_eq!(source.next_update(Height(1), 5).await.unwrap().unwrap().endpoint, "good");
    let health = &source.endpoints()[0];
    assert!(!health.is_usable && health.errors > 0 && health.lies == 0, "{health:?}");
    assert!(health.last_error.contains("txsRoot"), "{health:?}");
}

/// The best node serves every time; the other one, on a branch of its own, is behind or level with it and would never be
/// asked for what follows.
#[tokio::test]
async fn i8_a_second_sealed_block_at_any_node_comes_to_light() {
    // Behind, level, and level on a chain that stands still from the start.
    for (fork_at, stands_still) in [(4, false), (5, false), (5, true)] {
        let mut chain = GatewayChain::new(CryptoSuite::Standard);
        let mut other = GatewayChain::new(CryptoSuite::Standard);
        for height in 2..=5 {
            chain.add(vec![quiet(height)]);
            if height < fork_at {
                other.add(vec![quiet(height)]);
            }
        }
        other.add(vec![quiet(1_000)]);
        assert_eq!(other.chain.height, fork_at);
        let (good, fork) =
            (StandInNode::serve(&chain.blocks, 5).await, StandInNode::serve(&other.blocks, fork_at).await);
        let nodes = [("good", good.url.as_str(), false), ("fork", fork.url.as_str(), false)];
        let configured = configure(&section(&chain.anchor(), &nodes));
        let (source, client) = (configured.source(), configured.client());
        let mut state = configured.anchor();
        if stands_still {
            let alone = configure(&section(&chain.anchor(), &[("good", good.url.as_str(), false)]));
            let served = alone.source().next_update(Height(1), 10).await.unwrap().unwrap();
            let verdict = client.verify_update(DOMAIN, &state, &served.update, UnixMillis(0));
            let VerifiedUpdate::Advanced { state: tip, .. } = verdict else { panic!("{verdict:?}") };
            state = tip;
        }
        let mut refusal = None;
        for _ in 0..200 {
            let after = client.trusted_height(&state).unwrap();
            let other = source.other_branch(after, 10).await;
            let served = if other.is_some() { other } else { source.next_update(after, 10).await.unwrap() };
            if let Some(served) = served {
                match client.verify_update(DOMAIN, &state, &served.update, UnixMillis(0)) {
                    VerifiedUpdate::Advanced { state: next, .. } => state = next,
                    VerifiedUpdate::Refused(found) => {
                        refusal = Some(found);
                        break;
                    }
                    held @ VerifiedUpdate::HeldBack { .. } => panic!("{held:?}"),
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let refusal = refusal.expect("two sealed blocks at one height");
        assert_eq!((refusal.gravity, refusal.height), (Gravity::Equivocation, Some(Height(fork_at))));
    }
}
