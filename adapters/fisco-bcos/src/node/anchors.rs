//! What each node says of a block as an anchor, as text for the section.

use std::sync::Arc;

use cityrelay_api::source::{AnchorAnswer, AnchorCandidate, NodeError};
use cityrelay_core::ids::{Height, UnixMillis};
use cityrelay_core::light_client::Refusal;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::endpoint::Endpoint;
use crate::codec::suite::CryptoSuite;
use crate::verify::header::verify_form;
use crate::verify::sealer_set::SealerSet;

/// Asks every endpoint. See [`cityrelay_api::source::Source::anchors`].
pub(super) async fn ask(endpoints: &[Arc<Endpoint>], suite: CryptoSuite, at: Option<Height>) -> Vec<AnchorAnswer> {
    let heights = match at {
        Some(height) => vec![Ok(height.0); endpoints.len()],
        None => join_all(endpoints.iter().map(|endpoint| endpoint.block_number())).await,
    };
    // One that is far behind must still have the block.
    let height = heights.iter().filter_map(|height| height.as_ref().ok()).min().copied().unwrap_or(0);
    let asked = endpoints.iter().zip(heights).map(|(endpoint, tip)| async move {
        let answer = match tip {
            Ok(_) => candidate(endpoint, suite, height).await,
            Err(error) => Err(error),
        };
        AnchorAnswer { endpoint: endpoint.name.clone(), is_own: endpoint.is_own, answer }
    });
    join_all(asked).await
}

async fn candidate(endpoint: &Endpoint, suite: CryptoSuite, height: u64) -> Result<AnchorCandidate, NodeError> {
    // With executor version 1 the parent of block 1 is not the hash that nodes show for block 0.
    if height == 0 {
        return Err(Refusal::new("anchor-height", "block 1 or a later one", height).at(Height(height)).into());
    }
    let sealed = endpoint.header(height).await?;
    let misread = |refusal: Refusal| endpoint.malformed("getBlockByNumber", refusal.to_string());
    let (hash, _) = verify_form(suite, &sealed).map_err(misread)?;
    let set = SealerSet::of_header(&sealed.header).map_err(misread)?;
    let sealers: Vec<_> = set
        .sealers()
        .iter()
        .map(|sealer| format!("{{ id = \"{}\", weight = {} }}", hex::encode(sealer.id.0), sealer.weight))
        .collect();
    Ok(AnchorCandidate {
        height: Height(height),
        hash,
        timestamp: UnixMillis(sealed.header.timestamp),
        toml: format!("{{ height = {height}, hash = \"{hash}\", sealers = [{}] }}", sealers.join(", ")),
        validators: sealers.len(),
    })
}

/// An anchor that no chain has.
pub(super) fn placeholder() -> Value {
    json!({
        "height": 1,
        "hash": format!("0x{}", "00".repeat(32)),
        "sealers": [{ "id": "01".repeat(64), "weight": 1 }],
    })
}
