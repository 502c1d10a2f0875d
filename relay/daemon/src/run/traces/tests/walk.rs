//! Messages on one lane, and what each of three processes has journalled of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};

use cityrelay_core::attestation::SignatureBytes;
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::frame::Role;
use cityrelay_core::gateway_call::Evidence;
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, AttesterId, Domain, Epoch, Height, Index, MessageId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow, LaneIdentity};
use cityrelay_core::message::{Message, Payload};
use cityrelay_core::opaque::Opaque;
use cityrelay_core::outcome::{Outcome, Status};
use cityrelay_core::record::{ExtensionRecord, IntentEnd, IntentRecord, Purpose, Record};
use cityrelay_core::recovery::Side;
use cityrelay_journal::{Journal, Options};
use opentelemetry_proto::tonic::trace::v1::Span;

use super::super::collector::Collector;
use super::super::exporter::{Batch, Exporter, gather};
use super::super::moments::Moments;
use super::super::progress::{Progress, Track};
use super::super::step::{Part, ROOT, Step};
use super::super::tree::{Facts, Teller};
use crate::config::settings::TracesConfig;
use crate::observability::Metrics;
use crate::run::plan::Handles;

/// More messages than may wait.
pub const LONG: usize = 11_000;

/// Entries of one extension.
const AT_ONCE: usize = 1000;

/// Whose journal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    Source,
    Destination,
    Attester,
}

/// The messages, executed and failed by turns.
pub struct Walk {
    lane: LaneIdentity,
    outbox: Vec<Entry>,
    inbox: Vec<Entry>,
}

/// One process's journal, opened.
pub struct Opened {
    dir: tempfile::TempDir,
    process: Process,
    journal: Journal,
    progress: Progress,
    teller: Teller,
    lane: LaneIdentity,
}

fn domain(name: &str) -> Domain {
    Domain(keccak256(name.as_bytes()))
}

fn lane() -> LaneIdentity {
    let address = |byte| Address::from_20([byte; 20]);
    LaneIdentity {
        source_domain: domain("source"),
        destination_domain: domain("destination"),
        source_gateway: address(1),
        destination_gateway: address(2),
        source_verifier: address(3),
        destination_verifier: address(4),
        channel: "medical".to_owned(),
        salt: Hash32::ZERO,
    }
}

impl Walk {
    pub fn new(count: usize) -> Self {
        let lane = lane();
        let id = lane.id();
        let messages: Vec<Message> = (1..=count as u64)
            .map(|index| Message {
                index: Index(index),
                sender: Address::from_20([7; 20]),
                receiver: Address::from_20([8; 20]),
                deadline: UnixMillis(u64::MAX),
                gas_limit: 1,
                payload: Payload::Hash(Hash32::ZERO),
            })
            .collect();
        let outcomes = messages.iter().map(|message| {
            let status = if message.index.0 % 2 == 1 { Status::Executed } else { Status::Failed };
            Entry::Outcome(Outcome { index: message.index, message: message.id(id), status, result_hash: Hash32::ZERO })
        });
        let inbox = outcomes.collect();
        Self { lane, outbox: messages.into_iter().map(Entry::Message).collect(), inbox }
    }

    pub fn ids(&self) -> Vec<MessageId> {
        let flow = self.flow(Direction::Outbox);
        self.outbox.iter().map(|entry| MessageId(entry.link(flow))).collect()
    }

    fn flow(&self, direction: Direction) -> Flow {
        Flow { lane: self.lane.id(), direction }
    }

    /// A process that has done its part of everything, and told nothing.
    pub fn open(&self, process: Process) -> Opened {
        Opened::new(&self.lane, process, tempfile::tempdir().unwrap(), self.records(process, 0), true)
    }

    /// A source relay that has verified the messages, and nothing else yet.
    pub fn open_verified_only(&self) -> Opened {
        let records = self.extensions(Direction::Outbox, 0, 1_000, 1_100).0;
        Opened::new(&self.lane, Process::Source, tempfile::tempdir().unwrap(), records, true)
    }

    /// What the process journals of the messages after the first `known`.
    fn records(&self, process: Process, known: usize) -> Vec<Record> {
        // The clock of the tale: messages from 1000 on, outcomes from 2000 on, settled at 2900.
        let (outbox, tip) = self.extensions(Direction::Outbox, known, 1_000, 1_100 + later(process));
        let (inbox, end) = self.extensions(Direction::Inbox, known, 2_000, 2_300 - later(process));
        let own = |direction, point, times: [u64; 2]| self.outbound(direction, point, times);
        let carried = |direction, point, times: [u64; 2]| self.inbound(direction, point, times);
        match process {
            Process::Source => [
                outbox,
                own(Direction::Outbox, tip, [1_200, 1_400]),
                inbox,
                carried(Direction::Inbox, end, [2_500, 2_900]),
            ],
            Process::Destination => [
                outbox,
                carried(Direction::Outbox, tip, [1_500, 1_900]),
                inbox,
                own(Direction::Inbox, end, [2_200, 2_400]),
            ],
            Process::Attester => {
                let sign =
                    |direction, point| vec![Record::Signed { flow: self.flow(direction), point, epoch: Epoch(1) }];
                [outbox, sign(Direction::Outbox, tip), inbox, sign(Direction::Inbox, end)]
            }
        }
        .concat()
    }

    fn extensions(&self, direction: Direction, known: usize, block: u64, at: u64) -> (Vec<Record>, ChainPoint) {
        let (flow, entries) = match direction {
            Direction::Outbox => (self.flow(direction), &self.outbox),
            Direction::Inbox => (self.flow(direction), &self.inbox),
        };
        let extended = |point: ChainPoint, entry: &Entry| point.extended(direction, entry.link(flow));
        let mut tip = entries[..known].iter().fold(ChainPoint::start(flow), extended);
        let mut records = Vec::new();
        for entries in entries[known..].chunks(AT_ONCE) {
            let base = tip;
            tip = entries.iter().fold(tip, extended);
            records.push(Record::Extension(ExtensionRecord {
                flow,
                base,
                entries: entries.to_vec(),
                proved_at: Height(7),
                block_hash: keccak256(b"block"),
                block_time: UnixMillis(block),
                tail: Vec::new(),
                proof: opaque(),
                at: UnixMillis(at),
            }));
        }
        (records, tip)
    }

    fn outbound(&self, direction: Direction, point: ChainPoint, [attested, accepted]: [u64; 2]) -> Vec<Record> {
        let flow = self.flow(direction);
        let signatures = BTreeMap::from([(AttesterId([1; 20]), SignatureBytes([1; 65]))]);
        let evidence = Evidence { point, epoch: Epoch(1), signatures };
        vec![
            Record::Attested { flow, evidence, at: UnixMillis(attested) },
            Record::PeerAccepted { flow, point, at: UnixMillis(accepted) },
        ]
    }

    fn inbound(&self, direction: Direction, point: ChainPoint, [made, done]: [u64; 2]) -> Vec<Record> {
        let flow = self.flow(direction);
        let domain = self.lane.target(direction).domain;
        let ends = [
            IntentEnd::Reverted { height: Height(8), gas_used: 1 },
            IntentEnd::Succeeded { height: Height(9), gas_used: 2 },
        ];
        let tries = ends.into_iter().flat_map(|end| {
            let hash = keccak256(format!("{point:?} {end:?}").as_bytes());
            let purpose = Purpose::Carry { flow, last: point.index };
            let at = UnixMillis(made);
            let intent = IntentRecord { domain, hash, bytes: opaque(), purpose, replaces: None, at };
            [Record::Intent(intent), Record::IntentClosed { domain, hash, end }]
        });
        tries.chain([Record::Done { flow, point, at: UnixMillis(done) }]).collect()
    }
}

/// What is verified again is verified later.
const fn later(process: Process) -> u64 {
    match process {
        Process::Source => 0,
        Process::Destination => 200,
        Process::Attester => 50,
    }
}

fn opaque() -> Opaque {
    Opaque { adapter: "model".to_owned(), version: 1, bytes: vec![1] }
}

fn append(journal: &Journal, records: Vec<Record>) {
    let (sender, receiver) = mpsc::channel();
    journal.append(records, move |appended| sender.send(appended).unwrap());
    receiver.recv().unwrap().unwrap();
}

impl Opened {
    /// `is_new`: the journal was empty when spans were first told.
    fn new(lane: &LaneIdentity, process: Process, dir: tempfile::TempDir, records: Vec<Record>, is_new: bool) -> Self {
        let journal = Journal::open(&dir.path().join("journal"), Options::default()).unwrap();
        let counts = if is_new { Vec::new() } else { journal.flows().unwrap() };
        let progress = Progress::open(&progress_file(&dir), &sides(lane, process), &counts);
        append(&journal, records);
        let lanes = BTreeMap::from([(lane.id(), lane.clone())]);
        let teller = Teller {
            handles: Arc::new(Handles { chains: BTreeMap::new(), lanes, peers: BTreeMap::new() }),
            name: format!("{process:?}"),
            role: if process == Process::Attester { Role::Attester } else { Role::Relay },
            attester: (process == Process::Attester).then_some(AttesterId([1; 20])),
            one_in: 1,
        };
        Self { dir, process, journal, progress, teller, lane: lane.clone() }
    }

    pub fn one_in(&mut self, count: u64) {
        self.teller.one_in = count;
    }

    fn batch(&self) -> Batch {
        let tracks: Vec<(Track, Index)> = self.progress.tracks().collect();
        let moments = Mutex::new(Moments::default());
        self.journal.read(|view| gather(view, &tracks, &self.teller, &moments)).unwrap()
    }

    /// The next spans.
    pub fn gather(&self) -> Vec<Span> {
        self.batch().spans
    }

    /// All spans.
    pub fn gather_all(&mut self) -> Vec<Span> {
        let mut all = Vec::new();
        loop {
            let batch = self.batch();
            if batch.told.is_empty() {
                return all;
            }
            all.extend(batch.spans);
            batch.told.iter().for_each(|(track, index)| self.progress.advance(*track, *index));
        }
    }

    /// The next spans are told.
    pub fn advance(&mut self) {
        for (track, index) in self.batch().told {
            self.progress.advance(track, index);
        }
        self.progress.save().unwrap();
    }

    /// The same process after a restart, with so many messages in all.
    pub fn reopened_with(self, count: usize) -> Self {
        let known = self.journal.flows().unwrap().iter().map(|counts| counts.tip.index.0).max().unwrap();
        self.journal.close();
        let records = Walk::new(count).records(self.process, usize::try_from(known).unwrap());
        Self::new(&self.lane, self.process, self.dir, records, false)
    }

    /// What hands its spans to a collector.
    pub fn exporter(self, url: &str) -> (Exporter, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new());
        let config = TracesConfig { otlp_endpoint: url.parse().unwrap(), ca_file: None, one_in: 1 };
        // The folder goes with the system's other temporary ones: the journal in it is open until the test ends.
        let _: PathBuf = self.dir.keep();
        let exporter = Exporter {
            collector: Collector::new(&config).unwrap(),
            journal: self.journal,
            progress: self.progress,
            moments: Arc::default(),
            teller: Arc::new(self.teller),
            metrics: Arc::clone(&metrics),
            turn: 0,
            last_refusal: String::new(),
        };
        (exporter, metrics)
    }
}

fn progress_file(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("traces.json")
}

fn sides(lane: &LaneIdentity, process: Process) -> [(Flow, Side); 2] {
    let flow = |direction| Flow { lane: lane.id(), direction };
    let (outbox, inbox) = match process {
        Process::Source => (Side::Outbound, Side::Inbound),
        Process::Destination => (Side::Inbound, Side::Outbound),
        Process::Attester => (Side::Attester, Side::Attester),
    };
    [(flow(Direction::Outbox), outbox), (flow(Direction::Inbox), inbox)]
}

/// In hex: the trace of a message, its root, and what the attester of [`Process::Attester`] says of it.
pub fn ids_of(message: MessageId) -> (String, String, String) {
    let walk = Walk::new(1);
    let (source, attester) = (walk.open(Process::Source), walk.open(Process::Attester));
    let spans = |opened: &Opened, direction, part, with_root: bool| -> Vec<Span> {
        let flow = walk.flow(direction);
        let timeline = |flow| opened.journal.timeline(flow, Index(1)).unwrap().unwrap();
        let whole = with_root.then(|| (timeline(walk.flow(Direction::Outbox)), Status::Executed));
        let facts = Facts { message, timeline: timeline(flow), whole };
        let side = if part == Part::Signed { Side::Attester } else { Side::Inbound };
        opened.teller.spans(Track { flow, side, part }, &facts, &Moments::default())
    };
    let settled = spans(&source, Direction::Inbox, Part::Finished, true);
    let signed = spans(&attester, Direction::Outbox, Part::Signed, false);
    let root = settled.iter().find(|span| span.name == ROOT).unwrap();
    let traces: BTreeSet<&[u8]> = settled.iter().chain(&signed).map(|span| span.trace_id.as_slice()).collect();
    assert_eq!(traces.len(), 1, "{}", Step::ALL.len());
    (hex::encode(&root.trace_id), hex::encode(&root.span_id), hex::encode(&signed[0].span_id))
}
