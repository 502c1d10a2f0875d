//! One relay or attester: a machine, its disk, its sessions. It dies and comes back.

use std::collections::{BTreeMap, BTreeSet};

use cityrelay_core::attestation::attester_id;
use cityrelay_core::frame::Role;
use cityrelay_core::ids::{Address, AttesterId, Index, UnixMillis};
use cityrelay_core::lane::Flow;
use cityrelay_core::machine::Machine;
use cityrelay_core::machine::config::{MachineConfig, PeerId};
use cityrelay_core::machine::effect::{OrderId, ReceiptId};
use k256::ecdsa::SigningKey;

use crate::clock::Clock;
use crate::disk::Disk;

/// What an attester does with what it should sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// As it should.
    #[default]
    Honest,
    /// It answers nothing.
    Silent,
    /// It answers with bytes that are no signature of the head.
    Rubbish,
    /// It signs another head.
    Equivocating,
}

/// What the weather does to a process.
#[derive(Clone, Debug, Default)]
pub struct ProcessWeather {
    /// Longest time of a sync, in milliseconds; 0 for a fast disk.
    pub slow_disk: u64,
    /// Nothing becomes durable.
    pub is_disk_failing: bool,
    /// Its nodes don't answer, in thousandths.
    pub node_failure: u64,
    /// Its nodes serve false headers, in thousandths.
    pub node_lies: u64,
    /// Its nodes show another final header at the height that its client trusts.
    pub shows_fork: bool,
    /// Its own nodes hold other blocks than everybody else.
    pub own_node_is_apart: bool,
    /// Its nodes have the bodies of the messages of so many blocks only.
    pub keeps_bodies: Option<u64>,
    /// What it says is false, in thousandths.
    pub false_frames: u64,
    /// Longest time of an answer, in milliseconds; 0 for fast nodes.
    pub slow_node: u64,
    /// Blocks by which its nodes are behind, per chain.
    pub lag: [u64; 2],
    /// It dies after this many more effects.
    pub dies_after: Option<u64>,
}

/// A process; its position in the world is its [`PeerId`] for the others.
#[derive(Debug)]
pub struct Process {
    /// What it is.
    pub role: Role,
    /// What it is started with.
    pub config: MachineConfig,
    /// `None` while it is dead.
    pub machine: Option<Machine>,
    /// Counts its starts; what was planned for an earlier life is void.
    pub life: u64,
    /// Its disk.
    pub disk: Disk,
    /// A copy of what was durable on it once.
    pub backup: Option<Disk>,
    /// What it takes the time for.
    pub clock: Clock,
    /// How far its own node has confirmed a flow, as it was told.
    pub confirmed: BTreeMap<Flow, Index>,
    /// Orders whose end it has not said.
    pub orders: BTreeSet<OrderId>,
    /// A sync is planned.
    pub is_syncing: bool,
    /// Signs heads.
    pub key: SigningKey,
    /// Its account on the chain beside it.
    pub account: Address,
    /// How it signs.
    pub behaviour: Behaviour,
    /// Peer → session, as this end knows it.
    pub sessions: BTreeMap<PeerId, u64>,
    /// When the machine wants to be woken.
    pub wake: Option<UnixMillis>,
    /// Frames whose room was not given back yet.
    pub receipts: BTreeSet<ReceiptId>,
    /// Number of the next received frame.
    pub next_receipt: u64,
    /// What the weather does to it.
    pub weather: ProcessWeather,
}

/// The key of process number `id`; attesters sign heads with it.
pub(super) fn signing_key(id: u32) -> SigningKey {
    SigningKey::from_slice(&[u8::try_from(id + 1).unwrap(); 32]).unwrap()
}

impl Process {
    /// A process that has not started yet.
    #[must_use]
    pub fn new(id: u32, config: MachineConfig) -> Self {
        let key = signing_key(id);
        Self {
            role: config.role,
            config,
            machine: None,
            life: 0,
            disk: Disk::default(),
            backup: None,
            clock: Clock::default(),
            confirmed: BTreeMap::new(),
            orders: BTreeSet::new(),
            is_syncing: false,
            key,
            account: Address::from_20([u8::try_from(id + 1).unwrap(); 20]),
            behaviour: Behaviour::Honest,
            sessions: BTreeMap::new(),
            wake: None,
            receipts: BTreeSet::new(),
            next_receipt: 1,
            weather: ProcessWeather::default(),
        }
    }

    /// The attester that its key makes it.
    #[must_use]
    pub fn attester(&self) -> AttesterId {
        attester_id(self.key.verifying_key())
    }

    /// Starts it from what its disk holds.
    pub fn start(&mut self, now: UnixMillis) {
        let sides = Machine::sides(&self.config);
        let recovered = self.disk.recover(&sides);
        self.life += 1;
        let now = self.clock.read(now);
        self.machine = Some(Machine::new(self.config.clone(), recovered, now));
    }

    /// Kills it: memory is gone, and of the batches that were not synced only the first `surviving` remain.
    pub fn kill(&mut self, surviving: usize) {
        self.machine = None;
        self.disk.crash(surviving);
        self.is_syncing = false;
        self.sessions.clear();
        self.wake = None;
        self.receipts.clear();
        self.orders.clear();
        self.weather.dies_after = None;
    }
}
