//! This machine: disk, limits, ports, key files.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cityrelay_core::frame::Role;
use cityrelay_link::Identity;
use nix::unistd::User;

use super::{Area, Finding, Instance, Repair};
use crate::config::Config;
use crate::config::settings::KeySource;
use crate::signer::file_key::FileKey;
use crate::signer::remote::RemoteSigner;

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
pub fn disk(config: &Config, instance: &Instance) -> Vec<Finding> {
    let data_dir = &config.node.data_dir;
    let subject = data_dir.display().to_string();
    let Some(folder) = nearest_folder(data_dir) else {
        return vec![Area::Disk.broken(subject, "no folder above it exists", make(data_dir))];
    };
    let mut findings = Vec::new();
    match rustix::fs::statvfs(&folder) {
        Err(error) => {
            let repair = Repair::of("findmnt", ["--target", &subject]).advice("the volume does not answer: see dmesg");
            findings.push(Area::Disk.broken(&subject, format!("its room can't be told: {error}"), repair));
        }
        Ok(room) => {
            let free = room.f_bavail.saturating_mul(room.f_frsize);
            let words = format!("{} MiB free", free >> 20);
            findings.push(match free {
                0..LEAST_FREE_BYTES => Area::Disk.broken(&subject, words, make_room(&folder)),
                LEAST_FREE_BYTES..LOW_FREE_BYTES => Area::Disk.warning(&subject, words, make_room(&folder)),
                _ => Area::Disk.ok(&subject, words),
            });
        }
    }
    findings.push(match (folder == *data_dir, time_syncs(&folder)) {
        (false, _) => Area::Disk.warning(&subject, "does not exist yet", make(data_dir)),
        (true, Err(error)) => {
            Area::Disk.broken(&subject, format!("can't be written: {error}"), unwritable(&folder, &error, instance))
        }
        (true, Ok(median)) if median > SLOW_SYNC => Area::Disk.warning(
            &subject,
            format!("a sync takes {} ms", median.as_millis()),
            instance.edit("node.data_dir").advice(
                "stop the daemon, move the folder to a faster disk, name it here: every message waits for one sync",
            ),
        ),
        (true, Ok(median)) => Area::Disk.ok(&subject, format!("a sync takes {:.1} ms", median.as_secs_f64() * 1000.0)),
    });
    findings
}

fn make(folder: &Path) -> Repair {
    let folder = folder.display().to_string();
    Repair::of("install", ["-d", "-m", "0700", "-o", DAEMON_USER, "-g", DAEMON_USER, &folder])
}

fn make_room(folder: &Path) -> Repair {
    let folder = folder.display().to_string();
    let volume = Repair::of("findmnt", ["--noheadings", "--output", "TARGET", "--target", &folder]);
    let biggest = format!("du -xh --max-depth=3 \"$({})\" | sort -h | tail", volume.command());
    Repair::of(&biggest, [])
        .advice("free room on its volume, or move node.data_dir to a larger one; this shows what fills it")
}

/// Somebody else's folder is asked about as its owner; a volume that takes no writes is shown.
fn unwritable(folder: &Path, error: &std::io::Error, instance: &Instance) -> Repair {
    let owner = fs::metadata(folder).ok().and_then(|metadata| User::from_uid(metadata.uid().into()).ok().flatten());
    match owner {
        Some(owner) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            let doctor = instance.cityrelay(["doctor"]);
            Repair::of(&format!("runuser -u {} -- {}", owner.name, doctor.command()), [])
                .advice("it belongs to another user: look as that one")
        }
        _ => Repair::of("findmnt", ["--target", &folder.display().to_string()])
            .advice("a volume that is full, broken or mounted read-only: see dmesg"),
    }
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
pub fn limits(instance: &Instance) -> Finding {
    let subject = "open files";
    match rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        Some(files) if files < LEAST_OPEN_FILES => {
            Area::Limits.warning(subject, format!("at most {files}"), more_files(instance))
        }
        Some(files) => Area::Limits.ok(subject, format!("at most {files}")),
        None => Area::Limits.ok(subject, "unlimited"),
    }
}

fn more_files(instance: &Instance) -> Repair {
    match instance.unit() {
        Some(unit) => Repair::of("systemctl", ["edit", &unit])
            .advice(format!("[Service] LimitNOFILE={LEAST_OPEN_FILES} there, where the daemon itself has so few")),
        None => Repair::of("ulimit", ["-n", &LEAST_OPEN_FILES.to_string()]).then(&instance.cityrelay(["run"])),
    }
}

/// The addresses that the daemon listens on, free while it does not run.
#[must_use]
pub fn ports(config: &Config, instance: &Instance) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(listen) = config.link.listen {
        findings.push(port("link.listen", "UDP", listen, instance, || UdpSocket::bind(listen).map(drop)));
    }
    let listen = config.metrics.listen;
    findings.push(port("metrics.listen", "TCP", listen, instance, || TcpListener::bind(listen).map(drop)));
    findings
}

fn port(
    key: &str,
    protocol: &str,
    listen: SocketAddr,
    instance: &Instance,
    bind: impl FnOnce() -> std::io::Result<()>,
) -> Finding {
    let (address, daemon_runs) = (format!("{protocol} {listen}"), instance.runs());
    match bind() {
        Ok(()) if daemon_runs => Area::Ports.warning(
            key,
            format!("{address} is not held by the daemon that runs"),
            instance.restart().advice("it was started with another address: this one holds from its next start on"),
        ),
        Ok(()) => Area::Ports.ok(key, format!("{address} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && daemon_runs => {
            Area::Ports.ok(key, format!("{address} is held, and the daemon runs"))
        }
        Err(error) => {
            let repair = if error.kind() == std::io::ErrorKind::AddrInUse {
                Repair::of("ss", ["-tulpn", &format!("sport = :{}", listen.port())])
                    .advice("this shows who holds it: end that, or choose another port")
            } else {
                instance
                    .edit(key)
                    .advice("no address of this machine that this user may listen on: `ip address` shows them")
            };
            Area::Ports.broken(key, format!("{address} can't be had: {error}"), repair)
        }
    }
}

/// The key files of this process.
#[must_use]
pub fn keys(config: &Config, instance: &Instance) -> Vec<Finding> {
    let mut findings = Vec::new();
    let file = &config.link.identity_file;
    findings.push(match Identity::load(file) {
        Ok(identity) => {
            Area::Keys.ok("link key", format!("{}: fingerprint {}", file.display(), identity.fingerprint()))
        }
        Err(error) => Area::Keys.broken("link key", error.to_string(), key_file(file, KeyKind::Link, instance)),
    });
    if let (Role::Attester, Some(attester)) = (config.node.role, &config.attester) {
        findings.push(attester_key(&attester.key, instance));
    }
    findings
}

/// The key that signs, or the signer that has it.
fn attester_key(source: &KeySource, instance: &Instance) -> Finding {
    match source {
        KeySource::File { path, address } => match FileKey::load(path, *address) {
            Ok(key) => Area::Keys.ok("attester key", format!("{}: address {}", path.display(), key.id())),
            Err(error) => {
                Area::Keys.broken("attester key", format!("{error:#}"), key_file(path, KeyKind::Attester, instance))
            }
        },
        KeySource::Signer { socket, address } => match RemoteSigner::new(socket, *address).probe() {
            Ok(()) => Area::Keys.ok("signer", format!("{}: has the key of {address}", socket.display())),
            Err(error) => Area::Keys.broken("signer", error.to_string(), signer(socket)),
        },
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyKind {
    Link,
    Attester,
}

/// A file that is missing is made, one that others may read is closed, and whatever else stands there is put aside.
fn key_file(file: &Path, kind: KeyKind, instance: &Instance) -> Repair {
    let name = file.display().to_string();
    let (word, known) = match kind {
        KeyKind::Link => {
            ("link", "a backup of it spares the peers the change; with a new one each of them pins its fingerprint")
        }
        KeyKind::Attester => ("attester", "restore it from its backup; a new one counts only once it was rotated in"),
    };
    let new = instance.cityrelay(["keys", "new", word, "--out", &name]);
    let Ok(metadata) = fs::symlink_metadata(file) else { return new.advice(known) };
    if metadata.is_file() && metadata.mode() & 0o077 != 0 {
        return Repair::of("chmod", ["0600", &name]).advice("others may have read it: replace it where that matters");
    }
    Repair::of("mv", ["--no-clobber", &name, &format!("{name}.unusable")]).then(&new).advice(known)
}

/// The unit of the signer that listens at a socket of the packages' form, `/run/cityrelay-signer/NAME/signer.sock`.
fn signer(socket: &Path) -> Repair {
    let folder = socket.parent().filter(|folder| folder.parent() == Some(Path::new(SIGNER_SOCKETS)));
    match folder.and_then(Path::file_name).and_then(|name| name.to_str()) {
        Some(name) => Repair::of("systemctl", ["restart", &format!("cityrelay-signer@{name}")]),
        None => Repair::of("systemctl", ["status", "cityrelay-signer@*"]),
    }
    .advice("it must run, have that key, and let this user ask (deploy/SIGNER.md)")
}

/// Where the packages' signers have their sockets, each in a folder of its own.
const SIGNER_SOCKETS: &str = "/run/cityrelay-signer";

/// The user of the packages' units.
const DAEMON_USER: &str = "cityrelay";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::Verdict;
    use super::super::instance::example;
    use super::*;

    #[test]
    fn a_port_is_free_or_held_by_the_daemon_that_runs() {
        let held = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        let look =
            |runs| port("link.listen", "UDP", address, &example(runs), || UdpSocket::bind(address).map(drop)).verdict();
        assert_eq!(look(false), Verdict::Broken);
        assert_eq!(look(true), Verdict::Ok);
        drop(held);
        assert_eq!(look(false), Verdict::Ok);
        assert_eq!(look(true), Verdict::Warning);
    }

    #[test]
    fn a_key_file_is_made_closed_or_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("link.key");
        let name = file.display();
        let command = || key_file(&file, KeyKind::Link, &example(false)).command().to_owned();
        let new = format!("cityrelay --config /etc/cityrelay/example/x.toml keys new link --out {name}");
        assert_eq!(command(), new);
        fs::write(&file, "rubbish").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(command(), format!("chmod 0600 {name}"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(command(), format!("mv --no-clobber {name} {name}.unusable && {new}"));
    }

    #[test]
    fn a_signer_is_started_by_the_name_of_its_socket() {
        let command = |socket: &str| signer(Path::new(socket)).command().to_owned();
        assert_eq!(command("/run/cityrelay-signer/a/signer.sock"), "systemctl restart cityrelay-signer@a");
        assert_eq!(command("/srv/a/signer.sock"), "systemctl status 'cityrelay-signer@*'");
    }

    #[test]
    fn syncs_are_timed_and_leave_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        time_syncs(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(time_syncs(&folder.path().join("none")).is_err());
    }
}
