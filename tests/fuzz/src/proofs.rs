//! Trie and Merkle proofs: a real proof proves its value, a proof with one byte changed proves nothing, and what is
//! proved from made-up nodes another library proves too.

use alloy_primitives::{B256, Bytes};
use alloy_trie::Nibbles;
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_evm_bft::codec::ordered_trie::{index_key, root_and_path};
use cityrelay_evm_bft::codec::trie_proof::verify_proof;
use cityrelay_fisco_bcos::codec::merkle;
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use cityrelay_fisco_bcos::verify::merkle_path::{Place, Tree, verify_path};

/// The input is read as nodes under the hash of the first, then as values of a trie whose proof is changed.
pub fn trie(input: &[u8]) {
    let Some((shape, rest)) = input.split_first_chunk::<4>() else { return };
    let mut nodes: Vec<&[u8]> = Vec::new();
    let mut left = rest;
    for _ in 0..=(shape[0] % 8) {
        let Some((length, after)) = left.split_first() else { break };
        let (node, after) = after.split_at_checked(usize::from(*length) * 2).unwrap_or((after, &[]));
        nodes.push(node);
        left = after;
    }
    made_up(&nodes, shape);
    changed(&nodes, shape);
}

fn made_up(nodes: &[&[u8]], shape: &[u8; 4]) {
    // A root is referred to by its hash however short it is; the other library takes a short one for an inlined node.
    let Some(first) = nodes.first().filter(|first| first.len() >= 32) else { return };
    let key = &shape[1..=usize::from(1 + shape[0] % 3)];
    let root = keccak256(first);
    let Ok(value) = verify_proof(root, key, nodes) else { return };
    let owned: Vec<Bytes> = nodes.iter().map(|node| Bytes::copy_from_slice(node)).collect();
    let theirs = alloy_trie::proof::verify_proof(B256::from(root.0), Nibbles::unpack(key), value.clone(), &owned);
    assert!(theirs.is_ok(), "ours {value:?}, theirs {theirs:?}");
}

fn changed(values: &[&[u8]], shape: &[u8; 4]) {
    let values: Vec<_> = values.iter().filter(|value| !value.is_empty()).collect();
    if values.is_empty() {
        return;
    }
    let index = u64::from(shape[1]) % values.len() as u64;
    let (root, mut path) = root_and_path(&values, index);
    let key = index_key(index);
    assert_eq!(verify_proof(root, &key, &path), Ok(Some(values[index as usize].to_vec())));
    let node = usize::from(shape[2]) % path.len();
    let place = usize::from(shape[3]) % path[node].len();
    path[node][place] ^= shape[0] | 1;
    assert!(verify_proof(root, &key, &path).is_err());
}

/// A tree of up to 64 leaves: its proof holds, at no other place, and not with one byte changed.
pub fn merkle(input: &[u8]) {
    let Some((shape, rest)) = input.split_first_chunk::<4>() else { return };
    let suite = if shape[0] & 1 == 0 { CryptoSuite::Standard } else { CryptoSuite::Gm };
    let leaves: Vec<Hash32> = rest
        .chunks(8)
        .take(64)
        .enumerate()
        .map(|(at, leaf)| {
            // The position makes every leaf its own, as hashes of different transactions are.
            suite.hash(&[&at.to_be_bytes(), leaf].concat())
        })
        .collect();
    if leaves.is_empty() {
        return;
    }
    let index = usize::from(shape[1]) % leaves.len();
    let root = merkle::root(suite, &leaves);
    let mut proof = merkle::proof(suite, &leaves, index);
    let check = |proof: &[Hash32], leaf: Hash32, index: usize| {
        verify_path(suite, Tree::Transactions, proof, leaf, Place { index, leaves: leaves.len() }, root)
    };
    assert_eq!(check(&proof, leaves[index], index), Ok(()));
    let other = usize::from(shape[2]) % leaves.len();
    assert_eq!(check(&proof, leaves[index], other).is_ok(), other == index);
    let word = usize::from(shape[3]) % proof.len();
    proof[word].0[usize::from(shape[2]) % 32] ^= shape[0] | 1;
    assert!(check(&proof, leaves[index], index).is_err());
}
