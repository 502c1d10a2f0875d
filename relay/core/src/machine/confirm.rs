//! Verified headers of a chain whose proofs are not conclusive: every own node is asked whether it has the same one.
//!
//! The newest header is asked about, one question at a time. Each header names its parent by hash, so a node that has
//! the tip of a span has every header below it: catching up over many headers costs one question. A node that can't say
//! yet says nothing; one that has another block at that height freezes the client, with both as evidence. Until one own
//! node has agreed, nothing that was proved at the header is attested.

use crate::hash::Hash32;
use crate::ids::{Domain, Height, UnixMillis};
use crate::light_client::ProofStrength;
use crate::machine::Machine;
use crate::machine::client::Client;
use crate::machine::effect::{Effect, Report};
use crate::machine::input::{Fetched, NodeStatement};
use crate::machine::io::Io;
use crate::record::{Frozen, Misbehaviour, witness};
use crate::verify::VerifiedHeader;

/// How far the own nodes have confirmed the headers of a chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Confirmed {
    /// The last header on which an own node agreed.
    height: Height,
    is_asking: bool,
    next: UnixMillis,
    tries: u32,
}

impl Confirmed {
    /// Nothing above `height` has been asked about.
    pub const fn up_to(height: Height) -> Self {
        Self { height, is_asking: false, next: UnixMillis(0), tries: 0 }
    }

    pub const fn forget_waits(&mut self, now: UnixMillis) {
        self.next = now;
        self.tries = 0;
    }
}

impl Client {
    fn needs_confirmation(&self) -> bool {
        self.setup.strength == ProofStrength::NeedsLocalConfirmation && self.setup.has_source
    }

    /// The last header whose heads may be attested.
    pub fn confirmed_height(&self) -> Height {
        if self.needs_confirmation() { self.confirmed.height } else { self.height }
    }

    /// When the next question about headers may be asked; `None` when there is nothing to ask.
    pub fn confirmation_due(&self) -> Option<UnixMillis> {
        self.unconfirmed().map(|_| self.confirmed.next)
    }

    fn unconfirmed(&self) -> Option<&VerifiedHeader> {
        if !self.needs_confirmation() || self.confirmed.is_asking || self.is_frozen() {
            return None;
        }
        self.headers.last_key_value().map(|(_, header)| header).filter(|tip| tip.height() > self.confirmed.height)
    }

    pub fn ask_confirmation(&mut self, io: &mut Io) {
        let Some(header) = self.unconfirmed().filter(|_| self.confirmed.next <= io.now).cloned() else { return };
        self.confirmed.is_asking = true;
        io.push(Effect::ConfirmHeader { header: Box::new(header) });
    }

    /// Takes the answers in; true when more is confirmed than before.
    fn confirmed(
        &mut self,
        io: &mut Io,
        (height, hash): (Height, Hash32),
        answer: Fetched<Vec<NodeStatement>>,
    ) -> bool {
        self.confirmed.is_asking = false;
        let domain = self.setup.domain;
        // After an operator's decision the client may have gone back to before it.
        let Some(ours) = self.headers.get(&height).filter(|ours| ours.hash() == hash).cloned() else { return false };
        let statements = match answer {
            Fetched::Some(statements) => statements,
            // No own node is configured: a relay goes by what it can verify, and an attester does not start so.
            Fetched::Nothing => {
                self.confirmed.height = height.max(self.confirmed.height);
                return true;
            }
            Fetched::Failed => Vec::new(),
        };
        let mut agreeing = 0;
        let mut silent = 0;
        let mut contrary = Vec::new();
        for NodeStatement { node, hash } in statements {
            match hash {
                Some(theirs) if theirs == ours.hash() => agreeing += 1,
                Some(theirs) if !self.is_rejected(height, theirs) => contrary.push((node, theirs)),
                // What an operator has decided against is no news, and no agreement either.
                Some(_) | None => silent += 1,
            }
        }
        io.report(Report::HeaderConfirmed { domain, height, agreeing, contrary: contrary.len(), silent });
        if !contrary.is_empty() {
            for (node, theirs) in contrary {
                let frozen = Frozen { height, ours: ours.hash(), theirs };
                let (ours, node) = (ours.header().clone(), witness(&node));
                io.report(Report::Contradicted { domain, height, node: node.clone(), theirs });
                let evidence = Misbehaviour::Contradiction { domain, ours, theirs, node, at: io.now };
                self.freeze(io, frozen, evidence);
            }
            return false;
        }
        if agreeing == 0 {
            self.confirmed.tries = self.confirmed.tries.saturating_add(1);
            self.confirmed.next = io.backoff(self.confirmed.tries);
            return false;
        }
        self.confirmed.height = height.max(self.confirmed.height);
        self.confirmed.forget_waits(io.now);
        true
    }
}

impl Machine {
    pub(super) fn on_header_confirmed(
        &mut self,
        domain: Domain,
        header: (Height, Hash32),
        answer: Fetched<Vec<NodeStatement>>,
    ) {
        let Some(client) = self.clients.get_mut(&domain) else { return };
        let has_news = client.confirmed(&mut self.io, header, answer);
        client.ask_confirmation(&mut self.io);
        if has_news {
            self.advance_flows_from(domain);
        }
    }
}
