//! What the machine reports, as log lines, counters and health.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use cityrelay_api::source::EndpointHealth;
use cityrelay_core::frame::Role;
use cityrelay_core::ids::{Domain, Index, UnixMillis};
use cityrelay_core::lane::Flow;
use cityrelay_core::machine::config::PeerId;
use cityrelay_core::machine::effect::{Report, UpdateOrigin};
use cityrelay_core::machine::input::ClaimRefusal;
use cityrelay_core::machine::status::{FlowStatus, Status};
use cityrelay_core::recovery::Side;
use cityrelay_journal::Stats as JournalStats;
use cityrelay_link::LinkStats;
use tracing::{debug, error, info, warn};

use super::plan::Handles;
use super::readiness::{Picture, Readiness, age, count_differences, ready_attesters};
use super::survey::Survey;
use crate::clock::unix_millis;
use crate::observability::{Ages, CarryKind, EvidenceKind, FlowLabel, Metrics, Trouble};

/// Moments at which new entries of a flow were seen that are remembered; beyond that they count as seen later.
const MAX_SEEN: usize = 1024;

/// Takes reports and snapshots.
pub(super) struct Reporter {
    handles: Arc<Handles>,
    metrics: Arc<Metrics>,
    labels: HashMap<Flow, FlowLabel>,
    readiness: Readiness,
    /// Entries that were seen and are not proved: the highest index at a moment.
    seen: HashMap<(Flow, Side), VecDeque<(Index, UnixMillis)>>,
}

impl Reporter {
    pub fn new(handles: Arc<Handles>, metrics: Arc<Metrics>) -> Self {
        let readiness = Readiness::default();
        Self { handles, metrics, labels: HashMap::new(), readiness, seen: HashMap::new() }
    }

    fn label(&mut self, flow: Flow) -> FlowLabel {
        if let Some(label) = self.labels.get(&flow) {
            return label.clone();
        }
        let label = FlowLabel::new(flow.lane, self.handles.channel(flow.lane), flow.direction);
        self.labels.insert(flow, label.clone());
        label
    }

    /// Takes one report.
    pub fn report(&mut self, report: Report) {
        match report {
            Report::HeadersVerified { domain, count, height, set_changes } => {
                let chain = self.handles.chain_name(domain);
                self.metrics.headers_verified(chain, count, set_changes);
                debug!(chain, count, height = height.0, set_changes, "headers verified");
                if set_changes > 0 {
                    info!(chain, height = height.0, set_changes, "another validator set is in force");
                }
            }
            Report::HeadersHeldBack { domain, reason } => {
                let chain = self.handles.chain_name(domain);
                self.metrics.headers_held_back(chain, reason);
                warn!(chain, %reason, "headers are held back");
            }
            Report::Anchored { domain, left, at } => {
                let chain = self.handles.chain_name(domain);
                warn!(chain, %left, %at, "the configured anchor is newer than what was verified: going on from there");
            }
            Report::Lie { domain, origin, refusal } => {
                let chain = self.handles.chain_name(domain);
                self.metrics.update_refused(chain, refusal.check);
                let who = match &origin {
                    UpdateOrigin::Node(endpoint) => endpoint.as_str(),
                    UpdateOrigin::Peer(peer) => self.handles.peer_name(*peer),
                };
                warn!(chain, who, check = refusal.check, %refusal, "headers were refused");
            }
            Report::Frozen { domain } => {
                let chain = self.handles.chain_name(domain);
                error!(chain, "two statements about one height: the client is frozen until an operator decides");
            }
            Report::HeaderConfirmed { domain, height, agreeing, contrary, silent } => {
                let chain = self.handles.chain_name(domain);
                self.metrics.header_confirmed(chain, agreeing, contrary, silent);
                debug!(chain, height = height.0, agreeing, contrary, silent, "own nodes were asked about a header");
            }
            Report::Contradicted { domain, height, node, theirs } => {
                let chain = self.handles.chain_name(domain);
                error!(chain, height = height.0, node, %theirs, "an own node has another block than the sealed header");
            }
            Report::ClaimRefused { flow, peer, refusal } => self.claim_refused(flow, peer, &refusal),
            Report::Journalled { flow, tip, count } => {
                let label = self.label(flow);
                self.metrics.journalled(&label, count);
                debug!(lane = %flow.lane, direction = flow.direction.as_str(), tip = tip.index.0, count, "journalled");
            }
            Report::Attested { flow, point, millis } => {
                let label = self.label(flow);
                self.metrics.attested(&label, Duration::from_millis(millis));
                debug!(lane = %flow.lane, direction = flow.direction.as_str(), index = point.index.0, millis, "attested");
            }
            Report::Vote { attester, .. } => self.metrics.vote(attester),
            Report::Declined { peer, declined } => {
                let peer = self.handles.peer_name(peer);
                self.metrics.declined(peer, declined.reason);
                let (index, reason) = (declined.index.0, declined.reason.as_str());
                debug!(peer, lane = %declined.flow.lane, index, reason, "declined");
            }
            Report::TransactionEnded { domain, purpose, end } => {
                let chain = self.handles.chain_name(domain);
                self.metrics.transaction_ended(chain, CarryKind::of(&purpose), &end);
                debug!(chain, ?purpose, ?end, "a transaction ended");
            }
            // Whoever ordered or submitted something is answered by the event loop.
            Report::OrderEnded { .. } | Report::JobEnded { .. } => {}
            Report::Done { flow, point, millis } => {
                let label = self.label(flow);
                for took in millis {
                    self.metrics.done(&label, Duration::from_millis(took));
                }
                debug!(lane = %flow.lane, direction = flow.direction.as_str(), index = point.index.0, "done");
            }
            Report::AuditDifference { flow, ours, theirs } => {
                let (lane, direction) = (flow.lane, flow.direction.as_str());
                let (ours, theirs) = (ours.head, theirs.head);
                error!(%lane, direction, %ours, %theirs, "journal and chain differ: nothing more is carried on this flow");
            }
            Report::ConflictingHead { flow, ours, theirs, attester } => {
                let (index, ours, theirs) = (ours.index.0, ours.head, theirs.head);
                error!(lane = %flow.lane, index, %ours, %theirs, %attester, "an attester signed another head");
            }
            Report::PeerFellBack { flow, from, to } => {
                let (lane, direction) = (flow.lane, flow.direction.as_str());
                warn!(%lane, direction, from = from.0, to = to.0, "the peer's journal is an older one: sending again");
            }
            Report::SetAttested { fact, signatures } => {
                let chain = self.handles.chain_name(fact.domain);
                let height = fact.statement.height.0;
                info!(chain, height, signatures, "enough attesters vouch for a validator set");
            }
            Report::SetRefused { domain, peer, refusal } => {
                let (chain, who) = (self.handles.chain_name(domain), self.handles.peer_name(peer));
                self.metrics.update_refused(chain, refusal.check());
                warn!(chain, who, check = refusal.check(), %refusal, "what was said of a validator set was refused");
            }
            Report::JournalTrouble { is_retryable } => self.metrics.journal_trouble(is_retryable),
        }
    }

    fn claim_refused(&mut self, flow: Flow, peer: Option<PeerId>, refusal: &ClaimRefusal) {
        let label = self.label(flow);
        let check = match refusal {
            ClaimRefusal::Claim(refusal) => refusal.check,
            ClaimRefusal::Evidence(_) => "evidence",
        };
        self.metrics.claim_refused(&label, check);
        let who = peer.map_or("own observer", |peer| self.handles.peer_name(peer));
        warn!(lane = %flow.lane, direction = flow.direction.as_str(), who, check, %refusal, "a claim was refused");
    }

    /// Computes gauges anew, and what keeps the daemon from the progress that it should make.
    pub fn snapshot(
        &mut self,
        status: &Status,
        journal: &JournalStats,
        link: &LinkStats,
        survey: &Survey,
    ) -> Vec<Trouble> {
        let now = unix_millis();
        let endpoints = self.endpoints();
        for client in &status.clients {
            let chain = self.handles.chain_name(client.domain);
            let lag = client.timestamp.map(|time| age(time, now));
            self.metrics.client(chain, client.height, lag, client.held, client.is_frozen());
            if let Some(endpoints) = endpoints.get(&client.domain) {
                self.metrics.endpoints(chain, endpoints, client.height);
            }
        }
        for flow in &status.flows {
            let label = self.label(flow.flow);
            let unfinished = flow.oldest.map(|time| age(time, now));
            let ages = Ages { unproved: self.unproved(flow, now), unfinished };
            self.metrics.flow(&label, flow, ages);
        }
        // An attester is asked by relays and asks nobody: how many there are is not its business.
        for committee in status.committees.iter().filter(|_| status.role == Role::Relay) {
            self.metrics.committee(self.handles.chain_name(committee.key.domain), committee);
        }
        self.metrics.ready_attesters(ready_attesters(status));
        self.metrics.open_transactions(status.open_intents);
        self.metrics.journal(journal);
        self.show_link(status, link);
        self.show_survey(status, survey);
        let picture = Picture { status, endpoints: &endpoints, survey, journal };
        self.readiness.troubles(&self.handles, &picture, now)
    }

    fn endpoints(&self) -> BTreeMap<Domain, Vec<EndpointHealth>> {
        let sources = self.handles.chains.iter().filter_map(|(domain, chain)| Some((*domain, chain.source.as_ref()?)));
        sources.map(|(domain, source)| (domain, source.endpoints())).collect()
    }

    fn show_link(&self, status: &Status, link: &LinkStats) {
        self.metrics.sessions(link.sessions);
        for (peer, role, _) in &status.peers {
            let name = self.handles.peer_name(*peer);
            if let Some((_, stats)) = link.peers.iter().find(|(known, _)| known.as_str() == name) {
                self.metrics.peer(name, *role, stats);
            }
        }
        for (reason, count) in &link.refusals {
            self.metrics.link_refused(reason, *count);
        }
    }

    fn show_survey(&self, status: &Status, survey: &Survey) {
        for (domain, found) in &survey.chains {
            let chain = self.handles.chain_name(*domain);
            self.metrics.chain(chain, found.pending, found.funds);
            for (lane, state) in &found.lanes {
                self.metrics.lane_state(*lane, self.handles.channel(*lane), chain, *state);
            }
            if let Some(at) = found.audited {
                self.metrics.audited(chain, at);
            }
        }
        if let Some(space) = survey.space {
            self.metrics.volume(space.size, space.free);
        }
        for kind in EvidenceKind::ALL {
            self.metrics.evidence(kind, survey.evidence.get(&kind).copied().unwrap_or(0));
        }
        self.metrics.audit_differences(count_differences(status, survey));
    }

    /// Since when the oldest entry that was seen and is not proved has been seen.
    fn unproved(&mut self, flow: &FlowStatus, now: UnixMillis) -> Option<Duration> {
        let seen = self.seen.entry((flow.flow, flow.side)).or_default();
        while seen.front().is_some_and(|(index, _)| *index <= flow.durable) {
            seen.pop_front();
        }
        let is_new = seen.back().is_none_or(|(index, _)| *index < flow.hint);
        if flow.hint > flow.durable && is_new && seen.len() < MAX_SEEN {
            seen.push_back((flow.hint, now));
        }
        seen.front().map(|(_, at)| age(*at, now))
    }
}
