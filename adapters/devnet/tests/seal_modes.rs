//! Every mode of the sealed EVM chain passes the light client that follows the real chains, through every kind of change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::time::Duration;

use alloy_primitives::Address;
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Height, UnixMillis};
use cityrelay_core::light_client::{HoldReason, LightClient, Verdict};
use cityrelay_devnet::eth_rpc;
use cityrelay_devnet::sealed_evm::mode::SealMode;
use cityrelay_devnet::sealed_evm::{SealedEvmChain, SealedEvmConfig, validator_contract};
use cityrelay_evm_bft::codec::account::Account;
use cityrelay_evm_bft::codec::edge::EdgeValidator;
use cityrelay_evm_bft::codec::json::read_header;
use cityrelay_evm_bft::verify::client::Client;
use cityrelay_evm_bft::verify::head::Detail;
use cityrelay_evm_bft::verify::mode::{Mode, ModeTable};
use cityrelay_evm_bft::verify::rules::{ContractLayout, EpochVotes, Rules};
use cityrelay_evm_bft::verify::set::ValidatorSet;
use cityrelay_evm_bft::verify::state::State;
use cityrelay_evm_bft::verify::update::{SetProof, Update, UpdateItem};
use serde_json::{Value, json};

const EPOCH: u64 = 10;

/// Blocks of [`changing_chain`].
const BLOCKS: u64 = 36;

fn client(mode: SealMode) -> Client {
    client_of(&SealedEvmConfig::of_mode(mode))
}

fn client_of(config: &SealedEvmConfig) -> Client {
    let named = |mode: SealMode| Mode::from_name(mode.name()).unwrap();
    let later = config.migration.map(|(from, mode)| (from, named(mode)));
    let modes: Vec<_> = std::iter::once((0, named(config.mode))).chain(later).collect();
    let contract = ContractLayout {
        address: Account(validator_contract::ADDRESS.into_array()),
        length_slot: Hash32::ZERO,
        items_slot: keccak256(Hash32::ZERO.as_bytes()),
    };
    Client::new(Rules {
        modes: ModeTable::new(&modes).unwrap(),
        epochs: BTreeMap::from([(0, EPOCH)]),
        epoch_votes: EpochVotes::Ignored,
        overrides: BTreeMap::new(),
        contracts: config.has_validator_contract().then_some((0, contract)).into_iter().collect(),
        trusting_period: Duration::from_secs(3_600),
        max_clock_drift: Duration::from_secs(10),
    })
}

fn set_of(chain: &SealedEvmChain, members: &[Address]) -> ValidatorSet {
    let member =
        |address: &Address| EdgeValidator { account: Account(address.into_array()), bls_key: chain.bls_key(*address) };
    let set = ValidatorSet::new(members.iter().map(member).collect()).unwrap();
    if chain.config().mode.is_edge() { set } else { set.sorted() }
}

fn anchor(chain: &SealedEvmChain) -> State {
    let set = set_of(chain, chain.validators_after(0).unwrap());
    State::anchor(0, Hash32(chain.block(0).unwrap().hash.0), 0, set, Vec::new())
}

fn answer(chain: &mut SealedEvmChain, node: usize, method: &str, params: Value) -> Value {
    eth_rpc::answer(chain, node, method, params.as_array().unwrap()).unwrap()
}

/// The header at a height as a node's JSON shows it, with the contract's set where one keeps it.
fn item(chain: &mut SealedEvmChain, node: usize, height: u64) -> UpdateItem {
    let at = format!("{height:#x}");
    let (header, hash) = read_header(&answer(chain, node, "eth_getBlockByNumber", json!([at, false]))).unwrap();
    let set_proof = (chain.config().mode_at(height + 1) == SealMode::QbftContract).then(|| {
        let first = alloy_primitives::U256::from_be_bytes(keccak256(Hash32::ZERO.as_bytes()).0);
        let length = chain.validators_after(height).unwrap().len();
        let items = (0..length).map(|index| format!("{:#x}", first + alloy_primitives::U256::from(index)));
        let slots: Vec<String> = std::iter::once("0x0".to_owned()).chain(items).collect();
        let proof = answer(chain, node, "eth_getProof", json!([validator_contract::ADDRESS, slots, at]));
        let nodes = |list: &Value| -> Vec<Vec<u8>> {
            list.as_array().unwrap().iter().map(|node| hex::decode(&node.as_str().unwrap()[2..]).unwrap()).collect()
        };
        let slots = proof["storageProof"].as_array().unwrap().iter().map(|slot| nodes(&slot["proof"])).collect();
        SetProof { account: nodes(&proof["accountProof"]), slots }
    });
    UpdateItem { header: header.encode(), hash, set_proof }
}

/// A validator joins, rounds fail, one is stopped, one leaves: by votes, or by the contract.
fn changing_chain(mode: SealMode) -> SealedEvmChain {
    changing_chain_of(SealedEvmConfig::of_mode(mode))
}

fn changing_chain_of(config: SealedEvmConfig) -> SealedEvmChain {
    let mut chain = SealedEvmChain::new(SealedEvmConfig { epoch_length: EPOCH, ..config });
    let keys: Vec<Address> = chain.validator_keys().iter().map(|key| key.address()).collect();
    let (joining, leaving) = (keys[4], keys[1]);
    for height in 1..=BLOCKS {
        match (height, chain.config().mode_at(height)) {
            (2, SealMode::QbftContract) => drop(chain.replace_validators(&keys[..5]).unwrap()),
            (2, _) => chain.vote(joining, true, None),
            (12, _) => chain.next_round(1),
            (14, _) => chain.next_round(3),
            (16, _) => chain.stop_validator(leaving),
            (22, _) => chain.resume_validator(leaving),
            (25, SealMode::QbftContract) => {
                let left: Vec<Address> = keys[..5].iter().filter(|key| **key != leaving).copied().collect();
                chain.replace_validators(&left).unwrap();
            }
            (25, _) => chain.vote(leaving, false, None),
            _ => {}
        }
        chain.produce_block(1_000 + height).unwrap();
    }
    chain
}

#[test]
fn every_mode_is_followed_through_its_changes() {
    for mode in SealMode::ALL {
        let mut chain = changing_chain(mode);
        let client = client(mode);
        let now = UnixMillis((1_000 + BLOCKS) * 1_000);
        let mut state = anchor(&chain);
        let (mut held, mut sizes) = (Vec::new(), Vec::new());
        for height in 1..=BLOCKS {
            let update = Update { items: vec![item(&mut chain, (height % 2) as usize, height)] };
            let headers = match client.verify_update(&state, &update, now) {
                Verdict::Advanced { state: next, headers, .. } => {
                    state = next;
                    headers
                }
                Verdict::HeldBack { state: next, headers, reason, .. } => {
                    held.push((height, reason));
                    state = next;
                    headers
                }
                Verdict::Refused(refusal) => panic!("{mode:?}, height {height}: {refusal}"),
            };
            for header in headers {
                let after = chain.validators_after(header.height.0).unwrap();
                let digest = Detail::decode(&header.detail).unwrap().set_digest;
                assert_eq!(digest, set_of(&chain, after).digest(), "{mode:?}, set after {}", header.height.0);
                sizes.push(after.len());
            }
        }
        assert_eq!(client.trusted_height(&state), Height(BLOCKS), "{mode:?}");
        assert_eq!((sizes[0], sizes.iter().max(), sizes.last()), (4, Some(&5), Some(&4)), "{mode:?}");
        let rounds: Vec<u32> = (1..=BLOCKS).map(|height| chain.block(height).unwrap().round).collect();
        assert!(rounds.contains(&1) && rounds.contains(&3), "{mode:?}: {rounds:?}");
        match mode {
            // The block after the set grew has a quorum of the set before, and is final with the one after it.
            SealMode::QbftContract => {
                let expected = HoldReason::ShortOfQuorum { height: Height(3), expected: 4, got: 3 };
                assert_eq!(held, [(3, expected)]);
                assert_eq!(chain.block(3).unwrap().seals.len(), 3);
            }
            _ => assert_eq!(held, [], "{mode:?}"),
        }
    }
}

/// A validator joins before the mode changes and one leaves after.
#[test]
fn a_chain_that_changes_its_mode_is_followed_through_it() {
    use SealMode::{Ibft1, Ibft2, Qbft, QbftContract};
    for (before, after) in [(Ibft1, Qbft), (Ibft2, Qbft), (Qbft, QbftContract), (Ibft1, QbftContract)] {
        // Not at the end of an epoch, and at one.
        for from in [18, 20] {
            let config = SealedEvmConfig { migration: Some((from, after)), ..SealedEvmConfig::of_mode(before) };
            let mut chain = changing_chain_of(config.clone());
            let (client, now) = (client_of(&config), UnixMillis((1_000 + BLOCKS) * 1_000));
            let mut state = anchor(&chain);
            let mut sizes = Vec::new();
            for height in 1..=BLOCKS {
                let update = Update { items: vec![item(&mut chain, (height % 2) as usize, height)] };
                let headers = match client.verify_update(&state, &update, now) {
                    Verdict::Advanced { state: next, headers, .. } | Verdict::HeldBack { state: next, headers, .. } => {
                        state = next;
                        headers
                    }
                    Verdict::Refused(refusal) => panic!("{before:?} to {after:?} at {from}, {height}: {refusal}"),
                };
                for header in headers {
                    let members = chain.validators_after(header.height.0).unwrap();
                    let digest = Detail::decode(&header.detail).unwrap().set_digest;
                    assert_eq!(digest, set_of(&chain, members).digest(), "{before:?} to {after:?}: {}", header.height);
                    sizes.push(members.len());
                }
            }
            assert_eq!(client.trusted_height(&state), Height(BLOCKS), "{before:?} to {after:?}");
            assert_eq!(
                (sizes[0], sizes.iter().max(), sizes.last()),
                (4, Some(&5), Some(&4)),
                "{before:?} to {after:?}"
            );
            let items = (1..=BLOCKS).map(|height| item(&mut chain, 0, height)).collect();
            let whole = client.verify_update(&anchor(&chain), &Update { items }, now);
            let Verdict::Advanced { headers, .. } = whole else { panic!("{before:?} to {after:?}: {whole:?}") };
            assert_eq!(headers.len() as u64, BLOCKS);
            // Whoever takes the modes from another height stops there.
            let wrong = SealedEvmConfig { migration: Some((from + 1, after)), ..config };
            let items = (1..=BLOCKS).map(|height| item(&mut chain, 0, height)).collect();
            let verdict = client_of(&wrong).verify_update(&anchor(&chain), &Update { items }, now);
            assert!(matches!(verdict, Verdict::Refused(_)), "{before:?} to {after:?}: {verdict:?}");
        }
    }
}

#[test]
fn a_long_update_is_final_as_a_whole_in_every_mode() {
    for mode in SealMode::ALL {
        let mut chain = changing_chain(mode);
        let items = (1..=BLOCKS).map(|height| item(&mut chain, 0, height)).collect();
        let now = UnixMillis((1_000 + BLOCKS) * 1_000);
        let verdict = client(mode).verify_update(&anchor(&chain), &Update { items }, now);
        let Verdict::Advanced { headers, set_changes, .. } = verdict else { panic!("{mode:?}: {verdict:?}") };
        assert_eq!((headers.len() as u64, set_changes.len()), (BLOCKS, 2), "{mode:?}");
    }
}

#[test]
fn nodes_of_every_mode_show_the_same_hash_under_other_seals() {
    for mode in SealMode::ALL {
        let mut chain = SealedEvmChain::new(SealedEvmConfig::of_mode(mode));
        chain.produce_block(1_001).unwrap();
        let block =
            |chain: &mut SealedEvmChain, node| answer(chain, node, "eth_getBlockByNumber", json!(["0x1", false]));
        let (one, other) = (block(&mut chain, 0), block(&mut chain, 1));
        assert_eq!(one["hash"], other["hash"], "{mode:?}");
        assert_ne!(one["extraData"], other["extraData"], "{mode:?}");
    }
}

#[test]
fn methods_that_the_real_nodes_lack_are_missing() {
    let refused = |mode: SealMode, method: &str, params: Value| {
        let mut chain = SealedEvmChain::new(SealedEvmConfig::of_mode(mode));
        eth_rpc::answer(&mut chain, 0, method, params.as_array().unwrap()).is_err_and(|fault| fault.code == -32601)
    };
    let proof = json!([Address::ZERO, [], "latest"]);
    for mode in SealMode::ALL {
        assert_eq!(refused(mode, "eth_getProof", proof.clone()), mode.is_edge(), "{mode:?}");
        assert_eq!(refused(mode, "eth_getBlockReceipts", json!(["0x0"])), mode.is_edge(), "{mode:?}");
        assert_eq!(refused(mode, "ibft_getValidatorsByBlockNumber", json!(["0x0"])), mode != SealMode::Ibft2);
    }
}
