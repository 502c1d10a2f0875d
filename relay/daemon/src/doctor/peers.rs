//! The other ends of the link: asked of the daemon that runs, else tried by a session of our own.

use std::time::Duration;

use cityrelay_link::{DialFailure, Link, LinkEvent, PeerName, Pin};
use tokio::time::{Instant, timeout_at};

use super::{Area, Finding, Instance, Repair};
use crate::config::Config;
use crate::control::StatusReport;

/// How long a peer may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);

/// What the daemon that runs says of its peers.
#[must_use]
pub fn of_daemon(config: &Config, status: &StatusReport, instance: &Instance) -> Vec<Finding> {
    let each = status.peers.iter().map(|peer| {
        let subject = format!("peer {}", peer.name);
        if peer.is_up && peer.key.as_deref() == Some(Pin::Next.as_str()) {
            uses_next_key(config, &peer.name, instance)
        } else if peer.is_up {
            Area::Peers.ok(subject, "has a session with its pinned key")
        } else {
            let failure = peer.dial_failure.as_deref();
            let words =
                failure.map_or_else(|| "has no session".to_owned(), |failure| format!("has no session: {failure}"));
            Area::Peers.warning(subject, words, no_session(config, &peer.name, failure, instance))
        }
    });
    each.collect()
}

/// Tries a session with every peer that has an address. For a daemon that does not run: a second session beside its own
/// would take that one's place.
pub async fn try_each(config: &Config, instance: &Instance) -> Vec<Finding> {
    let mut link_config = match crate::run::link_config(config) {
        Ok(link_config) => link_config,
        Err(error) => {
            return vec![Area::Peers.broken("link", format!("{error:#}"), instance.cityrelay(["config", "check"]))];
        }
    };
    link_config.listen = None;
    // Whoever calls us can't be tried.
    link_config.peers.retain(|peer| peer.address.is_some());
    if link_config.peers.is_empty() {
        return config.peers.iter().map(|peer| calls_us(&peer.name)).collect();
    }
    let (link, mut events) = match Link::start(link_config) {
        Ok(started) => started,
        Err(error) => {
            return vec![Area::Peers.broken("link", error.to_string(), instance.cityrelay(["config", "check"]))];
        }
    };
    let with_address = config.peers.iter().filter(|peer| peer.address.is_some());
    let mut waiting: Vec<PeerName> = with_address.map(|peer| PeerName::new(&peer.name)).collect();
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    while !waiting.is_empty() {
        match timeout_at(deadline, events.recv()).await {
            Ok(Some(LinkEvent::Up { peer, .. })) => waiting.retain(|name| *name != peer),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break,
        }
    }
    let stats = link.stats();
    let findings = config.peers.iter().map(|peer| {
        let subject = format!("peer {}", peer.name);
        let Some(address) = &peer.address else {
            return calls_us(&peer.name);
        };
        let name = PeerName::new(&peer.name);
        let seen = stats.peers.get(&name);
        if seen.is_some_and(|peer| peer.pin == Some(Pin::Next)) {
            return uses_next_key(config, &peer.name, instance);
        }
        if !waiting.contains(&name) {
            return Area::Peers.ok(subject, format!("answers at {address} with its pinned key"));
        }
        let failure = seen.and_then(|peer| peer.last_dial_failure).map(DialFailure::as_str);
        let refusals = seen.into_iter().flat_map(|peer| peer.refusals.keys().copied());
        let words: Vec<&str> = failure.into_iter().chain(refusals).collect();
        let words = if words.is_empty() { "no answer".to_owned() } else { words.join(", ") };
        Area::Peers.broken(
            subject,
            format!("no session at {address}: {words}"),
            no_session(config, &peer.name, failure, instance),
        )
    });
    let findings = findings.collect();
    link.close().await;
    findings
}

/// What helps depends on who refuses whom.
fn no_session(config: &Config, peer: &str, failure: Option<&str>, instance: &Instance) -> Repair {
    let is = |wanted: DialFailure| failure == Some(wanted.as_str());
    if is(DialFailure::RefusedHere) {
        return instance.edit_peer(peer, "fingerprint").advice(
            "another key answers there than the one pinned here: compare its fingerprint by voice, then mend it",
        );
    }
    if is(DialFailure::RefusedByPeer) {
        let key = config.link.identity_file.display().to_string();
        return instance
            .cityrelay(["keys", "show", &key])
            .advice("it refuses us: this prints our fingerprint, which must be the one that its operator has pinned");
    }
    if is(DialFailure::Lookup) || is(DialFailure::Unreachable) {
        return instance
            .edit_peer(peer, "address")
            .advice("nothing can be sent to that address: mend it, or the name service");
    }
    let address = config.peers.iter().find(|known| known.name == peer).and_then(|known| known.address.as_deref());
    match address.and_then(|address| address.rsplit_once(':')) {
        Some((host, port)) => Repair::of("nc", ["-vzu", "-w", "3", host.trim_matches(['[', ']']), port])
            .advice("it must run, and UDP must pass between here and there: this tries whether anything refuses it"),
        None => instance
            .edit_peer(peer, "address")
            .advice("it calls us, and has not: its address for us and its key are its operator's"),
    }
}

/// The old key is still accepted, and nobody needs it any more.
fn uses_next_key(config: &Config, peer: &str, instance: &Instance) -> Finding {
    let known = config.peers.iter().find(|known| known.name == peer);
    let keys = known.and_then(|known| Some((known.fingerprint, known.next_fingerprint?)));
    let reload = if instance.runs() { instance.cityrelay(["reload"]) } else { instance.cityrelay(["config", "check"]) };
    let repair = match keys {
        Some((old, next)) => {
            let (old, next) = (hex::encode(old), hex::encode(next));
            let file = instance.file(&instance.peer_key(peer)).display().to_string();
            let drop_next = format!("/^next_fingerprint = \"{next}\"/d");
            let replace = format!("s/{old}/{next}/");
            Repair::of("sed", ["-i", "-e", &drop_next, "-e", &replace, &file]).then(&reload)
        }
        None => instance.edit_peer(peer, "next_fingerprint"),
    };
    Area::Peers.warning(
        format!("peer {peer}"),
        "has changed to its next link key, and its old one is still accepted",
        repair.advice("next_fingerprint takes the place of fingerprint"),
    )
}

fn calls_us(peer: &str) -> Finding {
    Area::Peers.ok(format!("peer {peer}"), "calls us: it has no address here, and can't be tried")
}
