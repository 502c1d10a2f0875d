//! Configured chains over stand-ins.

use std::path::Path;
use std::sync::Arc;

use cityrelay_api::adapter::{Adapter, Chain};
use cityrelay_fisco_bcos::node::ADAPTER;
use serde_json::{Value, json};

use crate::stand_in::StandInNode;

pub fn vectors(path: &str) -> Value {
    let path = format!("{}/vectors/{path}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The section for a recorded chain, anchored at its block 1, over `nodes` (name, url, own).
pub fn section(block_one: &Value, nodes: &[(&str, &str, bool)]) -> Value {
    let sealers =
        block_one["sealerList"].as_array().unwrap().iter().zip(block_one["consensusWeights"].as_array().unwrap());
    let sealers: Vec<Value> = sealers.map(|(id, weight)| json!({ "id": id, "weight": weight })).collect();
    let nodes: Vec<Value> =
        nodes.iter().map(|(name, url, own)| json!({ "name": name, "url": url, "own": own })).collect();
    json!({
        "chain_id": "chain0",
        "group_id": "group0",
        "anchor": { "height": block_one["number"], "hash": block_one["hash"], "sealers": sealers },
        "nodes": nodes,
        "request_timeout": "400ms",
    })
}

pub fn configure(section: &Value) -> Arc<dyn Chain> {
    ADAPTER.configure(section, Path::new("/")).map_err(|faults| format!("{faults:?}")).unwrap()
}

/// The recorded standard chain up to `tip`, at one own stand-in and one of somebody else.
pub async fn recorded(tip: u64) -> (Arc<dyn Chain>, StandInNode, StandInNode) {
    recorded_in("live/std.json", tip).await
}

/// As [`recorded`], of any recording.
pub async fn recorded_in(file: &str, tip: u64) -> (Arc<dyn Chain>, StandInNode, StandInNode) {
    let recording = vectors(file);
    let blocks = recording["blocks"].as_array().unwrap();
    let own = StandInNode::serve(blocks, tip).await;
    let other = StandInNode::serve(blocks, tip).await;
    let mut section = section(&blocks[1]["block"], &[("own", &own.url, true), ("other", &other.url, false)]);
    section["crypto"] = recording["crypto"].clone();
    (configure(&section), own, other)
}
