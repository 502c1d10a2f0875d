//! One process' disk: the relay's own journal over memory, synced, failing and crashing as the seed has it.

use std::collections::{BTreeMap, BTreeSet};

use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::claim::Claim;
use cityrelay_core::gateway_call::Evidence;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{AttesterId, Domain, Epoch, Index, LaneId, UnixMillis};
use cityrelay_core::lane::Flow;
use cityrelay_core::machine::effect::Ticket;
use cityrelay_core::order::AuditRecord;
use cityrelay_core::record::{ExtensionRecord, Record};
use cityrelay_core::recovery::{Recovered, Side};
use cityrelay_core::set_attestation::SetAttestation;
use cityrelay_journal::{JournalError, MemoryJournal, PruneDepth};

/// A journal and what the checks need to know of it.
#[derive(Debug, Default)]
pub struct Disk {
    journal: MemoryJournal,
    waiting: Vec<(Ticket, Result<Vec<Record>, JournalError>)>,
    facts: Facts,
}

/// What was made durable, gathered from the records themselves: the checks don't ask the journal about itself.
#[derive(Clone, Debug, Default)]
struct Facts {
    tips: BTreeMap<Flow, ChainPoint>,
    done: BTreeMap<Flow, Index>,
    evidence: BTreeMap<(Flow, Index), Vec<Evidence>>,
    signed: BTreeSet<(Flow, Index, Epoch, Hash32)>,
    intents: BTreeSet<Hash32>,
    clients: BTreeMap<Domain, u64>,
    signed_sets: BTreeSet<SetAttestation>,
}

impl Facts {
    fn take(&mut self, records: Vec<Record>) {
        for record in records {
            match record {
                Record::Client { domain, height, .. } => {
                    self.clients.insert(domain, height.0);
                }
                Record::Extension(record) => {
                    // A peer that fell back is sent what it lacks, and that is recorded again.
                    let tip = self.tips.entry(record.flow).or_insert_with(|| record.tip());
                    if record.tip().index > tip.index {
                        *tip = record.tip();
                    }
                }
                Record::Attested { flow, evidence, .. } => {
                    self.evidence.entry((flow, evidence.point.index)).or_default().push(evidence);
                }
                Record::Done { flow, point, .. } => {
                    let done = self.done.entry(flow).or_default();
                    *done = point.index.max(*done);
                }
                Record::Intent(intent) => {
                    self.intents.insert(intent.hash);
                }
                Record::IntentClosed { hash, .. } => {
                    self.intents.remove(&hash);
                }
                Record::Signed { flow, point, epoch } => {
                    self.signed.insert((flow, point.index, epoch, point.head));
                }
                Record::SetSigned(attestation) => {
                    self.signed_sets.insert(attestation);
                }
                Record::PeerAccepted { .. } | Record::SetStated { .. } | Record::Misbehaviour(_) | Record::Audit(_) => {
                }
            }
        }
    }
}

impl Disk {
    /// Takes a batch in behind those that wait.
    pub fn append(&mut self, ticket: Ticket, records: Vec<Record>) {
        let taken = self.journal.append(&records).map(|_| records);
        self.waiting.push((ticket, taken));
    }

    /// Makes everything that waits durable; what contradicts the journal was refused when it came.
    pub fn sync(&mut self) -> Vec<(Ticket, Result<(), JournalError>)> {
        self.journal.sync();
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().map(|(ticket, taken)| (ticket, taken.map(|records| self.facts.take(records)))).collect()
    }

    /// The disk fails: nothing that waits becomes durable.
    pub fn fail(&mut self) -> Vec<Ticket> {
        self.journal.crash(0);
        std::mem::take(&mut self.waiting).into_iter().map(|(ticket, _)| ticket).collect()
    }

    /// The process dies: the first `surviving` of the waiting batches had reached the disk, the others are gone.
    pub fn crash(&mut self, surviving: usize) {
        self.journal.crash(surviving);
        let taken = std::mem::take(&mut self.waiting).into_iter().filter_map(|(_, taken)| taken.ok());
        taken.take(surviving).for_each(|records| self.facts.take(records));
    }

    /// What is durable, on a disk of its own.
    #[must_use]
    pub fn durable_copy(&self) -> Self {
        let mut journal = self.journal.clone();
        journal.crash(0);
        Self { journal, waiting: Vec::new(), facts: self.facts.clone() }
    }

    /// Drops what finished messages don't need any more, durably, unless something else waits; says how many extensions
    /// lost something.
    pub fn prune(&mut self, before: UnixMillis, depth: PruneDepth, most: usize) -> usize {
        if !self.waiting.is_empty() {
            return 0;
        }
        let (_, pruned) = self.journal.prune(before, depth, most).unwrap();
        self.journal.sync();
        pruned.extensions
    }

    /// Whether an operator has paused a lane, durably.
    #[must_use]
    pub fn is_paused(&self, lane: LaneId) -> bool {
        self.journal.view().recover(&[]).unwrap().paused.contains(&lane)
    }

    /// Batches that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The orders of operators, newest first.
    #[must_use]
    pub fn audit(&self) -> Vec<AuditRecord> {
        self.journal.view().audit(usize::MAX).unwrap()
    }

    /// What a restart begins with.
    #[must_use]
    pub fn recover(&self, sides: &[(Flow, Side)]) -> Recovered {
        self.journal.view().recover(sides).unwrap()
    }

    /// The durable point of a flow at an index.
    #[must_use]
    pub fn point(&self, flow: Flow, index: Index) -> Option<ChainPoint> {
        self.journal.view().point(flow, index).unwrap()
    }

    /// The durable entries `first..=last` of a flow; `None` when they are pruned.
    #[must_use]
    pub fn entries(&self, flow: Flow, first: Index, last: Index) -> Option<Vec<Entry>> {
        unless_pruned(self.journal.view().entries(flow, first, last))
    }

    /// The durable extensions of a flow beyond an index; `None` when they are pruned.
    #[must_use]
    pub fn extensions_after(
        &self,
        flow: Flow,
        after: Index,
        max: usize,
    ) -> Option<Vec<(ExtensionRecord, Option<Evidence>)>> {
        unless_pruned(self.journal.view().extensions_after(flow, after, max))
    }

    /// What an attester is reminded of; `None` when there is nothing, or it is pruned.
    #[must_use]
    pub fn reminder(
        &self,
        flow: Flow,
        first: Index,
        last: Index,
        attester: Option<AttesterId>,
    ) -> Option<(Claim, Vec<Evidence>)> {
        unless_pruned(self.journal.view().reminder(flow, first, last, attester)).flatten()
    }

    /// The durable links `first..=last` of a flow.
    #[must_use]
    pub fn links(&self, flow: Flow, first: Index, last: Index) -> Vec<Hash32> {
        self.journal.view().links(flow, first, last).unwrap()
    }

    /// The durable tip of a flow.
    #[must_use]
    pub fn tip(&self, flow: Flow) -> ChainPoint {
        self.facts.tips.get(&flow).copied().unwrap_or_else(|| ChainPoint::start(flow))
    }

    /// What the target chain is known to have taken in.
    #[must_use]
    pub fn done(&self, flow: Flow) -> Index {
        self.facts.done.get(&flow).copied().unwrap_or_default()
    }

    /// Whether the sign-once record of a head is durable.
    #[must_use]
    pub fn may_sign(&self, flow: Flow, point: ChainPoint, epoch: Epoch) -> bool {
        self.facts.signed.contains(&(flow, point.index, epoch, point.head))
    }

    /// Whether the sign-once record of a validator set is durable.
    #[must_use]
    pub fn may_sign_set(&self, attestation: &SetAttestation) -> bool {
        self.facts.signed_sets.contains(attestation)
    }

    /// Whether an attested head is durable with these very signatures.
    #[must_use]
    pub fn holds_evidence(&self, flow: Flow, evidence: &Evidence) -> bool {
        self.facts.evidence.get(&(flow, evidence.point.index)).is_some_and(|known| known.contains(evidence))
    }

    /// Whether a transaction is durable and its fate open.
    #[must_use]
    pub fn is_open_intent(&self, hash: Hash32) -> bool {
        self.facts.intents.contains(&hash)
    }

    /// Transactions whose fate is open.
    #[must_use]
    pub fn open_intents(&self) -> usize {
        self.facts.intents.len()
    }

    /// Height of a light client, as it is durable.
    #[must_use]
    pub fn client_height(&self, domain: Domain) -> Option<u64> {
        self.facts.clients.get(&domain).copied()
    }

    /// What was recorded against others.
    #[must_use]
    pub fn misbehaviour(&self) -> Vec<cityrelay_core::record::Misbehaviour> {
        self.journal.view().misbehaviour().unwrap()
    }

    /// Reads every chain of the journal from its start.
    ///
    /// # Errors
    /// Whatever the journal finds damaged.
    pub fn verify(&self) -> Result<u64, JournalError> {
        self.journal.view().verify()
    }
}

/// What was read; `None` when it is pruned.
fn unless_pruned<T>(read: Result<T, JournalError>) -> Option<T> {
    match read {
        Err(JournalError::Pruned { .. }) => None,
        found => Some(found.unwrap()),
    }
}
