//! Sending on a session: one queue for each stream of the link, so that a stream that is stuck holds up no other.

use std::collections::HashMap;

use cityrelay_core::frame::Frame;
use cityrelay_core::lane::Flow;
use cityrelay_link::{Link, PeerName, SessionId};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::debug;

/// The sending side of a session; ends with it.
pub(super) struct Session {
    link: Link,
    session: SessionId,
    peer: PeerName,
    queues: HashMap<Stream, Queue>,
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
    task: JoinHandle<()>,
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Session {
    pub fn new(link: Link, session: SessionId, peer: PeerName) -> Self {
        Self { link, session, peer, queues: HashMap::new(), hello_sent: watch::Sender::new(false) }
    }

    /// Queues a frame. The machine's windows bound what waits here.
    pub fn send(&mut self, frame: Frame) {
        let stream = stream_of(&frame);
        let queue = self.queues.entry(stream).or_insert_with(|| {
            let (frames, waiting) = mpsc::unbounded_channel();
            let hello = self.hello_sent.clone();
            let task = tokio::spawn(send_in_order(self.link.clone(), self.session, self.peer.clone(), waiting, hello));
            Queue { frames, task }
        });
        if queue.frames.send(frame).is_err() {
            debug!(peer = self.peer.as_str(), "the session ended before a frame was sent");
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

async fn send_in_order(
    link: Link,
    session: SessionId,
    peer: PeerName,
    mut waiting: mpsc::UnboundedReceiver<Frame>,
    hello_sent: watch::Sender<bool>,
) {
    let mut is_greeted = hello_sent.subscribe();
    while let Some(frame) = waiting.recv().await {
        // The link takes nothing before the greeting, which waits in the queue of another stream.
        if !matches!(frame, Frame::Hello(_)) && is_greeted.wait_for(|sent| *sent).await.is_err() {
            return;
        }
        match link.send_on(session, &peer, &frame).await {
            Ok(()) if matches!(frame, Frame::Hello(_)) => {
                hello_sent.send_replace(true);
            }
            Ok(()) => {}
            Err(error) => debug!(peer = peer.as_str(), kind = frame.kind(), %error, "a frame was not sent"),
        }
    }
}
