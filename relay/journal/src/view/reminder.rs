//! What an attester that forgot its signatures is reminded of.

use std::collections::VecDeque;

use cityrelay_core::chain::Entry;
use cityrelay_core::claim::{Claim, MAX_CLAIM_ENTRIES, MAX_CLAIM_TAIL};
use cityrelay_core::gateway_call::Evidence;
use cityrelay_core::ids::{AttesterId, Index};
use cityrelay_core::lane::Flow;
use cityrelay_wire::row::{AttestedRow, flow_key, position_key};

use super::View;
use crate::error::JournalError;
use crate::rows;
use crate::table::Table;

/// The most attested heads that one reminder brings: the newest ones.
const MAX_REMINDERS: usize = 64;

impl View<'_> {
    /// A piece of a flow for an attester that forgot what it signed: the entries from `first` on (at most
    /// [`MAX_CLAIM_ENTRIES`], without payloads), the links after them up to a proved head at or after `last`, and the newest
    /// attested heads among the entries that carry a signature of `attester`, or of anybody when that is not known.
    ///
    /// `None` when there is nothing from `first` on.
    ///
    /// # Errors
    /// [`JournalError::Pruned`] when the bodies are gone; otherwise what the disk, or damage, says.
    pub fn reminder(
        &self,
        flow: Flow,
        first: Index,
        last: Index,
        attester: Option<AttesterId>,
    ) -> Result<Option<(Claim, Vec<Evidence>)>, JournalError> {
        let end = last.min(first.plus(MAX_CLAIM_ENTRIES - 1));
        // An extension reaches at most as many entries beyond it, and as many links.
        let proved = last.min(end.plus(MAX_CLAIM_TAIL / 2));
        let Some(record) = self.extension(flow, proved)?.filter(|_| first <= last) else { return Ok(None) };
        let tip = record.tip().index;
        let entries = self.entries(flow, first, end)?;
        let mut tail = if end < tip { self.links(flow, end.next(), tip)? } else { Vec::new() };
        tail.extend_from_slice(&record.tail);
        if tail.len() > MAX_CLAIM_TAIL {
            return Ok(None);
        }
        let claim = Claim {
            flow,
            first,
            entries: entries.iter().map(Entry::without_payload).collect(),
            tail,
            height: record.proved_at,
            proof: record.proof,
        };
        let mut evidence = VecDeque::new();
        rows::scan(self.rows, Table::Evidence, &flow_key(flow), &position_key(flow, first), |key, value| {
            let AttestedRow { evidence: attested, .. } = rows::decode(Table::Evidence, key, value)?;
            if attested.point.index > end {
                return Ok(false);
            }
            if attester.is_none_or(|attester| attested.signatures.contains_key(&attester)) {
                evidence.push_back(attested);
            }
            if evidence.len() > MAX_REMINDERS {
                evidence.pop_front();
            }
            Ok(true)
        })?;
        Ok(Some((claim, evidence.into())))
    }
}
