//! A link with the receiving end of its events, and what tests ask of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cityrelay_core::frame::Frame;
use cityrelay_core::ids::LaneId;
use cityrelay_link::{
    DownReason, Fingerprint, FramePermit, Identity, Link, LinkConfig, LinkEvent, LinkLimits, PeerAddress, PeerConfig,
    PeerName, PeerStats, Refusal, SessionId,
};
use tokio::sync::mpsc::Receiver;

use crate::frames;

/// Longer than anything here takes, shorter than anybody's patience.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Node {
    pub link: Link,
    pub events: Receiver<LinkEvent>,
}

pub fn identity(seed: u8) -> Identity {
    Identity::generate(&[seed; 32]).unwrap()
}

pub fn fingerprint(seed: u8) -> Fingerprint {
    identity(seed).fingerprint()
}

/// A peer is called by its seed.
pub fn name(seed: u8) -> PeerName {
    PeerName::new(&format!("peer-{seed}"))
}

pub fn peer(seed: u8, address: Option<SocketAddr>) -> PeerConfig {
    let address = address.map(PeerAddress::Socket);
    PeerConfig { name: name(seed), fingerprint: fingerprint(seed), next_fingerprint: None, address, lanes: None }
}

pub fn peer_with_lanes(seed: u8, address: Option<SocketAddr>, lanes: &[LaneId]) -> PeerConfig {
    PeerConfig { lanes: Some(lanes.iter().copied().collect::<BTreeSet<_>>()), ..peer(seed, address) }
}

pub fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Limits with short times, so that a test of a timeout takes little of it.
pub fn limits() -> LinkLimits {
    LinkLimits {
        handshake_timeout: Duration::from_secs(2),
        frame_timeout: Duration::from_millis(700),
        idle_timeout: Duration::from_secs(3),
        keep_alive: Duration::from_millis(200),
        reconnect_min: Duration::from_millis(20),
        reconnect_max: Duration::from_millis(300),
        ..LinkLimits::default()
    }
}

pub fn config(seed: u8, listen: Option<SocketAddr>, peers: Vec<PeerConfig>) -> LinkConfig {
    LinkConfig { listen, identity: identity(seed), peers, limits: limits() }
}

/// Two links with a session and hellos exchanged. The first one dialled.
pub async fn pair() -> (Node, Node) {
    pair_with(limits(), limits()).await
}

pub async fn pair_with(dialler: LinkLimits, listener: LinkLimits) -> (Node, Node) {
    let listener = LinkConfig { limits: listener, ..config(2, Some(any_port()), vec![peer(1, None)]) };
    let mut b = Node::start(listener);
    let peers = vec![peer(2, Some(b.address()))];
    let mut a = Node::start(LinkConfig { limits: dialler, ..config(1, None, peers) });
    greet(&mut a, &mut b).await;
    (a, b)
}

/// Waits for a session between nodes 1 and 2 and exchanges hellos.
pub async fn greet(a: &mut Node, b: &mut Node) {
    a.up().await;
    b.up().await;
    a.say_hello(2).await;
    b.say_hello(1).await;
    assert_eq!(a.frame().await.0, frames::hello());
    assert_eq!(b.frame().await.0, frames::hello());
}

impl Node {
    pub fn start(config: LinkConfig) -> Self {
        let (link, events) = Link::start(config).unwrap();
        Self { link, events }
    }

    /// Starts on a port that somebody is just letting go.
    pub fn restart(config: LinkConfig) -> Self {
        let start = Instant::now();
        loop {
            match Link::start(config.clone()) {
                Ok((link, events)) => return Self { link, events },
                Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.link.local_address().unwrap()
    }

    pub async fn say_hello(&self, to: u8) {
        self.link.send(&name(to), &frames::hello()).await.unwrap();
    }

    pub async fn send(&self, to: u8, frame: &Frame) {
        tokio::time::timeout(PATIENCE, self.link.send(&name(to), frame)).await.expect("room in time").unwrap();
    }

    pub async fn event(&mut self) -> LinkEvent {
        tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("an event in time").expect("the link runs")
    }

    pub async fn up(&mut self) -> SessionId {
        match self.event().await {
            LinkEvent::Up { session, .. } => session,
            other => panic!("expected Up, got {other:?}"),
        }
    }

    pub async fn down(&mut self) -> DownReason {
        match self.event().await {
            LinkEvent::Down { reason, .. } => reason,
            other => panic!("expected Down, got {other:?}"),
        }
    }

    pub async fn frame(&mut self) -> (Frame, FramePermit) {
        match self.event().await {
            LinkEvent::Frame { frame, permit, .. } => (frame, permit),
            other => panic!("expected Frame, got {other:?}"),
        }
    }

    pub async fn refused(&mut self) -> Refusal {
        match self.event().await {
            LinkEvent::Refused { reason, .. } => reason,
            other => panic!("expected Refused, got {other:?}"),
        }
    }

    /// Asserts that nothing happens for a while.
    pub async fn quiet(&mut self, time: Duration) {
        if let Ok(event) = tokio::time::timeout(time, self.events.recv()).await {
            panic!("expected nothing, got {event:?}");
        }
    }

    pub fn peer_stats(&self, seed: u8) -> PeerStats {
        self.link.stats().peers[&name(seed)].clone()
    }

    pub fn refusals(&self, word: &str) -> u64 {
        self.link.stats().refusals.get(word).copied().unwrap_or(0)
    }
}

/// Waits until `holds`, looking often.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
