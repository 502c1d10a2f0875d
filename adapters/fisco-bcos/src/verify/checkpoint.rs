//! The only head proof of this chain: a checkpoint transaction and its receipt, both in one strict form.
//!
//! Preimages have no separators, so a proof is only as good as the form that its fields are held to. With everything
//! below pinned, the transaction's preimage has one reading: its lengths are all fixed. So has the receipt's: `gasUsed`
//! ends at the zero bytes of the status, and from the end backwards block number, data, topics and address have fixed
//! lengths. Both are longer than 64 bytes, so neither can be an inner node of a tree.

use cityrelay_core::chain::ChainPoint;
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, Index};
use cityrelay_core::lane::Flow;
use cityrelay_core::light_client::{AdapterValue, Refusal};

use super::header::is_canonical_decimal;
use super::merkle_path::{Place, Tree, verify_path};
use super::state::{Roots, encoding, expect_version};
use crate::codec::binary::{BinaryError, Decoder, Encoder, MAX_BLOCK_TRANSACTIONS};
use crate::codec::merkle;
use crate::codec::receipt::Receipt;
use crate::codec::suite::CryptoSuite;
use crate::codec::transaction::TransactionData;

/// The gateway's function. Its selector is keccak's on every chain: it stands in bytecode made by solc.
pub const CHECKPOINT_FUNCTION: &str = "checkpoint(bytes32,uint8)";

/// The gateway's event, with keccak's topic on every chain.
pub const CHECKPOINT_EVENT: &str = "Checkpoint(bytes32,uint8,uint64,bytes32)";

/// Characters of a checkpoint's nonce.
pub const NONCE_CHARACTERS: usize = 32;

/// Words of the longest Merkle proof: three for each level of 2^17 leaves.
const MAX_PATH_WORDS: usize = 3 * 17;

/// The longest gas price text: `0x` and 256 bits.
const MAX_PRICE_CHARACTERS: usize = 66;

/// What proves a head at one header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointProof {
    /// The signed fields of the checkpoint transaction.
    pub transaction: TransactionData,
    /// Hashes of all transactions of the block, in order: they fix how many there are and which one this is.
    pub transaction_hashes: Vec<Hash32>,
    /// The hashed fields of its receipt.
    pub receipt: Receipt,
    /// How the receipt hangs on the receipts root.
    pub inclusion: ReceiptInclusion,
}

/// How a receipt hangs on its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiptInclusion {
    /// The node's proof, for the transaction's own position.
    Path(Vec<Hash32>),
    /// Hashes of all receipts of the block, where the node serves the path of an equal earlier receipt.
    All(Vec<Hash32>),
}

/// What a proof is checked against.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointRule<'a> {
    /// The chain's suite.
    pub suite: CryptoSuite,
    /// The chain id that every transaction names.
    pub chain_id: &'a str,
    /// The group id that every transaction names.
    pub group_id: &'a str,
    /// Height of the block.
    pub height: u64,
    /// The block's roots.
    pub roots: Roots,
    /// The gateway that must have been called, and must have spoken.
    pub gateway: Address,
    /// The flow that must have been asked for.
    pub flow: Flow,
}

/// Checks a checkpoint proof.
///
/// Checks, in order:
/// 1. transaction: version 0; the chain's id and group; a nonce of 32 lower-case hex characters; `to` = 0x and 40
///    lower-case hex digits, the gateway; no abi; input exactly the call for this lane and direction;
/// 2. its hash stands exactly once among the block's transactions, and those give the transactions root;
/// 3. receipt: version 0, 1 or 2; this block; status 0; canonical gas and price; no contract, no output; exactly one log,
///    of the gateway, with the checkpoint's topics and data in canonical form for this lane and direction;
/// 4. its hash stands at the transaction's position under the receipts root.
///
/// The caller still owes: the header is final, and an own executing node says the same (leaves of Ethereum-signed
/// transactions need not match what was executed).
///
/// # Errors
/// A [`Refusal`] whose name begins with `transaction-`, `transactions-root`, `receipt-` or `receipts-root`.
pub fn verify_checkpoint(rule: &CheckpointRule<'_>, proof: &CheckpointProof) -> Result<ChainPoint, Refusal> {
    let gateway =
        rule.gateway.to_20().ok_or_else(|| Refusal::new("gateway-address", "a 20-byte address", rule.gateway))?;
    let gateway = hex::encode(gateway);
    verify_transaction(rule, &gateway, &proof.transaction)?;
    let place = place_of(rule, proof)?;
    verify_outcome(rule, &proof.receipt)?;
    let point = read_log(rule, &gateway, &proof.receipt)?;
    let leaf = proof.receipt.hash(rule.suite);
    match &proof.inclusion {
        ReceiptInclusion::Path(path) => {
            verify_path(rule.suite, Tree::Receipts, path, leaf, place, rule.roots.receipts)?;
        }
        ReceiptInclusion::All(hashes) => {
            if hashes.len() != place.leaves {
                return Err(Refusal::new("receipt-count", place.leaves, hashes.len()));
            }
            let listed = hashes.get(place.index).copied().unwrap_or_default();
            if listed != leaf {
                return Err(Refusal::new("receipt-position", leaf, listed));
            }
            let root = merkle::root(rule.suite, hashes);
            if root != rule.roots.receipts {
                return Err(Refusal::new("receipts-root", rule.roots.receipts, root));
            }
        }
    }
    Ok(point)
}

/// The calldata of a checkpoint of `flow`: selector, lane, direction.
#[must_use]
pub fn checkpoint_input(flow: Flow) -> Vec<u8> {
    let mut input = keccak256(CHECKPOINT_FUNCTION.as_bytes()).0.split_at(4).0.to_vec();
    input.extend_from_slice(&flow.lane.0.0);
    input.extend_from_slice(&Hash32::from_u64(u64::from(flow.direction.code())).0);
    input
}

/// Whether `nonce` has the form of a checkpoint's. What our transactions draw are decimal digits.
#[must_use]
pub fn is_strict_nonce(nonce: &str) -> bool {
    nonce.len() == NONCE_CHARACTERS && nonce.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn verify_transaction(rule: &CheckpointRule<'_>, gateway: &str, data: &TransactionData) -> Result<(), Refusal> {
    if data.version != 0 {
        return Err(Refusal::new("transaction-version", 0_u64, u64::from(data.version)));
    }
    if data.chain_id != rule.chain_id {
        return Err(Refusal::new("transaction-chain", rule.chain_id.as_bytes(), data.chain_id.as_bytes()));
    }
    if data.group_id != rule.group_id {
        return Err(Refusal::new("transaction-group", rule.group_id.as_bytes(), data.group_id.as_bytes()));
    }
    if !is_strict_nonce(&data.nonce) {
        return Err(Refusal::new("transaction-nonce", "32 lower-case hex characters", data.nonce.as_bytes()));
    }
    if data.to.strip_prefix("0x") != Some(gateway) {
        return Err(Refusal::new("transaction-to", rule.gateway, data.to.as_bytes()));
    }
    if !data.abi.is_empty() {
        return Err(Refusal::new("transaction-abi", 0_u64, data.abi.len()));
    }
    let expected = checkpoint_input(rule.flow);
    if data.input != expected {
        return Err(Refusal::new("transaction-input", expected.as_slice(), data.input.as_slice()));
    }
    Ok(())
}

fn place_of(rule: &CheckpointRule<'_>, proof: &CheckpointProof) -> Result<Place, Refusal> {
    let hashes = &proof.transaction_hashes;
    if hashes.len() > MAX_BLOCK_TRANSACTIONS {
        return Err(Refusal::new("transaction-count", MAX_BLOCK_TRANSACTIONS, hashes.len()));
    }
    let leaf = proof.transaction.hash(rule.suite);
    let mut positions = hashes.iter().enumerate().filter(|(_, hash)| **hash == leaf).map(|(index, _)| index);
    let (Some(index), None) = (positions.next(), positions.next()) else {
        return Err(Refusal::new("transaction-position", "exactly one position in the block", leaf));
    };
    let root = merkle::root(rule.suite, hashes);
    if root != rule.roots.transactions {
        return Err(Refusal::new("transactions-root", rule.roots.transactions, root));
    }
    Ok(Place { index, leaves: hashes.len() })
}

fn verify_outcome(rule: &CheckpointRule<'_>, receipt: &Receipt) -> Result<(), Refusal> {
    if receipt.version > 2 {
        return Err(Refusal::new("receipt-version", 2_u64, u64::from(receipt.version)));
    }
    if receipt.block_number != rule.height {
        return Err(Refusal::new("receipt-block", rule.height, receipt.block_number));
    }
    if receipt.status != 0 {
        return Err(Refusal::new("receipt-status", 0_u64, u64::from(receipt.status.cast_unsigned())));
    }
    if !is_canonical_decimal(&receipt.gas_used) {
        return Err(Refusal::new(
            "receipt-gas-used",
            "canonical decimal of at most 20 digits",
            receipt.gas_used.as_bytes(),
        ));
    }
    let is_price_form = match receipt.version {
        0 => receipt.effective_gas_price.is_empty(),
        _ => receipt.effective_gas_price.is_empty() || is_canonical_price(&receipt.effective_gas_price),
    };
    if !is_price_form {
        return Err(Refusal::new("receipt-gas-price", "0x and lower-case hex", receipt.effective_gas_price.as_bytes()));
    }
    if !receipt.contract_address.is_empty() {
        return Err(Refusal::new("receipt-contract", 0_u64, receipt.contract_address.as_bytes()));
    }
    if !receipt.output.is_empty() {
        return Err(Refusal::new("receipt-output", 0_u64, receipt.output.as_slice()));
    }
    Ok(())
}

fn is_canonical_price(text: &str) -> bool {
    text.len() <= MAX_PRICE_CHARACTERS
        && text.strip_prefix("0x").is_some_and(|digits| {
            digits == "0"
                || (digits.starts_with(|first| matches!(first, '1'..='9' | 'a'..='f'))
                    && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
        })
}

fn read_log(rule: &CheckpointRule<'_>, gateway: &str, receipt: &Receipt) -> Result<ChainPoint, Refusal> {
    let [log] = receipt.logs.as_slice() else {
        return Err(Refusal::new("receipt-log-count", 1_u64, receipt.logs.len()));
    };
    if log.address != gateway {
        return Err(Refusal::new("receipt-log-address", rule.gateway, log.address.as_bytes()));
    }
    let [event, lane] = log.topics.as_slice() else {
        return Err(Refusal::new("receipt-log-topics", 2_u64, log.topics.len()));
    };
    let expected = keccak256(CHECKPOINT_EVENT.as_bytes());
    if *event != expected {
        return Err(Refusal::new("receipt-log-event", expected, *event));
    }
    if *lane != rule.flow.lane.0 {
        return Err(Refusal::new("receipt-log-lane", rule.flow.lane.0, *lane));
    }
    let form = || Refusal::new("receipt-log-data", "three words: direction, index, head", log.data.as_slice());
    let (words, rest) = log.data.as_chunks::<32>();
    let ([direction, index, head], []) = (words, rest) else { return Err(form()) };
    let expected = Hash32::from_u64(u64::from(rule.flow.direction.code()));
    if *direction != expected.0 {
        return Err(Refusal::new("receipt-log-direction", expected, Hash32(*direction)));
    }
    let index = Hash32(*index).to_u64().ok_or_else(form)?;
    Ok(ChainPoint { index: Index(index), head: Hash32(*head) })
}

impl AdapterValue for CheckpointProof {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::default();
        encoder.transaction(&self.transaction);
        encoder.hashes(&self.transaction_hashes);
        encoder.receipt(&self.receipt);
        let (marker, hashes) = match &self.inclusion {
            ReceiptInclusion::Path(path) => (0, path),
            ReceiptInclusion::All(hashes) => (1, hashes),
        };
        encoder.byte(marker);
        encoder.hashes(hashes);
        encoder.into_bytes()
    }

    fn decode(version: u16, bytes: &[u8]) -> Result<Self, Refusal> {
        expect_version(Self::VERSION, version)?;
        let mut decoder = Decoder::new(bytes);
        let read = |decoder: &mut Decoder<'_>| {
            let transaction = decoder.transaction()?;
            let transaction_hashes = decoder.hashes(MAX_BLOCK_TRANSACTIONS)?;
            let receipt = decoder.receipt()?;
            let inclusion = match decoder.byte()? {
                0 => ReceiptInclusion::Path(decoder.hashes(MAX_PATH_WORDS)?),
                1 => ReceiptInclusion::All(decoder.hashes(MAX_BLOCK_TRANSACTIONS)?),
                _ => return Err(BinaryError::Form { expected: "0 or 1" }),
            };
            Ok(Self { transaction, transaction_hashes, receipt, inclusion })
        };
        let proof = read(&mut decoder).map_err(encoding)?;
        decoder.finish().map_err(encoding)?;
        Ok(proof)
    }
}
