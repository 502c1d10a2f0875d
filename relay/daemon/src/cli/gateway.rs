//! `gateway status` and `gateway handover`.

use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::Address;
use serde_json::json;

use super::answer::{Answer, Exit, Failure};
use super::doctor::diagnosis;
use super::lanes::Known;
use super::owner::{Owner, Step};
use super::owner_arguments::{HandoverArguments, StatusArguments};
use crate::config::settings::ChainConfig;
use crate::config::{Layers, Sources, check};
use crate::doctor::{Instance, attesters, gateways};

/// Compares contracts, lanes and attester sets with this release and this configuration; exit 4 when something is broken.
pub(super) async fn status(sources: &Sources, arguments: &StatusArguments) -> Result<Answer, Failure> {
    let (chains, lanes) = match Known::read(sources) {
        Ok(known) => (known.chains, known.lanes),
        // A chain alone can be looked at before there is any lane.
        Err(failure) => match &arguments.chain {
            Some(name) => {
                let chain = check::one_chain(&Layers::read(sources)?, cityrelay_all::adapters(), name)?;
                ([(name.clone(), chain)].into(), Vec::new())
            }
            None => return Err(failure),
        },
    };
    let is_meant = |chain: &&ChainConfig| arguments.chain.as_ref().is_none_or(|name| chain.name == *name);
    let can_be_read = |chain: &&ChainConfig| chain.gateway.is_some() && !chain.chain.source().endpoints().is_empty();
    let chosen: Vec<&ChainConfig> = chains.values().filter(is_meant).filter(can_be_read).collect();
    if chosen.is_empty() {
        let problem = match &arguments.chain {
            Some(name) => format!("chain {name:?} has no gateway or no node in this configuration"),
            None => "no chain of this configuration has both a gateway and a node".to_owned(),
        };
        return Err(Failure::new(Exit::Usage, problem));
    }
    // The daemon is not asked: it may be another's.
    let instance = Instance::new(sources, &Layers::read(sources)?, false);
    let mut findings = Vec::new();
    for chain in &chosen {
        findings.extend(gateways::contracts(chain, &lanes, &instance).await);
        findings.extend(gateways::lanes(chain, &lanes, &instance).await);
    }
    findings.extend(attesters::sets(&chosen, &[], &instance).await);
    diagnosis(&findings)
}

/// Offers the gateway, withdraws the offer, or accepts it.
pub(super) async fn handover(sources: &Sources, arguments: &HandoverArguments) -> Result<Answer, Failure> {
    let layers = Layers::read(sources)?;
    let chain = check::one_chain(&layers, cityrelay_all::adapters(), &arguments.chain)?;
    let missing = || Failure::new(Exit::Usage, format!("chains.{}.gateway is missing", chain.name));
    let gateway = chain.gateway.ok_or_else(missing)?;
    let (call, what, text) = match arguments.step.to {
        Some(owner) => (
            GatewayCall::OfferOwnership { gateway, owner },
            format!("offer gateway {gateway} to {owner}"),
            format!("gateway {gateway} is offered to {owner}, who must run `cityrelay gateway handover --accept`"),
        ),
        None if arguments.step.accept => (
            GatewayCall::AcceptOwnership { gateway },
            format!("take over gateway {gateway}"),
            format!("gateway {gateway} is taken over"),
        ),
        None => (
            GatewayCall::OfferOwnership { gateway, owner: Address(Hash32::ZERO) },
            format!("withdraw the offer of gateway {gateway}"),
            format!("gateway {gateway} is offered to nobody"),
        ),
    };
    let owner = Owner { layers: &layers, chain: &chain, making: &arguments.making };
    let mut answer = owner.act(&[Step::new(call, what)], text).await?;
    if let Some(data) = answer.data.as_object_mut() {
        data.insert("gateway".to_owned(), json!(gateway.to_string()));
    }
    Ok(answer)
}
