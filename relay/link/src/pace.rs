//! How fast a peer's frames are taken. What a frame costs beyond its bytes (a turn of the event loop, an answer) is paid by
//! all peers together: none may take so many turns that others notice.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::lock::lock;

/// Bytes that count as one frame.
pub(crate) const UNIT_BYTES: u64 = 16 << 10;

/// How much may come at once after a pause, as time at the full pace.
const BURST: Duration = Duration::from_secs(2);

/// The longest that what a peer was charged for holds it up: an honest one may be wrong about much at once.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// The pace of one peer, over all its streams and sessions: frames wait for their turn in the order in which they came.
#[derive(Debug)]
pub(crate) struct Pace {
    account: Mutex<Account>,
    /// Held while a frame waits.
    turn: tokio::sync::Mutex<()>,
}

impl Pace {
    /// `frames_per_second` in the long run.
    pub(crate) fn new(frames_per_second: u32) -> Self {
        let per_unit = Duration::from_secs(1) / frames_per_second.max(1);
        Self { account: Mutex::new(Account { per_unit, paid_until: None }), turn: tokio::sync::Mutex::default() }
    }

    /// Waits until a frame of so many bytes may be taken, which counts `weight` times.
    pub(crate) async fn take(&self, bytes: u64, weight: u32) {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).max(1);
        let _turn = self.turn.lock().await;
        let wait = lock(&self.account).charge(units.saturating_mul(weight), Instant::now());
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }

    /// Counts as many frames more, for what the last ones cost.
    pub(crate) fn charge(&self, frames: u32) {
        lock(&self.account).charge(frames, Instant::now());
    }
}

#[derive(Debug)]
struct Account {
    per_unit: Duration,
    /// When what was taken so far would have come at the full pace.
    paid_until: Option<Instant>,
}

impl Account {
    /// Counts what has been taken; says how long the last of it waits.
    fn charge(&mut self, units: u32, now: Instant) -> Duration {
        let paid = self.paid_until.map_or(now, |paid| paid.max(now)) + self.per_unit.saturating_mul(units);
        let paid = paid.min(now + BURST + LONGEST_WAIT);
        self.paid_until = Some(paid);
        paid.duration_since(now).saturating_sub(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(now: Instant) -> Account {
        Account { per_unit: Duration::from_millis(10), paid_until: Some(now) }
    }

    #[test]
    fn after_a_burst_frames_come_at_the_pace() {
        let now = Instant::now();
        let mut account = account(now);
        assert!((0..200).all(|_| account.charge(1, now).is_zero()));
        assert_eq!(account.charge(1, now), Duration::from_millis(10));
        assert_eq!(account.charge(8, now), Duration::from_millis(90));
        assert_eq!(account.charge(1, now + Duration::from_millis(100)), Duration::ZERO);
    }

    #[test]
    fn no_wait_is_longer_than_the_longest() {
        let now = Instant::now();
        assert_eq!(account(now).charge(u32::MAX, now), LONGEST_WAIT);
    }

    #[test]
    fn a_pause_is_made_up_for_once() {
        let now = Instant::now();
        let mut account = account(now);
        let later = now + Duration::from_secs(3600);
        assert!((0..200).all(|_| account.charge(1, later).is_zero()));
        assert!(!account.charge(1, later).is_zero());
    }
}
