//! What the link tells its user, and what it answers.

use std::fmt;
use std::net::SocketAddr;

use cityrelay_core::frame::Frame;
use cityrelay_core::ids::LaneId;
use cityrelay_wire::EncodeError;
use quinn::ConnectionError;

use crate::budget::Reservation;
use crate::config::{ConfigError, PeerName};
use crate::fingerprint::Fingerprint;
use crate::refusal::{CloseCode, Refusal};
use crate::tls::TlsError;

/// Number of a session, unique in this process and ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What happened on the link.
///
/// Of one peer, in this order and without overlap: `Up`, the frames of that session (a `Hello` first), `Down`.
#[derive(Debug)]
pub enum LinkEvent {
    /// A session stands; the first frame to send on it is `Hello`.
    Up {
        /// With whom.
        peer: PeerName,
        /// Which.
        session: SessionId,
    },
    /// The session has ended. What was sent and not answered is to be said again on the next one.
    Down {
        /// With whom.
        peer: PeerName,
        /// Which.
        session: SessionId,
        /// Why.
        reason: DownReason,
    },
    /// The peer said something.
    Frame {
        /// Who.
        peer: PeerName,
        /// On which session.
        session: SessionId,
        /// What.
        frame: Frame,
        /// To be dropped when the frame has been dealt with: until then it takes room, and the sender waits for room.
        permit: FramePermit,
    },
    /// Something was refused. Left out when events are not being taken; the counters in [`crate::LinkStats`] are exact.
    Refused {
        /// From where.
        remote: SocketAddr,
        /// Who, where that is known.
        peer: Option<PeerName>,
        /// Why.
        reason: Refusal,
    },
}

/// Room that a received frame takes; see [`LinkEvent::Frame`].
#[derive(Debug)]
pub struct FramePermit {
    pub(crate) _room: Reservation,
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DownReason {
    /// The peer closed it, saying why.
    #[error("closed by the peer: {}", code.as_str())]
    ClosedByPeer {
        /// What it said.
        code: CloseCode,
    },
    /// The peer closed it with a code that this build does not know.
    #[error("closed by the peer with unknown code {code}")]
    ClosedByPeerUnknown {
        /// The code.
        code: u64,
    },
    /// The peer broke the protocol.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// Nothing was heard for the idle timeout.
    #[error("nothing was heard from the peer")]
    TimedOut,
    /// The peer no longer knows the session: it has restarted.
    #[error("the peer has restarted")]
    Reset,
    /// A newer session with the same peer took its place.
    #[error("a newer session took its place")]
    Superseded,
    /// The link is being closed.
    #[error("the link is being closed")]
    Shutdown,
    /// QUIC failed, here or there.
    #[error("transport error {code:#x}")]
    Transport {
        /// QUIC transport error code (RFC 9000 §20.1).
        code: u64,
    },
    /// A task of this process failed.
    #[error("a task of this process failed")]
    Internal,
}

impl DownReason {
    /// The word used as a metric label and in logs.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::ClosedByPeer { .. } | Self::ClosedByPeerUnknown { .. } => "closed-by-peer",
            Self::Refused(refusal) => refusal.code().as_str(),
            Self::TimedOut => "timed-out",
            Self::Reset => "reset",
            Self::Superseded => "superseded",
            Self::Shutdown => "shutdown",
            Self::Transport { .. } => "transport",
            Self::Internal => "internal",
        }
    }

    pub(crate) fn from_connection(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => {
                let code = close.error_code.into_inner();
                CloseCode::from_code(code)
                    .map_or(Self::ClosedByPeerUnknown { code }, |code| Self::ClosedByPeer { code })
            }
            ConnectionError::ConnectionClosed(close) => Self::Transport { code: close.error_code.into() },
            ConnectionError::TransportError(error) => Self::Transport { code: error.code.into() },
            ConnectionError::Reset => Self::Reset,
            ConnectionError::TimedOut => Self::TimedOut,
            ConnectionError::LocallyClosed => Self::Shutdown,
            ConnectionError::VersionMismatch | ConnectionError::CidsExhausted => Self::Internal,
        }
    }

    pub(crate) const fn close_code(&self) -> CloseCode {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Superseded => CloseCode::Superseded,
            Self::Shutdown => CloseCode::Shutdown,
            _ => CloseCode::Internal,
        }
    }
}

/// Why the link did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The configuration is wrong; the operator is at fault.
    #[error("link configuration: {0}")]
    Config(#[from] ConfigError),
    /// The socket cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// No tokio runtime drives the caller.
    #[error("the link was started outside of a tokio runtime")]
    NoRuntime,
    /// TLS cannot be configured; the build is at fault.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Why keys were not pinned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// No peer has this name; the caller is at fault.
    #[error("no peer is called {peer}")]
    UnknownPeer {
        /// The name.
        peer: PeerName,
    },
    /// The key belongs to another peer, to this side, or is given twice; the operator is at fault.
    #[error("the key {key} is given twice, or is this relay's own")]
    Taken {
        /// The key.
        key: Fingerprint,
    },
}

/// Why a frame was not taken for sending. Nothing of it was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// No peer has this name; the caller is at fault.
    #[error("no peer is called {peer}")]
    UnknownPeer {
        /// The name.
        peer: PeerName,
    },
    /// There is no session now, or it ended while the frame waited for room. Wait for the next `Up`.
    #[error("there is no session with {peer}")]
    Down {
        /// The peer.
        peer: PeerName,
    },
    /// The first frame of a session is `Hello`; the caller is at fault.
    #[error("the first frame is {got}, expected hello")]
    HelloFirst {
        /// Kind of the frame.
        got: &'static str,
    },
    /// `Hello` was already sent on this session; the caller is at fault.
    #[error("hello was already sent on this session")]
    HelloRepeated,
    /// This peer may not be spoken to about the lane; the caller is at fault.
    #[error("lane {lane} is not allowed for this peer")]
    LaneNotAllowed {
        /// The lane.
        lane: LaneId,
    },
    /// The peer does not take this stream, for as long as the session lasts.
    #[error("the peer refuses this stream with code {code}")]
    StreamRefused {
        /// A [`CloseCode`], or a number that this build does not know.
        code: u64,
    },
    /// Larger than [`crate::LinkLimits::max_frame_bytes`].
    #[error("a frame of {got} bytes, expected at most {limit}")]
    TooLarge {
        /// Its bytes.
        got: usize,
        /// The most.
        limit: u32,
    },
    /// The frame breaks a limit of its layout.
    #[error("a frame that cannot be written: {0}")]
    Encode(#[from] EncodeError),
    /// There is no room now; only [`crate::Link::try_send`] says so.
    #[error("there is no room now")]
    Full,
}
