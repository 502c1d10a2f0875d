//! The configuration as a JSON Schema (draft 2020-12, <https://json-schema.org/draft/2020-12>), made from the key table,
//! so that editors complete and check a file while it is written.
//!
//! It is for one file: what is required inside a section is required where the section is there, and a section may lie in
//! another file of the folder. Rules between keys are `config check`'s.

use cityrelay_api::adapter::KeyDoc;
use serde_json::{Map, Value, json};

use super::check::Adapters;
use super::key_table::{CHAIN_PREFIX, OWN_KEYS, Step, default_value, steps};

const HEX_32: &str = "^(0x)?[0-9a-fA-F]{64}$";
const HEX_20: &str = "^(0x)?[0-9a-fA-F]{40}$";
const DURATION: &str = "^([0-9]+ ?[a-zA-Z]+ ?)+$";

/// The schema of a configuration file.
#[must_use]
pub fn schema(adapters: Adapters<'_>) -> Value {
    let mut root = Section::default();
    for doc in OWN_KEYS.iter().filter(|doc| !doc.key.starts_with(CHAIN_PREFIX)) {
        root.add(&steps(doc.key), doc);
    }
    let mut schema = root.schema(OWN_KEYS, true);
    let chains = json!({ "type": "object", "additionalProperties": chain(adapters) });
    insert(&mut schema, "properties", "chains", chains);
    if let Value::Object(schema) = &mut schema {
        schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        schema.insert("title".to_owned(), json!("CityRelay configuration"));
    }
    schema
}

/// A chain's section: the daemon's keys, and those of the adapter that it names.
fn chain(adapters: Adapters<'_>) -> Value {
    let mut own = Section::default();
    for doc in OWN_KEYS {
        if let Some(key) = doc.key.strip_prefix(CHAIN_PREFIX) {
            own.add(&steps(key), doc);
        }
    }
    let mut schema = own.schema(OWN_KEYS, false);
    let names: Vec<&str> = adapters.iter().map(|adapter| adapter.name()).collect();
    insert(&mut schema, "properties", "adapter", json!({ "enum": names }));
    let each = adapters.iter().map(|adapter| {
        let mut section = Section::default();
        adapter.keys().iter().for_each(|doc| section.add(&steps(doc.key), doc));
        let is_it = json!({ "properties": { "adapter": { "const": adapter.name() } }, "required": ["adapter"] });
        json!({ "if": is_it, "then": section.schema(adapter.keys(), false) })
    });
    let each: Vec<Value> = each.collect();
    if let Value::Object(schema) = &mut schema {
        schema.insert("allOf".to_owned(), Value::Array(each));
        // Keys of the daemon and of the adapter together: `additionalProperties` would see only those beside it.
        schema.insert("unevaluatedProperties".to_owned(), json!(false));
    }
    schema
}

fn insert(schema: &mut Value, table: &str, name: &str, value: Value) {
    if let Some(Value::Object(properties)) = schema.get_mut(table) {
        properties.insert(name.to_owned(), value);
    }
}

/// Keys below one another.
#[derive(Default)]
struct Section {
    names: Vec<(&'static str, Section)>,
    element: Option<Box<Section>>,
    doc: Option<&'static KeyDoc>,
}

impl Section {
    fn add(&mut self, steps: &[Step<'static>], doc: &'static KeyDoc) {
        match steps {
            [] => self.doc = Some(doc),
            [Step::Element, rest @ ..] => self.element.get_or_insert_default().add(rest, doc),
            [Step::Name(name), rest @ ..] => match self.names.iter_mut().find(|(known, _)| known == name) {
                Some((_, child)) => child.add(rest, doc),
                None => {
                    let mut child = Self::default();
                    child.add(rest, doc);
                    self.names.push((name, child));
                }
            },
        }
    }

    fn schema(&self, table: &[KeyDoc], is_closed: bool) -> Value {
        if let Some(doc) = self.doc {
            return key(doc, table);
        }
        if let Some(element) = &self.element {
            return json!({ "type": "array", "items": element.schema(table, true) });
        }
        let is_required = |section: &Section| section.doc.is_some_and(|doc| doc.default.is_none());
        let required: Vec<&str> =
            self.names.iter().filter(|(_, child)| is_required(child)).map(|(name, _)| *name).collect();
        let properties: Map<String, Value> =
            self.names.iter().map(|(name, child)| ((*name).to_owned(), child.schema(table, true))).collect();
        let mut schema = json!({ "type": "object", "properties": properties });
        if let Value::Object(schema) = &mut schema {
            if !required.is_empty() {
                schema.insert("required".to_owned(), json!(required));
            }
            if is_closed {
                schema.insert("additionalProperties".to_owned(), json!(false));
            }
        }
        schema
    }
}

fn key(doc: &KeyDoc, table: &[KeyDoc]) -> Value {
    let mut schema = form(doc.form, table).unwrap_or_else(|| json!({}));
    if let Value::Object(schema) = &mut schema {
        schema.insert("description".to_owned(), json!(doc.doc));
        if let Some(default) = default_value(doc) {
            schema.insert("default".to_owned(), default);
        }
    }
    schema
}

/// What a form in a key table permits; `None` for a form that is not known here. `table` is where `` as `key` `` points to.
fn form(form: &str, table: &[KeyDoc]) -> Option<Value> {
    let text = |pattern: &str| Some(json!({ "type": "string", "pattern": pattern }));
    let account = || json!({ "type": "string", "pattern": HEX_20 });
    let keyed = || {
        json!({ "type": "object", "required": ["address"], "additionalProperties": false,
            "properties": { "address": account(), "bls_key": { "type": "string" } } })
    };
    match form {
        "text" | "file" | "folder" | "path" | "url" | "chain name" | "peer name" => Some(json!({ "type": "string" })),
        "address:port" | "host:port" => text("^.+:[0-9]{1,5}$"),
        "unix: + whole path" => text("^unix:/.+$"),
        "duration" => text(DURATION),
        "boolean" | "true | false" | "true or false" => Some(json!({ "type": "boolean" })),
        "bytes" => Some(json!({ "type": "integer", "minimum": 0 })),
        "0x + 64 hex digits" | "64 hex digits" | "32-byte hex" | "\"0x…\" of 32 bytes" => text(HEX_32),
        "0x + 40 or 64 hex digits" => text("^0x([0-9a-fA-F]{40}|[0-9a-fA-F]{64})$"),
        "128 hex digits" => text("^(0x)?[0-9a-fA-F]{128}$"),
        "address" => Some(account()),
        "list of text" => Some(json!({ "type": "array", "items": { "type": "string" } })),
        "list of addresses" => Some(json!({ "type": "array", "items": account() })),
        "list of addresses, or of { address, bls_key } under edge-bls" => {
            Some(json!({ "type": "array", "items": { "anyOf": [account(), keyed()] } }))
        }
        "as in `anchor.validators`" => Some(json!({ "anyOf": [account(), keyed()] })),
        other => {
            if let Some(key) = other.strip_prefix("as `").and_then(|rest| rest.strip_suffix('`')) {
                let doc = table.iter().find(|doc| doc.key == key).filter(|doc| doc.form != other)?;
                return self::form(doc.form, table);
            }
            alternatives(other)
        }
    }
}

/// Forms that list what may stand there: words in quotes, beginnings of text (`"https://…"`), numbers.
fn alternatives(form: &str) -> Option<Value> {
    let separator = if form.contains(" | ") { " | " } else { " or " };
    let each: Option<Vec<Value>> = form.split(separator).map(atom).collect();
    match each?.as_slice() {
        [single] => Some(single.clone()),
        several => Some(json!({ "anyOf": several })),
    }
}

fn atom(form: &str) -> Option<Value> {
    if let Some(word) = form.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return Some(match word.strip_suffix('…') {
            Some(beginning) => json!({ "type": "string", "pattern": format!("^{beginning}") }),
            None => json!({ "const": word }),
        });
    }
    if let Ok(number) = form.parse::<i64>() {
        return Some(json!({ "const": number }));
    }
    if form == "32-byte hex" {
        return Some(json!({ "type": "string", "pattern": HEX_32 }));
    }
    integer(form.strip_prefix("integer")?)
}

/// An integer with its bounds, as in ` ≥ 1, in blocks`, `, 4096 to 131072`, `, 64 KiB to 256 MiB`, ` from 1 to 600`.
fn integer(bounds: &str) -> Option<Value> {
    let words: Vec<&str> = bounds.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let mut numbers = Vec::new();
    for (at, word) in words.iter().enumerate() {
        if let Ok(number) = word.parse::<u64>() {
            numbers.push(number.checked_mul(unit(words.get(at + 1).copied()))?);
        }
    }
    let mut schema = json!({ "type": "integer", "minimum": 0 });
    if let Value::Object(schema) = &mut schema {
        match numbers.as_slice() {
            [] => {}
            [least] => drop(schema.insert("minimum".to_owned(), json!(least))),
            [least, most] => {
                schema.insert("minimum".to_owned(), json!(least));
                schema.insert("maximum".to_owned(), json!(most));
            }
            _ => return None,
        }
    }
    Some(schema)
}

fn unit(word: Option<&str>) -> u64 {
    match word {
        Some("KiB") => 1 << 10,
        Some("MiB") => 1 << 20,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_every_key_is_known() {
        for doc in OWN_KEYS {
            assert!(form(doc.form, OWN_KEYS).is_some(), "{}: {}", doc.key, doc.form);
        }
        for adapter in cityrelay_all::adapters() {
            for doc in adapter.keys() {
                assert!(form(doc.form, adapter.keys()).is_some(), "{} {}: {}", adapter.name(), doc.key, doc.form);
            }
        }
    }

    #[test]
    fn bounds_are_read_with_their_units() {
        assert_eq!(form("integer ≥ 1, in blocks", &[]), Some(json!({ "type": "integer", "minimum": 1 })));
        let bounds = json!({ "type": "integer", "minimum": 65_536, "maximum": 268_435_456 });
        assert_eq!(form("integer, 64 KiB to 256 MiB", &[]), Some(bounds));
        let price = json!({ "anyOf": [{ "const": "auto" }, { "type": "integer", "minimum": 0 }] });
        assert_eq!(form("\"auto\" | integer, in wei", &[]), Some(price));
        assert_eq!(form("a colour", &[]), None);
    }
}
