//! Attester sets in force, and the votes of their members.

use crate::attestation::{Committee, SignatureBytes, Statement};
use crate::chain::ChainPoint;
use crate::gateway_call::Evidence;
use crate::ids::Epoch;
use crate::lane::Flow;
use crate::machine::config::PeerId;
use crate::machine::effect::{Effect, Report};
use crate::machine::input::Fetched;
use crate::machine::io::After;
use crate::machine::{CommitteeKey, Machine, VerifierKey};
use crate::record::{Misbehaviour, Record};

impl Machine {
    /// Under what the attester set of a verifier is known on the lanes with `peer`.
    pub(super) fn committee_key(&self, (domain, verifier): VerifierKey, peer: PeerId) -> CommitteeKey {
        let is_read = self.clients.get(&domain).is_some_and(|client| client.setup.has_target);
        CommitteeKey { domain, verifier, teller: (!is_read).then_some(peer) }
    }

    pub(super) fn on_committee_read(&mut self, flow: Flow, answer: Fetched<Committee>) {
        let Some(inbound) = self.inbound.get(&flow) else { return };
        if let Fetched::Some(committee) = answer {
            self.adopt_committee(inbound.committee, committee);
        }
    }

    /// Reads the attester set of a verifier, unless another of its flows has just done so.
    pub(super) fn read_committee(&mut self, flow: Flow, key: CommitteeKey) {
        if self.next_committee.get(&key).is_none_or(|next| *next <= self.io.now) {
            self.next_committee.insert(key, self.io.after(self.io.limits.refresh_interval));
            self.io.push(Effect::ReadCommittee { flow });
        }
    }

    /// Takes a set in when it is newer than the one known, and moves every request to it.
    pub(super) fn adopt_committee(&mut self, key: CommitteeKey, committee: Committee) {
        if self.committees.get(&key).is_some_and(|known| known.epoch() >= committee.epoch()) {
            return;
        }
        self.committees.insert(key, committee);
        let ready = self.peers.values().filter(|peer| peer.is_ready).map(|peer| peer.setup.id);
        let ready: Vec<PeerId> = ready.collect();
        for peer in ready {
            self.tell_committees(peer);
        }
        self.ask_sets();
        self.advance_all_flows();
    }

    pub(super) fn on_attestation(
        &mut self,
        peer: PeerId,
        flow: Flow,
        point: ChainPoint,
        epoch: Epoch,
        signature: SignatureBytes,
    ) {
        let (lane, key, ours, is_attested, quorum) = if let Some(out) = self.outbound.get_mut(&flow) {
            let Some(outgoing) = out.queue.iter_mut().find(|outgoing| outgoing.tip.index == point.index) else {
                return;
            };
            (&out.lane, out.committee, outgoing.tip, outgoing.evidence.is_some(), &mut outgoing.quorum)
        } else if let Some(inbound) = self.inbound.get_mut(&flow) {
            let Some(incoming) = inbound.queue.iter_mut().find(|incoming| incoming.tip.index == point.index) else {
                return;
            };
            (&inbound.lane, inbound.committee, incoming.tip, incoming.is_ready(epoch), &mut incoming.quorum)
        } else {
            return;
        };
        // A signature is checked here and now, so only one that is of use, and only a few.
        if (ours == point && is_attested) || !quorum.takes_answer(peer) {
            return;
        }
        let Some(committee) = self.committees.get(&key) else { return };
        let statement = Statement { flow, point, epoch, verifying: lane.target(flow.direction) };
        let Ok(attester) = committee.verify_attestation(&statement, &signature) else { return };
        let enough = committee.quorum();
        if ours != point {
            if !quorum.accuse(attester) {
                return;
            }
            let theirs = Evidence { point, epoch, signatures: [(attester, signature)].into() };
            let conflict = Misbehaviour::ConflictingHead { flow, ours, theirs, at: self.io.now };
            self.io.append(vec![Record::Misbehaviour(conflict)], After::Nothing);
            return self.io.report(Report::ConflictingHead { flow, ours, theirs: point, attester });
        }
        // Votes of the epoch before don't count among these: heads far back in the queue may not have been asked anew.
        quorum.enter_epoch(epoch);
        self.io.report(Report::Vote { flow, attester });
        if let Some(evidence) = quorum.vote(attester, signature, enough, point) {
            let after = if self.outbound.contains_key(&flow) {
                After::Attested { flow, point }
            } else {
                After::Reattested { flow, point }
            };
            self.io.append(vec![Record::Attested { flow, evidence, at: self.io.now }], after);
        }
    }
}
