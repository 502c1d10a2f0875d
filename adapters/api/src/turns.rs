//! Which of several nodes is listened to: whose turn it is to serve the headers after a height, and how long the slower ones are
//! waited for.

use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, FutureExt as _, lazy, select};
use futures_util::stream::{FuturesUnordered, StreamExt as _};

/// How long slower nodes are waited for once one has answered.
pub const GRACE: Duration = Duration::from_millis(300);

/// Asks all at once and gives the furthest of the answers that come in time: a node that lags, or hides something, hides it from
/// nobody, and one that does not answer holds nobody up. From the first answer on the others have the time that `grace` takes, which is made then.
///
/// # Errors
/// Where nobody answers: what went wrong last, `None` where nobody was asked.
pub async fn furthest<T, E, P: Ord, G: Future<Output = ()>>(
    asked: impl IntoIterator<Item = impl Future<Output = Result<T, E>>>,
    place: impl Fn(&T) -> P,
    grace: impl FnOnce() -> G,
) -> Result<T, Option<E>> {
    let mut asked: FuturesUnordered<_> = asked.into_iter().collect();
    let mut grace = pin!(lazy(|_| grace()).flatten());
    let mut best: Option<T> = None;
    let mut last = None;
    loop {
        let next = match best {
            None => asked.next().await,
            Some(_) => match select(asked.next(), grace.as_mut()).await {
                Either::Left((next, _)) => next,
                Either::Right(((), _)) => None,
            },
        };
        match next {
            None => return best.ok_or(last),
            Some(Ok(answer)) if best.as_ref().is_none_or(|best| place(best) < place(&answer)) => best = Some(answer),
            Some(Ok(_)) => {}
            Some(Err(error)) => last = Some(error),
        }
    }
}

/// How often the same headers were asked for in a row. What was served the last time did not help, though nothing in it was
/// wrong, or was not known to be: signatures are outside the hash, so a node can hold some back, and a set of validators
/// may be one that nobody can vouch for. So another node is asked first the next time.
#[derive(Debug, Default)]
pub struct Turns(Mutex<(Option<u64>, usize)>);

impl Turns {
    /// Notes a question for what follows `after`, and turns the first `usable` of `nodes`, the best ones, by the number of
    /// times that it was asked before.
    pub fn take<T>(&self, after: u64, nodes: &mut [T], usable: usize) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = if last.0 == Some(after) { (last.0, last.1.wrapping_add(1)) } else { (Some(after), 0) };
        if let (Some(turn), Some(usable)) = (last.1.checked_rem(usable), nodes.get_mut(..usable)) {
            usable.rotate_left(turn);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, pending, ready};

    use futures_util::future::BoxFuture;

    use super::*;

    fn asked(answers: &[Result<u64, &'static str>]) -> Vec<BoxFuture<'static, Result<u64, &'static str>>> {
        answers.iter().map(|answer| ready(*answer).boxed()).collect()
    }

    #[test]
    fn the_furthest_answer_counts_and_one_that_never_comes_holds_nobody_up() {
        let run = |asked: Vec<_>, grace: Ready<()>| furthest(asked, |height| *height, || grace).now_or_never();
        assert_eq!(run(asked(&[Err("a")]), ready(())), Some(Err(Some("a"))));
        assert_eq!(run(Vec::new(), ready(())), Some(Err(None)));
        let mut some = asked(&[Ok(7)]);
        some.push(pending().boxed());
        assert_eq!(run(some, ready(())), Some(Ok(7)));
        // Before anybody has answered nothing is given up, and until the time is over nobody.
        assert_eq!(run(vec![pending().boxed()], ready(())), None);
        let all = furthest(asked(&[Err("a"), Ok(7), Ok(9), Ok(8)]), |height| *height, pending).now_or_never();
        assert_eq!(all, Some(Ok(9)));
    }

    #[test]
    fn each_usable_node_has_its_turn_while_nothing_helps() {
        let turns = Turns::default();
        let first = |after, usable| {
            let mut nodes = ["best", "good", "paused"];
            turns.take(after, &mut nodes, usable);
            nodes
        };
        assert_eq!(first(7, 2), ["best", "good", "paused"]);
        assert_eq!(first(7, 2), ["good", "best", "paused"]);
        assert_eq!(first(7, 2), ["best", "good", "paused"]);
        assert_eq!(first(8, 2), ["best", "good", "paused"], "it went on");
        assert_eq!(first(8, 0), ["best", "good", "paused"], "all are paused: the order stands");
    }
}
