//! Fetches what proves a head: both slots, or a checkpoint's receipt where the node gives no storage proofs.

use cityrelay_api::client::to_opaque;
use cityrelay_api::source::{HeadProofAnswer, HeadProofRequest, NodeError};
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Height, Index};
use cityrelay_gateway::GatewayEvent;
use cityrelay_gateway::event::{self, checkpoint_topic};
use cityrelay_gateway::storage::{head_slot, index_slot};
use serde_json::Value;

use super::endpoint::{CallError, Endpoint};
use super::events::{LogFilter, walk_back};
use super::source::reaches;
use crate::ADAPTER;
use crate::codec::account::Account;
use crate::codec::json;
use crate::codec::ordered_trie::root_and_path;
use crate::codec::receipt::Receipt;
use crate::recording::public_values;
use crate::verify::head::HeadProof;

/// See [`cityrelay_api::source::Source::head_proof`].
pub(super) async fn fetch(endpoint: &Endpoint, request: &HeadProofRequest) -> Result<HeadProofAnswer, NodeError> {
    let gateway = request.gateway.to_20().map(Account);
    let gateway = gateway.ok_or_else(|| endpoint.malformed("eth_getProof", "a 20-byte gateway"))?;
    match by_storage(endpoint, request, gateway).await {
        Ok(answer) => Ok(answer),
        Err(CallError::Fault(fault)) if fault.is_unknown_method() || fault.is_pruned() => {
            match by_checkpoint(endpoint, request, gateway).await? {
                HeadProofAnswer::NeedsCheckpoint if fault.is_pruned() => {
                    Err(NodeError::Pruned { endpoint: endpoint.name.clone(), height: request.newest })
                }
                answer => Ok(answer),
            }
        }
        Err(error) => Err(error.into()),
    }
}

async fn by_storage(
    endpoint: &Endpoint,
    request: &HeadProofRequest,
    gateway: Account,
) -> Result<HeadProofAnswer, CallError> {
    let lane = request.flow.lane;
    let slots = [head_slot(lane), index_slot(lane)];
    let answer = endpoint.proof(gateway, &slots, request.newest.0).await?;
    let [head, index] = slots.map(|key| answer.slots.iter().find(|slot| slot.key == key));
    let (Some(head), Some(index)) = (head, index) else {
        return Err(endpoint.malformed("eth_getProof", "a proof of both slots").into());
    };
    let number = index.value.to_u64();
    let number = number.ok_or_else(|| endpoint.malformed("eth_getProof", "an index below 2^64"))?;
    let point = ChainPoint { index: Index(number), head: head.value };
    if !reaches(point, request.at_least) || point.head == Hash32::ZERO {
        return Ok(HeadProofAnswer::NothingNew);
    }
    let proof = HeadProof::Storage {
        account: answer.account_nodes.clone(),
        head: head.nodes.clone(),
        index: index.nodes.clone(),
    };
    Ok(found(endpoint, request.newest, point, &proof))
}

fn found(endpoint: &Endpoint, height: Height, point: ChainPoint, proof: &HeadProof) -> HeadProofAnswer {
    HeadProofAnswer::Proof { height, point, proof: to_opaque(ADAPTER, proof), endpoint: endpoint.name.clone() }
}

/// Looks for the newest fitting checkpoint in the range.
async fn by_checkpoint(
    endpoint: &Endpoint,
    request: &HeadProofRequest,
    gateway: Account,
) -> Result<HeadProofAnswer, NodeError> {
    let filter = LogFilter { address: gateway, topics: vec![checkpoint_topic(), request.flow.lane.0] };
    let mut newest: Option<(u64, u64, ChainPoint)> = None;
    walk_back(endpoint, &filter, request.oldest.0, request.newest.0, |logs| {
        // Windows come from the newest back, and logs in a window ascend.
        for log in logs {
            if let Ok(GatewayEvent::Checkpoint { flow, point }) = event::decode(&log.log.topics, &log.log.data)
                && flow == request.flow
                && reaches(point, request.at_least)
            {
                newest = Some((log.height, log.position, point));
            }
        }
        newest.is_some()
    })
    .await?;
    let Some((height, position, point)) = newest else {
        let hint = endpoint.point(request.gateway, request.flow.lane, None).await?;
        let is_behind = !reaches(hint, request.at_least) || hint.head == Hash32::ZERO;
        return Ok(if is_behind { HeadProofAnswer::NothingNew } else { HeadProofAnswer::NeedsCheckpoint });
    };
    let block = endpoint.block(height, false).await?;
    let receipts = endpoint.receipts(height, &block).await?;
    let receipts = endpoint.read_receipts(&receipts)?;
    let named = json::word(&block, "receiptsRoot").ok();
    let (mut root, mut path) = root_and_path(&receipts.iter().map(Receipt::encode).collect::<Vec<_>>(), position);
    if named != Some(root) {
        let block = endpoint.block(height, true).await?;
        (root, path) = root_and_path(&public_values(&block, &receipts), position);
    }
    if named != Some(root) {
        return Err(endpoint.malformed("eth_getTransactionReceipt", &format!("the receipts of block {height}")));
    }
    Ok(found(endpoint, Height(height), point, &HeadProof::Receipt { position, path }))
}

/// Where a log stands.
pub(super) fn place(log: &Value) -> Option<(u64, u64)> {
    Some((json::number(log, "blockNumber").ok()?, json::number(log, "transactionIndex").ok()?))
}
