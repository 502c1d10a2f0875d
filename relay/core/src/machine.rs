//! The state machine of a relay or an attester: sans-IO, deterministic, one input at a time.
//!
//! [`Machine::handle`] takes an [`input::Input`] and the time, [`Machine::poll_effect`] gives what is to be done,
//! [`Machine::poll_timeout`] says when to come back with [`input::Input::Tick`]. Nothing is sent, signed, submitted or
//! acknowledged before the records behind it came back as `Durable`: each such step is an `Append` whose continuation
//! waits in the machine. After a crash the machine is built anew from what the journal recovers.

mod asking;
mod carry;
mod client;
mod committee;
pub mod config;
mod confirm;
mod desk;
pub mod effect;
mod freeze;
mod inbound;
pub mod input;
mod io;
pub mod memory;
mod order;
mod outbound;
mod queue;
mod quorum;
mod resending;
mod session;
mod sets;
pub mod status;
mod submit;
mod tune;
mod under_way;

use std::collections::{BTreeMap, BTreeSet};

use crate::attestation::Committee;
use crate::claim::Claim;
use crate::frame::Role;
use crate::ids::{Address, Domain, LaneId, UnixMillis};
use crate::lane::{Direction, Flow, LaneIdentity};
use crate::machine::client::Client;
use crate::machine::config::{MachineConfig, PeerId};
use crate::machine::desk::Desk;
use crate::machine::effect::{Effect, JobId, Report, Ticket};
use crate::machine::inbound::Inbound;
use crate::machine::input::{ClaimOrigin, ClaimRefusal, Input};
use crate::machine::io::{After, Io};
use crate::machine::memory::Remembered;
use crate::machine::outbound::Outbound;
use crate::machine::session::Peer;
use crate::machine::sets::Sets;
use crate::machine::submit::Job;
use crate::record::{ExtensionRecord, IntentEnd, Purpose, Record};
use crate::recovery::{Recovered, RecoveredFlow, Side};
use crate::verify::{VerifiedEvidence, VerifiedExtension};

/// A verifier contract on its chain.
pub(crate) type VerifierKey = (Domain, Address);

/// Under what an attester set is known: the contract that counts its votes, and whose word it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitteeKey {
    /// The chain of the contract.
    pub domain: Domain,
    /// The contract.
    pub verifier: Address,
    /// The peer that told it, where we don't read the chain ourselves: its word counts on its own lanes only.
    pub teller: Option<PeerId>,
}

/// The machine. See the module's documentation.
#[derive(Debug)]
pub struct Machine {
    role: Role,
    io: Io,
    clients: BTreeMap<Domain, Client>,
    lanes: BTreeMap<LaneId, Lane>,
    peers: BTreeMap<PeerId, Peer>,
    committees: BTreeMap<CommitteeKey, Committee>,
    outbound: BTreeMap<Flow, Outbound>,
    inbound: BTreeMap<Flow, Inbound>,
    desks: BTreeMap<Flow, Desk>,
    sets: Sets,
    /// What we signed, as is known from outside of the journal.
    remembered: Remembered,
    jobs: BTreeMap<JobId, Job>,
    ends: BTreeMap<JobId, IntentEnd>,
    next_job: u64,
    /// Lanes whose messages rest because the operator said so.
    paused: BTreeSet<LaneId>,
    /// When each verifier's attester set is to be read again: once for all the flows that it verifies.
    next_committee: BTreeMap<CommitteeKey, UnixMillis>,
    /// From when on a peer's word for another attester set of a verifier is taken again.
    next_notice: BTreeMap<CommitteeKey, UnixMillis>,
}

#[derive(Debug)]
struct Lane {
    id: LaneId,
    identity: LaneIdentity,
}

impl Machine {
    /// The flows that a process with this configuration works on, and on which side of each it stands: what the
    /// journal is to recover.
    #[must_use]
    pub fn sides(config: &MachineConfig) -> Vec<(Flow, Side)> {
        let has_target = |domain: Domain| config.chains.iter().any(|chain| chain.domain == domain && chain.has_target);
        let mut sides = Vec::new();
        for lane in &config.lanes {
            for direction in [Direction::Outbox, Direction::Inbox] {
                let flow = Flow { lane: lane.identity.id(), direction };
                match config.role {
                    Role::Attester => sides.push((flow, Side::Attester)),
                    Role::Relay => {
                        if has_target(lane.identity.origin(direction).domain) {
                            sides.push((flow, Side::Outbound));
                        }
                        if has_target(lane.identity.target(direction).domain) {
                            sides.push((flow, Side::Inbound));
                        }
                    }
                }
            }
        }
        sides
    }

    /// Builds the machine from its configuration and what the journal recovered for [`Machine::sides`]. A client goes on from
    /// where it was, or from its configured anchor where that is newer and the client is not frozen.
    #[must_use]
    pub fn new(config: MachineConfig, recovered: Recovered, now: UnixMillis) -> Self {
        let mut io = Io::new(config.limits, config.jitter_seed);
        io.now = now;
        let mut clients_found: BTreeMap<Domain, _> =
            recovered.clients.into_iter().map(|client| (client.domain, client)).collect();
        let mut clients = BTreeMap::new();
        for setup in config.chains {
            let domain = setup.domain;
            let frozen = recovered.frozen.iter().find(|(of, _)| *of == domain).map(|(_, frozen)| *frozen);
            let decided = recovered.decided.iter().filter(|(of, _)| *of == domain).map(|(_, decided)| *decided);
            let mut found = clients_found.remove(&domain);
            // The operator has compared a newer block out of band, and anchored the chain anew.
            if let Some(left) = found.take_if(|found| found.height < setup.height && frozen.is_none()) {
                io.report(Report::Anchored { domain, left: left.height, at: setup.height });
            }
            clients.insert(domain, Client::new(setup, found, frozen, decided));
        }
        let mut machine = Self {
            role: config.role,
            io,
            clients,
            lanes: BTreeMap::new(),
            peers: config.peers.into_iter().map(|setup| (setup.id, Peer::new(setup))).collect(),
            committees: BTreeMap::new(),
            outbound: BTreeMap::new(),
            inbound: BTreeMap::new(),
            desks: BTreeMap::new(),
            sets: Sets::new(recovered.sets),
            remembered: Remembered::default(),
            jobs: BTreeMap::new(),
            ends: BTreeMap::new(),
            next_job: 1,
            paused: recovered.paused.into_iter().collect(),
            next_committee: BTreeMap::new(),
            next_notice: BTreeMap::new(),
        };
        let mut peers = BTreeMap::new();
        for lane in config.lanes {
            let id = lane.identity.id();
            peers.insert(id, lane.peer);
            for (direction, committee) in
                [(Direction::Outbox, lane.destination_committee), (Direction::Inbox, lane.source_committee)]
            {
                if let (Some(committee), Some(peer)) = (committee, lane.peer) {
                    let key = machine.committee_key(lane.identity.target_verifier(direction), peer);
                    machine.committees.insert(key, committee);
                }
            }
            machine.lanes.insert(id, Lane { id, identity: lane.identity });
        }
        for flow in recovered.flows {
            machine.add_flow(flow, &peers);
        }
        for intent in recovered.intents {
            let purpose = intent.purpose;
            let job = machine.resume_job(intent);
            match purpose {
                Purpose::Carry { flow, .. } => {
                    if let Some(inbound) = machine.inbound.get_mut(&flow) {
                        inbound.job = Some(job);
                    }
                }
                Purpose::Checkpoint { flow } => {
                    if let Some(out) = machine.outbound.get_mut(&flow) {
                        out.checkpoint = Some(job);
                    }
                }
                Purpose::Operator => {}
            }
        }
        machine
    }

    fn add_flow(&mut self, recovered: RecoveredFlow, peers: &BTreeMap<LaneId, Option<PeerId>>) {
        let flow = recovered.flow;
        let Some(lane) = self.lanes.get(&flow.lane).map(|lane| lane.identity.clone()) else { return };
        let peer = peers.get(&flow.lane).copied().flatten();
        match (recovered.side, peer) {
            (Side::Outbound, Some(peer)) => {
                let committee = self.committee_key(lane.target_verifier(flow.direction), peer);
                self.outbound.insert(flow, Outbound::new(lane, peer, committee, recovered));
            }
            (Side::Inbound, Some(peer)) => {
                let committee = self.committee_key(lane.target_verifier(flow.direction), peer);
                let batch_cap = self.io.limits.batch_entries;
                self.inbound.insert(flow, Inbound::new(lane, peer, committee, recovered, batch_cap));
            }
            (Side::Attester, _) => {
                self.desks.insert(flow, Desk::new(lane, &recovered));
            }
            // A lane without a peer carries nothing; the configuration check says so.
            (Side::Outbound | Side::Inbound, None) => {}
        }
    }

    /// Takes one input in, at local time `now`. Time that goes backwards is taken as standing still.
    pub fn handle(&mut self, input: Input, now: UnixMillis) {
        self.io.now = self.io.now.max(now);
        self.io.is_idle = false;
        match input {
            Input::Tick => self.on_tick(),
            Input::PeerUp(peer) => self.on_peer_up(peer),
            Input::PeerDown(peer) => self.on_peer_down(peer),
            Input::Frame { peer, frame, receipt } => self.on_frame(peer, frame, receipt),
            Input::Durable(ticket) => self.on_durable(ticket),
            Input::AppendFailed { ticket, is_retryable } => self.on_append_failed(ticket, is_retryable),
            Input::UpdateFetched { domain, recipient, after, answer } => {
                self.on_update_fetched(domain, recipient, after, answer);
            }
            Input::UpdateVerified { domain, update, origin, result } => {
                self.on_update_verified(domain, update, origin, result);
            }
            Input::HeaderConfirmed { domain, height, hash, answer } => {
                self.on_header_confirmed(domain, (height, hash), answer);
            }
            Input::SetConfirmed { domain, statement, agrees } => self.on_set_confirmed(domain, statement, agrees),
            Input::SetApplied { domain, result, .. } => self.on_set_applied(domain, result),
            Input::HintRead { flow, answer } => self.on_hint_read(flow, answer),
            Input::NewBlock { domain } => self.on_new_block(domain),
            Input::Observed { flow, answer } => self.on_observed(flow, answer),
            Input::ClaimVerified { origin, claim, result } => self.on_claim_verified(origin, claim, result),
            Input::ClaimLoaded { flow, peer, entries, tail } => self.on_claim_loaded(flow, peer, entries, tail),
            Input::SignedLoaded { peer, found } => self.on_signed_loaded(peer, found),
            Input::ExtensionsLoaded { flow, after, extensions } => self.on_extensions_loaded(flow, after, extensions),
            Input::PointRead { flow, index, point } => self.on_point_read(flow, index, point),
            Input::Confirmed { flow, agrees } => self.on_confirmed(flow, agrees),
            Input::Signed { what, peer, signature } => self.on_signed(&what, peer, signature),
            Input::Prepared { job, answer } => self.on_prepared(job, answer),
            Input::Broadcasted(job) => self.on_broadcasted(job),
            Input::Tracked { job, fate } => self.on_tracked(job, fate),
            Input::AcceptedRead { flow, answer } => self.on_accepted_read(flow, answer),
            Input::CommitteeRead { flow, answer } => self.on_committee_read(flow, answer),
            Input::Order { id, order } => self.on_order(id, order),
        }
    }

    /// The next thing to do, in order; `None` when everything was given out.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.io.pop()
    }

    /// When to come back with [`Input::Tick`] at the latest; `None` when only an input can change anything.
    ///
    /// A moment that has passed means that a tick now may do something: after a tick that did nothing it lies ahead.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<UnixMillis> {
        let clients = self.clients.values().filter_map(Client::next_due);
        let outbound = self.outbound.values().filter_map(|out| self.outbound_due(out));
        let inbound = self.inbound.values().filter_map(|inbound| self.inbound_due(inbound));
        let desks = self.desks.values().filter_map(|desk| self.desk_due(desk));
        let jobs = self.jobs.values().filter_map(Job::next_due);
        let others = [self.sets.next_due(), self.lost_due(), self.io.next_retry()].into_iter().flatten();
        let all = clients.chain(outbound).chain(inbound).chain(desks).chain(jobs).chain(others);
        // What is due and was not done waits for an input, such as a header that a lagging attester lacks: looking again
        // at once would cost a whole processor.
        let again = self.io.after(self.io.limits.retry_min);
        all.map(|due| if self.io.is_idle && due <= self.io.now { again } else { due }).min()
    }

    /// Whether anything appended is not known to be durable yet; a graceful stop waits for it.
    #[must_use]
    pub fn has_pending_appends(&self) -> bool {
        self.io.has_pending_appends()
    }

    fn on_tick(&mut self) {
        let before = self.io.count();
        self.io.retry_due();
        for client in self.clients.values_mut() {
            client.advance(&mut self.io);
        }
        self.ask_sets();
        self.ask_for_lost();
        self.follow_jobs();
        self.advance_all_flows();
        self.io.is_idle = self.io.count() == before;
    }

    fn advance_all_flows(&mut self) {
        let flows: Vec<Flow> =
            self.outbound.keys().chain(self.inbound.keys()).chain(self.desks.keys()).copied().collect();
        for flow in flows {
            self.advance_flow(flow);
        }
    }

    fn advance_flow(&mut self, flow: Flow) {
        self.advance_outbound(flow);
        self.advance_inbound(flow);
        self.advance_desk(flow);
    }

    fn on_claim_verified(
        &mut self,
        origin: ClaimOrigin,
        claim: Claim,
        result: Result<(VerifiedExtension, Vec<VerifiedEvidence>), ClaimRefusal>,
    ) {
        match origin {
            ClaimOrigin::Observer => self.own_claim_verified(claim, result.map(|(extension, _)| extension)),
            ClaimOrigin::Peer(_, receipt) => self.peer_claim_verified(receipt, claim, result),
            ClaimOrigin::Requester(_) => {
                self.requested_claim_verified(claim, result.map(|(extension, _)| extension));
            }
        }
    }

    fn on_durable(&mut self, ticket: Ticket) {
        let Some(pending) = self.io.take_pending(ticket) else { return };
        match pending.after {
            After::Client { domain, state, height, hash, headers, confirmed } => {
                self.client_is_durable(domain, state, height, hash, headers, confirmed);
            }
            After::Frozen { domain } => self.client_is_frozen(domain),
            After::Outbound { flow, tip } => self.outbound_is_durable(flow, tip),
            After::Attested { flow, point } => {
                if let Some(evidence) = evidence_of(pending.records, point) {
                    self.outbound_is_attested(flow, evidence);
                }
            }
            After::Reattested { flow, point } => {
                if let Some(evidence) = evidence_of(pending.records, point) {
                    self.inbound_is_reattested(flow, evidence);
                }
            }
            After::Inbound { flow, tip, receipt } => self.inbound_is_durable(flow, tip, receipt),
            After::Done { flow, point } => self.inbound_is_done(flow, point),
            After::MaySign { flow, tip, statement, peer } => self.may_sign(flow, tip, statement, peer),
            After::Merged { flow, tip } => self.is_merged(flow, tip),
            After::MaySignSet { attestation, peer } => self.may_sign_set(attestation, peer),
            After::Intent { job } => self.intent_is_durable(job),
            After::IntentClosed { job } => self.intent_is_closed(job),
            After::Order { id } => self.order_is_durable(id, pending.records),
            After::Nothing => {}
        }
    }

    fn on_append_failed(&mut self, ticket: Ticket, is_retryable: bool) {
        let Some(pending) = self.io.take_pending(ticket) else { return };
        self.io.report(Report::JournalTrouble { is_retryable });
        if is_retryable
            && !matches!(pending.after, After::Inbound { .. } | After::Outbound { .. } | After::Order { .. })
        {
            return self.io.retry_later(pending);
        }
        match pending.after {
            After::Outbound { flow, .. } => self.outbound_append_failed(flow, ticket),
            After::Attested { flow, point } => self.attested_append_failed(flow, point.index),
            After::Inbound { flow, receipt, .. } => self.inbound_append_failed(flow, receipt, ticket),
            After::MaySign { flow, .. } | After::Merged { flow, .. } => {
                self.desk_failed(flow, crate::frame::DeclineReason::Mute)
            }
            After::Client { domain, .. } => self.client_append_failed(domain),
            After::Intent { job } => self.job_append_failed(job),
            After::Order { id } => self.order_append_failed(id, is_retryable),
            After::MaySignSet { peer, .. } => self.sets.signing.end(peer),
            After::Frozen { .. }
            | After::Reattested { .. }
            | After::Done { .. }
            | After::IntentClosed { .. }
            | After::Nothing => {}
        }
    }
}

fn evidence_of(records: Vec<Record>, point: crate::chain::ChainPoint) -> Option<crate::gateway_call::Evidence> {
    records.into_iter().find_map(|record| match record {
        Record::Attested { evidence, .. } if evidence.point == point => Some(evidence),
        _ => None,
    })
}

/// A verified extension in the form that is kept.
fn extension_record(
    extension: &VerifiedExtension,
    claim: Claim,
    block_time: UnixMillis,
    now: UnixMillis,
) -> ExtensionRecord {
    ExtensionRecord {
        flow: extension.flow(),
        base: extension.base(),
        entries: claim.entries,
        proved_at: extension.proved_at(),
        block_hash: extension.block_hash(),
        block_time,
        tail: claim.tail,
        proof: claim.proof,
        at: now,
    }
}

#[cfg(test)]
mod tests;
