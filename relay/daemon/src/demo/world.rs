//! The processes of a demo or a test, in one folder: configurations, keys, journals, logs.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::{Child, Command};

use super::cities::{self, City};
use crate::config::settings::JOURNAL_FOLDER;
use crate::control::{ControlReply, ControlRequest, StatusReport, WhyQuery, WhyReport, ask};

/// Name of the process that runs the chains.
const CHAINS: &str = "chains";

/// The folder of an attester's signer, in that of the attester.
pub const SIGNER_FOLDER: &str = "signer";

/// A folder with running processes. Dropping it kills them; the folder stays.
#[derive(Debug)]
pub struct World {
    dir: PathBuf,
    binary: PathBuf,
    launchers: BTreeMap<String, Vec<String>>,
    children: BTreeMap<String, Child>,
    cities: Vec<City>,
}

impl World {
    /// Starts both chains with `binary`, which is this program, in `dir`.
    ///
    /// # Errors
    /// When the folder can't be made or the chains don't start.
    pub async fn start(dir: &Path, binary: &Path, pairing: &str) -> anyhow::Result<Self> {
        let mut world = Self::beside(dir, binary, Vec::new())?;
        let dir = dir.display().to_string();
        world.spawn(CHAINS, &["demo-chains", "--dir", &dir, "--pairing", pairing])?;
        world.cities = cities::wait_for(&world.dir).await.with_context(|| world.log_hint(CHAINS))?;
        Ok(world)
    }

    /// A folder for processes beside chains that run already.
    ///
    /// # Errors
    /// When the folder can't be made.
    pub fn beside(dir: &Path, binary: &Path, cities: Vec<City>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir.join("logs")).with_context(|| format!("make {}", dir.display()))?;
        let (dir, binary) = (dir.to_owned(), binary.to_owned());
        Ok(Self { dir, binary, launchers: BTreeMap::new(), children: BTreeMap::new(), cities })
    }

    /// Processes that are started from now on run this program.
    pub fn replace_program(&mut self, binary: &Path) {
        binary.clone_into(&mut self.binary);
    }

    /// The process `name` is started from now on by a command line that begins so, and that becomes the program which it ends
    /// with: one that enters a namespace, for instance.
    pub fn launch_by(&mut self, name: &str, launcher: Vec<String>) {
        self.launchers.insert(name.to_owned(), launcher);
    }

    /// The two cities.
    #[must_use]
    pub fn cities(&self) -> &[City] {
        &self.cities
    }

    /// The folder of one process.
    #[must_use]
    pub fn home(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The journal of one process.
    #[must_use]
    pub fn journal(&self, name: &str) -> PathBuf {
        self.home(name).join("data").join(JOURNAL_FOLDER)
    }

    /// The control socket of one process.
    #[must_use]
    pub fn socket(&self, name: &str) -> PathBuf {
        self.home(name).join("control.sock")
    }

    /// The configuration of one process: the file `cityrelay.toml`, or the folder `config` of files that are joined.
    #[must_use]
    pub fn config(&self, name: &str) -> PathBuf {
        let folder = self.home(name).join("config");
        if folder.is_dir() { folder } else { self.home(name).join("cityrelay.toml") }
    }

    /// Starts `cityrelay run` with the configuration that was written for `name`.
    ///
    /// # Errors
    /// When the program can't be started, or is running.
    pub fn run(&mut self, name: &str) -> anyhow::Result<()> {
        let config = self.config(name).display().to_string();
        self.spawn(name, &["run", "--with-parent", "--config", &config])
    }

    /// Starts `cityrelay signer` for the attester `name`, with key, socket and record in its folder. It is the process
    /// `<name>-signer`.
    ///
    /// # Errors
    /// When the program can't be started, or is running.
    pub fn run_signer(&mut self, name: &str) -> anyhow::Result<()> {
        let home = self.home(name).join(SIGNER_FOLDER);
        let file = |file: &str| home.join(file).display().to_string();
        let (key, socket, record) = (file("key"), file("socket"), file("record"));
        let arguments = ["signer", "--with-parent", "--key", &key, "--socket", &socket, "--record", &record];
        self.spawn(&format!("{name}-signer"), &arguments)
    }

    fn spawn(&mut self, name: &str, arguments: &[&str]) -> anyhow::Result<()> {
        if self.children.contains_key(name) {
            bail!("{name} is running");
        }
        let log = self.log(name);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("write {}", log.display()))?;
        let mut command = match self.launchers.get(name).map(Vec::as_slice) {
            Some([launcher, before @ ..]) => {
                let mut command = Command::new(launcher);
                command.args(before).arg(&self.binary);
                command
            }
            _ => Command::new(&self.binary),
        };
        let child = command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", self.binary.display()))?;
        self.children.insert(name.to_owned(), child);
        Ok(())
    }

    /// Ends a process with SIGKILL: it gets no chance to tidy up.
    ///
    /// # Errors
    /// When it is not running.
    pub async fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        let Some(mut child) = self.children.remove(name) else { bail!("{name} is not running") };
        child.kill().await.with_context(|| format!("kill {name}"))
    }

    /// Id of a running process.
    #[must_use]
    pub fn pid(&self, name: &str) -> Option<u32> {
        self.children.get(name).and_then(Child::id)
    }

    /// Waits until a process ends, which somebody has told it to.
    ///
    /// # Errors
    /// When it is not running, or does not end in time.
    pub async fn wait_for_end(&mut self, name: &str, timeout: Duration) -> anyhow::Result<ExitStatus> {
        let Some(mut child) = self.children.remove(name) else { bail!("{name} is not running") };
        let ended = tokio::time::timeout(timeout, child.wait()).await;
        let ended = ended.with_context(|| format!("{name} does not end; {}", self.log_hint(name)))?;
        ended.with_context(|| format!("wait for {name}"))
    }

    /// The first process that has ended by itself, with its log.
    pub fn casualty(&mut self) -> Option<String> {
        let dead = self.children.iter_mut().find_map(|(name, child)| match child.try_wait() {
            Ok(Some(status)) => Some((name.clone(), status)),
            _ => None,
        });
        dead.map(|(name, status)| format!("{name} ended by itself ({status}); {}", self.log_hint(&name)))
    }

    /// Asks a process where everything stands.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status(&self, name: &str) -> anyhow::Result<StatusReport> {
        match ask(&self.socket(name), &ControlRequest::Status).await? {
            ControlReply::Status(status) => Ok(status),
            _ => bail!("{name} answered something else"),
        }
    }

    /// Asks a process about a message.
    ///
    /// # Errors
    /// When it does not answer, or does not know the lane.
    pub async fn why(&self, name: &str, lane: &str, index: u64) -> anyhow::Result<WhyReport> {
        let query = WhyQuery::Position { lane: lane.to_owned(), index };
        match ask(&self.socket(name), &ControlRequest::Why(query)).await? {
            ControlReply::Why(report) => Ok(report),
            _ => bail!("{name} answered something else"),
        }
    }

    /// Waits until a process answers on its control socket.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn wait_for(&mut self, name: &str, timeout: Duration) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + timeout;
        while self.status(name).await.is_err() {
            if let Some(casualty) = self.casualty() {
                bail!("{casualty}");
            }
            if tokio::time::Instant::now() >= deadline {
                bail!("{name} does not answer; {}", self.log_hint(name));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// The log of one process.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{name}.log"))
    }

    fn log_hint(&self, name: &str) -> String {
        format!("its log is {}", self.log(name).display())
    }
}
