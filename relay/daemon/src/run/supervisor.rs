//! The conversation with the service manager: ready, status, still alive, stopping (sd_notify(3)).
//!
//! Without a service manager (no `NOTIFY_SOCKET`) nothing is said.

use std::collections::BTreeSet;
use std::sync::Arc;

use cityrelay_core::ids::Domain;
use cityrelay_core::machine::input::{Fetched, Input, Recipient};
use cityrelay_core::machine::status::Status;
use cityrelay_core::verify::VerifiedUpdate;
use cityrelay_link::LinkStats;
use sd_notify::NotifyState;
use tracing::{debug, info};

use super::plan::Handles;
use crate::config::Config;

/// Says when the daemon is ready, and that it lives.
pub(super) struct Supervisor {
    handles: Arc<Handles>,
    /// Chains with nodes of our own whose anchor no node has shown to fit yet.
    unchecked: BTreeSet<Domain>,
    /// Peers that we dial and that were not tried yet.
    untried: BTreeSet<String>,
    is_ready: bool,
    last_status: String,
}

impl Supervisor {
    pub fn new(config: &Config, handles: Arc<Handles>) -> Self {
        let with_source = handles.chains.iter().filter(|(_, chain)| chain.source.is_some());
        let unchecked = with_source.map(|(domain, _)| *domain).collect();
        let dialled = config.peers.iter().filter(|peer| peer.address.is_some());
        let untried = dialled.map(|peer| peer.name.clone()).collect();
        Self { handles, unchecked, untried, is_ready: false, last_status: String::new() }
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

    /// Called from the event loop at every snapshot: a loop that is stuck says nothing, and the watchdog bites.
    pub fn beat(&mut self, status: &Status, link: &LinkStats, troubles: usize) {
        let was_tried = |peer: &String| {
            let stats = link.peers.iter().find(|(name, _)| name.as_str() == peer.as_str());
            stats.is_some_and(|(_, stats)| stats.sessions > 0 || !stats.dial_failures.is_empty())
        };
        self.untried.retain(|peer| !was_tried(peer));
        let line = self.line(status, link, troubles);
        let mut states = vec![NotifyState::Watchdog];
        if !self.is_ready && self.unchecked.is_empty() && self.untried.is_empty() {
            self.is_ready = true;
            info!("ready");
            states.push(NotifyState::Ready);
        }
        if line != self.last_status {
            states.push(NotifyState::Status(&line));
        }
        notify(&states);
        self.last_status = line;
    }

    pub fn stopping(&self) {
        notify(&[NotifyState::Stopping, NotifyState::Status("stopping: making everything durable")]);
    }

    fn line(&self, status: &Status, link: &LinkStats, troubles: usize) -> String {
        if !self.is_ready {
            let chains: Vec<&str> = self.unchecked.iter().map(|domain| self.handles.chain_name(*domain)).collect();
            let peers: Vec<&str> = self.untried.iter().map(String::as_str).collect();
            return format!(
                "starting: waits for nodes of [{}] and a first try of [{}]",
                chains.join(", "),
                peers.join(", ")
            );
        }
        let heights: Vec<String> = status
            .clients
            .iter()
            .map(|client| format!("{} at {}", self.handles.chain_name(client.domain), client.height))
            .collect();
        let unfinished: u64 = status.flows.iter().map(|flow| flow.durable.0.saturating_sub(flow.finished.0)).sum();
        format!(
            "{}; {} of {} peers; {unfinished} unfinished; {troubles} troubles",
            heights.join(", "),
            link.sessions,
            status.peers.len()
        )
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "the service manager does not listen");
    }
}
