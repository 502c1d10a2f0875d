//! The light client itself: headers in order, then heads at them.

use std::collections::BTreeSet;
use std::time::Duration;

use cityrelay_core::chain::ChainPoint;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Height, UnixMillis};
use cityrelay_core::lane::Flow;
use cityrelay_core::light_client::{Header, HoldReason, LightClient, ProofStrength, Refusal, SetStatement, Verdict};

use super::checkpoint::{CheckpointProof, CheckpointRule, verify_checkpoint};
use super::header::{verify_form, verify_number, verify_parent};
use super::sealer_set::SealerSet;
use super::set_change::{has_old_support, is_explained_by};
use super::signatures::verify_quorum;
use super::state::{MAX_STATEMENTS, Roots, TrustedState};
use super::update::{ChainUpdate, UpdateHeader};
use crate::codec::header::SealedHeader;
use crate::codec::suite::{CryptoSuite, PublicKey};

/// First byte of [`Header::detail`]: the form with two roots.
const DETAIL_VERSION: u8 = 1;

/// [`Header::detail`] of a header that only its child vouches for.
const DETAIL_UNSEEN: [u8; 1] = [0];

/// What a chain's configuration pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiscoClient {
    /// The crypto suite.
    pub suite: CryptoSuite,
    /// Chain id as text.
    pub chain_id: String,
    /// Group id as text.
    pub group_id: String,
    /// How old the last final header may be before the operator must anchor anew.
    pub trusting_period: Duration,
}

/// What came of one header.
enum Step {
    /// It is final, and so is the one before it where that was not at hand.
    Final {
        unseen: Option<Header>,
        header: Header,
        is_change: bool,
    },
    Held(HoldReason),
}

impl FiscoClient {
    /// Checks a header that should follow the trusted one, and moves `state` there.
    ///
    /// Checks, in order: number and parent; form and hash; the set it lists is the one in force, or a sound other one;
    /// signatures and quorum of the listed set; for another set [`Self::follow`].
    fn advance(&self, state: &mut TrustedState, item: &UpdateHeader, now: UnixMillis) -> Result<Step, Refusal> {
        let header = &item.sealed.header;
        let trusted = state.hash;
        let before = if item.skips_parent { state.height.next() } else { state.height };
        verify_number(header, before)?;
        let parent = verify_parent(header)?;
        if !item.skips_parent && parent != trusted {
            return Err(Refusal::new("header-parent-hash", trusted, parent));
        }
        let (hash, roots) = verify_form(self.suite, &item.sealed)?;
        let is_change = !state.set.is_listed_by(header);
        if is_change {
            let set = SealerSet::of_header(header)?;
            if item.skips_parent {
                return Err(Refusal::new("skipped-set", state.set.digest(self.suite), set.digest(self.suite)));
            }
            let signers = verify_quorum(self.suite, &set, &hash, &item.sealed.signatures)?;
            if let Some(reason) = self.follow(state, item, &set, &signers)? {
                return Ok(Step::Held(reason));
            }
            state.set = set;
        } else {
            verify_quorum(self.suite, &state.set, &hash, &item.sealed.signatures)?;
        }
        state.remember(state.height, state.hash);
        if item.skips_parent {
            state.remember(before, parent);
        }
        if is_change {
            state.recent.clear();
        }
        let timestamp = UnixMillis(header.timestamp);
        let detail = DETAIL_UNSEEN.to_vec();
        let unseen =
            item.skips_parent.then_some(Header { height: before, hash: parent, parent: trusted, timestamp, detail });
        state.height = Height(header.number);
        state.hash = hash;
        state.roots = Some(roots);
        state.trusted_since = Some(now.min(timestamp));
        state.statements.retain(|statement| statement.height > state.height);
        let header = Header { height: state.height, hash, parent, timestamp, detail: detail_of(&roots) };
        Ok(Step::Final { unseen, header, is_change })
    }

    /// Judges a header that lists another set, which signed it. Gives what it waits for, or nothing when the set may be
    /// adopted.
    ///
    /// Checks, in order: `old-set-support`, more than the faulty weight of the old set signed it; `set-change-replay`, the
    /// calls of the block before it lead from the old set to this one; a statement confirms the set (`set-statement` for
    /// another one); without a statement `set-change-evidence`, there are such calls at all. What an honest chain may do
    /// is held back. Right after an anchor there are no roots to check calls with, and the statement decides alone.
    fn follow(
        &self,
        state: &TrustedState,
        item: &UpdateHeader,
        set: &SealerSet,
        signers: &BTreeSet<PublicKey>,
    ) -> Result<Option<HoldReason>, Refusal> {
        let (height, digest) = (Height(item.sealed.header.number), set.digest(self.suite));
        let not_followed = |check| Ok(Some(HoldReason::SetNotFollowed { height, digest, check }));
        if !has_old_support(&state.set, signers) {
            return not_followed("old-set-support");
        }
        if let (Some(evidence), Some(roots)) = (&item.evidence, &state.roots)
            && !is_explained_by(self.suite, roots, &state.set, set, evidence)?
        {
            return not_followed("set-change-replay");
        }
        match state.statements.iter().find(|statement| statement.height == height) {
            Some(statement) if statement.digest == digest => Ok(None),
            Some(statement) => Err(Refusal::new("set-statement", statement.digest, digest)),
            None if item.evidence.is_none() && state.roots.is_some() => not_followed("set-change-evidence"),
            None => Ok(Some(HoldReason::SetUnconfirmed { height, digest })),
        }
    }

    /// Judges a header at the trusted height or below it: the same one, and one that is not remembered, is skipped; another
    /// one with a quorum is proof of a fork.
    fn compare(&self, state: &TrustedState, sealed: &SealedHeader) -> Result<(), Refusal> {
        let height = Height(sealed.header.number);
        let recent = || state.recent.iter().find(|(of, _)| *of == height).map(|(_, hash)| *hash);
        let known = if height == state.height { Some(state.hash) } else { recent() };
        let Some(known) = known.filter(|known| sealed.header.hash(self.suite) != *known) else { return Ok(()) };
        let (hash, _) = verify_form(self.suite, sealed)?;
        if !state.set.is_listed_by(&sealed.header) {
            let listed = SealerSet::of_header(&sealed.header)?;
            return Err(Refusal::new("sealer-set", state.set.digest(self.suite), listed.digest(self.suite)));
        }
        verify_quorum(self.suite, &state.set, &hash, &sealed.signatures)?;
        Err(Refusal::new("equivocation", known, hash).equivocation())
    }

    /// Why nothing is believed any more, when the last final header is too old.
    fn expired_trust(&self, state: &TrustedState, now: UnixMillis) -> Option<HoldReason> {
        let period = u64::try_from(self.trusting_period.as_millis()).unwrap_or(u64::MAX);
        let age = now.0.saturating_sub(state.trusted_since?.0);
        (age > period).then_some(HoldReason::TrustExpired {
            height: state.height,
            age_seconds: age / 1000,
            period_seconds: period / 1000,
        })
    }
}

impl LightClient for FiscoClient {
    type State = TrustedState;
    type Update = ChainUpdate;
    type HeadProof = CheckpointProof;

    fn trusted_height(&self, state: &TrustedState) -> Height {
        state.height
    }

    fn trusted_hash(&self, state: &TrustedState) -> Hash32 {
        state.hash
    }

    /// Checks, in order: `update-empty`; the last final header is young enough, else everything is held back as
    /// `trust-expired`; then for each header at the trusted height, or at one of the heights before it that are
    /// remembered, whether it is the one we hold (`equivocation`), and for each above it every check of [`verify_number`],
    /// [`verify_parent`] (and `header-parent-hash`), [`verify_form`], [`verify_quorum`] and of a set change. The caller
    /// still owes: the statement for a set change comes from somebody who is believed.
    fn verify_update(&self, trusted: &TrustedState, update: &ChainUpdate, now: UnixMillis) -> Verdict<TrustedState> {
        if update.headers.is_empty() {
            return Verdict::Refused(Refusal::new("update-empty", 1_u64, 0_u64));
        }
        if let Some(reason) = self.expired_trust(trusted, now) {
            return Verdict::HeldBack { state: trusted.clone(), headers: Vec::new(), set_changes: Vec::new(), reason };
        }
        let mut state = trusted.clone();
        let mut headers = Vec::new();
        let mut set_changes = Vec::new();
        for item in &update.headers {
            let height = Height(item.sealed.header.number);
            if height <= state.height {
                match self.compare(&state, &item.sealed) {
                    Ok(()) => continue,
                    Err(refusal) => return Verdict::Refused(refusal.at(height)),
                }
            }
            match self.advance(&mut state, item, now) {
                Ok(Step::Final { unseen, header, is_change }) => {
                    if is_change {
                        set_changes.push(Height(header.height.0.saturating_sub(1)));
                    }
                    headers.extend(unseen);
                    headers.push(header);
                }
                Ok(Step::Held(reason)) => return Verdict::HeldBack { state, headers, set_changes, reason },
                Err(refusal) => return Verdict::Refused(refusal.at(height)),
            }
        }
        Verdict::Advanced { state, headers, set_changes }
    }

    /// Keeps a confirmed change until its header comes.
    ///
    /// # Errors
    /// `statement-height` for a height that is final already, `statement-conflict` when another set was confirmed for the
    /// same height, `statement-count` above [`MAX_STATEMENTS`].
    fn apply_set_statement(&self, trusted: &TrustedState, statement: &SetStatement) -> Result<TrustedState, Refusal> {
        if statement.height <= trusted.height {
            return Err(Refusal::new("statement-height", trusted.height.next(), statement.height));
        }
        let mut state = trusted.clone();
        match state.statements.iter().find(|known| known.height == statement.height) {
            Some(known) if known.digest == statement.digest => return Ok(state),
            Some(known) => return Err(Refusal::new("statement-conflict", known.digest, statement.digest)),
            None if state.statements.len() >= MAX_STATEMENTS => {
                return Err(Refusal::new("statement-count", MAX_STATEMENTS, state.statements.len().saturating_add(1)));
            }
            None => state.statements.push(*statement),
        }
        state.statements.sort_by_key(|statement| statement.height);
        Ok(state)
    }

    fn verify_head(
        &self,
        header: &Header,
        proof: &CheckpointProof,
        gateway: Address,
        flow: Flow,
    ) -> Result<ChainPoint, Refusal> {
        let rule = CheckpointRule {
            suite: self.suite,
            chain_id: &self.chain_id,
            group_id: &self.group_id,
            height: header.height.0,
            roots: roots_of(header)?,
            gateway,
            flow,
        };
        verify_checkpoint(&rule, proof).map_err(|refusal| refusal.at(header.height))
    }

    fn strength(&self) -> ProofStrength {
        ProofStrength::NeedsLocalConfirmation
    }
}

/// [`Header::detail`]: version 1 ‖ transactions root 32 ‖ receipts root 32.
fn detail_of(roots: &Roots) -> Vec<u8> {
    let mut detail = vec![DETAIL_VERSION];
    detail.extend_from_slice(&roots.transactions.0);
    detail.extend_from_slice(&roots.receipts.0);
    detail
}

/// The roots that a verified header carries.
///
/// # Errors
/// `header-unseen` when only its child vouched for it, `header-detail` when its detail is not this adapter's.
pub fn roots_of(header: &Header) -> Result<Roots, Refusal> {
    if header.detail == DETAIL_UNSEEN {
        return Err(Refusal::new("header-unseen", "the block's own header", header.hash));
    }
    let refusal = || Refusal::new("header-detail", "version 1 and two roots", header.detail.as_slice());
    let [DETAIL_VERSION, roots @ ..] = header.detail.as_slice() else { return Err(refusal()) };
    let ([transactions, receipts], []) = roots.as_chunks::<32>() else { return Err(refusal()) };
    Ok(Roots { transactions: Hash32(*transactions), receipts: Hash32(*receipts) })
}
