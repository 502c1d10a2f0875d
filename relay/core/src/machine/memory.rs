//! An attester whose journal has forgotten what it signed: it asks the relays for it, and is mute until its own chain
//! leads to the newest head that it ever signed again.
//!
//! That newest head of each flow is remembered outside of the journal ([`Remembered`]). Every head signed before lies on the
//! chain to it, since none is ever signed that does not descend from all before. So a chain that is verified up to it, and
//! has it at its index, fixes them all; a chain that has another head there is contradicted by our own signature, and
//! nothing is signed on that flow any more.

use std::collections::BTreeMap;

use crate::attestation::Statement;
use crate::chain::ChainPoint;
use crate::claim::{Claim, MAX_CLAIM_ENTRIES};
use crate::frame::{DeclineReason, Declined, Frame, Role};
use crate::gateway_call::Evidence;
use crate::ids::{AttesterId, Domain, Index, UnixMillis};
use crate::lane::Flow;
use crate::machine::Machine;
use crate::machine::config::PeerId;
use crate::machine::desk::Desk;
use crate::machine::effect::{Effect, Report};
use crate::machine::io::After;
use crate::record::{Misbehaviour, Record};
use crate::set_attestation::{SetFact, SetRefusal};

/// What an attester knows of its own signatures from outside of its journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// The address that it signs with; without it no signature is recognised.
    pub id: Option<AttesterId>,
    /// The newest head signed of each flow on which the journal does not reach it.
    pub lost: BTreeMap<Flow, ChainPoint>,
    /// The newest validator set signed of each chain.
    pub sets: BTreeMap<Domain, SetFact>,
}

/// What one desk has forgotten.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// The newest head that was signed, while our chain does not reach it.
    mark: Option<ChainPoint>,
    /// Our chain has another head where we signed one.
    is_contradicted: bool,
    /// When the relays are asked again.
    next_ask: UnixMillis,
}

/// What an extension means for what was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Nothing is missing.
    Whole,
    /// It does not lead to the newest head that was signed.
    Short,
    /// It leads to this one.
    Mark(ChainPoint),
    /// It leads to another head at this index.
    Contradicted {
        /// What our chain has there.
        ours: ChainPoint,
        /// What we signed.
        signed: ChainPoint,
    },
}

impl Lost {
    pub const fn is_mute(&self) -> bool {
        self.mark.is_some()
    }

    /// Whether our own signature contradicts our chain.
    pub const fn is_contradicted(&self) -> bool {
        self.is_contradicted
    }

    /// The index up to which something is missing.
    pub fn missing(&self) -> Option<Index> {
        self.mark.map(|mark| mark.index)
    }

    /// What a verified piece of our chain, point by point, means.
    pub fn reach(&self, tip: ChainPoint, mut points: impl Iterator<Item = ChainPoint>) -> Reach {
        let Some(mark) = self.mark else { return Reach::Whole };
        if tip.index < mark.index {
            return Reach::Short;
        }
        match points.find(|point| point.index == mark.index) {
            Some(ours) if ours == mark => Reach::Mark(mark),
            Some(ours) => Reach::Contradicted { ours, signed: mark },
            None => Reach::Short,
        }
    }

    /// Our chain is durable up to here, and nothing on it contradicted us before.
    pub fn stands_at(&mut self, tip: Index) {
        if !self.is_contradicted && self.mark.is_some_and(|mark| mark.index <= tip) {
            self.mark = None;
        }
    }

    fn next_due(&self) -> Option<UnixMillis> {
        (self.mark.is_some() && !self.is_contradicted).then_some(self.next_ask)
    }
}

impl Machine {
    /// Tells an attester, before its first input, what it signed and its journal does not hold.
    pub fn remember(&mut self, remembered: Remembered) {
        for (flow, mark) in &remembered.lost {
            if let Some(desk) = self.desks.get_mut(flow) {
                desk.lost.mark = Some(*mark);
            }
        }
        self.remembered = remembered;
    }

    /// The relays that are there to be asked.
    fn ready_relays(&self) -> impl Iterator<Item = PeerId> {
        let relays = self.peers.values().filter(|peer| peer.is_ready && peer.setup.role == Role::Relay);
        relays.map(|peer| peer.setup.id)
    }

    /// When time alone lets what was forgotten be asked for.
    pub(super) fn lost_due(&self) -> Option<UnixMillis> {
        self.ready_relays().next()?;
        self.desks.values().filter_map(|desk| desk.lost.next_due()).min()
    }

    /// Asks every relay that is there for what was forgotten. "I am mute, and lack the entries from here on" is the question:
    /// [`DeclineReason::Mute`].
    pub(super) fn ask_for_lost(&mut self) {
        let relays: Vec<PeerId> = self.ready_relays().collect();
        if relays.is_empty() {
            return;
        }
        let again = self.io.after(self.io.limits.retry_min.saturating_mul(8));
        for desk in self.desks.values_mut() {
            if desk.lost.next_due().is_none_or(|due| due > self.io.now) {
                continue;
            }
            desk.lost.next_ask = again;
            let declined = Declined { flow: desk.flow, index: desk.durable.index.next(), reason: DeclineReason::Mute };
            for peer in &relays {
                self.io.push(Effect::Send { peer: *peer, frame: Frame::Declined(declined) });
            }
        }
    }

    /// Asks for the next piece at once.
    pub(super) fn ask_for_more(&mut self, flow: Flow) {
        if let Some(desk) = self.desks.get_mut(&flow) {
            desk.lost.next_ask = self.io.now;
        }
        self.ask_for_lost();
    }

    /// A relay's answer: a piece of the chain, with heads that we signed.
    pub(super) fn on_own_signatures(&mut self, peer: PeerId, claim: Claim, evidence: Vec<Evidence>) {
        let flow = claim.flow;
        let Some(desk) = self.desks.get_mut(&flow).filter(|desk| desk.lost.is_mute()) else { return };
        desk.take_piece(peer, claim, evidence);
        self.advance_desk(flow);
    }

    /// The heads in `evidence` that carry our own signature and lie on this piece of our chain: their sign-once records. One
    /// that lies beside it is a contradiction.
    pub(super) fn own_signatures(
        &self,
        desk: &Desk,
        evidence: &[Evidence],
        points: &[ChainPoint],
    ) -> Result<Vec<Record>, (ChainPoint, Evidence)> {
        let Some(own) = self.remembered.id else { return Ok(Vec::new()) };
        let flow = desk.flow;
        let mut records = Vec::new();
        for Evidence { point, epoch, signatures } in evidence {
            let Some(ours) = points.iter().find(|ours| ours.index == point.index) else { continue };
            let Some(signature) = signatures.get(&own) else { continue };
            let verifying = desk.lane.target(flow.direction);
            let statement = Statement { flow, point: *point, epoch: *epoch, verifying };
            if signature.signer(statement.digest()) != Ok(own) {
                continue;
            }
            if ours != point {
                let signatures = [(own, *signature)].into();
                return Err((*ours, Evidence { point: *point, epoch: *epoch, signatures }));
            }
            records.push(Record::Signed { flow, point: *point, epoch: *epoch });
        }
        Ok(records)
    }

    /// We have signed a head that is not on the chain: nothing is signed on this flow any more, and somebody must look.
    pub(super) fn contradicts_itself(&mut self, flow: Flow, ours: ChainPoint, theirs: Evidence) {
        let Some(desk) = self.desks.get_mut(&flow) else { return };
        desk.lost.mark.get_or_insert(theirs.point);
        if core::mem::replace(&mut desk.lost.is_contradicted, true) {
            return;
        }
        let attester = self.remembered.id.unwrap_or(AttesterId([0; 20]));
        let point = theirs.point;
        let conflict = Misbehaviour::ConflictingHead { flow, ours, theirs, at: self.io.now };
        self.io.append(vec![Record::Misbehaviour(conflict)], After::Nothing);
        self.io.report(Report::ConflictingHead { flow, ours, theirs: point, attester });
    }

    /// A relay is asked for what an attester signed.
    pub(super) fn on_attester_forgot(&mut self, peer: PeerId, flow: Flow, first: Index) {
        // No entry has index 0.
        let first = first.max(Index(1));
        let durable = match (self.outbound.get(&flow), self.inbound.get(&flow)) {
            (Some(out), _) => out.durable,
            (None, Some(inbound)) => inbound.durable,
            (None, None) => return,
        };
        let Some(known) = self.peers.get_mut(&peer).filter(|known| known.is_ready) else { return };
        // The next piece is given at once, anything before it after a while: however it asks, a round through the whole
        // chain is all that an attester costs in that time.
        let is_early = known.reminded.get(&flow).is_some_and(|(end, again)| *end >= first && *again > self.io.now);
        if first > durable.index || is_early {
            return;
        }
        let again = self.io.after(self.io.limits.retry_min.saturating_mul(4));
        known.reminded.insert(flow, (first.plus(MAX_CLAIM_ENTRIES - 1), again));
        let attester = known.setup.attester;
        self.io.push(Effect::LoadSigned { flow, peer, attester, first, last: durable.index });
    }

    /// What the journal knows of it; nothing when the bodies were pruned.
    pub(super) fn on_signed_loaded(&mut self, peer: PeerId, found: Option<(Claim, Vec<Evidence>)>) {
        let is_there = self.peers.get(&peer).is_some_and(|known| known.is_ready);
        if let Some((claim, evidence)) = found.filter(|_| is_there) {
            self.io.push(Effect::Send { peer, frame: Frame::Extension { claim, evidence } });
        }
    }

    /// Whether a set may be signed though the journal may have forgotten one: the newest set that was signed of this chain
    /// must have been confirmed here again, which fixes all before it.
    ///
    /// # Errors
    /// When our own nodes confirmed another set where we signed one.
    pub(super) fn remembers_sets(&self, domain: Domain) -> Result<bool, SetRefusal> {
        match self.remembered.sets.get(&domain) {
            None => Ok(true),
            Some(signed) => self.sets.verify_confirmed(*signed).map_or(Ok(false), |agrees| agrees.map(|()| true)),
        }
    }
}
