//! The blocks of both chains pass the light clients that follow the real ones, and their misdeeds do not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::time::Duration;

use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Height, UnixMillis};
use cityrelay_core::light_client::{HoldReason, LightClient, SetStatement, Verdict};
use cityrelay_devnet::eth_rpc;
use cityrelay_devnet::sealed_evm::{SealedEvmChain, SealedEvmConfig};
use cityrelay_devnet::weighted_bcos::{SealerChange, WeightedBcosChain, WeightedBcosConfig};
use cityrelay_evm_bft::codec::account::Account;
use cityrelay_evm_bft::codec::json::read_header;
use cityrelay_evm_bft::verify::client::Client;
use cityrelay_evm_bft::verify::head::Detail;
use cityrelay_evm_bft::verify::mode::{Mode, ModeTable};
use cityrelay_evm_bft::verify::rules::{EpochVotes, Rules};
use cityrelay_evm_bft::verify::set::ValidatorSet;
use cityrelay_evm_bft::verify::state::State;
use cityrelay_evm_bft::verify::update::{Update, UpdateItem};
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use cityrelay_fisco_bcos::verify::client::FiscoClient;
use cityrelay_fisco_bcos::verify::sealer_set::{Sealer, SealerSet};
use cityrelay_fisco_bcos::verify::set_change::is_explained_by;
use cityrelay_fisco_bcos::verify::state::TrustedState;
use cityrelay_fisco_bcos::verify::update::{ChainUpdate, SetCall, SetChangeEvidence, UpdateHeader};
use serde_json::json;

const EPOCH: u64 = 10;

fn evm_client() -> Client {
    Client::new(Rules {
        modes: ModeTable::new(&[(0, Mode::Qbft)]).unwrap(),
        epochs: BTreeMap::from([(0, EPOCH)]),
        epoch_votes: EpochVotes::Ignored,
        overrides: BTreeMap::new(),
        contracts: BTreeMap::new(),
        trusting_period: Duration::from_secs(3_600),
        max_clock_drift: Duration::from_secs(10),
    })
}

fn set_of(accounts: &[alloy_primitives::Address]) -> ValidatorSet {
    ValidatorSet::of_accounts(&accounts.iter().map(|account| Account(account.into_array())).collect::<Vec<_>>())
        .unwrap()
}

/// The header at a height as a node's JSON shows it.
fn item(chain: &mut SealedEvmChain, node: usize, height: u64) -> UpdateItem {
    let params = [json!(format!("{height:#x}")), json!(false)];
    let block = eth_rpc::answer(chain, node, "eth_getBlockByNumber", &params).unwrap();
    let (header, hash) = read_header(&block).unwrap();
    UpdateItem { header: header.encode(), hash, set_proof: None }
}

fn evm_anchor(chain: &SealedEvmChain) -> State {
    let genesis = chain.block(0).unwrap();
    State::anchor(0, Hash32(genesis.hash.0), 0, set_of(&genesis.unsealed.validators), Vec::new())
}

/// 45 blocks: a validator voted in, one voted out, votes that an epoch forgets, rounds above 0, a stopped proposer.
fn eventful_chain() -> SealedEvmChain {
    let mut chain = SealedEvmChain::new(SealedEvmConfig { epoch_length: EPOCH, ..SealedEvmConfig::default() });
    let spare = chain.validator_keys()[4].address();
    let leaving = chain.validator_keys()[1].address();
    for height in 1..=45 {
        match height {
            3 => chain.vote(spare, true, None),
            12 => chain.next_round(1),
            14 => chain.next_round(3),
            16 => chain.stop_validator(leaving),
            22 => chain.resume_validator(leaving),
            25 => chain.vote(leaving, false, Some(2)),
            33 => chain.vote(leaving, false, None),
            _ => {}
        }
        chain.produce_block(1_000 + height).unwrap();
    }
    chain
}

#[test]
fn every_qbft_header_is_final_at_once_and_the_sets_agree() {
    let mut chain = eventful_chain();
    let client = evm_client();
    let now = UnixMillis(1_045_000);
    let mut state = evm_anchor(&chain);
    let mut sizes = Vec::new();
    for height in 1..=45 {
        let update = Update { items: vec![item(&mut chain, (height % 2) as usize, height)] };
        let Verdict::Advanced { state: next, headers, .. } = client.verify_update(&state, &update, now) else {
            panic!("height {height}: {:?}", client.verify_update(&state, &update, now));
        };
        assert_eq!(headers.len(), 1);
        let detail = Detail::decode(&headers[0].detail).unwrap();
        let after = chain.validators_after(height).unwrap().to_vec();
        assert_eq!(detail.set_digest, set_of(&after).digest(), "set after {height}");
        sizes.push(after.len());
        state = next;
    }
    assert_eq!((sizes[0], sizes.iter().max(), sizes[44]), (4, Some(&5), 4));
    let rounds: Vec<u32> = (1..=45).map(|height| chain.block(height).unwrap().round).collect();
    assert!(rounds.contains(&1) && rounds.contains(&3), "{rounds:?}");
    // The epoch at 30 forgot the two votes of block 25 and 26.
    assert_eq!(sizes[31], 5);
}

#[test]
fn a_long_update_is_final_as_a_whole() {
    let mut chain = eventful_chain();
    let items = (1..=45).map(|height| item(&mut chain, 0, height)).collect();
    let verdict = evm_client().verify_update(&evm_anchor(&chain), &Update { items }, UnixMillis(1_045_000));
    let Verdict::Advanced { headers, set_changes, .. } = verdict else { panic!("{verdict:?}") };
    assert_eq!((headers.len(), set_changes.len()), (45, 2));
}

#[test]
fn qbft_stalls_without_a_quorum_and_goes_on_with_one() {
    let mut chain = SealedEvmChain::new(SealedEvmConfig::default());
    let keys: Vec<_> = chain.validator_keys().iter().map(|key| key.address()).collect();
    chain.stop_validator(keys[0]);
    chain.produce_block(10).unwrap();
    assert_eq!(chain.newest().seals.len(), 3);
    chain.stop_validator(keys[1]);
    assert!(chain.produce_block(11).is_none());
    chain.resume_validator(keys[0]);
    assert!(chain.produce_block(12).is_some());
}

fn bcos_client(suite: CryptoSuite) -> FiscoClient {
    FiscoClient {
        suite,
        chain_id: "chain0".to_owned(),
        group_id: "group0".to_owned(),
        trusting_period: Duration::from_secs(3_600),
    }
}

fn bcos_anchor(chain: &WeightedBcosChain) -> TrustedState {
    let first = chain.block(1).unwrap();
    TrustedState::anchored(Height(1), first.hash, SealerSet::of_header(&first.header).unwrap())
}

/// The table joins, gains weight, loses weight and members, one change a block; a leader is skipped, a node stopped.
fn changing_chain(suite: CryptoSuite) -> WeightedBcosChain {
    let config = WeightedBcosConfig { suite, weights: vec![1, 2, 1, 1], ..WeightedBcosConfig::default() };
    let mut chain = WeightedBcosChain::new(config);
    let ids: Vec<_> = chain.node_keys().iter().map(|key| *key.public()).collect();
    let steps = [
        SealerChange::AddObserver(ids[4]),
        SealerChange::AddSealer(ids[4], 1),
        SealerChange::SetWeight(ids[4], 3),
        SealerChange::AddObserver(ids[0]),
        SealerChange::AddSealer(ids[0], 2),
        SealerChange::Remove(ids[2]),
        SealerChange::SetWeight(ids[4], 1),
    ];
    for (step, change) in steps.into_iter().enumerate() {
        if step == 2 {
            chain.skip_views(1);
        }
        if step == 3 {
            chain.stop_sealer(ids[1]);
        }
        if step == 4 {
            chain.resume_sealer(ids[1]);
        }
        chain.change_sealers(change);
        chain.produce_block(1_000 * (step as u64 + 1)).unwrap();
    }
    chain.change_sealers(SealerChange::AddObserver(ids[5]));
    chain.produce_block(60_000).unwrap();
    chain
}

fn evidence(chain: &WeightedBcosChain, height: u64) -> SetChangeEvidence {
    let block = chain.block(height).unwrap();
    let included = &block.transactions[0];
    SetChangeEvidence {
        transaction_hashes: block.transaction_hashes(),
        receipt_hashes: block.receipt_hashes(),
        calls: vec![SetCall {
            position: 0,
            transaction: included.signed.transaction.data.clone(),
            receipt: included.receipt.clone(),
        }],
    }
}

fn follows_every_change(suite: CryptoSuite) {
    let chain = changing_chain(suite);
    let client = bcos_client(suite);
    let mut state = bcos_anchor(&chain);
    let mut changes = 0;
    for height in 2..=chain.height() {
        let sealed = chain.block(height).unwrap().at_node(height as usize % 3);
        let listed = SealerSet::of_header(&sealed.header).unwrap();
        let is_change = listed != state.set;
        let evidence = is_change.then(|| evidence(&chain, height - 1));
        let item = UpdateHeader { sealed, skips_parent: false, evidence };
        let update = ChainUpdate { headers: vec![item] };
        let now = UnixMillis(chain.block(height).unwrap().header.timestamp);
        if is_change {
            changes += 1;
            let held = client.verify_update(&state, &update, now);
            let Verdict::HeldBack { reason: HoldReason::SetUnconfirmed { height: at, digest }, .. } = held else {
                panic!("height {height}: {held:?}");
            };
            assert_eq!((at, digest), (Height(height), listed.digest(suite)));
            state = client.apply_set_statement(&state, &SetStatement { height: at, digest }).unwrap();
        }
        let verdict = client.verify_update(&state, &update, now);
        let Verdict::Advanced { state: next, .. } = verdict else { panic!("height {height}: {verdict:?}") };
        state = next;
    }
    // Becoming an observer changes nothing; every other step shows in the header after it.
    assert_eq!(changes, 6);
}

#[test]
fn every_sealer_change_is_followed() {
    follows_every_change(CryptoSuite::Standard);
}

#[test]
fn every_sealer_change_of_a_gm_chain_is_followed() {
    follows_every_change(CryptoSuite::Gm);
}

#[test]
fn evidence_of_another_change_explains_nothing() {
    let chain = changing_chain(CryptoSuite::Standard);
    let (before, after) = (chain.block(3).unwrap(), chain.block(4).unwrap());
    let roots = cityrelay_fisco_bcos::verify::state::Roots {
        transactions: Hash32(before.header.txs_root.clone().try_into().unwrap()),
        receipts: Hash32(before.header.receipts_root.clone().try_into().unwrap()),
    };
    let old = SealerSet::of_header(&before.header).unwrap();
    let new = SealerSet::of_header(&after.header).unwrap();
    assert!(is_explained_by(CryptoSuite::Standard, &roots, &old, &new, &evidence(&chain, 3)).unwrap());
    let heavier: Vec<Sealer> =
        new.sealers().iter().map(|sealer| Sealer { id: sealer.id, weight: sealer.weight + 1 }).collect();
    let heavier = SealerSet::new(heavier).unwrap();
    assert!(!is_explained_by(CryptoSuite::Standard, &roots, &old, &heavier, &evidence(&chain, 3)).unwrap());
}

#[test]
fn bcos_stalls_without_weight_and_goes_on_with_it() {
    let config = WeightedBcosConfig { weights: vec![1, 2, 1, 1], ..WeightedBcosConfig::default() };
    let mut chain = WeightedBcosChain::new(config);
    let ids: Vec<_> = chain.node_keys().iter().map(|key| *key.public()).collect();
    chain.stop_sealer(ids[1]);
    chain.change_sealers(SealerChange::AddObserver(ids[4]));
    assert!(chain.produce_block(1_000).is_none(), "3 of 5 are too little weight");
    chain.resume_sealer(ids[1]);
    chain.stop_sealer(ids[0]);
    assert!(chain.produce_block(1_000).is_some(), "4 of 5 are enough");
}
