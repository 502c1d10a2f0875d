//! Takes a batch of records in, or refuses it as a whole. One file per group of records.

mod chain;
mod client;
mod intent;
mod order;
mod set;

use cityrelay_core::chain::ChainPoint;
use cityrelay_core::ids::Index;
use cityrelay_core::lane::Flow;
use cityrelay_core::record::Record;
use cityrelay_wire::row::{CountersRow, FlowRow, OrdinalRow, flow_key};

use crate::error::JournalError;
use crate::rows::{self, Changes, Overlay, Rows};
use crate::spans;
use crate::table::Table;

/// Key of the one row in [`Table::Counters`].
pub(crate) const COUNTERS_KEY: &[u8] = b"counters";

/// The changes that `records` make on top of `base`.
///
/// # Errors
/// The first record that does not fit; nothing of the batch is then to be stored.
pub(crate) fn apply_batch(base: &dyn Rows, records: &[Record]) -> Result<Changes, JournalError> {
    let counters = counters(base)?;
    let mut batch = Batch { rows: Overlay::new(base), counters };
    for record in records {
        batch.apply(record)?;
    }
    let counters = batch.counters;
    batch.rows.write(Table::Counters, COUNTERS_KEY, &counters)?;
    Ok(batch.rows.into_changes())
}

/// The numbers of the whole journal. Only a journal without any record has none.
pub(crate) fn counters(rows: &dyn Rows) -> Result<CountersRow, JournalError> {
    if let Some(counters) = rows::read(rows, Table::Counters, COUNTERS_KEY)? {
        return Ok(counters);
    }
    for table in Table::ALL {
        if rows.seek(table, &[])?.is_some() {
            return Err(JournalError::LostRow { table: Table::Counters.name(), expected: 1, got: 0 });
        }
    }
    Ok(CountersRow::default())
}

struct Batch<'a> {
    rows: Overlay<'a>,
    counters: CountersRow,
}

impl Batch<'_> {
    fn apply(&mut self, record: &Record) -> Result<(), JournalError> {
        self.counters.records += 1;
        match record {
            Record::Client { domain, state, height, hash, headers } => {
                self.on_client(*domain, state, (*height, *hash), headers)
            }
            Record::Extension(extension) => self.on_extension(extension),
            Record::Attested { flow, evidence, at } => self.on_attested(*flow, evidence, *at),
            Record::PeerAccepted { flow, point, at } => self.on_peer_accepted(*flow, *point, *at),
            Record::Done { flow, point, at } => self.on_done(*flow, *point, *at),
            Record::Intent(intent) => self.on_intent(intent),
            Record::IntentClosed { domain, hash, end } => self.on_intent_closed(*domain, *hash, *end),
            Record::Signed { flow, point, epoch } => self.on_signed(*flow, *point, *epoch),
            Record::SetStated { fact, evidence } => self.on_set_stated(*fact, evidence),
            Record::SetSigned(attestation) => self.on_set_signed(attestation),
            Record::Misbehaviour(misbehaviour) => self.on_misbehaviour(misbehaviour),
            Record::Audit(audit) => self.on_audit(audit),
        }
    }

    /// Where a flow stands; its first record gives it a row.
    fn flow(&mut self, flow: Flow) -> Result<FlowRow, JournalError> {
        if let Some(row) = spans::flow_row(&self.rows, flow)? {
            return Ok(row);
        }
        let ordinal = self.counters.flows;
        self.counters.flows += 1;
        self.rows.write(Table::Ordinals, &ordinal.to_be_bytes(), &OrdinalRow { flow })?;
        let start = ChainPoint::start(flow);
        Ok(FlowRow {
            ordinal,
            tip: start,
            peer_accepted: start,
            done: start,
            signed: None,
            extensions: 0,
            payloads_pruned: Index(0),
            bodies_pruned: Index(0),
        })
    }

    fn keep_flow(&mut self, flow: Flow, row: &FlowRow) -> Result<(), JournalError> {
        self.rows.write(Table::Flows, &flow_key(flow), row)
    }
}
