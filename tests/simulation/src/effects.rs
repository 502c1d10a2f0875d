//! Doing what machines ask for: every answer comes later, and only to the life that asked.

use cityrelay_api::client::to_opaque;
use cityrelay_core::assemble::{Cut, assemble};
use cityrelay_core::attestation::{SignatureBytes, Statement};
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::claim::{Claim, MAX_CLAIM_ENTRIES};
use cityrelay_core::frame::{Frame, Role};
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Domain, Height, Index, UnixMillis};
use cityrelay_core::lane::Flow;
use cityrelay_core::light_client::SetStatement;
use cityrelay_core::machine::config::PeerId;
use cityrelay_core::machine::effect::{ClaimCheck, Effect, JobId, ObserveRequest, UpdateOrigin};
use cityrelay_core::machine::input::{
    ClaimOrigin, ClaimRefusal, Fetched, Input, NodeStatement, Observation, Prepared, Recipient, TransactionFate,
};
use cityrelay_core::opaque::Opaque;
use cityrelay_core::record::{IntentEnd, IntentRecord};
use cityrelay_core::set_attestation::{Attestable, SetAttestation, SetFact};
use cityrelay_core::verify::{EvidenceError, VerifiedEvidence, VerifiedExtension, VerifiedHeader, verify_evidence};

use crate::model_chain::{ChainKind, Seen};
use crate::model_client::MODEL_ADAPTER;
use crate::process::Behaviour;
use crate::traffic::sign;
use crate::weather::Fault;
use crate::world::{Event, World};

/// What an attester signs that lies.
pub(super) fn false_head() -> Hash32 {
    keccak256(b"another head")
}

impl World {
    /// Hands an input to a process' machine and does what it asks for.
    pub fn handle(&mut self, id: PeerId, input: Input) {
        let world_now = self.now;
        let now = self.process(id).clock.read(world_now);
        let Some(mut machine) = self.process(id).machine.take() else { return };
        let is_tick = matches!(input, Input::Tick);
        machine.handle(input, now);
        let mut effects = 0_u64;
        while let Some(effect) = machine.poll_effect() {
            effects += 1;
            if self.process(id).weather.dies_after == Some(0) {
                return self.crash(id);
            }
            if let Some(left) = &mut self.process(id).weather.dies_after {
                *left -= 1;
            }
            self.verify_effect(id, &effect);
            self.execute(id, effect);
        }
        let wake = machine.poll_timeout();
        if is_tick && effects == 0 && wake.is_some_and(|wake| wake <= now) {
            self.violated(format!("{id:?} asks to be woken at once although a tick at this moment changed nothing"));
        }
        let process = self.process(id);
        process.machine = Some(machine);
        let wake = wake.map(|wake| wake.max(UnixMillis(now.0 + 1)));
        if process.wake != wake {
            process.wake = wake;
            let life = process.life;
            if let Some(wake) = wake {
                // By its own clock; one that is slow is looked at again then.
                let at = UnixMillis(world_now.0 + wake.0.saturating_sub(now.0));
                self.agenda.plan(at, Event::Wake(id, life, wake));
            }
        }
    }

    /// Wakes a machine that asked for this moment.
    pub fn wake(&mut self, id: PeerId, life: u64, wake: UnixMillis) {
        let now = self.now;
        let process = self.process(id);
        if process.life != life || process.wake != Some(wake) {
            return;
        }
        let own = process.clock.read(now);
        if own >= wake {
            process.wake = None;
            self.handle(id, Input::Tick);
        } else {
            self.agenda.plan(UnixMillis(now.0 + (wake.0 - own.0)), Event::Wake(id, life, wake));
        }
    }

    /// The process dies and comes back a while later.
    pub fn crash(&mut self, id: PeerId) {
        self.trace(|| format!("{id:?} dies"));
        self.count(Fault::Crash.counter());
        let waiting = self.process(id).disk.waiting() as u64;
        let surviving = usize::try_from(self.dice.between(0, waiting)).unwrap();
        let sessions = self.process(id).sessions.clone();
        self.process(id).kill(surviving);
        for (peer, session) in sessions {
            self.plan_within(5, 4000, Event::SessionDown(peer, id, session));
        }
        self.plan_within(50, 8000, Event::Start(id));
    }

    fn answer(&mut self, id: PeerId, low: u64, high: u64, input: Input) {
        let life = self.process(id).life;
        self.plan_within(low, high, Event::Input(id, life, Box::new(input)));
    }

    /// An answer of a node: later, and with the node's own slowness.
    fn node_answer(&mut self, id: PeerId, input: Input) {
        let slow = self.process(id).weather.slow_node;
        self.answer(id, 1, 40 + slow, input);
    }

    fn is_node_away(&mut self, id: PeerId) -> bool {
        let failure = self.process(id).weather.node_failure;
        self.dice.chance(failure)
    }

    /// The last block that a process' nodes have seen.
    fn view(&mut self, id: PeerId, chain: usize) -> u64 {
        let lag = self.process(id).weather.lag[chain];
        self.chains[chain].tip().saturating_sub(lag)
    }

    fn chain_at(&self, domain: Domain) -> usize {
        self.chains.iter().position(|chain| chain.domain == domain).unwrap()
    }

    fn execute(&mut self, id: PeerId, effect: Effect) {
        match effect {
            Effect::Append { ticket, records } => {
                self.process(id).disk.append(ticket, records);
                self.plan_sync(id);
            }
            Effect::Send { peer, frame } => {
                let is_mute = self.process(id).behaviour == Behaviour::Silent
                    && matches!(
                        frame,
                        Frame::Attestation { .. } | Frame::SetAttested(_) | Frame::Accepted { .. } | Frame::Declined(_)
                    );
                if !is_mute {
                    let frame = self.perhaps_falsified(id, frame);
                    self.send(id, peer, frame);
                }
            }
            Effect::Release(receipt) => {
                // What a session left behind when it ended is given back as well; only twice is wrong.
                if !self.process(id).receipts.remove(&receipt) {
                    self.violated(format!("{id:?} gives the room of {receipt:?} back twice"));
                }
            }
            Effect::FetchUpdate { domain, recipient, after, max_headers } => {
                self.fetch_update(id, domain, recipient, after, max_headers);
            }
            Effect::VerifyUpdate { domain, trusted, update, origin } => {
                let client = &self.clients[self.chain_at(domain)];
                let result = client.verify_update(domain, &trusted, &update, self.now);
                let slow = self.plan.slow_verifier;
                self.answer(id, 1, 15 + slow, Input::UpdateVerified { domain, update, origin, result });
            }
            Effect::ConfirmHeader { header } => self.confirm_header(id, &header),
            Effect::ConfirmSet { domain, statement } => self.confirm_set(id, domain, statement),
            Effect::ApplySetStatement { domain, trusted, statement } => {
                let result = self.clients[self.chain_at(domain)].apply_set_statement(&trusted, &statement);
                self.answer(id, 1, 5, Input::SetApplied { domain, statement, result });
            }
            Effect::ReadHint { flow } => {
                let chain = self.chain_of(flow, true);
                let view = self.view(id, chain);
                let answer = self.node_says(id, |world| world.chains[chain].hint(flow, view));
                self.node_answer(id, Input::HintRead { flow, answer });
            }
            Effect::Observe(request) => self.observe(id, request),
            Effect::VerifyClaim(check) => {
                let (origin, claim) = (check.origin, check.claim.clone());
                let result = self.verify_claim(*check);
                let slow = self.plan.slow_verifier;
                self.answer(id, 1, 20 + slow, Input::ClaimVerified { origin, claim, result });
            }
            Effect::LoadExtensions { flow, after, max } => {
                let extensions = self.process(id).disk.extensions_after(flow, after, max);
                self.answer(id, 1, 10, Input::ExtensionsLoaded { flow, after, extensions });
            }
            Effect::LoadClaim { flow, peer, first, last } => self.load_claim(id, flow, peer, first, last),
            Effect::LoadSigned { flow, peer, attester, first, last } => {
                let found = self.process(id).disk.reminder(flow, first, last, attester);
                self.answer(id, 1, 10, Input::SignedLoaded { peer, found });
            }
            Effect::ReadPoint { flow, index } => {
                let point = self.process(id).disk.point(flow, index);
                self.answer(id, 1, 5, Input::PointRead { flow, index, point });
            }
            Effect::Confirm { header, extension, .. } => self.confirm(id, &header, &extension),
            Effect::Sign { what: Attestable::Head(statement), peer } => {
                let (statement, signature) = self.sign(id, statement);
                let what = Attestable::Head(statement);
                self.answer(id, 1, 10, Input::Signed { what, peer, signature: Some(signature) });
            }
            Effect::Sign { what: Attestable::Set(attestation), peer } => {
                let (attestation, signature) = self.sign_set(id, attestation);
                let what = Attestable::Set(attestation);
                self.answer(id, 1, 10, Input::Signed { what, peer, signature: Some(signature) });
            }
            Effect::Prepare { job, domain, call, open, replaces } => {
                self.prepare(id, job, domain, *call, &open, replaces.as_deref());
            }
            Effect::Broadcast { job, intent } => {
                if !self.is_node_away(id) {
                    let chain = self.chain_at(intent.domain);
                    self.plan_within(1, 60, Event::Submit(chain, intent.hash));
                }
                self.node_answer(id, Input::Broadcasted(job));
            }
            Effect::Track { job, intent } => self.track(id, job, &intent),
            Effect::ReadAccepted { flow } => {
                let chain = self.chain_of(flow, false);
                let view = self.view(id, chain);
                let answer = self.node_says(id, |world| world.chains[chain].taken(flow, view));
                self.node_answer(id, Input::AcceptedRead { flow, answer });
            }
            Effect::ReadCommittee { flow } => {
                let chain = self.chain_of(flow, false);
                let view = self.view(id, chain);
                let answer = self.node_says(id, |world| world.chains[chain].committee(view));
                self.node_answer(id, Input::CommitteeRead { flow, answer });
            }
            Effect::Report(report) => self.hear(id, report),
        }
    }

    fn node_says<T>(&mut self, id: PeerId, read: impl FnOnce(&Self) -> Option<T>) -> Fetched<T> {
        if self.is_node_away(id) {
            return Fetched::Failed;
        }
        read(self).map_or(Fetched::Nothing, Fetched::Some)
    }

    fn plan_sync(&mut self, id: PeerId) {
        let process = self.process(id);
        if !process.is_syncing {
            process.is_syncing = true;
            let (slow, life) = (process.weather.slow_disk, process.life);
            self.plan_within(1, 6 + slow, Event::Sync(id, life));
        }
    }

    /// Everything that waits reaches the disk, or the disk fails.
    pub fn sync(&mut self, id: PeerId, life: u64) {
        let process = self.process(id);
        if process.life != life || process.machine.is_none() {
            return;
        }
        process.is_syncing = false;
        let answers: Vec<Input> = if process.weather.is_disk_failing {
            let failed = process.disk.fail().into_iter();
            failed.map(|ticket| Input::AppendFailed { ticket, is_retryable: true }).collect()
        } else {
            let applied = process.disk.sync().into_iter();
            let answer = |(ticket, result): (_, Result<(), _>)| match result {
                Ok(()) => Input::Durable(ticket),
                Err(_) => Input::AppendFailed { ticket, is_retryable: false },
            };
            applied.map(answer).collect()
        };
        // One moment for all of them: the agenda keeps their order.
        let at = self.after(1);
        for input in answers {
            self.agenda.plan(at, Event::Input(id, life, Box::new(input)));
        }
    }

    fn fetch_update(&mut self, id: PeerId, domain: Domain, recipient: Recipient, after: Height, max_headers: u32) {
        let chain = self.chain_at(domain);
        let view = self.view(id, chain);
        let lies = self.process(id).weather.node_lies;
        let is_lie = self.dice.chance(lies);
        let is_fork = recipient == Recipient::Own && self.process(id).weather.shows_fork;
        let answer = self.node_says(id, |world| {
            let mut update = if is_fork {
                world.chains[chain].forked(after)?
            } else {
                world.chains[chain].update(after, max_headers, view)?
            };
            if let (true, Some(last)) = (is_lie, update.headers.last_mut()) {
                last.root = keccak256(b"a root that nobody sealed");
            }
            Some((to_opaque(MODEL_ADAPTER, &update), UpdateOrigin::Node("node".to_owned())))
        });
        self.node_answer(id, Input::UpdateFetched { domain, recipient, after, answer });
    }

    fn observe(&mut self, id: PeerId, request: ObserveRequest) {
        let ObserveRequest { flow, base, oldest, newest, .. } = request;
        let chain = self.chain_of(flow, true);
        let view = self.view(id, chain);
        let keeps = self.process(id).weather.keeps_bodies;
        if keeps.is_some_and(|blocks| self.chains[chain].is_pruned_after(flow, base.index, view, blocks)) {
            return self.node_answer(id, Input::Observed { flow, answer: Fetched::Failed });
        }
        let answer = self.node_says(id, |world| {
            let chain = &world.chains[chain];
            let proof = chain.prove(flow, base.index, oldest.0, newest.0.min(view));
            let Some((height, proved, proof)) = proof else {
                let is_ahead = chain.prove(flow, base.index, newest.0 + 1, view).is_some();
                let has_more = chain.hint(flow, view).is_some_and(|hint| hint.index > base.index);
                let needs = chain.kind == ChainKind::Checkpoint && has_more && !is_ahead;
                return needs.then_some(Observation::NeedsCheckpoint);
            };
            let cut = Cut { max_entries: request.max_entries, max_bytes: request.max_bytes, max_gas: request.max_gas };
            let mut hints = chain.entries(flow, base.index, proved.index);
            // Events of reverted calls look the same.
            if let Some(Entry::Message(message)) = hints.first().cloned() {
                hints.insert(0, Entry::Message(cityrelay_core::message::Message { gas_limit: 1, ..message }));
            }
            let (entries, tail) = assemble(flow, base, proved, hints, cut).unwrap();
            let proof = to_opaque(MODEL_ADAPTER, &proof);
            Some(Observation::Claim(Claim { flow, first: base.index.next(), entries, tail, height, proof }))
        });
        self.node_answer(id, Input::Observed { flow, answer });
    }

    /// What the verifier pool does with a claim.
    fn verify_claim(&self, check: ClaimCheck) -> Result<(VerifiedExtension, Vec<VerifiedEvidence>), ClaimRefusal> {
        let ClaimCheck { lane, base, header, claim, evidence, .. } = check;
        let flow = claim.flow;
        let client = &self.clients[self.chain_at(lane.origin(flow.direction).domain)];
        let extension = client.verify_extension(&header, &lane, base, claim)?;
        let mut verified = Vec::new();
        if let Some((committee, evidence)) = evidence {
            for evidence in evidence {
                let found = extension.points().iter().find(|point| point.index == evidence.point.index);
                let point = found.copied().unwrap_or(extension.tip());
                verified.push(verify_evidence(&lane, flow, &committee, point, evidence)?);
            }
            if verified.last().is_none_or(|last| last.evidence().point != extension.tip()) {
                let expected = usize::try_from(committee.threshold()).unwrap();
                return Err(ClaimRefusal::Evidence(EvidenceError::Threshold { expected, got: 0 }));
            }
        }
        Ok((extension, verified))
    }

    fn load_claim(&mut self, id: PeerId, flow: Flow, peer: PeerId, first: Index, last: Index) {
        let limit = if self.plan.claim_limit == 0 { MAX_CLAIM_ENTRIES } else { self.plan.claim_limit };
        let cut = Index(last.0.min(first.0 + limit as u64 - 1));
        let found = match self.process(id).disk.entries(flow, first, cut) {
            None => self.dropped_entries(id, flow, first, cut),
            held => held,
        };
        let disk = &self.process(id).disk;
        let (entries, tail) = match found {
            Some(entries) if cut < last => (entries, disk.links(flow, cut.next(), last)),
            Some(entries) => (entries, Vec::new()),
            None => (Vec::new(), Vec::new()),
        };
        let entries = entries.iter().map(Entry::without_payload).collect();
        self.answer(id, 1, 10, Input::ClaimLoaded { flow, peer, entries, tail });
    }

    /// What the journal has dropped is read from the chain again, where a node of ours still has it.
    fn dropped_entries(&mut self, id: PeerId, flow: Flow, first: Index, last: Index) -> Option<Vec<Entry>> {
        let chain = self.chain_of(flow, true);
        let base = Index(first.0 - 1);
        let (view, keeps) = (self.view(id, chain), self.process(id).weather.keeps_bodies);
        let is_pruned = keeps.is_some_and(|blocks| self.chains[chain].is_pruned_after(flow, base, view, blocks));
        let is_here = u32::try_from(chain) == Ok(id.0);
        if !is_here || is_pruned || self.is_node_away(id) {
            return None;
        }
        Some(self.chains[chain].entries(flow, base, last)).filter(|entries| !entries.is_empty())
    }

    fn confirm_header(&mut self, id: PeerId, header: &VerifiedHeader) {
        let (domain, height, hash) = (header.domain(), header.height(), header.hash());
        let number = self.chain_at(domain);
        let is_there = !self.is_node_away(id) && self.view(id, number) >= height.0;
        let is_apart = self.process(id).weather.own_node_is_apart;
        let apart = |hash: Hash32| if is_apart { keccak256(&hash.0) } else { hash };
        let says = is_there.then(|| self.chains[number].header_hash(height)).flatten().map(apart);
        let answer = Fetched::Some(vec![NodeStatement { node: "own".to_owned(), hash: says }]);
        self.node_answer(id, Input::HeaderConfirmed { domain, height, hash, answer });
    }

    fn confirm(&mut self, id: PeerId, header: &VerifiedHeader, extension: &VerifiedExtension) {
        let flow = extension.flow();
        let number = self.chain_of(flow, true);
        let view = self.view(id, number);
        let is_away = self.is_node_away(id);
        let chain = &self.chains[number];
        let agrees = if is_away || view < header.height().0 {
            None
        } else {
            let held = chain
                .gateway
                .own_points(flow)
                .and_then(|points| points.get(usize::try_from(extension.tip().index.0).unwrap()).copied());
            Some(chain.header_hash(header.height()) == Some(header.hash()) && held == Some(extension.tip()))
        };
        if agrees == Some(true) {
            let confirmed = self.process(id).confirmed.entry(flow).or_default();
            *confirmed = extension.tip().index.max(*confirmed);
        }
        self.node_answer(id, Input::Confirmed { flow, agrees });
    }

    /// Whether an own node has the set in its block of that height; it can't say before it has the block.
    fn confirm_set(&mut self, id: PeerId, domain: Domain, statement: SetStatement) {
        let number = self.chain_at(domain);
        let view = self.view(id, number);
        let is_away = self.is_node_away(id);
        let chain = &self.chains[number];
        let agrees = chain.has_set(statement.height, statement.digest, view).filter(|_| !is_away);
        self.node_answer(id, Input::SetConfirmed { domain, statement, agrees });
    }

    /// As [`Self::sign`], for a validator set.
    fn sign_set(&mut self, id: PeerId, attestation: SetAttestation) -> (SetAttestation, SignatureBytes) {
        let key = self.process(id).key.clone();
        let what = |attestation| Attestable::Set(attestation).digest();
        match self.process(id).behaviour {
            Behaviour::Honest | Behaviour::Silent => (attestation, sign(&key, what(attestation))),
            Behaviour::Rubbish => (attestation, SignatureBytes([3; 65])),
            Behaviour::Equivocating => {
                let statement = SetStatement { digest: false_head(), ..attestation.fact.statement };
                let other = SetAttestation { fact: SetFact { statement, ..attestation.fact }, ..attestation };
                (other, sign(&key, what(other)))
            }
        }
    }

    /// Signs as the attester's behaviour has it; gives what it says it signed.
    fn sign(&mut self, id: PeerId, statement: Statement) -> (Statement, SignatureBytes) {
        let key = self.process(id).key.clone();
        match self.process(id).behaviour {
            Behaviour::Honest | Behaviour::Silent => (statement, sign(&key, statement.digest())),
            Behaviour::Rubbish => (statement, SignatureBytes([3; 65])),
            Behaviour::Equivocating => {
                let point = ChainPoint { head: false_head(), ..statement.point };
                let other = Statement { point, ..statement };
                (other, sign(&key, other.digest()))
            }
        }
    }

    fn prepare(
        &mut self,
        id: PeerId,
        job: JobId,
        domain: Domain,
        call: GatewayCall,
        open: &[IntentRecord],
        replaces: Option<&IntentRecord>,
    ) {
        let (chain, now) = (self.chain_at(domain), self.now);
        let account = self.process(id).account;
        let view = self.view(id, chain);
        let answer = if self.is_node_away(id) {
            Prepared::Failed
        } else if self.chains[chain].is_too_large(&call) {
            self.count("calls too large");
            Prepared::TooLarge
        } else if let Err(revert) = self.chains[chain].try_call(account, &call, now) {
            self.trace(|| format!("{id:?} would revert: {revert}"));
            self.count("calls that would revert");
            Prepared::Reverts
        } else {
            let open: Vec<Hash32> = open.iter().map(|intent| intent.hash).collect();
            let hash = self.chains[chain].sign(account, call, &open, replaces.map(|intent| intent.hash), view);
            let bytes = Opaque { adapter: MODEL_ADAPTER.to_owned(), version: 1, bytes: hash.0.to_vec() };
            Prepared::Ready { hash, bytes }
        };
        self.node_answer(id, Input::Prepared { job, answer });
    }

    fn track(&mut self, id: PeerId, job: JobId, intent: &IntentRecord) {
        let chain = self.chain_at(intent.domain);
        let view = self.view(id, chain);
        let fate = if self.is_node_away(id) {
            TransactionFate::Pending
        } else {
            match self.chains[chain].seen(intent.hash, view) {
                Seen::Waiting => TransactionFate::Pending,
                Seen::Forgotten => TransactionFate::Dropped,
                Seen::Dead => TransactionFate::Ended(IntentEnd::Dead),
                Seen::Mined(height, true) => TransactionFate::Ended(IntentEnd::Succeeded { height, gas_used: 1 }),
                Seen::Mined(height, false) => TransactionFate::Ended(IntentEnd::Reverted { height, gas_used: 1 }),
            }
        };
        self.node_answer(id, Input::Tracked { job, fate });
    }

    /// Whether a process is a relay.
    pub fn is_relay(&mut self, id: PeerId) -> bool {
        self.process(id).role == Role::Relay
    }
}

/// Whether a claim's origin is our own observer.
#[must_use]
pub fn is_own(origin: ClaimOrigin) -> bool {
    origin == ClaimOrigin::Observer
}
