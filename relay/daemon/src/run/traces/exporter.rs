//! Reads what has not been handed over out of the journal, and hands it over.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cityrelay_core::chain::Entry;
use cityrelay_core::ids::{Index, MessageId};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_journal::{FlowCounts, Journal, JournalError, View};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use tracing::{error, info, warn};

use super::collector::{Collector, Handover};
use super::lock;
use super::moments::{Moment, Moments};
use super::progress::{Progress, Track, reached};
use super::step::Part;
use super::tree::{Facts, Teller};
use crate::observability::{Metrics, SpanLoss};

/// The pause between two looks at the journal.
const INTERVAL: Duration = Duration::from_secs(1);

/// The longest pause after the collector failed; it doubles from [`INTERVAL`] on.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Positions that are looked at for one request: some hundred kilobytes of spans.
const MAX_POSITIONS: usize = 512;

/// Positions of one track among them, so that a busy lane leaves room for others.
const MAX_OF_TRACK: usize = 128;

/// The most positions of one track that wait for the collector; the oldest beyond them are never told.
pub(super) const MAX_WAITING: u64 = 10_000;

/// Hands spans over, until it is dropped.
pub(super) struct Exporter {
    pub collector: Collector,
    pub journal: Journal,
    pub progress: Progress,
    pub moments: Arc<Mutex<Moments>>,
    pub teller: Arc<Teller>,
    pub metrics: Arc<Metrics>,
    /// The track that is looked at first; another one each time.
    pub turn: usize,
    /// Why spans were last refused: said once, until some are taken again.
    pub last_refusal: String,
}

/// What is handed over next.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub spans: Vec<Span>,
    /// The tracks that are told with it, and up to where.
    pub told: Vec<(Track, Index)>,
    /// The tracks on which something has waited too long, and up to where.
    given_up: Vec<(Track, Index)>,
    /// Positions that are given up with that.
    lost: u64,
    /// Positions that wait after it.
    waiting: u64,
    /// Whether the limit has cut it.
    has_more: bool,
}

impl Exporter {
    /// Goes on for ever. Whatever fails here is counted and said once, and changes nothing else.
    pub async fn run(mut self) {
        self.save();
        let mut pause = INTERVAL;
        loop {
            tokio::time::sleep(pause).await;
            match self.round().await {
                Ok(()) if pause > INTERVAL => {
                    info!("the collector takes spans again");
                    pause = INTERVAL;
                }
                Ok(()) => {}
                Err(why) => {
                    self.metrics.traces_failed();
                    if pause == INTERVAL {
                        warn!(why, "spans can't be handed over: they wait in the journal, messages go on");
                    }
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    }

    /// Hands over everything that there is.
    pub async fn round(&mut self) -> Result<(), String> {
        loop {
            let batch = self.gather().await?;
            self.turn = self.turn.wrapping_add(1);
            self.metrics.traces_lost(SpanLoss::Waited, self.spans_of(batch.lost));
            self.advance(&batch.given_up);
            let waiting = self.spans_of(batch.waiting);
            let ready = u64::try_from(batch.spans.len()).unwrap_or(u64::MAX);
            self.metrics.traces_waiting(waiting.saturating_add(ready));
            if !batch.spans.is_empty() {
                self.hand_over(batch.spans).await?;
                self.metrics.traces_waiting(waiting);
            }
            self.advance(&batch.told);
            if !batch.has_more {
                return Ok(());
            }
        }
    }

    /// About how many spans so many positions have.
    fn spans_of(&self, positions: u64) -> u64 {
        positions.div_ceil(self.teller.one_in.max(1))
    }

    /// Reads the journal on a thread that may block.
    async fn gather(&self) -> Result<Batch, String> {
        let (journal, moments) = (self.journal.clone(), Arc::clone(&self.moments));
        let mut tracks: Vec<(Track, Index)> = self.progress.tracks().collect();
        let first = self.turn.checked_rem(tracks.len()).unwrap_or(0);
        tracks.rotate_left(first);
        let teller = Arc::clone(&self.teller);
        let read = tokio::task::spawn_blocking(move || journal.read(|view| gather(view, &tracks, &teller, &moments)));
        match read.await {
            Ok(Ok(batch)) => Ok(batch),
            Ok(Err(error)) => Err(format!("the journal can't be read: {error}")),
            Err(error) => {
                error!(%error, "making spans broke off by a fault of this program: report this log");
                Err("making spans broke off".to_owned())
            }
        }
    }

    async fn hand_over(&mut self, spans: Vec<Span>) -> Result<(), String> {
        let count = spans.len();
        let scope = InstrumentationScope { name: "cityrelay".to_owned(), ..InstrumentationScope::default() };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
        let resource_spans =
            ResourceSpans { resource: Some(self.teller.resource()), scope_spans, ..ResourceSpans::default() };
        let request = ExportTraceServiceRequest { resource_spans: vec![resource_spans] };
        match self.collector.hand_over(&request).await {
            Handover::Taken { rejected, why } => {
                let rejected = rejected.min(count);
                self.metrics.traces_sent(count - rejected);
                if rejected > 0 {
                    self.refused(rejected, why);
                } else {
                    self.last_refusal.clear();
                }
                Ok(())
            }
            Handover::Refused { why } => {
                self.refused(count, why);
                Ok(())
            }
            Handover::Failed { why } => Err(why),
        }
    }

    fn refused(&mut self, count: usize, why: String) {
        self.metrics.traces_lost(SpanLoss::Refused, u64::try_from(count).unwrap_or(u64::MAX));
        if self.last_refusal != why {
            warn!(count, why, "the collector refuses spans: they are lost, messages go on");
            self.last_refusal = why;
        }
    }

    fn advance(&mut self, told: &[(Track, Index)]) {
        if told.is_empty() {
            return;
        }
        for (track, index) in told {
            self.progress.advance(*track, *index);
            if let Some(moment) = moment_of(track.part) {
                lock(&self.moments).forget_before(track.flow, moment, index.next());
            }
        }
        self.save();
    }

    fn save(&self) {
        if let Err(error) = self.progress.save() {
            warn!(error = format!("{error:#}"), "a restart will hand spans over again");
        }
    }
}

/// What is noted for a part.
const fn moment_of(part: Part) -> Option<Moment> {
    match part {
        Part::Verified => Some(Moment::Seen),
        Part::Signed => Some(Moment::Signed),
        Part::Sent => Some(Moment::Sent),
        Part::Accepted => Some(Moment::Received),
        Part::Attested | Part::Finished => None,
    }
}

/// Makes the spans of the next positions: of each track in turn, oldest first.
pub(super) fn gather(
    view: &View<'_>,
    tracks: &[(Track, Index)],
    teller: &Teller,
    moments: &Mutex<Moments>,
) -> Result<Batch, JournalError> {
    let counts = view.flows()?;
    let mut batch = Batch::default();
    let mut positions = 0;
    for &(track, told) in tracks {
        let Some(counts) = counts.iter().find(|counts| counts.flow == track.flow) else { continue };
        let reached = reached(track.part, counts);
        // Heads are attested one by one beyond what the peer holds.
        let last = if track.part == Part::Attested { counts.tip.index } else { reached };
        let first = Index(told.0.max(reached.0.saturating_sub(MAX_WAITING)));
        if first > told {
            batch.lost = batch.lost.saturating_add(first.0.saturating_sub(told.0));
            batch.given_up.push((track, first));
        }
        let mut at = first;
        let mut of_track = 0;
        while at < last {
            if positions >= MAX_POSITIONS || of_track >= MAX_OF_TRACK {
                batch.has_more = true;
                break;
            }
            positions += 1;
            of_track += 1;
            let Some(facts) = facts(view, track, at.next(), teller)? else {
                at = at.next();
                continue;
            };
            if track.part == Part::Attested && !is_attested(&facts, counts) {
                break;
            }
            batch.spans.extend(teller.spans(track, &facts, &lock(moments)));
            at = at.next();
        }
        if at > first {
            batch.told.push((track, at));
        }
        batch.waiting += reached.0.saturating_sub(at.0);
    }
    Ok(batch)
}

/// Whether the entry has come so far. Where the peer holds it, it has, even if the signatures are pruned.
fn is_attested(facts: &Facts, counts: &FlowCounts) -> bool {
    facts.timeline.attested.is_some() || facts.timeline.point.index <= counts.peer_accepted.index
}

/// What the journal knows of one entry; `None` where the message is not among those that are told of.
fn facts(view: &View<'_>, track: Track, index: Index, teller: &Teller) -> Result<Option<Facts>, JournalError> {
    let outbox = Flow { lane: track.flow.lane, direction: Direction::Outbox };
    let (message, outcome) = match track.flow.direction {
        Direction::Outbox => (view.links(outbox, index, index)?.first().map(|link| MessageId(*link)), None),
        Direction::Inbox => match view.entries(track.flow, index, index)?.pop() {
            Some(Entry::Outcome(outcome)) => (Some(outcome.message), Some(outcome.status)),
            Some(Entry::Message(_)) | None => (None, None),
        },
    };
    let Some(message) = message.filter(|message| teller.picks(*message)) else { return Ok(None) };
    let Some(timeline) = view.timeline(track.flow, index)? else { return Ok(None) };
    let whole = match outcome {
        Some(outcome) => view.timeline(outbox, index)?.map(|began| (began, outcome)),
        None => None,
    };
    Ok(Some(Facts { message, timeline, whole }))
}
