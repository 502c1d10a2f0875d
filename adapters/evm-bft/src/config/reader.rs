//! Reads values out of a section and collects every fault.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cityrelay_api::ConfigFault;
use cityrelay_core::hash::Hash32;
use serde_json::{Map, Value};

use super::KEYS;
use crate::codec::account::Account;
use crate::verify::set::Validator;

/// The faults found so far.
#[derive(Debug, Default)]
pub(super) struct Faults(pub Vec<ConfigFault>);

impl Faults {
    pub(super) fn push(&mut self, key: impl Into<String>, problem: impl Into<String>) {
        self.0.push(ConfigFault { key: key.into(), problem: problem.into() });
    }
}

/// A table of the section: where it is, and what it holds.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    /// Path as people see it, such as `nodes[1]`.
    path: &'a str,
    entries: &'a Map<String, Value>,
    base: &'a Path,
}

impl<'a> Table<'a> {
    /// The section itself.
    pub(super) fn root(section: &'a Value, base: &'a Path, faults: &mut Faults) -> Option<Self> {
        match section.as_object() {
            Some(entries) => Some(Self::at("", entries, base, faults)),
            None => {
                faults.push("", "expected a table, got something else");
                None
            }
        }
    }

    fn at(path: &'a str, entries: &'a Map<String, Value>, base: &'a Path, faults: &mut Faults) -> Self {
        let table = Self { path, entries, base };
        table.refuse_unknown(faults);
        table
    }

    fn refuse_unknown(&self, faults: &mut Faults) {
        let prefix = without_positions(&self.key(""));
        let known = KEYS.iter().filter_map(|doc| doc.key.strip_prefix(prefix.as_str()));
        // `modes[].from` is known here as `modes`.
        let known: Vec<_> = known.filter_map(|rest| rest.split(['.', '[']).next()).filter(|k| !k.is_empty()).collect();
        for name in self.entries.keys().filter(|name| !known.contains(&name.as_str())) {
            let nearest = known.iter().max_by(|a, b| {
                let (a, b) = (strsim::jaro_winkler(a, name), strsim::jaro_winkler(b, name));
                a.total_cmp(&b)
            });
            let nearest = nearest.map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"));
            faults.push(self.key(name), format!("unknown key{nearest}"));
        }
    }

    pub(super) fn key(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    fn wrong(&self, name: &str, expected: &str, faults: &mut Faults) {
        match self.entries.get(name) {
            Some(got) => faults.push(self.key(name), format!("expected {expected}, got {}", shown(got))),
            None => faults.push(self.key(name), format!("missing: expected {expected}")),
        }
    }

    /// A value read by `read`; a fault when it is missing or not `expected`.
    pub(super) fn required<T>(
        &self,
        name: &str,
        expected: &str,
        faults: &mut Faults,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.entries.get(name).and_then(read);
        if value.is_none() {
            self.wrong(name, expected, faults);
        }
        value
    }

    /// As [`Table::required`], with a default when the key is missing.
    pub(super) fn optional<T>(
        &self,
        name: &str,
        expected: &str,
        default: T,
        faults: &mut Faults,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> T {
        let Some(value) = self.entries.get(name) else { return default };
        read(value).unwrap_or_else(|| {
            self.wrong(name, expected, faults);
            default
        })
    }

    pub(super) fn number(&self, name: &str, least: u64, faults: &mut Faults) -> Option<u64> {
        let expected = format!("an integer of at least {least}");
        self.required(name, &expected, faults, |value| value.as_u64().filter(|number| *number >= least))
    }

    pub(super) fn duration(&self, name: &str, default: Duration, faults: &mut Faults) -> Duration {
        self.optional(name, "a duration above zero such as \"10s\" or \"14d\"", default, faults, |value| {
            humantime::parse_duration(value.as_str()?).ok().filter(|duration| !duration.is_zero())
        })
    }

    /// A path, from the folder of the configuration when it is relative.
    pub(super) fn file(&self, name: &str, faults: &mut Faults) -> Option<PathBuf> {
        self.optional(name, "a path", None, faults, |value| {
            value.as_str().filter(|path| !path.is_empty()).map(|path| Some(self.base.join(path)))
        })
    }

    /// A table inside this one; `None` when it is missing, with a fault when it is no table.
    pub(super) fn table<T>(
        &self,
        name: &str,
        faults: &mut Faults,
        read: impl FnOnce(Table<'_>, &mut Faults) -> T,
    ) -> Option<T> {
        match self.entries.get(name)? {
            Value::Object(entries) => {
                let path = self.key(name);
                let table = Table::at(&path, entries, self.base, faults);
                Some(read(table, faults))
            }
            _ => {
                self.wrong(name, "a table", faults);
                None
            }
        }
    }

    /// The tables of a list, each read by `read`; empty when the key is missing.
    pub(super) fn tables<T>(
        &self,
        name: &str,
        faults: &mut Faults,
        mut read: impl FnMut(Table<'_>, &mut Faults) -> T,
    ) -> Vec<T> {
        let Some(value) = self.entries.get(name) else { return Vec::new() };
        let Some(items) = value.as_array() else {
            self.wrong(name, "a list of tables", faults);
            return Vec::new();
        };
        let mut found = Vec::with_capacity(items.len());
        for (position, item) in items.iter().enumerate() {
            let path = format!("{}[{position}]", self.key(name));
            match item.as_object() {
                Some(entries) => found.push(read(Table::at(&path, entries, self.base, faults), faults)),
                None => faults.push(path, format!("expected a table, got {}", shown(item))),
            }
        }
        found
    }

    /// A list of validators: addresses, or tables `{ address, bls_key }`.
    pub(super) fn validators(&self, name: &str, faults: &mut Faults) -> Option<Vec<Validator>> {
        let expected = "a list of addresses, or of { address, bls_key }";
        self.required(name, expected, faults, |value| value.as_array()?.iter().map(validator).collect())
    }
}

/// An address, or a table `{ address, bls_key }`.
pub(super) fn validator(value: &Value) -> Option<Validator> {
    if let Some(text) = value.as_str() {
        return Some(Validator { account: Account::from_hex(text)?, bls_key: None });
    }
    let table = value.as_object().filter(|table| table.len() == 2)?;
    let mut key = [0; 48];
    let digits = table.get("bls_key")?.as_str()?;
    hex::decode_to_slice(digits.strip_prefix("0x").unwrap_or(digits), &mut key).ok()?;
    Some(Validator { account: account(table.get("address")?)?, bls_key: Some(key) })
}

pub(super) fn account(value: &Value) -> Option<Account> {
    Account::from_hex(value.as_str()?)
}

pub(super) fn word(value: &Value) -> Option<Hash32> {
    Hash32::from_hex(value.as_str()?).ok()
}

/// `nodes[3].url` as it stands in the key table: `nodes[].url`.
fn without_positions(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut is_inside = false;
    for letter in path.chars() {
        is_inside = is_inside && letter != ']';
        if !is_inside {
            out.push(letter);
        }
        is_inside = is_inside || letter == '[';
    }
    out
}

/// A value for people, cut so that a pasted secret does not end up in a log.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.len() > 12 => format!("a text of {} characters", text.len()),
        Value::Array(items) => format!("a list of {} items", items.len()),
        Value::Object(_) => "a table".to_owned(),
        other => other.to_string(),
    }
}
