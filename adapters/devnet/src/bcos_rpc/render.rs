//! Blocks, transactions and receipts as JSON, field by field as the recorded answers.

use alloy_primitives::Address;
use cityrelay_core::hash::Hash32;
use cityrelay_fisco_bcos::codec::json::{header_to_json, prefixed, proof_to_json, receipt_to_json};
use cityrelay_fisco_bcos::codec::json_transaction::transaction_to_json;
use cityrelay_fisco_bcos::codec::merkle;
use cityrelay_fisco_bcos::codec::receipt::LogEntry;
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use serde_json::{Map, Value, json};

use crate::weighted_bcos::block::{Block, Included};

/// A block as one node shows it.
pub(super) fn block(suite: CryptoSuite, block: &Block, node: usize, only_header: bool, only_hashes: bool) -> Value {
    let mut value = header_to_json(&block.at_node(node));
    if only_header {
        return value;
    }
    let transactions: Vec<Value> = block
        .transactions
        .iter()
        .map(
            |included| {
                if only_hashes { json!(included.signed.hash.to_string()) } else { shown(suite, block, included) }
            },
        )
        .collect();
    set(&mut value, [("transactions", json!(transactions))]);
    value
}

/// A transaction, with its path in the block's transaction tree when asked.
pub(super) fn transaction(suite: CryptoSuite, block: &Block, index: usize, with_proof: bool) -> Value {
    let Some(included) = block.transactions.get(index) else { return Value::Null };
    let mut value = shown(suite, block, included);
    if with_proof {
        let proof = proof_of(suite, &block.transaction_hashes(), index);
        set(&mut value, [("transactionProof", json!([])), ("txProof", proof)]);
    }
    value
}

fn shown(suite: CryptoSuite, block: &Block, included: &Included) -> Value {
    let transaction = &included.signed.transaction;
    let mut value = transaction_to_json(suite, &transaction.data, &transaction.signature);
    // When a node first saw it is not kept here; the time of the block stands in.
    set(&mut value, [("importTime", json!(block.header.timestamp))]);
    value
}

/// A receipt, with its path in the block's receipt tree when asked.
pub(super) fn receipt(suite: CryptoSuite, block: &Block, index: usize, with_proof: bool) -> Value {
    let Some(included) = block.transactions.get(index) else { return Value::Null };
    let mut value = bare_receipt(suite, included);
    if with_proof {
        let proof = receipt_proof(suite, block, included);
        let lists = [("receiptProof", json!([])), ("transactionProof", json!([])), ("txReceiptProof", proof)];
        set(&mut value, lists);
    }
    value
}

/// A receipt as `sendTransaction` answers it: without hash when the transaction failed, the path twice.
pub(super) fn sent_receipt(suite: CryptoSuite, block: &Block, index: usize, with_proof: bool) -> Value {
    let Some(included) = block.transactions.get(index) else { return Value::Null };
    let mut value = bare_receipt(suite, included);
    if included.receipt.status != 0 {
        set(&mut value, [("hash", json!("0x"))]);
    }
    if with_proof {
        let proof = receipt_proof(suite, block, included);
        set(&mut value, [("receiptProof", proof.clone()), ("txReceiptProof", proof)]);
    }
    value
}

fn bare_receipt(suite: CryptoSuite, included: &Included) -> Value {
    let data = &included.signed.transaction.data;
    let mut value = receipt_to_json(&included.receipt, &included.receipt_hash);
    let checksummed = match included.receipt.contract_address.parse::<Address>() {
        Ok(address) => checksum(suite, address),
        Err(_) => String::new(),
    };
    set(
        &mut value,
        [
            ("checksumContractAddress", json!(checksummed)),
            ("extraData", json!(included.signed.transaction.extra_data)),
            ("from", json!(prefixed(&included.signed.sender))),
            ("input", json!(prefixed(&data.input))),
            ("message", json!("")),
            ("to", json!(data.to)),
            ("transactionHash", json!(included.signed.hash.to_string())),
        ],
    );
    value
}

/// EIP-55 with the chain's hash.
fn checksum(suite: CryptoSuite, address: Address) -> String {
    let digits = hex::encode(address);
    let hash = hex::encode(suite.hash(digits.as_bytes()).0);
    let cased = digits.chars().zip(hash.chars()).map(
        |(digit, nibble)| {
            if nibble >= '8' { digit.to_ascii_uppercase() } else { digit }
        },
    );
    format!("0x{}", cased.collect::<String>())
}

/// The node looks a receipt up by its hash and serves the path of the first that is equal.
fn receipt_proof(suite: CryptoSuite, block: &Block, included: &Included) -> Value {
    let hashes = block.receipt_hashes();
    let first = hashes.iter().position(|hash| *hash == included.receipt_hash).unwrap_or_default();
    proof_of(suite, &hashes, first)
}

fn proof_of(suite: CryptoSuite, leaves: &[Hash32], index: usize) -> Value {
    proof_to_json(&merkle::proof(suite, leaves, index))
}

/// A log as `getLogs` answers it. Its form was not recorded: the web3 one, with `logIndex` counted per receipt.
pub(super) fn log(block: &Block, index: usize, at: usize, log: &LogEntry) -> Value {
    let transaction = block.transactions.get(index).map(|included| included.signed.hash.to_string());
    json!({
        "address": log.address,
        "blockHash": block.hash.to_string(),
        "blockNumber": format!("{:#x}", block.header.number),
        "data": prefixed(&log.data),
        "logIndex": format!("{at:#x}"),
        "removed": false,
        "topics": log.topics.iter().map(Hash32::to_string).collect::<Vec<_>>(),
        "transactionHash": transaction,
        "transactionIndex": format!("{index:#x}"),
    })
}

fn set<const N: usize>(value: &mut Value, members: [(&str, Value); N]) {
    if let Some(fields) = value.as_object_mut() {
        fields.extend(members.map(|(name, member)| (name.to_owned(), member)).into_iter().collect::<Map<_, _>>());
    }
}
