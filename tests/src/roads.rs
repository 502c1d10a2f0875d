//! An attester that is fooled: its light client finds every chain proved that somebody shows it. What is left between it and
//! two signed heads for one index is the sign-once rule alone: the real machine, the real journal's rules, and the marks
//! kept outside of it as the daemon keeps them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use cityrelay_core::attestation::{SignatureBytes, attester_id};
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::claim::Claim;
use cityrelay_core::frame::{DeclineReason, Frame, Hello, Role};
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, Domain, Epoch, Height, Index, UnixMillis};
use cityrelay_core::lane::{Direction, Flow, LaneIdentity};
use cityrelay_core::light_client::{AdapterValue, Header, LightClient, ProofStrength, Refusal, SetStatement, Verdict};
use cityrelay_core::machine::Machine;
use cityrelay_core::machine::config::{ChainSetup, LaneSetup, Limits, MachineConfig, PeerId, PeerSetup};
use cityrelay_core::machine::effect::{ClaimCheck, Effect, ReceiptId, Ticket};
use cityrelay_core::machine::input::Input;
use cityrelay_core::machine::memory::Remembered;
use cityrelay_core::message::{Message, Payload};
use cityrelay_core::opaque::Opaque;
use cityrelay_core::record::Record;
use cityrelay_core::set_attestation::Attestable;
use cityrelay_core::verify::verify_extension;
use cityrelay_journal::{JournalError, MemoryJournal};
use k256::ecdsa::SigningKey;

/// The two relays that ask.
pub const RELAYS: [PeerId; 2] = [PeerId(0), PeerId(1)];

/// Where the client stands, and where every claim is proved.
const PROVED_AT: u64 = 5;

/// One of two chains of one lane; they are the same up to [`Story::Fork`]'s first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// What the attester is asked about first.
    True,
    /// Another message at this index, and other ones ever after.
    Fork {
        /// The first index that differs.
        from: u64,
    },
}

/// What an attester forgets when it comes back.
#[derive(Clone, Debug)]
pub struct Backup(MemoryJournal);

/// A fooled attester.
#[derive(Debug)]
pub struct Fooled {
    machine: Machine,
    journal: MemoryJournal,
    /// The newest head signed, as the daemon keeps it outside of the journal.
    marks: BTreeMap<Flow, ChainPoint>,
    key: SigningKey,
    /// The local clock.
    pub now: UnixMillis,
    /// Every head that was ever signed, by index.
    pub signed: BTreeMap<Index, BTreeSet<Hash32>>,
    /// Why requests were declined, the last one last.
    pub declined: Vec<DeclineReason>,
    verifications: VecDeque<ClaimCheck>,
    appends: VecDeque<(Ticket, Vec<Record>)>,
}

impl Fooled {
    /// A new one, with nothing signed.
    #[must_use]
    pub fn new() -> Self {
        let mut journal = MemoryJournal::new();
        let headers: Vec<Header> = (1..=PROVED_AT).map(header).collect();
        let client = Record::Client {
            domain: domain("source"),
            state: opaque(),
            height: Height(PROVED_AT),
            hash: keccak256(&PROVED_AT.to_be_bytes()),
            headers,
        };
        journal.append(&[client]).unwrap();
        journal.sync();
        let now = UnixMillis(1_700_000_000_000);
        let machine = Machine::new(config(), journal.view().recover(&Machine::sides(&config())).unwrap(), now);
        let mut fooled = Self {
            machine,
            journal,
            marks: BTreeMap::new(),
            key: SigningKey::from_slice(&[7; 32]).unwrap(),
            now,
            signed: BTreeMap::new(),
            declined: Vec::new(),
            verifications: VecDeque::new(),
            appends: VecDeque::new(),
        };
        fooled.start();
        fooled
    }

    /// The journal as it is now.
    #[must_use]
    pub fn backup(&self) -> Backup {
        Backup(self.journal.clone())
    }

    /// Ends like a killed process: what is not synced is lost; then it starts again.
    pub fn restart(&mut self) {
        self.journal.crash(0);
        self.start();
    }

    /// Ends, has an older journal put in place of its own, and starts again.
    pub fn restore(&mut self, backup: &Backup) {
        self.journal = backup.0.clone();
        self.start();
    }

    /// Forgets what is kept outside of the journal too: the one thing that must never be done.
    pub fn lose_marks(&mut self) {
        self.marks.clear();
    }

    fn start(&mut self) {
        self.verifications.clear();
        self.appends.clear();
        let recovered = self.journal.view().recover(&Machine::sides(&config())).unwrap();
        self.machine = Machine::new(config(), recovered, self.now);
        let mut lost = BTreeMap::new();
        for (flow, mark) in &self.marks {
            match self.journal.view().point(*flow, mark.index).unwrap() {
                Some(ours) => assert_eq!(ours, *mark, "the daemon refuses to start"),
                None => drop(lost.insert(*flow, *mark)),
            }
        }
        let id = Some(attester_id(self.key.verifying_key()));
        self.machine.remember(Remembered { id, lost, ..Remembered::default() });
        self.handle(Input::Tick);
        for peer in RELAYS {
            self.handle(Input::PeerUp(peer));
            let hello =
                Hello { oldest_version: 1, newest_version: 1, role: Role::Relay, clients: vec![], flows: vec![] };
            self.handle(Input::Frame { peer, frame: Frame::Hello(hello), receipt: ReceiptId(0) });
        }
        self.work();
    }

    /// A relay asks for the head of a story at an index, for an epoch; the whole chain comes along.
    pub fn ask(&mut self, peer: PeerId, story: Story, index: u64, epoch: u64) {
        let frame = Frame::AttestRequest { claim: claim(story, index), index: Index(index), epoch: Epoch(epoch) };
        self.handle(Input::Frame { peer, frame, receipt: ReceiptId(0) });
    }

    /// A relay shows a chain as what this attester signed.
    pub fn remind(&mut self, peer: PeerId, story: Story, index: u64) {
        let frame = Frame::Extension { claim: claim(story, index), evidence: Vec::new() };
        self.handle(Input::Frame { peer, frame, receipt: ReceiptId(0) });
    }

    /// Time passes, or a clock is set: by so many milliseconds.
    pub fn set_clock(&mut self, by: i64) {
        self.now = UnixMillis(self.now.0.saturating_add_signed(by));
        self.handle(Input::Tick);
    }

    /// Verifies and makes durable whatever waits, and whatever comes of it.
    pub fn work(&mut self) {
        loop {
            if let Some(check) = self.verifications.pop_front() {
                self.verify(check);
            } else if let Some((ticket, records)) = self.appends.pop_front() {
                self.append(ticket, &records);
            } else {
                return;
            }
        }
    }

    /// Verifies whatever waits, and makes nothing durable.
    pub fn verify_all(&mut self) {
        while let Some(check) = self.verifications.pop_front() {
            self.verify(check);
        }
    }

    fn verify(&mut self, check: ClaimCheck) {
        let ClaimCheck { origin, lane, base, header, claim, .. } = check;
        let links = claim.entries.iter().map(|entry| entry.link(claim.flow)).chain(claim.tail.iter().copied());
        let proved = Proved(links.fold(base, |point, link| point.extended(claim.flow.direction, link)));
        let result = verify_extension(&Believer, &header, &lane, base, claim.clone(), &proved);
        let result = result.map(|extension| (extension, Vec::new())).map_err(Into::into);
        self.handle(Input::ClaimVerified { origin, claim, result });
    }

    fn append(&mut self, ticket: Ticket, records: &[Record]) {
        match self.journal.append(records) {
            Ok(_) => {
                self.journal.sync();
                self.handle(Input::Durable(ticket));
            }
            Err(error) => {
                let is_retryable = JournalError::is_retryable(&error);
                self.handle(Input::AppendFailed { ticket, is_retryable });
            }
        }
    }

    fn handle(&mut self, input: Input) {
        self.machine.handle(input, self.now);
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::VerifyClaim(check) => self.verifications.push_back(*check),
                Effect::Append { ticket, records } => self.appends.push_back((ticket, records)),
                Effect::ReadPoint { flow, index } => {
                    let point = self.journal.view().point(flow, index).unwrap();
                    self.handle(Input::PointRead { flow, index, point });
                }
                Effect::Sign { what, peer } => self.sign(what, peer),
                Effect::Send { frame: Frame::Declined(declined), .. } => self.declined.push(declined.reason),
                _ => {}
            }
        }
    }

    fn sign(&mut self, what: Attestable, peer: PeerId) {
        let Attestable::Head(statement) = what else { panic!("nobody asked about a set: {what:?}") };
        let mark = self.marks.entry(statement.flow).or_insert(statement.point);
        if mark.index < statement.point.index {
            *mark = statement.point;
        }
        self.signed.entry(statement.point.index).or_default().insert(statement.point.head);
        let (signature, recovery) = self.key.sign_prehash_recoverable(what.digest().as_bytes()).unwrap();
        let signature = Some(SignatureBytes::from_parts(&signature, recovery));
        self.handle(Input::Signed { what, peer, signature });
    }

    /// Indices for which two heads were signed.
    #[must_use]
    pub fn twice(&self) -> Vec<Index> {
        self.signed.iter().filter(|(_, heads)| heads.len() > 1).map(|(index, _)| *index).collect()
    }

    /// Whether the head of a story at an index was signed.
    #[must_use]
    pub fn has_signed(&self, story: Story, index: u64) -> bool {
        self.signed.get(&Index(index)).is_some_and(|heads| heads.contains(&head(story, index)))
    }
}

impl Default for Fooled {
    fn default() -> Self {
        Self::new()
    }
}

fn domain(name: &str) -> Domain {
    Domain(keccak256(name.as_bytes()))
}

fn lane() -> LaneIdentity {
    LaneIdentity {
        source_domain: domain("source"),
        destination_domain: domain("destination"),
        source_gateway: Address::from_20([1; 20]),
        destination_gateway: Address::from_20([2; 20]),
        source_verifier: Address::from_20([3; 20]),
        destination_verifier: Address::from_20([4; 20]),
        channel: "medical".to_owned(),
        salt: Hash32::ZERO,
    }
}

fn outbox() -> Flow {
    Flow { lane: lane().id(), direction: Direction::Outbox }
}

fn opaque() -> Opaque {
    Opaque { adapter: "believer".to_owned(), version: 1, bytes: Vec::new() }
}

fn header(height: u64) -> Header {
    Header {
        height: Height(height),
        hash: keccak256(&height.to_be_bytes()),
        parent: keccak256(&(height - 1).to_be_bytes()),
        timestamp: UnixMillis(1_700_000_000_000),
        detail: Vec::new(),
    }
}

fn config() -> MachineConfig {
    let chain = |name: &str| ChainSetup {
        domain: domain(name),
        anchor: opaque(),
        height: Height(0),
        hash: Hash32::ZERO,
        has_source: true,
        has_target: false,
        strength: ProofStrength::Conclusive,
        poll_interval: Duration::from_secs(1),
    };
    let lane = LaneSetup { identity: lane(), peer: None, source_committee: None, destination_committee: None };
    let peer = |id: PeerId| PeerSetup { id, name: format!("relay-{}", id.0), role: Role::Relay, attester: None };
    MachineConfig {
        role: Role::Attester,
        chains: vec![chain("source"), chain("destination")],
        lanes: vec![lane],
        peers: RELAYS.map(peer).to_vec(),
        limits: Limits::default(),
        jitter_seed: 1,
    }
}

fn entry(story: Story, index: u64) -> Entry {
    let is_other = matches!(story, Story::Fork { from } if index >= from);
    Entry::Message(Message {
        index: Index(index),
        sender: Address::from_20([7; 20]),
        receiver: Address::from_20([8; 20]),
        deadline: UnixMillis(u64::MAX),
        gas_limit: 1,
        payload: Payload::Hash(keccak256(&[u8::from(is_other)])),
    })
}

fn claim(story: Story, last: u64) -> Claim {
    Claim {
        flow: outbox(),
        first: Index(1),
        entries: (1..=last).map(|index| entry(story, index)).collect(),
        tail: Vec::new(),
        height: Height(PROVED_AT),
        proof: opaque(),
    }
}

fn head(story: Story, last: u64) -> Hash32 {
    let links = (1..=last).map(|index| entry(story, index).link(outbox()));
    links.fold(ChainPoint::start(outbox()), |point, link| point.extended(Direction::Outbox, link)).head
}

/// A light client that finds everything proved.
struct Believer;

#[derive(Clone, Debug)]
struct Proved(ChainPoint);

impl AdapterValue for Proved {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }

    fn decode(_: u16, _: &[u8]) -> Result<Self, Refusal> {
        Err(Refusal::new("proof", "none", "one"))
    }
}

impl LightClient for Believer {
    type State = Proved;
    type Update = Proved;
    type HeadProof = Proved;

    fn trusted_height(&self, _: &Proved) -> Height {
        Height(0)
    }

    fn trusted_hash(&self, _: &Proved) -> Hash32 {
        Hash32::ZERO
    }

    fn verify_update(&self, trusted: &Proved, _: &Proved, _: UnixMillis) -> Verdict<Proved> {
        Verdict::Advanced { state: trusted.clone(), headers: Vec::new(), set_changes: Vec::new() }
    }

    fn apply_set_statement(&self, _: &Proved, _: &SetStatement) -> Result<Proved, Refusal> {
        Err(Refusal::new("set-statement", "none", "one"))
    }

    fn verify_head(&self, _: &Header, proof: &Proved, _: Address, _: Flow) -> Result<ChainPoint, Refusal> {
        Ok(proof.0)
    }

    fn strength(&self) -> ProofStrength {
        ProofStrength::Conclusive
    }
}
