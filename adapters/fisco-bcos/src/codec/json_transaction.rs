//! Transactions as the chain's native JSON-RPC shows them, in both directions.

use cityrelay_core::hash::Hash32;
use serde_json::{Value, json};

use super::json::{JsonError, bytes, hash, list, number, prefixed, text, text_or_empty, word};
use super::suite::CryptoSuite;
use super::transaction::TransactionData;

/// The most bytes of a transaction's `extension`, which JSON shows as one number a byte.
const MAX_EXTENSION_BYTES: usize = 1 << 16;

/// A transaction of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShownTransaction {
    /// A native one.
    Native {
        /// The signed fields.
        data: Box<TransactionData>,
        /// The signature.
        signature: Vec<u8>,
        /// What the node says about its hash.
        claimed_hash: Hash32,
    },
    /// An Ethereum-signed one: its leaf is keccak256 of raw bytes that this form does not show.
    Web3 {
        /// What the node says about its hash.
        claimed_hash: Hash32,
    },
}

impl ShownTransaction {
    /// What the node says about its hash.
    #[must_use]
    pub const fn claimed_hash(&self) -> Hash32 {
        match self {
            Self::Native { claimed_hash, .. } | Self::Web3 { claimed_hash } => *claimed_hash,
        }
    }
}

/// Reads a transaction as `getTransaction` or a full block shows it.
///
/// Nodes before 3.3.0 show the nonce as it is, later ones as hex of its text. Both readings are tried, and the one whose
/// hash is the claimed one is kept; where neither fits, the later form is.
///
/// # Errors
/// A [`JsonError`] for the first field that is missing or of another type.
pub fn transaction_from_json(suite: CryptoSuite, value: &Value) -> Result<ShownTransaction, JsonError> {
    let claimed_hash = hash(value, "hash")?;
    let (version, block_limit) = (word(value, "version")?, number(value, "blockLimit")?);
    let group_id = text_or_empty(value, "groupID")?;
    if is_web3(value, version, group_id, block_limit) {
        return Ok(ShownTransaction::Web3 { claimed_hash });
    }
    let nonce = text(value, "nonce")?;
    let mut data = TransactionData {
        version,
        chain_id: text(value, "chainID")?.to_owned(),
        group_id: group_id.to_owned(),
        block_limit,
        nonce: decoded_nonce(nonce).unwrap_or_else(|| nonce.to_owned()),
        to: text_or_empty(value, "to")?.to_owned(),
        input: bytes(value, "input")?,
        abi: text_or_empty(value, "abi")?.to_owned(),
        ..TransactionData::default()
    };
    if data.version >= 1 {
        text_or_empty(value, "value")?.clone_into(&mut data.value);
        text_or_empty(value, "gasPrice")?.clone_into(&mut data.gas_price);
        data.gas_limit = number(value, "gasLimit")?;
        text_or_empty(value, "maxFeePerGas")?.clone_into(&mut data.max_fee_per_gas);
        text_or_empty(value, "maxPriorityFeePerGas")?.clone_into(&mut data.max_priority_fee_per_gas);
    }
    if data.version >= 2 {
        let error = JsonError { field: "extension", expected: "numbers from 0 to 255" };
        data.extension = list(value, "extension", MAX_EXTENSION_BYTES)?
            .iter()
            .map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()).ok_or(error))
            .collect::<Result<_, _>>()?;
    }
    if data.hash(suite) != claimed_hash {
        let plain = TransactionData { nonce: nonce.to_owned(), ..data.clone() };
        if plain.hash(suite) == claimed_hash {
            data = plain;
        }
    }
    Ok(ShownTransaction::Native { data: Box::new(data), signature: bytes(value, "signature")?, claimed_hash })
}

/// Whether what is shown is an Ethereum-signed transaction (type 1, since 3.9.0).
///
/// No release up to v3.16.4 shows the type (`JsonRpcImpl_2_0.cpp:toJsonResp`); one that does is believed. What came in as
/// raw bytes has neither group nor block limit (`Web3Transaction.cpp:takeToTarsTransaction`). What came in as a native
/// submission of type 1 may name any, but is shown with a gas limit at version 0, which native ones are not.
fn is_web3(value: &Value, version: u32, group_id: &str, block_limit: u64) -> bool {
    value.get("type").and_then(Value::as_u64) == Some(1)
        || (group_id.is_empty() && block_limit == 0)
        || (version == 0 && value.get("gasLimit").is_some())
}

/// The text whose bytes `nonce` shows in hex.
fn decoded_nonce(nonce: &str) -> Option<String> {
    String::from_utf8(hex::decode(nonce).ok()?).ok()
}

/// Writes a native transaction as `getTransaction` shows it (3.3.0 and later), without proofs and import time.
#[must_use]
pub fn transaction_to_json(suite: CryptoSuite, data: &TransactionData, signature: &[u8]) -> Value {
    let hash = data.hash(suite);
    let from = suite.transaction_signer(&hash, signature).map(|key| prefixed(&suite.account(&key))).unwrap_or_default();
    let mut value = json!({
        "version": data.version,
        "hash": hash.to_string(),
        "nonce": hex::encode(&data.nonce),
        "blockLimit": data.block_limit,
        "to": data.to,
        "input": prefixed(&data.input),
        "from": from,
        "chainID": data.chain_id,
        "groupID": data.group_id,
        "abi": data.abi,
        "signature": prefixed(signature),
        "extraData": "",
    });
    let Some(object) = value.as_object_mut() else { return value };
    if data.version >= 1 {
        object.insert("value".to_owned(), Value::from(data.value.clone()));
        object.insert("gasPrice".to_owned(), Value::from(data.gas_price.clone()));
        object.insert("gasLimit".to_owned(), Value::from(data.gas_limit));
        object.insert("maxFeePerGas".to_owned(), Value::from(data.max_fee_per_gas.clone()));
        object.insert("maxPriorityFeePerGas".to_owned(), Value::from(data.max_priority_fee_per_gas.clone()));
    }
    if data.version >= 2 {
        object.insert("extension".to_owned(), Value::from(data.extension.clone()));
    }
    value
}
