//! Validator sets that headers can't prove: attested by those whose own nodes confirmed them, for those without a node.
//!
//! A relay whose client waits for such a set asks the attesters, and the relay that feeds it headers, which asks the
//! attesters in its place: either road is enough. The attesters of every verifier of its lanes from that chain must
//! vouch, since the headers behind the set carry the heads of all of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::attestation::{Committee, SignatureBytes};
use crate::frame::{Frame, Role};
use crate::ids::{AttesterId, Domain, Epoch, Height, UnixMillis};
use crate::lane::Direction;
use crate::machine::client::Stated;
use crate::machine::config::PeerId;
use crate::machine::effect::{Effect, Report};
use crate::machine::io::After;
use crate::machine::under_way::UnderWay;
use crate::machine::{CommitteeKey, Machine};
use crate::record::Record;
use crate::set_attestation::{Attestable, SetAttestation, SetEvidence, SetFact, SetRefusal};

/// Questions of other relays that are remembered; the oldest set gives way.
const MAX_ERRANDS: usize = 64;

/// Signatures of sets that may be under way for one peer; what it asks beyond is asked again.
const MAX_SIGNING: usize = 64;

/// False votes of one peer that are looked at within one wait of [`Sets::takes_vote`]: each costs a check of a signature.
const FALSE_VOTES: u32 = 16;

/// What is known, wanted and collected.
#[derive(Debug, Default)]
pub(super) struct Sets {
    /// By chain and first height: what our own nodes confirmed.
    confirmed: BTreeMap<(Domain, Height), SetFact>,
    /// What our own clients wait for.
    lacking: BTreeMap<Domain, Lacking>,
    /// What other relays wait for.
    errands: BTreeMap<(SetAttestation, CommitteeKey), Errand>,
    /// Signatures under way, by who asked.
    pub signing: UnderWay,
    /// False votes of each peer, and until when they count.
    false_votes: BTreeMap<PeerId, (u32, UnixMillis)>,
}

#[derive(Debug)]
struct Lacking {
    fact: SetFact,
    votes: BTreeMap<CommitteeKey, Votes>,
    next_ask: UnixMillis,
}

#[derive(Debug, Default)]
struct Votes {
    epoch: Epoch,
    signatures: BTreeMap<AttesterId, SignatureBytes>,
}

#[derive(Debug, Default)]
struct Errand {
    peers: BTreeSet<PeerId>,
    signatures: BTreeMap<AttesterId, SignatureBytes>,
    /// When the attesters may be asked again.
    next_ask: UnixMillis,
}

impl Sets {
    pub fn new(confirmed: Vec<SetFact>) -> Self {
        let confirmed = confirmed.into_iter().map(|fact| ((fact.domain, fact.statement.height), fact));
        Self { confirmed: confirmed.collect(), ..Self::default() }
    }

    /// Remembers what our own nodes confirmed, durably.
    pub fn confirm(&mut self, fact: SetFact) {
        self.confirmed.insert((fact.domain, fact.statement.height), fact);
    }

    /// When time alone lets the attesters be asked again.
    pub fn next_due(&self) -> Option<UnixMillis> {
        self.lacking.values().map(|lacking| lacking.next_ask).min()
    }

    /// Whether a vote of this peer is looked at: not after too many false ones, for a while.
    fn takes_vote(&self, peer: PeerId, now: UnixMillis) -> bool {
        self.false_votes.get(&peer).is_none_or(|(count, until)| *count < FALSE_VOTES || *until <= now)
    }

    fn note_false_vote(&mut self, peer: PeerId, now: UnixMillis, until: UnixMillis) {
        let votes = self.false_votes.entry(peer).or_insert((0, until));
        if votes.1 <= now {
            *votes = (0, until);
        }
        votes.0 += 1;
    }

    /// `None` when nobody of ours has confirmed a set for that height yet.
    pub fn verify_confirmed(&self, fact: SetFact) -> Option<Result<(), SetRefusal>> {
        let ours = self.confirmed.get(&(fact.domain, fact.statement.height))?;
        let (expected, got) = (ours.statement.digest, fact.statement.digest);
        Some(if *ours == fact { Ok(()) } else { Err(SetRefusal::Contradiction { expected, got }) })
    }
}

impl Machine {
    /// The verifiers on our side of the lanes from a chain: their attesters vouch for its sets.
    fn set_verifiers(&self, domain: Domain) -> BTreeSet<CommitteeKey> {
        let from = self.inbound.values().filter(|flow| flow.lane.origin(flow.flow.direction).domain == domain);
        from.map(|flow| flow.committee).collect()
    }

    /// Asks for the sets that clients without a node wait for.
    pub(super) fn ask_sets(&mut self) {
        let wanted: Vec<SetFact> = self.clients.values().filter_map(|client| client.lacking_set()).collect();
        self.sets.lacking.retain(|_, lacking| wanted.contains(&lacking.fact));
        for fact in wanted {
            let again = self.io.after(self.io.limits.retry_min.saturating_mul(8));
            let lacking = self.sets.lacking.entry(fact.domain).or_insert_with(|| Lacking {
                fact,
                votes: BTreeMap::new(),
                next_ask: self.io.now,
            });
            if lacking.next_ask > self.io.now {
                continue;
            }
            lacking.next_ask = again;
            let feeding = self.inbound.values().filter(|flow| {
                flow.lane.origin(flow.flow.direction).domain == fact.domain
                    && self.peers.get(&flow.peer).is_some_and(|peer| peer.is_ready)
            });
            let feeding: BTreeSet<PeerId> = feeding.map(|flow| flow.peer).collect();
            for key in self.set_verifiers(fact.domain) {
                let Some(committee) = self.committees.get(&key) else { continue };
                let attestation = attestation(fact, key, committee);
                for peer in self.attesters_of(committee).union(&feeding) {
                    self.io.push(Effect::Send { peer: *peer, frame: Frame::SetRequest(attestation) });
                }
            }
        }
    }

    /// Somebody wants a set attested: an attester signs what its own nodes confirmed, a relay asks the attesters.
    pub(super) fn on_set_request(&mut self, peer: PeerId, attestation: SetAttestation) {
        let key = (attestation.verifier_domain, attestation.verifier);
        let is_ours = self.lanes.values().any(|lane| {
            [Direction::Outbox, Direction::Inbox].into_iter().any(|direction| {
                lane.identity.origin(direction).domain == attestation.fact.domain
                    && lane.identity.target_verifier(direction) == key
            })
        });
        if !is_ours {
            return;
        }
        match self.sets.verify_confirmed(attestation.fact) {
            Some(Ok(())) => {}
            // Our own node is not there yet; we are asked again.
            None => return,
            Some(Err(refusal)) => {
                let domain = attestation.fact.domain;
                return self.io.report(Report::SetRefused { domain, peer, refusal });
            }
        }
        match self.role {
            Role::Attester => {
                match self.remembers_sets(attestation.fact.domain) {
                    Ok(true) => {}
                    // The newest set that we signed was not confirmed here again yet; we are asked again.
                    Ok(false) => return,
                    Err(refusal) => {
                        let domain = attestation.fact.domain;
                        return self.io.report(Report::SetRefused { domain, peer, refusal });
                    }
                }
                if self.sets.signing.count(peer) >= MAX_SIGNING {
                    return;
                }
                self.sets.signing.begin(peer);
                self.io.append(vec![Record::SetSigned(attestation)], After::MaySignSet { attestation, peer });
            }
            Role::Relay => self.run_set_errand(peer, attestation),
        }
    }

    fn run_set_errand(&mut self, peer: PeerId, attestation: SetAttestation) {
        let key = self.committee_key((attestation.verifier_domain, attestation.verifier), peer);
        let Some(committee) = self.committees.get(&key) else { return };
        if committee.epoch() != attestation.epoch {
            return;
        }
        let attesters = self.attesters_of(committee);
        if self.sets.errands.len() >= MAX_ERRANDS && !self.sets.errands.contains_key(&(attestation, key)) {
            self.sets.errands.pop_first();
        }
        let errand = self.sets.errands.entry((attestation, key)).or_default();
        errand.peers.insert(peer);
        if !errand.signatures.is_empty() {
            let frame = Frame::SetAttested(SetEvidence { attestation, signatures: errand.signatures.clone() });
            self.io.push(Effect::Send { peer, frame });
        }
        if errand.signatures.len() < committee.quorum() && errand.next_ask <= self.io.now {
            errand.next_ask = self.io.after(self.io.limits.retry_min.saturating_mul(4));
            for attester in attesters {
                self.io.push(Effect::Send { peer: attester, frame: Frame::SetRequest(attestation) });
            }
        }
    }

    pub(super) fn may_sign_set(&mut self, attestation: SetAttestation, peer: PeerId) {
        self.io.push(Effect::Sign { what: Attestable::Set(attestation), peer });
    }

    /// Attestations of a set: for our own client, or for a relay that asked.
    pub(super) fn on_set_attested(&mut self, peer: PeerId, evidence: SetEvidence) {
        if !self.sets.takes_vote(peer, self.io.now) {
            return;
        }
        let refused = [self.count_set_votes(&evidence), self.forward_set_votes(&evidence)];
        if let Some(refusal) = refused.into_iter().find_map(Result::err) {
            let until = self.io.after(self.io.limits.retry_min.saturating_mul(4));
            self.sets.note_false_vote(peer, self.io.now, until);
            let domain = evidence.attestation.fact.domain;
            self.io.report(Report::SetRefused { domain, peer, refusal });
        }
    }

    fn forward_set_votes(&mut self, evidence: &SetEvidence) -> Result<(), SetRefusal> {
        let attestation = evidence.attestation;
        let mut outcome = Ok(());
        for ((_, key), errand) in self.sets.errands.iter_mut().filter(|((of, _), _)| *of == attestation) {
            let Some(committee) = self.committees.get(key) else { continue };
            if let Err(refusal) = evidence.verify_votes(&attestation, committee) {
                outcome = Err(refusal);
                continue;
            }
            let before = errand.signatures.len();
            errand.signatures.extend(evidence.signatures.iter().map(|(member, signature)| (*member, *signature)));
            if errand.signatures.len() > before {
                let evidence = SetEvidence { attestation, signatures: errand.signatures.clone() };
                for peer in &errand.peers {
                    self.io.push(Effect::Send { peer: *peer, frame: Frame::SetAttested(evidence.clone()) });
                }
            }
        }
        outcome
    }

    fn count_set_votes(&mut self, evidence: &SetEvidence) -> Result<(), SetRefusal> {
        let SetFact { domain, statement, .. } = evidence.attestation.fact;
        // A vote that comes late is no lie: what it is about lies behind our client.
        if self.clients.get(&domain).is_some_and(|client| statement.height <= client.height) {
            return Ok(());
        }
        let verifiers = self.set_verifiers(domain);
        let Some(lacking) = self.sets.lacking.get_mut(&domain) else { return Ok(()) };
        // Nor is one about another height: a relay with an older journal asks for a set that lies behind what it asked for.
        if statement.height != lacking.fact.statement.height {
            return Ok(());
        }
        let SetAttestation { verifier_domain, verifier, .. } = evidence.attestation;
        let key = CommitteeKey { domain: verifier_domain, verifier, teller: None };
        if !verifiers.contains(&key) {
            let expected = verifiers.first().map_or(verifier, |key| key.verifier);
            return Err(SetRefusal::Verifier { expected, got: verifier });
        }
        let Some(committee) = self.committees.get(&key) else { return Ok(()) };
        evidence.verify_votes(&attestation(lacking.fact, key, committee), committee)?;
        let votes = lacking.votes.entry(key).or_default();
        if votes.epoch != committee.epoch() {
            *votes = Votes { epoch: committee.epoch(), signatures: BTreeMap::new() };
        }
        votes.signatures.extend(evidence.signatures.iter().map(|(member, signature)| (*member, *signature)));
        let mut complete = Vec::new();
        for key in verifiers {
            let (Some(committee), Some(votes)) = (self.committees.get(&key), lacking.votes.get(&key)) else {
                return Ok(());
            };
            if votes.epoch != committee.epoch() || votes.signatures.len() < committee.quorum() {
                return Ok(());
            }
            let attestation = attestation(lacking.fact, key, committee);
            complete.push(SetEvidence { attestation, signatures: votes.signatures.clone() });
        }
        let fact = lacking.fact;
        self.sets.lacking.remove(&domain);
        let signatures = complete.iter().map(|evidence| evidence.signatures.len()).sum();
        if let Some(client) = self.clients.get_mut(&domain) {
            self.io.report(Report::SetAttested { fact, signatures });
            client.believe(&mut self.io, Stated { fact, evidence: complete });
        }
        Ok(())
    }

    /// Signatures for the set that a client waits for, and how many are needed, where the fewest are there; `None` when
    /// the attesters are not asked.
    pub(super) fn set_votes(&self, domain: Domain) -> Option<(usize, usize)> {
        let lacking = self.sets.lacking.get(&domain)?;
        let votes = self.set_verifiers(domain).into_iter().filter_map(|key| {
            let committee = self.committees.get(&key)?;
            let votes = lacking.votes.get(&key).filter(|votes| votes.epoch == committee.epoch());
            Some((votes.map_or(0, |votes| votes.signatures.len()), committee.quorum()))
        });
        votes.max_by_key(|(got, needed)| needed.saturating_sub(*got))
    }
}

fn attestation(fact: SetFact, key: CommitteeKey, committee: &Committee) -> SetAttestation {
    SetAttestation { fact, epoch: committee.epoch(), verifier: key.verifier, verifier_domain: key.domain }
}
