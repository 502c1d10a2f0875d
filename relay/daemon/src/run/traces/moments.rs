//! What the journal does not keep and a tree shows all the same: when an entry was seen, sent, received or signed, and
//! what its flow waited for. In memory, bounded, and gone with the process.

use std::collections::{BTreeMap, HashMap, VecDeque};

use cityrelay_core::claim::Claim;
use cityrelay_core::frame::Frame;
use cityrelay_core::ids::{Index, UnixMillis};
use cityrelay_core::lane::Flow;
use cityrelay_core::machine::effect::{Effect, ReceiptId};
use cityrelay_core::machine::input::{ClaimOrigin, Fetched, Input};
use cityrelay_core::machine::status::{Status, WaitReason};
use cityrelay_core::recovery::Side;
use cityrelay_core::set_attestation::Attestable;

/// What happened at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Moment {
    /// A node said that the chain holds it.
    Seen,
    /// It was first handed to the session with the peer.
    Sent,
    /// It came from the peer, in a claim that was found true.
    Received,
    /// Its head was signed here.
    Signed,
}

/// The most moments of one kind that are kept of a flow, each for all entries up to an index.
const MAX_KEPT: usize = 1024;

/// The most changes of a wait reason that are kept of a flow.
const MAX_WAITS: usize = 512;

/// Moments and wait reasons of all flows.
#[derive(Debug, Default)]
pub(super) struct Moments {
    /// The last index that was reached, and when.
    reached: HashMap<(Flow, Moment), BTreeMap<Index, UnixMillis>>,
    /// Frames whose claims are being verified, with their arrival.
    arrived: BTreeMap<u64, UnixMillis>,
    /// What a flow waits for since when.
    waits: HashMap<(Flow, Side), VecDeque<(UnixMillis, WaitReason)>>,
}

impl Moments {
    /// Looks at what happens to the machine.
    pub fn see(&mut self, input: &Input, now: UnixMillis) {
        match input {
            Input::HintRead { flow, answer: Fetched::Some(point) } => {
                self.note(*flow, Moment::Seen, point.index, now);
            }
            Input::Frame { frame: Frame::Extension { .. }, receipt: ReceiptId(receipt), .. } => {
                self.arrived.insert(*receipt, now);
                while self.arrived.len() > MAX_KEPT {
                    self.arrived.pop_first();
                }
            }
            Input::ClaimVerified { origin: ClaimOrigin::Peer(_, ReceiptId(receipt)), claim, result } => {
                let arrived = self.arrived.remove(receipt);
                if let (Some(at), Ok(_)) = (arrived, result) {
                    self.note(claim.flow, Moment::Received, last(claim), at);
                }
            }
            Input::Signed { what: Attestable::Head(statement), signature: Some(_), .. } => {
                self.note(statement.flow, Moment::Signed, statement.point.index, now);
            }
            _ => {}
        }
    }

    /// Looks at what the machine wants done.
    pub fn see_effect(&mut self, effect: &Effect, now: UnixMillis) {
        if let Effect::Send { frame: Frame::Extension { claim, .. }, .. } = effect {
            self.note(claim.flow, Moment::Sent, last(claim), now);
        }
    }

    /// Looks at what each flow waits for.
    pub fn see_status(&mut self, status: &Status, now: UnixMillis) {
        for flow in &status.flows {
            let waits = self.waits.entry((flow.flow, flow.side)).or_default();
            if waits.back().is_none_or(|(_, reason)| *reason != flow.waits_for) {
                waits.push_back((now, flow.waits_for));
            }
            if waits.len() > MAX_WAITS {
                waits.pop_front();
            }
        }
    }

    /// The first time counts; where there are too many, the highest index goes: a node may say any.
    fn note(&mut self, flow: Flow, moment: Moment, index: Index, now: UnixMillis) {
        let reached = self.reached.entry((flow, moment)).or_default();
        reached.entry(index).or_insert(now);
        if reached.len() > MAX_KEPT {
            reached.pop_last();
        }
    }

    /// When that happened to the entry; `None` where it was not noted.
    pub fn at(&self, flow: Flow, moment: Moment, index: Index) -> Option<UnixMillis> {
        self.reached.get(&(flow, moment))?.range(index..).next().map(|(_, at)| *at)
    }

    /// Forgets what no entry from `index` on needs.
    pub fn forget_before(&mut self, flow: Flow, moment: Moment, index: Index) {
        if let Some(reached) = self.reached.get_mut(&(flow, moment)) {
            *reached = reached.split_off(&index);
        }
    }

    /// What the flow was seen waiting for between two moments, each reason once, in the order of the first time.
    pub fn waits(&self, flow: Flow, side: Side, from: UnixMillis, to: UnixMillis) -> Vec<WaitReason> {
        let Some(waits) = self.waits.get(&(flow, side)) else { return Vec::new() };
        let ends = waits.iter().skip(1).map(|(at, _)| *at).chain([UnixMillis(u64::MAX)]);
        let mut found = Vec::new();
        for ((since, reason), until) in waits.iter().zip(ends) {
            if *since < to && until > from && *reason != WaitReason::Idle && !found.contains(reason) {
                found.push(*reason);
            }
        }
        found
    }
}

/// Index of the last entry of a claim.
fn last(claim: &Claim) -> Index {
    claim.first.plus(claim.entries.len().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use cityrelay_core::chain::ChainPoint;
    use cityrelay_core::frame::Role;
    use cityrelay_core::hash::Hash32;
    use cityrelay_core::ids::LaneId;
    use cityrelay_core::lane::Direction;
    use cityrelay_core::machine::status::FlowStatus;

    use super::*;

    const FLOW: Flow = Flow { lane: LaneId(Hash32::ZERO), direction: Direction::Outbox };

    fn hint(index: u64) -> Input {
        let point = ChainPoint { index: Index(index), head: Hash32::ZERO };
        Input::HintRead { flow: FLOW, answer: Fetched::Some(point) }
    }

    fn status(waits_for: WaitReason) -> Status {
        let flow = FlowStatus {
            flow: FLOW,
            side: Side::Outbound,
            committee: None,
            hint: Index(0),
            durable: Index(0),
            finished: Index(0),
            voters: Vec::new(),
            oldest: None,
            waits_for,
            next_step: None,
        };
        let (clients, peers, committees) = (Vec::new(), Vec::new(), Vec::new());
        Status { role: Role::Relay, clients, flows: vec![flow], peers, committees, open_intents: 0 }
    }

    #[test]
    fn an_entry_was_seen_when_an_index_that_covers_it_was_first_said() {
        let mut moments = Moments::default();
        let seen = |moments: &Moments, index| moments.at(FLOW, Moment::Seen, Index(index)).map(|at| at.0);
        // A node that lies about one index costs the truth of no other.
        for (index, at) in [(3, 10), (3, 20), (u64::MAX, 25), (5, 30)] {
            moments.see(&hint(index), UnixMillis(at));
        }
        assert_eq!([1, 3, 4, 5, 6].map(|index| seen(&moments, index)), [10, 10, 30, 30, 25].map(Some));
        moments.forget_before(FLOW, Moment::Seen, Index(4));
        assert_eq!(seen(&moments, 3), Some(30));
        assert_eq!(moments.at(FLOW, Moment::Sent, Index(1)), None);
    }

    #[test]
    fn moments_are_bounded() {
        let mut moments = Moments::default();
        for index in 0..3 * MAX_KEPT as u64 {
            moments.see(&hint(index), UnixMillis(index));
            let reason = if index % 2 == 0 { WaitReason::Header } else { WaitReason::Peer };
            moments.see_status(&status(reason), UnixMillis(index));
        }
        assert!(moments.reached.values().all(|reached| reached.len() <= MAX_KEPT));
        assert!(moments.waits.values().all(|waits| waits.len() <= MAX_WAITS));
    }

    #[test]
    fn reasons_are_those_that_stood_in_between() {
        let mut moments = Moments::default();
        for (at, reason) in [
            (10, WaitReason::Idle),
            (20, WaitReason::Header),
            (30, WaitReason::Attestations),
            (40, WaitReason::Header),
            (50, WaitReason::Peer),
        ] {
            moments.see_status(&status(reason), UnixMillis(at));
        }
        let waits = |from, to| moments.waits(FLOW, Side::Outbound, UnixMillis(from), UnixMillis(to));
        assert_eq!(waits(10, 20), []);
        assert_eq!(waits(25, 45), [WaitReason::Header, WaitReason::Attestations]);
        assert_eq!(waits(60, 70), [WaitReason::Peer]);
        assert_eq!(moments.waits(FLOW, Side::Inbound, UnixMillis(0), UnixMillis(99)), []);
    }
}
