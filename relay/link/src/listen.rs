//! Taking sessions that peers dial.

use std::sync::Arc;

use quinn::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tracing::debug;

use crate::handshake::{HandshakeFault, accept};
use crate::hub::Hub;
use crate::refusal::Refusal;
use crate::session::Session;

/// Takes incoming connections until the link is closed. Nobody waits for anybody else's handshake.
pub(crate) async fn keep_listening(hub: Arc<Hub>) {
    loop {
        let incoming = tokio::select! {
            incoming = hub.endpoint.accept() => incoming,
            () = hub.shutdown.cancelled() => return,
        };
        let Some(incoming) = incoming else { return };
        let limit = hub.limits.max_handshakes;
        let Ok(turn) = Arc::clone(&hub.handshakes).try_acquire_owned() else {
            let remote = incoming.remote_address();
            incoming.refuse();
            hub.refuse(remote, None, Refusal::TooManyHandshakes { limit });
            continue;
        };
        // RFC 9000 §8.1.2: under load nobody gets further without proving that his address is his own.
        if hub.handshakes.available_permits() < limit / 2 && incoming.may_retry() {
            // It fails only for what `may_retry` has excluded.
            let _ = incoming.retry();
            continue;
        }
        hub.tasks.spawn(take(Arc::clone(&hub), incoming, turn));
    }
}

async fn take(hub: Arc<Hub>, incoming: Incoming, turn: OwnedSemaphorePermit) {
    let remote = incoming.remote_address();
    let accepted = tokio::select! {
        accepted = timeout(hub.limits.handshake_timeout, accept(&hub, incoming)) => accepted,
        () = hub.shutdown.cancelled() => return,
    };
    drop(turn);
    match accepted {
        // A session that does not replace the standing one is what happens when both sides dial at once.
        Ok(Ok((peer, established))) => {
            if let Err(refusal) = Session::start(&hub, &peer, established) {
                debug!(%remote, peer = %peer.name, %refusal, "not taken");
            }
        }
        Ok(Err(HandshakeFault::Refused(refusal))) => hub.refuse(remote, None, refusal),
        Ok(Err(fault)) => debug!(%remote, %fault, "incoming connection ended"),
        Err(_) => hub.refuse(remote, None, Refusal::HandshakeTimeout),
    }
}
