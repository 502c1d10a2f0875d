//! What a machine is told before it starts.

use core::time::Duration;
use std::collections::BTreeMap;

use crate::attestation::Committee;
use crate::frame::Role;
use crate::hash::Hash32;
use crate::ids::{AttesterId, Domain, Height};
use crate::lane::LaneIdentity;
use crate::light_client::ProofStrength;
use crate::opaque::Opaque;

/// A configured peer, numbered by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u32);

/// Everything fixed at start.
#[derive(Clone, Debug)]
pub struct MachineConfig {
    /// Relay or attester.
    pub role: Role,
    /// The chains, each once.
    pub chains: Vec<ChainSetup>,
    /// The lanes, each once.
    pub lanes: Vec<LaneSetup>,
    /// The peers, each once.
    pub peers: Vec<PeerSetup>,
    /// Sizes and waits.
    pub limits: Limits,
    /// Seed of the jitter in backoffs; nothing secret depends on it.
    pub jitter_seed: u64,
}

/// One chain.
#[derive(Clone, Debug)]
pub struct ChainSetup {
    /// The chain.
    pub domain: Domain,
    /// The state that the configured anchor gives. It counts at the first start, and later where it is newer than what was
    /// verified since.
    pub anchor: Opaque,
    /// Height of the anchor.
    pub height: Height,
    /// Hash of the anchor block.
    pub hash: Hash32,
    /// Whether this process has a node of the chain to read from.
    pub has_source: bool,
    /// Whether this process has an account on the chain: a relay stands beside the chains where it has one.
    pub has_target: bool,
    /// What a verified head of the chain is worth.
    pub strength: ProofStrength,
    /// How often the nodes are asked for news.
    pub poll_interval: Duration,
}

/// One lane.
#[derive(Clone, Debug)]
pub struct LaneSetup {
    /// Who it is.
    pub identity: LaneIdentity,
    /// The relay on the other side; `None` for an attester.
    pub peer: Option<PeerId>,
    /// The attester set of the source verifier as last known, `None` until a chain or peer says it.
    pub source_committee: Option<Committee>,
    /// The attester set of the destination verifier as last known.
    pub destination_committee: Option<Committee>,
}

/// One peer.
#[derive(Clone, Debug)]
pub struct PeerSetup {
    /// Its number.
    pub id: PeerId,
    /// Its name, for evidence against it.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// The address that it signs with, where it is an attester and that is known.
    pub attester: Option<AttesterId>,
}

/// Sizes and waits, with their defaults.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most entries that one extension takes. Default 64.
    pub batch_entries: usize,
    /// Most payload bytes that one extension takes, in bytes. Default 262,144.
    pub batch_bytes: usize,
    /// Most gas that the messages of one delivery may ask for together. Default 20,000,000.
    pub batch_gas: u64,
    /// How long a short batch waits for more entries. Default 200 ms.
    pub batch_delay: Duration,
    /// Extensions that may be sent to a peer and not accepted yet, per flow. Default 64.
    pub send_window: usize,
    /// Extensions of one flow that may wait at the outbound side before it stops observing. Default 4096.
    pub outbound_window: usize,
    /// Bytes, roughly, that the extensions of one flow may take while they wait for the peer before it stops observing.
    /// Default 67,108,864; one extension may exceed it alone.
    pub outbound_bytes: usize,
    /// Claims of one flow that may wait for verification. Default 64.
    pub parked_claims: usize,
    /// Extensions of one flow that may wait for the target chain before no more are taken in. Default 1024.
    pub inbound_window: usize,
    /// Bytes, roughly, that the extensions of one flow may take while they wait for the target chain. Default
    /// 67,108,864; one extension may exceed it alone.
    pub inbound_bytes: usize,
    /// Headers asked for at once. Default 256.
    pub update_headers: u32,
    /// First wait after a failure; doubles up to `retry_max`. Default 250 ms.
    pub retry_min: Duration,
    /// Longest wait after a failure. Default 15 s.
    pub retry_max: Duration,
    /// How often a transaction's fate is asked. Default 250 ms.
    pub track_interval: Duration,
    /// How often the accepted point and the attester set are read when nothing else asks for it. Default 5 s.
    pub refresh_interval: Duration,
}

/// What may change while a machine runs; everything else is fixed at its start.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Sizes and waits.
    pub limits: Limits,
    /// How often each chain's nodes are asked for news; a chain that is not named keeps its interval.
    pub poll_intervals: BTreeMap<Domain, Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch_entries: 64,
            batch_bytes: 256 << 10,
            batch_gas: 20_000_000,
            batch_delay: Duration::from_millis(200),
            send_window: 64,
            outbound_window: 4096,
            outbound_bytes: 64 << 20,
            parked_claims: 64,
            inbound_window: 1024,
            inbound_bytes: 64 << 20,
            update_headers: 256,
            retry_min: Duration::from_millis(250),
            retry_max: Duration::from_secs(15),
            track_interval: Duration::from_millis(250),
            refresh_interval: Duration::from_secs(5),
        }
    }
}
