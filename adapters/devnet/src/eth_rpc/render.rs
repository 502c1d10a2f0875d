//! Blocks, transactions, receipts, logs and proofs as JSON, field by field as the recorded answers.

use alloy_consensus::{BlockHeader, Header, Transaction, Typed2718};
use alloy_primitives::{B256, Log};
use serde_json::{Map, Value, json};

use super::params::{bytes, quantity, quantity_u256};
use crate::sealed_evm::block::Block;
use crate::sealed_evm::pool::Signed;
use crate::world::AccountProof;

/// A block as one node shows it: with full transactions, or with their hashes.
pub(crate) fn block(block: &Block, node: usize, full: bool) -> Value {
    let header = &block.header;
    let extra_data = block.extra_data_at_node(node);
    let transactions: Vec<Value> = (0..block.transactions.len())
        .filter_map(|index| {
            if full {
                return Some(transaction_in(block, index));
            }
            block.transactions.get(index).map(|included| json!(included.hash()))
        })
        .collect();
    let with_extra = Header { extra_data: extra_data.clone(), ..header.clone() };
    let bodies: usize =
        block.transactions.iter().map(|included| alloy_rlp::encode(included.transaction.inner()).len()).sum();
    let mut shown = json!({
        "difficulty": quantity_u256(header.difficulty),
        "extraData": bytes(&extra_data),
        "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used),
        "hash": block.hash,
        "logsBloom": bytes(header.logs_bloom.as_slice()),
        "miner": bytes(&block.unsealed.miner(header)),
        "mixHash": header.mix_hash,
        "nonce": bytes(header.nonce.as_slice()),
        "number": quantity(header.number),
        "parentHash": header.parent_hash,
        "receiptsRoot": header.receipts_root,
        "sha3Uncles": header.ommers_hash,
        "size": quantity((alloy_rlp::encode(&with_extra).len() + bodies) as u64),
        "stateRoot": header.state_root,
        "timestamp": quantity(header.timestamp),
        "totalDifficulty": quantity(total_difficulty(block)),
        "transactions": transactions,
        "transactionsRoot": header.transactions_root,
        "uncles": [],
    });
    if let (Some(base_fee), Some(fields)) = (header.base_fee_per_gas(), shown.as_object_mut()) {
        fields.insert("baseFeePerGas".to_owned(), quantity(base_fee));
    }
    shown
}

/// A block as `eth_subscribe` tells it: its header alone.
pub(crate) fn head(shown: &Block, node: usize) -> Value {
    let mut head = block(shown, node, false);
    if let Some(fields) = head.as_object_mut() {
        fields.retain(|name, _| !["transactions", "uncles", "size", "totalDifficulty"].contains(&name.as_str()));
    }
    head
}

/// Each block has difficulty 1, block 0 included; Edge shows each block's own, which is its height.
fn total_difficulty(block: &Block) -> u64 {
    if block.unsealed.mode.is_edge() { block.header.number.max(1) } else { block.header.number + 1 }
}

/// A transaction in a block.
pub(super) fn transaction_in(block: &Block, index: usize) -> Value {
    let Some(included) = block.transactions.get(index) else { return Value::Null };
    transaction(&included.transaction, Some((block, index)))
}

/// A transaction that waits.
pub(super) fn waiting(signed: &Signed) -> Value {
    transaction(signed, None)
}

fn transaction(signed: &Signed, place: Option<(&Block, usize)>) -> Value {
    let signature = signed.signature();
    let is_legacy = signed.ty() == 0;
    let parity = u64::from(signature.v());
    let v = match signed.chain_id() {
        Some(chain_id) if is_legacy => chain_id * 2 + 35 + parity,
        None if is_legacy => 27 + parity,
        _ => parity,
    };
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    set("blockHash", place.map_or(Value::Null, |(block, _)| json!(block.hash)));
    set("blockNumber", place.map_or(Value::Null, |(block, _)| quantity(block.header.number)));
    set("from", bytes(signed.signer().as_slice()));
    set("gas", quantity(signed.gas_limit()));
    set("gasPrice", json!(format!("{:#x}", effective_gas_price(signed, place.is_some()))));
    set("hash", json!(signed.tx_hash()));
    set("input", bytes(signed.input()));
    set("nonce", quantity(signed.nonce()));
    set("to", signed.to().map_or(Value::Null, |to| bytes(to.as_slice())));
    set("transactionIndex", place.map_or(Value::Null, |(_, index)| quantity(index as u64)));
    set("value", quantity_u256(signed.value()));
    set("type", quantity(u64::from(signed.ty())));
    set("v", quantity(v));
    set("r", quantity_u256(signature.r()));
    set("s", quantity_u256(signature.s()));
    if !is_legacy {
        set("chainId", signed.chain_id().map_or(Value::Null, quantity));
        let list = signed.access_list().map(|list| {
            list.iter()
                .map(|item| json!({"address": bytes(item.address.as_slice()), "storageKeys": item.storage_keys}))
                .collect::<Vec<_>>()
        });
        set("accessList", json!(list.unwrap_or_default()));
    }
    if let Some(tip) = signed.max_priority_fee_per_gas() {
        set("maxFeePerGas", json!(format!("{:#x}", signed.max_fee_per_gas())));
        set("maxPriorityFeePerGas", json!(format!("{tip:#x}")));
    }
    Value::Object(fields)
}

/// With a base fee of zero an included transaction pays its tip, at most its cap.
fn effective_gas_price(signed: &Signed, is_included: bool) -> u128 {
    match signed.max_priority_fee_per_gas() {
        Some(tip) if is_included => tip.min(signed.max_fee_per_gas()),
        _ => signed.max_fee_per_gas(),
    }
}

/// The receipt of a transaction in a block.
pub(super) fn receipt_in(block: &Block, index: usize) -> Value {
    let Some(included) = block.transactions.get(index) else { return Value::Null };
    let signed = &included.transaction;
    let first_log: usize = block.transactions.iter().take(index).map(|earlier| earlier.receipt.logs().len()).sum();
    let logs: Vec<Value> = included
        .receipt
        .logs()
        .iter()
        .enumerate()
        .map(|(at, entry)| log(block, index, included.hash(), first_log + at, entry))
        .collect();
    json!({
        "blockHash": block.hash,
        "blockNumber": quantity(block.header.number),
        "contractAddress": included.created.map(|address| bytes(address.as_slice())),
        "cumulativeGasUsed": quantity(included.receipt.cumulative_gas_used()),
        "effectiveGasPrice": format!("{:#x}", effective_gas_price(signed, true)),
        "from": bytes(signed.signer().as_slice()),
        "gasUsed": quantity(included.gas_used),
        "isPrivacyMarkerTransaction": false,
        "logs": logs,
        "logsBloom": bytes(included.receipt.logs_bloom().as_slice()),
        "status": quantity(u64::from(included.receipt.is_success())),
        "to": signed.to().map(|to| bytes(to.as_slice())),
        "transactionHash": included.hash(),
        "transactionIndex": quantity(index as u64),
        "type": quantity(u64::from(signed.ty())),
    })
}

/// A log; `log_index` counts through the whole block.
pub(super) fn log(block: &Block, index: usize, transaction: B256, log_index: usize, log: &Log) -> Value {
    json!({
        "address": bytes(log.address.as_slice()),
        "topics": log.topics(),
        "data": bytes(&log.data.data),
        "blockNumber": quantity(block.header.number),
        "transactionHash": transaction,
        "transactionIndex": quantity(index as u64),
        "blockHash": block.hash,
        "logIndex": quantity(log_index as u64),
        "removed": false,
    })
}

/// The answer of `eth_getProof`; slots are named as they were asked for.
pub(super) fn proof(proof: &AccountProof, asked: &[Value]) -> Value {
    let slots: Vec<Value> = proof
        .slots
        .iter()
        .zip(asked)
        .map(|(slot, key)| {
            let nodes: Vec<Value> = slot.nodes.iter().map(|node| bytes(node)).collect();
            json!({"key": key, "value": quantity_u256(slot.value), "proof": nodes})
        })
        .collect();
    let nodes: Vec<Value> = proof.account_nodes.iter().map(|node| bytes(node)).collect();
    json!({
        "address": bytes(proof.address.as_slice()),
        "accountProof": nodes,
        "balance": quantity_u256(proof.balance),
        "codeHash": proof.code_hash,
        "nonce": quantity(proof.nonce),
        "storageHash": proof.storage_root,
        "storageProof": slots,
    })
}

/// A part of the pool as `txpool_inspect` shows it: by sender and nonce, a line each (go-ethereum `internal/ethapi/api.go`).
pub(crate) fn queues(waiting: &[&Signed]) -> Value {
    let mut senders: Map<String, Value> = Map::new();
    for transaction in waiting {
        let to = transaction.to().map_or_else(|| "contract creation".to_owned(), |to| to.to_string());
        let (value, gas, price) = (transaction.value(), transaction.gas_limit(), transaction.max_fee_per_gas());
        let line = format!("{to}: {value} wei + {gas} gas × {price} wei");
        let queue = senders.entry(transaction.signer().to_string()).or_insert_with(|| json!({}));
        if let Some(queue) = queue.as_object_mut() {
            queue.insert(transaction.nonce().to_string(), json!(line));
        }
    }
    Value::Object(senders)
}
