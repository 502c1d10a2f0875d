//! A flow's hash chain as it is kept: one row per extension, from which every link and every head can be had again.

use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::Index;
use cityrelay_core::lane::Flow;
use cityrelay_core::outcome::Outcome;
use cityrelay_core::record::ExtensionRecord;
use cityrelay_wire::row::{BodyRow, FlowRow, Kept, SpanRow, flow_key, position_key, read_position_key};

use crate::error::JournalError;
use crate::rows::{self, Rows};
use crate::table::Table;

/// Where a flow stands, or `None` before its first record.
pub(crate) fn flow_row(rows: &dyn Rows, flow: Flow) -> Result<Option<FlowRow>, JournalError> {
    rows::read(rows, Table::Flows, &flow_key(flow))
}

/// The tip of a flow.
pub(crate) fn tip(rows: &dyn Rows, flow: Flow) -> Result<ChainPoint, JournalError> {
    Ok(flow_row(rows, flow)?.map_or_else(|| ChainPoint::start(flow), |row| row.tip))
}

/// The extension that `index` is in; `None` above the tip.
pub(crate) fn covering(rows: &dyn Rows, flow: Flow, index: Index) -> Result<Option<SpanRow>, JournalError> {
    let from = position_key(flow, index);
    let Some((key, value)) = rows.seek(Table::Spans, &from)? else { return Ok(None) };
    if !key.starts_with(&flow_key(flow)) {
        return Ok(None);
    }
    let span: SpanRow = rows::decode(Table::Spans, &key, &value)?;
    let is_sound = read_position_key(&key) == Some((flow, span.tip.index))
        && span.base.index < index
        && span.base.index.plus(kept_len(&span.kept)) == span.tip.index;
    if is_sound { Ok(Some(span)) } else { Err(inconsistent(index)) }
}

fn inconsistent(index: Index) -> JournalError {
    JournalError::Inconsistent { table: Table::Spans.name(), index }
}

fn kept_len(kept: &Kept) -> usize {
    match kept {
        Kept::Ids(ids) => ids.len(),
        Kept::Outcomes(outcomes) => outcomes.len(),
    }
}

/// The links of an extension, ascending.
pub(crate) fn links_of(flow: Flow, span: &SpanRow) -> Vec<Hash32> {
    match &span.kept {
        Kept::Ids(ids) => ids.clone(),
        Kept::Outcomes(_) => outcomes_of(span).iter().map(|outcome| outcome.hash(flow.lane)).collect(),
    }
}

/// The outcomes of an inbox extension, ascending.
pub(crate) fn outcomes_of(span: &SpanRow) -> Vec<Outcome> {
    let Kept::Outcomes(kept) = &span.kept else { return Vec::new() };
    let indices = (1..).map(|offset| span.base.index.plus(offset));
    kept.iter()
        .zip(indices)
        .map(|(kept, index)| Outcome {
            index,
            message: kept.message,
            status: kept.status,
            result_hash: kept.result_hash,
        })
        .collect()
}

/// The point of the chain at `index`, or `None` above the tip. Heads inside an extension are hashed again, and the
/// chain must end in the head that was proved.
pub(crate) fn point_at(rows: &dyn Rows, flow: Flow, index: Index) -> Result<Option<ChainPoint>, JournalError> {
    if index == Index(0) {
        return Ok(Some(ChainPoint::start(flow)));
    }
    let Some(span) = covering(rows, flow, index)? else {
        return if index > tip(rows, flow)?.index { Ok(None) } else { Err(inconsistent(index)) };
    };
    if span.tip.index == index {
        return Ok(Some(span.tip));
    }
    let mut point = span.base;
    let mut found = None;
    for link in links_of(flow, &span) {
        point = point.extended(flow.direction, link);
        if point.index == index {
            found = Some(point);
        }
    }
    if point != span.tip {
        return Err(inconsistent(index));
    }
    Ok(found)
}

/// The point at `index`, which may lie in the tail that the newest extension was proved with.
pub(crate) fn point_in_tail(rows: &dyn Rows, flow: Flow, index: Index) -> Result<Option<ChainPoint>, JournalError> {
    let mut point = tip(rows, flow)?;
    if index <= point.index {
        return point_at(rows, flow, index);
    }
    let Some(body) = body_of(rows, flow, point.index)? else { return Ok(None) };
    for link in body.tail {
        point = point.extended(flow.direction, link);
        if point.index == index {
            return Ok(Some(point));
        }
    }
    Ok(None)
}

fn body_of(rows: &dyn Rows, flow: Flow, last: Index) -> Result<Option<BodyRow>, JournalError> {
    rows::read(rows, Table::Bodies, &position_key(flow, last))
}

/// The entries of an extension; the payloads of messages may be hashes.
///
/// # Errors
/// [`JournalError::Pruned`] when the bodies of an outbox are gone.
pub(crate) fn entries_of(rows: &dyn Rows, flow: Flow, span: &SpanRow) -> Result<Vec<Entry>, JournalError> {
    let Kept::Ids(ids) = &span.kept else {
        return Ok(outcomes_of(span).into_iter().map(Entry::Outcome).collect());
    };
    let first = span.base.index.next();
    let Some(body) = body_of(rows, flow, span.tip.index)? else {
        return Err(JournalError::Pruned { flow, index: first });
    };
    let is_sound = body.messages.len() == ids.len()
        && body.messages.iter().zip(ids).all(|(message, id)| message.id(flow.lane).0 == *id);
    if !is_sound {
        return Err(JournalError::Inconsistent { table: Table::Bodies.name(), index: first });
    }
    Ok(body.messages.into_iter().map(Entry::Message).collect())
}

/// The extension as it was recorded.
///
/// # Errors
/// [`JournalError::Pruned`] when its proof is gone.
pub(crate) fn extension_of(rows: &dyn Rows, flow: Flow, span: &SpanRow) -> Result<ExtensionRecord, JournalError> {
    let entries = entries_of(rows, flow, span)?;
    let pruned = JournalError::Pruned { flow, index: span.base.index.next() };
    let body = body_of(rows, flow, span.tip.index)?.ok_or_else(|| pruned.clone())?;
    Ok(ExtensionRecord {
        flow,
        base: span.base,
        entries,
        proved_at: span.proved_at,
        block_hash: span.block_hash,
        block_time: span.block_time,
        tail: body.tail,
        proof: body.proof.ok_or(pruned)?,
        at: span.at,
    })
}

/// Calls `visit` for each extension that reaches beyond `after`, ascending, until it returns `false`. They must follow
/// each other without a gap up to the flow's tip.
pub(crate) fn each_after(
    rows: &dyn Rows,
    flow: Flow,
    after: Index,
    mut visit: impl FnMut(SpanRow) -> Result<bool, JournalError>,
) -> Result<(), JournalError> {
    let tip = tip(rows, flow)?;
    let mut reached: Option<ChainPoint> = None;
    let mut next = after.next();
    while next <= tip.index {
        let span = covering(rows, flow, next)?.ok_or_else(|| inconsistent(next))?;
        if reached.is_some_and(|reached| reached != span.base) || (span.tip.index == tip.index && span.tip != tip) {
            return Err(inconsistent(next));
        }
        reached = Some(span.tip);
        next = span.tip.index.next();
        if !visit(span)? {
            break;
        }
    }
    Ok(())
}
