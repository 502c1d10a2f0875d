//! A flow on its way in: received, verified again, journalled, acknowledged, delivered, seen final.

use std::collections::{BTreeMap, VecDeque};

use crate::chain::ChainPoint;
use crate::claim::Claim;
use crate::frame::{DeclineReason, Declined, Frame};
use crate::gateway_call::Evidence;
use crate::ids::{Epoch, Index, UnixMillis};
use crate::lane::{Direction, Flow, LaneIdentity};
use crate::machine::asking::{ASKED_AT_ONCE, Asking, Unsigned};
use crate::machine::carry::Sent;
use crate::machine::config::{Limits, PeerId};
use crate::machine::effect::{ClaimCheck, Effect, JobEnd, JobId, ReceiptId, Report, Ticket};
use crate::machine::input::{ClaimOrigin, ClaimRefusal, Fetched};
use crate::machine::io::{After, Io, earliest};
use crate::machine::queue::{Queue, Waiting};
use crate::machine::quorum::Quorum;
use crate::machine::session::notice;
use crate::machine::{CommitteeKey, Machine, extension_record};
use crate::record::{ExtensionRecord, IntentEnd, Misbehaviour, Purpose, Record};
use crate::recovery::RecoveredFlow;
use crate::verify::{VerifiedEvidence, VerifiedExtension};

#[derive(Debug)]
pub(super) struct Inbound {
    pub flow: Flow,
    pub lane: LaneIdentity,
    pub peer: PeerId,
    /// Whose signatures the target chain counts.
    pub committee: CommitteeKey,
    /// Verified, perhaps not durable yet.
    pub verified: ChainPoint,
    pub durable: ChainPoint,
    /// What the target chain has taken in, finally.
    pub done: ChainPoint,
    pub queue: Queue<Incoming>,
    parked: VecDeque<Parked>,
    is_verifying: bool,
    pub job: Option<JobId>,
    pub next_try: UnixMillis,
    pub tries: u32,
    /// Entries that one transaction may take; halved when the chain says it is too much.
    pub batch_cap: usize,
    pub asking: Asking,
    is_reading: bool,
    next_read: UnixMillis,
    /// Journal and gateway differ: nothing is carried until somebody has looked.
    pub is_in_dispute: bool,
}

/// One extension on its way in.
#[derive(Debug)]
pub(super) struct Incoming {
    pub record: ExtensionRecord,
    pub tip: ChainPoint,
    pub is_durable: bool,
    /// The append that makes it durable; meaningless afterwards.
    ticket: Ticket,
    pub evidence: Option<Evidence>,
    pub quorum: Quorum,
}

impl Waiting for Incoming {
    fn record(&self) -> &ExtensionRecord {
        &self.record
    }
}

impl Incoming {
    pub fn unsigned(&mut self) -> Unsigned<'_> {
        Unsigned { record: &self.record, tip: self.tip, quorum: &mut self.quorum }
    }

    /// Whether the gateway would take it: durable here, and attested by the set in force.
    pub fn is_ready(&self, epoch: Epoch) -> bool {
        self.is_durable && self.evidence.as_ref().is_some_and(|evidence| evidence.epoch == epoch)
    }
}

#[derive(Debug)]
struct Parked {
    receipt: ReceiptId,
    claim: Claim,
    evidence: Vec<Evidence>,
}

impl Inbound {
    pub fn new(
        lane: LaneIdentity,
        peer: PeerId,
        committee: CommitteeKey,
        recovered: RecoveredFlow,
        batch_cap: usize,
    ) -> Self {
        let mut evidence: BTreeMap<Index, Evidence> =
            recovered.evidence.into_iter().map(|evidence| (evidence.point.index, evidence)).collect();
        let queue = recovered.outstanding.into_iter().map(|record| {
            let tip = record.tip();
            let evidence = evidence.remove(&tip.index);
            Incoming { record, tip, is_durable: true, ticket: Ticket(0), evidence, quorum: Quorum::default() }
        });
        Self {
            flow: recovered.flow,
            lane,
            peer,
            committee,
            verified: recovered.tip,
            durable: recovered.tip,
            done: recovered.done,
            queue: queue.collect(),
            parked: VecDeque::new(),
            is_verifying: false,
            job: None,
            next_try: UnixMillis(0),
            tries: 0,
            batch_cap,
            asking: Asking::default(),
            is_reading: false,
            next_read: UnixMillis(0),
            is_in_dispute: false,
        }
    }

    pub fn forget_session(&mut self, io: &mut Io, peer: PeerId) {
        if peer == self.peer {
            for parked in self.parked.drain(..) {
                io.push(Effect::Release(parked.receipt));
            }
        }
        self.asking.forget(peer);
        self.queue.iter_mut().for_each(|incoming| incoming.quorum.forget_asking(peer));
    }

    /// Forgets every wait after a failure.
    pub fn forget_waits(&mut self, now: UnixMillis) {
        (self.tries, self.next_try) = (0, now);
        self.next_read = now;
        self.queue.iter_mut().for_each(|incoming| incoming.quorum.forget_waits());
    }

    /// Whether so much waits for the target chain that no more is taken in. What the peer sends then stays where it is,
    /// and keeps its room: the peer is slowed down, and stops reading its own chain in the end.
    fn is_full(&self, limits: &Limits) -> bool {
        self.queue.is_full(limits.inbound_window, limits.inbound_bytes)
    }

    fn decline(&self, io: &mut Io, receipt: ReceiptId, index: Index, reason: DeclineReason) {
        let declined = Declined { flow: self.flow, index, reason };
        io.push(Effect::Send { peer: self.peer, frame: Frame::Declined(declined) });
        io.push(Effect::Release(receipt));
    }

    /// Our head at `index`, where the queue still knows it.
    fn point_at(&self, index: Index) -> Option<ChainPoint> {
        if index == self.done.index {
            return Some(self.done);
        }
        self.queue.iter().find(|incoming| incoming.tip.index >= index)?.record.point_at(index)
    }
}

impl Machine {
    /// Does whatever is due for an inbound flow.
    pub(super) fn advance_inbound(&mut self, flow: Flow) {
        self.verify_next(flow);
        self.reattest(flow);
        self.read_accepted(flow);
        self.carry(flow);
    }

    /// When time alone lets an inbound flow go on.
    pub(super) fn inbound_due(&self, inbound: &Inbound) -> Option<UnixMillis> {
        let committee = self.committees.get(&inbound.committee);
        let is_paused = self.is_paused(inbound.flow);
        let can_carry = inbound.job.is_none()
            && !inbound.is_in_dispute
            && !is_paused
            && crate::machine::carry::has_next(inbound, committee, self.sent(inbound.flow));
        let read = (!inbound.is_reading).then_some(inbound.next_read);
        let ask = committee.filter(|_| !is_paused).and_then(|committee| {
            let stale = |incoming: &&Incoming| incoming.is_durable && !incoming.is_ready(committee.epoch());
            let stale = inbound.queue.iter().filter(stale).take(ASKED_AT_ONCE);
            stale.filter_map(|incoming| incoming.quorum.next_due()).min()
        });
        earliest(earliest(can_carry.then_some(inbound.next_try), read), ask)
    }

    /// The messages of a flow's lane that are not settled, where they were sent from here.
    fn sent(&self, flow: Flow) -> Option<&Sent> {
        let outbox = Flow { lane: flow.lane, direction: Direction::Outbox };
        self.outbound.get(&outbox).map(|out| &out.sent)
    }

    pub(super) fn on_extension(&mut self, peer: PeerId, receipt: ReceiptId, claim: Claim, evidence: Vec<Evidence>) {
        let flow = claim.flow;
        let is_paused = self.is_paused(flow);
        let Some(inbound) = self.inbound.get_mut(&flow).filter(|inbound| inbound.peer == peer) else {
            let declined = Declined { flow, index: claim.first, reason: DeclineReason::UnknownLane };
            self.io.push(Effect::Send { peer, frame: Frame::Declined(declined) });
            return self.io.push(Effect::Release(receipt));
        };
        if is_paused {
            return inbound.decline(&mut self.io, receipt, claim.first, DeclineReason::Paused);
        }
        if inbound.parked.len() >= self.io.limits.parked_claims {
            return inbound.decline(&mut self.io, receipt, claim.first, DeclineReason::Busy);
        }
        inbound.parked.push_back(Parked { receipt, claim, evidence });
        self.verify_next(flow);
    }

    /// Hands the next parked claim to the verifier, once its header and the attester set are known.
    fn verify_next(&mut self, flow: Flow) {
        let Some(inbound) = self.inbound.get_mut(&flow) else { return };
        let Some(client) = self.clients.get(&inbound.lane.origin(flow.direction).domain) else { return };
        let committee = self.committees.get(&inbound.committee);
        while !inbound.is_verifying {
            let Some(front) = inbound.parked.front() else { return };
            let first = front.claim.first;
            let last = front.claim.entries.last().map_or(first, crate::chain::Entry::index);
            let decision = if last <= inbound.verified.index {
                Decision::Known
            } else if first > inbound.verified.index.next() {
                Decision::Decline(DeclineReason::Gap)
            } else if client.is_frozen() {
                Decision::Decline(DeclineReason::Unconfirmed)
            } else if inbound.is_full(&self.io.limits) {
                return;
            } else if let Some(header) = client.headers.get(&front.claim.height) {
                let Some(committee) = committee else { return };
                Decision::Verify(header.clone(), committee.clone())
            } else {
                // An honest peer knows where our client stands, durably, and sends nothing that lies beyond.
                Decision::Decline(DeclineReason::UnknownHeader)
            };
            let Some(Parked { receipt, mut claim, evidence }) = inbound.parked.pop_front() else { return };
            match decision {
                Decision::Known => {
                    Self::tell_accepted(&mut self.io, inbound.peer, flow, inbound.durable);
                    self.io.push(Effect::Release(receipt));
                }
                Decision::Decline(reason) => {
                    inbound.decline(&mut self.io, receipt, first, reason);
                    Self::tell_accepted(&mut self.io, inbound.peer, flow, inbound.durable);
                }
                Decision::Verify(header, committee) => {
                    // A peer that lost its journal cuts elsewhere: what is held already is left out.
                    claim.entries.retain(|entry| entry.index() > inbound.verified.index);
                    claim.first = inbound.verified.index.next();
                    inbound.is_verifying = true;
                    self.io.push(Effect::VerifyClaim(Box::new(ClaimCheck {
                        origin: ClaimOrigin::Peer(inbound.peer, receipt),
                        lane: inbound.lane.clone(),
                        base: inbound.verified,
                        header,
                        claim,
                        evidence: Some((committee, evidence)),
                    })));
                }
            }
        }
    }

    pub(super) fn peer_claim_verified(
        &mut self,
        receipt: ReceiptId,
        claim: Claim,
        result: Result<(VerifiedExtension, Vec<VerifiedEvidence>), ClaimRefusal>,
    ) {
        let flow = claim.flow;
        let Some(inbound) = self.inbound.get_mut(&flow) else { return };
        inbound.is_verifying = false;
        let (extension, evidence) = match result {
            Ok(verified) if verified.0.base() == inbound.verified => verified,
            Ok(_) => {
                inbound.decline(&mut self.io, receipt, claim.first, DeclineReason::Gap);
                Self::tell_accepted(&mut self.io, inbound.peer, flow, inbound.durable);
                return self.verify_next(flow);
            }
            Err(refusal) => {
                let reason = match refusal {
                    ClaimRefusal::Claim(_) => DeclineReason::Refused,
                    ClaimRefusal::Evidence(_) => DeclineReason::Evidence,
                };
                let peer = inbound.peer;
                let key = inbound.committee;
                inbound.decline(&mut self.io, receipt, claim.first, reason);
                if let (DeclineReason::Evidence, Some(committee)) = (reason, self.committees.get(&key)) {
                    self.io.push(Effect::Send { peer, frame: Frame::Committee(notice(key, committee)) });
                }
                self.io.report(Report::ClaimRefused { flow, peer: Some(peer), refusal });
                return self.verify_next(flow);
            }
        };
        let tip = extension.tip();
        let client = self.clients.get(&inbound.lane.origin(flow.direction).domain);
        let time = client.and_then(|client| client.headers.get(&claim.height)).map(|header| header.header().timestamp);
        let record = extension_record(&extension, claim, time.unwrap_or(self.io.now), self.io.now);
        let attested: Vec<Evidence> = evidence.into_iter().map(VerifiedEvidence::into_evidence).collect();
        inbound.verified = tip;
        let own = attested.iter().find(|evidence| evidence.point == tip).cloned();
        let at = self.io.now;
        let mut records = vec![Record::Extension(record.clone())];
        records.extend(attested.into_iter().map(|evidence| Record::Attested { flow, evidence, at }));
        let ticket = self.io.append(records, After::Inbound { flow, tip, receipt });
        let quorum = Quorum::default();
        inbound.queue.push_back(Incoming { record, tip, is_durable: false, ticket, evidence: own, quorum });
        self.verify_next(flow);
    }

    pub(super) fn inbound_is_durable(&mut self, flow: Flow, tip: ChainPoint, receipt: ReceiptId) {
        self.io.push(Effect::Release(receipt));
        let Some(inbound) = self.inbound.get_mut(&flow) else { return };
        inbound.durable = tip;
        if let Some(incoming) = inbound.queue.iter_mut().find(|incoming| incoming.tip == tip) {
            incoming.is_durable = true;
            let count = incoming.record.entries.len();
            self.io.report(Report::Journalled { flow, tip, count });
        }
        Self::tell_accepted(&mut self.io, inbound.peer, flow, tip);
        self.carry(flow);
    }

    /// After an append about this flow failed for good: forget what is not durable; the peer sends it again.
    pub(super) fn inbound_append_failed(&mut self, flow: Flow, receipt: ReceiptId, ticket: Ticket) {
        self.io.push(Effect::Release(receipt));
        let Some(inbound) = self.inbound.get_mut(&flow) else { return };
        // What followed in the queue was built on it and fails as well; by then the queue may hold newer tries.
        if !inbound.queue.iter().any(|incoming| !incoming.is_durable && incoming.ticket == ticket) {
            return;
        }
        inbound.queue.retain(|incoming| incoming.is_durable);
        inbound.verified = inbound.durable;
        let declined = Declined { flow, index: inbound.durable.index.next(), reason: DeclineReason::Busy };
        self.io.push(Effect::Send { peer: inbound.peer, frame: Frame::Declined(declined) });
    }

    /// Asks the attesters again for heads whose signatures are of another epoch than the one in force.
    pub(super) fn reattest(&mut self, flow: Flow) {
        if self.is_paused(flow) {
            return;
        }
        let Some(inbound) = self.inbound.get(&flow) else { return };
        let Some(committee) = self.committees.get(&inbound.committee) else { return };
        let (attesters, epoch) = (self.attesters_of(committee), committee.epoch());
        let Some(inbound) = self.inbound.get_mut(&flow) else { return };
        let stale = inbound.queue.iter_mut().filter(|incoming| incoming.is_durable && !incoming.is_ready(epoch));
        inbound.asking.ask(&mut self.io, epoch, &attesters, stale.map(Incoming::unsigned));
    }

    pub(super) fn inbound_is_reattested(&mut self, flow: Flow, evidence: Evidence) {
        let Some(inbound) = self.inbound.get_mut(&flow) else { return };
        if let Some(incoming) = inbound.queue.iter_mut().find(|incoming| incoming.tip == evidence.point) {
            incoming.evidence = Some(evidence);
            incoming.quorum = Quorum::default();
        }
        self.carry(flow);
    }

    /// Reads what the target chain holds, when it is time.
    pub(super) fn read_accepted(&mut self, flow: Flow) {
        let Some(inbound) = self.inbound.get_mut(&flow) else { return };
        if !inbound.is_reading && inbound.next_read <= self.io.now {
            inbound.is_reading = true;
            let key = inbound.committee;
            self.io.push(Effect::ReadAccepted { flow });
            self.read_committee(flow, key);
        }
    }

    pub(super) fn on_accepted_read(&mut self, flow: Flow, answer: Fetched<ChainPoint>) {
        let Some(inbound) = self.inbound.get_mut(&flow) else { return };
        inbound.is_reading = false;
        inbound.next_read = self.io.after(self.io.limits.refresh_interval);
        let Fetched::Some(theirs) = answer else { return };
        if theirs.index < inbound.done.index || theirs.index > inbound.durable.index {
            return;
        }
        match inbound.point_at(theirs.index) {
            Some(ours) if ours == theirs => {
                inbound.is_in_dispute = false;
                if theirs == inbound.done {
                    return;
                }
                let at = self.io.now;
                self.io.append(vec![Record::Done { flow, point: theirs, at }], After::Done { flow, point: theirs });
            }
            Some(ours) => {
                // Said again with every reading until the two agree: one word and one record is enough.
                if core::mem::replace(&mut inbound.is_in_dispute, true) {
                    return;
                }
                let gateway = inbound.lane.target(flow.direction).gateway;
                let difference = Misbehaviour::AuditDifference { flow, gateway, ours, theirs, at: self.io.now };
                self.io.append(vec![Record::Misbehaviour(difference)], After::Nothing);
                self.io.report(Report::AuditDifference { flow, ours, theirs });
            }
            None => {}
        }
    }

    pub(super) fn inbound_is_done(&mut self, flow: Flow, point: ChainPoint) {
        let Some(inbound) = self.inbound.get_mut(&flow) else { return };
        if point.index <= inbound.done.index {
            return;
        }
        let mut millis = Vec::new();
        for incoming in inbound.queue.iter() {
            let waited = self.io.now.0.saturating_sub(incoming.record.block_time.0);
            let newly = incoming.record.entries.iter().map(crate::chain::Entry::index);
            millis.extend(newly.filter(|index| *index > inbound.done.index && *index <= point.index).map(|_| waited));
        }
        inbound.done = point;
        inbound.tries = 0;
        inbound.next_try = self.io.now;
        while inbound.queue.pop_front_if(|incoming| incoming.tip.index <= point.index).is_some() {}
        let outbox = Flow { lane: flow.lane, direction: Direction::Outbox };
        if flow != outbox
            && let Some(out) = self.outbound.get_mut(&outbox)
        {
            out.sent.unsettled.retain(|index, _| *index > point.index);
        }
        self.io.report(Report::Done { flow, point, millis });
        self.verify_next(flow);
        self.carry(flow);
    }

    /// Delivers or settles what is next, one transaction per flow at a time.
    pub(super) fn carry(&mut self, flow: Flow) {
        let Some(inbound) = self.inbound.get(&flow).filter(|_| !self.is_paused(flow)) else { return };
        if inbound.job.is_some() || inbound.is_in_dispute || inbound.next_try > self.io.now {
            return;
        }
        let committee = self.committees.get(&inbound.committee);
        let sent = self.sent(flow);
        let Some((call, last)) = crate::machine::carry::next_call(inbound, committee, sent, &self.io.limits) else {
            return;
        };
        let domain = inbound.lane.target(flow.direction).domain;
        let job = self.start_job(domain, Purpose::Carry { flow, last }, call);
        if let Some(inbound) = self.inbound.get_mut(&flow) {
            inbound.job = job;
        }
    }

    /// The transaction of a flow came to its end, or could not be made.
    pub(super) fn carry_ended(&mut self, flow: Flow, end: JobEnd) {
        let limit = self.io.limits.batch_entries;
        let Some(inbound) = self.inbound.get_mut(&flow) else { return };
        inbound.job = None;
        inbound.next_read = self.io.now;
        match end {
            JobEnd::Transaction(IntentEnd::Succeeded { .. }) => {
                inbound.batch_cap = (inbound.batch_cap.saturating_mul(2)).min(limit);
                // What it did shows in the accepted point; until that is read, nothing is sent twice.
                inbound.next_try = self.io.after(self.io.limits.track_interval.saturating_mul(4));
            }
            JobEnd::Transaction(IntentEnd::Dead) => inbound.next_try = self.io.after(self.io.limits.retry_min),
            JobEnd::TooLarge => {
                inbound.next_try = self.io.now;
                if inbound.batch_cap <= 1 {
                    inbound.tries = inbound.tries.saturating_add(1);
                    inbound.next_try = self.io.backoff(inbound.tries);
                }
                inbound.batch_cap = (inbound.batch_cap / 2).max(1);
            }
            JobEnd::Transaction(IntentEnd::Reverted { .. }) | JobEnd::WouldRevert | JobEnd::Failed => {
                inbound.tries = inbound.tries.saturating_add(1);
                inbound.next_try = self.io.backoff(inbound.tries);
                // Another set may be in force: it is read at once.
                self.next_committee.remove(&inbound.committee);
                if matches!(end, JobEnd::Transaction(_)) {
                    inbound.batch_cap = (inbound.batch_cap / 2).max(1);
                }
            }
        }
        self.read_accepted(flow);
        self.carry(flow);
    }
}

enum Decision {
    Known,
    Decline(DeclineReason),
    Verify(crate::verify::VerifiedHeader, crate::attestation::Committee),
}
