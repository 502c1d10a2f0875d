//! The conversation with the service manager: ready, status, still alive, stopping (sd_notify(3)).
//!
//! Without a service manager (no `NOTIFY_SOCKET`) nothing is said.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cityrelay_core::ids::Domain;
use cityrelay_core::machine::input::{Fetched, Input, Recipient};
use cityrelay_core::machine::status::Status;
use cityrelay_core::verify::VerifiedUpdate;
use cityrelay_link::LinkStats;
use sd_notify::NotifyState;
use tracing::{debug, info, warn};

use super::plan::Handles;
use crate::config::Config;
use crate::observability::{Trouble, TroubleKind};

/// How long the service manager may wait for the next sign of life of a daemon that is still starting. A chain whose
/// nodes are away at the start must not end the process: it serves the other chains, and peers that ask.
const START_EXTENSION: Duration = Duration::from_secs(60);

/// Says when the daemon is ready, and that it lives.
pub(super) struct Supervisor {
    handles: Arc<Handles>,
    /// Chains with nodes of our own whose anchor no node has shown to fit yet.
    unchecked: BTreeSet<Domain>,
    /// Peers that we dial and that were not tried yet.
    untried: BTreeSet<String>,
    is_ready: bool,
    is_stopping: bool,
    last_status: String,
    /// The troubles at the last look, each with the moment at which it was first seen.
    known: BTreeMap<(TroubleKind, String), Instant>,
}

impl Supervisor {
    pub fn new(config: &Config, handles: Arc<Handles>) -> Self {
        let with_source = handles.chains.iter().filter(|(_, chain)| chain.source.is_some());
        let unchecked = with_source.map(|(domain, _)| *domain).collect();
        let dialled = config.peers.iter().filter(|peer| peer.address.is_some());
        let untried = dialled.map(|peer| peer.name.clone()).collect();
        Self {
            handles,
            unchecked,
            untried,
            is_ready: false,
            is_stopping: false,
            last_status: String::new(),
            known: BTreeMap::new(),
        }
    }

    /// Looks for the first answer of each chain's nodes that fits the trusted state.
    pub fn see(&mut self, input: &Input) {
        let domain = match input {
            Input::UpdateVerified { domain, result: VerifiedUpdate::Advanced { .. }, .. }
            | Input::UpdateVerified { domain, result: VerifiedUpdate::HeldBack { .. }, .. }
            | Input::UpdateFetched { domain, recipient: Recipient::Own, answer: Fetched::Nothing, .. } => domain,
            _ => return,
        };
        self.unchecked.remove(domain);
    }

    /// Whether it was ever ready.
    pub const fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// What a start still waits for; `None` once all of it has been seen.
    pub fn waits_for(&mut self, link: &LinkStats) -> Option<Trouble> {
        let was_tried = |peer: &String| {
            let stats = link.peers.iter().find(|(name, _)| name.as_str() == peer.as_str());
            stats.is_some_and(|(_, stats)| stats.sessions > 0 || !stats.dial_failures.is_empty())
        };
        self.untried.retain(|peer| !was_tried(peer));
        if self.is_ready || (self.unchecked.is_empty() && self.untried.is_empty()) {
            return None;
        }
        let chains: Vec<&str> = self.unchecked.iter().map(|domain| self.handles.chain_name(*domain)).collect();
        let peers: Vec<&str> = self.untried.iter().map(String::as_str).collect();
        let reason = format!("waits for nodes of [{}] and a first try of [{}]", chains.join(", "), peers.join(", "));
        Some(Trouble::new(TroubleKind::Starting, "starting", reason))
    }

    /// Called from the event loop at every snapshot: a loop that is stuck says nothing, and the watchdog bites.
    pub fn beat(&mut self, status: &Status, link: &LinkStats, troubles: &[Trouble]) {
        self.log_changes(troubles);
        let mut states = vec![NotifyState::Watchdog];
        if !self.is_ready && !self.is_stopping {
            if troubles.iter().all(|trouble| trouble.kind != TroubleKind::Starting) {
                self.is_ready = true;
                info!("ready");
                states.push(NotifyState::Ready);
            } else {
                let micros = u32::try_from(START_EXTENSION.as_micros()).unwrap_or(u32::MAX);
                states.push(NotifyState::ExtendTimeoutUsec(micros));
            }
        }
        let line = self.line(status, link, troubles);
        if line != self.last_status {
            states.push(NotifyState::Status(&line));
        }
        notify(&states);
        self.last_status = line;
    }

    /// Logs each trouble once as it comes, and once as it goes.
    fn log_changes(&mut self, troubles: &[Trouble]) {
        let mut known = BTreeMap::new();
        // A start says what it waits for by itself, and ends with being ready.
        for trouble in troubles.iter().filter(|trouble| trouble.kind != TroubleKind::Starting) {
            let Trouble { kind, subject, reason, waits_for } = trouble;
            let key = (*kind, subject.clone());
            let since = self.known.get(&key).copied().unwrap_or_else(|| {
                warn!(kind = kind.as_str(), subject, waits_for, reason, "trouble");
                Instant::now()
            });
            known.insert(key, since);
        }
        for ((kind, subject), since) in &self.known {
            if !known.contains_key(&(*kind, subject.clone())) {
                info!(kind = kind.as_str(), subject, seconds = since.elapsed().as_secs(), "the trouble is over");
            }
        }
        self.known = known;
    }

    /// A reload has begun (`Type=notify-reload` waits for the end of it).
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(error) => debug!(%error, "the monotonic clock can't be read"),
        }
    }

    /// A reload has ended, whatever it did.
    pub fn reloaded(&self) {
        if self.is_ready {
            notify(&[NotifyState::Ready]);
        }
    }

    /// Says that the daemon was told to stop.
    pub fn stopping(&mut self) {
        self.is_stopping = true;
        notify(&[NotifyState::Stopping, NotifyState::Status(STOPPING)]);
        STOPPING.clone_into(&mut self.last_status);
    }

    /// What the service manager shows beside the name.
    fn line(&self, status: &Status, link: &LinkStats, troubles: &[Trouble]) -> String {
        if self.is_stopping {
            return STOPPING.to_owned();
        }
        if let Some(start) = troubles.iter().find(|trouble| trouble.kind == TroubleKind::Starting) {
            return format!("{}: {}", start.subject, start.reason);
        }
        let heights: Vec<String> = status
            .clients
            .iter()
            .map(|client| format!("{} at {}", self.handles.chain_name(client.domain), client.height))
            .collect();
        let unfinished: u64 = status.flows.iter().map(|flow| flow.durable.0.saturating_sub(flow.finished.0)).sum();
        let trouble = match troubles {
            [] => "no trouble".to_owned(),
            [one] => format!("{}: {}", one.subject, one.reason),
            [first, others @ ..] => format!("{}: {} (and {} more)", first.subject, first.reason, others.len()),
        };
        format!(
            "{}; {} of {} peers; {unfinished} unfinished; {trouble}",
            heights.join(", "),
            link.sessions,
            status.peers.len()
        )
    }
}

/// What is shown from the signal to the end.
const STOPPING: &str = "stopping: making everything durable";

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "the service manager does not listen");
    }
}
