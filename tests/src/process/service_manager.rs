//! The service manager's side of sd_notify(3): a socket on which a process says how it is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout, timeout_at};

/// How long a process may take for what it has to say.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest message.
const MAX_MESSAGE_BYTES: usize = 4096;

/// A process that was started as a service, and the socket it talks to. Dropping it kills the process.
#[derive(Debug)]
pub struct Service {
    socket: UnixDatagram,
    child: Child,
    /// Everything that was said, a variable a line.
    said: Vec<String>,
}

impl Service {
    /// Starts a program with the environment of a service; what it prints goes to `log`.
    ///
    /// # Errors
    /// When the socket can't be made, or the program can't be started.
    pub fn start(
        socket: &Path,
        log: &Path,
        program: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> anyhow::Result<Self> {
        if socket.exists() {
            std::fs::remove_file(socket)?;
        }
        let path: PathBuf = socket.to_owned();
        let socket = UnixDatagram::bind(&path).with_context(|| format!("listen on {}", path.display()))?;
        let log = std::fs::File::create(log)?;
        let child = Command::new(program)
            .args(arguments)
            .env("NOTIFY_SOCKET", &path)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        Ok(Self { socket, child, said: Vec::new() })
    }

    /// The process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Everything said so far, a variable a line.
    #[must_use]
    pub fn said(&self) -> &[String] {
        &self.said
    }

    /// Waits for one message, and returns its lines; `None` when none comes within `patience`.
    ///
    /// # Errors
    /// When the socket fails, or the message is no text.
    pub async fn next(&mut self, patience: Duration) -> anyhow::Result<Option<Vec<String>>> {
        let mut buffer = [0; MAX_MESSAGE_BYTES];
        let Ok(received) = timeout(patience, self.socket.recv(&mut buffer)).await else { return Ok(None) };
        let text = std::str::from_utf8(buffer.get(..received?).unwrap_or_default())?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        self.said.extend(lines.iter().cloned());
        Ok(Some(lines))
    }

    /// Waits for a line that `is_expected`, and returns it.
    ///
    /// # Errors
    /// When it is not said in time; the error has everything that was said.
    pub async fn expect(&mut self, what: &str, is_expected: impl Fn(&str) -> bool) -> anyhow::Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let next = timeout_at(deadline, self.next(PATIENCE)).await;
            let lines = match next {
                Ok(lines) => lines?.unwrap_or_default(),
                Err(_) => Vec::new(),
            };
            ensure!(!lines.is_empty(), "expected {what}; it said\n{}", self.said.join("\n"));
            if let Some(line) = lines.into_iter().find(|line| is_expected(line)) {
                return Ok(line);
            }
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        Ok(kill_process(pid.context("the process runs")?, signal)?)
    }

    /// Stops the process as a service manager does, and returns what it said from the signal to its end.
    ///
    /// # Errors
    /// When it does not end in time, or not well.
    pub async fn stop(mut self) -> anyhow::Result<Vec<String>> {
        while self.next(Duration::ZERO).await?.is_some() {}
        let before = self.said.len();
        self.signal(Signal::TERM)?;
        self.expect("STOPPING=1", |line| line == "STOPPING=1").await?;
        let status = timeout(PATIENCE, self.child.wait()).await.context("it does not end")??;
        ensure!(status.code() == Some(0), "it ended with {status}");
        while self.next(Duration::ZERO).await?.is_some() {}
        Ok(self.said.split_off(before))
    }
}
