//! What gateways and committees say, asked of a chain's nodes. Shown to operators; nothing is decided by it.

use cityrelay_api::inspect::Inspect;
use cityrelay_api::source::NodeError;
use cityrelay_core::attestation::Committee;
use cityrelay_core::ids::{Address, Domain, LaneId};
use cityrelay_gateway::DecodeError;
use cityrelay_gateway::query::{self, GatewayStatus, LaneStatus};

/// Why a contract could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No node answers. Retry, or mend the chain's section.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// What stands there is no contract of this release. The operator's: the address is wrong, or another release's.
    #[error("{contract} answers something else than a {expected} of this release: {source}")]
    Answer {
        /// The contract.
        contract: Address,
        /// What was expected there.
        expected: &'static str,
        /// What is wrong with the answer.
        source: DecodeError,
    },
}

/// What a gateway says about itself.
///
/// # Errors
/// See [`ReadError`].
pub async fn gateway_status(inspect: &dyn Inspect, gateway: Address) -> Result<GatewayStatus, ReadError> {
    let answer = inspect.call(gateway, &query::gateway_status()).await?;
    read(gateway, "gateway", query::decode_gateway_status(&answer))
}

/// What a gateway says about a lane; `None` when it does not know the lane.
///
/// # Errors
/// See [`ReadError`].
pub async fn lane_status(
    inspect: &dyn Inspect,
    gateway: Address,
    lane: LaneId,
) -> Result<Option<LaneStatus>, ReadError> {
    let answer = inspect.call(gateway, &query::lane_status(lane)).await?;
    read(gateway, "gateway", query::decode_lane_status(&answer))
}

/// The attester set that a committee has in force.
///
/// # Errors
/// See [`ReadError`].
pub async fn committee(inspect: &dyn Inspect, verifier: Address) -> Result<Committee, ReadError> {
    let answer = inspect.call(verifier, &query::committee()).await?;
    read(verifier, "committee", query::decode_committee(&answer))
}

/// The chain that a committee stands on, as it was told.
///
/// # Errors
/// See [`ReadError`].
pub async fn committee_domain(inspect: &dyn Inspect, verifier: Address) -> Result<Domain, ReadError> {
    let answer = inspect.call(verifier, &query::committee_domain()).await?;
    read(verifier, "committee", query::decode_committee_domain(&answer))
}

fn read<T>(contract: Address, expected: &'static str, answer: Result<T, DecodeError>) -> Result<T, ReadError> {
    answer.map_err(|source| ReadError::Answer { contract, expected, source })
}
