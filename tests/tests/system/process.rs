//! The real program, killed in the middle: at the end nothing is lost, doubled or forged.

use std::cell::Cell;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cityrelay::control::StatusReport;
use cityrelay::demo::cities::{CITIES_FILE, City};
use cityrelay::demo::configs::{ATTESTERS, Party};
use cityrelay::demo::world::World;
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::hash::Hash32;
use cityrelay_devnet::weighted_bcos::SealerChange;
use cityrelay_devnet::{Pair, Pairing};
use cityrelay_journal::{Journal, Options};
use cityrelay_tests::process::anvil_sealed_by_test::AnvilSealedByTest;
use cityrelay_tests::process::blows::{Blow, DrawnBlows, Ending, SCRIPT, end, strike};
use cityrelay_tests::process::changes::{Change, change_validators, rotate};
use cityrelay_tests::process::ledgers::{Heads, check_journals};
use cityrelay_tests::process::trial::{START_TIMEOUT, Trial, second_city};
use cityrelay_tests::process::{copy_files, play, program};
use tokio::process::Command;
use tokio::time::timeout;

/// Rounds of at least one message on each lane; a round takes about as long as a block.
const ROUNDS: usize = 15;

/// Rounds that are sent while validators and attesters change: a chain without storage proofs needs a checkpoint for each
/// head, and a relay makes one transaction at a time.
const ROUNDS_OF_CHANGE: usize = 3;

/// How often processes are ended in the longest trial.
const BLOWS: usize = 200;

/// The longest wait between two of its blows: most of a block's second.
const LONGEST_WAIT_MILLIS: u64 = 600;

/// The demo takes half a minute on an idle machine.
const DEMO_TIMEOUT: Duration = Duration::from_secs(180);

/// Sends while relays and attesters are killed and started again, then checks everything.
async fn kill_in_the_middle(mut trial: Trial, script: &[Blow]) -> anyhow::Result<()> {
    let blows = strike(&mut trial.world, &trial.parties, &trial.scene, script.iter().cloned());
    let (sent, hits) = tokio::try_join!(trial.scene.send_rounds(ROUNDS), blows)?;
    ensure!(hits * 2 > script.len(), "{hits} of {} blows fell while messages were under way", script.len());
    let found = trial.finish().await?;
    ensure!(found == sent, "I1: {sent} messages were sent, the chains have {found}");
    eprintln!("{sent} messages settled; {hits} of {} blows fell while messages were under way", script.len());
    Ok(())
}

#[test]
fn qbft_to_qbft() {
    play("qbft-to-qbft", async |dir| kill_in_the_middle(Trial::with_pairing(&dir, "alike").await?, SCRIPT).await);
}

#[test]
fn qbft_to_bcos() {
    play("qbft-to-bcos", async |dir| kill_in_the_middle(Trial::with_pairing(&dir, "mixed").await?, SCRIPT).await);
}

/// Sends for as long as processes are ended, all over a block's time, then checks everything.
#[test]
fn killed_200_times_at_moments_drawn_from_a_seed() {
    let seed = std::env::var("CITYRELAY_BLOWS_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    eprintln!("the same blows again: CITYRELAY_BLOWS_SEED={seed}");
    play("200-blows", async |dir| {
        let mut trial = Trial::with_pairing(&dir, "mixed").await?;
        let is_over = Cell::new(false);
        let script = DrawnBlows::new(seed, trial.parties.len(), LONGEST_WAIT_MILLIS).take(BLOWS);
        let blows = async {
            let hits = strike(&mut trial.world, &trial.parties, &trial.scene, script).await;
            is_over.set(true);
            hits
        };
        let (sent, hits) = tokio::try_join!(trial.scene.send_while(|| !is_over.get()), blows)?;
        ensure!(hits * 10 > BLOWS * 9, "{hits} of {BLOWS} blows fell while messages were under way");
        let found = trial.finish().await?;
        ensure!(found == sent, "I1: {sent} messages were sent, the chains have {found}");
        eprintln!("{sent} messages settled; {hits} of {BLOWS} blows fell while messages were under way");
        Ok(())
    });
}

#[test]
fn anvil_to_bcos() {
    play("anvil-to-bcos", async |dir| {
        let anvil = AnvilSealedByTest::start().await?;
        let (devnet, second) = second_city().await?;
        let world = World::beside(&dir, program::cityrelay(), vec![anvil.city("hangzhou"), second])?;
        kill_in_the_middle(Trial::begin(&dir, world).await?, SCRIPT).await?;
        devnet.stop().await;
        Ok(())
    });
}

/// Messages go both ways on all lanes while a validator joins and leaves on the first `changing` chains and the committees of
/// both gateways replace a member. In the end only just enough attesters run, the new one among them.
async fn change_on_the_way(dir: &Path, pairing: &str, changing: usize) -> anyhow::Result<()> {
    let pair = Pair::start(Pairing::from_name(pairing).context("a pairing")?).await?;
    let cities = pair.cities().iter().map(|(name, section)| City::of_section(name, section)).collect();
    let world = World::beside(dir, program::cityrelay(), cities)?;
    let mut trial = Trial::begin_with(dir, world, 1).await?;
    let attesters: Vec<_> = trial.parties.iter().filter(|party| party.is_attester).cloned().collect();
    let keys = attesters.iter().map(Party::attester_key).collect::<anyhow::Result<Vec<_>>>()?;
    let (old, new) = (&keys[..ATTESTERS], &keys[1..]);
    let (world, scene, changing) = (&mut trial.world, &trial.scene, &pair.devnets()[..changing]);
    let changes = async {
        change_validators(changing, Change::Join).await?;
        rotate(scene, old, new).await?;
        // The one that left, and one of those that stayed: the others are exactly enough.
        for gone in &attesters[..2] {
            world.kill(&gone.name).await?;
        }
        change_validators(changing, Change::Leave).await
    };
    let rounds = async {
        for round in 1..=ROUNDS_OF_CHANGE {
            scene.send_round(round, 1).await?;
        }
        anyhow::Ok(())
    };
    tokio::try_join!(rounds, changes)?;
    // Whatever the order was, these are sent under the new committee.
    scene.send_round(ROUNDS_OF_CHANGE + 1, 1).await?;
    let sent = ((ROUNDS_OF_CHANGE + 1) * scene.lanes.len()) as u64;
    let found = trial.finish().await?;
    ensure!(found == sent, "I1: {sent} messages were sent, the chains have {found}");
    eprintln!("{pairing}: {sent} messages settled");
    pair.stop().await;
    Ok(())
}

#[test]
fn edge_without_storage_proofs_to_a_validator_contract_with_changes_on_the_way() {
    play("edge-to-contract", async |dir| change_on_the_way(&dir, "edge-bls+qbft-contract", 2).await);
}

#[test]
fn qbft_to_bcos_with_other_crypto_with_changes_on_the_way() {
    play("qbft-to-bcos-gm", async |dir| change_on_the_way(&dir, "qbft+bcos-gm", 2).await);
}

#[test]
fn ibft2_to_bcos_with_changes_on_the_way() {
    play("ibft2-to-bcos", async |dir| change_on_the_way(&dir, "ibft2+bcos", 2).await);
}

#[test]
fn a_relay_that_is_told_to_stop_ends_well_and_resumes() {
    play("stop", async |dir| {
        let mut trial = Trial::with_pairing(&dir, "alike").await?;
        let relay = trial.relay(0);
        trial.scene.send_round(1, 2).await?;
        end(&mut trial.world, &[&relay], Ending::Stop).await?;
        trial.scene.send_round(2, 2).await?;
        trial.world.run(&relay)?;
        trial.world.wait_for(&relay, START_TIMEOUT).await?;
        trial.scene.send_round(3, 1).await?;
        let found = trial.finish().await?;
        ensure!(found == 5 * 12, "60 messages were sent, the chains have {found}");
        Ok(())
    });
}

#[test]
fn an_attester_is_brought_up_to_date_with_what_journals_have_dropped() {
    const KEEP_SECONDS: u64 = 10;
    play("long-away", async |dir| {
        let world = World::start(&dir, program::cityrelay(), "mixed").await?;
        let mut trial = Trial::prepare(&dir, world, 0).await?;
        for party in &trial.parties {
            let config = trial.world.home(&party.name).join("cityrelay.toml");
            let mut text = std::fs::read_to_string(&config)?;
            text += &format!("\n[journal]\nkeep_payloads = \"{KEEP_SECONDS}s\"\nkeep_bodies = \"{KEEP_SECONDS}s\"\n");
            std::fs::write(&config, text)?;
        }
        trial.start().await?;
        let [away, beside] = [2, 3].map(|at| trial.parties[at].name.clone());
        trial.world.kill(&away).await?;
        trial.scene.send_round(1, 2).await?;
        trial.settle().await?;
        // Once for the time that bodies are kept, and once for whoever drops them.
        tokio::time::sleep(Duration::from_secs(KEEP_SECONDS + 3)).await;
        let journal = trial.world.journal(&trial.relay(0));
        trial.world.kill(&trial.relay(0)).await?;
        let dropped = Journal::open(&journal, Options::default())?.flows()?;
        ensure!(dropped.iter().all(|flow| flow.bodies_pruned == flow.tip.index), "not dropped: {dropped:?}");
        trial.world.run(&trial.relay(0))?;
        // Only with the one that was away there are enough.
        trial.world.run(&away)?;
        trial.world.kill(&beside).await?;
        trial.scene.send_round(2, 1).await?;
        let found = trial.finish().await?;
        ensure!(found == 3 * 12, "36 messages were sent, the chains have {found}");
        Ok(())
    });
}

#[test]
fn a_relay_restored_from_an_older_journal_is_sent_the_rest_again() {
    play("older-journal", async |dir| {
        let mut trial = Trial::with_pairing(&dir, "mixed").await?;
        let relay = trial.relay(0);
        let (journal, backup) = (trial.world.journal(&relay), dir.join("backup"));
        let has = |count: u64| move |status: &StatusReport| status.flows.iter().all(|flow| flow.finished == count);
        trial.scene.send_round(1, 1).await?;
        trial.wait_until(&relay, "the first messages are finished", has(1)).await?;
        trial.world.kill(&relay).await?;
        copy_files(&journal, &backup)?;
        trial.world.run(&relay)?;
        trial.scene.send_round(2, 2).await?;
        trial.wait_until(&relay, "the next messages are finished", has(3)).await?;
        trial.world.kill(&relay).await?;
        copy_files(&backup, &journal)?;
        trial.world.run(&relay)?;
        trial.scene.send_round(3, 1).await?;
        let found = trial.finish().await?;
        ensure!(found == 4 * 12, "48 messages were sent, the chains have {found}");
        Ok(())
    });
}

#[test]
fn a_second_instance_on_one_folder_is_refused_by_name() {
    play("second-instance", async |dir| {
        let trial = Trial::with_pairing(&dir, "alike").await?;
        for name in [trial.relay(0), trial.parties[2].name.clone()] {
            let config = trial.world.home(&name).join("cityrelay.toml").display().to_string();
            let second = output_of(&["run", "--config", &config]).await?;
            let said = String::from_utf8_lossy(&second.stderr);
            ensure!(second.status.code() == Some(1), "the second {name} ended with {}: {said}", second.status);
            let folder = trial.world.home(&name).join("data").display().to_string();
            ensure!(said.contains(&folder), "the second {name} does not name {folder}: {said}");
            ensure!(said.contains("in use by another process"), "the second {name} does not say why: {said}");
        }
        // The first ones go on as if nothing had been.
        trial.scene.send_round(1, 1).await?;
        let found = trial.finish().await?;
        ensure!(found == 12, "12 messages were sent, the chains have {found}");
        Ok(())
    });
}

#[test]
fn a_journal_that_differs_from_its_chain_is_found() {
    play("difference", async |dir| {
        let mut trial = Trial::with_pairing(&dir, "alike").await?;
        trial.scene.send_round(1, 2).await?;
        let (_, heads) = trial.end().await?;
        let check = |heads: &Heads| check_journals(&trial.world, &trial.parties, &trial.scene, heads);
        check(&heads)?;
        for (flow, head) in &heads {
            let forged = ChainPoint { head: Hash32([7; 32]), ..*head };
            let lost = ChainPoint { index: head.index.next(), ..*head };
            for other in [forged, lost] {
                let mut heads = heads.clone();
                heads.insert(*flow, other);
                let found = check(&heads).err().map(|error| format!("{error:#}")).unwrap_or_default();
                ensure!(found.contains("I3"), "{other:?} instead of {head:?} gives {found:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn a_set_change_reaches_a_relay_without_a_node_when_enough_attesters_vouch() {
    play("set-change", async |dir| {
        let pair = Pair::start(Pairing::from_name("mixed").context("the pairing is known")?).await?;
        let cities = pair.cities().iter().map(|(name, section)| City::of_section(name, section)).collect();
        let world = World::beside(&dir, program::cityrelay(), cities)?;
        let mut trial = Trial::begin(&dir, world).await?;
        let (away, beside) = (trial.relay(0), trial.relay(1));
        trial.world.kill(&away).await?;
        let bcos = pair.devnets()[1].weighted_bcos().context("the chain runs")?;
        let newcomer = bcos.with(|chain| *chain.node_keys()[4].public());
        for change in [SealerChange::AddObserver(newcomer), SealerChange::AddSealer(newcomer, 1)] {
            let height = bcos.height();
            bcos.with(|chain| chain.change_sealers(change));
            timeout(START_TIMEOUT, bcos.wait_for_height(height + 1)).await.context("no block with the change")?;
        }
        trial.scene.send_round(1, 1).await?;
        let is_attested = |status: &StatusReport| {
            let waiting = status.flows.iter().filter(|flow| flow.waits_for == "peer" && flow.durable == 1);
            waiting.count() == 6
        };
        trial.wait_until(&beside, "the messages behind the change are attested", is_attested).await?;
        // Two of four are left: enough for nothing.
        let attesters: Vec<String> = trial.parties.iter().rev().take(2).map(|party| party.name.clone()).collect();
        for attester in &attesters {
            trial.world.kill(attester).await?;
        }
        trial.world.run(&away)?;
        let waits = |status: &StatusReport| {
            let mut held = status.chains.iter().filter_map(|chain| chain.held_back.as_ref());
            held.any(|reason| reason.contains("2 of 3 attesters vouched for it so far"))
        };
        trial.wait_until(&away, "too few attesters vouch, and it says so", waits).await?;
        for attester in &attesters {
            trial.world.run(attester)?;
        }
        trial.scene.send_round(2, 1).await?;
        let found = trial.finish().await?;
        ensure!(found == 2 * 12, "24 messages were sent, the chains have {found}");
        pair.stop().await;
        Ok(())
    });
}

/// Runs the program to its end.
async fn output_of(arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new(program::cityrelay());
    let ended = command.args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    Ok(timeout(START_TIMEOUT, ended).await.context("it keeps running")??)
}

/// What `tests/packaging` shows of the plain demo: it ends well, with every message settled.
#[test]
fn the_demo_with_gm_settles_everything_on_a_chain_of_the_other_crypto() {
    play("demo-gm", async |dir| {
        let dir = dir.join("demo");
        let mut command = Command::new(program::cityrelay());
        command.args(["--json", "demo", "--gm", "--dir"]).arg(&dir).stdin(Stdio::null()).kill_on_drop(true);
        let Output { status, stdout, stderr } = timeout(DEMO_TIMEOUT, command.output()).await??;
        let said = String::from_utf8_lossy(&stderr);
        ensure!(status.success(), "{status}: {}\n{said}", String::from_utf8_lossy(&stdout));
        let answer: serde_json::Value = serde_json::from_slice(&stdout)?;
        let lanes = answer["data"]["lanes"].as_array().context("lanes")?;
        let sum = |key: &str| lanes.iter().filter_map(|lane| lane[key].as_u64()).sum::<u64>();
        ensure!(lanes.len() == 12 && sum("sent") > 70 && sum("settled") == sum("sent"), "{answer:#}");
        ensure!(sum("executed") + 2 == sum("sent") && sum("failed") == 1 && sum("expired") == 1, "{answer:#}");
        let cities: Vec<City> = serde_json::from_slice(&std::fs::read(dir.join(CITIES_FILE))?)?;
        let with_gm = cities.iter().filter(|city| city.toml.lines().any(|line| line == "crypto = \"gm\"")).count();
        ensure!(with_gm == 1, "expected one chain with GM crypto, got {with_gm}");
        Ok(())
    });
}
