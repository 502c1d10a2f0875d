//! Two statements about one height: the client freezes, both are kept, an operator decides (invariant I8).

use crate::hash::Hash32;
use crate::ids::{Domain, Height};
use crate::light_client::{Gravity, Refusal, Value};
use crate::machine::Machine;
use crate::machine::client::Client;
use crate::machine::effect::{Report, UpdateOrigin};
use crate::machine::io::{After, Io};
use crate::opaque::Opaque;
use crate::order::Choice;
use crate::record::{Decided, Frozen, Misbehaviour, Record, witness};
use crate::verify::VerifiedHeader;

impl Client {
    pub const fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// Stops the client at once; the report comes when the evidence is durable. Evidence that a full disk does not take
    /// is offered again, and one that the journal refuses leaves the client stopped until a restart.
    pub fn freeze(&mut self, io: &mut Io, frozen: Frozen, evidence: Misbehaviour) {
        let domain = self.setup.domain;
        self.frozen.get_or_insert(frozen);
        self.drop_step();
        io.append(vec![Record::Misbehaviour(evidence)], After::Frozen { domain });
    }

    /// A header of the update is refused. Only a second final header freezes, and only when nobody has judged it yet.
    pub fn refused(&mut self, io: &mut Io, update: Opaque, origin: UpdateOrigin, name: &str, refusal: Refusal) {
        let domain = self.setup.domain;
        let ours = refusal.height.and_then(|height| self.headers.get(&height)).cloned();
        let theirs = match &refusal.got {
            Value::Hash(hash) => *hash,
            _ => Hash32::ZERO,
        };
        match (refusal.gravity, ours) {
            (Gravity::Equivocation, Some(ours)) if !self.is_rejected(ours.height(), theirs) => {
                let frozen = Frozen { height: ours.height(), ours: ours.hash(), theirs };
                let evidence = Misbehaviour::Equivocation {
                    domain,
                    ours: ours.header().clone(),
                    theirs: update,
                    theirs_hash: theirs,
                    served_by: witness(name),
                    at: io.now,
                };
                self.end_step();
                self.freeze(io, frozen, evidence);
            }
            _ => {
                io.report(Report::Lie { domain, origin, refusal });
                self.rest(io, true);
            }
        }
    }

    /// Whether an operator has decided against this header.
    pub fn is_rejected(&self, height: Height, hash: Hash32) -> bool {
        self.decided.get(&height).is_some_and(|decided| decided.rejected == hash)
    }

    /// The refusal of headers that an operator has decided against, however well they are sealed.
    pub fn verify_decisions(&self, headers: &[VerifiedHeader]) -> Result<(), Refusal> {
        let rejected = headers.iter().find(|header| self.is_rejected(header.height(), header.hash()));
        match rejected.and_then(|header| Some((header, self.decided.get(&header.height())?))) {
            None => Ok(()),
            Some((header, decided)) => {
                Err(Refusal::new("decided-header", decided.chosen, header.hash()).at(header.height()))
            }
        }
    }

    fn unfreeze(&mut self, choice: Choice) {
        let Some(Frozen { height, ours, theirs }) = self.frozen.take() else { return };
        let (chosen, rejected) = match choice {
            Choice::Ours => (ours, theirs),
            Choice::Theirs => (theirs, ours),
        };
        self.decided.insert(height, Decided { height, chosen, rejected });
        if choice == Choice::Theirs {
            self.start_from_anchor();
        }
    }
}

impl Machine {
    pub(super) fn client_is_frozen(&mut self, domain: Domain) {
        if self.clients.contains_key(&domain) {
            self.io.report(Report::Frozen { domain });
        }
    }

    pub(super) fn unfreeze(&mut self, domain: Domain, choice: Choice) {
        let Some(client) = self.clients.get_mut(&domain) else { return };
        client.unfreeze(choice);
        client.forget_waits(&mut self.io);
        // It may stand at its anchor again, from where peers must send the other branch.
        self.tell_client(domain);
        self.advance_flows_from(domain);
    }

    /// The name of whoever served an update, as it is kept in evidence.
    pub(super) fn name_of(&self, origin: &UpdateOrigin) -> String {
        match origin {
            UpdateOrigin::Node(name) => name.clone(),
            UpdateOrigin::Peer(peer) => self.peers.get(peer).map(|peer| peer.setup.name.clone()).unwrap_or_default(),
        }
    }
}
