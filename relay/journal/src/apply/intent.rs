//! Records about transactions.

use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::Domain;
use cityrelay_core::record::{IntentEnd, IntentRecord, Purpose};
use cityrelay_wire::row::{ClosedIntentRow, DomainRow, carry_key, intent_key};

use super::Batch;
use crate::error::JournalError;
use crate::rows;
use crate::table::Table;

impl Batch<'_> {
    /// The same transaction may be recorded again while its fate is open, or after it was given up: signing the same
    /// call with the same nonce gives the same bytes. Other bytes under its hash, or one that was executed, are refused.
    pub(super) fn on_intent(&mut self, intent: &IntentRecord) -> Result<(), JournalError> {
        let IntentRecord { domain, hash, purpose, .. } = intent;
        let conflict = JournalError::IntentConflict { domain: *domain, hash: *hash };
        let key = intent_key(*domain, *hash);
        let open: Option<IntentRecord> = rows::read(&self.rows, Table::Intents, &key)?;
        if open.as_ref().is_some_and(|open| open.bytes != intent.bytes) {
            return Err(conflict);
        }
        if open.is_none() {
            self.counters.intents += 1;
        }
        match rows::read::<ClosedIntentRow>(&self.rows, Table::ClosedIntents, &key)? {
            None => {}
            Some(closed) if closed.end == IntentEnd::Dead => self.rows.remove(Table::ClosedIntents, &key),
            Some(_) => return Err(conflict),
        }
        if let Purpose::Carry { flow, last } = purpose {
            self.rows.write(Table::Carries, &carry_key(*flow, *last, *hash), &DomainRow { domain: *domain })?;
        }
        self.rows.write(Table::Intents, &key, intent)
    }

    /// Closing again is no news when it ends the same way, or when it was given up before; another end is refused.
    pub(super) fn on_intent_closed(
        &mut self,
        domain: Domain,
        hash: Hash32,
        end: IntentEnd,
    ) -> Result<(), JournalError> {
        let key = intent_key(domain, hash);
        let row = match rows::read::<IntentRecord>(&self.rows, Table::Intents, &key)? {
            Some(IntentRecord { purpose, replaces, at, .. }) => {
                self.counters.intents = self.counters.intents.saturating_sub(1);
                self.rows.remove(Table::Intents, &key);
                ClosedIntentRow { purpose, replaces, at, end }
            }
            None => match rows::read::<ClosedIntentRow>(&self.rows, Table::ClosedIntents, &key)? {
                None => return Err(JournalError::UnknownIntent { domain, hash }),
                Some(closed) if closed.end == end || end == IntentEnd::Dead => return Ok(()),
                Some(closed) if closed.end == IntentEnd::Dead => ClosedIntentRow { end, ..closed },
                Some(_) => return Err(JournalError::IntentConflict { domain, hash }),
            },
        };
        self.rows.write(Table::ClosedIntents, &key, &row)
    }
}
