//! What is asked of one endpoint, with its answers read strictly.

use cityrelay_api::inspect::Ended;
use cityrelay_api::source::NodeError;
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, LaneId};
use cityrelay_gateway::query;
use serde_json::{Value, json};

use super::endpoint::{CallError, Endpoint, RpcFault};
use crate::codec::account::Account;
use crate::codec::extra::MAX_VALIDATORS;
use crate::codec::header::Header;
use crate::codec::json::{self, AccountProof, JsonError};
use crate::codec::receipt::Receipt;
use crate::recording::MAX_TRANSACTIONS;

/// The longest answer of a contract.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// `0x…` of a number.
pub(crate) fn hex_number(number: u64) -> String {
    format!("{number:#x}")
}

/// `0x…` of bytes.
pub(crate) fn hex_bytes(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

impl Endpoint {
    pub(crate) fn misread(&self, method: &str, error: &JsonError) -> NodeError {
        self.malformed(method, &error.to_string())
    }

    /// Height of its newest block.
    pub(crate) async fn height(&self) -> Result<u64, NodeError> {
        let answer = self.call("eth_blockNumber", json!([])).await?;
        let height = json::quantity(&answer).and_then(|height| u64::try_from(height).ok());
        let height = height.ok_or_else(|| self.malformed("eth_blockNumber", "a height"))?;
        self.note_height(height);
        Ok(height)
    }

    /// A block with the hashes of its transactions, or in full; null when the node does not have it.
    pub(crate) async fn block(&self, height: u64, is_full: bool) -> Result<Value, NodeError> {
        Ok(self.call("eth_getBlockByNumber", json!([hex_number(height), is_full])).await?)
    }

    /// The header of `block` with the hash that the node names.
    pub(crate) fn read_header(&self, height: u64, block: &Value) -> Result<(Header, Hash32), NodeError> {
        let method = "eth_getBlockByNumber";
        let (header, hash) = json::read_header(block).map_err(|error| self.misread(method, &error))?;
        if header.number != height {
            return Err(self.malformed(method, &format!("block {height}, got {}", header.number)));
        }
        Ok((header, hash))
    }

    /// `eth_getProof` of these slots at a block.
    pub(crate) async fn proof(
        &self,
        account: Account,
        slots: &[Hash32],
        height: u64,
    ) -> Result<AccountProof, CallError> {
        let slots: Vec<_> = slots.iter().map(ToString::to_string).collect();
        let answer = self.call("eth_getProof", json!([account.to_string(), slots, hex_number(height)])).await?;
        Ok(self.read_proof(&answer, &account)?)
    }

    pub(crate) fn read_proof(&self, answer: &Value, account: &Account) -> Result<AccountProof, NodeError> {
        let proof = json::read_account_proof(answer).map_err(|error| self.misread("eth_getProof", &error))?;
        if proof.account != *account {
            return Err(self.malformed("eth_getProof", &format!("a proof of {account}")));
        }
        Ok(proof)
    }

    /// `eth_call` at a block (`None`: the newest).
    pub(crate) async fn view(&self, to: Address, data: &[u8], height: Option<u64>) -> Result<Vec<u8>, CallError> {
        let block = height.map_or_else(|| "latest".to_owned(), hex_number);
        let call = json!([{ "to": short(to), "data": hex_bytes(data) }, block]);
        let answer = self.call("eth_call", call).await?;
        let bytes = json::bytes_value(&answer, "result", MAX_ANSWER_BYTES);
        Ok(bytes.map_err(|error| self.misread("eth_call", &error))?)
    }

    /// As [`Self::view`] in the newest state, by an account or by nobody; a revert is an answer too.
    pub(crate) async fn try_view(&self, to: Address, data: &[u8], by: Option<Address>) -> Result<Ended, NodeError> {
        let call = match by {
            Some(by) => json!({ "from": short(by), "to": short(to), "data": hex_bytes(data) }),
            None => json!({ "to": short(to), "data": hex_bytes(data) }),
        };
        match self.call("eth_call", json!([call, "latest"])).await {
            Ok(answer) => {
                let bytes = json::bytes_value(&answer, "result", MAX_ANSWER_BYTES);
                Ok(Ended::Returned(bytes.map_err(|error| self.misread("eth_call", &error))?))
            }
            Err(CallError::Fault(RpcFault { data: Some(data), .. })) => Ok(Ended::Reverted(data)),
            Err(error) => Err(error.into()),
        }
    }

    /// The head and the index that a gateway has for a lane.
    pub(crate) async fn point(
        &self,
        gateway: Address,
        lane: LaneId,
        height: Option<u64>,
    ) -> Result<ChainPoint, CallError> {
        let head = self.view(gateway, &query::head(lane), height).await?;
        let index = self.view(gateway, &query::index(lane), height).await?;
        let unexpected = |error| self.malformed("eth_call", &format!("the head of a lane: {error}"));
        let head = query::decode_head(&head).map_err(unexpected)?;
        let index = query::decode_index(&index).map_err(unexpected)?;
        Ok(ChainPoint { index, head })
    }

    /// The receipts of a block: all at once, or one by one where the node can't (GoQuorum, Edge).
    pub(crate) async fn receipts(&self, height: u64, block: &Value) -> Result<Vec<Value>, NodeError> {
        let transactions = json::list(block, "transactions", MAX_TRANSACTIONS);
        let transactions = transactions.map_err(|error| self.misread("eth_getBlockByNumber", &error))?;
        if transactions.is_empty() {
            return Ok(Vec::new());
        }
        match self.call("eth_getBlockReceipts", json!([hex_number(height)])).await {
            Ok(Value::Array(receipts)) if receipts.len() == transactions.len() => return Ok(receipts),
            Ok(_) => return Err(self.malformed("eth_getBlockReceipts", "a receipt for each transaction")),
            Err(CallError::Fault(_)) => {}
            Err(CallError::Node(error)) => return Err(error),
        }
        let hash = |transaction: &Value| transaction.get("hash").unwrap_or(transaction).clone();
        let params: Vec<_> = transactions.iter().map(|transaction| json!([hash(transaction)])).collect();
        let answers = self.calls("eth_getTransactionReceipt", &params).await?;
        answers.into_iter().map(|answer| answer.map_err(NodeError::from)).collect()
    }

    pub(crate) fn read_receipts(&self, receipts: &[Value]) -> Result<Vec<Receipt>, NodeError> {
        let read: Result<Vec<_>, _> = receipts.iter().map(json::read_receipt).collect();
        read.map_err(|error| self.misread("eth_getTransactionReceipt", &error))
    }

    /// The accounts of the validator set after a block, as the node says: a hint. Besu answers for the set that seals a
    /// block, so the one after `height` is that of the next; GoQuorum answers for the one after it.
    pub(crate) async fn validators_after(&self, height: u64) -> Result<Option<Vec<Account>>, NodeError> {
        let next = hex_number(height.saturating_add(1));
        let asks = [
            ("istanbul_getValidators", hex_number(height)),
            ("qbft_getValidatorsByBlockNumber", next.clone()),
            ("ibft_getValidatorsByBlockNumber", next),
        ];
        for (method, block) in asks {
            let answer = match self.call(method, json!([block])).await {
                Ok(answer) if !answer.is_null() => answer,
                Ok(_) | Err(CallError::Fault(_)) => continue,
                Err(CallError::Node(error)) => return Err(error),
            };
            let listed = answer.as_array().filter(|listed| listed.len() <= MAX_VALIDATORS);
            let accounts = listed.and_then(|listed| {
                listed.iter().map(|item| json::fixed_value(item, method).ok().map(Account)).collect::<Option<Vec<_>>>()
            });
            return accounts.map(Some).ok_or_else(|| self.malformed(method, "a list of addresses"));
        }
        Ok(None)
    }
}

/// An address as nodes want it. One that is longer names no account of such a chain; nodes refuse it.
pub(crate) fn short(address: Address) -> String {
    address.to_string()
}
