//! Collecting attestations of one head.

use std::collections::{BTreeMap, BTreeSet};

use crate::attestation::SignatureBytes;
use crate::chain::ChainPoint;
use crate::gateway_call::Evidence;
use crate::ids::{AttesterId, Epoch, UnixMillis};
use crate::machine::config::PeerId;

/// The votes for one head under one epoch, and when each attester is to be asked again.
#[derive(Clone, Debug, Default)]
pub(super) struct Quorum {
    epoch: Epoch,
    votes: BTreeMap<AttesterId, SignatureBytes>,
    ask_again: BTreeMap<PeerId, UnixMillis>,
    /// Answers of each attester that are still looked at: checking a signature costs more than sending one.
    answers_left: BTreeMap<PeerId, u8>,
    since: Option<UnixMillis>,
    /// Attesters that signed another head, each to be recorded once.
    accused: BTreeSet<AttesterId>,
    /// The signatures are enough and on their way to the disk.
    pub is_closing: bool,
}

/// Answers that are looked at for each time that an attester is asked: its signature, one of the epoch before that comes
/// late, and one that contradicts it.
const ANSWERS: u8 = 3;

impl Quorum {
    /// Begins anew when the epoch is another one.
    pub fn enter_epoch(&mut self, epoch: Epoch) {
        if self.epoch != epoch {
            let accused = core::mem::take(&mut self.accused);
            *self = Self { epoch, since: self.since, accused, ..Self::default() };
        }
    }

    pub fn should_ask(&self, peer: PeerId, now: UnixMillis) -> bool {
        !self.is_closing && self.ask_again.get(&peer).is_none_or(|again| *again <= now)
    }

    pub fn asked(&mut self, peer: PeerId, now: UnixMillis, again: UnixMillis) {
        self.since.get_or_insert(now);
        self.ask_again.insert(peer, again);
        self.answers_left.insert(peer, ANSWERS);
    }

    /// Whether one more answer of an attester is looked at: a few, and as many again each time that it is asked.
    pub fn takes_answer(&mut self, peer: PeerId) -> bool {
        let left = self.answers_left.entry(peer).or_insert(ANSWERS);
        let has_left = *left > 0;
        *left = left.saturating_sub(1);
        has_left
    }

    pub fn forget_asking(&mut self, peer: PeerId) {
        self.ask_again.remove(&peer);
    }

    /// Everybody may be asked again at once.
    pub fn forget_waits(&mut self) {
        self.ask_again.clear();
    }

    pub fn next_due(&self) -> Option<UnixMillis> {
        if self.is_closing { None } else { self.ask_again.values().min().copied() }
    }

    /// Adds a checked vote; gives the evidence when it is the one that makes them `enough`.
    pub fn vote(
        &mut self,
        attester: AttesterId,
        signature: SignatureBytes,
        enough: usize,
        point: ChainPoint,
    ) -> Option<Evidence> {
        if self.is_closing {
            return None;
        }
        self.votes.insert(attester, signature);
        if self.votes.len() < enough {
            return None;
        }
        self.is_closing = true;
        Some(Evidence { point, epoch: self.epoch, signatures: self.votes.clone() })
    }

    /// Notes that an attester signed another head; false when that is known.
    pub fn accuse(&mut self, attester: AttesterId) -> bool {
        self.accused.insert(attester)
    }

    /// Whose votes count so far.
    pub fn voters(&self) -> impl Iterator<Item = AttesterId> {
        self.votes.keys().copied()
    }

    pub fn millis_since_asked(&self, now: UnixMillis) -> u64 {
        self.since.map_or(0, |since| now.0.saturating_sub(since.0))
    }
}
