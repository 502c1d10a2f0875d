//! Configurations with one thing wrong: refused by exactly that check, at its file and line.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cityrelay_core::frame::Role;
use cityrelay_core::ids::{AttesterId, Domain};

use super::check::{self, Adapters};
use super::settings::{KeySource, LogFormat};
use super::{Config, Faults, Layers, Sources, reference};
use crate::fake_chain::FAKE;

const ADAPTERS: Adapters<'static> = &[&FAKE];

const RELAY: &str = r#"[node]
name = "north-relay"

[link]
listen = "127.0.0.1:7400"
identity_file = "link.key"

[[peers]]
name = "south-relay"
address = "relay.south.example:7400"
fingerprint = "1111111111111111111111111111111111111111111111111111111111111111"

[chains.north]
adapter = "fake"
domain = "0x2222222222222222222222222222222222222222222222222222222222222222"
gateway = "0x0000000000000000000000000000000000000001"
verifier = "0x0000000000000000000000000000000000000002"
chain_id = 7
nodes = [{ url = "http://127.0.0.1:1" }]
account = { key_file = "account.key" }

[chains.south]
adapter = "fake"
domain = "0x3333333333333333333333333333333333333333333333333333333333333333"
gateway = "0x0000000000000000000000000000000000000003"
verifier = "0x0000000000000000000000000000000000000004"
chain_id = 8

[[lanes]]
channel = "medical"
source = "north"
destination = "south"
salt = "0x4444444444444444444444444444444444444444444444444444444444444444"
peer = "south-relay"
"#;

const ATTESTER: &str = r#"[node]
name = "north-attester"
role = "attester"
data_dir = "data"

[link]
identity_file = "link.key"

[attester]
key_file = "attester.key"

[[peers]]
name = "north-relay"
address = "127.0.0.1:7400"
fingerprint = "1111111111111111111111111111111111111111111111111111111111111111"

[chains.north]
adapter = "fake"
domain = "0x2222222222222222222222222222222222222222222222222222222222222222"
gateway = "0x0000000000000000000000000000000000000001"
verifier = "0x0000000000000000000000000000000000000002"
chain_id = 7
nodes = [{ url = "http://127.0.0.1:1", own = true }]

[chains.south]
adapter = "fake"
domain = "0x3333333333333333333333333333333333333333333333333333333333333333"
gateway = "0x0000000000000000000000000000000000000003"
verifier = "0x0000000000000000000000000000000000000004"
chain_id = 8
nodes = [{ url = "http://127.0.0.1:2", own = true }]

[[lanes]]
channel = "medical"
source = "north"
destination = "south"
salt = "0x4444444444444444444444444444444444444444444444444444444444444444"
"#;

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn load(&self, name: &str) -> Result<Config, Faults> {
        load(Sources { path: Some(self.path(name)), ..Sources::default() })
    }
}

fn load(sources: Sources) -> Result<Config, Faults> {
    check::config(&Layers::read(&sources)?, ADAPTERS)
}

/// Faults of `text` as `line key: problem`, with the file's name cut off.
fn faults(text: &str) -> Vec<String> {
    let files = Files::new(&[("a.toml", text)]);
    shown(&files.load("a.toml").unwrap_err(), &files)
}

fn shown(faults: &Faults, files: &Files) -> Vec<String> {
    let folder = format!("{}/", files.folder.path().display());
    faults.list().iter().map(|fault| fault.to_string().replace(&folder, "")).collect()
}

/// The one fault of a configuration in which `from` became `to`.
fn fault(base: &str, from: &str, to: &str) -> String {
    assert!(base.contains(from), "{from:?} is not in the configuration");
    let all = faults(&base.replacen(from, to, 1));
    assert_eq!(all.len(), 1, "{all:#?}");
    all[0].clone()
}

fn relay_fault(from: &str, to: &str) -> String {
    fault(RELAY, from, to)
}

fn attester_fault(from: &str, to: &str) -> String {
    fault(ATTESTER, from, to)
}

#[test]
fn a_relays_configuration_is_read_with_its_defaults() {
    let files = Files::new(&[("a.toml", RELAY)]);
    let config = files.load("a.toml").unwrap();
    assert_eq!(config.node.role, Role::Relay);
    assert_eq!(config.node.data_dir, Path::new("/var/lib/cityrelay"));
    assert_eq!(config.link.identity_file, files.path("link.key"));
    assert_eq!(config.peers[0].fingerprint, [0x11; 32]);
    assert_eq!(config.chains["north"].poll_interval, Duration::from_millis(500));
    assert_eq!(config.batch.max_entries, 64);
    assert_eq!(config.batch.max_delay, Duration::from_millis(200));
    assert_eq!(config.metrics.listen, "127.0.0.1:9464".parse::<SocketAddr>().unwrap());
    assert_eq!(config.control.socket, Path::new("/var/lib/cityrelay/control.sock"));
    assert_eq!((config.log.format, config.log.filter.as_str()), (LogFormat::Text, "info"));
    let lane = &config.lanes[0];
    assert_eq!((lane.source.as_str(), lane.destination.as_str()), ("north", "south"));
    assert_eq!(lane.identity.source_domain, config.chains["north"].domain);
    assert_eq!(lane.identity.destination_verifier, config.chains["south"].verifier.unwrap());
    assert_eq!(lane.id, lane.identity.id());
    assert!(config.attester.is_none());
}

#[test]
fn an_attesters_configuration_is_read() {
    let files = Files::new(&[("a.toml", ATTESTER)]);
    let config = files.load("a.toml").unwrap();
    let attester = config.attester.unwrap();
    assert_eq!(attester.key, KeySource::File { path: files.path("attester.key"), address: None });
    assert!(attester.counter_file.ends_with("data-signer/counter"), "{}", attester.counter_file.display());
    assert!(!attester.counter_file.starts_with(&config.node.data_dir));
    assert_eq!(attester.attests.into_iter().collect::<Vec<_>>(), [config.lanes[0].id]);
    assert_eq!(config.lanes[0].peer, None);
    assert_eq!(config.node.data_dir, files.path("data"));
}

#[test]
fn all_faults_come_at_once_by_line() {
    let text = RELAY
        .replace("channel = \"medical\"", "chanel = \"medical\"")
        .replace("7400\"\nidentity", "x\"\nidentity")
        .replace("chain_id = 8", "chain_id = 0");
    let all = faults(&text);
    assert_eq!(
        all,
        [
            "a.toml:5: link.listen: expected address:port, such as \"127.0.0.1:9464\" or \"[::]:7400\", got \"127.0.0.1:x\"",
            "a.toml:27: chains.south.chain_id: expected an integer ≥ 1",
            "a.toml:29: lanes[0].channel: is missing: expected text. Name of the channel, 1 to 64 bytes; part of the lane's identity.",
            "a.toml:30: lanes[0].chanel: is no known key; did you mean \"channel\"?",
        ]
    );
}

#[test]
fn unknown_keys_are_named_with_the_nearest_one() {
    assert_eq!(
        relay_fault("[node]\n", "[node]\nnmae = \"x\"\n"),
        "a.toml:2: node.nmae: is no known key; did you mean \"name\"?"
    );
    assert_eq!(
        relay_fault("[node]\n", "[batches]\n[node]\n"),
        "a.toml:1: batches: is no known key; did you mean \"batch\"?"
    );
    assert_eq!(relay_fault("chain_id = 8", "chain_id = 8\nzzz = 1"), "a.toml:28: chains.south.zzz: is no known key");
}

#[test]
fn unknown_keys_of_an_adapter_and_below_a_list_are_named() {
    assert_eq!(
        relay_fault(
            "gateway = \"0x0000000000000000000000000000000000000003\"",
            "gatway = 1\ngateway = \"0x0000000000000000000000000000000000000003\""
        ),
        "a.toml:25: chains.south.gatway: is no known key; did you mean \"gateway\"?"
    );
    assert_eq!(
        relay_fault("{ url = \"http://127.0.0.1:1\" }", "{ url = \"http://127.0.0.1:1\", onw = true }"),
        "a.toml:19: chains.north.nodes[0].onw: is no known key; did you mean \"own\"?"
    );
}

#[test]
fn an_adapters_fault_is_shown_at_its_line() {
    assert_eq!(
        relay_fault(
            "nodes = [{ url = \"http://127.0.0.1:1\" }]",
            "nodes = [\n  { url = \"http://127.0.0.1:1\" },\n  { url = \"ftp://x\" },\n]"
        ),
        "a.toml:21: chains.north.nodes[1].url: expected http://… or https://…"
    );
}

#[test]
fn a_missing_adapter_key_is_shown_at_its_section() {
    assert_eq!(relay_fault("chain_id = 8\n", ""), "a.toml:22: chains.south.chain_id: expected an integer ≥ 1");
}

#[test]
fn names_are_checked() {
    assert_eq!(
        relay_fault("\"north-relay\"", "\"North Relay\""),
        "a.toml:2: node.name: expected 1 to 32 of a-z, 0-9 and -, got \"North Relay\""
    );
    assert_eq!(
        relay_fault("[node]\nname", "[node]\nrole = \"boss\"\nname"),
        "a.toml:2: node.role: expected \"relay\" or \"attester\", got \"boss\""
    );
    let all = faults(&RELAY.replace("[chains.south]", "[chains.\"So uth\"]"));
    assert!(all.iter().any(|fault| fault.contains("a chain's name is 1 to 32 of a-z, 0-9 and -")), "{all:#?}");
}

#[test]
fn peers_are_checked() {
    assert!(
        relay_fault("relay.south.example:7400", "relay.south.example").contains("peers[0].address: expected host:port")
    );
    assert!(relay_fault("1111\"", "111\"").starts_with("a.toml:11: peers[0].fingerprint: expected 64 hex digits"));
    let twin = "[[peers]]\nname = \"south-relay\"\naddress = \"h:1\"\nrole = \"attester\"\nfingerprint = \"5555555555555555555555555555555555555555555555555555555555555555\"\n";
    assert_eq!(
        relay_fault("[chains.north]", &format!("{twin}\n[chains.north]")),
        "a.toml:14: peers[1].name: two peers are called \"south-relay\""
    );
    let twin = twin.replace("south-relay", "other").replace('5', "1");
    assert_eq!(
        relay_fault("[chains.north]", &format!("{twin}\n[chains.north]")),
        "a.toml:17: peers[1].fingerprint: is also that of peer \"south-relay\""
    );
}

#[test]
fn a_peers_next_key_is_a_key_of_its_own() {
    let one = "fingerprint = \"1111111111111111111111111111111111111111111111111111111111111111\"\n";
    let with = |digit: &str| format!("{one}next_fingerprint = \"{}\"\n", digit.repeat(64));
    let files = Files::new(&[("relay.toml", &RELAY.replace(one, &with("5")))]);
    let peer = &files.load("relay.toml").unwrap().peers[0];
    assert_eq!((peer.fingerprint, peer.next_fingerprint), ([0x11; 32], Some([0x55; 32])));
    assert!(relay_fault(one, &with("1")).contains("peers[0].next_fingerprint: is the present one"));
    assert!(relay_fault(one, &with("x")).contains("peers[0].next_fingerprint: expected 64 hex digits"));
    let second =
        format!("{}\n[[peers]]\nname = \"third\"\nrole = \"attester\"\naddress = \"127.0.0.1:1\"\n", with("5"));
    for digit in ["1", "5"] {
        let twin = format!("{second}fingerprint = \"{}\"\n", digit.repeat(64));
        assert!(relay_fault(one, &twin).contains("peers[1].fingerprint: is also that of peer \"south-relay\""));
    }
}

#[test]
fn traces_are_checked() {
    let with = |text: &str| relay_fault("[link]\n", &format!("[traces]\n{text}\n\n[link]\n"));
    assert!(with("otlp_endpoint = \"collector:4318\"").contains("traces.otlp_endpoint: expected an http or https URL"));
    assert!(with("otlp_endpoint = \"http://me:secret@collector/v1/traces\"").contains("no secret may stand"));
    assert!(with("otlp_endpoint = \"https://collector/v1/traces\"").contains("traces.ca_file: is missing"));
    assert!(with("ca_file = \"ca.pem\"").contains("traces.otlp_endpoint: is missing"));
    assert!(
        with("otlp_endpoint = \"http://collector/v1/traces\"\none_in = 0")
            .contains("traces.one_in: expected 1 to 1000000")
    );
    let text =
        "[traces]\notlp_endpoint = \"https://collector:4318/v1/traces\"\nca_file = \"ca.pem\"\none_in = 7\n\n[link]\n";
    let files = Files::new(&[("relay.toml", &RELAY.replace("[link]\n", text))]);
    let traces = files.load("relay.toml").unwrap().traces.unwrap();
    assert_eq!((traces.otlp_endpoint.as_str(), traces.one_in), ("https://collector:4318/v1/traces", 7));
    assert_eq!(traces.ca_file, Some(files.path("ca.pem")));
    let files = Files::new(&[("relay.toml", RELAY)]);
    assert_eq!(files.load("relay.toml").unwrap().traces, None, "off unless a collector is named");
}

#[test]
fn a_peer_that_nobody_can_call_is_a_fault() {
    let text =
        RELAY.replace("listen = \"127.0.0.1:7400\"\n", "").replace("address = \"relay.south.example:7400\"\n", "");
    let all = faults(&text);
    assert_eq!(all, ["a.toml:7: peers[0].address: is missing, and link.listen too: neither side can call the other"]);
}

#[test]
fn chains_are_checked() {
    assert!(relay_fault("\"fake\"", "\"fakt\"").contains("there is no adapter \"fakt\"; did you mean \"fake\"?"));
    assert!(
        relay_fault("chain_id = 7", "chain_id = 7\npoll_interval = \"1ms\"")
            .contains("expected 20ms to 1h, got \"1ms\"")
    );
    assert!(
        relay_fault("chain_id = 7", "chain_id = 7\npoll_interval = 5").contains("expected a duration with its unit")
    );
    let same = RELAY.replace('3', "2");
    let all = faults(&same);
    assert!(all.iter().any(|fault| fault.contains("chains.south.domain: is also that of chain \"north\"")), "{all:#?}");
    assert!(
        relay_fault("domain = \"0x3333333333333333333333333333333333333333333333333333333333333333\"\n", "")
            .starts_with("a.toml:22: chains.south.domain: is missing: expected 0x + 64 hex digits.")
    );
}

#[test]
fn lanes_are_checked() {
    assert!(
        relay_fault("source = \"north\"", "source = \"nroth\"")
            .contains("there is no chain \"nroth\"; did you mean \"north\"?")
    );
    assert!(
        relay_fault("0x44", "0x4")
            .contains("lanes[0].salt: expected 0x and 64 hex digits (expected 64 hex digits, got 63)")
    );
    assert!(relay_fault("peer = \"south-relay\"\n", "").contains("lanes[0].peer: is missing on a relay's lane"));
    assert!(relay_fault("channel = \"medical\"", "channel = \"\"").contains("expected 1 to 64 bytes of text"));
    let all = faults(&RELAY.replace("destination = \"south\"", "destination = \"north\""));
    assert!(all.iter().any(|fault| fault.contains("lanes[0].destination: is the source too")), "{all:#?}");
    let twice = format!("{RELAY}\n{}", RELAY.split_at(RELAY.find("[[lanes]]").unwrap()).1);
    assert_eq!(faults(&twice), ["a.toml:36: lanes[1]: is the same lane as lanes[0]"]);
}

#[test]
fn a_lane_needs_gateway_and_verifier_of_both_chains() {
    assert!(
        relay_fault("verifier = \"0x0000000000000000000000000000000000000004\"\n", "")
            .starts_with("a.toml:22: chains.south.verifier: is missing, and lanes[0].destination needs it")
    );
}

#[test]
fn a_relay_needs_an_account_on_one_end_of_each_lane() {
    assert!(relay_fault("account = { key_file = \"account.key\" }\n", "").contains("no account on either chain"));
}

#[test]
fn a_lanes_peer_is_a_relay() {
    assert!(relay_fault("peer = \"south-relay\"", "peer = \"south-rely\"").contains("did you mean \"south-relay\"?"));
    assert!(
        relay_fault("name = \"south-relay\"\n", "name = \"south-relay\"\nrole = \"attester\"\n")
            .contains("is an attester, expected a relay")
    );
}

#[test]
fn what_nobody_uses_is_a_fault() {
    let chain = "[chains.east]\nadapter = \"fake\"\ndomain = \"0x6666666666666666666666666666666666666666666666666666666666666666\"\nchain_id = 9\n\n[[lanes]]";
    assert!(relay_fault("[[lanes]]", chain).contains("chains.east: no lane names this chain"));
    let peer = "[[peers]]\nname = \"idle\"\naddress = \"h:1\"\nfingerprint = \"5555555555555555555555555555555555555555555555555555555555555555\"\n\n[chains.north]";
    assert!(relay_fault("[chains.north]", peer).contains("peers[1]: no lane names this relay"));
    let none = RELAY.split_at(RELAY.find("[[lanes]]").unwrap()).0;
    let all = faults(none);
    assert_eq!(all, ["a.toml:1: lanes: there is no lane, so nothing would be relayed: add a [[lanes]] section"]);
}

#[test]
fn an_attesters_signer_is_read() {
    let keys = "signer = \"unix:/run/signer.sock\"\naddress = \"0x0101010101010101010101010101010101010101\"\n";
    let text = ATTESTER.replace("key_file = \"attester.key\"\n", keys);
    let attester = Files::new(&[("a.toml", &text)]).load("a.toml").unwrap().attester.unwrap();
    let (socket, address) = ("/run/signer.sock".into(), AttesterId([1; 20]));
    assert_eq!(attester.key, KeySource::Signer { socket, address });
}

#[test]
fn an_attester_has_a_key_own_nodes_and_no_lane_peers() {
    assert!(
        attester_fault("[attester]\nkey_file = \"attester.key\"\n", "")
            .contains("attester.key_file: is missing for an attester, and so is attester.signer")
    );
    let signer = |keys: &str| attester_fault("key_file = \"attester.key\"\n", keys);
    assert!(
        signer("key_file = \"attester.key\"\nsigner = \"unix:/run/signer.sock\"\n")
            .contains("attester.signer: stands beside attester.key_file: leave one of them out")
    );
    assert!(
        signer("signer = \"unix:/run/signer.sock\"\n").contains("attester.address: is missing beside attester.signer")
    );
    for wrong in ["/run/signer.sock", "unix:signer.sock", "tcp:127.0.0.1:1"] {
        let keys = format!("signer = \"{wrong}\"\naddress = \"0x0101010101010101010101010101010101010101\"\n");
        assert!(signer(&keys).contains("attester.signer: expected unix: and the whole path of a socket"), "{wrong}");
    }
    assert!(
        attester_fault("[attester]\n", "[attester]\ncounter_file = \"data/counter\"\n")
            .contains("attester.counter_file: lies in node.data_dir")
    );
    assert!(
        attester_fault("http://127.0.0.1:2\", own = true", "http://127.0.0.1:2\", own = false")
            .contains("chains.south.nodes: an attester of this chain needs a node of its own institution")
    );
    let lane = "channel = \"medical\"\npeer = \"north-relay\"";
    assert!(attester_fault("channel = \"medical\"", lane).contains("leave this key out"));
    assert!(
        attester_fault("attester.key\"", "attester.key\"\nchannels = [\"medcal\"]")
            .contains("attester.channels[0]: there is no lane with channel \"medcal\"; did you mean \"medical\"?")
    );
    assert!(
        relay_fault("[[peers]]", "[attester]\nkey_file = \"k\"\n\n[[peers]]")
            .contains("attester: only a process with node.role")
    );
}

#[test]
fn sizes_and_log_are_checked() {
    assert!(
        relay_fault("[link]", "[batch]\nmax_entries = 0\n\n[link]")
            .contains("batch.max_entries: expected 1 to 1024, got 0")
    );
    assert!(
        relay_fault("[link]", "[batch]\nmax_bytes = -1\n\n[link]")
            .contains("batch.max_bytes: expected a whole number, got -1")
    );
    assert!(
        relay_fault("[link]", "[log]\nformat = \"xml\"\n\n[link]")
            .contains("log.format: expected \"text\" or \"json\"")
    );
    assert!(relay_fault("[link]", "[log]\nfilter = \"a=b=c\"\n\n[link]").contains("log.filter: expected a filter"));
    let long = format!("[control]\nsocket = \"/{}\"\n\n[link]", "s".repeat(100));
    assert!(relay_fault("[link]", &long).contains("control.socket: expected a path of at most 100 bytes, got 101"));
}

#[test]
fn broken_toml_is_shown_at_its_line() {
    let all = faults("[node]\nname = \"a\"\nname = \"b\"\n");
    assert!(all.len() == 1 && all[0].starts_with("a.toml:3: is no valid TOML: duplicate key"), "{all:#?}");
    assert!(faults("x = [1,\n")[0].contains("is no valid TOML"));
}

#[test]
fn a_missing_file_and_an_empty_folder_are_named() {
    let files = Files::new(&[("note.txt", "")]);
    assert!(shown(&files.load("none.toml").unwrap_err(), &files)[0].contains("none.toml:1: can't be read"));
    let error = files.load("").unwrap_err();
    assert!(error.to_string().contains("expected a folder with *.toml files, found none in it"), "{error}");
}

fn in_two_files(second: &str) -> Files {
    let (head, lanes) = RELAY.split_at(RELAY.find("[[lanes]]").unwrap());
    Files::new(&[("10-node.toml", head), ("20-lanes.toml", &format!("{lanes}{second}")), ("ignored.txt", "x")])
}

#[test]
fn a_folders_files_are_joined_and_lists_of_tables_appended() {
    let more = "[[peers]]\nname = \"b\"\nrole = \"attester\"\naddress = \"h:1\"\nfingerprint = \"5555555555555555555555555555555555555555555555555555555555555555\"\n[batch]\nmax_entries = 8\n";
    let config = in_two_files(more).load("").unwrap();
    assert_eq!(config.peers.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>(), ["south-relay", "b"]);
    assert_eq!((config.lanes.len(), config.batch.max_entries), (1, 8));
}

#[test]
fn a_key_that_two_files_set_is_a_fault_with_both_places() {
    let files = in_two_files("[chains.south]\nchain_id = 9\n");
    assert_eq!(
        shown(&files.load("").unwrap_err(), &files),
        ["20-lanes.toml:8: chains.south.chain_id: is set twice; the other place is 10-node.toml:27"]
    );
}

#[test]
fn faults_in_a_joined_list_are_shown_in_their_file() {
    let files = in_two_files("[[peers]]\nname = \"b\"\nrole = \"attester\"\nfingerprint = 5\naddress = \"h:1\"\n");
    assert_eq!(
        shown(&files.load("").unwrap_err(), &files),
        ["20-lanes.toml:10: peers[1].fingerprint: expected text in quotes, got 5"]
    );
}

fn with_layers(environment: &[(&str, &str)], overrides: &[&str]) -> Result<Config, Faults> {
    let files = Files::new(&[("a.toml", RELAY)]);
    load(Sources {
        path: Some(files.path("a.toml")),
        environment: environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        overrides: overrides.iter().map(|text| (*text).to_owned()).collect(),
    })
}

#[test]
fn the_environment_goes_over_files_and_flags_over_both() {
    let environment = [
        ("CITYRELAY__NODE__NAME", "from-env"),
        ("CITYRELAY__BATCH__MAX_ENTRIES", "5"),
        ("CITYRELAY__CHAINS__SOUTH__POLL_INTERVAL", "2s"),
        ("CITYRELAY_CONFIG", "elsewhere"),
        ("PATH", "/bin"),
    ];
    let config = with_layers(&environment, &["batch.max_entries=6", "log.filter=info,x=debug"]).unwrap();
    assert_eq!(config.node.name, "from-env");
    assert_eq!(config.batch.max_entries, 6);
    assert_eq!(config.chains["south"].poll_interval, Duration::from_secs(2));
    assert_eq!(config.chains["south"].adapter, "fake");
    assert_eq!(config.log.filter, "info,x=debug");
}

#[test]
fn faults_of_environment_and_flags_name_them() {
    let error = with_layers(&[("CITYRELAY__BATCH__MAX_ENTRIES", "many")], &["node.rol=relay"]).unwrap_err();
    assert_eq!(
        error.list().iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "environment CITYRELAY__BATCH__MAX_ENTRIES: batch.max_entries: expected a whole number, got \"many\"",
            "flag --set node.rol=relay: node.rol: is no known key; did you mean \"role\"?",
        ]
    );
    assert!(with_layers(&[], &["nonsense"]).unwrap_err().to_string().contains("expected key=value"));
}

#[test]
fn quoted_values_stay_text() {
    let error = with_layers(&[("CITYRELAY__BATCH__MAX_ENTRIES", "\"5\"")], &[]).unwrap_err();
    assert!(error.to_string().ends_with("expected a whole number, got \"5\""), "{error}");
}

#[test]
fn a_chains_section_alone_is_enough_to_replay() {
    let files = Files::new(&[("a.toml", "[chains.north]\nadapter = \"fake\"\nchain_id = 7\n")]);
    let sources = Sources { path: Some(files.path("a.toml")), ..Sources::default() };
    let layers = Layers::read(&sources).unwrap();
    let chain = check::one_chain(&layers, ADAPTERS, "north").unwrap();
    assert_eq!(chain.domain, Domain::derive("north", cityrelay_core::hash::Hash32::ZERO));
    let error = check::one_chain(&layers, ADAPTERS, "nort").unwrap_err();
    assert!(error.to_string().contains("there is no chain \"nort\"; did you mean \"north\"?"), "{error}");
}

#[test]
fn the_reference_has_every_key_of_daemon_and_adapter_once() {
    let text = reference::text(ADAPTERS);
    for line in [
        "# name = …    # text; required",
        "# chain_id = …    # integer ≥ 1; required",
        "# nodes[].own = false    # true or false",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(text.lines().all(|line| line.is_empty() || line.starts_with('#')));
    assert!(text.contains("# [[lanes]]\n") && text.contains("# [chains.NAME] with adapter = \"fake\"\n"));
}

#[test]
fn a_lane_may_stand_on_another_gateway_than_its_chains() {
    let own = "0x00000000000000000000000000000000000000a1";
    let moved = format!("{RELAY}source_gateway = \"{own}\"\nsource_verifier = \"{own}\"\n");
    let lanes = |text: &str| Files::new(&[("a.toml", text)]).load("a.toml").unwrap().lanes;
    let (before, after) = (lanes(RELAY), lanes(&moved));
    assert_eq!(after[0].identity.source_gateway.to_string(), own);
    assert_eq!(after[0].identity.source_verifier.to_string(), own);
    assert_eq!(after[0].identity.destination_gateway, before[0].identity.destination_gateway);
    assert_ne!(after[0].id, before[0].id, "another gateway is another lane");

    // Both side by side, of one channel; what the chain lacks, the lane must have.
    let (_, lane) = moved.split_once("[[lanes]]").unwrap();
    assert_eq!(lanes(&format!("{RELAY}\n[[lanes]]{lane}")).len(), 2);
    let bare = moved.replace("gateway = \"0x0000000000000000000000000000000000000001\"\n", "");
    assert_eq!(lanes(&bare)[0].id, after[0].id);
    let missing = faults(&bare.replace(&format!("source_gateway = \"{own}\"\n"), ""));
    assert!(missing.iter().any(|fault| fault.contains("chains.north.gateway: is missing")), "{missing:?}");
    let wrong = faults(&moved.replace(own, "0x12"));
    assert!(wrong.iter().any(|fault| fault.contains("lanes[0].source_gateway: expected")), "{wrong:?}");
}
