//! What nodes say of a block as an anchor.

use cityrelay_api::Adapter;
use cityrelay_api::source::{AnchorAnswer, NodeError};
use cityrelay_core::ids::{Height, UnixMillis};
use cityrelay_fisco_bcos::node::ADAPTER;
use serde_json::{Value, json};

use crate::nodes::{configure, recorded, recorded_in, section, vectors};

/// The text that the section wants, written from the recorded block.
fn expected(block: &Value) -> String {
    let sealers = block["sealerList"].as_array().unwrap().iter().zip(block["consensusWeights"].as_array().unwrap());
    let sealers: Vec<String> = sealers
        .map(|(id, weight)| {
            let id = id.as_str().unwrap();
            format!("{{ id = \"{}\", weight = {weight} }}", id.strip_prefix("0x").unwrap_or(id))
        })
        .collect();
    let (height, hash) = (&block["number"], block["hash"].as_str().unwrap());
    format!("{{ height = {height}, hash = \"{hash}\", sealers = [{}] }}", sealers.join(", "))
}

#[tokio::test]
async fn each_node_is_asked_for_the_newest_block_that_all_have() {
    for file in ["live/std.json", "live/gm.json"] {
        let (chain, own, _other) = recorded_in(file, 60).await;
        own.edit(|script| script.tip = 57);
        let answers = chain.source().anchors(None).await;
        let names: Vec<_> = answers.iter().map(|answer| (answer.endpoint.as_str(), answer.is_own)).collect();
        assert_eq!(names, [("own", true), ("other", false)]);
        let block = &vectors(file)["blocks"][57]["block"];
        assert_eq!(block["number"], 57);
        for AnchorAnswer { answer, .. } in answers {
            let candidate = answer.unwrap();
            assert_eq!(candidate.height, Height(57), "{file}");
            assert_eq!(candidate.toml, expected(block), "{file}");
            assert_eq!(candidate.timestamp, UnixMillis(block["timestamp"].as_u64().unwrap()));
            assert_eq!(candidate.validators, block["sealerList"].as_array().unwrap().len());
        }
    }
}

#[tokio::test]
async fn a_node_that_changes_a_header_and_one_that_is_away_are_errors_of_their_own() {
    let (chain, own, other) = recorded(60).await;
    let source = chain.source();
    own.edit(|script| script.blocks.get_mut(&20).unwrap()["block"]["consensusWeights"][0] = json!(7));
    let answers = source.anchors(Some(Height(20))).await;
    let Err(NodeError::Malformed { endpoint, expected, .. }) = &answers[0].answer else { panic!("{answers:?}") };
    assert!(endpoint == "own" && expected.contains("header-hash"), "{expected}");
    assert!(answers[1].answer.is_ok());

    own.edit(|script| script.tip = 19);
    other.edit(|script| script.garbage = Some("{}".to_owned()));
    let answers = source.anchors(Some(Height(20))).await;
    assert!(matches!(&answers[0].answer, Err(NodeError::Rpc { code: 3006, .. })), "{answers:?}");
    assert!(matches!(&answers[1].answer, Err(NodeError::Malformed { .. })), "{answers:?}");

    let block = vectors("live/std.json")["blocks"][1]["block"].clone();
    let gone = configure(&section(&block, &[("gone", "http://127.0.0.1:9", true)]));
    let answers = gone.source().anchors(None).await;
    assert!(matches!(&answers[0].answer, Err(NodeError::Unreachable { .. })), "{answers:?}");
}

#[tokio::test]
async fn the_first_block_is_no_anchor() {
    let (chain, _own, _other) = recorded(60).await;
    for AnchorAnswer { answer, .. } in chain.source().anchors(Some(Height(0))).await {
        assert!(matches!(answer, Err(NodeError::Refused(refusal)) if refusal.check == "anchor-height"));
    }
}

#[test]
fn a_section_with_the_placeholder_has_no_fault() {
    let block = vectors("live/std.json")["blocks"][1]["block"].clone();
    let mut section = section(&block, &[]);
    section["anchor"] = ADAPTER.placeholder_anchor(&section).unwrap();
    configure(&section);
}
