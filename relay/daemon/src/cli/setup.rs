//! `gateway deploy`, `lane salt` and `lane open`: what an operator does once, with the chain's configured account.

use std::sync::Arc;

use cityrelay_api::target::{LaneState, Target};
use cityrelay_core::attestation::Committee;
use cityrelay_core::gateway_call::{GatewayCall, LaneLimits};
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Epoch};
use serde_json::json;

use super::answer::{Answer, Exit, Failure, say};
use super::arguments::{ClockUnit, DeployArguments, OpenArguments, lane_id};
use super::keys::draw;
use super::transaction::{Done, carry_out};
use crate::config::settings::{ChainConfig, LaneConfig};
use crate::config::{Layers, Sources, check};

fn target(chain: &ChainConfig) -> Result<Arc<dyn Target>, Failure> {
    chain.chain.target().ok_or_else(|| {
        let problem = format!("chain {} has no account: set chains.{}.account.key_file", chain.name, chain.name);
        Failure::new(Exit::Usage, problem)
    })
}

/// Deploys a committee and a gateway and prints what belongs into the chain's section.
pub(super) async fn deploy(sources: &Sources, arguments: &DeployArguments) -> Result<Answer, Failure> {
    let layers = Layers::read(sources)?;
    let chain = check::one_chain(&layers, cityrelay_all::adapters(), &arguments.chain)?;
    let domain_key = format!("/chains/{}/domain", arguments.chain);
    if layers.tree.pointer(&domain_key).is_none() {
        let problem = format!(
            "chains.{0}.domain is missing: a gateway keeps its domain for good, so it must be written down first; \
             {1} is the one derived from the name {0:?} and the configured anchor",
            chain.name, chain.domain
        );
        return Err(Failure::new(Exit::Usage, problem));
    }
    Committee::new(Epoch(1), &arguments.attesters, arguments.threshold)
        .map_err(|error| Failure::new(Exit::Usage, error))?;
    let target = target(&chain)?;
    deploy_with(target.as_ref(), &chain, arguments).await
}

async fn deploy_with(target: &dyn Target, chain: &ChainConfig, arguments: &DeployArguments) -> Result<Answer, Failure> {
    let timeout = arguments.patience.timeout;
    let committee = GatewayCall::DeployCommittee {
        domain: chain.domain,
        members: arguments.attesters.clone(),
        threshold: arguments.threshold,
    };
    let committee = carry_out(target, &committee, "deploy the committee", timeout).await?;
    let verifier = created(&committee)?;
    say(format_args!("verifier {verifier}"));
    let gateway = GatewayCall::DeployGateway {
        domain: chain.domain,
        owner: arguments.owner.unwrap_or_else(|| target.account()),
        announce_delay: arguments.announce_delay,
        close_delay: arguments.close_delay,
        clock_is_millis: arguments.clock == ClockUnit::Milliseconds,
    };
    let gateway = carry_out(target, &gateway, "deploy the gateway", timeout).await?;
    let address = created(&gateway)?;
    let data = json!({
        "domain": chain.domain.to_string(), "gateway": address.to_string(), "verifier": verifier.to_string(),
        "transactions": [committee.hash.to_string(), gateway.hash.to_string()],
        "gas_used": committee.gas_used.saturating_add(gateway.gas_used),
    });
    let text = format!("domain = \"{}\"\ngateway = \"{address}\"\nverifier = \"{verifier}\"", chain.domain);
    Ok(Answer { data, text })
}

fn created(done: &Done) -> Result<Address, Failure> {
    done.created.ok_or_else(|| {
        let problem = format!("transaction {} is final and made no contract", done.hash);
        Failure::new(Exit::Internal, problem)
    })
}

/// Draws a salt.
pub(super) fn salt() -> Result<Answer, Failure> {
    let mut bytes = [0; 32];
    draw(&mut bytes)?;
    let text = Hash32(bytes).to_string();
    Ok(Answer { data: json!({"salt": text}), text })
}

/// Announces and opens a lane on one chain's gateway, whichever of the two is still to be done.
pub(super) async fn open(sources: &Sources, arguments: &OpenArguments) -> Result<Answer, Failure> {
    let layers = Layers::read(sources)?;
    let (chains, lanes) = check::lanes_only(&layers, cityrelay_all::adapters())?;
    let lane = pick(&lanes, arguments)?;
    let Some(chain) = chains.get(&arguments.chain) else {
        return Err(Failure::new(Exit::Usage, format!("there is no chain {:?}", arguments.chain)));
    };
    let target = target(chain)?;
    let gateway =
        if lane.source == chain.name { lane.identity.source_gateway } else { lane.identity.destination_gateway };
    open_with(target.as_ref(), gateway, lane, arguments).await
}

fn pick<'a>(lanes: &'a [LaneConfig], arguments: &OpenArguments) -> Result<&'a LaneConfig, Failure> {
    let wanted = lane_id(&arguments.lane);
    let fits = |lane: &&LaneConfig| {
        (lane.source == arguments.chain || lane.destination == arguments.chain)
            && wanted.map_or(lane.identity.channel == arguments.lane, |id| lane.id == id)
            && arguments.source.as_ref().is_none_or(|source| lane.source == *source)
    };
    let mut found = lanes.iter().filter(fits);
    match (found.next(), found.next()) {
        (Some(lane), None) => Ok(lane),
        (None, _) => {
            let problem = format!("no configured lane {:?} touches chain {:?}", arguments.lane, arguments.chain);
            Err(Failure::new(Exit::Usage, problem))
        }
        (Some(_), Some(_)) => {
            let problem =
                format!("several lanes are called {:?}: name the --source chain, or the lane's id", arguments.lane);
            Err(Failure::new(Exit::Usage, problem))
        }
    }
}

async fn open_with(
    target: &dyn Target,
    gateway: Address,
    lane: &LaneConfig,
    arguments: &OpenArguments,
) -> Result<Answer, Failure> {
    let timeout = arguments.patience.timeout;
    let mut transactions = Vec::new();
    let state = target.lane_state(gateway, lane.id).await?;
    if state == LaneState::Unknown {
        let limits = LaneLimits {
            max_payload_bytes: arguments.max_payload_bytes,
            max_gas_limit: arguments.max_gas_limit,
            max_deadline: arguments.max_deadline,
            callback_gas: arguments.callback_gas,
            is_strict: arguments.strict,
            quota: arguments.quota,
            senders: arguments.senders.clone(),
            receivers: arguments.receivers.clone(),
        };
        let call = GatewayCall::AnnounceLane { gateway, lane: lane.identity.clone(), limits };
        transactions.push(carry_out(target, &call, "announce the lane", timeout).await?);
    }
    match state {
        LaneState::Unknown | LaneState::Announced => {
            let call = GatewayCall::OpenLane { gateway, lane: lane.id };
            let opened =
                carry_out(target, &call, "open the lane", timeout).await.map_err(|failure| match failure.exit {
                    Exit::Refused => Failure::new(
                        Exit::Refused,
                        format!(
                            "{}; it is announced: if the gateway's delay has not passed yet, repeat this command later",
                            failure.message
                        ),
                    ),
                    _ => failure,
                })?;
            transactions.push(opened);
        }
        LaneState::Open => say("the lane is open already"),
        other => {
            let problem = format!("the lane is {} on this gateway: it can't be opened", state_word(other));
            return Err(Failure::new(Exit::Refused, problem));
        }
    }
    let hashes: Vec<String> = transactions.iter().map(|done| done.hash.to_string()).collect();
    let data = json!({"lane": lane.id.to_string(), "gateway": gateway.to_string(), "transactions": hashes});
    Ok(Answer { data, text: format!("lane {} is open on gateway {gateway}", lane.id) })
}

const fn state_word(state: LaneState) -> &'static str {
    match state {
        LaneState::Unknown => "unknown",
        LaneState::Announced => "announced",
        LaneState::Open => "open",
        LaneState::Paused => "paused",
        LaneState::Halted => "halted",
        LaneState::Closing => "closing",
        LaneState::Closed => "closed",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cityrelay_core::ids::{Domain, LaneId};
    use cityrelay_core::lane::LaneIdentity;

    use super::super::arguments::Patience;
    use super::*;
    use crate::fake_target::FakeTarget;

    fn lane(channel: &str, source: &str, destination: &str) -> LaneConfig {
        let word = |text: &str| cityrelay_core::hash::keccak256(text.as_bytes());
        let identity = LaneIdentity {
            source_domain: Domain(word(source)),
            destination_domain: Domain(word(destination)),
            source_gateway: Address::from_20([1; 20]),
            destination_gateway: Address::from_20([2; 20]),
            source_verifier: Address::from_20([3; 20]),
            destination_verifier: Address::from_20([4; 20]),
            channel: channel.to_owned(),
            salt: word(channel),
        };
        let id = identity.id();
        LaneConfig { identity, id, source: source.to_owned(), destination: destination.to_owned(), peer: None }
    }

    fn arguments(lane: &str, source: Option<&str>) -> OpenArguments {
        OpenArguments {
            chain: "north".to_owned(),
            lane: lane.to_owned(),
            source: source.map(str::to_owned),
            max_payload_bytes: 1,
            max_gas_limit: 2,
            max_deadline: Duration::from_secs(3),
            callback_gas: 4,
            quota: 5,
            strict: false,
            senders: Vec::new(),
            receivers: Vec::new(),
            patience: Patience { timeout: Duration::from_secs(5) },
        }
    }

    #[test]
    fn a_lane_is_picked_by_channel_source_or_id_and_never_by_chance() {
        let lanes =
            [lane("medical", "north", "south"), lane("medical", "south", "north"), lane("trade", "north", "south")];
        assert_eq!(pick(&lanes, &arguments("trade", None)).unwrap().id, lanes[2].id);
        assert!(pick(&lanes, &arguments("medical", None)).unwrap_err().message.contains("several lanes"));
        assert_eq!(pick(&lanes, &arguments("medical", Some("south"))).unwrap().id, lanes[1].id);
        assert_eq!(pick(&lanes, &arguments(&lanes[0].id.to_string(), None)).unwrap().id, lanes[0].id);
        assert_eq!(pick(&lanes, &arguments("education", None)).unwrap_err().exit, Exit::Usage);
    }

    async fn run(target: &FakeTarget, state: LaneState) -> Result<Answer, Failure> {
        let lane = lane("trade", "north", "south");
        target.lanes.lock().unwrap().insert(lane.id, state);
        open_with(target, lane.identity.source_gateway, &lane, &arguments("trade", None)).await
    }

    fn calls(target: &FakeTarget) -> Vec<&'static str> {
        let name = |call: &GatewayCall| match call {
            GatewayCall::AnnounceLane { .. } => "announce",
            GatewayCall::OpenLane { .. } => "open",
            GatewayCall::DeployCommittee { .. } => "committee",
            GatewayCall::DeployGateway { .. } => "gateway",
            _ => "other",
        };
        target.calls.lock().unwrap().iter().map(name).collect()
    }

    #[tokio::test]
    async fn an_unknown_lane_is_announced_and_opened_and_an_announced_one_only_opened() {
        let target = FakeTarget::default();
        run(&target, LaneState::Unknown).await.unwrap();
        assert_eq!(calls(&target), ["announce", "open"]);
        let target = FakeTarget::default();
        run(&target, LaneState::Announced).await.unwrap();
        assert_eq!(calls(&target), ["open"]);
        let target = FakeTarget::default();
        run(&target, LaneState::Open).await.unwrap();
        assert!(calls(&target).is_empty());
    }

    #[tokio::test]
    async fn a_closed_lane_is_not_opened() {
        let target = FakeTarget::default();
        let failure = run(&target, LaneState::Closed).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Refused);
        assert!(calls(&target).is_empty());
    }

    #[test]
    fn a_salt_is_a_random_word() {
        let salts: Vec<String> = (0..2).map(|_| salt().unwrap().text).collect();
        assert_ne!(salts[0], salts[1]);
        assert!(lane_id(&salts[0]) != Some(LaneId(Hash32::ZERO)));
        assert!(salts.iter().all(|salt| salt.parse::<Domain>().is_ok()));
    }
}
