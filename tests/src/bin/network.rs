//! Relays with a disturbed network between them: `network [--messages N] [TRIAL…]` plays all trials, or those that are named.
//!
//! Each trial is a process of its own in a network namespace of its own; what disturbs is gone when it ends. `tests/network`
//! calls this.

use std::env;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, bail, ensure};
use cityrelay_tests::process::network::namespaces::TOOLS;
use cityrelay_tests::process::network::{self, Kind};
use cityrelay_tests::process::{play, program};

/// Messages that wait for the end of the outage.
const MESSAGES: u64 = 100_000;

/// Says to this program that it is the process of one trial.
const INSIDE: &str = "CITYRELAY_NETWORK_INSIDE";

fn main() -> anyhow::Result<ExitCode> {
    let mut messages = MESSAGES;
    let mut chosen = Vec::new();
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--messages" {
            let value = arguments.next().context("--messages needs a number")?;
            messages = value.parse().with_context(|| format!("--messages: expected a number, got {value:?}"))?;
        } else {
            let known = Kind::ALL.into_iter().find(|(name, _)| *name == argument);
            let names = Kind::ALL.map(|(name, _)| name).join(", ");
            chosen.push(known.with_context(|| format!("{argument:?} is no trial; known are {names}"))?);
        }
    }
    if env::var_os(INSIDE).is_some() {
        let [(name, kind)] = chosen[..] else { bail!("expected one trial in a namespace, got {}", chosen.len()) };
        play(name, async |dir| {
            println!("{name}: {}", network::play(&dir, kind, messages).await?);
            Ok(())
        });
        return Ok(ExitCode::SUCCESS);
    }
    verify_tools()?;
    if chosen.is_empty() {
        chosen = Kind::ALL.into();
    }
    // A namespace without a network builds nothing.
    let cityrelay = program::cityrelay();
    let mut passed = 0;
    for (name, _) in &chosen {
        let played = Command::new("unshare")
            .args(["--net", "--"])
            .arg(env::current_exe()?)
            .args(["--messages", &messages.to_string(), name])
            .env(INSIDE, "1")
            .env("CITYRELAY_PROGRAM", cityrelay)
            .status()?;
        passed += usize::from(played.success());
    }
    println!("{passed} passed, {} failed", chosen.len() - passed);
    Ok(if passed == chosen.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Names what is missing, and what installs it.
fn verify_tools() -> anyhow::Result<()> {
    for (tool, package) in TOOLS {
        let found = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        ensure!(found.is_ok(), "{tool} is missing: apt-get install {package}");
    }
    let made = Command::new("unshare").args(["--net", "true"]).output()?;
    ensure!(
        made.status.success(),
        "no network namespace can be made here ({}): run this as root, in a container with CAP_SYS_ADMIN and CAP_NET_ADMIN",
        String::from_utf8_lossy(&made.stderr).trim()
    );
    Ok(())
}
