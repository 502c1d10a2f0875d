//! A real Prometheus over a whole trial: what is watched is seen, and alerts fire under real faults.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cityrelay::demo::cities::City;
use cityrelay::demo::world::World;
use cityrelay::observability::{MetricKind, Metrics};
use cityrelay_core::chain::Entry;
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::ids::{Address, UnixMillis};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::message::{Message, Payload};
use cityrelay_core::opaque::Opaque;
use cityrelay_core::record::{ExtensionRecord, Record};
use cityrelay_devnet::misbehave::Fault;
use cityrelay_devnet::{CityConfig, Devnet, DevnetConfig};
use cityrelay_journal::{Journal, Options};
use cityrelay_tests::process::installed::command;
use cityrelay_tests::process::prometheus::{Prometheus, deployed};
use cityrelay_tests::process::trial::{START_TIMEOUT, Trial, second_city};
use cityrelay_tests::process::{browser, play, program};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// How long anything may take to be seen by Prometheus.
const SEEN_TIMEOUT: Duration = Duration::from_secs(120);

/// Metrics with labels that exist only once something has happened, or where something costs.
const LATE: [&str; 6] = [
    "cityrelay_account_left_transactions",
    "cityrelay_client_held_updates",
    "cityrelay_client_refused_updates",
    "cityrelay_lane_refused_claims",
    "cityrelay_link_declined_claims",
    "cityrelay_link_failed_dials",
];

/// Two cities with everything that is watched.
struct Watched {
    trial: Trial,
    sealed: Devnet,
    weighted: Devnet,
    prometheus: Prometheus,
    client: reqwest::Client,
    dir: PathBuf,
}

#[test]
fn what_is_watched_is_seen_and_alerts_fire_under_real_faults() {
    play("watched", async |dir| {
        let mut watched = Watched::start(dir).await?;
        watched.all_is_well().await?;
        let exported = watched.metrics_are_as_documented().await?;
        for row in Metrics::new().rows().iter().filter(|row| !LATE.contains(&row.name.as_str())) {
            ensure!(exported.contains(&row.name), "no process exports {}", row.name);
        }
        watched.dashboards_show_something().await?;
        watched.a_chain_stalls_and_nodes_lie().await?;
        watched.processes_are_in_trouble().await?;
        watched.metrics_are_as_documented().await?;
        watched.sealed.stop().await;
        watched.weighted.stop().await;
        Ok(())
    });
}

impl Watched {
    async fn start(dir: PathBuf) -> anyhow::Result<Self> {
        let sealed = DevnetConfig {
            sealed_evm: Some(CityConfig { block_period: Duration::from_secs(1), ..CityConfig::default() }),
            weighted_bcos: None,
        };
        let sealed = Devnet::start(sealed).await?;
        let (weighted, shenzhen) = second_city().await?;
        let hangzhou = sealed.sealed_evm().context("it was started")?.section();
        let cities = vec![City::of_section("hangzhou", &hangzhou), shenzhen];
        let world = World::beside(&dir, program::cityrelay(), cities)?;
        let trial = Trial::begin(&dir, world).await?;
        let instances: Vec<(String, u16)> =
            trial.parties.iter().map(|party| (party.name.clone(), party.metrics_port)).collect();
        let prometheus = Prometheus::start(&dir, &instances).await?;
        let client = reqwest::Client::builder().timeout(SEEN_TIMEOUT).build()?;
        Ok(Self { trial, sealed, weighted, prometheus, client, dir })
    }

    async fn get(&self, instance: &str, path: &str) -> anyhow::Result<(u16, String)> {
        let party = self.trial.parties.iter().find(|party| party.name == instance).context("a party")?;
        let answer = self.client.get(format!("http://127.0.0.1:{}{path}", party.metrics_port)).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// Waits until `/readyz` of a process names this kind of trouble.
    async fn wait_for_trouble(&self, instance: &str, kind: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + SEEN_TIMEOUT;
        loop {
            // A process that was just started may not listen yet.
            let (status, text) = self.get(instance, "/readyz").await.unwrap_or_else(|error| (0, error.to_string()));
            if status == 503 && text.lines().any(|line| line.starts_with(&format!("{kind}: "))) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{instance} does not say {kind} but {status}: {text}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn alert(&self, name: &str, instance: &str) -> anyhow::Result<()> {
        self.prometheus.wait_for_alert(&[("alertname", name), ("instance", instance)], SEEN_TIMEOUT).await
    }

    /// Messages cross, everybody is ready, no alert of weight fires, and the journals were compared with both chains.
    async fn all_is_well(&mut self) -> anyhow::Result<()> {
        for round in 1..=3 {
            self.trial.scene.send_round(round, 1).await?;
        }
        let parties = self.trial.parties.len();
        let ready = format!("count(cityrelay_daemon_ready_bool == 1) == {parties}");
        self.prometheus.wait_for(&ready, SEEN_TIMEOUT).await?;
        let settled = "count(cityrelay_lane_position_messages{state=\"finished\",side!=\"attester\"} == 3) == 48";
        self.prometheus.wait_for(settled, SEEN_TIMEOUT).await?;
        let audited =
            "count(time() - cityrelay_audit_finished_seconds < 60) > 0 and sum(cityrelay_audit_difference) == 0";
        self.prometheus.wait_for(audited, SEEN_TIMEOUT).await?;
        // What fired while everything started ends by itself.
        let quiet = "absent(ALERTS{alertstate=\"firing\",severity=\"critical\"})";
        self.prometheus.wait_for(quiet, SEEN_TIMEOUT).await?;
        for party in &self.trial.parties {
            ensure!(self.get(&party.name, "/livez").await?.0 == 200, "{} is not alive", party.name);
        }
        Ok(())
    }

    /// Every family that a process exports has the name, the type and the labels of the table. Returns their names.
    async fn metrics_are_as_documented(&self) -> anyhow::Result<BTreeSet<String>> {
        let documented = Metrics::new();
        let mut exported = BTreeSet::new();
        for party in &self.trial.parties {
            // One that was killed is no exporter.
            let Ok((200, text)) = self.get(&party.name, "/metrics").await else { continue };
            for (name, kind) in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')) {
                let row = documented.rows().iter().find(|row| row.name == name);
                let row = row.with_context(|| format!("{name} is not documented"))?;
                ensure!(row.kind.as_str() == kind, "{name} is a {kind}");
                let samples: Vec<&str> = text.lines().filter(|line| sample_is_of(line, name, row.kind)).collect();
                for line in samples {
                    let (labels, values) = labels_of(line);
                    ensure!(labels == row.labels, "{line}: the labels are documented as {:?}", row.labels);
                    for (label, words) in &row.words {
                        ensure!(words.contains(&values[*label].as_str()), "{line}: {label} is documented as {words:?}");
                    }
                    exported.insert(name.to_owned());
                }
            }
        }
        Ok(exported)
    }

    /// Each query of each dashboard is understood and shows something, where there is something to show.
    async fn dashboards_show_something(&self) -> anyhow::Result<()> {
        let mut count = 0;
        for dashboard in ["cityrelay-overview", "cityrelay-process"] {
            let text = std::fs::read_to_string(deployed(&format!("grafana/{dashboard}.json")))?;
            let dashboard: Value = serde_json::from_str(&text)?;
            for panel in dashboard["panels"].as_array().context("panels")? {
                for target in panel["targets"].as_array().into_iter().flatten() {
                    let query = target["expr"].as_str().context("a query")?;
                    let query = ["$instance", "$channel"]
                        .iter()
                        .fold(query.to_owned(), |query, name| query.replace(name, ".*"));
                    let query = query.replace("$__rate_interval", "1m");
                    ensure!(!query.contains('$'), "{query}: an unknown variable");
                    // A comparison asks for what is wrong.
                    let may_be_empty = LATE.iter().any(|name| query.contains(name))
                        || query.ends_with("> 0")
                        || query.ends_with("== 1");
                    if may_be_empty {
                        self.prometheus.query(&query).await?;
                    } else {
                        // A rate needs two scrapes.
                        let seen = self.prometheus.wait_for(&query, SEEN_TIMEOUT).await;
                        seen.with_context(|| format!("panel {}", panel["title"]))?;
                    }
                    count += 1;
                }
            }
        }
        ensure!(count > 50, "{count} queries");
        Ok(())
    }

    /// One chain makes no block though a transaction waits; both nodes of the other one serve a seal that is none.
    async fn a_chain_stalls_and_nodes_lie(&mut self) -> anyhow::Result<()> {
        let sealed = self.sealed.sealed_evm().context("it was started")?;
        let weighted = self.weighted.weighted_bcos().context("it was started")?;
        let lie = Fault::Lie {
            method: "getBlockByNumber".to_owned(),
            pointer: "/signatureList/0/signature".to_owned(),
            value: json!(format!("0x{}", "ab".repeat(65))),
        };
        weighted.misbehave(None, lie);
        sealed.stall(true);
        self.send_something(0).await?;
        self.send_something(1).await?;
        let lies = [("alertname", "CityRelayNodeLies"), ("chain", "shenzhen")];
        let unusable = [("alertname", "CityRelayNodesUnusable"), ("chain", "shenzhen"), ("instance", "relay-shenzhen")];
        let stalls = [("alertname", "CityRelayChainStalled"), ("chain", "hangzhou"), ("instance", "relay-hangzhou")];
        tokio::try_join!(
            self.prometheus.wait_for_alert(&lies, SEEN_TIMEOUT),
            self.prometheus.wait_for_alert(&unusable, SEEN_TIMEOUT),
            self.wait_for_trouble("relay-shenzhen", "nodes-unusable"),
            self.prometheus.wait_for_alert(&stalls, SEEN_TIMEOUT),
        )?;
        weighted.behave();
        sealed.stall(false);
        let over = "absent(ALERTS{alertstate=\"firing\",alertname=\"CityRelayChainStalled\"})";
        self.prometheus.wait_for(over, SEEN_TIMEOUT).await
    }

    /// A dead peer, too few attesters, a loop that is stuck, a disk without room, and a journal of another world, at once.
    async fn processes_are_in_trouble(&mut self) -> anyhow::Result<()> {
        let [near, far] = [0, 1].map(|at| self.trial.relay(at));
        for name in [&far, "attester-1", "attester-2", "attester-3", "attester-4", &near] {
            self.trial.world.kill(name).await?;
        }
        self.forge_an_entry(&near)?;
        self.trial.world.run(&near)?;
        let mut small = self.beside("small-volume", &self.on_a_small_volume("attester-4"))?;
        small.run("attester-4")?;
        let _stuck = self.stuck("attester-3").await?;
        self.trial.world.wait_for(&near, START_TIMEOUT).await?;
        tokio::try_join!(
            self.alert("CityRelayDown", &far),
            self.alert("CityRelayPeerDown", &near),
            self.wait_for_trouble(&near, "peer-down"),
            self.alert("CityRelayAttestersFew", &near),
            self.wait_for_trouble(&near, "attesters-few"),
            self.alert("CityRelayAuditDifference", &near),
            self.wait_for_trouble(&near, "audit-difference"),
            self.alert("CityRelayDiskNearlyFull", "attester-4"),
            self.wait_for_trouble("attester-4", "disk-full"),
            self.alert("CityRelayLoopStuck", "attester-3"),
            self.wait_for_trouble("attester-3", "loop-stuck"),
            self.alert("CityRelayNotReady", &near),
        )?;
        ensure!(
            self.get("attester-3", "/livez").await?.0 == 503,
            "a process whose loop is stuck says that it is alive"
        );
        self.a_client_freezes("attester-4").await
    }

    /// Writes a message into a relay's journal that was never sent.
    fn forge_an_entry(&self, relay: &str) -> anyhow::Result<()> {
        let journal = Journal::open(&self.trial.world.journal(relay), Options::default())?;
        let lane = self.trial.scene.lanes.iter().find(|lane| lane.from == 0).context("a lane")?;
        let flow = Flow { lane: lane.id, direction: Direction::Outbox };
        let base = journal.flows()?.into_iter().find(|counts| counts.flow == flow).context("a flow")?.tip;
        let last = journal.timeline(flow, base.index)?.context("a timeline")?;
        let message = Message {
            index: base.index.next(),
            sender: Address::from_20([1; 20]),
            receiver: Address::from_20([2; 20]),
            deadline: UnixMillis(u64::MAX),
            gas_limit: 1,
            payload: Payload::Bytes(b"never sent".to_vec()),
        };
        let record = ExtensionRecord {
            flow,
            base,
            entries: vec![Entry::Message(message)],
            proved_at: last.proved_at,
            block_hash: last.block_hash,
            block_time: last.block_time,
            tail: Vec::new(),
            proof: Opaque { adapter: "forged".to_owned(), version: 1, bytes: Vec::new() },
            at: last.verified_at,
        };
        let (sender, receiver) = std::sync::mpsc::channel();
        journal.append(vec![Record::Extension(record)], move |result| drop(sender.send(result)));
        receiver.recv().context("the journal answers")??;
        journal.close();
        Ok(())
    }

    /// The folder's processes, started by a script.
    fn beside(&self, name: &str, script: &str) -> anyhow::Result<World> {
        let path = self.dir.join(name);
        std::fs::write(&path, format!("#!/bin/sh\nset -eu\n{script}\n"))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        World::beside(&self.dir, &path, Vec::new())
    }

    /// Runs the program with its data on a volume of its own with 60 MiB, seen by nobody else.
    fn on_a_small_volume(&self, instance: &str) -> String {
        let home = self.trial.world.home(instance);
        format!(
            "exec unshare --map-root-user --mount sh -euc '\n\
               cp -a {home}/data {home}/before\n\
               mount -t tmpfs -o size=60m tmpfs {home}/data\n\
               cp -a {home}/before/. {home}/data\n\
               exec \"$@\"' sh {program} \"$@\"",
            home = home.display(),
            program = program::cityrelay().display(),
        )
    }

    /// Runs the library with an event loop that stands still as soon as the process answers.
    async fn stuck(&self, instance: &str) -> anyhow::Result<Child> {
        let home = self.trial.world.home(instance);
        let mut child = Command::new(env!("CARGO_BIN_EXE_blocked-loop"))
            .arg(home.join("cityrelay.toml"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("start blocked-loop")?;
        let deadline = Instant::now() + START_TIMEOUT;
        while self.get(instance, "/livez").await.is_err() {
            ensure!(Instant::now() < deadline, "{instance} does not answer");
            sleep(Duration::from_millis(100)).await;
        }
        child.stdin.as_mut().context("a standard input")?.write_all(b"block\n").await?;
        Ok(child)
    }

    /// One own node shows another block than the other one, sealed by the same set.
    async fn a_client_freezes(&self, instance: &str) -> anyhow::Result<()> {
        let weighted = self.weighted.weighted_bcos().context("it was started")?;
        weighted.misbehave(Some(1), Fault::Equivocate { height: weighted.height() + 1 });
        self.send_something(1).await?;
        tokio::try_join!(
            self.alert("CityRelayClientFrozen", instance),
            self.alert("CityRelayEvidence", instance),
            self.wait_for_trouble(instance, "chain-frozen"),
        )?;
        let party = self.trial.parties.iter().find(|party| party.name == instance).context("a party")?;
        let page = format!("http://127.0.0.1:{}/", party.metrics_port);
        browser::look("records.mjs", &page, "evidence", &browser::screenshots(&self.dir)).await?;
        weighted.behave();
        self.an_operator_decides(instance).await
    }

    /// As the runbook says: what both statements are, what the chain's nodes say now, and then the command that was shown.
    async fn an_operator_decides(&self, instance: &str) -> anyhow::Result<()> {
        let config = self.trial.world.config(instance);
        let evidence = command(&config, &["evidence"], &[]).await?;
        let undecided = &evidence["undecided"][0];
        let (chain, height) = (undecided["chain"].as_str().context("a chain")?, undecided["height"].to_string());
        let now = command(&config, &["anchor", "fetch", "--chain", chain, "--height", &height], &[]).await?;
        let chosen = format!("--choose {}", now["hash"].as_str().context("a hash")?);
        let commands = undecided["commands"].as_array().context("commands")?;
        let shown = commands.iter().filter_map(Value::as_str).find(|shown| shown.contains(&chosen));
        let shown = shown.with_context(|| format!("none of {commands:?} has {chosen}"))?;
        let words = shown.trim_end_matches(['…']).split_whitespace().skip(1);
        let words: Vec<&str> = words.chain(["compared with the other city"]).collect();
        command(&config, &words, &[]).await?;
        let deadline = Instant::now() + SEEN_TIMEOUT;
        while self.get(instance, "/readyz").await?.1.contains("chain-frozen") {
            ensure!(Instant::now() < deadline, "{instance}: {chain} is frozen still");
            sleep(Duration::from_millis(200)).await;
        }
        let audit = command(&config, &["audit"], &[]).await?;
        let kept = &audit["orders"][0];
        ensure!(kept["action"] == "unfreeze" && kept["reason"] == "compared with the other city", "{audit}");
        Ok(())
    }

    /// Has the application of a city send a transaction, so that its chain has a reason for a block.
    async fn send_something(&self, city: usize) -> anyhow::Result<()> {
        let application = &self.trial.scene.applications[city].target;
        let transaction = application.prepare(&GatewayCall::DeployCode { code: vec![0; 2] }, &[], None).await?;
        Ok(application.broadcast(&transaction).await?)
    }
}

/// Whether a line of a scrape is a sample of this family.
fn sample_is_of(line: &str, name: &str, kind: MetricKind) -> bool {
    let end = line.find(['{', ' ']).unwrap_or(line.len());
    let suffixes: &[&str] = match kind {
        MetricKind::Gauge => &[""],
        MetricKind::Counter => &["_total"],
        MetricKind::Histogram => &["_bucket", "_sum", "_count"],
    };
    line[..end].strip_prefix(name).is_some_and(|suffix| suffixes.contains(&suffix))
}

/// Names of the labels of a sample in their order, and their values; a bucket's bound is left out.
fn labels_of(line: &str) -> (Vec<&str>, BTreeMap<&str, String>) {
    let Some((_, rest)) = line.split_once('{') else { return (Vec::new(), BTreeMap::new()) };
    let (labels, _) = rest.split_once('}').expect("an end of the labels");
    let pairs = labels.split(',').map(|pair| pair.split_once('=').expect("a label"));
    let pairs: Vec<(&str, String)> = pairs
        .filter(|(label, _)| *label != "le")
        .map(|(label, value)| (label, value.trim_matches('"').to_owned()))
        .collect();
    (pairs.iter().map(|(label, _)| *label).collect(), pairs.into_iter().collect())
}
