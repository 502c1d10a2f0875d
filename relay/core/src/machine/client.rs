//! One chain's light client: fetch, verify, make durable, tell.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use crate::frame::ClientAt;
use crate::hash::Hash32;
use crate::ids::{Domain, Height, UnixMillis};
use crate::light_client::{Header, HoldReason, Refusal, SetStatement};
use crate::machine::Machine;
use crate::machine::config::{ChainSetup, PeerId};
use crate::machine::confirm::Confirmed;
use crate::machine::effect::{Effect, Report, UpdateOrigin};
use crate::machine::input::{Fetched, Recipient};
use crate::machine::io::{After, Io, earliest};
use crate::opaque::Opaque;
use crate::record::{Decided, Frozen, Record};
use crate::recovery::{KEPT_HEADERS, RecoveredClient};
use crate::set_attestation::{SetEvidence, SetFact};
use crate::verify::{VerifiedHeader, VerifiedUpdate};

/// How long a peer's next update waits after one that made no header final, as a multiple of what that one took: such a peer
/// keeps the client busy for a tenth of the time at most.
const REST_FACTOR: u64 = 9;

/// A validator set that is believed, and why; without evidence our own nodes confirmed it.
#[derive(Clone, Debug)]
pub(super) struct Stated {
    pub fact: SetFact,
    pub evidence: Vec<SetEvidence>,
}

/// A header with a validator set that was not adopted: nobody is blamed while the chain may still have it.
#[derive(Debug)]
struct Doubted {
    height: Height,
    digest: Hash32,
    check: &'static str,
    origin: UpdateOrigin,
}

impl Doubted {
    fn of(reason: HoldReason, origin: &UpdateOrigin) -> Option<Self> {
        let (height, digest, check) = match reason {
            HoldReason::SetUnconfirmed { height, digest } => (height, digest, reason.as_str()),
            HoldReason::SetNotFollowed { height, digest, check } => (height, digest, check),
            _ => return None,
        };
        Some(Self { height, digest, check, origin: origin.clone() })
    }
}

#[derive(Debug)]
pub(super) struct Client {
    pub setup: ChainSetup,
    pub trusted: Opaque,
    pub height: Height,
    pub hash: Hash32,
    pub headers: BTreeMap<Height, VerifiedHeader>,
    pub held: Option<HoldReason>,
    /// The last validator set that nobody could vouch for, and who served it.
    doubted: Option<Doubted>,
    /// Over what an operator must decide before anything more is taken in.
    pub frozen: Option<Frozen>,
    /// What operators decided, by height.
    pub decided: BTreeMap<Height, Decided>,
    pub confirmed: Confirmed,
    is_busy: bool,
    /// The step under way is about what a peer offered.
    is_peers_step: bool,
    /// The step under way began before the client froze: what comes of it is dropped.
    drops_step: bool,
    /// Attested, and not handed to the light client yet.
    believed: Option<Stated>,
    /// Handed to the light client.
    applying: Option<Stated>,
    /// The newest update of each peer that offered one, in the order in which they first came.
    waiting: VecDeque<(PeerId, Opaque)>,
    /// Until when a peer's updates wait, after one that made no header final.
    resting: BTreeMap<PeerId, UnixMillis>,
    /// When the verification under way began.
    since: UnixMillis,
    next_poll: UnixMillis,
    tries: u32,
    /// A node has told of a block since the last question for headers.
    has_news: bool,
    /// A node has told of a block since the last headers came.
    was_told: bool,
}

/// Where the last unbroken run of `headers` begins: a chain that was anchored anew has a gap, and no head can be proved in it.
fn first_of_tail(headers: &[Header]) -> Height {
    let mut first = headers.last().map(|last| last.height).unwrap_or_default();
    for header in headers.iter().rev().skip(1) {
        if header.height.next() != first {
            break;
        }
        first = header.height;
    }
    first
}

impl Client {
    pub fn new(
        setup: ChainSetup,
        recovered: Option<RecoveredClient>,
        frozen: Option<Frozen>,
        decided: impl Iterator<Item = Decided>,
    ) -> Self {
        let (trusted, height, hash, headers) = match recovered {
            Some(client) => (client.state, client.height, client.hash, client.headers),
            None => (setup.anchor.clone(), setup.height, setup.hash, Vec::new()),
        };
        let domain = setup.domain;
        let first = first_of_tail(&headers);
        let headers = headers.into_iter().skip_while(|header| header.height < first);
        let headers = headers.map(|header| (header.height, VerifiedHeader::restored(domain, header)));
        Self {
            // What was confirmed before a restart is asked again: one question, and the node may have changed.
            confirmed: Confirmed::up_to(setup.height),
            headers: headers.collect(),
            setup,
            trusted,
            height,
            hash,
            held: None,
            doubted: None,
            frozen,
            decided: decided.map(|decided| (decided.height, decided)).collect(),
            is_busy: false,
            is_peers_step: false,
            drops_step: false,
            believed: None,
            applying: None,
            waiting: VecDeque::new(),
            resting: BTreeMap::new(),
            since: UnixMillis(0),
            next_poll: UnixMillis(0),
            tries: 0,
            has_news: false,
            was_told: false,
        }
    }

    /// Where it stands, as peers are told.
    pub fn at(&self) -> ClientAt {
        ClientAt { domain: self.setup.domain, height: self.height, hash: self.hash }
    }

    /// First and last header that head proofs may refer to, `None` before the first one.
    pub fn header_range(&self) -> Option<(Height, Height)> {
        Some((*self.headers.first_key_value()?.0, *self.headers.last_key_value()?.0))
    }

    pub fn next_due(&self) -> Option<UnixMillis> {
        let is_idle = !self.is_busy && !self.is_frozen();
        let poll = (is_idle && self.setup.has_source).then_some(self.next_poll);
        let offered = self.waiting.iter().filter(|_| is_idle).map(|(peer, _)| self.rests_until(*peer)).min();
        earliest(earliest(poll, offered), self.confirmation_due())
    }

    /// From when on an update of this peer is looked at.
    fn rests_until(&self, peer: PeerId) -> UnixMillis {
        self.resting.get(&peer).copied().unwrap_or_default()
    }

    /// Starts the next step when none is under way.
    pub fn advance(&mut self, io: &mut Io) {
        self.ask_confirmation(io);
        if self.is_busy || self.is_frozen() {
            return;
        }
        if let Some(stated) = self.believed.take().filter(|stated| self.is_next(&stated.fact)) {
            self.apply(io, stated);
        } else if self.setup.has_source && self.is_poll_due(io.now) {
            // Before what peers offer, which never ends where one of them wills it so.
            self.is_busy = true;
            self.has_news = false;
            io.push(Effect::FetchUpdate {
                domain: self.setup.domain,
                recipient: Recipient::Own,
                after: self.height,
                max_headers: io.limits.update_headers,
            });
        } else if let Some(at) = self.waiting.iter().position(|(peer, _)| self.rests_until(*peer) <= io.now)
            && let Some((peer, update)) = self.waiting.remove(at)
        {
            self.verify(io, update, UpdateOrigin::Peer(peer));
        }
    }

    /// The set that its headers wait for, when no own node can confirm it and it is not believed yet.
    pub fn lacking_set(&self) -> Option<SetFact> {
        let is_settled =
            self.setup.has_source || self.is_frozen() || self.believed.is_some() || self.applying.is_some();
        let Some(HoldReason::SetUnconfirmed { height, digest }) = self.held.filter(|_| !is_settled) else {
            return None;
        };
        Some(self.fact(SetStatement { height, digest })).filter(|fact| self.is_next(fact))
    }

    fn fact(&self, statement: SetStatement) -> SetFact {
        SetFact { domain: self.setup.domain, parent: self.hash, statement }
    }

    /// Whether a set begins right after the trusted header.
    fn is_next(&self, fact: &SetFact) -> bool {
        fact.parent == self.hash && fact.statement.height == self.height.next()
    }

    /// Takes over a set that enough attesters signed, as soon as no other step is under way.
    pub fn believe(&mut self, io: &mut Io, stated: Stated) {
        self.believed = Some(stated);
        self.advance(io);
    }

    fn apply(&mut self, io: &mut Io, stated: Stated) {
        self.is_busy = true;
        let (domain, trusted, statement) = (self.setup.domain, self.trusted.clone(), stated.fact.statement);
        self.applying = Some(stated);
        io.push(Effect::ApplySetStatement { domain, trusted, statement });
    }

    /// Whether it is time to ask for headers: what a node tells counts, unless the wait is one after a failure.
    fn is_poll_due(&self, now: UnixMillis) -> bool {
        self.next_poll <= now || (self.has_news && self.tries == 0)
    }

    pub fn offer(&mut self, io: &mut Io, peer: PeerId, update: Opaque) {
        match self.waiting.iter_mut().find(|(other, _)| *other == peer) {
            // It keeps its place.
            Some((_, waiting)) => *waiting = update,
            None => self.waiting.push_back((peer, update)),
        }
        self.advance(io);
    }

    /// A peer's update made no header final: its next one waits, or a peer could keep the client busy for ever.
    fn let_rest(&mut self, io: &Io, origin: &UpdateOrigin) {
        if let UpdateOrigin::Peer(peer) = origin {
            let took = io.now.0.saturating_sub(self.since.0);
            let rest = Duration::from_millis(took.saturating_mul(REST_FACTOR));
            let rest = rest.clamp(io.limits.retry_min, io.limits.retry_max);
            self.resting.insert(*peer, io.after(rest));
        }
    }

    fn verify(&mut self, io: &mut Io, update: Opaque, origin: UpdateOrigin) {
        self.is_busy = true;
        self.is_peers_step = matches!(origin, UpdateOrigin::Peer(_));
        self.since = io.now;
        io.push(Effect::VerifyUpdate { domain: self.setup.domain, trusted: self.trusted.clone(), update, origin });
    }

    /// Ends the step under way.
    pub const fn end_step(&mut self) {
        self.is_busy = false;
        self.is_peers_step = false;
        self.drops_step = false;
    }

    /// What comes of a step that is under way is not wanted any more.
    pub const fn drop_step(&mut self) {
        self.drops_step = self.is_busy;
    }

    /// Forgets every wait after a failure.
    pub fn forget_waits(&mut self, io: &mut Io) {
        self.tries = 0;
        self.next_poll = io.now;
        self.confirmed.forget_waits(io.now);
        self.advance(io);
    }

    /// Goes back to the configured anchor, to follow another branch from there.
    pub fn start_from_anchor(&mut self) {
        self.trusted = self.setup.anchor.clone();
        (self.height, self.hash) = (self.setup.height, self.setup.hash);
        self.headers.clear();
        self.waiting.clear();
        self.held = None;
        self.doubted = None;
        self.confirmed = Confirmed::up_to(self.setup.height);
        self.drop_step();
    }

    /// Whether what comes of a step is to be dropped; the step has ended then.
    fn is_dropped(&mut self, io: &mut Io) -> bool {
        let is_dropped = self.drops_step;
        if is_dropped {
            self.end_step();
            self.advance(io);
        }
        is_dropped
    }

    /// Ends a step that changed nothing; the next poll comes after a failure's wait or the usual one. What a peer offered in
    /// vain puts no poll off.
    pub fn rest(&mut self, io: &mut Io, has_failed: bool) {
        let is_peers_step = self.is_peers_step;
        self.end_step();
        if !is_peers_step {
            self.next_poll = if has_failed {
                self.tries = self.tries.saturating_add(1);
                io.backoff(self.tries)
            } else {
                io.after(self.setup.poll_interval)
            };
        }
        self.advance(io);
    }

    fn fetched(&mut self, io: &mut Io, answer: Fetched<(Opaque, UpdateOrigin)>) {
        if self.is_dropped(io) {
            return;
        }
        match answer {
            Fetched::Some((update, origin)) => self.verify(io, update, origin),
            Fetched::Nothing => {
                self.tries = 0;
                self.rest(io, false);
            }
            Fetched::Failed => self.rest(io, true),
        }
    }

    fn verified(
        &mut self,
        io: &mut Io,
        update: Opaque,
        origin: UpdateOrigin,
        name: &str,
        result: VerifiedUpdate<Opaque>,
    ) {
        if !matches!(&result, VerifiedUpdate::Advanced { headers, .. } | VerifiedUpdate::HeldBack { headers, .. }
            if !headers.is_empty())
        {
            self.let_rest(io, &origin);
        }
        if self.is_dropped(io) {
            return;
        }
        let domain = self.setup.domain;
        if let VerifiedUpdate::Advanced { headers, .. } | VerifiedUpdate::HeldBack { headers, .. } = &result
            && let Err(refusal) = self.verify_decisions(headers)
        {
            return self.refused(io, update, origin, name, refusal);
        }
        if let VerifiedUpdate::Advanced { headers, set_changes, .. }
        | VerifiedUpdate::HeldBack { headers, set_changes, .. } = &result
        {
            self.settle_doubt(io, headers, set_changes);
        }
        match result {
            VerifiedUpdate::Advanced { state, headers, set_changes } => {
                self.held = None;
                if headers.is_empty() {
                    return self.rest(io, false);
                }
                self.keep(io, state, headers, set_changes.len(), None);
            }
            VerifiedUpdate::HeldBack { state, headers, set_changes, reason } => {
                let subject = |reason: HoldReason| (reason.as_str(), reason.height());
                let is_new = self.held.map(subject) != Some(subject(reason));
                self.held = Some(reason);
                self.doubted = Doubted::of(reason, &origin).or_else(|| self.doubted.take());
                if is_new {
                    io.report(Report::HeadersHeldBack { domain, reason });
                }
                match reason {
                    HoldReason::SetUnconfirmed { height, digest } if self.setup.has_source && headers.is_empty() => {
                        io.push(Effect::ConfirmSet { domain, statement: SetStatement { height, digest } });
                    }
                    _ if headers.is_empty() && state == self.trusted => self.rest(io, false),
                    _ => self.keep(io, state, headers, set_changes.len(), None),
                }
            }
            VerifiedUpdate::Refused(refusal) => self.refused(io, update, origin, name, refusal),
        }
    }

    /// The chain went on past a set that nobody could vouch for: where it did not change its set there, whoever served it
    /// made that up.
    fn settle_doubt(&mut self, io: &mut Io, headers: &[VerifiedHeader], set_changes: &[Height]) {
        let is_past = |doubted: &mut Doubted| headers.last().is_some_and(|last| last.height() >= doubted.height);
        let Some(Doubted { height, digest, check, origin }) = self.doubted.take_if(is_past) else { return };
        if !set_changes.iter().any(|change| change.next() == height) {
            let refusal = Refusal::new(check, "the validator set of the block before", digest).at(height);
            io.report(Report::Lie { domain: self.setup.domain, origin, refusal });
        }
    }

    fn keep(
        &mut self,
        io: &mut Io,
        state: Opaque,
        headers: Vec<VerifiedHeader>,
        set_changes: usize,
        stated: Option<Stated>,
    ) {
        let domain = self.setup.domain;
        let (height, hash) = headers.last().map_or((self.height, self.hash), |last| (last.height(), last.hash()));
        if !headers.is_empty() {
            io.report(Report::HeadersVerified { domain, count: headers.len(), height, set_changes });
        }
        let record = Record::Client {
            domain,
            state: state.clone(),
            height,
            hash,
            headers: headers.iter().map(|header| header.header().clone()).collect(),
        };
        let mut records = vec![record];
        let confirmed = stated.as_ref().filter(|stated| stated.evidence.is_empty()).map(|stated| stated.fact);
        records.extend(stated.map(|Stated { fact, evidence }| Record::SetStated { fact, evidence }));
        io.append(records, After::Client { domain, state, height, hash, headers, confirmed });
    }

    /// Takes over what is now durable.
    fn durable(&mut self, io: &mut Io, state: Opaque, height: Height, hash: Hash32, headers: Vec<VerifiedHeader>) {
        // Durable before anything that froze the client meanwhile: it holds in any case.
        let is_full = headers.len() >= usize::try_from(io.limits.update_headers).unwrap_or(usize::MAX) / 2;
        self.trusted = state;
        self.height = height;
        self.hash = hash;
        self.tries = 0;
        self.headers.extend(headers.into_iter().map(|header| (header.height(), header)));
        while self.headers.len() > KEPT_HEADERS {
            self.headers.pop_first();
        }
        self.end_step();
        self.next_poll = if is_full { io.now } else { io.after(self.setup.poll_interval) };
        self.advance(io);
    }
}

impl Machine {
    pub(super) fn on_new_block(&mut self, domain: Domain) {
        if let Some(client) = self.clients.get_mut(&domain) {
            client.has_news = true;
            client.was_told = true;
            client.advance(&mut self.io);
        }
    }

    pub(super) fn on_update_fetched(
        &mut self,
        domain: Domain,
        recipient: Recipient,
        after: Height,
        answer: Fetched<(Opaque, UpdateOrigin)>,
    ) {
        match recipient {
            Recipient::Own => {
                if let Some(client) = self.clients.get_mut(&domain) {
                    client.fetched(&mut self.io, answer);
                }
            }
            Recipient::Peer(peer) => self.feed_fetched(peer, domain, after, answer),
        }
    }

    pub(super) fn on_update_verified(
        &mut self,
        domain: Domain,
        update: Opaque,
        origin: UpdateOrigin,
        result: VerifiedUpdate<Opaque>,
    ) {
        let name = self.name_of(&origin);
        if let Some(client) = self.clients.get_mut(&domain) {
            client.verified(&mut self.io, update, origin, &name, result);
        }
        self.ask_sets();
    }

    pub(super) fn on_set_confirmed(&mut self, domain: Domain, statement: SetStatement, agrees: Option<bool>) {
        let Some(client) = self.clients.get_mut(&domain) else { return };
        if client.is_dropped(&mut self.io) {
            return;
        }
        if agrees == Some(true) {
            let stated = Stated { fact: client.fact(statement), evidence: Vec::new() };
            client.apply(&mut self.io, stated);
        } else {
            client.rest(&mut self.io, true);
        }
    }

    pub(super) fn on_set_applied(&mut self, domain: Domain, result: Result<Opaque, Refusal>) {
        let Some(client) = self.clients.get_mut(&domain) else { return };
        let stated = client.applying.take().filter(|stated| client.is_next(&stated.fact));
        if client.is_dropped(&mut self.io) {
            return;
        }
        match result {
            Ok(state) => {
                client.held = None;
                client.keep(&mut self.io, state, Vec::new(), 0, stated);
            }
            Err(refusal) => {
                let origin = UpdateOrigin::Node(String::new());
                self.io.report(Report::Lie { domain, origin, refusal });
                client.rest(&mut self.io, true);
            }
        }
    }

    pub(super) fn client_is_durable(
        &mut self,
        domain: Domain,
        state: Opaque,
        height: Height,
        hash: Hash32,
        headers: Vec<VerifiedHeader>,
        confirmed: Option<SetFact>,
    ) {
        if let Some(fact) = confirmed {
            self.sets.confirm(fact);
        }
        let Some(client) = self.clients.get_mut(&domain) else { return };
        client.durable(&mut self.io, state, height, hash, headers);
        // What the new headers may prove is looked for now, too.
        if core::mem::take(&mut client.was_told) {
            let now = self.io.now;
            let flows = self.outbound.values_mut();
            flows.filter(|out| out.lane.origin(out.flow.direction).domain == domain).for_each(|out| out.hurry(now));
        }
        self.tell_client(domain);
        self.advance_flows_from(domain);
    }

    /// After an append about this client failed for good: go back to what is durable.
    pub(super) fn client_append_failed(&mut self, domain: Domain) {
        if let Some(client) = self.clients.get_mut(&domain) {
            client.rest(&mut self.io, true);
        }
    }
}
