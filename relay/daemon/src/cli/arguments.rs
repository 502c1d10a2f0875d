//! Commands and flags.

use std::path::PathBuf;
use std::time::Duration;

use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::Address;

use super::control_arguments::{
    DaemonSkipArguments, LaneOrderArguments, LanesArguments, MessagesArguments, NewestArguments, ReloadArguments,
    RetryArguments, UnfreezeArguments,
};
use super::init_arguments::InitCommand;
use super::owner_arguments::{AttestersCommand, GatewayCommand, LaneCommand};

/// Carries messages between city chains.
#[derive(Debug, clap::Parser)]
#[command(name = "cityrelay", version, about, propagate_version = true)]
pub(super) struct Arguments {
    /// Configuration: a TOML file, or a folder whose *.toml files are joined [default: /etc/cityrelay]
    #[arg(long, global = true, env = "CITYRELAY_CONFIG", value_name = "FILE|DIR")]
    pub(super) config: Option<PathBuf>,
    /// Set one configuration key, such as --set log.format=json; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// Print one JSON object on stdout instead of text
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show everything at work on this machine: two chains, two relays, four attesters, twelve lanes
    Demo(DemoArguments),
    /// Run the demo's chains
    #[command(hide = true)]
    DemoChains(DemoChainsArguments),
    /// Make a configuration, step by step, from nothing to what `run` needs
    #[command(subcommand)]
    Init(InitCommand),
    /// Run the daemon: a relay or an attester, as configured
    Run(RunArguments),
    /// Run a signer: it keeps an attester's key apart from the daemon, and signs no second head for an index
    Signer(SignerArguments),
    /// Check or explain the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Record a chain, or verify a recording without a network
    #[command(subcommand)]
    Chain(ChainCommand),
    /// Trust anchors
    #[command(subcommand)]
    Anchor(AnchorCommand),
    /// Make or show keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Gateway contracts
    #[command(subcommand)]
    Gateway(GatewayCommand),
    /// Lanes
    #[command(subcommand)]
    Lane(LaneCommand),
    /// Attester sets
    #[command(subcommand)]
    Attesters(AttestersCommand),
    /// Look at everything that this process needs, and say what repairs what is broken
    Doctor,
    /// Check or export the journal while no daemon holds it
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Ask the running daemon where everything stands
    Status,
    /// Ask the running daemon for depth, age and state of its lanes
    Lanes(LanesArguments),
    /// Ask the running daemon for messages, a page at a time
    Messages(MessagesArguments),
    /// Ask the running daemon what a message waits for
    Why(WhyArguments),
    /// Watch the running daemon in the terminal
    Top,
    /// Order the running daemon to stop its work on a lane; messages may expire meanwhile
    Pause(LaneOrderArguments),
    /// Order the running daemon to take up its work on a paused lane
    Resume(LaneOrderArguments),
    /// Order the running daemon to try again now whatever waits after a failure
    Retry(RetryArguments),
    /// Order the running daemon to step over the message that halted a strict lane, where its account owns the gateway
    Skip(DaemonSkipArguments),
    /// Order the running daemon to read its configuration again, as SIGHUP does
    Reload(ReloadArguments),
    /// Show who contradicted whom, both statements side by side
    Evidence(NewestArguments),
    /// Order the running daemon to go on with one of two headers that froze a chain
    Unfreeze(UnfreezeArguments),
    /// Show the last orders: who gave them, when and why
    Audit(NewestArguments),
    /// Let the running daemon send a message with its own account
    Send(SendArguments),
    /// What `/metrics` shows
    #[command(subcommand)]
    Metrics(MetricsCommand),
    /// Print a completion script for a shell
    Completions(CompletionArguments),
    /// Write a manual page for every command, as the packages ship them
    #[command(hide = true)]
    Manuals(ManualsArguments),
}

impl Command {
    /// The command's name in the JSON envelope.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Demo(_) => "demo",
            Self::DemoChains(_) => "demo-chains",
            Self::Init(command) => command.name(),
            Self::Run(_) => "run",
            Self::Signer(_) => "signer",
            Self::Config(ConfigCommand::Check(_)) => "config check",
            Self::Config(ConfigCommand::Explain(_)) => "config explain",
            Self::Config(ConfigCommand::Reference) => "config reference",
            Self::Config(ConfigCommand::Schema) => "config schema",
            Self::Chain(ChainCommand::Replay(_)) => "chain replay",
            Self::Chain(ChainCommand::Record(_)) => "chain record",
            Self::Anchor(AnchorCommand::Fetch(_)) => "anchor fetch",
            Self::Anchor(AnchorCommand::Verify(_)) => "anchor verify",
            Self::Keys(KeysCommand::New(_)) => "keys new",
            Self::Keys(KeysCommand::Show(_)) => "keys show",
            Self::Gateway(command) => command.name(),
            Self::Lane(command) => command.name(),
            Self::Attesters(command) => command.name(),
            Self::Doctor => "doctor",
            Self::Journal(JournalCommand::Check(_)) => "journal check",
            Self::Journal(JournalCommand::Export(_)) => "journal export",
            Self::Status => "status",
            Self::Lanes(_) => "lanes",
            Self::Messages(_) => "messages",
            Self::Why(_) => "why",
            Self::Top => "top",
            Self::Pause(_) => "pause",
            Self::Resume(_) => "resume",
            Self::Retry(_) => "retry",
            Self::Skip(_) => "skip",
            Self::Reload(_) => "reload",
            Self::Evidence(_) => "evidence",
            Self::Unfreeze(_) => "unfreeze",
            Self::Audit(_) => "audit",
            Self::Send(_) => "send",
            Self::Metrics(MetricsCommand::Reference) => "metrics reference",
            Self::Completions(_) => "completions",
            Self::Manuals(_) => "manuals",
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct RunArguments {
    /// Stop when the standard input ends, which it does when whoever started this process is gone
    #[arg(long, hide = true)]
    pub(super) with_parent: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct SignerArguments {
    /// The attester's key, made by `cityrelay keys new attester`
    #[arg(long, value_name = "FILE")]
    pub(super) key: PathBuf,
    /// The Unix socket to listen on; `attester.signer` of the attester's configuration names it
    #[arg(long, value_name = "PATH")]
    pub(super) socket: PathBuf,
    /// Folder of what this key has signed; keep it as long as the key, never restore it from a backup [default: the key
    /// file's name + .signed]
    #[arg(long, value_name = "DIR")]
    pub(super) record: Option<PathBuf>,
    /// The user who may ask, besides this signer's own user and root
    #[arg(long, value_name = "NAME")]
    pub(super) user: Option<String>,
    /// Stop when the standard input ends, which it does when whoever started this process is gone
    #[arg(long, hide = true)]
    pub(super) with_parent: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct DemoArguments {
    /// Keep running afterwards, and print where nodes and metrics are
    #[arg(long)]
    pub(super) watch: bool,
    /// Let the second city's chain hash and sign with SM3 and SM2
    #[arg(long)]
    pub(super) gm: bool,
    /// Folder for everything, kept afterwards [default: a temporary one, removed after a success]
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct DemoChainsArguments {
    /// Folder for the file that says where the chains are
    #[arg(long, value_name = "DIR")]
    pub(super) dir: PathBuf,
    /// Which chains: mixed, mixed-gm, alike, or the names of two with a + between them
    #[arg(long, value_name = "PAIRING", default_value = "mixed")]
    pub(super) pairing: String,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum JournalCommand {
    /// Recompute every hash chain from its start, compare every body with its link and every signed head with its chain
    Check(JournalArguments),
    /// Write where each flow stands and what is known of each of its entries, as lines of JSON
    Export(ExportArguments),
}

#[derive(Debug, clap::Args)]
pub(super) struct JournalArguments {
    /// The journal's folder, such as that of a backup [default: `journal` in the configured node.data_dir]
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// Take over a journal of an older format first, as the daemon does at its start; a copy of it stays beside it
    #[arg(long)]
    pub(super) take_over: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ExportArguments {
    #[command(flatten)]
    pub(super) journal: JournalArguments,
    /// File to write; must not exist
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum MetricsCommand {
    /// Print every metric with its type, its labels and its meaning
    Reference,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum ConfigCommand {
    /// Check everything that `run` needs, and print all faults at once
    Check(CheckArguments),
    /// Print the effective value of every key, where it comes from, its form and its default
    Explain(ExplainArguments),
    /// Print every key with its meaning and default
    Reference,
    /// Print a JSON Schema (draft 2020-12) of the configuration, for editors and other tools
    Schema,
}

#[derive(Debug, clap::Args)]
pub(super) struct CheckArguments {
    /// Reach every node, contract and peer too, and say what does not fit
    #[arg(long)]
    pub(super) live: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ExplainArguments {
    /// Only keys that begin like this, such as `batch` or `chains.north.nodes`
    #[arg(value_name = "KEY")]
    pub(super) keys: Vec<String>,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum ChainCommand {
    /// Verify recordings from the configured anchor; only the chain's section is needed
    Replay(ReplayArguments),
    /// Write what the chain's nodes answer for a range of blocks into a file
    Record(RecordArguments),
}

#[derive(Debug, clap::Args)]
pub(super) struct ReplayArguments {
    /// The chain, as `[chains.NAME]` calls it
    #[arg(long, value_name = "NAME")]
    pub(super) chain: String,
    /// Print a line for each height
    #[arg(long, short)]
    pub(super) verbose: bool,
    /// Recorded files; each is verified from the anchor
    #[arg(required = true, value_name = "RECORDING")]
    pub(super) recordings: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct RecordArguments {
    /// The chain, as `[chains.NAME]` calls it
    #[arg(long, value_name = "NAME")]
    pub(super) chain: String,
    /// First block
    #[arg(long, value_name = "HEIGHT")]
    pub(super) from: u64,
    /// Last block
    #[arg(long, value_name = "HEIGHT")]
    pub(super) to: u64,
    /// File to write; must not exist
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum AnchorCommand {
    /// Ask every node of a chain for a block to start from, to be compared with another institution before it is used
    Fetch(FetchArguments),
    /// Follow the chain from the configured anchor and print the newest block that verifies
    Verify(AnchorArguments),
}

#[derive(Debug, clap::Args)]
pub(super) struct FetchArguments {
    /// The chain, as `[chains.NAME]` calls it; its section may still lack `anchor`
    #[arg(long, value_name = "NAME")]
    pub(super) chain: String,
    /// The block [default: the newest one that all nodes have and that can be an anchor]
    #[arg(long, value_name = "HEIGHT")]
    pub(super) height: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub(super) struct AnchorArguments {
    /// The chain, as `[chains.NAME]` calls it
    #[arg(long, value_name = "NAME")]
    pub(super) chain: String,
    /// Last block to verify [default: the newest one]
    #[arg(long, value_name = "HEIGHT")]
    pub(super) to: Option<u64>,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum KeysCommand {
    /// Make a key file, readable by its owner only
    New(NewKeyArguments),
    /// Print the fingerprint or address of a key file
    Show(ShowKeyArguments),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum KeyKind {
    /// Identifies this process to its peers
    Link,
    /// Signs heads
    Attester,
    /// Pays for transactions
    Account,
}

#[derive(Debug, clap::Args)]
pub(super) struct NewKeyArguments {
    /// What the key is for
    pub(super) kind: KeyKind,
    /// File to write; must not exist
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct ShowKeyArguments {
    /// The key file, or unix:PATH for the socket of a signer that has the key
    pub(super) file: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct WhyArguments {
    /// A message id (0x…), or a place as LANE:INDEX, the lane being its channel or id
    pub(super) message: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct SendArguments {
    /// The lane: its channel, or its id
    #[arg(long, value_name = "CHANNEL|ID")]
    pub(super) lane: String,
    /// Contract on the other chain that takes the message
    #[arg(long, value_name = "ADDRESS")]
    pub(super) receiver: Address,
    /// Text to send
    #[arg(long, conflicts_with = "payload_hex", required_unless_present = "payload_hex")]
    pub(super) payload: Option<String>,
    /// Bytes to send, in hex
    #[arg(long, value_name = "HEX")]
    pub(super) payload_hex: Option<String>,
    /// How long the message may take until it expires
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub(super) expires_in: Duration,
    /// Gas that the receiver gets
    #[arg(long, default_value_t = 200_000)]
    pub(super) gas_limit: u64,
}

#[derive(Debug, clap::Args)]
pub(super) struct CompletionArguments {
    /// The shell
    pub(super) shell: clap_complete::Shell,
}

#[derive(Debug, clap::Args)]
pub(super) struct ManualsArguments {
    /// Folder for the pages
    #[arg(value_name = "DIR")]
    pub(super) dir: PathBuf,
}

/// Reads a duration with its unit.
pub(super) fn duration(text: &str) -> Result<Duration, humantime::DurationError> {
    humantime::parse_duration(text)
}

/// Reads a lane id.
pub(super) fn lane_id(text: &str) -> Option<cityrelay_core::ids::LaneId> {
    Hash32::from_hex(text).ok().map(cityrelay_core::ids::LaneId)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_commands_are_well_formed() {
        super::Arguments::command().debug_assert();
    }
}
