//! Alive and ready: two questions that a supervisor asks.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// After this long without a sign of life the event loop is taken for stuck; it gives one every half second.
const STUCK_AFTER: Duration = Duration::from_secs(15);

/// One reason why the daemon is not ready.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Trouble {
    /// What is in trouble, such as `chain north` or `lane medical`.
    pub subject: String,
    /// Why, and who must act.
    pub reason: String,
}

/// The daemon's health as its event loop last said it. Shared; cheap to ask.
#[derive(Debug, Default)]
pub struct Health {
    state: Mutex<Option<Report>>,
}

#[derive(Clone, Debug)]
struct Report {
    at: Instant,
    troubles: Vec<Trouble>,
}

impl Health {
    /// Says that the event loop runs, and what keeps the daemon from being ready; nothing means ready.
    pub fn report(&self, troubles: Vec<Trouble>) {
        *self.state() = Some(Report { at: Instant::now(), troubles });
    }

    /// Whether the event loop gave a sign of life lately; a daemon that is still starting is alive.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.is_alive_at(Instant::now())
    }

    /// What keeps the daemon from being ready; nothing means ready.
    #[must_use]
    pub fn troubles(&self) -> Vec<Trouble> {
        if !self.is_alive() {
            return vec![trouble("event loop", "no sign of life: restart the daemon and report its log")];
        }
        match &*self.state() {
            Some(report) => report.troubles.clone(),
            None => vec![trouble("daemon", "still starting")],
        }
    }

    fn is_alive_at(&self, now: Instant) -> bool {
        self.state().as_ref().is_none_or(|report| now.saturating_duration_since(report.at) < STUCK_AFTER)
    }

    fn state(&self) -> MutexGuard<'_, Option<Report>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn trouble(subject: &str, reason: &str) -> Trouble {
    Trouble { subject: subject.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_ready_when_its_loop_says_so_and_not_before() {
        let health = Health::default();
        assert!(health.is_alive());
        assert_eq!(health.troubles().len(), 1);
        health.report(Vec::new());
        assert!(health.troubles().is_empty());
        health.report(vec![trouble("chain north", "frozen")]);
        assert_eq!(health.troubles(), [trouble("chain north", "frozen")]);
    }

    #[test]
    fn a_silent_loop_is_not_alive() {
        let health = Health::default();
        health.report(Vec::new());
        assert!(health.is_alive_at(Instant::now() + STUCK_AFTER / 2));
        assert!(!health.is_alive_at(Instant::now() + STUCK_AFTER));
    }
}
