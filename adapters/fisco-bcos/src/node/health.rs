//! What is known of an endpoint, and when it is asked again after it failed or lied.

use std::time::{Duration, Instant};

use cityrelay_api::http::Silence;

/// The first pause after a failure; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long an endpoint is left alone whose answer the light client refused.
const LIE_PAUSE: Duration = Duration::from_secs(600);

/// Blocks behind the best endpoint that cost one place in the order.
const LAG_STEP: u64 = 3;

/// One endpoint's standing.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    pub latency: Duration,
    pub height: u64,
    pub errors: u64,
    pub lies: u64,
    pub last_error: String,
    /// Smoothed share of calls that went wrong, in thousandths.
    trouble: u32,
    failures_in_a_row: u32,
    paused_until: Option<Instant>,
    /// It asked to be left alone.
    pub silence: Silence,
}

impl Health {
    /// An answer came after `elapsed`.
    pub fn answered(&mut self, elapsed: Duration) {
        // A moving average over about eight answers.
        self.latency = if self.latency.is_zero() { elapsed } else { (self.latency * 7 + elapsed) / 8 };
        self.failures_in_a_row = 0;
        self.trouble = self.trouble * 7 / 8;
    }

    /// The answer is an error of the node's own.
    pub fn erred(&mut self, reason: &str) {
        self.errors += 1;
        self.trouble = (self.trouble * 7 + 1_000) / 8;
        reason.clone_into(&mut self.last_error);
    }

    /// No answer, or none that makes sense.
    pub fn failed(&mut self, reason: &str, now: Instant) {
        self.erred(reason);
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures_in_a_row.min(6)).min(LONGEST_PAUSE);
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.pause(pause, now);
    }

    /// The light client refused what it served.
    pub fn lied(&mut self, check: &str, now: Instant) {
        self.lies += 1;
        self.last_error = format!("served something that failed `{check}`");
        self.pause(LIE_PAUSE, now);
    }

    fn pause(&mut self, pause: Duration, now: Instant) {
        let until = now + pause;
        self.paused_until = Some(self.paused_until.map_or(until, |before| before.max(until)));
    }

    /// Whether it is asked at `now`.
    pub fn is_usable(&self, now: Instant) -> bool {
        self.silence.left().is_none() && self.paused_until.is_none_or(|until| until <= now)
    }

    /// Order among the endpoints: lower is asked first. Paused ones come last, so that a chain with one node goes on; then
    /// those that lied more often, those that lag, and the slower ones, where calls that went wrong make one slower.
    pub fn rank(&self, best_height: u64, now: Instant) -> (bool, u64, u64, Duration) {
        let lag = best_height.saturating_sub(self.height) / LAG_STEP;
        (!self.is_usable(now), self.lies, lag, self.latency + self.latency * self.trouble / 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_pause_longer_and_longer_and_an_answer_forgives() {
        let now = Instant::now();
        let mut health = Health::default();
        health.failed("refused", now);
        assert!(!health.is_usable(now));
        assert!(health.is_usable(now + FIRST_PAUSE));
        health.failed("refused", now);
        assert!(!health.is_usable(now + FIRST_PAUSE));
        for _ in 0..40 {
            health.failed("refused", now);
        }
        assert!(health.is_usable(now + LONGEST_PAUSE));
        health.answered(Duration::from_millis(5));
        health.failed("refused", now + LONGEST_PAUSE);
        assert!(health.is_usable(now + LONGEST_PAUSE + FIRST_PAUSE));
    }

    #[test]
    fn a_liar_ranks_behind_a_slow_and_a_lagging_endpoint() {
        let now = Instant::now();
        let mut slow = Health { height: 100, ..Health::default() };
        slow.answered(Duration::from_secs(2));
        let mut lagging = Health { height: 10, ..Health::default() };
        lagging.answered(Duration::from_millis(1));
        let mut liar = Health { height: 100, ..Health::default() };
        liar.answered(Duration::from_millis(1));
        liar.lied("quorum", now);
        assert!(slow.rank(100, now) < lagging.rank(100, now));
        assert!(lagging.rank(100, now) < liar.rank(100, now));
        assert!(lagging.rank(100, now + LIE_PAUSE) < liar.rank(100, now + LIE_PAUSE), "that it lied is not forgotten");
    }

    #[test]
    fn calls_that_go_wrong_make_a_fast_endpoint_slower_than_a_steady_one() {
        let now = Instant::now();
        let (mut steady, mut fast) = (Health::default(), Health::default());
        for call in 0..64 {
            steady.answered(Duration::from_millis(3));
            fast.answered(Duration::from_millis(1));
            if call % 2 == 0 {
                fast.erred("busy");
            }
        }
        assert!(steady.rank(0, now) < fast.rank(0, now));
        (0..64).for_each(|_| fast.answered(Duration::from_millis(1)));
        assert!(fast.rank(0, now) < steady.rank(0, now), "it has recovered");
    }
}
