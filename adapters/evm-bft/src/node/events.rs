//! Reads events back from a height: hints for entries and checkpoints.

use std::collections::BTreeMap;

use cityrelay_api::source::{EntryRequest, NodeError};
use cityrelay_core::chain::Entry;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::Index;
use cityrelay_core::lane::Direction;
use cityrelay_gateway::GatewayEvent;
use cityrelay_gateway::event::{self, message_delivered_topic, message_sent_topic};
use serde_json::{Value, json};

use super::endpoint::{CallError, Endpoint};
use super::head_proof::place;
use super::questions::hex_number;
use crate::codec::account::Account;
use crate::codec::json;
use crate::codec::receipt::Log;

/// Blocks in the first window.
const FIRST_WINDOW: u64 = 1_000;

/// Blocks in the largest window; many nodes refuse more.
const LARGEST_WINDOW: u64 = 10_000;

/// The most windows of one search: ten million blocks at the usual size.
const MAX_WINDOWS: usize = 1_024;

/// The most logs read from one window.
const MAX_LOGS: usize = 65_536;

/// The most candidates kept for one index.
const MAX_CANDIDATES: usize = 4;

/// Which logs are wanted.
#[derive(Clone, Debug)]
pub(super) struct LogFilter {
    pub address: Account,
    pub topics: Vec<Hash32>,
}

/// A log and where it stands.
#[derive(Clone, Debug)]
pub(super) struct PlacedLog {
    pub log: Log,
    pub height: u64,
    pub position: u64,
}

/// Reads the logs of `oldest..=newest` in windows from the newest back, until `is_enough` says so.
///
/// A window that the node refuses is halved down to one block; a good one lets the next be larger.
pub(super) async fn walk_back(
    endpoint: &Endpoint,
    filter: &LogFilter,
    oldest: u64,
    newest: u64,
    mut is_enough: impl FnMut(Vec<PlacedLog>) -> bool,
) -> Result<(), NodeError> {
    let mut end = newest;
    let mut window = FIRST_WINDOW;
    for _ in 0..MAX_WINDOWS {
        let start = end.saturating_sub(window - 1).max(oldest);
        match logs(endpoint, filter, start, end).await {
            Ok(found) => {
                if is_enough(found) || start <= oldest || start == 0 {
                    return Ok(());
                }
                end = start - 1;
                window = window.saturating_mul(2).min(LARGEST_WINDOW);
            }
            Err(CallError::Fault(fault)) if start == end => return Err(fault.into()),
            Err(CallError::Fault(_)) => window = (window / 2).max(1),
            Err(CallError::Node(error)) => return Err(error),
        }
    }
    Ok(())
}

async fn logs(endpoint: &Endpoint, filter: &LogFilter, start: u64, end: u64) -> Result<Vec<PlacedLog>, CallError> {
    let topics: Vec<_> = filter.topics.iter().map(ToString::to_string).collect();
    let wanted = json!([{
        "address": filter.address.to_string(),
        "topics": topics,
        "fromBlock": hex_number(start),
        "toBlock": hex_number(end),
    }]);
    let answer = endpoint.call("eth_getLogs", wanted).await?;
    let logs = answer.as_array().filter(|logs| logs.len() <= MAX_LOGS);
    let logs = logs.ok_or_else(|| endpoint.malformed("eth_getLogs", "a list of logs"))?;
    let mut placed = Vec::with_capacity(logs.len());
    for log in logs.iter().filter(|log| log.get("removed") != Some(&Value::Bool(true))) {
        let (height, position) =
            place(log).ok_or_else(|| endpoint.malformed("eth_getLogs", "a block and a position for each log"))?;
        let log = json::read_log(log).map_err(|error| endpoint.misread("eth_getLogs", &error))?;
        if log.address == filter.address && log.topics.starts_with(&filter.topics) {
            placed.push(PlacedLog { log, height, position });
        }
    }
    Ok(placed)
}

/// Candidates for entries, by index.
#[derive(Debug, Default)]
pub(super) struct Candidates(BTreeMap<Index, Vec<Entry>>);

impl Candidates {
    fn add(&mut self, entry: Entry) {
        let candidates = self.0.entry(entry.index()).or_default();
        if candidates.len() < MAX_CANDIDATES && !candidates.contains(&entry) {
            candidates.push(entry);
        }
    }

    /// Whether there is one for each index wanted.
    pub(super) fn covers(&self, request: &EntryRequest) -> bool {
        let wanted = request.last.0.saturating_sub(request.first.0).saturating_add(1);
        u64::try_from(self.0.len()).is_ok_and(|found| found >= wanted)
    }

    pub(super) fn into_entries(self) -> Vec<Entry> {
        self.0.into_values().flatten().collect()
    }
}

/// Adds what this endpoint's events say; see [`cityrelay_api::source::Source::entry_hints`].
pub(super) async fn fetch(
    endpoint: &Endpoint,
    request: &EntryRequest,
    found: &mut Candidates,
) -> Result<(), NodeError> {
    let Some(address) = request.gateway.to_20().map(Account) else { return Ok(()) };
    let topic = match request.flow.direction {
        Direction::Outbox => message_sent_topic(),
        Direction::Inbox => message_delivered_topic(),
    };
    let filter = LogFilter { address, topics: vec![topic, request.flow.lane.0] };
    walk_back(endpoint, &filter, 0, request.newest.0, |logs| {
        let mut is_past_first = false;
        for log in logs {
            let Some(entry) = read_entry(&log.log) else { continue };
            is_past_first |= entry.index() <= request.first;
            if (request.first..=request.last).contains(&entry.index()) {
                found.add(entry);
            }
        }
        is_past_first
    })
    .await
}

fn read_entry(log: &Log) -> Option<Entry> {
    match event::decode(&log.topics, &log.data).ok()? {
        GatewayEvent::MessageSent { message, .. } => Some(Entry::Message(message)),
        GatewayEvent::MessageDelivered { outcome, .. } => Some(Entry::Outcome(outcome)),
        _ => None,
    }
}
