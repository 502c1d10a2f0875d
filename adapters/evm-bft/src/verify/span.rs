//! A span of headers after the trusted one: what each must be if the ones before it are true. No seal is judged here.

use std::sync::Arc;

use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Height, UnixMillis};
use cityrelay_core::light_client::{Header as FinalHeader, Refusal};

use super::mode::Mode;
use super::reading::{Reading, Seals, read_header, rlp_refusal};
use super::rules::Rules;
use super::set::{SetError, Validator, ValidatorSet};
use super::state::State;
use super::storage::prove_set;
use super::tally::{MAX_PENDING_VOTES, Vote, count_vote};
use super::update::{SetProof, UpdateItem};
use crate::codec::header::{Header, HeaderError};
use crate::verify::head::Detail;

/// One header of a span.
#[derive(Debug)]
pub(super) struct Link {
    pub height: u64,
    pub hash: Hash32,
    parent: Hash32,
    pub timestamp: u64,
    pub item_count: usize,
    roots: [Hash32; 3],
    pub mode: Mode,
    pub seals: Seals,
    /// The set in force for this header, `None` where a contract's set was not proved at the header before.
    pub set: Option<Arc<ValidatorSet>>,
    /// The set in force for the header before, under contract mode, where it may still have sealed this one.
    pub late: Option<Arc<ValidatorSet>>,
    /// The set that follows, `None` where a contract's set was not proved.
    pub set_after: Option<Arc<ValidatorSet>>,
    pub votes_after: Arc<Vec<Vote>>,
    /// Whether the set that follows is known to differ from the one last known.
    pub changes_set: bool,
    /// Under Edge: the set in force is what the header lists, and not what votes explain.
    pub is_unexplained: bool,
}

impl Link {
    /// The height after which the set changed, where it did.
    pub(super) fn changed_after(&self) -> Option<Height> {
        let before = u64::from(self.is_unexplained);
        self.changes_set.then(|| Height(self.height.saturating_sub(before)))
    }

    /// The header as the rest of the relay sees it.
    pub(super) fn to_final(&self) -> FinalHeader {
        let [state_root, receipts_root, transactions_root] = self.roots;
        let set_digest = self.set_after.as_ref().map_or(Hash32::ZERO, |set| set.digest());
        FinalHeader {
            height: Height(self.height),
            hash: self.hash,
            parent: self.parent,
            timestamp: UnixMillis(self.timestamp.saturating_mul(1000)),
            detail: Detail { state_root, receipts_root, transactions_root, set_digest }.encode(),
        }
    }
}

/// The end of a span so far.
pub(super) struct Span<'a> {
    rules: &'a Rules,
    height: u64,
    hash: Hash32,
    timestamp: u64,
    item_count: usize,
    set: Option<Arc<ValidatorSet>>,
    last_known: Arc<ValidatorSet>,
    before: Option<Arc<ValidatorSet>>,
    votes: Arc<Vec<Vote>>,
}

impl<'a> Span<'a> {
    /// An empty span after the trusted header.
    pub(super) fn new(rules: &'a Rules, trusted: &State) -> Self {
        let before = trusted.recent.last().and_then(|recent| recent.set.clone());
        Self {
            rules,
            height: trusted.height,
            hash: trusted.hash,
            timestamp: trusted.timestamp,
            item_count: trusted.item_count,
            set: Some(Arc::clone(&trusted.set)),
            last_known: Arc::clone(&trusted.set),
            before,
            votes: Arc::clone(&trusted.votes),
        }
    }

    /// Appends a header.
    ///
    /// Checks, in order: `header-size`, `header-rlp`, `header-items`, `header-field`; `header-fork` (no fewer items than
    /// the header before; not under Edge); `height` (the next); the checks of its mode ([`read_header`]); `block-hash` (claimed =
    /// computed); `parent-hash`; `timestamp` (strictly rising); `validator-order` and `validator-list` (the listed set = the
    /// computed one; under a contract no list, see [`Span::verify_list`]); `proposer` (a validator); then the set that follows ([`Span::follow_set`]).
    pub(super) fn append(&mut self, item: &UpdateItem) -> Result<Link, Refusal> {
        let header = Header::decode(&item.header).map_err(header_refusal)?;
        let height = header.number;
        self.link(&header, item).map_err(|refusal| refusal.at(Height(height)))
    }

    fn link(&mut self, header: &Header, item: &UpdateItem) -> Result<Link, Refusal> {
        let height = self.height.saturating_add(1);
        let mode = self.rules.modes.at(height);
        // Edge hashes 13 items only: how many follow is anybody's word.
        let item_count = if mode.is_edge() { 0 } else { header.item_count() };
        if !mode.is_edge() && item_count < self.item_count {
            return Err(Refusal::new("header-fork", self.item_count, item_count));
        }
        if header.number != height {
            return Err(Refusal::new("height", height, header.number));
        }
        let reading = read_header(mode, header)?;
        if reading.hash != item.hash {
            return Err(Refusal::new("block-hash", reading.hash, item.hash));
        }
        if header.parent_hash != self.hash {
            return Err(Refusal::new("parent-hash", self.hash, header.parent_hash));
        }
        if header.timestamp <= self.timestamp {
            return Err(Refusal::new("timestamp", self.timestamp.saturating_add(1), header.timestamp));
        }
        let mut set = self.set.clone();
        let mut votes = Arc::clone(&self.votes);
        let late = if mode == Mode::QbftContract { self.before.clone() } else { None };
        let mut is_unexplained = false;
        if let Err(refusal) = self.verify_list(mode, height, &reading.listed) {
            if !mode.is_edge() {
                return Err(refusal);
            }
            let listed = self.shared(ValidatorSet::new(reading.listed.clone()).map_err(set_refusal)?);
            votes = Arc::new(still_pending(&votes, self.set.as_deref(), &listed));
            set = Some(listed);
            is_unexplained = true;
        }
        if let (Some(set), true) = (&set, mode != Mode::QbftContract)
            && !set.contains(reading.proposer)
        {
            return Err(Refusal::new("proposer", "a validator", reading.proposer.to_address()));
        }
        let (set_after, votes_after) =
            self.follow_set(mode, header, &reading, item.set_proof.as_ref(), (set.clone(), votes))?;
        let changes_set = set_after.as_ref().is_some_and(|after| *after != self.last_known);
        self.height = height;
        self.hash = reading.hash;
        self.timestamp = header.timestamp;
        self.item_count = item_count;
        self.before = set.clone();
        self.set = set_after.clone();
        self.votes = Arc::clone(&votes_after);
        if let Some(after) = &set_after {
            self.last_known = Arc::clone(after);
        }
        Ok(Link {
            height,
            hash: reading.hash,
            parent: header.parent_hash,
            timestamp: header.timestamp,
            item_count,
            roots: [header.state_root, header.receipts_root, header.transactions_root],
            mode,
            seals: reading.seals,
            set,
            late,
            set_after,
            votes_after,
            changes_set,
            is_unexplained,
        })
    }

    /// The header lists exactly the set that we computed; under a contract it lists none, except that the first header
    /// of that mode may still list it (GoQuorum). Under Edge the list is hashed and votes are not, so another list is taken
    /// over; it is final only with a quorum of a set that a final header showed ([`super::finality`]).
    fn verify_list(&self, mode: Mode, height: u64, listed: &[Validator]) -> Result<(), Refusal> {
        if mode == Mode::QbftContract && listed.is_empty() {
            return Ok(());
        }
        let may_list = mode != Mode::QbftContract || self.rules.modes.at(height.saturating_sub(1)) != mode;
        let (Some(set), true) = (&self.set, may_list) else {
            return Err(Refusal::new("validator-list", 0_u64, listed.len()));
        };
        if !mode.is_edge()
            && let Some([_, later]) = listed.array_windows::<2>().find(|[a, b]| a.account >= b.account)
        {
            return Err(Refusal::new("validator-order", "ascending accounts", later.account.to_address()));
        }
        if listed != set.members() {
            let listed = ValidatorSet::new(listed.to_vec()).map(|set| set.digest());
            return Err(Refusal::new("validator-list", set.digest(), listed.unwrap_or(Hash32::ZERO)));
        }
        Ok(())
    }

    /// The set and the pending votes after this header, from those `before` it.
    ///
    /// In this order: at an epoch block the pending votes go; the header's vote is counted (`voter` must be in the
    /// set, `set-members` must stay a set, `votes-limit`); where the next header is under a contract, its set is the
    /// one proved (`prove_set`; under contract mode a vote is refused as `vote`); a configured override replaces the
    /// set and clears the votes. Under Edge neither voter nor direction of a vote is hashed: one that cannot be counted
    /// has no effect.
    #[expect(clippy::type_complexity, reason = "a set and its votes, taken apart at once")]
    fn follow_set(
        &self,
        mode: Mode,
        header: &Header,
        reading: &Reading,
        set_proof: Option<&SetProof>,
        before: (Option<Arc<ValidatorSet>>, Arc<Vec<Vote>>),
    ) -> Result<(Option<Arc<ValidatorSet>>, Arc<Vec<Vote>>), Refusal> {
        let height = header.number;
        let next = height.saturating_add(1);
        let (mut set, mut votes) = before;
        if self.rules.is_epoch_block(height) {
            votes = Arc::default();
        }
        if let Some(vote) = reading.vote {
            if mode == Mode::QbftContract {
                return Err(Refusal::new("vote", "no vote under a validator contract", "a vote"));
            }
            if let (Some(current), true) = (&set, self.rules.counts_vote_at(height)) {
                match count_vote(current, &votes, vote, mode.is_edge()) {
                    Ok(counted) if counted.pending.len() <= MAX_PENDING_VOTES => {
                        votes = Arc::new(counted.pending);
                        set = counted.set.map(Arc::new).or(set);
                    }
                    _ if mode.is_edge() => {}
                    Ok(counted) => {
                        return Err(Refusal::new("votes-limit", MAX_PENDING_VOTES, counted.pending.len()));
                    }
                    Err(error) => return Err(set_refusal(error)),
                }
            }
        }
        if self.rules.modes.at(next) == Mode::QbftContract {
            votes = Arc::default();
            match (set_proof, self.rules.contract_for(next)) {
                (Some(proof), Some(layout)) => {
                    set = Some(self.shared(prove_set(layout, header.state_root, proof)?));
                }
                // The block before the first in contract mode may go without: its set is the voted one then.
                _ if mode == Mode::QbftContract => set = None,
                _ => {}
            }
        } else if set_proof.is_some() {
            return Err(Refusal::new("set-proof-unused", "no proof of a set outside contract mode", "a proof"));
        }
        if let Some(replacement) = self.rules.overrides.get(&next) {
            set = Some(self.shared(replacement.clone()));
            votes = Arc::default();
        }
        Ok((set, votes))
    }

    fn shared(&self, set: ValidatorSet) -> Arc<ValidatorSet> {
        if *self.last_known == set { Arc::clone(&self.last_known) } else { Arc::new(set) }
    }
}

/// The votes that a change of the set leaves, where it is not known which votes made it.
fn still_pending(votes: &[Vote], before: Option<&ValidatorSet>, after: &ValidatorSet) -> Vec<Vote> {
    let has_changed = |vote: &Vote| {
        let candidate = vote.candidate.account;
        before.is_some_and(|before| before.contains(candidate)) != after.contains(candidate)
    };
    votes.iter().filter(|vote| after.contains(vote.voter) && !has_changed(vote)).copied().collect()
}

/// Turns what is wrong with a set into a refusal.
pub(super) fn set_refusal(error: SetError) -> Refusal {
    match error {
        SetError::Size { got } => Refusal::new("set-size", "1 to 256 validators", got),
        SetError::Repeated { got } => Refusal::new("set-members", "every validator once", got.to_address()),
        SetError::Keys => Refusal::new("set-members", "a BLS key for all or none", "some without"),
    }
}

/// Turns what is wrong with a header's bytes into a refusal.
pub(crate) fn header_refusal(error: HeaderError) -> Refusal {
    match error {
        HeaderError::Size { expected, got } => Refusal::new("header-size", expected, got),
        HeaderError::Rlp(error) => rlp_refusal("header-rlp", error),
        HeaderError::Items { got } => Refusal::new("header-items", "15, 16, 17, 20 or 21 items", got),
        HeaderError::Field { error, .. } => rlp_refusal("header-field", error),
    }
}
