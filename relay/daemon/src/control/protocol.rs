//! What is asked over the control socket, and what is answered.
//!
//! Ids and hashes are text as people see it, times are unix milliseconds, words come from the closed enums of the core.

use serde::{Deserialize, Serialize};

use crate::observability::Trouble;

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
pub(super) struct ReplyLine {
    pub(super) v: u32,
    pub(super) reply: ControlReply,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum ControlRequest {
    /// Where everything stands.
    Status,
    /// What a message waits for.
    Why(WhyQuery),
    /// Send a message with the relay's account.
    Send(SendRequest),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ControlReply {
    /// To [`ControlRequest::Status`].
    Status(StatusReport),
    /// To [`ControlRequest::Why`].
    Why(WhyReport),
    /// To [`ControlRequest::Send`].
    Sent(SendReport),
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

/// Where everything stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Name of the process.
    pub name: String,
    /// `relay` or `attester`.
    pub role: String,
    /// Version of the program.
    pub version: String,
    /// What keeps it from being ready; empty when it is.
    pub troubles: Vec<Trouble>,
    /// The chains.
    pub chains: Vec<ChainReport>,
    /// The flows: each lane in both directions, on each side that this process stands.
    pub flows: Vec<FlowReport>,
    /// The peers.
    pub peers: Vec<PeerReport>,
    /// Transactions whose fate is not known.
    pub open_transactions: u64,
}

/// Where a chain's light client stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChainReport {
    /// Name in the configuration.
    pub name: String,
    /// The chain as the protocol names it.
    pub domain: String,
    /// Last final header.
    pub height: u64,
    /// Its time, by the chain's clock.
    pub timestamp: Option<u64>,
    /// Why headers wait, in words.
    pub held_back: Option<String>,
    /// Whether an operator must decide between two headers.
    pub is_frozen: bool,
    /// Its nodes.
    pub endpoints: Vec<EndpointReport>,
}

/// How a node stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EndpointReport {
    /// Name in the configuration.
    pub name: String,
    /// Run by the operator's own institution.
    pub is_own: bool,
    /// Whether calls go to it at present.
    pub is_usable: bool,
    /// Smoothed time to answer, in milliseconds.
    pub latency_millis: u64,
    /// Last height that it reported.
    pub height: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Answers that the light client refused.
    pub lies: u64,
    /// The last failure, empty when there was none.
    pub last_error: String,
}

/// Where a flow stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowReport {
    /// The lane's id.
    pub lane: String,
    /// Its channel.
    pub channel: String,
    /// Name of the chain on which applications send.
    pub source: String,
    /// Name of the chain on which messages are executed.
    pub destination: String,
    /// `outbox` or `inbox`.
    pub direction: String,
    /// `outbound`, `inbound` or `attester`.
    pub side: String,
    /// Index that the chain's nodes say, unproved.
    pub seen: u64,
    /// Index that is verified and durable here.
    pub durable: u64,
    /// Index that the peer (outbound) or the target chain (inbound) has.
    pub finished: u64,
    /// Signatures for the first head that lacks some.
    pub votes: u64,
    /// Block time of the oldest unfinished entry.
    pub oldest: Option<u64>,
    /// The wait reason.
    pub waits_for: String,
    /// Who must act.
    pub who: String,
    /// The earliest next step, where it is known.
    pub next_step: Option<u64>,
}

/// How the session with a peer stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerReport {
    /// Name in the configuration.
    pub name: String,
    /// `relay` or `attester`.
    pub role: String,
    /// Whether a session stands.
    pub is_up: bool,
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

/// Everything known about one message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyReport {
    /// Its id, where this process holds it.
    pub id: Option<String>,
    /// The lane's id.
    pub lane: String,
    /// Its channel.
    pub channel: String,
    /// Index on the lane.
    pub index: u64,
    /// How far it has come: one word.
    pub state: String,
    /// Whether nothing more happens to it here.
    pub is_finished: bool,
    /// The wait reason.
    pub waits_for: String,
    /// Who must act.
    pub who: String,
    /// The earliest next step, where it is known.
    pub next_step: Option<u64>,
    /// What happened so far, oldest first.
    pub timeline: Vec<TimelineEntry>,
}

/// One thing that happened to a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When, by this process's clock.
    pub at: Option<u64>,
    /// What: one word, such as `verified`.
    pub what: String,
    /// Heights, hashes and counts that belong to it.
    pub detail: String,
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

/// A message that was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendReport {
    /// The lane's id.
    pub lane: String,
    /// Hash of the transaction.
    pub transaction: String,
    /// Block that holds it, where it is final already.
    pub height: Option<u64>,
    /// Index on the lane, where it is known already.
    pub index: Option<u64>,
    /// The message's id, where it is known already.
    pub id: Option<String>,
}
