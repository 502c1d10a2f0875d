//! What all tasks of a link hold in common.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quinn::{Endpoint, TransportConfig};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::config::{LinkLimits, PeerName};
use crate::event::{LinkEvent, SessionId};
use crate::fingerprint::Fingerprint;
use crate::peer::{MAX_SESSIONS_PER_PEER, Peer, canonical};
use crate::pins::Pinboard;
use crate::refusal::Refusal;
use crate::session::SessionSlot;
use crate::stats::Tally;
use crate::tls::TlsFactory;

/// See the module.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) limits: LinkLimits,
    pub(crate) tls: TlsFactory,
    pub(crate) endpoint: Endpoint,
    pub(crate) listen_transport: Arc<TransportConfig>,
    pub(crate) dial_transport: Arc<TransportConfig>,
    pub(crate) peers: BTreeMap<PeerName, Arc<Peer>>,
    pub(crate) pinboard: Pinboard,
    pub(crate) events: mpsc::Sender<LinkEvent>,
    pub(crate) refusals: Tally,
    pub(crate) handshakes: Arc<Semaphore>,
    pub(crate) sessions: Arc<Semaphore>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) last_session: AtomicU64,
}

impl Hub {
    pub(crate) fn next_session(&self) -> SessionId {
        SessionId(self.last_session.fetch_add(1, Ordering::Relaxed).saturating_add(1))
    }

    /// The right to one more session with `peer`.
    ///
    /// # Errors
    /// `TooManySessions`, with the limit that is reached.
    pub(crate) fn session_slot(&self, peer: &Peer) -> Result<SessionSlot, Refusal> {
        let of_peer = Arc::clone(&peer.slots).try_acquire_owned();
        let of_peer = of_peer.map_err(|_| Refusal::TooManySessions { limit: MAX_SESSIONS_PER_PEER })?;
        let of_link = Arc::clone(&self.sessions).try_acquire_owned();
        let of_link = of_link.map_err(|_| Refusal::TooManySessions { limit: self.limits.max_sessions })?;
        Ok(SessionSlot { _link: of_link, _peer: of_peer })
    }

    /// Tells of something that must not be left out; waits until there is room, but not while closing.
    pub(crate) async fn tell(&self, event: LinkEvent) {
        tokio::select! {
            biased;
            told = self.events.send(event) => {
                if told.is_err() {
                    // Nobody listens any more: there is no use in sessions.
                    self.shutdown.cancel();
                }
            }
            () = self.shutdown.cancelled() => {}
        }
    }

    /// Counts a refusal.
    pub(crate) fn count(&self, peer: Option<&Peer>, reason: &Refusal) {
        self.refusals.add(reason.code().as_str());
        if let Some(peer) = peer {
            peer.counters.refuse(reason);
        }
    }

    /// Counts a refusal and tells of it if there is room: strangers must not be able to fill the queue of events.
    pub(crate) fn refuse(&self, remote: SocketAddr, peer: Option<&Peer>, reason: Refusal) {
        let remote = canonical(remote);
        let (name, word) = (peer.map(|peer| peer.name.clone()), reason.code().as_str());
        info!(%remote, peer = name.as_ref().map(PeerName::as_str), reason = word, detail = %reason, "refused");
        self.count(peer, &reason);
        // The counters are exact; the event may be left out.
        if self.events.capacity() > self.events.max_capacity() / 2 {
            let _ = self.events.try_send(LinkEvent::Refused { remote, peer: name, reason });
        }
    }
}
