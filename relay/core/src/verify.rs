//! From claims to facts: the only producer of [`VerifiedHeader`] and [`VerifiedExtension`].

use crate::attestation::{AttestationError, Committee, Statement};
use crate::chain::{ChainPoint, Entry};
use crate::claim::{Claim, MAX_CLAIM_ENTRIES, MAX_CLAIM_TAIL};
use crate::gateway_call::Evidence;
use crate::hash::Hash32;
use crate::ids::{AttesterId, Domain, Height, UnixMillis};
use crate::lane::{Flow, GatewayAt, LaneIdentity};
use crate::light_client::{Header, LightClient, ProofStrength, Refusal, SetStatement, Verdict};

/// A header that its chain's light client found final. Step 2 of the walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedHeader {
    domain: Domain,
    header: Header,
}

impl VerifiedHeader {
    /// A header that was verified before it was made durable, read back from the journal.
    pub(crate) const fn restored(domain: Domain, header: Header) -> Self {
        Self { domain, header }
    }

    /// The chain.
    #[must_use]
    pub const fn domain(&self) -> Domain {
        self.domain
    }

    /// Number of the block.
    #[must_use]
    pub const fn height(&self) -> Height {
        self.header.height
    }

    /// The block's hash.
    #[must_use]
    pub const fn hash(&self) -> Hash32 {
        self.header.hash
    }

    /// The whole header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }
}

/// What came of an update, with its final headers stamped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifiedUpdate<S> {
    /// Trust moved; see [`Verdict::Advanced`].
    Advanced {
        /// What is trusted now.
        state: S,
        /// The headers that became final, ascending.
        headers: Vec<VerifiedHeader>,
        /// Heights after which another validator set is in force.
        set_changes: Vec<Height>,
    },
    /// See [`Verdict::HeldBack`].
    HeldBack {
        /// What is trusted now, the held-back headers included.
        state: S,
        /// The headers that did become final, ascending.
        headers: Vec<VerifiedHeader>,
        /// Heights after which another validator set is in force.
        set_changes: Vec<Height>,
        /// Why the rest waits.
        reason: crate::light_client::HoldReason,
    },
    /// See [`Verdict::Refused`].
    Refused(Refusal),
}

/// Runs the light client of `domain` over an update and stamps what it found final.
///
/// Checks, in order: every check of the client ([`LightClient::verify_update`]); the final headers ascend without a
/// gap from the trusted height. The caller still owes: one client per domain, and the comparison of each height with
/// the header that it already holds there.
pub fn verify_update<C: LightClient>(
    client: &C,
    domain: Domain,
    trusted: &C::State,
    update: &C::Update,
    now: UnixMillis,
) -> VerifiedUpdate<C::State> {
    let before = client.trusted_height(trusted);
    let stamp = |headers: Vec<Header>| {
        let mut expected = before.next();
        let mut stamped = Vec::with_capacity(headers.len());
        for header in headers {
            if header.height != expected {
                return Err(Refusal::new("header-gap", expected, header.height).at(header.height));
            }
            expected = expected.next();
            stamped.push(VerifiedHeader { domain, header });
        }
        Ok(stamped)
    };
    match client.verify_update(trusted, update, now) {
        Verdict::Advanced { state, headers, set_changes } => match stamp(headers) {
            Ok(headers) => VerifiedUpdate::Advanced { state, headers, set_changes },
            Err(refusal) => VerifiedUpdate::Refused(refusal),
        },
        Verdict::HeldBack { state, headers, set_changes, reason } => match stamp(headers) {
            Ok(headers) => VerifiedUpdate::HeldBack { state, headers, set_changes, reason },
            Err(refusal) => VerifiedUpdate::Refused(refusal),
        },
        Verdict::Refused(refusal) => VerifiedUpdate::Refused(refusal),
    }
}

/// Hands a confirmed set statement to the light client; see [`LightClient::apply_set_statement`].
///
/// # Errors
/// The client's [`Refusal`].
pub fn apply_set_statement<C: LightClient>(
    client: &C,
    trusted: &C::State,
    statement: &SetStatement,
) -> Result<C::State, Refusal> {
    client.apply_set_statement(trusted, statement)
}

/// Entries that extend a known point of a flow's chain, under a head proved at a final header. Step 3 of the walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedExtension {
    flow: Flow,
    base: ChainPoint,
    points: Vec<ChainPoint>,
    links: Vec<Hash32>,
    entries: Vec<Entry>,
    proved_at: Height,
    block_hash: Hash32,
    strength: ProofStrength,
}

impl VerifiedExtension {
    /// Lane and direction.
    #[must_use]
    pub const fn flow(&self) -> Flow {
        self.flow
    }

    /// The point that was held before.
    #[must_use]
    pub const fn base(&self) -> ChainPoint {
        self.base
    }

    /// The point after the last entry.
    #[must_use]
    pub fn tip(&self) -> ChainPoint {
        self.points.last().copied().unwrap_or(self.base)
    }

    /// The point after each entry, ascending.
    #[must_use]
    pub fn points(&self) -> &[ChainPoint] {
        &self.points
    }

    /// The link of each entry, ascending.
    #[must_use]
    pub fn links(&self) -> &[Hash32] {
        &self.links
    }

    /// The entries, ascending and without a gap.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The header at which the head was proved.
    #[must_use]
    pub const fn proved_at(&self) -> Height {
        self.proved_at
    }

    /// Hash of that header.
    #[must_use]
    pub const fn block_hash(&self) -> Hash32 {
        self.block_hash
    }

    /// What the proof is worth; see [`ProofStrength`].
    #[must_use]
    pub const fn strength(&self) -> ProofStrength {
        self.strength
    }
}

/// Checks a claim against a final header and the point of the chain that is already held.
///
/// Checks, in order:
/// 1. the claim is about `lane`, and its header is the one given, on the chain where this flow's head lives;
/// 2. it has at least one entry and stays within [`MAX_CLAIM_ENTRIES`] and [`MAX_CLAIM_TAIL`];
/// 3. its first entry follows `base`, every entry is of the flow's direction and has the next index;
/// 4. the client accepts the head proof at that header, for the lane's own gateway ([`LightClient::verify_head`]);
/// 5. the proved index is that of the last entry (or of the last link in the tail);
/// 6. the chain recomputed from `base` over entries and tail ends in the proved head.
///
/// The caller still owes: `base` is its own journalled tip of this flow (or `ChainPoint::start`), and a local
/// confirmation where [`VerifiedExtension::strength`] asks for one and a signature depends on it.
///
/// # Errors
/// A [`Refusal`] naming the first check that failed.
pub fn verify_extension<C: LightClient>(
    client: &C,
    header: &VerifiedHeader,
    lane: &LaneIdentity,
    base: ChainPoint,
    claim: Claim,
    proof: &C::HeadProof,
) -> Result<VerifiedExtension, Refusal> {
    let flow = claim.flow;
    let lane_id = lane.id();
    if flow.lane != lane_id {
        return Err(Refusal::new("claim-lane", lane_id.0, flow.lane.0));
    }
    let GatewayAt { domain, gateway } = lane.origin(flow.direction);
    if header.domain != domain {
        return Err(Refusal::new("claim-chain", domain.0, header.domain.0));
    }
    if header.header.height != claim.height {
        return Err(Refusal::new("claim-height", claim.height, header.header.height));
    }
    if claim.entries.is_empty() || claim.entries.len() > MAX_CLAIM_ENTRIES {
        return Err(Refusal::new("claim-entries", MAX_CLAIM_ENTRIES, claim.entries.len()));
    }
    if claim.tail.len() > MAX_CLAIM_TAIL {
        return Err(Refusal::new("claim-tail", MAX_CLAIM_TAIL, claim.tail.len()));
    }
    if claim.first != base.index.next() {
        return Err(Refusal::new("claim-base", base.index.next().0, claim.first.0));
    }
    let mut point = base;
    let mut points = Vec::with_capacity(claim.entries.len());
    let mut links = Vec::with_capacity(claim.entries.len());
    for entry in &claim.entries {
        if entry.direction() != flow.direction {
            return Err(Refusal::new("entry-direction", flow.direction.as_str(), entry.direction().as_str()));
        }
        if entry.index() != point.index.next() {
            return Err(Refusal::new("entry-index", point.index.next().0, entry.index().0));
        }
        let link = entry.link(flow);
        point = point.extended(flow.direction, link);
        points.push(point);
        links.push(link);
    }
    let end = claim.tail.iter().fold(point, |point, link| point.extended(flow.direction, *link));
    let proved = client.verify_head(&header.header, proof, gateway, flow)?;
    if proved.index != end.index {
        return Err(Refusal::new("head-index", proved.index.0, end.index.0).at(claim.height));
    }
    if proved.head != end.head {
        return Err(Refusal::new("head-mismatch", proved.head, end.head).at(claim.height));
    }
    Ok(VerifiedExtension {
        flow,
        base,
        points,
        links,
        entries: claim.entries,
        proved_at: header.header.height,
        block_hash: header.header.hash,
        strength: client.strength(),
    })
}

/// An attested head whose signatures were checked against the set in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedEvidence {
    evidence: Evidence,
}

impl VerifiedEvidence {
    /// The head and its signatures.
    #[must_use]
    pub const fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// Gives the checked evidence away.
    #[must_use]
    pub fn into_evidence(self) -> Evidence {
        self.evidence
    }
}

/// Checks that `evidence` attests `point` of `flow` for the lane's target gateway.
///
/// Checks, in order: the head is `point`; the epoch is the committee's; there are at least as many signatures as the
/// threshold asks for; each recovers to the member that it is filed under.
///
/// # Errors
/// [`EvidenceError`], naming the first check that failed.
pub fn verify_evidence(
    lane: &LaneIdentity,
    flow: Flow,
    committee: &Committee,
    point: ChainPoint,
    evidence: Evidence,
) -> Result<VerifiedEvidence, EvidenceError> {
    if evidence.point != point {
        return Err(EvidenceError::Head { expected: point.head, got: evidence.point.head });
    }
    if evidence.signatures.len() < committee.quorum() {
        return Err(EvidenceError::Threshold { expected: committee.quorum(), got: evidence.signatures.len() });
    }
    let statement = Statement { flow, point, epoch: evidence.epoch, verifying: lane.target(flow.direction) };
    for (member, signature) in &evidence.signatures {
        let signer = committee.verify_attestation(&statement, signature)?;
        if signer != *member {
            return Err(EvidenceError::Signer { expected: *member, got: signer });
        }
    }
    Ok(VerifiedEvidence { evidence })
}

/// Why attestations are not enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// They are about another head. The sender's fault.
    #[error("expected attestations of head {expected}, got {got}")]
    Head {
        /// The head that was verified.
        expected: Hash32,
        /// The head attested.
        got: Hash32,
    },
    /// Too few. The sender's fault, or the set changed.
    #[error("expected at least {expected} signatures, got {got}")]
    Threshold {
        /// Needed.
        expected: usize,
        /// Given.
        got: usize,
    },
    /// A signature is filed under somebody else. The sender's fault.
    #[error("expected a signature of {expected}, got one of {got}")]
    Signer {
        /// Filed under.
        expected: AttesterId,
        /// Recovered.
        got: AttesterId,
    },
    /// See [`AttestationError`].
    #[error(transparent)]
    Attestation(#[from] AttestationError),
}
