//! The hostile relay: configured, with lanes of its own, and every claim false in its last signature.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cityrelay_api::client::to_opaque;
use cityrelay_core::frame::{Frame, Hello, PROTOCOL_VERSIONS, Role};
use cityrelay_evm_bft::ADAPTER;
use cityrelay_evm_bft::verify::update::Update;
use cityrelay_link::{Fingerprint, LinkEvent};

use crate::relay::{HOSTILE_SEED, link_to};
use crate::source_chain::SourceChain;

/// A flood that goes on until it is dropped.
pub struct Flood {
    is_up: Arc<AtomicBool>,
    _runtime: tokio::runtime::Runtime,
}

impl Flood {
    pub fn start(chain: SourceChain, to: SocketAddr, relay: Fingerprint) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let is_up = Arc::new(AtomicBool::new(false));
        runtime.spawn(flood(chain, to, relay, Arc::clone(&is_up)));
        Self { is_up, _runtime: runtime }
    }

    /// Whether its false claims are on their way.
    pub fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }
}

async fn flood(chain: SourceChain, to: SocketAddr, relay: Fingerprint, is_up: Arc<AtomicBool>) {
    let (link, mut events, name) = link_to(HOSTILE_SEED, to, relay);
    let height = chain.headers.len() as u64;
    let mut claims: Vec<Frame> = chain.heads.into_iter().map(|head| spoiled(head.frame)).collect();
    let mut headers =
        Some(Frame::Update { domain: chain.domain, update: to_opaque(ADAPTER, &Update { items: chain.headers }) });
    while let Some(event) = events.recv().await {
        match event {
            LinkEvent::Frame { frame: Frame::Hello(_), .. } => {
                let hello = Hello {
                    oldest_version: *PROTOCOL_VERSIONS.start(),
                    newest_version: *PROTOCOL_VERSIONS.end(),
                    role: Role::Relay,
                    clients: Vec::new(),
                    flows: Vec::new(),
                };
                link.send(&name, &Frame::Hello(hello)).await.unwrap();
                link.send(&name, &headers.take().unwrap()).await.unwrap();
            }
            LinkEvent::Frame { frame: Frame::ClientAt(at), .. } if at.height.0 == height => {
                for claim in claims.drain(..) {
                    let (link, name) = (link.clone(), name.clone());
                    tokio::spawn(async move { while link.send(&name, &claim).await.is_ok() {} });
                }
                is_up.store(true, Ordering::Relaxed);
            }
            LinkEvent::Down { reason, .. } => panic!("the hostile session ended: {reason}"),
            _ => {}
        }
    }
}

/// The claim with its last signature changed: what comes before it all holds.
fn spoiled(frame: Frame) -> Frame {
    let Frame::Extension { claim, mut evidence } = frame else { panic!("a head is an extension") };
    let mut last = evidence[0].signatures.last_entry().unwrap();
    last.get_mut().0[40] ^= 1;
    Frame::Extension { claim, evidence }
}
