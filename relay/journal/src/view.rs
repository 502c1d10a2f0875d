//! What can be asked of a journal. Every answer comes from one durable snapshot.

mod reminder;

use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::gateway_call::Evidence;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Domain, Epoch, Height, Index, LaneId, MessageId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::order::AuditRecord;
use cityrelay_core::record::{ExtensionRecord, IntentEnd, IntentRecord, Misbehaviour};
use cityrelay_core::recovery::{Recovered, Side};
use cityrelay_wire::row::{
    AcceptedRow, AttestedRow, ClosedIntentRow, CountersRow, DomainRow, DoneRow, FlowRow, ID_BLOCK, ID_KEY_STEM,
    OrdinalRow, SignedRow, flow_key, id_prefix, intent_key, position_key, read_id_key, read_position_key,
};

use crate::apply::counters;
use crate::error::JournalError;
use crate::recover::{recover, verify_count};
use crate::rows::{self, Rows};
use crate::spans;
use crate::table::Table;

/// How many transactions a [`Timeline`] looks at.
pub const TIMELINE_TRANSACTIONS: usize = 64;

/// What is known of one position of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// The flow.
    pub flow: Flow,
    /// The point of its chain at this index.
    pub point: ChainPoint,
    /// Message id or hash of the outcome.
    pub link: Hash32,
    /// The extension in which it was verified: the points before and after it.
    pub extension: (ChainPoint, ChainPoint),
    /// The header at which the head was proved.
    pub proved_at: Height,
    /// Hash of that header.
    pub block_hash: Hash32,
    /// Time of that header, on its chain's clock.
    pub block_time: UnixMillis,
    /// When we verified it.
    pub verified_at: UnixMillis,
    /// The first attested head that covers it, with its newest epoch and when there were enough signatures of that.
    pub attested: Option<(Index, Epoch, UnixMillis)>,
    /// The first head covering it that was released for signing here.
    pub signed: Option<(Index, Epoch)>,
    /// Whether the peer holds it.
    pub is_peer_accepted: bool,
    /// The index up to which the peer said that it holds the flow, and when it said so; gone once pruned.
    pub peer_accepted: Option<(Index, UnixMillis)>,
    /// The index up to which the target chain was seen to have taken it in, and when that was seen.
    pub done: Option<(Index, UnixMillis)>,
    /// Transactions that carried it, or reached beyond it, in the order of their last index; at most
    /// [`TIMELINE_TRANSACTIONS`].
    pub transactions: Vec<CarryTransaction>,
}

/// A transaction that carries a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CarryTransaction {
    /// The chain.
    pub domain: Domain,
    /// Hash of the transaction.
    pub hash: Hash32,
    /// Index of the last entry in it.
    pub last: Index,
    /// When it was made.
    pub at: UnixMillis,
    /// The dropped transaction whose place it took.
    pub replaces: Option<Hash32>,
    /// What became of it; `None` while that is not known.
    pub end: Option<IntentEnd>,
}

/// Where one flow stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowCounts {
    /// The flow.
    pub flow: Flow,
    /// The durable tip.
    pub tip: ChainPoint,
    /// What the peer holds.
    pub peer_accepted: ChainPoint,
    /// What the target chain has taken in.
    pub done: ChainPoint,
    /// The highest point released for signing.
    pub signed: Option<ChainPoint>,
    /// Extensions held.
    pub extensions: u64,
    /// Payload bytes up to this index are gone.
    pub payloads_pruned: Index,
    /// Bodies up to this index are gone.
    pub bodies_pruned: Index,
}

/// Numbers of the whole journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Flows that have a record.
    pub flows: u64,
    /// Records applied since the journal was made.
    pub records: u64,
    /// Sign-once records applied: the signing counter.
    pub signed: u64,
}

/// One durable snapshot of a journal.
pub struct View<'a> {
    rows: &'a dyn Rows,
}

impl core::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("View").finish_non_exhaustive()
    }
}

impl<'a> View<'a> {
    pub(crate) const fn new(rows: &'a dyn Rows) -> Self {
        Self { rows }
    }

    /// What a restart begins with, for the flows that this process takes part in.
    ///
    /// # Errors
    /// [`JournalError::Pruned`] when a body that is outstanding on that side was pruned while it was not, and those of
    /// damage and I/O.
    pub fn recover(&self, flows: &[(Flow, Side)]) -> Result<Recovered, JournalError> {
        recover(self.rows, flows)
    }

    /// The point of a flow's chain at `index`; `None` above the tip.
    ///
    /// # Errors
    /// Those of damage and I/O only.
    pub fn point(&self, flow: Flow, index: Index) -> Result<Option<ChainPoint>, JournalError> {
        spans::point_at(self.rows, flow, index)
    }

    /// The entries from `first` to `last`, both included, as far as the flow goes. Payloads may be hashes.
    ///
    /// # Errors
    /// [`JournalError::Pruned`] when a body is gone; those of damage and I/O.
    pub fn entries(&self, flow: Flow, first: Index, last: Index) -> Result<Vec<Entry>, JournalError> {
        let mut entries = Vec::new();
        self.each_extension(flow, first, last, |span| {
            let inside = spans::entries_of(self.rows, flow, &span)?;
            entries.extend(inside.into_iter().filter(|entry| entry.index() >= first && entry.index() <= last));
            Ok(())
        })?;
        Ok(entries)
    }

    /// The links from `first` to `last`, both included, as far as the flow goes. Never pruned.
    ///
    /// # Errors
    /// Those of damage and I/O only.
    pub fn links(&self, flow: Flow, first: Index, last: Index) -> Result<Vec<Hash32>, JournalError> {
        let mut links = Vec::new();
        self.each_extension(flow, first, last, |span| {
            let indices = (1..).map(|offset| span.base.index.plus(offset));
            let inside = spans::links_of(flow, &span).into_iter().zip(indices);
            links.extend(inside.filter(|(_, index)| *index >= first && *index <= last).map(|(link, _)| link));
            Ok(())
        })?;
        Ok(links)
    }

    /// The extension that `index` is in, as it was recorded; `None` above the tip.
    ///
    /// # Errors
    /// [`JournalError::Pruned`] when its proof or its bodies are gone; those of damage and I/O.
    pub fn extension(&self, flow: Flow, index: Index) -> Result<Option<ExtensionRecord>, JournalError> {
        let span = spans::covering(self.rows, flow, index)?;
        span.map(|span| spans::extension_of(self.rows, flow, &span)).transpose()
    }

    /// At most `max` extensions that reach beyond `after`, ascending, each with its newest attestation.
    ///
    /// # Errors
    /// [`JournalError::Pruned`] when the proof, a body or a payload of one is gone; those of damage and I/O.
    pub fn extensions_after(
        &self,
        flow: Flow,
        after: Index,
        max: usize,
    ) -> Result<Vec<(ExtensionRecord, Option<Evidence>)>, JournalError> {
        let mut found = Vec::new();
        spans::each_after(self.rows, flow, after, |span| {
            if found.len() >= max {
                return Ok(false);
            }
            let record = spans::extension_of(self.rows, flow, &span)?;
            let mut evidence = None;
            let prefix = position_key(flow, span.tip.index);
            rows::scan(self.rows, Table::Evidence, &prefix, &prefix, |key, value| {
                // Epochs ascend: the last one stays.
                evidence = Some(rows::decode::<AttestedRow>(Table::Evidence, key, value)?.evidence);
                Ok(true)
            })?;
            found.push((record, evidence));
            Ok(true)
        })?;
        Ok(found)
    }

    fn each_extension(
        &self,
        flow: Flow,
        first: Index,
        last: Index,
        mut visit: impl FnMut(cityrelay_wire::row::SpanRow) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        if first > last {
            return Ok(());
        }
        spans::each_after(self.rows, flow, Index(first.0.saturating_sub(1)), |span| {
            if span.base.index >= last {
                return Ok(false);
            }
            let is_last = span.tip.index >= last;
            visit(span)?;
            Ok(!is_last)
        })
    }

    /// Where the message with this id is: the outbox of its lane, and its index. One look for every [`ID_BLOCK`] messages
    /// that the journal has ever held, the newest of each lane first.
    ///
    /// # Errors
    /// Those of damage and I/O only.
    pub fn find(&self, id: MessageId) -> Result<Option<(Flow, Index)>, JournalError> {
        for OrdinalRow { flow } in rows::all::<OrdinalRow>(self.rows, Table::Ordinals, &[])? {
            let Some(row) = spans::flow_row(self.rows, flow)?.filter(|_| flow.direction == Direction::Outbox) else {
                continue;
            };
            for block in (0..=row.tip.index.0 / ID_BLOCK).rev() {
                let prefix = id_prefix(row.ordinal, block, id);
                let mut candidates = Vec::new();
                rows::scan(self.rows, Table::Ids, &prefix, &prefix, |key, _| {
                    candidates.extend(read_id_key(key));
                    Ok(true)
                })?;
                for (_, index) in candidates {
                    if self.links(flow, index, index)?.first() == Some(&id.0) {
                        return Ok(Some((flow, index)));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The messages whose ids begin with these hex digits, newest of each lane first, at most `limit`; of one lane only,
    /// where one is named. Costs as [`View::find`], for every digit that is missing more.
    ///
    /// # Errors
    /// Those of damage and I/O only.
    pub fn find_by_digits(
        &self,
        lane: Option<LaneId>,
        digits: &str,
        limit: usize,
    ) -> Result<Vec<(Flow, Index, MessageId)>, JournalError> {
        let digits = digits.to_ascii_lowercase();
        let mut start = [0; 32];
        let mut known = 0;
        let pairs = digits
            .as_bytes()
            .chunks_exact(2)
            .map_while(|pair| u8::from_str_radix(core::str::from_utf8(pair).ok()?, 16).ok());
        for (place, byte) in start.iter_mut().zip(pairs) {
            *place = byte;
            known += 1;
        }
        let mut found = Vec::new();
        for OrdinalRow { flow } in rows::all::<OrdinalRow>(self.rows, Table::Ordinals, &[])? {
            let is_meant = flow.direction == Direction::Outbox && lane.is_none_or(|lane| lane == flow.lane);
            let Some(row) = spans::flow_row(self.rows, flow)?.filter(|_| is_meant) else { continue };
            for block in (0..=row.tip.index.0 / ID_BLOCK).rev() {
                let whole = id_prefix(row.ordinal, block, MessageId(Hash32(start)));
                let Some(prefix) = whole.get(..(ID_KEY_STEM + known).min(whole.len())) else { continue };
                let mut indices = Vec::new();
                rows::scan(self.rows, Table::Ids, prefix, prefix, |key, _| {
                    indices.extend(read_id_key(key).map(|(_, index)| index));
                    Ok(true)
                })?;
                indices.sort_unstable_by_key(|index| core::cmp::Reverse(*index));
                for index in indices {
                    let Some(link) = self.links(flow, index, index)?.first().copied() else { continue };
                    if link.to_string().trim_start_matches("0x").starts_with(&digits) {
                        found.push((flow, index, MessageId(link)));
                    }
                    if found.len() >= limit {
                        return Ok(found);
                    }
                }
            }
        }
        Ok(found)
    }

    /// What is known of one position; `None` above the tip, and for index 0.
    ///
    /// # Errors
    /// Those of damage and I/O only.
    pub fn timeline(&self, flow: Flow, index: Index) -> Result<Option<Timeline>, JournalError> {
        if index == Index(0) {
            return Ok(None);
        }
        let (Some(span), Some(point)) =
            (spans::covering(self.rows, flow, index)?, spans::point_at(self.rows, flow, index)?)
        else {
            return Ok(None);
        };
        let row = spans::flow_row(self.rows, flow)?;
        let link = self.links(flow, index, index)?.first().copied().unwrap_or_default();
        Ok(Some(Timeline {
            flow,
            point,
            link,
            extension: (span.base, span.tip),
            proved_at: span.proved_at,
            block_hash: span.block_hash,
            block_time: span.block_time,
            verified_at: span.at,
            attested: self.first_attested(flow, index)?,
            signed: self.first_from::<SignedRow>(Table::Signed, flow, index)?.map(|(index, row)| (index, row.epoch)),
            is_peer_accepted: row.is_some_and(|row| row.peer_accepted.index >= index),
            peer_accepted: self
                .first_from::<AcceptedRow>(Table::Accepted, flow, index)?
                .map(|(index, row)| (index, row.at)),
            done: self.first_from::<DoneRow>(Table::Done, flow, index)?.map(|(index, row)| (index, row.at)),
            transactions: self.transactions(flow, index)?,
        }))
    }

    fn first_from<R: cityrelay_wire::row::Row>(
        &self,
        table: Table,
        flow: Flow,
        index: Index,
    ) -> Result<Option<(Index, R)>, JournalError> {
        let Some((key, value)) = self.rows.seek(table, &position_key(flow, index))? else { return Ok(None) };
        match read_position_key(&key) {
            Some((of, index)) if of == flow => Ok(Some((index, rows::decode(table, &key, &value)?))),
            _ => Ok(None),
        }
    }

    fn first_attested(&self, flow: Flow, index: Index) -> Result<Option<(Index, Epoch, UnixMillis)>, JournalError> {
        let mut newest: Option<(Index, Epoch, UnixMillis)> = None;
        rows::scan(self.rows, Table::Evidence, &flow_key(flow), &position_key(flow, index), |key, value| {
            let AttestedRow { evidence, at } = rows::decode(Table::Evidence, key, value)?;
            let is_same = newest.is_none_or(|(index, ..)| index == evidence.point.index);
            if is_same {
                newest = Some((evidence.point.index, evidence.epoch, at));
            }
            Ok(is_same)
        })?;
        Ok(newest)
    }

    fn transactions(&self, flow: Flow, index: Index) -> Result<Vec<CarryTransaction>, JournalError> {
        let mut found = Vec::new();
        rows::scan(self.rows, Table::Carries, &flow_key(flow), &position_key(flow, index), |key, value| {
            let DomainRow { domain } = rows::decode(Table::Carries, key, value)?;
            if let (Some((_, last)), Some(hash)) = (read_position_key(key), key.last_chunk::<32>()) {
                found.extend(self.transaction(domain, Hash32(*hash), last)?);
            }
            Ok(found.len() < TIMELINE_TRANSACTIONS)
        })?;
        Ok(found)
    }

    fn transaction(&self, domain: Domain, hash: Hash32, last: Index) -> Result<Option<CarryTransaction>, JournalError> {
        let key = intent_key(domain, hash);
        if let Some(open) = rows::read::<IntentRecord>(self.rows, Table::Intents, &key)? {
            let IntentRecord { at, replaces, .. } = open;
            return Ok(Some(CarryTransaction { domain, hash, last, at, replaces, end: None }));
        }
        let closed: Option<ClosedIntentRow> = rows::read(self.rows, Table::ClosedIntents, &key)?;
        Ok(closed.map(|ClosedIntentRow { at, replaces, end, .. }| CarryTransaction {
            domain,
            hash,
            last,
            at,
            replaces,
            end: Some(end),
        }))
    }

    /// The head that was released for signing at `index`, with the newest epoch.
    ///
    /// # Errors
    /// Those of damage and I/O only.
    pub fn signed(&self, flow: Flow, index: Index) -> Result<Option<(ChainPoint, Epoch)>, JournalError> {
        let row: Option<SignedRow> = rows::read(self.rows, Table::Signed, &position_key(flow, index))?;
        Ok(row.map(|SignedRow { head, epoch }| (ChainPoint { index, head }, epoch)))
    }

    /// Everything that was kept of misbehaviour, in the order in which it was first seen.
    ///
    /// # Errors
    /// Those of damage and I/O only.
    pub fn misbehaviour(&self) -> Result<Vec<Misbehaviour>, JournalError> {
        let mut all: Vec<Misbehaviour> = rows::all(self.rows, Table::Misbehaviour, &[])?;
        verify_count(Table::Misbehaviour, counters(self.rows)?.misbehaviour, all.len())?;
        all.sort_by_key(Misbehaviour::at);
        Ok(all)
    }

    /// The last orders of operators, at most `limit`, newest first.
    ///
    /// # Errors
    /// Those of damage and I/O only.
    pub fn audit(&self, limit: usize) -> Result<Vec<AuditRecord>, JournalError> {
        let kept = counters(self.rows)?.audits;
        let first = kept.saturating_sub(u64::try_from(limit).unwrap_or(u64::MAX));
        let mut found = Vec::new();
        rows::scan(self.rows, Table::Audit, &[], &first.to_be_bytes(), |key, value| {
            found.push(rows::decode::<AuditRecord>(Table::Audit, key, value)?);
            Ok(true)
        })?;
        verify_count(Table::Audit, u32::try_from(kept - first).unwrap_or(u32::MAX), found.len())?;
        found.reverse();
        Ok(found)
    }

    /// Where each flow stands.
    ///
    /// # Errors
    /// Those of damage and I/O only.
    pub fn flows(&self) -> Result<Vec<FlowCounts>, JournalError> {
        let mut found = Vec::new();
        rows::scan(self.rows, Table::Flows, &[], &[], |key, value| {
            let row: FlowRow = rows::decode(Table::Flows, key, value)?;
            if let Some((direction, lane)) = key.split_last()
                && let (Some(direction), Ok(lane)) = (Direction::from_code(*direction), lane.try_into())
            {
                found.push(FlowCounts {
                    flow: Flow { lane: LaneId(Hash32(lane)), direction },
                    tip: row.tip,
                    peer_accepted: row.peer_accepted,
                    done: row.done,
                    signed: row.signed,
                    extensions: row.extensions,
                    payloads_pruned: row.payloads_pruned,
                    bodies_pruned: row.bodies_pruned,
                });
            }
            Ok(true)
        })?;
        Ok(found)
    }

    /// [`Self::verify_flow`] for each flow, up to the first that does not hold. Returns the entries checked.
    ///
    /// Costs a walk over the whole history: for `doctor`, not for a start.
    ///
    /// # Errors
    /// Those of damage and I/O only.
    pub fn verify(&self) -> Result<u64, JournalError> {
        self.flows()?.iter().try_fold(0, |checked, counts| Ok(checked + self.verify_flow(counts.flow)?))
    }

    /// Reads a flow from its start: each link must lead to the next head and the last one to the tip, each body to its
    /// link, and every head that was released for signing must be on the chain. Returns the entries checked.
    ///
    /// # Errors
    /// Those of damage and I/O only, of the first place where something does not hold.
    pub fn verify_flow(&self, flow: Flow) -> Result<u64, JournalError> {
        let (mut checked, mut point) = (0, ChainPoint::start(flow));
        spans::each_after(self.rows, flow, Index(0), |span| {
            for link in spans::links_of(flow, &span) {
                point = point.extended(flow.direction, link);
                checked += 1;
            }
            if point != span.tip {
                return Err(JournalError::Inconsistent { table: Table::Spans.name(), index: span.tip.index });
            }
            match spans::entries_of(self.rows, flow, &span) {
                Ok(_) | Err(JournalError::Pruned { .. }) => Ok(true),
                Err(error) => Err(error),
            }
        })?;
        let tip = spans::tip(self.rows, flow)?;
        if point != tip {
            return Err(JournalError::Inconsistent { table: Table::Flows.name(), index: tip.index });
        }
        rows::scan(self.rows, Table::Signed, &flow_key(flow), &flow_key(flow), |key, value| {
            let SignedRow { head, .. } = rows::decode(Table::Signed, key, value)?;
            let Some((_, index)) = read_position_key(key) else { return Ok(true) };
            match self.point(flow, index)? {
                Some(point) if point.head == head => Ok(true),
                _ => Err(JournalError::Inconsistent { table: Table::Signed.name(), index }),
            }
        })?;
        Ok(checked)
    }

    /// Numbers of the whole journal.
    ///
    /// # Errors
    /// Those of damage and I/O only.
    pub fn counts(&self) -> Result<Counts, JournalError> {
        let CountersRow { flows, records, signed, .. } = counters(self.rows)?;
        Ok(Counts { flows: u64::from(flows), records, signed })
    }
}
