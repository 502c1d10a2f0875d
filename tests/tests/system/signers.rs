//! An attester's key: in a process of its own, in no dump and no log, and never over two heads.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cityrelay::control::StatusReport;
use cityrelay::demo::world::SIGNER_FOLDER;
use cityrelay_tests::process::secrets::verify_none_leaked;
use cityrelay_tests::process::trial::{START_TIMEOUT, Trial};
use cityrelay_tests::process::{copy_files, play, program};
use cityrelay_tests::roads::{Backup, Fooled, RELAYS, Story};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

/// The user and the group that every Debian has for those who may nothing.
const NOBODY: u32 = 65_534;

/// Runs the program to its end.
async fn output_of(program: &Path, user: Option<u32>, arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new(program);
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let ended = command.args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    Ok(timeout(START_TIMEOUT, ended).await.context("it keeps running")??)
}

/// Moves an attester's key to a signer of its own, and starts both. The attester is stopped.
async fn give_a_signer(trial: &mut Trial, attester: &str) -> anyhow::Result<()> {
    let party = trial.parties.iter().find(|party| party.name == attester).context("an attester")?;
    let (home, address) = (trial.world.home(attester), party.attester);
    std::fs::create_dir_all(home.join(SIGNER_FOLDER))?;
    std::fs::rename(home.join("attester.key"), home.join(SIGNER_FOLDER).join("key"))?;
    let config = home.join("cityrelay.toml");
    let socket = home.join(SIGNER_FOLDER).join("socket");
    let text = std::fs::read_to_string(&config)?;
    let file = format!("key_file = \"{}\"", home.join("attester.key").display());
    ensure!(text.contains(&file), "{text}");
    let signer = format!("signer = \"unix:{}\"\naddress = \"{address}\"", socket.display());
    std::fs::write(&config, text.replace(&file, &signer))?;
    trial.world.run_signer(attester)?;
    trial.world.run(attester)?;
    trial.world.wait_for(attester, START_TIMEOUT).await
}

fn is_in_trouble(status: &StatusReport, kind: &str) -> bool {
    status.troubles.iter().any(|trouble| trouble.kind.as_str() == kind)
}

#[test]
fn a_signer_of_its_own_signs_is_missed_and_comes_back() {
    play("signer", async |dir| {
        let mut trial = Trial::with_pairing(&dir, "mixed").await?;
        let (attester, other) = (trial.parties[2].name.clone(), trial.parties[3].name.clone());
        trial.world.kill(&attester).await?;
        give_a_signer(&mut trial, &attester).await?;
        // From now on its vote is needed.
        trial.world.kill(&other).await?;
        trial.scene.send_round(1, 1).await?;
        trial.settle().await?;

        let (signer, socket) =
            (format!("{attester}-signer"), trial.world.home(&attester).join(SIGNER_FOLDER).join("socket"));
        trial.world.kill(&signer).await?;
        trial.scene.send_round(2, 1).await?;
        let is_missed = |status: &StatusReport| {
            is_in_trouble(status, "signer-away") && status.flows.iter().any(|flow| flow.waits_for == "signer")
        };
        trial.wait_until(&attester, "it misses its signer, and its lanes wait for it", is_missed).await?;
        let waits = |status: &StatusReport| status.flows.iter().any(|flow| flow.waits_for == "attestations");
        trial.wait_until(&trial.relay(0), "a relay waits for attestations", waits).await?;
        trial.world.run_signer(&attester)?;
        trial.settle().await?;
        trial.wait_until(&attester, "it signs again", |status| !is_in_trouble(status, "signer-away")).await?;

        no_process_can_be_dumped(&trial, &[&attester, &signer, &trial.relay(0)])?;
        strangers_are_refused(&dir, &socket).await?;
        another_key_is_refused_at_the_start(&mut trial, &attester).await?;

        trial.world.run(&attester)?;
        trial.world.wait_for(&attester, START_TIMEOUT).await?;
        trial.world.run(&other)?;
        let found = trial.finish().await?;
        ensure!(found == 2 * 12, "24 messages were sent, the chains have {found}");
        verify_none_leaked(&dir)
    });
}

/// What /proc says of a process that makes no core dump: the kernel gives its files to root (proc(5)), and the limit is 0.
fn no_process_can_be_dumped(trial: &Trial, names: &[&str]) -> anyhow::Result<()> {
    for name in names {
        let pid = trial.world.pid(name).with_context(|| format!("{name} runs"))?;
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits"))?;
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).context("a limit")?;
        let words: Vec<&str> = core.split_whitespace().collect();
        ensure!(words[4..6] == ["0", "0"], "{name}: {core}");
    }
    Ok(())
}

/// A signer that runs as another user: that user owns it, and still may not look into its memory.
#[test]
fn nobody_but_root_looks_into_a_process_with_keys() {
    play("proc", async |dir| {
        ensure!(rustix::process::getuid().is_root(), "only root can be another user: run this test as root");
        let home = dir.join("home");
        std::fs::create_dir(&home)?;
        let (program, key, socket) = (home.join("cityrelay"), home.join("key"), home.join("socket"));
        std::fs::copy(program::cityrelay(), &program)?;
        let made = output_of(&program, None, &["keys", "new", "attester", "--out", &key.display().to_string()]).await?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        for path in [&home, &key] {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY))?;
        }
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755))?;
        let as_nobody = |program: &Path, arguments: &[&str]| {
            let mut command = Command::new(program);
            command.uid(NOBODY).gid(NOBODY).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
            command.spawn()
        };
        let (key, place) = (key.display().to_string(), socket.display().to_string());
        let signer = as_nobody(&program, &["signer", "--key", &key, "--socket", &place])?;
        let started = Instant::now();
        while !socket.exists() {
            ensure!(started.elapsed() < START_TIMEOUT, "the signer does not start");
            sleep(Duration::from_millis(20)).await;
        }
        let owner = |pid: Option<u32>| -> anyhow::Result<u32> {
            Ok(std::fs::metadata(format!("/proc/{}/mem", pid.context("it runs")?))?.uid())
        };
        // proc(5): the files of a process that is not dumpable belong to root.
        let other = as_nobody(Path::new("/bin/sleep"), &["60"])?;
        ensure!(owner(other.id())? == NOBODY, "the files of a process belong to its user");
        ensure!(owner(signer.id())? == 0, "a signer may be dumped by its user");
        Ok(std::fs::remove_file(&program)?)
    });
}

/// Another user is kept out twice: by the mode of the socket, and by the signer, which the kernel tells who asks.
async fn strangers_are_refused(dir: &Path, socket: &Path) -> anyhow::Result<()> {
    ensure!(rustix::process::getuid().is_root(), "only root can be another user for a moment: run this test as root");
    let everybody = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
    let copy = dir.join("cityrelay");
    std::fs::copy(program::cityrelay(), &copy)?;
    let folders = socket.ancestors().skip(1).take_while(|folder| folder.starts_with(dir));
    let folders: Vec<(&Path, u32)> = folders
        .map(|folder| Ok((folder, std::fs::metadata(folder)?.permissions().mode())))
        .collect::<anyhow::Result<_>>()?;
    for (folder, _) in &folders {
        everybody(folder, 0o755)?;
    }
    everybody(&copy, 0o755)?;
    let name = format!("unix:{}", socket.display());
    let ask = async |user, code: i32, words: &str| {
        let output = output_of(&copy, user, &["keys", "show", &name]).await?;
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(
            output.status.code() == Some(code) && said.contains(words),
            "{user:?} ended with {}: {said}",
            output.status
        );
        anyhow::Ok(())
    };
    ask(None, 0, "a signer with the attester's key of address 0x").await?;
    ask(Some(NOBODY), 3, "Permission denied").await?;
    everybody(socket, 0o666)?;
    ask(Some(NOBODY), 5, "this user may not ask it").await?;
    everybody(socket, 0o600)?;
    for (folder, mode) in &folders {
        everybody(folder, *mode)?;
    }
    Ok(std::fs::remove_file(&copy)?)
}

/// The attester does not start with a signer that has another key than its configuration says.
async fn another_key_is_refused_at_the_start(trial: &mut Trial, attester: &str) -> anyhow::Result<()> {
    trial.world.kill(attester).await?;
    let party = trial.parties.iter().find(|party| party.name == attester).context("an attester")?;
    let config = trial.world.home(attester).join("cityrelay.toml").display().to_string();
    let other = "0x0909090909090909090909090909090909090909";
    let address = format!("attester.address={other}");
    let output = output_of(program::cityrelay(), None, &["run", "--config", &config, "--set", &address]).await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "it ended with {}: {said}", output.status);
    for words in [other, &party.attester.to_string(), "attester.address"] {
        ensure!(said.contains(words), "{words} is missing: {said}");
    }
    Ok(())
}

/// The other chain: it differs from message 3 on.
const FORK: Story = Story::Fork { from: 3 };

/// Up to here the true chain was signed before a road is tried, and the backup was made at message 2.
const SIGNED: u64 = 5;

/// A year, in milliseconds.
const YEAR: i64 = 31_536_000_000;

fn signed_and_saved() -> (Fooled, Backup) {
    let mut attester = Fooled::new();
    attester.ask(RELAYS[0], Story::True, 2, 1);
    attester.work();
    let backup = attester.backup();
    attester.ask(RELAYS[0], Story::True, SIGNED, 1);
    attester.work();
    assert!(attester.has_signed(Story::True, 2) && attester.has_signed(Story::True, SIGNED));
    (attester, backup)
}

/// Both relays ask for every head of the other chain, under three generations of the attesters, one after the other and at
/// once, and show it as what was signed.
fn ask_for_the_other(attester: &mut Fooled) {
    for epoch in [1, 2, 7] {
        for index in 1..=SIGNED + 3 {
            for relay in RELAYS {
                attester.ask(relay, FORK, index, epoch);
                attester.work();
            }
            attester.ask(RELAYS[0], FORK, index, epoch);
            attester.ask(RELAYS[1], Story::True, index, epoch);
            attester.verify_all();
            attester.work();
            attester.remind(RELAYS[1], FORK, index);
            attester.work();
        }
    }
}

#[test]
fn i4_no_road_leads_to_a_second_signed_head() {
    type Road = fn(&mut Fooled, &Backup);
    let roads: [(&str, Road); 9] = [
        ("only asking", |_, _| {}),
        ("a restart", |attester, _| attester.restart()),
        ("a backup that is restored", |attester, backup| attester.restore(backup)),
        ("the journal of a new machine", |attester, _| attester.restore(&Fooled::new().backup())),
        ("a clock that is set back", |attester, _| attester.set_clock(-YEAR)),
        ("a clock that is set ahead", |attester, _| attester.set_clock(YEAR)),
        ("a clock that is set back, and a restart", |attester, _| {
            attester.now.0 -= YEAR.unsigned_abs();
            attester.restart();
        }),
        ("a clock that is set back, and a backup", |attester, backup| {
            attester.now.0 -= YEAR.unsigned_abs();
            attester.restore(backup);
        }),
        ("a restart in the middle of a request", |attester, _| {
            attester.ask(RELAYS[1], FORK, SIGNED + 1, 1);
            attester.verify_all();
            attester.restart();
        }),
    ];
    for (road, go) in roads {
        let (mut attester, backup) = signed_and_saved();
        go(&mut attester, &backup);
        ask_for_the_other(&mut attester);
        assert_eq!(attester.twice(), [], "{road}");
        assert!(!attester.has_signed(FORK, SIGNED) && !attester.has_signed(FORK, 3), "{road}");
        // And once more, after it has come back again.
        attester.restart();
        ask_for_the_other(&mut attester);
        assert_eq!(attester.twice(), [], "{road}, and a restart");
    }
}

#[test]
fn i4_two_relays_that_ask_at_once_get_one_head() {
    for (first, second) in [(Story::True, FORK), (FORK, Story::True)] {
        for (one, other) in [(SIGNED, SIGNED), (SIGNED, SIGNED + 2), (SIGNED + 2, SIGNED), (3, 8)] {
            let mut attester = Fooled::new();
            attester.ask(RELAYS[0], first, one, 1);
            attester.ask(RELAYS[1], second, other, 2);
            attester.verify_all();
            attester.ask(RELAYS[1], second, one, 1);
            attester.work();
            attester.ask(RELAYS[0], first, other, 1);
            attester.work();
            assert_eq!(attester.twice(), [], "{first:?} {one}, {second:?} {other}");
            assert!(attester.has_signed(first, one), "who comes first is served");
        }
    }
}

#[test]
fn an_attester_that_was_fooled_while_it_was_mute_signs_again_once_it_is_told_the_truth() {
    let (mut attester, backup) = signed_and_saved();
    attester.restore(&backup);
    ask_for_the_other(&mut attester);
    attester.ask(RELAYS[0], Story::True, SIGNED + 1, 1);
    attester.work();
    assert!(!attester.has_signed(Story::True, SIGNED + 1), "what contradicts our own signature ends all signing");
    attester.restore(&backup);
    attester.remind(RELAYS[0], Story::True, SIGNED);
    attester.work();
    attester.ask(RELAYS[0], Story::True, SIGNED + 1, 1);
    attester.work();
    assert!(attester.has_signed(Story::True, SIGNED + 1));
    assert_eq!(attester.twice(), []);
}

#[test]
fn what_must_never_be_restored_is_found_by_this_test_too() {
    let (mut attester, backup) = signed_and_saved();
    attester.lose_marks();
    attester.restore(&backup);
    attester.ask(RELAYS[1], FORK, SIGNED, 1);
    attester.work();
    assert!(!attester.twice().is_empty(), "journal and counter restored together: nothing on the machine knows better");
}

#[test]
fn i4_an_attester_restored_from_a_backup_is_mute_until_it_has_merged_what_it_signed() {
    play("older-attester", async |dir| {
        let mut trial = Trial::with_pairing(&dir, "mixed").await?;
        let (attester, other) = (trial.parties[2].name.clone(), trial.parties[3].name.clone());
        let relays = [trial.relay(0), trial.relay(1)];
        let home = trial.world.home(&attester);
        let config = home.join("cityrelay.toml").display().to_string();
        let (journal, counter) = (trial.world.journal(&attester), home.join("data-signer").join("counter"));
        let (backup, newest) = (dir.join("backup"), dir.join("newest"));
        // From now on its vote is needed.
        trial.world.kill(&other).await?;
        trial.scene.send_round(1, 1).await?;
        trial.settle().await?;
        trial.world.kill(&attester).await?;
        copy_files(&journal, &backup)?;
        trial.world.run(&attester)?;
        trial.scene.send_round(2, 2).await?;
        trial.settle().await?;
        trial.world.kill(&attester).await?;
        copy_files(&journal, &newest)?;

        // Nobody is there who could tell it what it signed.
        for relay in &relays {
            trial.world.kill(relay).await?;
        }
        copy_files(&backup, &journal)?;
        let kept = std::fs::read(&counter)?;
        trial.world.run(&attester)?;
        let is_mute = |status: &StatusReport| {
            is_in_trouble(status, "attester-mute") && status.flows.iter().all(|flow| flow.waits_for == "mute")
        };
        trial.wait_until(&attester, "it is mute, and says so", is_mute).await?;
        ensure!(std::fs::read(&counter)? == kept, "the counter has changed");
        for relay in &relays {
            trial.world.run(relay)?;
        }
        let has_merged = |status: &StatusReport| {
            !is_in_trouble(status, "attester-mute")
                && status.flows.iter().all(|flow| flow.waits_for != "mute" && flow.durable == 3)
        };
        trial.wait_until(&attester, "the relays bring back what it signed", has_merged).await?;
        trial.scene.send_round(3, 1).await?;
        trial.settle().await?;

        // The journal is gone altogether.
        trial.world.kill(&attester).await?;
        std::fs::remove_dir_all(&journal)?;
        trial.world.run(&attester)?;
        trial.scene.send_round(4, 1).await?;
        trial.settle().await?;

        // A counter that can't be relied on is another matter.
        trial.world.kill(&attester).await?;
        let kept = std::fs::read(&counter)?;
        let refused = async |why: &str| {
            let output = output_of(program::cityrelay(), None, &["run", "--config", &config]).await?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.code() == Some(1), "it ended with {}: {said}", output.status);
            ensure!(said.contains(why) && said.contains(&counter.display().to_string()), "expected {why:?}: {said}");
            anyhow::Ok(())
        };
        std::fs::remove_file(&counter)?;
        refused("is missing").await?;
        std::fs::write(&counter, kept.split_last().map(|(_, rest)| &rest[..rest.len() / 2]).unwrap_or_default())?;
        refused("expected a last line with the check of all others").await?;
        std::fs::write(&counter, kept)?;
        trial.world.run(&attester)?;
        trial.world.wait_for(&attester, START_TIMEOUT).await?;
        let found = trial.finish().await?;
        ensure!(found == 5 * 12, "60 messages were sent, the chains have {found}");
        Ok(())
    });
}
