//! Records about a flow's hash chain.

use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::claim::MAX_CLAIM_ENTRIES;
use cityrelay_core::gateway_call::Evidence;
use cityrelay_core::ids::{Epoch, Index, MessageId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::record::ExtensionRecord;
use cityrelay_wire::row::{
    AcceptedRow, AttestedRow, BodyRow, DoneRow, Kept, KeptOutcome, SignedRow, SpanRow, evidence_key, id_key,
    position_key,
};

use super::Batch;
use crate::error::JournalError;
use crate::rows;
use crate::spans;
use crate::table::Table;

impl Batch<'_> {
    /// Checks, in order: 1 to [`MAX_CLAIM_ENTRIES`] entries, each of the flow's direction and with the next index; the
    /// base is not above the tip; the base, and as much of the extension as is held already, is our own chain.
    ///
    /// What is held already is skipped, so that a batch can be appended again after a failed sync that was durable
    /// after all; an extension that brings nothing new changes nothing.
    pub(super) fn on_extension(&mut self, record: &ExtensionRecord) -> Result<(), JournalError> {
        let flow = record.flow;
        let count = record.entries.len();
        if count == 0 || count > MAX_CLAIM_ENTRIES {
            return Err(JournalError::EntryCount { expected: MAX_CLAIM_ENTRIES, got: count });
        }
        let mut points = vec![record.base];
        let mut links = Vec::with_capacity(count);
        let mut tip = record.base;
        for entry in &record.entries {
            if entry.direction() != flow.direction {
                return Err(JournalError::EntryDirection { expected: flow.direction, got: entry.direction() });
            }
            if entry.index() != tip.index.next() {
                return Err(JournalError::EntryIndex { expected: tip.index.next(), got: entry.index() });
            }
            let link = entry.link(flow);
            tip = tip.extended(flow.direction, link);
            links.push(link);
            points.push(tip);
        }
        let mut row = self.flow(flow)?;
        self.verify_point(flow, record.base)?;
        let held = points.iter().filter(|point| point.index <= row.tip.index).count().saturating_sub(1);
        let base = points.get(held).copied().unwrap_or(record.base);
        self.verify_point(flow, base)?;
        if held == count {
            return Ok(());
        }
        let fresh = record.entries.get(held..).unwrap_or_default();
        let links = links.split_off(held);
        let mut messages = Vec::new();
        let mut outcomes = Vec::new();
        for (entry, link) in fresh.iter().zip(&links) {
            match entry {
                Entry::Message(message) => {
                    messages.push(message.clone());
                    self.rows.mark(Table::Ids, &id_key(row.ordinal, message.index, MessageId(*link)));
                }
                Entry::Outcome(outcome) => outcomes.push(KeptOutcome {
                    message: outcome.message,
                    status: outcome.status,
                    result_hash: outcome.result_hash,
                }),
            }
        }
        let kept = match flow.direction {
            Direction::Outbox => Kept::Ids(links),
            Direction::Inbox => Kept::Outcomes(outcomes),
        };
        let key = position_key(flow, tip.index);
        let span = SpanRow {
            base,
            tip,
            proved_at: record.proved_at,
            block_hash: record.block_hash,
            block_time: record.block_time,
            at: record.at,
            kept,
        };
        self.rows.write(Table::Spans, &key, &span)?;
        let body = BodyRow { messages, tail: record.tail.clone(), proof: Some(record.proof.clone()) };
        self.rows.write(Table::Bodies, &key, &body)?;
        row.tip = tip;
        row.extensions += 1;
        self.keep_flow(flow, &row)
    }

    /// The point must be on our chain, at or below the tip.
    fn verify_point(&self, flow: Flow, point: ChainPoint) -> Result<(), JournalError> {
        match spans::point_at(&self.rows, flow, point.index)? {
            Some(ours) if ours == point => Ok(()),
            Some(ours) => Err(JournalError::Fork { flow, index: point.index, expected: ours.head, got: point.head }),
            None => Err(JournalError::Gap { flow, expected: spans::tip(&self.rows, flow)?.index, got: point.index }),
        }
    }

    /// The head may lie in the tail that the newest extension was proved with. Recorded again it keeps its first time.
    pub(super) fn on_attested(&mut self, flow: Flow, evidence: &Evidence, at: UnixMillis) -> Result<(), JournalError> {
        let Evidence { point, epoch, signatures } = evidence;
        if point.index == Index(0) || signatures.is_empty() {
            return Err(JournalError::EmptyEvidence { index: point.index, signatures: signatures.len() });
        }
        match spans::point_in_tail(&self.rows, flow, point.index)? {
            Some(ours) if ours == *point => {
                let key = evidence_key(flow, point.index, *epoch);
                let earlier: Option<AttestedRow> = rows::read(&self.rows, Table::Evidence, &key)?;
                let at = earlier.map_or(at, |earlier| earlier.at);
                self.rows.write(Table::Evidence, &key, &AttestedRow { evidence: evidence.clone(), at })
            }
            Some(ours) => Err(JournalError::Fork { flow, index: point.index, expected: ours.head, got: point.head }),
            None => Err(JournalError::Gap { flow, expected: spans::tip(&self.rows, flow)?.index, got: point.index }),
        }
    }

    /// Going back is no news and ignored; another head is refused even then.
    pub(super) fn on_peer_accepted(
        &mut self,
        flow: Flow,
        point: ChainPoint,
        at: UnixMillis,
    ) -> Result<(), JournalError> {
        self.verify_point(flow, point)?;
        let mut row = self.flow(flow)?;
        if point.index > row.peer_accepted.index {
            row.peer_accepted = point;
            self.rows.write(Table::Accepted, &position_key(flow, point.index), &AcceptedRow { at })?;
            self.keep_flow(flow, &row)?;
        }
        Ok(())
    }

    /// Going back is no news and ignored; another head is refused even then.
    pub(super) fn on_done(&mut self, flow: Flow, point: ChainPoint, at: UnixMillis) -> Result<(), JournalError> {
        self.verify_point(flow, point)?;
        let mut row = self.flow(flow)?;
        if point.index > row.done.index {
            row.done = point;
            self.rows.write(Table::Done, &position_key(flow, point.index), &DoneRow { at })?;
            self.keep_flow(flow, &row)?;
        }
        Ok(())
    }

    /// Invariant I4: only the head of our own durable chain, and never a second one for an index.
    pub(super) fn on_signed(&mut self, flow: Flow, point: ChainPoint, epoch: Epoch) -> Result<(), JournalError> {
        let index = point.index;
        let conflict = |expected| JournalError::SignConflict { flow, index, expected, got: point.head };
        match spans::point_at(&self.rows, flow, index)? {
            Some(ours) if ours == point && index > Index(0) => {}
            Some(ours) => return Err(conflict(ours.head)),
            None => {
                let expected = spans::tip(&self.rows, flow)?.index;
                return Err(JournalError::Gap { flow, expected, got: index });
            }
        }
        let key = position_key(flow, index);
        let earlier: Option<SignedRow> = rows::read(&self.rows, Table::Signed, &key)?;
        if let Some(earlier) = earlier.filter(|earlier| earlier.head != point.head) {
            return Err(conflict(earlier.head));
        }
        let epoch = earlier.map_or(epoch, |earlier| earlier.epoch.max(epoch));
        self.rows.write(Table::Signed, &key, &SignedRow { head: point.head, epoch })?;
        self.counters.signed += 1;
        let mut row = self.flow(flow)?;
        if row.signed.is_none_or(|signed| signed.index < index) {
            row.signed = Some(point);
            self.keep_flow(flow, &row)?;
        }
        Ok(())
    }
}
