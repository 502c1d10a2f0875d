//! Counters, and what they show at a moment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::PeerName;
use crate::dial::DialFailure;
use crate::event::SessionId;
use crate::lock::lock;
use crate::pins::Pin;
use crate::refusal::Refusal;

/// The link at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Peers with a session.
    pub sessions: usize,
    /// Incoming handshakes under way.
    pub handshakes: usize,
    /// What was refused since the start, by [`crate::CloseCode::as_str`].
    pub refusals: BTreeMap<&'static str, u64>,
    /// Every configured peer.
    pub peers: BTreeMap<PeerName, PeerStats>,
}

/// One peer at a moment. Counts are since the start, over all sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerStats {
    /// The session, where there is one.
    pub session: Option<SessionId>,
    /// Where the peer is heard from.
    pub remote: Option<SocketAddr>,
    /// Whether this side dialled the session.
    pub is_dialled_here: Option<bool>,
    /// Which of its pinned keys it has proved in that session.
    pub pin: Option<Pin>,
    /// QUIC's estimate of the round-trip time.
    pub rtt: Option<Duration>,
    /// Sessions that came up.
    pub sessions: u64,
    /// Attempts to dial that came to nothing, by [`crate::DialFailure::as_str`].
    pub dial_failures: BTreeMap<&'static str, u64>,
    /// The newest of them.
    pub last_dial_failure: Option<DialFailure>,
    /// How often the peer's address changed during a session.
    pub path_changes: u64,
    /// Bytes of frames received, length prefixes included.
    pub bytes_in: u64,
    /// Bytes of frames handed to QUIC, length prefixes included.
    pub bytes_out: u64,
    /// Frames received, by [`cityrelay_core::frame::Frame::kind`].
    pub frames_in: BTreeMap<&'static str, u64>,
    /// Frames taken for sending, by kind.
    pub frames_out: BTreeMap<&'static str, u64>,
    /// Bytes received and not released yet.
    pub inflight_bytes: u64,
    /// Bytes taken for sending and not handed to QUIC yet.
    pub queued_bytes: u64,
    /// What of this peer was refused, by [`crate::CloseCode::as_str`].
    pub refusals: BTreeMap<&'static str, u64>,
}

/// Counts by word.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<BTreeMap<&'static str, u64>>);

impl Tally {
    pub(crate) fn add(&self, word: &'static str) {
        *lock(&self.0).entry(word).or_default() += 1;
    }

    pub(crate) fn snapshot(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.0).clone()
    }
}

/// The counters of one peer.
#[derive(Debug, Default)]
pub(crate) struct PeerCounters {
    pub(crate) sessions: AtomicU64,
    pub(crate) path_changes: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) frames_in: Tally,
    pub(crate) frames_out: Tally,
    pub(crate) refusals: Tally,
    pub(crate) dial_failures: Tally,
    pub(crate) last_dial_failure: Mutex<Option<DialFailure>>,
}

impl PeerCounters {
    pub(crate) fn refuse(&self, refusal: &Refusal) {
        self.refusals.add(refusal.code().as_str());
    }

    pub(crate) fn failed_to_dial(&self, failure: DialFailure) {
        self.dial_failures.add(failure.as_str());
        *lock(&self.last_dial_failure) = Some(failure);
    }

    pub(crate) fn snapshot(&self) -> PeerStats {
        PeerStats {
            sessions: self.sessions.load(Ordering::Relaxed),
            path_changes: self.path_changes.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            frames_in: self.frames_in.snapshot(),
            frames_out: self.frames_out.snapshot(),
            refusals: self.refusals.snapshot(),
            dial_failures: self.dial_failures.snapshot(),
            last_dial_failure: *lock(&self.last_dial_failure),
            ..PeerStats::default()
        }
    }
}
