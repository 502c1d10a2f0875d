//! What the contracts must do, said once more: a lane, its messages, and who may do what to it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use alloy_primitives::U256;
use alloy_sol_types::SolCall;
use cityrelay_core::attestation::{SignatureBytes, Statement, rotation_digest};
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::gateway_call::{Evidence, GatewayCall, LaneLimits};
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, AttesterId, Epoch};
use cityrelay_core::lane::{Direction, Flow, GatewayAt, LaneIdentity};
use cityrelay_core::outcome::Status;
use cityrelay_gateway::call::{AllowList, set_allowed};
use k256::ecdsa::SigningKey;

use crate::chain::Kind;
use crate::probes;
use crate::world::{City, Terms, World, attester_key, members, owner, sign, signed, user};

/// A stream of numbers from a seed.
pub struct Dice(Hash32);

impl Dice {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = keccak256(&self.0.0);
        usize::try_from(u64::from_be_bytes(*self.0.0.first_chunk().unwrap()) % bound as u64).unwrap()
    }

    pub fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

/// What becomes of a message that is delivered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    Takes,
    Fails,
    /// Takes it if the contract at this address is still there when the transaction begins.
    TakesWhileAlive(Address),
}

/// The attesters of one committee.
pub struct Seats {
    pub keys: Vec<SigningKey>,
    pub threshold: usize,
    pub epoch: u64,
}

impl Seats {
    fn of(city: &City) -> Self {
        Self { keys: city.keys.clone(), threshold: 3, epoch: 1 }
    }

    pub fn sign(&self, statement: &Statement) -> Evidence {
        signed(statement, self.keys.iter().take(self.threshold))
    }

    pub fn members(&self) -> Vec<AttesterId> {
        members(&self.keys)
    }
}

/// Contracts besides those of the world.
pub struct Places {
    pub swallower: Address,
    pub deep_caller: Address,
    /// A probe sender on the destination chain: a contract that tries what only plain accounts may do.
    pub intruder: Address,
    pub mortal: Address,
}

/// Which end of the lane.
pub const SOURCE: usize = 0;
pub const DESTINATION: usize = 1;

/// What a pause is for.
pub const LANE: usize = 0;
pub const GATEWAY: usize = 1;

/// The two chains, and where the model says that they stand.
pub struct Model {
    pub world: World,
    pub dice: Dice,
    pub habits: Vec<Habit>,
    /// Messages accepted at the destination, and outcomes settled at the source.
    pub accepted: usize,
    pub done: usize,
    pub halted: Option<usize>,
    /// Indexes whose callback failed.
    pub pending: BTreeSet<usize>,
    pub paused: [[bool; 2]; 2],
    pub seats: [Seats; 2],
    pub alive: BTreeSet<Address>,
    pub places: Places,
    pub is_strict: bool,
    /// Another lane between the same gateways, on which nothing ever happens.
    pub bystander: LaneIdentity,
    /// A lane to another gateway on the destination chain, as after a redeployment: the same domain, the same committee.
    pub redeployed: LaneIdentity,
    /// Calls that probes answered well, to compare with their own count.
    pub taken_by_probe: u64,
    drawn_keys: u8,
}

impl Model {
    /// Each walk has dice of its own.
    pub fn new(walk: &str, seed: u64, kinds: [Kind; 2]) -> Self {
        let mut dice = Dice(keccak256(format!("{walk} {seed}").as_bytes()));
        let is_strict = dice.one_in(4);
        let mut limits = LaneLimits { max_gas_limit: 4_000_000, callback_gas: 2_000_000, ..Terms::default().limits };
        if is_strict {
            // The lists exist and are filled below, when the addresses are known.
            limits.is_strict = true;
            limits.senders = vec![Address::from_20([9; 20])];
            limits.receivers = vec![Address::from_20([9; 20])];
        }
        let mut world = World::with(&Terms { kinds, limits: limits.clone(), ..Terms::default() });
        let places = Places {
            swallower: world.source.deploy(probes::init_code("Swallower")),
            deep_caller: world.source.deploy(probes::init_code("DeepCaller")),
            intruder: world.destination.deploy(probes::sender()),
            mortal: world.destination.deploy(probes::mortal()),
        };
        let bystander = LaneIdentity { salt: keccak256(b"another"), ..world.lane.clone() };
        for end in [SOURCE, DESTINATION] {
            let city = if end == SOURCE { &mut world.source } else { &mut world.destination };
            let limits = LaneLimits { is_strict: false, senders: vec![], receivers: vec![], ..limits.clone() };
            let gateway = city.gateway;
            city.submit(owner(), &GatewayCall::AnnounceLane { gateway, lane: bystander.clone(), limits }).ok();
            city.submit(owner(), &GatewayCall::OpenLane { gateway, lane: bystander.id() }).ok();
        }
        let city = &mut world.destination;
        let second = GatewayCall::DeployGateway {
            domain: city.domain,
            owner: owner(),
            announce_delay: Duration::ZERO,
            close_delay: Duration::ZERO,
            clock_is_millis: kinds[DESTINATION].clock_is_millis,
        };
        let gateway = city.submit(owner(), &second).ok().created.unwrap();
        let redeployed = LaneIdentity { destination_gateway: gateway, ..world.lane.clone() };
        let limits = LaneLimits { is_strict: false, senders: vec![], receivers: vec![], ..limits };
        city.submit(owner(), &GatewayCall::AnnounceLane { gateway, lane: redeployed.clone(), limits }).ok();
        city.submit(owner(), &GatewayCall::OpenLane { gateway, lane: redeployed.id() }).ok();
        let seats = [Seats::of(&world.source), Seats::of(&world.destination)];
        let alive = BTreeSet::from([places.mortal]);
        let mut model = Self {
            world,
            dice,
            habits: Vec::new(),
            accepted: 0,
            done: 0,
            halted: None,
            pending: BTreeSet::new(),
            paused: [[false; 2]; 2],
            seats,
            alive,
            places,
            is_strict,
            bystander,
            redeployed,
            taken_by_probe: 0,
            drawn_keys: 10,
        };
        for sender in [user(), model.world.sender, model.places.deep_caller] {
            model.allow(SOURCE, AllowList::Senders, sender);
        }
        for receiver in [model.world.receiver, model.places.mortal] {
            model.allow_receiver(receiver);
        }
        model
    }

    /// Puts an account on a list of a strict lane.
    fn allow(&mut self, end: usize, list: AllowList, account: Address) {
        if self.is_strict {
            let call = set_allowed(self.world.id, list, account, true);
            let city = self.city(end);
            let gateway = city.gateway;
            city.chain.call(owner(), gateway, call).ok();
        }
    }

    pub fn allow_receiver(&mut self, receiver: Address) {
        for end in [SOURCE, DESTINATION] {
            self.allow(end, AllowList::Receivers, receiver);
        }
    }

    pub fn city(&mut self, end: usize) -> &mut City {
        if end == SOURCE { &mut self.world.source } else { &mut self.world.destination }
    }

    pub fn is_paused(&self, end: usize) -> bool {
        self.paused[end].contains(&true)
    }

    /// What a gateway's clock says, in milliseconds.
    pub fn now(&mut self, end: usize) -> u64 {
        let chain = &self.city(end).chain;
        if chain.clock_is_millis { chain.timestamp() } else { chain.timestamp() * 1000 }
    }

    /// What an attester of the end that takes `direction` in would say of a head.
    pub fn statement(&mut self, flow: Flow, point: ChainPoint) -> Statement {
        let end = taking_end(flow.direction);
        let epoch = Epoch(self.seats[end].epoch);
        let city = self.city(end);
        Statement { flow, point, epoch, verifying: GatewayAt { domain: city.domain, gateway: city.gateway } }
    }

    pub fn attest(&mut self, direction: Direction, point: ChainPoint) -> Evidence {
        let statement = self.statement(Flow { lane: self.world.id, direction }, point);
        self.seats[taking_end(direction)].sign(&statement)
    }

    /// What must become of message `index` when it is delivered now.
    fn fate(&mut self, index: usize) -> Status {
        let deadline = self.world.sent[index - 1].deadline.0;
        if self.now(DESTINATION) > deadline {
            return Status::Expired;
        }
        match self.habits[index - 1] {
            Habit::Takes => Status::Executed,
            Habit::TakesWhileAlive(mortal) if self.alive.contains(&mortal) => Status::Executed,
            Habit::TakesWhileAlive(_) | Habit::Fails => Status::Failed,
        }
    }

    /// Outcomes of a delivery up to `last`, and the message at which a strict lane halts; `None` where the delivery
    /// must be refused because the message that halted it still fails.
    pub fn fates(&mut self, last: usize) -> Option<(Vec<Status>, Option<usize>)> {
        let mut statuses = Vec::new();
        for index in self.accepted + 1..=last {
            let status = self.fate(index);
            if status == Status::Failed && self.is_strict {
                return (self.halted != Some(index)).then_some((statuses, Some(index)));
            }
            statuses.push(status);
        }
        Some((statuses, None))
    }

    /// A new set for a committee.
    pub fn draw_seats(&mut self, end: usize) -> Seats {
        let count = 1 + self.dice.below(3);
        let mut keys: Vec<_> = (0..count)
            .map(|_| {
                self.drawn_keys = if self.drawn_keys == u8::MAX { 10 } else { self.drawn_keys + 1 };
                attester_key(self.drawn_keys)
            })
            .collect();
        keys.sort_by_key(|key| members(core::slice::from_ref(key)));
        let threshold = count / 2 + 1 + self.dice.below(count.div_ceil(2));
        Seats { keys, threshold, epoch: self.seats[end].epoch + 1 }
    }

    /// The call that puts `next` in force.
    pub fn rotation(&mut self, end: usize, next: &Seats) -> GatewayCall {
        let city = self.city(end);
        let (verifier, domain) = (city.committee, city.domain);
        let threshold = u32::try_from(next.threshold).unwrap();
        let set = next.members().into_iter().collect();
        let digest = rotation_digest(verifier, domain, Epoch(next.epoch), &set, threshold);
        let by = |keys: &[SigningKey]| -> BTreeMap<AttesterId, SignatureBytes> {
            keys.iter().map(|key| sign(key, digest)).collect()
        };
        let old = &self.seats[end];
        GatewayCall::Rotate {
            verifier,
            members: next.members(),
            threshold,
            old: by(&old.keys[..old.threshold]),
            new: by(&next.keys),
        }
    }

    /// Compares what both gateways vouch for with the model; cheap.
    pub fn check_heads(&mut self) {
        let (lane, sent) = (self.world.id, self.world.sent.len());
        for (end, point) in [(SOURCE, self.world.outbox[sent]), (DESTINATION, self.world.inbox[self.accepted])] {
            let city = self.city(end);
            let slot = |number| city.chain.kind.hash(&[lane.0.0, Hash32::from_u64(number).0].concat());
            let stored = |number| city.chain.storage(city.gateway, slot(number));
            assert_eq!((stored(0), stored(1)), (point.head, Hash32::from_u64(point.index.0)), "end {end}");
        }
    }

    /// Compares everything that both gateways say with the model.
    pub fn check(&mut self) {
        self.check_heads();
        let (id, sent) = (self.world.id, self.world.sent.len());
        let (accepted, done, halted) = (self.accepted, self.done, self.halted);
        let source = self.world.source.status(id);
        assert_eq!((source.own, source.peer), (self.world.outbox[sent], self.world.inbox[done]));
        assert_eq!(source.settled_outbox_head, self.world.outbox[done].head);
        let destination = self.world.destination.status(id);
        assert_eq!((destination.own, destination.peer), (self.world.inbox[accepted], self.world.outbox[accepted]));
        assert_eq!(destination.halted, halted.map(|index| self.world.sent[index - 1].id(id)));
        assert_eq!(self.world.outcomes.len(), accepted);
        let bystander = self.bystander.id();
        for end in [SOURCE, DESTINATION] {
            let start = |direction| ChainPoint::start(Flow { lane: bystander, direction });
            let status = self.city(end).status(bystander);
            let [own, peer] = if end == SOURCE {
                [Direction::Outbox, Direction::Inbox]
            } else {
                [Direction::Inbox, Direction::Outbox]
            };
            assert_eq!((status.own, status.peer), (start(own), start(peer)), "another lane moved");
            assert_eq!(self.city(end).committee_in_force().epoch().0, self.seats[end].epoch);
        }
    }

    /// The second gateway took nothing in.
    pub fn check_redeployed(&mut self) {
        let (gateway, lane) = (self.redeployed.destination_gateway, self.redeployed.id());
        let answer = self.world.destination.chain.view(gateway, cityrelay_gateway::query::index(lane));
        assert_eq!(cityrelay_gateway::query::decode_index(&answer).unwrap().0, 0);
    }

    /// Counts that the probes keep themselves: nobody was called twice, and nobody whose message failed.
    pub fn check_calls(&mut self) {
        let calls = self.world.destination.chain.view(self.world.receiver, probes::Probe::callsCall {}.abi_encode());
        assert_eq!(U256::from_be_slice(&calls), U256::from(self.taken_by_probe));
    }

    pub fn pass(&mut self, time: Duration) {
        self.world.pass(time);
        let blocks = 1 + self.dice.below(3) as u64;
        self.world.source.chain.block_number += blocks;
        self.world.destination.chain.block_number += blocks;
    }
}

/// The end that takes a flow in.
pub const fn taking_end(direction: Direction) -> usize {
    match direction {
        Direction::Outbox => DESTINATION,
        Direction::Inbox => SOURCE,
    }
}
