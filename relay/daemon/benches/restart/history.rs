//! The journal of a relay that has carried a great many messages.

use std::path::Path;
use std::sync::mpsc::sync_channel;

use cityrelay::demo::ledger::flow;
use cityrelay::demo::setup::Lane;
use cityrelay_core::attestation::SignatureBytes;
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::gateway_call::Evidence;
use cityrelay_core::hash::keccak256;
use cityrelay_core::ids::{Address, AttesterId, Domain, Epoch, Height, Index, MessageId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::message::{Message, Payload};
use cityrelay_core::opaque::Opaque;
use cityrelay_core::outcome::{Outcome, Status};
use cityrelay_core::record::{ExtensionRecord, IntentEnd, IntentRecord, Purpose, Record};
use cityrelay_journal::{Journal, Options};

/// Entries of an extension.
const ENTRIES: u64 = 64;
const PAYLOAD_BYTES: usize = 64;
const PROOF_BYTES: usize = 2048;

/// What is to be written.
pub struct History<'a> {
    pub lanes: &'a [Lane],
    /// The relay's own chain, on which its transactions are.
    pub domain: Domain,
    pub finished: u64,
    pub open: u64,
}

impl History<'_> {
    /// Writes it as the relay of the first city would have.
    pub fn write(&self, dir: &Path) {
        let journal = Journal::open(dir, Options::default()).unwrap();
        let lanes = self.lanes.len() as u64;
        for (at, lane) in (0..).zip(self.lanes) {
            let share = |all: u64| all / lanes + u64::from(at < all % lanes);
            self.write_lane(&journal, lane, share(self.finished), share(self.open));
        }
        let (answer, answered) = sync_channel(1);
        journal.append(Vec::new(), move |result| answer.send(result).unwrap());
        answered.recv().unwrap().unwrap();
        journal.close();
    }

    fn write_lane(&self, journal: &Journal, lane: &Lane, finished: u64, open: u64) {
        let (outbox, inbox) = (flow(lane, Direction::Outbox), flow(lane, Direction::Inbox));
        let (mut sent, mut settled) = (ChainPoint::start(outbox), ChainPoint::start(inbox));
        // A lane that starts here: its outbox leaves by the peer, its outcomes come back to our own chain.
        let is_outbound = lane.from == 0;
        while sent.index.0 < finished + open {
            let is_finished = sent.index.0 < finished;
            let end = if is_finished { finished } else { finished + open };
            let messages: Vec<Message> =
                (sent.index.0 + 1..=end.min(sent.index.0 + ENTRIES)).map(|index| message(Index(index))).collect();
            let ids: Vec<MessageId> = messages.iter().map(|message| message.id(outbox.lane)).collect();
            let mut records = Vec::new();
            sent = self.extend(&mut records, sent, outbox, messages.into_iter().map(Entry::Message).collect());
            if is_finished {
                self.finish(&mut records, outbox, sent, !is_outbound);
                let outcomes = (settled.index.0 + 1..).zip(ids).map(|(index, message)| {
                    let index = Index(index);
                    Entry::Outcome(Outcome { index, message, status: Status::Executed, result_hash: keccak256(b"") })
                });
                settled = self.extend(&mut records, settled, inbox, outcomes.collect());
                self.finish(&mut records, inbox, settled, is_outbound);
            }
            journal.append(records, |result| result.unwrap());
        }
    }

    /// An extension and its attested head.
    fn extend(&self, records: &mut Vec<Record>, base: ChainPoint, flow: Flow, entries: Vec<Entry>) -> ChainPoint {
        let extension = ExtensionRecord {
            flow,
            base,
            entries,
            proved_at: Height(base.index.0 + 1),
            block_hash: keccak256(&base.index.0.to_be_bytes()),
            block_time: UnixMillis(1),
            tail: Vec::new(),
            proof: Opaque { adapter: "none".to_owned(), version: 1, bytes: vec![7; PROOF_BYTES] },
            at: UnixMillis(1),
        };
        let tip = extension.tip();
        let signatures = (1..=3).map(|seed| (AttesterId([seed; 20]), SignatureBytes([seed; 65])));
        let evidence = Evidence { point: tip, epoch: Epoch(1), signatures: signatures.collect() };
        records.push(Record::Extension(extension));
        records.push(Record::Attested { flow, evidence, at: UnixMillis(2) });
        tip
    }

    /// Taken in by our own chain, in a transaction of ours, or accepted by the peer.
    fn finish(&self, records: &mut Vec<Record>, flow: Flow, point: ChainPoint, is_taken_in_here: bool) {
        if !is_taken_in_here {
            return records.push(Record::PeerAccepted { flow, point, at: UnixMillis(3) });
        }
        let (domain, hash) = (self.domain, keccak256(&point.head.0));
        records.push(Record::Intent(IntentRecord {
            domain,
            hash,
            bytes: Opaque { adapter: "none".to_owned(), version: 1, bytes: vec![7; PROOF_BYTES] },
            purpose: Purpose::Carry { flow, last: point.index },
            replaces: None,
            at: UnixMillis(3),
        }));
        let end = IntentEnd::Succeeded { height: Height(point.index.0), gas_used: 1 };
        records.push(Record::IntentClosed { domain, hash, end });
        records.push(Record::Done { flow, point, at: UnixMillis(4) });
    }
}

fn message(index: Index) -> Message {
    Message {
        index,
        sender: Address::from_20([1; 20]),
        receiver: Address::from_20([2; 20]),
        deadline: UnixMillis(u64::MAX),
        gas_limit: 100_000,
        payload: Payload::Bytes(vec![3; PAYLOAD_BYTES]),
    }
}
