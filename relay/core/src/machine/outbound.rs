//! A flow on its way out: observed on its chain, verified, journalled, attested, sent, accepted by the peer.

use std::collections::BTreeMap;

use crate::chain::ChainPoint;
use crate::claim::Claim;
use crate::frame::{DeclineReason, Declined, Frame, Role};
use crate::gateway_call::{Evidence, GatewayCall};
use crate::ids::{Index, UnixMillis};
use crate::lane::{Direction, Flow, LaneIdentity};
use crate::machine::asking::{ASKED_AT_ONCE, Asking, Unsigned};
use crate::machine::carry::Sent;
use crate::machine::config::{Limits, PeerId};
use crate::machine::effect::{ClaimCheck, Effect, JobId, ObserveRequest, Report, Ticket};
use crate::machine::input::{ClaimOrigin, ClaimRefusal, Fetched, Observation};
use crate::machine::io::{After, Io, distance, earliest};
use crate::machine::queue::{Queue, Waiting};
use crate::machine::quorum::Quorum;
use crate::machine::resending::Resending;
use crate::machine::{CommitteeKey, Machine, extension_record};
use crate::record::{ExtensionRecord, Purpose, Record};
use crate::recovery::RecoveredFlow;
use crate::verify::VerifiedExtension;

/// A node that fails is paused, and another one is asked: after so many failures in a row none of them is of use.
const FAILURES_IN_ROW: u32 = 3;

#[derive(Debug)]
pub(super) struct Outbound {
    pub flow: Flow,
    pub lane: LaneIdentity,
    pub peer: PeerId,
    /// Whose signatures the target chain counts.
    pub committee: CommitteeKey,
    /// Verified, perhaps not durable yet.
    pub verified: ChainPoint,
    pub durable: ChainPoint,
    /// What the peer holds durably.
    pub accepted: ChainPoint,
    pub queue: Queue<Outgoing>,
    /// Messages whose outcome is not settled yet; only for an outbox.
    pub sent: Sent,
    is_observing: bool,
    next_observe: UnixMillis,
    tries: u32,
    short_since: Option<UnixMillis>,
    /// What the nodes said last, unproved.
    pub hint: Index,
    pub checkpoint: Option<JobId>,
    next_send: UnixMillis,
    send_tries: u32,
    pub asking: Asking,
    /// The peer holds another point than ours: an operator must look.
    pub is_in_dispute: bool,
    pub resending: Resending,
}

/// One extension on its way out.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub record: ExtensionRecord,
    pub tip: ChainPoint,
    pub is_durable: bool,
    /// The append that makes it durable; meaningless afterwards.
    pub ticket: Ticket,
    pub quorum: Quorum,
    pub evidence: Option<Evidence>,
    pub is_sent: bool,
}

impl Waiting for Outgoing {
    fn record(&self) -> &ExtensionRecord {
        &self.record
    }
}

impl Outgoing {
    /// One that the journal holds.
    pub fn durable(record: ExtensionRecord, evidence: Option<Evidence>) -> Self {
        let (tip, ticket) = (record.tip(), Ticket(0));
        Self { record, tip, is_durable: true, ticket, quorum: Quorum::default(), evidence, is_sent: false }
    }
}

impl Outbound {
    pub fn new(lane: LaneIdentity, peer: PeerId, committee: CommitteeKey, recovered: RecoveredFlow) -> Self {
        let flow = recovered.flow;
        let mut evidence: BTreeMap<Index, Evidence> =
            recovered.evidence.into_iter().map(|evidence| (evidence.point.index, evidence)).collect();
        let queue = recovered.outstanding.into_iter().map(|record| {
            let evidence = evidence.remove(&record.tip().index);
            Outgoing::durable(record, evidence)
        });
        Self {
            flow,
            lane,
            peer,
            committee,
            verified: recovered.tip,
            durable: recovered.tip,
            accepted: recovered.peer_accepted,
            queue: queue.collect(),
            sent: Sent {
                unsettled: recovered.unsettled.into_iter().map(|message| (message.index, message)).collect(),
                ..Sent::default()
            },
            is_observing: false,
            next_observe: UnixMillis(0),
            tries: 0,
            short_since: None,
            hint: recovered.tip.index,
            checkpoint: None,
            next_send: UnixMillis(0),
            send_tries: 0,
            asking: Asking::default(),
            is_in_dispute: false,
            resending: Resending::default(),
        }
    }

    pub fn forget_session(&mut self, peer: PeerId) {
        if peer == self.peer {
            self.queue.iter_mut().for_each(|out| out.is_sent = false);
        }
        self.asking.forget(peer);
        self.queue.iter_mut().for_each(|out| out.quorum.forget_asking(peer));
    }

    /// Whether so much waits for the peer that nothing more is read from our chain: it keeps what it holds.
    fn is_full(&self, limits: &Limits) -> bool {
        self.queue.is_full(limits.outbound_window, limits.outbound_bytes)
    }

    /// Ends an observation; the next one comes after a failure's wait, at once, or when there is news.
    pub fn observed(&mut self, io: &mut Io, next: Next) {
        self.is_observing = false;
        match next {
            Next::Now => {
                self.tries = 0;
                self.next_observe = io.now;
            }
            Next::At(at) => {
                self.tries = 0;
                self.next_observe = at;
            }
            Next::AfterFailure => {
                self.tries = self.tries.saturating_add(1);
                self.next_observe = io.backoff(self.tries);
            }
        }
    }

    /// Forgets every wait after a failure.
    pub fn forget_waits(&mut self, now: UnixMillis) {
        (self.tries, self.next_observe) = (0, now);
        (self.send_tries, self.next_send) = (0, now);
        self.queue.iter_mut().for_each(|outgoing| outgoing.quorum.forget_waits());
    }

    /// Lets the next observation begin at once; one that is under way is answered first.
    pub fn observe_now(&mut self, io: &Io) {
        self.short_since = None;
        self.next_observe = io.now;
    }

    /// Looks for news now, unless the wait is one after a failure.
    pub fn hurry(&mut self, now: UnixMillis) {
        if self.tries == 0 {
            self.next_observe = self.next_observe.min(now);
        }
    }

    /// Whether the nodes have failed so often in a row that it is no accident.
    pub const fn is_failing(&self) -> bool {
        self.tries >= FAILURES_IN_ROW
    }

    fn outgoing(&mut self, index: Index) -> Option<&mut Outgoing> {
        self.queue.iter_mut().find(|out| out.tip.index == index)
    }

    /// The end of what is durable without a gap.
    pub fn durable_end(&self) -> ChainPoint {
        let whole = self.queue.iter().take_while(|outgoing| outgoing.is_durable);
        whole.last().map_or(self.accepted, |outgoing| outgoing.tip)
    }

    /// Our head at `index`, where the queue still knows it.
    fn point_at(&self, index: Index) -> Option<ChainPoint> {
        if index == self.accepted.index {
            return Some(self.accepted);
        }
        self.queue.iter().find(|out| out.tip.index >= index).and_then(|out| out.record.point_at(index))
    }
}

impl Outgoing {
    pub fn unsigned(&mut self) -> Unsigned<'_> {
        Unsigned { record: &self.record, tip: self.tip, quorum: &mut self.quorum }
    }
}

pub(super) enum Next {
    Now,
    At(UnixMillis),
    AfterFailure,
}

impl Machine {
    /// Does whatever is due for an outbound flow.
    pub(super) fn advance_outbound(&mut self, flow: Flow) {
        self.start_observing(flow);
        self.ask_attesters(flow);
        self.send_extensions(flow);
    }

    /// When time alone lets an outbound flow go on.
    pub(super) fn outbound_due(&self, out: &Outbound) -> Option<UnixMillis> {
        let observe = self.can_observe(out).then_some(out.next_observe);
        let committee = self.committees.get(&out.committee);
        let ask = committee.filter(|_| !self.is_paused(out.flow)).and_then(|_| {
            let unsigned = out.queue.iter().filter(|outgoing| outgoing.is_durable && outgoing.evidence.is_none());
            unsigned.take(ASKED_AT_ONCE).filter_map(|outgoing| outgoing.quorum.next_due()).min()
        });
        earliest(earliest(observe, ask), self.send_due(out))
    }

    /// When the next unsent extension may be tried: it is attested, and the peer is there to take it or its headers.
    fn send_due(&self, out: &Outbound) -> Option<UnixMillis> {
        if self.is_paused(out.flow) {
            return None;
        }
        let next = out.queue.iter().take(self.io.limits.send_window).find(|outgoing| !outgoing.is_sent)?;
        let peer = self.peers.get(&out.peer).filter(|peer| peer.is_ready && next.evidence.is_some())?;
        let domain = out.lane.origin(out.flow.direction).domain;
        Some(out.next_send.max(peer.feeding_due(domain, next.record.proved_at)?))
    }

    fn can_observe(&self, out: &Outbound) -> bool {
        let client = self.clients.get(&out.lane.origin(out.flow.direction).domain);
        !out.is_observing
            && (!out.is_full(&self.io.limits) || out.resending.is_behind(out.verified.index))
            && client.is_some_and(|client| !client.is_frozen() && client.header_range().is_some())
    }

    pub(super) fn start_observing(&mut self, flow: Flow) {
        let can_observe = self.outbound.get(&flow).is_some_and(|out| self.can_observe(out));
        let is_paused = self.is_paused(flow);
        let Some(out) = self.outbound.get_mut(&flow).filter(|_| can_observe) else { return };
        if out.next_observe <= self.io.now {
            out.is_observing = true;
            // What waits behind a pause is seen, and nothing more.
            let again = out.resending.next(flow, out.verified.index, &self.io.limits).filter(|_| !is_paused);
            self.io.push(again.unwrap_or(Effect::ReadHint { flow }));
        }
    }

    pub(super) fn on_hint_read(&mut self, flow: Flow, answer: Fetched<ChainPoint>) {
        let is_paused = self.is_paused(flow);
        let Some(out) = self.outbound.get_mut(&flow) else { return };
        let Some(client) = self.clients.get(&out.lane.origin(flow.direction).domain) else { return };
        let idle = self.io.after(client.setup.poll_interval);
        let hint = match answer {
            Fetched::Some(hint) => hint,
            Fetched::Nothing => return out.observed(&mut self.io, Next::At(idle)),
            Fetched::Failed => return out.observed(&mut self.io, Next::AfterFailure),
        };
        out.hint = hint.index;
        let waiting = distance(out.verified.index, hint.index);
        if waiting == 0 || is_paused {
            out.short_since = None;
            return out.observed(&mut self.io, Next::At(idle));
        }
        let since = *out.short_since.get_or_insert(self.io.now);
        let until = UnixMillis(since.0.saturating_add(millis(self.io.limits.batch_delay)));
        if waiting < self.io.limits.batch_entries && self.io.now < until {
            return out.observed(&mut self.io, Next::At(until));
        }
        let Some((oldest, newest)) = client.header_range() else {
            return out.observed(&mut self.io, Next::At(idle));
        };
        self.io.push(Effect::Observe(ObserveRequest {
            flow,
            base: out.verified,
            oldest,
            newest,
            max_entries: self.io.limits.batch_entries,
            max_bytes: self.io.limits.batch_bytes,
            max_gas: self.io.limits.batch_gas,
        }));
    }

    pub(super) fn on_observed(&mut self, flow: Flow, answer: Fetched<Observation>) {
        let Some(out) = self.outbound.get_mut(&flow) else { return };
        let origin = out.lane.origin(flow.direction);
        let Some(client) = self.clients.get(&origin.domain) else { return };
        match answer {
            // Asked before an append failed: what it follows is not held any more.
            Fetched::Some(Observation::Claim(claim)) if claim.first != out.verified.index.next() => {
                out.is_observing = false;
                self.start_observing(flow);
            }
            Fetched::Some(Observation::Claim(claim)) => {
                let Some(header) = client.headers.get(&claim.height).cloned() else {
                    return out.observed(&mut self.io, Next::AfterFailure);
                };
                self.io.push(Effect::VerifyClaim(Box::new(ClaimCheck {
                    origin: ClaimOrigin::Observer,
                    lane: out.lane.clone(),
                    base: out.verified,
                    header,
                    claim,
                    evidence: None,
                })));
            }
            Fetched::Some(Observation::NeedsCheckpoint) => {
                let next = self.io.after(self.io.limits.track_interval);
                out.observed(&mut self.io, Next::At(next));
                if out.checkpoint.is_none() {
                    let call = GatewayCall::Checkpoint { gateway: origin.gateway, flow };
                    let job = self.start_job(origin.domain, Purpose::Checkpoint { flow }, call);
                    if let Some(out) = self.outbound.get_mut(&flow) {
                        out.checkpoint = job;
                    }
                }
            }
            Fetched::Nothing => {
                // The head is newer than the last verified header: the next header brings it.
                let next = self.io.after(client.setup.poll_interval);
                out.observed(&mut self.io, Next::At(next));
            }
            Fetched::Failed => out.observed(&mut self.io, Next::AfterFailure),
        }
    }

    pub(super) fn own_claim_verified(&mut self, claim: Claim, result: Result<VerifiedExtension, ClaimRefusal>) {
        let flow = claim.flow;
        let Some(out) = self.outbound.get_mut(&flow) else { return };
        let extension = match result {
            Ok(extension) if extension.base() == out.verified => extension,
            // Verified while an append before it failed.
            Ok(_) => {
                out.is_observing = false;
                return self.start_observing(flow);
            }
            Err(refusal) => {
                self.io.report(Report::ClaimRefused { flow, peer: None, refusal });
                return out.observed(&mut self.io, Next::AfterFailure);
            }
        };
        let tip = extension.tip();
        let client = self.clients.get(&out.lane.origin(flow.direction).domain);
        let time = client.and_then(|client| client.headers.get(&claim.height)).map(|header| header.header().timestamp);
        let record = extension_record(&extension, claim, time.unwrap_or(self.io.now), self.io.now);
        out.verified = tip;
        out.short_since = None;
        let ticket = self.io.append(vec![Record::Extension(record.clone())], After::Outbound { flow, tip });
        out.queue.push_back(Outgoing {
            record,
            tip,
            is_durable: false,
            ticket,
            quorum: Quorum::default(),
            evidence: None,
            is_sent: false,
        });
        out.observed(&mut self.io, Next::Now);
        self.start_observing(flow);
    }

    /// The last message of a flow's lane whose outcome is settled on our chain.
    pub(super) fn settled(&self, flow: Flow) -> Index {
        let inbox = Flow { direction: Direction::Inbox, ..flow };
        self.inbound.get(&inbox).map_or(Index(0), |inbox| inbox.done.index)
    }

    pub(super) fn outbound_is_durable(&mut self, flow: Flow, tip: ChainPoint) {
        let settled = self.settled(flow);
        let Some(out) = self.outbound.get_mut(&flow) else { return };
        // What was on its way to the disk when the peer fell back is read from there later.
        let Some(outgoing) = out.queue.iter_mut().find(|outgoing| outgoing.tip == tip && !outgoing.is_durable) else {
            return;
        };
        outgoing.is_durable = true;
        let count = outgoing.record.entries.len();
        out.sent.note(&outgoing.record, settled);
        out.durable = out.durable_end();
        self.io.report(Report::Journalled { flow, tip, count });
        if let Some(ahead) = out.resending.reached(tip.index) {
            let peer = out.peer;
            return self.on_peer_accepted(peer, flow, ahead);
        }
        self.ask_attesters(flow);
    }

    /// After an append about this flow failed for good: forget what is not durable and look again.
    pub(super) fn outbound_append_failed(&mut self, flow: Flow, ticket: Ticket) {
        let Some(out) = self.outbound.get_mut(&flow) else { return };
        // What followed in the queue was built on it: it fails as well, or is read from the journal again. By then the queue may
        // hold newer tries.
        if out.queue.iter().any(|outgoing| !outgoing.is_durable && outgoing.ticket == ticket) {
            let whole = out.queue.iter().take_while(|outgoing| outgoing.is_durable).count();
            out.queue.truncate(whole);
            out.durable = out.durable_end();
            out.verified = out.durable;
            // An observation under way is answered in vain; the next one waits until then.
            out.tries = out.tries.saturating_add(1);
            out.next_observe = self.io.backoff(out.tries);
        }
    }

    /// The signatures of a head could not be made durable: collect them again.
    pub(super) fn attested_append_failed(&mut self, flow: Flow, index: Index) {
        if let Some(outgoing) = self.outbound.get_mut(&flow).and_then(|out| out.outgoing(index)) {
            outgoing.quorum = Quorum::default();
        }
    }

    /// Asks every attester for the heads that lack signatures.
    pub(super) fn ask_attesters(&mut self, flow: Flow) {
        if self.is_paused(flow) {
            return;
        }
        let Some(out) = self.outbound.get(&flow) else { return };
        let Some(committee) = self.committees.get(&out.committee) else { return };
        let attesters = self.attesters_of(committee);
        let Some(out) = self.outbound.get_mut(&flow) else { return };
        let unsigned = out.queue.iter_mut().filter(|outgoing| outgoing.is_durable && outgoing.evidence.is_none());
        let unsigned = unsigned.map(Outgoing::unsigned);
        out.asking.ask(&mut self.io, committee.epoch(), &attesters, unsigned);
    }

    pub(super) fn outbound_is_attested(&mut self, flow: Flow, evidence: Evidence) {
        let Some(out) = self.outbound.get_mut(&flow) else { return };
        if let Some(outgoing) = out.outgoing(evidence.point.index) {
            let point = evidence.point;
            let millis = outgoing.quorum.millis_since_asked(self.io.now);
            outgoing.evidence = Some(evidence);
            self.io.report(Report::Attested { flow, point, millis });
        }
        self.ask_attesters(flow);
        self.send_extensions(flow);
    }

    /// Sends attested extensions in order, as far as the window and the peer's light client go.
    pub(super) fn send_extensions(&mut self, flow: Flow) {
        if self.is_paused(flow) {
            return;
        }
        let Some(out) = self.outbound.get_mut(&flow) else { return };
        let Some(peer) = self.peers.get_mut(&out.peer) else { return };
        if !peer.is_ready || out.next_send > self.io.now {
            return;
        }
        let domain = out.lane.origin(flow.direction).domain;
        for outgoing in out.queue.iter_mut().take(self.io.limits.send_window) {
            if outgoing.is_sent {
                continue;
            }
            let Some(evidence) = outgoing.evidence.clone() else { break };
            if !peer.reaches(&mut self.io, domain, outgoing.record.proved_at) {
                break;
            }
            outgoing.is_sent = true;
            let frame = Frame::Extension { claim: outgoing.record.claim(), evidence: vec![evidence] };
            self.io.push(Effect::Send { peer: out.peer, frame });
        }
    }

    /// The peer holds the flow up to `point`, durably.
    pub(super) fn on_peer_accepted(&mut self, peer: PeerId, flow: Flow, point: ChainPoint) {
        let Some(out) = self.outbound.get_mut(&flow) else { return };
        if out.peer != peer || point.index <= out.accepted.index {
            return;
        }
        // What is not durable here yet stays in the queue, where nothing would take it out any more.
        let ours = if point.index <= out.durable.index { out.point_at(point.index) } else { None };
        match ours {
            Some(ours) if ours == point => {}
            // Ahead of our own journal, which is an older one: compared once we are there.
            None => return out.resending.note_ahead(point),
            Some(ours) => {
                if !core::mem::replace(&mut out.is_in_dispute, true) {
                    self.io.report(Report::AuditDifference { flow, ours, theirs: point });
                }
                return;
            }
        }
        out.is_in_dispute = false;
        out.accepted = point;
        out.send_tries = 0;
        while out.queue.pop_front_if(|outgoing| outgoing.is_durable && outgoing.tip.index <= point.index).is_some() {}
        self.io.append(vec![Record::PeerAccepted { flow, point, at: self.io.now }], After::Nothing);
        self.advance_outbound(flow);
    }

    /// The peer or an attester does not take something that we sent.
    pub(super) fn on_declined(&mut self, peer: PeerId, declined: Declined) {
        self.io.report(Report::Declined { peer, declined });
        let is_attester = self.peers.get(&peer).is_some_and(|known| known.setup.role == Role::Attester);
        if is_attester && declined.reason == DeclineReason::Mute {
            self.on_attester_forgot(peer, declined.flow, declined.index);
        }
        let Some(out) = self.outbound.get_mut(&declined.flow) else { return };
        if peer != out.peer {
            // An attester: it is asked again after the usual wait, or at once when it said where it stands.
            return;
        }
        // Whatever index the peer names, all that it has not accepted is sent again; the declines of those that were on
        // their way behind the first one are no further failures.
        let mut was_sent = false;
        for outgoing in out.queue.iter_mut() {
            was_sent |= core::mem::take(&mut outgoing.is_sent);
        }
        if was_sent {
            out.send_tries = out.send_tries.saturating_add(1);
            out.next_send = self.io.backoff(out.send_tries);
        }
        // Once for what was sent: whoever says it again costs the attesters nothing.
        if was_sent && declined.reason == DeclineReason::Evidence {
            let stale = out.queue.iter_mut().filter(|outgoing| outgoing.tip.index >= declined.index);
            for outgoing in stale {
                outgoing.evidence = None;
                outgoing.quorum = Quorum::default();
            }
            self.ask_attesters(declined.flow);
        }
    }
}

fn millis(duration: core::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
