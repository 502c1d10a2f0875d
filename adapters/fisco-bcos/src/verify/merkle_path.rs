//! Merkle proofs of exactly one shape.
//!
//! The trees have no leaf and node tags and no count, so the number of leaves and the position must be known beforehand:
//! they fix how many levels there are, how large each group is and where in it the node stands.

use cityrelay_core::hash::Hash32;
use cityrelay_core::light_client::Refusal;

use crate::codec::merkle::{counter, parent};
use crate::codec::suite::CryptoSuite;

/// Which tree of a block; names the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tree {
    /// `transaction-path`, `transactions-root`.
    Transactions,
    /// `receipt-path`, `receipts-root`.
    Receipts,
}

impl Tree {
    /// The check for the form of a proof.
    #[must_use]
    pub const fn path_check(self) -> &'static str {
        match self {
            Self::Transactions => "transaction-path",
            Self::Receipts => "receipt-path",
        }
    }

    /// The check for the root.
    #[must_use]
    pub const fn root_check(self) -> &'static str {
        match self {
            Self::Transactions => "transactions-root",
            Self::Receipts => "receipts-root",
        }
    }
}

/// A place in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Position of the leaf, from 0.
    pub index: usize,
    /// Number of leaves.
    pub leaves: usize,
}

/// Checks that `proof` is the proof of `leaf` at `place` under `root`, in the one form that the place allows.
///
/// # Errors
/// The tree's path check for a proof of another form or that does not hold the node at its position, its root check when
/// the proof ends in another root.
pub fn verify_path(
    suite: CryptoSuite,
    tree: Tree,
    proof: &[Hash32],
    leaf: Hash32,
    place: Place,
    root: Hash32,
) -> Result<(), Refusal> {
    let shape = |expected: &'static str| Refusal::new(tree.path_check(), expected, proof.len());
    if place.index >= place.leaves {
        return Err(Refusal::new(tree.path_check(), place.leaves, place.index));
    }
    let mut node = leaf;
    if place.leaves == 1 {
        if proof != [leaf] {
            return Err(shape("the leaf alone"));
        }
    } else {
        let mut rest = proof;
        let (mut index, mut width) = (place.index, place.leaves);
        while width > 1 {
            let is_lone = index + 1 == width && width % 2 == 1;
            let size = if is_lone { 1 } else { 2 };
            let Some((head, tail)) = rest.split_first() else { return Err(shape("one group for each level")) };
            if *head != counter(size) {
                return Err(Refusal::new(tree.path_check(), counter(size), *head));
            }
            let Some((group, tail)) = tail.split_at_checked(size) else { return Err(shape("a whole group")) };
            let at = if is_lone { 0 } else { index % 2 };
            let found = group.get(at).copied().unwrap_or_default();
            if found != node {
                return Err(Refusal::new(tree.path_check(), node, found));
            }
            node = parent(suite, group);
            rest = tail;
            index /= 2;
            width = width.div_ceil(2);
        }
        if !rest.is_empty() {
            return Err(shape("no more than one group for each level"));
        }
    }
    if node == root { Ok(()) } else { Err(Refusal::new(tree.root_check(), root, node)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::merkle;

    fn leaves(count: u32) -> Vec<Hash32> {
        (0..count).map(|k| CryptoSuite::Standard.hash(&k.to_be_bytes())).collect()
    }

    fn verify(proof: &[Hash32], leaf: Hash32, index: usize, count: usize, root: Hash32) -> Result<(), &'static str> {
        let place = Place { index, leaves: count };
        verify_path(CryptoSuite::Standard, Tree::Receipts, proof, leaf, place, root).map_err(|refusal| refusal.check)
    }

    #[test]
    fn every_leaf_of_small_trees_has_one_proof_at_one_place() {
        for count in 1..40_u32 {
            let leaves = leaves(count);
            let root = merkle::root(CryptoSuite::Standard, &leaves);
            for index in 0..leaves.len() {
                let proof = merkle::proof(CryptoSuite::Standard, &leaves, index);
                assert_eq!(verify(&proof, leaves[index], index, leaves.len(), root), Ok(()));
                for other in (0..leaves.len()).filter(|other| *other != index) {
                    assert!(
                        verify(&proof, leaves[index], other, leaves.len(), root).is_err(),
                        "{count} {index} {other}"
                    );
                }
            }
        }
    }

    #[test]
    fn an_internal_node_is_no_leaf() {
        let leaves = leaves(4);
        let root = merkle::root(CryptoSuite::Standard, &leaves);
        let proof = merkle::proof(CryptoSuite::Standard, &leaves, 0);
        let node = merkle::parent(CryptoSuite::Standard, &leaves[..2]);
        assert_eq!(verify(&proof[3..], node, 0, 4, root), Err("receipt-path"));
    }

    #[test]
    fn a_group_of_another_size_a_longer_proof_and_a_dirty_counter_are_refused() {
        let leaves = leaves(3);
        let root = merkle::root(CryptoSuite::Standard, &leaves);
        let good = merkle::proof(CryptoSuite::Standard, &leaves, 2);
        assert_eq!(good[0], counter(1));
        let mut dirty = good.clone();
        dirty[0].0[31] = 1;
        assert_eq!(verify(&dirty, leaves[2], 2, 3, root), Err("receipt-path"));
        let mut longer = good.clone();
        longer.push(counter(1));
        assert_eq!(verify(&longer, leaves[2], 2, 3, root), Err("receipt-path"));
        assert_eq!(verify(&good[..2], leaves[2], 2, 3, root), Err("receipt-path"));
        assert_eq!(verify(&[], leaves[2], 2, 3, root), Err("receipt-path"));
        assert_eq!(verify(&[], root, 0, 1, root), Err("receipt-path"));
    }

    #[test]
    fn another_root_is_refused() {
        let leaves = leaves(5);
        let proof = merkle::proof(CryptoSuite::Standard, &leaves, 1);
        assert_eq!(verify(&proof, leaves[1], 1, 5, Hash32::ZERO), Err("receipts-root"));
    }
}
