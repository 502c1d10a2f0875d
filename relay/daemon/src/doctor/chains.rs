//! Nodes of a chain, its anchor, and whether its headers carry what the chain's rules ask for.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use cityrelay_api::inspect::NodeReport;
use cityrelay_api::source::{AnchorCandidate, NodeError};
use cityrelay_core::frame::Role;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Height, UnixMillis};
use cityrelay_core::light_client::{HoldReason, ProofStrength};
use cityrelay_core::verify::VerifiedUpdate;

use super::{Area, Finding, Instance, Repair};
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

fn set_the_clock() -> Repair {
    Repair::of("timedatectl", ["set-ntp", "true"])
        .advice("set the clock and keep it by NTP; where it is right, the validators' clocks are wrong")
}

/// Looks at every node of a chain, and compares them with each other.
pub async fn nodes(chain: &ChainConfig, role: Role, instance: &Instance) -> Vec<Finding> {
    let reports = chain.chain.inspect().nodes().await;
    if reports.is_empty() {
        let words = "no node is configured: its headers come from the peer and are verified here";
        return vec![Area::Nodes.ok(format!("chain {}", chain.name), words)];
    }
    let mut findings = vec![own(chain, role, &reports, instance)];
    findings.extend(compare(&chain.name, &reports, instance));
    findings
}

fn own(chain: &ChainConfig, role: Role, reports: &[NodeReport], instance: &Instance) -> Finding {
    let subject = format!("own nodes of {}", chain.name);
    let count = reports.iter().filter(|report| report.is_own).count();
    let is_needed = chain.chain.client().strength() == ProofStrength::NeedsLocalConfirmation;
    let nodes = || instance.edit(&format!("chains.{}.nodes", chain.name));
    match (count, is_needed, role) {
        (0, true, Role::Attester) => Area::Nodes.broken(
            subject,
            "an attester of this chain needs a node of its own institution, and none is marked so",
            nodes().advice("own = true for the node that it runs"),
        ),
        (0, true, Role::Relay) => Area::Nodes.warning(
            subject,
            "proofs of this chain are not sufficient alone, and no own node can confirm them here: the attesters' do",
            nodes().advice("where this institution runs one: own = true for it"),
        ),
        (count, ..) => Area::Nodes.ok(subject, format!("{count} of {}", reports.len())),
    }
}

fn compare(chain: &str, reports: &[NodeReport], instance: &Instance) -> Vec<Finding> {
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
                        instance
                            .ask_nodes(chain)
                            .advice("its log and its peers say why; this shows whether it catches up"),
                    )
                } else if let Some(ailment) = &facts.ailment {
                    let repair = instance.ask_nodes(chain).advice("its log and its peers say why");
                    Area::Nodes.warning(subject, format!("{words}: {ailment}"), repair)
                } else {
                    Area::Nodes.ok(subject, words)
                }
            }
            (Err(error), Some(_)) => {
                Area::Nodes.warning(subject, error.to_string(), mend(chain, &report.endpoint, error, instance))
            }
            (Err(error), None) => {
                Area::Nodes.broken(subject, error.to_string(), mend(chain, &report.endpoint, error, instance))
            }
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
            instance.edit(&format!("chains.{chain}.nodes")).advice(
                "take out the node that lies or is of another chain; other institutions' nodes tell which it is",
            ),
        ));
    }
    findings
}

fn mend(chain: &str, node: &str, error: &NodeError, instance: &Instance) -> Repair {
    let edit = instance.edit_node(chain, node);
    match (error, instance.node_url(chain, node)) {
        (NodeError::Unreachable { .. }, Some(url)) => Repair::of("curl", ["-sS", "-m", "5", "-o", "/dev/null", url])
            .then(&edit)
            .advice("start the node or open its port, until curl reaches it; a wrong address is mended in the editor"),
        _ => edit.advice("it answers, and not as a node of this chain does: address, chain or version is another one"),
    }
}

/// Looks whether the nodes know the configured anchor.
pub async fn anchor(chain: &ChainConfig, instance: &Instance) -> Vec<Finding> {
    let subject = format!("anchor of {}", chain.name);
    let (client, state) = (chain.chain.client(), chain.chain.anchor());
    let (height, hash) = match (client.trusted_height(&state), client.trusted_hash(&state)) {
        (Ok(height), Ok(hash)) => (height, hash),
        (Err(refusal), _) | (_, Err(refusal)) => {
            return vec![Area::Anchor.broken(subject, refusal.to_string(), instance.ask_nodes(&chain.name))];
        }
    };
    let mut agree = Vec::new();
    let mut findings = Vec::new();
    for answer in chain.chain.source().anchors(Some(height)).await {
        match answer.answer {
            Ok(candidate) if candidate.hash == hash => agree.push(answer.endpoint),
            Ok(candidate) => findings.push(
                Area::Anchor.broken(
                    &subject,
                    format!("{} shows {} at block {height}, the anchor is {hash}", answer.endpoint, candidate.hash),
                    instance
                        .cityrelay(["anchor", "fetch", "--chain", &chain.name, "--height", &height.to_string()])
                        .advice("the anchor or that node is of another chain: compare with the other city's operators"),
                ),
            ),
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
pub async fn headers(
    layers: &Layers,
    adapters: Adapters<'_>,
    chain: &ChainConfig,
    now: UnixMillis,
    instance: &Instance,
) -> Vec<Finding> {
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
                instance.ask_nodes(&chain.name).advice("mend its nodes first: this shows what each says"),
            )];
        }
    };
    let Some(probe) = anchored_at(layers, adapters, chain, &candidate) else {
        return vec![Area::Anchor.warning(
            subject,
            "no anchor could be made of a recent block",
            instance.ask_nodes(&chain.name),
        )];
    };
    let served = match probe.chain.source().next_update(candidate.height, 256).await {
        Ok(Some(served)) => served,
        Ok(None) => {
            let words = format!("no block after {} yet: nothing to look at", candidate.height);
            return vec![Area::Anchor.ok(subject, words)];
        }
        Err(error) => return vec![Area::Anchor.warning(subject, error.to_string(), instance.ask_nodes(&chain.name))],
    };
    let client = probe.chain.client();
    match client.verify_update(chain.domain, &probe.chain.anchor(), &served.update, now) {
        VerifiedUpdate::Advanced { headers, .. } => {
            let newest = headers.last().map(|header| header.header().timestamp);
            let words = format!("{} after block {} carry their quorum", headers.len(), candidate.height);
            std::iter::once(Area::Anchor.ok(subject, words))
                .chain(newest.map(|time| clock(&chain.name, time, now)))
                .collect()
        }
        VerifiedUpdate::HeldBack { reason, .. } => vec![not_final(&chain.name, candidate.height, reason, instance)],
        VerifiedUpdate::Refused(refusal) => vec![
            Area::Anchor.broken(
                subject,
                format!("what {} serves after block {} does not verify: {refusal}", served.endpoint, candidate.height),
                instance
                    .edit(&format!("chains.{}", chain.name))
                    .advice("mode, chain id and rules of the section must be those of the chain's genesis file"),
            ),
        ],
    }
}

/// Why headers wait: for the chain, or for this machine's clock.
fn not_final(chain: &str, after: Height, reason: HoldReason, instance: &Instance) -> Finding {
    if let HoldReason::AheadOfClock { .. } = reason {
        return Area::Clock.broken(format!("clock against {chain}"), reason.to_string(), set_the_clock());
    }
    Area::Anchor.broken(
        format!("headers of {chain}"),
        format!("headers after block {after} are not final: {reason}"),
        instance.cityrelay(["anchor", "verify", "--chain", chain]).advice(
            "the chain's validators must seal with the quorum that its section asks for; this shows how far headers verify",
        ),
    )
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

fn clock(chain: &str, block: UnixMillis, now: UnixMillis) -> Finding {
    let subject = format!("clock against {chain}");
    let ahead = block.0.saturating_sub(now.0);
    if ahead > MAX_AHEAD_MILLIS {
        return Area::Clock.broken(
            subject,
            format!("its newest block is {} s in the future of this machine", ahead / 1000),
            set_the_clock(),
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
    use super::super::instance::example;
    use super::*;

    fn report(name: &str, height: u64, hash: u8) -> NodeReport {
        let answer = Ok(NodeFacts {
            version: "node/1".to_owned(),
            height: Height(height),
            compared_at: Height(100),
            hash: Hash32([hash; 32]),
            latency: Duration::from_millis(3),
            ailment: None,
        });
        NodeReport { endpoint: name.to_owned(), is_own: true, answer }
    }

    fn away(name: &str) -> NodeReport {
        let error = NodeError::Unreachable { endpoint: name.to_owned(), reason: "refused".to_owned() };
        NodeReport { endpoint: name.to_owned(), is_own: false, answer: Err(error) }
    }

    fn verdicts(reports: &[NodeReport]) -> Vec<Verdict> {
        compare("north", reports, &example(false)).iter().map(Finding::verdict).collect()
    }

    #[test]
    fn headers_ahead_of_the_clock_are_no_fault_of_the_chain() {
        let slow = HoldReason::AheadOfClock { height: Height(9), ahead_seconds: 15, allowed_seconds: 10 };
        let finding = not_final("north", Height(8), slow, &example(false));
        assert_eq!((finding.area(), finding.verdict()), (Area::Clock, Verdict::Broken));
        assert!(finding.words().contains("15 s ahead of this machine's clock"), "{finding}");
        let short = HoldReason::ShortOfQuorum { height: Height(9), expected: 4, got: 3 };
        assert_eq!(not_final("north", Height(8), short, &example(false)).area(), Area::Anchor);
    }

    #[test]
    fn nodes_are_compared_with_each_other() {
        assert_eq!(verdicts(&[report("a", 100, 1), report("b", 105, 1)]), [Verdict::Ok, Verdict::Ok]);
        assert_eq!(verdicts(&[report("a", 100, 1), report("b", 111, 1)]), [Verdict::Warning, Verdict::Ok]);
        assert_eq!(verdicts(&[report("a", 100, 1), away("b")]), [Verdict::Ok, Verdict::Warning]);
        assert_eq!(verdicts(&[away("a"), away("b")]), [Verdict::Broken, Verdict::Broken]);
        let mut alone = report("a", 100, 1);
        if let Ok(facts) = &mut alone.answer {
            facts.ailment = Some("it reaches nobody".to_owned());
        }
        let finding = compare("north", &[alone], &example(false)).remove(0);
        assert_eq!(finding.verdict(), Verdict::Warning);
        assert!(finding.words().contains("it reaches nobody"), "{finding}");
        let findings =
            compare("north", &[report("a", 100, 1), report("b", 100, 2), report("c", 100, 1)], &example(false));
        let last = findings.last().unwrap();
        assert_eq!(last.verdict(), Verdict::Broken);
        assert!(last.words().contains("a, c show") && last.words().contains("b show"), "{last}");
    }
}
