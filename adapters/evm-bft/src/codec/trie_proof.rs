//! Proofs against a Merkle-Patricia trie (Ethereum yellow paper, appendix D): inclusion and absence, strictly.

use cityrelay_core::hash::{Hash32, keccak256};

use super::rlp::{self, Item, RlpError};

/// Root of the empty trie: keccak256 of the empty string's RLP.
pub const EMPTY_ROOT: Hash32 = Hash32([
    0x56, 0xe8, 0x1f, 0x17, 0x1b, 0xcc, 0x55, 0xa6, 0xff, 0x83, 0x45, 0xe6, 0x92, 0xc0, 0xf8, 0x6e, 0x5b, 0x48, 0xe0,
    0x1b, 0x99, 0x6c, 0xad, 0xc0, 0x01, 0x62, 0x2f, 0xb5, 0xe3, 0x63, 0xb4, 0x21,
]);

/// Nibbles of the longest key, a hash.
const MAX_NIBBLES: usize = 64;

/// The most nodes on one path: one for each nibble of a 32-byte key, and the last.
pub const MAX_PROOF_NODES: usize = MAX_NIBBLES + 1;

/// Why a proof proves nothing. The server's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrieError {
    /// The path goes on, but the proof ends.
    #[error("expected a node with hash {expected}, got the end of the proof")]
    Missing {
        /// Hash of the node that is missing.
        expected: Hash32,
    },
    /// A node has another hash than its parent (or the root) says.
    #[error("expected a node with hash {expected}, got {got}")]
    NodeHash {
        /// Hash in the parent.
        expected: Hash32,
        /// Hash of the node given.
        got: Hash32,
    },
    /// Nodes are left over, or there are too many.
    #[error("expected {expected} nodes, got {got}")]
    Unused {
        /// Nodes on the path.
        expected: usize,
        /// Nodes given.
        got: usize,
    },
    /// A node is no strict RLP.
    #[error("trie node: {0}")]
    Rlp(#[from] RlpError),
    /// A node is neither branch, extension nor leaf in their canonical forms.
    #[error("expected a branch, an extension or a leaf, got something else")]
    Node,
}

/// Follows `key` from `root` through `nodes` and gives the value there, or `None` when the trie has none.
///
/// Checks, in order, for each node: its hash is the one that the node above (or the root) names; it is whole and in its
/// canonical form, off the path too ([`Node`]). At the end every node given has been used. The key may have up to 32
/// bytes: callers hash it where the trie is a secure one.
///
/// # Errors
/// Every [`TrieError`].
pub fn verify_proof<N: AsRef<[u8]>>(root: Hash32, key: &[u8], nodes: &[N]) -> Result<Option<Vec<u8>>, TrieError> {
    if nodes.len() > MAX_PROOF_NODES {
        return Err(TrieError::Unused { expected: MAX_PROOF_NODES, got: nodes.len() });
    }
    let mut walk = Walk { nodes: nodes.iter().map(AsRef::as_ref), used: 0 };
    let value = if root == EMPTY_ROOT && nodes.is_empty() { None } else { walk.follow(root, key)? };
    if walk.used == nodes.len() { Ok(value) } else { Err(TrieError::Unused { expected: walk.used, got: nodes.len() }) }
}

struct Walk<I> {
    nodes: I,
    used: usize,
}

impl<'a, I: Iterator<Item = &'a [u8]>> Walk<I> {
    fn follow(&mut self, root: Hash32, key: &[u8]) -> Result<Option<Vec<u8>>, TrieError> {
        let nibbles: Vec<u8> = key.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]).collect();
        let mut left = nibbles.as_slice();
        let depth = |left: &[u8]| nibbles.len().saturating_sub(left.len());
        let mut node = self.next(root, 0)?;
        loop {
            // Two extensions in a row are one, and one before a leaf is the leaf's own path.
            let leads_to_branch = matches!(node, Node::Extension { .. });
            let reference = match node {
                Node::Empty => return Ok(None),
                Node::Leaf { path, value } => return Ok((path == left).then(|| value.to_vec())),
                Node::Extension { path, child } => {
                    let Some(rest) = left.strip_prefix(path.as_slice()) else { return Ok(None) };
                    left = rest;
                    child
                }
                Node::Branch(children) => {
                    let Some((nibble, rest)) = left.split_first() else { return Ok(None) };
                    left = rest;
                    children.into_iter().nth(usize::from(*nibble)).ok_or(TrieError::Node)?
                }
            };
            node = match reference {
                Reference::Nothing => return Ok(None),
                Reference::Hash(hash) => self.next(hash, depth(left))?,
                Reference::Inline(node) => *node,
            };
            if leads_to_branch && !matches!(node, Node::Branch(_)) {
                return Err(TrieError::Node);
            }
        }
    }

    fn next(&mut self, expected: Hash32, depth: usize) -> Result<Node<'a>, TrieError> {
        let bytes = self.nodes.next().ok_or(TrieError::Missing { expected })?;
        let got = keccak256(bytes);
        if got != expected {
            return Err(TrieError::NodeHash { expected, got });
        }
        let is_root = self.used == 0;
        self.used += 1;
        let node = Node::read(rlp::decode(bytes)?, depth)?;
        // Only the root is referred to by its hash however short it is: so is the empty string, an empty trie's only node.
        if !is_root && bytes.len() < 32 { Err(TrieError::Node) } else { Ok(node) }
    }
}

/// A node in its canonical form, read whole: what lies off the path of a proof is looked at too, so a node that no trie
/// can have proves nothing, absence neither.
enum Node<'a> {
    /// The empty trie.
    Empty,
    /// Sixteen children, at least two of them there. No key of these tries is the beginning of another one (hashes of
    /// 32 bytes, RLP of indices), so no branch has a value.
    Branch(Vec<Reference<'a>>),
    /// A path of at least one nibble to a branch.
    Extension { path: Vec<u8>, child: Reference<'a> },
    /// The rest of a key, and what is there.
    Leaf { path: Vec<u8>, value: &'a [u8] },
}

/// How a node names one below it.
enum Reference<'a> {
    /// No node.
    Nothing,
    /// A node of 32 bytes or more.
    Hash(Hash32),
    /// The node itself, when its RLP is shorter than that.
    Inline(Box<Node<'a>>),
}

impl<'a> Node<'a> {
    /// Reads the node that lies `depth` nibbles below the root.
    fn read(item: Item<'a>, depth: usize) -> Result<Self, TrieError> {
        if item == Item::Bytes(&[]) {
            return Ok(Self::Empty);
        }
        match item.items(17)?.as_slice() {
            [prefix, content] => {
                let Prefix { nibbles: path, is_leaf } = Prefix::decode(prefix.bytes()?)?;
                let depth = depth.saturating_add(path.len());
                if depth > MAX_NIBBLES {
                    return Err(TrieError::Node);
                }
                if is_leaf {
                    let value = content.bytes()?;
                    return if value.is_empty() { Err(TrieError::Node) } else { Ok(Self::Leaf { path, value }) };
                }
                match Reference::read(*content, depth)? {
                    _ if path.is_empty() => Err(TrieError::Node),
                    // Below it is a branch; one that is named by its hash is looked at when it comes.
                    Reference::Nothing => Err(TrieError::Node),
                    Reference::Inline(node) if !matches!(*node, Node::Branch(_)) => Err(TrieError::Node),
                    child => Ok(Self::Extension { path, child }),
                }
            }
            [children @ .., Item::Bytes([])] if children.len() == 16 => {
                let depth = depth.saturating_add(1);
                let children =
                    children.iter().map(|child| Reference::read(*child, depth)).collect::<Result<Vec<_>, _>>()?;
                let there = children.iter().filter(|child| !matches!(child, Reference::Nothing)).count();
                if there < 2 { Err(TrieError::Node) } else { Ok(Self::Branch(children)) }
            }
            _ => Err(TrieError::Node),
        }
    }
}

impl<'a> Reference<'a> {
    fn read(item: Item<'a>, depth: usize) -> Result<Self, TrieError> {
        match item {
            Item::Bytes([]) => Ok(Self::Nothing),
            Item::Bytes(bytes) => Ok(Self::Hash(Hash32(bytes.try_into().map_err(|_| TrieError::Node)?))),
            // At most 31 bytes with its prefix, so what is nested in it is soon at its end.
            Item::List(content) if content.len() < 31 => Ok(Self::Inline(Box::new(Node::read(item, depth)?))),
            Item::List(_) => Err(TrieError::Node),
        }
    }
}

/// The hex-prefix encoding of a path.
struct Prefix {
    nibbles: Vec<u8>,
    is_leaf: bool,
}

impl Prefix {
    fn decode(bytes: &[u8]) -> Result<Self, TrieError> {
        let (first, rest) = bytes.split_first().ok_or(TrieError::Node)?;
        let (flag, low) = (first >> 4, first & 0x0f);
        if flag > 3 || (flag & 1 == 0 && low != 0) {
            return Err(TrieError::Node);
        }
        let odd = (flag & 1 == 1).then_some(low);
        let nibbles = odd.into_iter().chain(rest.iter().flat_map(|byte| [byte >> 4, byte & 0x0f])).collect();
        Ok(Self { nibbles, is_leaf: flag & 2 == 2 })
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::Bytes;
    use alloy_trie::{HashBuilder, Nibbles, proof::ProofRetainer};
    use proptest::prelude::*;

    use super::*;

    /// A trie built by alloy over hashed keys, with the proof of `target`.
    fn built(values: &[(Vec<u8>, Vec<u8>)], target: &[u8]) -> (Hash32, Vec<Vec<u8>>) {
        let mut leaves: Vec<_> = values.iter().map(|(key, value)| (Nibbles::unpack(key), value)).collect();
        leaves.sort();
        leaves.dedup_by(|a, b| a.0 == b.0);
        let retainer = ProofRetainer::new(vec![Nibbles::unpack(target)]);
        let mut builder = HashBuilder::default().with_proof_retainer(retainer);
        for (path, value) in leaves {
            builder.add_leaf(path, value);
        }
        let root = builder.root();
        let nodes = builder.take_proof_nodes().into_nodes_sorted();
        let nodes = nodes.into_iter().map(|(_, node)| node.to_vec()).filter(|node| node != &[0x80]).collect();
        (Hash32(root.0), nodes)
    }

    /// Nodes put inside their parents do not come again; alloy lists them, and nodes of the chain do not.
    fn without_inline(nodes: &[Vec<u8>]) -> Vec<Vec<u8>> {
        nodes.iter().enumerate().filter(|(at, node)| *at == 0 || node.len() >= 32).map(|(_, n)| n.clone()).collect()
    }

    #[test]
    fn the_empty_trie_has_nothing() {
        assert_eq!(keccak256(&[0x80]), EMPTY_ROOT);
        assert_eq!(verify_proof::<&[u8]>(EMPTY_ROOT, &[1], &[]), Ok(None));
        assert_eq!(verify_proof(EMPTY_ROOT, &[1], &[[0x80]]), Ok(None));
        let root = Hash32([1; 32]);
        assert_eq!(verify_proof::<&[u8]>(root, &[1], &[]), Err(TrieError::Missing { expected: root }));
    }

    #[test]
    fn a_leftover_node_and_a_changed_node_are_refused() {
        let key = [0x12; 32].to_vec();
        let (root, nodes) = built(&[(key.clone(), vec![7]), ([0x13; 32].to_vec(), vec![8])], &key);
        assert_eq!(verify_proof(root, &key, &nodes), Ok(Some(vec![7])));
        let mut more = nodes.clone();
        more.push(vec![0x80]);
        assert_eq!(
            verify_proof(root, &key, &more),
            Err(TrieError::Unused { expected: nodes.len(), got: nodes.len() + 1 })
        );
        let mut changed = nodes;
        *changed[0].last_mut().unwrap() ^= 1;
        assert!(matches!(verify_proof(root, &key, &changed), Err(TrieError::NodeHash { .. })));
    }

    #[test]
    fn a_path_prefix_that_is_not_canonical_is_refused() {
        for prefix in [&[0x40, 1][..], &[0x05][..], &[][..]] {
            let leaf = rlp::list_item(&[rlp::bytes_item(prefix), rlp::bytes_item(&[1])]);
            assert_eq!(verify_proof(keccak256(&leaf), &[1], &[leaf]), Err(TrieError::Node), "{prefix:?}");
        }
    }

    #[test]
    fn a_node_that_no_trie_can_have_proves_no_absence_either() {
        let item = |bytes: &[u8]| rlp::bytes_item(bytes);
        let leaf = |prefix: &[u8], value: &[u8]| rlp::list_item(&[item(prefix), item(value)]);
        let branch = |children: &[(usize, Vec<u8>)]| {
            let mut items = vec![item(&[]); 17];
            for (at, child) in children {
                items[*at] = child.clone();
            }
            rlp::list_item(&items)
        };
        let small = leaf(&[0x31], &[7]);
        let two = branch(&[(1, small.clone()), (2, small.clone())]);
        // The key asked for, 0xff, is not under any of them.
        let off_the_path = [
            ("a reference that is neither a hash nor a node", leaf(&[0x00, 0x10], &[5; 9])),
            ("an extension to nothing", leaf(&[0x00, 0x10], &[])),
            ("an extension to a leaf", rlp::list_item(&[item(&[0x00, 0x10]), small.clone()])),
            ("a leaf without a value", leaf(&[0x31], &[])),
            ("a branch with one child", branch(&[(1, small.clone())])),
            ("a branch with such a child", branch(&[(1, leaf(&[0x31], &[])), (2, small.clone())])),
            ("a path longer than any key", leaf(&[[0x20].as_slice(), &[1; 33]].concat(), &[7])),
            (
                "a longer one in two parts",
                rlp::list_item(&[item(&[[0x00].as_slice(), &[1; 32]].concat()), two.clone()]),
            ),
        ];
        for (what, node) in off_the_path {
            assert_eq!(verify_proof(keccak256(&node), &[0xff], &[node]), Err(TrieError::Node), "{what}");
        }
        assert_eq!(verify_proof(keccak256(&two), &[0xff], &[&two]), Ok(None));
        // On the path: a node by its hash that belongs inside its parent, an extension to an extension.
        let large = keccak256(&[1]).0;
        let above = branch(&[(1, item(&large)), (15, item(&keccak256(&small).0))]);
        assert_eq!(verify_proof(keccak256(&above), &[0xff], &[above, small]), Err(TrieError::Node));
        let lower = leaf(&[0x1f], &large);
        let upper = leaf(&[0x1f], &keccak256(&lower).0);
        assert_eq!(verify_proof(keccak256(&upper), &[0xff], &[upper, lower]), Err(TrieError::Node));
    }

    proptest! {
        #[test]
        fn proofs_of_alloy_verify_and_their_mutations_do_not(
            values in proptest::collection::vec((any::<[u8; 2]>(), proptest::collection::vec(1_u8.., 1..40)), 1..40),
            target in any::<[u8; 2]>(),
            flip in any::<proptest::sample::Index>(),
        ) {
            let values: Vec<_> = values.into_iter().map(|(key, value)| (key.to_vec(), value)).collect();
            for target in [target.to_vec(), values[0].0.clone()] {
                let (root, nodes) = built(&values, &target);
                let mut sorted = values.clone();
                sorted.sort();
                let expected = sorted.iter().find(|(key, _)| *key == target).map(|(_, value)| value.clone());
                let own = without_inline(&nodes);
                let ours = verify_proof(root, &target, &own);
                prop_assert_eq!(ours, Ok(expected.clone()));
                let theirs = |nodes: &[Vec<u8>]| {
                    let nodes: Vec<_> = nodes.iter().map(|node| Bytes::copy_from_slice(node)).collect();
                    let path = Nibbles::unpack(&target);
                    alloy_trie::proof::verify_proof(root.0.into(), path, expected.clone(), &nodes).is_ok()
                };
                // alloy does not follow a root whose node is shorter than a hash.
                let is_small = nodes.first().is_some_and(|root| root.len() < 32);
                prop_assert!(is_small || theirs(&own) || theirs(&nodes));
                let mut changed = own;
                let at = flip.index(changed.len());
                let byte = flip.index(changed[at].len());
                changed[at][byte] ^= 0x11;
                prop_assert!(verify_proof(root, &target, &changed).is_err());
            }
        }
    }
}
