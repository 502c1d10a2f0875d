//! What the daemon answers: reports that read the same on the socket, in `--json`, on the page and in the terminal.
//!
//! Ids and hashes are text as people see it, times are unix milliseconds, words come from closed enums.

use serde::{Deserialize, Serialize};

use super::words::{LaneState, MessageState};
use crate::observability::Trouble;

/// Where everything stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Name of the process.
    pub name: String,
    /// `relay` or `attester`.
    pub role: String,
    /// Version of the program.
    pub version: String,
    /// This process's clock.
    pub now: u64,
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
    /// The attesters that have signed the first head that lacks signatures.
    pub voters: Vec<String>,
    /// The attesters that have not, while signatures are waited for.
    pub awaited: Vec<String>,
    /// Signatures that are enough, where the committee is known.
    pub needed: Option<u64>,
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
    /// `current` or `next`: which of its pinned link keys it has proved in that session.
    #[serde(default)]
    pub key: Option<String>,
    /// Why the last attempt to call it came to nothing, while no session stands and it was we who called.
    #[serde(default)]
    pub dial_failure: Option<String>,
}

/// Every lane that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LanesReport {
    /// One a lane, in the order of channel, source and destination.
    pub lanes: Vec<LaneReport>,
}

/// Where a lane stands, over both directions, as far as this process sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneReport {
    /// The lane's id.
    pub lane: String,
    /// Its channel.
    pub channel: String,
    /// Name of the chain on which applications send.
    pub source: String,
    /// Name of the chain on which messages are executed.
    pub destination: String,
    /// What kind of moment it is for this lane.
    pub state: LaneState,
    /// Messages that are known here and not finished here.
    pub depth: u64,
    /// Index of the newest message that is known here.
    pub newest: u64,
    /// Messages with which nothing more happens here.
    pub finished: u64,
    /// Block time of the oldest unfinished entry.
    pub oldest: Option<u64>,
    /// The wait reason.
    pub waits_for: String,
    /// Who must act.
    pub who: String,
    /// The earliest next step, where it is known.
    pub next_step: Option<u64>,
}

/// One page of messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessagesReport {
    /// The messages, newest of each lane first.
    pub messages: Vec<MessageReport>,
    /// Where the next page begins; `None` when there is none.
    pub next: Option<String>,
}

/// One message of a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageReport {
    /// Its id.
    pub id: String,
    /// The lane's id.
    pub lane: String,
    /// Its channel.
    pub channel: String,
    /// Index on the lane.
    pub index: u64,
    /// How far it has come.
    pub state: MessageState,
    /// The outcome's word, where it is known here.
    pub outcome: Option<String>,
    /// Whether nothing more happens to it here.
    pub is_finished: bool,
    /// Time of the block at which it was verified.
    pub block_time: u64,
    /// The wait reason.
    pub waits_for: String,
    /// Who must act.
    pub who: String,
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
    /// How far it has come.
    pub state: MessageState,
    /// The outcome's word, where it is known here.
    pub outcome: Option<String>,
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
