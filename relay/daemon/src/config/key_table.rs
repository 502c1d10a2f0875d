//! Every key that a configuration knows: the one table behind checking, defaults and the reference.
//!
//! A key is a dotted path; `*` stands for a name chosen by the operator and `[]` for each element of a list. A default
//! that is a TOML value is put in where the key is missing; any other text only describes what happens then.

use std::str::FromStr;

use cityrelay_api::Adapter;
use cityrelay_api::adapter::KeyDoc;
use serde_json::{Map, Value};

use super::files::plain_value;

/// Default of a key that simply has no value when it is missing.
const UNSET: Option<&str> = Some("unset");

/// The daemon's own keys, in the order of the reference.
pub static OWN_KEYS: &[KeyDoc] = &[
    key("node.name", "text", None, "Name of this process in logs, metrics and answers: 1 to 32 of a-z, 0-9 and -."),
    key(
        "node.role",
        "\"relay\" or \"attester\"",
        Some("\"relay\""),
        "Whether this process carries messages or signs heads.",
    ),
    key("node.data_dir", "folder", Some("\"/var/lib/cityrelay\""), "Where the journal lives; one process at a time."),
    key(
        "link.listen",
        "address:port",
        UNSET,
        "UDP address on which peers may call; without it this process only calls them.",
    ),
    key(
        "link.identity_file",
        "file",
        None,
        "This process's link key, made by `cityrelay keys new link`; readable by its owner only.",
    ),
    key("peers[].name", "text", None, "Name of the peer: 1 to 32 of a-z, 0-9 and -, each once."),
    key("peers[].role", "\"relay\" or \"attester\"", Some("\"relay\""), "What the peer does."),
    key("peers[].address", "host:port", UNSET, "Where to call it; without it the peer must call us.").applied(),
    key(
        "peers[].fingerprint",
        "64 hex digits",
        None,
        "SHA-256 of its public link key, as `cityrelay keys show` prints it at the peer.",
    )
    .applied(),
    key(
        "peers[].next_fingerprint",
        "64 hex digits",
        UNSET,
        "The same of the link key that takes its place: both are accepted, so that the peer can change its key at any moment.",
    )
    .applied(),
    key(
        "peers[].attester",
        "address",
        UNSET,
        "With role attester: the address that it signs with, as `cityrelay keys show` prints it there; one that is in no set is not asked while all members are known peers, and `doctor` compares it with the sets in force.",
    ),
    key(
        "peers[].city",
        "text",
        UNSET,
        "With role attester: the city of its institution; `doctor` warns where one city's members reach a threshold alone.",
    ),
    key(
        "chains.*.adapter",
        "text",
        None,
        "The kind of chain; it decides which further keys the section has, listed below for each.",
    ),
    key(
        "chains.*.domain",
        "0x + 64 hex digits",
        Some("needed to run"),
        "The chain as the protocol names it, fixed in its gateway's constructor; replaying a recording does without.",
    ),
    key("chains.*.gateway", "0x + 40 or 64 hex digits", Some("needed by lanes"), "The gateway contract on this chain."),
    key(
        "chains.*.verifier",
        "0x + 40 or 64 hex digits",
        Some("needed by lanes"),
        "The contract on this chain that vouches for the other chains' heads.",
    ),
    key(
        "chains.*.poll_interval",
        "duration",
        Some("\"500ms\""),
        "How often the chain's nodes are asked for news: 20ms to 1h.",
    )
    .applied(),
    key("lanes[].channel", "text", None, "Name of the channel, 1 to 64 bytes; part of the lane's identity."),
    key("lanes[].source", "chain name", None, "The `[chains.<name>]` on which applications send."),
    key("lanes[].destination", "chain name", None, "The `[chains.<name>]` on which messages are executed."),
    key(
        "lanes[].salt",
        "0x + 64 hex digits",
        None,
        "Drawn once when the lane is opened (`cityrelay lane salt`); part of the lane's identity.",
    ),
    key(
        "lanes[].source_gateway",
        "0x + 40 or 64 hex digits",
        Some("chains.<source>.gateway"),
        "The gateway on the source chain, where the lane does not use the chain's: while lanes move to a new gateway.",
    ),
    key(
        "lanes[].source_verifier",
        "0x + 40 or 64 hex digits",
        Some("chains.<source>.verifier"),
        "The verifier that this gateway uses, where it is not the chain's.",
    ),
    key(
        "lanes[].destination_gateway",
        "0x + 40 or 64 hex digits",
        Some("chains.<destination>.gateway"),
        "The gateway on the destination chain, where the lane does not use the chain's.",
    ),
    key(
        "lanes[].destination_verifier",
        "0x + 40 or 64 hex digits",
        Some("chains.<destination>.verifier"),
        "The verifier that this gateway uses, where it is not the chain's.",
    ),
    key("lanes[].peer", "peer name", Some("needed by a relay"), "The relay on the other side; an attester names none."),
    key(
        "attester.key_file",
        "file",
        Some("needed by an attester without a signer"),
        "The secp256k1 key that signs heads, made by `cityrelay keys new attester`.",
    ),
    key(
        "attester.signer",
        "unix: + whole path",
        UNSET,
        "In place of key_file: the Unix socket of a signer that is a process of its own, such as `cityrelay signer`, and holds the key.",
    ),
    key(
        "attester.address",
        "address",
        Some("needed beside signer"),
        "The address that the key must have, as `cityrelay keys show` prints it; with another key nothing starts.",
    ),
    key(
        "attester.counter_file",
        "file",
        Some("<node.data_dir>-signer/counter"),
        "The newest heads that it signed, outside of node.data_dir: it tells an older journal. Never restore it from a backup.",
    ),
    key(
        "attester.channels",
        "list of text",
        UNSET,
        "Sign only for lanes with these channels; without it for every configured lane.",
    ),
    key("batch.max_entries", "integer", Some("64"), "Most messages in one extension: 1 to 1024.").applied(),
    key("batch.max_bytes", "bytes", Some("262144"), "Most payload bytes in one extension: 1024 to 8388608.").applied(),
    key(
        "batch.max_gas",
        "integer",
        Some("20000000"),
        "Most gas that the messages of one delivery may ask for together: at least 100000.",
    )
    .applied(),
    key("batch.max_delay", "duration", Some("\"200ms\""), "How long a short batch waits for more messages: 0s to 1m.")
        .applied(),
    key(
        "journal.keep_payloads",
        "duration",
        Some("\"30d\""),
        "How long the journal keeps payloads, proofs and attested heads of finished messages: 10s to 100y. A relay reminds \
         an attester with an older journal of what it signed only as far back as this.",
    ),
    key(
        "journal.keep_bodies",
        "duration",
        Some("for good"),
        "How long the journal keeps finished messages themselves: 10s to 100y; id, outcome and heads stay for good. \
         What an attester lacks and the journal has dropped is read from the chain again.",
    ),
    key(
        "metrics.listen",
        "address:port",
        Some("\"127.0.0.1:9464\""),
        "TCP address of `/metrics`, `/livez`, `/readyz` and the status page (this machine only); port 0 takes a free one.",
    ),
    key(
        "control.socket",
        "file",
        Some("<node.data_dir>/control.sock"),
        "Unix socket on which `cityrelay status` and other commands ask this process; at most 100 bytes.",
    ),
    key(
        "control.group",
        "text",
        UNSET,
        "Group of this machine whose members may use the control socket too; its own user and root always may.",
    ),
    key("log.format", "\"text\" or \"json\"", Some("\"text\""), "Form of the log on stderr."),
    key("log.filter", "text", Some("\"info\""), "What is logged, such as `info,cityrelay_link=debug`.").applied(),
    key(
        "traces.otlp_endpoint",
        "url",
        UNSET,
        "An OpenTelemetry collector's address for OTLP over HTTP, such as `http://127.0.0.1:4318/v1/traces`; without it nothing is traced.",
    ),
    key("traces.ca_file", "file", UNSET, "With https: certificates (PEM) of who may vouch for the collector."),
    key(
        "traces.one_in",
        "integer",
        Some("1"),
        "Of so many messages one is traced, the same one by every process with the same number: 1 to 1000000.",
    ),
];

const fn key(key: &'static str, form: &'static str, default: Option<&'static str>, doc: &'static str) -> KeyDoc {
    KeyDoc::new(key, form, default, doc)
}

/// The prefix of the keys that the daemon owns in a chain's section.
pub const CHAIN_PREFIX: &str = "chains.*.";

/// The value of a documented default, where it is one.
#[must_use]
pub fn default_value(doc: &KeyDoc) -> Option<Value> {
    toml_edit::Value::from_str(doc.default?).ok().map(|value| plain_value(&value))
}

/// The entry of an own key; `path` may hold list positions, and chain names where the table has `*`.
#[must_use]
pub fn own_doc(path: &str) -> Option<&'static KeyDoc> {
    find_doc(OWN_KEYS, path)
}

/// The entry of `path`, in the daemon's own table or in that of the adapter that the chain's section names.
#[must_use]
pub fn doc(path: &str, tree: &Value, adapters: &[&'static dyn Adapter]) -> Option<&'static KeyDoc> {
    own_doc(path).or_else(|| {
        let (chain, rest) = path.strip_prefix("chains.")?.split_once('.')?;
        find_doc(adapter_of(tree.get("chains")?.get(chain)?, adapters)?.keys(), rest)
    })
}

/// The adapter that a chain's section names.
#[must_use]
pub fn adapter_of<'a>(section: &Value, adapters: &[&'a dyn Adapter]) -> Option<&'a dyn Adapter> {
    let name = section.get("adapter")?.as_str()?;
    adapters.iter().find(|adapter| adapter.name() == name).copied()
}

fn find_doc(table: &'static [KeyDoc], path: &str) -> Option<&'static KeyDoc> {
    let steps = steps(path);
    table.iter().find(|doc| {
        let pattern = self::steps(doc.key);
        pattern.len() == steps.len()
            && pattern.iter().zip(&steps).all(|(pattern, step)| match pattern {
                Step::Name("*") => matches!(step, Step::Name(_)),
                pattern => pattern == step,
            })
    })
}

/// Puts the adapters' defaults into the chains' sections, where the table that a key belongs to is there: what the
/// adapters take themselves where a key is missing.
pub fn fill_adapter_defaults(tree: &mut Value, adapters: &[&'static dyn Adapter]) {
    let Some(Value::Object(chains)) = tree.get_mut("chains") else { return };
    for section in chains.values_mut() {
        let Some(adapter) = adapter_of(section, adapters) else { continue };
        for doc in adapter.keys() {
            let table_is_there = match doc.key.split_once('.') {
                Some((table, _)) => section.get(table.trim_end_matches("[]")).is_some(),
                None => true,
            };
            if let Some(value) = default_value(doc).filter(|_| table_is_there) {
                fill(section, &steps(doc.key), &value);
            }
        }
    }
}

/// The defaults of all keys that are not inside a list or below a chosen name.
#[must_use]
pub fn default_tree() -> Value {
    let mut tree = Value::Object(Map::new());
    for doc in OWN_KEYS.iter().filter(|doc| !doc.key.contains('*') && !doc.key.contains("[]")) {
        if let Some(value) = default_value(doc) {
            fill(&mut tree, &steps(doc.key), &value);
        }
    }
    tree
}

/// Puts the remaining defaults into the elements of lists and below the chosen names that `tree` has.
pub fn fill_element_defaults(tree: &mut Value) {
    for doc in OWN_KEYS.iter().filter(|doc| doc.key.contains('*') || doc.key.contains("[]")) {
        if let Some(value) = default_value(doc) {
            fill(tree, &steps(doc.key), &value);
        }
    }
}

fn fill(tree: &mut Value, steps: &[Step<'_>], value: &Value) {
    match steps {
        [] => {}
        [Step::Name("*"), rest @ ..] => {
            if let Value::Object(map) = tree {
                map.values_mut().for_each(|child| fill(child, rest, value));
            }
        }
        [Step::Element, rest @ ..] => {
            if let Value::Array(list) = tree {
                list.iter_mut().for_each(|child| fill(child, rest, value));
            }
        }
        [Step::Name(name), rest @ ..] => {
            let Value::Object(map) = tree else { return };
            match (map.get_mut(*name), rest) {
                (Some(child), _) => fill(child, rest, value),
                (None, []) => {
                    map.insert((*name).to_owned(), value.clone());
                }
                (None, rest) if rest.iter().all(|step| matches!(step, Step::Name(name) if *name != "*")) => {
                    let mut child = Value::Object(Map::new());
                    fill(&mut child, rest, value);
                    map.insert((*name).to_owned(), child);
                }
                (None, _) => {}
            }
        }
    }
}

/// One step of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    Name(&'a str),
    Element,
}

pub(super) fn steps(path: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let mut names = part.split('[');
        if let Some(name) = names.next()
            && !name.is_empty()
        {
            steps.push(Step::Name(name));
        }
        steps.extend(names.map(|_| Step::Element));
    }
    steps
}

/// The known keys as a tree, to find the unknown ones.
#[derive(Debug, Default)]
pub struct KnownKeys {
    names: Vec<(&'static str, KnownKeys)>,
    element: Option<Box<KnownKeys>>,
}

impl KnownKeys {
    /// The daemon's own keys; everything in a chain's section is left to [`KnownKeys::of_chain`].
    #[must_use]
    pub fn own() -> Self {
        let mut known = Self::default();
        OWN_KEYS.iter().filter(|doc| !doc.key.starts_with(CHAIN_PREFIX)).for_each(|doc| known.add(&steps(doc.key)));
        known.add(&[Step::Name("chains")]);
        known
    }

    /// The keys of one chain's section: the daemon's and those of its adapter.
    #[must_use]
    pub fn of_chain(adapter: &dyn Adapter) -> Self {
        let mut known = Self::default();
        let own = OWN_KEYS.iter().filter_map(|doc| doc.key.strip_prefix(CHAIN_PREFIX));
        own.chain(adapter.keys().iter().map(|doc| doc.key)).for_each(|key| known.add(&steps(key)));
        known
    }

    fn add(&mut self, steps: &[Step<'static>]) {
        match steps {
            [] => {}
            [Step::Element, rest @ ..] => self.element.get_or_insert_default().add(rest),
            [Step::Name(name), rest @ ..] => match self.names.iter_mut().find(|(known, _)| known == name) {
                Some((_, child)) => child.add(rest),
                None => {
                    let mut child = Self::default();
                    child.add(rest);
                    self.names.push((name, child));
                }
            },
        }
    }

    fn child(&self, name: &str) -> Option<&Self> {
        self.names.iter().find(|(known, _)| *known == name || *known == "*").map(|(_, child)| child)
    }

    /// Calls `unknown` with the path of every key that is not in the table, and the nearest known name; takes those
    /// keys out of `value`. What lies below a key whose form the table leaves open is not looked at.
    pub fn take_unknown(&self, value: &mut Value, path: &str, unknown: &mut dyn FnMut(String, Option<&'static str>)) {
        match value {
            Value::Object(map) if !self.names.is_empty() => map.retain(|name, child| {
                let path = super::tree::child_path(path, name);
                if let Some(known) = self.child(name) {
                    known.take_unknown(child, &path, unknown);
                    return true;
                }
                unknown(path, self.nearest(name));
                false
            }),
            Value::Array(list) => {
                if let Some(element) = &self.element {
                    for (at, child) in list.iter_mut().enumerate() {
                        element.take_unknown(child, &format!("{path}[{at}]"), unknown);
                    }
                }
            }
            _ => {}
        }
    }

    fn nearest(&self, name: &str) -> Option<&'static str> {
        nearest(name, self.names.iter().map(|(known, _)| *known))
    }
}

/// The candidate that `name` most likely meant: the fewest slips away, else the most alike, or `None` when none is near.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let candidates: Vec<&str> = candidates.collect();
    let most_slips = (name.len() / 3).max(1);
    let by_slips = candidates.iter().map(|candidate| (strsim::osa_distance(name, candidate), *candidate)).min();
    if let Some((slips, candidate)) = by_slips
        && slips <= most_slips
    {
        return Some(candidate);
    }
    candidates
        .into_iter()
        .map(|candidate| (candidate, strsim::jaro_winkler(name, candidate)))
        .filter(|(_, likeness)| *likeness > 0.8)
        .max_by(|(_, left), (_, right)| left.total_cmp(right))
        .map(|(candidate, _)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_by_its_own_path() {
        for doc in OWN_KEYS {
            let path = doc.key.replace('*', "hangar").replace("[]", "[3]");
            assert_eq!(own_doc(&path).map(|found| found.key), Some(doc.key), "{path}");
        }
    }

    #[test]
    fn defaults_reach_lists_and_chosen_names_but_make_no_elements() {
        let mut tree = default_tree();
        assert_eq!(tree["batch"]["max_entries"], 64);
        assert!(tree.get("peers").is_none() && tree.get("attester").is_none());
        tree["peers"] = serde_json::json!([{"name": "a"}]);
        tree["chains"] = serde_json::json!({"north": {"poll_interval": "1s"}, "south": {}});
        fill_element_defaults(&mut tree);
        assert_eq!(tree["peers"][0]["role"], "relay");
        assert_eq!(tree["chains"]["north"]["poll_interval"], "1s");
        assert_eq!(tree["chains"]["south"]["poll_interval"], "500ms");
    }

    #[test]
    fn the_nearest_key_is_the_one_that_was_meant() {
        assert_eq!(nearest("fingerprnt", ["name", "role", "fingerprint"].into_iter()), Some("fingerprint"));
        assert_eq!(nearest("zzz", ["name", "role"].into_iter()), None);
    }
}
