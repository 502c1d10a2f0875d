//! Two cities with two relays and four attesters, and messages between them.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use cityrelay::control::{ControlRequest, LaneQuery, Newest, StatusReport, WhyQuery, ask};
use cityrelay::demo::cities::City;
use cityrelay::demo::configs::{self, ATTESTERS, Party, THRESHOLD};
use cityrelay::demo::setup::{self, Access, Account, Lane, Town};
use cityrelay::demo::world::World;
use cityrelay::demo::{ledger, traffic};
use cityrelay_core::ids::LaneId;
use cityrelay_core::lane::Direction;
use cityrelay_devnet::{CityConfig, Devnet, DevnetConfig};
use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep, timeout};

use super::ledgers::{self, Heads};
use super::program;

/// How long a process may take to answer after its start.
pub const START_TIMEOUT: Duration = Duration::from_secs(20);

/// How long everything may take to be settled after the last message: retries wait up to 15 s.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(90);

/// How long a node, a relay or a chain may take to answer us.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Running processes, and what they work on.
#[derive(Debug)]
pub struct Trial {
    /// The processes.
    pub world: World,
    /// Keys and ports of the relays, then of the attesters.
    pub parties: Vec<Party>,
    /// The cities, the lanes, the applications.
    pub scene: Scene,
}

/// What messages are sent between.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Both cities with their contracts.
    pub towns: Vec<Town>,
    /// Six channels, both ways.
    pub lanes: Vec<Lane>,
    /// An account in each city that sends.
    pub applications: Vec<Access>,
}

/// A BCOS chain of the devnet with short blocks: the second city, beside one that comes from elsewhere.
///
/// # Errors
/// When it does not start.
pub async fn second_city() -> anyhow::Result<(Devnet, City)> {
    let bcos = CityConfig { block_period: Duration::from_millis(300), ..CityConfig::default() };
    let devnet = Devnet::start(DevnetConfig { weighted_bcos: Some(bcos), sealed_evm: None }).await?;
    let section = devnet.weighted_bcos().and_then(|chain| chain.section()).context("a founding block")?;
    Ok((devnet, City::of_section("shenzhen", &section)))
}

impl Trial {
    /// Starts the devnet's chains of this pairing in a process of their own, and everything beside them.
    ///
    /// # Errors
    /// When something does not start, or a transaction fails.
    pub async fn with_pairing(dir: &Path, pairing: &str) -> anyhow::Result<Self> {
        let world = World::start(dir, program::cityrelay(), pairing).await?;
        Self::begin(dir, world).await
    }

    /// Deploys the contracts, opens the lanes, starts all processes and waits until they answer.
    ///
    /// # Errors
    /// When something does not start, or a transaction fails.
    pub async fn begin(dir: &Path, world: World) -> anyhow::Result<Self> {
        Self::begin_with(dir, world, 0).await
    }

    /// As [`Trial::begin`], with so many more attesters configured and running that are in no committee yet.
    ///
    /// # Errors
    /// When something does not start, or a transaction fails.
    pub async fn begin_with(dir: &Path, world: World, newcomers: usize) -> anyhow::Result<Self> {
        let mut trial = Self::prepare(dir, world, newcomers).await?;
        trial.start().await?;
        Ok(trial)
    }

    /// As [`Trial::begin_with`], but starts nothing yet: configurations can still be changed.
    ///
    /// # Errors
    /// When a transaction fails, or a file can't be written.
    pub async fn prepare(dir: &Path, world: World, newcomers: usize) -> anyhow::Result<Self> {
        let parties = configs::parties(&world, ATTESTERS + newcomers)?;
        let attesters = parties.iter().filter(|party| party.is_attester).take(ATTESTERS);
        let attesters: Vec<_> = attesters.map(|party| party.attester).collect();
        let towns = setup::deploy(dir, world.cities(), &attesters, THRESHOLD).await.context("deploy")?;
        let lanes = setup::open_lanes(&towns).await.context("open the lanes")?;
        configs::write(&world, &parties, &towns, &lanes)?;
        let applications = towns.iter().map(|town| setup::access(dir, &town.city, Account::Application));
        let scene = Scene { applications: applications.collect::<anyhow::Result<_>>()?, towns, lanes };
        Ok(Self { world, parties, scene })
    }

    /// Starts all processes and waits until they answer.
    ///
    /// # Errors
    /// When one does not in time.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        for party in &self.parties {
            self.world.run(&party.name)?;
        }
        for party in &self.parties {
            self.world.wait_for(&party.name, START_TIMEOUT).await?;
        }
        Ok(())
    }

    /// Name of the relay of the first or the second city.
    pub fn relay(&self, at: usize) -> String {
        self.parties[at].name.clone()
    }

    /// Waits until everything that was sent is settled on its source chain and finished in both relays, then checks both
    /// chains, ends all processes with SIGKILL and checks their journals.
    ///
    /// Returns the number of messages.
    ///
    /// # Errors
    /// What is not settled in time, or an invariant that does not hold.
    pub async fn finish(mut self) -> anyhow::Result<u64> {
        let (sent, heads) = self.end().await?;
        ledgers::check_journals(&self.world, &self.parties, &self.scene, &heads)?;
        Ok(sent)
    }

    /// All of it but the journals, which can be opened afterwards. Returns the last head of each flow too.
    ///
    /// # Errors
    /// What is not settled in time, or an invariant that does not hold on the chains.
    pub async fn end(&mut self) -> anyhow::Result<(u64, Heads)> {
        self.end_without(&[]).await
    }

    /// As [`Trial::end`], where these lanes are in no configuration any more.
    ///
    /// # Errors
    /// What is not settled in time, or an invariant that does not hold on the chains.
    pub async fn end_without(&mut self, removed: &[LaneId]) -> anyhow::Result<(u64, Heads)> {
        self.settle().await?;
        let mut sent = 0;
        for lane in &self.scene.lanes {
            let ledger = ledger::check(&self.scene.towns, lane).await?;
            ensure!(ledger.sent == ledger.settled, "{} sent, {} settled on {}", ledger.sent, ledger.settled, lane.id);
            sent += ledger.sent;
        }
        Ok((sent, self.rest(removed).await?))
    }

    /// Waits until both relays know that everything is finished, then ends all processes with SIGKILL. Returns the last head
    /// of each flow. The lanes in `removed` are in no configuration any more.
    ///
    /// # Errors
    /// When a relay does not know it in time.
    pub async fn rest(&mut self, removed: &[LaneId]) -> anyhow::Result<Heads> {
        let heads = ledgers::heads_on_chains(&self.scene).await?;
        let configured = heads.iter().filter(|(flow, _)| !removed.contains(&flow.lane));
        self.wait_until_relays_know(&configured.map(|(flow, head)| (*flow, *head)).collect()).await?;
        self.keep_answers().await?;
        for party in &self.parties {
            if self.world.pid(&party.name).is_some() {
                self.world.kill(&party.name).await?;
            }
        }
        Ok(heads)
    }

    /// Waits until everything that was sent is settled on its source chain.
    ///
    /// # Errors
    /// What is not settled in time, or a process that has ended.
    pub async fn settle(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        loop {
            let (sent, delivered, settled) = self.scene.totals().await?;
            if settled == sent {
                return Ok(());
            }
            if let Some(casualty) = self.world.casualty() {
                bail!("{casualty}");
            }
            ensure!(
                Instant::now() < deadline,
                "I3: of {sent} messages {delivered} are delivered and {settled} settled\n{}",
                self.standing().await
            );
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until a process says what is expected of it.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn wait_until(
        &mut self,
        name: &str,
        what: &str,
        is_so: impl Fn(&StatusReport) -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        loop {
            if let Ok(Ok(status)) = timeout(ANSWER_TIMEOUT, self.world.status(name)).await
                && is_so(&status)
            {
                return Ok(());
            }
            if let Some(casualty) = self.world.casualty() {
                bail!("{casualty}");
            }
            ensure!(Instant::now() < deadline, "{name}: {what}: not in time\n{}", self.standing().await);
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// A relay sees a block later than we do.
    async fn wait_until_relays_know(&mut self, heads: &Heads) -> anyhow::Result<()> {
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        for at in [0, 1] {
            let relay = self.relay(at);
            loop {
                let status = timeout(ANSWER_TIMEOUT, self.world.status(&relay)).await??;
                let is_done = heads.iter().all(|(flow, head)| {
                    let (lane, direction) = (flow.lane.to_string(), flow.direction.as_str());
                    let report = status.flows.iter().find(|flow| flow.lane == lane && flow.direction == direction);
                    report.is_some_and(|flow| flow.finished == head.index.0)
                });
                if is_done {
                    break;
                }
                ensure!(Instant::now() < deadline, "{relay} has unfinished flows\n{}", self.standing().await);
                sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    /// Writes what every party that runs answers about itself into files beside its log, to be searched with everything else.
    async fn keep_answers(&self) -> anyhow::Result<()> {
        // The provider is the process's; somebody else may have set it.
        drop(rustls::crypto::ring::default_provider().install_default());
        let lane = self.scene.lanes.first().map(|lane| lane.id.to_string()).unwrap_or_default();
        for party in self.parties.iter().filter(|party| self.world.pid(&party.name).is_some()) {
            let folder = self.world.home(&party.name).join("answers");
            std::fs::create_dir_all(&folder)?;
            for path in ["metrics", "readyz", "livez"] {
                let url = format!("http://127.0.0.1:{}/{path}", party.metrics_port);
                let answer = timeout(ANSWER_TIMEOUT, reqwest::get(&url)).await??.text().await?;
                ensure!(!answer.is_empty(), "{url} answers nothing");
                std::fs::write(folder.join(path), answer)?;
            }
            let questions = [
                ControlRequest::Status,
                ControlRequest::Lanes(LaneQuery::default()),
                ControlRequest::Why(WhyQuery::Position { lane: lane.clone(), index: 1 }),
                ControlRequest::Evidence(Newest::default()),
                ControlRequest::Audit(Newest::default()),
            ];
            for (at, question) in questions.iter().enumerate() {
                // An attester refuses some of them; what it says then is searched too.
                let text = match timeout(ANSWER_TIMEOUT, ask(&self.world.socket(&party.name), question)).await? {
                    Ok(answer) => serde_json::to_string(&answer)?,
                    Err(error) => error.to_string(),
                };
                std::fs::write(folder.join(format!("answer-{at}")), text)?;
            }
        }
        Ok(())
    }

    /// What both relays say about what is unfinished.
    async fn standing(&self) -> String {
        let mut text = String::new();
        for at in [0, 1] {
            let relay = self.relay(at);
            match timeout(ANSWER_TIMEOUT, self.world.status(&relay)).await {
                Ok(Ok(status)) => {
                    text.push_str(&format!("{relay}: {} open transactions\n", status.open_transactions));
                    for trouble in &status.troubles {
                        text.push_str(&format!("  {}: {}\n", trouble.subject, trouble.reason));
                    }
                    for flow in status.flows.iter().filter(|flow| flow.waits_for != "idle") {
                        text.push_str(&format!(
                            "  {} {} {}: seen {}, durable {}, finished {}, waits for {}\n",
                            flow.channel,
                            flow.direction,
                            flow.side,
                            flow.seen,
                            flow.durable,
                            flow.finished,
                            flow.waits_for
                        ));
                    }
                }
                Ok(Err(error)) => text.push_str(&format!("{relay} does not answer: {error:#}\n")),
                Err(_) => text.push_str(&format!("{relay} does not answer\n")),
            }
        }
        text
    }
}

impl Scene {
    /// Sends `copies` messages on every lane, all at once, and waits until they are on their chains.
    ///
    /// # Errors
    /// When a gateway refuses one, or a node does not answer.
    pub async fn send_round(&self, round: usize, copies: usize) -> anyhow::Result<()> {
        try_join_all(self.applications.iter().enumerate().map(|(at, application)| async move {
            let own = self.lanes.iter().filter(|lane| lane.from == at);
            let lanes: Vec<&Lane> = own.flat_map(|lane| std::iter::repeat_n(lane, copies)).collect();
            traffic::send_round(application, &self.towns, &lanes, round).await
        }))
        .await
        .with_context(|| format!("send round {round}"))?;
        Ok(())
    }

    /// Rounds with a burst now and then. Returns the number of messages.
    ///
    /// # Errors
    /// When a gateway refuses one, or a node does not answer.
    pub async fn send_rounds(&self, rounds: usize) -> anyhow::Result<u64> {
        let left = Cell::new(rounds);
        self.send_while(|| left.replace(left.get().saturating_sub(1)) > 0).await
    }

    /// As [`Scene::send_rounds`], for as long as it is wanted: asked before each round.
    ///
    /// # Errors
    /// When a gateway refuses one, or a node does not answer.
    pub async fn send_while(&self, is_wanted: impl Fn() -> bool) -> anyhow::Result<u64> {
        let mut sent = 0;
        for round in (1..).take_while(|_| is_wanted()) {
            let copies = if round % 5 == 3 { 6 } else { 1 };
            self.send_round(round, copies).await?;
            sent += (copies * self.lanes.len()) as u64;
        }
        Ok(sent)
    }

    /// Messages sent, delivered and settled on all lanes, by what the chains say.
    ///
    /// # Errors
    /// When a node does not answer.
    pub async fn totals(&self) -> anyhow::Result<(u64, u64, u64)> {
        let lanes = try_join_all(self.lanes.iter().map(|lane| ledger::progress(&self.towns, lane))).await?;
        Ok(lanes.into_iter().fold((0, 0, 0), |sum, lane| (sum.0 + lane.0, sum.1 + lane.1, sum.2 + lane.2)))
    }

    /// In which city stands the chain that holds the head of a flow, and in which the one that takes it in.
    pub const fn ends(lane: &Lane, direction: Direction) -> (usize, usize) {
        match direction {
            Direction::Outbox => (lane.from, lane.to),
            Direction::Inbox => (lane.to, lane.from),
        }
    }
}
