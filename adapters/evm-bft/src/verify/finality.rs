//! Which headers of a span are final.

use std::sync::Arc;

use cityrelay_core::ids::Height;
use cityrelay_core::light_client::{HoldReason, Refusal};

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
}

/// Finds the final part of `span`.
///
/// `fixed` is the set that the trusted header fixed. A header is final by itself when a quorum of the set in force for
/// it **and** a quorum of `fixed` sealed it; it finalises its ancestors, and the set that it fixes takes the place of
/// `fixed` for the rest. So where the set does not change, one sealed header finalises all before it, and across a
/// change nothing is final until the old set has sealed too (`DESIGN` §3, Ancestry).
///
/// Seals are looked at where the set changes and at the tip; only where those fall short, at the headers before, from
/// the last back. Every seal that is looked at must be genuine.
///
/// # Errors
/// The refusals of [`recover_signers`] at a header that was looked at.
pub(super) fn find_final(span: &[Link], fixed: &Arc<ValidatorSet>) -> Result<Finality, Refusal> {
    let mut judge = Judge { span, signers: vec![None; span.len()], fixed: Arc::clone(fixed), finals: 0 };
    for (at, link) in span.iter().enumerate() {
        if link.changes_set || at + 1 == span.len() {
            judge.finalise_up_to(at)?;
        }
    }
    let reason = if judge.finals == span.len() { None } else { Some(judge.hold_reason()?) };
    Ok(Finality { headers: judge.finals, reason })
}

struct Judge<'a> {
    span: &'a [Link],
    signers: Vec<Option<Vec<Validator>>>,
    fixed: Arc<ValidatorSet>,
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
            if let Some(after) = self.span.get(found).and_then(|link| link.set_after.clone()) {
                self.fixed = after;
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
        let fixed = Arc::clone(&self.fixed);
        Ok(fixed == *set || self.count(at, &fixed)?.is_quorum())
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
        Ok(Count { got: set.count(&signers), expected: link.mode.quorum(set.size()) })
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
        let short = if own.is_quorum() { self.count(tip, &Arc::clone(&self.fixed))? } else { own };
        Ok(HoldReason::ShortOfQuorum {
            height,
            expected: u64::try_from(short.expected).unwrap_or(u64::MAX),
            got: u64::try_from(short.got).unwrap_or(u64::MAX),
        })
    }
}
