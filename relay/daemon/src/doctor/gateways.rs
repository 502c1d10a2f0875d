//! Contracts against this release and this configuration, lanes on them, and the account that pays.

use cityrelay_api::inspect::{Inspect, TransactionCounts};
use cityrelay_api::source::NodeError;
use cityrelay_api::target::Funds;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Domain};
use cityrelay_core::lane::Direction;
use cityrelay_gateway::artifact::{Shipped, recognize};
use cityrelay_gateway::query::{LaneStage, LaneStatus};

use super::{Area, Finding};
use crate::config::settings::{ChainConfig, LaneConfig};
use crate::contracts;

/// What a gateway says where it is offered to nobody.
const NOBODY: Address = Address(Hash32::ZERO);

/// Looks at the gateway and the verifier of a chain's section. Nothing is said of a contract that is not configured.
pub async fn contracts(chain: &ChainConfig) -> Vec<Finding> {
    let inspect = chain.chain.inspect();
    let inspect = inspect.as_ref();
    let mut findings = vec![domain(chain)];
    if let Some(gateway) = chain.gateway {
        let subject = format!("gateway {gateway} on {}", chain.name);
        findings.push(code(inspect, gateway, Shipped::Gateway, &subject).await);
        findings.extend(gateway_words(chain, inspect, gateway, &subject).await);
    }
    if let Some(verifier) = chain.verifier {
        let subject = format!("verifier {verifier} on {}", chain.name);
        findings.push(code(inspect, verifier, Shipped::Committee, &subject).await);
        let told = contracts::committee_domain(inspect, verifier).await;
        findings.push(match told {
            Ok(domain) => same_domain(chain, domain, &subject),
            Err(error) => unread(&subject, &error),
        });
    }
    findings
}

/// The domain that a name and an anchor give is that of the section, unless the chain was anchored anew since.
fn domain(chain: &ChainConfig) -> Finding {
    let subject = format!("domain of {}", chain.name);
    match chain.chain.client().trusted_hash(&chain.chain.anchor()) {
        Ok(hash) if Domain::derive(&chain.name, hash) == chain.domain => {
            Area::Contracts.ok(subject, format!("{} is derived from the chain's name and its anchor", chain.domain))
        }
        Ok(_) => Area::Contracts.ok(
            subject,
            format!(
                "{} is not derived from the configured anchor: it was written down when another one was",
                chain.domain
            ),
        ),
        Err(refusal) => Area::Contracts.broken(subject, refusal.to_string(), "cityrelay anchor fetch"),
    }
}

fn same_domain(chain: &ChainConfig, told: Domain, subject: &str) -> Finding {
    if told == chain.domain {
        return Area::Contracts.ok(subject, "was deployed for the domain of the configuration");
    }
    Area::Contracts.broken(
        subject,
        format!("was deployed for domain {told}, the configuration has {}", chain.domain),
        format!("set chains.{0}.domain, chains.{0}.gateway and chains.{0}.verifier to one deployment's", chain.name),
    )
}

async fn code(inspect: &dyn Inspect, contract: Address, expected: Shipped, subject: &str) -> Finding {
    let repair = "compare the address with the owner's; if it is another release's, use that release's program";
    match inspect.code(contract).await {
        Err(error) => unread(subject, &error.into()),
        Ok(code) if code.is_empty() => {
            Area::Contracts.broken(subject, "there is no contract", "cityrelay gateway deploy, or mend the address")
        }
        Ok(code) => match recognize(&code) {
            Some(found) if found == expected => {
                Area::Contracts.ok(subject, format!("its {} bytes of code are those of this release", code.len()))
            }
            Some(_) => Area::Contracts.broken(subject, "is another contract of this release", repair),
            None => Area::Contracts.broken(
                subject,
                format!("its {} bytes of code are not of this release", code.len()),
                repair,
            ),
        },
    }
}

fn unread(subject: &str, error: &contracts::ReadError) -> Finding {
    match error {
        contracts::ReadError::Node(_) => {
            Area::Contracts.warning(subject, format!("could not be looked at: {error}"), "mend the chain's nodes first")
        }
        _ => Area::Contracts.broken(subject, error.to_string(), "compare the address with the owner's"),
    }
}

async fn gateway_words(chain: &ChainConfig, inspect: &dyn Inspect, gateway: Address, subject: &str) -> Vec<Finding> {
    let status = match contracts::gateway_status(inspect, gateway).await {
        Ok(status) => status,
        Err(error) => return vec![unread(subject, &error)],
    };
    let mut findings = vec![same_domain(chain, status.domain, subject)];
    let unit = if status.clock_is_millis { "milliseconds" } else { "seconds" };
    findings.push(Area::Contracts.ok(
        subject,
        format!(
            "owner {}, interface {}, clock in {unit}, announces {} ahead, closes {} ahead",
            status.owner,
            status.version,
            humantime::format_duration(status.announce_delay),
            humantime::format_duration(status.close_delay)
        ),
    ));
    if status.offered_to != NOBODY {
        findings.push(Area::Contracts.warning(
            subject,
            format!("is offered to {}, who has not accepted", status.offered_to),
            format!("cityrelay gateway handover --chain {} --accept, or --withdraw", chain.name),
        ));
    }
    if status.is_paused {
        findings.push(Area::Contracts.warning(
            subject,
            "is paused with all its lanes; deadlines go on passing",
            format!("cityrelay lane resume --chain {} --all", chain.name),
        ));
    }
    findings
}

/// Looks at each configured lane on its gateway of this chain.
pub async fn lanes(chain: &ChainConfig, lanes: &[LaneConfig]) -> Vec<Finding> {
    let inspect = chain.chain.inspect();
    let mut findings = Vec::new();
    for lane in lanes.iter().filter(|lane| lane.source == chain.name || lane.destination == chain.name) {
        let is_source = lane.source == chain.name;
        let identity = &lane.identity;
        let (gateway, verifier, keeps) = if is_source {
            (identity.source_gateway, identity.source_verifier, Direction::Outbox)
        } else {
            (identity.destination_gateway, identity.destination_verifier, Direction::Inbox)
        };
        let subject = format!("{} {} → {} on {}", identity.channel, lane.source, lane.destination, chain.name);
        let open = format!("cityrelay lane open --chain {} --lane {}", chain.name, lane.id);
        findings.push(match contracts::lane_status(inspect.as_ref(), gateway, lane.id).await {
            Err(error) => Finding { area: Area::Lanes, ..unread(&subject, &error) },
            Ok(None) => Area::Lanes.broken(subject, format!("gateway {gateway} does not know lane {}", lane.id), open),
            Ok(Some(status)) if status.keeps != keeps || status.verifier != verifier => Area::Lanes.broken(
                subject,
                "has another role or verifier there than here",
                "compare lane and contracts",
            ),
            Ok(Some(status)) => standing(chain, lane, subject, &status, open),
        });
    }
    findings
}

fn standing(chain: &ChainConfig, lane: &LaneConfig, subject: String, status: &LaneStatus, open: String) -> Finding {
    let (own, peer) = (status.own.index, status.peer.index);
    if status.halted.is_some() {
        let next = own.next();
        return Area::Lanes.broken(
            subject,
            format!("is halted before index {next}, whose receiver failed"),
            format!(
                "mend the receiver, or cityrelay lane skip --chain {} --lane {} --index {next}",
                chain.name, lane.id
            ),
        );
    }
    if status.is_paused {
        let resume = format!("cityrelay lane resume --chain {} --lane {}", chain.name, lane.id);
        return Area::Lanes.warning(subject, "is paused; deadlines go on passing", resume);
    }
    match status.stage {
        LaneStage::Announced => Area::Lanes.warning(subject, "is announced and not open yet", open),
        LaneStage::Open => Area::Lanes.ok(subject, format!("open; own index {own}, of the other side {peer}")),
        LaneStage::Closing => Area::Lanes.warning(
            subject,
            "is closing: what was sent is still delivered and settled",
            format!("cityrelay lane close --chain {} --lane {} once its delay has passed", chain.name, lane.id),
        ),
        LaneStage::Closed => Area::Lanes.warning(
            subject,
            "is closed for good",
            "open a new lane, and take this one out of the configuration",
        ),
    }
}

/// Looks at the account with which this process pays on a chain; nothing where it has none.
pub async fn account(chain: &ChainConfig) -> Vec<Finding> {
    let Some(target) = chain.chain.target() else { return Vec::new() };
    let account = target.account();
    let subject = format!("account {account} on {}", chain.name);
    let unread = |error: NodeError| {
        Area::Accounts.warning(&subject, format!("could not be looked at: {error}"), "mend the chain's nodes first")
    };
    let counts = match chain.chain.inspect().transactions(account).await {
        Err(error) => unread(error),
        Ok(None) => Area::Accounts.ok(&subject, "this chain numbers no transactions: there can be no gap"),
        Ok(Some(counts)) => waiting(&subject, counts),
    };
    let funds = match target.funds().await {
        Err(error) => unread(error),
        Ok(Funds::NotNeeded) => Area::Accounts.ok(&subject, "needs no funds"),
        Ok(Funds::Left { wei, transactions }) => {
            let words = format!("{wei} wei: enough for about {transactions} of our largest transactions");
            match transactions {
                0 => Area::Accounts.broken(&subject, words, format!("send funds to {account}")),
                1..FEW_TRANSACTIONS => Area::Accounts.warning(&subject, words, format!("send funds to {account}")),
                _ => Area::Accounts.ok(&subject, words),
            }
        }
    };
    vec![counts, funds]
}

fn waiting(subject: &str, counts: TransactionCounts) -> Finding {
    let waiting = counts.with_waiting.saturating_sub(counts.mined);
    let words = format!("{} transactions in blocks, {waiting} waiting", counts.mined);
    match waiting {
        0..=MANY_WAITING => Area::Accounts.ok(subject, words),
        _ => Area::Accounts.warning(
            subject,
            words,
            "see why blocks take none of them: gas price (chains.*.account.gas_price), balance, or a full pool",
        ),
    }
}

/// More transactions than this in a pool at once are a sign that blocks take none.
const MANY_WAITING: u64 = 64;

/// With fewer transactions left than this it is time to send funds.
const FEW_TRANSACTIONS: u64 = 100;
