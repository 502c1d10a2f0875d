//! Reading and changing rows, whatever holds them.

use std::collections::BTreeMap;

use cityrelay_wire::row::{Row, decode_row, encode_row};

use crate::error::JournalError;
use crate::table::Table;

/// A key and its value.
pub(crate) type KeyValue = (Vec<u8>, Vec<u8>);

/// Tables that can be read. The whole logic of the journal stands on these two calls.
pub(crate) trait Rows {
    /// The value under `key`.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, JournalError>;

    /// The first row whose key is `from` or after it.
    fn seek(&self, table: Table, from: &[u8]) -> Result<Option<KeyValue>, JournalError>;
}

/// Reads the row under `key`; damage is an error, never a missing row.
pub(crate) fn read<R: Row>(rows: &dyn Rows, table: Table, key: &[u8]) -> Result<Option<R>, JournalError> {
    rows.get(table, key)?.map(|bytes| decode(table, key, &bytes)).transpose()
}

/// Decodes a row found under `key`.
pub(crate) fn decode<R: Row>(table: Table, key: &[u8], bytes: &[u8]) -> Result<R, JournalError> {
    decode_row(table.name(), key, bytes).map_err(|source| JournalError::Row { table: table.name(), source })
}

/// Calls `visit` for the rows whose key starts with `prefix`, from `from` on, until it returns `false`.
pub(crate) fn scan(
    rows: &dyn Rows,
    table: Table,
    prefix: &[u8],
    from: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, JournalError>,
) -> Result<(), JournalError> {
    let mut next = rows.seek(table, from)?;
    while let Some((mut key, value)) = next.filter(|(key, _)| key.starts_with(prefix)) {
        if !visit(&key, &value)? {
            return Ok(());
        }
        key.push(0);
        next = rows.seek(table, &key)?;
    }
    Ok(())
}

/// Every row whose key starts with `prefix`.
pub(crate) fn all<R: Row>(rows: &dyn Rows, table: Table, prefix: &[u8]) -> Result<Vec<R>, JournalError> {
    let mut found = Vec::new();
    scan(rows, table, prefix, prefix, |key, value| {
        found.push(decode(table, key, value)?);
        Ok(true)
    })?;
    Ok(found)
}

/// What a batch changes: a new value, or `None` for a removed row.
pub(crate) type Changes = BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>;

/// Rows with changes on top that nobody else sees yet: a batch that fails is dropped with them.
pub(crate) struct Overlay<'a> {
    base: &'a dyn Rows,
    changes: Changes,
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(base: &'a dyn Rows) -> Self {
        Self { base, changes: Changes::new() }
    }

    pub(crate) fn write<R: Row>(&mut self, table: Table, key: &[u8], row: &R) -> Result<(), JournalError> {
        let bytes = encode_row(table.name(), key, row)?;
        self.changes.insert((table, key.to_vec()), Some(bytes));
        Ok(())
    }

    /// Writes a row that consists of its key.
    pub(crate) fn mark(&mut self, table: Table, key: &[u8]) {
        self.changes.insert((table, key.to_vec()), Some(Vec::new()));
    }

    pub(crate) fn remove(&mut self, table: Table, key: &[u8]) {
        self.changes.insert((table, key.to_vec()), None);
    }

    pub(crate) fn into_changes(self) -> Changes {
        self.changes
    }
}

impl Rows for Overlay<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, JournalError> {
        match self.changes.get(&(table, key.to_vec())) {
            Some(changed) => Ok(changed.clone()),
            None => self.base.get(table, key),
        }
    }

    fn seek(&self, table: Table, from: &[u8]) -> Result<Option<KeyValue>, JournalError> {
        let mut from = from.to_vec();
        loop {
            let base = self.base.seek(table, &from)?;
            let changed = self.changes.range((table, from.clone())..).next().filter(|((of, _), _)| *of == table);
            let Some(((_, key), value)) = changed else { return Ok(base) };
            if base.as_ref().is_some_and(|(before, _)| before < key) {
                return Ok(base);
            }
            if let Some(value) = value {
                return Ok(Some((key.clone(), value.clone())));
            }
            from.clone_from(key);
            from.push(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryRows;

    fn keys(rows: &dyn Rows) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        scan(rows, Table::Ids, &[], &[], |key, _| {
            keys.push(key.to_vec());
            Ok(true)
        })
        .unwrap();
        keys
    }

    #[test]
    fn an_overlay_adds_hides_and_merges_in_order() {
        let mut base = MemoryRows::default();
        let mut first = Overlay::new(&base);
        for key in [1, 3, 5] {
            first.mark(Table::Ids, &[key]);
        }
        // Neighbouring tables must not leak in.
        first.mark(Table::Bodies, &[9]);
        first.mark(Table::Evidence, &[0]);
        base.apply(first.into_changes());
        let mut second = Overlay::new(&base);
        second.mark(Table::Ids, &[0]);
        second.mark(Table::Ids, &[4]);
        second.remove(Table::Ids, &[3]);
        second.remove(Table::Ids, &[5]);
        assert_eq!(keys(&second), [[0], [1], [4]]);
        assert_eq!(keys(&base), [[1], [3], [5]]);
        assert_eq!(second.get(Table::Ids, &[3]).unwrap(), None);
    }

    #[test]
    fn a_scan_ends_with_its_prefix() {
        let mut base = MemoryRows::default();
        let mut changes = Overlay::new(&base);
        for key in [[1, 1], [2, 0], [2, 255], [3, 0]] {
            changes.mark(Table::Ids, &key);
        }
        base.apply(changes.into_changes());
        let mut found = Vec::new();
        scan(&base, Table::Ids, &[2], &[2], |key, _| {
            found.push(key.to_vec());
            Ok(true)
        })
        .unwrap();
        assert_eq!(found, [[2, 0], [2, 255]]);
    }
}
