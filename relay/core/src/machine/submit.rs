//! Transactions: prepared, made durable, broadcast, followed to their end.

use crate::gateway_call::GatewayCall;
use crate::ids::{Domain, UnixMillis};
use crate::lane::{Direction, Flow};
use crate::machine::Machine;
use crate::machine::effect::{Effect, JobEnd, JobId, Report};
use crate::machine::input::{Prepared, TransactionFate};
use crate::machine::io::After;
use crate::record::{IntentEnd, IntentRecord, Purpose, Record};

/// Times that a dropped transaction is broadcast again before it is replaced.
const REBROADCASTS: u32 = 3;

#[derive(Debug)]
pub(super) struct Job {
    pub domain: Domain,
    pub purpose: Purpose,
    /// `None` for a transaction found in the journal after a restart: its bytes are all there is.
    call: Option<Box<GatewayCall>>,
    stage: Stage,
    pub intent: Option<IntentRecord>,
    drops: u32,
    /// The call can't be made any more; something harmless takes the place of the dropped transaction.
    is_filler: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Waits for its turn: transactions of one account are prepared one after the other.
    Queued,
    Preparing,
    Journalling,
    Broadcasting,
    /// Asks again at that moment.
    Following(UnixMillis),
    Asking,
    Closing,
}

impl Job {
    /// Asks about the transaction again at once.
    pub const fn forget_waits(&mut self, now: UnixMillis) {
        if let Stage::Following(at) = &mut self.stage {
            *at = now;
        }
    }

    pub fn next_due(&self) -> Option<UnixMillis> {
        match self.stage {
            Stage::Following(at) => Some(at),
            _ => None,
        }
    }
}

impl Machine {
    /// Takes a transaction up again whose end was not known when the process stopped.
    pub(super) fn resume_job(&mut self, intent: IntentRecord) -> JobId {
        let id = self.next_job();
        let (domain, purpose) = (intent.domain, intent.purpose);
        let stage = Stage::Broadcasting;
        self.io.push(Effect::Broadcast { job: id, intent: Box::new(intent.clone()) });
        let job = Job { domain, purpose, call: None, stage, intent: Some(intent), drops: 0, is_filler: false };
        self.jobs.insert(id, job);
        id
    }

    /// Makes a call of an operator or application with our account, in line with our own transactions: its end comes as
    /// [`Report::JobEnded`]. `None` when we have no account on that chain.
    pub fn submit(&mut self, domain: Domain, call: GatewayCall, now: UnixMillis) -> Option<JobId> {
        self.io.now = self.io.now.max(now);
        self.start_job(domain, Purpose::Operator, call)
    }

    /// Starts a transaction on a chain where we have an account.
    pub(super) fn start_job(&mut self, domain: Domain, purpose: Purpose, call: GatewayCall) -> Option<JobId> {
        if !self.clients.get(&domain).is_some_and(|client| client.setup.has_target) {
            return None;
        }
        let id = self.next_job();
        let (call, stage) = (Some(Box::new(call)), Stage::Queued);
        let job = Job { domain, purpose, call, stage, intent: None, drops: 0, is_filler: false };
        self.jobs.insert(id, job);
        self.prepare_next(domain);
        Some(id)
    }

    fn next_job(&mut self) -> JobId {
        let id = JobId(self.next_job);
        self.next_job += 1;
        id
    }

    fn prepare_next(&mut self, domain: Domain) {
        let on_chain = || self.jobs.iter().filter(|(_, job)| job.domain == domain);
        if on_chain().any(|(_, job)| job.stage == Stage::Preparing) {
            return;
        }
        let open = on_chain().filter_map(|(_, job)| job.intent.clone()).collect();
        let Some((id, job)) = self.jobs.iter_mut().find(|(_, job)| job.domain == domain && job.stage == Stage::Queued)
        else {
            return;
        };
        let Some(call) = job.call.clone() else { return };
        job.stage = Stage::Preparing;
        let replaces = job.intent.clone().map(Box::new);
        self.io.push(Effect::Prepare { job: *id, domain, call, open, replaces });
    }

    pub(super) fn on_prepared(&mut self, id: JobId, answer: Prepared) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let domain = job.domain;
        match answer {
            Prepared::Ready { hash, bytes } => {
                let replaced = job.intent.take();
                let intent = IntentRecord {
                    domain,
                    hash,
                    bytes,
                    purpose: job.purpose,
                    replaces: replaced.as_ref().map(|intent| intent.hash),
                    at: self.io.now,
                };
                job.stage = Stage::Journalling;
                job.intent = Some(intent.clone());
                let mut records = Vec::new();
                if let Some(replaced) = replaced {
                    records.push(Record::IntentClosed { domain, hash: replaced.hash, end: IntentEnd::Dead });
                }
                records.push(Record::Intent(intent));
                self.io.append(records, After::Intent { job: id });
            }
            // The dropped transaction stays the one to follow until it can be replaced, now by something else: what
            // it was made for is out of date, and later transactions of the account may wait for its place.
            Prepared::TooLarge | Prepared::Reverts if job.intent.is_some() => {
                job.stage = Stage::Following(self.io.backoff(job.drops));
                self.fill_place(id);
            }
            Prepared::Failed if job.intent.is_some() => job.stage = Stage::Following(self.io.backoff(job.drops)),
            Prepared::TooLarge => self.end_job(id, JobEnd::TooLarge),
            Prepared::Reverts => self.end_job(id, JobEnd::WouldRevert),
            Prepared::Failed => self.end_job(id, JobEnd::Failed),
        }
        self.prepare_next(domain);
    }

    pub(super) fn intent_is_durable(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if let Some(intent) = &job.intent {
            job.stage = Stage::Broadcasting;
            self.io.push(Effect::Broadcast { job: id, intent: Box::new(intent.clone()) });
        }
    }

    /// The records of a job were refused by the journal: nothing was broadcast.
    pub(super) fn job_append_failed(&mut self, id: JobId) {
        self.end_job(id, JobEnd::Failed);
    }

    pub(super) fn on_broadcasted(&mut self, id: JobId) {
        let at = self.io.after(self.io.limits.track_interval);
        if let Some(job) = self.jobs.get_mut(&id) {
            job.stage = Stage::Following(at);
        }
    }

    pub(super) fn follow_jobs(&mut self) {
        for (id, job) in &mut self.jobs {
            if let (Stage::Following(at), Some(intent)) = (job.stage, &job.intent)
                && at <= self.io.now
            {
                job.stage = Stage::Asking;
                self.io.push(Effect::Track { job: *id, intent: Box::new(intent.clone()) });
            }
        }
    }

    pub(super) fn on_tracked(&mut self, id: JobId, fate: TransactionFate) {
        let next = self.io.after(self.io.limits.track_interval);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(intent) = job.intent.clone() else { return };
        match fate {
            TransactionFate::Pending => job.stage = Stage::Following(next),
            TransactionFate::Dropped => {
                job.drops += 1;
                if job.drops <= REBROADCASTS {
                    job.stage = Stage::Broadcasting;
                    self.io.push(Effect::Broadcast { job: id, intent: Box::new(intent) });
                } else if job.call.is_some() || self.fill_place(id) {
                    self.queue_job(id);
                } else {
                    // A leftover of an earlier run that the chain forgot, and nothing to put in its place.
                    self.close_job(id, IntentEnd::Dead);
                }
            }
            TransactionFate::Ended(end) => self.close_job(id, end),
        }
    }

    fn queue_job(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.stage = Stage::Queued;
        let domain = job.domain;
        self.prepare_next(domain);
    }

    /// Gives a job whose own call is unknown or out of date a harmless one, so that a dropped transaction's place does
    /// not stay empty: where accounts count their transactions, those behind it would wait for ever.
    fn fill_place(&mut self, id: JobId) -> bool {
        let Some(domain) = self.jobs.get(&id).map(|job| job.domain) else { return false };
        let filler = self.lanes.values().find_map(|lane| {
            let mut directions = [Direction::Outbox, Direction::Inbox].into_iter();
            let direction = directions.find(|direction| lane.identity.origin(*direction).domain == domain)?;
            let gateway = lane.identity.origin(direction).gateway;
            Some(GatewayCall::Checkpoint { gateway, flow: Flow { lane: lane.id, direction } })
        });
        let (Some(job), Some(filler)) = (self.jobs.get_mut(&id), filler) else { return false };
        job.call = Some(Box::new(filler));
        job.is_filler = true;
        true
    }

    fn close_job(&mut self, id: JobId, end: IntentEnd) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(intent) = &job.intent else { return };
        job.stage = Stage::Closing;
        let record = Record::IntentClosed { domain: job.domain, hash: intent.hash, end };
        self.io.report(Report::TransactionEnded { domain: job.domain, purpose: job.purpose, end });
        self.ends.insert(id, end);
        self.io.append(vec![record], After::IntentClosed { job: id });
    }

    pub(super) fn intent_is_closed(&mut self, id: JobId) {
        if let Some(end) = self.ends.remove(&id) {
            self.end_job(id, JobEnd::Transaction(end));
        }
    }

    fn end_job(&mut self, id: JobId, end: JobEnd) {
        let Some(job) = self.jobs.remove(&id) else { return };
        let end = if job.is_filler { JobEnd::WouldRevert } else { end };
        match job.purpose {
            Purpose::Carry { flow, .. } => {
                if self.inbound.get(&flow).is_some_and(|inbound| inbound.job == Some(id)) {
                    self.carry_ended(flow, end);
                }
            }
            Purpose::Checkpoint { flow } => {
                if let Some(out) = self.outbound.get_mut(&flow)
                    && out.checkpoint == Some(id)
                {
                    out.checkpoint = None;
                    self.advance_outbound(flow);
                }
            }
            Purpose::Operator => {
                let transaction = job.intent.map(|intent| intent.hash);
                self.io.report(Report::JobEnded { job: id, transaction, end });
            }
        }
    }
}
