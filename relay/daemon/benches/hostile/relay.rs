//! The relay under test: its own machine, light clients, journal, link and shares, put together as the daemon does it.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cityrelay::run::{Ration, VAIN_FRAMES, Worth};
use cityrelay_api::client::{ErasedClient, erase};
use cityrelay_core::frame::Frame;
use cityrelay_core::ids::{Domain, UnixMillis};
use cityrelay_core::machine::Machine;
use cityrelay_core::machine::config::{Limits, PeerId};
use cityrelay_core::machine::effect::{ClaimCheck, Effect, ReceiptId, Report};
use cityrelay_core::machine::input::{ClaimOrigin, ClaimRefusal, Input};
use cityrelay_core::verify;
use cityrelay_evm_bft::ADAPTER;
use cityrelay_evm_bft::verify::client::Client;
use cityrelay_journal::{Journal, Options};
use cityrelay_link::{
    Fingerprint, FramePermit, Identity, Link, LinkConfig, LinkEvent, LinkLimits, PeerAddress, PeerConfig, PeerName,
};
use tokio::sync::{mpsc, oneshot};

use crate::machine_config::machine_config;
use crate::source_chain::SourceChain;

/// Seeds of the link keys.
const RELAY_SEED: u8 = 1;
pub const HONEST_SEED: u8 = 2;
pub const HOSTILE_SEED: u8 = 3;

const HONEST: PeerId = PeerId(u32::from_le_bytes([HONEST_SEED, 0, 0, 0]));
const HOSTILE: PeerId = PeerId(u32::from_le_bytes([HOSTILE_SEED, 0, 0, 0]));

/// Inputs handled before the next look at the link, as in the daemon's loop.
const INPUTS_AT_ONCE: usize = 256;

/// How work that peers cause is run, and their frames are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shares {
    /// As they come.
    None,
    /// Each peer's in its own share and at its own pace.
    Each,
}

/// The relay, in threads of its own.
pub struct Relay {
    pub address: SocketAddr,
    pub fingerprint: Fingerprint,
    /// Claims of the hostile peer that were found false.
    pub refused: Arc<AtomicU64>,
    /// Frames of the hostile peer that were read.
    pub hostile_frames: Arc<AtomicU64>,
    stop: oneshot::Sender<()>,
    runtime: tokio::runtime::Runtime,
    ended: tokio::task::JoinHandle<()>,
}

impl Relay {
    /// Starts it with the journal in `dir`.
    pub fn start(honest: &SourceChain, hostile: &SourceChain, shares: Shares, dir: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let _inside = runtime.enter();
        let peer = |seed: u8, chain: &SourceChain| PeerConfig {
            name: name(seed),
            fingerprint: identity(seed).fingerprint(),
            next_fingerprint: None,
            address: None,
            lanes: Some(chain.lanes.iter().map(|lane| lane.id()).collect()),
        };
        let (link, events) = Link::start(LinkConfig {
            listen: Some(([127, 0, 0, 1], 0).into()),
            identity: identity(RELAY_SEED),
            peers: vec![peer(HONEST_SEED, honest), peer(HOSTILE_SEED, hostile)],
            limits: match shares {
                Shares::None => LinkLimits { max_frames_per_second: 1 << 20, ..LinkLimits::default() },
                Shares::Each => LinkLimits::default(),
            },
        })
        .unwrap();
        let config = machine_config(&[(HONEST, honest), (HOSTILE, hostile)], limits(shares));
        let journal = Journal::open(&dir.join("journal"), Options::default()).unwrap();
        let recovered = journal.recover(&Machine::sides(&config)).unwrap();
        let client = |chain: &SourceChain| -> Arc<dyn ErasedClient> {
            Arc::new(erase(ADAPTER, Client::new(chain.rules.clone())))
        };
        let clients = [honest, hostile].into_iter().map(|chain| (chain.domain, client(chain))).collect();
        let (inputs, input_rx) = mpsc::unbounded_channel();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let (refused, hostile_frames): (Arc<AtomicU64>, Arc<AtomicU64>) = Default::default();
        let stage = Stage {
            machine: Machine::new(config, recovered, unix_millis()),
            clients,
            journal,
            inputs,
            ration: (shares == Shares::Each).then(|| Ration::new(processors, |_, _| {})),
            link: link.clone(),
            queues: HashMap::new(),
            permits: HashMap::new(),
            next_receipt: 1,
            refused: Arc::clone(&refused),
            hostile_frames: Arc::clone(&hostile_frames),
        };
        let (stop, stopped) = oneshot::channel();
        let address = link.local_address().unwrap();
        let fingerprint = link.fingerprint();
        let ended = runtime.spawn(stage.run(events, input_rx, stopped));
        drop(_inside);
        Self { address, fingerprint, refused, hostile_frames, stop, runtime, ended }
    }

    pub fn stop(self) {
        let _ = self.stop.send(());
        self.runtime.block_on(self.ended).unwrap();
    }
}

/// A session with the relay: the link, its events, and the name that the relay has on it.
pub fn link_to(seed: u8, to: SocketAddr, relay: Fingerprint) -> (Link, mpsc::Receiver<LinkEvent>, PeerName) {
    let relay = PeerConfig {
        name: name(RELAY_SEED),
        fingerprint: relay,
        next_fingerprint: None,
        address: Some(PeerAddress::Socket(to)),
        lanes: None,
    };
    let (identity, limits) = (identity(seed), LinkLimits::default());
    let (link, events) = Link::start(LinkConfig { listen: None, identity, peers: vec![relay], limits }).unwrap();
    (link, events, name(RELAY_SEED))
}

fn name(seed: u8) -> PeerName {
    PeerName::new(&format!("peer-{seed}"))
}

fn identity(seed: u8) -> Identity {
    Identity::generate(&[seed; 32]).unwrap()
}

fn limits(shares: Shares) -> Limits {
    let mut limits = Limits::default();
    if shares == Shares::Each {
        limits.parked_claims = LinkLimits::default().most_inflight_frames_per_stream();
    }
    limits
}

struct Stage {
    machine: Machine,
    clients: BTreeMap<Domain, Arc<dyn ErasedClient>>,
    journal: Journal,
    inputs: mpsc::UnboundedSender<Input>,
    ration: Option<Ration>,
    link: Link,
    queues: HashMap<PeerId, mpsc::UnboundedSender<Frame>>,
    permits: HashMap<ReceiptId, FramePermit>,
    next_receipt: u64,
    refused: Arc<AtomicU64>,
    hostile_frames: Arc<AtomicU64>,
}

impl Stage {
    async fn run(
        mut self,
        mut events: mpsc::Receiver<LinkEvent>,
        mut inputs: mpsc::UnboundedReceiver<Input>,
        mut stopped: oneshot::Receiver<()>,
    ) {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        loop {
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                _ = tick.tick() => self.handle(Input::Tick),
                Some(input) = inputs.recv() => {
                    self.handle(input);
                    for _ in 1..INPUTS_AT_ONCE {
                        let Ok(input) = inputs.try_recv() else { break };
                        self.handle(input);
                    }
                }
                Some(event) = events.recv() => self.on_link(event),
            }
            // The daemon asks once a turn when to wake up.
            std::hint::black_box(self.machine.poll_timeout());
        }
        self.link.close().await;
        self.journal.close();
    }

    fn on_link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Up { peer, .. } => {
                let id = peer_id(&peer);
                let (frames, mut waiting) = mpsc::unbounded_channel();
                let link = self.link.clone();
                tokio::spawn(async move {
                    while let Some(frame) = waiting.recv().await {
                        // A session that is gone loses what is said on it.
                        let _ = link.send(&peer, &frame).await;
                    }
                });
                self.queues.insert(id, frames);
                self.handle(Input::PeerUp(id));
            }
            LinkEvent::Down { peer, .. } => {
                self.queues.remove(&peer_id(&peer));
                self.handle(Input::PeerDown(peer_id(&peer)));
            }
            LinkEvent::Frame { peer, frame, permit, .. } => {
                let peer = peer_id(&peer);
                if peer == HOSTILE {
                    self.hostile_frames.fetch_add(1, Ordering::Relaxed);
                }
                let receipt = ReceiptId(self.next_receipt);
                self.next_receipt += 1;
                self.permits.insert(receipt, permit);
                self.handle(Input::Frame { peer, frame, receipt });
            }
            LinkEvent::Refused { reason, .. } => panic!("a session was refused: {reason}"),
        }
    }

    fn handle(&mut self, input: Input) {
        self.machine.handle(input, unix_millis());
        while let Some(effect) = self.machine.poll_effect() {
            self.execute(effect);
        }
    }

    /// What the daemon's executor does for these effects. Nothing is delivered or observed here, so the rest goes
    /// unanswered.
    fn execute(&mut self, effect: Effect) {
        let inputs = self.inputs.clone();
        match effect {
            Effect::Send { peer, frame } => {
                if self.ration.is_some() && matches!(frame, Frame::Declined(_)) {
                    self.link.charge(&PeerName::new(&format!("peer-{}", peer.0)), VAIN_FRAMES);
                }
                if let Some(queue) = self.queues.get(&peer) {
                    let _ = queue.send(frame);
                }
            }
            Effect::Release(receipt) => drop(self.permits.remove(&receipt)),
            Effect::Append { ticket, records } => self.journal.append(records, move |result| {
                result.unwrap();
                let _ = inputs.send(Input::Durable(ticket));
            }),
            Effect::VerifyUpdate { domain, trusted, update, origin } => {
                let client = self.clients[&domain].clone();
                tokio::task::spawn_blocking(move || {
                    let result = client.verify_update(domain, &trusted, &update, unix_millis());
                    let _ = inputs.send(Input::UpdateVerified { domain, update, origin, result });
                });
            }
            Effect::VerifyClaim(check) => {
                let client = self.clients[&check.header.domain()].clone();
                let ClaimOrigin::Peer(peer, _) = check.origin else { panic!("only peers claim here") };
                let work = move || {
                    let (input, worth) = verify_claim(client.as_ref(), *check);
                    let _ = inputs.send(input);
                    worth
                };
                match &mut self.ration {
                    Some(ration) => ration.run(peer, work),
                    None => drop(tokio::task::spawn_blocking(work)),
                }
            }
            Effect::Report(Report::ClaimRefused { peer: Some(HOSTILE), .. }) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
            Effect::Report(
                report @ (Report::Lie { .. } | Report::ClaimRefused { .. } | Report::JournalTrouble { .. }),
            ) => {
                panic!("honest work was refused: {report:?}")
            }
            _ => {}
        }
    }
}

fn peer_id(name: &PeerName) -> PeerId {
    PeerId(name.as_str().trim_start_matches("peer-").parse().unwrap())
}

fn verify_claim(client: &dyn ErasedClient, check: ClaimCheck) -> (Input, Worth) {
    let ClaimCheck { origin, lane, base, header, claim, evidence } = check;
    let result = client.verify_extension(&header, &lane, base, claim.clone()).map_err(ClaimRefusal::from).and_then(
        |extension| {
            let (committee, evidence) = evidence.unwrap();
            let check =
                |evidence| verify::verify_evidence(&lane, extension.flow(), &committee, extension.tip(), evidence);
            let evidence = evidence.into_iter().map(check).collect::<Result<Vec<_>, _>>()?;
            Ok((extension, evidence))
        },
    );
    let worth = if result.is_ok() { Worth::Good } else { Worth::Vain };
    (Input::ClaimVerified { origin, claim, result }, worth)
}

fn unix_millis() -> UnixMillis {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixMillis(u64::try_from(now.as_millis()).unwrap())
}
