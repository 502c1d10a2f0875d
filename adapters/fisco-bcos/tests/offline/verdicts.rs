//! Short forms for updates and what must come of them.

use cityrelay_core::ids::{Height, UnixMillis};
use cityrelay_core::light_client::{LightClient, Refusal, Verdict};
use cityrelay_fisco_bcos::codec::header::SealedHeader;
use cityrelay_fisco_bcos::verify::client::FiscoClient;
use cityrelay_fisco_bcos::verify::state::TrustedState;
use cityrelay_fisco_bcos::verify::update::{ChainUpdate, SetChangeEvidence, UpdateHeader};

use crate::chain::TestChain;

impl TestChain {
    pub fn client(&self) -> FiscoClient {
        FiscoClient {
            suite: self.suite,
            chain_id: "chain0".to_owned(),
            group_id: "group0".to_owned(),
            trusting_period: std::time::Duration::from_secs(14 * 86_400),
        }
    }

    pub fn state(&self) -> TrustedState {
        TrustedState::anchored(Height(self.height), self.tip, self.set())
    }
}

pub fn update(sealed: SealedHeader) -> ChainUpdate {
    with_evidence(sealed, None)
}

pub fn with_evidence(sealed: SealedHeader, evidence: Option<SetChangeEvidence>) -> ChainUpdate {
    ChainUpdate { headers: vec![UpdateHeader { sealed, skips_parent: false, evidence }] }
}

/// The state after an update that must go through.
pub fn advanced(client: &FiscoClient, state: &TrustedState, update: &ChainUpdate) -> TrustedState {
    match client.verify_update(state, update, UnixMillis(1_700_000_100_000)) {
        Verdict::Advanced { state, .. } => state,
        other => panic!("{other:?}"),
    }
}

/// The refusal of an update that must not go through.
pub fn refused(client: &FiscoClient, state: &TrustedState, update: &ChainUpdate) -> Refusal {
    match client.verify_update(state, update, UnixMillis(1_700_000_100_000)) {
        Verdict::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}
