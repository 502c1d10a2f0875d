//! What is known of one message, and what it waits for.

use cityrelay_core::chain::Entry;
use cityrelay_core::ids::{Index, MessageId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::record::IntentEnd;
use cityrelay_journal::Timeline;

use super::standing::{Reached, Standing, Waiting};
use super::{Backend, journal_fault};
use crate::control::{ControlFault, FaultKind, TimelineEntry, WhyQuery, WhyReport};

impl Backend {
    pub(super) async fn explain(&self, query: WhyQuery) -> Result<WhyReport, ControlFault> {
        let usage = |message: String| ControlFault::new(FaultKind::Usage, message);
        let (lane, index) = match query {
            WhyQuery::Id(text) => {
                let id: MessageId = text.parse().map_err(|error| usage(format!("{text} is no message id: {error}")))?;
                let found = self.journal.find(id).map_err(|error| journal_fault(&error))?;
                let (flow, index) =
                    found.ok_or_else(|| usage(format!("message {id} has not been verified here (yet)")))?;
                (flow.lane, index)
            }
            WhyQuery::Position { lane, index } => (self.lane(&lane, |_| true)?, Index(index)),
        };
        let identity = self.handles.lanes.get(&lane).ok_or_else(|| usage(format!("lane {lane} is unknown here")))?;
        let outbox = Flow { lane, direction: Direction::Outbox };
        let inbox = Flow { lane, direction: Direction::Inbox };
        let read = |flow| self.journal.timeline(flow, index).map_err(|error| journal_fault(&error));
        let (message, outcome) = (read(outbox)?, read(inbox)?);
        let outcome_entry = match outcome {
            Some(_) => self.journal.entries(inbox, index, index).map_err(|error| journal_fault(&error))?.pop(),
            None => None,
        };
        let status = self.machine_status().await?;
        let mut timeline = Vec::new();
        describe(&mut timeline, "message", message.as_ref());
        describe(&mut timeline, "outcome", outcome.as_ref());
        let standing = Standing::of(lane, &status).unwrap_or_default();
        let counts = self.journal.flows().map_err(|error| journal_fault(&error))?;
        let is_attested = message.as_ref().is_some_and(|message| message.attested.is_some());
        let is_finished = standing.finished >= index.0;
        let waits = if is_finished { Waiting::default() } else { standing.waits };
        let outcome = outcome_entry.and_then(|entry| match entry {
            Entry::Outcome(outcome) => Some(outcome.status.as_str().to_owned()),
            Entry::Message(_) => None,
        });
        Ok(WhyReport {
            id: message.as_ref().map(|message| message.link.to_string()),
            lane: lane.to_string(),
            channel: identity.channel.clone(),
            index: index.0,
            state: Reached::of(lane, &counts).state(index, is_attested),
            outcome,
            is_finished,
            waits_for: waits.reason.as_str().to_owned(),
            who: waits.reason.who().to_owned(),
            next_step: waits.next_step.map(|time| time.0),
            timeline,
        })
    }
}

/// What the journal knows of one position, as lines of a timeline.
fn describe(lines: &mut Vec<TimelineEntry>, subject: &str, timeline: Option<&Timeline>) {
    let Some(timeline) = timeline else { return };
    let mut line = |at: Option<UnixMillis>, what: &str, detail: String| {
        lines.push(TimelineEntry { at: at.map(|time| time.0), what: format!("{subject} {what}"), detail });
    };
    let block = format!("block {} ({})", timeline.proved_at, timeline.block_hash);
    line(Some(timeline.block_time), "final", block);
    line(
        Some(timeline.verified_at),
        "verified",
        format!("head {} at index {}", timeline.point.head, timeline.point.index),
    );
    if let Some((index, epoch)) = timeline.signed {
        line(None, "signed", format!("with the head at index {index}, epoch {epoch}"));
    }
    if let Some((index, epoch, at)) = timeline.attested {
        line(Some(at), "attested", format!("with the head at index {index}, epoch {epoch}"));
    }
    if timeline.is_peer_accepted {
        line(timeline.peer_accepted.map(|(_, at)| at), "accepted", "the peer holds it durably".to_owned());
    }
    for transaction in &timeline.transactions {
        let end = match transaction.end {
            None => "on its way".to_owned(),
            Some(IntentEnd::Succeeded { height, gas_used }) => format!("in block {height}, {gas_used} gas"),
            Some(IntentEnd::Reverted { height, .. }) => format!("reverted in block {height}"),
            Some(IntentEnd::Dead) => "will never be executed".to_owned(),
        };
        line(Some(transaction.at), "carried", format!("transaction {}: {end}", transaction.hash));
        // Whatever came later carried later entries.
        if matches!(transaction.end, Some(IntentEnd::Succeeded { .. })) {
            break;
        }
    }
    if let Some((index, at)) = timeline.done {
        line(Some(at), "taken in", format!("the target chain holds the flow up to index {index}"));
    }
}
