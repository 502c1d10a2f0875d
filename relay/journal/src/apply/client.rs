//! Records about light clients: their progress and their freezing.

use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Domain, Height, UnixMillis};
use cityrelay_core::light_client::Header;
use cityrelay_core::opaque::Opaque;
use cityrelay_core::record::{Frozen, Misbehaviour};
use cityrelay_core::recovery::KEPT_HEADERS;
use cityrelay_wire::row::{ClientRow, DecidedRow, FrozenRow, encode_row, header_key};

use super::Batch;
use crate::error::JournalError;
use crate::rows;
use crate::table::Table;

impl Batch<'_> {
    /// Checks, in order: the chain is not frozen; the client does not go back or sideways; the headers ascend up to its
    /// height; none contradicts a header held at its height (invariant I8) or an operator's decision.
    pub(super) fn on_client(
        &mut self,
        domain: Domain,
        state: &Opaque,
        (height, hash): (Height, Hash32),
        headers: &[Header],
    ) -> Result<(), JournalError> {
        if self.frozen(domain)?.is_some() {
            return Err(JournalError::Frozen { domain });
        }
        let held: Option<ClientRow> = rows::read(&self.rows, Table::Clients, &domain.0.0)?;
        if held.is_none() {
            self.counters.clients += 1;
        }
        let mut kept_headers = held.as_ref().map_or(0, |held| held.headers);
        if let Some(held) = held
            && (height < held.height || (height == held.height && hash != held.hash))
        {
            return Err(JournalError::ClientBackwards {
                domain,
                expected: held.height,
                expected_hash: held.hash,
                got: height,
                got_hash: hash,
            });
        }
        let mut before = None;
        for header in headers {
            if header.height > height || before.is_some_and(|before| header.height <= before) {
                return Err(JournalError::HeaderOrder { domain, expected: height, got: header.height });
            }
            before = Some(header.height);
            kept_headers += u32::from(self.keep_header(domain, header)?);
        }
        let kept = u64::try_from(KEPT_HEADERS).unwrap_or(u64::MAX);
        if let Some(oldest) = height.0.checked_sub(kept) {
            kept_headers -= self.forget_headers(domain, Height(0), Height(oldest))?.min(kept_headers);
        }
        let row = ClientRow { state: state.clone(), height, hash, headers: kept_headers };
        self.rows.write(Table::Clients, &domain.0.0, &row)
    }

    /// Says whether the header is new.
    fn keep_header(&mut self, domain: Domain, header: &Header) -> Result<bool, JournalError> {
        let key = header_key(domain, header.height);
        let held: Option<Header> = rows::read(&self.rows, Table::Headers, &key)?;
        let conflict =
            |expected| JournalError::HeaderConflict { domain, height: header.height, expected, got: header.hash };
        if let Some(held) = held.as_ref().filter(|held| held.hash != header.hash) {
            return Err(conflict(held.hash));
        }
        let decided: Option<DecidedRow> = rows::read(&self.rows, Table::Decided, &key)?;
        if let Some(decided) = decided.filter(|decided| decided.rejected == header.hash) {
            return Err(conflict(decided.chosen));
        }
        self.rows.write(Table::Headers, &key, header)?;
        Ok(held.is_none())
    }

    /// Drops the headers from `first` to `last`, both included, and says how many.
    pub(super) fn forget_headers(&mut self, domain: Domain, first: Height, last: Height) -> Result<u32, JournalError> {
        let end = header_key(domain, last);
        let mut keys = Vec::new();
        rows::scan(&self.rows, Table::Headers, &domain.0.0, &header_key(domain, first), |key, _| {
            let is_inside = key <= end.as_slice();
            if is_inside {
                keys.push(key.to_vec());
            }
            Ok(is_inside)
        })?;
        for key in &keys {
            self.rows.remove(Table::Headers, key);
        }
        Ok(u32::try_from(keys.len()).unwrap_or(u32::MAX))
    }

    pub(super) fn frozen(&self, domain: Domain) -> Result<Option<FrozenRow>, JournalError> {
        rows::read(&self.rows, Table::Frozen, &domain.0.0)
    }

    /// The same evidence is kept once, whenever it is seen again. Two statements about one height freeze their chain.
    pub(super) fn on_misbehaviour(&mut self, misbehaviour: &Misbehaviour) -> Result<(), JournalError> {
        let key = keccak256(&encode_row(Table::Misbehaviour.name(), &[], &timeless(misbehaviour))?);
        if rows::read::<Misbehaviour>(&self.rows, Table::Misbehaviour, &key.0)?.is_none() {
            self.counters.misbehaviour += 1;
            self.rows.write(Table::Misbehaviour, &key.0, misbehaviour)?;
        }
        let (domain, ours, theirs, at) = match misbehaviour {
            Misbehaviour::Equivocation { domain, ours, theirs_hash, at, .. } => (domain, ours, theirs_hash, at),
            Misbehaviour::Contradiction { domain, ours, theirs, at, .. } => (domain, ours, theirs, at),
            Misbehaviour::ConflictingHead { .. } | Misbehaviour::AuditDifference { .. } => return Ok(()),
        };
        if self.frozen(*domain)?.is_none() {
            self.counters.frozen += 1;
            let frozen = Frozen { height: ours.height, ours: ours.hash, theirs: *theirs };
            self.rows.write(Table::Frozen, &domain.0.0, &FrozenRow { frozen, at: *at })?;
        }
        Ok(())
    }
}

/// The evidence without the moment at which it was seen.
fn timeless(misbehaviour: &Misbehaviour) -> Misbehaviour {
    let mut copy = misbehaviour.clone();
    match &mut copy {
        Misbehaviour::Equivocation { at, .. }
        | Misbehaviour::Contradiction { at, .. }
        | Misbehaviour::ConflictingHead { at, .. }
        | Misbehaviour::AuditDifference { at, .. } => *at = UnixMillis(0),
    }
    copy
}
