//! The steps of the walk that become spans.

use cityrelay_core::lane::Direction;
use cityrelay_core::recovery::Side;

/// What one span of a tree tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Step {
    /// The message on its way there, or its outcome on its way back.
    pub direction: Direction,
    /// How far it has come.
    pub part: Part,
}

/// How far an entry has come on its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Part {
    /// Verified and journalled beside the chain that holds its head.
    Verified,
    /// Signed by one attester.
    Signed,
    /// Signed by enough attesters.
    Attested,
    /// Sent, and said to be held by the peer.
    Sent,
    /// Received, verified again and journalled by the peer.
    Accepted,
    /// Taken in by the target chain.
    Finished,
}

/// Name of the span that all others lie under.
pub(super) const ROOT: &str = "message";

impl Part {
    /// The parts that a process on this side of a flow tells of.
    pub const fn of(side: Side) -> &'static [Self] {
        match side {
            Side::Outbound => &[Self::Verified, Self::Attested, Self::Sent],
            Side::Inbound => &[Self::Accepted, Self::Finished],
            Side::Attester => &[Self::Signed],
        }
    }
}

impl Step {
    /// Every step, in the order of the walk.
    pub const ALL: [Self; 12] = {
        const fn step(direction: Direction, part: Part) -> Step {
            Step { direction, part }
        }
        [
            step(Direction::Outbox, Part::Verified),
            step(Direction::Outbox, Part::Signed),
            step(Direction::Outbox, Part::Attested),
            step(Direction::Outbox, Part::Sent),
            step(Direction::Outbox, Part::Accepted),
            step(Direction::Outbox, Part::Finished),
            step(Direction::Inbox, Part::Verified),
            step(Direction::Inbox, Part::Signed),
            step(Direction::Inbox, Part::Attested),
            step(Direction::Inbox, Part::Sent),
            step(Direction::Inbox, Part::Accepted),
            step(Direction::Inbox, Part::Finished),
        ]
    };

    /// Name of the span; also the step's name on disk.
    pub const fn name(self) -> &'static str {
        match (self.direction, self.part) {
            (Direction::Outbox, Part::Verified) => "message verified",
            (Direction::Outbox, Part::Signed) => "message signed",
            (Direction::Outbox, Part::Attested) => "message attested",
            (Direction::Outbox, Part::Sent) => "message sent",
            (Direction::Outbox, Part::Accepted) => "message accepted",
            (Direction::Outbox, Part::Finished) => "message delivered",
            (Direction::Inbox, Part::Verified) => "outcome verified",
            (Direction::Inbox, Part::Signed) => "outcome signed",
            (Direction::Inbox, Part::Attested) => "outcome attested",
            (Direction::Inbox, Part::Sent) => "outcome sent",
            (Direction::Inbox, Part::Accepted) => "outcome accepted",
            (Direction::Inbox, Part::Finished) => "outcome settled",
        }
    }

    /// Name of the span that this one lies under. Each process knows it without being told.
    pub const fn parent(self) -> &'static str {
        let part = match self.part {
            Part::Signed => Part::Attested,
            Part::Accepted => Part::Sent,
            _ => return ROOT,
        };
        Self { direction: self.direction, part }.name()
    }

    /// Whether the message has come to its end with this step: the root is told with it, by the same process.
    pub fn ends_the_message(self) -> bool {
        self == Self { direction: Direction::Inbox, part: Part::Finished }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_distinct_and_each_parent_is_a_step_or_the_root() {
        let names: BTreeSet<&str> = Step::ALL.iter().map(|step| step.name()).collect();
        assert_eq!(names.len(), Step::ALL.len());
        for step in Step::ALL {
            assert!(step.parent() == ROOT || (names.contains(step.parent()) && step.parent() != step.name()));
        }
    }

    #[test]
    fn the_three_sides_of_a_flow_tell_of_every_part_once() {
        let told: Vec<Part> =
            [Side::Outbound, Side::Inbound, Side::Attester].into_iter().flat_map(Part::of).copied().collect();
        assert_eq!(told.len(), told.iter().collect::<BTreeSet<_>>().len());
        assert!(Step::ALL.iter().all(|step| told.contains(&step.part)));
    }
}
