//! From the configuration to a machine and the handles that its effects need.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use cityrelay_api::client::ErasedClient;
use cityrelay_api::inspect::Inspect;
use cityrelay_api::source::Source;
use cityrelay_api::target::Target;
use cityrelay_core::frame::Role;
use cityrelay_core::ids::{Domain, LaneId};
use cityrelay_core::lane::LaneIdentity;
use cityrelay_core::machine::config::{ChainSetup, LaneSetup, Limits, MachineConfig, PeerId, PeerSetup};
use cityrelay_link::{Fingerprint, Identity, LinkConfig, LinkLimits, PeerConfig, PeerName};

use super::exchange::Exchange;
use super::reload::ChainAccess;
use crate::config::Config;

/// One chain's handles.
pub(super) struct ChainHandles {
    pub name: String,
    pub client: Arc<dyn ErasedClient>,
    /// `None` when the chain has no configured node: its headers come from a peer.
    pub source: Option<Arc<dyn Source>>,
    pub target: Option<Arc<dyn Target>>,
    /// What its contracts say, for operators.
    pub inspect: Arc<dyn Inspect>,
    /// After how long without a block something is wrong; `None` for a chain that may be silent for ever, and for one
    /// whose headers come from a peer.
    pub longest_silence: Option<Duration>,
}

/// Everything that effects are done with, fixed at start.
pub(super) struct Handles {
    pub chains: BTreeMap<Domain, ChainHandles>,
    pub lanes: BTreeMap<LaneId, LaneIdentity>,
    pub peers: BTreeMap<PeerId, String>,
}

impl Handles {
    pub fn peer_id(&self, name: &str) -> Option<PeerId> {
        self.peers.iter().find(|(_, known)| *known == name).map(|(id, _)| *id)
    }

    pub fn chain_name(&self, domain: Domain) -> &str {
        self.chains.get(&domain).map_or("unknown", |chain| &chain.name)
    }

    pub fn peer_name(&self, peer: PeerId) -> &str {
        self.peers.get(&peer).map_or("unknown", String::as_str)
    }

    pub fn channel(&self, lane: LaneId) -> &str {
        self.lanes.get(&lane).map_or("unknown", |lane| &lane.channel)
    }
}

/// What a configuration comes to.
pub(super) struct Plan {
    pub machine: MachineConfig,
    pub handles: Handles,
    /// What a reload may exchange behind the handles.
    pub access: BTreeMap<Domain, ChainAccess>,
}

/// Builds the machine's configuration and the handles.
pub(super) fn plan(config: &Config, jitter_seed: u64) -> anyhow::Result<Plan> {
    let mut chains = BTreeMap::new();
    let mut access = BTreeMap::new();
    let mut setups = Vec::new();
    for chain in config.chains.values() {
        let client = chain.chain.client();
        let anchor = chain.chain.anchor();
        let source = chain.chain.source();
        let has_source = !source.endpoints().is_empty();
        let target = chain.chain.target();
        let read = || format!("the anchor of chain {}", chain.name);
        setups.push(ChainSetup {
            domain: chain.domain,
            height: client.trusted_height(&anchor).with_context(read)?,
            hash: client.trusted_hash(&anchor).with_context(read)?,
            anchor,
            has_source,
            has_target: target.is_some(),
            strength: client.strength(),
            poll_interval: chain.poll_interval,
        });
        let source = has_source.then(|| Arc::new(Exchange::new(source)));
        let target = target.map(|target| Arc::new(Exchange::new(target)));
        let inspect = Arc::new(Exchange::new(chain.chain.inspect()));
        let handles = ChainHandles {
            name: chain.name.clone(),
            client,
            source: source.clone().map(|source| source as Arc<dyn Source>),
            target: target.clone().map(|target| target as Arc<dyn Target>),
            inspect: Arc::clone(&inspect) as Arc<dyn Inspect>,
            longest_silence: chain.chain.longest_silence().filter(|_| has_source),
        };
        chains.insert(chain.domain, handles);
        access.insert(chain.domain, ChainAccess { source, target, inspect });
    }
    let peers: BTreeMap<PeerId, String> =
        (0_u32..).map(PeerId).zip(config.peers.iter().map(|peer| peer.name.clone())).collect();
    let handles =
        Handles { chains, lanes: config.lanes.iter().map(|lane| (lane.id, lane.identity.clone())).collect(), peers };
    let lanes = config.lanes.iter().map(|lane| LaneSetup {
        identity: lane.identity.clone(),
        peer: lane.peer.as_ref().and_then(|name| handles.peer_id(name)),
        source_committee: None,
        destination_committee: None,
    });
    let machine = MachineConfig {
        role: config.node.role,
        chains: setups,
        lanes: lanes.collect(),
        peers: (0_u32..)
            .map(PeerId)
            .zip(&config.peers)
            .map(|(id, peer)| PeerSetup { id, name: peer.name.clone(), role: peer.role, attester: peer.attester })
            .collect(),
        limits: limits(config),
        jitter_seed,
    };
    Ok(Plan { machine, handles, access })
}

/// Sizes and waits of the machine.
pub(super) fn limits(config: &Config) -> Limits {
    Limits {
        batch_entries: config.batch.max_entries,
        batch_bytes: config.batch.max_bytes,
        batch_gas: config.batch.max_gas,
        batch_delay: config.batch.max_delay,
        // Each keeps its room on the link until it is dealt with, and that is what bounds them: whoever sends claims faster
        // than they are verified is held up, not answered.
        parked_claims: LinkLimits::default().most_inflight_frames_per_stream(),
        ..Limits::default()
    }
}

/// The link's configuration: who may talk, about which lanes.
pub(crate) fn link_config(config: &Config) -> anyhow::Result<LinkConfig> {
    let mut peers = Vec::new();
    for peer in &config.peers {
        // An attester may be asked about every lane; a relay only about those that it shares with us.
        let lanes = match peer.role {
            Role::Attester => None,
            Role::Relay if config.node.role == Role::Attester => None,
            Role::Relay => {
                let shared = config.lanes.iter().filter(|lane| lane.peer.as_ref() == Some(&peer.name));
                Some(shared.map(|lane| lane.id).collect())
            }
        };
        peers.push(PeerConfig {
            name: PeerName::new(&peer.name),
            fingerprint: Fingerprint(peer.fingerprint),
            next_fingerprint: peer.next_fingerprint.map(Fingerprint),
            address: peer.address.as_deref().map(str::parse).transpose().context("a peer's address")?,
            lanes,
        });
    }
    let identity = Identity::load(&config.link.identity_file).context("the link key")?;
    Ok(LinkConfig { listen: config.link.listen, identity, peers, limits: LinkLimits::default() })
}
