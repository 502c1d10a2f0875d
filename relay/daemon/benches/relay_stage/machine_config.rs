//! What the machine under test is told: relays beside source chains, all with lanes to one destination.

use std::time::Duration;

use cityrelay_core::frame::Role;
use cityrelay_core::ids::Height;
use cityrelay_core::light_client::ProofStrength;
use cityrelay_core::machine::config::{ChainSetup, LaneSetup, Limits, MachineConfig, PeerId, PeerSetup};

use crate::source_chain::SourceChain;

/// Each peer stands beside its chain, and the machine beside the destination of the first one's lanes.
pub fn machine_config(peers: &[(PeerId, &SourceChain)], limits: Limits) -> MachineConfig {
    let setup = |chain: &SourceChain| ChainSetup {
        domain: chain.domain,
        anchor: chain.anchor.clone(),
        height: Height(0),
        hash: chain.anchor_hash,
        has_source: false,
        has_target: false,
        strength: ProofStrength::Conclusive,
        poll_interval: Duration::from_secs(1),
    };
    let mut chains: Vec<ChainSetup> = peers.iter().map(|(_, chain)| setup(chain)).collect();
    let first = peers[0].1;
    chains.push(ChainSetup { domain: first.lanes[0].destination_domain, has_target: true, ..setup(first) });
    let lanes = peers.iter().flat_map(|(peer, chain)| {
        chain.lanes.iter().map(|identity| LaneSetup {
            identity: identity.clone(),
            peer: Some(*peer),
            source_committee: None,
            destination_committee: Some(chain.committee.clone()),
        })
    });
    let setup = |(peer, _): &(PeerId, &SourceChain)| PeerSetup {
        id: *peer,
        name: format!("peer-{}", peer.0),
        role: Role::Relay,
        attester: None,
    };
    MachineConfig {
        role: Role::Relay,
        chains,
        lanes: lanes.collect(),
        peers: peers.iter().map(setup).collect(),
        limits,
        jitter_seed: 1,
    }
}
