//! From what the journal and the moments know of one step to its span.
//!
//! Ids follow from the message's id alone, so that every process makes the same tree:
//!
//! ```text
//! trace id   the first 16 bytes of the message's id
//! span id    the first 8 bytes of keccak256(message id, name of the span, address of the attester where one tells it)
//! ```
//!
//! Times are those of the process that tells, except for the time of a block, which is its chain's.

use std::sync::Arc;

use cityrelay_core::frame::Role;
use cityrelay_core::hash::keccak256;
use cityrelay_core::ids::{AttesterId, Domain, MessageId, UnixMillis};
use cityrelay_core::lane::LaneIdentity;
use cityrelay_core::outcome::Status as OutcomeStatus;
use cityrelay_core::record::IntentEnd;
use cityrelay_journal::{CarryTransaction, Timeline};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};

use super::super::plan::Handles;
use super::moments::{Moment, Moments};
use super::progress::Track;
use super::step::{Part, ROOT};

/// The W3C flag of a trace that is recorded.
const SAMPLED: u32 = 1;

/// Who tells.
pub(super) struct Teller {
    pub handles: Arc<Handles>,
    /// The process's name.
    pub name: String,
    pub role: Role,
    /// The address that it signs with, where it is an attester.
    pub attester: Option<AttesterId>,
    /// One in so many messages is told of.
    pub one_in: u64,
}

/// What is known of one entry on one track.
pub(super) struct Facts {
    pub message: MessageId,
    /// The entry on the track's flow.
    pub timeline: Timeline,
    /// Of an outcome: how its message came here, where it did, and what the outcome is.
    pub whole: Option<(Timeline, OutcomeStatus)>,
}

impl Teller {
    /// What all spans of this process have in common.
    pub fn resource(&self) -> Resource {
        let attributes = vec![
            text("service.name", "cityrelay"),
            text("service.instance.id", &self.name),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("cityrelay.role", self.role.as_str()),
        ];
        Resource { attributes, ..Resource::default() }
    }

    /// Whether the message is among those that are told of. Every process with the same setting picks the same ones.
    pub fn picks(&self, message: MessageId) -> bool {
        let number = message.0.as_bytes().last_chunk().map_or(0, |tail| u64::from_be_bytes(*tail));
        number.checked_rem(self.one_in).is_none_or(|rest| rest == 0)
    }

    /// The spans of one step: itself, and the root where the message ends with it. None where the journal has pruned
    /// when it was.
    pub fn spans(&self, track: Track, facts: &Facts, moments: &Moments) -> Vec<Span> {
        let Some(lane) = self.handles.lanes.get(&track.flow.lane) else { return Vec::new() };
        let root = facts.whole.as_ref().filter(|_| track.step().ends_the_message()).and_then(|(began, outcome)| {
            let ended = facts.timeline.done?.1;
            Some(self.root(lane, facts, began, *outcome, ended))
        });
        self.step(lane, track, facts, moments).into_iter().chain(root).collect()
    }

    fn step(&self, lane: &LaneIdentity, track: Track, facts: &Facts, moments: &Moments) -> Option<Span> {
        let Track { flow, side, part } = track;
        let timeline = &facts.timeline;
        let index = timeline.point.index;
        let noted = |moment| moments.at(flow, moment, index);
        let (origin, target) = (lane.origin(flow.direction).domain, lane.target(flow.direction).domain);
        let attested = timeline.attested.map(|(.., at)| at);
        // Chains stamp their blocks by clocks of their own: no outcome begins before its message came.
        let came = facts.whole.as_ref().map_or(UnixMillis(0), |(message, _)| message.verified_at);
        let (start, end, chain) = match part {
            Part::Verified => (timeline.block_time.max(came), timeline.verified_at, origin),
            Part::Signed => (timeline.verified_at, noted(Moment::Signed).unwrap_or(timeline.verified_at), origin),
            Part::Attested => (timeline.verified_at, attested?, target),
            Part::Sent => (attested.unwrap_or(timeline.verified_at), timeline.peer_accepted?.1, target),
            Part::Accepted => (noted(Moment::Received).unwrap_or(timeline.verified_at), timeline.verified_at, origin),
            Part::Finished => (timeline.verified_at, timeline.done?.1, target),
        };
        let (start, end) = (start.min(end), start.max(end));
        let mut attributes = self.position(lane, facts);
        attributes.push(text("cityrelay.chain", self.handles.chain_name(chain)));
        let mut events = Vec::new();
        match part {
            Part::Verified => {
                attributes.extend(block(timeline));
                events.extend(noted(Moment::Seen).map(|at| event("seen", at, Vec::new())));
            }
            Part::Accepted => attributes.extend(block(timeline)),
            Part::Signed => {
                attributes.extend(self.attester.map(|attester| text("cityrelay.attester", &attester.to_string())));
                let epoch = timeline.signed.map(|(_, epoch)| number("cityrelay.attestation.epoch", epoch.0));
                attributes.extend(epoch);
            }
            Part::Attested => {
                let epoch = timeline.attested.map(|(_, epoch, _)| number("cityrelay.attestation.epoch", epoch.0));
                attributes.extend(epoch);
            }
            Part::Sent => events.extend(noted(Moment::Sent).map(|at| event("sent", at, Vec::new()))),
            Part::Finished => {
                for transaction in carriers(timeline) {
                    events.push(self.transaction(transaction));
                }
            }
        }
        events.retain(|event| event.time_unix_nano >= nanos(start) && event.time_unix_nano <= nanos(end));
        let waits: Vec<&str> = moments.waits(flow, side, start, end).iter().map(|reason| reason.as_str()).collect();
        if !waits.is_empty() {
            attributes.push(texts("cityrelay.waited_for", &waits));
        }
        let kind = match part {
            Part::Sent => SpanKind::Producer,
            Part::Accepted => SpanKind::Consumer,
            Part::Finished => SpanKind::Client,
            Part::Verified | Part::Signed | Part::Attested => SpanKind::Internal,
        };
        let step = track.step();
        Some(Span {
            span_id: span_id(facts.message, step.name(), self.attester.filter(|_| part == Part::Signed)),
            parent_span_id: span_id(facts.message, step.parent(), None),
            attributes,
            events,
            ..span(facts.message, step.name(), kind, (start, end))
        })
    }

    /// From the block that holds the message to the settlement of its outcome.
    fn root(
        &self,
        lane: &LaneIdentity,
        facts: &Facts,
        began: &Timeline,
        outcome: OutcomeStatus,
        ended: UnixMillis,
    ) -> Span {
        let start = began.block_time.min(began.verified_at).min(ended);
        let mut attributes = self.position(lane, facts);
        let chain = |key, domain: Domain| text(key, self.handles.chain_name(domain));
        attributes.push(chain("cityrelay.source", lane.source_domain));
        attributes.push(chain("cityrelay.destination", lane.destination_domain));
        attributes.push(text("cityrelay.outcome", outcome.as_str()));
        let (code, message) = match outcome {
            OutcomeStatus::Executed => (StatusCode::Ok, String::new()),
            other => (StatusCode::Error, format!("the message was not executed: {}", other.as_str())),
        };
        Span {
            span_id: span_id(facts.message, ROOT, None),
            attributes,
            status: Some(Status { message, code: code as i32 }),
            ..span(facts.message, ROOT, SpanKind::Internal, (start, ended))
        }
    }

    fn position(&self, lane: &LaneIdentity, facts: &Facts) -> Vec<KeyValue> {
        vec![
            text("cityrelay.message", &facts.message.to_string()),
            text("cityrelay.lane", &facts.timeline.flow.lane.to_string()),
            text("cityrelay.channel", &lane.channel),
            number("cityrelay.index", facts.timeline.point.index.0),
        ]
    }

    fn transaction(&self, transaction: &CarryTransaction) -> Event {
        let mut attributes = vec![text("cityrelay.transaction", &transaction.hash.to_string())];
        let end = match transaction.end {
            None => "open",
            Some(IntentEnd::Succeeded { height, gas_used }) => {
                attributes.push(number("cityrelay.block.height", height.0));
                attributes.push(number("cityrelay.gas_used", gas_used));
                "succeeded"
            }
            Some(IntentEnd::Reverted { height, .. }) => {
                attributes.push(number("cityrelay.block.height", height.0));
                "reverted"
            }
            Some(IntentEnd::Dead) => "dead",
        };
        attributes.push(text("cityrelay.end", end));
        event("transaction", transaction.at, attributes)
    }
}

/// The transactions that carried the entry, in the order in which they were made: whatever reaches beyond the first that
/// succeeded carried later ones.
fn carriers(timeline: &Timeline) -> Vec<&CarryTransaction> {
    let did_it = |transaction: &&CarryTransaction| matches!(transaction.end, Some(IntentEnd::Succeeded { .. }));
    let last = timeline.transactions.iter().find(did_it).map(|transaction| transaction.last);
    let mut found: Vec<_> =
        timeline.transactions.iter().filter(|transaction| last.is_none_or(|last| transaction.last <= last)).collect();
    found.sort_by_key(|transaction| transaction.at);
    found
}

fn block(timeline: &Timeline) -> [KeyValue; 2] {
    [
        number("cityrelay.block.height", timeline.proved_at.0),
        text("cityrelay.block.hash", &timeline.block_hash.to_string()),
    ]
}

fn span(message: MessageId, name: &str, kind: SpanKind, (start, end): (UnixMillis, UnixMillis)) -> Span {
    Span {
        trace_id: message.0.as_bytes().iter().take(16).copied().collect(),
        name: name.to_owned(),
        kind: kind as i32,
        flags: SAMPLED,
        start_time_unix_nano: nanos(start),
        end_time_unix_nano: nanos(end),
        ..Span::default()
    }
}

fn span_id(message: MessageId, name: &str, attester: Option<AttesterId>) -> Vec<u8> {
    let attester = attester.map_or_else(Vec::new, |AttesterId(address)| address.to_vec());
    let digest = keccak256(&[message.0.as_bytes().as_slice(), name.as_bytes(), &attester].concat());
    digest.as_bytes().iter().take(8).copied().collect()
}

const fn nanos(time: UnixMillis) -> u64 {
    time.0.saturating_mul(1_000_000)
}

fn event(name: &str, at: UnixMillis, attributes: Vec<KeyValue>) -> Event {
    Event { time_unix_nano: nanos(at), name: name.to_owned(), attributes, ..Event::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: u64) -> KeyValue {
    attribute(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn texts(key: &str, values: &[&str]) -> KeyValue {
    let values = values.iter().map(|value| AnyValue { value: Some(Value::StringValue((*value).to_owned())) });
    attribute(key, Value::ArrayValue(ArrayValue { values: values.collect() }))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
