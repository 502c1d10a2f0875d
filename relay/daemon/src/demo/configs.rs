//! Configurations and keys of the processes.

use std::fmt::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::ops::Range;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Context as _;
use cityrelay_core::attestation::attester_id;
use cityrelay_core::ids::AttesterId;
use cityrelay_link::{Fingerprint, Identity};
use k256::ecdsa::SigningKey;

use super::setup::{Account, Lane, Town, account_key, chain_section, write_key};
use super::world::World;

/// How many attesters there are, and how many must sign.
pub const ATTESTERS: usize = 4;
/// Signatures that are enough.
pub const THRESHOLD: u32 = 3;

/// Where ports are drawn: below those that the system gives to outgoing connections (32768 and up on Linux), so that none
/// is taken between the moment when it is drawn and the one when a process listens there.
const PORTS: Range<u16> = 20_000..32_000;

/// One process with its keys, drawn before anything runs.
#[derive(Clone, Debug)]
pub struct Party {
    /// Its name, also of its folder.
    pub name: String,
    /// Whether it is an attester.
    pub is_attester: bool,
    link_secret: [u8; 32],
    fingerprint: Fingerprint,
    /// Port on 127.0.0.1 where it listens.
    pub port: u16,
    /// Port on 127.0.0.1 of its metrics.
    pub metrics_port: u16,
    attester_secret: [u8; 32],
    /// Under which the committee knows it.
    pub attester: AttesterId,
}

impl Party {
    /// The key with which it signs, where it is an attester.
    ///
    /// # Errors
    /// Never for a party that was drawn here.
    pub fn attester_key(&self) -> anyhow::Result<SigningKey> {
        SigningKey::from_slice(&self.attester_secret).context("a drawn key")
    }
}

/// Draws the keys of a relay for each city and of `attesters` attesters.
///
/// # Errors
/// When no port is free.
pub fn parties(world: &World, attesters: usize) -> anyhow::Result<Vec<Party>> {
    let relays = world.cities().iter().map(|city| (format!("relay-{}", city.name), false));
    let attesters = (1..=attesters).map(|number| (format!("attester-{number}"), true));
    relays.chain(attesters).map(|(name, is_attester)| party(name, is_attester)).collect()
}

fn party(name: String, is_attester: bool) -> anyhow::Result<Party> {
    let link_secret: [u8; 32] = rand::random();
    let attester_secret: [u8; 32] = rand::random();
    let key = SigningKey::from_slice(&attester_secret).context("a drawn key")?;
    Ok(Party {
        name,
        is_attester,
        fingerprint: Identity::generate(&link_secret)?.fingerprint(),
        link_secret,
        port: free_udp_port()?,
        metrics_port: free_tcp_port()?,
        attester: attester_id(key.verifying_key()),
        attester_secret,
    })
}

fn free_udp_port() -> anyhow::Result<u16> {
    free_port(|port| UdpSocket::bind(("127.0.0.1", port)).is_ok())
}

/// A TCP port on 127.0.0.1 where nobody listens, and that is given to nobody else in this process.
///
/// # Errors
/// When there is none.
pub fn free_tcp_port() -> anyhow::Result<u16> {
    free_port(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
}

/// One after the other from a random place on: none is drawn twice.
fn free_port(is_free: impl Fn(u16) -> bool) -> anyhow::Result<u16> {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(rand::random_range(PORTS)));
    let following = |port: u16| Some(if port + 1 < PORTS.end { port + 1 } else { PORTS.start });
    let mut drawn = PORTS.filter_map(|_| NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, following).ok());
    drawn.find(|port| is_free(*port)).with_context(|| format!("no port of {PORTS:?} is free on 127.0.0.1"))
}

/// Writes folder, keys and configuration of every process.
///
/// # Errors
/// When something can't be written.
pub fn write(world: &World, parties: &[Party], towns: &[Town], lanes: &[Lane]) -> anyhow::Result<()> {
    for party in parties {
        let home = world.home(&party.name);
        std::fs::create_dir_all(&home)?;
        write_key(&home.join("link.key"), &hex::encode(party.link_secret))?;
        let mut text = format!(
            "[node]\nname = \"{}\"\nrole = \"{}\"\ndata_dir = \"{}\"\n\n[link]\nlisten = \"127.0.0.1:{}\"\n\
             identity_file = \"{}\"\n\n[metrics]\nlisten = \"127.0.0.1:{}\"\n\n[control]\nsocket = \"{}\"\n\n\
             [log]\nfilter = \"info,cityrelay=debug\"\n\n[batch]\nmax_delay = \"100ms\"\n\n",
            party.name,
            if party.is_attester { "attester" } else { "relay" },
            home.join("data").display(),
            party.port,
            home.join("link.key").display(),
            party.metrics_port,
            world.socket(&party.name).display(),
        );
        write_peers(&mut text, party, parties)?;
        if party.is_attester {
            let key_file = home.join("attester.key");
            write_key(&key_file, &hex::encode(party.attester_secret))?;
            write!(text, "[attester]\nkey_file = \"{}\"\n\n", key_file.display())?;
        }
        write_chains(&mut text, party, towns, &home)?;
        write_lanes(&mut text, party, parties, towns, lanes)?;
        let path = home.join("cityrelay.toml");
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// Relays know everybody and call the attesters; an attester knows the relays and is called by them.
fn write_peers(text: &mut String, party: &Party, parties: &[Party]) -> anyhow::Result<()> {
    let knows = |other: &&Party| other.name != party.name && !(party.is_attester && other.is_attester);
    for other in parties.iter().filter(knows) {
        let role = if other.is_attester { "attester" } else { "relay" };
        write!(
            text,
            "[[peers]]\nname = \"{}\"\nrole = \"{role}\"\nfingerprint = \"{}\"\n",
            other.name, other.fingerprint
        )?;
        if !party.is_attester {
            writeln!(text, "address = \"127.0.0.1:{}\"", other.port)?;
        }
        if other.is_attester {
            writeln!(text, "attester = \"{}\"", other.attester)?;
        }
        text.push('\n');
    }
    Ok(())
}

/// An attester reads both chains with nodes of its own; a relay has an account on its own chain and learns the other
/// one's headers from its peer.
fn write_chains(text: &mut String, party: &Party, towns: &[Town], home: &Path) -> anyhow::Result<()> {
    for town in towns {
        let is_home = party.name == format!("relay-{}", town.city.name);
        let key_file = home.join("account.key");
        if is_home {
            write_key(&key_file, &account_key(&town.city, Account::Relay)?)?;
        }
        let mut city = town.city.clone();
        if !is_home && !party.is_attester {
            city.toml =
                city.toml.lines().filter(|line| !line.starts_with("nodes")).fold(String::new(), |mut kept, line| {
                    kept.push_str(line);
                    kept.push('\n');
                    kept
                });
        }
        text.push_str(&chain_section(&city, Some(town), is_home.then_some(key_file.as_path())));
        text.push('\n');
    }
    Ok(())
}

fn write_lanes(
    text: &mut String,
    party: &Party,
    parties: &[Party],
    towns: &[Town],
    lanes: &[Lane],
) -> anyhow::Result<()> {
    let peer = parties.iter().find(|other| !other.is_attester && other.name != party.name);
    for lane in lanes {
        let name = |at: usize| towns.get(at).map_or("", |town| town.city.name.as_str());
        write!(
            text,
            "[[lanes]]\nchannel = \"{}\"\nsource = \"{}\"\ndestination = \"{}\"\nsalt = \"{}\"\n",
            lane.identity.channel,
            name(lane.from),
            name(lane.to),
            lane.identity.salt,
        )?;
        if let (false, Some(peer)) = (party.is_attester, peer) {
            writeln!(text, "peer = \"{}\"", peer.name)?;
        }
        text.push('\n');
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ports_are_drawn_once_and_where_no_outgoing_connection_takes_them() {
        let ports: BTreeSet<u16> = (0..100).map(|_| free_tcp_port().unwrap()).collect();
        assert_eq!(ports.len(), 100);
        assert!(ports.iter().all(|port| PORTS.contains(port)), "{ports:?}");
        let held = TcpListener::bind(("127.0.0.1", free_tcp_port().unwrap())).unwrap();
        let taken = held.local_addr().unwrap().port();
        assert!((0..100).all(|_| free_tcp_port().unwrap() != taken));
    }
}
