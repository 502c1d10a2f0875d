//! `doctor`, and what other commands share with it: findings as an answer.

use cityrelay_core::frame::Role;
use cityrelay_core::ids::AttesterId;
use serde_json::json;

use super::answer::{Answer, Exit, Failure};
use crate::clock::unix_millis;
use crate::config::settings::{ChainConfig, KeySource};
use crate::config::{Config, Layers, Sources, check};
use crate::contracts;
use crate::control::{self, ControlReply, ControlRequest, StatusReport};
use crate::doctor::{Area, Finding, Instance, Verdict, accounts, attesters, chains, gateways, host, journal, peers};
use crate::signer::file_key::FileKey;

/// Looks at everything; exit 4 when something is broken.
pub(super) async fn doctor(sources: &Sources) -> Result<Answer, Failure> {
    let layers = Layers::read(sources)?;
    let config = check::config(&layers, cityrelay_all::adapters())?;
    let running = running(&config).await;
    let instance = Instance::new(sources, &layers, running.is_some());
    let mut findings = host::disk(&config, &instance);
    findings.push(host::limits(&instance));
    findings.extend(host::ports(&config, &instance));
    findings.extend(host::keys(&config, &instance));
    findings.extend(outside(&layers, &config, running.as_ref(), &instance).await);
    let journal = tokio::task::spawn_blocking(move || journal::journal(&config, &instance)).await;
    findings.push(journal.map_err(|error| Failure::new(Exit::Internal, error))?);
    diagnosis(&findings)
}

/// What `config check --live` looks at: nodes, contracts, attester sets, peers.
pub(super) async fn live(sources: &Sources, layers: &Layers, config: &Config) -> Vec<Finding> {
    let running = running(config).await;
    let instance = Instance::new(sources, layers, running.is_some());
    outside(layers, config, running.as_ref(), &instance).await
}

async fn outside(
    layers: &Layers,
    config: &Config,
    running: Option<&StatusReport>,
    instance: &Instance,
) -> Vec<Finding> {
    let adapters = cityrelay_all::adapters();
    let mut findings = Vec::new();
    let mut readable: Vec<&ChainConfig> = Vec::new();
    for chain in config.chains.values() {
        findings.extend(chains::nodes(chain, config.node.role, instance).await);
        if chain.chain.source().endpoints().is_empty() {
            continue;
        }
        if chain.chain.source().tip().await.is_err() {
            continue;
        }
        readable.push(chain);
        findings.extend(chains::anchor(chain, instance).await);
        findings.extend(chains::headers(layers, adapters, chain, unix_millis(), instance).await);
        findings.extend(gateways::contracts(chain, &config.lanes, instance).await);
        findings.extend(gateways::lanes(chain, &config.lanes, instance).await);
        findings.extend(accounts::account(chain, instance).await);
    }
    findings.extend(attesters::sets(&readable, &config.peers, instance).await);
    findings.extend(membership(config, &readable, instance).await);
    findings.extend(match running {
        Some(status) => peers::of_daemon(config, status, instance),
        None => peers::try_each(config, instance).await,
    });
    findings
}

/// The daemon of this configuration, where one runs.
async fn running(config: &Config) -> Option<StatusReport> {
    match control::ask(&config.control.socket, &ControlRequest::Status).await {
        Ok(ControlReply::Status(report)) => Some(report),
        _ => None,
    }
}

async fn membership(config: &Config, chains: &[&ChainConfig], instance: &Instance) -> Vec<Finding> {
    let (Role::Attester, Some(attester)) = (config.node.role, &config.attester) else { return Vec::new() };
    let Some(own) = key_id(&attester.key) else { return Vec::new() };
    let mut findings = Vec::new();
    for chain in chains {
        let Some(verifier) = chain.verifier else { continue };
        if let Ok(committee) = contracts::committee(chain.chain.inspect().as_ref(), verifier).await {
            findings.push(attesters::membership(own, &chain.name, &committee, instance));
        }
    }
    findings
}

fn key_id(source: &KeySource) -> Option<AttesterId> {
    match source {
        KeySource::File { path, .. } => FileKey::load(path, None).ok().map(|key| key.id()),
        KeySource::Signer { address, .. } => Some(*address),
    }
}

/// Findings as an answer: all lines on stdout, and exit 4 when one is broken.
pub(super) fn diagnosis(findings: &[Finding]) -> Result<Answer, Failure> {
    let count = |verdict| findings.iter().filter(|finding| finding.verdict() == verdict).count();
    let (broken, warnings) = (count(Verdict::Broken), count(Verdict::Warning));
    let data = json!({ "findings": findings, "broken": broken, "warnings": warnings });
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let summary = format!("{} looked at, {warnings} warnings, {broken} broken", findings.len());
    let text = format!("{}\n{summary}", lines.join("\n"));
    if broken == 0 {
        return Ok(Answer { data, text });
    }
    let areas: std::collections::BTreeSet<Area> =
        findings.iter().filter(|finding| finding.verdict() == Verdict::Broken).map(Finding::area).collect();
    let areas: Vec<String> = areas.iter().map(ToString::to_string).collect();
    Err(Failure { exit: Exit::Unhealthy, message: format!("broken: {}", areas.join(", ")), details: data, text })
}
