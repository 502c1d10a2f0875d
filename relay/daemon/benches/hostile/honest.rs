//! The honest relay: as in the bench of the relay stage, over a real session.

use std::net::SocketAddr;

use cityrelay_core::frame::Frame;
use cityrelay_link::{Fingerprint, Link, LinkEvent, PeerName};
use tokio::sync::mpsc;

use crate::peer::Peer;
use crate::relay::{HONEST_SEED, link_to};
use crate::source_chain::SourceChain;

/// Sends every head of the chain and returns when the last one is acknowledged.
pub fn run(chain: SourceChain, to: SocketAddr, relay: Fingerprint) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let (link, mut events, name) = link_to(HONEST_SEED, to, relay);
        let mut peer = Peer::new(chain.domain, chain.headers, chain.heads);
        let (frames, waiting) = mpsc::unbounded_channel();
        tokio::spawn(send_all(link.clone(), name, waiting));
        while !peer.is_done() {
            match events.recv().await.unwrap() {
                LinkEvent::Frame { frame, .. } => {
                    // The greeting comes first: the answer to it is ours.
                    for answer in peer.take(frame) {
                        frames.send(answer).unwrap();
                    }
                }
                LinkEvent::Down { reason, .. } => panic!("the honest session ended: {reason}"),
                _ => {}
            }
        }
        link.close().await;
    });
}

async fn send_all(link: Link, name: PeerName, mut waiting: mpsc::UnboundedReceiver<Frame>) {
    while let Some(frame) = waiting.recv().await {
        if link.send(&name, &frame).await.is_err() {
            return;
        }
    }
}
