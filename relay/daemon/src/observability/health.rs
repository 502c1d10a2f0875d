//! Alive and ready: two questions that a supervisor asks.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// After this long without a sign of life the event loop is taken for stuck; it gives one every half second.
const STUCK_AFTER: Duration = Duration::from_secs(15);

macro_rules! trouble_kinds {
    ($($(#[$doc:meta])* $name:ident = $word:literal;)*) => {
        /// Why a daemon is not ready. The closed list behind `/readyz`, `status`, the metric label and the runbook.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum TroubleKind {
            $($(#[$doc])* #[serde(rename = $word)] $name,)*
        }

        impl TroubleKind {
            /// Every kind.
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$name),*];

            /// The word used everywhere.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

trouble_kinds! {
    /// The daemon has not looked around yet: a chain's anchor was not checked, or a peer not tried.
    Starting = "starting";
    /// The event loop gives no sign of life.
    LoopStuck = "loop-stuck";
    /// Two final headers at one height: an operator must decide.
    ChainFrozen = "chain-frozen";
    /// Headers are genuine and not final, for too long.
    ChainHeldBack = "chain-held-back";
    /// The chain makes no block though transactions wait, or for longer than it ever should, or its nodes say that they can
    /// get none.
    ChainStalled = "chain-stalled";
    /// No node of a chain can be used.
    NodesUnusable = "nodes-unusable";
    /// No node of a chain shows the blocks that are verified already.
    NodesBehind = "nodes-behind";
    /// The account can't pay for a delivery.
    AccountEmpty = "account-empty";
    /// No session with a relay.
    PeerDown = "peer-down";
    /// Fewer attesters have a session than must sign.
    AttestersFew = "attesters-few";
    /// The signer that holds our key is away, or does not sign.
    SignerAway = "signer-away";
    /// An attester's journal has forgotten signatures, which must be merged back from the relays first.
    AttesterMute = "attester-mute";
    /// A gateway does not let a lane go on.
    LaneNotOpen = "lane-not-open";
    /// A flow stays at the same place for too long.
    LaneStuck = "lane-stuck";
    /// Journal and chain differ.
    AuditDifference = "audit-difference";
    /// The journal could not be compared with a chain for too long: its contracts can't be read.
    AuditStale = "audit-stale";
    /// The journal can't be written, or is damaged.
    JournalFailing = "journal-failing";
    /// The volume of the journal has no room left.
    DiskFull = "disk-full";
}

/// One reason why the daemon is not ready.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Trouble {
    /// Which kind of reason.
    pub kind: TroubleKind,
    /// What is in trouble, such as `chain north` or `lane medical`.
    pub subject: String,
    /// Why, and who must act.
    pub reason: String,
    /// What a flow waits for: the word of the metric label and of `status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}

impl Trouble {
    /// A trouble of this kind.
    #[must_use]
    pub fn new(kind: TroubleKind, subject: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { kind, subject: subject.into(), reason: reason.into(), waits_for: None }
    }

    /// The same of a flow that waits for this.
    #[must_use]
    pub fn waiting_for(self, word: &str) -> Self {
        Self { waits_for: Some(word.to_owned()), ..self }
    }
}

/// The daemon's health as its event loop last said it. Shared; cheap to ask.
#[derive(Debug, Default)]
pub struct Health {
    state: Mutex<Option<Report>>,
}

#[derive(Clone, Debug)]
struct Report {
    at: Instant,
    troubles: Vec<Trouble>,
}

impl Health {
    /// Says that the event loop runs, and what keeps the daemon from being ready; nothing means ready.
    pub fn report(&self, troubles: Vec<Trouble>) {
        *self.state() = Some(Report { at: Instant::now(), troubles });
    }

    /// Whether the event loop gave a sign of life lately; a daemon that is still starting is alive.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.silence_at(Instant::now()) < STUCK_AFTER
    }

    /// How long ago the event loop gave its last sign of life; zero while the daemon is still starting.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.silence_at(Instant::now())
    }

    /// What keeps the daemon from being ready; nothing means ready.
    #[must_use]
    pub fn troubles(&self) -> Vec<Trouble> {
        if !self.is_alive() {
            let reason = "no sign of life: restart the daemon and report its log";
            return vec![Trouble::new(TroubleKind::LoopStuck, "event loop", reason)];
        }
        match &*self.state() {
            Some(report) => report.troubles.clone(),
            None => vec![Trouble::new(TroubleKind::Starting, "daemon", "still starting")],
        }
    }

    fn silence_at(&self, now: Instant) -> Duration {
        self.state().as_ref().map_or(Duration::ZERO, |report| now.saturating_duration_since(report.at))
    }

    fn state(&self) -> MutexGuard<'_, Option<Report>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_ready_when_its_loop_says_so_and_not_before() {
        let health = Health::default();
        assert!(health.is_alive());
        assert_eq!(health.troubles().first().unwrap().kind, TroubleKind::Starting);
        health.report(Vec::new());
        assert!(health.troubles().is_empty());
        let frozen = Trouble::new(TroubleKind::ChainFrozen, "chain north", "two headers");
        health.report(vec![frozen.clone()]);
        assert_eq!(health.troubles(), [frozen]);
    }

    #[test]
    fn a_silent_loop_is_not_alive() {
        let health = Health::default();
        health.report(Vec::new());
        let start = Instant::now();
        assert!(health.silence_at(start + STUCK_AFTER / 2) < STUCK_AFTER);
        assert!(health.silence_at(start + STUCK_AFTER) >= STUCK_AFTER - Duration::from_secs(1));
    }

    #[test]
    fn words_of_troubles_are_the_same_in_json() {
        for kind in TroubleKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
