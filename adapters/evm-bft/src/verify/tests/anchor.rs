use cityrelay_core::hash::Hash32;
use cityrelay_core::light_client::{LightClient, Verdict};
use serde_json::Value;

use super::kit::{Plan, SealedByTest, genesis, live_rules, members, time_of, vector};
use crate::codec::header::Header;
use crate::codec::json;
use crate::recording::{pick_set_proof, read_steps};
use crate::verify::anchor::{newest_anchor_height, read_anchor, verify_anchor_height};
use crate::verify::client::Client;
use crate::verify::mode::Mode;
use crate::verify::rules::{EpochVotes, Rules};
use crate::verify::update::SetProof;

const RECORDED: [&str; 5] = ["qbft-votes", "qbft-contract", "ibft1-to-qbft", "edge-ecdsa", "edge-bls"];

fn recorded_header(recording: &Value, height: u64) -> (Header, Hash32) {
    json::read_header(&recording["blocks"][usize::try_from(height).unwrap()]["block"]).unwrap()
}

fn set_proof(rules: &Rules, recording: &Value, height: u64) -> Option<SetProof> {
    let answer = &recording["blocks"][usize::try_from(height).unwrap()]["validator_contract_proof"];
    let layout = rules.contract_for(height + 1).filter(|_| rules.modes.at(height + 1) == Mode::QbftContract)?;
    Some(pick_set_proof(layout, &json::read_account_proof(answer).unwrap()).unwrap())
}

#[test]
fn every_recorded_anchor_is_the_state_that_following_the_chain_gives() {
    for name in RECORDED {
        let recording = vector(&format!("evm-live/{name}.json"));
        let rules = live_rules(name, &recording);
        let client = Client::new(rules.clone());
        let mut state = genesis(&rules, &recording);
        let mut compared = 0;
        let steps = read_steps(&rules, 0, &recording).unwrap();
        for step in std::iter::once(None).chain(steps.iter().map(Some)) {
            if let Some(step) = step {
                state = match client.verify_update(&state, &step.update, time_of(&step.update)) {
                    Verdict::Advanced { state, .. } | Verdict::HeldBack { state, .. } => state,
                    Verdict::Refused(refusal) => panic!("{name}: {refusal}"),
                };
            }
            let height = step.map_or(0, |step| step.height.0);
            if verify_anchor_height(&rules, height).is_err() || state.height != height {
                continue;
            }
            let (header, hash) = recorded_header(&recording, height);
            let proof = set_proof(&rules, &recording, height);
            let reading = read_anchor(&rules, &header, hash, proof.as_ref());
            let reading = reading.unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
            assert_eq!((reading.height, reading.hash), (state.height, state.hash), "{name}");
            assert_eq!((&reading.set, &reading.votes), (&*state.set, &*state.votes), "{name} {height}");
            compared += 1;
        }
        assert!(compared >= 3, "{name}: {compared}");
    }
}

#[test]
fn a_block_with_votes_that_no_header_shows_is_no_anchor() {
    let recording = vector("evm-live/qbft-votes.json");
    let rules = live_rules("qbft-votes", &recording);
    let (header, hash) = recorded_header(&recording, 31);
    assert_eq!(read_anchor(&rules, &header, hash, None).unwrap_err().check, "anchor-height");
    assert_eq!([0, 29, 30, 59, 73].map(|tip| newest_anchor_height(&rules, tip)), [0, 0, 30, 30, 60]);
    let recording = vector("evm-live/qbft-contract.json");
    let rules = live_rules("qbft-contract", &recording);
    assert_eq!([6, 7, 25].map(|tip| newest_anchor_height(&rules, tip)), [0, 7, 25]);
}

#[test]
fn another_hash_than_the_computed_one_is_refused() {
    for name in RECORDED {
        let recording = vector(&format!("evm-live/{name}.json"));
        let rules = live_rules(name, &recording);
        for height in [0, rules.epoch_length_at(0)] {
            let (header, hash) = recorded_header(&recording, height);
            let proof = set_proof(&rules, &recording, height);
            let other = Hash32([1; 32]);
            let refusal = read_anchor(&rules, &header, other, proof.as_ref()).unwrap_err();
            assert_eq!(refusal.check, "block-hash", "{name} {height}");
            let changed = Header { gas_used: header.gas_used + 1, ..header };
            let refusal = read_anchor(&rules, &changed, hash, proof.as_ref()).unwrap_err();
            assert_eq!(refusal.check, "block-hash", "{name} {height}");
        }
    }
}

#[test]
fn a_contracts_set_must_be_proved() {
    let recording = vector("evm-live/qbft-contract.json");
    let rules = live_rules("qbft-contract", &recording);
    let (header, hash) = recorded_header(&recording, 20);
    assert_eq!(read_anchor(&rules, &header, hash, None).unwrap_err().check, "set-proof-missing");
    let other = set_proof(&rules, &recording, 12).unwrap();
    assert_eq!(read_anchor(&rules, &header, hash, Some(&other)).unwrap_err().check, "proof-account");
}

#[test]
fn an_epoch_blocks_own_vote_is_pending_where_it_counts() {
    let mut chain = SealedByTest::new();
    chain.rules.epochs.insert(0, 1);
    let item = chain.next(&Plan::new(&[1, 2, 3, 4], &[1, 2, 3]).voting(9, true));
    let header = Header::decode(&item.header).unwrap();
    let reading = read_anchor(&chain.rules, &header, item.hash, None).unwrap();
    assert_eq!((reading.set, reading.votes.len()), (members(&[1, 2, 3, 4]), 1));
    chain.rules.epoch_votes = EpochVotes::Ignored;
    assert_eq!(read_anchor(&chain.rules, &header, item.hash, None).unwrap().votes, []);
}
