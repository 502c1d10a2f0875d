//! What is asked over the control socket, and what is answered.
//!
//! The reports are in [`super::reports`].

use serde::{Deserialize, Serialize};

use super::orders::{
    AuditReport, DoneReport, EvidenceReport, LaneOrder, Newest, ReloadOrder, RetryOrder, SkipOrder, UnfreezeOrder,
};
use super::reports::{LanesReport, MessagesReport, SendReport, StatusReport, WhyReport};
use super::words::MessageState;
use crate::run::ReloadReport;

/// Version of the protocol; grows when a field changes its meaning or goes away.
pub const VERSION: u32 = 1;

/// The longest line that either side takes, 16 MiB: a message of a megabyte in hex, with room.
pub(super) const MAX_LINE_BYTES: u64 = 16 << 20;

/// One line to the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RequestLine {
    pub(super) v: u32,
    pub(super) request: serde_json::Value,
}

/// One line from the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReplyLine {
    pub(crate) v: u32,
    pub(crate) reply: ControlReply,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum ControlRequest {
    /// Where everything stands.
    Status,
    /// Depth, age and state of each lane.
    Lanes(LaneQuery),
    /// Messages, a page at a time.
    Messages(MessageQuery),
    /// What a message waits for.
    Why(WhyQuery),
    /// Send a message with the relay's account.
    Send(SendRequest),
    /// Who contradicted whom.
    Evidence(Newest),
    /// What was ordered.
    Audit(Newest),
    /// Stop this process's work on a lane.
    Pause(LaneOrder),
    /// End such a pause.
    Resume(LaneOrder),
    /// Try again now what waits after a failure.
    Retry(RetryOrder),
    /// Step over the message that halted a strict lane.
    Skip(SkipOrder),
    /// Let a frozen client go on.
    Unfreeze(UnfreezeOrder),
    /// Read the configuration again and take over what may change while the daemon runs.
    Reload(ReloadOrder),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ControlReply {
    /// To [`ControlRequest::Status`].
    Status(StatusReport),
    /// To [`ControlRequest::Lanes`].
    Lanes(LanesReport),
    /// To [`ControlRequest::Messages`].
    Messages(MessagesReport),
    /// To [`ControlRequest::Why`].
    Why(WhyReport),
    /// To [`ControlRequest::Send`].
    Sent(SendReport),
    /// To [`ControlRequest::Evidence`].
    Evidence(EvidenceReport),
    /// To [`ControlRequest::Audit`].
    Audit(AuditReport),
    /// To [`ControlRequest::Reload`].
    Reloaded(ReloadReport),
    /// To every other order.
    Done(DoneReport),
    /// No answer, and why.
    Fault(ControlFault),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ControlFault {
    /// What kind of trouble; decides the command's exit code.
    pub kind: FaultKind,
    /// What is wrong and what to do.
    pub message: String,
}

impl ControlFault {
    /// A fault.
    #[must_use]
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// The closed list of kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The question makes no sense here: no such lane, no such message, another version.
    Usage,
    /// A node or peer can't be reached.
    Unreachable,
    /// What it depends on is not healthy.
    Unhealthy,
    /// A rule forbids it.
    Refused,
    /// Our own fault.
    Internal,
}

/// Which lanes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaneQuery {
    /// Only lanes with this id or channel.
    #[serde(default)]
    pub lane: Option<String>,
}

/// The most messages on one page.
pub const MAX_PAGE: u32 = 500;

/// Messages on a page when nothing is said.
pub const DEFAULT_PAGE: u32 = 50;

/// The fewest hex digits of an id that are searched for.
pub const MIN_ID_DIGITS: usize = 4;

/// Which messages, and where the page begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MessageQuery {
    /// Only lanes with this id or channel.
    pub lane: Option<String>,
    /// Only messages in this state.
    pub state: Option<MessageState>,
    /// Only messages with which something is still to happen here.
    pub unfinished: bool,
    /// Only messages whose id begins with these hex digits, at least [`MIN_ID_DIGITS`].
    pub id_prefix: Option<String>,
    /// `next` of the page before; without it from the newest on.
    pub after: Option<String>,
    /// Most messages on the page: 1 to [`MAX_PAGE`].
    pub limit: u32,
}

impl Default for MessageQuery {
    fn default() -> Self {
        Self { lane: None, state: None, unfinished: false, id_prefix: None, after: None, limit: DEFAULT_PAGE }
    }
}

/// Which message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhyQuery {
    /// By its id.
    Id(String),
    /// By its place.
    Position {
        /// The lane's id, or its channel where only one lane has it.
        lane: String,
        /// Index on the lane, from 1.
        index: u64,
    },
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendRequest {
    /// The lane's id, or its channel where only one lane that starts here has it.
    pub lane: String,
    /// Contract on the other chain.
    pub receiver: String,
    /// The payload in hex.
    pub payload_hex: String,
    /// How long it may take until it expires, in milliseconds.
    pub expires_in_millis: u64,
    /// Gas that the receiver gets.
    pub gas_limit: u64,
}
