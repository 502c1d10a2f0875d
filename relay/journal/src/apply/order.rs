//! Records of what operators ordered.

use cityrelay_core::ids::{Domain, Height};
use cityrelay_core::order::{Action, AuditRecord, Choice};
use cityrelay_core::record::Frozen;
use cityrelay_wire::row::{DecidedRow, PausedRow, header_key};

use super::Batch;
use crate::error::JournalError;
use crate::rows;
use crate::table::Table;

impl Batch<'_> {
    /// Keeps the order for good, and what it changes. An order that has no effect any more is kept all the same; one about
    /// another freeze than the one that holds is refused.
    pub(super) fn on_audit(&mut self, audit: &AuditRecord) -> Result<(), JournalError> {
        match &audit.order.action {
            Action::Unfreeze { domain, height, ours, theirs, choice } => {
                let decided = Frozen { height: *height, ours: *ours, theirs: *theirs };
                self.unfreeze(*domain, decided, *choice)?;
            }
            Action::PauseLane { lane } => {
                if rows::read::<PausedRow>(&self.rows, Table::Paused, &lane.0.0)?.is_none() {
                    self.counters.paused += 1;
                    self.rows.write(Table::Paused, &lane.0.0, &PausedRow { at: audit.at })?;
                }
            }
            Action::ResumeLane { lane } => {
                if rows::read::<PausedRow>(&self.rows, Table::Paused, &lane.0.0)?.is_some() {
                    self.counters.paused = self.counters.paused.saturating_sub(1);
                    self.rows.remove(Table::Paused, &lane.0.0);
                }
            }
            Action::Retry(_) | Action::Other { .. } => {}
        }
        let number = self.counters.audits;
        self.counters.audits += 1;
        self.rows.write(Table::Audit, &number.to_be_bytes(), audit)
    }

    /// Invariant I8: an operator's choice between the two statements lets the client go on. One that goes back to its
    /// anchor is forgotten, with its headers: it begins anew.
    fn unfreeze(&mut self, domain: Domain, got: Frozen, choice: Choice) -> Result<(), JournalError> {
        let Some(row) = self.frozen(domain)? else { return Err(JournalError::NotFrozen { domain }) };
        if row.frozen != got {
            let (expected, got) = (Box::new(row.frozen), Box::new(got));
            return Err(JournalError::OtherStatements { domain, expected, got });
        }
        self.counters.frozen = self.counters.frozen.saturating_sub(1);
        self.rows.remove(Table::Frozen, &domain.0.0);
        let (chosen, rejected) = match choice {
            Choice::Ours => (got.ours, got.theirs),
            Choice::Theirs => (got.theirs, got.ours),
        };
        let key = header_key(domain, got.height);
        if rows::read::<DecidedRow>(&self.rows, Table::Decided, &key)?.is_none() {
            self.counters.decided += 1;
        }
        self.rows.write(Table::Decided, &key, &DecidedRow { chosen, rejected })?;
        if choice == Choice::Theirs {
            self.forget_headers(domain, Height(0), Height(u64::MAX))?;
            self.rows.remove(Table::Clients, &domain.0.0);
            self.counters.clients = self.counters.clients.saturating_sub(1);
        }
        Ok(())
    }
}
