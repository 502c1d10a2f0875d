//! `lane close`, `lane pause`, `lane resume`, `lane skip`: what an owner does to a lane that is there.

use std::collections::BTreeMap;

use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::ids::{Address, Index};
use cityrelay_gateway::query::{LaneStage, LaneStatus};

use super::answer::{Answer, Exit, Failure};
use super::arguments::lane_id;
use super::owner::{Owner, Step};
use super::owner_arguments::{LaneArguments, LaneChoice, PauseArguments, SkipArguments};
use crate::config::settings::{ChainConfig, LaneConfig};
use crate::config::{Layers, Sources, check};
use crate::contracts;

/// Chains and lanes of a configuration.
pub(super) struct Known {
    pub(super) layers: Layers,
    pub(super) chains: BTreeMap<String, ChainConfig>,
    pub(super) lanes: Vec<LaneConfig>,
}

impl Known {
    pub(super) fn read(sources: &Sources) -> Result<Self, Failure> {
        let layers = Layers::read(sources)?;
        let (chains, lanes) = check::lanes_only(&layers, cityrelay_all::adapters())?;
        Ok(Self { layers, chains, lanes })
    }

    /// A chain by its name.
    pub(super) fn chain(&self, name: &str) -> Result<&ChainConfig, Failure> {
        self.chains.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.chains.keys().map(String::as_str).collect();
            Failure::new(Exit::Usage, format!("there is no chain {name:?}; there are {}", known.join(", ")))
        })
    }
}

/// Whether a lane has an end on the chosen chain, and begins where it should if that was said.
pub(super) fn touches(lane: &LaneConfig, choice: &LaneChoice) -> bool {
    (lane.source == choice.chain || lane.destination == choice.chain)
        && choice.source.as_ref().is_none_or(|source| lane.source == *source)
}

/// The one lane that is meant, never one of several.
pub(super) fn pick<'a>(lanes: &'a [LaneConfig], choice: &LaneChoice) -> Result<&'a LaneConfig, Failure> {
    let wanted = lane_id(&choice.lane);
    let fits = |lane: &&LaneConfig| {
        touches(lane, choice) && wanted.map_or(lane.identity.channel == choice.lane, |id| lane.id == id)
    };
    let mut found = lanes.iter().filter(fits);
    match (found.next(), found.next()) {
        (Some(lane), None) => Ok(lane),
        (None, _) => {
            let problem = format!("no configured lane {:?} touches chain {:?}", choice.lane, choice.chain);
            Err(Failure::new(Exit::Usage, problem))
        }
        (Some(_), Some(_)) => {
            let problem =
                format!("several lanes are called {:?}: name the --source chain, or the lane's id", choice.lane);
            Err(Failure::new(Exit::Usage, problem))
        }
    }
}

/// The lane's gateway on `chain`.
pub(super) fn gateway_on(lane: &LaneConfig, chain: &str) -> Address {
    if lane.source == chain { lane.identity.source_gateway } else { lane.identity.destination_gateway }
}

/// A lane in words.
pub(super) fn lane_words(lane: &LaneConfig) -> String {
    format!("lane {} {} → {} ({})", lane.identity.channel, lane.source, lane.destination, lane.id)
}

async fn status(chain: &ChainConfig, gateway: Address, lane: &LaneConfig) -> Result<LaneStatus, Failure> {
    let status = contracts::lane_status(chain.chain.inspect().as_ref(), gateway, lane.id).await?;
    status.ok_or_else(|| {
        let problem = format!("gateway {gateway} on {} does not know {}", chain.name, lane_words(lane));
        Failure::new(Exit::Refused, problem)
    })
}

/// Announces a close, or closes for good a lane whose closing was announced.
pub(super) async fn close(sources: &Sources, arguments: &LaneArguments) -> Result<Answer, Failure> {
    let known = Known::read(sources)?;
    let lane = pick(&known.lanes, &arguments.choice)?;
    let chain = known.chain(&arguments.choice.chain)?;
    let gateway = gateway_on(lane, &chain.name);
    let owner = Owner { layers: &known.layers, chain, making: &arguments.making };
    let words = lane_words(lane);
    match status(chain, gateway, lane).await?.stage {
        LaneStage::Open => {
            let step = Step::new(
                GatewayCall::AnnounceClose { gateway, lane: lane.id },
                format!("announce the close of {words}"),
            );
            let text = format!(
                "{words} is closing on {}: nothing more can be sent; what was sent is still delivered and settled. Repeat \
                 this command after the gateway's close delay to close it for good",
                chain.name
            );
            owner.act(&[step], text).await
        }
        LaneStage::Closing => {
            let step = Step::new(GatewayCall::Close { gateway, lane: lane.id }, format!("close {words} for good"));
            owner.act(&[step], format!("{words} is closed on {}: what is unsettled stays unknown", chain.name)).await
        }
        LaneStage::Announced => {
            let problem = format!("{words} is announced and not open on {}: there is nothing to close", chain.name);
            Err(Failure::new(Exit::Refused, problem))
        }
        LaneStage::Closed => Err(Failure::new(Exit::Refused, format!("{words} is closed on {} already", chain.name))),
    }
}

/// Pauses or resumes one lane, or all of a gateway.
pub(super) async fn set_paused(
    sources: &Sources,
    arguments: &PauseArguments,
    is_paused: bool,
) -> Result<Answer, Failure> {
    let known = Known::read(sources)?;
    let chain = known.chain(&arguments.chain)?;
    let (gateway, lane, words) = match &arguments.lane {
        Some(named) => {
            let choice =
                LaneChoice { chain: arguments.chain.clone(), lane: named.clone(), source: arguments.source.clone() };
            let lane = pick(&known.lanes, &choice)?;
            (gateway_on(lane, &chain.name), Some(lane.id), lane_words(lane))
        }
        None => {
            let key = || Failure::new(Exit::Usage, format!("chains.{}.gateway is missing", chain.name));
            let gateway = chain.gateway.ok_or_else(key)?;
            (gateway, None, format!("gateway {gateway} with all its lanes"))
        }
    };
    let (verb, state) = if is_paused { ("pause", "paused") } else { ("resume", "no longer paused") };
    let step = Step::new(GatewayCall::SetPaused { gateway, lane, is_paused }, format!("{verb} {words}"));
    let mut text = format!("{words} is {state} on {}", chain.name);
    if is_paused {
        text.push_str("; deadlines go on passing, and what expires is settled as expired");
    }
    let owner = Owner { layers: &known.layers, chain, making: &arguments.making };
    owner.act(&[step], text).await
}

/// Steps over the message that halted a strict lane.
pub(super) async fn skip(sources: &Sources, arguments: &SkipArguments) -> Result<Answer, Failure> {
    let known = Known::read(sources)?;
    let lane = pick(&known.lanes, &arguments.choice)?;
    let chain = known.chain(&arguments.choice.chain)?;
    let words = lane_words(lane);
    if lane.destination != chain.name {
        let problem = format!("{words} halts on its destination: name --chain {}", lane.destination);
        return Err(Failure::new(Exit::Usage, problem));
    }
    let gateway = lane.identity.destination_gateway;
    let standing = status(chain, gateway, lane).await?;
    let next = standing.own.index.next();
    let index = Index(arguments.index);
    let refuse = |problem: String| Err(Failure::new(Exit::Refused, problem));
    match standing.halted {
        None => return refuse(format!("{words} is not halted on {}: there is nothing to skip", chain.name)),
        Some(_) if index != next => {
            return refuse(format!("{words} is halted at index {next}: only that one can be skipped, got {index}"));
        }
        Some(_) => {}
    }
    let step = Step::new(GatewayCall::Skip { gateway, lane: lane.id, index }, format!("skip index {index} of {words}"));
    let text = format!("index {index} of {words} is skipped; its sender is told so at settlement");
    let owner = Owner { layers: &known.layers, chain, making: &arguments.making };
    owner.act(&[step], text).await
}

#[cfg(test)]
pub(super) mod tests {
    use cityrelay_core::hash::keccak256;
    use cityrelay_core::ids::Domain;
    use cityrelay_core::lane::LaneIdentity;

    use super::*;

    pub(in super::super) fn lane(channel: &str, source: &str, destination: &str) -> LaneConfig {
        let word = |text: &str| keccak256(text.as_bytes());
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

    fn choice(lane: &str, source: Option<&str>) -> LaneChoice {
        LaneChoice { chain: "north".to_owned(), lane: lane.to_owned(), source: source.map(str::to_owned) }
    }

    #[test]
    fn a_lane_is_picked_by_channel_source_or_id_and_never_by_chance() {
        let lanes =
            [lane("medical", "north", "south"), lane("medical", "south", "north"), lane("trade", "north", "south")];
        assert_eq!(pick(&lanes, &choice("trade", None)).unwrap().id, lanes[2].id);
        assert!(pick(&lanes, &choice("medical", None)).unwrap_err().message.contains("several lanes"));
        assert_eq!(pick(&lanes, &choice("medical", Some("south"))).unwrap().id, lanes[1].id);
        assert_eq!(pick(&lanes, &choice(&lanes[0].id.to_string(), None)).unwrap().id, lanes[0].id);
        assert_eq!(pick(&lanes, &choice("education", None)).unwrap_err().exit, Exit::Usage);
    }
}
