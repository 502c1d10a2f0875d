//! Asking attesters for signatures of one flow's heads, and bringing those up to date that lag behind.

use std::collections::{BTreeMap, BTreeSet};

use crate::attestation::Committee;
use crate::chain::{ChainPoint, Entry};
use crate::claim::Claim;
use crate::frame::{Frame, Role};
use crate::hash::Hash32;
use crate::ids::{AttesterId, Epoch, Index, UnixMillis};
use crate::lane::Flow;
use crate::machine::Machine;
use crate::machine::config::PeerId;
use crate::machine::effect::Effect;
use crate::machine::io::Io;
use crate::machine::quorum::Quorum;
use crate::record::ExtensionRecord;

/// Heads for which attesters are asked at the same time, per flow.
pub(super) const ASKED_AT_ONCE: usize = 32;

/// Where each attester stands on one flow.
#[derive(Debug, Default)]
pub(super) struct Asking {
    attesters: BTreeMap<PeerId, Progress>,
}

/// Where an attester will stand once it has dealt with what it was sent.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    expected: Index,
    is_loading: bool,
    /// From when on the journal is read again for it, after a reading that brought nothing.
    load_again: UnixMillis,
    /// From when on it is believed again that it stands further back than what it was sent would take it.
    may_fall_back: UnixMillis,
}

/// A durable head that lacks signatures of the set in force.
pub(super) struct Unsigned<'a> {
    pub record: &'a ExtensionRecord,
    pub tip: ChainPoint,
    pub quorum: &'a mut Quorum,
}

impl Asking {
    /// Asks every attester for the first heads that lack signatures.
    pub fn ask<'a>(
        &mut self,
        io: &mut Io,
        epoch: Epoch,
        attesters: &BTreeSet<PeerId>,
        unsigned: impl Iterator<Item = Unsigned<'a>>,
    ) {
        let again = ask_again(io);
        for head in unsigned.take(ASKED_AT_ONCE) {
            head.quorum.enter_epoch(epoch);
            for peer in attesters {
                if !head.quorum.should_ask(*peer, io.now) {
                    continue;
                }
                let flow = head.record.flow;
                let progress = self.attesters.entry(*peer).or_default();
                if progress.expected < head.record.base.index {
                    if !progress.is_loading && progress.load_again <= io.now {
                        progress.is_loading = true;
                        let (first, last) = (progress.expected.next(), head.tip.index);
                        io.push(Effect::LoadClaim { flow, peer: *peer, first, last });
                    }
                    continue;
                }
                progress.expected = progress.expected.max(head.tip.index);
                head.quorum.asked(*peer, io.now, again);
                let claim = head.record.claim_without_payloads();
                let frame = Frame::AttestRequest { claim, index: head.tip.index, epoch };
                io.push(Effect::Send { peer: *peer, frame });
            }
        }
    }

    /// Sends an attester what it lacks before the head that `entries` and `tail` lead to.
    fn send_loaded<'a>(
        &mut self,
        io: &mut Io,
        epoch: Epoch,
        peer: PeerId,
        entries: Vec<Entry>,
        mut tail: Vec<Hash32>,
        mut heads: impl Iterator<Item = Unsigned<'a>>,
    ) {
        let Some(progress) = self.attesters.get_mut(&peer) else { return };
        progress.is_loading = false;
        let (Some(first), Some(last)) = (entries.first().map(Entry::index), entries.last().map(Entry::index)) else {
            // Pruned, or unreadable at the moment: asking at once again would change nothing. The first head's own wait
            // wakes us.
            let again = ask_again(io);
            progress.load_again = again;
            if let Some(head) = heads.next() {
                head.quorum.enter_epoch(epoch);
                head.quorum.asked(peer, io.now, again);
            }
            return;
        };
        let end = last.plus(tail.len());
        let Some(head) = heads.find(|head| head.tip.index == end) else { return };
        if first != progress.expected.next() {
            return;
        }
        progress.expected = last;
        if last == end {
            // This request is the one for the head itself: a second one would take its place in the queue there.
            head.quorum.enter_epoch(epoch);
            head.quorum.asked(peer, io.now, ask_again(io));
        }
        tail.extend_from_slice(&head.record.tail);
        let claim = Claim {
            flow: head.record.flow,
            first,
            entries,
            tail,
            height: head.record.proved_at,
            proof: head.record.proof.clone(),
        };
        io.push(Effect::Send { peer, frame: Frame::AttestRequest { claim, index: last, epoch } });
    }

    /// An attester says where it stands; true when it lacks something that it was sent and must be asked anew.
    ///
    /// Every request behind a missing one is declined with such a word: only the first counts, or each answer would be
    /// a new round of requests. What that one does not mend is found when the attester is asked again.
    fn stands_at(&mut self, io: &Io, peer: PeerId, index: Index) -> bool {
        let progress = self.attesters.entry(peer).or_default();
        if index >= progress.expected {
            progress.expected = index;
            return false;
        }
        if progress.may_fall_back > io.now {
            return false;
        }
        let may_fall_back = ask_again(io);
        *progress = Progress { expected: index, may_fall_back, ..Progress::default() };
        true
    }

    /// The session with a peer ended.
    pub fn forget(&mut self, peer: PeerId) {
        self.attesters.remove(&peer);
    }
}

/// When an attester that does not answer is asked again.
fn ask_again(io: &Io) -> UnixMillis {
    io.after(io.limits.retry_min.saturating_mul(8))
}

impl Machine {
    /// The attesters that can be asked for a signature that this committee counts.
    ///
    /// One whose address is in no member's place is passed over, but only if every member is a known peer: an address
    /// that has changed since it was written down must not cost a vote.
    pub(super) fn attesters_of(&self, committee: &Committee) -> BTreeSet<PeerId> {
        let members = committee.members();
        let attesters = self.peers.values().filter(|peer| peer.setup.role == Role::Attester);
        let is_known = |member: &AttesterId| attesters.clone().any(|peer| peer.setup.attester == Some(*member));
        let counts = |address: AttesterId| members.contains(&address) || !members.iter().all(is_known);
        let asked = attesters.clone().filter(|peer| peer.is_ready && peer.setup.attester.is_none_or(counts));
        asked.map(|peer| peer.setup.id).collect()
    }

    /// How many attesters have a session whose signatures this committee counts, as far as their addresses are known.
    pub(super) fn reachable(&self, committee: &Committee) -> usize {
        let counts = |address: AttesterId| committee.members().contains(&address);
        let attesters = self.peers.values().filter(|peer| peer.setup.role == Role::Attester && peer.is_ready);
        attesters.filter(|peer| peer.setup.attester.is_none_or(counts)).count()
    }

    pub(super) fn on_claim_loaded(&mut self, flow: Flow, peer: PeerId, entries: Vec<Entry>, tail: Vec<Hash32>) {
        if let Some(out) = self.outbound.get_mut(&flow) {
            let Some(committee) = self.committees.get(&out.committee) else { return };
            let heads = out.queue.iter_mut().map(|outgoing| outgoing.unsigned());
            out.asking.send_loaded(&mut self.io, committee.epoch(), peer, entries, tail, heads);
        } else if let Some(inbound) = self.inbound.get_mut(&flow) {
            let Some(committee) = self.committees.get(&inbound.committee) else { return };
            let heads = inbound.queue.iter_mut().map(|incoming| incoming.unsigned());
            inbound.asking.send_loaded(&mut self.io, committee.epoch(), peer, entries, tail, heads);
        }
        self.ask_attesters(flow);
        self.reattest(flow);
    }

    /// An attester says where it stands.
    pub(super) fn on_attester_at(&mut self, peer: PeerId, flow: Flow, point: ChainPoint) {
        if let Some(out) = self.outbound.get_mut(&flow) {
            let falls_back = out.asking.stands_at(&self.io, peer, point.index);
            out.queue.iter_mut().filter(|_| falls_back).for_each(|outgoing| outgoing.quorum.forget_asking(peer));
        }
        if let Some(inbound) = self.inbound.get_mut(&flow) {
            let falls_back = inbound.asking.stands_at(&self.io, peer, point.index);
            inbound.queue.iter_mut().filter(|_| falls_back).for_each(|incoming| incoming.quorum.forget_asking(peer));
        }
        self.ask_attesters(flow);
        self.reattest(flow);
    }
}
