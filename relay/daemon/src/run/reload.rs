//! Taking a changed configuration over while everything runs: as a whole or not at all.
//!
//! The whole configuration is read and checked first; one fault anywhere leaves everything as it is. Then each changed key
//! is taken over, or named as waiting for a restart, as the key table says. A chain's section and a peer's are taken over
//! as a whole: where one of their keys needs a restart, the others of that section wait with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use cityrelay_api::adapter::Reload;
use cityrelay_api::inspect::Inspect;
use cityrelay_api::source::Source;
use cityrelay_api::target::Target;
use cityrelay_core::ids::Domain;
use cityrelay_core::machine::config::Tuning;
use cityrelay_core::order::Action;
use cityrelay_link::{Fingerprint, Link, LinkStats, PeerName, PinError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::exchange::Exchange;
use super::plan::limits;
use crate::clock::unix_millis;
use crate::config::check::Adapters;
use crate::config::settings::ChainConfig;
use crate::config::{Config, Layers, Sources, check, explain, key_table};
use crate::observability::{LogSwitch, Metrics};

/// What a running daemon was started from, so that it can read it again.
pub struct ReadFrom {
    /// Where the configuration is.
    pub sources: Sources,
    /// What it said at the start.
    pub layers: Layers,
    /// The adapters that it was checked with.
    pub adapters: Adapters<'static>,
    /// The log's filter; `None` for a process that keeps no log.
    pub log: Option<LogSwitch>,
}

impl fmt::Debug for ReadFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadFrom").field("sources", &self.sources).finish_non_exhaustive()
    }
}

/// One key whose value is another one now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Dotted path.
    pub key: String,
    /// The value that was in force; `None` where there was none.
    pub from: Option<Value>,
    /// The value in the configuration now.
    pub to: Option<Value>,
}

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// In force since this reload.
    pub applied: Vec<Change>,
    /// Not in force before the daemon is started anew.
    pub needs_restart: Vec<Change>,
}

/// Why a reload did nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadRefusal {
    /// The configuration has faults. The operator's: mend them and reload again.
    #[error("the configuration has faults, and the running one stays in force:\n{0}")]
    Faults(#[from] crate::config::Faults),
    /// The link can't take the peers' keys over. The operator's: give each peer its own.
    #[error("the peers' keys can't be taken over, and the running configuration stays in force: {0}")]
    Keys(#[from] PinError),
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
}

/// Access to one chain that a reload exchanges.
#[derive(Debug)]
pub(super) struct ChainAccess {
    pub source: Option<Arc<Exchange<dyn Source>>>,
    pub target: Option<Arc<Exchange<dyn Target>>>,
    pub inspect: Arc<Exchange<dyn Inspect>>,
}

/// Reads the configuration again and takes it over. Shared; one reload at a time.
pub struct Reloader {
    sources: Sources,
    adapters: Adapters<'static>,
    log: Option<LogSwitch>,
    link: Link,
    chains: BTreeMap<Domain, ChainAccess>,
    metrics: Arc<Metrics>,
    steps: mpsc::UnboundedSender<ReloadStep>,
    /// Every effective value that is in force.
    running: Mutex<BTreeMap<String, Value>>,
}

/// What the event loop hears of a reload.
#[derive(Debug)]
pub(super) enum ReloadStep {
    /// It began.
    Begun,
    /// Sizes and waits for the machine.
    Tune(Tuning),
    /// It ended, whatever it did.
    Ended,
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").field("sources", &self.sources).finish_non_exhaustive()
    }
}

/// How an order to reload is kept in the journal.
pub(super) fn reload_order() -> Action {
    Action::Other { what: "reload".to_owned() }
}

impl Reloader {
    pub(super) fn new(
        origin: ReadFrom,
        link: Link,
        chains: BTreeMap<Domain, ChainAccess>,
        metrics: Arc<Metrics>,
        steps: mpsc::UnboundedSender<ReloadStep>,
    ) -> Self {
        let running = Mutex::new(values(&origin.layers, origin.adapters));
        let ReadFrom { sources, adapters, log, .. } = origin;
        Self { sources, adapters, log, link, chains, metrics, steps, running }
    }

    /// How the sessions with the peers stand.
    pub(super) fn link_stats(&self) -> LinkStats {
        self.link.stats()
    }

    /// Reads and checks the whole configuration and takes over what may change while the daemon runs. Reads files: to be
    /// called from a thread that may block.
    ///
    /// # Errors
    /// See [`ReloadRefusal`]; nothing has changed then.
    pub fn reload(&self) -> Result<ReloadReport, ReloadRefusal> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // A loop that has ended is told nothing; `reload_from` says so.
        let _ = self.steps.send(ReloadStep::Begun);
        let outcome = self.reload_from(&mut running);
        let _ = self.steps.send(ReloadStep::Ended);
        self.metrics.reloaded(outcome.is_ok(), unix_millis());
        match &outcome {
            Ok(report) => {
                for change in &report.applied {
                    info!(
                        key = change.key,
                        from = shown(change.from.as_ref()),
                        to = shown(change.to.as_ref()),
                        "reloaded"
                    );
                }
                for change in &report.needs_restart {
                    warn!(
                        key = change.key,
                        from = shown(change.from.as_ref()),
                        to = shown(change.to.as_ref()),
                        "changed in the configuration, and in force only after a restart"
                    );
                }
                info!(
                    applied = report.applied.len(),
                    needs_restart = report.needs_restart.len(),
                    "configuration reloaded"
                );
            }
            Err(refusal) => warn!(%refusal, "the configuration was not reloaded"),
        }
        outcome
    }

    fn reload_from(&self, running: &mut BTreeMap<String, Value>) -> Result<ReloadReport, ReloadRefusal> {
        let layers = Layers::read(&self.sources)?;
        let config = check::config(&layers, self.adapters)?;
        let wanted = values(&layers, self.adapters);
        let report = compare(running, &wanted, &|key| self.reload_of(key, &layers, &config));
        if report.applied.is_empty() {
            return Ok(report);
        }
        let applied: BTreeSet<String> = report.applied.iter().map(|change| section(&change.key)).collect();
        let is_applied = |chain: &ChainConfig| applied.contains(&format!("chains.{}", chain.name));
        let chains: Vec<&ChainConfig> = config.chains.values().filter(|chain| is_applied(chain)).collect();
        let tuning = Tuning {
            limits: limits(&config),
            poll_intervals: chains.iter().map(|chain| (chain.domain, chain.poll_interval)).collect(),
        };
        let peers = config.peers.iter().enumerate().filter(|(at, _)| applied.contains(&format!("peers[{at}]")));
        let keys = peers.clone().map(|(_, peer)| {
            let next = peer.next_fingerprint.map(Fingerprint);
            (PeerName::new(&peer.name), (Fingerprint(peer.fingerprint), next))
        });
        // What can fail comes first. All keys at once: two peers may have exchanged theirs.
        self.link.set_keys(&keys.collect())?;
        self.steps.send(ReloadStep::Tune(tuning)).map_err(|_| ReloadRefusal::Stopping)?;
        if let Some(log) = &self.log {
            log.set(&config.log.filter);
        }
        for (_, peer) in peers {
            let address = peer.address.as_deref().and_then(|address| address.parse().ok());
            if let Err(error) = self.link.set_address(&PeerName::new(&peer.name), address) {
                warn!(peer = peer.name, %error, "the peer's address was not changed");
            }
        }
        for chain in chains {
            let Some(access) = self.chains.get(&chain.domain) else { continue };
            if let Some(source) = &access.source {
                source.set(chain.chain.source());
            }
            access.inspect.set(chain.chain.inspect());
            if let (Some(held), Some(target)) = (&access.target, chain.chain.target()) {
                held.set(target);
            }
        }
        for change in &report.applied {
            match &change.to {
                Some(value) => drop(running.insert(change.key.clone(), value.clone())),
                None => drop(running.remove(&change.key)),
            }
        }
        Ok(report)
    }

    /// What the key table says of a key; a chain that gets its first node or loses its last one starts anew.
    fn reload_of(&self, key: &str, layers: &Layers, config: &Config) -> Reload {
        if let Some((chain, _)) = key.strip_prefix("chains.").and_then(|rest| rest.split_once('.'))
            && let Some(chain) = config.chains.get(chain)
        {
            let had_source = self.chains.get(&chain.domain).is_some_and(|access| access.source.is_some());
            if had_source == chain.chain.source().endpoints().is_empty() {
                return Reload::Restart;
            }
        }
        key_table::doc(key, &layers.tree, self.adapters).map_or(Reload::Restart, |doc| doc.reload)
    }
}

/// The part of the configuration that is taken over as a whole: a chain, a peer, else the key itself.
fn section(key: &str) -> String {
    let parts = if key.starts_with("chains.") { 2 } else { usize::from(key.starts_with("peers[")) };
    match parts {
        0 => key.to_owned(),
        parts => key.split('.').take(parts).collect::<Vec<_>>().join("."),
    }
}

/// Every effective value, by key.
fn values(layers: &Layers, adapters: Adapters<'_>) -> BTreeMap<String, Value> {
    let settings = explain::settings(layers, adapters).into_iter();
    settings.filter_map(|setting| Some((setting.key, setting.value?))).collect()
}

/// What differs, and what becomes of it.
fn compare(
    running: &BTreeMap<String, Value>,
    wanted: &BTreeMap<String, Value>,
    reload_of: &dyn Fn(&str) -> Reload,
) -> ReloadReport {
    let keys: BTreeSet<&String> = running.keys().chain(wanted.keys()).collect();
    let changes: Vec<Change> = keys
        .into_iter()
        .filter(|key| running.get(*key) != wanted.get(*key))
        .map(|key| Change { key: key.clone(), from: running.get(key).cloned(), to: wanted.get(key).cloned() })
        .collect();
    let waiting: BTreeSet<String> = changes
        .iter()
        .filter(|change| reload_of(&change.key) == Reload::Restart)
        .map(|change| section(&change.key))
        .collect();
    let (needs_restart, applied) = changes.into_iter().partition(|change| waiting.contains(&section(&change.key)));
    ReloadReport { applied, needs_restart }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "unset".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tree(pairs: &[(&str, Value)]) -> BTreeMap<String, Value> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    }

    fn keys(changes: &[Change]) -> Vec<&str> {
        changes.iter().map(|change| change.key.as_str()).collect()
    }

    #[test]
    fn a_section_is_taken_over_as_a_whole() {
        let running = tree(&[
            ("batch.max_gas", json!(1)),
            ("chains.north.nodes[0].url", json!("a")),
            ("chains.south.mode", json!("x")),
            ("chains.south.nodes[0].url", json!("b")),
            ("node.name", json!("n")),
            ("peers[0].address", json!("p:1")),
        ]);
        let wanted = tree(&[
            ("batch.max_gas", json!(2)),
            ("chains.north.nodes[0].url", json!("c")),
            ("chains.north.nodes[1].url", json!("d")),
            ("chains.south.mode", json!("y")),
            ("chains.south.nodes[0].url", json!("e")),
            ("node.name", json!("m")),
        ]);
        let needs_restart = |key: &str| match key {
            "chains.south.mode" | "node.name" => Reload::Restart,
            _ => Reload::Applied,
        };
        let report = compare(&running, &wanted, &needs_restart);
        let applied = ["batch.max_gas", "chains.north.nodes[0].url", "chains.north.nodes[1].url", "peers[0].address"];
        assert_eq!(keys(&report.applied), applied);
        assert_eq!(keys(&report.needs_restart), ["chains.south.mode", "chains.south.nodes[0].url", "node.name"]);
        assert_eq!(report.applied.last().unwrap().to, None);
        assert_eq!(compare(&wanted, &wanted, &needs_restart), ReloadReport::default());
    }
}
