//! The attester's desk: requests are verified, the chain is made durable, then the head is signed.

use std::collections::VecDeque;

use crate::attestation::{SignatureBytes, Statement};
use crate::chain::ChainPoint;
use crate::claim::Claim;
use crate::frame::{DeclineReason, Declined, Frame};
use crate::ids::{Epoch, Index, UnixMillis};
use crate::lane::{Flow, LaneIdentity};
use crate::light_client::ProofStrength;
use crate::machine::client::Client;
use crate::machine::config::PeerId;
use crate::machine::effect::{ClaimCheck, Effect, Report};
use crate::machine::input::{ClaimOrigin, ClaimRefusal};
use crate::machine::io::{After, Io};
use crate::machine::status::WaitReason;
use crate::machine::{Machine, extension_record};
use crate::record::Record;
use crate::recovery::RecoveredFlow;
use crate::set_attestation::{Attestable, SetEvidence};
use crate::verify::VerifiedExtension;

/// Requests of one flow and peer that may wait; more are declined as busy.
const MAX_WAITING_REQUESTS: usize = 256;

#[derive(Debug)]
pub(super) struct Desk {
    pub flow: Flow,
    pub lane: LaneIdentity,
    pub durable: ChainPoint,
    waiting: VecDeque<Request>,
    work: Option<Work>,
    next_try: UnixMillis,
    tries: u32,
}

#[derive(Clone, Debug)]
struct Request {
    peer: PeerId,
    claim: Claim,
    index: Index,
    epoch: Epoch,
}

/// The request under way: one at a time, so that each sees the chain that the one before left.
#[derive(Debug)]
struct Work {
    request: Request,
    /// Verified, waiting for the own node.
    extension: Option<Box<VerifiedExtension>>,
}

impl Desk {
    pub fn new(lane: LaneIdentity, recovered: &RecoveredFlow) -> Self {
        Self {
            flow: recovered.flow,
            lane,
            durable: recovered.tip,
            waiting: VecDeque::new(),
            work: None,
            next_try: UnixMillis(0),
            tries: 0,
        }
    }

    /// Forgets the wait after a failure.
    pub const fn forget_waits(&mut self, now: UnixMillis) {
        self.tries = 0;
        self.next_try = now;
    }

    /// Whether something can be done about a request now. One whose header our own node has not brought or confirmed yet
    /// waits for it, and holds up nobody else's.
    fn is_actionable(&self, client: &Client, request: &Request) -> bool {
        client.is_frozen()
            || request.index <= self.durable.index
            || request.claim.first > self.durable.index.next()
            || request.claim.height <= client.confirmed_height()
    }

    fn take_actionable(&mut self, client: &Client) -> Option<Request> {
        let at = self.waiting.iter().position(|request| self.is_actionable(client, request))?;
        self.waiting.remove(at)
    }

    pub fn forget_session(&mut self, peer: PeerId) {
        self.waiting.retain(|request| request.peer != peer);
    }

    /// The highest index that somebody asks about.
    pub fn asked(&self) -> Index {
        let under_way = self.work.iter().map(|work| work.request.index);
        self.waiting.iter().map(|request| request.index).chain(under_way).max().unwrap_or_default()
    }

    /// What the requests wait for.
    pub fn waits_for(&self, client: &Client) -> WaitReason {
        let has_work = self.work.is_some();
        if !has_work && self.waiting.is_empty() {
            WaitReason::Idle
        } else if self.tries > 0 {
            WaitReason::Retry
        } else if has_work || self.waiting.iter().any(|request| self.is_actionable(client, request)) {
            WaitReason::Idle
        } else {
            WaitReason::Header
        }
    }

    fn decline(&self, io: &mut Io, request: &Request, reason: DeclineReason) {
        let declined = Declined { flow: self.flow, index: request.index, reason };
        io.push(Effect::Send { peer: request.peer, frame: Frame::Declined(declined) });
    }

    fn statement(&self, point: ChainPoint, epoch: Epoch) -> Statement {
        Statement { flow: self.flow, point, epoch, verifying: self.lane.target(self.flow.direction) }
    }
}

impl Machine {
    /// When time alone lets a desk go on.
    pub(super) fn desk_due(&self, desk: &Desk) -> Option<UnixMillis> {
        let client = self.clients.get(&desk.lane.origin(desk.flow.direction).domain)?;
        let is_due = desk.work.is_none()
            && !self.is_paused(desk.flow)
            && desk.waiting.iter().any(|request| desk.is_actionable(client, request));
        is_due.then_some(desk.next_try)
    }

    pub(super) fn on_attest_request(&mut self, peer: PeerId, claim: Claim, index: Index, epoch: Epoch) {
        let flow = claim.flow;
        let is_paused = self.is_paused(flow);
        let request = Request { peer, claim, index, epoch };
        let Some(desk) = self.desks.get_mut(&flow) else {
            let declined = Declined { flow, index, reason: DeclineReason::UnknownLane };
            return self.io.push(Effect::Send { peer, frame: Frame::Declined(declined) });
        };
        if is_paused {
            return desk.decline(&mut self.io, &request, DeclineReason::Paused);
        }
        if desk.waiting.iter().filter(|other| other.peer == peer).count() >= MAX_WAITING_REQUESTS {
            return desk.decline(&mut self.io, &request, DeclineReason::Busy);
        }
        // The same question once more replaces the one that waits.
        desk.waiting.retain(|other| (other.peer, other.index, other.epoch) != (peer, index, epoch));
        desk.waiting.push_back(request);
        self.advance_desk(flow);
    }

    pub(super) fn advance_desk(&mut self, flow: Flow) {
        if self.is_paused(flow) {
            return;
        }
        let Some(desk) = self.desks.get_mut(&flow) else { return };
        let Some(client) = self.clients.get(&desk.lane.origin(flow.direction).domain) else { return };
        while desk.work.is_none() && desk.next_try <= self.io.now {
            let Some(mut request) = desk.take_actionable(client) else { return };
            if client.is_frozen() {
                desk.decline(&mut self.io, &request, DeclineReason::Unconfirmed);
                continue;
            }
            if request.index <= desk.durable.index {
                let index = request.index;
                desk.work = Some(Work { request, extension: None });
                return self.io.push(Effect::ReadPoint { flow, index });
            }
            let durable = desk.durable.index;
            if request.claim.first > durable.next() {
                desk.decline(&mut self.io, &request, DeclineReason::Gap);
                Self::tell_accepted(&mut self.io, request.peer, flow, desk.durable);
                continue;
            }
            let Some(header) = client.headers.get(&request.claim.height).cloned() else {
                desk.decline(&mut self.io, &request, DeclineReason::UnknownHeader);
                continue;
            };
            request.claim.entries.retain(|entry| entry.index() > durable);
            request.claim.first = durable.next();
            let claim = request.claim.clone();
            let origin = ClaimOrigin::Requester(request.peer);
            let (lane, base) = (desk.lane.clone(), desk.durable);
            desk.work = Some(Work { request, extension: None });
            let check = ClaimCheck { origin, lane, base, header, claim, evidence: None };
            return self.io.push(Effect::VerifyClaim(Box::new(check)));
        }
    }

    pub(super) fn requested_claim_verified(&mut self, claim: Claim, result: Result<VerifiedExtension, ClaimRefusal>) {
        let flow = claim.flow;
        let Some(desk) = self.desks.get_mut(&flow) else { return };
        let Some(client) = self.clients.get(&desk.lane.origin(flow.direction).domain) else { return };
        let Some(work) = &mut desk.work else { return };
        match result {
            Ok(extension) => {
                let strength = extension.strength();
                let header = client.headers.get(&extension.proved_at()).cloned();
                work.extension = Some(Box::new(extension.clone()));
                match (strength, header) {
                    (ProofStrength::Conclusive, _) => self.desk_confirmed(flow),
                    (ProofStrength::NeedsLocalConfirmation, Some(header)) => {
                        let proof = claim.proof;
                        self.io.push(Effect::Confirm { header, extension: Box::new(extension), proof });
                    }
                    (ProofStrength::NeedsLocalConfirmation, None) => {
                        self.desk_failed(flow, DeclineReason::UnknownHeader)
                    }
                }
            }
            Err(refusal) => {
                let peer = Some(work.request.peer);
                self.io.report(Report::ClaimRefused { flow, peer, refusal });
                self.desk_failed(flow, DeclineReason::Refused);
            }
        }
    }

    pub(super) fn on_confirmed(&mut self, flow: Flow, agrees: Option<bool>) {
        match agrees {
            Some(true) => self.desk_confirmed(flow),
            Some(false) => self.desk_failed(flow, DeclineReason::Unconfirmed),
            None => {
                // Not executed there yet, or the node is away: the same request again, after a wait.
                let Some(desk) = self.desks.get_mut(&flow) else { return };
                if let Some(work) = desk.work.take() {
                    desk.tries = desk.tries.saturating_add(1);
                    desk.next_try = self.io.backoff(desk.tries);
                    desk.waiting.push_front(work.request);
                }
            }
        }
    }

    /// Everything is checked: make the chain and the sign-once record durable, then sign.
    fn desk_confirmed(&mut self, flow: Flow) {
        let Some(desk) = self.desks.get_mut(&flow) else { return };
        let client = self.clients.get(&desk.lane.origin(flow.direction).domain);
        let Some(work) = &mut desk.work else { return };
        let Some(extension) = work.extension.take() else { return };
        let (peer, index, epoch) = (work.request.peer, work.request.index, work.request.epoch);
        let claim = work.request.claim.clone();
        desk.tries = 0;
        let tip = extension.tip();
        let point = extension.points().iter().find(|point| point.index == index).copied().unwrap_or(tip);
        let time = client.and_then(|client| client.headers.get(&extension.proved_at()));
        let time = time.map_or(self.io.now, |header| header.header().timestamp);
        let record = extension_record(&extension, claim, time, self.io.now);
        let statement = desk.statement(point, epoch);
        let signed = Record::Signed { flow, point, epoch };
        self.io.append(vec![Record::Extension(record), signed], After::MaySign { flow, tip, statement, peer });
    }

    /// The head held at an index that was verified before.
    pub(super) fn on_point_read(&mut self, flow: Flow, index: Index, point: Option<ChainPoint>) {
        let Some(desk) = self.desks.get_mut(&flow) else { return self.stated_point_read(flow, index, point) };
        let Some(work) = desk.work.as_ref().filter(|work| work.request.index == index) else { return };
        let Some(point) = point else {
            return self.desk_failed(flow, DeclineReason::Gap);
        };
        let statement = desk.statement(point, work.request.epoch);
        let peer = work.request.peer;
        let signed = Record::Signed { flow, point, epoch: statement.epoch };
        let tip = desk.durable;
        self.io.append(vec![signed], After::MaySign { flow, tip, statement, peer });
    }

    pub(super) fn may_sign(&mut self, flow: Flow, tip: ChainPoint, statement: Statement, peer: PeerId) {
        if let Some(desk) = self.desks.get_mut(&flow) {
            desk.durable = tip;
            desk.work = None;
            self.io.push(Effect::Sign { what: Attestable::Head(statement), peer });
            self.advance_desk(flow);
        }
    }

    pub(super) fn on_signed(&mut self, what: &Attestable, peer: PeerId, signature: Option<SignatureBytes>) {
        let frame = match (*what, signature) {
            (Attestable::Head(Statement { flow, point, epoch, .. }), Some(signature)) => {
                Frame::Attestation { flow, point, epoch, signature }
            }
            (Attestable::Head(Statement { flow, point, .. }), None) => {
                Frame::Declined(Declined { flow, index: point.index, reason: DeclineReason::Mute })
            }
            (Attestable::Set(attestation), Some(signature)) => {
                let Ok(signer) = signature.signer(what.digest()) else { return };
                Frame::SetAttested(SetEvidence { attestation, signatures: [(signer, signature)].into() })
            }
            // Whoever asked asks again.
            (Attestable::Set(_), None) => return,
        };
        self.io.push(Effect::Send { peer, frame });
    }

    /// Ends the request under way without a signature.
    pub(super) fn desk_failed(&mut self, flow: Flow, reason: DeclineReason) {
        let Some(desk) = self.desks.get_mut(&flow) else { return };
        if let Some(work) = desk.work.take() {
            desk.decline(&mut self.io, &work.request, reason);
        }
        self.advance_desk(flow);
    }
}
