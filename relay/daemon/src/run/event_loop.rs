//! The loop: one input at a time into the machine, its effects out, until it is told to stop.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use cityrelay_core::machine::Machine;
use cityrelay_core::machine::effect::{Effect, JobId, OrderId, ReceiptId, Report};
use cityrelay_core::machine::input::Input;
use cityrelay_core::order::{Operator, Order, OrderRefusal};
use cityrelay_journal::Journal;
use cityrelay_link::{Link, LinkEvent};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use super::control::{Backend, Ended, Question};
use super::executor::Executor;
use super::plan::{Handles, Plan, link_config, plan};
use super::ration::Ration;
use super::reload::{ReadFrom, ReloadStep, Reloader, reload_order};
use super::report::Reporter;
use super::retention::Retention;
use super::session::Session;
use super::signer::Signer;
use super::supervisor::Supervisor;
use super::survey::Surveyor;
use super::traces::{Origin, Traces};
use crate::clock::unix_millis;
use crate::config::Config;
use crate::config::settings::JOURNAL_FOLDER;
use crate::control::Admission;
use crate::observability::{Health, Metrics};

/// How long a graceful stop waits for what was appended to become durable.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How often gauges and health are computed anew.
const SNAPSHOT_INTERVAL: Duration = Duration::from_millis(500);

/// The same in the first seconds until the daemon is ready, which a snapshot says.
const START_INTERVAL: Duration = Duration::from_millis(50);
const FIRST_SECONDS: Duration = Duration::from_secs(10);

/// Timers are not looked at more often than this.
const MIN_WAIT_MILLIS: u64 = 5;

/// How often what nodes tell of new blocks is listened to at most.
const NEWS_INTERVAL: Duration = Duration::from_millis(50);

/// Signatures under way for one peer: the next one is ready while the signing counter of the one before is synced.
const SIGNATURES_AT_ONCE: usize = 2;

/// How often it is looked whether the signer is there.
const SIGNER_INTERVAL: Duration = Duration::from_secs(2);

/// Inputs handled before the next look at signals and timers.
const INPUTS_AT_ONCE: usize = 256;

/// Runs the daemon until `stop` resolves. `read_from` is where the configuration can be read again when it is told to
/// reload (SIGHUP).
///
/// # Errors
/// When the configuration does not hold together, the journal can't be opened, or an address can't be bound.
pub async fn run(config: Config, read_from: ReadFrom, stop: impl Future<Output = ()> + Send) -> anyhow::Result<()> {
    let hangups = signal(SignalKind::hangup()).context("listen to SIGHUP")?;
    let Plan { machine: machine_config, handles, access } = plan(&config, rand::random())?;
    let handles = Arc::new(handles);
    let journal_dir = config.node.data_dir.join(JOURNAL_FOLDER);
    let journal = Journal::open(&journal_dir, cityrelay_journal::Options::default())
        .with_context(|| format!("open the journal in {}", journal_dir.display()))?;
    let sides = Machine::sides(&machine_config);
    let recovered = journal.recover(&sides).context("read the journal")?;
    let signer = match config.attester.clone() {
        Some(attester) => {
            let journal = journal.clone();
            let opened = tokio::task::spawn_blocking(move || Signer::open(&attester, &journal)).await;
            Some(Arc::new(opened.context("open the signer")??))
        }
        None => None,
    };
    info!(
        flows = recovered.flows.len(),
        outstanding = recovered.flows.iter().map(|flow| flow.outstanding.len()).sum::<usize>(),
        intents = recovered.intents.len(),
        "the journal is open"
    );
    let metrics = Arc::new(Metrics::new());
    let health = Arc::new(Health::default());
    metrics.started(unix_millis());
    let (link, link_events) = Link::start(link_config(&config)?).context("start the link")?;
    let (steps, reload_steps) = mpsc::unbounded_channel();
    let reloader = Arc::new(Reloader::new(read_from, link.clone(), access, metrics.clone(), steps));
    let name = config.node.name.clone();
    let (backend, questions) = Backend::new(name, handles.clone(), journal.clone(), health.clone(), reloader.clone());
    let backend = Arc::new(backend);
    let admission = Admission::new(config.control.group.as_deref())?;
    let control_server = crate::control::serve(&config.control.socket, admission, backend.clone())?;
    let page = crate::page::router(backend);
    let metrics_server = crate::observability::serve(config.metrics.listen, metrics.clone(), health.clone(), page)?;

    let (inputs, input_rx) = mpsc::unbounded_channel();
    let reporter = Reporter::new(handles.clone(), metrics.clone());
    let surveyor = Surveyor::start(&handles, &journal, journal_dir);
    let supervisor = Supervisor::new(&config, handles.clone());
    let retention = Retention::start(&journal, config.journal);
    let listeners = listen_for_blocks(&handles, &inputs);
    let mut watches = JoinSet::new();
    if let Some(signer) = &signer {
        watches.spawn(watch_signer(Arc::clone(signer)));
    }
    let remembered = signer.as_ref().map(|signer| signer.remembered()).unwrap_or_default();
    let attester = remembered.id;
    let origin = Origin { handles: &handles, journal: &journal, sides: &sides, attester, metrics: &metrics };
    let traces = Traces::start(&config, &origin)?;
    let has_lost_work = Arc::new(AtomicBool::new(false));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let (told, names) = (metrics.clone(), handles.clone());
    let delayed = move |peer, rest| told.verification_delayed(names.peer_name(peer), rest);
    let executor = Executor {
        handles: handles.clone(),
        journal: journal.clone(),
        signer,
        inputs,
        sessions: HashMap::new(),
        permits: HashMap::new(),
        verification: Ration::new(processors, delayed),
        signing: Ration::new(SIGNATURES_AT_ONCE, |_, _| {}),
        has_lost_work: Arc::clone(&has_lost_work),
    };
    let mut machine = Machine::new(machine_config, recovered, unix_millis());
    machine.remember(remembered);
    let mut daemon = Daemon {
        machine,
        executor,
        reporter,
        surveyor,
        retention,
        traces,
        listeners,
        has_lost_work,
        watches,
        supervisor,
        health,
        link: link.clone(),
        handles,
        next_receipt: 1,
        submitted: HashMap::new(),
        next_order: 1,
        ordered: HashMap::new(),
        reloader,
    };
    let ended = daemon.run(Ears { inputs: input_rx, link_events, questions, reload_steps, hangups }, stop).await;
    drop(daemon);

    link.close().await;
    drop((control_server, metrics_server));
    journal.close();
    ended
}

/// Hands on what nodes tell of new blocks, where they tell anything. Ends when the set is dropped.
fn listen_for_blocks(handles: &Handles, inputs: &mpsc::UnboundedSender<Input>) -> JoinSet<()> {
    let mut ears = JoinSet::new();
    for (domain, chain) in &handles.chains {
        let (domain, Some(source), inputs) = (*domain, chain.source.clone(), inputs.clone()) else { continue };
        ears.spawn(async move {
            loop {
                source.news().await;
                if inputs.send(Input::NewBlock { domain }).is_err() {
                    return;
                }
                tokio::time::sleep(NEWS_INTERVAL).await;
            }
        });
    }
    ears
}

/// Looks again and again whether the signer is there. Ends only by a fault of ours.
async fn watch_signer(signer: Arc<Signer>) {
    loop {
        let looking = Arc::clone(&signer);
        if tokio::task::spawn_blocking(move || looking.look()).await.is_err() {
            return;
        }
        tokio::time::sleep(SIGNER_INTERVAL).await;
    }
}

struct Daemon {
    machine: Machine,
    executor: Executor,
    reporter: Reporter,
    surveyor: Surveyor,
    retention: Retention,
    traces: Option<Traces>,
    /// Hand on what nodes tell of new blocks.
    listeners: JoinSet<()>,
    /// Look whether the signer is there.
    watches: JoinSet<()>,
    /// Shared with the executor.
    has_lost_work: Arc<AtomicBool>,
    supervisor: Supervisor,
    health: Arc<Health>,
    link: Link,
    handles: Arc<Handles>,
    next_receipt: u64,
    /// Who waits for the end of a submitted call.
    submitted: HashMap<JobId, oneshot::Sender<Ended>>,
    next_order: u64,
    /// Who waits for an order to be carried out.
    ordered: HashMap<OrderId, oneshot::Sender<Result<(), OrderRefusal>>>,
    reloader: Arc<Reloader>,
}

/// Everything that the loop listens to.
struct Ears {
    inputs: mpsc::UnboundedReceiver<Input>,
    link_events: mpsc::Receiver<LinkEvent>,
    questions: mpsc::Receiver<Question>,
    reload_steps: mpsc::UnboundedReceiver<ReloadStep>,
    hangups: Signal,
}

impl Daemon {
    /// Ends when it is told to, or with an error when a part of the daemon has ended by a fault of ours: whoever
    /// supervises it starts it anew, and nothing stands still unseen meanwhile.
    async fn run(&mut self, ears: Ears, stop: impl Future<Output = ()> + Send) -> anyhow::Result<()> {
        let Ears { mut inputs, mut link_events, mut questions, mut reload_steps, mut hangups } = ears;
        tokio::pin!(stop);
        let mut snapshot = tokio::time::interval(SNAPSHOT_INTERVAL);
        let mut deadline: Option<Instant> = None;
        let started = Instant::now();
        self.handle(Input::Tick);
        loop {
            let timeout = self.timeout();
            tokio::select! {
                biased;
                () = &mut stop, if deadline.is_none() => {
                    info!("stopping: what was appended becomes durable first");
                    self.supervisor.stopping();
                    deadline = Some(Instant::now() + STOP_TIMEOUT);
                }
                // Before the inputs: however many there are, timers, gauges and the watchdog are served.
                _ = snapshot.tick() => {
                    self.handle(Input::Tick);
                    self.snapshot();
                    self.check_parts()?;
                    if !self.supervisor.is_ready() && started.elapsed() < FIRST_SECONDS {
                        snapshot.reset_after(START_INTERVAL);
                    }
                }
                Some(()) = hangups.recv(), if deadline.is_none() => {
                    self.reload_for_a_signal();
                }
                Some(step) = reload_steps.recv() => match step {
                    ReloadStep::Begun => self.supervisor.reloading(),
                    ReloadStep::Tune(tuning) => self.machine.tune(&tuning),
                    ReloadStep::Ended => self.supervisor.reloaded(),
                },
                Some(input) = inputs.recv() => {
                    self.handle(input);
                    for _ in 1..INPUTS_AT_ONCE {
                        let Ok(input) = inputs.try_recv() else { break };
                        self.handle(input);
                    }
                }
                Some(event) = link_events.recv(), if deadline.is_none() => self.on_link(event),
                Some(question) = questions.recv() => self.on_question(question),
                () = tokio::time::sleep_until(timeout) => self.handle(Input::Tick),
            }
            if let Some(deadline) = deadline
                && (!self.machine.has_pending_appends() || Instant::now() >= deadline)
            {
                return Ok(());
            }
        }
    }

    fn check_parts(&mut self) -> anyhow::Result<()> {
        let lost = match () {
            () if self.has_lost_work.load(Ordering::Acquire) => "work on a thread",
            () if self.surveyor.has_lost_a_task() => "a look at the chains or the journal",
            () if self.retention.has_ended() => "dropping what the journal need not keep",
            () if self.watches.try_join_next().is_some() => "looking for the signer",
            () if self.listeners.try_join_next().is_some() => "listening for new blocks",
            () => return Ok(()),
        };
        bail!("{lost} broke off by a fault of this program: start it anew and report its log")
    }

    /// When the machine wants to be woken.
    fn timeout(&self) -> Instant {
        let now = unix_millis().0;
        let wait =
            self.machine.poll_timeout().map_or(1_000, |at| at.0.saturating_sub(now).clamp(MIN_WAIT_MILLIS, 1_000));
        Instant::now() + Duration::from_millis(wait)
    }

    fn snapshot(&mut self) {
        let status = self.machine.status();
        let journal = self.executor.journal.stats();
        let link = self.link.stats();
        if let Some(traces) = &mut self.traces {
            traces.see_status(&status, unix_millis());
        }
        let mut troubles = self.reporter.snapshot(&status, &journal, &link, &self.surveyor.read());
        troubles.extend(self.supervisor.waits_for(&link));
        troubles.extend(self.executor.signer.as_ref().and_then(|signer| signer.trouble()));
        self.supervisor.beat(&status, &link, &troubles);
        self.health.report(troubles);
    }

    fn handle(&mut self, input: Input) {
        let now = unix_millis();
        self.supervisor.see(&input);
        if let Some(traces) = &self.traces {
            traces.see(&input, now);
        }
        self.machine.handle(input, now);
        self.execute_effects();
    }

    fn execute_effects(&mut self) {
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::Report(Report::JobEnded { job, transaction, end }) => {
                    if let Some(waiting) = self.submitted.remove(&job) {
                        // Whoever asked may have gone; the transaction has its end all the same.
                        let _ = waiting.send(Some((transaction, end)));
                    }
                }
                Effect::Report(Report::OrderEnded { id, end }) => {
                    if let Err(refusal) = &end {
                        warn!(%refusal, "an operator's order was refused");
                    }
                    if let Some(waiting) = self.ordered.remove(&id) {
                        // Whoever asked may have gone; the order has its end all the same.
                        let _ = waiting.send(end);
                    }
                }
                Effect::Report(report) => self.reporter.report(report),
                effect => {
                    if let Some(traces) = &self.traces {
                        traces.see_effect(&effect, unix_millis());
                    }
                    self.executor.execute(effect);
                }
            }
        }
    }

    fn on_link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Up { peer, session } => {
                let Some(id) = self.handles.peer_id(peer.as_str()) else { return };
                info!(peer = peer.as_str(), "session up");
                self.executor.sessions.insert(id, Session::new(self.link.clone(), session, peer));
                self.handle(Input::PeerUp(id));
            }
            LinkEvent::Down { peer, reason, .. } => {
                let Some(id) = self.handles.peer_id(peer.as_str()) else { return };
                info!(peer = peer.as_str(), %reason, "session down");
                self.executor.sessions.remove(&id);
                self.handle(Input::PeerDown(id));
            }
            LinkEvent::Frame { peer, frame, permit, .. } => {
                let Some(id) = self.handles.peer_id(peer.as_str()) else { return };
                let receipt = ReceiptId(self.next_receipt);
                self.next_receipt += 1;
                self.executor.permits.insert(receipt, permit);
                self.handle(Input::Frame { peer: id, frame, receipt });
            }
            LinkEvent::Refused { remote, reason, .. } => warn!(%remote, %reason, "a session was refused"),
        }
    }

    /// Reloads once the journal has kept that it was ordered; what came of it is in the log and in the metrics.
    fn reload_for_a_signal(&mut self) {
        let reloader = Arc::clone(&self.reloader);
        let who = Operator { uid: rustix::process::getuid().as_raw(), name: "SIGHUP".to_owned() };
        let (ended, kept) = oneshot::channel();
        self.give_order(Order { who, reason: String::new(), action: reload_order() }, ended);
        tokio::spawn(async move {
            // A refusal is logged where it is made. A disk that keeps nothing must not keep a mended configuration out.
            drop(kept.await);
            drop(tokio::task::spawn_blocking(move || drop(reloader.reload())).await);
        });
    }

    fn give_order(&mut self, order: Order, ended: oneshot::Sender<Result<(), OrderRefusal>>) {
        let id = OrderId(self.next_order);
        self.next_order += 1;
        let (who, action) = (order.who.name.as_str(), order.action.as_str());
        info!(uid = order.who.uid, who, action, reason = order.reason, "an operator gives an order");
        self.ordered.insert(id, ended);
        self.handle(Input::Order { id, order });
    }

    fn on_question(&mut self, question: Question) {
        match question {
            Question::Status(answer) => {
                // Whoever asked may have gone.
                let _ = answer.send(self.machine.status());
            }
            Question::Order { order, ended } => self.give_order(order, ended),
            Question::Submit { domain, call, ended } => {
                if let Some(job) = self.machine.submit(domain, *call, unix_millis()) {
                    self.submitted.insert(job, ended);
                } else {
                    let _ = ended.send(None);
                }
                self.execute_effects();
            }
        }
    }
}
