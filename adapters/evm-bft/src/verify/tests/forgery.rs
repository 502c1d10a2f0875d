//! Whatever is changed in a recorded header, no other block becomes final.

use cityrelay_core::light_client::{LightClient, Verdict};
use proptest::prelude::*;

use super::kit::{genesis, live_rules, time_of, vector};
use crate::codec::header::Header;
use crate::recording::read_steps;
use crate::verify::client::{Client, hash_of};
use crate::verify::rules::Rules;
use crate::verify::state::State;
use crate::verify::update::Update;

/// A recorded chain with the state before each of its headers.
struct Chain {
    name: &'static str,
    rules: Rules,
    steps: Vec<(State, Update)>,
}

fn chain(name: &'static str) -> Chain {
    let recording = vector(&format!("evm-live/{name}.json"));
    let rules = live_rules(name, &recording);
    let client = Client::new(rules.clone());
    let mut state = genesis(&rules, &recording);
    let mut steps = Vec::new();
    for step in read_steps(&rules, 0, &recording).unwrap() {
        let after = match client.verify_update(&state, &step.update, time_of(&step.update)) {
            Verdict::Advanced { state, .. } | Verdict::HeldBack { state, .. } => state,
            Verdict::Refused(refusal) => panic!("{name}: {refusal}"),
        };
        steps.push((state, step.update));
        state = after;
    }
    Chain { name, rules, steps }
}

/// Changes one byte and lets the claimed hash fit, as a forger would.
fn forged(chain: &Chain, update: &Update, at: prop::sample::Index, flip: u8) -> Update {
    let mut update = update.clone();
    let item = &mut update.items[0];
    let at = at.index(item.header.len());
    item.header[at] ^= flip;
    if let Ok(header) = Header::decode(&item.header)
        && let Ok(hash) = hash_of(&chain.rules, &header)
    {
        item.hash = hash;
    }
    update
}

#[test]
fn no_changed_header_makes_another_block_final() {
    for name in ["qbft-votes", "qbft-contract", "ibft1-to-qbft", "edge-ecdsa", "edge-bls"] {
        let chain = chain(name);
        let client = Client::new(chain.rules.clone());
        let cases = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1_u8..);
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(400));
        let outcome = runner.run(&cases, |(which, at, flip)| {
            let (state, update) = which.get(&chain.steps);
            let now = time_of(update);
            let forged = forged(&chain, update, at, flip);
            if let Verdict::Advanced { headers, .. } = client.verify_update(state, &forged, now) {
                // Seals, the round and whatever a mode leaves out of its hash may differ; the block may not.
                let hash = headers.last().map(|header| header.hash);
                prop_assert_eq!(hash, Some(update.items[0].hash), "{}", chain.name);
            }
            Ok(())
        });
        assert!(outcome.is_ok(), "{name}: {outcome:?}");
    }
}
