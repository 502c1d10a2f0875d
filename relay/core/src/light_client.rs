//! What a light client of a chain is: pure checks over bytes that somebody claims came from that chain.

use core::fmt;

use crate::chain::ChainPoint;
use crate::hash::Hash32;
use crate::ids::{Address, Height, UnixMillis};
use crate::lane::Flow;

/// A chain's rules, applied to what untrusted parties hand over. No clock, no network, no randomness.
///
/// Whoever calls it goes through [`crate::verify`], the only place that turns an answer into a
/// [`crate::verify::VerifiedHeader`].
pub trait LightClient: Send + Sync + 'static {
    /// What is trusted so far: the last final header, the validator set after it, held-back headers.
    type State: AdapterValue;
    /// Consecutive headers with whatever is needed to check them. The first follows the trusted height.
    type Update: AdapterValue;
    /// What proves a head at one header.
    type HeadProof: AdapterValue;

    /// Height of the last final header in `state`.
    fn trusted_height(&self, state: &Self::State) -> Height;

    /// Hash of the last final header in `state`.
    fn trusted_hash(&self, state: &Self::State) -> Hash32;

    /// Checks the headers of `update` in order against `trusted`, at local time `now`.
    ///
    /// Headers below the trusted height are skipped, and so is one at it with the trusted hash: updates from several
    /// parties overlap. All or nothing: an update with one bad header advances nothing. Headers that an update holds back stay
    /// in the returned state, which is bounded.
    fn verify_update(&self, trusted: &Self::State, update: &Self::Update, now: UnixMillis) -> Verdict<Self::State>;

    /// Takes in a change of the validator set that the headers alone can't prove, after it was confirmed by an own
    /// node, by attesters or by the operator. Chains whose headers prove their changes refuse it.
    ///
    /// # Errors
    /// A [`Refusal`] when the chain doesn't work that way or the statement does not fit the state.
    fn apply_set_statement(&self, trusted: &Self::State, statement: &SetStatement) -> Result<Self::State, Refusal>;

    /// Checks that `proof` shows the head of `flow` in the storage (or by a checkpoint) of `gateway` at `header`.
    ///
    /// # Errors
    /// A [`Refusal`] that names the check that failed.
    fn verify_head(
        &self,
        header: &Header,
        proof: &Self::HeadProof,
        gateway: Address,
        flow: Flow,
    ) -> Result<ChainPoint, Refusal>;

    /// What a verified head of this chain is worth.
    fn strength(&self) -> ProofStrength;
}

/// A value that its adapter can write and read back: golden-tested and limited there.
pub trait AdapterValue: Sized + Send + Sync {
    /// Version that [`Self::encode`] writes.
    const VERSION: u16;

    /// The value's bytes.
    fn encode(&self) -> Vec<u8>;

    /// Reads what [`Self::encode`] of `version` wrote, strictly.
    ///
    /// # Errors
    /// A [`Refusal`] for an unknown version, and for any byte that does not belong.
    fn decode(version: u16, bytes: &[u8]) -> Result<Self, Refusal>;
}

/// A final header: what everybody may know of it, and what only its adapter reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Number of the block.
    pub height: Height,
    /// Its hash, recomputed by us.
    pub hash: Hash32,
    /// Hash of the block before it.
    pub parent: Hash32,
    /// The block's own time.
    pub timestamp: UnixMillis,
    /// What the adapter needs to check a head proof at this header, such as its roots.
    pub detail: Vec<u8>,
}

/// What came of checking an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<S> {
    /// Every header is final.
    Advanced {
        /// What is trusted now.
        state: S,
        /// The headers that became final, ascending; they may include some held back earlier.
        headers: Vec<Header>,
        /// Heights after which another validator set is in force, ascending.
        set_changes: Vec<Height>,
    },
    /// Nothing is wrong, but at least the last header is not final yet, or the client can't go on from here by itself:
    /// the same update may do when more is known. The party that served it stays in good standing.
    HeldBack {
        /// What is trusted now, the held-back headers included.
        state: S,
        /// The headers of this update that did become final, ascending.
        headers: Vec<Header>,
        /// As in [`Verdict::Advanced`], for those headers.
        set_changes: Vec<Height>,
        /// Why the rest waits.
        reason: HoldReason,
    },
    /// A header is wrong; nothing changes.
    Refused(Refusal),
}

/// Why a header waits for something. Nobody is to blame: whoever served it is no liar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HoldReason {
    /// Its seals are genuine but fewer than a quorum: a sealed descendant may finalise it.
    #[error("block {height} carries {got} of the {expected} votes of a quorum")]
    ShortOfQuorum {
        /// The header.
        height: Height,
        /// Votes (or weight) that a quorum needs.
        expected: u64,
        /// Votes (or weight) that it carries.
        got: u64,
    },
    /// It shows another validator set, which needs a [`SetStatement`]. It follows the trusted header.
    #[error("block {height} shows a validator set that nobody confirmed yet ({digest})")]
    SetUnconfirmed {
        /// The first header under the new set.
        height: Height,
        /// The adapter's digest of the new set.
        digest: Hash32,
    },
    /// More headers wait for a quorum than are kept. A sealed header among those asked for at once still finalises them.
    #[error(
        "{held} headers up to block {height} wait for a quorum, and only {limit} are kept; the last carries {got} of \
         {expected} votes: ask the validators why they don't seal"
    )]
    AtBound {
        /// The last header.
        height: Height,
        /// Headers that wait.
        held: u64,
        /// Headers that are kept.
        limit: u64,
        /// Votes (or weight) that a quorum needs.
        expected: u64,
        /// Votes (or weight) that the last header carries.
        got: u64,
    },
    /// As [`Self::AtBound`], and the votes are exactly as many as a weaker commit rule asks for.
    #[error(
        "the headers up to block {height} carry {got} votes where a quorum is {expected}: the chain seems to commit by a \
         weaker rule; change that rule on the chain, see the adapter's README"
    )]
    WeakCommitRule {
        /// The last header.
        height: Height,
        /// Votes that a quorum needs.
        expected: u64,
        /// Votes that the weaker rule asks for.
        got: u64,
    },
    /// It shows another validator set, and what the chain offers does not explain the change well enough to follow it. It
    /// follows the trusted header.
    #[error(
        "block {height} shows a validator set ({digest}) that cannot be followed from the one before it ({check}): compare \
         that block with the chain's operators, and anchor the chain anew there"
    )]
    SetNotFollowed {
        /// The first header under the new set.
        height: Height,
        /// The adapter's digest of the new set.
        digest: Hash32,
        /// What was not enough: a check of the adapter's list.
        check: &'static str,
    },
    /// The last final header is older than the configured trusting period: nothing that follows it is believed any more.
    #[error(
        "the last final header, block {height}, is {age_seconds} s old and the trusting period is {period_seconds} s: \
         compare a newer block out of band and anchor the chain anew"
    )]
    TrustExpired {
        /// The last final header.
        height: Height,
        /// Its age.
        age_seconds: u64,
        /// How old it may be.
        period_seconds: u64,
    },
    /// Its time is further ahead of our clock than the rules allow, and nothing else is wrong with it: our clock is slow, or
    /// those of its validators are fast.
    #[error(
        "block {height} is {ahead_seconds} s ahead of this machine's clock, and at most {allowed_seconds} s are allowed: set \
         the clock, or ask the validators for theirs"
    )]
    AheadOfClock {
        /// The header.
        height: Height,
        /// How far it is ahead.
        ahead_seconds: u64,
        /// How far it may be ahead.
        allowed_seconds: u64,
    },
}

impl HoldReason {
    /// Every word of [`Self::as_str`], for documentation and metric labels.
    pub const ALL: [&'static str; 7] = [
        "short-of-quorum",
        "set-unconfirmed",
        "held-at-bound",
        "weak-commit-rule",
        "set-not-followed",
        "trust-expired",
        "ahead-of-clock",
    ];

    /// The block that it is about.
    #[must_use]
    pub const fn height(&self) -> Height {
        match self {
            Self::ShortOfQuorum { height, .. }
            | Self::SetUnconfirmed { height, .. }
            | Self::AtBound { height, .. }
            | Self::WeakCommitRule { height, .. }
            | Self::SetNotFollowed { height, .. }
            | Self::TrustExpired { height, .. }
            | Self::AheadOfClock { height, .. } => *height,
        }
    }

    /// Whether nothing helps but an operator who anchors the chain anew.
    #[must_use]
    pub const fn needs_anchor(&self) -> bool {
        matches!(self, Self::SetNotFollowed { .. } | Self::TrustExpired { .. })
    }

    /// The word used as a metric label and in logs.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::ShortOfQuorum { .. } => "short-of-quorum",
            Self::SetUnconfirmed { .. } => "set-unconfirmed",
            Self::AtBound { .. } => "held-at-bound",
            Self::WeakCommitRule { .. } => "weak-commit-rule",
            Self::SetNotFollowed { .. } => "set-not-followed",
            Self::TrustExpired { .. } => "trust-expired",
            Self::AheadOfClock { .. } => "ahead-of-clock",
        }
    }
}

/// "From header `height` on, the validator set is the one with this digest", said by somebody who is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetStatement {
    /// The first header under the new set.
    pub height: Height,
    /// The adapter's digest of the set, as in [`HoldReason::SetUnconfirmed`].
    pub digest: Hash32,
}

/// What a verified head is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofStrength {
    /// Nothing but the seals is trusted.
    Conclusive,
    /// Necessary but not sufficient: an attester signs only after its own node confirmed the head.
    NeedsLocalConfirmation,
}

/// A check that failed: which, where, what was expected and what came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{check}: expected {expected}, got {got}", AtHeight(*height))]
pub struct Refusal {
    /// Name of the check in kebab-case, from the closed list in the adapter's README; a metric label.
    pub check: &'static str,
    /// The header that failed, where there is one.
    pub height: Option<Height>,
    /// What the check wanted.
    pub expected: Value,
    /// What it found.
    pub got: Value,
    /// How bad it is.
    pub gravity: Gravity,
}

impl Refusal {
    /// A refusal of bytes that break a rule.
    #[must_use]
    pub fn new(check: &'static str, expected: impl Into<Value>, got: impl Into<Value>) -> Self {
        Self { check, height: None, expected: expected.into(), got: got.into(), gravity: Gravity::Invalid }
    }

    /// The same refusal, at a header.
    #[must_use]
    pub const fn at(mut self, height: Height) -> Self {
        self.height = Some(height);
        self
    }

    /// The same refusal, as proof that validators sealed two headers at one height.
    #[must_use]
    pub const fn equivocation(mut self) -> Self {
        self.gravity = Gravity::Equivocation;
        self
    }
}

struct AtHeight(Option<Height>);

impl fmt::Display for AtHeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |height| write!(f, "block {height}: "))
    }
}

/// What a refusal means for the party that served the bytes, and for the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gravity {
    /// Wrong bytes: whoever served them is at fault.
    Invalid,
    /// Two final headers at one height: the chain's client freezes.
    Equivocation,
}

/// One side of a failed comparison, printable without formatting it beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(u64),
    /// A hash or word.
    Hash(Hash32),
    /// An account.
    Account(Address),
    /// Bytes, printed in hex and cut after 32.
    Bytes(Vec<u8>),
    /// A fixed text.
    Text(&'static str),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => fmt::Display::fmt(number, f),
            Self::Hash(hash) => fmt::Display::fmt(hash, f),
            Self::Account(account) => fmt::Display::fmt(account, f),
            Self::Bytes(bytes) => {
                f.write_str("0x")?;
                bytes.iter().take(32).try_for_each(|byte| write!(f, "{byte:02x}"))?;
                if bytes.len() > 32 { write!(f, "… ({} bytes)", bytes.len()) } else { Ok(()) }
            }
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(u64::try_from(number).unwrap_or(u64::MAX))
    }
}

impl From<Height> for Value {
    fn from(height: Height) -> Self {
        Self::Number(height.0)
    }
}

impl From<Hash32> for Value {
    fn from(hash: Hash32) -> Self {
        Self::Hash(hash)
    }
}

impl From<Address> for Value {
    fn from(account: Address) -> Self {
        Self::Account(account)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_to_hold_back_has_its_word_in_the_list() {
        let (height, digest) = (Height(7), Hash32::ZERO);
        let reasons = [
            HoldReason::ShortOfQuorum { height, expected: 3, got: 2 },
            HoldReason::SetUnconfirmed { height, digest },
            HoldReason::AtBound { height, held: 65, limit: 64, expected: 3, got: 2 },
            HoldReason::WeakCommitRule { height, expected: 4, got: 3 },
            HoldReason::SetNotFollowed { height, digest, check: "support" },
            HoldReason::TrustExpired { height, age_seconds: 11, period_seconds: 10 },
            HoldReason::AheadOfClock { height, ahead_seconds: 11, allowed_seconds: 10 },
        ];
        assert_eq!(reasons.map(|reason| reason.as_str()), HoldReason::ALL);
        for reason in reasons {
            assert!(reason.to_string().contains('7'), "{reason} names the block");
        }
    }
}
