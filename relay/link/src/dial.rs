//! Dialling a peer whenever there is no session with it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use crate::backoff::Backoff;
use crate::config::PeerAddress;
use crate::handshake::{HandshakeFault, dial};
use crate::hub::Hub;
use crate::peer::Peer;
use crate::refusal::{CloseCode, Refusal};
use crate::session::Session;

/// Why an attempt to dial came to nothing. Another one follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DialFailure {
    /// The host name could not be looked up.
    Lookup,
    /// No packet can be sent there.
    Unreachable,
    /// Nobody answered in time.
    Timeout,
    /// The connection was lost before the session stood.
    Lost,
    /// The peer refused: see its log.
    RefusedByPeer,
    /// Refused here: the wrong key, or a broken protocol.
    RefusedHere,
    /// Another session with the peer stands or too many do.
    NotNeeded,
    /// This build cannot do TLS.
    Tls,
}

impl DialFailure {
    /// The word used as a metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Lost => "lost",
            Self::RefusedByPeer => "refused-by-peer",
            Self::RefusedHere => "refused-here",
            Self::NotNeeded => "not-needed",
            Self::Tls => "tls",
        }
    }
}

/// Dials `peer` at its address of the moment until the link is closed, pausing longer after each failure.
pub(crate) async fn keep_dialling(hub: Arc<Hub>, peer: Arc<Peer>) {
    let mut address = peer.address.subscribe();
    loop {
        let current = address.borrow_and_update().clone();
        let dial = async {
            match &current {
                Some(address) => dial_when_down(&hub, &peer, address).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = dial => return,
            changed = address.changed() => {
                // The sender lives in the peer, which this function holds.
                if changed.is_err() {
                    return;
                }
            }
            () = hub.shutdown.cancelled() => return,
        }
    }
}

async fn dial_when_down(hub: &Arc<Hub>, peer: &Arc<Peer>, address: &PeerAddress) {
    let mut backoff = Backoff::new(hub.limits.reconnect_min, hub.limits.reconnect_max);
    let mut up = peer.up.subscribe();
    loop {
        if !*up.borrow_and_update()
            && let Err(failure) = attempt(hub, peer, address).await
        {
            peer.counters.failed_to_dial(failure);
        }
        let since = Instant::now();
        // The sender lives in the peer, which this function holds.
        if up.wait_for(|is_up| !is_up).await.is_err() {
            return;
        }
        if since.elapsed() >= hub.limits.reconnect_max {
            backoff.reset();
        }
        tokio::select! {
            () = sleep(backoff.pause(rand::random())) => {}
            _ = up.wait_for(|is_up| *is_up) => {}
        }
    }
}

/// Tries every address of the peer in turn.
async fn attempt(hub: &Arc<Hub>, peer: &Arc<Peer>, address: &PeerAddress) -> Result<(), DialFailure> {
    let addresses = lookup(address).await.map_err(|error| {
        debug!(peer = %peer.name, %address, %error, "lookup failed");
        DialFailure::Lookup
    })?;
    let mut failure = DialFailure::Lookup;
    for remote in addresses {
        if *peer.up.borrow() {
            return Err(DialFailure::NotNeeded);
        }
        failure = match attempt_one(hub, peer, remote).await {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
    }
    Err(failure)
}

async fn attempt_one(hub: &Arc<Hub>, peer: &Arc<Peer>, remote: SocketAddr) -> Result<(), DialFailure> {
    let slot = hub.session_slot(peer).map_err(|_| DialFailure::NotNeeded)?;
    let fault = match timeout(hub.limits.handshake_timeout, dial(hub, peer, remote, slot)).await {
        Err(_) => return Err(DialFailure::Timeout),
        Ok(Ok(established)) => {
            return Session::start(hub, peer, established).map_err(|_| DialFailure::NotNeeded);
        }
        Ok(Err(fault)) => fault,
    };
    debug!(peer = %peer.name, %remote, %fault, "dialling failed");
    Err(match fault {
        HandshakeFault::Refused(Refusal::HandshakeTimeout) => DialFailure::Timeout,
        HandshakeFault::Refused(refusal) => {
            hub.refuse(remote, Some(peer), refusal);
            DialFailure::RefusedHere
        }
        HandshakeFault::NotNeeded | HandshakeFault::RefusedByPeer(CloseCode::DuplicateSession) => {
            DialFailure::NotNeeded
        }
        HandshakeFault::RefusedByPeer(_) => DialFailure::RefusedByPeer,
        HandshakeFault::Lost(_) => DialFailure::Lost,
        HandshakeFault::Unreachable(_) => DialFailure::Unreachable,
        HandshakeFault::Tls(_) => DialFailure::Tls,
    })
}

async fn lookup(address: &PeerAddress) -> io::Result<Vec<SocketAddr>> {
    match address {
        PeerAddress::Socket(address) => Ok(vec![*address]),
        PeerAddress::Host { host, port } => {
            let addresses = tokio::net::lookup_host((host.as_str(), *port)).await?;
            Ok(addresses.take(MAX_ADDRESSES).collect())
        }
    }
}

/// More addresses than any relay has; a name server must not keep a dialler busy.
const MAX_ADDRESSES: usize = 8;
