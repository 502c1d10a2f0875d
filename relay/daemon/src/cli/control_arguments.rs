//! Flags of the commands that ask the running daemon.

use crate::control::{DEFAULT_PAGE, MessageState};

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
