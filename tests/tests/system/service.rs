//! The daemon as a service: what it says to the service manager, and the units it is started by.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cityrelay_tests::process::installed::command;
use cityrelay_tests::process::service_manager::Service;
use cityrelay_tests::process::trial::Trial;
use cityrelay_tests::process::{play, program};
use rustix::process::Signal;
use serde_json::Value;
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

        not_ready_before_every_peer_was_tried(&socket, &log, Path::new(&config)).await?;

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
        a_reload_is_told_from_its_beginning_to_its_end(&mut service, &trial.world.home(&relay)).await?;
        let audit = command(Path::new(&config), &["audit"], &[]).await?;
        let by_signal = audit["orders"].as_array().context("orders")?;
        let is_kept = |order: &Value| order["user"] == "SIGHUP" && order["about"] == "reload";
        ensure!(by_signal.len() == 2 && by_signal.iter().all(is_kept), "{audit}");
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

/// A peer that never answers is tried once before READY=1, and is waited for no longer.
async fn not_ready_before_every_peer_was_tried(socket: &Path, log: &Path, config: &Path) -> anyhow::Result<()> {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let peer = format!(
        "[[peers]]\nname = \"silent\"\nrole = \"attester\"\nfingerprint = \"{}\"\naddress = \"{}\"\n",
        "5".repeat(64),
        silent.local_addr()?
    );
    // Beside the other one: its paths are relative.
    let with_silent = config.with_file_name("silent.toml");
    std::fs::write(&with_silent, format!("{}\n{peer}", std::fs::read_to_string(config)?))?;
    let path = with_silent.display().to_string();
    let mut service = Service::start(socket, log, program::cityrelay(), ["run", "--config", &path])?;
    let waits = |line: &str| is_status(line, &["starting", "waits for nodes of [] and a first try of [silent]"]);
    service.expect("what it waits for", waits).await?;
    ensure!(!service.said().iter().any(|line| line == "READY=1"), "it was ready before it had tried every peer");
    service.expect("READY=1", |line| line == "READY=1").await?;
    service.stop().await?;
    std::fs::remove_file(with_silent)?;
    Ok(())
}

/// What `Type=notify-reload` waits for: RELOADING=1 with a time not before the signal, then READY=1; also for a configuration
/// that is refused.
async fn a_reload_is_told_from_its_beginning_to_its_end(service: &mut Service, home: &Path) -> anyhow::Result<()> {
    let file = home.join("cityrelay.toml");
    let sound = std::fs::read_to_string(&file)?;
    for text in
        [sound.replace("max_delay = \"100ms\"", "max_delay = \"150ms\""), format!("{sound}\n[nonsense]\nx = 1\n")]
    {
        ensure!(text != sound, "the configuration has no such key");
        std::fs::write(&file, text)?;
        let before = monotonic_micros()?;
        service.signal(Signal::HUP)?;
        let deadline = Instant::now() + UNTIL_DEAD;
        let begun = loop {
            ensure!(Instant::now() < deadline, "RELOADING=1 is not said");
            let lines = service.next(SILENCE).await?.context("it says something")?;
            ensure!(!lines.iter().any(|line| line == "READY=1"), "READY=1 before RELOADING=1");
            if lines.iter().any(|line| line == "RELOADING=1") {
                break lines;
            }
        };
        let at = begun.iter().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        let at: i128 = at.context("MONOTONIC_USEC in the same message")?.parse()?;
        ensure!((before..=monotonic_micros()?).contains(&at), "{at} is not between signal ({before}) and now");
        service.expect("READY=1", |line| line == "READY=1").await?;
    }
    std::fs::write(&file, sound)?;
    Ok(())
}

fn monotonic_micros() -> anyhow::Result<i128> {
    match sd_notify::NotifyState::monotonic_usec_now()? {
        sd_notify::NotifyState::MonotonicUsec(micros) => Ok(micros),
        other => anyhow::bail!("expected a time, got {other:?}"),
    }
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
    let units: Vec<(&str, String)> = units.iter().map(|name| (*name, unit(name))).collect();
    analyze_text(arguments, &units)
}

fn analyze_text(arguments: &[&str], units: &[(&str, String)]) -> (bool, String) {
    let dir = tempfile::tempdir().unwrap();
    let paths = units.iter().map(|(name, text)| {
        let path = dir.path().join(name);
        std::fs::write(&path, text.replace("/usr/bin/cityrelay", program::cityrelay().to_str().unwrap())).unwrap();
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

const UNITS: [&str; 3] = ["cityrelay.service", "cityrelay@.service", "cityrelay-signer@.service"];

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let (is_fine, said) = analyze(&["verify", "--man=no"], &UNITS);
    assert!(is_fine && said.is_empty(), "{said}");
}

/// The number that `systemctl --version` begins with.
fn systemd_version() -> u32 {
    let output = Command::new("systemctl").arg("--version").output().expect("systemctl: apt-get install systemd");
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().nth(1).and_then(|version| version.parse().ok()).expect("systemctl names its version")
}

#[test]
fn systemd_253_and_later_waits_for_the_end_of_a_reload() {
    let drop_in = unit("notify-reload.conf");
    let settings: Vec<&str> = drop_in.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(settings, ["[Service]", "Type=notify-reload", "ExecReload="]);
    for name in UNITS {
        // As the drop-in leaves the unit.
        let kept = unit(name)
            .lines()
            .filter(|line| !line.starts_with("ExecReload="))
            .fold(String::new(), |text, line| text + line + "\n");
        let text = kept.replace("Type=notify\n", "Type=notify-reload\n");
        assert_ne!(text, kept);
        let (is_fine, said) = analyze_text(&["verify", "--man=no"], &[(name, text)]);
        if systemd_version() >= 253 {
            assert!(is_fine && said.is_empty(), "{said}");
        } else {
            let is_about_the_type = |line: &str| line.contains("Failed to parse service type");
            assert!(said.lines().count() == 1 && said.lines().all(is_about_the_type), "{said}");
        }
    }
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
