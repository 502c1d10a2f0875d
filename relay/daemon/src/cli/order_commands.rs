//! `pause`, `resume`, `retry`, `skip`, `unfreeze`, `reload`, `evidence` and `audit`: orders to the running daemon, and what
//! they stand on.

use std::fmt::Write as _;

use serde_json::Value;

use super::answer::{Answer, Failure};
use super::control_arguments::{
    DaemonSkipArguments, LaneOrderArguments, NewestArguments, ReloadArguments, RetryArguments, UnfreezeArguments,
};
use super::control_commands::{ask, columns, moment, to_json, unexpected};
use crate::config::Sources;
use crate::control::{
    AuditReport, ControlReply, ControlRequest, EvidenceReport, Exhibit, LaneOrder, Newest, ReloadOrder, RetryOrder,
    SkipOrder, UnfreezeOrder,
};
use crate::run::{Change, ReloadReport};

async fn order(sources: &Sources, request: ControlRequest) -> Result<Answer, Failure> {
    let ControlReply::Done(report) = ask(sources, request).await? else { return Err(unexpected()) };
    Ok(Answer { data: to_json(&report)?, text: report.done })
}

/// Stops the daemon's work on a lane.
pub(super) async fn pause(sources: &Sources, arguments: LaneOrderArguments) -> Result<Answer, Failure> {
    let request = LaneOrder { lane: arguments.lane, reason: arguments.reason };
    order(sources, ControlRequest::Pause(request)).await
}

/// Ends a pause.
pub(super) async fn resume(sources: &Sources, arguments: LaneOrderArguments) -> Result<Answer, Failure> {
    let request = LaneOrder { lane: arguments.lane, reason: arguments.reason };
    order(sources, ControlRequest::Resume(request)).await
}

/// Tries again now what waits after a failure.
pub(super) async fn retry(sources: &Sources, arguments: RetryArguments) -> Result<Answer, Failure> {
    let request = RetryOrder { lane: arguments.lane, chain: arguments.chain, reason: arguments.reason };
    order(sources, ControlRequest::Retry(request)).await
}

/// Steps over the message that halted a strict lane.
pub(super) async fn skip(sources: &Sources, arguments: DaemonSkipArguments) -> Result<Answer, Failure> {
    let request = SkipOrder { lane: arguments.lane, index: arguments.index, reason: arguments.reason };
    order(sources, ControlRequest::Skip(request)).await
}

/// Lets a frozen client go on with one of two headers.
pub(super) async fn unfreeze(sources: &Sources, arguments: UnfreezeArguments) -> Result<Answer, Failure> {
    let request = UnfreezeOrder {
        chain: arguments.chain,
        chosen: arguments.choose,
        other: arguments.other,
        reason: arguments.reason,
    };
    order(sources, ControlRequest::Unfreeze(request)).await
}

/// Lets the daemon read its configuration again.
pub(super) async fn reload(sources: &Sources, arguments: ReloadArguments) -> Result<Answer, Failure> {
    let request = ControlRequest::Reload(ReloadOrder { reason: arguments.reason });
    let ControlReply::Reloaded(report) = ask(sources, request).await? else { return Err(unexpected()) };
    Ok(Answer { data: to_json(&report)?, text: reload_text(&report) })
}

fn reload_text(report: &ReloadReport) -> String {
    let value = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), Value::to_string);
    let line = |change: &Change| format!("\n  {}: {} → {}", change.key, value(&change.from), value(&change.to));
    let lines = |changes: &[Change]| changes.iter().map(line).collect::<String>();
    match (report.applied.as_slice(), report.needs_restart.as_slice()) {
        ([], []) => "nothing has changed".to_owned(),
        (applied, []) => format!("in force now:{}", lines(applied)),
        ([], waiting) => format!("in force only after a restart:{}", lines(waiting)),
        (applied, waiting) => {
            format!("in force now:{}\nin force only after a restart:{}", lines(applied), lines(waiting))
        }
    }
}

/// What was ordered.
pub(super) async fn audit(sources: &Sources, arguments: NewestArguments) -> Result<Answer, Failure> {
    let request = ControlRequest::Audit(Newest { limit: arguments.limit });
    let ControlReply::Audit(report) = ask(sources, request).await? else { return Err(unexpected()) };
    Ok(Answer { data: to_json(&report)?, text: audit_text(&report) })
}

fn audit_text(report: &AuditReport) -> String {
    let mut rows = vec![["at", "user", "action", "about", "reason"].map(str::to_owned)];
    for order in &report.orders {
        rows.push([
            moment(order.at),
            format!("{} ({})", order.user, order.uid),
            order.action.clone(),
            order.about.clone(),
            order.reason.clone(),
        ]);
    }
    columns(&rows)
}

/// Who contradicted whom, both statements side by side.
pub(super) async fn evidence(sources: &Sources, arguments: NewestArguments) -> Result<Answer, Failure> {
    let request = ControlRequest::Evidence(Newest { limit: arguments.limit });
    let ControlReply::Evidence(report) = ask(sources, request).await? else { return Err(unexpected()) };
    Ok(Answer { data: to_json(&report)?, text: evidence_text(&report) })
}

fn evidence_text(report: &EvidenceReport) -> String {
    if report.evidence.is_empty() && report.undecided.is_empty() {
        return "nothing contradicts anything".to_owned();
    }
    let mut parts: Vec<String> = Vec::new();
    for entry in &report.evidence {
        let from = entry.from.as_ref().map(|from| format!(", from {from}")).unwrap_or_default();
        let mut text = format!("{} {}: {}{from}", moment(entry.at), entry.kind, entry.about);
        exhibit(&mut text, "ours", &entry.ours);
        exhibit(&mut text, "theirs", &entry.theirs);
        let _ = write!(text, "\n  {}", entry.advice);
        parts.push(text);
    }
    for chain in &report.undecided {
        parts.push(format!(
            "chain {} is frozen at block {}: decide with one of\n  {}",
            chain.chain,
            chain.height,
            chain.commands.join("\n  ")
        ));
    }
    parts.join("\n\n")
}

fn exhibit(text: &mut String, whose: &str, exhibit: &Exhibit) {
    let _ = write!(text, "\n  {whose:6} {}", exhibit.hash);
    if let Some(at) = exhibit.at {
        let _ = write!(text, " at {at}");
    }
    if let Some(time) = exhibit.timestamp {
        let _ = write!(text, ", {}", moment(time));
    }
    if let Some(parent) = &exhibit.parent {
        let _ = write!(text, "\n         after {parent}");
    }
    for signature in &exhibit.signatures {
        let _ = write!(text, "\n         signed by {signature}");
    }
    if exhibit.raw_bytes > 0 {
        let shown = if exhibit.raw.is_some() { "--json shows them" } else { "too many to be shown" };
        let _ = write!(text, "\n         proved by {} bytes: {shown}", exhibit.raw_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{EvidenceEntry, Undecided};

    #[test]
    fn evidence_shows_both_statements_and_both_ways_to_decide() {
        let ours =
            Exhibit { at: Some(7), hash: "0xaa".to_owned(), parent: Some("0x01".to_owned()), ..Exhibit::default() };
        let theirs = Exhibit {
            at: Some(7),
            hash: "0xbb".to_owned(),
            signatures: vec!["0xcc: 12".to_owned()],
            raw: Some("00".to_owned()),
            raw_bytes: 1,
            ..Exhibit::default()
        };
        let from = Some("node-2".to_owned());
        let (kind, about) = ("equivocation".to_owned(), "chain north".to_owned());
        let advice = "ask others".to_owned();
        let entry = EvidenceEntry { kind, at: 0, about, from, advice, ours, theirs };
        let (ours, theirs) = ("0xaa".to_owned(), "0xbb".to_owned());
        let commands = vec!["for ours".to_owned(), "for theirs".to_owned()];
        let undecided = Undecided { chain: "north".to_owned(), height: 7, ours, theirs, commands };
        let text = evidence_text(&EvidenceReport { undecided: vec![undecided], evidence: vec![entry] });
        for words in [
            "equivocation: chain north, from node-2",
            "ours   0xaa at 7",
            "after 0x01",
            "theirs 0xbb at 7",
            "signed by 0xcc: 12",
            "proved by 1 bytes: --json shows them",
            "ask others",
            "chain north is frozen at block 7",
            "\n  for ours\n  for theirs",
        ] {
            assert!(text.contains(words), "{words} is missing:\n{text}");
        }
        assert_eq!(evidence_text(&EvidenceReport::default()), "nothing contradicts anything");
    }
}
