//! Headers, receipts and proofs as the chain's native JSON-RPC shows them, in both directions.
//!
//! `JsonRpcImpl_2_0.cpp:toJsonResp`: hashes, keys and data are `0x`-hex, numbers are JSON numbers, `gasUsed` is decimal
//! text. Proofs are lists of 64 hex digits without `0x`. Transactions are in [`super::json_transaction`].

use cityrelay_core::hash::Hash32;
use serde_json::{Value, json};

use super::binary::{MAX_BLOCK_TRANSACTIONS, MAX_FIELD_BYTES, MAX_LOGS, MAX_SEALERS};
use super::header::{BlockHeader, HeaderSignature, Parent, SealedHeader};
use super::receipt::{LogEntry, Receipt};
use super::suite::PublicKey;

/// A JSON value is not what the chain's RPC shows. The node's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} in `{field}`")]
pub struct JsonError {
    /// The field.
    pub field: &'static str,
    /// What it should hold.
    pub expected: &'static str,
}

/// The text in `field`.
///
/// # Errors
/// A [`JsonError`] when there is none, or it is longer than twice [`MAX_FIELD_BYTES`].
pub fn text<'a>(value: &'a Value, field: &'static str) -> Result<&'a str, JsonError> {
    let error = JsonError { field, expected: "a text of bounded length" };
    value.get(field).and_then(Value::as_str).filter(|text| text.len() <= 2 * MAX_FIELD_BYTES + 2).ok_or(error)
}

/// The text in `field`, empty when the field is missing.
///
/// # Errors
/// As [`text`], for a field that holds something else.
pub fn text_or_empty<'a>(value: &'a Value, field: &'static str) -> Result<&'a str, JsonError> {
    if value.get(field).is_none_or(Value::is_null) { Ok("") } else { text(value, field) }
}

/// The number in `field`, not negative.
///
/// # Errors
/// A [`JsonError`] otherwise.
pub fn number(value: &Value, field: &'static str) -> Result<u64, JsonError> {
    value.get(field).and_then(Value::as_u64).ok_or(JsonError { field, expected: "a number that is not negative" })
}

/// As [`number`], within 32 bits.
///
/// # Errors
/// A [`JsonError`] otherwise.
pub fn word(value: &Value, field: &'static str) -> Result<u32, JsonError> {
    u32::try_from(number(value, field)?).map_err(|_| JsonError { field, expected: "a number below 2^32" })
}

/// The signed number in `field`, within 32 bits.
///
/// # Errors
/// A [`JsonError`] otherwise.
pub fn signed_word(value: &Value, field: &'static str) -> Result<i32, JsonError> {
    let number = value.get(field).and_then(Value::as_i64).and_then(|number| i32::try_from(number).ok());
    number.ok_or(JsonError { field, expected: "a signed 32-bit number" })
}

/// The list in `field`, of at most `limit` items.
///
/// # Errors
/// A [`JsonError`] otherwise.
pub fn list<'a>(value: &'a Value, field: &'static str, limit: usize) -> Result<&'a [Value], JsonError> {
    let list = value.get(field).and_then(Value::as_array).filter(|list| list.len() <= limit);
    list.map(Vec::as_slice).ok_or(JsonError { field, expected: "a list of bounded length" })
}

/// Bytes from hex text, with or without `0x`.
///
/// # Errors
/// A [`JsonError`] naming `field` when it is no hex.
pub fn unhex(text: &str, field: &'static str) -> Result<Vec<u8>, JsonError> {
    hex::decode(text.strip_prefix("0x").unwrap_or(text)).map_err(|_| JsonError { field, expected: "hex" })
}

/// The bytes in `field`.
///
/// # Errors
/// A [`JsonError`] when it is missing or no hex.
pub fn bytes(value: &Value, field: &'static str) -> Result<Vec<u8>, JsonError> {
    unhex(text(value, field)?, field)
}

/// The hash in `field`.
///
/// # Errors
/// A [`JsonError`] when it is missing or not 32 bytes.
pub fn hash(value: &Value, field: &'static str) -> Result<Hash32, JsonError> {
    hash_of(value.get(field).unwrap_or(&Value::Null), field)
}

/// The hash that `value` is.
///
/// # Errors
/// A [`JsonError`] naming `field` when it is not 32 bytes in hex.
pub fn hash_of(value: &Value, field: &'static str) -> Result<Hash32, JsonError> {
    let error = JsonError { field, expected: "32 bytes in hex" };
    value.as_str().and_then(|text| Hash32::from_hex(text).ok()).ok_or(error)
}

/// A public key from 128 hex digits, with or without `0x`.
///
/// # Errors
/// A [`JsonError`] naming `field` otherwise.
pub fn public_key(text: &str, field: &'static str) -> Result<PublicKey, JsonError> {
    let error = JsonError { field, expected: "64 bytes in hex" };
    unhex(text, field)?.try_into().map(PublicKey).map_err(|_| error)
}

/// Reads a header as `getBlockByNumber` shows it.
///
/// The genesis block is shown with zeros where nothing was hashed; those come back empty.
///
/// # Errors
/// A [`JsonError`] for the first field that is missing or of another type.
pub fn header_from_json(block: &Value) -> Result<SealedHeader, JsonError> {
    let number_of_block = number(block, "number")?;
    let is_genesis = number_of_block == 0;
    let root = |field| {
        let root = bytes(block, field)?;
        Ok(if is_genesis && root.iter().all(|byte| *byte == 0) { Vec::new() } else { root })
    };
    let parents = list(block, "parentInfo", MAX_SEALERS)?
        .iter()
        .map(|parent| Ok(Parent { number: number(parent, "blockNumber")?, hash: hash(parent, "blockHash")? }))
        .collect::<Result<_, JsonError>>()?;
    let sealers = list(block, "sealerList", MAX_SEALERS)?
        .iter()
        .map(|id| public_key(id.as_str().unwrap_or_default(), "sealerList"))
        .collect::<Result<_, _>>()?;
    let weight = JsonError { field: "consensusWeights", expected: "numbers that are not negative" };
    let weights = list(block, "consensusWeights", MAX_SEALERS)?
        .iter()
        .map(|value| value.as_u64().ok_or(weight))
        .collect::<Result<_, _>>()?;
    let gas_used = text(block, "gasUsed")?;
    let header = BlockHeader {
        version: word(block, "version")?,
        parents,
        txs_root: root("txsRoot")?,
        receipts_root: root("receiptsRoot")?,
        state_root: root("stateRoot")?,
        number: number_of_block,
        gas_used: if is_genesis && gas_used == "0" { String::new() } else { gas_used.to_owned() },
        timestamp: number(block, "timestamp")?,
        sealer: number(block, "sealer")?,
        sealers,
        extra_data: bytes(block, "extraData")?,
        weights,
    };
    let signatures = signatures_from_json(block.get("signatureList").unwrap_or(&Value::Null))?;
    Ok(SealedHeader { header, claimed_hash: hash(block, "hash")?, signatures })
}

/// Reads a signature list.
///
/// # Errors
/// A [`JsonError`] when it is none.
pub fn signatures_from_json(value: &Value) -> Result<Vec<HeaderSignature>, JsonError> {
    let error = JsonError { field: "signatureList", expected: "a list of bounded length" };
    let list = value.as_array().filter(|list| list.len() <= MAX_SEALERS).ok_or(error)?;
    list.iter()
        .map(|entry| {
            Ok(HeaderSignature { sealer: number(entry, "sealerIndex")?, signature: bytes(entry, "signature")? })
        })
        .collect()
}

/// Writes a header as `getBlockByNumber` shows it, without its transactions.
#[must_use]
pub fn header_to_json(sealed: &SealedHeader) -> Value {
    let header = &sealed.header;
    let root = |root: &[u8]| if root.is_empty() { prefixed(&[0; 32]) } else { prefixed(root) };
    let parents: Vec<Value> = header
        .parents
        .iter()
        .map(|parent| json!({ "blockNumber": parent.number, "blockHash": parent.hash.to_string() }))
        .collect();
    let signatures: Vec<Value> = sealed
        .signatures
        .iter()
        .map(|entry| json!({ "sealerIndex": entry.sealer, "signature": prefixed(&entry.signature) }))
        .collect();
    json!({
        "hash": sealed.claimed_hash.to_string(),
        "version": header.version,
        "parentInfo": parents,
        "txsRoot": root(&header.txs_root),
        "receiptsRoot": root(&header.receipts_root),
        "stateRoot": root(&header.state_root),
        "number": header.number,
        "gasUsed": if header.gas_used.is_empty() { "0" } else { &header.gas_used },
        "timestamp": header.timestamp,
        "sealer": header.sealer,
        "sealerList": header.sealers.iter().map(|id| prefixed(&id.0)).collect::<Vec<_>>(),
        "extraData": prefixed(&header.extra_data),
        "consensusWeights": header.weights,
        "signatureList": signatures,
    })
}

/// Reads the hashed fields of a receipt as `getTransactionReceipt` shows it.
///
/// # Errors
/// A [`JsonError`] for the first field that is missing or of another type.
pub fn receipt_from_json(value: &Value) -> Result<Receipt, JsonError> {
    let logs = list(value, "logEntries", MAX_LOGS)?.iter().map(log_from_json).collect::<Result<_, _>>()?;
    let contract = text_or_empty(value, "contractAddress")?;
    Ok(Receipt {
        version: word(value, "version")?,
        gas_used: text(value, "gasUsed")?.to_owned(),
        contract_address: contract.strip_prefix("0x").unwrap_or(contract).to_owned(),
        status: signed_word(value, "status")?,
        output: bytes(value, "output")?,
        effective_gas_price: text_or_empty(value, "effectiveGasPrice")?.to_owned(),
        logs,
        block_number: number(value, "blockNumber")?,
    })
}

/// Reads one event, of a receipt or of `getLogs`.
///
/// # Errors
/// A [`JsonError`] for the first field that is missing or of another type.
pub fn log_from_json(value: &Value) -> Result<LogEntry, JsonError> {
    let topics =
        list(value, "topics", MAX_LOGS)?.iter().map(|topic| hash_of(topic, "topics")).collect::<Result<_, _>>()?;
    Ok(LogEntry { address: text(value, "address")?.to_owned(), topics, data: bytes(value, "data")? })
}

/// Writes the hashed fields of a receipt as `getTransactionReceipt` shows them.
#[must_use]
pub fn receipt_to_json(receipt: &Receipt, hash: &Hash32) -> Value {
    let logs: Vec<Value> = receipt
        .logs
        .iter()
        .map(|log| {
            let topics: Vec<String> = log.topics.iter().map(Hash32::to_string).collect();
            json!({ "address": log.address, "topics": topics, "data": prefixed(&log.data) })
        })
        .collect();
    let contract = &receipt.contract_address;
    let mut value = json!({
        "version": receipt.version,
        "hash": hash.to_string(),
        "contractAddress": if contract.is_empty() { String::new() } else { format!("0x{contract}") },
        "gasUsed": receipt.gas_used,
        "status": receipt.status,
        "blockNumber": receipt.block_number,
        "output": prefixed(&receipt.output),
        "logEntries": logs,
    });
    if receipt.version >= 1
        && let Some(object) = value.as_object_mut()
    {
        object.insert("effectiveGasPrice".to_owned(), Value::from(receipt.effective_gas_price.clone()));
    }
    value
}

/// Reads a Merkle proof; `None` where the node serves none (before 3.2.0 the list is missing, or has another form).
#[must_use]
pub fn proof_from_json(value: &Value) -> Option<Vec<Hash32>> {
    // Three words a level and 64 levels are more than any tree of 2^64 leaves.
    let list = value.as_array().filter(|list| !list.is_empty() && list.len() <= 3 * 64)?;
    list.iter().map(|item| Hash32::from_hex(item.as_str()?).ok()).collect()
}

/// Writes a Merkle proof.
#[must_use]
pub fn proof_to_json(proof: &[Hash32]) -> Value {
    Value::from(proof.iter().map(|node| hex::encode(node.0)).collect::<Vec<_>>())
}

/// The transaction hashes of a block: of a list of hashes, or of a list of transactions.
///
/// # Errors
/// A [`JsonError`] when there are too many or one has no hash.
pub fn transaction_hashes(block: &Value) -> Result<Vec<Hash32>, JsonError> {
    list(block, "transactions", MAX_BLOCK_TRANSACTIONS)?
        .iter()
        .map(|item| hash_of(item.get("hash").unwrap_or(item), "transactions"))
        .collect()
}

/// `0x` and hex.
#[must_use]
pub fn prefixed(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}
