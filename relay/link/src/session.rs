//! One session: from the moment that both sides have taken it to the event that tells of its end.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use cityrelay_core::frame::{Frame, PROTOCOL_VERSIONS};
use quinn::{Connection, ConnectionError, RecvStream, SendStream, VarInt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, info};

use crate::event::{DownReason, LinkEvent, SessionId};
use crate::fingerprint::Fingerprint;
use crate::hub::Hub;
use crate::inbound::{FrameReader, Inbound, ReadFault};
use crate::outbound::Outbound;
use crate::peer::{Dialler, Peer};
use crate::refusal::{CloseCode, Refusal};
use crate::stream::StreamKey;
use crate::version::agree_version;

/// What others hold of a session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) connection: Connection,
    pub(crate) dialler: Dialler,
    /// The key that the peer has proved.
    pub(crate) key: Fingerprint,
    pub(crate) since: Instant,
    pub(crate) outbound: Outbound,
    closing: OnceLock<DownReason>,
}

/// The right to have one more session; given back when the session's end has been told.
#[derive(Debug)]
pub(crate) struct SessionSlot {
    pub(crate) _link: OwnedSemaphorePermit,
    pub(crate) _peer: OwnedSemaphorePermit,
}

/// A connection whose control stream stands.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) connection: Connection,
    pub(crate) dialler: Dialler,
    pub(crate) key: Fingerprint,
    pub(crate) send: SendStream,
    pub(crate) receive: RecvStream,
    pub(crate) slot: SessionSlot,
}

/// How often a session looks whether its peer's address has changed.
const PATH_SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

impl Session {
    /// Makes the connection the peer's session and starts the task that lives as long as it.
    ///
    /// # Errors
    /// As [`Peer::install`]; the new connection has been closed so.
    pub(crate) fn start(hub: &Arc<Hub>, peer: &Arc<Peer>, established: Established) -> Result<(), Refusal> {
        let Established { connection, dialler, key, send, receive, slot } = established;
        // The dialler's first byte has asked for the session; the listener's says that it is taken.
        let head = match dialler {
            Dialler::Us => Vec::new(),
            Dialler::Them => StreamKey::Control.head(),
        };
        let session = Arc::new(Self {
            id: hub.next_session(),
            outbound: Outbound::new(connection.clone(), Arc::clone(peer), send, head, &hub.limits),
            connection,
            dialler,
            key,
            since: Instant::now(),
            closing: OnceLock::new(),
        });
        if let Err(refusal) = peer.install(&session, hub.fingerprint, hub.limits.handshake_timeout) {
            peer.counters.refuse(&refusal);
            hub.refusals.add(refusal.code().as_str());
            session.close(DownReason::Refused(refusal.clone()));
            return Err(refusal);
        }
        session.outbound.open_control();
        let run = Run { hub: Arc::clone(hub), peer: Arc::clone(peer), session };
        hub.tasks.spawn(run.run(receive, slot));
        Ok(())
    }

    /// Closes the connection; of several reasons the first counts.
    pub(crate) fn close(&self, reason: DownReason) {
        let code = reason.close_code();
        if self.closing.set(reason).is_ok() {
            self.connection.close(code.into(), code.as_str().as_bytes());
        }
    }
}

/// The task of a session.
struct Run {
    hub: Arc<Hub>,
    peer: Arc<Peer>,
    session: Arc<Session>,
}

impl Run {
    async fn run(self, control: RecvStream, slot: SessionSlot) {
        // Held until the end has been told, so that the events of two sessions never mix.
        let turn = self.peer.turn.lock().await;
        if self.session.connection.close_reason().is_some() {
            // Lost while its predecessor was still ending: nobody needs to hear of it.
            self.session.outbound.close();
            self.peer.remove(&self.session);
            return;
        }
        let (peer, session) = (self.peer.name.clone(), self.session.id);
        info!(%peer, %session, remote = %self.session.connection.remote_address(), "session is up");
        self.peer.counters.sessions.fetch_add(1, Ordering::Relaxed);
        self.hub.tell(LinkEvent::Up { peer: peer.clone(), session }).await;

        let reason = self.live(control).await;

        self.session.outbound.close();
        self.peer.remove(&self.session);
        if let DownReason::Refused(refusal) = &reason {
            self.peer.counters.refuse(refusal);
            self.hub.refusals.add(refusal.code().as_str());
        }
        info!(%peer, %session, reason = reason.as_str(), detail = %reason, "session is down");
        self.hub.tell(LinkEvent::Down { peer, session, reason }).await;
        drop(turn);
        drop(slot);
    }

    /// Drives the session until its connection is gone. Nothing of it is read any more when this returns.
    async fn live(&self, control: RecvStream) -> DownReason {
        let connection = &self.session.connection;
        // Before anything is heard: whatever changes after that is counted.
        let mut remote = connection.remote_address();
        let inbound = Arc::new(Inbound::new(Arc::clone(&self.hub), Arc::clone(&self.peer), Arc::clone(&self.session)));
        let mut readers = JoinSet::new();
        let mut control = FrameReader::new(control, StreamKey::Control, &self.peer, &self.hub);
        let greeted = tokio::select! {
            greeted = self.greet(&inbound, &mut control) => greeted,
            error = connection.closed() => return self.reason(&error),
            () = self.hub.shutdown.cancelled() => return self.shut_down().await,
        };
        match greeted {
            Ok(()) => {
                self.open_windows();
                readers.spawn(Arc::clone(&inbound).read_control(control));
            }
            Err(fault) => self.end(fault),
        }
        let mut sample = interval(PATH_SAMPLE_INTERVAL);
        sample.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                error = connection.closed() => {
                    let reason = self.reason(&error);
                    if reason == (DownReason::ClosedByPeer { code: CloseCode::Shutdown }) {
                        self.drain(&inbound, &mut readers).await;
                    }
                    return reason;
                }
                stream = connection.accept_uni() => {
                    // An error shows in `closed` too.
                    let Ok(stream) = stream else { continue };
                    // The control stream is one of the readers.
                    let limit = self.peer.max_streams;
                    if readers.len() > usize::try_from(limit).unwrap_or(usize::MAX) {
                        self.end(Refusal::TooManyStreams { limit }.into());
                    } else {
                        readers.spawn(Arc::clone(&inbound).read_one_way(stream));
                    }
                }
                Some(ended) = readers.join_next() => self.reader_ended(ended),
                () = self.session.outbound.control_stopped() => {
                    self.end(Refusal::StreamBroken { stream: StreamKey::Control.as_str() }.into());
                }
                _ = sample.tick() => {
                    let now = connection.remote_address();
                    if now != remote {
                        info!(peer = %self.peer.name, session = %self.session.id, from = %remote, to = %now, "path changed");
                        self.peer.counters.path_changes.fetch_add(1, Ordering::Relaxed);
                        remote = now;
                    }
                }
                () = self.hub.shutdown.cancelled() => return self.shut_down().await,
            }
        }
    }

    /// Reads on what a peer that has gone away in good order had sent before: QUIC has it already.
    async fn drain(&self, inbound: &Arc<Inbound>, readers: &mut JoinSet<Result<(), ReadFault>>) {
        // The connection is closed: this ends after the streams that had arrived.
        while let Ok(stream) = self.session.connection.accept_uni().await {
            readers.spawn(Arc::clone(inbound).read_one_way(stream));
        }
        let all_read = async { while readers.join_next().await.is_some() {} };
        if timeout(self.hub.limits.close_timeout, all_read).await.is_err() {
            debug!(peer = %self.peer.name, session = %self.session.id, "not everything received was taken");
        }
    }

    /// Lets what is queued leave, for a while, and closes.
    async fn shut_down(&self) -> DownReason {
        if timeout(self.hub.limits.close_timeout, self.session.outbound.flush()).await.is_err() {
            debug!(peer = %self.peer.name, session = %self.session.id, "closed before everything queued had left");
        }
        self.session.close(DownReason::Shutdown);
        self.reason(&self.session.connection.closed().await)
    }

    /// The first frame: `Hello`, in time, of a version that is spoken here.
    async fn greet(&self, inbound: &Inbound, control: &mut FrameReader) -> Result<(), ReadFault> {
        let first = timeout(self.hub.limits.handshake_timeout, control.next()).await;
        let received = first.map_err(|_| Refusal::HelloTimeout)??;
        let received = received.ok_or(Refusal::StreamBroken { stream: StreamKey::Control.as_str() })?;
        let Frame::Hello(hello) = &received.frame else {
            return Err(Refusal::HelloMissing { got: received.frame.kind() }.into());
        };
        let version = agree_version(&PROTOCOL_VERSIONS, hello)?;
        debug!(peer = %self.peer.name, session = %self.session.id, version, "version agreed");
        inbound.deliver(received).await
    }

    /// Lets a peer that has said hello open streams: one more than it may, so that the excess is refused by name.
    fn open_windows(&self) {
        let limits = &self.hub.limits;
        let streams = self.peer.max_streams.saturating_add(1);
        let window = limits.stream_window_bytes.saturating_mul(streams.saturating_add(1));
        let connection = &self.session.connection;
        connection.set_receive_window(VarInt::from_u32(window.min(limits.max_unread_bytes_per_peer)));
        connection.set_max_concurrent_uni_streams(VarInt::from_u32(streams));
    }

    fn reader_ended(&self, ended: Result<Result<(), ReadFault>, JoinError>) {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => self.end(fault),
            Err(_) => self.session.close(DownReason::Internal),
        }
    }

    fn end(&self, fault: ReadFault) {
        match fault {
            ReadFault::Refused(refusal) => self.session.close(DownReason::Refused(refusal)),
            ReadFault::Lost if self.hub.events.is_closed() => self.session.close(DownReason::Shutdown),
            ReadFault::Lost => {}
        }
    }

    fn reason(&self, error: &ConnectionError) -> DownReason {
        self.session.closing.get().cloned().unwrap_or_else(|| DownReason::from_connection(error))
    }
}
