//! What has changed, told without being asked: server-sent events, each of which is one reply line of the control socket.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::unfold;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::evidence_without_raw;
use crate::control::{
    ControlFault, ControlReply, FaultKind, LaneQuery, MessageQuery, Newest, Readings, ReplyLine, VERSION,
};

/// Pages that may follow at once; one more is refused and asks by itself.
pub(super) const MAX_FOLLOWERS: usize = 16;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Evidence and orders are looked at once in so many rounds: they are read from the disk, and seldom change.
const ROUNDS_BETWEEN_RECORDS: u64 = 5;

/// After so long an event loop that does not answer is told of.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Messages under way that are told of.
const UNDER_WAY: u32 = 25;

/// Tells status, lanes, messages under way, evidence and orders: all of it at first, then what has changed.
pub(super) async fn follow<B: Readings>(
    State(backend): State<Arc<B>>,
    Extension(places): Extension<Arc<Semaphore>>,
) -> Response {
    let Ok(place) = places.try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many pages follow already").into_response();
    };
    let follower = Follower { backend, told: Default::default(), waiting: VecDeque::new(), round: 0, _place: place };
    Sse::new(unfold(follower, |mut follower| async {
        let line = follower.next().await;
        Some((Ok::<_, Infallible>(Event::default().data(line)), follower))
    }))
    .into_response()
}

struct Follower<B> {
    backend: Arc<B>,
    /// What was told last of each kind.
    told: [String; 5],
    waiting: VecDeque<String>,
    round: u64,
    _place: OwnedSemaphorePermit,
}

impl<B: Readings> Follower<B> {
    async fn next(&mut self) -> String {
        loop {
            if let Some(line) = self.waiting.pop_front() {
                return line;
            }
            if self.round > 0 {
                sleep(PAUSE).await;
            }
            self.look().await;
            self.round += 1;
        }
    }

    async fn look(&mut self) {
        let replies =
            timeout(ANSWER_TIMEOUT, look(&*self.backend, self.round.is_multiple_of(ROUNDS_BETWEEN_RECORDS))).await;
        let Ok(replies) = replies else {
            let fault = ControlFault::new(FaultKind::Unhealthy, "the event loop does not answer");
            return self.waiting.extend(line(ControlReply::Fault(fault)));
        };
        for (reply, told) in replies.into_iter().zip(&mut self.told) {
            let Some(line) = reply.and_then(line) else { continue };
            if line != *told {
                told.clone_from(&line);
                self.waiting.push_back(line);
            }
        }
    }
}

fn line(reply: ControlReply) -> Option<String> {
    serde_json::to_string(&ReplyLine { v: VERSION, reply }).ok()
}

/// One round; `None` stands for what was not looked at.
async fn look<B: Readings>(backend: &B, with_records: bool) -> [Option<ControlReply>; 5] {
    let under_way = MessageQuery { unfinished: true, limit: UNDER_WAY, ..MessageQuery::default() };
    let told = |outcome: Result<ControlReply, ControlFault>| Some(outcome.unwrap_or_else(ControlReply::Fault));
    let status = told(backend.status().await.map(ControlReply::Status));
    let lanes = told(backend.lanes(LaneQuery::default()).await.map(ControlReply::Lanes));
    let messages = told(backend.messages(under_way).await.map(ControlReply::Messages));
    if !with_records {
        return [status, lanes, messages, None, None];
    }
    let evidence = evidence_without_raw(backend, Newest::default()).await;
    let audit = backend.audit(Newest::default()).await.map(ControlReply::Audit);
    [status, lanes, messages, told(evidence), told(audit)]
}
