//! What the machine reports, as log lines, counters and health.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cityrelay_core::ids::{LaneId, UnixMillis};
use cityrelay_core::lane::Flow;
use cityrelay_core::machine::config::PeerId;
use cityrelay_core::machine::effect::{Report, UpdateOrigin};
use cityrelay_core::machine::input::ClaimRefusal;
use cityrelay_core::machine::status::{FlowStatus, Status, WaitReason};
use cityrelay_journal::Stats as JournalStats;
use cityrelay_link::LinkStats;
use tracing::{debug, error, info, warn};

use super::plan::Handles;
use crate::clock::unix_millis;
use crate::observability::{CarryKind, FlowLabel, Health, Metrics, Trouble};

/// An unfinished entry older than this makes the daemon unready, whatever it waits for.
const STALL_AFTER: Duration = Duration::from_secs(120);

/// Takes reports and snapshots.
pub(super) struct Reporter {
    handles: Arc<Handles>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    labels: HashMap<Flow, FlowLabel>,
    /// Since when each flow's oldest entry is the same.
    progress: HashMap<Flow, (u64, UnixMillis)>,
}

impl Reporter {
    pub fn new(handles: Arc<Handles>, metrics: Arc<Metrics>, health: Arc<Health>) -> Self {
        Self { handles, metrics, health, labels: HashMap::new(), progress: HashMap::new() }
    }

    fn channel(&self, lane: LaneId) -> &str {
        self.handles.lanes.get(&lane).map_or("unknown", |lane| &lane.channel)
    }

    fn label(&mut self, flow: Flow) -> FlowLabel {
        if let Some(label) = self.labels.get(&flow) {
            return label.clone();
        }
        let label = FlowLabel::new(flow.lane, self.channel(flow.lane), flow.direction);
        self.labels.insert(flow, label.clone());
        label
    }

    fn peer(&self, peer: PeerId) -> &str {
        self.handles.peers.get(&peer).map_or("unknown", String::as_str)
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
            Report::Lie { domain, origin, refusal } => {
                let chain = self.handles.chain_name(domain);
                self.metrics.update_refused(chain, refusal.check);
                let who = match &origin {
                    UpdateOrigin::Node(endpoint) => endpoint.as_str(),
                    UpdateOrigin::Peer(peer) => self.peer(*peer),
                };
                warn!(chain, who, check = refusal.check, %refusal, "headers were refused");
            }
            Report::Frozen { domain } => {
                self.metrics.equivocation();
                let chain = self.handles.chain_name(domain);
                error!(chain, "two final headers at one height: the client is frozen until an operator decides");
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
                let peer = self.peer(peer);
                self.metrics.declined(peer, declined.reason);
                let (index, reason) = (declined.index.0, declined.reason.as_str());
                debug!(peer, lane = %declined.flow.lane, index, reason, "declined");
            }
            Report::TransactionEnded { domain, purpose, end } => {
                let chain = self.handles.chain_name(domain);
                self.metrics.transaction_ended(chain, CarryKind::of(&purpose), &end);
                debug!(chain, ?purpose, ?end, "a transaction ended");
            }
            Report::JobEnded { job, end, .. } => debug!(job = job.0, ?end, "a submitted call ended"),
            Report::Done { flow, point, millis } => {
                let label = self.label(flow);
                for took in millis {
                    self.metrics.done(&label, Duration::from_millis(took));
                }
                debug!(lane = %flow.lane, direction = flow.direction.as_str(), index = point.index.0, "done");
            }
            Report::AuditDifference { flow, ours, theirs } => {
                self.metrics.audit_difference();
                let (lane, direction) = (flow.lane, flow.direction.as_str());
                let (ours, theirs) = (ours.head, theirs.head);
                error!(%lane, direction, %ours, %theirs, "journal and chain differ: nothing more is carried on this flow");
            }
            Report::ConflictingHead { flow, ours, theirs, attester } => {
                self.metrics.conflicting_head();
                let (index, ours, theirs) = (ours.index.0, ours.head, theirs.head);
                error!(lane = %flow.lane, index, %ours, %theirs, %attester, "an attester signed another head");
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
        let who = peer.map_or("own observer", |peer| self.peer(peer));
        warn!(lane = %flow.lane, direction = flow.direction.as_str(), who, check, %refusal, "a claim was refused");
    }

    /// Computes gauges and health anew.
    pub fn snapshot(&mut self, status: &Status, journal: &JournalStats, link: &LinkStats) {
        let now = unix_millis();
        for client in &status.clients {
            let chain = self.handles.chain_name(client.domain);
            let lag = client.timestamp.map(|time| age(time, now));
            self.metrics.client(chain, client.height, lag, client.held, client.is_frozen);
        }
        for chain in self.handles.chains.values() {
            for endpoint in chain.source.iter().flat_map(|source| source.endpoints()) {
                self.metrics.endpoint(&chain.name, &endpoint);
            }
        }
        for flow in &status.flows {
            let label = self.label(flow.flow);
            self.metrics.flow(&label, flow, flow.oldest.map(|time| age(time, now)));
        }
        self.metrics.open_transactions(status.open_intents);
        let disputes = status.flows.iter().filter(|flow| flow.waits_for == WaitReason::Dispute).count();
        self.metrics.audit_differences(disputes);
        self.metrics.journal(journal.bytes_on_disk, journal.last_sync);
        self.metrics.sessions(link.sessions);
        for (peer, stats) in &link.peers {
            let is_up = stats.session.is_some();
            self.metrics.peer(peer.as_str(), is_up, stats.bytes_in, stats.bytes_out, stats.rtt);
        }
        for (reason, count) in &link.refusals {
            self.metrics.link_refused(reason, *count);
        }
        let mut troubles = self.troubles(status, now);
        if let Some(failure) = &journal.failure {
            troubles.push(Trouble { subject: "journal".to_owned(), reason: failure.to_string() });
        }
        self.health.report(troubles);
    }

    /// Why the daemon is not making the progress that it should; nothing means ready.
    fn troubles(&mut self, status: &Status, now: UnixMillis) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        for client in &status.clients {
            let subject = format!("chain {}", self.handles.chain_name(client.domain));
            if client.is_frozen {
                let reason = "two final headers at one height: an operator must decide".to_owned();
                troubles.push(Trouble { subject, reason });
            } else if let Some(reason) = client.held {
                troubles.push(Trouble { subject, reason: reason.to_string() });
            }
        }
        for (peer, _, is_up) in &status.peers {
            if !is_up {
                let subject = format!("peer {}", self.peer(*peer));
                troubles.push(Trouble { subject, reason: "no session".to_owned() });
            }
        }
        for flow in &status.flows {
            if let Some(reason) = self.stall(flow, now) {
                let (channel, direction) = (self.channel(flow.flow.lane), flow.flow.direction.as_str());
                troubles.push(Trouble { subject: format!("lane {channel} {} {direction}", flow.flow.lane), reason });
            }
        }
        troubles
    }

    /// What a flow waits for, when it has waited too long at the same place.
    fn stall(&mut self, flow: &FlowStatus, now: UnixMillis) -> Option<String> {
        if flow.waits_for == WaitReason::Idle {
            self.progress.remove(&flow.flow);
            return None;
        }
        let place = flow.finished.0.wrapping_add(flow.durable.0);
        let (at, since) = *self.progress.entry(flow.flow).or_insert((place, now));
        if at != place {
            self.progress.insert(flow.flow, (place, now));
            return None;
        }
        let must_act = matches!(flow.waits_for, WaitReason::Dispute | WaitReason::Frozen);
        let waited = age(since, now);
        (must_act || waited > STALL_AFTER).then(|| {
            let (reason, who) = (flow.waits_for.as_str(), flow.waits_for.who());
            format!("waits {} s for {reason}: {who} must act", waited.as_secs())
        })
    }
}

fn age(time: UnixMillis, now: UnixMillis) -> Duration {
    Duration::from_millis(now.0.saturating_sub(time.0))
}
