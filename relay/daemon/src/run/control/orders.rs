//! Orders: who gives them is durable before they take effect.

use std::sync::Arc;

use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Domain, LaneId};
use cityrelay_core::order::{
    Action, Choice, MAX_OPERATOR_NAME_BYTES, MAX_OTHER_ACTION_BYTES, Operator, Order, OrderRefusal, Subject,
};

use super::super::reload::{ReloadRefusal, ReloadReport, reload_order};
use super::{Backend, Question, journal_fault};
use crate::control::{
    AuditEntry, AuditReport, Caller, ControlFault, DoneReport, FaultKind, LaneOrder, MAX_ENTRIES, Newest, ReloadOrder,
    RetryOrder, UnfreezeOrder,
};

pub(super) fn usage(message: impl Into<String>) -> ControlFault {
    ControlFault::new(FaultKind::Usage, message)
}

/// Some orders are decisions that must be understood later.
pub(super) fn require_reason(reason: &str) -> Result<(), ControlFault> {
    if reason.trim().is_empty() {
        return Err(usage("expected a reason: whoever reads the record later must understand the decision"));
    }
    Ok(())
}

/// How many entries are asked for, within the limit.
pub(super) fn entries(newest: Newest) -> Result<usize, ControlFault> {
    match newest.limit {
        1..=MAX_ENTRIES => Ok(usize::try_from(newest.limit).unwrap_or(usize::MAX)),
        other => Err(usage(format!("limit: expected 1 to {MAX_ENTRIES}, got {other}"))),
    }
}

impl Backend {
    /// Makes an order durable with who gives it, and waits until it has taken effect.
    pub(super) async fn order(&self, caller: &Caller, reason: String, action: Action) -> Result<(), ControlFault> {
        let name = caller.name.get(..caller.name.floor_char_boundary(MAX_OPERATOR_NAME_BYTES)).unwrap_or_default();
        let order = Order { who: Operator { uid: caller.uid, name: name.to_owned() }, reason, action };
        let ended = self.ask(|ended| Question::Order { order, ended }).await?;
        ended.map_err(|refusal| {
            let kind = match &refusal {
                OrderRefusal::TooLong { .. } | OrderRefusal::UnknownChain(_) | OrderRefusal::UnknownLane(_) => {
                    FaultKind::Usage
                }
                OrderRefusal::NotDurable { .. } => FaultKind::Internal,
                _ => FaultKind::Refused,
            };
            ControlFault::new(kind, refusal.to_string())
        })
    }

    /// Makes durable that something is done outside of the machine. A long channel is cut: the lane's id stands in the answer.
    pub(super) async fn note(&self, caller: &Caller, reason: String, mut what: String) -> Result<(), ControlFault> {
        what.truncate(what.floor_char_boundary(MAX_OTHER_ACTION_BYTES));
        self.order(caller, reason, Action::Other { what }).await
    }

    fn chain_named(&self, name: &str) -> Result<Domain, ControlFault> {
        let found = self.handles.chains.iter().find(|(_, chain)| chain.name == name);
        found.map(|(domain, _)| *domain).ok_or_else(|| usage(format!("no chain is called {name} here")))
    }

    pub(super) fn one_lane(&self, text: &str) -> Result<LaneId, ControlFault> {
        self.lane(text, |_| true)
    }

    pub(super) async fn pause_lane(&self, caller: &Caller, order: LaneOrder) -> Result<DoneReport, ControlFault> {
        let lane = self.one_lane(&order.lane)?;
        self.order(caller, order.reason, Action::PauseLane { lane }).await?;
        Ok(DoneReport { done: format!("lane {lane} is paused here: messages may expire until it is resumed") })
    }

    pub(super) async fn resume_lane(&self, caller: &Caller, order: LaneOrder) -> Result<DoneReport, ControlFault> {
        let lane = self.one_lane(&order.lane)?;
        self.order(caller, order.reason, Action::ResumeLane { lane }).await?;
        Ok(DoneReport { done: format!("lane {lane} is resumed") })
    }

    pub(super) async fn retry_now(&self, caller: &Caller, order: RetryOrder) -> Result<DoneReport, ControlFault> {
        let (subject, what) = match (&order.lane, &order.chain) {
            (Some(lane), None) => (Subject::Lane(self.one_lane(lane)?), format!("lane {lane}")),
            (None, Some(chain)) => (Subject::Chain(self.chain_named(chain)?), format!("chain {chain}")),
            (None, None) => (Subject::Everything, "everything".to_owned()),
            (Some(_), Some(_)) => return Err(usage("expected a lane, a chain, or neither")),
        };
        self.order(caller, order.reason, Action::Retry(subject)).await?;
        Ok(DoneReport { done: format!("{what} is tried again now") })
    }

    pub(super) async fn unfreeze_chain(
        &self,
        caller: &Caller,
        order: UnfreezeOrder,
    ) -> Result<DoneReport, ControlFault> {
        require_reason(&order.reason)?;
        let domain = self.chain_named(&order.chain)?;
        let hash = |text: &str| Hash32::from_hex(text).map_err(|error| usage(format!("{text} is no hash: {error}")));
        let (chosen, other) = (hash(&order.chosen)?, hash(&order.other)?);
        let status = self.machine_status().await?;
        let frozen = status.clients.iter().find(|client| client.domain == domain).and_then(|client| client.frozen);
        let chain = &order.chain;
        let refused = |words: String| ControlFault::new(FaultKind::Refused, words);
        let Some(frozen) = frozen else { return Err(refused(format!("chain {chain} is not frozen"))) };
        let choice = match () {
            () if (chosen, other) == (frozen.ours, frozen.theirs) => Choice::Ours,
            () if (chosen, other) == (frozen.theirs, frozen.ours) => Choice::Theirs,
            () => {
                return Err(refused(format!(
                    "chain {chain} is frozen over {frozen}: look at both (`cityrelay evidence`), then name the one that \
                     counts and the other one"
                )));
            }
        };
        let (height, ours, theirs) = (frozen.height, frozen.ours, frozen.theirs);
        self.order(caller, order.reason, Action::Unfreeze { domain, height, ours, theirs, choice }).await?;
        Ok(DoneReport { done: format!("chain {chain} goes on with {chosen} at block {height}") })
    }

    pub(super) async fn reload_now(&self, caller: &Caller, order: ReloadOrder) -> Result<ReloadReport, ControlFault> {
        self.order(caller, order.reason, reload_order()).await?;
        let reloader = Arc::clone(&self.reloader);
        let reading = tokio::task::spawn_blocking(move || reloader.reload());
        let outcome = reading.await.map_err(|error| ControlFault::new(FaultKind::Internal, error.to_string()))?;
        outcome.map_err(|refusal| {
            let kind = match &refusal {
                ReloadRefusal::Faults(_) | ReloadRefusal::Keys(_) => FaultKind::Usage,
                ReloadRefusal::Stopping => FaultKind::Internal,
            };
            ControlFault::new(kind, refusal.to_string())
        })
    }

    pub(super) async fn audit_report(&self, newest: Newest) -> Result<AuditReport, ControlFault> {
        let limit = entries(newest)?;
        let records = self.read_journal(move |journal| journal.audit(limit)).await?;
        let entry = |record: cityrelay_core::order::AuditRecord| AuditEntry {
            at: record.at.0,
            uid: record.order.who.uid,
            user: record.order.who.name.clone(),
            action: record.order.action.as_str().to_owned(),
            about: self.about(&record.order.action),
            reason: record.order.reason.clone(),
        };
        Ok(AuditReport { orders: records.into_iter().map(entry).collect() })
    }

    fn about(&self, action: &Action) -> String {
        let chain = |domain: &Domain| format!("chain {}", self.handles.chain_name(*domain));
        match action {
            Action::Unfreeze { domain, height, ours, theirs, choice } => {
                let (chosen, other) = match choice {
                    Choice::Ours => (ours, theirs),
                    Choice::Theirs => (theirs, ours),
                };
                format!("{}, block {height}: {chosen} counts, {other} does not", chain(domain))
            }
            Action::PauseLane { lane } | Action::ResumeLane { lane } => self.lane_words(*lane),
            Action::Retry(Subject::Lane(lane)) => self.lane_words(*lane),
            Action::Retry(Subject::Chain(domain)) => chain(domain),
            Action::Retry(Subject::Everything) => "everything".to_owned(),
            Action::Other { what } => what.clone(),
        }
    }

    /// A lane as people name it: channel, way and id.
    pub(super) fn lane_words(&self, lane: LaneId) -> String {
        let Some(identity) = self.handles.lanes.get(&lane) else { return format!("lane {lane}") };
        let chain = |domain| self.handles.chain_name(domain);
        let (from, to) = (chain(identity.source_domain), chain(identity.destination_domain));
        format!("lane {} {from} → {to} ({lane})", identity.channel)
    }

    /// Reads the journal on a thread that may wait for the disk.
    pub(super) async fn read_journal<T: Send + 'static>(
        &self,
        read: impl FnOnce(&cityrelay_journal::Journal) -> Result<T, cityrelay_journal::JournalError> + Send + 'static,
    ) -> Result<T, ControlFault> {
        let journal = self.journal.clone();
        let reading = tokio::task::spawn_blocking(move || read(&journal));
        let outcome = reading.await.map_err(|error| ControlFault::new(FaultKind::Internal, error.to_string()))?;
        outcome.map_err(|error| journal_fault(&error))
    }
}
