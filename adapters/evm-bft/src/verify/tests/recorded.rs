use cityrelay_core::light_client::{AdapterValue, HoldReason, LightClient, Verdict};

use super::kit::{accepted, genesis, live_rules, refused, time_of, vector};
use crate::recording::{Step, read_steps, verify_body};
use crate::verify::client::Client;
use crate::verify::state::State;
use crate::verify::update::Update;

struct Replay {
    finals: u64,
    checks: u64,
    held: Vec<u64>,
    state: State,
}

/// Replays a recorded chain one height at a time, with everything recorded beside the headers.
fn replay(name: &str) -> Replay {
    let recording = vector(&format!("evm-live/{name}.json"));
    let rules = live_rules(name, &recording);
    let client = Client::new(rules.clone());
    let steps = read_steps(&rules, 0, &recording).unwrap();
    let mut replay = Replay { finals: 0, checks: 0, held: Vec::new(), state: genesis(&rules, &recording) };
    for Step { height, update, .. } in &steps {
        let (state, headers) = match client.verify_update(&replay.state, update, time_of(update)) {
            Verdict::Advanced { state, headers, .. } => (state, headers),
            Verdict::HeldBack { state, headers, .. } => {
                replay.held.push(height.0);
                (state, headers)
            }
            Verdict::Refused(refusal) => panic!("{name}: {refusal}"),
        };
        for header in headers {
            replay.finals += 1;
            assert_eq!(header.height.0, replay.finals, "{name}");
            let step = &steps[usize::try_from(replay.finals).unwrap() - 1];
            replay.checks += verify_body(&rules, &header, step.body).unwrap();
        }
        replay.state = State::decode(State::VERSION, &state.encode()).unwrap();
        assert_eq!(replay.state, state);
    }
    replay
}

#[test]
fn qbft_with_votes_verifies_from_block_0_to_its_end() {
    let replay = replay("qbft-votes");
    assert_eq!((replay.finals, replay.held.len()), (73, 0));
    // 73 hashes, 73 transaction roots, 73 validator sets, 10 receipts roots, and 18 proofs of 12 slots.
    assert_eq!(replay.checks, 73 * 3 + 10 + 18 * 13);
}

#[test]
fn qbft_under_a_contract_holds_the_late_sealed_block_until_its_child() {
    let replay = replay("qbft-contract");
    assert_eq!((replay.finals, replay.held), (32, vec![16]));
}

#[test]
fn ibft1_migrates_to_qbft() {
    let replay = replay("ibft1-to-qbft");
    assert_eq!((replay.finals, replay.held.len()), (40, 0));
}

#[test]
fn edge_with_ecdsa_seals_verifies() {
    let replay = replay("edge-ecdsa");
    assert_eq!((replay.finals, replay.held.len()), (61, 0));
}

#[test]
fn edge_with_bls_seals_verifies() {
    let replay = replay("edge-bls");
    assert_eq!((replay.finals, replay.held.len()), (61, 0));
}

#[test]
fn a_whole_chain_in_one_update_gives_the_same_state() {
    for name in ["qbft-votes", "qbft-contract", "ibft1-to-qbft", "edge-ecdsa", "edge-bls"] {
        let recording = vector(&format!("evm-live/{name}.json"));
        let rules = live_rules(name, &recording);
        let client = Client::new(rules.clone());
        let steps = read_steps(&rules, 0, &recording).unwrap();
        let update = Update { items: steps.iter().flat_map(|step| step.update.items.clone()).collect() };
        let update = Update::decode(Update::VERSION, &update.encode()).unwrap();
        let (state, headers) = accepted(client.verify_update(&genesis(&rules, &recording), &update, time_of(&update)));
        assert_eq!(headers.len(), steps.len(), "{name}");
        assert_eq!(state, replay(name).state, "{name}");
    }
}

#[test]
fn an_anchor_with_its_pending_votes_can_stand_anywhere() {
    for name in ["qbft-votes", "edge-ecdsa", "edge-bls", "ibft1-to-qbft", "qbft-contract"] {
        let recording = vector(&format!("evm-live/{name}.json"));
        let rules = live_rules(name, &recording);
        let client = Client::new(rules.clone());
        let end = replay(name).state;
        let mut state = genesis(&rules, &recording);
        let mut with_votes = 0;
        for step in read_steps(&rules, 0, &recording).unwrap() {
            let State { height, hash, timestamp, set, votes, .. } = state.clone();
            with_votes += usize::from(!votes.is_empty());
            if height % 5 == 2 || !votes.is_empty() {
                let mut anchored = State::anchor(height, hash, timestamp, (*set).clone(), (*votes).clone());
                for step in read_steps(&rules, height, &recording).unwrap() {
                    match client.verify_update(&anchored, &step.update, time_of(&step.update)) {
                        Verdict::Advanced { state, .. } | Verdict::HeldBack { state, .. } => anchored = state,
                        Verdict::Refused(refusal) => panic!("{name} from {height}: {refusal}"),
                    }
                }
                assert_eq!((anchored.hash, &anchored.set), (end.hash, &end.set), "{name} from {height}");
            }
            match client.verify_update(&state, &step.update, time_of(&step.update)) {
                Verdict::Advanced { state: next, .. } | Verdict::HeldBack { state: next, .. } => state = next,
                Verdict::Refused(refusal) => panic!("{name}: {refusal}"),
            }
        }
        assert_eq!(with_votes > 0, ["qbft-votes", "edge-ecdsa", "edge-bls"].contains(&name), "{name}");
    }
}

#[test]
fn seals_of_another_node_finalise_the_same_blocks() {
    let mut recording = vector("evm-live/qbft-votes.json");
    let other = recording["extra_data_at_another_node"].clone();
    let own: Vec<_> =
        recording["blocks"].as_array().unwrap().iter().map(|block| block["block"]["extraData"].clone()).collect();
    let mut differ = 0;
    for (at, extra) in other.as_array().unwrap().iter().enumerate() {
        differ += usize::from(*extra != own[at]);
        recording["blocks"][at]["block"]["extraData"] = extra.clone();
    }
    assert_eq!(differ, 57);
    let rules = live_rules("qbft-votes", &recording);
    let client = Client::new(rules.clone());
    let mut state = genesis(&rules, &recording);
    for step in read_steps(&rules, 0, &recording).unwrap() {
        state = accepted(client.verify_update(&state, &step.update, time_of(&step.update))).0;
    }
    assert_eq!(state.hash, replay("qbft-votes").state.hash);
}

#[test]
fn without_the_late_rule_a_quorum_is_missing_at_block_16() {
    let recording = vector("evm-live/qbft-contract.json");
    let rules = live_rules("qbft-contract", &recording);
    let client = Client::new(rules.clone());
    let mut state = genesis(&rules, &recording);
    for step in read_steps(&rules, 0, &recording).unwrap() {
        match client.verify_update(&state, &step.update, time_of(&step.update)) {
            Verdict::Advanced { state: next, .. } => state = next,
            Verdict::HeldBack { reason, state: next, headers, .. } => {
                let expected = HoldReason::ShortOfQuorum { height: step.height, expected: 4, got: 3 };
                assert_eq!((step.height.0, reason, headers.len()), (16, expected, 0));
                assert_eq!(next.held.len(), 1);
                return;
            }
            Verdict::Refused(refusal) => panic!("{refusal}"),
        }
    }
    panic!("block 16 was not held back");
}

#[test]
fn a_recording_with_one_field_broken_is_refused_by_exactly_that_check() {
    type Break = fn(&mut serde_json::Value);
    let cases: &[(&str, usize, &str, Break)] = &[
        ("qbft-votes", 9, "block-hash", |block| block["gasUsed"] = "0x1".into()),
        ("qbft-votes", 9, "block-hash", |block| block["stateRoot"] = format!("0x{}", "11".repeat(32)).into()),
        ("qbft-votes", 9, "mix-hash", |block| block["mixHash"] = format!("0x{}", "11".repeat(32)).into()),
        ("qbft-votes", 9, "difficulty", |block| block["difficulty"] = "0x2".into()),
        ("qbft-votes", 9, "ommers", |block| block["sha3Uncles"] = format!("0x{}", "11".repeat(32)).into()),
        ("edge-ecdsa", 9, "difficulty", |block| block["difficulty"] = "0x1".into()),
        ("edge-ecdsa", 9, "block-hash", |block| block["timestamp"] = "0x6b04c6ff".into()),
        ("edge-ecdsa", 9, "mix-hash", |block| block["mixHash"] = format!("0x{}", "00".repeat(32)).into()),
        ("edge-ecdsa", 17, "vote", |block| block["nonce"] = "0x0000000000000001".into()),
        ("edge-ecdsa", 17, "vote", |block| block["miner"] = "0x1234".into()),
        ("qbft-votes", 9, "miner", |block| block["miner"] = "0x1234".into()),
    ];
    for (name, height, check, break_it) in cases {
        let mut recording = vector(&format!("evm-live/{name}.json"));
        break_it(&mut recording["blocks"][*height]["block"]);
        let rules = live_rules(name, &recording);
        let client = Client::new(rules.clone());
        let mut state = genesis(&rules, &recording);
        let steps = read_steps(&rules, 0, &recording).unwrap();
        for step in &steps[..height - 1] {
            state = accepted(client.verify_update(&state, &step.update, time_of(&step.update))).0;
        }
        let update = &steps[height - 1].update;
        let refusal = refused(client.verify_update(&state, update, time_of(update)));
        let wanted = u64::try_from(*height).unwrap();
        assert_eq!((refusal.check, refusal.height.map(|height| height.0)), (*check, Some(wanted)), "{name}");
    }
}

#[test]
fn a_body_with_one_field_broken_is_refused_by_exactly_that_check() {
    type Break = fn(&mut serde_json::Value);
    let cases: &[(&str, Break)] = &[
        ("recorded-receipts", |body| body["receipts"][0]["status"] = "0x0".into()),
        ("recorded-receipts", |body| body["receipts"][0]["logs"][0]["data"] = "0x00".into()),
        ("recorded-transactions", |body| body["block"]["transactions"][0]["nonce"] = "0x7".into()),
        ("recorded-proof", |body| body["proof"]["storageProof"][0]["value"] = "0x7".into()),
        ("proof-storage", |body| body["proof"]["storageProof"][0]["proof"][0] = "0xc0".into()),
        ("proof-account", |body| body["proof"]["accountProof"][0] = "0xc0".into()),
        ("recorded-validators", |body| body["validators"][0] = format!("0x{}", "11".repeat(20)).into()),
        ("recorded-hash", |body| body["block"]["hash"] = format!("0x{}", "11".repeat(32)).into()),
    ];
    let recording = vector("evm-live/qbft-votes.json");
    let rules = live_rules("qbft-votes", &recording);
    let client = Client::new(rules.clone());
    let steps = read_steps(&rules, 0, &recording).unwrap();
    let update = Update { items: steps[..9].iter().flat_map(|step| step.update.items.clone()).collect() };
    let (_, headers) = accepted(client.verify_update(&genesis(&rules, &recording), &update, time_of(&update)));
    let header = headers.last().unwrap();
    assert_eq!(verify_body(&rules, header, steps[8].body), Ok(4 + 13));
    for (check, break_it) in cases {
        let mut body = steps[8].body.clone();
        break_it(&mut body);
        assert_eq!(verify_body(&rules, header, &body).unwrap_err().check, *check);
    }
}

#[test]
fn a_recording_of_another_form_is_refused() {
    let recording = vector("evm-live/qbft-votes.json");
    let rules = live_rules("qbft-votes", &recording);
    let check = |recording: &serde_json::Value, anchor| read_steps(&rules, anchor, recording).unwrap_err().check;
    assert_eq!(check(&serde_json::json!({}), 0), "recording-form");
    let mut without = recording.clone();
    without["blocks"].as_array_mut().unwrap().remove(1);
    without["blocks"].as_array_mut().unwrap().remove(0);
    assert_eq!(check(&without, 0), "recording-gap");
    let mut unordered = recording.clone();
    unordered["blocks"].as_array_mut().unwrap().swap(3, 4);
    assert_eq!(check(&unordered, 0), "recording-order");
    assert_eq!(read_steps(&rules, 70, &recording).unwrap().len(), 3);
}
