//! Tries over a block's list of receipts or transactions: key RLP(position), value the encoded item.

use alloy_trie::proof::ProofRetainer;
use alloy_trie::{HashBuilder, Nibbles};
use cityrelay_core::hash::Hash32;

use super::rlp::uint_item;
use super::trie_proof::EMPTY_ROOT;

/// The key of position `index` in a list trie.
#[must_use]
pub fn index_key(index: u64) -> Vec<u8> {
    uint_item(index)
}

/// The root of the trie over `values`.
#[must_use]
pub fn root_of<V: AsRef<[u8]>>(values: &[V]) -> Hash32 {
    build(values, None).0
}

/// The root, and the nodes on the path to position `index`, from the root down.
#[must_use]
pub fn root_and_path<V: AsRef<[u8]>>(values: &[V], index: u64) -> (Hash32, Vec<Vec<u8>>) {
    build(values, Some(index))
}

fn build<V: AsRef<[u8]>>(values: &[V], path_to: Option<u64>) -> (Hash32, Vec<Vec<u8>>) {
    if values.is_empty() {
        return (EMPTY_ROOT, Vec::new());
    }
    let mut leaves: Vec<_> =
        (0_u64..).zip(values).map(|(index, value)| (Nibbles::unpack(index_key(index)), value.as_ref())).collect();
    leaves.sort_unstable_by_key(|leaf| leaf.0);
    let targets = path_to.map(|index| Nibbles::unpack(index_key(index))).into_iter().collect();
    let mut builder = HashBuilder::default().with_proof_retainer(ProofRetainer::new(targets));
    for (path, value) in leaves {
        builder.add_leaf(path, value);
    }
    let root = Hash32(builder.root().0);
    let nodes = builder.take_proof_nodes().into_nodes_sorted();
    // A node shorter than a hash stands inside its parent and is no part of the path of its own.
    let is_own = |at: usize, node: &[u8]| at == 0 || node.len() >= 32;
    let nodes = nodes.into_iter().enumerate().filter(|(at, (_, node))| is_own(*at, node));
    (root, nodes.map(|(_, (_, node))| node.to_vec()).collect())
}
