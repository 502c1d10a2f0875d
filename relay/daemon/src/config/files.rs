//! Reading TOML files with the line of every key.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use toml_edit::{Document, Item, TableLike};

use super::fault::{Fault, Faults, Origin};
use super::tree::{Located, Node};

/// The largest configuration file, 1 MiB: a few thousand lanes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What the files of a configuration say.
#[derive(Debug)]
pub struct Files {
    /// Their joined values.
    pub tree: Located,
    /// The folder that relative paths count from.
    pub base: PathBuf,
    /// Keys that several files set.
    pub faults: Vec<Fault>,
}

/// Reads one file, or joins every `*.toml` of a folder in the order of their names.
///
/// # Errors
/// [`Faults`] when a file can't be read or is no TOML; nothing can be said about its keys then.
pub fn read(path: &Path) -> Result<Files, Faults> {
    let paths = paths(path)?;
    let base = if path.is_dir() { path } else { path.parent().unwrap_or_else(|| Path::new("")) };
    let mut tree: Option<Located> = None;
    let mut faults = Vec::new();
    let mut unreadable = Vec::new();
    for path in &paths {
        match read_one(path) {
            Ok(read) => match &mut tree {
                Some(tree) => tree.join(read, "", &mut faults),
                None => tree = Some(read),
            },
            Err(fault) => unreadable.push(fault),
        }
    }
    if !unreadable.is_empty() {
        return Err(Faults::new(unreadable));
    }
    Ok(Files { tree: tree.unwrap_or_else(Located::empty), base: base.to_owned(), faults })
}

/// The file, or every `*.toml` of the folder in the order of their names.
///
/// # Errors
/// [`Faults`] when the folder can't be listed or has none.
pub(crate) fn paths(path: &Path) -> Result<Vec<PathBuf>, Faults> {
    if path.is_dir() { list(path) } else { Ok(vec![path.to_owned()]) }
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, Faults> {
    let whole = |problem: String| {
        let origin = Origin::File { path: folder.to_owned(), line: 1 };
        Faults::new(vec![Fault { origin, key: String::new(), problem }])
    };
    let entries = fs::read_dir(folder).map_err(|error| whole(format!("can't be listed: {error}")))?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml") && path.is_file())
        .collect();
    paths.sort();
    if paths.is_empty() {
        Err(whole("expected a folder with *.toml files, found none in it".to_owned()))
    } else {
        Ok(paths)
    }
}

fn read_one(path: &Path) -> Result<Located, Fault> {
    let fault = |line: usize, problem: String| Fault {
        origin: Origin::File { path: path.to_owned(), line },
        key: String::new(),
        problem,
    };
    let size = fs::metadata(path).map_err(|error| fault(1, format!("can't be read: {error}")))?.len();
    if size > MAX_FILE_BYTES {
        return Err(fault(1, format!("expected at most {MAX_FILE_BYTES} bytes, got {size}")));
    }
    let text = fs::read_to_string(path).map_err(|error| fault(1, format!("can't be read: {error}")))?;
    let document = Document::parse(text.as_str()).map_err(|error| {
        let line = error.span().map_or(1, |span| line_at(&text, span.start));
        fault(line, format!("is no valid TOML: {}", error.message()))
    })?;
    let reader = Reader { path, text: &text };
    Ok(Located { node: Node::Table(reader.table(document.as_table())), origin: reader.origin(Some(0)) })
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    fn origin(&self, offset: Option<usize>) -> Origin {
        Origin::File { path: self.path.to_owned(), line: line_at(self.text, offset.unwrap_or(0)) }
    }

    fn table(&self, table: &dyn TableLike) -> BTreeMap<String, Located> {
        let mut out = BTreeMap::new();
        for (name, item) in table.iter() {
            let key_at = table.key(name).and_then(toml_edit::Key::span).map(|span| span.start);
            let at = key_at.or_else(|| item.span().map(|span| span.start));
            out.insert(name.to_owned(), Located { node: self.item(item), origin: self.origin(at) });
        }
        out
    }

    fn item(&self, item: &Item) -> Node {
        match item {
            Item::Table(table) => Node::Table(self.table(table)),
            Item::ArrayOfTables(tables) => Node::List(
                tables
                    .iter()
                    .map(|table| Located {
                        node: Node::Table(self.table(table)),
                        origin: self.origin(table.span().map(|span| span.start)),
                    })
                    .collect(),
            ),
            Item::Value(value) => self.value(value),
            Item::None => Node::Plain(Value::Null),
        }
    }

    fn value(&self, value: &toml_edit::Value) -> Node {
        match value {
            toml_edit::Value::InlineTable(table) => Node::Table(self.table(table)),
            toml_edit::Value::Array(array) => Node::List(
                array
                    .iter()
                    .map(|value| Located {
                        node: self.value(value),
                        origin: self.origin(value.span().map(|span| span.start)),
                    })
                    .collect(),
            ),
            plain => Node::Plain(plain_value(plain)),
        }
    }
}

/// A TOML scalar as JSON; dates become text, and so does a number that JSON can't hold.
pub(crate) fn plain_value(value: &toml_edit::Value) -> Value {
    match value {
        toml_edit::Value::String(text) => Value::String(text.value().clone()),
        toml_edit::Value::Integer(number) => Value::from(*number.value()),
        toml_edit::Value::Boolean(truth) => Value::Bool(*truth.value()),
        toml_edit::Value::Float(number) => serde_json::Number::from_f64(*number.value())
            .map_or_else(|| Value::String(number.value().to_string()), Value::Number),
        toml_edit::Value::Datetime(date) => Value::String(date.value().to_string()),
        toml_edit::Value::Array(array) => Value::Array(array.iter().map(plain_value).collect()),
        toml_edit::Value::InlineTable(table) => {
            Value::Object(table.iter().map(|(key, value)| (key.to_owned(), plain_value(value))).collect())
        }
    }
}
