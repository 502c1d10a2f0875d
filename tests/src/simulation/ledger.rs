//! A model of the journal: batches wait, a sync applies them in order, a crash forgets what was not synced.

use std::collections::{BTreeMap, BTreeSet};

use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::gateway_call::Evidence;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Domain, Epoch, Index};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::machine::effect::Ticket;
use cityrelay_core::record::{ExtensionRecord, IntentRecord, Misbehaviour, Record};
use cityrelay_core::recovery::{KEPT_HEADERS, Recovered, RecoveredClient, RecoveredFlow, Side};

/// Why a batch is not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// An extension does not follow the tip.
    #[error("an extension does not follow the tip")]
    Gap,
    /// A point is not the one held at its index.
    #[error("a point is not on the chain that is held")]
    NotHeld,
    /// Another head was signed for the index.
    #[error("another head was signed for this index")]
    SignConflict,
}

/// One process' disk.
#[derive(Debug, Default)]
pub struct Ledger {
    durable: Tables,
    waiting: Vec<(Ticket, Vec<Record>)>,
}

#[derive(Clone, Debug, Default)]
struct Tables {
    clients: BTreeMap<Domain, RecoveredClient>,
    frozen: BTreeSet<Domain>,
    flows: BTreeMap<Flow, FlowTable>,
    intents: BTreeMap<Hash32, IntentRecord>,
    misbehaviour: Vec<Misbehaviour>,
}

#[derive(Clone, Debug, Default)]
struct FlowTable {
    extensions: BTreeMap<Index, ExtensionRecord>,
    /// The point after each entry and the entry, from index 1.
    entries: Vec<(ChainPoint, Entry)>,
    evidence: BTreeMap<Index, Evidence>,
    signed: BTreeMap<(Index, Epoch), ChainPoint>,
    accepted: Option<ChainPoint>,
    done: Option<ChainPoint>,
}

impl FlowTable {
    fn tip(&self, flow: Flow) -> ChainPoint {
        self.entries.last().map_or_else(|| ChainPoint::start(flow), |(point, _)| *point)
    }

    fn point(&self, flow: Flow, index: Index) -> Option<ChainPoint> {
        let Some(before) = index.0.checked_sub(1) else { return Some(ChainPoint::start(flow)) };
        self.entries.get(usize::try_from(before).unwrap()).map(|(point, _)| *point)
    }
}

impl Tables {
    fn apply(&mut self, record: Record) -> Result<(), LedgerError> {
        match record {
            Record::Client { domain, state, height, hash, headers } => {
                let kept = self.clients.entry(domain).or_insert_with(|| RecoveredClient {
                    domain,
                    state: state.clone(),
                    height,
                    hash,
                    headers: Vec::new(),
                });
                (kept.state, kept.height, kept.hash) = (state, height, hash);
                kept.headers.extend(headers);
                let surplus = kept.headers.len().saturating_sub(KEPT_HEADERS);
                kept.headers.drain(..surplus);
            }
            Record::Extension(record) => {
                let flow = record.flow;
                let table = self.flows.entry(flow).or_default();
                if record.base != table.tip(flow) || record.entries.is_empty() {
                    return Err(LedgerError::Gap);
                }
                for entry in &record.entries {
                    let point = table.tip(flow).extended(flow.direction, entry.link(flow));
                    if point.index != entry.index() {
                        return Err(LedgerError::Gap);
                    }
                    table.entries.push((point, entry.clone()));
                }
                table.extensions.insert(table.tip(flow).index, record);
            }
            Record::Attested { flow, evidence } => {
                let table = self.held(flow, evidence.point)?;
                let index = evidence.point.index;
                if table.evidence.get(&index).is_none_or(|known| known.epoch <= evidence.epoch) {
                    table.evidence.insert(index, evidence);
                }
            }
            Record::PeerAccepted { flow, point } => {
                let table = self.held(flow, point)?;
                table.accepted = Some(table.accepted.filter(|known| known.index > point.index).unwrap_or(point));
            }
            Record::Done { flow, point, .. } => {
                let table = self.held(flow, point)?;
                table.done = Some(table.done.filter(|known| known.index > point.index).unwrap_or(point));
            }
            Record::Intent(intent) => {
                self.intents.insert(intent.hash, intent);
            }
            Record::IntentClosed { hash, .. } => {
                self.intents.remove(&hash);
            }
            Record::Signed { flow, point, epoch } => {
                let table = self.held(flow, point)?;
                if table.signed.iter().any(|((index, _), known)| *index == point.index && *known != point) {
                    return Err(LedgerError::SignConflict);
                }
                table.signed.insert((point.index, epoch), point);
            }
            Record::Misbehaviour(misbehaviour) => {
                if let Misbehaviour::Equivocation { domain, .. } = &misbehaviour {
                    self.frozen.insert(*domain);
                }
                self.misbehaviour.push(misbehaviour);
            }
            Record::Unfrozen { domain, .. } => {
                self.frozen.remove(&domain);
            }
        }
        Ok(())
    }

    fn held(&mut self, flow: Flow, point: ChainPoint) -> Result<&mut FlowTable, LedgerError> {
        let table = self.flows.entry(flow).or_default();
        if table.point(flow, point.index) == Some(point) { Ok(table) } else { Err(LedgerError::NotHeld) }
    }
}

impl Ledger {
    /// Queues a batch behind those that wait.
    pub fn append(&mut self, ticket: Ticket, records: Vec<Record>) {
        self.waiting.push((ticket, records));
    }

    /// Whether a sync has something to do.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Makes everything that waits durable, in order; a batch that contradicts what is held fails alone.
    pub fn sync(&mut self) -> Vec<(Ticket, Result<(), LedgerError>)> {
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().map(|(ticket, records)| (ticket, self.apply(records))).collect()
    }

    /// The disk fails: nothing that waits becomes durable.
    pub fn fail(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.waiting).into_iter().map(|(ticket, _)| ticket).collect()
    }

    /// The process dies: the first `surviving` of the waiting batches had reached the disk, the others are gone.
    pub fn crash(&mut self, surviving: usize) {
        for (_, records) in std::mem::take(&mut self.waiting).into_iter().take(surviving) {
            let _ = self.apply(records);
        }
    }

    /// Batches that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn apply(&mut self, records: Vec<Record>) -> Result<(), LedgerError> {
        let mut tables = self.durable.clone();
        records.into_iter().try_for_each(|record| tables.apply(record))?;
        self.durable = tables;
        Ok(())
    }

    /// What a restart begins with.
    #[must_use]
    pub fn recover(&self, sides: &[(Flow, Side)]) -> Recovered {
        Recovered {
            clients: self.durable.clients.values().cloned().collect(),
            flows: sides.iter().map(|(flow, side)| self.recover_flow(*flow, *side)).collect(),
            intents: self.durable.intents.values().cloned().collect(),
            frozen: self.durable.frozen.iter().copied().collect(),
        }
    }

    fn recover_flow(&self, flow: Flow, side: Side) -> RecoveredFlow {
        let empty = FlowTable::default();
        let table = self.durable.flows.get(&flow).unwrap_or(&empty);
        let start = ChainPoint::start(flow);
        let (peer_accepted, done) = (table.accepted.unwrap_or(start), table.done.unwrap_or(start));
        let finished = match side {
            Side::Outbound => Some(peer_accepted.index),
            Side::Inbound => Some(done.index),
            Side::Attester => None,
        };
        let outstanding = finished.map(|finished| table.extensions.range(finished.next()..));
        let evidence = finished.map(|finished| table.evidence.range(finished.next()..));
        RecoveredFlow {
            flow,
            side,
            tip: table.tip(flow),
            peer_accepted,
            done,
            outstanding: outstanding.into_iter().flatten().map(|(_, record)| record.clone()).collect(),
            evidence: evidence.into_iter().flatten().map(|(_, evidence)| evidence.clone()).collect(),
            unsettled: if side == Side::Outbound { self.unsettled(flow) } else { Vec::new() },
        }
    }

    fn unsettled(&self, flow: Flow) -> Vec<cityrelay_core::message::Message> {
        if flow.direction == Direction::Inbox {
            return Vec::new();
        }
        let inbox = Flow { lane: flow.lane, direction: Direction::Inbox };
        let settled = self.durable.flows.get(&inbox).and_then(|table| table.done).map_or(Index(0), |done| done.index);
        let entries = self.durable.flows.get(&flow).map(|table| table.entries.as_slice()).unwrap_or_default();
        let messages = entries.iter().filter_map(|(_, entry)| match entry.without_payload() {
            Entry::Message(message) if message.index > settled => Some(message),
            _ => None,
        });
        messages.collect()
    }

    /// The durable point of a flow at an index.
    #[must_use]
    pub fn point(&self, flow: Flow, index: Index) -> Option<ChainPoint> {
        let Some(table) = self.durable.flows.get(&flow) else {
            return (index == Index(0)).then(|| ChainPoint::start(flow));
        };
        table.point(flow, index)
    }

    /// The durable tip of a flow.
    #[must_use]
    pub fn tip(&self, flow: Flow) -> ChainPoint {
        self.durable.flows.get(&flow).map_or_else(|| ChainPoint::start(flow), |table| table.tip(flow))
    }

    /// What the target chain is known to have taken in.
    #[must_use]
    pub fn done(&self, flow: Flow) -> Index {
        self.durable.flows.get(&flow).and_then(|table| table.done).map_or(Index(0), |done| done.index)
    }

    /// The durable entries `first..=last` of a flow.
    #[must_use]
    pub fn entries(&self, flow: Flow, first: Index, last: Index) -> Vec<Entry> {
        let entries = self.durable.flows.get(&flow).map(|table| table.entries.as_slice()).unwrap_or_default();
        let wanted = entries.iter().filter(|(point, _)| point.index >= first && point.index <= last);
        wanted.map(|(_, entry)| entry.clone()).collect()
    }

    /// Whether the sign-once record of a head is durable.
    #[must_use]
    pub fn may_sign(&self, flow: Flow, point: ChainPoint, epoch: Epoch) -> bool {
        let table = self.durable.flows.get(&flow);
        table.and_then(|table| table.signed.get(&(point.index, epoch))) == Some(&point)
    }

    /// The durable attested head at an index.
    #[must_use]
    pub fn evidence(&self, flow: Flow, index: Index) -> Option<&Evidence> {
        self.durable.flows.get(&flow)?.evidence.get(&index)
    }

    /// Whether a transaction is durable and its fate open.
    #[must_use]
    pub fn is_open_intent(&self, hash: Hash32) -> bool {
        self.durable.intents.contains_key(&hash)
    }

    /// Transactions whose fate is open.
    #[must_use]
    pub fn open_intents(&self) -> usize {
        self.durable.intents.len()
    }

    /// Height of a light client, as it is durable.
    #[must_use]
    pub fn client_height(&self, domain: Domain) -> Option<u64> {
        Some(self.durable.clients.get(&domain)?.height.0)
    }

    /// What was recorded against others.
    #[must_use]
    pub fn misbehaviour(&self) -> &[Misbehaviour] {
        &self.durable.misbehaviour
    }
}
