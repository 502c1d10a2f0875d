//! What every installation meets, walked as the runbook says, with messages under way: nothing is lost or doubled.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cityrelay::control::StatusReport;
use cityrelay::demo::configs::{self, ATTESTERS, THRESHOLD};
use cityrelay::demo::setup::Lane;
use cityrelay::demo::{ledger, traffic};
use cityrelay::observability::TroubleKind;
use cityrelay_core::outcome::Status;
use cityrelay_tests::process::installed::{CLOSE_DELAY, STRICT, command, install, lanes, owner, trust};
use cityrelay_tests::process::ledgers::check_journals;
use cityrelay_tests::process::play;
use cityrelay_tests::process::trial::{Scene, Trial};
use cityrelay_tests::process::walk::{Place, Walk};
use tokio::time::sleep;

/// How long the order lives that expires during the pause.
const SHORT_LIFETIME: Duration = Duration::from_secs(4);

/// The test's place: a pair of cities, the runbook, and the messages that were sent.
struct Day {
    dir: PathBuf,
    trial: Trial,
    walk: Walk,
    /// The lanes on which messages go out all the time.
    busy: Scene,
    /// Messages sent on them.
    sent: u64,
}

#[test]
fn the_runbook_is_walked_as_it_is_written() {
    play("living", async |dir| {
        let trial = install(&dir, "mixed").await?;
        let mut busy = trial.scene.clone();
        busy.lanes.retain(|lane| lane.identity.channel == "medical");
        let walk = Walk::begin(dir.join("desk"))?;
        let mut day = Day { dir, trial, walk, busy, sent: 0 };
        let copies = day.backed_up().await?;
        day.link_key_rotated().await?;
        day.link_key_replaced().await?;
        day.account_rotated().await?;
        day.attester_rotated().await?;
        day.paused_and_halted().await?;
        day.restored(&copies).await?;
        let removed = day.lane_moved().await?;
        day.walk.verify_complete()?;
        day.ends_well(&removed).await
    });
}

/// What lies in a backup.
struct Copies {
    configuration: PathBuf,
    journal: PathBuf,
}

impl Day {
    /// Walks, while a round goes out on each busy lane again and again.
    async fn busy<T>(
        &mut self,
        walking: impl AsyncFnOnce(&mut Trial, &mut Walk) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let is_done = Cell::new(false);
        let (scene, sent) = (&self.busy, Cell::new(0));
        let sending = async {
            // At least once more after the last step.
            let mut is_last = false;
            for round in 1.. {
                scene.send_round(round, 1).await?;
                sent.set(sent.get() + scene.lanes.len() as u64);
                if is_last {
                    break;
                }
                is_last = is_done.get();
            }
            anyhow::Ok(())
        };
        let (trial, walk) = (&mut self.trial, &mut self.walk);
        let walking = async {
            let walked = walking(trial, walk).await?;
            is_done.set(true);
            Ok(walked)
        };
        let ((), walked) = tokio::try_join!(sending, walking)?;
        self.sent += sent.get();
        self.trial.settle().await?;
        Ok(walked)
    }

    /// Copies of the configuration and the journal of the first city's relay, with messages behind and before them.
    async fn backed_up(&mut self) -> anyhow::Result<Copies> {
        let copies =
            Copies { configuration: self.dir.join("configuration.tar"), journal: self.dir.join("journal.copy") };
        let relay = self.trial.relay(0);
        let place = Place::new(&relay, &[("BACKUP", text(&copies.configuration)), ("COPY", text(&copies.journal))]);
        self.busy(async |trial, walk| {
            trial.wait_until(&relay, "something is finished", |status| has_finished(status, 1)).await?;
            walk.run(trial, "back-up configuration", &place).await?;
            let said = walk.run(trial, "back-up relay", &place).await?;
            ensure!(said.contains("hold together"), "{said}");
            Ok(())
        })
        .await?;
        Ok(copies)
    }

    /// The relay's machine is gone: its configuration and a journal of some time ago come back.
    async fn restored(&mut self, copies: &Copies) -> anyhow::Result<()> {
        let relay = self.trial.relay(0);
        let place = Place::new(&relay, &[("BACKUP", text(&copies.configuration)), ("COPY", text(&copies.journal))]);
        self.busy(async |trial, walk| {
            let config = trial.world.config(&relay);
            // What changed since the copy, the link key and the peers, would be lost with it: an operator backs up again.
            std::fs::remove_file(&copies.configuration)?;
            walk.run(trial, "back-up configuration", &place).await?;
            std::fs::remove_dir_all(&config)?;
            std::fs::create_dir(&config)?;
            walk.run(trial, "restore configuration", &place).await?;
            // The test looks for keys where none belong.
            std::fs::remove_file(&copies.configuration)?;
            walk.run(trial, "restore relay", &place).await?;
            Ok(())
        })
        .await
    }

    /// The first city's relay gets another link key.
    async fn link_key_rotated(&mut self) -> anyhow::Result<()> {
        let (relay, peers) = self.relay_and_peers(0);
        self.busy(async |trial, walk| {
            let keys = trial.world.config(&relay);
            let old = fingerprint(&keys.join("keys/link.key")).await?;
            walk.run(trial, "rotate-link 1", &Place::new(&relay, &[])).await?;
            let new = fingerprint(&keys.join("link.key.new")).await?;
            ensure!(old != new, "the key is the same");
            for peer in &peers {
                walk.run(trial, "rotate-link 2", &Place::new(peer, &[("OLD", &old), ("NEW", &new)])).await?;
            }
            trial.wait_until(&relay, "the old key is good still", all_up).await?;
            walk.run(trial, "rotate-link 3", &Place::new(&relay, &[])).await?;
            trial.wait_until(&relay, "all sessions stand with the new key", all_up).await?;
            for peer in &peers {
                trial.wait_until(peer, "it has seen the new key", has_next_key).await?;
                walk.run(trial, "rotate-link 4", &Place::new(peer, &[("OLD", &old), ("NEW", &new)])).await?;
                trial.wait_until(peer, "the new key is the only one", |status| !has_next_key(status)).await?;
            }
            walk.run(trial, "rotate-link 5", &Place::new(&relay, &[])).await?;
            trial.wait_until(&relay, "all sessions stand", all_up).await
        })
        .await
    }

    async fn link_key_replaced(&mut self) -> anyhow::Result<()> {
        let (relay, peers) = self.relay_and_peers(1);
        self.busy(async |trial, walk| {
            let key = trial.world.config(&relay).join("keys/link.key");
            let old = fingerprint(&key).await?;
            walk.run(trial, "replace-link 1", &Place::new(&relay, &[])).await?;
            let new = fingerprint(&key).await?;
            ensure!(old != new, "the key is the same");
            for peer in &peers {
                walk.run(trial, "replace-link 2", &Place::new(peer, &[("OLD", &old), ("NEW", &new)])).await?;
            }
            walk.run(trial, "replace-link 3", &Place::new(&relay, &[])).await?;
            trial.wait_until(&relay, "all sessions stand", all_up).await
        })
        .await
    }

    /// A relay, and all other processes.
    fn relay_and_peers(&self, city: usize) -> (String, Vec<String>) {
        let relay = self.trial.relay(city);
        let names = self.trial.parties.iter().map(|party| party.name.clone());
        (relay.clone(), names.filter(|name| *name != relay).collect())
    }

    /// The second city's relay, on whose chain gas costs nothing, gets another account.
    async fn account_rotated(&mut self) -> anyhow::Result<()> {
        let relay = self.trial.relay(1);
        self.trial.settle().await?;
        self.trial.wait_until(&relay, "no transaction is open", |status| status.open_transactions == 0).await?;
        self.busy(async |trial, walk| {
            let said = walk.run(trial, "rotate-account 1", &Place::new(&relay, &[])).await?;
            ensure!(said.starts_with("address 0x"), "{said}");
            walk.run(trial, "rotate-account 2", &Place::new(&relay, &[])).await?;
            Ok(())
        })
        .await
    }

    /// The first attester's key is replaced by another one, which runs beside it until the new set is in force.
    async fn attester_rotated(&mut self) -> anyhow::Result<()> {
        let mut newcomer = configs::parties(&self.trial.world, ATTESTERS + 1)?.pop().context("one more attester")?;
        let old: Vec<String> = self.attesters();
        let relays = [self.trial.relay(0), self.trial.relay(1)];
        let dir = self.dir.clone();
        let attester = self
            .busy(async |trial, walk| {
                let home = trial.world.home(&newcomer.name);
                // As on an installed machine, where it follows from the folder's name.
                std::fs::create_dir_all(home.join("config"))?;
                // Its journal lies there too, and is looked at in the end where those of the others are.
                std::os::unix::fs::symlink(home.join("config/data"), home.join("data"))?;
                let here = format!("[control]\nsocket = \"{}\"\n", trial.world.socket(&newcomer.name).display());
                std::fs::write(home.join("config/here.toml"), here)?;
                let (listen, metrics) =
                    (format!("127.0.0.1:{}", newcomer.port), format!("127.0.0.1:{}", newcomer.metrics_port));
                let place = Place::new(
                    &old[0],
                    &[
                        ("NEW_DIR", text(&home.join("config"))),
                        ("NEW_UNIT", &newcomer.name),
                        ("NAME", &newcomer.name),
                        ("CITY", "hangzhou"),
                        ("LISTEN", &listen),
                        ("ADDRESS", &listen),
                        ("METRICS", &metrics),
                    ],
                );
                walk.run(trial, "rotate-attester 1", &place).await?;
                for relay in &relays {
                    walk.run(trial, "rotate-attester 2", &Place::new(relay, &[("NAME", &newcomer.name)])).await?;
                }
                let key = home.join("config/keys/attester.key");
                let shown = command(&home, &["keys", "show", text(&key)], &[]).await?;
                let attester: cityrelay_core::ids::AttesterId =
                    shown["address"].as_str().context("an address")?.parse()?;
                let stay = trial.parties.iter().filter(|party| party.is_attester && party.name != old[0]);
                let members: Vec<String> =
                    stay.map(|party| party.attester.to_string()).chain([attester.to_string()]).collect();
                let members = members.join(",");
                for (relay, town) in relays.iter().zip(trial.scene.towns.clone()) {
                    let asked = Place::new(
                        relay,
                        &[("CHAIN", &town.city.name), ("MEMBERS", &members), ("THRESHOLD", &THRESHOLD.to_string())],
                    )
                    .with(&owner(&dir, &town.city)?);
                    walk.run(trial, "rotate-attester 3", &asked).await?;
                    for signer in old[1..].iter().chain([&newcomer.name]) {
                        let place = Place::new(signer, &[("CHAIN", &town.city.name)]);
                        walk.run(trial, "rotate-attester 4", &place).await?;
                    }
                    walk.run(trial, "rotate-attester 5", &asked).await?;
                }
                walk.run(trial, "rotate-attester 6", &Place::new(&old[0], &[])).await?;
                Ok(attester)
            })
            .await?;
        newcomer.attester = attester;
        self.trial.parties.push(newcomer);
        // With one of the others away exactly enough are left, and the new one must sign.
        let away = old[1].clone();
        self.trial.world.kill(&away).await?;
        self.busy(async |_, _| Ok(())).await?;
        self.trial.world.run(&away)
    }

    /// A deadline passes while a lane is paused: expired, and refunded after the pause, not before. Meanwhile a strict lane is
    /// halted by a message that fails, and goes on behind it once that is skipped.
    async fn paused_and_halted(&mut self) -> anyhow::Result<()> {
        let (trade, strict) = (self.lane("trade")?, self.lane(STRICT)?);
        let [_, there] = [self.trial.relay(0), self.trial.relay(1)];
        let town = self.trial.scene.towns[1].clone();
        let place = |lane: &Lane| {
            Ok::<_, anyhow::Error>(
                Place::new(&there, &[("CHAIN", &town.city.name), ("LANE", &lane.id.to_string()), ("INDEX", "1")])
                    .with(&owner(&self.dir, &town.city)?),
            )
        };
        let (on_trade, on_strict) = (place(&trade)?, place(&strict)?);
        let scene = self.trial.scene.clone();
        let sender = &scene.applications[0];
        // One account sends everything from a city, so that nothing else is sent meanwhile.
        self.walk.run(&mut self.trial, "pause", &on_trade).await?;
        traffic::order_with_a_deadline(sender, &scene.towns, &trade, SHORT_LIFETIME).await?;
        let passed = tokio::time::Instant::now() + SHORT_LIFETIME + Duration::from_secs(1);
        traffic::send_to_a_receiver_that_fails(sender, &scene.towns, &strict).await?;
        traffic::send_round(sender, &scene.towns, &[&strict], 1).await?;
        self.busy(async |trial, walk| {
            trial.wait_until(&there, "both lanes are named", |status| lanes_not_open(status) == 2).await?;
            walk.run(trial, "skip", &on_strict).await?;
            tokio::time::sleep_until(passed).await;
            let (sent, delivered, settled) = ledger::progress(&scene.towns, &trade).await?;
            ensure!((sent, delivered, settled) == (1, 0, 0), "{sent} sent, {delivered} delivered, {settled} settled");
            ensure!(!traffic::is_refunded(sender, &scene.towns, &trade).await?, "refunded during the pause");
            walk.run(trial, "resume", &on_trade).await?;
            Ok(())
        })
        .await?;
        self.sent += 3;
        let expired = ledger::check(&scene.towns, &trade).await?;
        ensure!(expired.count(Status::Expired) == 1 && expired.settled == 1, "{expired:?}");
        ensure!(traffic::is_refunded(sender, &scene.towns, &trade).await?, "expired and not refunded");
        let skipped = ledger::check(&scene.towns, &strict).await?;
        ensure!(skipped.count(Status::Skipped) == 1 && skipped.count(Status::Executed) == 1, "{skipped:?}");
        Ok(())
    }

    /// A lane of the first city moves to a new gateway there. Returns the old one.
    async fn lane_moved(&mut self) -> anyhow::Result<Lane> {
        let old = self.busy.lanes.iter().find(|lane| lane.from == 0).context("a lane from the first city")?.clone();
        let old_id = old.id.to_string();
        let towns = self.trial.scene.towns.clone();
        let owners = [owner(&self.dir, &towns[0].city)?, owner(&self.dir, &towns[1].city)?];
        let parties: Vec<String> =
            [self.trial.relay(0), self.trial.relay(1)].into_iter().chain(self.attesters()[1..].to_vec()).collect();
        let members: Vec<String> = self.trial.parties[3..].iter().map(|party| party.attester.to_string()).collect();
        let on = |at: usize, lane: &str| {
            Place::new(&parties[at], &[("CHAIN", &towns[at].city.name), ("OLD_LANE", &old_id), ("NEW_LANE", lane)])
                .with(&owners[at])
        };
        let new = self
            .busy(async |trial, walk| {
                let clock = if towns[0].city.clock_is_millis { "milliseconds" } else { "seconds" };
                let threshold = THRESHOLD.to_string();
                let deploying = on(0, "").with(&pairs(&[
                    ("ATTESTERS", &members.join(",")),
                    ("THRESHOLD", &threshold),
                    ("CLOCK", clock),
                ]));
                let printed = walk.run(trial, "move-lane 1", &deploying).await?;
                let address = |key: &str| {
                    printed.lines().find_map(|line| line.strip_prefix(key)?.strip_suffix('"')).context("an address")
                };
                let gateway = address("gateway = \"")?;
                let mut moving = pairs(&[
                    ("CHAIN", &towns[0].city.name),
                    ("OLD_LANE", &old_id),
                    ("GATEWAY", gateway),
                    ("VERIFIER", address("verifier = \"")?),
                ]);
                walk.run(trial, "move-lane 2", &Place::new(&parties[0], &[]).with(&moving)).await?;
                let section = std::fs::read_to_string(trial.world.config(&parties[0]).join("lanes.toml"))?;
                let salt = section.rsplit("salt = \"").next().and_then(|rest| rest.split('"').next());
                moving.extend(pairs(&[("SALT", salt.context("the new lane's salt")?)]));
                for party in &parties[1..] {
                    walk.run(trial, "move-lane 3", &Place::new(party, &[]).with(&moving)).await?;
                }
                let mut known = Vec::new();
                for party in trial.parties.iter().filter(|party| parties.contains(&party.name)) {
                    let lanes = lanes(&trial.world, party)?;
                    known.push(lanes.last().context("the new lane")?.clone());
                }
                let new = known[0].clone();
                ensure!(known.iter().all(|lane| lane.id == new.id), "not all have the same lane: {known:?}");
                ensure!(new.identity.source_gateway.to_string() == gateway, "{new:?}");
                for at in [0, 1] {
                    walk.run(trial, "move-lane 4", &on(at, &new.id.to_string())).await?;
                }
                trust(&towns[1], &[new.id]).await?;
                Ok(new)
            })
            .await?;
        // Applications change over.
        self.busy.lanes.retain(|lane| lane.id != old.id);
        self.busy.lanes.push(new.clone());
        self.trial.scene.lanes.push(new);
        self.busy(async |trial, walk| {
            for at in [0, 1] {
                walk.run(trial, "move-lane 5", &on(at, "")).await?;
            }
            Ok(())
        })
        .await?;
        let before = ledger::progress(&towns, &old).await?;
        let refused = traffic::send_round(&self.trial.scene.applications[0], &towns, &[&old], 1).await;
        ensure!(
            refused.is_err() && ledger::progress(&towns, &old).await?.0 == before.0,
            "a closing lane took a message"
        );
        self.busy(async |trial, walk| {
            for relay in &parties[..2] {
                wait_until_empty(trial, relay, &old_id).await?;
            }
            sleep(CLOSE_DELAY).await;
            for at in [0, 1] {
                walk.run(trial, "move-lane 5", &on(at, "")).await?;
            }
            for (at, party) in parties.iter().enumerate() {
                let chain = &towns[at.min(1)].city.name;
                let place = Place::new(party, &[("CHAIN", chain), ("OLD_LANE", &old_id)]);
                walk.run(trial, "move-lane 6", &place).await?;
            }
            Ok(())
        })
        .await?;
        Ok(old)
    }

    /// Everything that was sent is settled once, on both chains and in all journals.
    async fn ends_well(mut self, removed: &Lane) -> anyhow::Result<()> {
        let (found, heads) = self.trial.end_without(&[removed.id]).await?;
        let sent = self.sent;
        ensure!(found == sent, "I1: {sent} messages were sent, the chains have {found}");
        check_journals(&self.trial.world, &self.trial.parties, &self.trial.scene, &heads)?;
        eprintln!("{sent} messages settled");
        Ok(())
    }

    fn attesters(&self) -> Vec<String> {
        self.trial.parties.iter().filter(|party| party.is_attester).map(|party| party.name.clone()).collect()
    }

    /// The lane from the first city on a channel.
    fn lane(&self, channel: &str) -> anyhow::Result<Lane> {
        let mut lanes = self.trial.scene.lanes.iter();
        let found = lanes.find(|lane| lane.identity.channel == channel && lane.from == 0);
        found.cloned().with_context(|| format!("a lane {channel}"))
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of the test is text")
}

fn pairs(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn has_finished(status: &StatusReport, count: u64) -> bool {
    status.flows.iter().filter(|flow| flow.channel == "medical").all(|flow| flow.finished >= count)
}

fn all_up(status: &StatusReport) -> bool {
    status.peers.iter().all(|peer| peer.is_up)
}

fn has_next_key(status: &StatusReport) -> bool {
    status.peers.iter().any(|peer| peer.key.as_deref() == Some("next"))
}

fn lanes_not_open(status: &StatusReport) -> usize {
    status.troubles.iter().filter(|trouble| trouble.kind == TroubleKind::LaneNotOpen).count()
}

async fn fingerprint(key: &Path) -> anyhow::Result<String> {
    let shown = command(key, &["keys", "show", text(key)], &[]).await?;
    Ok(shown["fingerprint"].as_str().context("a fingerprint")?.to_owned())
}

/// Waits until a relay shows depth 0 for a lane, as the runbook says.
async fn wait_until_empty(trial: &Trial, relay: &str, lane: &str) -> anyhow::Result<()> {
    for _ in 0..300 {
        let shown = command(&trial.world.config(relay), &["lanes", "--lane", lane], &[]).await?;
        if shown["lanes"].as_array().is_some_and(|lanes| lanes.iter().all(|lane| lane["depth"] == 0)) {
            return Ok(());
        }
        sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("{lane} does not become empty at {relay}")
}
