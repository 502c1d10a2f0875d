//! The metrics: one family per thing worth counting, one method per thing that happens.
//!
//! Names are `cityrelay_<subsystem>_<noun>_<unit>[_total]`. Label values are words of closed enums, or names of the
//! configuration; whoever updates a metric hands over the enum, never a text. The registration in [`Metrics::new`] is
//! the one list: the table in `deploy/prometheus/README.md` is made from it, and tests compare a running daemon with it.

mod labels;
mod table;
mod update;

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use self::labels::{
    APPLIED, Labelled, OfAnswer, OfAttester, OfBuild, OfChain, OfCheck, OfClaim, OfDecline, OfDepth, OfDial, OfEnd,
    OfEndpoint, OfEvidence, OfHold, OfLaneState, OfPeer, OfPosition, OfRefusal, OfReload, OfRetry, OfSession,
    OfSpanLoss, OfTransaction, OfTrouble, OfWait, REFUSED,
};
pub use self::labels::{CarryKind, EvidenceKind, FlowLabel, SpanLoss, lane_state_word};
use self::table::Described;
pub use self::table::{MetricKind, MetricRow, reference};
pub use self::update::Ages;
use super::health::TroubleKind;

/// Upper bounds for how long messages and signatures take, in seconds.
const LATENCY_BUCKETS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 60.0, 600.0, 3600.0];

type FloatGauge = Gauge<f64, AtomicU64>;
type FloatCounter = Counter<f64, AtomicU64>;

/// Makes a latency histogram for a family.
#[derive(Clone, Copy, Debug)]
struct Latency;

impl MetricConstructor<Histogram> for Latency {
    fn new_metric(&self) -> Histogram {
        Histogram::new(LATENCY_BUCKETS)
    }
}

type Latencies = Family<FlowLabel, Histogram, Latency>;

/// Every metric of the daemon. Shared; all methods take `&self` and are cheap.
pub struct Metrics {
    registry: Registry,
    rows: Vec<MetricRow>,
    daemon_started: FloatGauge,
    daemon_silent: FloatGauge,
    daemon_ready: Gauge,
    daemon_troubles: Family<OfTrouble, Gauge>,
    config_applied: FloatGauge,
    config_reloads: Family<OfReload, Counter>,
    config_failed: Gauge,
    client_height: Family<OfChain, Gauge>,
    client_behind: Family<OfChain, Gauge>,
    client_lag: Family<OfChain, FloatGauge>,
    client_frozen: Family<OfChain, Gauge>,
    client_waiting: Family<OfHold, Gauge>,
    client_verified: Family<OfChain, Counter>,
    client_set_changes: Family<OfChain, Counter>,
    client_held: Family<OfHold, Counter>,
    client_refused: Family<OfCheck, Counter>,
    client_answers: Family<OfAnswer, Counter>,
    chain_pending: Family<OfChain, Gauge>,
    node_usable: Family<OfEndpoint, Gauge>,
    node_latency: Family<OfEndpoint, FloatGauge>,
    node_height: Family<OfEndpoint, Gauge>,
    node_errors: Family<OfEndpoint, Counter>,
    node_lies: Family<OfEndpoint, Counter>,
    account_left: Family<OfChain, Gauge>,
    lane_state: Family<OfLaneState, Gauge>,
    lane_depth: Family<OfDepth, Gauge>,
    lane_position: Family<OfPosition, Gauge>,
    lane_oldest: Family<OfDepth, FloatGauge>,
    lane_waiting: Family<OfWait, Gauge>,
    lane_journalled: Family<FlowLabel, Counter>,
    lane_claims_refused: Family<OfClaim, Counter>,
    attestation_votes: Family<OfAttester, Counter>,
    attestation_needed: Family<OfChain, Gauge>,
    attestation_members: Family<OfChain, Gauge>,
    attestation_ready: Gauge,
    attestation_latency: Latencies,
    delivery_latency: Latencies,
    settlement_latency: Latencies,
    transaction_gas: Family<OfTransaction, Counter>,
    transaction_ended: Family<OfEnd, Counter>,
    transaction_open: Gauge,
    link_sessions: Gauge,
    link_session: Family<OfSession, Gauge>,
    link_received: Family<OfPeer, Counter>,
    link_sent: Family<OfPeer, Counter>,
    link_queued: Family<OfPeer, Gauge>,
    link_rtt: Family<OfPeer, FloatGauge>,
    link_paths: Family<OfPeer, Counter>,
    link_dials: Family<OfDial, Counter>,
    link_refusals: Family<OfRefusal, Counter>,
    link_declined: Family<OfDecline, Counter>,
    verification_delayed: Family<OfPeer, FloatCounter>,
    journal_size: Gauge,
    journal_free: Gauge,
    journal_volume: Gauge,
    journal_sync: FloatGauge,
    journal_longest_sync: FloatGauge,
    journal_busy: FloatCounter,
    journal_syncs: Counter,
    journal_records: Counter,
    journal_waiting: Gauge,
    journal_failing: Gauge,
    journal_writing: FloatGauge,
    journal_troubles: Family<OfRetry, Counter>,
    evidence: Family<OfEvidence, Gauge>,
    audit_difference: Gauge,
    audit_finished: Family<OfChain, FloatGauge>,
    traces_sent: Counter,
    traces_waiting: Gauge,
    traces_lost: Family<OfSpanLoss, Counter>,
    traces_failed: Counter,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}

/// Registers families and documents them.
struct Registration {
    registry: Registry,
    rows: Vec<MetricRow>,
}

impl Registration {
    fn add<M: Metric + Described + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.registry.register(name, help, metric.clone());
        self.rows.push(MetricRow {
            name: format!("cityrelay_{name}"),
            kind: M::KIND,
            labels: M::LABELS,
            words: M::words(),
            help: help.to_owned(),
        });
        metric
    }

    fn plain<M: Metric + Described + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        self.add(name, help, M::default())
    }

    fn latency(&mut self, name: &str, help: &str) -> Latencies {
        self.add(name, help, Latencies::new_with_constructor(Latency))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut to = Registration { registry: Registry::with_prefix("cityrelay"), rows: Vec::new() };
        let build: Family<OfBuild, Gauge> = to.plain("build_version_info", "Always 1; the version is the label");
        build.get_or_create(&OfBuild { version: env!("CARGO_PKG_VERSION") }).set(1);
        let metrics = Self {
            daemon_started: to.plain("daemon_started_seconds", "When the process started, in Unix time"),
            daemon_silent: to
                .plain("daemon_silent_seconds", "Since the event loop's last sign of life; below 1 when all is well"),
            daemon_ready: to.plain("daemon_ready_bool", "1 when `/readyz` says ready"),
            daemon_troubles: to.plain("daemon_open_troubles", "Reasons why the daemon is not ready, by kind"),
            config_applied: to
                .plain("config_applied_seconds", "When the configuration in force was applied, in Unix time"),
            config_reloads: to.plain("config_tried_reloads", "Reloads of the configuration, by what came of them"),
            config_failed: to.plain(
                "config_refused_bool",
                "1 when the last reload was refused and an older configuration is in force",
            ),
            client_height: to
                .plain("client_height_blocks", "Height of the last header that the light client found final"),
            client_behind: to
                .plain("client_behind_blocks", "Blocks that the highest usable node is ahead of the light client"),
            client_lag: to.plain("client_lag_seconds", "Age of the last final header, by the chain's own clock"),
            client_frozen: to.plain("client_frozen_bool", "1 when two statements about one height froze the client"),
            client_waiting: to.plain("client_waiting_bool", "1 for the reason why headers wait at the moment"),
            client_verified: to.plain("client_verified_headers", "Headers found final"),
            client_set_changes: to.plain("client_set_changes", "Changes of the validator set"),
            client_held: to.plain("client_held_updates", "Updates whose end had to wait, by reason"),
            client_refused: to.plain("client_refused_updates", "Updates that failed a check, by check"),
            client_answers: to.plain("client_confirmed_answers", "What own nodes said of verified headers"),
            chain_pending: to
                .plain("chain_pending_transactions", "Transactions in the nodes' pool; absent where no node says"),
            node_usable: to.plain("node_usable_bool", "1 when calls go to this endpoint at present"),
            node_latency: to.plain("node_latency_seconds", "Smoothed time that this endpoint takes to answer"),
            node_height: to.plain("node_height_blocks", "Last height that this endpoint reported"),
            node_errors: to.plain("node_failed_calls", "Calls to this endpoint that failed"),
            node_lies: to.plain("node_refused_answers", "Answers of this endpoint that the light client refused"),
            account_left: to.plain(
                "account_left_transactions",
                "Deliveries of full batches that the account can still pay; absent where they cost nothing",
            ),
            lane_state: to.plain("lane_state_bool", "1 for the state of the lane on the gateway of this chain"),
            lane_depth: to.plain("lane_depth_messages", "Entries seen and not proved, or durable and not finished"),
            lane_position: to.plain("lane_position_messages", "Index reached"),
            lane_oldest: to.plain("lane_oldest_seconds", "Age of the oldest entry in that state; 0 when there is none"),
            lane_waiting: to.plain("lane_waiting_bool", "1 for what the flow waits for at the moment"),
            lane_journalled: to.plain("lane_journalled_messages", "Entries made durable"),
            lane_claims_refused: to.plain("lane_refused_claims", "Claims about a flow that failed a check, by check"),
            attestation_votes: to.plain("attestation_good_votes", "Good signatures, by attester"),
            attestation_needed: to
                .plain("attestation_needed_votes", "Signatures that the verifier on this chain wants"),
            attestation_members: to
                .plain("attestation_members_attesters", "Attesters in the set of the verifier on this chain"),
            attestation_ready: to.plain(
                "attestation_ready_sessions",
                "Attesters of the set that lacks most with a session; 0 on an attester",
            ),
            attestation_latency: to.latency("attestation_latency_seconds", "From asking to enough signatures"),
            delivery_latency: to
                .latency("delivery_latency_seconds", "From a message's source block until its delivery is final"),
            settlement_latency: to
                .latency("settlement_latency_seconds", "From an outcome's block until its settlement is final"),
            transaction_gas: to.plain("transaction_used_gas", "Gas of final transactions, by what they are for"),
            transaction_ended: to.plain("transaction_ended_transactions", "Transactions whose fate is known, by end"),
            transaction_open: to.plain("transaction_open_transactions", "Transactions whose fate is not known yet"),
            link_sessions: to.plain("link_open_sessions", "Peers with a session"),
            link_session: to.plain("link_session_bool", "1 when there is a session with the peer"),
            link_received: to.plain("link_received_bytes", "Bytes of frames received from the peer"),
            link_sent: to.plain("link_sent_bytes", "Bytes of frames sent to the peer"),
            link_queued: to.plain("link_queued_bytes", "Bytes taken for sending and not handed to QUIC yet"),
            link_rtt: to.plain("link_rtt_seconds", "Round-trip time of the session with the peer"),
            link_paths: to.plain("link_path_changes", "How often the peer's address changed during a session"),
            link_dials: to.plain("link_failed_dials", "Attempts to call the peer that came to nothing, by reason"),
            link_refusals: to.plain("link_refused_sessions", "Sessions and handshakes refused, by reason"),
            link_declined: to.plain("link_declined_claims", "What peers did not take, by reason"),
            verification_delayed: to.plain(
                "verification_delayed_seconds",
                "Time for which claims of the peer were not verified because earlier ones were false",
            ),
            journal_size: to.plain("journal_size_bytes", "Size of the journal on disk"),
            journal_free: to.plain("journal_free_bytes", "Room left on the journal's volume"),
            journal_volume: to.plain("journal_volume_bytes", "Size of the journal's volume"),
            journal_sync: to.plain("journal_sync_seconds", "Time that the last sync took"),
            journal_longest_sync: to
                .plain("journal_longest_sync_seconds", "Time that the longest sync since the start took"),
            journal_busy: to.plain("journal_busy_seconds", "Time that all syncs took"),
            journal_syncs: to.plain("journal_written_syncs", "Syncs"),
            journal_records: to.plain("journal_written_records", "Records made durable"),
            journal_waiting: to.plain("journal_waiting_bytes", "Bytes, roughly, that wait to be written"),
            journal_failing: to.plain("journal_failing_bool", "1 when nothing can be written at the moment"),
            journal_writing: to
                .plain("journal_writing_seconds", "How long the sync that is under way has taken; 0 when none is"),
            journal_troubles: to.plain("journal_failed_appends", "Batches that did not become durable"),
            evidence: to.plain("evidence_kept_records", "Misbehaviour that the journal keeps, by kind"),
            audit_difference: to.plain("audit_difference", "Flows on which the journal and a chain differ; must be 0"),
            audit_finished: to
                .plain("audit_finished_seconds", "When the journal was last compared with this chain, in Unix time"),
            traces_sent: to.plain("traces_sent_spans", "Spans that the collector has taken"),
            traces_waiting: to
                .plain("traces_waiting_spans", "Spans that are not handed to the collector yet; 0 without one"),
            traces_lost: to.plain("traces_lost_spans", "Spans that no collector will see, by reason"),
            traces_failed: to.plain("traces_failed_requests", "Times that the collector could not be reached"),
            registry: to.registry,
            rows: to.rows,
        };
        metrics.start_at_zero();
        metrics
    }

    /// A counter that appears with its first event has no increase that anybody could see: closed lists start at 0.
    fn start_at_zero(&self) {
        for result in [APPLIED, REFUSED] {
            self.config_reloads.get_or_create(&OfReload { result }).inc_by(0);
        }
        for retryable in OfRetry::words().into_iter().flat_map(|(_, words)| words) {
            self.journal_troubles.get_or_create(&OfRetry { retryable }).inc_by(0);
        }
        for reason in OfRefusal::words().into_iter().flat_map(|(_, words)| words) {
            self.link_refusals.get_or_create(&OfRefusal { reason }).inc_by(0);
        }
        for kind in TroubleKind::ALL {
            self.daemon_troubles.get_or_create(&OfTrouble { kind: kind.as_str() }).set(0);
        }
        for reason in SpanLoss::ALL {
            self.traces_lost.get_or_create(&OfSpanLoss { reason: reason.as_str() }).inc_by(0);
        }
        for kind in EvidenceKind::ALL {
            self.evidence.get_or_create(&OfEvidence { kind: kind.as_str() }).set(0);
        }
    }

    /// How each metric is documented, in the order of registration.
    #[must_use]
    pub fn rows(&self) -> &[MetricRow] {
        &self.rows
    }

    /// The metrics in the OpenMetrics text format.
    ///
    /// # Errors
    /// When formatting fails, which no metric of ours is known to cause.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests;
