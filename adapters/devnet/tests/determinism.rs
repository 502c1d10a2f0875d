//! The same seed and the same calls give the same bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use cityrelay_devnet::eth_rpc;
use cityrelay_devnet::sealed_evm::{SealedEvmChain, SealedEvmConfig};
use cityrelay_devnet::weighted_bcos::{SealerChange, WeightedBcosChain, WeightedBcosConfig};
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use serde_json::{Value, json};

fn evm(seed: u64) -> Vec<Value> {
    let mut chain = SealedEvmChain::new(SealedEvmConfig { seed, ..SealedEvmConfig::default() });
    let spare = chain.validator_keys()[4].address();
    chain.vote(spare, true, None);
    (1..=6)
        .map(|height| {
            chain.produce_block(10 * height).unwrap();
            eth_rpc::answer(&mut chain, 1, "eth_getBlockByNumber", &[json!("latest"), json!(true)]).unwrap()
        })
        .collect()
}

fn bcos(seed: u64, suite: CryptoSuite) -> Vec<cityrelay_fisco_bcos::codec::header::SealedHeader> {
    let mut chain = WeightedBcosChain::new(WeightedBcosConfig { seed, suite, ..WeightedBcosConfig::default() });
    let spare = *chain.node_keys()[4].public();
    chain.change_sealers(SealerChange::AddObserver(spare));
    chain.produce_block(1_000).unwrap();
    chain.change_sealers(SealerChange::AddSealer(spare, 2));
    chain.produce_block(2_000).unwrap();
    (0..=chain.height()).map(|height| chain.block(height).unwrap().at_node(0)).collect()
}

#[test]
fn a_seed_fixes_every_block() {
    assert_eq!(evm(1), evm(1));
    assert_ne!(evm(1), evm(2));
    for suite in [CryptoSuite::Standard, CryptoSuite::Gm] {
        assert_eq!(bcos(1, suite), bcos(1, suite));
        assert_ne!(bcos(1, suite), bcos(2, suite));
    }
}
