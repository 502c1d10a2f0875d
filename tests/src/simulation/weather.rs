//! What breaks in a run, when it breaks and for how long: all drawn from the seed.

use cityrelay_core::attestation::{SignatureBytes, rotation_digest};
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, AttesterId, Epoch, UnixMillis};
use cityrelay_core::machine::config::{Limits, PeerId};
use k256::ecdsa::SigningKey;

use crate::simulation::dice::Dice;
use crate::simulation::model_chain::ChainWeather;
use crate::simulation::model_gateway::FAILING_PAYLOAD;
use crate::simulation::process::{Behaviour, ProcessWeather};
use crate::simulation::world::{ATTESTERS, Event, RELAYS, THRESHOLD, World};

/// A kind of breakage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing gets through between two processes.
    CutLine,
    /// A second session takes the place of one that stands.
    ReplaceSession,
    /// A process dies between two effects.
    Crash,
    /// A disk takes long.
    SlowDisk,
    /// A disk fails.
    BadDisk,
    /// A chain loses, forgets, delays or reverts transactions.
    Mempool,
    /// Blocks lack seals.
    ShortSeals,
    /// A chain takes only small transactions.
    SmallGas,
    /// A process' nodes are behind.
    NodeLag,
    /// A process' nodes don't answer, or slowly.
    NodeDown,
    /// A process' nodes serve false headers.
    NodeLies,
    /// A relay says false things to everybody.
    FalseFrames,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::CutLine,
        Self::ReplaceSession,
        Self::Crash,
        Self::SlowDisk,
        Self::BadDisk,
        Self::Mempool,
        Self::ShortSeals,
        Self::SmallGas,
        Self::NodeLag,
        Self::NodeDown,
        Self::NodeLies,
        Self::FalseFrames,
    ];

    /// The name under which a run counts how often it happened.
    #[must_use]
    pub fn counter(self) -> &'static str {
        match self {
            Self::CutLine => "cut lines",
            Self::ReplaceSession => "replaced sessions",
            Self::Crash => "crashes",
            Self::SlowDisk => "slow disks",
            Self::BadDisk => "failing disks",
            Self::Mempool => "unreliable mempools",
            Self::ShortSeals => "chains short of seals",
            Self::SmallGas => "chains with small blocks",
            Self::NodeLag => "lagging nodes",
            Self::NodeDown => "nodes down",
            Self::NodeLies => "lying nodes",
            Self::FalseFrames => "lying relays",
        }
    }
}

/// The name under which a run counts the chains whose attester set was replaced.
pub const ROTATIONS: &str = "attester sets replaced";

/// What a run has in store.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Milliseconds from the start after which nobody sends any more.
    pub traffic_millis: u64,
    /// Milliseconds from the start after which nothing breaks any more.
    pub calm_millis: u64,
    /// A chain contradicts itself in this run: clients may freeze.
    pub has_fork: bool,
    /// The kinds of breakage, each with the mean time between two of it in milliseconds.
    pub faults: Vec<(Fault, u64)>,
    /// Longest extra travel time of a frame, in milliseconds.
    pub slow_line: u64,
    /// Longest extra time of a verification, in milliseconds: claims wait while a session may end.
    pub slow_verifier: u64,
    /// One attester of the first set does not do its duty.
    pub bad_attester: Option<(PeerId, Behaviour)>,
    /// It does not mend when everything else does.
    pub stays_bad: bool,
    /// The set changes, after this many milliseconds: the member in this place goes, the reserve comes.
    pub rotation: Option<(u64, usize)>,
    /// The reserve attester runs from the start instead of from the rotation on.
    pub is_reserve_early: bool,
    /// Messages that are given little time, in thousandths.
    pub short_deadlines: u64,
    /// Messages whose receiver fails, in thousandths.
    pub failing_receivers: u64,
    /// Sizes of batches are small, so that their edges are met.
    pub has_small_batches: bool,
    /// One message on one lane at every such interval of milliseconds, and nothing else; `None` for bursts.
    pub steady: Option<(usize, u64)>,
    /// Entries that an attester is sent at once to catch up; 0 for the protocol's own limit.
    pub claim_limit: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            traffic_millis: 45_000,
            calm_millis: 60_000,
            has_fork: false,
            faults: Vec::new(),
            slow_line: 0,
            slow_verifier: 0,
            bad_attester: None,
            stays_bad: false,
            rotation: None,
            is_reserve_early: false,
            short_deadlines: 0,
            failing_receivers: 0,
            has_small_batches: false,
            steady: None,
            claim_limit: 0,
        }
    }
}

impl Plan {
    /// Draws a plan: each kind of breakage is there or not, so that each is also seen alone.
    pub fn draw(dice: &mut Dice) -> Self {
        let mut plan = Self::default();
        let density = *dice.pick(&[150, 400, 700]);
        for fault in Fault::ALL {
            if dice.chance(density) {
                plan.faults.push((fault, dice.between(1500, 12_000)));
            }
        }
        if dice.chance(density) {
            plan.slow_line = dice.between(50, 2500);
        }
        if dice.chance(density) {
            plan.slow_verifier = dice.between(50, 1500);
        }
        if dice.chance(density) {
            let who = PeerId(u32::try_from(RELAYS).unwrap() + u32::try_from(dice.between(0, 3)).unwrap());
            let how = *dice.pick(&[Behaviour::Silent, Behaviour::Rubbish, Behaviour::Equivocating]);
            plan.bad_attester = Some((who, how));
            plan.stays_bad = dice.chance(600);
        }
        if dice.chance(density) {
            let place = usize::try_from(dice.between(0, ATTESTERS as u64 - 1)).unwrap();
            plan.rotation = Some((dice.between(3000, 55_000), place));
        }
        plan.is_reserve_early = dice.chance(500);
        if dice.chance(density) {
            plan.short_deadlines = dice.between(50, 600);
        }
        if dice.chance(density) {
            plan.failing_receivers = dice.between(50, 500);
        }
        plan.has_small_batches = dice.chance(400);
        plan.claim_limit = if dice.chance(500) { 5 } else { 0 };
        plan
    }

    /// Whether this kind of breakage is in store.
    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.iter().any(|(known, _)| *known == fault)
    }

    /// The sizes that the machines of this run work with.
    pub fn limits(&self, dice: &mut Dice) -> Limits {
        let usual = Limits::default();
        if !self.has_small_batches {
            return usual;
        }
        Limits {
            batch_entries: usize::try_from(dice.between(1, 12)).unwrap(),
            batch_bytes: usize::try_from(dice.between(64, 2000)).unwrap(),
            send_window: usize::try_from(dice.between(1, 8)).unwrap(),
            outbound_window: usize::try_from(dice.between(2, 64)).unwrap(),
            parked_claims: usize::try_from(dice.between(1, 8)).unwrap(),
            // More than may be held back: an update begins after the last final header.
            update_headers: u32::try_from(dice.between(20, 40)).unwrap(),
            ..usual
        }
    }
}

impl World {
    /// Plans the first breakage of each kind, the rotation, and the end of all that.
    pub fn plan_faults(&mut self) {
        for (fault, mean) in self.plan.faults.clone() {
            self.plan_within(500, 2 * mean, Event::Fault(fault));
        }
        if let Some((who, how)) = self.plan.bad_attester {
            self.process(who).behaviour = how;
        }
        if let Some((after, _)) = self.plan.rotation {
            for chain in 0..self.chains.len() {
                self.plan_within(after, after + 3000, Event::Rotate(chain));
            }
        }
        let calm = self.after(self.plan.calm_millis);
        self.agenda.plan(calm, Event::Calm);
    }

    fn is_calm(&self) -> bool {
        self.now.0 >= crate::simulation::world::EPOCH_MILLIS + self.plan.calm_millis
    }

    fn any_process(&mut self) -> PeerId {
        PeerId(u32::try_from(self.dice.between(0, self.processes.len() as u64 - 1)).unwrap())
    }

    fn any_line(&mut self) -> (PeerId, PeerId) {
        let pairs: Vec<_> = self.lines.keys().copied().collect();
        // The line between the relays breaks as often as all others together.
        if self.dice.chance(500) { pairs[0] } else { *self.dice.pick(&pairs) }
    }

    /// Breaks something of a kind and plans its repair and the next breakage.
    pub fn break_something(&mut self, fault: Fault) {
        if self.is_calm() {
            return;
        }
        self.trace(|| format!("breaks: {fault:?}"));
        let mean = self.plan.faults.iter().find(|(known, _)| *known == fault).map_or(5000, |(_, mean)| *mean);
        self.plan_within(mean / 4, 2 * mean, Event::Fault(fault));
        let which = match fault {
            Fault::CutLine => {
                let (a, b) = self.any_line();
                let line = self.lines.get_mut(&(a, b)).unwrap();
                line.is_cut = true;
                let session = line.session;
                for (end, other) in [(a, b), (b, a)] {
                    self.plan_within(20, 4000, Event::SessionDown(end, other, session));
                }
                (u64::from(a.0) << 32) | u64::from(b.0)
            }
            Fault::ReplaceSession => {
                let (a, b) = self.any_line();
                if self.process(a).machine.is_some() && self.process(b).machine.is_some() && !self.lines[&(a, b)].is_cut
                {
                    self.count(fault.counter());
                    self.connect(a, b);
                }
                return;
            }
            Fault::Crash => {
                let id = self.any_process();
                let after = self.dice.between(0, 40);
                self.process(id).weather.dies_after = Some(after);
                return;
            }
            Fault::SlowDisk => self.change_process(|weather, dice| weather.slow_disk = dice.between(100, 1500)),
            Fault::BadDisk => self.change_process(|weather, _| weather.is_disk_failing = true),
            Fault::NodeLag => self.change_process(|weather, dice| {
                weather.lag = [dice.between(0, 6), dice.between(0, 3)];
            }),
            Fault::NodeDown => self.change_process(|weather, dice| {
                weather.node_failure = *dice.pick(&[0, 200, 1000]);
                weather.slow_node = dice.between(0, 3000);
            }),
            Fault::NodeLies => self.change_process(|weather, dice| weather.node_lies = dice.between(100, 900)),
            Fault::FalseFrames => self.change_process(|weather, dice| weather.false_frames = dice.between(50, 900)),
            Fault::Mempool => self.change_chain(|weather, dice| {
                weather.lose = *dice.pick(&[0, 0, 300, 900]);
                weather.evict = *dice.pick(&[0, 0, 200, 800]);
                weather.delay = *dice.pick(&[0, 300, 800]);
                weather.revert = *dice.pick(&[0, 0, 300, 900]);
            }),
            Fault::ShortSeals => self.change_chain(|weather, dice| weather.short = dice.between(100, 800)),
            Fault::SmallGas => self.change_chain(|weather, dice| weather.max_gas = dice.between(100_000, 900_000)),
        };
        self.count(fault.counter());
        self.plan_within(200, 9000, Event::Repair(fault, which));
    }

    fn change_process(&mut self, change: impl FnOnce(&mut ProcessWeather, &mut Dice)) -> u64 {
        let id = self.any_process();
        let process = &mut self.processes[usize::try_from(id.0).unwrap()];
        change(&mut process.weather, &mut self.dice);
        u64::from(id.0)
    }

    fn change_chain(&mut self, change: impl FnOnce(&mut ChainWeather, &mut Dice)) -> u64 {
        let which = self.dice.between(0, self.chains.len() as u64 - 1);
        change(&mut self.chains[usize::try_from(which).unwrap()].weather, &mut self.dice);
        which
    }

    /// Makes whole what a breakage broke.
    pub fn repair(&mut self, fault: Fault, which: u64) {
        self.trace(|| format!("repaired: {fault:?} {which}"));
        let id = PeerId(u32::try_from(which & 0xffff_ffff).unwrap());
        let whole = ProcessWeather::default();
        match fault {
            Fault::CutLine => {
                let pair = (PeerId(u32::try_from(which >> 32).unwrap()), id);
                self.lines.get_mut(&pair).unwrap().is_cut = false;
            }
            Fault::ReplaceSession | Fault::Crash => {}
            Fault::SlowDisk => self.process(id).weather.slow_disk = whole.slow_disk,
            Fault::BadDisk => self.process(id).weather.is_disk_failing = whole.is_disk_failing,
            Fault::NodeLag => self.process(id).weather.lag = whole.lag,
            Fault::NodeDown => {
                self.process(id).weather.node_failure = whole.node_failure;
                self.process(id).weather.slow_node = whole.slow_node;
            }
            Fault::NodeLies => self.process(id).weather.node_lies = whole.node_lies,
            Fault::FalseFrames => self.process(id).weather.false_frames = whole.false_frames,
            Fault::Mempool | Fault::ShortSeals | Fault::SmallGas => {
                self.chains[usize::try_from(which).unwrap()].weather = ChainWeather::default();
            }
        }
    }

    /// Makes everything whole, once and for all.
    pub fn calm(&mut self) {
        self.trace(|| "calm".to_owned());
        self.plan.slow_line = 0;
        self.plan.slow_verifier = 0;
        self.lines.values_mut().for_each(|line| line.is_cut = false);
        self.chains.iter_mut().for_each(|chain| chain.weather = ChainWeather::default());
        for number in 0..self.processes.len() {
            self.processes[number].weather = ProcessWeather::default();
            if !self.plan.stays_bad {
                self.processes[number].behaviour = Behaviour::Honest;
            }
        }
    }

    /// Applications send a burst on a lane.
    pub fn send_messages(&mut self) {
        if self.now.0 > crate::simulation::world::EPOCH_MILLIS + self.plan.traffic_millis {
            return;
        }
        let steady = self.plan.steady;
        let number = usize::try_from(self.dice.between(0, self.lanes.len() as u64 - 1)).unwrap();
        let lane = self.lanes[steady.map_or(number, |(lane, _)| lane)].clone();
        let most = if steady.is_some() { 1 } else { *self.dice.pick(&[1, 3, 12, 12, 90]) };
        let count = self.dice.between(1, most);
        let chain = self.chains.iter().position(|chain| chain.domain == lane.source_domain).unwrap();
        for _ in 0..count {
            let is_short = self.dice.chance(self.plan.short_deadlines);
            let life = if is_short { self.dice.between(500, 9000) } else { self.dice.between(60_000, 400_000) };
            let size = self.dice.between(1, 120);
            let mut payload: Vec<u8> = (0..size).map(|_| u8::try_from(self.dice.between(0, 200)).unwrap()).collect();
            if self.dice.chance(self.plan.failing_receivers) {
                payload[0] = FAILING_PAYLOAD;
            }
            let call = GatewayCall::Send {
                gateway: lane.source_gateway,
                lane: lane.id(),
                receiver: Address::from_20([7; 20]),
                deadline: UnixMillis(self.now.0 + life),
                gas_limit: self.dice.between(20_000, 90_000),
                payload,
            };
            self.submit_as_application(chain, call);
        }
        let (least, most) = steady.map_or((100, 5000), |(_, interval)| (interval, interval));
        self.plan_within(least, most, Event::Traffic);
    }

    /// Asks a chain for the next attester set until it has it; starts the attester that joins.
    pub fn rotate(&mut self, chain: usize) {
        let Some((_, leaving)) = self.plan.rotation else { return };
        if self.chains[chain].gateway.committee.epoch() != Epoch(1) {
            self.count(ROTATIONS);
            return;
        }
        let reserve = RELAYS + ATTESTERS;
        self.plan_within(0, 500, Event::Start(PeerId(u32::try_from(reserve).unwrap())));
        let staying = (RELAYS..RELAYS + ATTESTERS).filter(|number| *number != RELAYS + leaving);
        let members: Vec<usize> = staying.chain([reserve]).collect();
        let ids: Vec<AttesterId> = members.iter().map(|number| self.processes[*number].attester()).collect();
        let (verifier, domain) = (self.chains[chain].gateway.verifier, self.chains[chain].domain);
        let digest = rotation_digest(verifier, domain, Epoch(2), &ids.iter().copied().collect(), THRESHOLD);
        let sign = |number: &usize| {
            let process = &self.processes[*number];
            (process.attester(), sign(&process.key, digest))
        };
        let call = GatewayCall::Rotate {
            verifier,
            old: (RELAYS..RELAYS + ATTESTERS - 1).map(|number| sign(&number)).collect(),
            new: members.iter().map(sign).collect(),
            members: ids,
            threshold: THRESHOLD,
        };
        self.submit_as_application(chain, call);
        self.plan_within(2000, 4000, Event::Rotate(chain));
    }
}

/// Signs a digest the way an attester does.
#[must_use]
pub fn sign(key: &SigningKey, digest: Hash32) -> SignatureBytes {
    let (signature, recovery) = key.sign_prehash_recoverable(&digest.0).unwrap();
    SignatureBytes::from_parts(&signature, recovery)
}
