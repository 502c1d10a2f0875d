//! What nodes say of a block as an anchor.

use cityrelay_api::source::{AnchorAnswer, AnchorCandidate, NodeError};
use cityrelay_core::ids::{Height, UnixMillis};
use serde_json::{Value, json};

use crate::reading::{configured, node, qbft, recorded_section, recording};
use crate::recorded_node::{Manners, RecordedNode};

fn block(recording: &Value, height: usize) -> &Value {
    &recording["blocks"][height]["block"]
}

/// The vote that block 60 of `qbft-votes` carries: it counts for the epoch that begins there.
const VOTE_OF_60: &str = "{ voter = \"0x589ad4fd090a0bb6e519f63fa85a321d071cf7e0\", candidate = \
                          \"0x135273ed6c13546279d165a4766e8b7a439cd42f\", add = false }";

/// The text that the section wants, written from the recorded block and the set that its node named.
fn expected(recording: &Value, height: usize) -> AnchorCandidate {
    let block = block(recording, height);
    let timestamp = u64::from_str_radix(&block["timestamp"].as_str().unwrap()[2..], 16).unwrap();
    let time = if timestamp == 0 { String::new() } else { format!("timestamp = {timestamp}, ") };
    let validators = &recording["blocks"][height]["validators"];
    let votes = if height == 60 { format!(", pending_votes = [{VOTE_OF_60}]") } else { String::new() };
    let (hash, listed) = (block["hash"].as_str().unwrap(), validators.to_string().replace(',', ", "));
    AnchorCandidate {
        height: Height(height as u64),
        hash: cityrelay_core::hash::Hash32::from_hex(hash).unwrap(),
        timestamp: UnixMillis(timestamp * 1000),
        toml: format!("{{ height = {height}, hash = \"{hash}\", {time}validators = {listed}{votes} }}"),
        validators: validators.as_array().unwrap().len(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_node_is_asked_for_the_last_epoch_block_that_all_have() {
    let recording = recording("qbft-votes");
    let ahead = RecordedNode::start(recording.clone(), 571, Manners::default()).await;
    let behind = RecordedNode::start(recording.clone(), 571, Manners { tip: Some(59), ..Manners::default() }).await;
    let mut nodes = json!([node("ahead", &ahead.url), node("behind", &behind.url)]);
    nodes[1]["own"] = false.into();
    let source = configured(&recorded_section(&recording, qbft(), nodes)).source();
    for (at, height) in [(None, 30), (Some(Height(0)), 0), (Some(Height(30)), 30)] {
        let answers = source.anchors(at).await;
        let answer = |endpoint: &str, is_own| AnchorAnswer {
            endpoint: endpoint.to_owned(),
            is_own,
            answer: Ok(expected(&recording, height)),
        };
        assert_eq!(answers, [answer("ahead", true), answer("behind", false)]);
    }
    let answers = source.anchors(Some(Height(60))).await;
    assert_eq!(answers[0].answer, Ok(expected(&recording, 60)));
    assert!(matches!(&answers[1].answer, Err(NodeError::Malformed { endpoint, .. }) if endpoint == "behind"));
    for AnchorAnswer { answer, .. } in source.anchors(Some(Height(31))).await {
        assert!(matches!(answer, Err(NodeError::Refused(refusal)) if refusal.check == "anchor-height"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_changes_a_header_and_one_that_is_away_are_errors_of_their_own() {
    let recording = recording("qbft-votes");
    let good = RecordedNode::start(recording.clone(), 571, Manners::default()).await;
    let liar = RecordedNode::start(recording.clone(), 571, Manners { lies: true, ..Manners::default() }).await;
    let nodes = json!([node("away", "http://127.0.0.1:9"), node("liar", &liar.url), node("good", &good.url)]);
    let answers = configured(&recorded_section(&recording, qbft(), nodes)).source().anchors(None).await;
    assert!(matches!(&answers[0].answer, Err(NodeError::Unreachable { .. })), "{answers:?}");
    let Err(NodeError::Malformed { endpoint, expected: problem, .. }) = &answers[1].answer else {
        panic!("{answers:?}")
    };
    assert!(endpoint == "liar" && problem.contains("block-hash"), "{problem}");
    assert_eq!(answers[2].answer, Ok(expected(&recording, 60)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contracts_set_is_proved_at_the_newest_block_or_the_node_says_what_it_lacks() {
    let recording = recording("qbft-contract");
    let modes = json!([{ "from": 0, "mode": "qbft" }, { "from": 8, "mode": "qbft-contract" }]);
    let server = RecordedNode::start(recording.clone(), 571, Manners::default()).await;
    let source = configured(&recorded_section(&recording, modes, json!([node("a", &server.url)]))).source();
    assert_eq!(source.anchors(None).await[0].answer, Ok(expected(&recording, 32)));
    assert_eq!(source.anchors(Some(Height(13))).await[0].answer, Ok(expected(&recording, 13)));
    server.manners.lock().unwrap().pruned_below = 14;
    let answer = source.anchors(Some(Height(13))).await.remove(0).answer;
    assert!(matches!(answer, Err(NodeError::Pruned { height: Height(13), .. })), "{answer:?}");
}
