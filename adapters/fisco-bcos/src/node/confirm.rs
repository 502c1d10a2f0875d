//! Asking an own node, which executed the blocks itself.

use cityrelay_api::source::{Confirmation, NodeError};
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::Address;
use cityrelay_core::light_client::SetStatement;
use cityrelay_core::verify::{VerifiedExtension, VerifiedHeader};
use cityrelay_gateway::query;

use super::endpoint::Endpoint;
use crate::codec::json::{public_key, receipt_from_json};
use crate::codec::json_transaction::{ShownTransaction, transaction_from_json};
use crate::codec::suite::CryptoSuite;
use crate::verify::checkpoint::CheckpointProof;
use crate::verify::sealer_set::{Sealer, SealerSet};

/// Whether this node agrees with a proved head.
///
/// It is asked, in order: its height; its header at the proof's height; the checkpoint transaction, every field of it and
/// its kind, since the leaf of an Ethereum-signed transaction need not match what was executed; its receipt; and the head
/// by call, which may only have moved on. A node that has dropped the transaction or its receipt (archived blocks) says
/// nothing against the head: it can't tell.
pub(super) async fn extension(
    endpoint: &Endpoint,
    suite: CryptoSuite,
    header: &VerifiedHeader,
    gateway: Address,
    extension: &VerifiedExtension,
    proof: &CheckpointProof,
) -> Result<Confirmation, NodeError> {
    let height = header.height().0;
    if endpoint.block_number().await? < height {
        return Ok(Confirmation::NotYet);
    }
    if endpoint.header(height).await?.header.hash(suite) != header.hash() {
        return Ok(Confirmation::Disagrees);
    }
    let hash = proof.transaction.hash(suite);
    let Some(shown) = endpoint.transaction_json(hash, false).await? else { return Ok(Confirmation::NotYet) };
    let kind = shown.get("type").and_then(serde_json::Value::as_u64).unwrap_or_default();
    match transaction_from_json(suite, &shown).map_err(|error| endpoint.json_error("getTransaction", error))? {
        ShownTransaction::Native { data, .. } if kind == 0 && *data == proof.transaction => {}
        _ => return Ok(Confirmation::Disagrees),
    }
    let Some(shown) = endpoint.receipt_json(hash, false).await? else { return Ok(Confirmation::NotYet) };
    let receipt = receipt_from_json(&shown).map_err(|error| endpoint.json_error("getTransactionReceipt", error))?;
    if receipt != proof.receipt {
        return Ok(Confirmation::Disagrees);
    }
    by_call(endpoint, gateway, extension).await
}

/// Hash of this node's block at `height`, computed from its header; `None` when it has none yet or does not answer.
pub(super) async fn hash_at(endpoint: &Endpoint, suite: CryptoSuite, height: u64) -> Option<Hash32> {
    if endpoint.block_number().await.ok()? < height {
        return None;
    }
    Some(endpoint.header(height).await.ok()?.header.hash(suite))
}

/// This node's newest block at or below a height: its own height and its hash, computed from its header.
pub(super) async fn newest_below(endpoint: &Endpoint, suite: CryptoSuite, at: u64) -> Result<(u64, Hash32), NodeError> {
    let height = endpoint.block_number().await?.min(at);
    Ok((height, endpoint.header(height).await?.header.hash(suite)))
}

/// Compares the head in the node's state with the end of the extension.
async fn by_call(
    endpoint: &Endpoint,
    gateway: Address,
    extension: &VerifiedExtension,
) -> Result<Confirmation, NodeError> {
    let Some(to) = gateway.to_20() else { return Ok(Confirmation::Disagrees) };
    let lane = extension.flow().lane;
    let answer = endpoint.ask(to, &query::index(lane)).await?;
    let index = query::decode_index(&answer).map_err(|error| endpoint.malformed("call", error.to_string()))?;
    let tip = extension.tip();
    if index < tip.index {
        return Ok(Confirmation::Disagrees);
    }
    if index > tip.index {
        // The lane went on; its state no longer shows the head of that index, the receipt above did.
        return Ok(Confirmation::Agrees);
    }
    let answer = endpoint.ask(to, &query::head(lane)).await?;
    let head = query::decode_head(&answer).map_err(|error| endpoint.malformed("call", error.to_string()))?;
    let again = endpoint.ask(to, &query::index(lane)).await?;
    let moved = query::decode_index(&again).is_ok_and(|index| index > tip.index);
    Ok(if head == tip.head || moved { Confirmation::Agrees } else { Confirmation::Disagrees })
}

/// Whether this node agrees that a set is in force from a height on.
///
/// Its header at that height must list the set. While no later header lists another, its own list for the next block must
/// be the same: that one comes from its state, not from a leader.
pub(super) async fn set(
    endpoint: &Endpoint,
    suite: CryptoSuite,
    statement: &SetStatement,
) -> Result<Confirmation, NodeError> {
    let tip = endpoint.block_number().await?;
    if tip < statement.height.0 {
        return Ok(Confirmation::NotYet);
    }
    let listed = |header: &crate::codec::header::BlockHeader| -> Option<Hash32> {
        SealerSet::of_header(header).ok().map(|set| set.digest(suite))
    };
    if listed(&endpoint.header(statement.height.0).await?.header) != Some(statement.digest) {
        return Ok(Confirmation::Disagrees);
    }
    if tip > statement.height.0 && listed(&endpoint.header(tip).await?.header) != Some(statement.digest) {
        return Ok(Confirmation::Agrees);
    }
    let answer = endpoint.sealer_list().await?;
    let sealers = answer.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut set = Vec::with_capacity(sealers.len());
    for sealer in sealers {
        let id = sealer.get("nodeID").and_then(serde_json::Value::as_str).unwrap_or_default();
        let id = public_key(id, "nodeID").map_err(|error| endpoint.json_error("getSealerList", error))?;
        let weight = sealer.get("weight").and_then(serde_json::Value::as_u64).unwrap_or_default();
        set.push(Sealer { id, weight });
    }
    set.sort_by_key(|sealer| sealer.id);
    let state = SealerSet::new(set).ok().map(|set| set.digest(suite));
    if state == Some(statement.digest) {
        return Ok(Confirmation::Agrees);
    }
    // A change executed in the tip block shows in this list before any header shows it.
    let later = endpoint.block_number().await?;
    let is_overtaken = later > tip && listed(&endpoint.header(later).await?.header) != Some(statement.digest);
    Ok(if is_overtaken { Confirmation::Agrees } else { Confirmation::NotYet })
}

/// One answer out of those of several own nodes: a single disagreement stands, silence decides nothing.
pub(super) fn combined(answers: &[Result<Confirmation, NodeError>]) -> Confirmation {
    let has = |wanted| answers.iter().any(|answer| matches!(answer, Ok(answer) if *answer == wanted));
    if answers.is_empty() {
        Confirmation::NoOwnNode
    } else if has(Confirmation::Disagrees) {
        Confirmation::Disagrees
    } else if has(Confirmation::Agrees) {
        Confirmation::Agrees
    } else {
        Confirmation::NotYet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_disagreement_stands_and_silence_decides_nothing() {
        let error = || Err(super::super::pool::Pool::nobody());
        assert_eq!(combined(&[]), Confirmation::NoOwnNode);
        assert_eq!(combined(&[error()]), Confirmation::NotYet);
        assert_eq!(combined(&[error(), Ok(Confirmation::Agrees)]), Confirmation::Agrees);
        assert_eq!(combined(&[Ok(Confirmation::Agrees), Ok(Confirmation::Disagrees)]), Confirmation::Disagrees);
        assert_eq!(combined(&[Ok(Confirmation::NotYet)]), Confirmation::NotYet);
    }
}
