//! Typed values out of a merged configuration; what does not fit is noted with its place, and reading goes on.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cityrelay_core::frame::Role;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Domain};
use serde_json::Value;

use super::fault::Fault;
use super::key_table;
use super::layers::Layers;
use super::tree::nearest_origin;

/// Reads keys and collects faults.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    layers: &'a Layers,
    faults: RefCell<Vec<Fault>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(layers: &'a Layers) -> Self {
        Self { layers, faults: RefCell::new(layers.faults.clone()) }
    }

    /// The folder that relative paths count from.
    pub(super) fn base(&self) -> &'a Path {
        &self.layers.base
    }

    /// The value at a dotted path.
    pub(super) fn value(&self, path: &str) -> Option<&'a Value> {
        let pointer: String =
            path.chars().filter(|c| *c != ']').map(|c| if c == '.' || c == '[' { '/' } else { c }).collect();
        self.layers.tree.pointer(&format!("/{pointer}"))
    }

    /// Notes a fault at the place of `path`.
    pub(super) fn fault(&self, path: &str, problem: impl Into<String>) {
        let origin = nearest_origin(&self.layers.origins, path);
        self.faults.borrow_mut().push(Fault { origin, key: path.to_owned(), problem: problem.into() });
    }

    /// The value of a key, or `None` when it is missing or a fault was noted.
    pub(super) fn optional<T: Setting>(&self, path: &str) -> Option<T> {
        let value = self.value(path)?;
        T::read(value).map_err(|expected| self.fault(path, format!("expected {expected}, got {}", shown(value)))).ok()
    }

    /// The value of a key that must be there; `None` after a fault.
    pub(super) fn required<T: Setting>(&self, path: &str) -> Option<T> {
        if self.value(path).is_none() {
            self.missing(path, "");
            return None;
        }
        self.optional(path)
    }

    /// Notes that a key is missing, `why` it is needed here.
    pub(super) fn missing(&self, path: &str, why: &str) {
        let doc = key_table::own_doc(path);
        let form = doc.map_or("a value", |doc| doc.form);
        let meaning = doc.map_or("", |doc| doc.doc);
        self.fault(path, format!("is missing{why}: expected {form}. {meaning}").trim_end().to_owned());
    }

    /// A file or folder, counted from the configuration's folder when relative.
    pub(super) fn path(&self, path: &str) -> Option<PathBuf> {
        self.optional::<String>(path).map(|text| self.base().join(text))
    }

    /// A value within a range, both ends included.
    pub(super) fn within<T: Setting + PartialOrd + Copy>(&self, path: &str, low: T, high: T, words: &str) -> Option<T> {
        let value = self.required::<T>(path)?;
        if value >= low && value <= high {
            return Some(value);
        }
        self.fault(path, format!("expected {words}, got {}", self.value(path).map_or_else(String::new, shown)));
        None
    }

    /// Paths of the elements of a list.
    pub(super) fn elements(&self, path: &str) -> Vec<String> {
        match self.value(path) {
            None => Vec::new(),
            Some(Value::Array(list)) => (0..list.len()).map(|at| format!("{path}[{at}]")).collect(),
            Some(other) => {
                self.fault(path, format!("expected a list of tables ([[{path}]]), got {}", shown(other)));
                Vec::new()
            }
        }
    }

    /// Names of the keys of a table.
    pub(super) fn names(&self, path: &str) -> Vec<&'a str> {
        match self.value(path) {
            None => Vec::new(),
            Some(Value::Object(map)) => map.keys().map(String::as_str).collect(),
            Some(other) => {
                self.fault(path, format!("expected a table ([{path}]), got {}", shown(other)));
                Vec::new()
            }
        }
    }

    /// What was noted.
    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults.into_inner()
    }
}

/// A value as it is shown in a fault, cut after 60 characters.
pub(super) fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => format!("{text:?}"),
        Value::Object(_) => "a table".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Null => "nothing".to_owned(),
        plain => plain.to_string(),
    };
    if text.chars().count() > 60 { text.chars().take(60).chain(['…']).collect() } else { text }
}

/// A type that a configuration value can be.
pub(super) trait Setting: Sized {
    /// The value, or what was expected instead.
    fn read(value: &Value) -> Result<Self, String>;
}

fn text<'a>(value: &'a Value, expected: &str) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| expected.to_owned())
}

impl Setting for String {
    fn read(value: &Value) -> Result<Self, String> {
        text(value, "text in quotes").map(str::to_owned)
    }
}

impl Setting for u64 {
    fn read(value: &Value) -> Result<Self, String> {
        value.as_u64().ok_or_else(|| "a whole number".to_owned())
    }
}

impl Setting for Duration {
    fn read(value: &Value) -> Result<Self, String> {
        let expected = "a duration with its unit, such as \"200ms\" or \"14d\"";
        humantime::parse_duration(text(value, expected)?).map_err(|_| expected.to_owned())
    }
}

impl Setting for SocketAddr {
    fn read(value: &Value) -> Result<Self, String> {
        let expected = "address:port, such as \"127.0.0.1:9464\" or \"[::]:7400\"";
        text(value, expected)?.parse().map_err(|_| expected.to_owned())
    }
}

impl Setting for Hash32 {
    fn read(value: &Value) -> Result<Self, String> {
        let expected = "0x and 64 hex digits";
        Self::from_hex(text(value, expected)?).map_err(|error| format!("{expected} ({error})"))
    }
}

impl Setting for Domain {
    fn read(value: &Value) -> Result<Self, String> {
        Hash32::read(value).map(Self)
    }
}

impl Setting for Address {
    fn read(value: &Value) -> Result<Self, String> {
        let expected = "0x and 40 (or 64) hex digits";
        text(value, expected)?.parse().map_err(|error| format!("{expected} ({error})"))
    }
}

impl Setting for Role {
    fn read(value: &Value) -> Result<Self, String> {
        match value.as_str() {
            Some("relay") => Ok(Self::Relay),
            Some("attester") => Ok(Self::Attester),
            _ => Err("\"relay\" or \"attester\"".to_owned()),
        }
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn read(value: &Value) -> Result<Self, String> {
        let list = value.as_array().ok_or("a list")?;
        list.iter().map(|item| T::read(item).map_err(|expected| format!("a list whose items are {expected}"))).collect()
    }
}
