//! Fetches headers, and under a validator contract the sets beside them.

use cityrelay_api::source::NodeError;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::Height;
use serde_json::{Value, json};

use super::endpoint::{CallError, Endpoint};
use super::questions::hex_number;
use crate::codec::extra::MAX_VALIDATORS;
use crate::codec::header::Header;
use crate::codec::json;
use crate::recording::pick_set_proof;
use crate::verify::client::hash_of;
use crate::verify::mode::Mode;
use crate::verify::rules::{ContractLayout, Rules};
use crate::verify::update::{MAX_UPDATE_HEADERS, SetProof, Update, UpdateItem};

/// The headers that follow height `after`, as far as this endpoint has them, or `None` when it has none. Before them comes the
/// one at `after` itself: where it is not the one that is trusted, the client sees a fork.
///
/// Every header is encoded again, and its hash must be the one that the node names: that also shows that we know all its
/// items.
pub(super) async fn fetch(
    endpoint: &Endpoint,
    rules: &Rules,
    after: u64,
    max_headers: u32,
) -> Result<Option<Update>, NodeError> {
    let last = last_after(endpoint, after, max_headers).await?;
    if last <= after {
        return Ok(None);
    }
    let items = items(endpoint, rules, after, last).await?;
    Ok((items.len() > known(after)).then_some(Update { items }))
}

/// The branch of this endpoint from height `at` on, the header at `at` first even where nothing follows it; `None` where the
/// endpoint has none.
pub(super) async fn branch(
    endpoint: &Endpoint,
    rules: &Rules,
    at: u64,
    max_headers: u32,
) -> Result<Option<Update>, NodeError> {
    let last = last_after(endpoint, at, max_headers).await?;
    let items = if last < at { Vec::new() } else { items(endpoint, rules, at, last).await? };
    Ok((!items.is_empty()).then_some(Update { items }))
}

/// The newest header of this endpoint at or below a height: its own height and the hash that the endpoint names.
pub(super) async fn newest_below(endpoint: &Endpoint, at: u64) -> Result<Option<(u64, Hash32)>, NodeError> {
    let height = endpoint.height().await?.min(at);
    let block = endpoint.block(height, false).await?;
    if block.is_null() {
        return Ok(None);
    }
    let (_, hash) = endpoint.read_header(height, &block)?;
    Ok(Some((height, hash)))
}

async fn last_after(endpoint: &Endpoint, after: u64, max_headers: u32) -> Result<u64, NodeError> {
    let tip = endpoint.height().await?;
    let most = u64::from(max_headers).min(u64::try_from(MAX_UPDATE_HEADERS).unwrap_or(u64::MAX).saturating_sub(1));
    Ok(tip.min(after.saturating_add(most)))
}

/// How many headers of an update after a height are known. Block 0 has no seals: there is no second one to be found.
fn known(after: u64) -> usize {
    usize::from(after > 0)
}

async fn items(endpoint: &Endpoint, rules: &Rules, after: u64, last: u64) -> Result<Vec<UpdateItem>, NodeError> {
    let heights: Vec<_> = (after.max(1)..=last).collect();
    let params: Vec<_> = heights.iter().map(|height| json!([hex_number(*height), false])).collect();
    let blocks = endpoint.calls("eth_getBlockByNumber", &params).await?;
    let mut items = Vec::with_capacity(heights.len());
    for (height, block) in heights.iter().zip(blocks) {
        let block = block.map_err(NodeError::from)?;
        if block.is_null() {
            // The node behind this address is behind the one that told the height.
            break;
        }
        let (header, hash) = endpoint.read_header(*height, &block)?;
        verify_hash(endpoint, rules, &block, &header, hash)?;
        items.push(UpdateItem { header: header.encode(), hash, set_proof: None });
    }
    let new = items.get_mut(known(after)..).unwrap_or_default();
    add_set_proofs(endpoint, rules, after, new).await?;
    Ok(items)
}

/// The light client would find it too, but a peer may be the first that is served this header.
///
/// A header with items that are not known here hashes to something else: that is no lie, and an error that names them.
fn verify_hash(
    endpoint: &Endpoint,
    rules: &Rules,
    block: &Value,
    header: &Header,
    named: Hash32,
) -> Result<(), NodeError> {
    const METHOD: &str = "eth_getBlockByNumber";
    match hash_of(rules, header) {
        Ok(hash) if hash == named => Ok(()),
        Ok(hash) => {
            let unknown = json::unknown_fields(block);
            if unknown.is_empty() {
                let expected = format!("block {} with its hash {hash}, got {named}", header.number);
                return Err(endpoint.lied(METHOD, "block-hash", &expected));
            }
            let expected = format!(
                "block {} with a header of a fork known here, got {} besides (header-fork): a newer cityrelay may know it",
                header.number,
                unknown.join(", ")
            );
            Err(endpoint.malformed(METHOD, &expected))
        }
        Err(refusal) => Err(endpoint.lied(METHOD, refusal.check, &refusal.to_string())),
    }
}

/// Adds the contract's set to each header whose child is under a contract. Nodes keep old states for a while only: the
/// last two headers must have it, the others may go without.
async fn add_set_proofs(
    endpoint: &Endpoint,
    rules: &Rules,
    after: u64,
    items: &mut [UpdateItem],
) -> Result<(), NodeError> {
    let count = items.len();
    let layout = |height: u64| {
        let next = height.saturating_add(1);
        rules.contract_for(next).filter(|_| rules.modes.at(next) == Mode::QbftContract)
    };
    let heights = (1_u64..).map(|offset| after.saturating_add(offset));
    let with_layout = heights.zip(items.iter_mut().enumerate());
    let wanted: Vec<_> = with_layout.filter_map(|(height, item)| Some((height, layout(height)?, item))).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let params: Vec<_> = wanted
        .iter()
        .map(|(height, layout, _)| {
            json!([layout.address.to_string(), layout.length_slot.to_string(), hex_number(*height)])
        })
        .collect();
    let lengths = endpoint.calls("eth_getStorageAt", &params).await?;
    let params: Vec<_> = wanted
        .iter()
        .zip(&lengths)
        .map(|((height, layout, _), length)| {
            let length = length.as_ref().ok().and_then(read_length).unwrap_or(0);
            json!([layout.address.to_string(), slots(layout, length), hex_number(*height)])
        })
        .collect();
    let proofs = endpoint.calls("eth_getProof", &params).await?;
    for ((height, layout, (at, item)), proof) in wanted.into_iter().zip(proofs) {
        let is_needed = at + 2 >= count;
        match proof {
            Ok(answer) => item.set_proof = read_set_proof(endpoint, layout, &answer, is_needed)?,
            Err(fault) if is_needed && fault.is_pruned() => {
                return Err(NodeError::Pruned { endpoint: endpoint.name.clone(), height: Height(height) });
            }
            Err(fault) if is_needed => return Err(fault.into()),
            Err(_) => {}
        }
    }
    Ok(())
}

fn read_length(word: &Value) -> Option<usize> {
    let length = json::fixed_value::<32>(word, "length").ok().map(Hash32)?.to_u64()?;
    usize::try_from(length).ok().filter(|length| *length <= MAX_VALIDATORS)
}

fn slots(layout: &ContractLayout, length: usize) -> Vec<String> {
    let items = (0..length).filter_map(|index| layout.item_slot(index));
    core::iter::once(layout.length_slot).chain(items).map(|slot| slot.to_string()).collect()
}

fn read_set_proof(
    endpoint: &Endpoint,
    layout: &ContractLayout,
    answer: &Value,
    is_needed: bool,
) -> Result<Option<SetProof>, NodeError> {
    let proof = endpoint.read_proof(answer, &layout.address)?;
    match pick_set_proof(layout, &proof) {
        Ok(proof) => Ok(Some(proof)),
        Err(refusal) if is_needed => Err(endpoint.malformed("eth_getProof", &refusal.to_string())),
        Err(_) => Ok(None),
    }
}

/// The set proof of one height, for recordings and anchors.
///
/// # Errors
/// [`NodeError::Pruned`] when the node no longer has that state.
pub(super) async fn set_proof_answer(
    endpoint: &Endpoint,
    layout: &ContractLayout,
    height: u64,
) -> Result<Value, NodeError> {
    let address = layout.address.to_string();
    let pruned = |error: CallError| match error {
        CallError::Fault(fault) if fault.is_pruned() => {
            NodeError::Pruned { endpoint: endpoint.name.clone(), height: Height(height) }
        }
        error => error.into(),
    };
    let params = json!([address, layout.length_slot.to_string(), hex_number(height)]);
    let word = endpoint.call("eth_getStorageAt", params).await.map_err(pruned)?;
    let length = read_length(&word).ok_or_else(|| endpoint.malformed("eth_getStorageAt", "a number of validators"))?;
    let params = json!([address, slots(layout, length), hex_number(height)]);
    endpoint.call("eth_getProof", params).await.map_err(pruned)
}
