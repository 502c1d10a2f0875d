//! The runbook's blocks of commands, run as they are written. Only variables come from outside, and what the service manager
//! is told is done by the test: units are processes of the [`World`](cityrelay::demo::world::World).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::time::timeout;

use super::program;
use super::prometheus::deployed;
use super::trial::{START_TIMEOUT, Trial};

/// How long a command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// Longer than the daemon gives itself to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// Begins what a line says to the service manager, which [`Walk`] then does.
const TOLD: &str = "told-systemctl ";

/// One who walks through the runbook.
#[derive(Debug)]
pub struct Walk {
    book: String,
    desk: PathBuf,
    walked: BTreeSet<String>,
}

/// Where a block is run: on the machine of a unit, with variables beside those that every machine has.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Name of the process.
    pub unit: String,
    /// Variables of the block.
    pub variables: Vec<(String, String)>,
}

impl Place {
    /// A machine with these variables.
    #[must_use]
    pub fn new(unit: &str, variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self { unit: unit.to_owned(), variables: variables.collect() }
    }

    /// The same with more variables.
    #[must_use]
    pub fn with(mut self, variables: &[(String, String)]) -> Self {
        self.variables.extend_from_slice(variables);
        self
    }
}

impl Walk {
    /// Opens the runbook. Files that its commands write without a folder lie in `desk`.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn begin(desk: PathBuf) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&desk)?;
        let book = std::fs::read_to_string(deployed("RUNBOOK.md")).context("the runbook")?;
        Ok(Self { book, desk, walked: BTreeSet::new() })
    }

    /// Names of all blocks of commands.
    pub fn blocks(&self) -> BTreeSet<String> {
        self.book.lines().filter_map(|line| line.strip_prefix("```sh ")).map(str::to_owned).collect()
    }

    /// Every block has been walked.
    ///
    /// # Errors
    /// With those that were not.
    pub fn verify_complete(&self) -> anyhow::Result<()> {
        let blocks = self.blocks();
        let left: Vec<_> = blocks.difference(&self.walked).collect();
        ensure!(left.is_empty() && !blocks.is_empty(), "nobody has walked through {left:?}");
        Ok(())
    }

    /// The commands of a block, continued lines joined.
    fn commands(&self, block: &str) -> anyhow::Result<Vec<String>> {
        let head = format!("```sh {block}\n");
        let (_, rest) = self.book.split_once(&head).with_context(|| format!("the runbook has no block {block:?}"))?;
        let (text, _) = rest.split_once("```").with_context(|| format!("block {block:?} does not end"))?;
        Ok(text.replace("\\\n", " ").lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
    }

    /// Runs a block. Returns what its commands print.
    ///
    /// # Errors
    /// The first command that fails, with what it said.
    pub async fn run(&mut self, trial: &mut Trial, block: &str, place: &Place) -> anyhow::Result<String> {
        let commands = self.commands(block)?;
        ensure!(!commands.is_empty(), "block {block:?} has no command");
        let mut printed = String::new();
        for command in &commands {
            let output = self.command(trial, command, place).await;
            let output = output.with_context(|| format!("{block}, at {}: {command}", place.unit))?;
            for line in output.lines() {
                match line.strip_prefix(TOLD) {
                    Some(told) => {
                        manage(trial, told).await.with_context(|| format!("{block}, at {}: {command}", place.unit))?;
                    }
                    None => printed.extend([line, "\n"]),
                }
            }
        }
        self.walked.insert(block.to_owned());
        Ok(printed)
    }

    async fn command(&self, trial: &Trial, command: &str, place: &Place) -> anyhow::Result<String> {
        let home = trial.world.home(&place.unit);
        let folder = program::cityrelay().parent().context("the program's folder")?;
        let path = std::env::var("PATH").unwrap_or_default();
        let script = format!("systemctl() {{ echo \"{TOLD}$*\"; }}\n{command}");
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", &script])
            .current_dir(&self.desk)
            .env("PATH", format!("{}:{path}", folder.display()))
            .env("UNIT", &place.unit)
            .env("DIR", trial.world.config(&place.unit))
            .env("CITYRELAY_CONFIG", trial.world.config(&place.unit))
            .env("STATE", home.join("data"))
            .envs(place.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = timeout(COMMAND_TIMEOUT, bash.output()).await.context("it does not end")??;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {said}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Does what the service manager was told.
async fn manage(trial: &mut Trial, told: &str) -> anyhow::Result<()> {
    match told.split_whitespace().collect::<Vec<_>>()[..] {
        ["start", unit] | ["enable", "--now", unit] => start(trial, unit).await,
        ["stop", unit] | ["disable", "--now", unit] => stop(trial, unit).await,
        ["restart", unit] => {
            stop(trial, unit).await?;
            start(trial, unit).await
        }
        _ => bail!("the test does not know what `systemctl {told}` means"),
    }
}

/// Ends a process as the service manager does.
async fn stop(trial: &mut Trial, unit: &str) -> anyhow::Result<()> {
    let pid = trial.world.pid(unit).and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    kill_process(pid.with_context(|| format!("{unit} is not running"))?, Signal::TERM)?;
    let status = trial.world.wait_for_end(unit, STOP_TIMEOUT).await?;
    ensure!(status.success(), "{unit} ended with {status}");
    Ok(())
}

async fn start(trial: &mut Trial, unit: &str) -> anyhow::Result<()> {
    trial.world.run(unit)?;
    trial.world.wait_for(unit, START_TIMEOUT).await
}
