//! The light client.

use std::sync::Arc;

use cityrelay_core::chain::ChainPoint;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Height, UnixMillis};
use cityrelay_core::lane::Flow;
use cityrelay_core::light_client::{
    Header as FinalHeader, HoldReason, LightClient, ProofStrength, Refusal, SetStatement, Verdict,
};

use super::equivocation::{Standing, compare_with_recent};
use super::finality::{Finality, Fixed, Unexplained, find_final};
use super::head::{HeadProof, verify_head};
use super::reading::read_header;
use super::rules::Rules;
use super::span::{Link, Span};
use super::state::{MAX_HELD_HEADERS, MAX_RECENT_HEADERS, Recent, State};
use super::update::{MAX_UPDATE_HEADERS, Update, UpdateItem};
use crate::codec::header::Header;

/// The light client of one chain.
#[derive(Clone, Debug)]
pub struct Client {
    rules: Rules,
}

/// The hash of a header, as the mode at its height defines it.
///
/// # Errors
/// What every header of that mode must have and this one has not.
pub fn hash_of(rules: &Rules, header: &Header) -> Result<Hash32, Refusal> {
    read_header(rules.modes.at(header.number), header).map(|reading| reading.hash)
}

impl Client {
    /// A client that follows `rules`.
    #[must_use]
    pub const fn new(rules: Rules) -> Self {
        Self { rules }
    }

    /// The rules that it follows.
    #[must_use]
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    fn advance(&self, trusted: &State, update: &Update, now: UnixMillis) -> Result<Verdict<State>, Refusal> {
        if update.items.is_empty() || update.items.len() > MAX_UPDATE_HEADERS {
            return Err(Refusal::new("update-size", MAX_UPDATE_HEADERS, update.items.len()));
        }
        if let Some(reason) = self.expired_trust(trusted, now) {
            return Ok(held_back(trusted.clone(), reason));
        }
        let new = match compare_with_recent(&self.rules, trusted, &update.items)? {
            Standing::Known => return Ok(advanced(trusted.clone(), Vec::new(), Vec::new())),
            Standing::Follows(items) => items,
        };
        let items = with_held(trusted, new)?;
        let mut span = Span::new(&self.rules, trusted);
        let links = items.iter().map(|item| span.append(item)).collect::<Result<Vec<_>, _>>()?;
        let own = trusted.recent.last().and_then(|recent| recent.set.clone());
        let fixed = Fixed { next: Arc::clone(&trusted.set), own };
        let mut found = find_final(&links, &fixed)?;
        // Judged last: what is wrong in any other way is refused, and for our own clock nobody is blamed.
        let mut waiting = items.len();
        if let Some((at, reason)) = self.first_ahead(&links, now)
            && found.headers > at
        {
            found = find_final(links.get(..at).unwrap_or_default(), &fixed)?;
            found.reason = Some(reason);
            waiting = at;
        }
        let Finality { headers, reason, unexplained } = found;
        let held = items.get(headers..waiting).unwrap_or_default();
        let reason = reason.map(|reason| match unexplained {
            Some(Unexplained { height, digest, is_of_strangers })
                if is_of_strangers || held.len() > MAX_HELD_HEADERS =>
            {
                HoldReason::SetNotFollowed { height, digest, check: "validator-list" }
            }
            _ if held.len() <= MAX_HELD_HEADERS => reason,
            _ => at_bound(held.len(), reason),
        });
        // Those beyond the bound are asked for again with the next update: it follows the last final header.
        let held = held.get(..MAX_HELD_HEADERS).unwrap_or(held);
        let state = self.state_after(trusted, links.get(..headers).unwrap_or_default(), held);
        let finals = links.get(..headers).unwrap_or_default();
        let mut set_changes: Vec<_> = finals.iter().filter_map(Link::changed_after).collect();
        set_changes.dedup();
        let finals = finals.iter().map(Link::to_final).collect();
        Ok(match reason {
            None => advanced(state, finals, set_changes),
            Some(reason) => Verdict::HeldBack { state, headers: finals, set_changes, reason },
        })
    }

    /// Why nothing is believed any more, when the last final header is too old: keys that validators have long given up
    /// must not decide anything.
    fn expired_trust(&self, trusted: &State, now: UnixMillis) -> Option<HoldReason> {
        let period = u64::try_from(self.rules.trusting_period.as_millis()).unwrap_or(u64::MAX);
        let age = now.0.saturating_sub(trusted.timestamp.saturating_mul(1000));
        (trusted.timestamp != 0 && age > period).then_some(HoldReason::TrustExpired {
            height: Height(trusted.height),
            age_seconds: age / 1000,
            period_seconds: period / 1000,
        })
    }

    /// The first header that is further ahead of our clock than allowed, and by how much.
    fn first_ahead(&self, links: &[Link], now: UnixMillis) -> Option<(usize, HoldReason)> {
        let drift = self.rules.max_clock_drift;
        let latest = now.0.saturating_add(u64::try_from(drift.as_millis()).unwrap_or(u64::MAX));
        let at = links.iter().position(|link| link.timestamp.saturating_mul(1000) > latest)?;
        let link = links.get(at)?;
        let reason = HoldReason::AheadOfClock {
            height: Height(link.height),
            ahead_seconds: link.timestamp.saturating_sub(now.0 / 1000),
            allowed_seconds: drift.as_secs(),
        };
        Some((at, reason))
    }

    fn state_after(&self, trusted: &State, finals: &[Link], held: &[UpdateItem]) -> State {
        let mut state = State { held: held.to_vec(), ..trusted.clone() };
        let Some(last) = finals.last() else { return state };
        state.height = last.height;
        state.hash = last.hash;
        state.timestamp = last.timestamp;
        state.item_count = last.item_count;
        state.set = last.set_after.clone().unwrap_or_else(|| Arc::clone(&trusted.set));
        state.votes = Arc::clone(&last.votes_after);
        let recent = |link: &Link| Recent { height: link.height, hash: link.hash, set: link.set.clone() };
        state.recent.extend(finals.iter().map(recent));
        let surplus = state.recent.len().saturating_sub(MAX_RECENT_HEADERS);
        state.recent.drain(..surplus);
        state
    }
}

impl LightClient for Client {
    type State = State;
    type Update = Update;
    type HeadProof = HeadProof;

    fn trusted_height(&self, state: &State) -> Height {
        Height(state.height)
    }

    fn trusted_hash(&self, state: &State) -> Hash32 {
        state.hash
    }

    /// Checks consecutive headers. Every check, in order:
    ///
    /// 1. `update-size`: at least one header, at most [`MAX_UPDATE_HEADERS`];
    /// 2. the last final header is young enough, else everything is held back as `trust-expired`;
    /// 3. headers at or below the trusted height are passed over, but one other than ours is `equivocation` when a
    ///    quorum sealed it, else `other-header` ([`compare_with_recent`]);
    /// 4. `update-gap`: what is left follows the trusted header, or one that is held back;
    /// 5. each header against the one before it, held-back ones first ([`Span::append`]);
    /// 6. seals and finality ([`find_final`]);
    /// 7. a header that would be final, and is ahead of our clock by more than `max_clock_drift`, waits for the clock as
    ///    `ahead-of-clock`, with all that follow;
    /// 8. of those that wait [`MAX_HELD_HEADERS`] are kept; beyond, the reason is `held-at-bound`, `weak-commit-rule` or
    ///    `set-not-followed`, which is said at once of a set that no member of the one before vouches for.
    ///
    /// The caller still owes: the state is the last one this client gave (or an anchor), and `now` is its clock.
    fn verify_update(&self, trusted: &State, update: &Update, now: UnixMillis) -> Verdict<State> {
        self.advance(trusted, update, now).unwrap_or_else(Verdict::Refused)
    }

    /// Refused as `set-statement`: every change of the set is proved by headers here.
    fn apply_set_statement(&self, _trusted: &State, statement: &SetStatement) -> Result<State, Refusal> {
        Err(Refusal::new("set-statement", "a set that headers prove", statement.digest).at(statement.height))
    }

    fn verify_head(
        &self,
        header: &FinalHeader,
        proof: &HeadProof,
        gateway: Address,
        flow: Flow,
    ) -> Result<ChainPoint, Refusal> {
        verify_head(header, proof, gateway, flow)
    }

    fn strength(&self) -> ProofStrength {
        ProofStrength::Conclusive
    }
}

const fn advanced(state: State, headers: Vec<FinalHeader>, set_changes: Vec<Height>) -> Verdict<State> {
    Verdict::Advanced { state, headers, set_changes }
}

/// The held-back headers below the first new one, and the new ones.
fn with_held(trusted: &State, new: &[UpdateItem]) -> Result<Vec<UpdateItem>, Refusal> {
    let Some(first) = new.first() else { return Err(Refusal::new("update-size", MAX_UPDATE_HEADERS, 0_u64)) };
    let first = super::equivocation::height_of(first)?;
    let expected = trusted.height.saturating_add(1);
    let kept = first.checked_sub(expected).and_then(|kept| usize::try_from(kept).ok());
    match kept.and_then(|kept| trusted.held.get(..kept)) {
        Some(held) => Ok(held.iter().chain(new).cloned().collect()),
        None => Err(Refusal::new("update-gap", expected, first).at(Height(first))),
    }
}

const fn held_back(state: State, reason: HoldReason) -> Verdict<State> {
    Verdict::HeldBack { state, headers: Vec::new(), set_changes: Vec::new(), reason }
}

/// Names the likely cause: GoQuorum without `ceil2Nby3Block` commits at 2F+1 with F = ceil(n/3)-1, which is less than
/// ceil(2n/3) for 5, 6, 8, 9 … validators (`consensus/istanbul/qbft/core/core.go:QuorumSize`).
fn at_bound(held: usize, reason: HoldReason) -> HoldReason {
    let HoldReason::ShortOfQuorum { height, expected, got } = reason else { return reason };
    // ceil(2n/3) = expected has up to two n; the larger one has the larger F.
    let is_low_rule = (1..=256_u64)
        .filter(|n| n.saturating_mul(2).div_ceil(3) == expected)
        .any(|n| got == n.div_ceil(3).saturating_sub(1).saturating_mul(2).saturating_add(1));
    if is_low_rule && got < expected {
        return HoldReason::WeakCommitRule { height, expected, got };
    }
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    HoldReason::AtBound { height, held: count(held), limit: count(MAX_HELD_HEADERS), expected, got }
}
