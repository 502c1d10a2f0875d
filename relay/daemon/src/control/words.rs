//! The closed lists of words about lanes and messages.

use serde::{Deserialize, Serialize};

/// How far a message has come, as far as this process knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum MessageState {
    /// Not seen here, or not verified yet.
    #[default]
    Unknown,
    /// Proved at a final header, and durable.
    Verified,
    /// Enough attesters have signed a head that covers it.
    Attested,
    /// The peer holds it durably.
    Accepted,
    /// The gateway on the destination chain has taken it in.
    Delivered,
    /// Its outcome is verified.
    Answered,
    /// Its outcome has reached the peer or the source chain: nothing more happens.
    Settled,
}

impl MessageState {
    /// Every state, in the order in which a message walks through them.
    pub const ALL: [Self; 7] =
        [Self::Unknown, Self::Verified, Self::Attested, Self::Accepted, Self::Delivered, Self::Answered, Self::Settled];

    /// The word used everywhere.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Verified => "verified",
            Self::Attested => "attested",
            Self::Accepted => "accepted",
            Self::Delivered => "delivered",
            Self::Answered => "answered",
            Self::Settled => "settled",
        }
    }
}

/// What kind of moment it is for a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LaneState {
    /// Nothing is to be done.
    Idle,
    /// Something is under way and whoever must act is expected to do so by itself.
    Moving,
    /// The operator has paused it here.
    Paused,
    /// Nothing goes on until the operator decides.
    Stuck,
}

impl LaneState {
    /// The word used everywhere.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Moving => "moving",
            Self::Paused => "paused",
            Self::Stuck => "stuck",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_the_same_in_json_and_in_text() {
        for state in MessageState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for state in [LaneState::Idle, LaneState::Moving, LaneState::Paused, LaneState::Stuck] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}
