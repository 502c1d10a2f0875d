//! The real program, killed in the middle: at the end nothing is lost, doubled or forged.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cityrelay::control::StatusReport;
use cityrelay::demo::cities::City;
use cityrelay::demo::configs::{ATTESTERS, Party};
use cityrelay::demo::world::World;
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::hash::Hash32;
use cityrelay_devnet::weighted_bcos::SealerChange;
use cityrelay_devnet::{Pair, Pairing};
use cityrelay_journal::{Journal, Options};
use cityrelay_tests::process::anvil_sealed_by_test::AnvilSealedByTest;
use cityrelay_tests::process::blows::{Blow, SCRIPT, strike, sweep};
use cityrelay_tests::process::changes::{Change, change_validators, rotate};
use cityrelay_tests::process::ledgers::{Heads, check_journals};
use cityrelay_tests::process::trial::{START_TIMEOUT, Trial, second_city};
use cityrelay_tests::process::{play, program};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::time::timeout;

/// Rounds of at least one message on each lane; a round takes about as long as a block.
const ROUNDS: usize = 15;

/// Rounds that are sent while validators and attesters change: a chain without storage proofs needs a checkpoint for each
/// head, and a relay makes one transaction at a time.
const ROUNDS_OF_CHANGE: usize = 3;

/// Longer than the daemon gives itself to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// Sends while relays and attesters are killed and started again, then checks everything.
async fn kill_in_the_middle(mut trial: Trial, script: &[Blow]) -> anyhow::Result<()> {
    let blows = strike(&mut trial.world, &trial.parties, &trial.scene, script);
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

#[test]
fn killed_at_moments_all_over_a_second() {
    play("sweep", async |dir| kill_in_the_middle(Trial::with_pairing(&dir, "mixed").await?, &sweep()).await);
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
        let pid = trial.world.pid(&relay).and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        kill_process(pid.context("the relay runs")?, Signal::TERM)?;
        let status = trial.world.wait_for_end(&relay, STOP_TIMEOUT).await?;
        ensure!(status.code() == Some(0), "it ended with {status}");
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
fn i4_an_attester_restored_from_a_backup_does_not_sign() {
    play("older-attester", async |dir| {
        let mut trial = Trial::with_pairing(&dir, "mixed").await?;
        let attester = trial.parties[2].name.clone();
        let home = trial.world.home(&attester);
        let config = home.join("cityrelay.toml").display().to_string();
        let (journal, counter) = (trial.world.journal(&attester), home.join("data-signer").join("counter"));
        let (backup, newest) = (dir.join("backup"), dir.join("newest"));
        let number = |text: &str| text.trim_end().parse::<u64>().ok();
        let counted = |path: &Path| std::fs::read_to_string(path).ok().as_deref().and_then(number).unwrap_or_default();

        trial.scene.send_round(1, 1).await?;
        trial.wait_until(&attester, "it signs", |_| counted(&counter) > 0).await?;
        trial.world.kill(&attester).await?;
        copy_files(&journal, &backup)?;
        let saved = Journal::open(&backup, Options::default())?.counts()?.signed;

        trial.world.run(&attester)?;
        trial.scene.send_round(2, 2).await?;
        trial.wait_until(&attester, "it signs more", |_| counted(&counter) > saved).await?;
        trial.world.kill(&attester).await?;
        copy_files(&journal, &newest)?;

        let refused = async |why: &str| {
            let before = counted(&counter);
            let output = output_of(&["run", "--config", &config]).await?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.code() == Some(1), "it ended with {}: {said}", output.status);
            ensure!(said.contains(why) && said.contains(&counter.display().to_string()), "expected {why:?}: {said}");
            ensure!(counted(&counter) == before, "the counter has changed");
            anyhow::Ok(())
        };
        copy_files(&backup, &journal)?;
        trial.scene.send_round(3, 1).await?;
        refused("the journal is an older one").await?;
        std::fs::remove_dir_all(&journal)?;
        refused("the journal is an older one").await?;
        copy_files(&newest, &journal)?;
        let kept = std::fs::read(&counter)?;
        std::fs::remove_file(&counter)?;
        refused("is missing").await?;

        std::fs::write(&counter, kept)?;
        trial.world.run(&attester)?;
        trial.world.wait_for(&attester, START_TIMEOUT).await?;
        let found = trial.finish().await?;
        ensure!(found == 4 * 12, "48 messages were sent, the chains have {found}");
        Ok(())
    });
}

/// Makes `to` hold exactly the files of `from`.
fn copy_files(from: &Path, to: &Path) -> anyhow::Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
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
