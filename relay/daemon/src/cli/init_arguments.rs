//! Flags of `init`.

use std::net::SocketAddr;
use std::path::PathBuf;

use cityrelay_core::hash::Hash32;

#[derive(Debug, clap::Subcommand)]
pub(super) enum InitCommand {
    /// Make keys, a relay's own part and its chain's section with a pinned anchor
    Relay(InitRelayArguments),
    /// Make keys and an attester's own part
    Attester(InitAttesterArguments),
    /// Print what others may know of this process; draws the salts of new lanes
    Card(CardArguments),
    /// Make peers, the other chain and the lanes out of the cards of both cities
    Join(JoinArguments),
    /// Print the section of one more peer out of its card, to be appended to peers.toml
    Peer(PeerArguments),
}

impl InitCommand {
    /// The command's name in the JSON envelope.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Relay(_) => "init relay",
            Self::Attester(_) => "init attester",
            Self::Card(_) => "init card",
            Self::Join(_) => "init join",
            Self::Peer(_) => "init peer",
        }
    }
}

/// What a relay and an attester have in common.
#[derive(Debug, clap::Args)]
pub(super) struct OwnPart {
    /// Name of this process in logs, metrics and at its peers; asked for on a terminal
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// UDP address on which peers may call
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:7400")]
    pub(super) listen: SocketAddr,
    /// TCP address of the metrics [default: the configuration's]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) metrics: Option<SocketAddr>,
    /// Folder of the journal [default: under /var/lib/cityrelay as the configuration under /etc/cityrelay, else beside it]
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct InitRelayArguments {
    #[command(flatten)]
    pub(super) own: OwnPart,
    /// Name of this city's chain
    #[arg(long, value_name = "NAME")]
    pub(super) chain: String,
    /// A key of the chain's section, such as chain_id=571 or nodes='[{ name = "own", url = "…", own = true }]'
    #[arg(long = "chain-set", value_name = "KEY=VALUE", required = true)]
    pub(super) settings: Vec<String>,
    /// The block to start from [default: the newest one that all nodes have and that can be an anchor]
    #[arg(long, value_name = "HEIGHT")]
    pub(super) anchor_height: Option<u64>,
    /// Its hash, as another institution read it out; asked for on a terminal
    #[arg(long, value_name = "HASH", value_parser = Hash32::from_hex)]
    pub(super) anchor_hash: Option<Hash32>,
}

#[derive(Debug, clap::Args)]
pub(super) struct InitAttesterArguments {
    #[command(flatten)]
    pub(super) own: OwnPart,
}

#[derive(Debug, clap::Args)]
pub(super) struct CardArguments {
    /// Where peers call this process, as host:port; without it this process calls them
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) address: Option<String>,
    /// For an attester: the city that its institution is of; relays see by it whether one city could sign alone
    #[arg(long, value_name = "NAME")]
    pub(super) city: Option<String>,
    /// A channel that applications of this city's chain send on; may be repeated
    #[arg(long = "channel", value_name = "NAME")]
    pub(super) channels: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct JoinArguments {
    /// Cards of both cities' relays, the own one among them, and of the attesters
    #[arg(required = true, value_name = "CARD")]
    pub(super) cards: Vec<PathBuf>,
    /// A key of a chain's section beside what its card says, such as CHAIN.nodes='[{ … }]': an attester's own nodes
    #[arg(long = "chain-set", value_name = "CHAIN.KEY=VALUE")]
    pub(super) settings: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct PeerArguments {
    /// The card of the new peer
    pub(super) card: PathBuf,
}
