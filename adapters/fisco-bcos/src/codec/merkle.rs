//! The block's binary Merkle trees (`bcos-crypto/merkle/Merkle.h`, width 2, v3.0.0 to v3.16.4).
//!
//! A parent is H(left ‖ right); a lone last node has the parent H(node); a single leaf is its own root; no leaves give
//! 32 zero bytes. Leaves and nodes carry no tags.

use cityrelay_core::hash::Hash32;

use super::suite::CryptoSuite;

/// The root over `leaves` in block order.
#[must_use]
pub fn root(suite: CryptoSuite, leaves: &[Hash32]) -> Hash32 {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = parents(suite, &level);
    }
    level.first().copied().unwrap_or(Hash32::ZERO)
}

/// The proof of leaf `index` as a node serves it: for a single leaf that leaf; else for each level a counter word (the
/// count in its first four bytes) and the `count` nodes of the group, the proven one included.
#[must_use]
pub fn proof(suite: CryptoSuite, leaves: &[Hash32], index: usize) -> Vec<Hash32> {
    if leaves.len() < 2 {
        return leaves.get(index).copied().into_iter().collect();
    }
    let mut proof = Vec::new();
    let mut level = leaves.to_vec();
    let mut position = index;
    while level.len() > 1 {
        if let Some(group) = level.chunks(2).nth(position / 2) {
            proof.push(counter(group.len()));
            proof.extend_from_slice(group);
        }
        level = parents(suite, &level);
        position /= 2;
    }
    proof
}

/// The counter word before a group of `count` nodes.
#[must_use]
pub fn counter(count: usize) -> Hash32 {
    let mut word = [0; 32];
    if let Some(head) = word.first_chunk_mut::<4>() {
        *head = u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes();
    }
    Hash32(word)
}

/// H over the nodes of a group.
#[must_use]
pub fn parent(suite: CryptoSuite, group: &[Hash32]) -> Hash32 {
    let bytes: Vec<u8> = group.iter().flat_map(|node| node.0).collect();
    suite.hash(&bytes)
}

fn parents(suite: CryptoSuite, level: &[Hash32]) -> Vec<Hash32> {
    level.chunks(2).map(|group| parent(suite, group)).collect()
}
