//! Records about validator sets that headers alone don't prove.

use cityrelay_core::set_attestation::{SetAttestation, SetEvidence, SetFact};
use cityrelay_wire::row::{SetRow, header_key};

use super::Batch;
use crate::error::JournalError;
use crate::rows;
use crate::table::Table;

impl Batch<'_> {
    /// One set for each chain and height, whoever vouches for it.
    pub(super) fn on_set_stated(&mut self, fact: SetFact, evidence: &[SetEvidence]) -> Result<(), JournalError> {
        let held = self.set(fact)?;
        if held.is_none() {
            self.counters.sets += 1;
        }
        let mut row = held.unwrap_or(SetRow { fact, is_confirmed: false, is_signed: false, evidence: Vec::new() });
        if evidence.is_empty() {
            row.is_confirmed = true;
        } else {
            row.evidence = evidence.to_vec();
        }
        self.rows.write(Table::Sets, &header_key(fact.domain, fact.statement.height), &row)
    }

    /// Invariant I4 for sets: only what our own nodes confirmed, and never a second one for a height.
    pub(super) fn on_set_signed(&mut self, attestation: &SetAttestation) -> Result<(), JournalError> {
        let fact = attestation.fact;
        let (domain, height) = (fact.domain, fact.statement.height);
        let Some(row) = self.set(fact)?.filter(|row| row.is_confirmed) else {
            return Err(JournalError::SetUnconfirmed { domain, height });
        };
        if !row.is_signed {
            self.counters.signed += 1;
        }
        self.rows.write(Table::Sets, &header_key(domain, height), &SetRow { is_signed: true, ..row })
    }

    /// What is held for that chain and height; another set there is a contradiction.
    fn set(&self, fact: SetFact) -> Result<Option<SetRow>, JournalError> {
        let (domain, height) = (fact.domain, fact.statement.height);
        let held: Option<SetRow> = rows::read(&self.rows, Table::Sets, &header_key(domain, height))?;
        match held.filter(|held| held.fact != fact) {
            Some(other) => Err(JournalError::SetConflict {
                domain,
                height,
                expected: other.fact.statement.digest,
                got: fact.statement.digest,
            }),
            None => rows::read(&self.rows, Table::Sets, &header_key(domain, height)),
        }
    }
}
