//! A process' clock: the world's time, but for the steps that somebody sets it by.

use cityrelay_core::ids::UnixMillis;

/// A clock that is followed as the daemon follows the system's: set ahead it jumps; set back it goes on at half the pace
/// until the system's clock has caught up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// Milliseconds by which the system's clock is ahead of the world's time.
    ahead: u64,
    /// The world's time, and what the process took it for, when the system's clock was followed last.
    since: u64,
    at: u64,
}

impl Clock {
    /// Somebody sets the system's clock to `ahead` milliseconds beyond the world's time.
    pub const fn set(&mut self, ahead: u64) {
        self.ahead = ahead;
    }

    /// What the process takes the time for.
    pub fn read(&mut self, now: UnixMillis) -> UnixMillis {
        let wall = now.0 + self.ahead;
        let slow = self.at + now.0.saturating_sub(self.since) / 2;
        if wall < slow {
            return UnixMillis(slow);
        }
        (self.since, self.at) = (now.0, wall);
        UnixMillis(wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_goes_on_at_half_the_pace_until_it_is_right_again() {
        let mut clock = Clock::default();
        let mut read = |now: u64, ahead: u64| {
            clock.set(ahead);
            clock.read(UnixMillis(now)).0
        };
        assert_eq!(read(1000, 0), 1000);
        assert_eq!(read(1100, 500), 1600);
        assert_eq!([1200, 1300, 2100, 2300].map(|now| read(now, 0)), [1650, 1700, 2100, 2300]);
    }
}
