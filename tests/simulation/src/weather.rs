//! What breaks in a run, when it breaks and for how long: all drawn from the seed.

use cityrelay_core::machine::config::{Limits, PeerId};

use crate::dice::Dice;
use crate::process::Behaviour;
use crate::world::{ATTESTERS, CHANNELS, RELAYS};

/// A kind of breakage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing gets through between two processes.
    CutLine,
    /// A second session takes the place of one that stands.
    ReplaceSession,
    /// A process dies between two effects.
    Crash,
    /// A disk takes long.
    SlowDisk,
    /// A disk fails.
    BadDisk,
    /// A chain loses, forgets, delays or reverts transactions.
    Mempool,
    /// Blocks lack seals.
    ShortSeals,
    /// A chain takes only small transactions.
    SmallGas,
    /// A process' nodes are behind.
    NodeLag,
    /// A process' nodes don't answer, or slowly.
    NodeDown,
    /// A process' nodes serve false headers.
    NodeLies,
    /// A relay says false things to everybody.
    FalseFrames,
    /// A process' clock is set ahead, and back later.
    ClockStep,
    /// A process' nodes show a second final header: the chain's validators contradict themselves.
    Fork,
    /// A process' own nodes hold other blocks than the sealed ones.
    NodeApart,
    /// A process' nodes have pruned the bodies of older messages.
    NodePruned,
    /// A process drops from its journal what finished messages don't need any more.
    JournalPruned,
    /// A relay dies and comes back with an older journal.
    OldJournal,
    /// An operator pauses a lane at one process.
    LanePaused,
    /// The owner pauses a lane at one of its gateways.
    LanePausedByOwner,
    /// Somebody else hands in what a relay hands in.
    Copies,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 21] = [
        Self::CutLine,
        Self::ReplaceSession,
        Self::Crash,
        Self::SlowDisk,
        Self::BadDisk,
        Self::Mempool,
        Self::ShortSeals,
        Self::SmallGas,
        Self::NodeLag,
        Self::NodeDown,
        Self::NodeLies,
        Self::FalseFrames,
        Self::ClockStep,
        Self::Fork,
        Self::NodeApart,
        Self::NodePruned,
        Self::JournalPruned,
        Self::OldJournal,
        Self::LanePaused,
        Self::LanePausedByOwner,
        Self::Copies,
    ];

    /// The name under which a run counts how often it happened.
    #[must_use]
    pub fn counter(self) -> &'static str {
        match self {
            Self::CutLine => "cut lines",
            Self::ReplaceSession => "replaced sessions",
            Self::Crash => "crashes",
            Self::SlowDisk => "slow disks",
            Self::BadDisk => "failing disks",
            Self::Mempool => "unreliable mempools",
            Self::ShortSeals => "chains short of seals",
            Self::SmallGas => "chains with small blocks",
            Self::NodeLag => "lagging nodes",
            Self::NodeDown => "nodes down",
            Self::NodeLies => "lying nodes",
            Self::FalseFrames => "lying relays",
            Self::ClockStep => "clock steps",
            Self::Fork => "forks shown",
            Self::NodeApart => "own nodes apart",
            Self::NodePruned => "pruned nodes",
            Self::JournalPruned => "pruned journals",
            Self::OldJournal => "older journals put back",
            Self::LanePaused => "lanes paused",
            Self::LanePausedByOwner => "lanes paused by their owner",
            Self::Copies => "chains with copies of transactions",
        }
    }

    /// Mean times between two of a kind are drawn from here, in milliseconds: what stops a lane until somebody acts comes
    /// seldom.
    const fn intervals(self) -> (u64, u64) {
        match self {
            Self::Fork | Self::NodeApart | Self::OldJournal | Self::LanePaused | Self::LanePausedByOwner => {
                (6000, 30_000)
            }
            _ => (1500, 12_000),
        }
    }
}

/// The name under which a run counts the chains whose attester set was replaced.
pub const ROTATIONS: &str = "attester sets replaced";
/// Signatures that arrived after their epoch had ended.
pub const LATE_SIGNATURES: &str = "signatures of an epoch that has ended";
/// Blocks that brought another validator set.
pub const SET_CHANGES: &str = "validator sets replaced";
/// Sets that a light client took over from headers alone.
pub const SETS_FOLLOWED: &str = "validator sets followed by headers";
/// Sets that a relay without a node took over from attesters.
pub const SETS_ATTESTED: &str = "validator sets attested";
/// Times that a failing message halted a strict lane.
pub const HALTS: &str = "strict lanes halted";
/// Messages over which an owner stepped.
pub const SKIPS: &str = "messages skipped";
/// Messages that halted a strict lane and whose receiver was put right.
pub const MENDED: &str = "receivers put right";
/// Calls of a relay that somebody else had mined as well.
pub const MINED_TWICE: &str = "calls mined twice";
/// Transactions that a chain had forgotten and took up again.
pub const RETURNED: &str = "transactions that came back";
/// Clients that froze and that an operator let go on.
pub const DECIDED: &str = "clients unfrozen";

/// Everything that must have happened over many seeds, beside every [`Fault`].
pub const EVENTS: [&str; 11] = [
    ROTATIONS,
    LATE_SIGNATURES,
    SET_CHANGES,
    SETS_FOLLOWED,
    SETS_ATTESTED,
    HALTS,
    SKIPS,
    MENDED,
    MINED_TWICE,
    RETURNED,
    DECIDED,
];

/// What a run has in store.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Milliseconds from the start after which nobody sends any more.
    pub traffic_millis: u64,
    /// Milliseconds from the start after which nothing breaks any more.
    pub calm_millis: u64,
    /// The kinds of breakage, each with the mean time between two of it in milliseconds.
    pub faults: Vec<(Fault, u64)>,
    /// Longest extra travel time of a frame, in milliseconds.
    pub slow_line: u64,
    /// Longest extra time of a verification, in milliseconds: claims wait while a session may end.
    pub slow_verifier: u64,
    /// One attester of the first set does not do its duty.
    pub bad_attester: Option<(PeerId, Behaviour)>,
    /// It does not mend when everything else does.
    pub stays_bad: bool,
    /// The attester sets change, after so many milliseconds each: the member in this place goes, whoever is outside comes.
    pub rotations: Vec<(u64, usize)>,
    /// The reserve attester runs from the start instead of from the first rotation on.
    pub is_reserve_early: bool,
    /// Mean time between two changes of a chain's validators, in milliseconds.
    pub set_changes: Option<u64>,
    /// The lanes of this channel are strict: a message that fails halts them.
    pub strict_channel: Option<usize>,
    /// Messages that are given little time, in thousandths.
    pub short_deadlines: u64,
    /// Messages whose receiver fails, in thousandths.
    pub failing_receivers: u64,
    /// Sizes of batches are small, so that their edges are met.
    pub has_small_batches: bool,
    /// One message on one lane at every such interval of milliseconds, and nothing else; `None` for bursts.
    pub steady: Option<(usize, u64)>,
    /// Entries that an attester is sent at once to catch up; 0 for the protocol's own limit.
    pub claim_limit: usize,
    /// Clients that freeze stay so until the test decides: no operator looks after them.
    pub stays_frozen: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            traffic_millis: 45_000,
            calm_millis: 60_000,
            faults: Vec::new(),
            slow_line: 0,
            slow_verifier: 0,
            bad_attester: None,
            stays_bad: false,
            rotations: Vec::new(),
            is_reserve_early: false,
            set_changes: None,
            strict_channel: None,
            short_deadlines: 0,
            failing_receivers: 0,
            has_small_batches: false,
            steady: None,
            claim_limit: 0,
            stays_frozen: false,
        }
    }
}

impl Plan {
    /// Draws a plan: each kind of breakage is there or not, so that each is also seen alone.
    pub fn draw(dice: &mut Dice) -> Self {
        let mut plan = Self::default();
        let density = *dice.pick(&[150, 400, 700]);
        for fault in Fault::ALL {
            if dice.chance(density) {
                let (least, most) = fault.intervals();
                plan.faults.push((fault, dice.between(least, most)));
            }
        }
        if dice.chance(density) {
            plan.slow_line = dice.between(50, 2500);
        }
        if dice.chance(density) {
            plan.slow_verifier = dice.between(50, 1500);
        }
        if dice.chance(density) {
            let who = PeerId(u32::try_from(RELAYS).unwrap() + u32::try_from(dice.between(0, 3)).unwrap());
            let how = *dice.pick(&[Behaviour::Silent, Behaviour::Rubbish, Behaviour::Equivocating]);
            plan.bad_attester = Some((who, how));
            plan.stays_bad = dice.chance(600);
        }
        if dice.chance(density) {
            let mut after = 0;
            for _ in 0..dice.between(1, 3) {
                after += dice.between(3000, 18_000);
                plan.rotations.push((after, usize::try_from(dice.between(0, ATTESTERS as u64 - 1)).unwrap()));
            }
        }
        if dice.chance(density) {
            plan.set_changes = Some(dice.between(1500, 20_000));
        }
        if dice.chance(density) {
            plan.strict_channel = Some(usize::try_from(dice.between(0, CHANNELS.len() as u64 - 1)).unwrap());
        }
        plan.is_reserve_early = dice.chance(500);
        if dice.chance(density) {
            plan.short_deadlines = dice.between(50, 600);
        }
        if dice.chance(density) {
            plan.failing_receivers = dice.between(50, 500);
        }
        plan.has_small_batches = dice.chance(400);
        plan.claim_limit = if dice.chance(500) { 5 } else { 0 };
        plan
    }

    /// Whether this kind of breakage is in store.
    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.iter().any(|(known, _)| *known == fault)
    }

    /// The sizes that the machines of this run work with.
    pub fn limits(&self, dice: &mut Dice) -> Limits {
        let usual = Limits::default();
        if !self.has_small_batches {
            return usual;
        }
        let batch_entries = usize::try_from(dice.between(1, 12)).unwrap();
        let batch_bytes = usize::try_from(dice.between(64, 2000)).unwrap();
        let send_window = usize::try_from(dice.between(1, 8)).unwrap();
        let outbound_window = usize::try_from(dice.between(2, 64)).unwrap();
        Limits {
            batch_entries,
            batch_bytes,
            send_window,
            outbound_window,
            // Now the number is reached first, now this.
            outbound_bytes: outbound_window << 10,
            parked_claims: usize::try_from(dice.between(1, 8)).unwrap(),
            // More than may be held back: an update begins after the last final header.
            update_headers: u32::try_from(dice.between(20, 40)).unwrap(),
            ..usual
        }
    }
}
