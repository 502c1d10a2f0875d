//! The relay on the other side: it keeps a fixed number of heads in flight and sends as a real one does, headers as
//! soon as the receiver's client says where it stands, extensions once that client holds their header.

use std::collections::{BTreeMap, VecDeque};

use cityrelay_api::client::to_opaque;
use cityrelay_core::frame::{Frame, Hello, PROTOCOL_VERSIONS, Role};
use cityrelay_core::ids::{Domain, Index};
use cityrelay_core::lane::Flow;
use cityrelay_evm_bft::ADAPTER;
use cityrelay_evm_bft::verify::update::{Update, UpdateItem};

use crate::source_chain::Head;

/// Heads in flight: on their way, being verified, or waiting for the disk.
pub const WINDOW: usize = 64;

pub struct Peer {
    domain: Domain,
    headers: Vec<UpdateItem>,
    heads: VecDeque<Head>,
    total: usize,
    sent: usize,
    accepted: usize,
    /// Tips sent and not accepted, by flow.
    open: BTreeMap<Flow, VecDeque<Index>>,
    /// Where the receiver's client stands.
    client_height: usize,
    is_feeding: bool,
    /// Updates sent.
    pub updates: usize,
}

impl Peer {
    pub fn new(domain: Domain, headers: Vec<UpdateItem>, heads: Vec<Head>) -> Self {
        Self {
            domain,
            headers,
            total: heads.len(),
            heads: heads.into(),
            sent: 0,
            accepted: 0,
            open: BTreeMap::new(),
            client_height: 0,
            is_feeding: false,
            updates: 0,
        }
    }

    /// Whether every head was acknowledged.
    pub fn is_done(&self) -> bool {
        self.accepted == self.total
    }

    /// Takes in what the relay says, and gives what is to be said next.
    pub fn take(&mut self, frame: Frame) -> Vec<Frame> {
        let mut answers = Vec::new();
        match frame {
            Frame::Hello(_) => answers.push(Frame::Hello(Hello {
                oldest_version: *PROTOCOL_VERSIONS.start(),
                newest_version: *PROTOCOL_VERSIONS.end(),
                role: Role::Relay,
                clients: Vec::new(),
                flows: Vec::new(),
            })),
            Frame::ClientAt(at) => {
                self.client_height = usize::try_from(at.height.0).unwrap();
                self.is_feeding = false;
            }
            Frame::Accepted { flow, point } => {
                let open = self.open.entry(flow).or_default();
                while open.front().is_some_and(|tip| *tip <= point.index) {
                    open.pop_front();
                    self.accepted += 1;
                }
            }
            Frame::Declined(declined) => panic!("an honest frame was declined: {declined:?}"),
            _ => {}
        }
        self.send(&mut answers);
        answers
    }

    fn send(&mut self, frames: &mut Vec<Frame>) {
        let end = (self.accepted + WINDOW).min(self.total);
        if !self.is_feeding && self.client_height < end {
            let items = self.headers[self.client_height..end].to_vec();
            let update = to_opaque(ADAPTER, &Update { items });
            frames.push(Frame::Update { domain: self.domain, update });
            self.is_feeding = true;
            self.updates += 1;
        }
        while self.sent < end.min(self.client_height) {
            let head = self.heads.pop_front().unwrap();
            self.open.entry(head.flow).or_default().push_back(head.tip.index);
            self.sent += 1;
            frames.push(head.frame);
        }
    }
}
