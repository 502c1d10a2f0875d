//! A program in a terminal: a pseudo-terminal of the kernel, and what a terminal would show of what comes out.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// How long the program may take to show something, or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running program and its screen.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    child: Child,
    screen: Arc<Mutex<Screen>>,
    news: watch::Receiver<()>,
}

struct Screen(vt100::Parser);

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.screen().contents())
    }
}

impl Terminal {
    /// Starts `command` with a terminal of this size as its controlling one.
    ///
    /// # Errors
    /// When there is no pseudo-terminal, or the program can't be started.
    pub fn start(command: &[&str], rows: u16, columns: u16) -> anyhow::Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).context("a pseudo-terminal")?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let path = ptsname(&master, Vec::new())?.into_string().context("its name")?;
        tcsetwinsize(&master, size(rows, columns))?;
        let slave = || OpenOptions::new().read(true).write(true).open(&path).with_context(|| format!("open {path}"));
        // Of util-linux, on every Debian: makes the terminal the controlling one, so that it sends signals.
        let child = Command::new("setsid")
            .arg("--ctty")
            .args(command)
            .env("TERM", "xterm-256color")
            .stdin(Stdio::from(slave()?))
            .stdout(Stdio::from(slave()?))
            .stderr(Stdio::from(slave()?))
            .kill_on_drop(true)
            .spawn()
            .context("start setsid")?;
        let master = File::from(master);
        let screen = Arc::new(Mutex::new(Screen(vt100::Parser::new(rows, columns, 0))));
        let (changed, news) = watch::channel(());
        let (mut output, shown) = (master.try_clone()?, Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The master gives an error when nobody holds the other side any more.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                lock(&shown).0.process(&bytes[..count]);
                changed.send_replace(());
            }
        });
        Ok(Self { master, child, screen, news })
    }

    /// What is on the screen, without trailing space.
    #[must_use]
    pub fn text(&self) -> String {
        lock(&self.screen).0.screen().contents()
    }

    /// Whether the program has taken the whole screen, as full-screen programs do.
    #[must_use]
    pub fn is_full_screen(&self) -> bool {
        lock(&self.screen).0.screen().alternate_screen()
    }

    /// Whether keys go to the program one by one and unseen.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn is_raw(&self) -> anyhow::Result<bool> {
        Ok(!tcgetattr(&self.master)?.local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO))
    }

    /// Types.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn press(&mut self, keys: &str) -> anyhow::Result<()> {
        Ok(self.master.write_all(keys.as_bytes())?)
    }

    /// Makes the window another size; the kernel tells the program.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn resize(&mut self, rows: u16, columns: u16) -> anyhow::Result<()> {
        lock(&self.screen).0.screen_mut().set_size(rows, columns);
        Ok(tcsetwinsize(&self.master, size(rows, columns))?)
    }

    /// Waits until the screen's text is as wanted.
    ///
    /// # Errors
    /// With the screen, when it does not come to that in time.
    pub async fn wait_for(&mut self, what: &str, is_there: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        let waiting = async {
            loop {
                self.news.mark_unchanged();
                if is_there(&self.text()) {
                    return true;
                }
                if self.news.changed().await.is_err() {
                    return is_there(&self.text());
                }
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await != Ok(true) {
            bail!("waited for {what}; the screen shows\n{}", self.text());
        }
        Ok(())
    }

    /// Waits until the program has ended by itself.
    ///
    /// # Errors
    /// With the screen, when it does not in time.
    pub async fn wait_for_end(&mut self) -> anyhow::Result<ExitStatus> {
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!("the program does not end; the screen shows\n{}", self.text()),
        }
    }
}

const fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn lock(screen: &Mutex<Screen>) -> MutexGuard<'_, Screen> {
    screen.lock().unwrap_or_else(PoisonError::into_inner)
}
