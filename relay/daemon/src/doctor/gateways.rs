//! Contracts against this release and this configuration, and lanes on them.

use cityrelay_api::inspect::Inspect;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Domain};
use cityrelay_core::lane::Direction;
use cityrelay_gateway::artifact::{Shipped, recognize};
use cityrelay_gateway::query::{LaneStage, LaneStatus};

use super::{Area, Finding, Instance, Repair, known_answers};
use crate::config::settings::{ChainConfig, LaneConfig};
use crate::contracts;

/// What a gateway says where it is offered to nobody, and who runs a call for which no account is named.
pub(super) const NOBODY: Address = Address(Hash32::ZERO);

/// Looks at the gateway and the verifier of a chain's section, and tests both with known answers. Nothing is said of a contract
/// that is not configured.
pub async fn contracts(chain: &ChainConfig, lanes: &[LaneConfig], instance: &Instance) -> Vec<Finding> {
    let inspect = chain.chain.inspect();
    let inspect = inspect.as_ref();
    let mut findings = vec![domain(chain, instance)];
    if let Some(gateway) = chain.gateway {
        let subject = format!("gateway {gateway} on {}", chain.name);
        let place = Place { chain: &chain.name, key: "gateway", instance };
        findings.push(code(inspect, gateway, Shipped::Gateway, &subject, place).await);
        findings.extend(gateway_words(chain, inspect, gateway, lanes, &subject, place).await);
    }
    if let Some(verifier) = chain.verifier {
        let subject = format!("verifier {verifier} on {}", chain.name);
        let place = Place { chain: &chain.name, key: "verifier", instance };
        findings.push(code(inspect, verifier, Shipped::Committee, &subject, place).await);
        let told = contracts::committee_domain(inspect, verifier).await;
        findings.push(match &told {
            Ok(domain) => same_domain(chain, *domain, &subject, place),
            Err(error) => unread(Area::Contracts, &subject, error, place),
        });
        if let Ok(domain) = told {
            findings.push(known_answers::committee(inspect, verifier, domain, &subject, place).await);
        }
    }
    findings
}

/// Where a contract's address stands in the configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) chain: &'a str,
    /// `gateway` or `verifier`.
    pub(super) key: &'a str,
    pub(super) instance: &'a Instance,
}

impl Place<'_> {
    /// Opens it.
    fn edit(self) -> Repair {
        self.instance.edit(&format!("chains.{}.{}", self.chain, self.key))
    }
}

/// The domain that a name and an anchor give is that of the section, unless the chain was anchored anew since.
fn domain(chain: &ChainConfig, instance: &Instance) -> Finding {
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
        Err(refusal) => Area::Contracts.broken(subject, refusal.to_string(), instance.ask_nodes(&chain.name)),
    }
}

fn same_domain(chain: &ChainConfig, told: Domain, subject: &str, place: Place<'_>) -> Finding {
    if told == chain.domain {
        return Area::Contracts.ok(subject, "was deployed for the domain of the configuration");
    }
    Area::Contracts.broken(
        subject,
        format!("was deployed for domain {told}, the configuration has {}", chain.domain),
        place
            .edit()
            .advice("domain, gateway and verifier of the section must be of one deployment; its owner knows them"),
    )
}

async fn code(inspect: &dyn Inspect, contract: Address, expected: Shipped, subject: &str, place: Place<'_>) -> Finding {
    let repair = place.edit().advice(
        "compare the address with what its owner says; where it is of another release, use the program of that release",
    );
    match inspect.code(contract).await {
        Err(error) => unread(Area::Contracts, subject, &error.into(), place),
        Ok(code) if code.is_empty() => Area::Contracts.broken(
            subject,
            "there is no contract",
            place.edit().advice("`cityrelay gateway deploy` makes one and prints what belongs here"),
        ),
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

pub(super) fn unread(area: Area, subject: &str, error: &contracts::ReadError, place: Place<'_>) -> Finding {
    match error {
        contracts::ReadError::Node(_) => area.warning(
            subject,
            format!("could not be looked at: {error}"),
            place.instance.ask_nodes(place.chain).advice("mend its nodes first: this shows what each says"),
        ),
        _ => {
            area.broken(subject, error.to_string(), place.edit().advice("compare the address with what its owner says"))
        }
    }
}

async fn gateway_words(
    chain: &ChainConfig,
    inspect: &dyn Inspect,
    gateway: Address,
    lanes: &[LaneConfig],
    subject: &str,
    place: Place<'_>,
) -> Vec<Finding> {
    let status = match contracts::gateway_status(inspect, gateway).await {
        Ok(status) => status,
        Err(error) => return vec![unread(Area::Contracts, subject, &error, place)],
    };
    let mut findings = vec![same_domain(chain, status.domain, subject, place)];
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
    // Nothing is delivered while it is paused.
    let lanes = if status.is_paused { &[] } else { lanes };
    let verifier = chain.verifier;
    findings.extend(known_answers::gateway(inspect, gateway, &status, verifier, lanes, subject, place).await);
    if status.offered_to != NOBODY {
        findings.push(Area::Contracts.warning(
            subject,
            format!("is offered to {}, who has not accepted", status.offered_to),
            handover(chain, status.offered_to, place.instance),
        ));
    }
    if status.is_paused {
        findings.push(Area::Contracts.warning(
            subject,
            "is paused with all its lanes; deadlines go on passing",
            place.instance.cityrelay(["lane", "resume", "--chain", &chain.name, "--all"]),
        ));
    }
    findings
}

/// Whoever was offered it accepts; everybody else can only have the offer withdrawn, by its owner.
fn handover(chain: &ChainConfig, offered_to: Address, instance: &Instance) -> Repair {
    let is_ours = chain.chain.target().is_some_and(|target| target.account() == offered_to);
    let step = if is_ours { "--accept" } else { "--withdraw" };
    let advice = if is_ours { "it is offered to our account" } else { "its owner can withdraw the offer" };
    instance.cityrelay(["gateway", "handover", "--chain", &chain.name, step]).advice(advice)
}

/// Looks at each configured lane on its gateway of this chain.
pub async fn lanes(chain: &ChainConfig, lanes: &[LaneConfig], instance: &Instance) -> Vec<Finding> {
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
        let on_lane = OnLane { chain: &chain.name, lane, instance };
        findings.push(match contracts::lane_status(inspect.as_ref(), gateway, lane.id).await {
            Err(error) => {
                let place = Place { chain: &chain.name, key: "gateway", instance };
                unread(Area::Lanes, &subject, &error, place)
            }
            Ok(None) => Area::Lanes.broken(
                subject,
                format!("gateway {gateway} does not know lane {}", lane.id),
                on_lane.command("open", &[]),
            ),
            Ok(Some(status)) if status.keeps != keeps || status.verifier != verifier => Area::Lanes.broken(
                subject,
                "has another role or verifier there than here",
                instance
                    .edit_lane(&identity.channel, &lane.source, &lane.destination)
                    .advice("its section and its contracts must be those that the other side has"),
            ),
            Ok(Some(status)) => standing(subject, &status, on_lane),
        });
    }
    findings
}

/// A lane, as commands to its gateway on one chain name it.
#[derive(Clone, Copy, Debug)]
struct OnLane<'a> {
    chain: &'a str,
    lane: &'a LaneConfig,
    instance: &'a Instance,
}

impl OnLane<'_> {
    fn command(self, verb: &str, more: &[&str]) -> Repair {
        let id = self.lane.id.to_string();
        let words = ["lane", verb, "--chain", self.chain, "--lane", &id];
        self.instance.cityrelay(words.into_iter().chain(more.iter().copied()))
    }
}

fn standing(subject: String, status: &LaneStatus, on_lane: OnLane<'_>) -> Finding {
    let (own, peer) = (status.own.index, status.peer.index);
    if status.halted.is_some() {
        let next = own.next();
        return Area::Lanes.broken(
            subject,
            format!("is halted before index {next}, whose receiver failed"),
            on_lane
                .command("skip", &["--index", &next.to_string()])
                .advice("it goes on by itself once its receiver takes the message; else its owner steps over it"),
        );
    }
    if status.is_paused {
        return Area::Lanes.warning(subject, "is paused; deadlines go on passing", on_lane.command("resume", &[]));
    }
    match status.stage {
        LaneStage::Announced => {
            Area::Lanes.warning(subject, "is announced and not open yet", on_lane.command("open", &[]))
        }
        LaneStage::Open => Area::Lanes.ok(subject, format!("open; own index {own}, of the other side {peer}")),
        LaneStage::Closing => Area::Lanes.warning(
            subject,
            "is closing: what was sent is still delivered and settled",
            on_lane.command("close", &[]).advice("once its delay has passed and nothing is unsettled"),
        ),
        LaneStage::Closed => Area::Lanes.warning(
            subject,
            "is closed for good",
            on_lane.command("remove", &[]).advice("takes it out of the configuration; what was carried stays known"),
        ),
    }
}
