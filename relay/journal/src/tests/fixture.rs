//! Lanes with messages and outcomes, ready to be recorded.

use std::collections::BTreeMap;

use cityrelay_core::attestation::SignatureBytes;
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::gateway_call::Evidence;
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, AttesterId, Domain, Epoch, Height, Index, LaneId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::light_client::Header;
use cityrelay_core::message::{Message, Payload};
use cityrelay_core::opaque::Opaque;
use cityrelay_core::order::{Action, AuditRecord, Choice, Operator, Order};
use cityrelay_core::outcome::{Outcome, Status};
use cityrelay_core::record::{ExtensionRecord, IntentRecord, Misbehaviour, Purpose, Record};

use crate::{JournalError, MemoryJournal};

pub fn word(text: &str) -> Hash32 {
    keccak256(text.as_bytes())
}

pub fn domain() -> Domain {
    Domain(word("domain"))
}

pub fn opaque(bytes: &[u8]) -> Opaque {
    Opaque { adapter: "some-chain".to_owned(), version: 1, bytes: bytes.to_vec() }
}

/// One flow whose chain is built here, so that a test can name any point of it.
#[derive(Clone, Debug)]
pub struct Chain {
    pub flow: Flow,
    pub entries: Vec<Entry>,
    pub points: Vec<ChainPoint>,
}

impl Chain {
    pub fn new(name: &str, direction: Direction) -> Self {
        let flow = Flow { lane: LaneId(word(name)), direction };
        Self { flow, entries: Vec::new(), points: vec![ChainPoint::start(flow)] }
    }

    /// A lane's outbox with `count` messages.
    pub fn outbox(name: &str, count: usize) -> Self {
        let mut chain = Self::new(name, Direction::Outbox);
        for _ in 0..count {
            chain.push(b"payload");
        }
        chain
    }

    /// The inbox of an outbox's lane, with an outcome for each message.
    pub fn inbox(outbox: &Self) -> Self {
        let mut chain = Self::new("", Direction::Inbox);
        chain.flow.lane = outbox.flow.lane;
        chain.points = vec![ChainPoint::start(chain.flow)];
        for (entry, status) in outbox.entries.iter().zip([Status::Executed, Status::Failed].into_iter().cycle()) {
            let Entry::Message(message) = entry else { panic!("not an outbox") };
            let message = message.id(outbox.flow.lane);
            chain.push_entry(Entry::Outcome(Outcome {
                index: entry.index(),
                message,
                status,
                result_hash: word("result"),
            }));
        }
        chain
    }

    pub fn push(&mut self, payload: &[u8]) {
        let index = Index(self.entries.len() as u64 + 1);
        self.push_entry(Entry::Message(Message {
            index,
            sender: Address::from_20([1; 20]),
            receiver: Address::from_20([2; 20]),
            deadline: UnixMillis(5_000),
            gas_limit: 100_000,
            payload: Payload::Bytes(payload.to_vec()),
        }));
    }

    fn push_entry(&mut self, entry: Entry) {
        let tip = self.tip();
        self.points.push(tip.extended(self.flow.direction, entry.link(self.flow)));
        self.entries.push(entry);
    }

    pub fn tip(&self) -> ChainPoint {
        *self.points.last().unwrap()
    }

    /// The extension of the entries after `base` up to `last`.
    pub fn record(&self, base: usize, last: usize) -> ExtensionRecord {
        ExtensionRecord {
            flow: self.flow,
            base: self.points[base],
            entries: self.entries[base..last].to_vec(),
            proved_at: Height(last as u64 * 10),
            block_hash: word("block"),
            block_time: UnixMillis(last as u64 * 100),
            tail: vec![],
            proof: opaque(&[base as u8, last as u8]),
            at: UnixMillis(last as u64 * 100 + 1),
        }
    }

    pub fn extension(&self, base: usize, last: usize) -> Record {
        Record::Extension(self.record(base, last))
    }

    pub fn attested(&self, index: usize, epoch: u64) -> Record {
        Record::Attested {
            flow: self.flow,
            evidence: self.evidence(index, epoch),
            at: UnixMillis(index as u64 * 100 + 2),
        }
    }

    pub fn evidence(&self, index: usize, epoch: u64) -> Evidence {
        let signatures: BTreeMap<_, _> =
            (1..=3).map(|seed| (AttesterId([seed; 20]), SignatureBytes([seed; 65]))).collect();
        Evidence { point: self.points[index], epoch: Epoch(epoch), signatures }
    }

    pub fn accepted(&self, index: usize) -> Record {
        Record::PeerAccepted { flow: self.flow, point: self.points[index], at: UnixMillis(index as u64 * 100 + 3) }
    }

    pub fn done(&self, index: usize, at: u64) -> Record {
        Record::Done { flow: self.flow, point: self.points[index], at: UnixMillis(at) }
    }

    pub fn signed(&self, index: usize, epoch: u64) -> Record {
        Record::Signed { flow: self.flow, point: self.points[index], epoch: Epoch(epoch) }
    }

    /// A point at `index` that is not on this chain.
    pub fn wrong(&self, index: usize) -> ChainPoint {
        ChainPoint { index: Index(index as u64), head: word("wrong") }
    }
}

pub fn header(height: u64, branch: &str) -> Header {
    let hash = |height: u64| word(&format!("{branch} {height}"));
    Header {
        height: Height(height),
        hash: hash(height),
        parent: hash(height.wrapping_sub(1)),
        timestamp: UnixMillis(height * 1000),
        detail: vec![7; 8],
    }
}

/// A client record with the headers `first..=last` of a branch.
pub fn client(first: u64, last: u64, branch: &str) -> Record {
    Record::Client {
        domain: domain(),
        state: opaque(&last.to_be_bytes()),
        height: Height(last),
        hash: header(last, branch).hash,
        headers: (first..=last).map(|height| header(height, branch)).collect(),
    }
}

pub fn intent(name: &str, purpose: Purpose) -> IntentRecord {
    IntentRecord {
        domain: domain(),
        hash: word(name),
        bytes: opaque(name.as_bytes()),
        purpose,
        replaces: None,
        at: UnixMillis(7),
    }
}

pub fn equivocation(at: u64) -> Misbehaviour {
    Misbehaviour::Equivocation {
        domain: domain(),
        ours: header(5, "a"),
        theirs: opaque(b"other"),
        theirs_hash: header(5, "b").hash,
        served_by: "node".to_owned(),
        at: UnixMillis(at),
    }
}

/// An operator's order.
pub fn audit(at: u64, action: Action) -> Record {
    let who = Operator { uid: 1000, name: "chen".to_owned() };
    Record::Audit(AuditRecord { at: UnixMillis(at), order: Order { who, reason: "asked".to_owned(), action } })
}

/// The decision about [`equivocation`].
pub fn unfreeze(choice: Choice) -> Action {
    let (ours, theirs) = (header(5, "a").hash, header(5, "b").hash);
    Action::Unfreeze { domain: domain(), height: Height(5), ours, theirs, choice }
}

/// A journal in which these batches are durable.
pub fn journal(batches: &[Vec<Record>]) -> MemoryJournal {
    let mut journal = MemoryJournal::new();
    for batch in batches {
        journal.append(batch).unwrap();
    }
    journal.sync();
    journal
}

/// Appends one batch, which must be refused and leave nothing behind.
pub fn refusal(journal: &MemoryJournal, batch: &[Record]) -> JournalError {
    let mut copy = journal.clone();
    let error = copy.append(batch).unwrap_err();
    assert_eq!(copy.waiting(), 0);
    assert!(!error.is_retryable() && !error.is_damage(), "{error}");
    error
}
