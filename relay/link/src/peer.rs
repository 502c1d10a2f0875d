//! A configured peer: what is known of it, and the one session that it has.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cityrelay_core::ids::LaneId;
use tokio::sync::{Semaphore, watch};

use crate::budget::{Budget, permits};
use crate::config::{LinkLimits, PeerAddress, PeerConfig, PeerName};
use crate::event::DownReason;
use crate::fingerprint::Fingerprint;
use crate::lock::lock;
use crate::pace::Pace;
use crate::pins::Pins;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::stats::{PeerCounters, PeerStats};
use crate::stream::StreamKey;

/// Who dialled a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialler {
    /// This side.
    Us,
    /// The peer.
    Them,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: PeerName,
    /// Where to dial it; `None` while only it dials.
    pub(crate) address: watch::Sender<Option<PeerAddress>>,
    /// Most one-way streams that the peer may have open.
    pub(crate) max_streams: u32,
    pub(crate) counters: PeerCounters,
    /// Sessions of this peer that may exist at a time, those that are ending included.
    pub(crate) slots: Arc<Semaphore>,
    /// Whether there is a session.
    pub(crate) up: watch::Sender<bool>,
    pub(crate) queued: Arc<AtomicU64>,
    /// Held by the session that is being told of.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// How fast its frames are taken.
    pub(crate) pace: Pace,
    /// Held while a frame waits to be taken: however many streams a peer has, it stands in the queue of events once.
    pub(crate) delivery: tokio::sync::Mutex<()>,
    pins: Mutex<Pins>,
    lanes: Option<BTreeSet<LaneId>>,
    room: Arc<Semaphore>,
    room_per_stream: u32,
    inflight: Arc<AtomicU64>,
    current: Mutex<Option<Arc<Session>>>,
    /// When a refusal that ends nothing was told last.
    told: Mutex<Option<Instant>>,
}

/// How often refusals that end nothing are told and logged; all are counted.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// Enough for a session, one that takes its place and some that have not finished telling of their end.
pub(crate) const MAX_SESSIONS_PER_PEER: usize = 4;

impl Peer {
    pub(crate) fn new(config: PeerConfig, limits: &LinkLimits) -> Self {
        let streams = config.lanes.as_ref().map_or(limits.max_streams_per_peer, |lanes| {
            u32::try_from(lanes.len()).unwrap_or(u32::MAX).saturating_mul(2).saturating_add(1)
        });
        Self {
            name: config.name,
            pins: Mutex::new(Pins { current: config.fingerprint, next: config.next_fingerprint }),
            address: watch::Sender::new(config.address),
            max_streams: streams.min(limits.max_streams_per_peer),
            counters: PeerCounters::default(),
            slots: Arc::new(Semaphore::new(MAX_SESSIONS_PER_PEER)),
            up: watch::Sender::new(false),
            queued: Arc::default(),
            turn: tokio::sync::Mutex::default(),
            delivery: tokio::sync::Mutex::default(),
            pace: Pace::new(limits.max_frames_per_second),
            told: Mutex::default(),
            lanes: config.lanes,
            room: Arc::new(Semaphore::new(permits(limits.max_inflight_bytes_per_peer))),
            room_per_stream: limits.max_inflight_bytes_per_stream,
            inflight: Arc::default(),
            current: Mutex::new(None),
        }
    }

    /// Whether this peer may be spoken with about the lane.
    pub(crate) fn allows(&self, lane: LaneId) -> bool {
        self.lanes.as_ref().is_none_or(|lanes| lanes.contains(&lane))
    }

    /// Whether a refusal that ends nothing is told: a peer that earns thousands of them fills no log.
    pub(crate) fn may_tell(&self) -> bool {
        let now = Instant::now();
        let mut told = lock(&self.told);
        let is_due = told.is_none_or(|at| now.duration_since(at) >= TELL_INTERVAL);
        if is_due {
            *told = Some(now);
        }
        is_due
    }

    /// The keys that it may prove.
    pub(crate) fn pins(&self) -> Pins {
        *lock(&self.pins)
    }

    /// Pins other keys, and ends a session whose key is none of them.
    pub(crate) fn pin(&self, pins: Pins) {
        *lock(&self.pins) = pins;
        // A session that is installed from now on sees the new keys; one that was before is seen here.
        if let Some(session) = self.current()
            && pins.find(session.key).is_none()
        {
            session.close(DownReason::Refused(Refusal::UnknownFingerprint { got: session.key }));
        }
    }

    /// Room for what is received on a new stream. Only lanes share the peer's room, so that lanes which are stuck
    /// cannot silence the control stream.
    pub(crate) fn inbound_room(&self, key: StreamKey) -> Budget {
        let shared = match key {
            StreamKey::Flow(_) => Some(Arc::clone(&self.room)),
            StreamKey::Control | StreamKey::Requests => None,
        };
        Budget::new(self.room_per_stream, shared, Arc::clone(&self.inflight))
    }

    /// The session, where there is one.
    pub(crate) fn current(&self) -> Option<Arc<Session>> {
        lock(&self.current).clone()
    }

    /// Makes `session` the peer's session, and closes the one whose place it takes.
    ///
    /// # Errors
    /// `DuplicateSession` when the session that stands stays, `UnknownFingerprint` when its key is not pinned any more.
    pub(crate) fn install(
        &self,
        session: &Arc<Session>,
        ours: Fingerprint,
        settled_after: Duration,
    ) -> Result<(), Refusal> {
        let mut current = lock(&self.current);
        if self.pins().find(session.key).is_none() {
            return Err(Refusal::UnknownFingerprint { got: session.key });
        }
        if let Some(standing) = current.as_ref() {
            let is_over = standing.connection.close_reason().is_some();
            let is_settled = standing.since.elapsed() >= settled_after;
            if !is_over && !takes_its_place(ours, session.key, standing.dialler, is_settled, session.dialler) {
                return Err(Refusal::DuplicateSession);
            }
            standing.close(DownReason::Superseded);
        }
        *current = Some(Arc::clone(session));
        self.up.send_replace(true);
        Ok(())
    }

    /// Forgets `session`, unless another one has taken its place.
    pub(crate) fn remove(&self, session: &Session) {
        let mut current = lock(&self.current);
        if current.as_ref().is_some_and(|standing| standing.id == session.id) {
            *current = None;
            self.up.send_replace(false);
        }
    }

    /// Forgets whatever session there is.
    pub(crate) fn forget(&self) {
        *lock(&self.current) = None;
    }

    pub(crate) fn stats(&self) -> PeerStats {
        let session = self.current();
        PeerStats {
            session: session.as_ref().map(|session| session.id),
            remote: session.as_ref().map(|session| canonical(session.connection.remote_address())),
            is_dialled_here: session.as_ref().map(|session| session.dialler == Dialler::Us),
            pin: session.as_ref().and_then(|session| self.pins().find(session.key)),
            rtt: session.as_ref().map(|session| session.connection.rtt()),
            inflight_bytes: self.inflight.load(Ordering::Relaxed),
            queued_bytes: self.queued.load(Ordering::Relaxed),
            ..self.counters.snapshot()
        }
    }
}

/// An IPv4 address as such, also where a socket of both families shows it as an IPv6 one.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether a new session replaces the one that stands, decided alike on both sides.
///
/// * The same side dialled again: it has lost the old one, so the new one counts.
/// * Both sides dialled, and the standing one is young: they dialled at the same time; the smaller fingerprint's stays.
/// * The standing one is older than any dial can take: the other side dialled because it has lost it.
fn takes_its_place(ours: Fingerprint, theirs: Fingerprint, standing: Dialler, is_settled: bool, new: Dialler) -> bool {
    let preferred = if ours < theirs { Dialler::Us } else { Dialler::Them };
    standing == new || is_settled || new == preferred
}

#[cfg(test)]
mod tests {
    use cityrelay_core::hash::Hash32;

    use super::*;

    const SMALL: Fingerprint = Fingerprint([1; 32]);
    const LARGE: Fingerprint = Fingerprint([2; 32]);

    #[test]
    fn of_two_dialled_at_once_both_sides_keep_the_one_of_the_smaller_fingerprint() {
        // What the smaller side dialled replaces what the larger side dialled, seen from either side ...
        assert!(takes_its_place(SMALL, LARGE, Dialler::Them, false, Dialler::Us));
        assert!(takes_its_place(LARGE, SMALL, Dialler::Us, false, Dialler::Them));
        // ... and never the other way round.
        assert!(!takes_its_place(SMALL, LARGE, Dialler::Us, false, Dialler::Them));
        assert!(!takes_its_place(LARGE, SMALL, Dialler::Them, false, Dialler::Us));
    }

    #[test]
    fn the_same_side_dialling_again_replaces() {
        assert!(takes_its_place(LARGE, SMALL, Dialler::Us, false, Dialler::Us));
        assert!(takes_its_place(SMALL, LARGE, Dialler::Them, false, Dialler::Them));
    }

    #[test]
    fn a_session_older_than_any_dial_is_replaced() {
        assert!(takes_its_place(SMALL, LARGE, Dialler::Us, true, Dialler::Them));
    }

    #[test]
    fn a_peer_with_listed_lanes_may_speak_about_them_only() {
        let config = PeerConfig {
            name: PeerName::new("a"),
            fingerprint: SMALL,
            next_fingerprint: None,
            address: None,
            lanes: Some(BTreeSet::from([LaneId(Hash32([1; 32]))])),
        };
        let peer = Peer::new(config.clone(), &LinkLimits::default());
        assert!(peer.allows(LaneId(Hash32([1; 32]))));
        assert!(!peer.allows(LaneId(Hash32([2; 32]))));
        assert_eq!(peer.max_streams, 3);
        let peer = Peer::new(PeerConfig { lanes: None, ..config }, &LinkLimits::default());
        assert!(peer.allows(LaneId(Hash32([2; 32]))));
    }
}
