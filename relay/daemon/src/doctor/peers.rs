//! The other ends of the link: asked of the daemon that runs, else tried by a session of our own.

use std::time::Duration;

use cityrelay_link::{Link, LinkEvent, PeerName};
use tokio::time::{Instant, timeout_at};

use super::{Area, Finding};
use crate::config::Config;
use crate::control::StatusReport;

/// How long a peer may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);

/// What the daemon that runs says of its peers.
#[must_use]
pub fn of_daemon(status: &StatusReport) -> Vec<Finding> {
    let each = status.peers.iter().map(|peer| {
        let subject = format!("peer {}", peer.name);
        if peer.is_up {
            Area::Peers.ok(subject, "has a session with its pinned key")
        } else {
            Area::Peers.warning(subject, "has no session", "see the daemon's log for the reason, then cityrelay status")
        }
    });
    each.collect()
}

/// Tries a session with every peer that has an address. For a daemon that does not run: a second session beside its own
/// would take that one's place.
pub async fn try_each(config: &Config) -> Vec<Finding> {
    let mut link_config = match crate::run::link_config(config) {
        Ok(link_config) => link_config,
        Err(error) => return vec![Area::Peers.broken("link", format!("{error:#}"), "cityrelay config check")],
    };
    link_config.listen = None;
    // Whoever calls us can't be tried.
    link_config.peers.retain(|peer| peer.address.is_some());
    if link_config.peers.is_empty() {
        return config.peers.iter().map(|peer| calls_us(&peer.name)).collect();
    }
    let (link, mut events) = match Link::start(link_config) {
        Ok(started) => started,
        Err(error) => return vec![Area::Peers.broken("link", error.to_string(), "cityrelay config check")],
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
        if !waiting.contains(&name) {
            return Area::Peers.ok(subject, format!("answers at {address} with its pinned key"));
        }
        let seen = stats.peers.get(&name);
        let failures = seen.into_iter().flat_map(|peer| peer.dial_failures.keys().chain(peer.refusals.keys()));
        let words: Vec<&str> = failures.copied().collect();
        let words = if words.is_empty() { "no answer".to_owned() } else { words.join(", ") };
        Area::Peers.broken(
            subject,
            format!("no session at {address}: {words}"),
            "compare address and fingerprint with its operator (cityrelay keys show there), and let UDP through",
        )
    });
    let findings = findings.collect();
    link.close().await;
    findings
}

fn calls_us(peer: &str) -> Finding {
    Area::Peers.ok(format!("peer {peer}"), "calls us: it has no address here, and can't be tried")
}
