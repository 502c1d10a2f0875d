//! False things that a relay gone bad says: each must be refused by whoever hears it, and must cost nothing but time.

use cityrelay_core::chain::Entry;
use cityrelay_core::claim::Claim;
use cityrelay_core::frame::Frame;
use cityrelay_core::hash::keccak256;
use cityrelay_core::ids::{Epoch, Height, Index, UnixMillis};
use cityrelay_core::machine::config::PeerId;
use cityrelay_core::message::{Message, Payload};

use crate::dice::Dice;
use crate::world::{RELAYS, World};

impl World {
    /// What a process really says: the frame, or something false in its place.
    pub fn perhaps_falsified(&mut self, id: PeerId, frame: Frame) -> Frame {
        let likely = self.process(id).weather.false_frames;
        if usize::try_from(id.0).unwrap() >= RELAYS || !self.dice.chance(likely) {
            return frame;
        }
        self.count("false frames");
        match frame {
            Frame::Extension { mut claim, mut evidence } => {
                match self.dice.between(0, 4) {
                    0 => evidence.clear(),
                    1 => evidence.iter_mut().for_each(|evidence| evidence.epoch = Epoch(evidence.epoch.0 + 1)),
                    2 => evidence.iter_mut().for_each(|evidence| {
                        evidence.signatures.pop_last();
                    }),
                    _ => falsify_claim(&mut claim, &mut self.dice),
                }
                Frame::Extension { claim, evidence }
            }
            Frame::AttestRequest { mut claim, mut index, epoch } => {
                match self.dice.between(0, 3) {
                    0 => index = Index(index.0 + 1),
                    _ => falsify_claim(&mut claim, &mut self.dice),
                }
                Frame::AttestRequest { claim, index, epoch }
            }
            Frame::Update { domain, mut update } => {
                if let Some(byte) = update.bytes.last_mut() {
                    *byte ^= 1;
                }
                Frame::Update { domain, update }
            }
            other => other,
        }
    }
}

/// Breaks one thing in a claim.
fn falsify_claim(claim: &mut Claim, dice: &mut Dice) {
    match dice.between(0, 7) {
        0 => claim.height = Height(claim.height.0 + 1000),
        1 => claim.height = Height(claim.height.0.saturating_sub(1)),
        2 => claim.tail.push(keccak256(b"a link that nobody made")),
        3 => claim.first = claim.first.next(),
        4 => {
            claim.entries.pop();
        }
        5 => claim.proof.bytes.truncate(32),
        6 => {
            if let Some(byte) = claim.proof.bytes.last_mut() {
                *byte ^= 1;
            }
        }
        _ => {
            if let Some(entry) = claim.entries.last_mut() {
                *entry = falsified(entry.clone());
            }
        }
    }
}

fn falsified(entry: Entry) -> Entry {
    match entry {
        Entry::Message(message) => {
            let payload = Payload::Bytes(b"what nobody sent".to_vec());
            Entry::Message(Message { payload, deadline: UnixMillis(u64::MAX), ..message })
        }
        Entry::Outcome(outcome) => {
            let result_hash = keccak256(b"what never came about");
            Entry::Outcome(cityrelay_core::outcome::Outcome { result_hash, ..outcome })
        }
    }
}
