//! Flags of the commands that ask the running daemon.

use crate::control::{DEFAULT_ENTRIES, DEFAULT_PAGE, MessageState};

#[derive(Debug, clap::Args)]
pub(super) struct LanesArguments {
    /// Only lanes with this channel or id
    #[arg(long, value_name = "CHANNEL|ID")]
    pub(super) lane: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct MessagesArguments {
    /// Only lanes with this channel or id
    #[arg(long, value_name = "CHANNEL|ID")]
    pub(super) lane: Option<String>,
    /// Only messages in this state
    #[arg(long, value_name = "STATE")]
    pub(super) state: Option<MessageState>,
    /// Only messages with which something is still to happen here
    #[arg(long)]
    pub(super) unfinished: bool,
    /// Only messages whose id begins with these hex digits
    #[arg(long, value_name = "DIGITS", conflicts_with = "after")]
    pub(super) id: Option<String>,
    /// Go on where the last page ended, with the word that it printed
    #[arg(long, value_name = "NEXT")]
    pub(super) after: Option<String>,
    /// Most messages to print
    #[arg(long, value_name = "NUMBER", default_value_t = DEFAULT_PAGE)]
    pub(super) limit: u32,
}

#[derive(Debug, clap::Args)]
pub(super) struct LaneOrderArguments {
    /// The lane: its id, or its channel where only one lane has it
    #[arg(value_name = "CHANNEL|ID")]
    pub(super) lane: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(super) reason: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct RetryArguments {
    /// Only what waits on this lane
    #[arg(long, value_name = "CHANNEL|ID", conflicts_with = "chain")]
    pub(super) lane: Option<String>,
    /// Only what waits for this chain
    #[arg(long, value_name = "NAME")]
    pub(super) chain: Option<String>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(super) reason: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct DaemonSkipArguments {
    /// The lane: its id, or its channel where only one lane has it
    #[arg(value_name = "CHANNEL|ID")]
    pub(super) lane: String,
    /// Index of the message that halted it
    #[arg(value_name = "INDEX")]
    pub(super) index: u64,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct UnfreezeArguments {
    /// The chain, as `[chains.NAME]` calls it
    #[arg(long, value_name = "NAME")]
    pub(super) chain: String,
    /// Hash of the header that counts from now on; `cityrelay evidence` shows both
    #[arg(long, value_name = "HASH")]
    pub(super) choose: String,
    /// Hash of the other one
    #[arg(long, value_name = "HASH")]
    pub(super) other: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct NewestArguments {
    /// Most entries to print
    #[arg(long, value_name = "NUMBER", default_value_t = DEFAULT_ENTRIES)]
    pub(super) limit: u32,
}

#[derive(Debug, clap::Args)]
pub(super) struct ReloadArguments {
    /// Why, for the record
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(super) reason: String,
}
