//! A configuration tree in which every value knows where it comes from.

use std::collections::BTreeMap;

use serde_json::Value;

use super::fault::{Fault, Origin};

/// A value and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The value.
    pub node: Node,
    /// Where it is set.
    pub origin: Origin,
}

/// A table, a list, or a plain value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Keys and values.
    Table(BTreeMap<String, Located>),
    /// Values in order.
    List(Vec<Located>),
    /// Text, number or truth value.
    Plain(Value),
}

/// Places by dotted path, for the values of a merged configuration.
pub type Origins = BTreeMap<String, Origin>;

impl Located {
    /// An empty table without a place.
    #[must_use]
    pub fn empty() -> Self {
        Self { node: Node::Table(BTreeMap::new()), origin: Origin::Nowhere }
    }

    /// Adds another file's values: tables are joined, lists of tables are appended, and a key that both set is a
    /// fault at the second place.
    pub fn join(&mut self, other: Self, path: &str, faults: &mut Vec<Fault>) {
        match (&mut self.node, other.node) {
            (Node::Table(ours), Node::Table(theirs)) => {
                for (key, value) in theirs {
                    let path = child_path(path, &key);
                    match ours.get_mut(&key) {
                        Some(held) => held.join(value, &path, faults),
                        None => {
                            ours.insert(key, value);
                        }
                    }
                }
            }
            (Node::List(ours), Node::List(theirs)) if is_list_of_tables(ours) && is_list_of_tables(&theirs) => {
                ours.extend(theirs);
            }
            _ => faults.push(Fault {
                problem: format!("is set twice; the other place is {}", self.origin),
                origin: other.origin,
                key: path.to_owned(),
            }),
        }
    }

    /// Puts another layer's values over these: tables are joined, everything else is replaced.
    pub fn overlay(&mut self, other: Self) {
        match (&mut self.node, other.node) {
            (Node::Table(ours), Node::Table(theirs)) => {
                for (key, value) in theirs {
                    match ours.get_mut(&key) {
                        Some(held) => held.overlay(value),
                        None => {
                            ours.insert(key, value);
                        }
                    }
                }
            }
            (held, node) => {
                *held = node;
                self.origin = other.origin;
            }
        }
    }

    /// The values without their places.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match &self.node {
            Node::Table(table) => {
                Value::Object(table.iter().map(|(key, value)| (key.clone(), value.to_json())).collect())
            }
            Node::List(list) => Value::Array(list.iter().map(Self::to_json).collect()),
            Node::Plain(value) => value.clone(),
        }
    }

    /// The places without their values.
    #[must_use]
    pub fn origins(&self) -> Origins {
        let mut origins = Origins::new();
        self.collect_origins("", &mut origins);
        origins
    }

    fn collect_origins(&self, path: &str, origins: &mut Origins) {
        origins.insert(path.to_owned(), self.origin.clone());
        match &self.node {
            Node::Table(table) => {
                table.iter().for_each(|(key, value)| value.collect_origins(&child_path(path, key), origins));
            }
            Node::List(list) => {
                list.iter()
                    .enumerate()
                    .for_each(|(at, value)| value.collect_origins(&format!("{path}[{at}]"), origins));
            }
            Node::Plain(_) => {}
        }
    }
}

fn is_list_of_tables(list: &[Located]) -> bool {
    !list.is_empty() && list.iter().all(|item| matches!(item.node, Node::Table(_)))
}

/// The path of `key` in the table at `path`.
#[must_use]
pub fn child_path(path: &str, key: &str) -> String {
    let is_bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let key = if is_bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// The place of `path`, or of the nearest table around it that has one.
#[must_use]
pub fn nearest_origin(origins: &Origins, path: &str) -> Origin {
    let mut path = path;
    loop {
        match origins.get(path) {
            Some(Origin::Nowhere) | None => {}
            Some(origin) => return origin.clone(),
        }
        match path.rfind(['.', '[']) {
            Some(at) => path = path.get(..at).unwrap_or_default(),
            None => return origins.get("").cloned().unwrap_or(Origin::Nowhere),
        }
    }
}
