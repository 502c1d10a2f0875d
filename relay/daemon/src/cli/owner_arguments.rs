//! Commands and flags of what an owner does: gateways, lanes, attester sets.

use std::path::PathBuf;
use std::time::Duration;

use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, AttesterId};

use super::arguments::duration;

#[derive(Debug, clap::Subcommand)]
pub(super) enum GatewayCommand {
    /// Deploy an attester committee and a gateway that can be used with it
    Deploy(DeployArguments),
    /// Compare gateways, committees and lanes on the chains with this release and this configuration
    Status(StatusArguments),
    /// Offer a gateway to another owner, withdraw the offer, or take an offered one over
    Handover(HandoverArguments),
}

impl GatewayCommand {
    /// The command's name in the JSON envelope.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Deploy(_) => "gateway deploy",
            Self::Status(_) => "gateway status",
            Self::Handover(_) => "gateway handover",
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct StatusArguments {
    /// The chain, as `[chains.NAME]` calls it [default: every chain with a node and a gateway]
    #[arg(long, value_name = "NAME")]
    pub(super) chain: Option<String>,
}

#[derive(Debug, clap::Args)]
#[group(id = "step", required = true, multiple = false)]
pub(super) struct HandoverStep {
    /// Offer the gateway to this account, which must accept
    #[arg(long, value_name = "ADDRESS")]
    pub(super) to: Option<Address>,
    /// Take over a gateway that was offered to the configured account
    #[arg(long)]
    pub(super) accept: bool,
    /// Withdraw an offer
    #[arg(long)]
    pub(super) withdraw: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct HandoverArguments {
    /// The chain, as `[chains.NAME]` calls it
    #[arg(long, value_name = "NAME")]
    pub(super) chain: String,
    #[command(flatten)]
    pub(super) step: HandoverStep,
    #[command(flatten)]
    pub(super) making: Making,
}

#[derive(Debug, clap::Args)]
pub(super) struct DeployArguments {
    /// The chain, as `[chains.NAME]` calls it; its section must have the domain and an account
    #[arg(long, value_name = "NAME")]
    pub(super) chain: String,
    /// First members of the attester committee
    #[arg(long, value_name = "ADDRESS", required = true, value_delimiter = ',')]
    pub(super) attesters: Vec<AttesterId>,
    /// Signatures that are enough; more than half of the members
    #[arg(long, value_name = "NUMBER")]
    pub(super) threshold: u32,
    /// Unit of the chain's `block.timestamp`; the gateway refuses to be deployed with the wrong one
    #[arg(long, value_name = "UNIT")]
    pub(super) clock: ClockUnit,
    /// Owner of the gateway [default: the chain's configured account]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) owner: Option<Address>,
    /// How long a lane must have been announced before it opens
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub(super) announce_delay: Duration,
    /// How long a closing must have been announced before it takes effect
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = duration)]
    pub(super) close_delay: Duration,
    #[command(flatten)]
    pub(super) making: Making,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ClockUnit {
    /// As on most Ethereum-like chains
    Seconds,
    /// As on chains that say so
    Milliseconds,
}

/// How an owner's calls are made.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Making {
    /// Print the calls unsigned, for a multisig or another wallet, instead of sending them
    #[arg(long)]
    pub(super) unsigned: bool,
    /// How long to wait for each transaction to become final
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(super) timeout: Duration,
    /// Folder where each transaction is noted before it is sent [default: `intents` in node.data_dir]
    #[arg(long, value_name = "DIR")]
    pub(super) intents: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum LaneCommand {
    /// Draw a salt for a new lane
    Salt,
    /// Announce and open a configured lane on one chain's gateway; to be done on both chains
    Open(OpenArguments),
    /// Announce that a lane closes, or close it for good once the gateway's delay has passed
    Close(LaneArguments),
    /// Stop a lane, or a whole gateway, for now; deadlines go on passing
    Pause(PauseArguments),
    /// Undo a pause
    Resume(PauseArguments),
    /// Step over the message that halted a strict lane, on its destination chain
    Skip(SkipArguments),
    /// Print the section of a new lane that takes another one's place on a new gateway; the same at everybody
    Move(MoveArguments),
    /// Take a lane that is closed for good out of the configuration's files
    Remove(LaneChoice),
}

impl LaneCommand {
    /// The command's name in the JSON envelope.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Salt => "lane salt",
            Self::Open(_) => "lane open",
            Self::Close(_) => "lane close",
            Self::Pause(_) => "lane pause",
            Self::Resume(_) => "lane resume",
            Self::Skip(_) => "lane skip",
            Self::Move(_) => "lane move",
            Self::Remove(_) => "lane remove",
        }
    }
}

/// Which lane, on which chain.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LaneChoice {
    /// The chain whose gateway is told, as `[chains.NAME]` calls it
    #[arg(long, value_name = "NAME")]
    pub(super) chain: String,
    /// The lane: its channel where only one lane of the configuration has it on these chains, else its id; `lane open`
    /// takes `all` for every lane that touches the chain
    #[arg(long, value_name = "CHANNEL|ID")]
    pub(super) lane: String,
    /// With a channel that two lanes have: the chain on which applications send
    #[arg(long, value_name = "NAME")]
    pub(super) source: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct LaneArguments {
    #[command(flatten)]
    pub(super) choice: LaneChoice,
    #[command(flatten)]
    pub(super) making: Making,
}

#[derive(Debug, clap::Args)]
pub(super) struct PauseArguments {
    /// The chain whose gateway is told, as `[chains.NAME]` calls it
    #[arg(long, value_name = "NAME")]
    pub(super) chain: String,
    /// The lane: its channel where only one lane of the configuration has it on these chains, else its id
    #[arg(long, value_name = "CHANNEL|ID", required_unless_present = "all", conflicts_with = "all")]
    pub(super) lane: Option<String>,
    /// With a channel that two lanes have: the chain on which applications send
    #[arg(long, value_name = "NAME")]
    pub(super) source: Option<String>,
    /// All lanes of the gateway at once
    #[arg(long)]
    pub(super) all: bool,
    #[command(flatten)]
    pub(super) making: Making,
}

#[derive(Debug, clap::Args)]
pub(super) struct SkipArguments {
    #[command(flatten)]
    pub(super) choice: LaneChoice,
    /// The index that is stepped over; it must be the one that halted the lane
    #[arg(long, value_name = "NUMBER")]
    pub(super) index: u64,
    #[command(flatten)]
    pub(super) making: Making,
}

#[derive(Debug, clap::Args)]
pub(super) struct MoveArguments {
    #[command(flatten)]
    pub(super) choice: LaneChoice,
    /// The new gateway on that chain
    #[arg(long, value_name = "ADDRESS")]
    pub(super) gateway: Address,
    /// The verifier that the new gateway uses for this lane
    #[arg(long, value_name = "ADDRESS")]
    pub(super) verifier: Address,
    /// The new lane's salt [default: a new one is drawn, which all others must be told]
    #[arg(long, value_name = "SALT", value_parser = Hash32::from_hex)]
    pub(super) salt: Option<Hash32>,
}

#[derive(Debug, clap::Args)]
pub(super) struct OpenArguments {
    #[command(flatten)]
    pub(super) choice: LaneChoice,
    /// Largest payload in bytes
    #[arg(long, default_value_t = 65_536)]
    pub(super) max_payload_bytes: u32,
    /// Largest gas limit of a message
    #[arg(long, default_value_t = 5_000_000)]
    pub(super) max_gas_limit: u64,
    /// How far ahead a deadline may lie
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = duration)]
    pub(super) max_deadline: Duration,
    /// Gas for the sender's callback at settlement
    #[arg(long, default_value_t = 200_000)]
    pub(super) callback_gas: u64,
    /// Most messages that may be sent and not settled yet; 0 for no quota
    #[arg(long, default_value_t = 0)]
    pub(super) quota: u64,
    /// Halt the lane when a message fails; needs --senders and --receivers
    #[arg(long, requires_all = ["senders", "receivers"])]
    pub(super) strict: bool,
    /// Accounts that may send; everyone when absent
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub(super) senders: Vec<Address>,
    /// Contracts that may receive; every contract when absent
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub(super) receivers: Vec<Address>,
    #[command(flatten)]
    pub(super) making: Making,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum AttestersCommand {
    /// Show the attester set of every configured verifier, and whether the gateways of a pair agree
    Show,
    /// Change an attester set: propose it, let old and new members sign, send it
    #[command(subcommand)]
    Rotate(RotateCommand),
}

impl AttestersCommand {
    /// The command's name in the JSON envelope.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Show => "attesters show",
            Self::Rotate(RotateCommand::Propose(_)) => "attesters rotate propose",
            Self::Rotate(RotateCommand::Sign(_)) => "attesters rotate sign",
            Self::Rotate(RotateCommand::Status(_)) => "attesters rotate status",
            Self::Rotate(RotateCommand::Send(_)) => "attesters rotate send",
        }
    }
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum RotateCommand {
    /// Write a file that asks for a new set; it is passed round among the members
    Propose(ProposeArguments),
    /// Add this attester's signature to the file
    Sign(SignArguments),
    /// Say whose signatures the file still lacks
    Status(RotationArguments),
    /// Bring a complete file to the chain; any account may
    Send(SendRotationArguments),
}

#[derive(Debug, clap::Args)]
pub(super) struct ProposeArguments {
    /// The chain, as `[chains.NAME]` calls it; its section must have a node and the verifier
    #[arg(long, value_name = "NAME")]
    pub(super) chain: String,
    /// All members of the new set
    #[arg(long, value_name = "ADDRESS", required = true, value_delimiter = ',')]
    pub(super) members: Vec<AttesterId>,
    /// Signatures that are enough then; more than half of the members
    #[arg(long, value_name = "NUMBER")]
    pub(super) threshold: u32,
    /// File to write; must not exist
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct SignArguments {
    /// The file that `propose` wrote
    pub(super) file: PathBuf,
    /// The attester's key [default: attester.key_file, or the one of attester.signer]
    #[arg(long, value_name = "FILE")]
    pub(super) key: Option<PathBuf>,
    /// Where it is noted what this key signed; keep it as long as the key [default: the key file's name + .rotations; a signer keeps its own]
    #[arg(long, value_name = "FILE")]
    pub(super) record: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct RotationArguments {
    /// The file that `propose` wrote
    pub(super) file: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct SendRotationArguments {
    /// The file with all signatures
    pub(super) file: PathBuf,
    #[command(flatten)]
    pub(super) making: Making,
}
