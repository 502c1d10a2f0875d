//! The stage under test: the relay's own machine, light client and journal, put together as the daemon does it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cityrelay_api::client::{ErasedClient, erase};
use cityrelay_core::frame::Frame;
use cityrelay_core::ids::UnixMillis;
use cityrelay_core::machine::Machine;
use cityrelay_core::machine::config::{Limits, PeerId};
use cityrelay_core::machine::effect::{ClaimCheck, Effect, ReceiptId, Report};
use cityrelay_core::machine::input::{ClaimRefusal, Input};
use cityrelay_core::verify;
use cityrelay_evm_bft::ADAPTER;
use cityrelay_evm_bft::verify::client::Client;
use cityrelay_journal::{Journal, Options};
use tokio::sync::mpsc;

use crate::machine_config::machine_config;
use crate::peer::Peer;
use crate::source_chain::SourceChain;

const PEER: PeerId = PeerId(1);

/// Inputs handled before the next look at timers, as in the daemon's loop.
const INPUTS_AT_ONCE: usize = 256;

/// What a run took.
pub struct Outcome {
    pub elapsed: Duration,
    pub updates: usize,
    pub syncs: usize,
}

/// Takes every head of the chain in, with the journal in `dir`. The clock runs from the first frame to the
/// acknowledgement of the last head.
pub fn run(chain: SourceChain, dir: &Path) -> Outcome {
    let config = machine_config(&[(PEER, &chain)], Limits::default());
    let journal = Journal::open(&dir.join("journal"), Options::default()).unwrap();
    let recovered = journal.recover(&Machine::sides(&config)).unwrap();
    let client: Arc<dyn ErasedClient> = Arc::new(erase(ADAPTER, Client::new(chain.rules)));
    let (inputs, mut input_rx) = mpsc::unbounded_channel();
    let mut stage = Stage {
        machine: Machine::new(config, recovered, unix_millis()),
        peer: Peer::new(chain.domain, chain.headers, chain.heads),
        executor: Executor { client, journal: journal.clone(), inputs },
        frames: VecDeque::new(),
        next_receipt: 1,
        unreleased: 0,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let started = Instant::now();
    let elapsed = runtime.block_on(async {
        stage.handle(Input::PeerUp(PEER));
        while !stage.peer.is_done() {
            stage.handle(input_rx.recv().await.unwrap());
            for _ in 1..INPUTS_AT_ONCE {
                let Ok(input) = input_rx.try_recv() else { break };
                stage.handle(input);
            }
            // The daemon asks once a turn when to wake up.
            std::hint::black_box(stage.machine.poll_timeout());
        }
        started.elapsed()
    });
    assert_eq!(stage.unreleased, 0, "every frame gives its room back");
    let syncs = usize::try_from(journal.stats().syncs).unwrap();
    journal.close();
    Outcome { elapsed, updates: stage.peer.updates, syncs }
}

struct Stage {
    machine: Machine,
    peer: Peer,
    executor: Executor,
    frames: VecDeque<Frame>,
    next_receipt: u64,
    unreleased: usize,
}

impl Stage {
    /// Handles an input, and whatever the peer says in answer to what it leads to.
    fn handle(&mut self, input: Input) {
        self.machine.handle(input, unix_millis());
        self.execute_effects();
        while let Some(frame) = self.frames.pop_front() {
            let receipt = ReceiptId(self.next_receipt);
            self.next_receipt += 1;
            self.unreleased += 1;
            self.machine.handle(Input::Frame { peer: PEER, frame, receipt }, unix_millis());
            self.execute_effects();
        }
    }

    fn execute_effects(&mut self) {
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::Send { frame, .. } => self.frames.extend(self.peer.take(frame)),
                Effect::Release(_) => self.unreleased -= 1,
                effect => self.executor.execute(effect),
            }
        }
    }
}

/// What the daemon's executor does for these effects: heavy work on threads of the blocking pool, appends to the
/// journal, every answer through one channel. Nothing is delivered or observed here, so the rest goes unanswered.
struct Executor {
    client: Arc<dyn ErasedClient>,
    journal: Journal,
    inputs: mpsc::UnboundedSender<Input>,
}

impl Executor {
    fn execute(&self, effect: Effect) {
        let inputs = self.inputs.clone();
        let client = self.client.clone();
        match effect {
            Effect::Append { ticket, records } => self.journal.append(records, move |result| {
                result.unwrap();
                // After the last acknowledgement nobody listens.
                let _ = inputs.send(Input::Durable(ticket));
            }),
            Effect::VerifyUpdate { domain, trusted, update, origin } => {
                tokio::task::spawn_blocking(move || {
                    let result = client.verify_update(domain, &trusted, &update, unix_millis());
                    let _ = inputs.send(Input::UpdateVerified { domain, update, origin, result });
                });
            }
            Effect::VerifyClaim(check) => {
                tokio::task::spawn_blocking(move || {
                    let _ = inputs.send(verify_claim(client.as_ref(), *check));
                });
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

fn verify_claim(client: &dyn ErasedClient, check: ClaimCheck) -> Input {
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
    Input::ClaimVerified { origin, claim, result }
}

fn unix_millis() -> UnixMillis {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixMillis(u64::try_from(now.as_millis()).unwrap())
}
