//! The world: two chains, two relays, their attesters, the links between them, and virtual time.

use std::collections::BTreeMap;

use cityrelay_api::client::{ErasedClient, erase, to_opaque};
use cityrelay_core::attestation::{Committee, attester_id};
use cityrelay_core::frame::{Frame, Role};
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, Epoch, Height, Index, LaneId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow, GatewayAt, LaneIdentity};
use cityrelay_core::machine::config::{ChainSetup, LaneSetup, Limits, MachineConfig, PeerId, PeerSetup};
use cityrelay_core::machine::effect::ReceiptId;
use cityrelay_core::machine::input::Input;

use crate::agenda::Agenda;
use crate::dice::Dice;
use crate::model_chain::{ChainKind, ModelChain, genesis};
use crate::model_client::MODEL_ADAPTER;
use crate::model_gateway::{ModelGateway, model_domain};
use crate::process::{Process, signing_key};
use crate::weather::{Fault, LATE_SIGNATURES, Plan};

/// When every run begins.
pub const EPOCH_MILLIS: u64 = 1_800_000_000_000;
/// Relays come first among the processes, one beside each chain.
pub const RELAYS: usize = 2;
/// Attesters of the first set.
pub const ATTESTERS: usize = 4;
/// Signatures that are enough.
pub const THRESHOLD: u32 = 3;
/// The channels, each a lane in both directions.
pub const CHANNELS: [&str; 2] = ["medical", "trade"];

/// One thing that is going to happen.
#[derive(Debug)]
pub enum Event {
    /// A process learns something, unless it died since.
    Input(PeerId, u64, Box<Input>),
    /// The machine asked to be woken.
    Wake(PeerId, u64, UnixMillis),
    /// A disk finishes what was appended.
    Sync(PeerId, u64),
    /// A frame arrives.
    Frame {
        /// Receiver.
        to: PeerId,
        /// Sender.
        from: PeerId,
        /// Session on which it was sent.
        session: u64,
        /// What was said.
        frame: Box<Frame>,
    },
    /// One end learns that a session stands.
    SessionUp(PeerId, PeerId, u64),
    /// One end learns that a session is gone.
    SessionDown(PeerId, PeerId, u64),
    /// Two processes try to reach each other.
    Dial(PeerId, PeerId),
    /// A chain makes a block if there is reason to.
    Block(usize),
    /// A transaction reaches the nodes.
    Submit(usize, Hash32),
    /// Applications send.
    Traffic,
    /// Something breaks.
    Fault(Fault),
    /// Something that broke is whole again.
    Repair(Fault, u64),
    /// From here on nothing breaks any more.
    Calm,
    /// A dead process comes back.
    Start(PeerId),
    /// The attester set of a chain is to change, for the first, second … time.
    Rotate(usize, usize),
    /// The validators of a chain are to change.
    ChangeValidators(usize),
    /// The owner of a chain's gateway looks after its strict lanes.
    Owner(usize),
    /// The operator of a process resumes a lane.
    Resume(PeerId, LaneId),
    /// The operator of a process lets frozen clients go on.
    Decide(PeerId),
}

/// A link between two processes.
#[derive(Debug, Default)]
pub struct Line {
    /// Number of the newest session.
    pub session: u64,
    /// Nothing gets through.
    pub is_cut: bool,
    /// End → the moment at which it learns of the newest session; nothing reaches it before.
    pub up_at: BTreeMap<PeerId, UnixMillis>,
    /// (sender, stream) → arrival of its last frame: order is kept within a stream only.
    pub arrivals: BTreeMap<(PeerId, Stream), UnixMillis>,
}

/// What frames are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// Hello, updates, sets.
    Control,
    /// Requests to attesters and their answers.
    Requests,
    /// One lane in one direction.
    Lane(Flow),
}

impl Stream {
    fn of(frame: &Frame) -> Self {
        match frame {
            Frame::Hello(_) | Frame::Update { .. } | Frame::ClientAt(_) | Frame::Committee(_) => Self::Control,
            Frame::AttestRequest { .. } | Frame::Attestation { .. } | Frame::SetRequest(_) | Frame::SetAttested(_) => {
                Self::Requests
            }
            Frame::Extension { claim, .. } => Self::Lane(claim.flow),
            Frame::Accepted { flow, .. } => Self::Lane(*flow),
            Frame::Declined(declined) => Self::Lane(declined.flow),
        }
    }
}

/// Everything that there is in one run.
pub struct World {
    /// Virtual time.
    pub now: UnixMillis,
    /// The future.
    pub agenda: Agenda<Event>,
    /// Chance.
    pub dice: Dice,
    /// What may break in this run, and when.
    pub plan: Plan,
    /// The chains: provable by storage, provable by checkpoint.
    pub chains: Vec<ModelChain>,
    /// Their light clients.
    pub clients: Vec<Box<dyn ErasedClient>>,
    /// Relay 0 beside chain 0, relay 1 beside chain 1, then the attesters, then one in reserve.
    pub processes: Vec<Process>,
    /// The lanes.
    pub lanes: Vec<LaneIdentity>,
    /// Every flow of every lane, and the chains that it leads from and to. A lane's id is a hash, and these are asked for
    /// at every step.
    routes: Vec<(Flow, [usize; 2])>,
    /// Links by pair, lower number first.
    pub lines: BTreeMap<(PeerId, PeerId), Line>,
    /// Every head that an honest attester signed.
    pub signed: BTreeMap<(PeerId, Flow, Index), Hash32>,
    /// The first thing that was not as it must be.
    pub violation: Option<String>,
    /// Messages sent on strict lanes whose receivers fail.
    pub halting: u64,
    /// Orders of operators so far.
    pub orders: u64,
    /// What happened how often.
    pub tally: BTreeMap<&'static str, u64>,
    /// Grows with each event: two runs of a seed must agree.
    pub digest: u64,
    is_tracing: bool,
}

impl core::fmt::Debug for World {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("World").field("now", &self.now).field("violation", &self.violation).finish_non_exhaustive()
    }
}

impl World {
    /// A world at its first moment; nothing has started.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let plan = Plan::draw(&mut dice);
        Self::with_plan(dice, plan, seed)
    }

    /// A world in which nothing ever breaks.
    #[must_use]
    pub fn without_faults(seed: u64) -> Self {
        Self::with_plan(Dice::new(seed), Plan::default(), seed)
    }

    fn with_plan(mut dice: Dice, plan: Plan, seed: u64) -> Self {
        let now = UnixMillis(EPOCH_MILLIS);
        let limits = plan.limits(&mut dice);
        let keys: Vec<_> = (0..RELAYS + ATTESTERS + 1)
            .map(|id| Process::new(u32::try_from(id).unwrap(), empty_config(Role::Attester, limits)).attester())
            .collect();
        let committee = Committee::new(Epoch(1), &keys[RELAYS..RELAYS + ATTESTERS], THRESHOLD).unwrap();
        let mut chains = Vec::new();
        for (number, (name, kind)) in
            [("storage", ChainKind::Storage), ("checkpoint", ChainKind::Checkpoint)].into_iter().enumerate()
        {
            let genesis = genesis(name, now);
            let byte = u8::try_from(number).unwrap();
            let domain = model_domain(name, genesis.hash());
            let at = GatewayAt { domain, gateway: Address::from_20([0xa0 + byte; 20]) };
            let gateway = ModelGateway::new(at, Address::from_20([0xc0 + byte; 20]), committee.clone());
            chains.push(ModelChain::new(name, kind, gateway, genesis));
        }
        let mut lanes = Vec::new();
        for channel in CHANNELS {
            for (source, destination) in [(0, 1), (1, 0)] {
                let (from, to): (&ModelChain, &ModelChain) = (&chains[source], &chains[destination]);
                lanes.push(LaneIdentity {
                    source_domain: from.domain,
                    destination_domain: to.domain,
                    source_gateway: from.gateway.at.gateway,
                    destination_gateway: to.gateway.at.gateway,
                    source_verifier: from.gateway.verifier,
                    destination_verifier: to.gateway.verifier,
                    channel: channel.to_owned(),
                    salt: keccak256(&seed.to_be_bytes()),
                });
            }
        }
        for chain in &mut chains {
            let strict = plan.strict_channel.map(|channel| CHANNELS[channel]);
            for lane in &lanes {
                chain.gateway.open_lane(lane.clone(), strict == Some(lane.channel.as_str()));
            }
            // The lanes are there from the first block on.
            let header = chain.blocks.remove(0).header;
            *chain = ModelChain::new(chain.name, chain.kind, chain.gateway.clone(), header);
        }
        let place = |domain| chains.iter().position(|chain: &ModelChain| chain.domain == domain).unwrap();
        let routes = lanes.iter().flat_map(|lane| {
            let flows = [Direction::Outbox, Direction::Inbox].map(|direction| Flow { lane: lane.id(), direction });
            flows.map(|flow| {
                (flow, [lane.origin(flow.direction), lane.target(flow.direction)].map(|at| place(at.domain)))
            })
        });
        let routes = routes.collect();
        let clients = chains.iter().map(|chain| Box::new(erase(MODEL_ADAPTER, chain.client())) as Box<_>).collect();
        let mut world = Self {
            now,
            agenda: Agenda::default(),
            dice,
            plan,
            clients,
            processes: Vec::new(),
            lines: BTreeMap::new(),
            signed: BTreeMap::new(),
            violation: None,
            halting: 0,
            orders: 0,
            tally: BTreeMap::new(),
            digest: 0,
            is_tracing: std::env::var_os("CITYRELAY_TRACE").is_some(),
            chains,
            lanes,
            routes,
        };
        world.add_processes(limits, &committee);
        world
    }

    /// Into how many batches everything goes that was sent: a relay carries one at a time on its chain.
    pub(super) fn batches(&self) -> u64 {
        let lanes = self.chains.iter().flat_map(|chain| chain.gateway.sources.values());
        let messages: usize = lanes.map(|lane| lane.messages.len()).sum();
        let batch = self.processes[0].config.limits.batch_entries.max(1);
        u64::try_from(messages.div_ceil(batch)).unwrap()
    }

    fn add_processes(&mut self, limits: Limits, committee: &Committee) {
        for number in 0..RELAYS + ATTESTERS + 1 {
            let id = u32::try_from(number).unwrap();
            let role = if number < RELAYS { Role::Relay } else { Role::Attester };
            let mut config = empty_config(role, limits);
            config.jitter_seed = u64::from(id) + 1;
            config.chains = (0..self.chains.len()).map(|chain| self.chain_setup(chain, number)).collect();
            let peer = (role == Role::Relay).then_some(PeerId(1 - id.min(1)));
            config.lanes = self
                .lanes
                .iter()
                .map(|identity| LaneSetup {
                    identity: identity.clone(),
                    peer,
                    source_committee: self.dice.chance(500).then(|| committee.clone()),
                    destination_committee: self.dice.chance(500).then(|| committee.clone()),
                })
                .collect();
            let others = (0..RELAYS + ATTESTERS + 1).filter(|other| {
                // Attesters don't speak to each other.
                *other != number && (number < RELAYS || *other < RELAYS)
            });
            config.peers = others
                .map(|other| {
                    let id = u32::try_from(other).unwrap();
                    let is_attester = other >= RELAYS;
                    PeerSetup {
                        id: PeerId(id),
                        name: format!("process-{other}"),
                        role: if is_attester { Role::Attester } else { Role::Relay },
                        attester: (is_attester && self.dice.chance(900))
                            .then(|| attester_id(signing_key(id).verifying_key())),
                    }
                })
                .collect();
            for peer in &config.peers {
                let mine = PeerId(id);
                self.lines.entry((mine.min(peer.id), mine.max(peer.id))).or_default();
            }
            self.processes.push(Process::new(id, config));
        }
    }

    fn chain_setup(&self, chain: usize, process: usize) -> ChainSetup {
        let is_attester = process >= RELAYS;
        let (number, chain) = (chain, &self.chains[chain]);
        ChainSetup {
            domain: chain.domain,
            anchor: to_opaque(MODEL_ADAPTER, &chain.anchor()),
            height: Height(0),
            hash: chain.anchor().hash,
            has_source: is_attester || process == number,
            has_target: process == number,
            strength: chain.client().strength,
            poll_interval: core::time::Duration::from_millis(400),
        }
    }

    /// Position of the chain that holds a flow's head, or of the one that takes it in.
    #[must_use]
    pub fn chain_of(&self, flow: Flow, is_origin: bool) -> usize {
        let (_, [origin, target]) = self.routes.iter().find(|(routed, _)| *routed == flow).unwrap();
        if is_origin { *origin } else { *target }
    }

    /// Every flow of every lane.
    #[must_use]
    pub fn flows(&self) -> Vec<Flow> {
        self.routes.iter().map(|(flow, _)| *flow).collect()
    }

    /// The moment `millis` from now.
    #[must_use]
    pub fn after(&self, millis: u64) -> UnixMillis {
        UnixMillis(self.now.0 + millis)
    }

    /// Plans an event between `low` and `high` milliseconds from now.
    pub fn plan_within(&mut self, low: u64, high: u64, event: Event) {
        let wait = self.dice.between(low, high);
        self.agenda.plan(self.after(wait), event);
    }

    /// Counts something.
    pub fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// Writes a line when `CITYRELAY_TRACE` is set.
    pub fn trace(&self, line: impl FnOnce() -> String) {
        if self.is_tracing {
            eprintln!("{:>7} {}", self.now.0 - EPOCH_MILLIS, line());
        }
    }

    /// Records the first violation; the run ends there.
    pub fn violated(&mut self, what: String) {
        self.trace(|| format!("VIOLATION {what}"));
        self.violation.get_or_insert_with(|| format!("after {} ms: {what}", self.now.0 - EPOCH_MILLIS));
    }

    /// The process with a number.
    pub fn process(&mut self, id: PeerId) -> &mut Process {
        &mut self.processes[usize::try_from(id.0).unwrap()]
    }

    /// Starts everything and plans what this run has in store.
    pub fn begin(&mut self) {
        for chain in 0..self.chains.len() {
            self.plan_within(500, 1500, Event::Block(chain));
        }
        let reserve = PeerId(u32::try_from(RELAYS + ATTESTERS).unwrap());
        for number in 0..self.processes.len() {
            let id = PeerId(u32::try_from(number).unwrap());
            if id != reserve || self.plan.is_reserve_early {
                self.plan_within(0, 300, Event::Start(id));
            }
        }
        for (a, b) in self.lines.keys().copied().collect::<Vec<_>>() {
            self.plan_within(300, 800, Event::Dial(a, b));
        }
        self.plan_within(100, 2000, Event::Traffic);
        self.plan_faults();
    }

    /// Does the next thing; false when there is none.
    pub fn step(&mut self) -> bool {
        let Some((at, event)) = self.agenda.pop() else { return false };
        self.now = self.now.max(at);
        self.digest = self.digest.rotate_left(5) ^ self.now.0 ^ event.code();
        match event {
            Event::Input(id, life, input) => {
                if self.process(id).life == life {
                    self.handle(id, *input);
                }
            }
            Event::Wake(id, life, wake) => self.wake(id, life, wake),
            Event::Sync(id, life) => self.sync(id, life),
            Event::Frame { to, from, session, frame } => self.arrive(to, from, session, *frame),
            Event::SessionUp(id, peer, session) => self.session_up(id, peer, session),
            Event::SessionDown(id, peer, session) => self.session_down(id, peer, session),
            Event::Dial(a, b) => self.dial(a, b),
            Event::Block(chain) => self.block(chain),
            Event::Submit(chain, hash) => self.chains[chain].submit(hash, &mut self.dice),
            Event::Traffic => self.send_messages(),
            Event::Fault(fault) => self.break_something(fault),
            Event::Repair(fault, which) => self.repair(fault, which),
            Event::Calm => self.calm(),
            Event::Start(id) => self.start(id),
            Event::Rotate(chain, number) => self.rotate(chain, number),
            Event::ChangeValidators(chain) => self.change_validators(chain),
            Event::Owner(chain) => self.act_as_owner(chain),
            Event::Resume(id, lane) => self.resume(id, lane),
            Event::Decide(id) => self.decide(id),
        }
        true
    }

    fn start(&mut self, id: PeerId) {
        if self.process(id).machine.is_none() {
            let now = self.now;
            self.trace(|| format!("{id:?} starts"));
            self.process(id).start(now);
            self.handle(id, Input::Tick);
        }
    }

    fn block(&mut self, chain: usize) {
        let now = self.now;
        self.chains[chain].make_block(now, &mut self.dice);
        let tip = self.chains[chain].tip();
        self.trace(|| format!("chain {chain} at {tip}"));
        self.verify_taken(chain);
        self.look_after_strict_lanes(chain);
        self.plan_within(700, 1300, Event::Block(chain));
    }

    fn arrive(&mut self, to: PeerId, from: PeerId, session: u64, frame: Frame) {
        let is_cut = self.lines[&(to.min(from), to.max(from))].is_cut;
        let process = self.process(to);
        if is_cut || process.machine.is_none() || process.sessions.get(&from) != Some(&session) {
            return;
        }
        let receipt = ReceiptId(process.next_receipt);
        process.next_receipt += 1;
        process.receipts.insert(receipt);
        self.trace(|| format!("{to:?} <- {from:?} {}", brief(&frame)));
        self.count_late_signature(&frame);
        self.handle(to, Input::Frame { peer: from, frame, receipt });
    }

    fn count_late_signature(&mut self, frame: &Frame) {
        if let Frame::Attestation { flow, epoch, .. } = frame {
            let target = self.chain_of(*flow, false);
            if *epoch < self.chains[target].gateway.committee.epoch() {
                self.count(LATE_SIGNATURES);
            }
        }
    }

    fn session_up(&mut self, id: PeerId, peer: PeerId, session: u64) {
        let line = &self.lines[&(id.min(peer), id.max(peer))];
        if line.is_cut || line.session != session || self.process(id).machine.is_none() {
            return;
        }
        // A second session takes the place of the first.
        if let Some(old) = self.process(id).sessions.get(&peer).copied() {
            self.session_down(id, peer, old);
        }
        if self.process(id).machine.is_some() {
            self.process(id).sessions.insert(peer, session);
            self.handle(id, Input::PeerUp(peer));
        }
    }

    fn session_down(&mut self, id: PeerId, peer: PeerId, session: u64) {
        if self.process(id).sessions.get(&peer) == Some(&session) {
            self.process(id).sessions.remove(&peer);
            self.handle(id, Input::PeerDown(peer));
        }
    }

    fn dial(&mut self, a: PeerId, b: PeerId) {
        let (at_a, at_b) = (self.process(a).sessions.get(&b).copied(), self.process(b).sessions.get(&a).copied());
        let is_alive = self.process(a).machine.is_some() && self.process(b).machine.is_some();
        let line = &self.lines[&(a, b)];
        let stands = at_a.is_some() && at_a == at_b && at_a == Some(line.session);
        if is_alive && !line.is_cut && !stands {
            self.connect(a, b);
        }
        self.plan_within(500, 1500, Event::Dial(a, b));
    }

    /// Makes a new session, which takes the place of one that may still stand.
    pub fn connect(&mut self, a: PeerId, b: PeerId) {
        let line = self.lines.get_mut(&(a, b)).unwrap();
        line.session += 1;
        line.arrivals.clear();
        let session = line.session;
        for (end, other) in [(a, b), (b, a)] {
            let wait = self.dice.between(1, 80);
            let at = self.after(wait);
            self.lines.get_mut(&(a, b)).unwrap().up_at.insert(end, at);
            self.agenda.plan(at, Event::SessionUp(end, other, session));
        }
    }

    /// Puts a frame on the way.
    pub fn send(&mut self, from: PeerId, to: PeerId, frame: Frame) {
        let Some(session) = self.process(from).sessions.get(&to).copied() else { return };
        let travel = self.dice.between(1, 30 + self.plan.slow_line);
        let line = self.lines.get_mut(&(from.min(to), from.max(to))).unwrap();
        let at = UnixMillis(self.now.0 + travel).max(line.up_at.get(&to).copied().unwrap_or(self.now));
        let last = line.arrivals.entry((from, Stream::of(&frame))).or_insert(at);
        *last = at.max(*last);
        let at = *last;
        self.agenda.plan(at, Event::Frame { to, from, session, frame: Box::new(frame) });
    }

    /// An application's transaction: its own account, no order among them.
    pub fn submit_as_application(&mut self, chain: usize, call: GatewayCall) {
        self.count("application transactions");
        let number = self.tally["application transactions"];
        let mut account = [0xee; 20];
        account[12..].copy_from_slice(&number.to_be_bytes());
        let tip = self.chains[chain].tip();
        let hash = self.chains[chain].sign(Address::from_20(account), call, &[], None, tip);
        self.plan_within(0, 300, Event::Submit(chain, hash));
    }
}

impl Event {
    fn code(&self) -> u64 {
        match self {
            Self::Input(id, ..) => 100 + u64::from(id.0),
            Self::Wake(id, ..) => 200 + u64::from(id.0),
            Self::Sync(id, _) => 300 + u64::from(id.0),
            Self::Frame { to, from, .. } => 400 + u64::from(to.0) + 10 * u64::from(from.0),
            Self::SessionUp(id, ..) => 500 + u64::from(id.0),
            Self::SessionDown(id, ..) => 600 + u64::from(id.0),
            Self::Dial(a, b) => 700 + u64::from(a.0) + 10 * u64::from(b.0),
            Self::Block(chain)
            | Self::Submit(chain, _)
            | Self::Rotate(chain, _)
            | Self::ChangeValidators(chain)
            | Self::Owner(chain) => 800 + *chain as u64,
            Self::Traffic => 900,
            Self::Fault(_) => 901,
            Self::Repair(..) => 902,
            Self::Calm => 903,
            Self::Resume(id, _) | Self::Decide(id) => 1100 + u64::from(id.0),
            Self::Start(id) => 1000 + u64::from(id.0),
        }
    }
}

/// A frame in a few words.
fn brief(frame: &Frame) -> String {
    match frame {
        Frame::Extension { claim, .. } | Frame::AttestRequest { claim, .. } => {
            format!("{} {:?} {}+{}", frame.kind(), claim.flow, claim.first, claim.entries.len())
        }
        Frame::Accepted { flow, point } => format!("accepted {flow:?} {}", point.index),
        Frame::Declined(declined) => format!("{declined:?}"),
        Frame::Attestation { flow, point, epoch, .. } => format!("attestation {flow:?} {} epoch {epoch}", point.index),
        Frame::ClientAt(at) => format!("client-at {}", at.height),
        _ => frame.kind().to_owned(),
    }
}

fn empty_config(role: Role, limits: Limits) -> MachineConfig {
    MachineConfig { role, chains: Vec::new(), lanes: Vec::new(), peers: Vec::new(), limits, jitter_seed: 1 }
}
