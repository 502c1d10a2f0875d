//! What an owner's commands print with `--unsigned` is sent by another account, which stands in for a multisig, and does what the
//! command says, on both dialects. The configuration has no account at all. And what a daemon does of it by itself: a skip.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cityrelay::demo::ledger;
use cityrelay::demo::setup::{self, Access, Account, Lane, lane_between};
use cityrelay::demo::traffic;
use cityrelay::demo::world::World;
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::ids::Address;
use cityrelay_core::outcome::Status;
use cityrelay_tests::process::installed::command;
use cityrelay_tests::process::trial::Trial;
use cityrelay_tests::process::{play, program};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

/// How long something may take to be seen on a chain.
const SEEN_TIMEOUT: Duration = Duration::from_secs(60);

/// A channel that nobody has opened yet.
const STRICT: &str = "strict";

/// Who may do what is printed.
struct Office {
    trial: Trial,
    /// Of an attester: nodes of both chains, no account on any.
    config: PathBuf,
    dir: PathBuf,
    /// One lane in each direction.
    strict: Vec<Lane>,
}

#[test]
fn what_is_printed_unsigned_does_its_work_when_another_account_sends_it() {
    play("unsigned", async |dir| {
        let office = Office::open(dir).await?;
        for at in [0, 1] {
            office.a_gateway_is_handed_over(at).await?;
            office.lanes_are_opened_paused_and_closed(at).await?;
            office.attesters_are_rotated(at).await?;
            office.contracts_are_deployed(at).await?;
        }
        for at in [0, 1] {
            office.a_halted_lane_is_skipped(at).await?;
            office.a_daemon_skips_where_its_account_is_the_owners(at).await?;
        }
        Ok(())
    });
}

impl Office {
    async fn open(dir: PathBuf) -> anyhow::Result<Self> {
        let world = World::start(&dir, program::cityrelay(), "mixed").await?;
        let mut trial = Trial::prepare(&dir, world, 0).await?;
        let strict = [(0, 1), (1, 0)].map(|(from, to)| strict_lane(&trial, from, to)).to_vec();
        for party in &trial.parties {
            let path = trial.world.config(&party.name);
            let mut text = std::fs::read_to_string(&path)?;
            for lane in &strict {
                let name = |at: usize| &trial.scene.towns[at].city.name;
                write!(
                    text,
                    "\n[[lanes]]\nchannel = \"{STRICT}\"\nsource = \"{}\"\ndestination = \"{}\"\nsalt = \"{}\"\n",
                    name(lane.from),
                    name(lane.to),
                    lane.identity.salt
                )?;
                if let Some(peer) = trial.parties.iter().find(|peer| !peer.is_attester && peer.name != party.name)
                    && !party.is_attester
                {
                    writeln!(text, "peer = \"{}\"", peer.name)?;
                }
            }
            std::fs::write(&path, text)?;
        }
        trial.start().await?;
        let config = trial.world.config("attester-1");
        Ok(Self { trial, config, dir, strict })
    }

    fn chain(&self, at: usize) -> &str {
        &self.trial.scene.towns[at].city.name
    }

    /// The account that stands in for a multisig.
    fn multisig(&self, at: usize) -> &Access {
        &self.trial.scene.applications[at]
    }

    /// Runs a command with `--unsigned` and has an account send what it prints. Returns the contracts that this made.
    async fn send(&self, by: &Access, chain: &str, arguments: &[&str]) -> anyhow::Result<Vec<Option<Address>>> {
        let printed = command(&self.config, &[arguments, &["--unsigned"]].concat(), &[]).await?;
        let calls = printed["unsigned"].as_array().with_context(|| format!("{arguments:?}: {printed}"))?;
        ensure!(!calls.is_empty(), "{arguments:?}: {printed}");
        let mut raw = Vec::new();
        for call in calls {
            ensure!(call["value"] == "0" && call["chain"] == chain, "{arguments:?}: {call}");
            let data = call["data"].as_str().and_then(|data| data.strip_prefix("0x")).context("calldata")?;
            let data = hex::decode(data)?;
            raw.push(match call["to"].as_str() {
                Some(to) => GatewayCall::Raw { to: to.parse()?, data },
                None => GatewayCall::DeployCode { code: data },
            });
        }
        // One after the other: each may need the one before.
        let mut made = Vec::new();
        for call in raw {
            made.extend(setup::carry_all(by.target.as_ref(), &[call]).await.with_context(|| format!("{arguments:?}"))?);
        }
        Ok(made)
    }

    /// What `gateway status` says of a chain: verdict and words of each line.
    async fn status(&self, at: usize, set: &[String]) -> anyhow::Result<Vec<String>> {
        let set: Vec<&str> = set.iter().flat_map(|set| ["--set", set]).collect();
        let arguments = [&set[..], &["gateway", "status", "--chain", self.chain(at)]].concat();
        let mut asked = Command::new(program::cityrelay());
        asked.arg("--json").arg("--config").arg(&self.config).args(&arguments).stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(SEEN_TIMEOUT, asked.output()).await.context("the command does not end")??;
        let envelope: Value = serde_json::from_slice(&output.stdout)?;
        // Lanes that nobody has opened yet are broken.
        let said = if envelope["ok"] == true { &envelope["data"] } else { &envelope["error"]["details"] };
        let line = |finding: &Value| {
            let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
            format!("{} {} {}", text("verdict"), text("subject"), text("words"))
        };
        Ok(said["findings"].as_array().context("findings")?.iter().map(line).collect())
    }

    async fn says(&self, at: usize, words: &str) -> anyhow::Result<bool> {
        Ok(self.status(at, &[]).await?.iter().any(|line| line.contains(words)))
    }

    async fn a_gateway_is_handed_over(&self, at: usize) -> anyhow::Result<()> {
        let chain = self.chain(at);
        let owner = &self.trial.scene.towns[at].owner;
        let heir = self.multisig(at).target.account().to_string();
        let handover = ["gateway", "handover", "--chain", chain];
        self.send(owner, chain, &[&handover[..], &["--to", &heir]].concat()).await?;
        ensure!(self.says(at, &format!("is offered to {heir}")).await?, "it is not offered on {chain}");
        self.send(owner, chain, &[&handover[..], &["--withdraw"]].concat()).await?;
        ensure!(!self.says(at, "is offered to").await?, "the offer stands on {chain}");
        self.send(owner, chain, &[&handover[..], &["--to", &heir]].concat()).await?;
        self.send(self.multisig(at), chain, &[&handover[..], &["--accept"]].concat()).await?;
        ensure!(self.says(at, &format!("owner {heir}")).await?, "the multisig does not own the gateway of {chain}");
        Ok(())
    }

    async fn lanes_are_opened_paused_and_closed(&self, at: usize) -> anyhow::Result<()> {
        let (chain, multisig) = (self.chain(at), self.multisig(at));
        for lane in &self.strict {
            let to = &self.trial.scene.towns[lane.to];
            let senders = self.multisig(lane.from).target.account().to_string();
            let receivers = format!("{},{}", to.board, to.orders);
            let (id, lists) = (lane.id.to_string(), ["--strict", "--senders", &senders, "--receivers", &receivers]);
            self.send(multisig, chain, &[&["lane", "open", "--chain", chain, "--lane", &id][..], &lists].concat())
                .await?;
        }
        let opened = self.status(at, &[]).await?;
        let opened =
            opened.iter().filter(|line| line.contains(&format!("ok {STRICT} ")) && line.contains("open; own index 0"));
        ensure!(opened.count() == 2, "the strict lanes are not open on {chain}");
        let medical = self.lane("medical")?;
        let (one, all) = (["--chain", chain, "--lane", &medical], ["--chain", chain, "--all"]);
        for choice in [&one[..], &all] {
            self.send(multisig, chain, &[&["lane", "pause"], choice].concat()).await?;
            ensure!(self.says(at, "is paused").await?, "{choice:?}: it is not paused");
            self.send(multisig, chain, &[&["lane", "resume"], choice].concat()).await?;
            ensure!(!self.says(at, "is paused").await?, "{choice:?}: it is still paused");
        }
        let education = self.lane("education")?;
        self.send(multisig, chain, &["lane", "close", "--chain", chain, "--lane", &education]).await?;
        ensure!(self.says(at, "is closing").await?, "the lane is not closing on {chain}");
        Ok(())
    }

    /// By whoever can pay: the signatures count, not the sender.
    async fn attesters_are_rotated(&self, at: usize) -> anyhow::Result<()> {
        let chain = self.chain(at);
        let attesters: Vec<_> = self.trial.parties.iter().filter(|party| party.is_attester).collect();
        let members = attesters.iter().map(|party| party.attester.to_string()).collect::<Vec<_>>().join(",");
        let file = self.dir.join(format!("{chain}.rotation")).display().to_string();
        let propose = ["attesters", "rotate", "propose", "--chain", chain, "--members", &members, "--threshold", "4"];
        command(&self.config, &[&propose[..], &["--out", &file]].concat(), &[]).await?;
        for attester in attesters {
            command(&self.trial.world.config(&attester.name), &["attesters", "rotate", "sign", &file], &[]).await?;
        }
        self.send(self.multisig(at), chain, &["attesters", "rotate", "send", &file]).await?;
        ensure!(self.says(at, "epoch 2: 4 of 4 signatures").await?, "epoch 2 is not in force on {chain}");
        Ok(())
    }

    async fn contracts_are_deployed(&self, at: usize) -> anyhow::Result<()> {
        let chain = self.chain(at);
        let attester = self.trial.parties[3].attester.to_string();
        let owner = self.multisig(at).target.account().to_string();
        let clock = if self.trial.scene.towns[at].city.clock_is_millis { "milliseconds" } else { "seconds" };
        let deploy = ["gateway", "deploy", "--chain", chain, "--attesters", &attester, "--threshold", "1"];
        let more = ["--clock", clock, "--owner", &owner];
        let made = self.send(self.multisig(at), chain, &[&deploy[..], &more].concat()).await?;
        let [Some(verifier), Some(gateway)] = made[..] else { anyhow::bail!("{made:?} on {chain}") };
        let set = [format!("chains.{chain}.gateway={gateway}"), format!("chains.{chain}.verifier={verifier}")];
        let said = self.status(at, &set).await?.join("\n");
        ensure!(said.matches("code are those of this release").count() == 2, "{said}");
        ensure!(said.contains(&format!("owner {owner}")), "{said}");
        Ok(())
    }

    /// On the destination of the lane that begins at the other city.
    async fn a_halted_lane_is_skipped(&self, at: usize) -> anyhow::Result<()> {
        let (chain, towns) = (self.chain(at), &self.trial.scene.towns);
        let lane = self.strict.iter().find(|lane| lane.to == at).context("a lane that ends there")?;
        traffic::send_to_a_receiver_that_fails(self.multisig(lane.from), towns, lane).await?;
        let deadline = Instant::now() + SEEN_TIMEOUT;
        let id = lane.id.to_string();
        let skip = ["lane", "skip", "--chain", chain, "--lane", &id, "--index", "1"];
        // Refused by name until the message has failed.
        while let Err(error) = self.send(self.multisig(at), chain, &skip).await {
            ensure!(format!("{error:#}").contains("is not halted") && Instant::now() < deadline, "{error:#}");
            sleep(Duration::from_millis(300)).await;
        }
        while ledger::progress(towns, lane).await? != (1, 1, 1) {
            ensure!(Instant::now() < deadline, "what was skipped is not settled");
            sleep(Duration::from_millis(300)).await;
        }
        ensure!(ledger::check(towns, lane).await?.count(Status::Skipped) == 1, "it was not skipped");
        Ok(())
    }

    /// Over the socket: refused with the owner's command until the relay's account owns the gateway. Then it is done, and on
    /// record.
    async fn a_daemon_skips_where_its_account_is_the_owners(&self, at: usize) -> anyhow::Result<()> {
        let (chain, towns, relay) = (self.chain(at), &self.trial.scene.towns, self.trial.relay(at));
        let lane = self.strict.iter().find(|lane| lane.to == at).context("a lane that ends there")?;
        let (id, config) = (lane.id.to_string(), self.trial.world.config(&relay));
        let order = |index: &'static str, reason: &'static str| {
            let (config, id) = (config.clone(), id.clone());
            async move {
                let done = command(&config, &["skip", &id, index, "--reason", reason], &[]).await;
                done.map_err(|error| format!("{error:#}"))
            }
        };
        let said = order("2", "none").await.unwrap_err();
        ensure!(said.contains("is not halted"), "{said}");
        ensure!(order("2", " ").await.unwrap_err().contains("expected a reason"), "an order without a reason");
        traffic::send_to_a_receiver_that_fails(self.multisig(lane.from), towns, lane).await?;
        let deadline = Instant::now() + SEEN_TIMEOUT;
        let by_owner = format!("cityrelay lane skip --chain {chain} --lane {id} --index 2");
        let said = loop {
            let said = order("2", "the receiver is gone").await.unwrap_err();
            if !said.contains("is not halted") {
                break said;
            }
            ensure!(Instant::now() < deadline, "{said}");
            sleep(Duration::from_millis(300)).await;
        };
        ensure!(said.contains("only 0x") && said.contains(&by_owner), "{said}");
        let said = order("3", "the wrong one").await.unwrap_err();
        ensure!(said.contains("is halted at index 2"), "{said}");

        let heir = setup::access(&self.dir, &towns[at].city, Account::Relay)?;
        let account = heir.target.account().to_string();
        let handover = ["gateway", "handover", "--chain", chain];
        self.send(self.multisig(at), chain, &[&handover[..], &["--to", &account]].concat()).await?;
        self.send(&heir, chain, &[&handover[..], &["--accept"]].concat()).await?;
        let done = order("2", "the receiver is gone").await.map_err(anyhow::Error::msg)?;
        ensure!(
            done["done"].as_str().is_some_and(|done| done.contains("index 2") && done.contains("is skipped")),
            "{done}"
        );
        while ledger::progress(towns, lane).await? != (2, 2, 2) {
            ensure!(Instant::now() < deadline, "what was skipped is not settled");
            sleep(Duration::from_millis(300)).await;
        }
        ensure!(ledger::check(towns, lane).await?.count(Status::Skipped) == 2, "it was not skipped");
        let audit = command(&config, &["audit"], &[]).await?;
        let orders = audit["orders"].as_array().context("a list")?;
        // What was refused changed nothing and is not there.
        ensure!(orders.len() == 1, "{audit}");
        let about = orders[0]["about"].as_str().unwrap_or_default();
        ensure!(about.starts_with(&format!("skip index 2 of lane {STRICT} ")), "{audit}");
        ensure!(orders[0]["reason"] == "the receiver is gone", "{audit}");
        ensure!(
            orders[0]["uid"] == rustix::process::getuid().as_raw() && orders[0]["at"].as_u64() > Some(0),
            "{audit}"
        );
        Ok(())
    }

    /// The lane from the first city on a channel.
    fn lane(&self, channel: &str) -> anyhow::Result<String> {
        let mut lanes = self.trial.scene.lanes.iter();
        let found = lanes.find(|lane| lane.identity.channel == channel && lane.from == 0);
        Ok(found.context("a lane")?.id.to_string())
    }
}

fn strict_lane(trial: &Trial, from: usize, to: usize) -> Lane {
    let identity = lane_between(&trial.scene.towns[from], &trial.scene.towns[to], STRICT);
    Lane { id: identity.id(), identity, from, to }
}
