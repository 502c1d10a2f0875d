//! The whole section.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cityrelay_api::ConfigFault;
use serde_json::Value;

use super::reader::{Faults, Table};
use super::rules::{read_anchor, read_rules};
use crate::verify::rules::Rules;
use crate::verify::state::State;

/// A checked section.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Chain id for signing, and what nodes must report.
    pub chain_id: u64,
    /// What the light client follows.
    pub rules: Rules,
    /// Where it starts.
    pub anchor: State,
    /// The endpoints, in the order in which they are tried first.
    pub nodes: Vec<NodeSettings>,
    /// The account that writes, where one is configured.
    pub account: Option<AccountSettings>,
    /// The longest time between two blocks without transactions.
    pub longest_silence: Duration,
    /// Limit of one request.
    pub request_timeout: Duration,
    /// Limit of one answer.
    pub max_response_bytes: usize,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSettings {
    /// Where it stands in the section, such as `nodes[1]`.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Its address.
    pub url: String,
    /// Where it tells new heads.
    pub ws: Option<String>,
    /// Whether the operator's own institution runs it.
    pub is_own: bool,
    /// Certificates that its own must chain to.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its key.
    pub client_identity: Option<(PathBuf, PathBuf)>,
    /// File with `user:password`.
    pub basic_auth_file: Option<PathBuf>,
    /// File with a bearer token.
    pub bearer_token_file: Option<PathBuf>,
}

/// The account that writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountSettings {
    /// File with its key.
    pub key_file: PathBuf,
    /// What it pays for gas.
    pub gas_price: GasPrice,
    /// The most it pays when it replaces a transaction, in wei.
    pub max_gas_price: u64,
    /// The longest calldata of one transaction.
    pub max_transaction_bytes: usize,
}

/// Price of gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GasPrice {
    /// What the chain asks for.
    Auto,
    /// Always this many wei.
    Fixed(u64),
}

/// Checks a section; relative paths count from `base`. No file is opened.
///
/// # Errors
/// Every fault at once.
pub fn read_section(section: &Value, base: &Path) -> Result<Settings, Vec<ConfigFault>> {
    let mut faults = Faults::default();
    let settings = Table::root(section, base, &mut faults).and_then(|table| read(&table, &mut faults));
    match settings {
        Some(settings) if faults.0.is_empty() => Ok(settings),
        _ => Err(faults.0),
    }
}

fn read(table: &Table<'_>, faults: &mut Faults) -> Option<Settings> {
    let chain_id = table.number("chain_id", 1, faults);
    let rules = read_rules(table, faults);
    let anchor = read_anchor(table, rules.as_ref(), faults);
    let nodes = table.tables("nodes", faults, |node, faults| read_node(&node, faults));
    let nodes: Option<Vec<_>> = nodes.into_iter().collect();
    let mut names = BTreeSet::new();
    for node in nodes.iter().flatten() {
        if !names.insert(node.name.as_str()) {
            faults.push(format!("{}.name", node.key), "expected each name once, got it twice");
        }
    }
    let account = table.table("account", faults, |account, faults| read_account(&account, faults));
    let longest_silence = table.duration("longest_silence", Duration::from_secs(300), faults);
    let request_timeout = table.duration("request_timeout", Duration::from_secs(10), faults);
    let limits = (64_u64 << 10)..=(256 << 20);
    let max_response_bytes =
        table.optional("max_response_bytes", "an integer from 65536 to 268435456", 32 << 20, faults, |value| {
            value.as_u64().filter(|bytes| limits.contains(bytes))
        });
    Some(Settings {
        chain_id: chain_id?,
        rules: rules?,
        anchor: anchor?,
        nodes: nodes?,
        account: match account {
            Some(account) => Some(account?),
            None => None,
        },
        longest_silence,
        request_timeout,
        max_response_bytes: usize::try_from(max_response_bytes).unwrap_or(usize::MAX),
    })
}

fn read_node(node: &Table<'_>, faults: &mut Faults) -> Option<NodeSettings> {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let name = node.required("name", "a name", faults, text);
    let url = node.required("url", "\"https://…\" or \"http://…\"", faults, |value| {
        text(value).filter(|url| url.starts_with("https://") || url.starts_with("http://"))
    });
    let ws = node.optional("ws", "\"wss://…\" or \"ws://…\"", None, faults, |value| {
        let url = text(value).filter(|url| url.starts_with("wss://") || url.starts_with("ws://"))?;
        Some(Some(url))
    });
    for (key, address) in [("url", &url), ("ws", &ws)] {
        if address.as_ref().is_some_and(|url| authority(url).contains('@')) {
            faults.push(node.key(key), "expected no user or password in it: put them into `basic_auth_file`");
        }
    }
    let is_own = node.optional("own", "true or false", false, faults, Value::as_bool);
    let ca_file = node.file("ca_file", faults);
    let is_encrypted = |url: &String| url.starts_with("https://") || url.starts_with("wss://");
    if url.iter().chain(&ws).any(is_encrypted) && !node.has("ca_file") {
        faults.push(node.key("ca_file"), "missing: expected the certificates that an https node's must chain to");
    }
    let client_identity = match (node.file("client_cert_file", faults), node.file("client_key_file", faults)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            faults.push(node.key("client_cert_file"), "expected `client_cert_file` and `client_key_file` together");
            None
        }
    };
    let basic_auth_file = node.file("basic_auth_file", faults);
    let bearer_token_file = node.file("bearer_token_file", faults);
    if basic_auth_file.is_some() && bearer_token_file.is_some() {
        faults.push(node.key("bearer_token_file"), "expected a bearer token or basic authentication, got both");
    }
    let key = node.key("");
    Some(NodeSettings {
        key: key.trim_end_matches('.').to_owned(),
        name: name?,
        url: url?,
        ws,
        is_own,
        ca_file,
        client_identity,
        basic_auth_file,
        bearer_token_file,
    })
}

fn authority(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest).split(['/', '?', '#']).next().unwrap_or_default()
}

fn read_account(account: &Table<'_>, faults: &mut Faults) -> Option<AccountSettings> {
    let key_file = account.file("key_file", faults);
    if key_file.is_none() {
        faults.push(account.key("key_file"), "missing: expected the path of a file with the account's key");
    }
    let gas_price =
        account.optional("gas_price", "\"auto\" or a number of wei", GasPrice::Auto, faults, |value| match value {
            Value::String(text) if text == "auto" => Some(GasPrice::Auto),
            other => other.as_u64().map(GasPrice::Fixed),
        });
    let max_gas_price = account.optional("max_gas_price", "a number of wei", 1_000_000_000_000, faults, Value::as_u64);
    if let GasPrice::Fixed(price) = gas_price
        && price > max_gas_price
    {
        faults.push(account.key("gas_price"), format!("expected at most max_gas_price ({max_gas_price}), got {price}"));
    }
    let max_transaction_bytes =
        account.optional("max_transaction_bytes", "an integer from 4096 to 131072", 65_536, faults, |value| {
            value.as_u64().filter(|bytes| (4096..=131_072).contains(bytes))
        });
    let max_transaction_bytes = usize::try_from(max_transaction_bytes).unwrap_or(usize::MAX);
    Some(AccountSettings { key_file: key_file?, gas_price, max_gas_price, max_transaction_bytes })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::KEYS;
    use crate::verify::mode::Mode;

    fn good() -> Value {
        json!({
            "chain_id": 571,
            "mode": "qbft",
            "epoch_length": 30,
            "anchor": {
                "height": 0,
                "hash": format!("0x{}", "11".repeat(32)),
                "validators": [format!("0x{}", "02".repeat(20)), format!("0x{}", "01".repeat(20))],
            },
            "nodes": [{ "name": "own", "url": "http://127.0.0.1:8545", "own": true }],
        })
    }

    fn faults(change: impl FnOnce(&mut Value)) -> Vec<(String, String)> {
        let mut section = good();
        change(&mut section);
        let faults = read_section(&section, Path::new("/etc/cityrelay")).unwrap_err();
        faults.into_iter().map(|fault| (fault.key, fault.problem)).collect()
    }

    fn only_fault(change: impl FnOnce(&mut Value)) -> (String, String) {
        let faults = faults(change);
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults.into_iter().next().unwrap()
    }

    #[test]
    fn a_small_section_has_its_defaults() {
        let settings = read_section(&good(), Path::new("/etc/cityrelay")).unwrap();
        assert_eq!(settings.rules.modes.at(9), Mode::Qbft);
        assert_eq!(settings.rules.trusting_period, Duration::from_secs(14 * 86_400));
        assert_eq!(settings.request_timeout, Duration::from_secs(10));
        // The genesis list may be unsorted; sets never are.
        let set = &settings.anchor.set;
        assert!(set.members()[0] < set.members()[1]);
        assert!(settings.account.is_none());
        assert!(settings.nodes[0].is_own);
    }

    #[test]
    fn a_chain_may_have_no_node() {
        // A relay of the other city follows it by the headers that its peer sends.
        for nodes in [None, Some(json!([]))] {
            let mut section = good();
            match nodes {
                None => drop(section.as_object_mut().unwrap().remove("nodes")),
                Some(nodes) => section["nodes"] = nodes,
            }
            assert_eq!(read_section(&section, Path::new("/")).unwrap().nodes, []);
        }
    }

    #[test]
    fn every_key_can_be_given() {
        let mut section = good();
        section.as_object_mut().unwrap().remove("mode");
        section["modes"] = json!([{ "from": 0, "mode": "qbft" }, { "from": 8, "mode": "qbft-contract" }]);
        section["epoch_votes"] = "ignored".into();
        section["overrides"] = json!([{ "height": 5, "validators": [format!("0x{}", "01".repeat(20))] }]);
        let layout = json!({
            "address": format!("0x{}", "c5".repeat(20)),
            "length_slot": 3,
            "items_slot": format!("0x{}", "22".repeat(32)),
        });
        section["validator_contract"] = layout.clone();
        section["anchor"]["timestamp"] = 1_800_000_000.into();
        section["anchor"]["pending_votes"] = json!([{
            "voter": format!("0x{}", "01".repeat(20)),
            "candidate": format!("0x{}", "03".repeat(20)),
            "add": true,
        }]);
        section["trusting_period"] = "7d".into();
        section["max_clock_drift"] = "5s".into();
        section["longest_silence"] = "1h".into();
        section["request_timeout"] = "3s".into();
        section["max_response_bytes"] = 1_048_576.into();
        section["nodes"] = json!([
            { "name": "a", "url": "https://a", "ws": "wss://a", "ca_file": "ca.pem", "client_cert_file": "c.pem",
              "client_key_file": "k.pem", "basic_auth_file": "basic" },
            { "name": "b", "url": "http://b", "bearer_token_file": "/run/token" },
        ]);
        section["account"] =
            json!({ "key_file": "hot.key", "gas_price": 0, "max_gas_price": 7, "max_transaction_bytes": 8192 });
        let settings = read_section(&section, Path::new("/etc/cityrelay")).unwrap();
        assert_eq!(settings.longest_silence, Duration::from_secs(3_600));
        assert_eq!(settings.anchor.votes.len(), 1);
        assert_eq!(settings.nodes[0].ca_file, Some(PathBuf::from("/etc/cityrelay/ca.pem")));
        assert_eq!(settings.nodes[1].bearer_token_file, Some(PathBuf::from("/run/token")));
        assert_eq!(settings.account.unwrap().gas_price, GasPrice::Fixed(0));
        let old = settings.rules;
        assert_eq!(old.contract_for(8).unwrap().length_slot.to_u64(), Some(3));

        // The same for a chain that changed them.
        let mut later = layout;
        later["from"] = 9.into();
        let keys = section.as_object_mut().unwrap();
        let contract = keys.remove("validator_contract").unwrap();
        let length = keys.remove("epoch_length").unwrap();
        section["epoch_lengths"] = json!([{ "from": 0, "length": length }, { "from": 9, "length": 4 }]);
        section["validator_contracts"] = json!([later]);
        let rules = read_section(&section, Path::new("/etc/cityrelay")).unwrap().rules;
        assert_eq!([8, 9].map(|height| rules.epoch_length_at(height)), [30, 4]);
        assert_eq!((rules.contract_for(8), rules.contract_for(9)), (None, old.contract_for(0)));
        section["validator_contract"] = contract;
        section["epoch_length"] = length;

        // Whatever the table documents, the reader knows, and the other way round.
        let mut seen = BTreeSet::new();
        collect(&section, "", &mut seen);
        seen.insert("mode".to_owned());
        seen.insert("nodes[].own".to_owned());
        let documented: BTreeSet<_> = KEYS.iter().map(|doc| doc.key.to_owned()).collect();
        assert_eq!(seen, documented);
    }

    fn collect(value: &Value, path: &str, seen: &mut BTreeSet<String>) {
        match value {
            Value::Object(entries) => {
                for (name, value) in entries {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    collect(value, &path, seen);
                }
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                items.iter().for_each(|item| collect(item, &format!("{path}[]"), seen));
            }
            _ => drop(seen.insert(path.to_owned())),
        }
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        let (key, problem) = only_fault(|section| section["epoch_lenght"] = 3.into());
        assert_eq!((key.as_str(), problem.as_str()), ("epoch_lenght", "unknown key; did you mean `epoch_length`?"));
        let (key, problem) = only_fault(|section| section["nodes"][0]["urll"] = 3.into());
        assert_eq!((key.as_str(), problem.as_str()), ("nodes[0].urll", "unknown key; did you mean `url`?"));
        assert_eq!(only_fault(|section| section["anchor"]["x"] = 3.into()).0, "anchor.x");
    }

    #[test]
    fn all_faults_come_at_once() {
        let found = faults(|section| {
            section["chain_id"] = 0.into();
            section["mode"] = "pow".into();
            section["nodes"][0]["url"] = "ftp://x".into();
            section["trusting_period"] = 14.into();
        });
        let keys: Vec<_> = found.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["chain_id", "mode", "trusting_period", "nodes[0].url"]);
    }

    #[test]
    fn each_fault_is_named() {
        let secret = only_fault(|section| section["nodes"][0]["url"] = "http://me:secret@node".into());
        assert_eq!(secret.0, "nodes[0].url");
        assert!(!secret.1.contains("secret"));
        let secret = only_fault(|section| section["nodes"][0]["ws"] = "ws://me:secret@node".into());
        assert_eq!(secret.0, "nodes[0].ws");
        assert_eq!(only_fault(|section| section["nodes"][0]["ws"] = "http://node".into()).0, "nodes[0].ws");
        assert_eq!(only_fault(|section| section["nodes"][0]["ws"] = "wss://node".into()).0, "nodes[0].ca_file");
        let https = only_fault(|section| section["nodes"][0]["url"] = "https://node".into());
        assert_eq!(https.0, "nodes[0].ca_file");
        assert_eq!(only_fault(|section| section["nodes"] = 7.into()).0, "nodes");
        assert_eq!(only_fault(|section| section["anchor"]["height"] = 7.into()).0, "anchor.height");
        assert_eq!(only_fault(|section| section["anchor"]["validators"] = json!([])).0, "anchor.validators");
        let twice = json!([format!("0x{}", "01".repeat(20)), format!("0x{}", "01".repeat(20))]);
        assert_eq!(only_fault(|section| section["anchor"]["validators"] = twice).0, "anchor.validators");
        assert_eq!(only_fault(|section| section["mode"] = "edge-bls".into()).0, "anchor.validators");
        assert_eq!(only_fault(|section| section["mode"] = "qbft-contract".into()).0, "validator_contract");
        assert_eq!(only_fault(|section| section["account"] = json!({})).0, "account.key_file");
        let price = json!({ "key_file": "k", "gas_price": 9, "max_gas_price": 8 });
        assert_eq!(only_fault(|section| section["account"] = price).0, "account.gas_price");
        let modes = json!([{ "from": 1, "mode": "qbft" }]);
        assert_eq!(only_fault(|section| section["modes"] = modes.clone()).0, "mode");
        let late = only_fault(|section| {
            section.as_object_mut().unwrap().remove("mode");
            section["modes"] = modes;
        });
        assert_eq!(late.0, "modes");
        let lengths = |list: Value| {
            let (key, _) = only_fault(|section| {
                section.as_object_mut().unwrap().remove("epoch_length");
                section["epoch_lengths"] = list;
            });
            key
        };
        assert_eq!(lengths(json!([])), "epoch_lengths");
        assert_eq!(lengths(json!([{ "from": 3, "length": 4 }])), "epoch_lengths");
        assert_eq!(lengths(json!([{ "from": 0, "length": 4 }, { "from": 0, "length": 5 }])), "epoch_lengths");
        let both = json!([{ "from": 0, "length": 4 }]);
        assert_eq!(only_fault(|section| section["epoch_lengths"] = both).0, "epoch_length");
        let half = json!([{ "name": "a", "url": "http://a", "client_cert_file": "c" }]);
        assert_eq!(only_fault(|section| section["nodes"] = half).0, "nodes[0].client_cert_file");
        let same = json!([{ "name": "a", "url": "http://a" }, { "name": "a", "url": "http://b" }]);
        assert_eq!(only_fault(|section| section["nodes"] = same).0, "nodes[1].name");
    }
}
