//! Orders of operators: checked, made durable, then carried out.

use crate::ids::{Domain, LaneId};
use crate::lane::{Direction, Flow};
use crate::machine::Machine;
use crate::machine::effect::{OrderId, Report};
use crate::machine::io::After;
use crate::order::{Action, AuditRecord, Choice, Order, OrderRefusal, Subject};
use crate::record::{Frozen, Record};

impl Machine {
    pub(super) fn on_order(&mut self, id: OrderId, order: Order) {
        if let Err(refusal) = self.verify_order(&order) {
            return self.io.report(Report::OrderEnded { id, end: Err(refusal) });
        }
        let record = AuditRecord { at: self.io.now, order };
        self.io.append(vec![Record::Audit(record)], After::Order { id });
    }

    fn verify_order(&self, order: &Order) -> Result<(), OrderRefusal> {
        order.verify_lengths()?;
        let known = |lane: LaneId| self.lanes.contains_key(&lane).then_some(()).ok_or(OrderRefusal::UnknownLane(lane));
        match &order.action {
            Action::Unfreeze { domain, height, ours, theirs, choice } => {
                let got = Frozen { height: *height, ours: *ours, theirs: *theirs };
                self.verify_decision(*domain, got, *choice)
            }
            Action::PauseLane { lane } => {
                known(*lane)?;
                if self.paused.contains(lane) { Err(OrderRefusal::AlreadyPaused(*lane)) } else { Ok(()) }
            }
            Action::ResumeLane { lane } => {
                known(*lane)?;
                if self.paused.contains(lane) { Ok(()) } else { Err(OrderRefusal::NotPaused(*lane)) }
            }
            Action::Retry(Subject::Lane(lane)) => known(*lane),
            Action::Retry(Subject::Chain(domain)) if !self.clients.contains_key(domain) => {
                Err(OrderRefusal::UnknownChain(*domain))
            }
            Action::Retry(_) | Action::Other { .. } => Ok(()),
        }
    }

    /// Invariant I8: only what froze the client can be decided, by somebody who names both headers.
    fn verify_decision(&self, domain: Domain, got: Frozen, choice: Choice) -> Result<(), OrderRefusal> {
        let client = self.clients.get(&domain).ok_or(OrderRefusal::UnknownChain(domain))?;
        let expected = client.frozen.ok_or(OrderRefusal::NotFrozen(domain))?;
        if got != expected {
            let (expected, got) = (Box::new(expected), Box::new(got));
            return Err(OrderRefusal::OtherStatements { expected, got });
        }
        let anchor = client.setup.height;
        if choice == Choice::Theirs && anchor >= got.height {
            return Err(OrderRefusal::AnchorTooHigh { expected: got.height, got: anchor });
        }
        Ok(())
    }

    pub(super) fn order_is_durable(&mut self, id: OrderId, records: Vec<Record>) {
        for record in records {
            if let Record::Audit(AuditRecord { order, .. }) = record {
                self.carry_out(order.action);
            }
        }
        self.io.report(Report::OrderEnded { id, end: Ok(()) });
    }

    pub(super) fn order_append_failed(&mut self, id: OrderId, is_retryable: bool) {
        self.io.report(Report::OrderEnded { id, end: Err(OrderRefusal::NotDurable { is_retryable }) });
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Unfreeze { domain, choice, .. } => self.unfreeze(domain, choice),
            Action::PauseLane { lane } => {
                self.paused.insert(lane);
            }
            Action::ResumeLane { lane } => {
                self.paused.remove(&lane);
                self.advance_lane(lane);
            }
            Action::Retry(Subject::Lane(lane)) => self.retry_lane(lane),
            Action::Retry(Subject::Chain(domain)) => self.retry_chain(domain),
            Action::Retry(Subject::Everything) => {
                let (lanes, chains): (Vec<LaneId>, Vec<Domain>) =
                    (self.lanes.keys().copied().collect(), self.clients.keys().copied().collect());
                self.io.retry_all();
                chains.into_iter().for_each(|domain| self.retry_chain(domain));
                lanes.into_iter().for_each(|lane| self.retry_lane(lane));
            }
            Action::Other { .. } => {}
        }
    }

    /// Whether the operator has paused a flow: messages rest, outcomes go on.
    pub(super) fn is_paused(&self, flow: Flow) -> bool {
        flow.direction == Direction::Outbox && self.paused.contains(&flow.lane)
    }

    fn retry_lane(&mut self, lane: LaneId) {
        let now = self.io.now;
        for direction in [Direction::Outbox, Direction::Inbox] {
            let flow = Flow { lane, direction };
            if let Some(out) = self.outbound.get_mut(&flow) {
                out.forget_waits(now);
            }
            if let Some(inbound) = self.inbound.get_mut(&flow) {
                inbound.forget_waits(now);
            }
            if let Some(desk) = self.desks.get_mut(&flow) {
                desk.forget_waits(now);
            }
        }
        self.advance_lane(lane);
    }

    fn retry_chain(&mut self, domain: Domain) {
        let now = self.io.now;
        self.jobs.values_mut().filter(|job| job.domain == domain).for_each(|job| job.forget_waits(now));
        self.follow_jobs();
        if let Some(client) = self.clients.get_mut(&domain) {
            client.forget_waits(&mut self.io);
        }
    }

    fn advance_lane(&mut self, lane: LaneId) {
        for direction in [Direction::Outbox, Direction::Inbox] {
            self.advance_flow(Flow { lane, direction });
        }
    }
}
