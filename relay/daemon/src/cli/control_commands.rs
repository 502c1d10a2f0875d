//! `status`, `lanes`, `messages`, `why` and `send`: questions to the running daemon.

use std::fmt::Write as _;

use cityrelay_link::Pin;
use serde_json::Value;

use super::answer::{Answer, Exit, Failure};
use super::arguments::{SendArguments, WhyArguments};
use super::control_arguments::{LanesArguments, MessagesArguments};
use crate::clock::unix_millis;
use crate::config::{Layers, Sources, check};
use crate::control::{
    self, ClientError, ControlReply, ControlRequest, FaultKind, LaneQuery, LanesReport, MessageQuery, MessagesReport,
    SendReport, SendRequest, StatusReport, WhyQuery, WhyReport,
};

pub(super) async fn ask(sources: &Sources, request: ControlRequest) -> Result<ControlReply, Failure> {
    let layers = Layers::read(sources)?;
    let socket = check::control_socket(&layers)?.socket;
    match control::ask(&socket, &request).await {
        Ok(ControlReply::Fault(fault)) => {
            let exit = match fault.kind {
                FaultKind::Usage => Exit::Usage,
                FaultKind::Unreachable => Exit::Unreachable,
                FaultKind::Unhealthy => Exit::Unhealthy,
                FaultKind::Refused => Exit::Refused,
                FaultKind::Internal => Exit::Internal,
            };
            Err(Failure::new(exit, fault.message))
        }
        Ok(reply) => Ok(reply),
        Err(error @ ClientError::NotAllowed { .. }) => Err(Failure::new(Exit::Refused, error)),
        Err(error @ ClientError::Malformed { .. }) => Err(Failure::new(Exit::Internal, error)),
        Err(error) => Err(Failure::new(Exit::Unreachable, error)),
    }
}

pub(super) fn unexpected() -> Failure {
    Failure::new(Exit::Internal, "the daemon answered another question than the one asked")
}

pub(super) fn to_json<T: serde::Serialize>(report: &T) -> Result<Value, Failure> {
    serde_json::to_value(report).map_err(|error| Failure::new(Exit::Internal, error))
}

/// Where everything stands; a failure (exit 4) when the daemon is not ready.
pub(super) async fn status(sources: &Sources) -> Result<Answer, Failure> {
    let ControlReply::Status(report) = ask(sources, ControlRequest::Status).await? else { return Err(unexpected()) };
    let data = to_json(&report)?;
    let text = status_text(&report, unix_millis().0);
    if report.troubles.is_empty() {
        return Ok(Answer { data, text });
    }
    let reasons: Vec<String> =
        report.troubles.iter().map(|trouble| format!("{}: {}", trouble.subject, trouble.reason)).collect();
    Err(Failure { exit: Exit::Unhealthy, message: format!("not ready: {}", reasons.join("; ")), details: data, text })
}

fn status_text(report: &StatusReport, now: u64) -> String {
    let ready = if report.troubles.is_empty() { "ready" } else { "not ready" };
    let mut out = format!(
        "{} ({}, version {}): {ready}, {} open transactions",
        report.name, report.role, report.version, report.open_transactions
    );
    for chain in &report.chains {
        let _ = write!(out, "\nchain {} height {}", chain.name, chain.height);
        if let Some(timestamp) = chain.timestamp {
            let _ = write!(out, ", {} ago", age(now, timestamp));
        }
        if chain.is_frozen {
            out.push_str(", FROZEN");
        }
        if let Some(reason) = &chain.held_back {
            let _ = write!(out, ", held back: {reason}");
        }
        for node in &chain.endpoints {
            let own = if node.is_own { "own" } else { "foreign" };
            let use_word = if node.is_usable { "in use" } else { "not in use" };
            let _ = write!(
                out,
                "\n  node {} ({own}, {use_word}): height {}, {} ms, {} errors, {} lies",
                node.name, node.height, node.latency_millis, node.errors, node.lies
            );
            if !node.last_error.is_empty() {
                let _ = write!(out, "; last error: {}", node.last_error);
            }
        }
    }
    for peer in &report.peers {
        let _ = write!(out, "\npeer {} ({}): {}", peer.name, peer.role, if peer.is_up { "up" } else { "down" });
        if peer.key.as_deref() == Some(Pin::Next.as_str()) {
            out.push_str(", with its next key");
        }
    }
    for flow in &report.flows {
        let _ = write!(
            out,
            "\nlane {} {} → {} {} {}: seen {}, durable {}, finished {}, waits for {} ({})",
            flow.channel,
            flow.source,
            flow.destination,
            flow.direction,
            flow.side,
            flow.seen,
            flow.durable,
            flow.finished,
            flow.waits_for,
            flow.who
        );
        if let Some(oldest) = flow.oldest {
            let _ = write!(out, ", oldest {} ago", age(now, oldest));
        }
    }
    out
}

/// Depth, age and state of each lane.
pub(super) async fn lanes(sources: &Sources, arguments: LanesArguments) -> Result<Answer, Failure> {
    let query = LaneQuery { lane: arguments.lane };
    let ControlReply::Lanes(report) = ask(sources, ControlRequest::Lanes(query)).await? else {
        return Err(unexpected());
    };
    Ok(Answer { data: to_json(&report)?, text: lanes_text(&report, unix_millis().0) })
}

fn lanes_text(report: &LanesReport, now: u64) -> String {
    let mut rows =
        vec![["channel", "from", "to", "state", "depth", "age", "finished", "waits for", "who"].map(str::to_owned)];
    for lane in &report.lanes {
        rows.push([
            lane.channel.clone(),
            lane.source.clone(),
            lane.destination.clone(),
            lane.state.as_str().to_owned(),
            lane.depth.to_string(),
            lane.oldest.map_or_else(|| "-".to_owned(), |oldest| age(now, oldest)),
            lane.finished.to_string(),
            lane.waits_for.clone(),
            lane.who.clone(),
        ]);
    }
    columns(&rows)
}

/// A page of messages.
pub(super) async fn messages(sources: &Sources, arguments: MessagesArguments) -> Result<Answer, Failure> {
    let query = MessageQuery {
        lane: arguments.lane,
        state: arguments.state,
        unfinished: arguments.unfinished,
        id_prefix: arguments.id,
        after: arguments.after,
        limit: arguments.limit,
    };
    let ControlReply::Messages(report) = ask(sources, ControlRequest::Messages(query)).await? else {
        return Err(unexpected());
    };
    Ok(Answer { data: to_json(&report)?, text: messages_text(&report) })
}

fn messages_text(report: &MessagesReport) -> String {
    let mut rows =
        vec![["id", "channel", "index", "state", "outcome", "block time", "waits for", "who"].map(str::to_owned)];
    for message in &report.messages {
        rows.push([
            message.id.clone(),
            message.channel.clone(),
            message.index.to_string(),
            message.state.as_str().to_owned(),
            message.outcome.clone().unwrap_or_else(|| "-".to_owned()),
            moment(message.block_time),
            message.waits_for.clone(),
            message.who.clone(),
        ]);
    }
    let mut out = columns(&rows);
    if let Some(next) = &report.next {
        let _ = write!(out, "\nmore: --after {next}");
    }
    out
}

/// Rows under each other, each column as wide as its widest cell.
pub(super) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn age(now: u64, then: u64) -> String {
    let seconds = now.saturating_sub(then) / 1000;
    humantime::format_duration(std::time::Duration::from_secs(seconds)).to_string()
}

/// What a message waits for.
pub(super) async fn why(sources: &Sources, arguments: &WhyArguments) -> Result<Answer, Failure> {
    let query = why_query(&arguments.message)?;
    let ControlReply::Why(report) = ask(sources, ControlRequest::Why(query)).await? else { return Err(unexpected()) };
    Ok(Answer { data: to_json(&report)?, text: why_text(&report, unix_millis().0) })
}

fn why_query(text: &str) -> Result<WhyQuery, Failure> {
    match text.rsplit_once(':') {
        None => Ok(WhyQuery::Id(text.to_owned())),
        Some((lane, index)) => match index.parse() {
            Ok(index) if !lane.is_empty() => Ok(WhyQuery::Position { lane: lane.to_owned(), index }),
            _ => Err(Failure::new(Exit::Usage, format!("expected a message id or LANE:INDEX, got {text:?}"))),
        },
    }
}

fn why_text(report: &WhyReport, now: u64) -> String {
    let mut out = format!("message {} of lane {} ({})", report.index, report.channel, report.lane);
    if let Some(id) = &report.id {
        let _ = write!(out, "\nid {id}");
    }
    let _ = write!(out, "\nstate {}", report.state.as_str());
    if let Some(outcome) = &report.outcome {
        let _ = write!(out, ", outcome {outcome}");
    }
    if !report.is_finished {
        let _ = write!(out, "\nwaits for {}: {} must act", report.waits_for, report.who);
        if let Some(next) = report.next_step {
            let wait = std::time::Duration::from_millis(next.saturating_sub(now));
            let _ = write!(out, "\nnext step in {}", humantime::format_duration(wait));
        }
    }
    for entry in &report.timeline {
        let at = entry.at.map_or_else(|| "-".to_owned(), moment);
        let _ = write!(out, "\n{at} {}", entry.what);
        if !entry.detail.is_empty() {
            let _ = write!(out, " {}", entry.detail);
        }
    }
    out
}

pub(super) fn moment(millis: u64) -> String {
    let at = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_millis(millis));
    at.map_or_else(|| millis.to_string(), |at| humantime::format_rfc3339_millis(at).to_string())
}

/// Lets the daemon send a message.
pub(super) async fn send(sources: &Sources, arguments: &SendArguments) -> Result<Answer, Failure> {
    let payload = match (&arguments.payload, &arguments.payload_hex) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, Some(digits)) => hex::decode(digits.strip_prefix("0x").unwrap_or(digits))
            .map_err(|error| Failure::new(Exit::Usage, format!("--payload-hex: {error}")))?,
        (None, None) => Vec::new(),
    };
    let request = SendRequest {
        lane: arguments.lane.clone(),
        receiver: arguments.receiver.to_string(),
        payload_hex: hex::encode(payload),
        expires_in_millis: u64::try_from(arguments.expires_in.as_millis()).unwrap_or(u64::MAX),
        gas_limit: arguments.gas_limit,
    };
    let ControlReply::Sent(report) = ask(sources, ControlRequest::Send(request)).await? else {
        return Err(unexpected());
    };
    Ok(Answer { data: to_json(&report)?, text: send_text(&report) })
}

fn send_text(report: &SendReport) -> String {
    let mut out = format!("transaction {}", report.transaction);
    if let Some(height) = report.height {
        let _ = write!(out, "\nblock {height}");
    }
    if let Some(index) = report.index {
        let _ = write!(out, "\nindex {index}");
    }
    if let Some(id) = &report.id {
        let _ = write!(out, "\nid {id}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_named_by_id_or_place() {
        assert_eq!(why_query("0xab").unwrap(), WhyQuery::Id("0xab".to_owned()));
        assert_eq!(why_query("medical:7").unwrap(), WhyQuery::Position { lane: "medical".to_owned(), index: 7 });
        assert_eq!(why_query("medical:x").unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn an_unready_status_is_told_in_words() {
        let mut report = StatusReport { name: "north".to_owned(), ..StatusReport::default() };
        report.chains.push(crate::control::ChainReport {
            name: "a".to_owned(),
            height: 5,
            timestamp: Some(1_000),
            is_frozen: true,
            ..Default::default()
        });
        let text = status_text(&report, 61_000);
        assert!(text.contains("chain a height 5, 1m ago, FROZEN"), "{text}");
        assert_eq!(to_json(&report).unwrap()["chains"][0]["height"], 5);
    }
}
