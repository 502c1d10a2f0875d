//! Lanes: what each joins, and who is on the other side.

use std::collections::BTreeMap;

use cityrelay_core::frame::Role;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Domain};
use cityrelay_core::lane::LaneIdentity;
use serde_json::Value;

use super::unknown_name;
use crate::config::reader::Reader;
use crate::config::settings::{ChainConfig, LaneConfig, PeerConfig};

const MAX_CHANNEL_BYTES: usize = 64;

pub(super) fn lanes(
    reader: &Reader<'_>,
    role: Option<Role>,
    names: &[&str],
    chains: &BTreeMap<String, ChainConfig>,
    peers: &[PeerConfig],
) -> Vec<LaneConfig> {
    let mut lanes: Vec<LaneConfig> = Vec::new();
    let elements = reader.elements("lanes");
    if elements.is_empty() && reader.value("lanes").is_none_or(Value::is_array) {
        reader.fault("lanes", "there is no lane, so nothing would be relayed: add a [[lanes]] section");
    }
    for path in elements {
        let peer = lane_peer(reader, &path, role, peers);
        if let Some(lane) = lane(reader, &path, names, chains, peer) {
            if let Some(at) = lanes.iter().position(|other| other.id == lane.id) {
                reader.fault(&path, format!("is the same lane as lanes[{at}]"));
            }
            if role == Some(Role::Relay) && !has_account(chains, &lane) {
                let problem =
                    "this relay has no account on either chain of the lane: set `account` in one of their sections";
                reader.fault(&path, problem);
            }
            lanes.push(lane);
        }
    }
    lanes
}

fn has_account(chains: &BTreeMap<String, ChainConfig>, lane: &LaneConfig) -> bool {
    [&lane.source, &lane.destination]
        .into_iter()
        .any(|name| chains.get(name).is_some_and(|chain| chain.chain.target().is_some()))
}

fn lane_peer(reader: &Reader<'_>, path: &str, role: Option<Role>, peers: &[PeerConfig]) -> Option<String> {
    let path = format!("{path}.peer");
    let named = reader.optional::<String>(&path);
    match (role, named) {
        (Some(Role::Relay), None) if reader.value(&path).is_none() => {
            reader.missing(&path, " on a relay's lane");
            None
        }
        (Some(Role::Attester), Some(_)) => {
            reader.fault(&path, "an attester answers every relay among its peers: leave this key out");
            None
        }
        (Some(Role::Relay), Some(named)) => {
            match peers.iter().find(|peer| peer.name == named) {
                Some(peer) if peer.role == Role::Relay => {}
                Some(_) => reader.fault(&path, format!("peer {named:?} is an attester, expected a relay")),
                None => {
                    // A peer with faults of its own is reported where they are.
                    let elements = reader.elements("peers").into_iter();
                    let known: Vec<&str> =
                        elements.filter_map(|peer| reader.value(&format!("{peer}.name"))?.as_str()).collect();
                    if !known.contains(&named.as_str()) {
                        reader.fault(&path, unknown_name("peer", &named, &known));
                    }
                }
            }
            Some(named)
        }
        (_, named) => named,
    }
}

fn lane(
    reader: &Reader<'_>,
    path: &str,
    names: &[&str],
    chains: &BTreeMap<String, ChainConfig>,
    peer: Option<String>,
) -> Option<LaneConfig> {
    let channel = channel(reader, &format!("{path}.channel"));
    let salt: Option<Hash32> = reader.required(&format!("{path}.salt"));
    let source: Option<String> = reader.required(&format!("{path}.source"));
    let destination: Option<String> = reader.required(&format!("{path}.destination"));
    let end = |end: &str, name: Option<&str>| lane_end(reader, path, end, name?, names, chains);
    let source_end = end("source", source.as_deref());
    let destination_end = end("destination", destination.as_deref());
    if source.is_some() && source == destination {
        reader.fault(&format!("{path}.destination"), "is the source too: a lane joins two chains");
        return None;
    }
    let (source_end, destination_end) = (source_end?, destination_end?);
    let identity = LaneIdentity {
        source_domain: source_end.domain,
        destination_domain: destination_end.domain,
        source_gateway: source_end.gateway,
        destination_gateway: destination_end.gateway,
        source_verifier: source_end.verifier,
        destination_verifier: destination_end.verifier,
        channel: channel?,
        salt: salt?,
    };
    Some(LaneConfig { id: identity.id(), identity, source: source?, destination: destination?, peer })
}

fn channel(reader: &Reader<'_>, path: &str) -> Option<String> {
    let channel: String = reader.required(path)?;
    if (1..=MAX_CHANNEL_BYTES).contains(&channel.len()) && !channel.contains(char::is_control) {
        return Some(channel);
    }
    reader.fault(path, format!("expected 1 to {MAX_CHANNEL_BYTES} bytes of text, got {channel:?}"));
    None
}

/// What a lane stands on at one of its ends.
struct LaneEnd {
    domain: Domain,
    gateway: Address,
    verifier: Address,
}

/// One end of the lane at `path`: its contracts are the chain's, unless the lane names its own.
fn lane_end(
    reader: &Reader<'_>,
    path: &str,
    end: &str,
    name: &str,
    names: &[&str],
    chains: &BTreeMap<String, ChainConfig>,
) -> Option<LaneEnd> {
    let place = format!("{path}.{end}");
    if !names.contains(&name) {
        reader.fault(&place, unknown_name("chain", name, names));
        return None;
    }
    let contract = |what: &str, of_chain: fn(&ChainConfig) -> Option<Address>| {
        let own = format!("{place}_{what}");
        if reader.value(&own).is_some() {
            return reader.optional(&own);
        }
        let key = format!("chains.{name}.{what}");
        if reader.value(&key).is_none() {
            reader.missing(&key, &format!(", and {place} needs it"));
        }
        // A section with faults of its own is reported where they are.
        chains.get(name).and_then(of_chain)
    };
    let gateway = contract("gateway", |chain| chain.gateway);
    let verifier = contract("verifier", |chain| chain.verifier);
    Some(LaneEnd { domain: chains.get(name)?.domain, gateway: gateway?, verifier: verifier? })
}
