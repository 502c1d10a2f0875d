//! What a restart begins with. Every read here is of something outstanding, or of one row per flow, client or header kept.

use std::collections::BTreeMap;

use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::gateway_call::Evidence;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Domain, Index, LaneId};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::light_client::Header;
use cityrelay_core::message::Message;
use cityrelay_core::record::Decided;
use cityrelay_core::recovery::{Recovered, RecoveredClient, RecoveredFlow, Side};
use cityrelay_wire::row::{
    AttestedRow, ClientRow, DecidedRow, FrozenRow, OrdinalRow, PausedRow, SetRow, flow_key, position_key,
    read_header_key,
};

use crate::apply::counters;
use crate::error::JournalError;
use crate::rows::{self, Rows};
use crate::spans;
use crate::table::Table;

/// The outstanding part of the journal, for these flows.
pub(crate) fn recover(rows: &dyn Rows, flows: &[(Flow, Side)]) -> Result<Recovered, JournalError> {
    let counters = counters(rows)?;
    verify_flows(rows, counters.flows)?;
    let flows = flows.iter().map(|(flow, side)| recover_flow(rows, *flow, *side)).collect::<Result<_, _>>()?;
    let mut frozen = Vec::new();
    rows::scan(rows, Table::Frozen, &[], &[], |key, value| {
        let row: FrozenRow = rows::decode(Table::Frozen, key, value)?;
        frozen.extend(domain_of(key).map(|domain| (domain, row.frozen)));
        Ok(true)
    })?;
    let mut decided = Vec::new();
    rows::scan(rows, Table::Decided, &[], &[], |key, value| {
        let DecidedRow { chosen, rejected } = rows::decode(Table::Decided, key, value)?;
        let at = read_header_key(key);
        decided.extend(at.map(|(domain, height)| (domain, Decided { height, chosen, rejected })));
        Ok(true)
    })?;
    let mut paused = Vec::new();
    rows::scan(rows, Table::Paused, &[], &[], |key, value| {
        // Read for its checksum: the key must be the one that was written.
        rows::decode::<PausedRow>(Table::Paused, key, value)?;
        paused.extend(key.first_chunk::<32>().map(|word| LaneId(Hash32(*word))));
        Ok(true)
    })?;
    let intents = rows::all(rows, Table::Intents, &[])?;
    let clients = recover_clients(rows)?;
    let sets: Vec<SetRow> = rows::all(rows, Table::Sets, &[])?;
    verify_count(Table::Sets, counters.sets, sets.len())?;
    let sets = sets.into_iter().filter(|set| set.is_confirmed).map(|set| set.fact).collect();
    verify_count(Table::Frozen, counters.frozen, frozen.len())?;
    verify_count(Table::Decided, counters.decided, decided.len())?;
    verify_count(Table::Paused, counters.paused, paused.len())?;
    verify_count(Table::Intents, counters.intents, intents.len())?;
    verify_count(Table::Clients, counters.clients, clients.len())?;
    Ok(Recovered { clients, flows, intents, frozen, decided, paused, sets })
}

/// A row that is not found must never have been written: nothing is guessed about a damaged file.
pub(crate) fn verify_count(table: Table, expected: u32, got: usize) -> Result<(), JournalError> {
    let (expected, got) = (u64::from(expected), u64::try_from(got).unwrap_or(u64::MAX));
    if expected == got { Ok(()) } else { Err(JournalError::LostRow { table: table.name(), expected, got }) }
}

/// Every flow that ever had a record still has its row.
fn verify_flows(rows: &dyn Rows, expected: u32) -> Result<(), JournalError> {
    let known: Vec<OrdinalRow> = rows::all(rows, Table::Ordinals, &[])?;
    verify_count(Table::Ordinals, expected, known.len())?;
    let mut found = 0;
    for OrdinalRow { flow } in known {
        found += usize::from(spans::flow_row(rows, flow)?.is_some());
    }
    verify_count(Table::Flows, expected, found)
}

fn domain_of(key: &[u8]) -> Option<Domain> {
    key.first_chunk::<32>().map(|word| Domain(Hash32(*word)))
}

fn recover_clients(rows: &dyn Rows) -> Result<Vec<RecoveredClient>, JournalError> {
    let mut clients = Vec::new();
    rows::scan(rows, Table::Clients, &[], &[], |key, value| {
        let client: ClientRow = rows::decode(Table::Clients, key, value)?;
        if let Some(domain) = domain_of(key) {
            let headers: Vec<Header> = rows::all(rows, Table::Headers, key)?;
            let ClientRow { state, height, hash, headers: expected, .. } = client;
            verify_count(Table::Headers, expected, headers.len())?;
            clients.push(RecoveredClient { domain, state, height, hash, headers });
        }
        Ok(true)
    })?;
    Ok(clients)
}

fn recover_flow(rows: &dyn Rows, flow: Flow, side: Side) -> Result<RecoveredFlow, JournalError> {
    let start = ChainPoint::start(flow);
    let row = spans::flow_row(rows, flow)?;
    let (tip, peer_accepted, done) = row.map_or((start, start, start), |row| (row.tip, row.peer_accepted, row.done));
    let settled_to = match side {
        Side::Outbound => peer_accepted.index,
        Side::Inbound => done.index,
        Side::Attester => tip.index,
    };
    let mut outstanding = Vec::new();
    spans::each_after(rows, flow, settled_to, |span| {
        outstanding.push(spans::extension_of(rows, flow, &span)?);
        Ok(true)
    })?;
    let evidence = match side {
        Side::Attester => Vec::new(),
        Side::Outbound | Side::Inbound => evidence_after(rows, flow, settled_to)?,
    };
    let unsettled = match (side, flow.direction) {
        (Side::Outbound, Direction::Outbox) => unsettled(rows, flow)?,
        _ => Vec::new(),
    };
    Ok(RecoveredFlow { flow, side, tip, peer_accepted, done, outstanding, evidence, unsettled })
}

/// The attested heads above `after`, the newest epoch of each.
fn evidence_after(rows: &dyn Rows, flow: Flow, after: Index) -> Result<Vec<Evidence>, JournalError> {
    let mut newest = BTreeMap::new();
    let from = position_key(flow, after.next());
    rows::scan(rows, Table::Evidence, &flow_key(flow), &from, |key, value| {
        // Epochs of one index ascend: the last one stays.
        let AttestedRow { evidence, .. } = rows::decode(Table::Evidence, key, value)?;
        newest.insert(evidence.point.index, evidence);
        Ok(true)
    })?;
    Ok(newest.into_values().collect())
}

/// The messages of an outbox whose outcome has not been settled, payloads replaced by their hashes.
fn unsettled(rows: &dyn Rows, flow: Flow) -> Result<Vec<Message>, JournalError> {
    let inbox = Flow { direction: Direction::Inbox, ..flow };
    let settled_to = spans::flow_row(rows, inbox)?.map_or(Index(0), |row| row.done.index);
    let mut messages = Vec::new();
    spans::each_after(rows, flow, settled_to, |span| {
        let entries = spans::entries_of(rows, flow, &span)?;
        messages.extend(entries.iter().filter(|entry| entry.index() > settled_to).filter_map(|entry| {
            match entry.without_payload() {
                Entry::Message(message) => Some(message),
                Entry::Outcome(_) => None,
            }
        }));
        Ok(true)
    })?;
    Ok(messages)
}
