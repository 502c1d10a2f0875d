//! Orders of operators, what was ordered before, and the evidence on which some are given.

use serde::{Deserialize, Serialize};

/// The most entries of an answer about orders or evidence.
pub const MAX_ENTRIES: u32 = 1_000;

/// Entries when nothing is said.
pub const DEFAULT_ENTRIES: u32 = 20;

/// How many entries, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Newest {
    /// Most entries: 1 to [`MAX_ENTRIES`].
    pub limit: u32,
}

impl Default for Newest {
    fn default() -> Self {
        Self { limit: DEFAULT_ENTRIES }
    }
}

/// The order to stop or to resume this process's work on a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaneOrder {
    /// The lane's id, or its channel where only one lane has it.
    pub lane: String,
    /// Why, for the record.
    #[serde(default)]
    pub reason: String,
}

/// The order to try again now whatever waits after a failure: of a lane, of a chain, or everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryOrder {
    /// The lane's id, or its channel where only one lane has it.
    pub lane: Option<String>,
    /// Name of the chain.
    pub chain: Option<String>,
    /// Why, for the record.
    pub reason: String,
}

/// The order to step over the message that halted a strict lane, whose outcome is *skipped* then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SkipOrder {
    /// The lane's id, or its channel where only one lane has it.
    pub lane: String,
    /// Index of the message; it must be the one that halted the lane.
    pub index: u64,
    /// Why, for the record; not empty.
    pub reason: String,
}

/// The order to let a frozen client go on with one of two headers. Whoever gives it has been shown both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnfreezeOrder {
    /// Name of the chain.
    pub chain: String,
    /// Hash of the header that counts from now on.
    pub chosen: String,
    /// Hash of the other one.
    pub other: String,
    /// Why, for the record; not empty.
    pub reason: String,
}

/// The order to read the configuration again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReloadOrder {
    /// Why, for the record.
    pub reason: String,
}

/// An order that is durable and has taken effect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneReport {
    /// What was done, in words.
    pub done: String,
}

/// What was ordered, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditReport {
    /// The orders.
    pub orders: Vec<AuditEntry>,
}

/// One order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When it became durable.
    pub at: u64,
    /// Number of the user who gave it.
    pub uid: u32,
    /// Name of that user.
    pub user: String,
    /// What: one word.
    pub action: String,
    /// What it was about.
    pub about: String,
    /// Why, in the words of whoever gave it.
    pub reason: String,
}

/// Who contradicted whom, newest first, and what must be decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceReport {
    /// The chains about which an operator must decide.
    pub undecided: Vec<Undecided>,
    /// What is kept.
    pub evidence: Vec<EvidenceEntry>,
}

/// A chain whose client is frozen over two headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undecided {
    /// Name of the chain.
    pub chain: String,
    /// The height of both headers.
    pub height: u64,
    /// Hash of the header that is held.
    pub ours: String,
    /// Hash of the other one.
    pub theirs: String,
    /// The two commands that decide, for ours and for theirs.
    pub commands: Vec<String>,
}

/// One contradiction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceEntry {
    /// What kind: one word.
    pub kind: String,
    /// When it was seen.
    pub at: u64,
    /// Name of the chain, or channel and way of the lane.
    pub about: String,
    /// Who showed the other statement, where that is known.
    pub from: Option<String>,
    /// What to do about it.
    pub advice: String,
    /// What is held here.
    pub ours: Exhibit,
    /// What was shown instead.
    pub theirs: Exhibit,
}

/// One of two statements.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exhibit {
    /// Height of a header, or index of a head.
    pub at: Option<u64>,
    /// Hash of the header, or the head.
    pub hash: String,
    /// Hash of the header before it.
    pub parent: Option<String>,
    /// Time of the header.
    pub timestamp: Option<u64>,
    /// Who signed it and how, in hex, where the protocol has the signatures.
    pub signatures: Vec<String>,
    /// The adapter's own bytes that prove it, in hex: header, seals and what else it needs; absent where there are none
    /// or too many for an answer.
    pub raw: Option<String>,
    /// How many bytes those are.
    pub raw_bytes: u64,
}
