//! Rationing: work on worker threads that peers cause runs in a share of each peer's own.
//!
//! Every peer has its own queue, so that none waits for another's work. A few pieces of a peer's work run at a time, and
//! what was in vain is paid for: nothing more of that peer begins for [`REST_FACTOR`] times as long as it took. A peer whose
//! claims are all false thus gets a tenth of one processor, and an honest one notices nothing.
//!
//! Work is only delayed, never dropped: the machine waits for each answer, and asks for no more than one verification of
//! each flow and a bounded number of signatures at a time. That bounds what waits here.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cityrelay_core::machine::config::PeerId;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

/// How long a peer rests after work in vain, as a multiple of what that took.
pub const REST_FACTOR: u32 = 9;

/// The least that work in vain counts for: each piece of it also costs a line in the log.
const LEAST_COST: Duration = Duration::from_millis(1);

/// The longest rest: an honest peer that was wrong for a while must not wait for ever.
const LONGEST_REST: Duration = Duration::from_secs(5);

/// What came of a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// What the peer said held.
    Good,
    /// It did not: the peer pays for the time.
    Vain,
}

type Work = Box<dyn FnOnce() -> Worth + Send>;

/// Called with the time by which a peer's work was delayed.
type Delayed = Arc<dyn Fn(PeerId, Duration) + Send + Sync>;

/// The shares of all peers. A share lasts as long as this, whatever becomes of the peer's sessions.
pub struct Ration {
    most_under_way: usize,
    delayed: Delayed,
    shares: HashMap<PeerId, mpsc::UnboundedSender<Work>>,
}

impl fmt::Debug for Ration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ration").field("most_under_way", &self.most_under_way).finish_non_exhaustive()
    }
}

impl Ration {
    /// Shares in which at most `most_under_way` pieces of one peer's work, and at least one, run at a time. `delayed` is
    /// told of each rest.
    pub fn new(most_under_way: usize, delayed: impl Fn(PeerId, Duration) + Send + Sync + 'static) -> Self {
        Self { most_under_way: most_under_way.max(1), delayed: Arc::new(delayed), shares: HashMap::new() }
    }

    /// Runs work that `peer` caused on a worker thread, after what waits in its share.
    pub fn run(&mut self, peer: PeerId, work: impl FnOnce() -> Worth + Send + 'static) {
        let share = self.shares.entry(peer).or_insert_with(|| {
            let (share, waiting) = mpsc::unbounded_channel();
            tokio::spawn(serve(peer, waiting, self.most_under_way, Arc::clone(&self.delayed)));
            share
        });
        // The task ends with the runtime only, and then nobody waits for the work.
        let _ = share.send(Box::new(work));
    }
}

/// Does the work of one peer in the order in which it came.
async fn serve(peer: PeerId, mut waiting: mpsc::UnboundedReceiver<Work>, most_under_way: usize, delayed: Delayed) {
    let mut under_way = JoinSet::new();
    let mut debt = Debt::default();
    while let Some(work) = waiting.recv().await {
        while under_way.len() >= most_under_way {
            debt.add(under_way.join_next().await);
        }
        while let Some(ended) = under_way.try_join_next() {
            debt.add(Some(ended));
        }
        let rest = debt.left(Instant::now());
        if !rest.is_zero() {
            tokio::time::sleep(rest).await;
            delayed(peer, rest);
        }
        under_way.spawn_blocking(move || {
            let begun = Instant::now();
            let worth = work();
            Ended { worth, begun, at: Instant::now() }
        });
    }
}

/// A piece of work that has been done.
struct Ended {
    worth: Worth,
    begun: Instant,
    at: Instant,
}

/// Until when a peer rests.
#[derive(Default)]
struct Debt {
    until: Option<Instant>,
}

impl Debt {
    fn add(&mut self, ended: Option<Result<Ended, JoinError>>) {
        let Some(Ok(Ended { worth: Worth::Vain, begun, at })) = ended else { return };
        let cost = at.duration_since(begun).max(LEAST_COST).saturating_mul(REST_FACTOR);
        let until = self.until.map_or(at, |until| until.max(at)) + cost;
        self.until = Some(until.min(at + LONGEST_REST));
    }

    fn left(&self, now: Instant) -> Duration {
        self.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const HOSTILE: PeerId = PeerId(1);
    const HONEST: PeerId = PeerId(2);

    /// A ration, and the rests that it tells of.
    fn ration(most_under_way: usize) -> (Ration, Arc<Mutex<Vec<PeerId>>>) {
        let rests: Arc<Mutex<Vec<PeerId>>> = Arc::default();
        let told = Arc::clone(&rests);
        (Ration::new(most_under_way, move |peer, _| told.lock().unwrap().push(peer)), rests)
    }

    /// Work that says that it has begun and goes on until it may end.
    fn stuck(begun: &Sender<u32>, number: u32) -> (Sender<()>, impl FnOnce() -> Worth + Send + 'static) {
        let (end, may_end): (Sender<()>, Receiver<()>) = channel();
        let begun = begun.clone();
        let work = move || {
            begun.send(number).unwrap();
            let _ = may_end.recv();
            Worth::Good
        };
        (end, work)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_peer_has_no_more_work_under_way_than_its_share_and_holds_up_no_other() {
        let (mut ration, _) = ration(2);
        let (begun, begins) = channel();
        let mut ends = Vec::new();
        for number in 0..4 {
            let (end, work) = stuck(&begun, number);
            ends.push(end);
            ration.run(HOSTILE, work);
        }
        let mut first = [begins.recv().unwrap(), begins.recv().unwrap()];
        first.sort_unstable();
        assert_eq!(first, [0, 1]);
        let (end, work) = stuck(&begun, 9);
        ration.run(HONEST, work);
        assert_eq!(begins.recv().unwrap(), 9, "two more of the other peer wait");
        drop((end, ends));
        let mut rest = [begins.recv().unwrap(), begins.recv().unwrap()];
        rest.sort_unstable();
        assert_eq!(rest, [2, 3], "nothing is dropped");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn work_in_vain_delays_the_next_of_its_peer_only() {
        let (mut ration, rests) = ration(1);
        let (done, ended) = channel();
        for (peer, worth) in [(HOSTILE, Worth::Vain), (HONEST, Worth::Good), (HOSTILE, Worth::Vain)] {
            let done = done.clone();
            ration.run(peer, move || {
                done.send(Instant::now()).unwrap();
                worth
            });
        }
        let (honest, hostile) = (done.clone(), done);
        ration.run(HONEST, move || {
            honest.send(Instant::now()).unwrap();
            Worth::Good
        });
        ration.run(HOSTILE, move || {
            hostile.send(Instant::now()).unwrap();
            Worth::Vain
        });
        for _ in 0..5 {
            ended.recv().unwrap();
        }
        assert_eq!(*rests.lock().unwrap(), [HOSTILE, HOSTILE]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn work_that_panics_leaves_its_share_open() {
        let (mut ration, _) = ration(1);
        ration.run(HOSTILE, || panic!("a fault of ours"));
        let (done, ended) = channel();
        ration.run(HOSTILE, move || {
            done.send(()).unwrap();
            Worth::Good
        });
        ended.recv().unwrap();
    }

    #[test]
    fn a_debt_grows_with_what_was_in_vain_and_has_a_bound() {
        let begun = Instant::now();
        let ended = |worth, millis| {
            let took = Duration::from_millis(millis);
            Some(Ok(Ended { worth, begun, at: begun + took }))
        };
        let mut debt = Debt::default();
        debt.add(ended(Worth::Good, 100));
        assert_eq!(debt.left(begun), Duration::ZERO);
        debt.add(ended(Worth::Vain, 10));
        assert_eq!(debt.left(begun), Duration::from_millis(10 + 90));
        debt.add(ended(Worth::Vain, 20));
        assert_eq!(debt.left(begun), Duration::from_millis(100 + 180), "side by side, both are paid for");
        debt.add(ended(Worth::Vain, 60_000));
        assert_eq!(debt.left(begun + Duration::from_secs(60)), LONGEST_REST);
    }
}
