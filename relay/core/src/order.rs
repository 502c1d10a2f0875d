//! What an operator orders a running process to do. Each order is durable, with who gave it, before it takes effect.

use crate::hash::Hash32;
use crate::ids::{Domain, Height, LaneId, UnixMillis};
use crate::record::Frozen;

/// The longest name of an operator, in bytes.
pub const MAX_OPERATOR_NAME_BYTES: usize = 64;

/// The longest reason, in bytes.
pub const MAX_REASON_BYTES: usize = 256;

/// The longest [`Action::Other`], in bytes.
pub const MAX_OTHER_ACTION_BYTES: usize = 128;

/// An order and who gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Who.
    pub who: Operator,
    /// Why, in their words; at most [`MAX_REASON_BYTES`].
    pub reason: String,
    /// What.
    pub action: Action,
}

/// Somebody as the operating system knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Number of the account.
    pub uid: u32,
    /// Its name; at most [`MAX_OPERATOR_NAME_BYTES`], empty when the system knows none.
    pub name: String,
}

/// What can be ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Let the frozen client of a chain go on (invariant I8). The order names both hashes: whoever gives it has been
    /// shown both.
    Unfreeze {
        /// The chain.
        domain: Domain,
        /// The height about which there are two statements.
        height: Height,
        /// The header that was held.
        ours: Hash32,
        /// The other one.
        theirs: Hash32,
        /// Which one counts from now on.
        choice: Choice,
    },
    /// Stop this process' work on the messages of a lane: nothing new is proved, taken in, attested, sent or
    /// delivered, and what waits is only counted. Outcomes go on: what was executed is still settled, and transactions
    /// under way are followed to their end. Messages may expire meanwhile. It outlasts a restart.
    PauseLane {
        /// The lane.
        lane: LaneId,
    },
    /// End a pause.
    ResumeLane {
        /// The lane.
        lane: LaneId,
    },
    /// Try again now whatever waits after a failure.
    Retry(Subject),
    /// Something that is done outside of the machine, such as a reload; here it is only made durable.
    Other {
        /// What; at most [`MAX_OTHER_ACTION_BYTES`].
        what: String,
    },
}

impl Action {
    /// The word used in answers and logs.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Unfreeze { .. } => "unfreeze",
            Self::PauseLane { .. } => "pause",
            Self::ResumeLane { .. } => "resume",
            Self::Retry(_) => "retry",
            Self::Other { .. } => "other",
        }
    }
}

/// One of two statements about a height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The header that was held: the client goes on from where it stands.
    Ours,
    /// The other one: the client goes back to its configured anchor, which must lie below, and follows the chain that
    /// has this header. What was verified on the other branch stays in the journal.
    Theirs,
}

/// What is to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Both flows of a lane.
    Lane(LaneId),
    /// The light client of a chain and the transactions on it.
    Chain(Domain),
    /// All of it.
    Everything,
}

/// An order as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// When it was given.
    pub at: UnixMillis,
    /// The order.
    pub order: Order,
}

/// Why an order is not carried out. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderRefusal {
    /// A text is too long.
    #[error("{what}: at most {expected} bytes, got {got}")]
    TooLong {
        /// Which text.
        what: &'static str,
        /// The most.
        expected: usize,
        /// Its length.
        got: usize,
    },
    /// The chain is not configured here.
    #[error("chain {0} is not configured here")]
    UnknownChain(Domain),
    /// The lane is not configured here.
    #[error("lane {0} is not configured here")]
    UnknownLane(LaneId),
    /// There is nothing to decide.
    #[error("the client of chain {0} is not frozen")]
    NotFrozen(Domain),
    /// The order is about other statements than those that froze the client.
    #[error("the client is frozen over {expected}, the order is about {got}: look at the evidence again")]
    OtherStatements {
        /// What froze it.
        expected: Box<Frozen>,
        /// What the order names.
        got: Box<Frozen>,
    },
    /// The client can't go back far enough to follow the other header.
    #[error(
        "the configured anchor lies at block {got}, it must lie below block {expected}: configure an anchor there that \
         was compared out of band, restart, and order it again"
    )]
    AnchorTooHigh {
        /// The height about which there are two statements.
        expected: Height,
        /// Height of the anchor.
        got: Height,
    },
    /// The lane is paused already.
    #[error("lane {0} is paused already")]
    AlreadyPaused(LaneId),
    /// The lane is not paused.
    #[error("lane {0} is not paused")]
    NotPaused(LaneId),
    /// The journal did not take the order: without a record nothing is done.
    #[error("the journal did not take the order, so nothing was done; {}", if *is_retryable { "free its disk and order it again" } else { "look at the log" })]
    NotDurable {
        /// Whether the same may succeed later.
        is_retryable: bool,
    },
}

impl Order {
    /// Checks the lengths of the texts.
    ///
    /// # Errors
    /// [`OrderRefusal::TooLong`].
    pub fn verify_lengths(&self) -> Result<(), OrderRefusal> {
        let other = match &self.action {
            Action::Other { what } => what.len(),
            _ => 0,
        };
        let texts = [
            ("the operator's name", self.who.name.len(), MAX_OPERATOR_NAME_BYTES),
            ("the reason", self.reason.len(), MAX_REASON_BYTES),
            ("the action", other, MAX_OTHER_ACTION_BYTES),
        ];
        match texts.into_iter().find(|(_, got, expected)| got > expected) {
            Some((what, got, expected)) => Err(OrderRefusal::TooLong { what, expected, got }),
            None => Ok(()),
        }
    }
}
