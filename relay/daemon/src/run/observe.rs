//! Observing a flow: a proof of its head, the entries that events show, and the claim that both make.

use cityrelay_api::source::{EntryRequest, HeadProofAnswer, HeadProofRequest, NodeError, Source};
use cityrelay_core::assemble::{AssembleError, Cut, assemble};
use cityrelay_core::claim::{Claim, MAX_CLAIM_TAIL};
use cityrelay_core::ids::{Address, Index};
use cityrelay_core::machine::effect::ObserveRequest;
use cityrelay_core::machine::input::{Fetched, Observation};

/// Why an observation brought nothing to be verified.
#[derive(Debug, thiserror::Error)]
pub(super) enum ObserveError {
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error("{endpoint}: {source}")]
    Assemble { endpoint: String, source: AssembleError },
}

/// Gets a claim for the entries after `request.base`, proved at a header that the machine holds.
pub(super) async fn observe(
    source: &dyn Source,
    gateway: Address,
    request: ObserveRequest,
) -> Result<Fetched<Observation>, ObserveError> {
    let ObserveRequest { flow, base, oldest, newest, .. } = request;
    let proof_request = HeadProofRequest { gateway, flow, at_least: base.index.next(), oldest, newest };
    let (height, point, proof, endpoint) = match source.head_proof(&proof_request).await? {
        HeadProofAnswer::Proof { height, point, proof, endpoint } => (height, point, proof, endpoint),
        HeadProofAnswer::NeedsCheckpoint => return Ok(Fetched::Some(Observation::NeedsCheckpoint)),
        HeadProofAnswer::NothingNew => return Ok(Fetched::Nothing),
    };
    let last = point.index.min(Index(base.index.0.saturating_add(MAX_CLAIM_TAIL as u64)));
    let entry_request = EntryRequest { gateway, flow, first: base.index.next(), last, newest: height };
    let hints = source.entry_hints(&entry_request).await?;
    let cut = Cut { max_entries: request.max_entries, max_bytes: request.max_bytes, max_gas: request.max_gas };
    let (entries, tail) =
        assemble(flow, base, point, hints, cut).map_err(|source| ObserveError::Assemble { endpoint, source })?;
    let claim = Claim { flow, first: base.index.next(), entries, tail, height, proof };
    Ok(Fetched::Some(Observation::Claim(claim)))
}
