//! What every part of the machine shares: the queue of effects, the tickets of the journal, waits with jitter.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use crate::attestation::Statement;
use crate::chain::ChainPoint;
use crate::hash::Hash32;
use crate::ids::{Domain, Height, Index, UnixMillis};
use crate::lane::Flow;
use crate::machine::config::{Limits, PeerId};
use crate::machine::effect::{Effect, JobId, OrderId, ReceiptId, Report, Ticket};
use crate::opaque::Opaque;
use crate::record::Record;
use crate::set_attestation::{SetAttestation, SetFact};
use crate::verify::VerifiedHeader;

/// What goes on once the records of a ticket are durable.
#[derive(Clone, Debug)]
pub(super) enum After {
    /// The light client of a chain moved.
    Client {
        domain: Domain,
        state: Opaque,
        height: Height,
        hash: Hash32,
        headers: Vec<VerifiedHeader>,
        /// A validator set that our own nodes confirmed.
        confirmed: Option<SetFact>,
    },
    /// The client of a chain is frozen.
    Frozen { domain: Domain },
    /// An extension is on its way out.
    Outbound { flow: Flow, tip: ChainPoint },
    /// Enough signatures for an outbound head.
    Attested { flow: Flow, point: ChainPoint },
    /// An extension was taken in from a peer.
    Inbound { flow: Flow, tip: ChainPoint, receipt: ReceiptId },
    /// New signatures for an extension taken in earlier.
    Reattested { flow: Flow, point: ChainPoint },
    /// The target chain holds a flow up to here.
    Done { flow: Flow, point: ChainPoint },
    /// A head may now be signed.
    MaySign { flow: Flow, tip: ChainPoint, statement: Statement, peer: PeerId },
    /// An attester's chain has caught up to here with what it signed.
    Merged { flow: Flow, tip: ChainPoint },
    /// A validator set may now be signed.
    MaySignSet { attestation: SetAttestation, peer: PeerId },
    /// A transaction may now be broadcast.
    Intent { job: JobId },
    /// A transaction's end is known.
    IntentClosed { job: JobId },
    /// An operator's order may take effect.
    Order { id: OrderId },
    /// Nothing waits for it.
    Nothing,
}

/// Records on their way to the disk.
#[derive(Clone, Debug)]
pub(super) struct PendingAppend {
    pub records: Vec<Record>,
    pub after: After,
}

#[derive(Debug)]
pub(super) struct Io {
    pub now: UnixMillis,
    pub limits: Limits,
    effects: VecDeque<Effect>,
    /// Effects that were asked for, ever.
    count: u64,
    /// The last input was a tick, and nothing came of it.
    pub is_idle: bool,
    pending: BTreeMap<Ticket, PendingAppend>,
    retries: VecDeque<(UnixMillis, PendingAppend)>,
    next_ticket: u64,
    jitter: u64,
}

impl Io {
    pub fn new(limits: Limits, jitter_seed: u64) -> Self {
        Self {
            now: UnixMillis(0),
            limits,
            effects: VecDeque::new(),
            count: 0,
            is_idle: false,
            pending: BTreeMap::new(),
            retries: VecDeque::new(),
            next_ticket: 1,
            jitter: jitter_seed | 1,
        }
    }

    pub fn push(&mut self, effect: Effect) {
        self.count = self.count.wrapping_add(1);
        self.effects.push_back(effect);
    }

    pub const fn count(&self) -> u64 {
        self.count
    }

    pub fn pop(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub fn report(&mut self, report: Report) {
        self.push(Effect::Report(report));
    }

    /// Asks for records to be made durable and says what goes on then.
    pub fn append(&mut self, records: Vec<Record>, after: After) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.pending.insert(ticket, PendingAppend { records: records.clone(), after });
        self.push(Effect::Append { ticket, records });
        ticket
    }

    pub fn take_pending(&mut self, ticket: Ticket) -> Option<PendingAppend> {
        self.pending.remove(&ticket)
    }

    /// Keeps records whose append failed for another try.
    pub fn retry_later(&mut self, pending: PendingAppend) {
        let at = self.after(self.limits.retry_min.saturating_mul(4));
        self.retries.push_back((at, pending));
    }

    pub fn retry_due(&mut self) {
        while self.retries.front().is_some_and(|(at, _)| *at <= self.now) {
            if let Some((_, pending)) = self.retries.pop_front() {
                self.append(pending.records, pending.after);
            }
        }
    }

    /// Offers everything again that waits for another try.
    pub fn retry_all(&mut self) {
        for (_, pending) in core::mem::take(&mut self.retries) {
            self.append(pending.records, pending.after);
        }
    }

    pub fn next_retry(&self) -> Option<UnixMillis> {
        self.retries.front().map(|(at, _)| *at)
    }

    /// The moment `wait` from now.
    pub fn after(&self, wait: Duration) -> UnixMillis {
        UnixMillis(self.now.0.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The moment of the next try after `tries` failures: exponential, bounded, with up to a quarter of jitter.
    pub fn backoff(&mut self, tries: u32) -> UnixMillis {
        let wait = self.limits.retry_min.saturating_mul(1 << tries.min(16)).min(self.limits.retry_max);
        // xorshift64: spreads the retries of many relays; nothing secret depends on it.
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        let quarter = u64::try_from(wait.as_millis() / 4).unwrap_or(0);
        let extra = if quarter == 0 { 0 } else { self.jitter % quarter };
        self.after(wait.saturating_add(Duration::from_millis(extra)))
    }

    pub fn has_pending_appends(&self) -> bool {
        !self.pending.is_empty() || !self.retries.is_empty()
    }
}

/// The earlier of two optional moments.
pub(super) fn earliest(a: Option<UnixMillis>, b: Option<UnixMillis>) -> Option<UnixMillis> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// How many entries lie in `(from, to]`.
pub(super) fn distance(from: Index, to: Index) -> usize {
    usize::try_from(to.0.saturating_sub(from.0)).unwrap_or(usize::MAX)
}
