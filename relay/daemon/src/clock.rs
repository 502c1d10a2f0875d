//! The one place that reads the clocks.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cityrelay_core::ids::UnixMillis;

/// Milliseconds since 1970-01-01 UTC.
///
/// It never stands still and never goes back while the process lives: every wait of the daemon ends by it. When the
/// system's clock is set back it goes on at half the pace until the system's clock has caught up.
#[must_use]
pub fn unix_millis() -> UnixMillis {
    static STEADY: Mutex<Option<Steady>> = Mutex::new(None);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Instant::now();
    let mut steady = STEADY.lock().unwrap_or_else(PoisonError::into_inner);
    let time = steady.get_or_insert(Steady { since: now, at: wall }).read(wall, now);
    UnixMillis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// The last moment at which the system's clock was followed.
#[derive(Debug)]
struct Steady {
    since: Instant,
    at: Duration,
}

impl Steady {
    fn read(&mut self, wall: Duration, now: Instant) -> Duration {
        let slow = self.at.saturating_add(now.saturating_duration_since(self.since) / 2);
        if wall < slow {
            return slow;
        }
        *self = Self { since: now, at: wall };
        wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_clock_that_is_set_back_stops_no_wait_and_is_followed_again_once_it_has_caught_up() {
        let start = Instant::now();
        let mut steady = Steady { since: start, at: seconds(1_000) };
        assert_eq!(steady.read(seconds(1_010), start + seconds(10)), seconds(1_010));
        // Set back by a hundred seconds.
        let after: Vec<u64> = [10, 30, 110, 210]
            .iter()
            .map(|past| steady.read(seconds(900 + past), start + seconds(*past)).as_secs())
            .collect();
        assert_eq!(after, [1_010, 1_020, 1_060, 1_110]);
        assert_eq!(steady.read(seconds(1_111), start + seconds(211)), seconds(1_111));
    }

    #[test]
    fn a_clock_that_is_set_forward_is_followed_at_once() {
        let start = Instant::now();
        let mut steady = Steady { since: start, at: seconds(1_000) };
        assert_eq!(steady.read(seconds(5_000), start + seconds(1)), seconds(5_000));
    }
}
