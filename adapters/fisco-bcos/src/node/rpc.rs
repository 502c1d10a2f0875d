//! The chain's native methods, typed. Nothing in the answers is believed.

use cityrelay_api::source::NodeError;
use cityrelay_core::hash::Hash32;
use futures_util::future::try_join_all;
use serde_json::{Value, json};

use super::endpoint::{Endpoint, UNKNOWN_ENTRY};
use crate::codec::header::SealedHeader;
use crate::codec::json::{bytes, header_from_json, prefixed, receipt_from_json};
use crate::codec::json_transaction::{ShownTransaction, transaction_from_json};
use crate::codec::receipt::Receipt;
use crate::codec::suite::CryptoSuite;

/// Requests to one endpoint at the same time.
const WIDTH: usize = 8;

/// What a `call` gave.
#[derive(Clone, Debug)]
pub(super) struct CallResult {
    pub status: i64,
    pub output: Vec<u8>,
}

impl Endpoint {
    fn with_node(&self, more: &[Value]) -> Vec<Value> {
        let mut params = vec![Value::from(self.node.clone())];
        params.extend_from_slice(more);
        params
    }

    /// Height of the node's last block; remembered.
    pub async fn block_number(&self) -> Result<u64, NodeError> {
        const METHOD: &str = "getBlockNumber";
        let answer = self.call(METHOD, self.with_node(&[])).await?;
        let number = answer.as_u64().ok_or_else(|| self.malformed(METHOD, "a number".to_owned()))?;
        self.health().height = number;
        Ok(number)
    }

    /// How many transactions wait in the node's pool.
    pub async fn pool_size(&self) -> Result<u64, NodeError> {
        const METHOD: &str = "getPendingTxSize";
        let answer = self.call(METHOD, self.with_node(&[])).await?;
        let number = answer.as_u64().or_else(|| {
            let digits = answer.as_str()?;
            digits.strip_prefix("0x").map_or_else(|| digits.parse().ok(), |hex| u64::from_str_radix(hex, 16).ok())
        });
        number.ok_or_else(|| self.malformed(METHOD, "a number".to_owned()))
    }

    /// A block as the node shows it: header only, with transaction hashes, or with transactions.
    async fn block_json(&self, number: u64, only_header: bool, only_hashes: bool) -> Result<Value, NodeError> {
        const METHOD: &str = "getBlockByNumber";
        let params = self.with_node(&[json!(number), json!(only_header), json!(only_hashes)]);
        let block = self.call(METHOD, params).await?;
        if block.get("number").and_then(Value::as_u64) == Some(number) {
            Ok(block)
        } else {
            Err(self.malformed(METHOD, format!("block {number}")))
        }
    }

    /// The header of a block.
    pub async fn header(&self, number: u64) -> Result<SealedHeader, NodeError> {
        let block = self.block_json(number, true, true).await?;
        header_from_json(&block).map_err(|error| self.json_error("getBlockByNumber", error))
    }

    /// The headers `from..=to`, a few at a time.
    pub async fn headers(&self, from: u64, to: u64) -> Result<Vec<SealedHeader>, NodeError> {
        let numbers: Vec<u64> = (from..=to).collect();
        let mut headers = Vec::with_capacity(numbers.len());
        for numbers in numbers.chunks(WIDTH) {
            headers.extend(try_join_all(numbers.iter().map(|number| self.header(*number))).await?);
        }
        Ok(headers)
    }

    /// A block with the hashes of its transactions.
    pub async fn block_with_hashes(&self, number: u64) -> Result<Value, NodeError> {
        self.block_json(number, false, true).await
    }

    /// A block with its transactions.
    pub async fn full_block(&self, number: u64) -> Result<Value, NodeError> {
        self.block_json(number, false, false).await
    }

    /// A transaction as the node shows it, `None` when it has none of that hash.
    pub async fn transaction_json(&self, hash: Hash32, with_proof: bool) -> Result<Option<Value>, NodeError> {
        let params = self.with_node(&[json!(hash.to_string()), json!(with_proof)]);
        known(self.call("getTransaction", params).await)
    }

    /// A transaction, `None` when the node has none of that hash.
    pub async fn transaction(&self, suite: CryptoSuite, hash: Hash32) -> Result<Option<ShownTransaction>, NodeError> {
        let Some(shown) = self.transaction_json(hash, false).await? else { return Ok(None) };
        let read = transaction_from_json(suite, &shown);
        read.map(Some).map_err(|error| self.json_error("getTransaction", error))
    }

    /// A receipt as the node shows it, `None` when it has none for that transaction.
    pub async fn receipt_json(&self, hash: Hash32, with_proof: bool) -> Result<Option<Value>, NodeError> {
        let params = self.with_node(&[json!(hash.to_string()), json!(with_proof)]);
        known(self.call("getTransactionReceipt", params).await)
    }

    /// A receipt that must be there.
    pub async fn receipt(&self, hash: Hash32) -> Result<Receipt, NodeError> {
        const METHOD: &str = "getTransactionReceipt";
        let missing = || self.malformed(METHOD, "a receipt for each transaction of a block".to_owned());
        let shown = self.receipt_json(hash, false).await?.ok_or_else(missing)?;
        receipt_from_json(&shown).map_err(|error| self.json_error(METHOD, error))
    }

    /// The receipts of several transactions, in their order.
    pub async fn receipts(&self, hashes: &[Hash32]) -> Result<Vec<Receipt>, NodeError> {
        let mut receipts = Vec::with_capacity(hashes.len());
        for hashes in hashes.chunks(WIDTH) {
            receipts.extend(try_join_all(hashes.iter().map(|hash| self.receipt(*hash))).await?);
        }
        Ok(receipts)
    }

    /// Runs `data` at a contract in the latest state, without an account.
    pub async fn view(&self, to: [u8; 20], data: &[u8]) -> Result<CallResult, NodeError> {
        const METHOD: &str = "call";
        let params = self.with_node(&[json!(prefixed(&to)), json!(prefixed(data))]);
        let answer = self.call(METHOD, params).await?;
        let status = answer.get("status").and_then(Value::as_i64);
        let status = status.ok_or_else(|| self.malformed(METHOD, "a status".to_owned()))?;
        let output = bytes(&answer, "output").map_err(|error| self.json_error(METHOD, error))?;
        Ok(CallResult { status, output })
    }

    /// As [`Self::view`], for a question that a contract always answers.
    pub async fn ask(&self, to: [u8; 20], data: &[u8]) -> Result<Vec<u8>, NodeError> {
        let result = self.view(to, data).await?;
        if result.status == 0 {
            Ok(result.output)
        } else {
            Err(self.malformed("call", format!("an answer of the contract, not status {}", result.status)))
        }
    }

    /// The events of `address` in `from..=to`, at most ten blocks (3.9.0 and later).
    pub async fn logs(&self, address: [u8; 20], from: u64, to: u64) -> Result<Vec<Value>, NodeError> {
        const METHOD: &str = "getLogs";
        let filter = json!({
            "fromBlock": format!("{from:#x}"),
            "toBlock": format!("{to:#x}"),
            "address": [prefixed(&address)],
            "topics": [],
        });
        let answer = self.call(METHOD, vec![filter]).await?;
        answer.as_array().cloned().ok_or_else(|| self.malformed(METHOD, "a list".to_owned()))
    }

    /// The sealer list for the next block, as the node shows it.
    pub async fn sealer_list(&self) -> Result<Value, NodeError> {
        self.call("getSealerList", self.with_node(&[])).await
    }
}

/// Turns the node's "I have none" into `None`.
fn known(result: Result<Value, NodeError>) -> Result<Option<Value>, NodeError> {
    match result {
        Ok(Value::Null) | Err(NodeError::Rpc { code: UNKNOWN_ENTRY, .. }) => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(error) => Err(error),
    }
}
