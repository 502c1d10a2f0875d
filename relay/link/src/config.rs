//! What the link is started with, and the limits that it keeps.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use cityrelay_core::ids::LaneId;
use cityrelay_wire::frame::MAX_FRAME_BYTES;

use crate::fingerprint::Fingerprint;
use crate::identity::Identity;

/// What the link is started with.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Where to listen; `None` when this side only dials.
    pub listen: Option<SocketAddr>,
    /// The key of this side.
    pub identity: Identity,
    /// The only parties that may have a session.
    pub peers: Vec<PeerConfig>,
    /// Limits; [`LinkLimits::default`] fits a pair of cities with a few dozen lanes.
    pub limits: LinkLimits,
}

/// One party that may have a session.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// The name used in events, logs and metrics; unique.
    pub name: PeerName,
    /// The key that it must prove; unique.
    pub fingerprint: Fingerprint,
    /// Another key that it may prove instead, unique too: the one that takes the place of the first. `None` while it keeps
    /// its key.
    pub next_fingerprint: Option<Fingerprint>,
    /// Where to dial it; `None` when only it dials.
    pub address: Option<PeerAddress>,
    /// The lanes that may be spoken about with it, in either direction; `None` for all.
    pub lanes: Option<BTreeSet<LaneId>>,
}

/// The name of a peer. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerName(Arc<str>);

impl PeerName {
    /// The name `name`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerName({})", self.0)
    }
}

/// Where a peer listens. A host name is looked up at every attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerAddress {
    /// A fixed address.
    Socket(SocketAddr),
    /// A name to look up.
    Host {
        /// The name.
        host: String,
        /// UDP port.
        port: u16,
    },
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected IP:PORT or HOST:PORT with a port from 1 to 65535, got {got}")]
pub struct ParseAddressError {
    /// The text.
    pub got: String,
}

impl FromStr for PeerAddress {
    type Err = ParseAddressError;

    /// Reads `192.0.2.1:7000`, `[2001:db8::1]:7000` or `relay.example:7000`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseAddressError { got: text.to_owned() };
        let address = match text.parse::<SocketAddr>() {
            Ok(address) => Self::Socket(address),
            Err(_) => {
                let (host, port) = text.rsplit_once(':').ok_or_else(refuse)?;
                let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
                if host.is_empty() || host.len() > 253 || !host.chars().all(is_name) {
                    return Err(refuse());
                }
                Self::Host { host: host.to_owned(), port: port.parse().map_err(|_| refuse())? }
            }
        };
        match &address {
            Self::Socket(socket) if socket.port() == 0 => Err(refuse()),
            Self::Host { port: 0, .. } => Err(refuse()),
            Self::Socket(_) | Self::Host { .. } => Ok(address),
        }
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => write!(f, "{address}"),
            Self::Host { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// Every bound that the link keeps. Memory per peer stays below `max_inflight_bytes_per_peer` (received) plus as much
/// again (queued to send), the frames of the control and request streams, `max_unread_bytes_per_peer` and QUIC's send
/// window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkLimits {
    /// Largest frame in bytes, without its length prefix. Default and most: [`MAX_FRAME_BYTES`].
    pub max_frame_bytes: u32,
    /// Most sessions at a time, at least one per peer. Default 1024.
    pub max_sessions: usize,
    /// Most incoming handshakes at a time; from half of it on, callers must prove their address first. Default 64.
    pub max_handshakes: usize,
    /// Most one-way streams of a peer whose lanes are not listed; otherwise two per lane and one. Default 8193.
    pub max_streams_per_peer: u32,
    /// Most bytes of one stream that are received and not yet released, or queued to be sent; a single larger frame
    /// passes alone. Keeps a lane that is stuck from using up what its peer has. Default 4 MiB.
    pub max_inflight_bytes_per_stream: u32,
    /// The same over all lane streams of a peer; at least one frame of the largest size. Default 128 MiB.
    pub max_inflight_bytes_per_peer: u32,
    /// Most frames a second that are taken of one peer, in the long run; every 16 KiB count as one, one on the control
    /// stream as eight, and twice as many may come at once after a pause. What comes faster waits with the peer. Default
    /// 4096: more than a pair of cities proves heads, and little beside what the event loop can do.
    pub max_frames_per_second: u32,
    /// QUIC's flow-control window of one stream: what a stream that is not being read may hold. Default 1 MiB.
    pub stream_window_bytes: u32,
    /// The most that all unread streams of one peer may hold. Streams are independent of each other as long as their
    /// windows fit into it together. Default 64 MiB.
    pub max_unread_bytes_per_peer: u32,
    /// Events that may wait for the receiver of [`crate::LinkEvent`]. Default 1024.
    pub event_queue: usize,
    /// Time for a handshake, and then for the peer's `Hello`. Default 10 s.
    pub handshake_timeout: Duration,
    /// Time for the rest of a frame after its first byte (waiting for room not counted). Default 60 s.
    pub frame_timeout: Duration,
    /// Silence after which a session is given up. Default 15 s.
    pub idle_timeout: Duration,
    /// How often a silent session says that it lives; less than half of `idle_timeout`. Default 4 s.
    pub keep_alive: Duration,
    /// Time for queued frames to leave when the link is closed. Default 3 s.
    pub close_timeout: Duration,
    /// Shortest pause before dialling again. Default 0.2 s.
    pub reconnect_min: Duration,
    /// Longest pause before dialling again; a session that lasted longer starts the count anew. Default 15 s.
    pub reconnect_max: Duration,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            max_frame_bytes: u32::try_from(MAX_FRAME_BYTES).unwrap_or(u32::MAX),
            max_sessions: 1024,
            max_handshakes: 64,
            // Two directions of as many lanes as one Hello may name, and the request stream.
            max_streams_per_peer: 8193,
            max_inflight_bytes_per_stream: 4 << 20,
            max_inflight_bytes_per_peer: 128 << 20,
            max_frames_per_second: 4096,
            stream_window_bytes: 1 << 20,
            max_unread_bytes_per_peer: 64 << 20,
            event_queue: 1024,
            handshake_timeout: Duration::from_secs(10),
            frame_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(15),
            keep_alive: Duration::from_secs(4),
            close_timeout: Duration::from_secs(3),
            reconnect_min: Duration::from_millis(200),
            reconnect_max: Duration::from_secs(15),
        }
    }
}

/// What is wrong with a configuration. The operator is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A peer without a name, or with a very long one.
    #[error("a peer name has 1 to {limit} bytes, got {got}")]
    NameLength {
        /// Bytes in the name.
        got: usize,
        /// The most.
        limit: usize,
    },
    /// Two peers with one name.
    #[error("peer {0} is named twice")]
    NameTwice(PeerName),
    /// Two peers with one key, or one that has it twice.
    #[error("the key {0} is given twice")]
    FingerprintTwice(Fingerprint),
    /// A peer with this side's own key.
    #[error("peer {0} has this relay's own key")]
    OwnKey(PeerName),
    /// Nobody can ever have a session.
    #[error("peer {0} has no address and this side does not listen")]
    Unreachable(PeerName),
    /// A limit out of its range.
    #[error("{name} is {got}, expected {min} to {max}")]
    Limit {
        /// Field of [`LinkLimits`]; durations in milliseconds.
        name: &'static str,
        /// Its value.
        got: u128,
        /// The least.
        min: u128,
        /// The most.
        max: u128,
    },
}

const MAX_NAME_BYTES: usize = 64;

impl LinkConfig {
    /// Checks, in order: names, keys, reachability, limits.
    ///
    /// # Errors
    /// The first fault found; see [`ConfigError`].
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut names = BTreeSet::new();
        let mut keys = BTreeSet::new();
        for peer in &self.peers {
            let len = peer.name.as_str().len();
            if len == 0 || len > MAX_NAME_BYTES {
                return Err(ConfigError::NameLength { got: len, limit: MAX_NAME_BYTES });
            }
            if !names.insert(&peer.name) {
                return Err(ConfigError::NameTwice(peer.name.clone()));
            }
            for key in [Some(peer.fingerprint), peer.next_fingerprint].into_iter().flatten() {
                if !keys.insert(key) {
                    return Err(ConfigError::FingerprintTwice(key));
                }
                if key == self.identity.fingerprint() {
                    return Err(ConfigError::OwnKey(peer.name.clone()));
                }
            }
            if peer.address.is_none() && self.listen.is_none() {
                return Err(ConfigError::Unreachable(peer.name.clone()));
            }
        }
        self.limits.validate(self.peers.len())
    }
}

impl LinkLimits {
    /// The most frames of one stream that can be received and not yet released.
    #[must_use]
    pub fn most_inflight_frames_per_stream(&self) -> usize {
        let frames = self.max_inflight_bytes_per_stream / crate::budget::FRAME_OVERHEAD_BYTES;
        usize::try_from(frames).unwrap_or(usize::MAX).max(1)
    }

    fn validate(&self, peers: usize) -> Result<(), ConfigError> {
        let frame = u128::from(self.max_frame_bytes);
        let most = u128::from(u32::MAX >> 2);
        let hour = 3_600_000;
        let idle = self.idle_timeout.as_millis();
        let ranges = [
            ("max_frame_bytes", frame, 64, MAX_FRAME_BYTES as u128),
            ("max_sessions", self.max_sessions as u128, peers.max(1) as u128, 1 << 20),
            ("max_handshakes", self.max_handshakes as u128, 1, 1 << 20),
            ("max_streams_per_peer", u128::from(self.max_streams_per_peer), 1, 1 << 20),
            ("max_inflight_bytes_per_stream", u128::from(self.max_inflight_bytes_per_stream), 1024, most),
            (
                "max_inflight_bytes_per_peer",
                u128::from(self.max_inflight_bytes_per_peer),
                frame + u128::from(crate::budget::FRAME_OVERHEAD_BYTES),
                most,
            ),
            ("max_frames_per_second", u128::from(self.max_frames_per_second), 1, 1 << 20),
            ("stream_window_bytes", u128::from(self.stream_window_bytes), 1024, most),
            (
                "max_unread_bytes_per_peer",
                u128::from(self.max_unread_bytes_per_peer),
                u128::from(self.stream_window_bytes),
                most,
            ),
            ("event_queue", self.event_queue as u128, 1, 1 << 20),
            ("handshake_timeout", self.handshake_timeout.as_millis(), 10, hour),
            ("frame_timeout", self.frame_timeout.as_millis(), 10, hour),
            ("idle_timeout", idle, 100, hour),
            ("keep_alive", self.keep_alive.as_millis(), 10, idle / 2),
            ("close_timeout", self.close_timeout.as_millis(), 0, hour),
            ("reconnect_min", self.reconnect_min.as_millis(), 1, hour),
            ("reconnect_max", self.reconnect_max.as_millis(), self.reconnect_min.as_millis(), hour),
        ];
        match ranges.into_iter().find(|(_, got, min, max)| got < min || got > max) {
            Some((name, got, min, max)) => Err(ConfigError::Limit { name, got, min, max }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str, key: u8) -> PeerConfig {
        PeerConfig {
            name: PeerName::new(name),
            fingerprint: Fingerprint([key; 32]),
            next_fingerprint: None,
            address: None,
            lanes: None,
        }
    }

    fn config() -> LinkConfig {
        LinkConfig {
            listen: Some("127.0.0.1:0".parse().unwrap()),
            identity: Identity::generate(&[1; 32]).unwrap(),
            peers: vec![peer("a", 2), peer("b", 3)],
            limits: LinkLimits::default(),
        }
    }

    #[test]
    fn the_default_limits_are_valid() {
        assert_eq!(config().validate(), Ok(()));
    }

    #[test]
    fn a_peer_without_a_name_is_refused() {
        let mut config = config();
        config.peers.push(peer("", 4));
        assert_eq!(config.validate(), Err(ConfigError::NameLength { got: 0, limit: 64 }));
    }

    #[test]
    fn a_name_given_twice_is_refused() {
        let mut config = config();
        config.peers.push(peer("a", 4));
        assert_eq!(config.validate(), Err(ConfigError::NameTwice(PeerName::new("a"))));
    }

    #[test]
    fn a_key_given_twice_is_refused() {
        let mut config = config();
        config.peers.push(peer("c", 3));
        assert_eq!(config.validate(), Err(ConfigError::FingerprintTwice(Fingerprint([3; 32]))));
    }

    #[test]
    fn a_next_key_is_a_key_of_its_own() {
        let next = |key| PeerConfig { next_fingerprint: Some(Fingerprint([key; 32])), ..peer("c", 4) };
        let mut config = config();
        config.peers.push(next(5));
        assert_eq!(config.validate(), Ok(()));
        for key in [3, 4] {
            config.peers[2] = next(key);
            assert_eq!(config.validate(), Err(ConfigError::FingerprintTwice(Fingerprint([key; 32]))));
        }
        config.peers[2].next_fingerprint = Some(config.identity.fingerprint());
        assert_eq!(config.validate(), Err(ConfigError::OwnKey(PeerName::new("c"))));
    }

    #[test]
    fn a_peer_with_the_own_key_is_refused() {
        let mut config = config();
        config.peers.push(PeerConfig { fingerprint: config.identity.fingerprint(), ..peer("c", 0) });
        assert_eq!(config.validate(), Err(ConfigError::OwnKey(PeerName::new("c"))));
    }

    #[test]
    fn a_peer_that_nobody_can_dial_is_refused() {
        let mut config = config();
        config.listen = None;
        assert_eq!(config.validate(), Err(ConfigError::Unreachable(PeerName::new("a"))));
    }

    #[test]
    fn a_limit_out_of_its_range_is_named() {
        let mut config = config();
        config.limits.keep_alive = config.limits.idle_timeout;
        assert_eq!(config.validate(), Err(ConfigError::Limit { name: "keep_alive", got: 15_000, min: 10, max: 7500 }));
    }

    #[test]
    fn addresses_are_read_as_they_are_printed() {
        for text in ["192.0.2.1:7000", "[2001:db8::1]:7000", "relay.example:7000"] {
            assert_eq!(text.parse::<PeerAddress>().unwrap().to_string(), text);
        }
        for text in ["relay.example", "relay.example:0", "192.0.2.1:0", ":7000", "2001:db8::1:7000", "a b:1", "a:70000"]
        {
            assert_eq!(text.parse::<PeerAddress>(), Err(ParseAddressError { got: text.to_owned() }));
        }
    }
}
