//! `doctor`, and what other commands share with it: findings as an answer.

use cityrelay_core::attestation::attester_id;
use cityrelay_core::frame::Role;
use cityrelay_core::ids::AttesterId;
use k256::ecdsa::SigningKey;
use serde_json::json;

use super::answer::{Answer, Exit, Failure};
use crate::clock::unix_millis;
use crate::config::settings::ChainConfig;
use crate::config::{Config, Layers, Sources, check};
use crate::contracts;
use crate::control::{self, ControlReply, ControlRequest, StatusReport};
use crate::doctor::{Area, Finding, Verdict, attesters, chains, gateways, host, journal, peers};
use crate::keys::read_secret;

/// Looks at everything; exit 4 when something is broken.
pub(super) async fn doctor(sources: &Sources) -> Result<Answer, Failure> {
    let layers = Layers::read(sources)?;
    let config = check::config(&layers, cityrelay_all::adapters())?;
    let running = running(&config).await;
    let mut findings = host::disk(&config);
    findings.push(host::limits());
    findings.extend(host::ports(&config, running.is_some()));
    findings.extend(host::keys(&config));
    findings.extend(outside(&layers, &config, running.as_ref()).await);
    let of_journal = config.clone();
    let journal = tokio::task::spawn_blocking(move || journal::journal(&of_journal)).await;
    findings.push(journal.map_err(|error| Failure::new(Exit::Internal, error))?);
    diagnosis(&findings)
}

/// What `config check --live` looks at: nodes, contracts, attester sets, peers.
pub(super) async fn live(layers: &Layers, config: &Config) -> Vec<Finding> {
    let running = running(config).await;
    outside(layers, config, running.as_ref()).await
}

async fn outside(layers: &Layers, config: &Config, running: Option<&StatusReport>) -> Vec<Finding> {
    let adapters = cityrelay_all::adapters();
    let mut findings = Vec::new();
    let mut readable: Vec<&ChainConfig> = Vec::new();
    for chain in config.chains.values() {
        findings.extend(chains::nodes(chain, config.node.role).await);
        if chain.chain.source().endpoints().is_empty() {
            continue;
        }
        if chain.chain.source().tip().await.is_err() {
            continue;
        }
        readable.push(chain);
        findings.extend(chains::anchor(chain).await);
        findings.extend(chains::headers(layers, adapters, chain, unix_millis()).await);
        findings.extend(gateways::contracts(chain).await);
        findings.extend(gateways::lanes(chain, &config.lanes).await);
        findings.extend(gateways::account(chain).await);
    }
    findings.extend(attesters::sets(&readable, &config.peers).await);
    findings.extend(membership(config, &readable).await);
    findings.extend(match running {
        Some(status) => peers::of_daemon(status),
        None => peers::try_each(config).await,
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

async fn membership(config: &Config, chains: &[&ChainConfig]) -> Vec<Finding> {
    let (Role::Attester, Some(attester)) = (config.node.role, &config.attester) else { return Vec::new() };
    let Some(own) = key_id(&attester.key_file) else { return Vec::new() };
    let mut findings = Vec::new();
    for chain in chains {
        let Some(verifier) = chain.verifier else { continue };
        if let Ok(committee) = contracts::committee(chain.chain.inspect().as_ref(), verifier).await {
            findings.push(attesters::membership(own, &chain.name, &committee));
        }
    }
    findings
}

fn key_id(path: &std::path::Path) -> Option<AttesterId> {
    let key = SigningKey::from_slice(&read_secret(path).ok()?).ok()?;
    Some(attester_id(key.verifying_key()))
}

/// Findings as an answer: all lines on stdout, and exit 4 when one is broken.
pub(super) fn diagnosis(findings: &[Finding]) -> Result<Answer, Failure> {
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let (broken, warnings) = (count(Verdict::Broken), count(Verdict::Warning));
    let data = json!({ "findings": findings, "broken": broken, "warnings": warnings });
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let summary = format!("{} looked at, {warnings} warnings, {broken} broken", findings.len());
    let text = format!("{}\n{summary}", lines.join("\n"));
    if broken == 0 {
        return Ok(Answer { data, text });
    }
    let areas: std::collections::BTreeSet<Area> =
        findings.iter().filter(|finding| finding.verdict == Verdict::Broken).map(|finding| finding.area).collect();
    let areas: Vec<String> = areas.iter().map(ToString::to_string).collect();
    Err(Failure { exit: Exit::Unhealthy, message: format!("broken: {}", areas.join(", ")), details: data, text })
}
