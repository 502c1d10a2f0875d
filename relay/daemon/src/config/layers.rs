//! Defaults ← files ← environment ← flags, merged into one tree.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use config::{Map, Source, ValueKind};
use serde_json::Value;

use super::credentials::Credentials;
use super::fault::{Fault, Faults, Origin};
use super::files::{self, plain_value};
use super::key_table;
use super::tree::{Located, Node, Origins};

/// Environment variables that begin like this are configuration; `__` separates the parts of a key.
pub const ENVIRONMENT_PREFIX: &str = "CITYRELAY__";

/// Where the configuration is when nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/cityrelay";

/// What a configuration is read from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A TOML file, or a folder of them; [`DEFAULT_PATH`] when absent.
    pub path: Option<PathBuf>,
    /// The process's environment; variables with another prefix are passed over.
    pub environment: Vec<(String, String)>,
    /// `key=value` from the command line, each a dotted key and a TOML value or plain text.
    pub overrides: Vec<String>,
}

impl Sources {
    /// The file or folder that is read.
    #[must_use]
    pub fn place(&self) -> &Path {
        self.path.as_deref().unwrap_or_else(|| Path::new(DEFAULT_PATH))
    }
}

/// A merged configuration, unchecked.
#[derive(Debug)]
pub struct Layers {
    /// The values.
    pub tree: Value,
    /// Where each is set.
    pub origins: Origins,
    /// The folder that relative paths count from.
    pub base: PathBuf,
    /// What merging found.
    pub faults: Vec<Fault>,
}

impl Layers {
    /// Reads and merges all layers.
    ///
    /// # Errors
    /// [`Faults`] when a file can't be read or parsed. Keys that are set twice are kept in [`Layers::faults`], so
    /// that they are reported together with everything else.
    pub fn read(sources: &Sources) -> Result<Self, Faults> {
        let files = files::read(sources.place())?;
        let mut faults = files.faults;
        let environment = environment(&sources.environment, &mut faults);
        let flags = flags(&sources.overrides, &mut faults);

        let merged = config::Config::builder()
            .add_source(Layer(key_table::default_tree()))
            .add_source(Layer(files.tree.to_json()))
            .add_source(Layer(environment.to_json()))
            .add_source(Layer(flags.to_json()))
            .build()
            .and_then(config::Config::try_deserialize::<Value>);
        let mut places = files.tree;
        places.overlay(environment);
        places.overlay(flags);
        match merged {
            Ok(mut tree) => {
                key_table::fill_element_defaults(&mut tree);
                if let Some(credentials) = Credentials::of(&sources.environment) {
                    credentials.replace_files(&mut tree);
                }
                Ok(Self { tree, origins: places.origins(), base: files.base, faults })
            }
            Err(error) => {
                faults.push(Fault { origin: places.origin, key: String::new(), problem: error.to_string() });
                Err(Faults::new(faults))
            }
        }
    }
}

fn environment(variables: &[(String, String)], faults: &mut Vec<Fault>) -> Located {
    let mut tree = Located::empty();
    for (variable, value) in variables {
        let Some(rest) = variable.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
        let parts: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
        let origin = Origin::Environment { variable: variable.clone() };
        put(&mut tree, &parts, text_value(value), &origin, faults);
    }
    tree
}

fn flags(overrides: &[String], faults: &mut Vec<Fault>) -> Located {
    let mut tree = Located::empty();
    for text in overrides {
        let origin = Origin::Flag { flag: format!("--set {text}") };
        match text.split_once('=') {
            Some((key, value)) => {
                let parts: Vec<String> = key.trim().split('.').map(str::to_owned).collect();
                put(&mut tree, &parts, text_value(value.trim()), &origin, faults);
            }
            None => faults.push(Fault {
                origin,
                key: String::new(),
                problem: "expected key=value, such as log.format=json".to_owned(),
            }),
        }
    }
    tree
}

fn put(tree: &mut Located, parts: &[String], value: Value, origin: &Origin, faults: &mut Vec<Fault>) {
    let mut one = located(value, origin);
    for part in parts.iter().rev() {
        if part.is_empty() {
            let problem = "a part of the key is empty".to_owned();
            faults.push(Fault { origin: origin.clone(), key: parts.join("."), problem });
            return;
        }
        one = Located { node: Node::Table(BTreeMap::from([(part.clone(), one)])), origin: origin.clone() };
    }
    tree.overlay(one);
}

fn located(value: Value, origin: &Origin) -> Located {
    let node = match value {
        Value::Object(map) => Node::Table(map.into_iter().map(|(key, value)| (key, located(value, origin))).collect()),
        Value::Array(list) => Node::List(list.into_iter().map(|value| located(value, origin)).collect()),
        plain => Node::Plain(plain),
    };
    Located { node, origin: origin.clone() }
}

/// Text as a TOML value where it is one (`64`, `true`, `["a"]`, `"quoted"`), as plain text where not.
fn text_value(text: &str) -> Value {
    toml_edit::Value::from_str(text).map_or_else(|_| Value::String(text.to_owned()), |value| plain_value(&value))
}

/// One layer, as the merging library takes it.
#[derive(Clone, Debug)]
struct Layer(Value);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, config::Value>, config::ConfigError> {
        Ok(match &self.0 {
            Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), merging_value(value))).collect(),
            _ => Map::new(),
        })
    }
}

fn merging_value(value: &Value) -> config::Value {
    let kind = match value {
        Value::Null => ValueKind::Nil,
        Value::Bool(truth) => ValueKind::Boolean(*truth),
        Value::Number(number) => match number.as_i64() {
            Some(number) => ValueKind::I64(number),
            None => ValueKind::Float(number.as_f64().unwrap_or(f64::MAX)),
        },
        Value::String(text) => ValueKind::String(text.clone()),
        Value::Array(list) => ValueKind::Array(list.iter().map(merging_value).collect()),
        Value::Object(map) => {
            ValueKind::Table(map.iter().map(|(key, value)| (key.clone(), merging_value(value))).collect())
        }
    };
    config::Value::new(None, kind)
}
