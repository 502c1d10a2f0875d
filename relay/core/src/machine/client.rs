//! One chain's light client: fetch, verify, make durable, tell.

use std::collections::{BTreeMap, VecDeque};

use crate::hash::Hash32;
use crate::ids::{Domain, Height, UnixMillis};
use crate::light_client::{Gravity, HoldReason, Refusal, SetStatement};
use crate::machine::Machine;
use crate::machine::config::{ChainSetup, PeerId};
use crate::machine::effect::{Effect, Report, UpdateOrigin};
use crate::machine::input::{Fetched, Recipient};
use crate::machine::io::{After, Io};
use crate::opaque::Opaque;
use crate::record::{Misbehaviour, Record};
use crate::recovery::{KEPT_HEADERS, RecoveredClient};
use crate::verify::{VerifiedHeader, VerifiedUpdate};

/// Updates of peers that may wait; more are dropped, and the peer offers them again.
const MAX_WAITING_UPDATES: usize = 4;

#[derive(Debug)]
pub(super) struct Client {
    pub setup: ChainSetup,
    pub trusted: Opaque,
    pub height: Height,
    pub hash: Hash32,
    pub headers: BTreeMap<Height, VerifiedHeader>,
    pub held: Option<HoldReason>,
    pub is_frozen: bool,
    is_busy: bool,
    waiting: VecDeque<(PeerId, Opaque)>,
    next_poll: UnixMillis,
    tries: u32,
}

impl Client {
    pub fn new(setup: ChainSetup, recovered: Option<RecoveredClient>, is_frozen: bool) -> Self {
        let (trusted, height, hash, headers) = match recovered {
            Some(client) => (client.state, client.height, client.hash, client.headers),
            None => (setup.anchor.clone(), setup.height, setup.hash, Vec::new()),
        };
        let domain = setup.domain;
        let headers = headers.into_iter().map(|header| (header.height, VerifiedHeader::restored(domain, header)));
        Self {
            headers: headers.collect(),
            setup,
            trusted,
            height,
            hash,
            held: None,
            is_frozen,
            is_busy: false,
            waiting: VecDeque::new(),
            next_poll: UnixMillis(0),
            tries: 0,
        }
    }

    /// First and last header that head proofs may refer to, `None` before the first one.
    pub fn header_range(&self) -> Option<(Height, Height)> {
        Some((*self.headers.first_key_value()?.0, *self.headers.last_key_value()?.0))
    }

    pub fn next_due(&self) -> Option<UnixMillis> {
        let can_poll = self.setup.has_source && !self.is_busy && !self.is_frozen;
        can_poll.then_some(self.next_poll)
    }

    /// Starts the next step when none is under way.
    pub fn advance(&mut self, io: &mut Io) {
        if self.is_busy || self.is_frozen {
            return;
        }
        if let Some((peer, update)) = self.waiting.pop_front() {
            self.verify(io, update, UpdateOrigin::Peer(peer));
        } else if self.setup.has_source && self.next_poll <= io.now {
            self.is_busy = true;
            io.push(Effect::FetchUpdate {
                domain: self.setup.domain,
                recipient: Recipient::Own,
                after: self.height,
                max_headers: io.limits.update_headers,
            });
        }
    }

    pub fn offer(&mut self, io: &mut Io, peer: PeerId, update: Opaque) {
        if self.waiting.len() < MAX_WAITING_UPDATES {
            self.waiting.push_back((peer, update));
            self.advance(io);
        }
    }

    fn verify(&mut self, io: &mut Io, update: Opaque, origin: UpdateOrigin) {
        self.is_busy = true;
        io.push(Effect::VerifyUpdate { domain: self.setup.domain, trusted: self.trusted.clone(), update, origin });
    }

    /// Ends a step that changed nothing; the next poll comes after a failure's wait or the usual one.
    fn rest(&mut self, io: &mut Io, has_failed: bool) {
        self.is_busy = false;
        self.next_poll = if has_failed {
            self.tries = self.tries.saturating_add(1);
            io.backoff(self.tries)
        } else {
            io.after(self.setup.poll_interval)
        };
        self.advance(io);
    }

    fn fetched(&mut self, io: &mut Io, answer: Fetched<(Opaque, UpdateOrigin)>) {
        match answer {
            Fetched::Some((update, origin)) => self.verify(io, update, origin),
            Fetched::Nothing => {
                self.tries = 0;
                self.rest(io, false);
            }
            Fetched::Failed => self.rest(io, true),
        }
    }

    fn verified(&mut self, io: &mut Io, update: Opaque, origin: UpdateOrigin, result: VerifiedUpdate<Opaque>) {
        let domain = self.setup.domain;
        match result {
            VerifiedUpdate::Advanced { state, headers, set_changes } => {
                self.held = None;
                if headers.is_empty() {
                    return self.rest(io, false);
                }
                self.keep(io, state, headers, set_changes.len());
            }
            VerifiedUpdate::HeldBack { state, headers, set_changes, reason } => {
                let subject = |reason: HoldReason| (reason.as_str(), reason.height());
                let is_new = self.held.map(subject) != Some(subject(reason));
                self.held = Some(reason);
                if is_new {
                    io.report(Report::HeadersHeldBack { domain, reason });
                }
                match reason {
                    HoldReason::SetUnconfirmed { height, digest } if self.setup.has_source && headers.is_empty() => {
                        io.push(Effect::ConfirmSet { domain, statement: SetStatement { height, digest } });
                    }
                    _ if headers.is_empty() && state == self.trusted => self.rest(io, false),
                    _ => self.keep(io, state, headers, set_changes.len()),
                }
            }
            VerifiedUpdate::Refused(refusal) => self.refused(io, update, origin, refusal),
        }
    }

    fn keep(&mut self, io: &mut Io, state: Opaque, headers: Vec<VerifiedHeader>, set_changes: usize) {
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
        io.append(vec![record], After::Client { domain, state, height, hash, headers });
    }

    fn refused(&mut self, io: &mut Io, update: Opaque, origin: UpdateOrigin, refusal: Refusal) {
        let domain = self.setup.domain;
        let ours = refusal.height.and_then(|height| self.headers.get(&height));
        match (refusal.gravity, ours) {
            (Gravity::Equivocation, Some(ours)) => {
                let evidence =
                    Misbehaviour::Equivocation { domain, ours: ours.header().clone(), theirs: update, at: io.now };
                io.append(vec![Record::Misbehaviour(evidence)], After::Frozen { domain });
            }
            _ => {
                io.report(Report::Lie { domain, origin, refusal });
                self.rest(io, true);
            }
        }
    }

    /// Takes over what is now durable.
    fn durable(&mut self, io: &mut Io, state: Opaque, height: Height, hash: Hash32, headers: Vec<VerifiedHeader>) {
        let is_full = headers.len() >= usize::try_from(io.limits.update_headers).unwrap_or(usize::MAX) / 2;
        self.trusted = state;
        self.height = height;
        self.hash = hash;
        self.tries = 0;
        self.headers.extend(headers.into_iter().map(|header| (header.height(), header)));
        while self.headers.len() > KEPT_HEADERS {
            self.headers.pop_first();
        }
        self.is_busy = false;
        self.next_poll = if is_full { io.now } else { io.after(self.setup.poll_interval) };
        self.advance(io);
    }
}

impl Machine {
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
        if let Some(client) = self.clients.get_mut(&domain) {
            client.verified(&mut self.io, update, origin, result);
        }
    }

    pub(super) fn on_set_confirmed(&mut self, domain: Domain, statement: SetStatement, agrees: Option<bool>) {
        let Some(client) = self.clients.get_mut(&domain) else { return };
        if agrees == Some(true) {
            let trusted = client.trusted.clone();
            self.io.push(Effect::ApplySetStatement { domain, trusted, statement });
        } else {
            client.rest(&mut self.io, true);
        }
    }

    pub(super) fn on_set_applied(&mut self, domain: Domain, result: Result<Opaque, Refusal>) {
        let Some(client) = self.clients.get_mut(&domain) else { return };
        match result {
            Ok(state) => client.keep(&mut self.io, state, Vec::new(), 0),
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
    ) {
        let Some(client) = self.clients.get_mut(&domain) else { return };
        client.durable(&mut self.io, state, height, hash, headers);
        self.tell_client(domain);
        self.advance_flows_from(domain);
    }

    pub(super) fn client_is_frozen(&mut self, domain: Domain) {
        if let Some(client) = self.clients.get_mut(&domain) {
            client.is_frozen = true;
            client.is_busy = false;
            self.io.report(Report::Frozen { domain });
        }
    }

    pub(super) fn on_unfrozen(&mut self, domain: Domain) {
        if let Some(client) = self.clients.get_mut(&domain) {
            client.is_frozen = false;
            client.advance(&mut self.io);
        }
        self.advance_flows_from(domain);
    }

    /// After an append about this client failed for good: go back to what is durable.
    pub(super) fn client_append_failed(&mut self, domain: Domain) {
        if let Some(client) = self.clients.get_mut(&domain) {
            client.rest(&mut self.io, true);
        }
    }
}
