//! How long to wait before dialling again.

use std::time::Duration;

/// Pauses that double from a shortest to a longest one, each with its upper half left to chance so that peers which
/// lost one another at the same moment don't dial in step.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts at `min`; never longer than `max`.
    pub(crate) const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    /// The next pause; `chance` is uniform in 0 to 1.
    pub(crate) fn pause(&mut self, chance: f64) -> Duration {
        let whole = self.next.min(self.max);
        self.next = whole.saturating_mul(2).min(self.max);
        whole.mul_f64(chance.clamp(0.0, 1.0).mul_add(0.5, 0.5))
    }

    /// Starts anew.
    pub(crate) const fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(15));
        let pauses: Vec<u128> = (0..9).map(|_| backoff.pause(1.0).as_millis()).collect();
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 6400, 12_800, 15_000, 15_000]);
        backoff.reset();
        assert_eq!(backoff.pause(1.0), Duration::from_millis(200));
    }

    #[test]
    fn chance_takes_away_up_to_half() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(15));
        assert_eq!(backoff.pause(0.0), Duration::from_millis(100));
        assert_eq!(backoff.pause(0.5), Duration::from_millis(300));
    }
}
