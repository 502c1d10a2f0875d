//! What is in force: each effective value, where it comes from, what a value looks like, and the default.

use std::fmt;

use cityrelay_api::adapter::{KeyDoc, Reload};
use serde::Serialize;
use serde_json::Value;

use super::check::Adapters;
use super::fault::Origin;
use super::key_table::{self, OWN_KEYS};
use super::layers::Layers;
use super::tree::child_path;

/// One key with the value that is in force.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// Dotted path with list positions from 0, such as `peers[1].address`.
    pub key: String,
    /// The value; `None` where the key is not set and has no default value.
    pub value: Option<Value>,
    /// Where it is set: file and line, environment variable, flag, or `default`.
    pub from: String,
    /// What a value looks like, with its unit; `None` for a key that nobody knows.
    pub form: Option<&'static str>,
    /// The default as text, or what happens when the key is missing; `None` for a required key.
    pub default: Option<&'static str>,
    /// What a running daemon does about a change, `applied` or `restart`; `None` for a key that nobody knows.
    pub reload: Option<&'static str>,
}

/// Every effective value, by key, whether or not the configuration has faults.
#[must_use]
pub fn settings(layers: &Layers, adapters: Adapters<'_>) -> Vec<Setting> {
    let mut tree = layers.tree.clone();
    key_table::fill_adapter_defaults(&mut tree, adapters);
    let mut settings = Vec::new();
    walk(&tree, "", &mut |path, value| {
        let doc = key_table::doc(path, &tree, adapters);
        let is_leaf = doc.is_some() || !matches!(value, Value::Object(_) | Value::Array(_));
        if is_leaf {
            settings.push(setting(layers, path, Some(value.clone()), doc));
        }
        is_leaf
    });
    let single = OWN_KEYS.iter().filter(|doc| !doc.key.contains('*') && !doc.key.contains("[]"));
    for doc in single {
        if !settings.iter().any(|setting| setting.key == doc.key) {
            settings.push(setting(layers, doc.key, None, Some(doc)));
        }
    }
    settings.sort_by(|left, right| left.key.cmp(&right.key));
    settings
}

fn setting(layers: &Layers, path: &str, value: Option<Value>, doc: Option<&'static KeyDoc>) -> Setting {
    let from = match layers.origins.get(path) {
        Some(origin) if *origin != Origin::Nowhere => origin.to_string(),
        _ => "default".to_owned(),
    };
    let (form, default) = (doc.map(|doc| doc.form), doc.and_then(|doc| doc.default));
    let reload = doc.map(|doc| doc.reload.as_str());
    Setting { key: path.to_owned(), value, from, form, default, reload }
}

/// Calls `visit` for every value, and for what lies below it unless `visit` says that this is enough.
fn walk(value: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value) -> bool) {
    if !path.is_empty() && visit(path, value) {
        return;
    }
    match value {
        Value::Object(map) => map.iter().for_each(|(name, child)| walk(child, &child_path(path, name), visit)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(at, child)| walk(child, &format!("{path}[{at}]"), visit));
        }
        _ => {}
    }
}

impl fmt::Display for Setting {
    /// One line: key, value, and after `#` the place, the form, the default, and whether a reload takes a change over.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = {value}  # {}", self.key, self.from)?,
            None => write!(f, "{} is not set  # ", self.key)?,
        }
        let separator = if self.value.is_some() { "; " } else { "" };
        match (self.form, self.default) {
            (None, _) => write!(f, "{separator}no known key"),
            (Some(form), None) => write!(f, "{separator}{form}; required"),
            (Some(form), Some(default)) => write!(f, "{separator}{form}; default {default}"),
        }?;
        match self.reload {
            Some(reload) if reload == Reload::Applied.as_str() => f.write_str("; reloadable"),
            _ => Ok(()),
        }
    }
}
