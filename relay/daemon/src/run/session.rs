//! Sending on a session: one queue for each stream of the link, so that a stream that is stuck holds up no other.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cityrelay_core::frame::Frame;
use cityrelay_core::ids::Index;
use cityrelay_core::lane::Flow;
use cityrelay_link::{Link, PeerName, Refusal, SessionId};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::debug;

/// What may wait on one stream, in small frames: far more than the machine's windows let an honest peer leave unread.
const MAX_WAITING: usize = 65_536;

/// What a frame of a peer counts for in its pace when the answer is no, or only says again where we stand.
pub const VAIN_FRAMES: u32 = 8;

/// The sending side of a session; ends with it.
pub(super) struct Session {
    link: Link,
    session: SessionId,
    peer: PeerName,
    queues: HashMap<Stream, Queue>,
    /// Where we said last that we stand.
    told: HashMap<Flow, Index>,
    hello_sent: watch::Sender<bool>,
}

/// What is sent in order, as the link keeps its streams.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Stream {
    Control,
    Requests,
    Flow(Flow),
}

struct Queue {
    frames: mpsc::UnboundedSender<Frame>,
    /// What waits, as [`cost`] counts it.
    waiting: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Session {
    pub fn new(link: Link, session: SessionId, peer: PeerName) -> Self {
        let hello_sent = watch::Sender::new(false);
        Self { link, session, peer, queues: HashMap::new(), told: HashMap::new(), hello_sent }
    }

    /// Queues a frame. The machine's windows bound what waits here for a peer that reads; one that only asks loses its
    /// session.
    pub fn send(&mut self, frame: Frame) {
        if self.is_about_nothing(&frame) {
            self.link.charge(&self.peer, VAIN_FRAMES);
        }
        let stream = stream_of(&frame);
        let queue = self.queues.entry(stream).or_insert_with(|| {
            let (frames, next) = mpsc::unbounded_channel();
            let waiting = Arc::<AtomicUsize>::default();
            let sending = Sending {
                link: self.link.clone(),
                session: self.session,
                peer: self.peer.clone(),
                next,
                waiting: Arc::clone(&waiting),
            };
            let task = tokio::spawn(sending.in_order(self.hello_sent.clone()));
            Queue { frames, waiting, task }
        });
        let cost = cost(&frame);
        if queue.waiting.fetch_add(cost, Ordering::Relaxed).saturating_add(cost) > MAX_WAITING {
            return self.link.refuse(self.session, &self.peer, Refusal::AnswersUnread { limit: MAX_WAITING });
        }
        if queue.frames.send(frame).is_err() {
            debug!(peer = self.peer.as_str(), "the session ended before a frame was sent");
        }
    }

    /// Whether what this answers brought nothing.
    fn is_about_nothing(&mut self, answer: &Frame) -> bool {
        match answer {
            Frame::Declined(_) => true,
            Frame::Accepted { flow, point } => {
                let before = self.told.insert(*flow, point.index);
                before.is_some_and(|before| before >= point.index)
            }
            _ => false,
        }
    }
}

fn stream_of(frame: &Frame) -> Stream {
    match frame {
        Frame::Hello(_) | Frame::Update { .. } | Frame::ClientAt(_) | Frame::Committee(_) => Stream::Control,
        Frame::AttestRequest { .. } | Frame::Attestation { .. } | Frame::SetRequest(_) | Frame::SetAttested(_) => {
            Stream::Requests
        }
        Frame::Extension { claim, .. } => Stream::Flow(claim.flow),
        Frame::Accepted { flow, .. } => Stream::Flow(*flow),
        Frame::Declined(declined) => Stream::Flow(declined.flow),
    }
}

/// What a frame counts for while it waits, in small frames of a few hundred bytes: a fraction of what the largest of its kind
/// take, since few are as large.
const fn cost(frame: &Frame) -> usize {
    match frame {
        Frame::Update { .. } => 1024,
        Frame::Extension { .. } => 256,
        Frame::AttestRequest { .. } => 4,
        _ => 1,
    }
}

/// The sending end of one queue.
struct Sending {
    link: Link,
    session: SessionId,
    peer: PeerName,
    next: mpsc::UnboundedReceiver<Frame>,
    waiting: Arc<AtomicUsize>,
}

impl Sending {
    async fn in_order(mut self, hello_sent: watch::Sender<bool>) {
        let mut is_greeted = hello_sent.subscribe();
        while let Some(frame) = self.next.recv().await {
            // The link takes nothing before the greeting, which waits in the queue of another stream.
            if !matches!(frame, Frame::Hello(_)) && is_greeted.wait_for(|sent| *sent).await.is_err() {
                return;
            }
            match self.link.send_on(self.session, &self.peer, &frame).await {
                Ok(()) if matches!(frame, Frame::Hello(_)) => {
                    hello_sent.send_replace(true);
                }
                Ok(()) => {}
                Err(error) => debug!(peer = self.peer.as_str(), kind = frame.kind(), %error, "a frame was not sent"),
            }
            self.waiting.fetch_sub(cost(&frame), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use cityrelay_core::frame::{DeclineReason, Declined, Hello, Role};
    use cityrelay_core::hash::Hash32;
    use cityrelay_core::ids::LaneId;
    use cityrelay_core::lane::Direction;
    use cityrelay_link::{DownReason, Identity, LinkConfig, LinkEvent, LinkLimits, PeerAddress, PeerConfig};

    use super::*;

    /// Two links, of which the first dials the second.
    fn links() -> [(Link, mpsc::Receiver<LinkEvent>); 2] {
        let identity = |seed: u8| Identity::generate(&[seed; 32]).unwrap();
        let peer = |seed: u8, address| PeerConfig {
            name: PeerName::new("other"),
            fingerprint: identity(seed).fingerprint(),
            next_fingerprint: None,
            address,
            lanes: None,
        };
        let start = |seed, listen, peer| {
            let (identity, peers, limits) = (identity(seed), vec![peer], LinkLimits::default());
            Link::start(LinkConfig { listen, identity, peers, limits }).unwrap()
        };
        let listener = start(2, Some(([127, 0, 0, 1], 0).into()), peer(1, None));
        let address = PeerAddress::Socket(listener.0.local_address().unwrap());
        [start(1, None, peer(2, Some(address))), listener]
    }

    fn hello() -> Frame {
        let (clients, flows) = (Vec::new(), Vec::new());
        Frame::Hello(Hello { oldest_version: 1, newest_version: 1, role: Role::Relay, clients, flows })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_peer_that_asks_and_reads_no_answers_loses_its_session() {
        let [(silent, mut silent_events), (link, mut events)] = links();
        let session = match events.recv().await.unwrap() {
            LinkEvent::Up { session, .. } => session,
            other => panic!("expected Up, got {other:?}"),
        };
        // It greets, and whoever holds its events does not look at them any more.
        silent_events.recv().await.unwrap();
        silent.send(&PeerName::new("other"), &hello()).await.unwrap();
        let mut answers = Session::new(link.clone(), session, PeerName::new("other"));
        answers.send(hello());
        let flow = Flow { lane: LaneId(Hash32::ZERO), direction: Direction::Outbox };
        let reason = loop {
            for _ in 0..1000 {
                answers.send(Frame::Declined(Declined { flow, index: Index(1), reason: DeclineReason::Busy }));
            }
            match events.try_recv() {
                Ok(LinkEvent::Down { reason, .. }) => break reason,
                _ => tokio::task::yield_now().await,
            }
        };
        assert_eq!(reason, DownReason::Refused(Refusal::AnswersUnread { limit: MAX_WAITING }));
    }
}
