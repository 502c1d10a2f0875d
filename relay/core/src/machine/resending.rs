//! Journals that are older than what was said: a peer that holds less than it acknowledged is sent the rest again, and one
//! that holds more than we know of is caught up with.

use crate::chain::ChainPoint;
use crate::gateway_call::Evidence;
use crate::ids::Index;
use crate::lane::Flow;
use crate::machine::Machine;
use crate::machine::config::{Limits, PeerId};
use crate::machine::effect::{Effect, Report};
use crate::machine::outbound::{Next, Outgoing};
use crate::record::ExtensionRecord;

/// What one outbound flow has to send again.
#[derive(Debug, Default)]
pub(super) struct Resending {
    /// Up to here the journal is read instead of the chain.
    journal_to: Index,
    /// Where the peer says it stands, further back than it acknowledged; compared with the journal first.
    stated: Option<ChainPoint>,
    /// Where the peer stands, further than our own journal.
    ahead: Option<ChainPoint>,
}

impl Resending {
    /// What brings the next extensions, when they are not to be read from the chain.
    pub fn next(&self, flow: Flow, after: Index, limits: &Limits) -> Option<Effect> {
        (after < self.journal_to).then_some(Effect::LoadExtensions { flow, after, max: limits.send_window })
    }

    /// Notes that the peer holds a point that we don't know yet.
    pub fn note_ahead(&mut self, point: ChainPoint) {
        if self.ahead.is_none_or(|ahead| ahead.index < point.index) {
            self.ahead = Some(point);
        }
    }

    /// Whether the peer stands beyond what we have verified: it acknowledges nothing before we are there as well, so no
    /// window may hold us back.
    pub fn is_behind(&self, verified: Index) -> bool {
        self.ahead.is_some_and(|ahead| ahead.index > verified)
    }

    /// The point that the peer named before we had it, once we have.
    pub fn reached(&mut self, durable: Index) -> Option<ChainPoint> {
        self.ahead.take_if(|ahead| ahead.index <= durable)
    }
}

impl Machine {
    /// What a relay holds as a session begins. Less than it once acknowledged means that it was restored from an older
    /// journal; in the middle of a session it would only be late.
    pub(super) fn on_peer_stands_at(&mut self, peer: PeerId, flow: Flow, point: ChainPoint) {
        let Some(out) = self.outbound.get_mut(&flow).filter(|out| out.peer == peer) else { return };
        // What it said before this session counts no more: it may have got an older journal since.
        out.resending.ahead = None;
        if point.index >= out.accepted.index {
            return self.on_peer_accepted(peer, flow, point);
        }
        out.resending.stated = Some(point);
        self.io.push(Effect::ReadPoint { flow, index: point.index });
    }

    /// The head that our journal holds where the peer says it stands.
    pub(super) fn stated_point_read(&mut self, flow: Flow, index: Index, ours: Option<ChainPoint>) {
        let Some(out) = self.outbound.get_mut(&flow) else { return };
        let Some(theirs) = out.resending.stated.take_if(|stated| stated.index == index) else { return };
        let Some(ours) = ours.filter(|_| index < out.accepted.index) else { return };
        if ours != theirs {
            out.is_in_dispute = true;
            return self.io.report(Report::AuditDifference { flow, ours, theirs });
        }
        self.io.report(Report::PeerFellBack { flow, from: out.accepted.index, to: index });
        out.resending.journal_to = out.resending.journal_to.max(out.durable.index);
        out.queue.truncate(0);
        (out.verified, out.durable, out.accepted) = (ours, ours, ours);
        out.observe_now(&self.io);
        self.start_observing(flow);
    }

    /// Extensions that the peer lost, from our journal; what is pruned there is read from the chain and attested again.
    pub(super) fn on_extensions_loaded(
        &mut self,
        flow: Flow,
        after: Index,
        extensions: Option<Vec<(ExtensionRecord, Option<Evidence>)>>,
    ) {
        let settled = self.settled(flow);
        let Some(out) = self.outbound.get_mut(&flow) else { return };
        out.observed(&mut self.io, Next::Now);
        if out.verified.index == after {
            let extensions = extensions.unwrap_or_default();
            if extensions.is_empty() {
                out.resending.journal_to = Index(0);
            }
            for (record, evidence) in extensions {
                // On its way to the disk when the peer fell back: nobody took note of it then.
                out.sent.note(&record, settled);
                let outgoing = Outgoing::durable(record, evidence);
                out.verified = outgoing.tip;
                out.queue.push_back(outgoing);
            }
            out.durable = out.durable_end();
        }
        self.advance_outbound(flow);
    }
}
