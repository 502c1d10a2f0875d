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

use super::endpoint::{CallError, Endpoint, TooMuch};
use super::head_proof::place;
use super::questions::hex_number;
use crate::codec::account::Account;
use crate::codec::json;
use crate::codec::receipt::Log;

/// Blocks in the first window: mostly the newest entries are wanted, and a busy lane has many in few blocks.
const FIRST_WINDOW: u64 = 16;

/// How much wider a window may be than the one before.
const GROWTH: u64 = 4;

/// A window with so many logs is followed by one that is no wider, so that what is held at a time does not grow with what a
/// lane has.
const MANY_LOGS: usize = 1_024;

/// Blocks in the largest window; many nodes refuse more.
const LARGEST_WINDOW: u64 = 10_000;

/// The most windows of one search: ten million blocks where there are few logs, a million logs where there are many.
const MAX_WINDOWS: usize = 1_024;

/// After so many windows of the largest size that a node was not known to refuse, one of twice the size is tried again.
const WINDOWS_AT_LIMIT: u32 = 32;

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
/// A window that the node refuses, or that is too much for it or for us, is made smaller down to one block; one with few logs
/// lets the next be larger, up to the size that was refused last.
///
/// # Errors
/// What the node answers for one block; [`NodeError::Malformed`] where [`MAX_WINDOWS`] do not lead to the end: nothing is
/// known of the blocks before.
pub(super) async fn walk_back(
    endpoint: &Endpoint,
    filter: &LogFilter,
    oldest: u64,
    newest: u64,
    mut is_enough: impl FnMut(Vec<PlacedLog>) -> bool,
) -> Result<(), NodeError> {
    let mut end = newest;
    let (mut window, mut largest, mut good) = (FIRST_WINDOW, LARGEST_WINDOW, 0);
    for _ in 0..MAX_WINDOWS {
        let start = end.saturating_sub(window - 1).max(oldest);
        match logs(endpoint, filter, start, end).await {
            Ok(Ok(found)) => {
                let held = found.len();
                if is_enough(found) || start <= oldest || start == 0 {
                    return Ok(());
                }
                end = start - 1;
                good = if window == largest { good + 1 } else { 0 };
                if good == WINDOWS_AT_LIMIT {
                    (largest, good) = (largest.saturating_mul(2).min(LARGEST_WINDOW), 0);
                }
                window = window_after(window, held).min(largest);
            }
            Err(CallError::Node(error)) => return Err(error),
            Err(CallError::Fault(fault)) if start == end => {
                endpoint.note_error(&fault.message);
                return Err(fault.into());
            }
            Ok(Err(TooMuch(error))) if start == end => {
                endpoint.note_failure(&error.to_string());
                return Err(error);
            }
            refused => {
                // Each answer that does not come in time costs a timeout.
                let parts = if refused.is_ok() { 8 } else { 2 };
                window = ((end - start + 1) / parts).max(1);
                (largest, good) = (window, 0);
            }
        }
    }
    let expected = format!("the logs of blocks {oldest} to {newest} in {MAX_WINDOWS} answers, got those after {end}");
    Err(endpoint.unexpected(METHOD, &expected))
}

/// How wide the next window is after one that held so many logs.
fn window_after(window: u64, logs: usize) -> u64 {
    match logs / MANY_LOGS {
        0 => window.saturating_mul(GROWTH).min(LARGEST_WINDOW),
        1..4 => window,
        _ => (window / GROWTH).max(1),
    }
}

const METHOD: &str = "eth_getLogs";

async fn logs(
    endpoint: &Endpoint,
    filter: &LogFilter,
    start: u64,
    end: u64,
) -> Result<Result<Vec<PlacedLog>, TooMuch>, CallError> {
    let topics: Vec<_> = filter.topics.iter().map(ToString::to_string).collect();
    let wanted = json!([{
        "address": filter.address.to_string(),
        "topics": topics,
        "fromBlock": hex_number(start),
        "toBlock": hex_number(end),
    }]);
    let answer = match endpoint.call_for_much(METHOD, wanted).await? {
        Ok(answer) => answer,
        Err(too_much) => return Ok(Err(too_much)),
    };
    // Some nodes say so where there is none.
    if answer.is_null() {
        return Ok(Ok(Vec::new()));
    }
    let logs = answer.as_array().ok_or_else(|| endpoint.malformed(METHOD, "a list of logs"))?;
    if logs.len() > MAX_LOGS {
        let expected = format!("at most {MAX_LOGS} logs, got {} in blocks {start} to {end}", logs.len());
        return Ok(Err(TooMuch(endpoint.unexpected(METHOD, &expected))));
    }
    let mut placed = Vec::with_capacity(logs.len());
    for log in logs.iter().filter(|log| log.get("removed") != Some(&Value::Bool(true))) {
        let (height, position) =
            place(log).ok_or_else(|| endpoint.malformed(METHOD, "a block and a position for each log"))?;
        let log = json::read_log(log).map_err(|error| endpoint.misread(METHOD, &error))?;
        if log.address == filter.address && log.topics.starts_with(&filter.topics) {
            placed.push(PlacedLog { log, height, position });
        }
    }
    Ok(Ok(placed))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_grow_where_there_are_few_logs_and_shrink_where_there_are_many() {
        assert_eq!(window_after(FIRST_WINDOW, 0), 64);
        assert_eq!(window_after(4_096, MANY_LOGS - 1), LARGEST_WINDOW);
        assert_eq!(window_after(64, MANY_LOGS), 64);
        assert_eq!(window_after(64, 4 * MANY_LOGS), 16);
        assert_eq!(window_after(1, MAX_LOGS), 1);
    }
}
