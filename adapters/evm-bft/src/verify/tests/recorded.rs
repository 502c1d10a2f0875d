use std::sync::Arc;

use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::Height;
use cityrelay_core::light_client::{AdapterValue, Header as FinalHeader, HoldReason, LightClient, Verdict};

use super::kit::{accepted, accounts, bytes, genesis, live_rules, refused, rules, time_of, vector, word};
use crate::codec::header::{ForkItems, Header};
use crate::codec::json;
use crate::codec::ordered_trie::root_of;
use crate::codec::transaction::read_transaction;
use crate::recording::{Step, read_steps, verify_body};
use crate::verify::client::Client;
use crate::verify::head::Detail;
use crate::verify::mode::Mode;
use crate::verify::reading::read_header;
use crate::verify::rules::Rules;
use crate::verify::set::ValidatorSet;
use crate::verify::span::Span;
use crate::verify::state::State;
use crate::verify::update::{Update, UpdateItem};

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

/// What we compute from votes and storage alone, header by header, beside what was recorded: the node's own answer after each
/// block, under Edge the list in the next header, since its nodes answer for another height.
#[test]
fn the_computed_set_is_the_recorded_one_at_every_height() {
    for (name, heights) in
        [("qbft-votes", 73), ("qbft-contract", 32), ("ibft1-to-qbft", 40), ("edge-ecdsa", 61), ("edge-bls", 61)]
    {
        let recording = vector(&format!("evm-live/{name}.json"));
        let rules = live_rules(name, &recording);
        let state = genesis(&rules, &recording);
        let mut span = Span::new(&rules, &state);
        let mut before: Arc<ValidatorSet> = Arc::clone(&state.set);
        let mut compared = 0;
        for Step { height, update, body, .. } in read_steps(&rules, 0, &recording).unwrap() {
            let link = span.append(&update.items[0]).unwrap();
            assert!(!link.is_unexplained, "{name}, {height}: votes explain every change");
            let header = Header::decode(&update.items[0].header).unwrap();
            let listed = read_header(rules.modes.at(height.0), &header).unwrap().listed;
            if !listed.is_empty() {
                assert_eq!(before.members(), listed, "{name}, {height}");
            }
            let after = link.set_after.expect("the set is known after every block");
            if body["validators"].is_array() {
                let recorded = ValidatorSet::of_accounts(&accounts(&body["validators"])).unwrap();
                assert_eq!(*after, recorded, "{name}, after {height}");
                compared += 1;
            } else {
                compared += usize::from(!listed.is_empty());
            }
            before = after;
        }
        assert_eq!(compared, heights, "{name}");
    }
    let file = vector("qbft/ibft1-quorum-chain-0-100.json");
    let recorded = ValidatorSet::of_accounts(&accounts(&file["validators"])).unwrap();
    let blocks = file["blocks"].as_array().unwrap();
    let state = State::anchor(0, word(&blocks[0]["block_hash"]), 0, recorded.clone(), Vec::new());
    let rules = rules(&[(0, Mode::Ibft1)], 30_000);
    let mut span = Span::new(&rules, &state);
    for block in &blocks[1..] {
        let (header, hash) = (bytes(&block["header_rlp"]), word(&block["block_hash"]));
        let link = span.append(&UpdateItem { header, hash, set_proof: None }).unwrap();
        assert_eq!(link.set_after.as_deref(), Some(&recorded));
    }
}

#[test]
fn items_that_edge_does_not_hash_have_no_effect() {
    for name in ["edge-ecdsa", "edge-bls"] {
        let recording = vector(&format!("evm-live/{name}.json"));
        let rules = live_rules(name, &recording);
        let client = Client::new(rules.clone());
        let mut state = genesis(&rules, &recording);
        let steps = read_steps(&rules, 0, &recording).unwrap();
        let with = |step: &Step<'_>, change: fn(&mut ForkItems)| {
            let mut update = step.update.clone();
            let mut header = Header::decode(&update.items[0].header).unwrap();
            change(&mut header.fork);
            update.items[0].header = header.encode();
            update
        };
        let london = with(&steps[0], |fork| fork.base_fee = Some(7));
        state = accepted(client.verify_update(&state, &london, time_of(&london))).0;
        let shanghai = with(&steps[1], |fork| {
            *fork = ForkItems { base_fee: Some(7), withdrawals_root: Some(Hash32::ZERO), ..ForkItems::default() };
        });
        assert_eq!(refused(client.verify_update(&state, &shanghai, time_of(&shanghai))).check, "header-items");
        // As a state has it that took such items in.
        state.item_count = 21;
        for step in &steps[1..] {
            state = accepted(client.verify_update(&state, &step.update, time_of(&step.update))).0;
        }
        assert_eq!(state, replay(name).state, "{name}");
    }
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
    let (rules, header, whole) = block_with_receipts();
    assert_eq!(verify_body(&rules, &header, &whole), Ok(4 + 13));
    for (check, break_it) in cases {
        let mut body = whole.clone();
        break_it(&mut body);
        assert_eq!(verify_body(&rules, &header, &body).unwrap_err().check, *check);
    }
}

/// Block 9 of a recorded chain, verified, and its body.
fn block_with_receipts() -> (Rules, FinalHeader, serde_json::Value) {
    let recording = vector("evm-live/qbft-votes.json");
    let rules = live_rules("qbft-votes", &recording);
    let client = Client::new(rules.clone());
    let steps = read_steps(&rules, 0, &recording).unwrap();
    let update = Update { items: steps[..9].iter().flat_map(|step| step.update.items.clone()).collect() };
    let (_, headers) = accepted(client.verify_update(&genesis(&rules, &recording), &update, time_of(&update)));
    (rules, headers.last().unwrap().clone(), steps[8].body.clone())
}

#[test]
fn the_public_receipts_of_private_transactions_are_tried_where_the_root_differs() {
    let (rules, mut header, whole) = block_with_receipts();
    // The node is party to the first transaction: it shows what that did, and the root holds a success without logs.
    let mut body = whole.clone();
    body["block"]["transactions"][0]["v"] = "0x26".into();
    let receipts = body["receipts"].as_array().unwrap();
    let public: Vec<_> = receipts.iter().map(|receipt| json::read_receipt(receipt).unwrap()).collect();
    assert!(!public[0].logs.is_empty());
    let values: Vec<_> = public
        .iter()
        .enumerate()
        .map(|(at, receipt)| if at == 0 { receipt.public_of_private().encode() } else { receipt.encode() })
        .collect();
    let transactions = body["block"]["transactions"].as_array().unwrap();
    let transactions: Vec<_> = transactions.iter().map(|item| read_transaction(item).unwrap().unwrap()).collect();
    let detail = Detail::decode(&header.detail).unwrap();
    let roots = Detail { receipts_root: root_of(&values), transactions_root: root_of(&transactions), ..detail };
    header.detail = roots.encode();
    assert_eq!(verify_body(&rules, &header, &body), Ok(4 + 13));
    body["receipts"][0]["status"] = "0x0".into();
    assert_eq!(verify_body(&rules, &header, &body), Ok(4 + 13), "a private failure is a public success");
    body["receipts"][0]["cumulativeGasUsed"] = "0x7".into();
    assert_eq!(verify_body(&rules, &header, &body).unwrap_err().check, "recorded-receipts");
    let mut public = whole;
    public["block"]["transactions"][0]["v"] = "0x1b".into();
    assert_eq!(verify_body(&rules, &header, &public).unwrap_err().check, "recorded-receipts");
}

#[test]
fn a_recorded_block_of_a_later_fork_is_refused_as_such() {
    let mut recording = vector("evm-live/qbft-votes.json");
    let rules = live_rules("qbft-votes", &recording);
    let block = &mut recording["blocks"][40]["block"];
    // What nodes tell besides is no item of a header: the hash is the one they name.
    block["slotNumber"] = "0x28".into();
    let refusal = |recording: &serde_json::Value| read_steps(&rules, 0, recording).unwrap()[39].refusal.clone();
    assert_eq!(refusal(&recording), None);
    recording["blocks"][40]["block"]["hash"] = format!("0x{}", "11".repeat(32)).into();
    let found = refusal(&recording).unwrap();
    assert_eq!((found.check, found.height), ("header-fork", Some(Height(40))));
    recording["blocks"][40]["block"].as_object_mut().unwrap().remove("slotNumber");
    assert_eq!(refusal(&recording), None, "the client refuses it by its hash");
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
