//! From a merged configuration to a checked one: every rule, and every fault at once.

mod attester;
mod lanes;
mod traces;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use cityrelay_api::Adapter;
use cityrelay_core::claim::MAX_CLAIM_ENTRIES;
use cityrelay_core::frame::Role;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, AttesterId, Domain};
use serde_json::Value;

use super::fault::Faults;
use super::key_table::{CHAIN_PREFIX, KnownKeys, OWN_KEYS, nearest};
use super::layers::Layers;
use super::reader::{Reader, Setting, shown};
use super::settings::{
    BatchConfig, ChainConfig, Config, ControlConfig, JournalConfig, KeySource, LaneConfig, LinkConfig, LogConfig,
    LogFormat, MetricsConfig, NodeConfig, PeerConfig,
};

/// The adapters that a chain's section may name.
pub type Adapters<'a> = &'a [&'static dyn Adapter];

const MAX_NAME_BYTES: usize = 32;
/// Unix socket paths end at 107 bytes; the rest is room for a temporary name beside it.
const MAX_SOCKET_BYTES: usize = 100;

/// Checks everything that `cityrelay run` needs.
///
/// # Errors
/// Every fault, by file and line.
pub fn config(layers: &Layers, adapters: Adapters<'_>) -> Result<Config, Faults> {
    let reader = Reader::new(layers);
    unknown_keys(&reader, layers);
    let role = reader.required::<Role>("node.role");
    let node = node(&reader, role);
    let link = link(&reader);
    let peers = peers(&reader, link.as_ref().is_some_and(|link| link.listen.is_some()));
    let names = reader.names("chains");
    let mut chains = BTreeMap::new();
    for name in &names {
        if let Some(chain) = chain_section(&reader, adapters, name, DomainRule::Required) {
            chains.insert((*name).to_owned(), chain);
        }
    }
    distinct_domains(&reader, &chains);
    let lanes = lanes::lanes(&reader, role, &names, &chains, &peers);
    nothing_idle(&reader, &names, &peers);
    let attester = attester::attester(&reader, role, &lanes, node.as_ref());
    attester::own_nodes(&reader, role, &chains);
    let batch = batch(&reader);
    let journal = journal(&reader);
    let metrics = reader.required("metrics.listen").map(|listen| MetricsConfig { listen });
    let control = control(&reader, node.as_ref());
    let log = log(&reader);
    let traces = traces::traces(&reader);
    let faults = reader.into_faults();
    match (node, link, batch, journal, metrics, control, log) {
        (Some(node), Some(link), Some(batch), Some(journal), Some(metrics), Some(control), Some(log))
            if faults.is_empty() =>
        {
            Ok(Config { node, link, peers, chains, lanes, attester, batch, journal, metrics, control, log, traces })
        }
        _ => Err(Faults::new(faults)),
    }
}

/// Checks one chain's section and nothing else but unknown keys; a missing domain is derived from name and anchor.
///
/// # Errors
/// Every fault, by file and line.
pub fn one_chain(layers: &Layers, adapters: Adapters<'_>, name: &str) -> Result<ChainConfig, Faults> {
    let reader = Reader::new(layers);
    unknown_keys(&reader, layers);
    let names = reader.names("chains");
    let chain = if names.contains(&name) {
        chain_section(&reader, adapters, name, DomainRule::Derived)
    } else {
        reader.fault("chains", unknown_name("chain", name, &names));
        None
    };
    finish(reader, chain)
}

/// Checks the log settings and the control socket: what a command needs to ask a running daemon.
///
/// # Errors
/// Every fault, by file and line.
pub fn control_socket(layers: &Layers) -> Result<ControlConfig, Faults> {
    let reader = Reader::new(layers);
    let data_dir = reader.path("node.data_dir");
    let socket = socket(&reader, data_dir.as_ref());
    finish(reader, socket)
}

/// The folder of this process's data: where commands keep theirs too.
///
/// # Errors
/// Every fault, by file and line.
pub fn data_dir(layers: &Layers) -> Result<PathBuf, Faults> {
    let reader = Reader::new(layers);
    let data_dir = reader.path("node.data_dir");
    finish(reader, data_dir)
}

/// Where the attester's key is.
///
/// # Errors
/// Every fault, by file and line.
pub fn attester_key(layers: &Layers) -> Result<KeySource, Faults> {
    let reader = Reader::new(layers);
    let key = attester::key(&reader);
    finish(reader, key)
}

/// Checks the chains and lanes, whatever the role and the peers: what a command needs to set lanes up.
///
/// # Errors
/// Every fault, by file and line.
pub fn lanes_only(
    layers: &Layers,
    adapters: Adapters<'_>,
) -> Result<(BTreeMap<String, ChainConfig>, Vec<LaneConfig>), Faults> {
    let reader = Reader::new(layers);
    unknown_keys(&reader, layers);
    let names = reader.names("chains");
    let mut chains = BTreeMap::new();
    for name in &names {
        if let Some(chain) = chain_section(&reader, adapters, name, DomainRule::Required) {
            chains.insert((*name).to_owned(), chain);
        }
    }
    let lanes = lanes::lanes(&reader, None, &names, &chains, &[]);
    finish(reader, Some((chains, lanes)))
}

fn finish<T>(reader: Reader<'_>, value: Option<T>) -> Result<T, Faults> {
    let faults = reader.into_faults();
    match value {
        Some(value) if faults.is_empty() => Ok(value),
        _ => Err(Faults::new(faults)),
    }
}

fn unknown_keys(reader: &Reader<'_>, layers: &Layers) {
    let mut tree = layers.tree.clone();
    KnownKeys::own().take_unknown(&mut tree, "", &mut |path, nearest| reader.fault(&path, unknown_key(nearest)));
}

fn unknown_key(nearest: Option<&str>) -> String {
    nearest.map_or_else(|| "is no known key".to_owned(), |near| format!("is no known key; did you mean {near:?}?"))
}

fn unknown_name(what: &str, name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("there is no {what} {name:?}; did you mean {near:?}?"),
        None if known.is_empty() => format!("there is no {what} {name:?}, and no other either"),
        None => format!("there is no {what} {name:?}; there are {}", known.join(", ")),
    }
}

fn name(reader: &Reader<'_>, path: &str) -> Option<String> {
    let name: String = reader.required(path)?;
    if is_name(&name) {
        return Some(name);
    }
    reader.fault(path, format!("expected 1 to {MAX_NAME_BYTES} of a-z, 0-9 and -, got {name:?}"));
    None
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn node(reader: &Reader<'_>, role: Option<Role>) -> Option<NodeConfig> {
    let name = name(reader, "node.name");
    let data_dir = reader.path("node.data_dir");
    Some(NodeConfig { name: name?, role: role?, data_dir: data_dir? })
}

fn link(reader: &Reader<'_>) -> Option<LinkConfig> {
    if reader.value("link.identity_file").is_none() {
        reader.missing("link.identity_file", "");
    }
    let listen = reader.optional("link.listen");
    Some(LinkConfig { listen, identity_file: reader.path("link.identity_file")? })
}

fn peers(reader: &Reader<'_>, listens: bool) -> Vec<PeerConfig> {
    let mut peers: Vec<PeerConfig> = Vec::new();
    for path in reader.elements("peers") {
        let name = name(reader, &format!("{path}.name"));
        let role = reader.required(&format!("{path}.role"));
        let address = address(reader, &format!("{path}.address"));
        if address.is_none() && !listens && reader.value(&format!("{path}.address")).is_none() {
            let problem = "is missing, and link.listen too: neither side can call the other";
            reader.fault(&format!("{path}.address"), problem);
        }
        let next = format!("{path}.next_fingerprint");
        let next_fingerprint = reader.value(&next).and_then(|_| fingerprint(reader, &next));
        let fingerprint = fingerprint(reader, &format!("{path}.fingerprint"));
        if let (Some(name), Some(role), Some(fingerprint)) = (name, role, fingerprint) {
            if peers.iter().any(|peer| peer.name == name) {
                reader.fault(&format!("{path}.name"), format!("two peers are called {name:?}"));
            }
            let has = |peer: &PeerConfig, key| peer.fingerprint == key || peer.next_fingerprint == Some(key);
            if let Some(twin) = peers.iter().find(|peer| has(peer, fingerprint)) {
                reader.fault(&format!("{path}.fingerprint"), format!("is also that of peer {:?}", twin.name));
            }
            if let Some(twin) = peers.iter().find(|peer| next_fingerprint.is_some_and(|key| has(peer, key))) {
                reader.fault(&next, format!("is also that of peer {:?}", twin.name));
            }
            if next_fingerprint == Some(fingerprint) {
                reader.fault(&next, "is the present one: leave this key out until the peer has another");
            }
            let attester = attester_address(reader, &format!("{path}.attester"), role);
            let city = reader.optional(&format!("{path}.city"));
            peers.push(PeerConfig { name, role, address, fingerprint, next_fingerprint, attester, city });
        }
    }
    peers
}

fn attester_address(reader: &Reader<'_>, path: &str, role: Role) -> Option<AttesterId> {
    let id = attester_id(reader, path)?;
    if role != Role::Attester {
        reader.fault(path, "only an attester signs: leave this key out, or set role = \"attester\"");
    }
    Some(id)
}

fn attester_id(reader: &Reader<'_>, path: &str) -> Option<AttesterId> {
    let address = reader.optional::<Address>(path)?;
    match address.to_20() {
        Some(bytes) => Some(AttesterId(bytes)),
        None => {
            reader.fault(path, format!("expected 0x and 40 hex digits, got {address}"));
            None
        }
    }
}

fn address(reader: &Reader<'_>, path: &str) -> Option<String> {
    let text: String = reader.optional(path)?;
    let is_sound = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains(char::is_whitespace) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if is_sound {
        return Some(text);
    }
    reader.fault(path, format!("expected host:port, such as \"relay.example:7400\", got {text:?}"));
    None
}

fn fingerprint(reader: &Reader<'_>, path: &str) -> Option<[u8; 32]> {
    let text: String = reader.required(path)?;
    match Hash32::from_hex(&text) {
        Ok(hash) => Some(hash.0),
        Err(error) => {
            reader.fault(path, format!("expected 64 hex digits ({error}), got {}", shown(&Value::String(text))));
            None
        }
    }
}

/// Whether a section must name its domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DomainRule {
    Required,
    Derived,
}

fn chain_section(reader: &Reader<'_>, adapters: Adapters<'_>, name: &str, rule: DomainRule) -> Option<ChainConfig> {
    let path = format!("chains.{name}");
    if !is_name(name) {
        reader.fault(&path, format!("a chain's name is 1 to {MAX_NAME_BYTES} of a-z, 0-9 and -, got {name:?}"));
        return None;
    }
    let Some(Value::Object(section)) = reader.value(&path) else {
        reader.fault(
            &path,
            format!("expected a table ([{path}]), got {}", reader.value(&path).map_or_else(String::new, shown)),
        );
        return None;
    };
    let domain: Option<Domain> = match rule {
        DomainRule::Required => reader.required(&format!("{path}.domain")),
        DomainRule::Derived => reader.optional(&format!("{path}.domain")),
    };
    let gateway = reader.optional(&format!("{path}.gateway"));
    let verifier = reader.optional(&format!("{path}.verifier"));
    let hour = Duration::from_secs(3600);
    let poll_interval = reader.within(&format!("{path}.poll_interval"), Duration::from_millis(20), hour, "20ms to 1h");
    let adapter_name: String = reader.required(&format!("{path}.adapter"))?;
    let Some(adapter) = adapters.iter().find(|adapter| adapter.name() == adapter_name) else {
        let known: Vec<&str> = adapters.iter().map(|adapter| adapter.name()).collect();
        reader.fault(&format!("{path}.adapter"), unknown_name("adapter", &adapter_name, &known));
        return None;
    };

    let mut section = Value::Object(section.clone());
    KnownKeys::of_chain(*adapter)
        .take_unknown(&mut section, &path, &mut |path, nearest| reader.fault(&path, unknown_key(nearest)));
    if let Value::Object(section) = &mut section {
        let own: Vec<&str> = OWN_KEYS.iter().filter_map(|doc| doc.key.strip_prefix(CHAIN_PREFIX)).collect();
        section.retain(|key, _| !own.contains(&key.as_str()));
    }
    match adapter.configure(&section, reader.base()) {
        Ok(chain) => {
            let derived = || {
                let anchor = chain.client().trusted_hash(&chain.anchor());
                anchor
                    .map(|hash| Domain::derive(name, hash))
                    .map_err(|refusal| reader.fault(&path, refusal.to_string()))
                    .ok()
            };
            let domain = match rule {
                DomainRule::Required => domain?,
                DomainRule::Derived => domain.or_else(derived)?,
            };
            Some(ChainConfig {
                name: name.to_owned(),
                adapter: adapter_name,
                domain,
                gateway,
                verifier,
                poll_interval: poll_interval?,
                chain,
            })
        }
        Err(faults) => {
            for fault in faults {
                let at = if fault.key.is_empty() { path.clone() } else { format!("{path}.{}", fault.key) };
                reader.fault(&at, fault.problem);
            }
            None
        }
    }
}

fn distinct_domains(reader: &Reader<'_>, chains: &BTreeMap<String, ChainConfig>) {
    let mut seen: BTreeMap<Domain, &str> = BTreeMap::new();
    for (name, chain) in chains {
        if let Some(twin) = seen.insert(chain.domain, name) {
            reader.fault(&format!("chains.{name}.domain"), format!("is also that of chain {twin:?}"));
        }
    }
}

/// A chain that no lane names, or a relay that no lane names, is a mistake that would otherwise go unseen.
fn nothing_idle(reader: &Reader<'_>, names: &[&str], peers: &[PeerConfig]) {
    let named = |key: &str| -> BTreeSet<String> {
        let lanes = reader.elements("lanes").into_iter();
        lanes.filter_map(|lane| String::read(reader.value(&format!("{lane}.{key}"))?).ok()).collect()
    };
    let mut chains = named("source");
    chains.append(&mut named("destination"));
    // A name that is mistyped in a lane is reported there, and nothing else is said about the one that was meant.
    if !chains.is_empty() && chains.iter().all(|chain| names.contains(&chain.as_str())) {
        for name in names.iter().filter(|name| !chains.contains(**name)) {
            reader.fault(&format!("chains.{name}"), "no lane names this chain: add a lane, or leave the section out");
        }
    }
    let relays = named("peer");
    if relays.is_empty() || !relays.iter().all(|relay| peers.iter().any(|peer| peer.name == *relay)) {
        return;
    }
    for (at, peer) in peers.iter().enumerate().filter(|(_, peer)| peer.role == Role::Relay) {
        if !relays.contains(&peer.name) {
            reader.fault(&format!("peers[{at}]"), "no lane names this relay: add a lane, or leave the section out");
        }
    }
}

fn batch(reader: &Reader<'_>) -> Option<BatchConfig> {
    let most = u64::try_from(MAX_CLAIM_ENTRIES).unwrap_or(u64::MAX);
    let max_entries = reader.within("batch.max_entries", 1_u64, most, &format!("1 to {most}"));
    let max_bytes = reader.within("batch.max_bytes", 1024_u64, 8 << 20, "1024 to 8388608");
    let max_gas = reader.within("batch.max_gas", 100_000_u64, u64::MAX, "at least 100000");
    let minute = Duration::from_secs(60);
    let max_delay = reader.within("batch.max_delay", Duration::ZERO, minute, "0s to 1m");
    Some(BatchConfig {
        max_entries: usize::try_from(max_entries?).ok()?,
        max_bytes: usize::try_from(max_bytes?).ok()?,
        max_gas: max_gas?,
        max_delay: max_delay?,
    })
}

fn journal(reader: &Reader<'_>) -> Option<JournalConfig> {
    let (shortest, longest) = (Duration::from_secs(10), Duration::from_secs(100 * 366 * 24 * 3600));
    let keep = |key| reader.within(key, shortest, longest, "10s to 100y");
    let keep_payloads = keep("journal.keep_payloads");
    let keep_bodies = match reader.value("journal.keep_bodies") {
        Some(_) => Some(keep("journal.keep_bodies")?),
        None => None,
    };
    Some(JournalConfig { keep_payloads: keep_payloads?, keep_bodies })
}

fn control(reader: &Reader<'_>, node: Option<&NodeConfig>) -> Option<ControlConfig> {
    socket(reader, node.map(|node| &node.data_dir))
}

fn socket(reader: &Reader<'_>, data_dir: Option<&PathBuf>) -> Option<ControlConfig> {
    let socket = match reader.value("control.socket") {
        Some(_) => reader.path("control.socket")?,
        None => data_dir?.join("control.sock"),
    };
    let bytes = socket.as_os_str().len();
    if bytes > MAX_SOCKET_BYTES {
        let problem = format!("expected a path of at most {MAX_SOCKET_BYTES} bytes, got {bytes}: {}", socket.display());
        reader.fault("control.socket", problem);
        return None;
    }
    let group = match reader.value("control.group") {
        Some(_) => Some(reader.required("control.group")?),
        None => None,
    };
    Some(ControlConfig { socket, group })
}

fn log(reader: &Reader<'_>) -> Option<LogConfig> {
    let format = match reader.required::<String>("log.format").as_deref() {
        Some("text") => Some(LogFormat::Text),
        Some("json") => Some(LogFormat::Json),
        Some(other) => {
            reader.fault("log.format", format!("expected \"text\" or \"json\", got {other:?}"));
            None
        }
        None => None,
    };
    let filter: Option<String> = reader.required("log.filter");
    if let Some(filter) = &filter
        && let Err(error) = tracing_subscriber::EnvFilter::try_new(filter)
    {
        reader.fault("log.filter", format!("expected a filter such as \"info,cityrelay_link=debug\": {error}"));
        return None;
    }
    Some(LogConfig { format: format?, filter: filter? })
}
