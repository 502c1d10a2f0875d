//! Drops what finished messages don't need any more. Links, heads, outcomes and ids stay for good.

use cityrelay_core::ids::{Index, UnixMillis};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::message::{Message, Payload};
use cityrelay_wire::row::{BodyRow, DoneRow, FlowRow, SpanRow, flow_key, position_key, read_position_key};

use crate::error::JournalError;
use crate::rows::{self, Changes, Overlay, Rows};
use crate::spans;
use crate::table::Table;
use crate::view::View;

/// How much of a finished message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PruneDepth {
    /// Payload bytes (their hash stays), proofs and attested heads: the message can still be shown, and its callback
    /// retried.
    Payloads,
    /// The message itself: only its id, its outcome and the heads stay.
    Bodies,
}

/// What was pruned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Extensions that lost something.
    pub extensions: usize,
    /// Payload bytes dropped.
    pub payload_bytes: u64,
}

/// Looks at no more than `limit` extensions that were finished before `before`, and says whether there may be more.
pub(crate) fn prune(
    base: &dyn Rows,
    before: UnixMillis,
    depth: PruneDepth,
    limit: usize,
) -> Result<(Changes, Pruned, bool), JournalError> {
    let mut rows = Overlay::new(base);
    let mut pruned = Pruned::default();
    let mut visited = 0;
    for counts in View::new(base).flows()? {
        let flow = counts.flow;
        let Some(mut row) = spans::flow_row(base, flow)? else { continue };
        let from = match depth {
            PruneDepth::Payloads => row.payloads_pruned,
            PruneDepth::Bodies => row.bodies_pruned,
        };
        let mut reached = from;
        spans::each_after(base, flow, from, |span| {
            if visited >= limit || !is_finished(base, flow, &row, &span, before)? {
                return Ok(false);
            }
            visited += 1;
            reached = span.tip.index;
            prune_extension(&mut rows, flow, &span, depth, &mut pruned)?;
            Ok(true)
        })?;
        if reached > from {
            row.payloads_pruned = row.payloads_pruned.max(reached);
            if depth == PruneDepth::Bodies {
                row.bodies_pruned = reached;
            }
            rows.write(Table::Flows, &flow_key(flow), &row)?;
        }
    }
    Ok((rows.into_changes(), pruned, visited >= limit))
}

/// Whether nobody on either side of the lane that this process stands on needs the extension any more.
///
/// An outbox is finished once we saw it delivered, or once the peer holds it and its outcomes are settled. An inbox is
/// finished once we saw it settled, or once the peer holds it. An attester is done with what it has signed: links and heads
/// are all that another signature for it needs.
fn is_finished(
    rows: &dyn Rows,
    flow: Flow,
    row: &FlowRow,
    span: &SpanRow,
    before: UnixMillis,
) -> Result<bool, JournalError> {
    let last = span.tip.index;
    let finished_by = if row.done.index >= last {
        Some(flow)
    } else if row.signed.is_some_and(|signed| signed.index >= last) {
        None
    } else if row.peer_accepted.index < last {
        return Ok(false);
    } else {
        match flow.direction {
            Direction::Inbox => None,
            Direction::Outbox => {
                let inbox = Flow { direction: Direction::Inbox, ..flow };
                if spans::flow_row(rows, inbox)?.is_none_or(|inbox| inbox.done.index < last) {
                    return Ok(false);
                }
                Some(inbox)
            }
        }
    };
    let at = match finished_by {
        Some(flow) => done_at(rows, flow, last)?.unwrap_or(span.at),
        None => span.at,
    };
    Ok(at < before)
}

fn done_at(rows: &dyn Rows, flow: Flow, index: Index) -> Result<Option<UnixMillis>, JournalError> {
    let Some((key, value)) = rows.seek(Table::Done, &position_key(flow, index))? else { return Ok(None) };
    if !key.starts_with(&flow_key(flow)) {
        return Ok(None);
    }
    let DoneRow { at } = rows::decode(Table::Done, &key, &value)?;
    Ok(Some(at))
}

fn prune_extension(
    rows: &mut Overlay<'_>,
    flow: Flow,
    span: &SpanRow,
    depth: PruneDepth,
    pruned: &mut Pruned,
) -> Result<(), JournalError> {
    let key = position_key(flow, span.tip.index);
    let Some(body) = rows::read::<BodyRow>(rows, Table::Bodies, &key)? else { return Ok(()) };
    pruned.extensions += 1;
    let bytes: usize = body.messages.iter().map(|message| message.payload.len()).sum();
    pruned.payload_bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
    if depth == PruneDepth::Bodies || flow.direction == Direction::Inbox {
        // The entries of an inbox live in the part that is kept for good.
        rows.remove(Table::Bodies, &key);
    } else {
        let hashed = |message: Message| Message { payload: Payload::Hash(message.payload.hash()), ..message };
        let messages = body.messages.into_iter().map(hashed).collect();
        rows.write(Table::Bodies, &key, &BodyRow { messages, tail: Vec::new(), proof: None })?;
    }
    for table in [Table::Evidence, Table::Accepted] {
        let mut keys = Vec::new();
        rows::scan(rows, table, &flow_key(flow), &position_key(flow, span.base.index.next()), |key, _| {
            let is_inside = read_position_key(key).is_some_and(|(_, index)| index <= span.tip.index);
            if is_inside {
                keys.push(key.to_vec());
            }
            Ok(is_inside)
        })?;
        for key in keys {
            rows.remove(table, &key);
        }
    }
    Ok(())
}
