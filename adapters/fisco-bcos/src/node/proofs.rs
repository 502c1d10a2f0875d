//! Making a head proof out of what a node shows.

use cityrelay_api::source::NodeError;
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::Address;
use cityrelay_core::lane::Flow;

use super::endpoint::Endpoint;
use crate::codec::json::{header_from_json, proof_from_json, receipt_from_json, transaction_hashes};
use crate::codec::json_transaction::ShownTransaction;
use crate::verify::checkpoint::{CheckpointProof, CheckpointRule, ReceiptInclusion, verify_checkpoint};
use crate::verify::client::FiscoClient;
use crate::verify::state::Roots;

/// A checkpoint transaction to prove.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub height: u64,
    pub transaction: Hash32,
    pub gateway: Address,
    pub flow: Flow,
}

/// Builds the proof, and tries it on the roots that the same node shows. `None` when the transaction is no strict
/// checkpoint: some application called the gateway in its own way.
pub(super) async fn build(
    endpoint: &Endpoint,
    client: &FiscoClient,
    wanted: Wanted,
) -> Result<Option<(ChainPoint, CheckpointProof)>, NodeError> {
    let suite = client.suite;
    let block = endpoint.block_with_hashes(wanted.height).await?;
    let json = |error| endpoint.json_error("getBlockByNumber", error);
    let header = header_from_json(&block).map_err(json)?.header;
    let hashes = transaction_hashes(&block).map_err(json)?;
    let root = |root: &[u8]| root.try_into().map(Hash32).unwrap_or_default();
    let rule = CheckpointRule {
        suite,
        chain_id: &client.chain_id,
        group_id: &client.group_id,
        height: wanted.height,
        roots: Roots { transactions: root(&header.txs_root), receipts: root(&header.receipts_root) },
        gateway: wanted.gateway,
        flow: wanted.flow,
    };
    let Some(ShownTransaction::Native { data, .. }) = endpoint.transaction(suite, wanted.transaction).await? else {
        return Ok(None);
    };
    let Some(shown) = endpoint.receipt_json(wanted.transaction, true).await? else { return Ok(None) };
    let receipt = receipt_from_json(&shown).map_err(|error| endpoint.json_error("getTransactionReceipt", error))?;
    let path = shown.get("txReceiptProof").and_then(proof_from_json).unwrap_or_default();
    let inclusion = ReceiptInclusion::Path(path);
    let mut proof = CheckpointProof { transaction: *data, transaction_hashes: hashes, receipt, inclusion };
    match verify_checkpoint(&rule, &proof) {
        Ok(point) => return Ok(Some((point, proof))),
        Err(refusal) if matches!(refusal.check, "receipt-path" | "receipts-root") => {}
        Err(_) => return Ok(None),
    }
    // The node serves no path (before 3.2.0), or that of an equal earlier receipt.
    let receipts = endpoint.receipts(&proof.transaction_hashes).await?;
    proof.inclusion = ReceiptInclusion::All(receipts.iter().map(|receipt| receipt.hash(suite)).collect());
    Ok(verify_checkpoint(&rule, &proof).ok().map(|point| (point, proof)))
}
