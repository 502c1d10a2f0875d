//! The metrics: one family per thing worth counting, one method per thing that happens.
//!
//! Names are `cityrelay_<subsystem>_<noun>_<unit>[_total]`. Label values are words of closed enums, or names of the
//! configuration; whoever updates a metric hands over the enum, never a text.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cityrelay_api::source::EndpointHealth;
use cityrelay_core::frame::DeclineReason;
use cityrelay_core::ids::{AttesterId, Height, LaneId};
use cityrelay_core::lane::Direction;
use cityrelay_core::light_client::HoldReason;
use cityrelay_core::machine::status::{FlowStatus, WaitReason};
use cityrelay_core::record::{IntentEnd, Purpose};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

/// Upper bounds for how long messages and signatures take, in seconds.
const LATENCY_BUCKETS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 60.0, 600.0, 3600.0];

type FloatGauge = Gauge<f64, AtomicU64>;

/// One flow as it is named in labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FlowLabel {
    lane: String,
    channel: String,
    direction: &'static str,
}

impl FlowLabel {
    /// The flow of `lane`, whose channel has this name.
    #[must_use]
    pub fn new(lane: LaneId, channel: &str, direction: Direction) -> Self {
        Self { lane: lane.to_string(), channel: channel.to_owned(), direction: direction.as_str() }
    }
}

/// What a transaction was for, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CarryKind {
    /// Delivers messages.
    Deliver,
    /// Settles outcomes.
    Settle,
    /// Makes a head provable.
    Checkpoint,
    /// An operator's or application's call.
    Operator,
}

impl CarryKind {
    /// The kind of a transaction with this purpose.
    #[must_use]
    pub const fn of(purpose: &Purpose) -> Self {
        match purpose {
            Purpose::Carry { flow, .. } => match flow.direction {
                Direction::Outbox => Self::Deliver,
                Direction::Inbox => Self::Settle,
            },
            Purpose::Checkpoint { .. } => Self::Checkpoint,
            Purpose::Operator => Self::Operator,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Deliver => "deliver",
            Self::Settle => "settle",
            Self::Checkpoint => "checkpoint",
            Self::Operator => "operator",
        }
    }
}

macro_rules! labels {
    ($($name:ident { $($field:ident: $type:ty),* })*) => {
        $(
            #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
            struct $name { $($field: $type),* }
        )*
    };
}

labels! {
    OfChain { chain: String }
    OfCheck { chain: String, check: &'static str }
    OfHold { chain: String, reason: &'static str }
    OfEndpoint { chain: String, endpoint: String }
    OfSide { lane: String, channel: String, direction: &'static str, side: &'static str }
    OfState { lane: String, channel: String, direction: &'static str, side: &'static str, state: &'static str }
    OfWait { lane: String, channel: String, direction: &'static str, side: &'static str, reason: &'static str }
    OfClaim { lane: String, channel: String, direction: &'static str, check: &'static str }
    OfAttester { attester: String }
    OfTransaction { chain: String, kind: &'static str }
    OfEnd { chain: String, kind: &'static str, end: &'static str }
    OfPeer { peer: String }
    OfDecline { peer: String, reason: &'static str }
    OfRefusal { reason: &'static str }
    OfEvidence { kind: &'static str }
    OfBuild { version: &'static str }
    OfTrouble { retryable: &'static str }
}

/// Makes a latency histogram for a family.
#[derive(Clone, Copy, Debug)]
struct Latency;

impl MetricConstructor<Histogram> for Latency {
    fn new_metric(&self) -> Histogram {
        Histogram::new(LATENCY_BUCKETS)
    }
}

/// Every metric of the daemon. Shared; all methods take `&self` and are cheap.
pub struct Metrics {
    registry: Registry,
    names: Vec<String>,
    client_height: Family<OfChain, Gauge>,
    client_lag: Family<OfChain, FloatGauge>,
    client_frozen: Family<OfChain, Gauge>,
    client_waiting: Family<OfHold, Gauge>,
    client_verified: Family<OfChain, Counter>,
    client_set_changes: Family<OfChain, Counter>,
    client_held: Family<OfHold, Counter>,
    client_refused: Family<OfCheck, Counter>,
    node_usable: Family<OfEndpoint, Gauge>,
    node_latency: Family<OfEndpoint, FloatGauge>,
    node_height: Family<OfEndpoint, Gauge>,
    node_errors: Family<OfEndpoint, Counter>,
    node_lies: Family<OfEndpoint, Counter>,
    lane_depth: Family<OfState, Gauge>,
    lane_position: Family<OfState, Gauge>,
    lane_oldest: Family<OfSide, FloatGauge>,
    lane_waiting: Family<OfWait, Gauge>,
    lane_journalled: Family<FlowLabel, Counter>,
    lane_claims_refused: Family<OfClaim, Counter>,
    attestation_votes: Family<OfAttester, Counter>,
    attestation_latency: Family<FlowLabel, Histogram, Latency>,
    delivery_latency: Family<FlowLabel, Histogram, Latency>,
    settlement_latency: Family<FlowLabel, Histogram, Latency>,
    transaction_gas: Family<OfTransaction, Counter>,
    transaction_ended: Family<OfEnd, Counter>,
    transaction_open: Gauge,
    link_sessions: Gauge,
    link_session: Family<OfPeer, Gauge>,
    link_received: Family<OfPeer, Counter>,
    link_sent: Family<OfPeer, Counter>,
    link_rtt: Family<OfPeer, FloatGauge>,
    link_refusals: Family<OfRefusal, Counter>,
    link_declined: Family<OfDecline, Counter>,
    journal_size: Gauge,
    journal_sync: FloatGauge,
    journal_troubles: Family<OfTrouble, Counter>,
    evidence: Family<OfEvidence, Counter>,
    audit_difference: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Registers families and keeps their names.
struct Registration {
    registry: Registry,
    names: Vec<String>,
}

impl Registration {
    fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.registry.register(name, help, metric.clone());
        self.names.push(format!("cityrelay_{name}"));
        metric
    }

    fn plain<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        self.add(name, help, M::default())
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
        let mut to = Registration { registry: Registry::with_prefix("cityrelay"), names: Vec::new() };
        let build: Family<OfBuild, Gauge> = to.plain("build_version_info", "Always 1; the version is the label");
        build.get_or_create(&OfBuild { version: env!("CARGO_PKG_VERSION") }).set(1);
        let latency = Family::<FlowLabel, Histogram, Latency>::new_with_constructor(Latency);
        let (delivery, settlement) = (
            Family::<FlowLabel, Histogram, Latency>::new_with_constructor(Latency),
            Family::<FlowLabel, Histogram, Latency>::new_with_constructor(Latency),
        );
        Self {
            client_height: to
                .plain("client_height_blocks", "Height of the last header that the light client found final"),
            client_lag: to.plain("client_lag_seconds", "Age of the last final header, by the chain's own clock"),
            client_frozen: to.plain("client_frozen_bool", "1 when two final headers at one height froze the client"),
            client_waiting: to.plain("client_waiting_bool", "1 for the reason why headers wait at the moment"),
            client_verified: to.plain("client_verified_headers", "Headers found final"),
            client_set_changes: to.plain("client_set_changes", "Changes of the validator set"),
            client_held: to.plain("client_held_updates", "Updates whose end had to wait, by reason"),
            client_refused: to.plain("client_refused_updates", "Updates that failed a check, by check"),
            node_usable: to.plain("node_usable_bool", "1 when calls go to this endpoint at present"),
            node_latency: to.plain("node_latency_seconds", "Smoothed time that this endpoint takes to answer"),
            node_height: to.plain("node_height_blocks", "Last height that this endpoint reported"),
            node_errors: to.plain("node_failed_calls", "Calls to this endpoint that failed"),
            node_lies: to.plain("node_refused_answers", "Answers of this endpoint that the light client refused"),
            lane_depth: to.plain("lane_depth_messages", "Unfinished entries: unproved, or durable and not finished"),
            lane_position: to.plain("lane_position_messages", "Index reached: seen, durable, finished"),
            lane_oldest: to.plain("lane_oldest_seconds", "Age of the oldest unfinished entry; 0 when there is none"),
            lane_waiting: to.plain("lane_waiting_bool", "1 for what the flow waits for at the moment"),
            lane_journalled: to.plain("lane_journalled_messages", "Entries made durable"),
            lane_claims_refused: to.plain("lane_refused_claims", "Claims about a flow that failed a check, by check"),
            attestation_votes: to.plain("attestation_good_votes", "Good signatures, by attester"),
            attestation_latency: to.add("attestation_latency_seconds", "From asking to enough signatures", latency),
            delivery_latency: to.add(
                "delivery_latency_seconds",
                "From a message's source block until its delivery is final",
                delivery,
            ),
            settlement_latency: to.add(
                "settlement_latency_seconds",
                "From an outcome's block until its settlement is final",
                settlement,
            ),
            transaction_gas: to.plain("transaction_used_gas", "Gas of final transactions, by what they are for"),
            transaction_ended: to.plain("transaction_ended_transactions", "Transactions whose fate is known, by end"),
            transaction_open: to.plain("transaction_open_transactions", "Transactions whose fate is not known yet"),
            link_sessions: to.plain("link_open_sessions", "Peers with a session"),
            link_session: to.plain("link_session_bool", "1 when there is a session with the peer"),
            link_received: to.plain("link_received_bytes", "Bytes of frames received from the peer"),
            link_sent: to.plain("link_sent_bytes", "Bytes of frames sent to the peer"),
            link_rtt: to.plain("link_rtt_seconds", "Round-trip time of the session with the peer"),
            link_refusals: to.plain("link_refused_sessions", "Sessions and handshakes refused, by reason"),
            link_declined: to.plain("link_declined_claims", "What peers did not take, by reason"),
            journal_size: to.plain("journal_size_bytes", "Size of the journal on disk"),
            journal_sync: to.plain("journal_sync_seconds", "Time that the last sync took"),
            journal_troubles: to.plain("journal_failed_appends", "Batches that did not become durable"),
            evidence: to.plain("evidence_kept_records", "Misbehaviour seen since the start, by kind"),
            audit_difference: to.plain("audit_difference", "Flows on which journal and chain differ; must be 0"),
            registry: to.registry,
            names: to.names,
        }
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

    /// How an endpoint of a chain stands.
    pub fn endpoint(&self, chain: &str, health: &EndpointHealth) {
        let label = OfEndpoint { chain: chain.to_owned(), endpoint: health.name.clone() };
        self.node_usable.get_or_create(&label).set(i64::from(health.is_usable));
        self.node_latency.get_or_create(&label).set(health.latency.as_secs_f64());
        self.node_height.get_or_create(&label).set(gauge(health.height.0));
        raise(&self.node_errors.get_or_create(&label), health.errors);
        raise(&self.node_lies.get_or_create(&label), health.lies);
    }

    /// Where a flow stands, `age` being that of its oldest unfinished entry.
    pub fn flow(&self, flow: &FlowLabel, status: &FlowStatus, age: Option<Duration>) {
        let side = status.side.as_str();
        let state = |state| OfState {
            lane: flow.lane.clone(),
            channel: flow.channel.clone(),
            direction: flow.direction,
            side,
            state,
        };
        let (seen, durable, finished) = (status.hint.0, status.durable.0, status.finished.0);
        self.lane_depth.get_or_create(&state("unproved")).set(gauge(seen.saturating_sub(durable)));
        self.lane_depth.get_or_create(&state("unfinished")).set(gauge(durable.saturating_sub(finished)));
        self.lane_position.get_or_create(&state("seen")).set(gauge(seen));
        self.lane_position.get_or_create(&state("durable")).set(gauge(durable));
        self.lane_position.get_or_create(&state("finished")).set(gauge(finished));
        let label = OfSide { lane: flow.lane.clone(), channel: flow.channel.clone(), direction: flow.direction, side };
        self.lane_oldest.get_or_create(&label).set(age.unwrap_or_default().as_secs_f64());
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
            IntentEnd::Succeeded { gas_used, .. } => ("succeeded", *gas_used),
            IntentEnd::Reverted { gas_used, .. } => ("reverted", *gas_used),
            IntentEnd::Dead => ("dead", 0),
        };
        let kind = kind.as_str();
        self.transaction_gas.get_or_create(&OfTransaction { chain: chain.to_owned(), kind }).inc_by(gas);
        self.transaction_ended.get_or_create(&OfEnd { chain: chain.to_owned(), kind, end: word }).inc();
    }

    /// How many transactions are open.
    pub fn open_transactions(&self, count: usize) {
        self.transaction_open.set(gauge(counted(count)));
    }

    /// How many peers have a session.
    pub fn sessions(&self, count: usize) {
        self.link_sessions.set(gauge(counted(count)));
    }

    /// How the session with a peer stands; bytes are counted since the start.
    pub fn peer(&self, peer: &str, is_up: bool, bytes_in: u64, bytes_out: u64, rtt: Option<Duration>) {
        let label = OfPeer { peer: peer.to_owned() };
        self.link_session.get_or_create(&label).set(i64::from(is_up));
        raise(&self.link_received.get_or_create(&label), bytes_in);
        raise(&self.link_sent.get_or_create(&label), bytes_out);
        if let Some(rtt) = rtt {
            self.link_rtt.get_or_create(&label).set(rtt.as_secs_f64());
        }
    }

    /// How many sessions and handshakes were refused for this reason since the start.
    pub fn link_refused(&self, reason: &'static str, count: u64) {
        raise(&self.link_refusals.get_or_create(&OfRefusal { reason }), count);
    }

    /// A peer did not take something.
    pub fn declined(&self, peer: &str, reason: DeclineReason) {
        self.link_declined.get_or_create(&OfDecline { peer: peer.to_owned(), reason: reason.as_str() }).inc();
    }

    /// The journal's size, and the time that its last sync took.
    pub fn journal(&self, size_bytes: u64, last_sync: Duration) {
        self.journal_size.set(gauge(size_bytes));
        self.journal_sync.set(last_sync.as_secs_f64());
    }

    /// A batch did not become durable.
    pub fn journal_trouble(&self, is_retryable: bool) {
        let retryable = if is_retryable { "yes" } else { "no" };
        self.journal_troubles.get_or_create(&OfTrouble { retryable }).inc();
    }

    /// Two final headers at one height were seen.
    pub fn equivocation(&self) {
        self.evidence.get_or_create(&OfEvidence { kind: "equivocation" }).inc();
    }

    /// An attester signed a head that is not ours.
    pub fn conflicting_head(&self) {
        self.evidence.get_or_create(&OfEvidence { kind: "conflicting-head" }).inc();
    }

    /// Journal and chain differ on one more flow.
    pub fn audit_difference(&self) {
        self.evidence.get_or_create(&OfEvidence { kind: "audit-difference" }).inc();
    }

    /// On how many flows journal and chain differ at the moment.
    pub fn audit_differences(&self, count: usize) {
        self.audit_difference.set(gauge(counted(count)));
    }
}

fn of_chain(chain: &str) -> OfChain {
    OfChain { chain: chain.to_owned() }
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

#[cfg(test)]
mod tests {
    use cityrelay_core::hash::Hash32;
    use cityrelay_core::ids::{Index, UnixMillis};
    use cityrelay_core::lane::Flow;
    use cityrelay_core::recovery::Side;

    use super::*;

    const UNITS: [&str; 15] = [
        "blocks",
        "seconds",
        "bool",
        "headers",
        "changes",
        "updates",
        "calls",
        "answers",
        "messages",
        "claims",
        "votes",
        "gas",
        "transactions",
        "sessions",
        "bytes",
    ];

    #[test]
    fn names_are_prefix_subsystem_noun_and_unit() {
        let metrics = Metrics::new();
        assert_eq!(metrics.names.len(), 39);
        for name in &metrics.names {
            let parts: Vec<&str> = name.split('_').collect();
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(parts[0], "cityrelay", "{name}");
            // The one name that dashboards and alerts are promised as it is.
            if name == "cityrelay_audit_difference" {
                continue;
            }
            let unit = parts[parts.len() - 1];
            assert!(parts.len() >= 4, "{name}");
            assert!(UNITS.contains(&unit) || ["info", "appends", "records"].contains(&unit), "{name}");
        }
    }

    #[test]
    fn what_happens_is_shown() {
        let metrics = Metrics::new();
        let lane = LaneId(Hash32::from_u64(7));
        let flow = FlowLabel::new(lane, "medical", Direction::Outbox);
        metrics.client("north", Height(12), Some(Duration::from_secs(3)), None, false);
        metrics.headers_verified("north", 5, 1);
        metrics.update_refused("north", "commit-quorum");
        metrics.done(&flow, Duration::from_millis(300));
        metrics.peer("south", true, 100, 50, None);
        metrics.peer("south", true, 160, 50, None);
        let status = FlowStatus {
            flow: Flow { lane, direction: Direction::Outbox },
            side: Side::Outbound,
            hint: Index(9),
            durable: Index(7),
            finished: Index(4),
            votes: 1,
            oldest: Some(UnixMillis(0)),
            waits_for: WaitReason::Attestations,
            next_step: None,
        };
        metrics.flow(&flow, &status, Some(Duration::from_secs(2)));
        let text = metrics.encode().unwrap();
        for line in [
            "cityrelay_client_height_blocks{chain=\"north\"} 12",
            "cityrelay_client_lag_seconds{chain=\"north\"} 3.0",
            "cityrelay_client_verified_headers_total{chain=\"north\"} 5",
            "cityrelay_client_refused_updates_total{chain=\"north\",check=\"commit-quorum\"} 1",
            "cityrelay_link_received_bytes_total{peer=\"south\"} 160",
            "cityrelay_audit_difference 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        let depth = "cityrelay_lane_depth_messages{";
        assert!(
            text.lines().any(|line| line.starts_with(depth) && line.contains("unfinished") && line.ends_with(" 3"))
        );
        let waiting = "cityrelay_lane_waiting_bool{";
        assert!(
            text.lines().any(|line| line.starts_with(waiting) && line.contains("attestations") && line.ends_with(" 1"))
        );
        assert!(text.contains("cityrelay_delivery_latency_seconds_count"));
    }
}
