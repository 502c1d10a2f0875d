//! The chain's section of the configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cityrelay_api::adapter::{ConfigFault, KeyDoc};
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::Height;
use cityrelay_gateway::flavour::{Flavour, Selectors};
use serde_json::{Map, Value};

use crate::codec::json::public_key;
use crate::codec::suite::CryptoSuite;
use crate::verify::sealer_set::{Sealer, SealerSet};

/// The most blocks ahead that a node lets a transaction live (`LedgerNonceChecker.cpp`).
const MAX_BLOCK_LIMIT: u64 = 600;

/// Every key, in the order in which the reference lists them.
pub(super) const KEYS: &[KeyDoc] = &[
    key("chain_id", "text", None, "Chain id that every transaction names, as `getGroupInfo` shows it."),
    key("group_id", "text", None, "Group id that every transaction names."),
    key(
        "crypto",
        "\"standard\" or \"gm\"",
        Some("\"standard\""),
        "keccak256 with secp256k1, or SM3 with SM2; pinned, never learned from a node.",
    ),
    key(
        "gateway_hash",
        "\"opcode\" | \"precompile\" | \"\"",
        Some("\"\""),
        "Build of the gateway that is deployed: the hash opcode is keccak256, or a precompile computes it; empty is what `crypto` needs, and anything else is refused.",
    ),
    key(
        "application_selectors",
        "\"keccak256\" | \"sm3\" | \"\"",
        Some("\"\""),
        "Hash by which the compiler of this chain's applications makes function selectors, with which a deployed gateway calls them; empty is keccak256 for standard chains, which know no other, and sm3 for gm chains.",
    ),
    key("anchor.height", "integer ≥ 1", None, "Height of a block that the operator trusts; never the genesis block."),
    key("anchor.hash", "\"0x…\" of 32 bytes", None, "Hash of that block."),
    key(
        "anchor.sealers[].id",
        "128 hex digits",
        None,
        "Node id of a sealer in force at that block, as its header lists it.",
    ),
    key("anchor.sealers[].weight", "integer ≥ 1", Some("1"), "Its consensus weight."),
    key(
        "trusting_period",
        "duration",
        Some("\"14d\""),
        "How old the last verified block may be before the chain must be anchored anew.",
    ),
    key("nodes[].name", "text", None, "Name of a node in logs, metrics and reports.").applied(),
    key("nodes[].url", "\"http://…\" or \"https://…\"", None, "Its RPC address.").applied(),
    key(
        "nodes[].node",
        "text",
        Some("\"\""),
        "Node name inside the RPC service; empty lets the service pick one for each call.",
    )
    .applied(),
    key(
        "nodes[].own",
        "boolean",
        Some("false"),
        "Whether this institution runs the node and the node executes blocks; an attester needs one.",
    )
    .applied(),
    key(
        "nodes[].ca_file",
        "path",
        Some("\"\""),
        "PEM file of the authority that signed the node's certificate; required for https.",
    )
    .applied(),
    key("nodes[].client_cert_file", "path", Some("\"\""), "PEM file of the client certificate that the node asks for.")
        .applied(),
    key("nodes[].client_key_file", "path", Some("\"\""), "PEM file of its key.").applied(),
    key(
        "nodes[].check_host_name",
        "boolean",
        Some("true"),
        "Whether the certificate must name the host; certificates made by the chain's own script name none.",
    )
    .applied(),
    key(
        "account.key_file",
        "path",
        Some("\"\""),
        "File with the secret key of the account that sends transactions: PEM, or 64 hex digits; empty for a chain that is only read.",
    ),
    key("request_timeout", "duration", Some("\"10s\""), "How long one request may take; at least 100ms.").applied(),
    key("max_response_bytes", "integer ≥ 65536", Some("33554432"), "Longest answer that is read, in bytes.").applied(),
    key("block_limit", "integer from 1 to 600", Some("500"), "Blocks that a transaction stays valid for.").applied(),
    key("transaction_version", "0 or 1", Some("0"), "Version of sent transactions; checkpoints are always 0.")
        .applied(),
    key(
        "max_transaction_bytes",
        "integer ≥ 1024",
        Some("262144"),
        "Longest transaction that is sent, in bytes; longer batches are halved.",
    )
    .applied(),
];

const fn key(key: &'static str, form: &'static str, default: Option<&'static str>, doc: &'static str) -> KeyDoc {
    KeyDoc::new(key, form, default, doc)
}

/// A section that was checked.
#[derive(Clone, Debug)]
pub(super) struct ChainConfig {
    pub chain_id: String,
    pub group_id: String,
    pub suite: CryptoSuite,
    pub flavour: Flavour,
    pub anchor_height: Height,
    pub anchor_hash: Hash32,
    pub anchor_set: SealerSet,
    pub trusting_period: Duration,
    pub nodes: Vec<NodeConfig>,
    pub account: Option<PathBuf>,
    pub request_timeout: Duration,
    pub max_response_bytes: usize,
    pub block_limit: u64,
    pub transaction_version: u32,
    pub max_transaction_bytes: usize,
}

/// One node of the section.
#[derive(Clone, Debug)]
pub(super) struct NodeConfig {
    pub name: String,
    pub url: reqwest::Url,
    pub node: String,
    pub is_own: bool,
    pub ca_file: Option<PathBuf>,
    pub client_cert_file: Option<PathBuf>,
    pub client_key_file: Option<PathBuf>,
    pub check_host_name: bool,
}

/// Checks a section; every fault at once.
pub(super) fn read(section: &Value, base: &Path) -> Result<ChainConfig, Vec<ConfigFault>> {
    let mut faults = Faults { found: Vec::new(), base };
    let root = faults.table(section, "");
    faults.refuse_unknown(&root, "");
    let config = faults.chain(&root);
    match config {
        Some(config) if faults.found.is_empty() => Ok(config),
        _ => Err(faults.found),
    }
}

struct Faults<'a> {
    found: Vec<ConfigFault>,
    base: &'a Path,
}

type Table = Map<String, Value>;

impl Faults<'_> {
    fn add(&mut self, key: String, problem: impl Into<String>) {
        self.found.push(ConfigFault { key, problem: problem.into() });
    }

    fn table(&mut self, value: &Value, key: &str) -> Table {
        if let Some(table) = value.as_object() {
            return table.clone();
        }
        self.add(key.to_owned(), "expected a table");
        Table::new()
    }

    /// Names keys that this adapter does not know, with the nearest that it does.
    fn refuse_unknown(&mut self, table: &Table, prefix: &str) {
        let pattern = without_positions(prefix);
        let known: Vec<&str> = KEYS
            .iter()
            .filter_map(|doc| doc.key.strip_prefix(&pattern))
            .map(|rest| rest.split(['.', '[']).next().unwrap_or(rest))
            .collect();
        for key in table.keys() {
            if known.contains(&key.as_str()) {
                continue;
            }
            let nearest = known.iter().min_by_key(|name| strsim::levenshtein(name, key));
            let hint = nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
            self.add(format!("{prefix}{key}"), format!("unknown key{hint}"));
        }
    }

    fn chain(&mut self, root: &Table) -> Option<ChainConfig> {
        let chain_id = self.text(root, "", "chain_id", None);
        let group_id = self.text(root, "", "group_id", None);
        let crypto = self.text(root, "", "crypto", Some("standard"));
        let suite = crypto.as_deref().and_then(CryptoSuite::from_name);
        if let (Some(crypto), None) = (&crypto, suite) {
            self.add("crypto".to_owned(), format!("expected \"standard\" or \"gm\", got {crypto:?}"));
        }
        let flavour = self.flavour(root, suite);
        let anchor = self.anchor(root);
        let trusting_period = self.duration(root, "trusting_period", "14d", Duration::from_secs(1));
        let nodes = self.nodes(root);
        let account = match root.get("account") {
            None => None,
            Some(account) => {
                let account = self.table(account, "account");
                self.refuse_unknown(&account, "account.");
                self.path(&account, "account.", "key_file")
            }
        };
        let request_timeout = self.duration(root, "request_timeout", "10s", Duration::from_millis(100));
        let max_response_bytes = self.number(root, "", "max_response_bytes", Some(32 << 20), 65_536..=1 << 30);
        let block_limit = self.number(root, "", "block_limit", Some(500), 1..=MAX_BLOCK_LIMIT);
        let transaction_version = self.number(root, "", "transaction_version", Some(0), 0..=1);
        let max_transaction_bytes = self.number(root, "", "max_transaction_bytes", Some(262_144), 1024..=1 << 20);
        let (anchor_height, anchor_hash, anchor_set) = anchor?;
        Some(ChainConfig {
            chain_id: chain_id?,
            group_id: group_id?,
            suite: suite?,
            flavour: flavour?,
            anchor_height,
            anchor_hash,
            anchor_set,
            trusting_period: trusting_period?,
            nodes,
            account,
            request_timeout: request_timeout?,
            max_response_bytes: usize::try_from(max_response_bytes?).ok()?,
            block_limit: block_limit?,
            transaction_version: u32::try_from(transaction_version?).ok()?,
            max_transaction_bytes: usize::try_from(max_transaction_bytes?).ok()?,
        })
    }

    /// The build of the contracts that this chain can run.
    fn flavour(&mut self, root: &Table, suite: Option<CryptoSuite>) -> Option<Flavour> {
        let hash = self.text(root, "", "gateway_hash", Some(""));
        let selectors = self.text(root, "", "application_selectors", Some(""));
        let (suite, hash, selectors) = (suite?, hash?, selectors?);
        let (needed, reason, usual) = match suite {
            CryptoSuite::Standard => ("opcode", "keccak256 is the hash opcode", Selectors::Keccak256),
            CryptoSuite::Gm => ("precompile", "the hash opcode is SM3", Selectors::Sm3),
        };
        if !hash.is_empty() && hash != needed {
            let crypto = suite.as_str();
            let problem = format!("expected {needed:?}, got {hash:?}: on a chain of crypto {crypto:?} {reason}");
            self.add("gateway_hash".to_owned(), problem);
        }
        let callbacks = if selectors.is_empty() { Some(usual) } else { Selectors::from_name(&selectors) };
        let Some(callbacks) = callbacks else {
            let problem = format!("expected \"keccak256\" or \"sm3\", got {selectors:?}");
            self.add("application_selectors".to_owned(), problem);
            return None;
        };
        match (suite, callbacks) {
            (CryptoSuite::Gm, callbacks) => Some(Flavour::Precompile { callbacks }),
            (CryptoSuite::Standard, Selectors::Keccak256) => Some(Flavour::Opcode),
            (CryptoSuite::Standard, Selectors::Sm3) => {
                let problem = "expected \"keccak256\", got \"sm3\": its compiler is for chains of crypto \"gm\"";
                self.add("application_selectors".to_owned(), problem);
                None
            }
        }
    }

    fn anchor(&mut self, root: &Table) -> Option<(Height, Hash32, SealerSet)> {
        let Some(anchor) = root.get("anchor") else {
            self.add("anchor".to_owned(), "missing: a block that you trust, with height, hash and sealers");
            return None;
        };
        let anchor = self.table(anchor, "anchor");
        self.refuse_unknown(&anchor, "anchor.");
        let height = self.number(&anchor, "anchor.", "height", None, 1..=i64::MAX.unsigned_abs());
        let text = self.text(&anchor, "anchor.", "hash", None);
        let hash = text.as_deref().and_then(|text| Hash32::from_hex(text).ok());
        if let (Some(text), None) = (&text, hash) {
            self.add("anchor.hash".to_owned(), format!("expected 32 bytes in hex, got {text:?}"));
        }
        let list = anchor.get("sealers").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut sealers = Vec::with_capacity(list.len());
        for (position, sealer) in list.iter().enumerate() {
            let prefix = format!("anchor.sealers[{position}].");
            let sealer = self.table(sealer, prefix.trim_end_matches('.'));
            self.refuse_unknown(&sealer, &prefix);
            let id = self.text(&sealer, &prefix, "id", None);
            let parsed = id.as_deref().and_then(|id| public_key(id, "id").ok());
            if let (Some(id), None) = (&id, parsed) {
                self.add(format!("{prefix}id"), format!("expected 128 hex digits, got {} characters", id.len()));
            }
            let weight = self.number(&sealer, &prefix, "weight", Some(1), 1..=i64::MAX.unsigned_abs());
            if let (Some(id), Some(weight)) = (parsed, weight) {
                sealers.push(Sealer { id, weight });
            }
        }
        sealers.sort_by_key(|sealer| sealer.id);
        let set = match SealerSet::new(sealers) {
            Ok(set) => Some(set),
            Err(refusal) => {
                self.add("anchor.sealers".to_owned(), format!("not a sealer set: {refusal}"));
                None
            }
        };
        Some((Height(height?), hash?, set?))
    }

    fn nodes(&mut self, root: &Table) -> Vec<NodeConfig> {
        let Some(value) = root.get("nodes") else { return Vec::new() };
        let Some(list) = value.as_array() else {
            self.add("nodes".to_owned(), "expected a list of tables");
            return Vec::new();
        };
        let mut nodes: Vec<NodeConfig> = Vec::with_capacity(list.len());
        for (position, node) in list.iter().enumerate() {
            let prefix = format!("nodes[{position}].");
            let node = self.table(node, prefix.trim_end_matches('.'));
            self.refuse_unknown(&node, &prefix);
            if let Some(node) = self.node(&node, &prefix) {
                if nodes.iter().any(|other| other.name == node.name) {
                    self.add(format!("{prefix}name"), format!("{:?} is the name of an earlier node", node.name));
                }
                nodes.push(node);
            }
        }
        nodes
    }

    fn node(&mut self, node: &Table, prefix: &str) -> Option<NodeConfig> {
        let name = self.text(node, prefix, "name", None);
        let text = self.text(node, prefix, "url", None);
        let url = text.as_deref().and_then(|text| reqwest::Url::parse(text).ok());
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
        if let (Some(_), None) = (&text, &url) {
            self.add(format!("{prefix}url"), "expected http:// or https:// and a host");
        }
        if url.as_ref().is_some_and(|url| !url.username().is_empty() || url.password().is_some()) {
            self.add(format!("{prefix}url"), "a secret in a URL: these nodes know clients by certificate");
        }
        let config = NodeConfig {
            name: name?,
            url: url?,
            node: self.text(node, prefix, "node", Some("")).unwrap_or_default(),
            is_own: self.boolean(node, prefix, "own", false),
            ca_file: self.path(node, prefix, "ca_file"),
            client_cert_file: self.path(node, prefix, "client_cert_file"),
            client_key_file: self.path(node, prefix, "client_key_file"),
            check_host_name: self.boolean(node, prefix, "check_host_name", true),
        };
        if config.url.scheme() == "https" && config.ca_file.is_none() {
            self.add(
                format!("{prefix}ca_file"),
                "missing: https needs the authority that signed the node's certificate",
            );
        }
        if config.client_cert_file.is_some() != config.client_key_file.is_some() {
            self.add(format!("{prefix}client_key_file"), "client certificate and key go together");
        }
        Some(config)
    }

    fn text(&mut self, table: &Table, prefix: &str, key: &str, default: Option<&str>) -> Option<String> {
        match (table.get(key), default) {
            (Some(Value::String(text)), None) if text.is_empty() => {
                self.add(format!("{prefix}{key}"), "must not be empty")
            }
            (Some(Value::String(text)), _) => return Some(text.clone()),
            (Some(_), _) => self.add(format!("{prefix}{key}"), "expected a text"),
            (None, Some(default)) => return Some(default.to_owned()),
            (None, None) => self.add(format!("{prefix}{key}"), "missing"),
        }
        None
    }

    fn boolean(&mut self, table: &Table, prefix: &str, key: &str, default: bool) -> bool {
        match table.get(key) {
            None => default,
            Some(Value::Bool(value)) => *value,
            Some(_) => {
                self.add(format!("{prefix}{key}"), "expected true or false");
                default
            }
        }
    }

    fn number(
        &mut self,
        table: &Table,
        prefix: &str,
        key: &str,
        default: Option<u64>,
        range: core::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let Some(value) = table.get(key) else {
            if default.is_none() {
                self.add(format!("{prefix}{key}"), "missing");
            }
            return default;
        };
        let number = value.as_u64().filter(|number| range.contains(number));
        if number.is_none() {
            self.add(
                format!("{prefix}{key}"),
                format!("expected a whole number from {} to {}, got {value}", range.start(), range.end()),
            );
        }
        number
    }

    fn duration(&mut self, table: &Table, key: &str, default: &str, least: Duration) -> Option<Duration> {
        let text = self.text(table, "", key, Some(default))?;
        match humantime::parse_duration(&text) {
            Ok(duration) if duration >= least => Some(duration),
            _ => {
                let least = humantime::format_duration(least);
                self.add(
                    key.to_owned(),
                    format!("expected a duration such as \"{default}\" of at least {least}, got {text:?}"),
                );
                None
            }
        }
    }

    fn path(&mut self, table: &Table, prefix: &str, key: &str) -> Option<PathBuf> {
        let text = self.text(table, prefix, key, Some(""))?;
        (!text.is_empty()).then(|| self.base.join(text))
    }
}

/// `nodes[3].` as the key table writes it: `nodes[].`.
fn without_positions(prefix: &str) -> String {
    prefix.chars().filter(|character| !character.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn section() -> Value {
        json!({
            "chain_id": "chain0",
            "group_id": "group0",
            "anchor": { "height": 1, "hash": format!("0x{}", "11".repeat(32)), "sealers": [
                { "id": "bb".repeat(64), "weight": 2 },
                { "id": format!("0x{}", "aa".repeat(64)) },
            ] },
            "nodes": [{ "name": "n0", "url": "http://127.0.0.1:20200", "own": true }],
        })
    }

    fn faults(edit: impl Fn(&mut Value)) -> Vec<String> {
        let mut section = section();
        edit(&mut section);
        let found = read(&section, Path::new("/etc/x")).expect_err("there must be a fault");
        found.into_iter().map(|fault| fault.key).collect()
    }

    #[test]
    fn a_section_is_read_with_its_defaults_and_sorted_sealers() {
        let config = read(&section(), Path::new("/etc/x")).unwrap();
        assert_eq!(config.suite, CryptoSuite::Standard);
        assert_eq!(config.trusting_period, Duration::from_secs(14 * 86_400));
        assert_eq!((config.block_limit, config.transaction_version), (500, 0));
        let weights: Vec<u64> = config.anchor_set.sealers().iter().map(|sealer| sealer.weight).collect();
        assert_eq!(weights, [1, 2]);
        assert!(config.nodes[0].is_own);
    }

    type Case = (&'static str, fn(&mut Value));

    #[test]
    fn each_fault_names_its_key() {
        let cases: [Case; 21] = [
            ("chain_id", |s| s["chain_id"] = json!(7)),
            ("group_id", |s| s["group_id"] = json!("")),
            ("crypto", |s| s["crypto"] = json!("rsa")),
            ("gateway_hash", |s| s["gateway_hash"] = json!("precompile")),
            ("gateway_hash", |s| (s["crypto"], s["gateway_hash"]) = (json!("gm"), json!("opcode"))),
            ("application_selectors", |s| s["application_selectors"] = json!("sm3")),
            ("application_selectors", |s| s["application_selectors"] = json!("md5")),
            ("anchor", |s| drop(s.as_object_mut().unwrap().remove("anchor"))),
            ("anchor.height", |s| s["anchor"]["height"] = json!(0)),
            ("anchor.hash", |s| s["anchor"]["hash"] = json!("0x11")),
            ("anchor.sealers", |s| s["anchor"]["sealers"] = json!([])),
            ("anchor.sealers[0].id", |s| s["anchor"]["sealers"][0]["id"] = json!("bb")),
            ("anchor.sealers[1].weight", |s| s["anchor"]["sealers"][1]["weight"] = json!(0)),
            ("trusting_period", |s| s["trusting_period"] = json!("soon")),
            ("nodes[0].url", |s| s["nodes"][0]["url"] = json!("ftp://x")),
            ("nodes[0].ca_file", |s| s["nodes"][0]["url"] = json!("https://x")),
            ("nodes[0].client_key_file", |s| s["nodes"][0]["client_cert_file"] = json!("c.pem")),
            ("block_limit", |s| s["block_limit"] = json!(601)),
            ("transaction_version", |s| s["transaction_version"] = json!(2)),
            ("account.key_file", |s| s["account"] = json!({ "key_file": 7 })),
            ("nodes[0].url", |s| s["nodes"][0]["url"] = json!("http://user:secret@x")),
        ];
        for (key, edit) in cases {
            let found = faults(edit);
            assert!(found.iter().any(|fault| fault == key), "{key}: {found:?}");
        }
    }

    #[test]
    fn unknown_keys_are_named_with_the_nearest_known_one() {
        let mut section = section();
        section["anchr"] = json!(1);
        section["nodes"][0]["ulr"] = json!(1);
        section["anchor"]["sealers"][0]["wieght"] = json!(1);
        let faults = read(&section, Path::new("/")).unwrap_err();
        let problems: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert!(problems.contains(&"anchr: unknown key; did you mean `anchor`?".to_owned()), "{problems:?}");
        assert!(problems.contains(&"nodes[0].ulr: unknown key; did you mean `url`?".to_owned()), "{problems:?}");
        let sealer = "anchor.sealers[0].wieght: unknown key; did you mean `weight`?".to_owned();
        assert!(problems.contains(&sealer), "{problems:?}");
    }

    #[test]
    fn two_nodes_of_one_name_are_a_fault() {
        let found = faults(|s| {
            let node = s["nodes"][0].clone();
            s["nodes"].as_array_mut().unwrap().push(node);
        });
        assert_eq!(found, ["nodes[1].name"]);
    }
}
