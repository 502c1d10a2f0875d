//! What a scrape shows after things have happened.

use std::time::Duration;

use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{AttesterId, Height, Index, LaneId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::machine::status::{FlowStatus, WaitReason};
use cityrelay_core::recovery::Side;
use cityrelay_link::PeerStats;

use super::update::Ages;
use super::*;
use crate::observability::health::{Health, Trouble};

const UNITS: [&str; 25] = [
    "appends",
    "attesters",
    "blocks",
    "bool",
    "bytes",
    "calls",
    "changes",
    "claims",
    "answers",
    "dials",
    "gas",
    "headers",
    "info",
    "messages",
    "records",
    "reloads",
    "seconds",
    "requests",
    "sessions",
    "spans",
    "syncs",
    "transactions",
    "troubles",
    "updates",
    "votes",
];

#[test]
fn names_are_prefix_subsystem_noun_and_unit() {
    let metrics = Metrics::new();
    let mut names = std::collections::BTreeSet::new();
    for row in metrics.rows() {
        let parts: Vec<&str> = row.name.split('_').collect();
        assert!(names.insert(&row.name), "{} twice", row.name);
        assert!(row.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{}", row.name);
        assert_eq!(parts[0], "cityrelay", "{}", row.name);
        // The one name that dashboards and alerts are promised as it is.
        if row.name == "cityrelay_audit_difference" {
            continue;
        }
        assert!(parts.len() >= 4 && UNITS.contains(&parts[parts.len() - 1]), "{}", row.name);
        assert!(!row.help.ends_with('.'), "{}", row.name);
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
    metrics.header_confirmed("north", 2, 0, 1);
    metrics.done(&flow, Duration::from_millis(300));
    let stats = |bytes_in| PeerStats { bytes_in, ..PeerStats::default() };
    metrics.peer("south", cityrelay_core::frame::Role::Relay, &stats(100));
    metrics.peer("south", cityrelay_core::frame::Role::Relay, &stats(160));
    metrics.reloaded(false, UnixMillis(5_000));
    let status = FlowStatus {
        flow: Flow { lane, direction: Direction::Outbox },
        side: Side::Outbound,
        committee: None,
        hint: Index(9),
        durable: Index(7),
        finished: Index(4),
        voters: vec![AttesterId([1; 20])],
        oldest: Some(UnixMillis(0)),
        waits_for: WaitReason::Attestations,
        next_step: None,
    };
    metrics.flow(&flow, &status, Ages { unproved: None, unfinished: Some(Duration::from_secs(2)) });
    let text = metrics.encode().unwrap();
    for line in [
        "cityrelay_client_height_blocks{chain=\"north\"} 12",
        "cityrelay_client_lag_seconds{chain=\"north\"} 3.0",
        "cityrelay_client_verified_headers_total{chain=\"north\"} 5",
        "cityrelay_client_refused_updates_total{chain=\"north\",check=\"commit-quorum\"} 1",
        "cityrelay_client_confirmed_answers_total{chain=\"north\",answer=\"agrees\"} 2",
        "cityrelay_link_received_bytes_total{peer=\"south\"} 160",
        "cityrelay_link_session_bool{peer=\"south\",role=\"relay\"} 0",
        "cityrelay_config_tried_reloads_total{result=\"refused\"} 1",
        "cityrelay_config_refused_bool 1",
        "cityrelay_audit_difference 0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    for (name, word, end) in [
        ("cityrelay_lane_depth_messages{", "unfinished", " 3"),
        ("cityrelay_lane_depth_messages{", "unproved", " 2"),
        ("cityrelay_lane_oldest_seconds{", "unfinished", " 2.0"),
        ("cityrelay_lane_waiting_bool{", "attestations", " 1"),
    ] {
        let is_there = |line: &str| line.starts_with(name) && line.contains(word) && line.ends_with(end);
        assert!(text.lines().any(is_there), "{name} {word}{end} is not in\n{text}");
    }
    assert!(text.contains("cityrelay_delivery_latency_seconds_count"));
}

#[test]
fn a_scrape_says_what_readyz_says() {
    let (metrics, health) = (Metrics::new(), Health::default());
    health.report(vec![Trouble::new(TroubleKind::PeerDown, "peer south", "no session")]);
    metrics.health(&health);
    let text = metrics.encode().unwrap();
    assert!(text.contains("cityrelay_daemon_ready_bool 0"), "{text}");
    assert!(text.contains("cityrelay_daemon_open_troubles{kind=\"peer-down\"} 1"), "{text}");
    health.report(Vec::new());
    metrics.health(&health);
    let text = metrics.encode().unwrap();
    assert!(text.contains("cityrelay_daemon_ready_bool 1"), "{text}");
    assert!(text.contains("cityrelay_daemon_open_troubles{kind=\"peer-down\"} 0"), "{text}");
}
