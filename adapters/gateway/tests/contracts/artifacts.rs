//! The artifacts are what the sources give, and the bindings are those of the artifacts.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use cityrelay_core::hash::{Hash32, keccak256};
use serde_json::Value;

use crate::abi::{Committee, Gateway, NoticeBoard, PrecompileGateway, PrepaidOrders};

pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Fails with the command that installs what is missing.
pub fn node_modules(file: &str) -> PathBuf {
    let path = folder().join("node_modules").join(file);
    assert!(path.exists(), "{file} is missing: run `npm ci` in adapters/gateway");
    path
}

pub fn read(name: &str) -> Value {
    let path = folder().join("artifacts").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn the_sources_give_the_artifacts_byte_for_byte() {
    node_modules("solc/package.json");
    let compiled = Command::new("node").arg("compile.mjs").arg("--check").current_dir(folder()).output();
    let compiled = compiled.expect("node is missing: run `apt-get install nodejs npm`");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
}

#[test]
fn the_included_init_code_is_that_of_the_artifacts() {
    use cityrelay_gateway::artifact::{
        COMMITTEE_INIT_CODE, GATEWAY_INIT_CODE, NOTICE_BOARD_INIT_CODE, PRECOMPILE_COMMITTEE_INIT_CODE,
        PRECOMPILE_GATEWAY_INIT_CODE, PREPAID_ORDERS_INIT_CODE,
    };
    for (name, code) in [
        ("Gateway", GATEWAY_INIT_CODE),
        ("Committee", COMMITTEE_INIT_CODE),
        ("PrecompileGateway", PRECOMPILE_GATEWAY_INIT_CODE),
        ("PrecompileCommittee", PRECOMPILE_COMMITTEE_INIT_CODE),
        ("NoticeBoard", NOTICE_BOARD_INIT_CODE),
        ("PrepaidOrders", PREPAID_ORDERS_INIT_CODE),
    ] {
        assert_eq!(read(&format!("{name}.json"))["bytecode"], format!("0x{}", hex::encode(code)), "{name}");
    }
}

#[test]
fn anchors_lie_where_the_relay_expects_them() {
    let source = std::fs::read_to_string(folder().join("contracts/GatewayState.sol")).unwrap();
    let expected = format!("constant ANCHOR_INTERVAL = {};", cityrelay_core::gateway_call::ANCHOR_INTERVAL);
    assert!(source.contains(&expected), "GatewayState.sol does not say {expected}");
}

#[test]
fn contracts_stay_below_the_code_size_limit() {
    for name in ["Gateway.json", "Committee.json", "PrecompileGateway.json", "PrecompileCommittee.json"] {
        // EIP-170.
        assert!(read(name)["runtimeBytes"].as_u64().unwrap() < 24_576, "{name}");
    }
}

#[test]
fn heads_and_indexes_lie_in_slots_zero_and_one() {
    assert_heads_come_first("Gateway.json");
    assert_heads_come_first("PrecompileGateway.json");
}

fn assert_heads_come_first(name: &str) {
    let artifact = read(name);
    let storage = artifact["storage"].as_array().unwrap();
    let place = |at: usize| (storage[at]["label"].as_str().unwrap(), storage[at]["slot"].as_str().unwrap());
    assert_eq!((place(0), place(1)), (("heads", "0"), ("indexes", "1")));
    assert_eq!(storage[0]["type"], "t_mapping(t_bytes32,t_bytes32)");
    assert_eq!(storage[1]["type"], "t_mapping(t_bytes32,t_uint256)");
}

#[test]
fn every_function_event_and_error_of_the_gateway_is_bound() {
    assert_bound("Gateway.json", "function", Gateway::GatewayCalls::SELECTORS.iter().map(|it| it.to_vec()), true);
    assert_bound("Gateway.json", "error", Gateway::GatewayErrors::SELECTORS.iter().map(|it| it.to_vec()), true);
    assert_bound("Gateway.json", "event", Gateway::GatewayEvents::SELECTORS.iter().map(|it| it.to_vec()), true);
}

#[test]
fn every_function_event_and_error_of_the_committee_is_bound() {
    assert_bound("Committee.json", "function", Committee::CommitteeCalls::SELECTORS.iter().map(|it| it.to_vec()), true);
    assert_bound("Committee.json", "error", Committee::CommitteeErrors::SELECTORS.iter().map(|it| it.to_vec()), true);
    assert_bound("Committee.json", "event", Committee::CommitteeEvents::SELECTORS.iter().map(|it| it.to_vec()), true);
}

/// Both flavours have the same interface; what the other one has besides is bound apart.
#[test]
fn the_flavours_differ_in_what_is_bound_apart() {
    let functions: Vec<_> = PrecompileGateway::PrecompileGatewayCalls::SELECTORS.iter().map(|it| it.to_vec()).collect();
    let errors: Vec<_> = PrecompileGateway::PrecompileGatewayErrors::SELECTORS.iter().map(|it| it.to_vec()).collect();
    let usual = |selectors: &[[u8; 4]]| selectors.iter().map(|it| it.to_vec()).collect::<Vec<_>>();
    let gateway = [usual(Gateway::GatewayCalls::SELECTORS), functions].concat();
    assert_bound("PrecompileGateway.json", "function", gateway.into_iter(), true);
    let gateway = [usual(Gateway::GatewayErrors::SELECTORS), errors].concat();
    assert_bound("PrecompileGateway.json", "error", gateway.into_iter(), true);
    let events = Gateway::GatewayEvents::SELECTORS.iter().map(|it| it.to_vec());
    assert_bound("PrecompileGateway.json", "event", events, true);
    assert_bound("PrecompileCommittee.json", "function", usual(Committee::CommitteeCalls::SELECTORS).into_iter(), true);
}

/// The optimizer knows keccak256 only: a slot that it computed would be another one than the chain computes.
#[test]
fn nothing_for_a_chain_of_another_hash_was_hashed_by_the_compiler() {
    let precompile = ["PrecompileGateway.json", "PrecompileCommittee.json"];
    let examples = ["NoticeBoard.json", "PrepaidOrders.json"];
    let folded = |name: &str| {
        let bytecode = hex::decode(read(name)["bytecode"].as_str().unwrap().trim_start_matches("0x")).unwrap();
        folded_hashes().into_iter().any(|hash| bytecode.windows(32).any(|window| window == hash.0))
    };
    for name in precompile.into_iter().chain(examples) {
        assert!(!folded(name), "{name} has a hash that was computed at compile time");
    }
    assert!(folded("Committee.json"), "the usual build has one, or this test looks for the wrong hashes");
}

/// keccak256 of small slots, and of small keys in them.
fn folded_hashes() -> Vec<Hash32> {
    let words = |numbers: &[u64]| numbers.iter().flat_map(|number| Hash32::from_u64(*number).0).collect::<Vec<u8>>();
    let slots = 0..32;
    let pairs = slots.clone().flat_map(|slot| (0..=8).map(move |key| [key, slot]));
    slots.map(|slot| keccak256(&words(&[slot]))).chain(pairs.map(|pair| keccak256(&words(&pair)))).collect()
}

#[test]
fn what_is_bound_of_the_examples_exists() {
    let board = NoticeBoard::NoticeBoardCalls::SELECTORS.iter().map(|it| it.to_vec());
    assert_bound("NoticeBoard.json", "function", board, false);
    let orders = PrepaidOrders::PrepaidOrdersCalls::SELECTORS.iter().map(|it| it.to_vec());
    assert_bound("PrepaidOrders.json", "function", orders, false);
}

/// Every error that a contract can revert with is provoked by a test of this binary, by name.
#[test]
fn every_error_is_provoked_by_a_test() {
    let tests = folder().join("tests/contracts");
    let sources: String =
        std::fs::read_dir(tests).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    for artifact in ["Gateway.json", "Committee.json", "PrecompileGateway.json", "PrecompileCommittee.json"] {
        for item in read(artifact)["abi"].as_array().unwrap().iter().filter(|item| item["type"] == "error") {
            let name = item["name"].as_str().unwrap();
            // The committee has no clock of its own: the check comes with the known-answer tests it shares.
            let is_shared = artifact.ends_with("Committee.json") && name == "ClockIsWrong";
            assert!(is_shared || sources.contains(&format!("\"{name}\"")), "no test provokes {name} of {artifact}");
        }
    }
}

fn assert_bound(artifact: &str, kind: &str, bound: impl Iterator<Item = Vec<u8>>, is_exact: bool) {
    let bound: BTreeSet<Vec<u8>> = bound.collect();
    let width = bound.first().unwrap().len();
    let declared: BTreeSet<Vec<u8>> = read(artifact)["abi"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|item| item["type"] == kind)
        .map(|item| keccak256(signature(item).as_bytes()).0[..width].to_vec())
        .collect();
    assert!(bound.is_subset(&declared), "{artifact}: a bound {kind} does not exist");
    assert!(!is_exact || bound == declared, "{artifact}: a {kind} is not bound");
}

pub fn signature(item: &Value) -> String {
    let arguments: Vec<String> = item["inputs"].as_array().unwrap().iter().map(type_name).collect();
    format!("{}({})", item["name"].as_str().unwrap(), arguments.join(","))
}

fn type_name(argument: &Value) -> String {
    let name = argument["type"].as_str().unwrap();
    let Some(suffix) = name.strip_prefix("tuple") else { return name.to_owned() };
    let parts: Vec<String> = argument["components"].as_array().unwrap().iter().map(type_name).collect();
    format!("({}){suffix}", parts.join(","))
}
