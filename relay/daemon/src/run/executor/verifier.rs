//! Effects that verify: pure but heavy, so they run on worker threads. Steps 2, 3 and 7 of the walk.

use cityrelay_core::ids::Domain;
use cityrelay_core::light_client::SetStatement;
use cityrelay_core::machine::effect::{ClaimCheck, UpdateOrigin};
use cityrelay_core::machine::input::{ClaimOrigin, ClaimRefusal, Input};
use cityrelay_core::opaque::Opaque;
use cityrelay_core::verify::{self, EvidenceError, VerifiedEvidence, VerifiedExtension, VerifiedUpdate};

use super::{Executor, Worth};
use crate::clock::unix_millis;

impl Executor {
    pub(super) fn verify_update(&self, domain: Domain, trusted: Opaque, update: Opaque, origin: UpdateOrigin) {
        let Some(chain) = self.handles.chains.get(&domain) else { return };
        let (client, source) = (chain.client.clone(), chain.source.clone());
        self.work(move || {
            let result = client.verify_update(domain, &trusted, &update, unix_millis());
            if let (VerifiedUpdate::Refused(refusal), UpdateOrigin::Node(endpoint), Some(source)) =
                (&result, &origin, source)
            {
                source.report_lie(endpoint, refusal.check);
            }
            Input::UpdateVerified { domain, update, origin, result }
        });
    }

    pub(super) fn apply_set_statement(&self, domain: Domain, trusted: Opaque, statement: SetStatement) {
        let Some(chain) = self.handles.chains.get(&domain) else { return };
        let client = chain.client.clone();
        self.work(move || {
            let result = client.apply_set_statement(&trusted, &statement);
            Input::SetApplied { domain, statement, result }
        });
    }

    /// What we observed ourselves is verified at once, what a peer claims in that peer's share.
    pub(super) fn verify_claim(&mut self, check: ClaimCheck) {
        let Some(chain) = self.handles.chains.get(&check.header.domain()) else { return };
        let client = chain.client.clone();
        let peer = match check.origin {
            ClaimOrigin::Observer => None,
            ClaimOrigin::Peer(peer, _) | ClaimOrigin::Requester(peer) => Some(peer),
        };
        let verify = self.answered(move || {
            let ClaimCheck { origin, lane, base, header, claim, evidence } = check;
            let result = client
                .verify_extension(&header, &lane, base, claim.clone())
                .map_err(ClaimRefusal::from)
                .and_then(|extension| {
                    let evidence = match evidence {
                        Some((committee, evidence)) => verify_all(&lane, &extension, &committee, evidence)?,
                        None => Vec::new(),
                    };
                    Ok((extension, evidence))
                });
            let worth = if result.is_ok() { Worth::Good } else { Worth::Vain };
            (Input::ClaimVerified { origin, claim, result }, worth)
        });
        match peer {
            Some(peer) => self.verification.run(peer, verify),
            None => drop(tokio::task::spawn_blocking(verify)),
        }
    }
}

/// Checks that at least one attested head came, and that each is the head of the extension.
fn verify_all(
    lane: &cityrelay_core::lane::LaneIdentity,
    extension: &VerifiedExtension,
    committee: &cityrelay_core::attestation::Committee,
    evidence: Vec<cityrelay_core::gateway_call::Evidence>,
) -> Result<Vec<VerifiedEvidence>, EvidenceError> {
    if evidence.is_empty() {
        return Err(EvidenceError::Threshold { expected: committee.quorum(), got: 0 });
    }
    let check = |evidence| verify::verify_evidence(lane, extension.flow(), committee, extension.tip(), evidence);
    evidence.into_iter().map(check).collect()
}
