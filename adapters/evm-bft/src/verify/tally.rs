//! The vote tally: which validator set follows from the votes in headers, computed by us.

use super::set::{SetError, Validator, ValidatorSet};
use crate::codec::account::Account;

/// The most votes pending at once. Each block adds at most one and each epoch clears them.
pub const MAX_PENDING_VOTES: usize = 65_536;

/// A vote that a header casts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Who votes.
    pub voter: Account,
    /// Whom it is about.
    pub candidate: Validator,
    /// Add, or drop.
    pub is_add: bool,
}

/// What a vote did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    /// The set after it, when it changed.
    pub set: Option<ValidatorSet>,
    /// The votes pending after it.
    pub pending: Vec<Vote>,
}

/// Counts one vote.
///
/// In this order (GoQuorum `consensus/istanbul/backend/engine.go:snapApplyHeader`; Besu `VoteTally.addVote` agrees but
/// for votes without effect): the voter's older vote about the candidate goes; a vote to add a member or to drop a
/// stranger has no effect; at floor(n/2)+1 votes the candidate is added or dropped, and all votes about it go; the
/// votes of a dropped member go too.
///
/// # Errors
/// [`SetError`] when the last member would be dropped or the set grow too large.
pub(super) fn count_vote(
    set: &ValidatorSet,
    pending: &[Vote],
    vote: Vote,
    keeps_order: bool,
) -> Result<Counted, SetError> {
    let candidate = vote.candidate.account;
    let is_older = |other: &Vote| other.voter == vote.voter && other.candidate.account == candidate;
    let mut pending: Vec<_> = pending.iter().filter(|other| !is_older(other)).copied().collect();
    if vote.is_add == set.contains(candidate) {
        return Ok(Counted { set: None, pending });
    }
    pending.push(vote);
    let same = |other: &&Vote| other.candidate == vote.candidate && other.is_add == vote.is_add;
    let votes = pending.iter().filter(same).count();
    if votes <= set.size() / 2 {
        return Ok(Counted { set: None, pending });
    }
    pending.retain(|other| other.candidate.account != candidate);
    let set = if vote.is_add {
        set.with(vote.candidate, keeps_order)?
    } else {
        pending.retain(|other| other.voter != candidate);
        set.without(candidate)?
    };
    Ok(Counted { set: Some(set), pending })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(n: u8) -> Account {
        Account([n; 20])
    }

    fn set(members: &[u8]) -> ValidatorSet {
        ValidatorSet::of_accounts(&members.iter().map(|n| account(*n)).collect::<Vec<_>>()).unwrap()
    }

    fn vote(voter: u8, candidate: u8, is_add: bool) -> Vote {
        Vote { voter: account(voter), candidate: Validator { account: account(candidate), bls_key: None }, is_add }
    }

    fn count_all(set: &ValidatorSet, votes: &[Vote]) -> (ValidatorSet, Vec<Vote>) {
        votes.iter().fold((set.clone(), Vec::new()), |(set, pending), vote| {
            let counted = count_vote(&set, &pending, *vote, false).unwrap();
            (counted.set.unwrap_or(set), counted.pending)
        })
    }

    #[test]
    fn more_than_half_of_the_votes_add_a_validator() {
        let four = set(&[1, 2, 3, 5]);
        let two = [vote(1, 4, true), vote(2, 4, true)];
        assert_eq!(count_all(&four, &two), (four.clone(), two.to_vec()));
        assert_eq!(count_all(&four, &[two[0], two[1], vote(3, 4, true)]), (set(&[1, 2, 3, 4, 5]), vec![]));
    }

    #[test]
    fn the_same_voter_counts_once() {
        let four = set(&[1, 2, 3, 5]);
        let votes = [vote(1, 4, true), vote(1, 4, true), vote(2, 4, true), vote(2, 4, true)];
        assert_eq!(count_all(&four, &votes), (four, vec![vote(1, 4, true), vote(2, 4, true)]));
    }

    #[test]
    fn votes_without_effect_take_the_older_vote_away() {
        let four = set(&[1, 2, 3, 5]);
        assert_eq!(count_all(&four, &[vote(1, 4, true), vote(1, 4, false)]), (four.clone(), vec![]));
        assert_eq!(count_all(&four, &[vote(1, 2, true)]), (four, vec![]));
    }

    #[test]
    fn a_dropped_validator_takes_its_votes_along() {
        let four = set(&[1, 2, 3, 4]);
        let votes = [vote(4, 9, true), vote(1, 9, true), vote(1, 4, false), vote(2, 4, false), vote(3, 4, false)];
        assert_eq!(count_all(&four, &votes), (set(&[1, 2, 3]), vec![vote(1, 9, true)]));
    }

    #[test]
    fn the_joining_order_is_kept_where_the_chain_keeps_it() {
        let two = set(&[5, 9]);
        let once = count_vote(&two, &[], vote(5, 1, true), true).unwrap();
        let added = count_vote(&two, &once.pending, vote(9, 1, true), true).unwrap().set.unwrap();
        assert_eq!(added.members().last().map(|member| member.account), Some(account(1)));
    }

    #[test]
    fn the_last_validator_cannot_be_dropped() {
        assert_eq!(count_vote(&set(&[1]), &[], vote(1, 1, false), false), Err(SetError::Size { got: 0 }));
    }
}
