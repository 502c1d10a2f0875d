//! Which headers of a span are final.

use std::sync::Arc;

use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::Height;
use cityrelay_core::light_client::{HoldReason, Refusal};

use super::reading::Seals;
use super::seals::recover_signers;
use super::set::{Validator, ValidatorSet};
use super::span::Link;

/// How much of a span is final.
#[derive(Debug)]
pub(super) struct Finality {
    /// So many headers from the front.
    pub headers: usize,
    /// Why the rest is not.
    pub reason: Option<HoldReason>,
    /// The first header of the rest whose set votes do not explain (Edge).
    pub unexplained: Option<Unexplained>,
}

/// A header that waits under a set which votes do not explain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unexplained {
    pub height: Height,
    /// Digest of that set.
    pub digest: Hash32,
    /// Whether no member of a fixed set sealed it: waiting does not help.
    pub is_of_strangers: bool,
}

/// Which sets vouch for the headers that follow a final one.
#[derive(Clone, Debug)]
pub(super) struct Fixed {
    /// The set that follows it.
    pub next: Arc<ValidatorSet>,
    /// The set that it lists, which sealed it; `None` where it is not known.
    pub own: Option<Arc<ValidatorSet>>,
}

/// Finds the final part of `span`.
///
/// `fixed` is what the trusted header fixed: the set that follows it. A header is final by itself when a quorum of the set in force for
/// it **and** a quorum of `fixed` sealed it; it finalises its ancestors, and the set that it fixes takes the place of
/// `fixed` for the rest. So where the set does not change, one sealed header finalises all before it, and across a
/// change nothing is final until the old set has sealed too (`DESIGN` §3, Ancestry).
///
/// Under Edge voter and direction of a vote are outside the hash, so the set that follows a final header is a guess where
/// somebody altered them. There a quorum of the set that the final header itself lists does as well: the list is hashed,
/// and honest members of that set seal no header with a false one. An aggregate counts for a set only where all its signers
/// are members: with keys that need no proof of possession, one key of a stranger forges any aggregate that it is part of.
///
/// Seals are looked at where the set changes and at the tip; only where those fall short, at the headers before, from
/// the last back. Every seal that is looked at must be genuine.
///
/// # Errors
/// The refusals of [`recover_signers`] at a header that was looked at.
pub(super) fn find_final(span: &[Link], fixed: &Fixed) -> Result<Finality, Refusal> {
    let mut judge = Judge { span, signers: vec![None; span.len()], fixed: fixed.clone(), finals: 0 };
    for (at, link) in span.iter().enumerate() {
        if link.changes_set || at + 1 == span.len() {
            judge.finalise_up_to(at)?;
        }
    }
    let unexplained = judge.unexplained()?;
    let reason = if judge.finals == span.len() { None } else { Some(judge.hold_reason()?) };
    Ok(Finality { headers: judge.finals, reason, unexplained })
}

struct Judge<'a> {
    span: &'a [Link],
    signers: Vec<Option<Vec<Validator>>>,
    fixed: Fixed,
    finals: usize,
}

/// Votes that a header has and needs.
struct Count {
    got: usize,
    expected: usize,
}

impl Count {
    const fn is_quorum(&self) -> bool {
        self.got >= self.expected
    }
}

impl Judge<'_> {
    /// Looks for headers that are final by themselves, from `last` back to the final part.
    fn finalise_up_to(&mut self, last: usize) -> Result<(), Refusal> {
        // A header found makes the set it fixes count, and one after it may be final then: look again.
        while let Some(found) = self.last_final(last)? {
            self.finals = found + 1;
            if let Some(link) = self.span.get(found)
                && let Some(next) = link.set_after.clone()
            {
                self.fixed = Fixed { next, own: link.set.clone() };
            }
        }
        Ok(())
    }

    fn last_final(&mut self, last: usize) -> Result<Option<usize>, Refusal> {
        for at in (self.finals..=last).rev() {
            let Some(link) = self.span.get(at) else { continue };
            // Without the set that follows, trust could not move on from here.
            let (Some(set), Some(_)) = (link.set.clone(), &link.set_after) else { continue };
            if self.count(at, &set)?.is_quorum() && self.is_sealed_by_fixed(at, &set)? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    fn is_sealed_by_fixed(&mut self, at: usize, set: &Arc<ValidatorSet>) -> Result<bool, Refusal> {
        for fixed in self.vouching(at) {
            if fixed == *set || self.count(at, &fixed)?.is_quorum() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The sets of which a quorum vouches for a header.
    fn vouching(&self, at: usize) -> impl Iterator<Item = Arc<ValidatorSet>> + use<> {
        let is_edge = self.span.get(at).is_some_and(|link| link.mode.is_edge());
        let own = self.fixed.own.clone().filter(|_| is_edge);
        core::iter::once(Arc::clone(&self.fixed.next)).chain(own)
    }

    /// The first header that waits under a set which votes do not explain. One that no member of a fixed set sealed may be
    /// its server's invention, or the chain's own where a staking contract replaced them all: nothing here tells.
    fn unexplained(&mut self) -> Result<Option<Unexplained>, Refusal> {
        let mut waiting = self.span.iter().enumerate().skip(self.finals);
        let Some((at, link)) = waiting.find(|(_, link)| link.is_unexplained) else { return Ok(None) };
        let (height, Some(set)) = (Height(link.height), link.set.clone()) else { return Ok(None) };
        self.count(at, &set)?;
        let mut signers = self.signers.get(at).and_then(Option::as_ref).into_iter().flatten();
        let is_of_strangers = !signers.any(|signer| self.vouching(at).any(|set| set.members().contains(signer)));
        Ok(Some(Unexplained { height, digest: set.digest(), is_of_strangers }))
    }

    fn count(&mut self, at: usize, set: &ValidatorSet) -> Result<Count, Refusal> {
        let Some((link, slot)) = self.span.get(at).zip(self.signers.get_mut(at)) else {
            return Ok(Count { got: 0, expected: usize::MAX });
        };
        let signers = match (&slot, &link.set) {
            (Some(signers), _) => signers.clone(),
            (None, Some(own)) => {
                let found = recover_signers(&link.seals, own, link.late.as_deref());
                let found = found.map_err(|refusal| refusal.at(Height(link.height)))?;
                slot.insert(found).clone()
            }
            (None, None) => Vec::new(),
        };
        let got = set.count(&signers);
        let is_forgeable = matches!(link.seals, Seals::Aggregate { .. }) && got < signers.len();
        Ok(Count { got: if is_forgeable { 0 } else { got }, expected: link.mode.quorum(set.size()) })
    }

    /// What the tip is short of.
    fn hold_reason(&mut self) -> Result<HoldReason, Refusal> {
        let tip = self.span.len().saturating_sub(1);
        let Some(link) = self.span.get(tip) else {
            return Err(Refusal::new("update-size", "at least one header", 0_u64));
        };
        let height = Height(link.height);
        let (Some(set), Some(_)) = (link.set.clone(), &link.set_after) else {
            return Err(Refusal::new("set-proof-missing", "a proof of the contract's set", "none").at(height));
        };
        let own = self.count(tip, &set)?;
        let short = if own.is_quorum() { self.count(tip, &Arc::clone(&self.fixed.next))? } else { own };
        Ok(HoldReason::ShortOfQuorum {
            height,
            expected: u64::try_from(short.expected).unwrap_or(u64::MAX),
            got: u64::try_from(short.got).unwrap_or(u64::MAX),
        })
    }
}
