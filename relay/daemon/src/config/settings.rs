//! A configuration after every check: what the rest of the daemon works with.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cityrelay_api::Chain;
use cityrelay_core::frame::Role;
use cityrelay_core::ids::{Address, AttesterId, Domain, LaneId};
use cityrelay_core::lane::LaneIdentity;
use reqwest::Url;

/// Everything that `cityrelay run` needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// This process.
    pub node: NodeConfig,
    /// Its side of the link.
    pub link: LinkConfig,
    /// Whom it talks to, in the order of the configuration.
    pub peers: Vec<PeerConfig>,
    /// The chains by name.
    pub chains: BTreeMap<String, ChainConfig>,
    /// The lanes, in the order of the configuration; never empty.
    pub lanes: Vec<LaneConfig>,
    /// Present exactly when the role is attester.
    pub attester: Option<AttesterConfig>,
    /// How extensions are cut.
    pub batch: BatchConfig,
    /// What the journal keeps.
    pub journal: JournalConfig,
    /// The metrics endpoint.
    pub metrics: MetricsConfig,
    /// The control socket.
    pub control: ControlConfig,
    /// The log.
    pub log: LogConfig,
    /// Where spans go; `None` when nobody traces.
    pub traces: Option<TracesConfig>,
}

/// The journal's folder in the folder of this process's data.
pub const JOURNAL_FOLDER: &str = "journal";

/// This process.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its name in logs, metrics and answers.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// Where the journal lives.
    pub data_dir: PathBuf,
}

/// This process's side of the link.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Where peers may call; `None` when this process only calls them.
    pub listen: Option<SocketAddr>,
    /// Its link key.
    pub identity_file: PathBuf,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// Its name, unique.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// `host:port` to call; `None` when it must call us.
    pub address: Option<String>,
    /// SHA-256 of its public link key.
    pub fingerprint: [u8; 32],
    /// The same of the key that takes its place; `None` while it keeps its key.
    pub next_fingerprint: Option<[u8; 32]>,
    /// The address that it signs heads with, where it is known.
    pub attester: Option<AttesterId>,
    /// The city of its institution, where it is known.
    pub city: Option<String>,
}

/// One chain.
#[derive(Clone)]
pub struct ChainConfig {
    /// Its name in this configuration.
    pub name: String,
    /// Its kind.
    pub adapter: String,
    /// The chain as the protocol names it. Where a command needs none and the section has none, it is derived from
    /// the chain's name and anchor.
    pub domain: Domain,
    /// The gateway on it; always there when a lane uses the chain.
    pub gateway: Option<Address>,
    /// The verifier on it; always there when a lane uses the chain.
    pub verifier: Option<Address>,
    /// How often its nodes are asked for news.
    pub poll_interval: Duration,
    /// The chain itself.
    pub chain: Arc<dyn Chain>,
}

impl fmt::Debug for ChainConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainConfig")
            .field("name", &self.name)
            .field("adapter", &self.adapter)
            .field("domain", &self.domain)
            .field("gateway", &self.gateway)
            .field("verifier", &self.verifier)
            .field("poll_interval", &self.poll_interval)
            .finish_non_exhaustive()
    }
}

/// One lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneConfig {
    /// Who it is.
    pub identity: LaneIdentity,
    /// Its id, computed from the identity.
    pub id: LaneId,
    /// Name of the chain on which applications send.
    pub source: String,
    /// Name of the chain on which messages are executed.
    pub destination: String,
    /// Name of the relay on the other side; always there for a relay, never for an attester.
    pub peer: Option<String>,
}

/// What an attester signs with, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttesterConfig {
    /// Its secp256k1 key.
    pub key: KeySource,
    /// The newest heads that it signed, outside of the data folder. Default `<node.data_dir>-signer/counter`.
    pub counter_file: PathBuf,
    /// The lanes that it signs for; all configured ones unless `channels` names some.
    pub attests: BTreeSet<LaneId>,
}

/// Where an attester's key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// In a file that this process reads.
    File {
        /// The file.
        path: PathBuf,
        /// The address that it must have, where that is configured.
        address: Option<AttesterId>,
    },
    /// With a signer that is a process of its own.
    Signer {
        /// Its Unix socket.
        socket: PathBuf,
        /// The address that its key must have.
        address: AttesterId,
    },
}

/// How extensions are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchConfig {
    /// Most entries. Default 64.
    pub max_entries: usize,
    /// Most payload bytes. Default 262,144.
    pub max_bytes: usize,
    /// Most gas that the messages of one delivery may ask for together. Default 20,000,000.
    pub max_gas: u64,
    /// How long a short batch waits for more. Default 200 ms.
    pub max_delay: Duration,
}

/// What the journal keeps of finished messages. Index, id, outcome and heads are kept for good, whatever is said here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// How long payload bytes, proofs and attested heads. Default 30 days.
    pub keep_payloads: Duration,
    /// How long the messages themselves. `None`, the default: for good.
    pub keep_bodies: Option<Duration>,
}

/// The metrics endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Where it listens. Default 127.0.0.1:9464.
    pub listen: SocketAddr,
}

/// The control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlConfig {
    /// The Unix socket. Default `control.sock` in the data folder.
    pub socket: PathBuf,
    /// The group whose members may ask too. Default none.
    pub group: Option<String>,
}

/// The log on stderr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Its form. Default text.
    pub format: LogFormat,
    /// What is logged, in the form of `tracing_subscriber::EnvFilter`. Default `info`.
    pub filter: String,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The collector of traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracesConfig {
    /// Where it takes OTLP over HTTP.
    pub otlp_endpoint: Url,
    /// Certificates of who may vouch for it; always there with https.
    pub ca_file: Option<PathBuf>,
    /// One in so many messages is traced, at least 1. Default 1.
    pub one_in: u64,
}
