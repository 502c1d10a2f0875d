//! Why the daemon is not making the progress that it should: up, green and not relaying must be impossible.
//!
//! Each reason is found from what stands, never from what was reported once; what must have lasted for a while before it
//! counts is remembered here. A chain without transactions may make no block: that is idle, not stalled.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Duration;

use cityrelay_api::source::EndpointHealth;
use cityrelay_api::target::{Funds, LaneState};
use cityrelay_core::frame::Role;
use cityrelay_core::ids::{Domain, Height, Index, LaneId, UnixMillis};
use cityrelay_core::lane::Flow;
use cityrelay_core::light_client::HoldReason;
use cityrelay_core::machine::status::{ClientStatus, CommitteeStatus, FlowStatus, Status, WaitReason};
use cityrelay_core::recovery::Side;
use cityrelay_journal::Stats as JournalStats;

use super::plan::Handles;
use super::survey::{ChainSurvey, Survey};
use crate::observability::{Trouble, TroubleKind, lane_state_word};

/// An unfinished entry that stays at one place for longer than this makes the daemon unready, whatever it waits for.
const STUCK_AFTER: Duration = Duration::from_secs(120);

/// A sync may take this long: even a busy disk needs less than a second.
const SYNCING_AFTER: Duration = Duration::from_secs(10);

/// Headers may be held back for this long at one height: a chain that seals one block late does it all the time.
const HELD_AFTER: Duration = Duration::from_secs(30);

/// Transactions may wait for this long without a block, and nodes say that they can get none: block periods are seconds, and
/// so is the time that a node needs to find the others after a start.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// Nodes may stay behind what is verified for this long: an update that came from elsewhere can be ahead of them.
const BEHIND_AFTER: Duration = Duration::from_secs(60);

/// The journal may go uncompared with a chain for this long: one round takes seconds, and asks every contract.
const UNAUDITED_AFTER: Duration = Duration::from_secs(180);

/// A node must be usable for this long before its chain counts as reachable again: one that fails is tried now and then,
/// and looks usable until that try has failed.
const REACHED_AFTER: Duration = Duration::from_secs(5);

/// With less room than this the journal may soon be unable to grow: one sync writes up to 32 MiB, and its file grows in
/// larger steps.
const LEAST_FREE_BYTES: u64 = 64 << 20;

/// What stands.
pub(super) struct Picture<'a> {
    pub status: &'a Status,
    pub endpoints: &'a BTreeMap<Domain, Vec<EndpointHealth>>,
    pub survey: &'a Survey,
    pub journal: &'a JournalStats,
}

/// What has to be remembered between two looks.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    /// The last finished entry of each flow that has unfinished ones, and since when.
    finished: HashMap<(Flow, Side), (Index, UnixMillis)>,
    /// The last durable entry of each flow behind which more are seen, and since when.
    durable: HashMap<(Flow, Side), (Index, UnixMillis)>,
    /// Height of each client whose headers are held back, and since when.
    held: HashMap<Domain, (Height, UnixMillis)>,
    /// Chains none of whose nodes was usable, and since when one is again.
    unreached: HashMap<Domain, Option<UnixMillis>>,
    /// Height of each client of a chain with waiting transactions, and since when.
    stalls: HashMap<Domain, (Height, UnixMillis)>,
    /// Height of each client of a chain whose nodes say that they get no new blocks, and since when.
    ailing: HashMap<Domain, (Height, UnixMillis)>,
    /// Height of each client, and since when.
    heights: HashMap<Domain, (Height, UnixMillis)>,
    /// The highest block that a chain's nodes show, while it is below what is verified, and since when.
    behind: HashMap<Domain, (Height, UnixMillis)>,
    /// The last comparison of the journal with each chain, and since when it is the last.
    audits: HashMap<Domain, (Option<UnixMillis>, UnixMillis)>,
}

impl Readiness {
    /// The troubles at this moment; nothing means ready.
    pub fn troubles(&mut self, handles: &Handles, picture: &Picture<'_>, now: UnixMillis) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        for client in &picture.status.clients {
            self.chain(handles, picture, client, now, &mut troubles);
        }
        for (lane, chain, state) in lanes(picture) {
            troubles.extend(lane_trouble(handles, lane, chain, state));
        }
        for (peer, role, is_up) in &picture.status.peers {
            if *role == Role::Relay && !is_up {
                let name = handles.peer_name(*peer);
                let reason = "no session: the peer, or the network between, must come back";
                troubles.push(Trouble::new(TroubleKind::PeerDown, format!("peer {name}"), reason));
            }
        }
        troubles.extend(few_attesters(handles, picture.status));
        troubles.extend(mute(handles, picture.status));
        for flow in &picture.status.flows {
            troubles.extend(self.flow(handles, flow, now));
        }
        for (flow, chain) in differing(picture) {
            let reason = format!("the journal and {} differ: the operator must act", handles.chain_name(chain));
            troubles.push(Trouble::new(TroubleKind::AuditDifference, flow_name(handles, flow), reason));
        }
        troubles.extend(
            journal_trouble(picture.journal).map(|reason| Trouble::new(TroubleKind::JournalFailing, "journal", reason)),
        );
        if let Some(space) = picture.survey.space.filter(|space| space.free < LEAST_FREE_BYTES) {
            let reason = format!(
                "{} MiB left of {} MiB, at least {} are needed: the operator must make room",
                space.free >> 20,
                space.size >> 20,
                LEAST_FREE_BYTES >> 20
            );
            troubles.push(Trouble::new(TroubleKind::DiskFull, "volume of the journal", reason));
        }
        troubles
    }

    fn chain(
        &mut self,
        handles: &Handles,
        picture: &Picture<'_>,
        client: &ClientStatus,
        now: UnixMillis,
        troubles: &mut Vec<Trouble>,
    ) {
        let subject = || format!("chain {}", handles.chain_name(client.domain));
        let survey = picture.survey.chains.get(&client.domain);
        if let Some(frozen) = client.frozen {
            let reason = format!("two statements about one height: the operator must decide ({frozen})");
            troubles.push(Trouble::new(TroubleKind::ChainFrozen, subject(), reason));
        }
        let held_for =
            lasting(&mut self.held, client.domain, client.height, client.held.is_some(), now).unwrap_or_default();
        if client.held.is_some_and(|reason| held_for > HELD_AFTER || is_at_its_end(&reason)) {
            let reason = format!("for {} s {}", held_for.as_secs(), client.held_words().unwrap_or_default());
            troubles.push(Trouble::new(TroubleKind::ChainHeldBack, subject(), reason));
        }
        troubles.extend(
            self.standstill(handles, client, survey, now)
                .map(|reason| Trouble::new(TroubleKind::ChainStalled, subject(), reason)),
        );
        let endpoints = picture.endpoints.get(&client.domain).map_or(&[][..], Vec::as_slice);
        if !endpoints.is_empty() && !self.is_reached(client.domain, endpoints, now) {
            let words: Vec<String> =
                endpoints.iter().map(|endpoint| format!("{}: {}", endpoint.name, endpoint.last_error)).collect();
            troubles.push(Trouble::new(TroubleKind::NodesUnusable, subject(), words.join("; ")));
        }
        let shown = endpoints.iter().map(|endpoint| endpoint.height).max();
        let is_behind = shown.is_some_and(|shown| shown < client.height);
        let behind_for = lasting(&mut self.behind, client.domain, shown.unwrap_or_default(), is_behind, now);
        if behind_for.is_some_and(|behind_for| behind_for > BEHIND_AFTER) {
            let reason = format!(
                "they show block {} at most and {} is verified: their operator must bring them up to date",
                shown.unwrap_or_default(),
                client.height
            );
            troubles.push(Trouble::new(TroubleKind::NodesBehind, subject(), reason));
        }
        if let Some(survey) = survey {
            let unaudited = lasting(&mut self.audits, client.domain, survey.audited, true, now).unwrap_or_default();
            if unaudited > UNAUDITED_AFTER {
                let reason = format!(
                    "its contracts could not be read for {} s: new messages may go unseen, the chain's nodes must answer calls",
                    unaudited.as_secs()
                );
                troubles.push(Trouble::new(TroubleKind::AuditStale, subject(), reason));
            }
        }
        if let Some(Funds::Left { wei, transactions: 0 }) = survey.and_then(|survey| survey.funds) {
            let reason = format!("{wei} wei left do not pay for a full delivery: the operator must fund the account");
            troubles.push(Trouble::new(TroubleKind::AccountEmpty, subject(), reason));
        }
    }

    /// Why a chain that makes no block should make one.
    fn standstill(
        &mut self,
        handles: &Handles,
        client: &ClientStatus,
        survey: Option<&ChainSurvey>,
        now: UnixMillis,
    ) -> Option<String> {
        let is_waiting = survey.and_then(|survey| survey.pending).is_some_and(|pending| pending > 0);
        let stalled_for = lasting(&mut self.stalls, client.domain, client.height, is_waiting, now).unwrap_or_default();
        let silent_for = lasting(&mut self.heights, client.domain, client.height, true, now).unwrap_or_default();
        let ailment = survey.and_then(|survey| survey.ailment.as_deref());
        let ailing_for = lasting(&mut self.ailing, client.domain, client.height, ailment.is_some(), now);
        if stalled_for > STALLED_AFTER {
            return Some(format!(
                "transactions wait and no block became final for {} s: the chain's validators must act",
                stalled_for.as_secs()
            ));
        }
        if let (Some(ailment), Some(ailing_for)) = (ailment, ailing_for.filter(|ailing| *ailing > STALLED_AFTER)) {
            return Some(format!(
                "no block became final for {} s, and its nodes can get none ({ailment}): their operators must bring them \
                 back together with the chain's validators",
                ailing_for.as_secs()
            ));
        }
        let longest = handles.chains.get(&client.domain)?.longest_silence?;
        (silent_for > longest).then(|| {
            format!(
                "no block became final for {} s, and even without transactions one comes within {} s: the chain's \
                 validators must act, or its nodes have lost them",
                silent_for.as_secs(),
                longest.as_secs()
            )
        })
    }

    fn is_reached(&mut self, domain: Domain, endpoints: &[EndpointHealth], now: UnixMillis) -> bool {
        if endpoints.iter().all(|endpoint| !endpoint.is_usable) {
            self.unreached.insert(domain, None);
            return false;
        }
        let Some(since) = self.unreached.get_mut(&domain) else { return true };
        if age(*since.get_or_insert(now), now) < REACHED_AFTER {
            return false;
        }
        self.unreached.remove(&domain);
        true
    }

    /// What a flow waits for, when it has waited too long at the same place.
    fn flow(&mut self, handles: &Handles, flow: &FlowStatus, now: UnixMillis) -> Option<Trouble> {
        // A paused lane stands still because somebody wants it to; a mute attester is a trouble of its own.
        let should_move = !matches!(flow.waits_for, WaitReason::Idle | WaitReason::Paused | WaitReason::Mute);
        // New messages must not hide that the old ones stand still: each end is watched by itself.
        let (key, is_read) = ((flow.flow, flow.side), flow.hint <= flow.durable);
        let is_carried = should_move && (is_read || flow.durable > flow.finished);
        let carried = lasting(&mut self.finished, key, flow.finished, is_carried, now);
        let read = lasting(&mut self.durable, key, flow.durable, should_move && !is_read, now);
        let waited = carried.max(read)?;
        let must_act = flow.waits_for.needs_operator();
        (must_act || waited > STUCK_AFTER).then(|| {
            let kind = match flow.waits_for {
                WaitReason::Dispute => TroubleKind::AuditDifference,
                _ => TroubleKind::LaneStuck,
            };
            let (reason, who) = (flow.waits_for.as_str(), flow.waits_for.who());
            let text = format!("waits {} s for {reason}: {who} must act", waited.as_secs());
            Trouble::new(kind, flow_name(handles, flow.flow), text).waiting_for(reason)
        })
    }
}

/// The flows on which the journal and a chain differ: what the machine stopped for, and what the survey found.
pub(super) fn count_differences(status: &Status, survey: &Survey) -> usize {
    let disputes = status.flows.iter().filter(|flow| flow.waits_for == WaitReason::Dispute).map(|flow| flow.flow);
    let found = survey.chains.values().flat_map(|chain| chain.differences.iter().copied());
    disputes.chain(found).collect::<std::collections::BTreeSet<_>>().len()
}

fn differing<'a>(picture: &Picture<'a>) -> impl Iterator<Item = (Flow, Domain)> + use<'a> {
    let chains = picture.survey.chains.iter();
    chains.flat_map(|(domain, chain)| chain.differences.iter().map(|flow| (*flow, *domain)))
}

fn lanes<'a>(picture: &Picture<'a>) -> impl Iterator<Item = (LaneId, Domain, LaneState)> + use<'a> {
    let states = |chain: &'a ChainSurvey| chain.lanes.iter().map(|(lane, state)| (*lane, *state));
    let chains = picture.survey.chains.iter();
    chains.flat_map(move |(domain, chain)| states(chain).map(|(lane, state)| (lane, *domain, state)))
}

/// A lane that its gateway does not let go on. One that is closing or closed is no trouble: its owner wanted that.
fn lane_trouble(handles: &Handles, lane: LaneId, chain: Domain, state: LaneState) -> Option<Trouble> {
    let what = match state {
        LaneState::Open | LaneState::Closing | LaneState::Closed => return None,
        LaneState::Unknown | LaneState::Announced => "the owner must open it",
        LaneState::Paused => "the owner must resume it",
        LaneState::Halted => "the owner must skip the failed message",
    };
    let channel = handles.channel(lane);
    let reason = format!("{} on {}: {what}", lane_state_word(state), handles.chain_name(chain));
    Some(Trouble::new(TroubleKind::LaneNotOpen, format!("lane {channel} {lane}"), reason))
}

/// A relay that reaches fewer attesters than must sign can't get anything signed.
fn few_attesters(handles: &Handles, status: &Status) -> Option<Trouble> {
    if status.role != Role::Relay {
        return None;
    }
    let lacks =
        |committee: &&CommitteeStatus| committee.reachable < usize::try_from(committee.threshold).unwrap_or(usize::MAX);
    let CommitteeStatus { key, reachable, threshold, epoch, .. } = status.committees.iter().find(lacks)?;
    let told = key.teller.map(|peer| format!(", as {} says,", handles.peer_name(peer))).unwrap_or_default();
    let reason = format!(
        "{reachable} of the set of epoch {epoch} on {}{told} have a session, {threshold} must sign: the attesters must come back",
        handles.chain_name(key.domain)
    );
    Some(Trouble::new(TroubleKind::AttestersFew, "attesters", reason))
}

/// An attester with an older journal signs nothing on a flow until its chain leads to the newest head that it signed there.
fn mute(handles: &Handles, status: &Status) -> Option<Trouble> {
    let mut lost = status.flows.iter().filter(|flow| flow.waits_for == WaitReason::Mute);
    let first = lost.next()?;
    let relays = status.peers.iter().filter(|(_, role, _)| *role == Role::Relay);
    let (all, there) = (relays.clone().count(), relays.filter(|(.., is_up)| *is_up).count());
    let reason = format!(
        "the journal is an older one: {} and {} more hold less than was signed (this one {} of {}); {there} of {all} relays \
         are there to bring it back: they must, or the operator puts the newest journal back",
        flow_name(handles, first.flow),
        lost.count(),
        first.durable,
        first.hint
    );
    Some(Trouble::new(TroubleKind::AttesterMute, "attester", reason))
}

/// How many attesters of the set that lacks most have a session with us; 0 on an attester.
pub(super) fn ready_attesters(status: &Status) -> usize {
    let reachable = status.committees.iter().map(|committee| committee.reachable).min();
    reachable
        .unwrap_or_else(|| status.peers.iter().filter(|(_, role, is_up)| *role == Role::Attester && *is_up).count())
}

/// Why nothing becomes durable at the moment.
fn journal_trouble(journal: &JournalStats) -> Option<String> {
    if let Some(failure) = &journal.failure {
        return Some(failure.to_string());
    }
    let writing_for = journal.writing_since?.elapsed();
    (writing_for > SYNCING_AFTER)
        .then(|| format!("a sync has not ended for {} s: the operator must look after the disk", writing_for.as_secs()))
}

/// Whether the client has already waited for as long as it can.
const fn is_at_its_end(reason: &HoldReason) -> bool {
    reason.needs_anchor() || matches!(reason, HoldReason::AtBound { .. } | HoldReason::WeakCommitRule { .. })
}

/// For how long something has held while it stayed at one place; `None` when it does not hold, or has just moved.
fn lasting<K: Eq + Hash, P: PartialEq>(
    since: &mut HashMap<K, (P, UnixMillis)>,
    key: K,
    place: P,
    holds: bool,
    now: UnixMillis,
) -> Option<Duration> {
    if !holds {
        since.remove(&key);
        return None;
    }
    match since.entry(key) {
        Entry::Occupied(mut held) if held.get().0 != place => {
            held.insert((place, now));
            None
        }
        Entry::Occupied(held) => Some(age(held.get().1, now)),
        Entry::Vacant(free) => {
            free.insert((place, now));
            Some(Duration::ZERO)
        }
    }
}

fn flow_name(handles: &Handles, flow: Flow) -> String {
    let channel = handles.channel(flow.lane);
    format!("lane {channel} {} {}", flow.lane, flow.direction.as_str())
}

pub(super) fn age(time: UnixMillis, now: UnixMillis) -> Duration {
    Duration::from_millis(now.0.saturating_sub(time.0))
}

#[cfg(test)]
mod tests;
