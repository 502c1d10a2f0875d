//! What the client is handed: consecutive headers.

use cityrelay_core::hash::Hash32;
use cityrelay_core::light_client::{AdapterValue, Refusal};

use super::reading::rlp_refusal;
use super::storage::PathNodes;
use crate::codec::header::MAX_HEADER_BYTES;
use crate::codec::rlp::{self, Item, RlpError, bytes_item, list_item};

/// The most headers in one update.
pub const MAX_UPDATE_HEADERS: usize = 4096;

/// Consecutive headers.
///
/// ```text
/// RLP [ [header RLP as bytes, claimed hash, [] or set proof] … ]
/// set proof = [account path, [slot path …]], a path = [node as bytes …]
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Update {
    /// Ascending, without a gap.
    pub items: Vec<UpdateItem>,
}

/// One header of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateItem {
    /// The header's RLP with its seals.
    pub header: Vec<u8>,
    /// The hash that the server says it has: it must be the one that we compute.
    pub hash: Hash32,
    /// Under a validator contract: the set in that contract after this block. May be left out of a header that is
    /// neither the last of an update nor the one before it.
    pub set_proof: Option<SetProof>,
}

/// Proof of a Solidity `address[]` in a contract's storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetProof {
    /// Path from the state root to the contract's account.
    pub account: PathNodes,
    /// Paths from its storage root: to the length, then to each item.
    pub slots: Vec<PathNodes>,
}

impl AdapterValue for Update {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        encode_items(&self.items)
    }

    fn decode(version: u16, bytes: &[u8]) -> Result<Self, Refusal> {
        if version != Self::VERSION {
            return Err(Refusal::new("update-version", u64::from(Self::VERSION), u64::from(version)));
        }
        let items = rlp::decode(bytes).and_then(|item| read_items(item, MAX_UPDATE_HEADERS));
        Ok(Self { items: items.map_err(|error| rlp_refusal("update-encoding", error))? })
    }
}

pub(super) fn encode_items(items: &[UpdateItem]) -> Vec<u8> {
    let items = items.iter().map(|item| {
        let proof = match &item.set_proof {
            Some(proof) => list_item(&[encode_path(&proof.account), encode_paths(&proof.slots)]),
            None => list_item::<&[u8]>(&[]),
        };
        list_item(&[bytes_item(&item.header), bytes_item(item.hash.as_bytes()), proof])
    });
    list_item(&items.collect::<Vec<_>>())
}

pub(super) fn read_items(item: Item<'_>, limit: usize) -> Result<Vec<UpdateItem>, RlpError> {
    item.items(limit)?
        .into_iter()
        .map(|item| {
            let [header, hash, proof] = item.exactly::<3>()?;
            let header = header.bytes()?;
            if header.len() > MAX_HEADER_BYTES {
                return Err(RlpError::TooLarge { expected: MAX_HEADER_BYTES, got: header.len() });
            }
            let set_proof = match proof {
                Item::List([]) => None,
                proof => {
                    let [account, slots] = proof.exactly::<2>()?;
                    Some(SetProof { account: read_path(account)?, slots: read_paths(slots)? })
                }
            };
            Ok(UpdateItem { header: header.to_vec(), hash: Hash32(hash.fixed()?), set_proof })
        })
        .collect()
}

pub(super) fn encode_paths(paths: &[PathNodes]) -> Vec<u8> {
    list_item(&paths.iter().map(encode_path).collect::<Vec<_>>())
}

pub(super) fn encode_path(path: &PathNodes) -> Vec<u8> {
    list_item(&path.iter().map(|node| bytes_item(node)).collect::<Vec<_>>())
}

pub(super) fn read_path(item: Item<'_>) -> Result<PathNodes, RlpError> {
    let nodes = item.items(crate::codec::trie_proof::MAX_PROOF_NODES)?;
    nodes.into_iter().map(|node| node.bytes().map(<[u8]>::to_vec)).collect()
}

pub(super) fn read_paths(item: Item<'_>) -> Result<Vec<PathNodes>, RlpError> {
    // One path for each validator, and one for the length.
    item.items(crate::codec::extra::MAX_VALIDATORS + 1)?.into_iter().map(read_path).collect()
}
