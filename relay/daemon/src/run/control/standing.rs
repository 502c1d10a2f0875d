//! How far a lane has come: by the machine's own picture, and by what the journal holds.

use cityrelay_core::ids::{Index, LaneId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::machine::status::{FlowStatus, Status, WaitReason};
use cityrelay_journal::FlowCounts;

use crate::control::MessageState;

/// What a lane waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// Why.
    pub reason: WaitReason,
    /// The earliest next step, where it is known.
    pub next_step: Option<UnixMillis>,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { reason: WaitReason::Idle, next_step: None }
    }
}

/// Where a lane stands in the machine, over both of its flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Index of the newest message that is known here, proved or not.
    pub newest: u64,
    /// Messages with which nothing more happens here: every flow is past them.
    pub finished: u64,
    /// Block time of the oldest unfinished entry.
    pub oldest: Option<UnixMillis>,
    /// What the oldest unfinished message waits for.
    pub waits: Waiting,
}

impl Standing {
    /// `None` when the machine has no flow of this lane.
    pub fn of(lane: LaneId, status: &Status) -> Option<Self> {
        let flows = || status.flows.iter().filter(|flow| flow.flow.lane == lane);
        let outbox = flows().filter(|flow| flow.flow.direction == Direction::Outbox);
        let newest = outbox.map(|flow| flow.hint.0).max()?;
        let finished = flows().map(|flow| flow.finished.0).min()?;
        // Of the flows that are not past the oldest unfinished message the first one holds it up. One that waits for
        // nothing itself waits for one after it, and whoever must decide comes before everybody.
        let order = |flow: &&FlowStatus| {
            let reason = flow.waits_for;
            (!is_held(reason), reason == WaitReason::Idle, flow.flow.direction, flow.side)
        };
        let behind = flows().filter(|flow| flow.finished.0 < newest || is_held(flow.waits_for)).min_by_key(order);
        let waits = behind.map(|flow| Waiting { reason: flow.waits_for, next_step: flow.next_step });
        Some(Self {
            newest,
            finished,
            oldest: flows().filter_map(|flow| flow.oldest).min(),
            waits: waits.unwrap_or_default(),
        })
    }
}

/// Whether the flow is held up, with or without messages.
const fn is_held(reason: WaitReason) -> bool {
    reason.needs_operator() || matches!(reason, WaitReason::Paused | WaitReason::Nodes)
}

/// How far the messages of a lane have come, by what is durable: each number is an index, and what holds for it holds
/// for every index below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reached {
    /// Verified.
    pub verified: u64,
    /// Held by the peer.
    pub accepted: u64,
    /// Taken in by the destination chain.
    pub delivered: u64,
    /// With an outcome that is verified.
    pub answered: u64,
    /// With an outcome that has reached the peer or the source chain.
    pub settled: u64,
}

impl Reached {
    /// Of the lane `lane`.
    pub fn of(lane: LaneId, counts: &[FlowCounts]) -> Self {
        let of = |direction| counts.iter().find(|counts| counts.flow == Flow { lane, direction });
        let (outbox, inbox) = (of(Direction::Outbox), of(Direction::Inbox));
        Self {
            verified: outbox.map_or(0, |outbox| outbox.tip.index.0),
            accepted: outbox.map_or(0, |outbox| outbox.peer_accepted.index.0),
            delivered: outbox.map_or(0, |outbox| outbox.done.index.0),
            answered: inbox.map_or(0, |inbox| inbox.tip.index.0),
            settled: inbox.map_or(0, |inbox| inbox.done.index.max(inbox.peer_accepted.index).0),
        }
    }

    /// How far the message with this index has come.
    pub fn state(&self, index: Index, is_attested: bool) -> MessageState {
        let index = index.0;
        match () {
            () if index <= self.settled => MessageState::Settled,
            () if index <= self.answered => MessageState::Answered,
            () if index <= self.delivered => MessageState::Delivered,
            () if index <= self.accepted => MessageState::Accepted,
            () if index <= self.verified && is_attested => MessageState::Attested,
            () if index <= self.verified => MessageState::Verified,
            () => MessageState::Unknown,
        }
    }

    /// Below and up to which index messages in `state` lie: above the first number, up to the second. The two states
    /// that only signatures tell apart share one stretch.
    pub fn stretch(&self, state: MessageState) -> (u64, u64) {
        let after_delivery = self.settled.max(self.answered);
        let after_acceptance = after_delivery.max(self.delivered);
        match state {
            MessageState::Unknown => (0, 0),
            MessageState::Settled => (0, self.settled),
            MessageState::Answered => (self.settled, self.answered),
            MessageState::Delivered => (after_delivery, self.delivered),
            MessageState::Accepted => (after_acceptance, self.accepted),
            MessageState::Verified | MessageState::Attested => (after_acceptance.max(self.accepted), self.verified),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REACHED: Reached = Reached { verified: 9, accepted: 7, delivered: 5, answered: 4, settled: 2 };

    #[test]
    fn every_index_lies_in_the_stretch_of_its_state_and_in_no_other() {
        for index in 1..=REACHED.verified {
            let state = REACHED.state(Index(index), false);
            for other in MessageState::ALL {
                let (after, last) = REACHED.stretch(other);
                let shares = other == state || (other, state) == (MessageState::Attested, MessageState::Verified);
                assert_eq!(after < index && index <= last, shares, "{index} is {state:?}, asked for {other:?}");
            }
        }
        assert_eq!(REACHED.state(Index(10), true), MessageState::Unknown);
        assert_eq!(REACHED.state(Index(8), true), MessageState::Attested);
    }

    #[test]
    fn a_destination_relay_that_returned_an_outcome_is_past_it_though_its_own_gateway_settles_nothing() {
        let reached = Reached { verified: 3, accepted: 0, delivered: 3, answered: 3, settled: 3 };
        assert_eq!(reached.state(Index(3), false), MessageState::Settled);
        assert_eq!(reached.stretch(MessageState::Delivered), (3, 3));
    }
}
