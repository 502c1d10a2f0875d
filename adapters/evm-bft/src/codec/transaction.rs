//! Transactions as the transactions trie holds them: legacy, EIP-2930 and EIP-1559.

use cityrelay_core::hash::Hash32;
use serde_json::Value;

use super::json::{self, JsonError, data, field, fixed_value, list, number};
use super::rlp::{bytes_item, list_item, minimal, uint_item};

/// The value that the transactions trie holds for a node's transaction, or `None` for a type not known here.
///
/// # Errors
/// The first field that is missing or malformed.
pub fn read_transaction(transaction: &Value) -> Result<Option<Vec<u8>>, JsonError> {
    let kind = if field(transaction, "type").is_some() { number(transaction, "type")? } else { 0 };
    let scalar = |name| wide(transaction, name);
    let nonce = uint_item(number(transaction, "nonce")?);
    let gas = uint_item(number(transaction, "gas")?);
    let to = match field(transaction, "to") {
        Some(_) => bytes_item(&json::account(transaction, "to")?.0),
        None => bytes_item(&[]),
    };
    let value = scalar("value")?;
    let input = bytes_item(&data(transaction, "input", 32 << 20)?);
    let (r, s) = (scalar("r")?, scalar("s")?);
    if kind == 0 {
        return Ok(Some(list_item(&[nonce, scalar("gasPrice")?, gas, to, value, input, scalar("v")?, r, s])));
    }
    let parity = if field(transaction, "yParity").is_some() { "yParity" } else { "v" };
    let tail = |mut items: Vec<Vec<u8>>| -> Result<Vec<u8>, JsonError> {
        items.extend([gas.clone(), to.clone(), value.clone(), input.clone(), access_list(transaction)?]);
        items.extend([scalar(parity)?, r.clone(), s.clone()]);
        Ok(list_item(&items))
    };
    let chain_id = scalar("chainId");
    match kind {
        1 => {
            let body = tail(vec![chain_id?, nonce.clone(), scalar("gasPrice")?])?;
            Ok(Some([&[1], body.as_slice()].concat()))
        }
        2 => {
            let fees = (scalar("maxPriorityFeePerGas")?, scalar("maxFeePerGas")?);
            let body = tail(vec![chain_id?, nonce.clone(), fees.0, fees.1])?;
            Ok(Some([&[2], body.as_slice()].concat()))
        }
        _ => Ok(None),
    }
}

/// Whether a node's transaction bears GoQuorum's mark of a private one, a `v` of 37 or 38
/// (`core/types/transaction.go:IsPrivate`). On chain id 1 public ones bear it too.
#[must_use]
pub fn may_be_private(transaction: &Value) -> bool {
    matches!(number(transaction, "v"), Ok(37 | 38))
}

fn access_list(transaction: &Value) -> Result<Vec<u8>, JsonError> {
    if field(transaction, "accessList").is_none() {
        return Ok(list_item::<&[u8]>(&[]));
    }
    let entries = list(transaction, "accessList", 65_536)?.iter().map(|entry| {
        let keys = list(entry, "storageKeys", 65_536)?
            .iter()
            .map(|key| fixed_value::<32>(key, "storageKeys").map(|key| bytes_item(&key)))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(list_item(&[bytes_item(&json::account(entry, "address")?.0), list_item(&keys)]))
    });
    Ok(list_item(&entries.collect::<Result<Vec<_>, JsonError>>()?))
}

/// A number of up to 32 bytes as an RLP item.
fn wide(value: &Value, name: &'static str) -> Result<Vec<u8>, JsonError> {
    let error = JsonError { field: name, expected: "a hex quantity of at most 32 bytes" };
    let digits = field(value, name).and_then(Value::as_str).and_then(|text| text.strip_prefix("0x")).ok_or(error)?;
    if digits.is_empty() || digits.len() > 64 {
        return Err(error);
    }
    let word = Hash32::from_hex(&format!("{digits:0>64}")).map_err(|_| error)?;
    Ok(bytes_item(minimal(word.as_bytes())))
}
