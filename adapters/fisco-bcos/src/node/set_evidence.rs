//! Finding out what a block did about the sealer set.

use cityrelay_api::source::NodeError;
use cityrelay_core::hash::Hash32;

use super::endpoint::Endpoint;
use crate::codec::json::transaction_hashes;
use crate::codec::json_transaction::{ShownTransaction, transaction_from_json};
use crate::codec::suite::CryptoSuite;
use crate::verify::set_change::is_consensus_contract;
use crate::verify::update::{MAX_SET_CALLS, SetCall, SetChangeEvidence};

/// The most transactions of a block whose receipts are fetched for evidence.
const MAX_RECEIPTS: usize = 512;

/// The direct calls of the consensus contract in block `number`, with what binds them to its roots; `None` when there is
/// none (an internal call, a rotation) or the block is too large.
pub(super) async fn find(
    endpoint: &Endpoint,
    suite: CryptoSuite,
    number: u64,
) -> Result<Option<SetChangeEvidence>, NodeError> {
    let block = endpoint.full_block(number).await?;
    let json = |error| endpoint.json_error("getBlockByNumber", error);
    let hashes = transaction_hashes(&block).map_err(json)?;
    let shown = block.get("transactions").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
    let mut calls = Vec::new();
    for (position, transaction) in (0_u32..).zip(&shown) {
        // What is shown for an Ethereum-signed transaction need not hash to its leaf: it would spoil the whole evidence.
        if let ShownTransaction::Native { data, claimed_hash, .. } =
            transaction_from_json(suite, transaction).map_err(json)?
            && is_consensus_contract(&data.to)
            && data.hash(suite) == claimed_hash
        {
            calls.push((position, *data));
        }
    }
    if calls.is_empty() || calls.len() > MAX_SET_CALLS || hashes.len() > MAX_RECEIPTS {
        return Ok(None);
    }
    let receipts = endpoint.receipts(&hashes).await?;
    let receipt_hashes: Vec<Hash32> = receipts.iter().map(|receipt| receipt.hash(suite)).collect();
    let calls = calls
        .into_iter()
        .filter_map(|(position, transaction)| {
            let receipt = receipts.get(usize::try_from(position).ok()?)?.clone();
            Some(SetCall { position, transaction, receipt })
        })
        .collect();
    Ok(Some(SetChangeEvidence { transaction_hashes: hashes, receipt_hashes, calls }))
}
