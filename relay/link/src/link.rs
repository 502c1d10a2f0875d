//! The handle by which the link is used.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use cityrelay_core::frame::Frame;
use quinn::{Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};
use quinn_proto::RandomConnectionIdGenerator;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{LinkConfig, LinkLimits, PeerAddress, PeerName};
use crate::dial::keep_dialling;
use crate::event::{DownReason, LinkError, LinkEvent, PinError, SendError, SessionId};
use crate::fingerprint::Fingerprint;
use crate::hub::Hub;
use crate::identity::Identity;
use crate::listen::keep_listening;
use crate::peer::Peer;
use crate::pins::{Pinboard, Pins};
use crate::refusal::{CloseCode, Refusal};
use crate::stats::LinkStats;
use crate::tls::TlsFactory;

/// A running link. Cheap to clone; when the last clone is dropped the link ends without ceremony.
#[derive(Clone, Debug)]
pub struct Link {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    hub: Arc<Hub>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.hub.shutdown.cancel();
        self.hub.endpoint.close(CloseCode::Shutdown.into(), CloseCode::Shutdown.as_str().as_bytes());
        // A peer and its session hold each other. The session's task parts them, unless its runtime is gone.
        self.hub.peers.values().for_each(|peer| peer.forget());
    }
}

impl Link {
    /// Binds the socket, and starts to listen and to dial. Must be called inside a tokio runtime.
    ///
    /// The receiver must be read: while it is full, nothing more is taken from any peer. When it is dropped the link
    /// ends.
    ///
    /// # Errors
    /// `Config` for a configuration that is not valid, `Bind` when the socket cannot be had, `NoRuntime` outside of
    /// tokio, `Tls` when this build lacks what TLS 1.3 needs.
    pub fn start(config: LinkConfig) -> Result<(Self, mpsc::Receiver<LinkEvent>), LinkError> {
        config.validate()?;
        let LinkConfig { listen, identity, peers, limits } = config;
        let fingerprint = identity.fingerprint();
        let tls = TlsFactory::new(identity.clone());
        let listen_transport = Arc::new(transport(&limits, 1));
        let dial_transport = Arc::new(transport(&limits, 0));
        let endpoint = open_endpoint(listen, &identity, &tls, &listen_transport, &limits)?;
        let peers: Vec<Arc<Peer>> = peers.into_iter().map(|peer| Arc::new(Peer::new(peer, &limits))).collect();
        let (events, receiver) = mpsc::channel(limits.event_queue);
        let hub = Arc::new(Hub {
            fingerprint,
            tls,
            endpoint,
            listen_transport,
            dial_transport,
            peers: peers.iter().map(|peer| (peer.name.clone(), Arc::clone(peer))).collect(),
            pinboard: Pinboard::of(&peers),
            events,
            refusals: crate::stats::Tally::default(),
            handshakes: Arc::new(Semaphore::new(limits.max_handshakes)),
            sessions: Arc::new(Semaphore::new(limits.max_sessions)),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
            last_session: AtomicU64::new(0),
            limits,
        });
        if listen.is_some() {
            hub.tasks.spawn(keep_listening(Arc::clone(&hub)));
        }
        for peer in peers {
            hub.tasks.spawn(keep_dialling(Arc::clone(&hub), peer));
        }
        Ok((Self { handle: Arc::new(Handle { hub }) }, receiver))
    }

    /// Takes a frame for sending, and waits until there is room for it.
    ///
    /// Frames about one flow, attestation traffic, and everything else each keep their order; between these three
    /// there is none, except that `Hello` comes before all. A frame that was taken may still be lost with its session:
    /// the next `Hello` shows what arrived.
    ///
    /// May be dropped while it waits: the frame is then not taken.
    ///
    /// # Errors
    /// See [`SendError`]; `Full` never.
    pub async fn send(&self, peer: &PeerName, frame: &Frame) -> Result<(), SendError> {
        let session = self.peer(peer)?.current().ok_or_else(|| SendError::Down { peer: peer.clone() })?;
        session.outbound.send(frame).await
    }

    /// As [`Link::send`], but only on this session: `Down` when another one has taken its place.
    ///
    /// For the `Hello` that answers an `Up`, which may be read when the session is no longer the newest.
    ///
    /// # Errors
    /// See [`SendError`]; `Full` never.
    pub async fn send_on(&self, session: SessionId, peer: &PeerName, frame: &Frame) -> Result<(), SendError> {
        let current = self.peer(peer)?.current().filter(|current| current.id == session);
        current.ok_or_else(|| SendError::Down { peer: peer.clone() })?.outbound.send(frame).await
    }

    /// Ends a session because of this, unless another one has taken its place: for faults that show above the link.
    pub fn refuse(&self, session: SessionId, peer: &PeerName, reason: Refusal) {
        let current = self.peer(peer).ok().and_then(|peer| peer.current());
        if let Some(current) = current.filter(|current| current.id == session) {
            current.close(DownReason::Refused(reason));
        }
    }

    /// Counts as many frames more in a peer's pace ([`LinkLimits::max_frames_per_second`]): for frames of it that brought
    /// nothing, whose cost shows above the link.
    pub fn charge(&self, peer: &PeerName, frames: u32) {
        if let Ok(peer) = self.peer(peer) {
            peer.pace.charge(frames);
        }
    }

    /// Takes a frame for sending if there is room now.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn try_send(&self, peer: &PeerName, frame: &Frame) -> Result<(), SendError> {
        let session = self.peer(peer)?.current().ok_or_else(|| SendError::Down { peer: peer.clone() })?;
        session.outbound.try_send(frame)
    }

    /// Dials a peer at another address from now on, or with `None` no more. A session that stands stays: it is the key that
    /// is pinned, not the address.
    ///
    /// # Errors
    /// `UnknownPeer` for a peer that is not configured.
    pub fn set_address(&self, peer: &PeerName, address: Option<PeerAddress>) -> Result<(), SendError> {
        let peer = self.peer(peer)?;
        peer.address.send_if_modified(|held| {
            let is_other = *held != address;
            if is_other {
                held.clone_from(&address);
            }
            is_other
        });
        Ok(())
    }

    /// Pins other keys of peers from now on, as a whole or not at all: of each, the key that it must prove and the one that
    /// it may prove instead. A session whose key is not among them any more ends.
    ///
    /// # Errors
    /// [`PinError`]; nothing has changed then.
    pub fn set_keys(&self, keys: &BTreeMap<PeerName, (Fingerprint, Option<Fingerprint>)>) -> Result<(), PinError> {
        let hub = &self.handle.hub;
        if let Some(stranger) = keys.keys().find(|name| !hub.peers.contains_key(*name)) {
            return Err(PinError::UnknownPeer { peer: stranger.clone() });
        }
        let pins: Vec<(&Arc<Peer>, Pins)> = hub
            .peers
            .values()
            .map(|peer| {
                let changed = keys.get(&peer.name).map(|(current, next)| Pins { current: *current, next: *next });
                (peer, changed.unwrap_or_else(|| peer.pins()))
            })
            .collect();
        let mut seen = BTreeSet::from([hub.fingerprint]);
        if let Some(key) = pins.iter().flat_map(|(_, pins)| pins.keys()).find(|key| !seen.insert(*key)) {
            return Err(PinError::Taken { key });
        }
        for (peer, pins) in pins {
            peer.pin(pins);
        }
        hub.pinboard.renew(hub.peers.values());
        Ok(())
    }

    /// Where the link is bound; the port is the system's choice when port 0 was asked for.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.handle.hub.endpoint.local_addr()
    }

    /// What peers pin of this side.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.handle.hub.fingerprint
    }

    /// Counters and gauges at this moment.
    #[must_use]
    pub fn stats(&self) -> LinkStats {
        let hub = &self.handle.hub;
        let peers: BTreeMap<_, _> = hub.peers.iter().map(|(name, peer)| (name.clone(), peer.stats())).collect();
        LinkStats {
            sessions: peers.values().filter(|peer| peer.session.is_some()).count(),
            handshakes: hub.limits.max_handshakes.saturating_sub(hub.handshakes.available_permits()),
            refusals: hub.refusals.snapshot(),
            peers,
        }
    }

    /// Ends all sessions: what was taken for sending leaves first, for at most [`LinkLimits::close_timeout`].
    ///
    /// Returns when the peers have been told. `Down` events that find no room are left out.
    pub async fn close(&self) {
        let hub = &self.handle.hub;
        hub.shutdown.cancel();
        hub.tasks.close();
        hub.tasks.wait().await;
        hub.endpoint.close(CloseCode::Shutdown.into(), CloseCode::Shutdown.as_str().as_bytes());
        // The peers' acknowledgement is a courtesy: a peer that is gone does not hold this up.
        let _ = timeout(hub.limits.close_timeout, hub.endpoint.wait_idle()).await;
    }

    fn peer(&self, name: &PeerName) -> Result<&Arc<Peer>, SendError> {
        self.handle.hub.peers.get(name).ok_or_else(|| SendError::UnknownPeer { peer: name.clone() })
    }
}

/// Both kinds of connection, until the peer has said hello: no streams but the control stream, and little memory.
fn transport(limits: &LinkLimits, max_two_way_streams: u32) -> TransportConfig {
    let window = VarInt::from_u32(limits.stream_window_bytes);
    let idle = u32::try_from(limits.idle_timeout.as_millis()).unwrap_or(u32::MAX);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(max_two_way_streams))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(window)
        .receive_window(window)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(idle))))
        .keep_alive_interval(Some(limits.keep_alive))
        .datagram_receive_buffer_size(None);
    transport
}

/// What QUIC keeps of a connection that has not been looked at yet: a handshake's first flight, several times over.
const INCOMING_BYTES: u64 = 64 << 10;

fn open_endpoint(
    listen: Option<SocketAddr>,
    identity: &Identity,
    tls: &TlsFactory,
    transport: &Arc<TransportConfig>,
    limits: &LinkLimits,
) -> Result<Endpoint, LinkError> {
    let mut config = EndpointConfig::new(identity.reset_key());
    // Connection ids of an earlier process must not be dropped unseen, or no reset would ever be sent for them.
    config.cid_generator(|| Box::new(RandomConnectionIdGenerator::default()));
    let server = match listen {
        Some(_) => {
            // Each connection gets a configuration of its own; with this one nobody would be let in.
            let mut server = ServerConfig::with_crypto(tls.server(BTreeSet::new())?.0);
            server
                .transport_config(Arc::clone(transport))
                .max_incoming(limits.max_handshakes.saturating_mul(2))
                .incoming_buffer_size(INCOMING_BYTES)
                .incoming_buffer_size_total(INCOMING_BYTES.saturating_mul(16));
            Some(server)
        }
        None => None,
    };
    let socket = match listen {
        Some(address) => bind(address)?,
        // One socket for both address families, where the machine has both.
        None => bind((Ipv6Addr::UNSPECIFIED, 0).into()).or_else(|_| bind((Ipv4Addr::UNSPECIFIED, 0).into()))?,
    };
    let runtime = quinn::default_runtime().ok_or(LinkError::NoRuntime)?;
    let address = listen.unwrap_or((Ipv6Addr::UNSPECIFIED, 0).into());
    Endpoint::new(config, server, socket, runtime).map_err(|source| LinkError::Bind { address, source })
}

fn bind(address: SocketAddr) -> Result<UdpSocket, LinkError> {
    UdpSocket::bind(address).map_err(|source| LinkError::Bind { address, source })
}
