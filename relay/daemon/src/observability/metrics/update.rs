//! What happens, and what stands, as numbers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use cityrelay_api::source::EndpointHealth;
use cityrelay_api::target::{Funds, LaneState};
use cityrelay_core::frame::{DeclineReason, Role};
use cityrelay_core::ids::{AttesterId, Height, LaneId, UnixMillis};
use cityrelay_core::lane::Direction;
use cityrelay_core::light_client::HoldReason;
use cityrelay_core::machine::status::{CommitteeStatus, FlowStatus, WaitReason};
use cityrelay_core::record::IntentEnd;
use cityrelay_journal::Stats as JournalStats;
use cityrelay_link::PeerStats;
use prometheus_client::metrics::counter::Counter;

use super::labels::{
    AGREES, APPLIED, CONTRADICTS, DEAD, DURABLE, FINISHED, LANE_STATES, OfAnswer, OfAttester, OfChain, OfCheck,
    OfClaim, OfDecline, OfDepth, OfDial, OfEnd, OfEndpoint, OfEvidence, OfHold, OfLaneState, OfPeer, OfPosition,
    OfRefusal, OfReload, OfRetry, OfSession, OfSpanLoss, OfTransaction, OfTrouble, OfWait, REFUSED, REVERTED, SEEN,
    SILENT, SUCCEEDED, UNFINISHED, UNPROVED, lane_state_word,
};
use super::{CarryKind, EvidenceKind, FlowLabel, Metrics, SpanLoss};
use crate::observability::health::{Health, TroubleKind};

/// How long the oldest entries of a flow have waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ages {
    /// Since the oldest entry that was seen and is not proved was first seen.
    pub unproved: Option<Duration>,
    /// Since the block behind the oldest entry that is durable and not finished.
    pub unfinished: Option<Duration>,
}

impl Metrics {
    /// When the process started; its configuration is as old.
    pub fn started(&self, at: UnixMillis) {
        self.daemon_started.set(seconds(at));
        self.config_applied.set(seconds(at));
    }

    /// A reload of the configuration came to its end.
    pub fn reloaded(&self, is_applied: bool, at: UnixMillis) {
        let result = if is_applied { APPLIED } else { REFUSED };
        self.config_reloads.get_or_create(&OfReload { result }).inc();
        self.config_failed.set(i64::from(!is_applied));
        if is_applied {
            self.config_applied.set(seconds(at));
        }
    }

    /// What `/livez` and `/readyz` would say; for each scrape.
    pub fn health(&self, health: &Health) {
        let troubles = health.troubles();
        self.daemon_silent.set(health.silence().as_secs_f64());
        self.daemon_ready.set(i64::from(troubles.is_empty()));
        for kind in TroubleKind::ALL {
            let count = troubles.iter().filter(|trouble| trouble.kind == kind).count();
            self.daemon_troubles.get_or_create(&OfTrouble { kind: kind.as_str() }).set(gauge(counted(count)));
        }
    }

    /// Where a chain's client stands: a gauge for each fact.
    pub fn client(
        &self,
        chain: &str,
        height: Height,
        lag: Option<Duration>,
        held: Option<HoldReason>,
        is_frozen: bool,
    ) {
        let label = of_chain(chain);
        self.client_height.get_or_create(&label).set(gauge(height.0));
        if let Some(lag) = lag {
            self.client_lag.get_or_create(&label).set(lag.as_secs_f64());
        }
        self.client_frozen.get_or_create(&label).set(i64::from(is_frozen));
        let held = held.map(|reason| reason.as_str());
        for reason in HoldReason::ALL {
            let label = OfHold { chain: chain.to_owned(), reason };
            self.client_waiting.get_or_create(&label).set(i64::from(Some(reason) == held));
        }
    }

    /// Headers were found final.
    pub fn headers_verified(&self, chain: &str, count: usize, set_changes: usize) {
        self.client_verified.get_or_create(&of_chain(chain)).inc_by(counted(count));
        self.client_set_changes.get_or_create(&of_chain(chain)).inc_by(counted(set_changes));
    }

    /// The end of an update has to wait.
    pub fn headers_held_back(&self, chain: &str, reason: HoldReason) {
        self.client_held.get_or_create(&OfHold { chain: chain.to_owned(), reason: reason.as_str() }).inc();
    }

    /// An update failed a check.
    pub fn update_refused(&self, chain: &str, check: &'static str) {
        self.client_refused.get_or_create(&OfCheck { chain: chain.to_owned(), check }).inc();
    }

    /// Own nodes were asked about a verified header: so many have the same, another one, or can't say.
    pub fn header_confirmed(&self, chain: &str, agreeing: usize, contrary: usize, silent: usize) {
        for (answer, count) in [(AGREES, agreeing), (CONTRADICTS, contrary), (SILENT, silent)] {
            self.client_answers.get_or_create(&OfAnswer { chain: chain.to_owned(), answer }).inc_by(counted(count));
        }
    }

    /// How the endpoints of a chain stand, whose client is at `height`.
    pub fn endpoints(&self, chain: &str, endpoints: &[EndpointHealth], height: Height) {
        for health in endpoints {
            let label = OfEndpoint { chain: chain.to_owned(), endpoint: health.name.clone() };
            self.node_usable.get_or_create(&label).set(i64::from(health.is_usable));
            self.node_latency.get_or_create(&label).set(health.latency.as_secs_f64());
            self.node_height.get_or_create(&label).set(gauge(health.height.0));
            raise(&self.node_errors.get_or_create(&label), health.errors);
            raise(&self.node_lies.get_or_create(&label), health.lies);
        }
        let usable = endpoints.iter().filter(|endpoint| endpoint.is_usable);
        if let Some(highest) = usable.map(|endpoint| endpoint.height.0).max() {
            self.client_behind.get_or_create(&of_chain(chain)).set(gauge(highest.saturating_sub(height.0)));
        }
    }

    /// What waits in the pool of a chain's nodes, and what the account there can pay.
    pub fn chain(&self, chain: &str, pending: Option<u64>, funds: Option<Funds>) {
        if let Some(pending) = pending {
            self.chain_pending.get_or_create(&of_chain(chain)).set(gauge(pending));
        }
        match funds {
            Some(Funds::Left { transactions, .. }) => {
                self.account_left.get_or_create(&of_chain(chain)).set(gauge(transactions));
            }
            Some(Funds::NotNeeded) => {
                self.account_left.remove(&of_chain(chain));
            }
            None => {}
        }
    }

    /// How a lane stands on the gateway of a chain.
    pub fn lane_state(&self, lane: LaneId, channel: &str, chain: &str, state: LaneState) {
        for known in LANE_STATES {
            let label = OfLaneState {
                lane: lane.to_string(),
                channel: channel.to_owned(),
                chain: chain.to_owned(),
                state: lane_state_word(known),
            };
            self.lane_state.get_or_create(&label).set(i64::from(known == state));
        }
    }

    /// Where a flow stands.
    pub fn flow(&self, flow: &FlowLabel, status: &FlowStatus, ages: Ages) {
        let side = status.side.as_str();
        let (seen, durable, finished) = (status.hint.0, status.durable.0, status.finished.0);
        let position = |state| OfPosition {
            lane: flow.lane.clone(),
            channel: flow.channel.clone(),
            direction: flow.direction,
            side,
            state,
        };
        for (state, index) in [(SEEN, seen), (DURABLE, durable), (FINISHED, finished)] {
            self.lane_position.get_or_create(&position(state)).set(gauge(index));
        }
        let depth = |state| OfDepth {
            lane: flow.lane.clone(),
            channel: flow.channel.clone(),
            direction: flow.direction,
            side,
            state,
        };
        let (unproved, unfinished) = (seen.saturating_sub(durable), durable.saturating_sub(finished));
        for (state, count, age) in [(UNPROVED, unproved, ages.unproved), (UNFINISHED, unfinished, ages.unfinished)] {
            self.lane_depth.get_or_create(&depth(state)).set(gauge(count));
            self.lane_oldest.get_or_create(&depth(state)).set(age.unwrap_or_default().as_secs_f64());
        }
        for reason in WaitReason::ALL {
            let label = OfWait {
                lane: flow.lane.clone(),
                channel: flow.channel.clone(),
                direction: flow.direction,
                side,
                reason: reason.as_str(),
            };
            self.lane_waiting.get_or_create(&label).set(i64::from(reason == status.waits_for));
        }
    }

    /// Entries of a flow became durable.
    pub fn journalled(&self, flow: &FlowLabel, count: usize) {
        self.lane_journalled.get_or_create(flow).inc_by(counted(count));
    }

    /// A claim about a flow failed a check.
    pub fn claim_refused(&self, flow: &FlowLabel, check: &'static str) {
        let label =
            OfClaim { lane: flow.lane.clone(), channel: flow.channel.clone(), direction: flow.direction, check };
        self.lane_claims_refused.get_or_create(&label).inc();
    }

    /// An attester gave a good signature.
    pub fn vote(&self, attester: AttesterId) {
        self.attestation_votes.get_or_create(&OfAttester { attester: attester.to_string() }).inc();
    }

    /// The attester set of a verifier on this chain.
    pub fn committee(&self, chain: &str, committee: &CommitteeStatus) {
        self.attestation_needed.get_or_create(&of_chain(chain)).set(i64::from(committee.threshold));
        self.attestation_members.get_or_create(&of_chain(chain)).set(gauge(counted(committee.members.len())));
    }

    /// How many attesters of the set that lacks most have a session.
    pub fn ready_attesters(&self, count: usize) {
        self.attestation_ready.set(gauge(counted(count)));
    }

    /// A head has enough signatures, this long after they were first asked for.
    pub fn attested(&self, flow: &FlowLabel, took: Duration) {
        self.attestation_latency.get_or_create(flow).observe(took.as_secs_f64());
    }

    /// An entry of a flow is taken in by its target chain, this long after its source block.
    pub fn done(&self, flow: &FlowLabel, took: Duration) {
        let family = if flow.direction == Direction::Outbox.as_str() {
            &self.delivery_latency
        } else {
            &self.settlement_latency
        };
        family.get_or_create(flow).observe(took.as_secs_f64());
    }

    /// A transaction came to its end.
    pub fn transaction_ended(&self, chain: &str, kind: CarryKind, end: &IntentEnd) {
        let (word, gas) = match end {
            IntentEnd::Succeeded { gas_used, .. } => (SUCCEEDED, *gas_used),
            IntentEnd::Reverted { gas_used, .. } => (REVERTED, *gas_used),
            IntentEnd::Dead => (DEAD, 0),
        };
        let kind = kind.as_str();
        self.transaction_gas.get_or_create(&OfTransaction { chain: chain.to_owned(), kind }).inc_by(gas);
        // All three, so that the first revert has an increase.
        for end in [SUCCEEDED, REVERTED, DEAD] {
            let label = OfEnd { chain: chain.to_owned(), kind, end };
            self.transaction_ended.get_or_create(&label).inc_by(u64::from(end == word));
        }
    }

    /// How many transactions are open.
    pub fn open_transactions(&self, count: usize) {
        self.transaction_open.set(gauge(counted(count)));
    }

    /// How many peers have a session.
    pub fn sessions(&self, count: usize) {
        self.link_sessions.set(gauge(counted(count)));
    }

    /// How a peer stands; counts are since the start.
    pub fn peer(&self, peer: &str, role: Role, stats: &PeerStats) {
        let label = OfPeer { peer: peer.to_owned() };
        let session = OfSession { peer: peer.to_owned(), role: role.as_str() };
        self.link_session.get_or_create(&session).set(i64::from(stats.session.is_some()));
        self.verification_delayed.get_or_create(&label).inc_by(0.0);
        raise(&self.link_received.get_or_create(&label), stats.bytes_in);
        raise(&self.link_sent.get_or_create(&label), stats.bytes_out);
        raise(&self.link_paths.get_or_create(&label), stats.path_changes);
        self.link_queued.get_or_create(&label).set(gauge(stats.queued_bytes));
        if let Some(rtt) = stats.rtt {
            self.link_rtt.get_or_create(&label).set(rtt.as_secs_f64());
        }
        for (reason, count) in &stats.dial_failures {
            raise(&self.link_dials.get_or_create(&OfDial { peer: peer.to_owned(), reason }), *count);
        }
    }

    /// Verification for a peer was held back for so long, since claims of it were false.
    pub fn verification_delayed(&self, peer: &str, rest: Duration) {
        self.verification_delayed.get_or_create(&OfPeer { peer: peer.to_owned() }).inc_by(rest.as_secs_f64());
    }

    /// How many sessions and handshakes were refused for this reason since the start.
    pub fn link_refused(&self, reason: &'static str, count: u64) {
        raise(&self.link_refusals.get_or_create(&OfRefusal { reason }), count);
    }

    /// A peer did not take something.
    pub fn declined(&self, peer: &str, reason: DeclineReason) {
        self.link_declined.get_or_create(&OfDecline { peer: peer.to_owned(), reason: reason.as_str() }).inc();
    }

    /// What the journal has done since it was opened.
    pub fn journal(&self, stats: &JournalStats) {
        self.journal_size.set(gauge(stats.bytes_on_disk));
        self.journal_sync.set(stats.last_sync.as_secs_f64());
        self.journal_longest_sync.set(stats.longest_sync.as_secs_f64());
        let busy = stats.total_sync.as_secs_f64() - self.journal_busy.get();
        self.journal_busy.inc_by(busy.max(0.0));
        raise(&self.journal_syncs, stats.syncs);
        raise(&self.journal_records, stats.records);
        self.journal_waiting.set(gauge(counted(stats.waiting_bytes)));
        self.journal_failing.set(i64::from(stats.failure.is_some()));
        self.journal_writing.set(stats.writing_since.map_or(0.0, |since| since.elapsed().as_secs_f64()));
    }

    /// The volume on which the journal lives.
    pub fn volume(&self, size_bytes: u64, free_bytes: u64) {
        self.journal_volume.set(gauge(size_bytes));
        self.journal_free.set(gauge(free_bytes));
    }

    /// A batch did not become durable.
    pub fn journal_trouble(&self, is_retryable: bool) {
        let retryable = if is_retryable { "yes" } else { "no" };
        self.journal_troubles.get_or_create(&OfRetry { retryable }).inc();
    }

    /// How many records of misbehaviour of this kind the journal keeps.
    pub fn evidence(&self, kind: EvidenceKind, count: usize) {
        self.evidence.get_or_create(&OfEvidence { kind: kind.as_str() }).set(gauge(counted(count)));
    }

    /// On how many flows the journal and a chain differ at the moment.
    pub fn audit_differences(&self, count: usize) {
        self.audit_difference.set(gauge(counted(count)));
    }

    /// The journal was compared with a chain.
    pub fn audited(&self, chain: &str, at: UnixMillis) {
        self.audit_finished.get_or_create(&of_chain(chain)).set(seconds(at));
    }

    /// The collector has taken spans.
    pub fn traces_sent(&self, count: usize) {
        self.traces_sent.inc_by(counted(count));
    }

    /// How many spans wait for the collector at the moment.
    pub fn traces_waiting(&self, count: u64) {
        self.traces_waiting.set(gauge(count));
    }

    /// No collector will see so many spans.
    pub fn traces_lost(&self, reason: SpanLoss, count: u64) {
        self.traces_lost.get_or_create(&OfSpanLoss { reason: reason.as_str() }).inc_by(count);
    }

    /// The collector could not be reached, or asked for patience.
    pub fn traces_failed(&self) {
        self.traces_failed.inc();
    }
}

fn of_chain(chain: &str) -> OfChain {
    OfChain { chain: chain.to_owned() }
}

fn seconds(at: UnixMillis) -> f64 {
    Duration::from_millis(at.0).as_secs_f64()
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn counted(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// Takes over a count that is kept elsewhere; a counter never goes back.
fn raise(counter: &Counter, count: u64) {
    counter.inner().fetch_max(count, Ordering::Relaxed);
}
