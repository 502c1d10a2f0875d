//! A page of messages out of the journal.

use cityrelay_core::chain::Entry;
use cityrelay_core::ids::{Index, LaneId, MessageId};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_journal::{JournalError, View};

use super::standing::{Reached, Standing, Waiting};
use super::{Backend, journal_fault};
use crate::control::{
    ControlFault, FaultKind, MAX_PAGE, MIN_ID_DIGITS, MessageQuery, MessageReport, MessageState, MessagesReport,
};

/// Messages that one page looks at: filters that match few of them give a short page with a `next`.
const MAX_LOOKED_AT: u64 = 5_000;

/// One lane that a page looks through.
struct Scope {
    lane: LaneId,
    channel: String,
    standing: Standing,
    reached: Reached,
}

impl Backend {
    pub(super) async fn page(&self, query: MessageQuery) -> Result<MessagesReport, ControlFault> {
        let usage = |message: String| ControlFault::new(FaultKind::Usage, message);
        if query.limit == 0 || query.limit > MAX_PAGE {
            return Err(usage(format!("limit: expected 1 to {MAX_PAGE}, got {}", query.limit)));
        }
        let digits = query.id_prefix.as_deref().map(id_digits).transpose()?;
        if digits.is_some() && query.after.is_some() {
            return Err(usage("a search by id has one page only: give more digits instead of `after`".to_owned()));
        }
        let after = query.after.as_deref().map(cursor).transpose()?;
        let lanes = self.lanes_named(query.lane.as_deref())?;
        let status = self.machine_status().await?;
        let channel = |lane| self.handles.lanes.get(&lane).map(|lane| lane.channel.clone()).unwrap_or_default();
        let scopes: Vec<Scope> = lanes
            .into_iter()
            .filter_map(|lane| {
                let standing = Standing::of(lane, &status)?;
                Some(Scope { lane, channel: channel(lane), standing, reached: Reached::default() })
            })
            .collect();
        let journal = self.journal.clone();
        let read = tokio::task::spawn_blocking(move || {
            journal.read(|view| {
                let counts = view.flows()?;
                let filled =
                    scopes.into_iter().map(|scope| Scope { reached: Reached::of(scope.lane, &counts), ..scope });
                let scopes: Vec<Scope> = filled.collect();
                match digits {
                    Some(digits) => by_digits(view, &scopes, &query, &digits),
                    None => walk(view, &scopes, &query, after),
                }
            })
        });
        let page = read.await.map_err(|error| ControlFault::new(FaultKind::Internal, error.to_string()))?;
        page.map_err(|error| journal_fault(&error))
    }
}

fn id_digits(text: &str) -> Result<String, ControlFault> {
    let digits = text.trim_start_matches("0x");
    let is_hex = digits.chars().all(|digit| digit.is_ascii_hexdigit());
    if !is_hex || !(MIN_ID_DIGITS..=64).contains(&digits.len()) {
        let expected = format!("expected the first {MIN_ID_DIGITS} to 64 hex digits of an id, got {text:?}");
        return Err(ControlFault::new(FaultKind::Usage, expected));
    }
    Ok(digits.to_owned())
}

/// Where a page begins: below this index of this lane.
fn cursor(text: &str) -> Result<(LaneId, u64), ControlFault> {
    let parsed = text.split_once(':').and_then(|(lane, index)| Some((lane.parse().ok()?, index.parse().ok()?)));
    let expected = || format!("expected `next` of an earlier page as `after`, got {text:?}");
    parsed.ok_or_else(|| ControlFault::new(FaultKind::Usage, expected()))
}

fn by_digits(
    view: &View<'_>,
    scopes: &[Scope],
    query: &MessageQuery,
    digits: &str,
) -> Result<MessagesReport, JournalError> {
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let lane = match scopes {
        [only] => Some(only.lane),
        _ => None,
    };
    let mut messages = Vec::new();
    for (flow, index, id) in view.find_by_digits(lane, digits, limit)? {
        let Some(scope) = scopes.iter().find(|scope| scope.lane == flow.lane) else { continue };
        messages.extend(scope.row(view, index, Some(id), query)?);
    }
    Ok(MessagesReport { messages, next: None })
}

fn walk(
    view: &View<'_>,
    scopes: &[Scope],
    query: &MessageQuery,
    after: Option<(LaneId, u64)>,
) -> Result<MessagesReport, JournalError> {
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let mut messages = Vec::new();
    let mut looked_at = 0;
    for scope in scopes {
        let (above, mut last) = match query.state {
            Some(state) => scope.reached.stretch(state),
            None => (0, scope.reached.verified),
        };
        let above = if query.unfinished { above.max(scope.standing.finished) } else { above };
        match after {
            Some((lane, _)) if lane > scope.lane => continue,
            Some((lane, below)) if lane == scope.lane => last = last.min(below.saturating_sub(1)),
            _ => {}
        }
        while last > above {
            if messages.len() >= limit || looked_at >= MAX_LOOKED_AT {
                let next = format!("{}:{}", scope.lane, last.saturating_add(1));
                return Ok(MessagesReport { messages, next: Some(next) });
            }
            looked_at += 1;
            messages.extend(scope.row(view, Index(last), None, query)?);
            last -= 1;
        }
    }
    Ok(MessagesReport { messages, next: None })
}

impl Scope {
    /// The message with this index, when it is one that was asked for.
    fn row(
        &self,
        view: &View<'_>,
        index: Index,
        id: Option<MessageId>,
        query: &MessageQuery,
    ) -> Result<Option<MessageReport>, JournalError> {
        let lane = self.lane;
        let Some(known) = view.timeline(Flow { lane, direction: Direction::Outbox }, index)? else { return Ok(None) };
        let state = self.reached.state(index, known.attested.is_some());
        let is_finished = index.0 <= self.standing.finished;
        if query.state.is_some_and(|wanted| wanted != state) || (query.unfinished && is_finished) {
            return Ok(None);
        }
        let inbox = Flow { lane, direction: Direction::Inbox };
        let outcome = match state {
            MessageState::Answered | MessageState::Settled => view.entries(inbox, index, index)?.pop(),
            _ => None,
        };
        let waits = if is_finished { Waiting::default() } else { self.standing.waits };
        Ok(Some(MessageReport {
            id: id.unwrap_or(MessageId(known.link)).to_string(),
            lane: lane.to_string(),
            channel: self.channel.clone(),
            index: index.0,
            state,
            outcome: outcome.and_then(|entry| match entry {
                Entry::Outcome(outcome) => Some(outcome.status.as_str().to_owned()),
                Entry::Message(_) => None,
            }),
            is_finished,
            block_time: known.block_time.0,
            waits_for: waits.reason.as_str().to_owned(),
            who: waits.reason.who().to_owned(),
        }))
    }
}
