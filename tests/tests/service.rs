//! The daemon as a service: what it says to the service manager, and the units it is started by.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cityrelay_tests::process::service_manager::Service;
use cityrelay_tests::process::trial::Trial;
use cityrelay_tests::process::{play, program};
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep};

/// A loop that runs gives a sign of life twice a second; on a busy machine less often.
const SILENCE: Duration = Duration::from_secs(5);

/// After 15 s without a sign of life `/livez` answers so; the rest is for a busy machine.
const UNTIL_DEAD: Duration = Duration::from_secs(60);

/// The highest exposure level that `systemd-analyze security` may find, times ten.
const MAX_EXPOSURE: &str = "15";

/// Signs of life without READY=1 that show that it is waited for something.
const BEATS_BEFORE_READY: usize = 6;

fn is_status(line: &str, has: &[&str]) -> bool {
    line.strip_prefix("STATUS=").is_some_and(|status| has.iter().all(|part| status.contains(part)))
}

#[test]
fn the_service_manager_is_told_everything() {
    play("service", async |dir| {
        let mut trial = Trial::with_pairing(&dir, "alike").await?;
        let relay = trial.relay(0);
        let config = trial.world.home(&relay).join("cityrelay.toml").display().to_string();
        let (socket, log) = (dir.join("notify.sock"), dir.join("logs/service.log"));
        trial.world.kill(&relay).await?;

        not_ready_before_the_anchor_is_checked(&trial, &socket, &log, &config).await?;

        let mut service = Service::start(&socket, &log, program::cityrelay(), ["run", "--config", &config])?;
        service.expect("READY=1", |line| line == "READY=1").await?;
        let before = service.said().iter().position(|line| line == "READY=1").unwrap_or_default();
        let starting = &service.said()[..before];
        ensure!(!starting.iter().any(|line| is_status(line, &[" peers; "])), "it was at work before: {starting:?}");
        service.expect("a status", |line| is_status(line, &[" at ", "5 of 5 peers", "no trouble"])).await?;
        let status = service.said().iter().rfind(|line| line.starts_with("STATUS=")).cloned().unwrap_or_default();
        trial.scene.send_round(1, 1).await?;
        // Kept current: the chains have grown since.
        service.expect("another status", |line| is_status(line, &[" at "]) && line != status).await?;
        for _ in 0..4 {
            service.expect("WATCHDOG=1", |line| line == "WATCHDOG=1").await?;
        }
        ensure!(service.said().iter().filter(|line| *line == "READY=1").count() == 1, "READY=1 is said once");
        let last_words = service.stop().await?;
        ensure!(!last_words.iter().any(|line| line == "READY=1"), "{last_words:?}");
        let status = last_words.iter().rfind(|line| line.starts_with("STATUS=")).context("a last status")?;
        ensure!(is_status(status, &["stopping"]), "{status}");

        a_blocked_loop_loses_the_watchdog(&trial, &socket, &log, &config).await?;

        // Nothing of this has cost a message.
        trial.world.run(&relay)?;
        let found = trial.finish().await?;
        ensure!(found == 12, "12 messages were sent, the chains have {found}");
        Ok(())
    });
}

/// With nodes that do not answer it lives and waits, says for what, and can be stopped.
async fn not_ready_before_the_anchor_is_checked(
    trial: &Trial,
    socket: &Path,
    log: &Path,
    config: &str,
) -> anyhow::Result<()> {
    let city = &trial.world.cities()[0].name;
    let away = format!("chains.{city}.nodes=[{{ name = \"away\", url = \"http://127.0.0.1:1\" }}]");
    let mut service = Service::start(socket, log, program::cityrelay(), ["run", "--config", config, "--set", &away])?;
    let waits = format!("waits for nodes of [{city}]");
    service.expect("what it waits for", |line| is_status(line, &["starting", &waits, "a first try of []"])).await?;
    for _ in 0..BEATS_BEFORE_READY {
        service.expect("WATCHDOG=1", |line| line == "WATCHDOG=1").await?;
        service.expect("more time", |line| line.starts_with("EXTEND_TIMEOUT_USEC=")).await?;
    }
    let said = service.stop().await?;
    ensure!(!said.iter().any(|line| line == "READY=1"), "it was ready without its chain: {said:?}");
    Ok(())
}

async fn a_blocked_loop_loses_the_watchdog(
    trial: &Trial,
    socket: &Path,
    log: &Path,
    config: &str,
) -> anyhow::Result<()> {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_blocked-loop"));
    let mut service = Service::start(socket, log, &program, [config])?;
    service.expect("READY=1", |line| line == "READY=1").await?;
    // The provider is the process's; somebody else may have set it.
    drop(rustls::crypto::ring::default_provider().install_default());
    let url = format!("http://127.0.0.1:{}/livez", trial.parties[0].metrics_port);
    ensure!(reqwest::get(&url).await?.status() == 200, "it lives");
    let mut input = service.child().stdin.take().context("a standard input")?;
    input.write_all(b"block\n").await?;
    // What was said before the line arrived is not counted.
    let deadline = Instant::now() + UNTIL_DEAD;
    while let Some(lines) = service.next(SILENCE).await? {
        ensure!(Instant::now() < deadline, "a blocked loop says {lines:?}");
    }
    while reqwest::get(&url).await?.status() != 503 {
        ensure!(Instant::now() < deadline, "/livez takes a blocked loop for alive");
        sleep(Duration::from_millis(250)).await;
    }
    ensure!(service.next(Duration::ZERO).await?.is_none(), "a blocked loop has fed the watchdog");
    service.child().kill().await?;
    Ok(())
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").canonicalize().unwrap()
}

fn unit(name: &str) -> String {
    std::fs::read_to_string(deploy().join("systemd").join(name)).unwrap()
}

/// Runs systemd's own checker on the units, with the program where the test has built it.
fn analyze(arguments: &[&str], units: &[&str]) -> (bool, String) {
    let dir = tempfile::tempdir().unwrap();
    let paths = units.iter().map(|name| {
        let path = dir.path().join(name);
        std::fs::write(&path, unit(name).replace("/usr/bin/cityrelay", program::cityrelay().to_str().unwrap()))
            .unwrap();
        path
    });
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .args(paths)
        .output()
        .expect("systemd-analyze checks the units: apt-get install systemd");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

const UNITS: [&str; 2] = ["cityrelay.service", "cityrelay@.service"];

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let (is_fine, said) = analyze(&["verify", "--man=no"], &UNITS);
    assert!(is_fine && said.is_empty(), "{said}");
}

#[test]
fn the_units_are_sandboxed() {
    let (is_fine, said) = analyze(&["security", "--offline=yes", "--threshold", MAX_EXPOSURE], &UNITS);
    assert!(is_fine && said.matches("Overall exposure level").count() == UNITS.len(), "{said}");
}

#[test]
fn the_template_is_the_unit_with_folders_of_its_own() {
    let one = unit(UNITS[0])
        .replace("city chains\n", "city chains (%i)\n")
        .replace("--config /etc/cityrelay\n", "--config /etc/cityrelay/%i\n")
        .replace("Directory=cityrelay\n", "Directory=cityrelay/%i\n")
        .replace("Directory=cityrelay cityrelay-signer\n", "Directory=cityrelay/%i cityrelay/%i-signer\n")
        .replace("/etc/cityrelay/keys\n", "/etc/cityrelay/%i/keys\n");
    assert_eq!(one, unit(UNITS[1]));
}
