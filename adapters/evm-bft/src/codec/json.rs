//! What nodes answer in JSON, read strictly into the codec's own types.

use cityrelay_core::hash::Hash32;
use serde_json::Value;

use super::account::Account;
use super::header::{CancunItems, ForkItems, Header, MAX_HEADER_BYTES};
use super::receipt::{Log, MAX_LOGS, Receipt};
use super::trie_proof::MAX_PROOF_NODES;

/// The most storage slots read from one `eth_getProof` answer.
pub const MAX_PROOF_SLOTS: usize = 1024;

/// The longest trie node read from `eth_getProof`: a branch has 17 items of at most 33 bytes.
pub const MAX_STATE_NODE_BYTES: usize = 1024;

/// Why JSON is not what a node should answer. The node's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: expected {expected}")]
pub struct JsonError {
    /// The field, in the node's spelling.
    pub field: &'static str,
    /// What it should hold.
    pub expected: &'static str,
}

/// A block header and the hash that the node says it has.
///
/// # Errors
/// The first field that is missing or malformed.
pub fn read_header(block: &Value) -> Result<(Header, Hash32), JsonError> {
    let cancun = match (field(block, "blobGasUsed"), field(block, "excessBlobGas")) {
        (Some(_), Some(_)) => Some(CancunItems {
            blob_gas_used: number(block, "blobGasUsed")?,
            excess_blob_gas: number(block, "excessBlobGas")?,
            parent_beacon_root: word(block, "parentBeaconBlockRoot")?,
        }),
        _ => None,
    };
    let fork = ForkItems {
        base_fee: field(block, "baseFeePerGas").map(|_| number128(block, "baseFeePerGas")).transpose()?,
        withdrawals_root: field(block, "withdrawalsRoot").map(|_| word(block, "withdrawalsRoot")).transpose()?,
        cancun,
        requests_hash: field(block, "requestsHash").map(|_| word(block, "requestsHash")).transpose()?,
    };
    let header = Header {
        parent_hash: word(block, "parentHash")?,
        ommers_hash: word(block, "sha3Uncles")?,
        beneficiary: data(block, "miner", 1024)?,
        state_root: word(block, "stateRoot")?,
        transactions_root: word(block, "transactionsRoot")?,
        receipts_root: word(block, "receiptsRoot")?,
        logs_bloom: fixed(block, "logsBloom")?,
        difficulty: number(block, "difficulty")?,
        number: number(block, "number")?,
        gas_limit: number(block, "gasLimit")?,
        gas_used: number(block, "gasUsed")?,
        timestamp: number(block, "timestamp")?,
        extra_data: data(block, "extraData", MAX_HEADER_BYTES)?,
        mix_hash: word(block, "mixHash")?,
        nonce: fixed(block, "nonce")?,
        fork,
    };
    Ok((header, word(block, "hash")?))
}

/// Names of fields of a block that are neither items of a header known here nor what nodes are known to tell besides: a
/// later fork's items, perhaps. At most eight, ascending.
#[must_use]
pub fn unknown_fields(block: &Value) -> Vec<&str> {
    let names = block.as_object().into_iter().flat_map(|fields| fields.keys().map(String::as_str));
    names.filter(|name| !KNOWN_FIELDS.contains(name) && name.len() <= 64).take(8).collect()
}

/// What is read by [`read_header`], then what is not: the body, and what some nodes add (Besu, go-ethereum, Edge).
const KNOWN_FIELDS: [&str; 31] = [
    "parentHash",
    "sha3Uncles",
    "miner",
    "stateRoot",
    "transactionsRoot",
    "receiptsRoot",
    "logsBloom",
    "difficulty",
    "number",
    "gasLimit",
    "gasUsed",
    "timestamp",
    "extraData",
    "mixHash",
    "nonce",
    "hash",
    "baseFeePerGas",
    "withdrawalsRoot",
    "blobGasUsed",
    "excessBlobGas",
    "parentBeaconBlockRoot",
    "requestsHash",
    "author",
    "baseFee",
    "size",
    "totalDifficulty",
    "transactions",
    "uncles",
    "withdrawals",
    "sealFields",
    "requests",
];

/// A transaction receipt.
///
/// # Errors
/// The first field that is missing or malformed.
pub fn read_receipt(receipt: &Value) -> Result<Receipt, JsonError> {
    let kind = match field(receipt, "type") {
        Some(_) => number(receipt, "type")?,
        None => 0,
    };
    let is_success = match number(receipt, "status")? {
        0 => false,
        1 => true,
        _ => return Err(JsonError { field: "status", expected: "0x0 or 0x1" }),
    };
    let logs = list(receipt, "logs", MAX_LOGS)?.iter().map(read_log).collect::<Result<_, _>>()?;
    Ok(Receipt {
        kind: u8::try_from(kind).map_err(|_| JsonError { field: "type", expected: "a transaction type" })?,
        is_success,
        cumulative_gas_used: number(receipt, "cumulativeGasUsed")?,
        logs_bloom: Box::new(fixed(receipt, "logsBloom")?),
        logs,
    })
}

/// A log, in a receipt or from `eth_getLogs`.
///
/// # Errors
/// The first field that is missing or malformed.
pub fn read_log(log: &Value) -> Result<Log, JsonError> {
    let topics = list(log, "topics", 4)?
        .iter()
        .map(|topic| fixed_value(topic, "topics").map(Hash32))
        .collect::<Result<_, _>>()?;
    Ok(Log { address: account(log, "address")?, topics, data: data(log, "data", 32 << 20)? })
}

/// What `eth_getProof` says: nodes only, since values are read out of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountProof {
    /// The account asked for.
    pub account: Account,
    /// Nodes from the state root down.
    pub account_nodes: Vec<Vec<u8>>,
    /// For each slot its key, the value that the node claims, and its nodes from the storage root down.
    pub slots: Vec<SlotProof>,
}

/// One slot of [`AccountProof`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotProof {
    /// The slot.
    pub key: Hash32,
    /// What the node says it holds.
    pub value: Hash32,
    /// Nodes from the storage root down.
    pub nodes: Vec<Vec<u8>>,
}

/// The answer of `eth_getProof` (EIP-1186).
///
/// # Errors
/// The first field that is missing or malformed, or a list beyond its limit.
pub fn read_account_proof(answer: &Value) -> Result<AccountProof, JsonError> {
    let slots = list(answer, "storageProof", MAX_PROOF_SLOTS)?
        .iter()
        .map(|slot| {
            Ok(SlotProof {
                key: quantity_word(slot, "key")?,
                value: quantity_word(slot, "value")?,
                nodes: nodes(slot, "proof")?,
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(AccountProof { account: account(answer, "address")?, account_nodes: nodes(answer, "accountProof")?, slots })
}

fn nodes(value: &Value, name: &'static str) -> Result<Vec<Vec<u8>>, JsonError> {
    let items = list(value, name, MAX_PROOF_NODES)?;
    items.iter().map(|node| bytes_value(node, name, MAX_STATE_NODE_BYTES)).collect()
}

/// A field that is there and not null.
#[must_use]
pub fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.get(name).filter(|value| !value.is_null())
}

/// A list of at most `limit` items.
///
/// # Errors
/// When it is missing, no list, or longer.
pub fn list<'a>(value: &'a Value, name: &'static str, limit: usize) -> Result<&'a [Value], JsonError> {
    let items = field(value, name).and_then(Value::as_array).ok_or(JsonError { field: name, expected: "a list" })?;
    if items.len() > limit {
        return Err(JsonError { field: name, expected: "a shorter list" });
    }
    Ok(items)
}

/// A quantity such as `0x1f`.
///
/// # Errors
/// When it is missing, no hex quantity, or above 2⁶⁴ − 1.
pub fn number(value: &Value, name: &'static str) -> Result<u64, JsonError> {
    let wide = number128(value, name)?;
    u64::try_from(wide).map_err(|_| JsonError { field: name, expected: "a number below 2^64" })
}

fn number128(value: &Value, name: &'static str) -> Result<u128, JsonError> {
    let text = field(value, name).ok_or(JsonError { field: name, expected: "a hex quantity" })?;
    quantity(text).ok_or(JsonError { field: name, expected: "a hex quantity below 2^128" })
}

/// Reads a hex quantity below 2¹²⁸.
#[must_use]
pub fn quantity(value: &Value) -> Option<u128> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    if digits.is_empty() || digits.len() > 32 || digits.starts_with('+') {
        return None;
    }
    u128::from_str_radix(digits, 16).ok()
}

/// Exactly 32 bytes.
///
/// # Errors
/// When it is missing or of another form.
pub fn word(value: &Value, name: &'static str) -> Result<Hash32, JsonError> {
    fixed(value, name).map(Hash32)
}

/// A 20-byte account.
///
/// # Errors
/// When it is missing or of another form.
pub fn account(value: &Value, name: &'static str) -> Result<Account, JsonError> {
    fixed(value, name).map(Account)
}

/// Bytes of any length up to `limit`.
///
/// # Errors
/// When they are missing, no hex, or longer.
pub fn data(value: &Value, name: &'static str, limit: usize) -> Result<Vec<u8>, JsonError> {
    let found = field(value, name).ok_or(JsonError { field: name, expected: "hex data" })?;
    bytes_value(found, name, limit)
}

fn fixed<const N: usize>(value: &Value, name: &'static str) -> Result<[u8; N], JsonError> {
    let found = field(value, name).ok_or(JsonError { field: name, expected: "hex data" })?;
    fixed_value(found, name)
}

/// Hex data of exactly `N` bytes, 0x in front.
///
/// # Errors
/// When it has another form.
pub fn fixed_value<const N: usize>(value: &Value, name: &'static str) -> Result<[u8; N], JsonError> {
    let mut bytes = [0; N];
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
    let is_read = digits.is_some_and(|digits| hex::decode_to_slice(digits, &mut bytes).is_ok());
    if is_read { Ok(bytes) } else { Err(JsonError { field: name, expected: "hex data of the field's length" }) }
}

/// Hex data of at most `limit` bytes, 0x in front.
///
/// # Errors
/// When it has another form.
pub fn bytes_value(value: &Value, name: &'static str, limit: usize) -> Result<Vec<u8>, JsonError> {
    let error = JsonError { field: name, expected: "hex data within its limit" };
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x")).ok_or(error)?;
    if digits.len() > limit.saturating_mul(2) {
        return Err(error);
    }
    hex::decode(digits).map_err(|_| error)
}

/// A word that nodes write as quantity (`0x3`) or as 32 bytes.
fn quantity_word(value: &Value, name: &'static str) -> Result<Hash32, JsonError> {
    let error = JsonError { field: name, expected: "a hex number of at most 32 bytes" };
    let digits = field(value, name).and_then(Value::as_str).and_then(|text| text.strip_prefix("0x")).ok_or(error)?;
    if digits.is_empty() || digits.len() > 64 {
        return Err(error);
    }
    Hash32::from_hex(&format!("{digits:0>64}")).map_err(|_| error)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A block as go-ethereum and Besu write it, before London.
    fn block() -> Value {
        let word = |byte: &str| format!("0x{}", byte.repeat(32));
        json!({
            "parentHash": word("01"), "sha3Uncles": word("02"), "miner": format!("0x{}", "03".repeat(20)),
            "stateRoot": word("04"), "transactionsRoot": word("05"), "receiptsRoot": word("06"),
            "logsBloom": format!("0x{}", "00".repeat(256)), "difficulty": "0x1", "number": "0x2a",
            "gasLimit": "0x1c9c380", "gasUsed": "0x0", "timestamp": "0x6b49d200", "extraData": "0x07",
            "mixHash": word("08"), "nonce": "0x0000000000000000", "hash": word("09"),
            "size": "0x29b", "totalDifficulty": "0x2b", "transactions": [], "uncles": [],
        })
    }

    #[test]
    fn each_forks_form_is_read_with_all_its_items() {
        let mut block = block();
        let forks: [(usize, &[(&str, Value)]); 5] = [
            (15, &[]),
            (16, &[("baseFeePerGas", json!("0x7"))]),
            (17, &[("withdrawalsRoot", json!(format!("0x{}", "0a".repeat(32)))), ("withdrawals", json!([]))]),
            (
                20,
                &[
                    ("blobGasUsed", json!("0x0")),
                    ("excessBlobGas", json!("0x20000")),
                    ("parentBeaconBlockRoot", json!(format!("0x{}", "00".repeat(32)))),
                ],
            ),
            (21, &[("requestsHash", json!(format!("0x{}", "0b".repeat(32))))]),
        ];
        for (count, fields) in forks {
            for (name, value) in fields {
                block[*name] = value.clone();
            }
            let (header, hash) = read_header(&block).unwrap();
            assert_eq!((header.item_count(), hash), (count, Hash32([9; 32])));
            assert_eq!(Header::decode(&header.encode()).unwrap(), header);
            assert_eq!(unknown_fields(&block), Vec::<&str>::new());
        }
        let (header, _) = read_header(&block).unwrap();
        assert_eq!(header.fork.base_fee, Some(7));
        assert_eq!(header.fork.withdrawals_root, Some(Hash32([10; 32])));
        assert_eq!(header.fork.cancun.map(|cancun| cancun.excess_blob_gas), Some(0x20000));
        assert_eq!(header.fork.requests_hash, Some(Hash32([11; 32])));
        block["parentBeaconBlockRoot"] = Value::Null;
        assert_eq!(read_header(&block).unwrap_err().field, "parentBeaconBlockRoot");
    }

    #[test]
    fn fields_of_a_later_fork_are_named() {
        let mut block = block();
        block["targetBlobsPerBlock"] = json!("0x3");
        block["inclusionListRoot"] = json!("0x0");
        assert_eq!(unknown_fields(&block), ["inclusionListRoot", "targetBlobsPerBlock"]);
    }
}
