//! This machine: disk, limits, ports, key files.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cityrelay_core::frame::Role;
use cityrelay_link::Identity;

use super::{Area, Finding};
use crate::config::Config;
use crate::keys::read_secret;

/// Less room than this is broken: the journal needs some to compact itself.
const LEAST_FREE_BYTES: u64 = 256 << 20;

/// Less room than this is a warning.
const LOW_FREE_BYTES: u64 = 2 << 30;

/// A sync that takes longer than this slows every message.
const SLOW_SYNC: Duration = Duration::from_millis(50);

/// Syncs that are timed.
const SYNCS: usize = 5;

/// Fewer open files than this end in refused sessions.
const LEAST_OPEN_FILES: u64 = 1024;

/// Room and speed of the disk below the data folder.
#[must_use]
pub fn disk(config: &Config) -> Vec<Finding> {
    let data_dir = &config.node.data_dir;
    let subject = data_dir.display().to_string();
    let Some(folder) = nearest_folder(data_dir) else {
        return vec![Area::Disk.broken(subject, "no folder above it exists", make(data_dir))];
    };
    let mut findings = Vec::new();
    match rustix::fs::statvfs(&folder) {
        Err(error) => {
            findings.push(Area::Disk.broken(&subject, format!("its room can't be told: {error}"), "see dmesg and df"));
        }
        Ok(room) => {
            let free = room.f_bavail.saturating_mul(room.f_frsize);
            let words = format!("{} MiB free", free >> 20);
            let repair = "free room, or move node.data_dir to a larger disk";
            findings.push(match free {
                0..LEAST_FREE_BYTES => Area::Disk.broken(&subject, words, repair),
                LEAST_FREE_BYTES..LOW_FREE_BYTES => Area::Disk.warning(&subject, words, repair),
                _ => Area::Disk.ok(&subject, words),
            });
        }
    }
    findings.push(match (folder == *data_dir, time_syncs(&folder)) {
        (false, _) => Area::Disk.warning(&subject, "does not exist yet", make(data_dir)),
        (true, Err(error)) => Area::Disk.broken(
            &subject,
            format!("can't be written: {error}"),
            format!("ls -ld {subject}; run this as the daemon's user"),
        ),
        (true, Ok(median)) if median > SLOW_SYNC => Area::Disk.warning(
            &subject,
            format!("a sync takes {} ms", median.as_millis()),
            "move node.data_dir to a faster disk: every message waits for one sync",
        ),
        (true, Ok(median)) => Area::Disk.ok(&subject, format!("a sync takes {:.1} ms", median.as_secs_f64() * 1000.0)),
    });
    findings
}

fn make(folder: &Path) -> String {
    format!("install -d -m 0700 -o cityrelay {}", folder.display())
}

fn nearest_folder(path: &Path) -> Option<PathBuf> {
    path.ancestors().find(|folder| folder.is_dir()).map(Path::to_owned)
}

/// The median of a few small writes with a sync after each, in a file that is removed again.
fn time_syncs(folder: &Path) -> std::io::Result<Duration> {
    let path = folder.join(format!(".doctor-{}", std::process::id()));
    let timed = (|| {
        let mut file = File::create_new(&path)?;
        let mut times = Vec::with_capacity(SYNCS);
        for _ in 0..SYNCS {
            let started = Instant::now();
            file.write_all(&[0; 4096])?;
            file.sync_data()?;
            times.push(started.elapsed());
        }
        times.sort_unstable();
        Ok(times.get(SYNCS / 2).copied().unwrap_or_default())
    })();
    // What can't be removed was most likely never made.
    let _ = fs::remove_file(&path);
    timed
}

/// What the system permits a process that is started like this one.
#[must_use]
pub fn limits() -> Finding {
    let subject = "open files";
    match rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        Some(files) if files < LEAST_OPEN_FILES => Area::Limits.warning(
            subject,
            format!("at most {files}"),
            format!("LimitNOFILE={LEAST_OPEN_FILES} in the unit, or ulimit -n"),
        ),
        Some(files) => Area::Limits.ok(subject, format!("at most {files}")),
        None => Area::Limits.ok(subject, "unlimited"),
    }
}

/// The addresses that the daemon listens on, free while it does not run.
#[must_use]
pub fn ports(config: &Config, daemon_runs: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(listen) = config.link.listen {
        findings.push(port("link.listen", format!("UDP {listen}"), daemon_runs, || UdpSocket::bind(listen).map(drop)));
    }
    let listen = config.metrics.listen;
    findings.push(port("metrics.listen", format!("TCP {listen}"), daemon_runs, || TcpListener::bind(listen).map(drop)));
    findings
}

fn port(key: &str, address: String, daemon_runs: bool, bind: impl FnOnce() -> std::io::Result<()>) -> Finding {
    match bind() {
        Ok(()) if daemon_runs => Area::Ports.warning(
            key,
            format!("{address} is not held by the daemon that runs"),
            "cityrelay config explain, and restart it",
        ),
        Ok(()) => Area::Ports.ok(key, format!("{address} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && daemon_runs => {
            Area::Ports.ok(key, format!("{address} is held, and the daemon runs"))
        }
        Err(error) => {
            Area::Ports.broken(key, format!("{address} can't be had: {error}"), "ss -tulpn shows who holds it")
        }
    }
}

/// The key files of this process.
#[must_use]
pub fn keys(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let file = &config.link.identity_file;
    findings.push(match Identity::load(file) {
        Ok(identity) => {
            Area::Keys.ok("link key", format!("{}: fingerprint {}", file.display(), identity.fingerprint()))
        }
        Err(error) => Area::Keys.broken(
            "link key",
            error.to_string(),
            format!("cityrelay keys new link --out {}", file.display()),
        ),
    });
    if let (Role::Attester, Some(attester)) = (config.node.role, &config.attester) {
        let file = attester.key_file.display();
        findings.push(match read_secret(&attester.key_file) {
            Ok(_) => Area::Keys.ok("attester key", file.to_string()),
            Err(error) => {
                let repair = format!("cityrelay keys new attester --out {file}, or restore it");
                Area::Keys.broken("attester key", format!("{error:#}"), repair)
            }
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_port_is_free_or_held_by_the_daemon_that_runs() {
        let held = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        let look =
            |daemon_runs| port("link.listen", address.to_string(), daemon_runs, || UdpSocket::bind(address).map(drop));
        assert_eq!(look(false).verdict, Verdict::Broken);
        assert_eq!(look(true).verdict, Verdict::Ok);
        drop(held);
        assert_eq!(look(false).verdict, Verdict::Ok);
        assert_eq!(look(true).verdict, Verdict::Warning);
    }

    #[test]
    fn syncs_are_timed_and_leave_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        time_syncs(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(time_syncs(&folder.path().join("none")).is_err());
    }
}
