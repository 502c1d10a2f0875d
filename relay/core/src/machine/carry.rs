//! Cutting the next delivery or settlement out of what is durable and attested.

use std::collections::{BTreeMap, VecDeque};

use crate::attestation::Committee;
use crate::chain::Entry;
use crate::gateway_call::{ANCHOR_INTERVAL, Evidence, GatewayCall};
use crate::hash::Hash32;
use crate::ids::{Index, MessageId};
use crate::lane::Direction;
use crate::machine::config::Limits;
use crate::machine::inbound::Inbound;
use crate::message::Message;
use crate::record::ExtensionRecord;

/// Whether [`next_call`] has something to give; it is asked often and costs little.
pub(super) fn has_next(inbound: &Inbound, committee: Option<&Committee>, sent: Option<&Sent>) -> bool {
    let next = inbound.done.index.next();
    let is_known = match inbound.flow.direction {
        Direction::Outbox => true,
        Direction::Inbox => sent.is_some_and(|sent| sent.unsettled.contains_key(&next)),
    };
    let front = inbound.queue.iter().find(|incoming| incoming.tip.index >= next);
    is_known && committee.is_some_and(|committee| front.is_some_and(|incoming| incoming.is_ready(committee.epoch())))
}

/// What the source side of a lane knows of messages that are not settled yet.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// The messages, without payloads.
    pub unsettled: BTreeMap<Index, Message>,
    /// The last indices at which the outbox head was proved, in order: where blocks ended, whose heads the gateway keeps a
    /// while.
    pub proved: VecDeque<Index>,
}

/// How many proved indices are remembered.
const PROVED_KEPT: usize = 32;

impl Sent {
    /// Takes in what a durable extension holds, where it is one of the outbox. What is read again, from the chain or from
    /// the journal, may be settled long since, and adds nothing to what is known.
    pub fn note(&mut self, record: &ExtensionRecord, settled: Index) {
        let end = match record.entries.last() {
            Some(Entry::Message(message)) => message.index,
            Some(Entry::Outcome(_)) | None => return,
        };
        for entry in record.entries.iter().filter(|entry| entry.index() > settled) {
            if let Entry::Message(message) = entry.without_payload() {
                self.unsettled.insert(message.index, message);
            }
        }
        if record.tail.is_empty() && self.proved.back().is_none_or(|newest| *newest < end) {
            self.proved.push_back(end);
            if self.proved.len() > PROVED_KEPT {
                self.proved.pop_front();
            }
        }
    }

    /// An index from `last` on whose outbox head the gateway keeps, as far as we know: a multiple of the anchor interval
    /// where we have it, else the newest proved one, else the newest one.
    fn kept_head_from(&self, last: Index) -> Index {
        let newest = self.unsettled.last_key_value().map_or(last, |(index, _)| *index).max(last);
        let anchor = Index(last.0.div_ceil(ANCHOR_INTERVAL).saturating_mul(ANCHOR_INTERVAL));
        if anchor <= newest {
            return anchor;
        }
        self.proved.iter().rev().find(|index| **index >= last && **index <= newest).copied().unwrap_or(newest)
    }
}

/// The next call for a flow and the index of its last entry, or `None` when nothing can be carried now.
pub(super) fn next_call(
    inbound: &Inbound,
    committee: Option<&Committee>,
    sent: Option<&Sent>,
    limits: &Limits,
) -> Option<(GatewayCall, Index)> {
    let epoch = committee?.epoch();
    let mut size = Size::new(inbound.batch_cap, limits);
    let mut entries: Vec<Entry> = Vec::new();
    let mut evidence: Option<Evidence> = None;
    let mut tail: Vec<Hash32> = Vec::new();
    for incoming in inbound.queue.iter().take_while(|incoming| incoming.is_ready(epoch)) {
        let fresh = incoming.record.entries.iter().filter(|entry| entry.index() > inbound.done.index);
        let fresh: Vec<&Entry> = fresh.collect();
        // An outcome is settled with its message: one that our older journal lacks is read from the chain first.
        let is_known = |entry: &Entry| match inbound.flow.direction {
            Direction::Outbox => true,
            Direction::Inbox => sent.is_some_and(|sent| sent.unsettled.contains_key(&entry.index())),
        };
        let fitting = fresh.iter().take_while(|entry| is_known(entry) && size.takes(entry)).count();
        if fitting == fresh.len() {
            entries.extend(fresh.into_iter().cloned());
            evidence.clone_from(&incoming.evidence);
            continue;
        }
        // A part of this extension is carried only when nothing before it is: the attested head lies at its end.
        if entries.is_empty() {
            let (now, later) = fresh.split_at(fitting.max(1));
            entries.extend(now.iter().map(|entry| (*entry).clone()));
            tail.extend(later.iter().map(|entry| entry.link(inbound.flow)));
            evidence.clone_from(&incoming.evidence);
        }
        break;
    }
    let evidence = evidence?;
    let last = entries.last()?.index();
    let call = match inbound.flow.direction {
        Direction::Outbox => deliver(inbound, entries, tail, evidence),
        Direction::Inbox => settle(inbound, &entries, tail, evidence, sent?)?,
    };
    Some((call, last))
}

fn deliver(inbound: &Inbound, entries: Vec<Entry>, tail: Vec<Hash32>, evidence: Evidence) -> GatewayCall {
    let messages = entries.into_iter().filter_map(|entry| match entry {
        Entry::Message(message) => Some(message),
        Entry::Outcome(_) => None,
    });
    GatewayCall::Deliver {
        gateway: inbound.lane.target(inbound.flow.direction).gateway,
        lane: inbound.flow.lane,
        messages: messages.collect(),
        tail: tail.into_iter().map(MessageId).collect(),
        evidence,
    }
}

fn settle(
    inbound: &Inbound,
    entries: &[Entry],
    tail_outcomes: Vec<Hash32>,
    evidence: Evidence,
    sent: &Sent,
) -> Option<GatewayCall> {
    let mut settlements = Vec::with_capacity(entries.len());
    for entry in entries {
        if let Entry::Outcome(outcome) = entry {
            settlements.push((sent.unsettled.get(&outcome.index)?.clone(), *outcome));
        }
    }
    let last = entries.last()?.index();
    let end = sent.kept_head_from(last);
    let lane = inbound.flow.lane;
    let tail_ids = sent.unsettled.range(last.next()..).take_while(|(index, _)| **index <= end);
    Some(GatewayCall::Settle {
        gateway: inbound.lane.target(inbound.flow.direction).gateway,
        lane,
        settlements,
        tail_outcomes,
        tail_ids: tail_ids.map(|(_, message)| message.id(lane)).collect(),
        evidence,
    })
}

struct Size {
    entries: usize,
    bytes: usize,
    gas: u64,
}

impl Size {
    fn new(batch_cap: usize, limits: &Limits) -> Self {
        Self { entries: batch_cap.max(1), bytes: limits.batch_bytes, gas: limits.batch_gas }
    }

    /// Takes an entry off the room that is left, or says that it does not fit.
    fn takes(&mut self, entry: &Entry) -> bool {
        let (bytes, gas) = match entry {
            Entry::Message(message) => (message.payload.len(), message.gas_limit),
            Entry::Outcome(_) => (0, 0),
        };
        let fits = self.entries >= 1 && self.bytes >= bytes && self.gas >= gas;
        if fits {
            self.entries -= 1;
            self.bytes -= bytes;
            self.gas -= gas;
        }
        fits
    }
}
