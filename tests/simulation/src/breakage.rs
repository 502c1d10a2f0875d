//! Breaking things, and making them whole again.

use cityrelay_core::ids::{LaneId, UnixMillis};
use cityrelay_core::lane::LaneIdentity;
use cityrelay_core::machine::config::PeerId;
use cityrelay_core::machine::effect::OrderId;
use cityrelay_core::machine::input::Input;
use cityrelay_core::order::{Action, Choice, Operator, Order};
use cityrelay_core::record::Frozen;
use cityrelay_journal::PruneDepth;

use crate::dice::Dice;
use crate::model_chain::ChainWeather;
use crate::process::{Behaviour, ProcessWeather};
use crate::weather::{DECIDED, Fault};
use crate::world::{EPOCH_MILLIS, Event, RELAYS, World};

impl World {
    /// Plans the first breakage of each kind, the changes of sets, and the end of all that.
    pub fn plan_faults(&mut self) {
        for (fault, mean) in self.plan.faults.clone() {
            self.plan_within(500, 2 * mean, Event::Fault(fault));
        }
        if let Some((who, how)) = self.plan.bad_attester {
            self.process(who).behaviour = how;
        }
        for (number, (after, _)) in self.plan.rotations.clone().into_iter().enumerate() {
            for chain in 0..self.chains.len() {
                self.plan_within(after, after + 3000, Event::Rotate(chain, number));
            }
        }
        if let Some(mean) = self.plan.set_changes {
            for chain in 0..self.chains.len() {
                self.plan_within(500, 2 * mean, Event::ChangeValidators(chain));
            }
        }
        let calm = self.after(self.plan.calm_millis);
        self.agenda.plan(calm, Event::Calm);
    }

    /// Whether nothing breaks any more.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.now.0 >= EPOCH_MILLIS + self.plan.calm_millis
    }

    fn any_process(&mut self) -> PeerId {
        PeerId(u32::try_from(self.dice.between(0, self.processes.len() as u64 - 1)).unwrap())
    }

    fn any_line(&mut self) -> (PeerId, PeerId) {
        let pairs: Vec<_> = self.lines.keys().copied().collect();
        // The line between the relays breaks as often as all others together.
        if self.dice.chance(500) { pairs[0] } else { *self.dice.pick(&pairs) }
    }

    fn any_lane(&mut self) -> usize {
        usize::try_from(self.dice.between(0, self.lanes.len() as u64 - 1)).unwrap()
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
            Fault::CutLine => self.cut_line(),
            Fault::ReplaceSession => return self.replace_session(),
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
            Fault::Fork => self.change_process(|weather, _| weather.shows_fork = true),
            Fault::NodeApart => self.change_process(|weather, _| weather.own_node_is_apart = true),
            Fault::NodePruned => self.change_process(|weather, dice| {
                weather.keeps_bodies = Some(dice.between(0, 20));
            }),
            Fault::ClockStep => {
                let (id, ahead) = (self.any_process(), self.dice.between(200, 20_000));
                self.process(id).clock.set(ahead);
                u64::from(id.0)
            }
            Fault::JournalPruned => return self.prune_journal(),
            Fault::OldJournal => return self.put_back_journal(),
            Fault::LanePaused => {
                let (id, lane) = (self.any_process(), self.any_lane());
                let action = Action::PauseLane { lane: self.lanes[lane].id() };
                if !self.order(id, action) {
                    return;
                }
                ((lane as u64) << 32) | u64::from(id.0)
            }
            Fault::LanePausedByOwner => {
                let (chain, lane) = (self.dice.between(0, self.chains.len() as u64 - 1), self.any_lane());
                let id = self.lanes[lane].id();
                self.chains[usize::try_from(chain).unwrap()].gateway.paused.insert(id);
                ((lane as u64) << 32) | chain
            }
            Fault::Mempool => self.change_chain(|weather, dice| {
                weather.lose = *dice.pick(&[0, 0, 300, 900]);
                weather.evict = *dice.pick(&[0, 0, 200, 800]);
                weather.delay = *dice.pick(&[0, 300, 800]);
                weather.revert = *dice.pick(&[0, 0, 300, 900]);
            }),
            Fault::ShortSeals => self.change_chain(|weather, dice| weather.short = dice.between(100, 800)),
            Fault::SmallGas => self.change_chain(|weather, dice| weather.max_gas = dice.between(100_000, 900_000)),
            Fault::Copies => self.change_chain(|weather, dice| weather.copy = dice.between(100, 900)),
        };
        self.count(fault.counter());
        self.plan_within(200, 9000, Event::Repair(fault, which));
    }

    fn cut_line(&mut self) -> u64 {
        let (a, b) = self.any_line();
        let line = self.lines.get_mut(&(a, b)).unwrap();
        line.is_cut = true;
        let session = line.session;
        for (end, other) in [(a, b), (b, a)] {
            self.plan_within(20, 4000, Event::SessionDown(end, other, session));
        }
        (u64::from(a.0) << 32) | u64::from(b.0)
    }

    fn replace_session(&mut self) {
        let (a, b) = self.any_line();
        if self.process(a).machine.is_some() && self.process(b).machine.is_some() && !self.lines[&(a, b)].is_cut {
            self.count(Fault::ReplaceSession.counter());
            self.connect(a, b);
        }
    }

    /// Drops what finished messages don't need any more, as the daemon does now and then.
    fn prune_journal(&mut self) {
        let id = self.any_process();
        let before = UnixMillis(self.now.0 - self.dice.between(0, 15_000));
        // An attester that joins later needs the bodies that the relays of its lanes keep.
        let deepest = if self.plan.rotations.is_empty() { PruneDepth::Bodies } else { PruneDepth::Payloads };
        let depth = *self.dice.pick(&[PruneDepth::Payloads, deepest]);
        let most = usize::try_from(self.dice.between(1, 50)).unwrap();
        if self.process(id).disk.prune(before, depth, most) > 0 {
            self.count(Fault::JournalPruned.counter());
        }
    }

    /// A relay's journal is kept aside, or it dies and finds the one that was: only an attester's must never be put back.
    fn put_back_journal(&mut self) {
        let relay = usize::try_from(self.dice.between(0, RELAYS as u64 - 1)).unwrap();
        let id = PeerId(u32::try_from(relay).unwrap());
        match self.processes[relay].backup.take() {
            Some(backup) if self.processes[relay].machine.is_some() => {
                self.crash(id);
                self.processes[relay].disk = backup;
                self.count(Fault::OldJournal.counter());
            }
            _ => self.processes[relay].backup = Some(self.processes[relay].disk.durable_copy()),
        }
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
        let other = usize::try_from(which >> 32).unwrap();
        let whole = ProcessWeather::default();
        match fault {
            Fault::CutLine => {
                let pair = (PeerId(u32::try_from(other).unwrap()), id);
                self.lines.get_mut(&pair).unwrap().is_cut = false;
            }
            Fault::ReplaceSession | Fault::Crash | Fault::JournalPruned | Fault::OldJournal => {}
            Fault::SlowDisk => self.process(id).weather.slow_disk = whole.slow_disk,
            Fault::BadDisk => self.process(id).weather.is_disk_failing = whole.is_disk_failing,
            Fault::NodeLag => self.process(id).weather.lag = whole.lag,
            Fault::NodeDown => {
                self.process(id).weather.node_failure = whole.node_failure;
                self.process(id).weather.slow_node = whole.slow_node;
            }
            Fault::NodeLies => self.process(id).weather.node_lies = whole.node_lies,
            Fault::FalseFrames => self.process(id).weather.false_frames = whole.false_frames,
            Fault::NodePruned => self.process(id).weather.keeps_bodies = whole.keeps_bodies,
            Fault::ClockStep => self.process(id).clock.set(0),
            Fault::Fork => {
                self.process(id).weather.shows_fork = whole.shows_fork;
                self.plan_within(100, 3000, Event::Decide(id));
            }
            Fault::NodeApart => {
                self.process(id).weather.own_node_is_apart = whole.own_node_is_apart;
                self.plan_within(100, 3000, Event::Decide(id));
            }
            Fault::LanePaused => self.resume(id, self.lanes[other].id()),
            Fault::LanePausedByOwner => {
                let lane = self.lanes[other].id();
                self.chains[usize::try_from(id.0).unwrap()].gateway.paused.remove(&lane);
            }
            Fault::Mempool | Fault::ShortSeals | Fault::SmallGas | Fault::Copies => {
                self.chains[usize::try_from(which).unwrap()].weather = ChainWeather::default();
            }
        }
    }

    /// An operator orders something of a process; false when it is dead.
    pub fn order(&mut self, id: PeerId, action: Action) -> bool {
        if self.process(id).machine.is_none() {
            return false;
        }
        self.orders += 1;
        let order = OrderId(self.orders);
        self.process(id).orders.insert(order);
        let who = Operator { uid: 0, name: "operator".to_owned() };
        let input = Input::Order { id: order, order: Order { who, reason: "as the seed has it".to_owned(), action } };
        self.handle(id, input);
        true
    }

    /// An operator resumes a lane, again and again until it is resumed durably.
    pub fn resume(&mut self, id: PeerId, lane: LaneId) {
        let is_busy = self.process(id).machine.is_none() || !self.process(id).orders.is_empty();
        if !is_busy && !self.process(id).disk.is_paused(lane) {
            return;
        }
        if !is_busy {
            self.order(id, Action::ResumeLane { lane });
        }
        self.plan_within(500, 1500, Event::Resume(id, lane));
    }

    /// An operator lets frozen clients go on with the headers that they hold, again and again until none is frozen.
    pub fn decide(&mut self, id: PeerId) {
        if self.plan.stays_frozen {
            return;
        }
        let Some(machine) = &self.process(id).machine else {
            return self.plan_within(500, 1500, Event::Decide(id));
        };
        let clients = machine.status().clients.into_iter();
        let Some((domain, frozen)) = clients.filter_map(|client| Some((client.domain, client.frozen?))).next() else {
            // What freezes one may still be on its way.
            if self.is_calm() {
                self.plan_within(2000, 4000, Event::Decide(id));
            }
            return;
        };
        if self.process(id).orders.is_empty() {
            let Frozen { height, ours, theirs } = frozen;
            self.count(DECIDED);
            self.order(id, Action::Unfreeze { domain, height, ours, theirs, choice: Choice::Ours });
        }
        self.plan_within(500, 1500, Event::Decide(id));
    }

    /// Makes everything whole, once and for all.
    pub fn calm(&mut self) {
        self.trace(|| "calm".to_owned());
        self.plan.slow_line = 0;
        self.plan.slow_verifier = 0;
        self.lines.values_mut().for_each(|line| line.is_cut = false);
        for chain in &mut self.chains {
            chain.weather = ChainWeather::default();
            chain.gateway.paused.clear();
            chain.forget_returning();
        }
        for number in 0..self.processes.len() {
            // An older journal brings back what an operator has ended since.
            let id = PeerId(u32::try_from(number).unwrap());
            self.plan_within(100, 3000, Event::Decide(id));
            for lane in self.lanes.iter().map(LaneIdentity::id).collect::<Vec<_>>() {
                self.plan_within(100, 3000, Event::Resume(id, lane));
            }
            self.processes[number].weather = ProcessWeather::default();
            self.processes[number].clock.set(0);
            if !self.plan.stays_bad {
                self.processes[number].behaviour = Behaviour::Honest;
            }
        }
    }
}
