//! Nodes of a chain, its anchor, and whether its headers carry what the chain's rules ask for.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use cityrelay_api::inspect::NodeReport;
use cityrelay_api::source::{AnchorCandidate, NodeError};
use cityrelay_core::frame::Role;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Height, UnixMillis};
use cityrelay_core::light_client::ProofStrength;
use cityrelay_core::verify::VerifiedUpdate;

use super::{Area, Finding};
use crate::config::Layers;
use crate::config::check::{self, Adapters};
use crate::config::files::plain_value;
use crate::config::settings::ChainConfig;

/// Blocks that a node may be behind the highest one before it is named.
const MAX_LAG_BLOCKS: u64 = 10;

/// How far before the newest block the headers are looked at.
const PROBED_HEADERS: u64 = 8;

/// How far a block's time may lie ahead of this machine's clock.
const MAX_AHEAD_MILLIS: u64 = 10_000;

/// Looks at every node of a chain, and compares them with each other.
pub async fn nodes(chain: &ChainConfig, role: Role) -> Vec<Finding> {
    let reports = chain.chain.inspect().nodes().await;
    if reports.is_empty() {
        let words = "no node is configured: its headers come from the peer and are verified here";
        return vec![Area::Nodes.ok(format!("chain {}", chain.name), words)];
    }
    let mut findings = vec![own(chain, role, &reports)];
    findings.extend(compare(&chain.name, &reports));
    findings
}

fn own(chain: &ChainConfig, role: Role, reports: &[NodeReport]) -> Finding {
    let subject = format!("own nodes of {}", chain.name);
    let count = reports.iter().filter(|report| report.is_own).count();
    let is_needed = chain.chain.client().strength() == ProofStrength::NeedsLocalConfirmation;
    match (count, is_needed, role) {
        (0, true, Role::Attester) => Area::Nodes.broken(
            subject,
            "an attester of this chain needs a node of its own institution, and none is marked so",
            format!("set own = true for that node in chains.{}.nodes", chain.name),
        ),
        (0, true, Role::Relay) => Area::Nodes.warning(
            subject,
            "proofs of this chain are not sufficient alone, and no own node can confirm them here: the attesters' do",
            format!("run a node, and set own = true for it in chains.{}.nodes", chain.name),
        ),
        (count, ..) => Area::Nodes.ok(subject, format!("{count} of {}", reports.len())),
    }
}

fn compare(chain: &str, reports: &[NodeReport]) -> Vec<Finding> {
    let facts = || reports.iter().filter_map(|report| report.answer.as_ref().ok());
    let highest = facts().map(|facts| facts.height).max();
    let mut findings = Vec::new();
    for report in reports {
        let subject = format!("node {} of {chain}", report.endpoint);
        findings.push(match (&report.answer, highest) {
            (Ok(facts), Some(highest)) => {
                let lag = highest.0.saturating_sub(facts.height.0);
                let version = if facts.version.is_empty() { "of unknown version" } else { &facts.version };
                let words = format!("{version}, block {}, answers in {} ms", facts.height, facts.latency.as_millis());
                if lag > MAX_LAG_BLOCKS {
                    Area::Nodes.warning(
                        subject,
                        format!("{words}: {lag} blocks behind"),
                        "see that node's log and peers",
                    )
                } else {
                    Area::Nodes.ok(subject, words)
                }
            }
            (Err(error), Some(_)) => Area::Nodes.warning(subject, error.to_string(), repair(chain, error)),
            (Err(error), None) => Area::Nodes.broken(subject, error.to_string(), repair(chain, error)),
            (Ok(_), None) => continue,
        });
    }
    let mut by_hash: BTreeMap<(Height, Hash32), Vec<&str>> = BTreeMap::new();
    for report in reports {
        if let Ok(facts) = &report.answer {
            by_hash.entry((facts.compared_at, facts.hash)).or_default().push(&report.endpoint);
        }
    }
    if by_hash.len() > 1 {
        let each: Vec<String> = by_hash
            .iter()
            .map(|((height, hash), names)| format!("{} show {hash} at block {height}", names.join(", ")))
            .collect();
        findings.push(Area::Nodes.broken(
            format!("chain {chain}"),
            format!("its nodes disagree: {}", each.join("; ")),
            format!(
                "find the node that is wrong or lies and take it out of chains.{chain}.nodes; tell the other operators"
            ),
        ));
    }
    findings
}

fn repair(chain: &str, error: &NodeError) -> String {
    match error {
        NodeError::Unreachable { .. } => format!("start the node, open its port, or mend chains.{chain}.nodes"),
        _ => format!("compare the node's chain and version with chains.{chain}"),
    }
}

/// Looks whether the nodes know the configured anchor.
pub async fn anchor(chain: &ChainConfig) -> Vec<Finding> {
    let subject = format!("anchor of {}", chain.name);
    let (client, state) = (chain.chain.client(), chain.chain.anchor());
    let (height, hash) = match (client.trusted_height(&state), client.trusted_hash(&state)) {
        (Ok(height), Ok(hash)) => (height, hash),
        (Err(refusal), _) | (_, Err(refusal)) => {
            return vec![Area::Anchor.broken(subject, refusal.to_string(), "cityrelay anchor fetch")];
        }
    };
    let mut agree = Vec::new();
    let mut findings = Vec::new();
    for answer in chain.chain.source().anchors(Some(height)).await {
        match answer.answer {
            Ok(candidate) if candidate.hash == hash => agree.push(answer.endpoint),
            Ok(candidate) => findings.push(Area::Anchor.broken(
                &subject,
                format!("{} shows {} at block {height}, the anchor is {hash}", answer.endpoint, candidate.hash),
                "either the anchor is of another chain, or that node is: compare with the other city's operator",
            )),
            // A node that is away or pruned is named elsewhere, or does no harm.
            Err(_) => {}
        }
    }
    if findings.is_empty() {
        findings.push(if agree.is_empty() {
            Area::Anchor
                .ok(subject, format!("block {height} {hash}; no node can show that block any more, or there is none"))
        } else {
            Area::Anchor.ok(subject, format!("block {height} {hash}, as {} show it", agree.join(", ")))
        });
    }
    findings
}

/// Looks whether the newest headers carry the quorum that the chain's rules ask for, with the validators that the nodes
/// name: nothing of it is believed, it shows whether the rules in the section fit the chain. The times of those blocks are
/// compared with this machine's clock.
pub async fn headers(layers: &Layers, adapters: Adapters<'_>, chain: &ChainConfig, now: UnixMillis) -> Vec<Finding> {
    let subject = format!("headers of {}", chain.name);
    if chain.chain.source().endpoints().is_empty() {
        return Vec::new();
    }
    let candidate = match recent(chain).await {
        Ok(Some(candidate)) => candidate,
        Ok(None) => return Vec::new(),
        Err(error) => {
            return vec![Area::Anchor.warning(
                subject,
                format!("could not be looked at: {error}"),
                "mend the nodes first",
            )];
        }
    };
    let Some(probe) = anchored_at(layers, adapters, chain, &candidate) else {
        return vec![Area::Anchor.warning(
            subject,
            "no anchor could be made of a recent block",
            "cityrelay anchor fetch",
        )];
    };
    let served = match probe.chain.source().next_update(candidate.height, 256).await {
        Ok(Some(served)) => served,
        Ok(None) => {
            let words = format!("no block after {} yet: nothing to look at", candidate.height);
            return vec![Area::Anchor.ok(subject, words)];
        }
        Err(error) => return vec![Area::Anchor.warning(subject, error.to_string(), "mend the nodes first")],
    };
    let client = probe.chain.client();
    match client.verify_update(chain.domain, &probe.chain.anchor(), &served.update, now) {
        VerifiedUpdate::Advanced { headers, .. } => {
            let newest = headers.last().map(|header| header.header().timestamp);
            let words = format!("{} after block {} carry their quorum", headers.len(), candidate.height);
            std::iter::once(Area::Anchor.ok(subject, words)).chain(newest.map(|time| clock(chain, time, now))).collect()
        }
        VerifiedUpdate::HeldBack { reason, .. } => vec![Area::Anchor.broken(
            subject,
            format!("headers after block {} are not final: {reason}", candidate.height),
            "compare the chain's own quorum rule and mode with its section; they are held back until a later header \
             makes them final",
        )],
        VerifiedUpdate::Refused(refusal) => vec![Area::Anchor.broken(
            subject,
            format!("what {} serves after block {} does not verify: {refusal}", served.endpoint, candidate.height),
            format!("compare mode, chain id and rules in chains.{} with the chain's genesis file", chain.name),
        )],
    }
}

/// A block shortly before the newest one, as the first node shows it that can; else the newest that can be an anchor.
async fn recent(chain: &ChainConfig) -> Result<Option<AnchorCandidate>, NodeError> {
    let source = chain.chain.source();
    let tip = source.tip().await?;
    let before = Height(tip.0.saturating_sub(PROBED_HEADERS));
    for at in [Some(before), None] {
        for answer in source.anchors(at).await {
            match answer.answer {
                Ok(candidate) => return Ok(Some(candidate)),
                // Not every block can be an anchor everywhere.
                Err(NodeError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(None)
}

/// The same chain with another anchor.
fn anchored_at(
    layers: &Layers,
    adapters: Adapters<'_>,
    chain: &ChainConfig,
    candidate: &AnchorCandidate,
) -> Option<ChainConfig> {
    let anchor = toml_edit::Value::from_str(&candidate.toml).ok()?;
    let mut tree = layers.tree.clone();
    let section = tree.get_mut("chains")?.get_mut(&chain.name)?.as_object_mut()?;
    section.insert("anchor".to_owned(), plain_value(&anchor));
    let layers = Layers { tree, origins: layers.origins.clone(), base: layers.base.clone(), faults: Vec::new() };
    check::one_chain(&layers, adapters, &chain.name).ok()
}

fn clock(chain: &ChainConfig, block: UnixMillis, now: UnixMillis) -> Finding {
    let subject = format!("clock against {}", chain.name);
    let ahead = block.0.saturating_sub(now.0);
    if ahead > MAX_AHEAD_MILLIS {
        return Area::Clock.broken(
            subject,
            format!("its newest block is {} s in the future of this machine", ahead / 1000),
            "set the clock, and keep it by NTP: systemctl enable --now systemd-timesyncd",
        );
    }
    let age = std::time::Duration::from_secs(now.0.saturating_sub(block.0) / 1000);
    Area::Clock.ok(subject, format!("its newest block is {} old", humantime::format_duration(age)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cityrelay_api::inspect::NodeFacts;

    use super::super::Verdict;
    use super::*;

    fn report(name: &str, height: u64, hash: u8) -> NodeReport {
        let answer = Ok(NodeFacts {
            version: "node/1".to_owned(),
            height: Height(height),
            compared_at: Height(100),
            hash: Hash32([hash; 32]),
            latency: Duration::from_millis(3),
        });
        NodeReport { endpoint: name.to_owned(), is_own: true, answer }
    }

    fn away(name: &str) -> NodeReport {
        let error = NodeError::Unreachable { endpoint: name.to_owned(), reason: "refused".to_owned() };
        NodeReport { endpoint: name.to_owned(), is_own: false, answer: Err(error) }
    }

    fn verdicts(reports: &[NodeReport]) -> Vec<Verdict> {
        compare("north", reports).iter().map(|finding| finding.verdict).collect()
    }

    #[test]
    fn nodes_are_compared_with_each_other() {
        assert_eq!(verdicts(&[report("a", 100, 1), report("b", 105, 1)]), [Verdict::Ok, Verdict::Ok]);
        assert_eq!(verdicts(&[report("a", 100, 1), report("b", 111, 1)]), [Verdict::Warning, Verdict::Ok]);
        assert_eq!(verdicts(&[report("a", 100, 1), away("b")]), [Verdict::Ok, Verdict::Warning]);
        assert_eq!(verdicts(&[away("a"), away("b")]), [Verdict::Broken, Verdict::Broken]);
        let findings = compare("north", &[report("a", 100, 1), report("b", 100, 2), report("c", 100, 1)]);
        let last = findings.last().unwrap();
        assert_eq!(last.verdict, Verdict::Broken);
        assert!(last.words.contains("a, c show") && last.words.contains("b show"), "{last}");
    }
}
