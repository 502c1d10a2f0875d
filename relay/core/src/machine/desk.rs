//! The attester's desk: requests are verified, the chain is made durable, then the head is signed.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use crate::attestation::{SignatureBytes, Statement};
use crate::chain::{ChainPoint, Entry};
use crate::claim::Claim;
use crate::frame::{DeclineReason, Declined, Frame};
use crate::gateway_call::Evidence;
use crate::ids::{Epoch, Index, UnixMillis};
use crate::lane::{Flow, LaneIdentity};
use crate::light_client::ProofStrength;
use crate::machine::client::Client;
use crate::machine::config::PeerId;
use crate::machine::effect::{ClaimCheck, Effect, Report};
use crate::machine::input::{ClaimOrigin, ClaimRefusal};
use crate::machine::io::{After, Io};
use crate::machine::memory::{Lost, Reach};
use crate::machine::status::WaitReason;
use crate::machine::under_way::UnderWay;
use crate::machine::{Machine, extension_record};
use crate::record::Record;
use crate::recovery::RecoveredFlow;
use crate::set_attestation::{Attestable, SetEvidence};
use crate::verify::VerifiedExtension;

/// Requests of one flow and peer that may wait; more are declined as busy.
const MAX_WAITING_REQUESTS: usize = 256;

/// Bytes, roughly, that they may take: several of the largest that an honest relay sends. A larger one passes while nothing
/// else of its peer waits at any desk.
const MAX_WAITING_BYTES: usize = 4 << 20;

/// Signatures of one flow that may be under way for one peer; its further requests wait.
const MAX_SIGNING: usize = 32;

#[derive(Debug)]
pub(super) struct Desk {
    pub flow: Flow,
    pub lane: LaneIdentity,
    pub durable: ChainPoint,
    waiting: VecDeque<Request>,
    work: Option<Work>,
    /// Whose request was taken last: peers take turns.
    served: PeerId,
    /// Signatures under way, by who asked.
    signing: UnderWay,
    next_try: UnixMillis,
    tries: u32,
    /// What was signed and is not on our chain yet.
    pub lost: Lost,
    /// When the signer last signed nothing that it was asked for.
    unsigned_at: Option<UnixMillis>,
}

#[derive(Clone, Debug)]
struct Request {
    peer: PeerId,
    claim: Claim,
    index: Index,
    epoch: Epoch,
    /// In place of a signature it brings what we signed.
    reminder: Option<Vec<Evidence>>,
    /// Bytes, roughly.
    weight: usize,
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
            served: PeerId(0),
            signing: UnderWay::default(),
            next_try: UnixMillis(0),
            tries: 0,
            lost: Lost::default(),
            unsigned_at: None,
        }
    }

    /// Whether the signer was asked in vain not longer ago than that. Who wants the signature asks again more often.
    pub fn was_unsigned_since(&self, now: UnixMillis, ago: Duration) -> bool {
        let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        self.unsigned_at.is_some_and(|at| now.0.saturating_sub(at.0) <= ago)
    }

    /// Forgets the wait after a failure.
    pub const fn forget_waits(&mut self, now: UnixMillis) {
        self.tries = 0;
        self.next_try = now;
    }

    /// Whether something can be done about a request now. One whose header our own node has not brought or confirmed yet
    /// waits for it, and holds up nobody else's.
    fn is_actionable(&self, client: &Client, request: &Request) -> bool {
        let is_decidable = client.is_frozen()
            || request.index <= self.durable.index
            || request.claim.first > self.durable.index.next()
            || request.claim.height <= client.confirmed_height();
        is_decidable && self.signing.count(request.peer) < MAX_SIGNING
    }

    /// The next request, of the next peer in turn: however many one of them queues, each other one waits for one of them.
    fn take_actionable(&mut self, client: &Client) -> Option<Request> {
        let actionable = self.waiting.iter().enumerate().filter(|(_, request)| self.is_actionable(client, request));
        let (at, _) = actionable.min_by_key(|(at, request)| (request.peer <= self.served, request.peer, *at))?;
        let request = self.waiting.remove(at)?;
        self.served = request.peer;
        Some(request)
    }

    /// Whether one more request of a peer may wait, as far as this desk goes.
    fn has_room(&self, peer: PeerId, weight: usize) -> bool {
        let (count, bytes) = self.load_of(peer);
        count < MAX_WAITING_REQUESTS && bytes.saturating_add(weight) <= MAX_WAITING_BYTES
    }

    /// How many requests of a peer wait, and what they weigh.
    fn load_of(&self, peer: PeerId) -> (usize, usize) {
        let waiting = self.waiting.iter().filter(|request| request.peer == peer);
        waiting.fold((0, 0), |(count, bytes), request| (count + 1, bytes.saturating_add(request.weight)))
    }

    /// Queues a piece of our chain that a relay shows us because we forgot it; nothing is to be signed for it.
    pub fn take_piece(&mut self, peer: PeerId, claim: Claim, evidence: Vec<Evidence>) {
        let Some(last) = claim.entries.last().map(Entry::index) else { return };
        // A later word of the same relay takes the place of the earlier one.
        self.waiting.retain(|other| other.peer != peer || other.reminder.is_none());
        let epoch = evidence.last().map_or(Epoch(0), |evidence| evidence.epoch);
        let weight = claim.weight();
        self.waiting.push_back(Request { peer, claim, index: last, epoch, reminder: Some(evidence), weight });
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
        let weight = claim.weight();
        let request = Request { peer, claim, index, epoch, reminder: None, weight };
        let is_alone = weight > MAX_WAITING_BYTES && self.desks.values().all(|desk| desk.load_of(peer).0 == 0);
        let Some(desk) = self.desks.get_mut(&flow) else {
            let declined = Declined { flow, index, reason: DeclineReason::UnknownLane };
            return self.io.push(Effect::Send { peer, frame: Frame::Declined(declined) });
        };
        if is_paused {
            return desk.decline(&mut self.io, &request, DeclineReason::Paused);
        }
        // The same question once more replaces the one that waits.
        desk.waiting
            .retain(|other| other.reminder.is_some() || (other.peer, other.index, other.epoch) != (peer, index, epoch));
        if !is_alone && !desk.has_room(peer, weight) {
            return desk.decline(&mut self.io, &request, DeclineReason::Busy);
        }
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
            if desk.lost.is_contradicted() {
                desk.decline(&mut self.io, &request, DeclineReason::Mute);
                continue;
            }
            if request.index <= desk.durable.index {
                if request.reminder.is_some() {
                    continue;
                }
                if desk.lost.is_mute() {
                    desk.decline(&mut self.io, &request, DeclineReason::Mute);
                    continue;
                }
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
        let (claim, reminder) = (work.request.claim.clone(), work.request.reminder.clone());
        desk.tries = 0;
        let tip = extension.tip();
        let point = extension.points().iter().find(|point| point.index == index).copied().unwrap_or(tip);
        let time = client.and_then(|client| client.headers.get(&extension.proved_at()));
        let time = time.map_or(self.io.now, |header| header.header().timestamp);
        let record = extension_record(&extension, claim, time, self.io.now);
        let statement = desk.statement(point, epoch);
        let mut records = vec![Record::Extension(record)];
        match desk.lost.reach(tip, extension.points().iter().copied()) {
            Reach::Whole if reminder.is_none() => {}
            Reach::Whole | Reach::Short => return self.merge(flow, tip, records, reminder, extension.points()),
            Reach::Mark(mark) => {
                // That it was signed is known from outside of the journal; for which epoch is not.
                records.push(Record::Signed { flow, point: mark, epoch: Epoch(0) });
                if reminder.is_some() {
                    return self.merge(flow, tip, records, reminder, extension.points());
                }
            }
            Reach::Contradicted { ours, signed } => {
                let theirs = Evidence { point: signed, epoch: Epoch(0), signatures: BTreeMap::new() };
                self.contradicts_itself(flow, ours, theirs);
                return self.desk_failed(flow, DeclineReason::Mute);
            }
        }
        records.push(Record::Signed { flow, point, epoch });
        self.io.append(records, After::MaySign { flow, tip, statement, peer });
    }

    /// Makes a piece of our chain durable, and the sign-once records of what we signed on it, without signing.
    fn merge(
        &mut self,
        flow: Flow,
        tip: ChainPoint,
        mut records: Vec<Record>,
        reminder: Option<Vec<Evidence>>,
        points: &[ChainPoint],
    ) {
        let Some(desk) = self.desks.get(&flow) else { return };
        match self.own_signatures(desk, &reminder.unwrap_or_default(), points) {
            Ok(signed) => records.extend(signed),
            Err((ours, theirs)) => {
                self.contradicts_itself(flow, ours, theirs);
                return self.desk_failed(flow, DeclineReason::Mute);
            }
        }
        self.io.append(records, After::Merged { flow, tip });
    }

    /// A piece of what we forgot is durable. Who asked for a signature meanwhile asks again.
    pub(super) fn is_merged(&mut self, flow: Flow, tip: ChainPoint) {
        let Some(desk) = self.desks.get_mut(&flow) else { return };
        desk.durable = tip;
        desk.lost.stands_at(tip.index);
        let is_mute = desk.lost.is_mute();
        match desk.work.take() {
            Some(work) if work.request.reminder.is_none() => {
                desk.decline(&mut self.io, &work.request, DeclineReason::Mute);
            }
            _ => {}
        }
        if is_mute {
            self.ask_for_more(flow);
        }
        self.advance_desk(flow);
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
            desk.lost.stands_at(tip.index);
            desk.work = None;
            desk.signing.begin(peer);
            self.io.push(Effect::Sign { what: Attestable::Head(statement), peer });
            self.advance_desk(flow);
        }
    }

    pub(super) fn on_signed(&mut self, what: &Attestable, peer: PeerId, signature: Option<SignatureBytes>) {
        if let Attestable::Head(Statement { flow, .. }) = what
            && let Some(desk) = self.desks.get_mut(flow)
        {
            desk.unsigned_at = signature.is_none().then_some(self.io.now);
            desk.signing.end(peer);
        }
        if matches!(what, Attestable::Set(_)) {
            self.sets.signing.end(peer);
        }
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
        if let Attestable::Head(Statement { flow, .. }) = *what {
            self.advance_desk(flow);
        }
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
