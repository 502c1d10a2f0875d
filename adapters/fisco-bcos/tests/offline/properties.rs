//! What must hold for any bytes: decoders never panic, and give back what was written.

use cityrelay_core::hash::Hash32;
use cityrelay_core::light_client::AdapterValue;
use cityrelay_fisco_bcos::codec::merkle;
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use cityrelay_fisco_bcos::codec::transaction::{Transaction, TransactionData};
use cityrelay_fisco_bcos::codec::web3::Web3Transaction;
use cityrelay_fisco_bcos::verify::checkpoint::CheckpointProof;
use cityrelay_fisco_bcos::verify::merkle_path::{Place, Tree, verify_path};
use cityrelay_fisco_bcos::verify::state::TrustedState;
use cityrelay_fisco_bcos::verify::update::ChainUpdate;
use proptest::prelude::*;

use crate::chain::TestChain;
use crate::verdicts::update;

/// Whether `bytes` decode to a value that is written in another way: each value must have one encoding only.
fn has_a_second_encoding<V: AdapterValue>(bytes: &[u8]) -> bool {
    V::decode(V::VERSION, bytes).is_ok_and(|value| value.encode() != bytes)
}

fn transactions() -> impl Strategy<Value = Transaction> {
    let texts =
        ("[a-z0-9]{0,8}", "[a-z0-9]{0,8}", "[a-f0-9]{0,300}", "(0x)?[a-f0-9]{0,40}", ".{0,20}", "(0x[0-9a-f]{1,9})?");
    let numbers =
        (0..3_u32, 0..=i64::MAX.unsigned_abs(), 0..=i64::MAX.unsigned_abs(), any::<i32>(), any::<i64>(), 0..2_u8);
    let bytes = (prop::collection::vec(any::<u8>(), 0..300), prop::collection::vec(any::<u8>(), 0..70));
    (texts, numbers, bytes).prop_map(|(texts, numbers, (input, other))| {
        let (chain_id, group_id, nonce, to, abi, value) = texts;
        let (version, block_limit, gas_limit, attribute, import_time, kind) = numbers;
        let data = TransactionData {
            version,
            chain_id,
            group_id,
            block_limit,
            nonce,
            to,
            input,
            abi,
            gas_price: value.clone(),
            max_fee_per_gas: value.clone(),
            max_priority_fee_per_gas: value.clone(),
            value,
            gas_limit,
            extension: other.clone(),
        };
        Transaction { data, signature: other, attribute, import_time, kind, ..Transaction::default() }
    })
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Transaction::decode(&bytes);
        let _ = Web3Transaction::read(&bytes);
        prop_assert!(!has_a_second_encoding::<TrustedState>(&bytes));
        prop_assert!(!has_a_second_encoding::<ChainUpdate>(&bytes));
        prop_assert!(!has_a_second_encoding::<CheckpointProof>(&bytes));
    }

    #[test]
    fn transactions_survive_their_tars_form(transaction in transactions()) {
        prop_assert_eq!(Transaction::decode(&transaction.encode()), Ok(transaction));
    }

    #[test]
    fn a_flipped_bit_of_an_update_is_refused_or_gives_another_update(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let chain = TestChain::new(CryptoSuite::Standard, &[1, 1]);
        let update = update(chain.seal(chain.header(&[], &[])));
        let mut bytes = update.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(other) = ChainUpdate::decode(ChainUpdate::VERSION, &bytes) {
            prop_assert_ne!(&other, &update);
            prop_assert_eq!(other.encode(), bytes);
        }
    }

    #[test]
    fn a_proof_holds_for_its_own_leaf_and_place_only(leaves in 1..200_usize, at in any::<prop::sample::Index>(), other in any::<prop::sample::Index>()) {
        let suite = CryptoSuite::Standard;
        let hashes: Vec<Hash32> = (0..leaves).map(|k| suite.hash(&k.to_be_bytes())).collect();
        let (index, other) = (at.index(leaves), other.index(leaves));
        let root = merkle::root(suite, &hashes);
        let proof = merkle::proof(suite, &hashes, index);
        let verify = |leaf, index| verify_path(suite, Tree::Receipts, &proof, leaf, Place { index, leaves }, root).is_ok();
        prop_assert!(verify(hashes[index], index));
        prop_assert_eq!(verify(hashes[other], index), index == other);
        prop_assert_eq!(verify(hashes[index], other), index == other);
    }
}
