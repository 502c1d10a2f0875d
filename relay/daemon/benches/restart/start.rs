//! One start of the program.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cityrelay::demo::world::World;

/// How long a start may take.
const TIMEOUT: Duration = Duration::from_secs(120);

/// What one start took.
pub struct Start {
    /// Until the control socket answered.
    pub answers: Duration,
    /// Until it said that it is ready.
    pub ready: Duration,
    /// Resident memory at that moment.
    pub resident_bytes: u64,
}

impl Start {
    /// Starts the relay with that folder of data, and ends it with SIGKILL once it is ready.
    pub async fn of(world: &World, name: &str, data_dir: &Path) -> Self {
        let config = world.home(name).join("cityrelay.toml");
        let notify = world.home(name).join("notify.sock");
        let _ = std::fs::remove_file(&notify);
        let manager = UnixDatagram::bind(&notify).unwrap();
        manager.set_nonblocking(true).unwrap();

        let started = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_cityrelay"))
            .args(["run", "--config"])
            .arg(&config)
            .args(["--set", &format!("node.data_dir={}", data_dir.display())])
            .env("NOTIFY_SOCKET", &notify)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut answers = None;
        let ready = loop {
            if answers.is_none() && world.status(name).await.is_ok() {
                answers = Some(started.elapsed());
            }
            if is_ready(&manager) {
                break started.elapsed();
            }
            assert!(started.elapsed() < TIMEOUT && child.try_wait().unwrap().is_none(), "{name} does not get ready");
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        let resident_bytes = resident(&child);
        child.kill().unwrap();
        child.wait().unwrap();
        Self { answers: answers.unwrap_or(ready), ready, resident_bytes }
    }
}

fn is_ready(manager: &UnixDatagram) -> bool {
    let mut buffer = [0; 4096];
    while let Ok(length) = manager.recv(&mut buffer) {
        if buffer[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
            return true;
        }
    }
    false
}

fn resident(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
