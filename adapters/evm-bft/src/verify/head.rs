//! Proofs of a gateway's head at one header: by storage, or by the receipt of a checkpoint.

use cityrelay_core::chain::ChainPoint;
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, Index};
use cityrelay_core::lane::Flow;
use cityrelay_core::light_client::{AdapterValue, Header, Refusal};

use super::reading::rlp_refusal;
use super::storage::{PathNodes, prove_slot, prove_storage_root, trie_refusal};
use super::update::{encode_path, encode_paths, read_path, read_paths};
use crate::codec::account::Account;
use crate::codec::ordered_trie::index_key;
use crate::codec::receipt::{Log, Receipt, ReceiptError};
use crate::codec::rlp::{self, Item, RlpError, list_item, uint_item};
use crate::codec::trie_proof::verify_proof;

/// The event that a gateway's `checkpoint` emits.
pub const CHECKPOINT_EVENT: &str = "Checkpoint(bytes32,uint8,uint64,bytes32)";

/// Slot of `mapping(bytes32 lane => bytes32 head)` in a gateway.
pub const HEADS_SLOT: u64 = 0;

/// Slot of `mapping(bytes32 lane => uint256 index)` in a gateway.
pub const INDEXES_SLOT: u64 = 1;

/// What proves a head at one header.
///
/// ```text
/// RLP [0, account path, [head path, index path]]      by storage
/// RLP [1, position, receipt path]                     by a checkpoint's receipt
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadProof {
    /// Both slots of the gateway, proved from the state root.
    Storage {
        /// Path from the state root to the gateway's account.
        account: PathNodes,
        /// Path from its storage root to the head.
        head: PathNodes,
        /// Path from its storage root to the index.
        index: PathNodes,
    },
    /// The receipt of a checkpoint, proved from the receipts root.
    Receipt {
        /// Position of the transaction in its block.
        position: u64,
        /// Path from the receipts root to the receipt.
        path: PathNodes,
    },
}

/// What [`Header::detail`] holds of a header of this adapter.
///
/// ```text
/// version 1 (1 byte) ‖ state root ‖ receipts root ‖ transactions root ‖ digest of the set after the block (32 each)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detail {
    /// Root of the state after the block.
    pub state_root: Hash32,
    /// Root of its receipts.
    pub receipts_root: Hash32,
    /// Root of its transactions.
    pub transactions_root: Hash32,
    /// Digest of the validator set after it ([`super::set::ValidatorSet::digest`]); zero where it was not proved.
    pub set_digest: Hash32,
}

impl Detail {
    const VERSION: u8 = 1;

    /// The bytes of [`Header::detail`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let words = [self.state_root, self.receipts_root, self.transactions_root, self.set_digest];
        core::iter::once(Self::VERSION).chain(words.iter().flat_map(|word| word.0)).collect()
    }

    /// Reads [`Header::detail`].
    ///
    /// # Errors
    /// `header-detail` for any other length or version.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        let wrong = || Refusal::new("header-detail", 129_u64, bytes.len());
        let (version, words) = bytes.split_first().ok_or_else(wrong)?;
        if *version != Self::VERSION {
            return Err(Refusal::new("header-detail", u64::from(Self::VERSION), u64::from(*version)));
        }
        let (words, []) = words.as_chunks::<32>() else { return Err(wrong()) };
        let [state_root, receipts_root, transactions_root, set_digest] =
            words.try_into().map(|words: [[u8; 32]; 4]| words.map(Hash32)).map_err(|_| wrong())?;
        Ok(Self { state_root, receipts_root, transactions_root, set_digest })
    }
}

/// The slot of `mapping(bytes32 => …)` at `slot` for `lane`: keccak256(lane ‖ slot).
#[must_use]
pub fn mapping_slot(lane: Hash32, slot: u64) -> Hash32 {
    keccak256(&[lane.0, Hash32::from_u64(slot).0].concat())
}

/// Checks that `proof` shows the head of `flow` in `gateway` at `header`.
///
/// By storage, in order: `header-detail`; `gateway-form` (20 bytes); those of [`prove_storage_root`] and [`prove_slot`];
/// `head-absent` (the head is not zero); `head-index-form` (the index fits 64 bits).
///
/// By receipt, in order: `header-detail`; `gateway-form`; `proof-receipt` (the path holds and ends in strict RLP);
/// `receipt-absent`; `receipt-status` (1); `checkpoint-event` (exactly one log of the gateway is a checkpoint);
/// `checkpoint-lane`; `checkpoint-data` (96 canonical bytes); `checkpoint-direction`; `head-absent`.
pub(super) fn verify_head(
    header: &Header,
    proof: &HeadProof,
    gateway: Address,
    flow: Flow,
) -> Result<ChainPoint, Refusal> {
    let detail = Detail::decode(&header.detail)?;
    let Some(gateway) = gateway.to_20().map(Account) else {
        return Err(Refusal::new("gateway-form", "a 20-byte address", gateway));
    };
    let point = match proof {
        HeadProof::Storage { account, head, index } => {
            let root = prove_storage_root(detail.state_root, gateway, account)?;
            let head = prove_slot(root, mapping_slot(flow.lane.0, HEADS_SLOT), head)?;
            let index = prove_slot(root, mapping_slot(flow.lane.0, INDEXES_SLOT), index)?;
            let Some(number) = index.to_u64() else {
                return Err(Refusal::new("head-index-form", "an index below 2^64", index).at(header.height));
            };
            ChainPoint { index: Index(number), head }
        }
        HeadProof::Receipt { position, path } => {
            let receipt = prove_receipt(detail.receipts_root, *position, path)?;
            read_checkpoint(&receipt, gateway, flow)?
        }
    };
    if point.head == Hash32::ZERO {
        return Err(Refusal::new("head-absent", "a head that is not zero", point.head).at(header.height));
    }
    Ok(point)
}

/// The receipt at `position`, proved from the receipts root.
pub(crate) fn prove_receipt(root: Hash32, position: u64, path: &PathNodes) -> Result<Receipt, Refusal> {
    let value = verify_proof(root, &index_key(position), path).map_err(|error| trie_refusal("proof-receipt", error))?;
    let value = value.ok_or_else(|| Refusal::new("receipt-absent", position, "no receipt"))?;
    Receipt::decode(&value).map_err(|error| match error {
        ReceiptError::Rlp(error) => rlp_refusal("proof-receipt", error),
        ReceiptError::Kind { got } => Refusal::new("proof-receipt", "a receipt's type", u64::from(got)),
        ReceiptError::Status => Refusal::new("receipt-status", 1_u64, "neither 0 nor 1"),
    })
}

/// The point that a checkpoint's receipt shows.
///
/// # Errors
/// The checks named at [`verify_head`] from `receipt-status` on.
pub fn read_checkpoint(receipt: &Receipt, gateway: Account, flow: Flow) -> Result<ChainPoint, Refusal> {
    if !receipt.is_success {
        return Err(Refusal::new("receipt-status", 1_u64, 0_u64));
    }
    let signature = keccak256(CHECKPOINT_EVENT.as_bytes());
    let is_checkpoint = |log: &&Log| log.address == gateway && log.topics.first() == Some(&signature);
    let mut checkpoints = receipt.logs.iter().filter(is_checkpoint);
    let (Some(log), None) = (checkpoints.next(), checkpoints.next()) else {
        return Err(Refusal::new("checkpoint-event", 1_u64, receipt.logs.iter().filter(is_checkpoint).count()));
    };
    let [_, lane] = log.topics.as_slice() else {
        return Err(Refusal::new("checkpoint-lane", 2_u64, log.topics.len()));
    };
    if *lane != flow.lane.0 {
        return Err(Refusal::new("checkpoint-lane", flow.lane.0, *lane));
    }
    let words = match log.data.as_chunks::<32>() {
        ([direction, index, head], []) => [*direction, *index, *head].map(Hash32),
        _ => return Err(Refusal::new("checkpoint-data", 96_u64, log.data.len())),
    };
    let [direction, index, head] = words;
    if direction.to_u64() != Some(u64::from(flow.direction.code())) {
        return Err(Refusal::new("checkpoint-direction", u64::from(flow.direction.code()), direction));
    }
    let Some(index) = index.to_u64() else {
        return Err(Refusal::new("checkpoint-data", "an index below 2^64", index));
    };
    Ok(ChainPoint { index: Index(index), head })
}

impl AdapterValue for HeadProof {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Storage { account, head, index } => {
                let slots = [head.clone(), index.clone()];
                list_item(&[uint_item(0), encode_path(account), encode_paths(&slots)])
            }
            Self::Receipt { position, path } => list_item(&[uint_item(1), uint_item(*position), encode_path(path)]),
        }
    }

    fn decode(version: u16, bytes: &[u8]) -> Result<Self, Refusal> {
        if version != Self::VERSION {
            return Err(Refusal::new("proof-version", u64::from(Self::VERSION), u64::from(version)));
        }
        read_proof(bytes).map_err(|error| rlp_refusal("proof-encoding", error))
    }
}

fn read_proof(bytes: &[u8]) -> Result<HeadProof, RlpError> {
    let [kind, second, third] = rlp::decode(bytes)?.exactly::<3>()?;
    match kind.uint()? {
        0 => {
            let account = read_path(second)?;
            let slots = read_paths(third)?;
            let got = slots.len();
            let [head, index] = slots.try_into().map_err(|_| RlpError::Count { expected: 2, got })?;
            Ok(HeadProof::Storage { account, head, index })
        }
        1 => Ok(HeadProof::Receipt { position: Item::uint(second)?, path: read_path(third)? }),
        _ => Err(RlpError::TooLarge { expected: 1, got: 2 }),
    }
}
