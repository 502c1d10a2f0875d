//! `gateway deploy`, `lane salt` and `lane open`: what an owner does once.

use cityrelay_core::attestation::Committee;
use cityrelay_core::gateway_call::{GatewayCall, LaneLimits};
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Epoch};
use cityrelay_gateway::query::LaneStage;
use serde_json::json;

use super::answer::{Answer, Exit, Failure, say};
use super::keys::draw;
use super::lanes::{Known, gateway_on, lane_words, pick, touches};
use super::owner::{Owner, Step};
use super::owner_arguments::{ClockUnit, DeployArguments, LaneChoice, OpenArguments};
use super::transaction::Done;
use crate::config::settings::{ChainConfig, LaneConfig};
use crate::config::{Layers, Sources, check};
use crate::contracts;

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
    let owner = Owner { layers: &layers, chain: &chain, making: &arguments.making };
    let gateway_owner = match arguments.owner {
        Some(owner) => owner,
        None if arguments.making.unsigned => {
            return Err(Failure::new(Exit::Usage, "whose gateway it will be is not known here: name the --owner"));
        }
        None => owner.target()?.account(),
    };
    let [committee, gateway] = deployment(&chain, arguments, gateway_owner);
    if arguments.making.unsigned {
        return owner.unsigned(&[committee, gateway]);
    }
    let committee = owner.send(&[committee]).await?;
    let verifier = created(&committee)?;
    say(format_args!("verifier {verifier}"));
    let gateway = owner.send(&[gateway]).await?;
    let address = created(&gateway)?;
    let done = || committee.iter().chain(&gateway);
    let data = json!({
        "domain": chain.domain.to_string(), "gateway": address.to_string(), "verifier": verifier.to_string(),
        "transactions": done().map(|done| done.hash.to_string()).collect::<Vec<_>>(),
        "gas_used": done().map(|done| done.gas_used).fold(0, u64::saturating_add),
    });
    // The domain stands in the section already, so that this can be appended to it.
    let text = format!("gateway = \"{address}\"\nverifier = \"{verifier}\"");
    Ok(Answer { data, text })
}

fn deployment(chain: &ChainConfig, arguments: &DeployArguments, owner: Address) -> [Step; 2] {
    let committee = GatewayCall::DeployCommittee {
        domain: chain.domain,
        members: arguments.attesters.clone(),
        threshold: arguments.threshold,
    };
    let gateway = GatewayCall::DeployGateway {
        domain: chain.domain,
        owner,
        announce_delay: arguments.announce_delay,
        close_delay: arguments.close_delay,
        clock_is_millis: arguments.clock == ClockUnit::Milliseconds,
    };
    [Step::new(committee, "deploy the committee"), Step::new(gateway, "deploy the gateway")]
}

fn created(done: &[Done]) -> Result<Address, Failure> {
    done.first().and_then(|done| done.created).ok_or_else(|| {
        let hash = done.first().map_or_else(String::new, |done| done.hash.to_string());
        Failure::new(Exit::Internal, format!("transaction {hash} is final and made no contract"))
    })
}

/// Draws a salt.
pub(super) fn salt() -> Result<Answer, Failure> {
    let text = salt_word()?;
    Ok(Answer { data: json!({"salt": text}), text })
}

/// A salt as it stands in a configuration.
pub(super) fn salt_word() -> Result<String, Failure> {
    let mut bytes = [0; 32];
    draw(&mut bytes)?;
    Ok(Hash32(bytes).to_string())
}

/// Names every lane that touches the chain.
const ALL: &str = "all";

/// Announces and opens a lane, or all, on one chain's gateway, whichever of the two is still to be done.
pub(super) async fn open(sources: &Sources, arguments: &OpenArguments) -> Result<Answer, Failure> {
    let known = Known::read(sources)?;
    let lanes = chosen(&known.lanes, &arguments.choice)?;
    let chain = known.chain(&arguments.choice.chain)?;
    let mut steps = Vec::new();
    for lane in &lanes {
        let gateway = gateway_on(lane, &chain.name);
        let status = contracts::lane_status(chain.chain.inspect().as_ref(), gateway, lane.id).await?;
        let to_do = steps_to_open(status.map(|status| status.stage), gateway, lane, arguments)?;
        if to_do.is_empty() {
            say(format_args!("{} is open already", lane_words(lane)));
        }
        steps.extend(to_do);
    }
    let owner = Owner { layers: &known.layers, chain, making: &arguments.making };
    let text: Vec<String> =
        lanes.iter().map(|lane| format!("{} is open on {}", lane_words(lane), chain.name)).collect();
    let answer = owner.act(&steps, text.join("\n")).await;
    let mut answer = answer.map_err(|failure| match failure.exit {
        Exit::Refused => Failure::new(
            Exit::Refused,
            format!(
                "{}; if the lane is announced and the gateway's delay has not passed yet, repeat this command later",
                failure.message
            ),
        ),
        _ => failure,
    })?;
    if let Some(data) = answer.data.as_object_mut() {
        let lanes: Vec<_> = lanes
            .iter()
            .map(|lane| json!({"lane": lane.id.to_string(), "gateway": gateway_on(lane, &chain.name).to_string()}))
            .collect();
        data.insert("lanes".to_owned(), json!(lanes));
    }
    Ok(answer)
}

/// One lane, or with the word `all` every one that touches the chain.
fn chosen<'a>(lanes: &'a [LaneConfig], choice: &LaneChoice) -> Result<Vec<&'a LaneConfig>, Failure> {
    if choice.lane != ALL {
        return Ok(vec![pick(lanes, choice)?]);
    }
    let found: Vec<&LaneConfig> = lanes.iter().filter(|lane| touches(lane, choice)).collect();
    if found.is_empty() {
        return Err(Failure::new(Exit::Usage, format!("no configured lane touches chain {:?}", choice.chain)));
    }
    Ok(found)
}

fn steps_to_open(
    stage: Option<LaneStage>,
    gateway: Address,
    lane: &LaneConfig,
    arguments: &OpenArguments,
) -> Result<Vec<Step>, Failure> {
    let words = lane_words(lane);
    let open = Step::new(GatewayCall::OpenLane { gateway, lane: lane.id }, format!("open {words}"));
    match stage {
        None => {
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
            Ok(vec![Step::new(call, format!("announce {words}")), open])
        }
        Some(LaneStage::Announced) => Ok(vec![open]),
        Some(LaneStage::Open) => Ok(Vec::new()),
        Some(stage @ (LaneStage::Closing | LaneStage::Closed)) => {
            let word = if stage == LaneStage::Closed { "closed" } else { "closing" };
            let problem = format!("the lane is {word} on this gateway: it can't be opened");
            Err(Failure::new(Exit::Refused, problem))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cityrelay_core::ids::{Domain, LaneId};

    use super::super::arguments::lane_id;
    use super::super::lanes::tests::lane;
    use super::super::owner_arguments::Making;
    use super::*;

    fn arguments() -> OpenArguments {
        OpenArguments {
            choice: LaneChoice { chain: "north".to_owned(), lane: "trade".to_owned(), source: None },
            max_payload_bytes: 1,
            max_gas_limit: 2,
            max_deadline: Duration::from_secs(3),
            callback_gas: 4,
            quota: 5,
            strict: false,
            senders: Vec::new(),
            receivers: Vec::new(),
            making: Making { unsigned: false, timeout: Duration::from_secs(5), intents: None },
        }
    }

    fn steps(stage: Option<LaneStage>) -> Result<Vec<&'static str>, Failure> {
        let lane = lane("trade", "north", "south");
        let steps = steps_to_open(stage, lane.identity.source_gateway, &lane, &arguments())?;
        let name = |step: &Step| match step.call {
            GatewayCall::AnnounceLane { .. } => "announce",
            GatewayCall::OpenLane { .. } => "open",
            _ => "other",
        };
        Ok(steps.iter().map(name).collect())
    }

    #[test]
    fn an_unknown_lane_is_announced_and_opened_and_an_announced_one_only_opened() {
        assert_eq!(steps(None).unwrap(), ["announce", "open"]);
        assert_eq!(steps(Some(LaneStage::Announced)).unwrap(), ["open"]);
        assert!(steps(Some(LaneStage::Open)).unwrap().is_empty());
    }

    #[test]
    fn all_are_those_that_touch_the_chain() {
        let lanes = [lane("trade", "north", "south"), lane("trade", "south", "north"), lane("trade", "east", "west")];
        let named = |chain: &str, source: Option<&str>| {
            let choice =
                LaneChoice { chain: chain.to_owned(), lane: ALL.to_owned(), source: source.map(str::to_owned) };
            chosen(&lanes, &choice).map(|lanes| lanes.len()).map_err(|failure| failure.exit)
        };
        assert_eq!(named("north", None), Ok(2));
        assert_eq!(named("north", Some("south")), Ok(1));
        assert_eq!(named("nowhere", None), Err(Exit::Usage));
    }

    #[test]
    fn a_closed_lane_is_not_opened() {
        for stage in [LaneStage::Closing, LaneStage::Closed] {
            assert_eq!(steps(Some(stage)).unwrap_err().exit, Exit::Refused);
        }
    }

    #[test]
    fn a_salt_is_a_random_word() {
        let salts: Vec<String> = (0..2).map(|_| salt().unwrap().text).collect();
        assert_ne!(salts[0], salts[1]);
        assert!(lane_id(&salts[0]) != Some(LaneId(Hash32::ZERO)));
        assert!(salts.iter().all(|salt| salt.parse::<Domain>().is_ok()));
    }
}
