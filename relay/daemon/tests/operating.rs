//! What owners and operators do, with the real binary on two real (stand-in) chains: contracts looked at, lanes paused,
//! closed and printed for a multisig, gateways handed over, attesters rotated, a diagnosis made.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use cityrelay::demo::setup::{self, Account, Lane, Town};
use cityrelay::demo::world::World;
use cityrelay::keys::create_secret;
use cityrelay_core::attestation::attester_id;
use cityrelay_core::ids::AttesterId;
use k256::ecdsa::SigningKey;
use serde_json::Value;
use tokio::net::UdpSocket;
use tokio::time::timeout;

const THRESHOLD: u32 = 2;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_cityrelay"))
}

fn attester(byte: u8) -> AttesterId {
    attester_id(SigningKey::from_slice(&[byte; 32]).unwrap().verifying_key())
}

/// Two chains with contracts and lanes, and a configuration of the owner of both.
struct Office {
    dir: tempfile::TempDir,
    world: World,
    towns: Vec<Town>,
    lanes: Vec<Lane>,
    config: PathBuf,
}

impl Office {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::start(dir.path(), binary(), "mixed").await.unwrap();
        let attesters: Vec<_> = [1, 2, 3].map(attester).to_vec();
        let towns = setup::deploy(dir.path(), world.cities(), &attesters, THRESHOLD).await.unwrap();
        let lanes = setup::open_lanes(&towns).await.unwrap();
        create_secret(&dir.path().join("link.key"), &[9; 32]).unwrap();
        for byte in 1..=4 {
            create_secret(&dir.path().join(format!("attester-{byte}.key")), &[byte; 32]).unwrap();
        }
        fs::create_dir(dir.path().join("data")).unwrap();
        let mut office = Self { dir, world, towns, lanes, config: PathBuf::new() };
        office.config = office.write("owner.toml", Account::Owner);
        office
    }

    /// A configuration whose chains are written to with this account of each city.
    fn write(&self, file: &str, account: Account) -> PathBuf {
        let mut text = String::from(
            "[node]\nname = \"office\"\ndata_dir = \"data\"\n\n[link]\nidentity_file = \"link.key\"\n\n[metrics]\nlisten = \
             \"127.0.0.1:0\"\n\n[[peers]]\nname = \"far\"\naddress = \"127.0.0.1:9\"\nfingerprint = \
             \"1111111111111111111111111111111111111111111111111111111111111111\"\n\n",
        );
        for (byte, city) in [(1, "north"), (2, "north"), (3, "south")] {
            write!(
                text,
                "[[peers]]\nname = \"attester-{byte}\"\nrole = \"attester\"\naddress = \"127.0.0.1:9\"\nfingerprint = \
                 \"{}\"\nattester = \"{}\"\ncity = \"{city}\"\n\n",
                hex::encode([byte; 32]),
                attester(byte)
            )
            .unwrap();
        }
        for town in &self.towns {
            let key = self.dir.path().join(format!("{file}-{}.key", town.city.name));
            let mut secret = [0; 32];
            hex::decode_to_slice(setup::account_key(&town.city, account).unwrap(), &mut secret).unwrap();
            create_secret(&key, &secret).unwrap();
            write!(
                text,
                "[chains.{}]\n{}domain = \"{}\"\ngateway = \"{}\"\nverifier = \"{}\"\naccount = {{ key_file = \"{}\" \
                 }}\n\n",
                town.city.name,
                town.city.toml,
                town.domain,
                town.gateway,
                town.verifier,
                key.display()
            )
            .unwrap();
        }
        for lane in &self.lanes {
            write!(
                text,
                "[[lanes]]\nchannel = \"{}\"\nsource = \"{}\"\ndestination = \"{}\"\nsalt = \"{}\"\npeer = \"far\"\n\n",
                lane.identity.channel,
                self.towns[lane.from].city.name,
                self.towns[lane.to].city.name,
                lane.identity.salt
            )
            .unwrap();
        }
        let path = self.dir.path().join(file);
        fs::write(&path, text).unwrap();
        path
    }

    fn name(&self, at: usize) -> &str {
        &self.towns[at].city.name
    }

    async fn run_with(&self, config: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.current_dir(self.dir.path()).env("CITYRELAY_CONFIG", config).args(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// Runs a command that must end with this code, and gives its JSON envelope.
    async fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let output = self.run_with(&self.config, &[&["--json"], arguments].concat()).await;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}\n{err}"))
    }

    /// Findings of `gateway status` on one chain.
    async fn status(&self, at: usize) -> Vec<Value> {
        let envelope = self.json(0, &["gateway", "status", "--chain", self.name(at)]).await;
        envelope["data"]["findings"].as_array().unwrap().clone()
    }
}

fn has(findings: &[Value], verdict: &str, words: &str) -> bool {
    findings.iter().any(|finding| finding["verdict"] == verdict && finding["words"].as_str().unwrap().contains(words))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_and_an_operator_do_their_work() {
    let mut office = Office::open().await;
    contracts_are_those_of_this_release(&office).await;
    lanes_are_paused_resumed_and_closed(&office).await;
    a_gateway_is_offered_and_the_offer_withdrawn(&office).await;
    a_stranger_is_refused_by_name(&office).await;
    attesters_are_rotated(&office).await;
    the_diagnosis_names_what_is_broken(&office).await;
    a_running_daemon_takes_a_changed_configuration_over(&mut office).await;
}

async fn contracts_are_those_of_this_release(office: &Office) {
    for at in [0, 1] {
        let findings = office.status(at).await;
        assert!(findings.iter().all(|finding| finding["verdict"] == "ok"), "{findings:#?}");
        let codes =
            findings.iter().filter(|finding| finding["words"].as_str().unwrap().contains("code are those of this"));
        assert_eq!(codes.count(), 2, "{findings:#?}");
        assert_eq!(findings.iter().filter(|finding| finding["area"] == "lanes").count(), office.lanes.len());
    }
    // Another contract at the gateway's place is seen.
    let other = format!("chains.{}.gateway={}", office.name(0), office.towns[0].board);
    let envelope = office.json(4, &["--set", &other, "gateway", "status", "--chain", office.name(0)]).await;
    let findings = envelope["error"]["details"]["findings"].as_array().unwrap().clone();
    assert!(has(&findings, "broken", "are not of this release"), "{findings:#?}");
}

async fn lanes_are_paused_resumed_and_closed(office: &Office) {
    let chain = office.name(0);
    let lane = office.lanes.iter().find(|lane| lane.from == 0 && lane.identity.channel == "medical").unwrap();
    let id = lane.id.to_string();
    let choice = ["--chain", chain, "--lane", &id];

    let unsigned = office.json(0, &[&["lane", "pause", "--unsigned"][..], &choice].concat()).await;
    let call = &unsigned["data"]["unsigned"][0];
    assert_eq!(call["to"], office.towns[0].gateway.to_string());
    let data = call["data"].as_str().unwrap();
    assert!(data.len() == 2 + 8 + 64 && data.ends_with(id.trim_start_matches("0x")), "{data}");
    assert_eq!(call["value"], "0");
    assert!(!call["chain_id"].is_null() && call["description"].as_str().unwrap().contains("medical"));
    assert!(!has(&office.status(0).await, "warning", "is paused"));

    let paused = office.json(0, &[&["lane", "pause"][..], &choice].concat()).await;
    assert_eq!(paused["data"]["transactions"].as_array().unwrap().len(), 1);
    assert!(has(&office.status(0).await, "warning", "is paused"));
    office.json(0, &[&["lane", "resume"][..], &choice].concat()).await;
    assert!(!has(&office.status(0).await, "warning", "is paused"));
    assert!(!office.dir.path().join("data/intents").read_dir().unwrap().any(|_| true), "intents of what ended stay");

    let skip = office.json(5, &["lane", "skip", "--chain", office.name(1), "--lane", &id, "--index", "1"]).await;
    assert!(skip["error"]["message"].as_str().unwrap().contains("is not halted"));

    office.json(0, &[&["lane", "close"][..], &choice].concat()).await;
    assert!(has(&office.status(0).await, "warning", "is closing"));
    let early = office.json(5, &[&["lane", "close"][..], &choice].concat()).await;
    assert!(early["error"]["message"].as_str().unwrap().contains("TooEarly"), "{early}");
}

async fn a_gateway_is_offered_and_the_offer_withdrawn(office: &Office) {
    let chain = office.name(1);
    let heir = "0x00000000000000000000000000000000000000aa";
    office.json(0, &["gateway", "handover", "--chain", chain, "--to", heir]).await;
    assert!(has(&office.status(1).await, "warning", heir));
    office.json(0, &["gateway", "handover", "--chain", chain, "--withdraw"]).await;
    assert!(!has(&office.status(1).await, "warning", "is offered"));
    let nothing = office.run_with(&office.config, &["gateway", "handover", "--chain", chain]).await;
    assert_eq!(nothing.status.code(), Some(2), "one of --to, --accept and --withdraw is needed");
}

async fn a_stranger_is_refused_by_name(office: &Office) {
    let stranger = office.write("stranger.toml", Account::Application);
    for at in [0, 1] {
        let output = office.run_with(&stranger, &["lane", "pause", "--all", "--chain", office.name(at)]).await;
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{err}");
        assert!(err.contains("OnlyOwner"), "{err}");
    }
}

async fn attesters_are_rotated(office: &Office) {
    let members = [2, 3, 4].map(|byte| attester(byte).to_string()).join(",");
    let propose = |at: usize, file: &'static str| {
        let chain = office.name(at).to_owned();
        let members = members.clone();
        async move {
            let arguments = ["attesters", "rotate", "propose", "--chain", &chain, "--members", &members];
            office.json(0, &[&arguments[..], &["--threshold", "2", "--out", file]].concat()).await
        }
    };
    let sign = |file: &'static str, byte: u8| async move {
        office.json(0, &["attesters", "rotate", "sign", file, "--key", &format!("attester-{byte}.key")]).await
    };
    let proposed = propose(0, "first.json").await;
    assert_eq!(proposed["data"]["missing_old"], 2);
    sign("first.json", 2).await;
    let lacking = office.json(4, &["attesters", "rotate", "status", "first.json"]).await;
    assert!(lacking["error"]["message"].as_str().unwrap().contains(&attester(4).to_string()), "{lacking}");
    office.json(5, &["attesters", "rotate", "send", "first.json"]).await;
    sign("first.json", 3).await;
    let complete = sign("first.json", 4).await;
    assert_eq!(complete["data"]["is_complete"], true);
    office.json(0, &["attesters", "rotate", "send", "first.json"]).await;
    let findings = office.json(0, &["attesters", "show"]).await["data"]["findings"].as_array().unwrap().clone();
    assert!(has(&findings, "ok", "epoch 2: 2 of 3") && has(&findings, "ok", "epoch 1: 2 of 3"), "{findings:#?}");
    assert!(has(&findings, "warning", "another set or threshold"), "{findings:#?}");

    propose(1, "second.json").await;
    for byte in [2, 3, 4] {
        sign("second.json", byte).await;
    }
    office.json(0, &["attesters", "rotate", "send", "second.json"]).await;
    let findings = office.json(0, &["attesters", "show"]).await["data"]["findings"].as_array().unwrap().clone();
    assert!(has(&findings, "ok", "are the same on all chains"), "{findings:#?}");
}

async fn the_diagnosis_names_what_is_broken(office: &Office) {
    // Nobody is at the peers' addresses, and attester 1 is no member any more.
    let envelope = office.json(4, &["doctor"]).await;
    let findings = envelope["error"]["details"]["findings"].as_array().unwrap().clone();
    let broken: Vec<&Value> = findings.iter().filter(|finding| finding["verdict"] == "broken").collect();
    assert!(!broken.is_empty() && broken.iter().all(|finding| finding["area"] == "peers"), "{broken:#?}");
    assert!(findings.iter().all(|finding| finding["verdict"] == "ok" || finding["repair"].is_string()));
    assert!(has(&findings, "warning", "attester-1 signs with"), "{findings:#?}");
    assert!(has(&findings, "ok", "carry their quorum") || has(&findings, "ok", "nothing to look at"), "{findings:#?}");
    for area in ["disk", "limits", "ports", "keys", "nodes", "anchor", "contracts", "lanes", "accounts", "journal"] {
        assert!(findings.iter().any(|finding| finding["area"] == area), "{area}");
    }
    let envelope = office.json(4, &["config", "check", "--live"]).await;
    assert!(envelope["error"]["message"].as_str().unwrap().contains("peers"));
    // An anchor of another chain is seen by asking the nodes.
    let anchor = format!("chains.{}.anchor.hash=0x{}", office.name(0), "22".repeat(32));
    let envelope = office.json(4, &["--set", &anchor, "config", "check", "--live"]).await;
    let findings = envelope["error"]["details"]["findings"].as_array().unwrap().clone();
    assert!(has(&findings, "broken", "the anchor is 0x2222"), "{findings:#?}");
}

/// The daemon's log, line by line.
struct Log(PathBuf);

impl Log {
    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn with_message(&self, message: &str) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["message"] == message).collect()
    }

    fn keys(&self, message: &str) -> Vec<String> {
        let lines = self.with_message(message);
        let mut keys: Vec<String> = lines.iter().map(|line| line["key"].as_str().unwrap().to_owned()).collect();
        keys.sort();
        keys
    }

    async fn wait_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{what}: {}", fs::read_to_string(&self.0).unwrap_or_default());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn a_running_daemon_takes_a_changed_configuration_over(office: &mut Office) {
    const NAME: &str = "reloading";
    let home = office.world.home(NAME);
    fs::create_dir(&home).unwrap();
    let config = home.join("cityrelay.toml");
    let text = fs::read_to_string(&office.config).unwrap();
    let text = text.replace("\"link.key\"", "\"../link.key\"");
    let before = format!("{text}\n[log]\nformat = \"json\"\n\n[control]\nsocket = \"control.sock\"\n");
    fs::write(&config, &before).unwrap();
    office.world.run(NAME).unwrap();
    office.world.wait_for(NAME, Duration::from_secs(60)).await.unwrap();
    let log = Log(office.dir.path().join("logs").join(format!("{NAME}.log")));
    let pid = rustix::process::Pid::from_raw(office.world.pid(NAME).unwrap().try_into().unwrap()).unwrap();
    let hang_up = || rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();

    let far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let city = &office.towns[0].city;
    let nodes = city.toml.lines().find(|line| line.starts_with("nodes")).unwrap();
    let one_node = format!("nodes = [{{ name = \"only\", url = \"{}\", own = true }}]", city.urls[0]);
    let after = before
        .replace("name = \"office\"", "name = \"renamed\"")
        .replacen("127.0.0.1:9\"", &format!("{}\"", far.local_addr().unwrap()), 1)
        .replacen(nodes, &one_node, 1)
        .replace("[log]\n", "[batch]\nmax_entries = 7\n\n[log]\nfilter = \"info,cityrelay=debug\"\n");
    fs::write(&config, &after).unwrap();
    hang_up();
    log.wait_until("a reload", |log| !log.with_message("configuration reloaded").is_empty()).await;
    let applied = log.keys("reloaded");
    for key in ["batch.max_entries", "log.filter", "peers[0].address"] {
        assert!(applied.iter().any(|applied| applied == key), "{key} is not among {applied:?}");
    }
    let nodes_of_the_first = format!("chains.{}.nodes[", office.name(0));
    assert!(applied.iter().all(|key| {
        ["batch.max_entries", "log.filter", "peers[0].address"].contains(&key.as_str())
            || key.starts_with(&nodes_of_the_first)
    }));
    assert_eq!(log.keys("changed in the configuration, and in force only after a restart"), ["node.name"]);
    let dialled = timeout(Duration::from_secs(60), far.recv_from(&mut [0; 2048])).await;
    dialled.expect("the peer is dialled at its new address").unwrap();
    log.wait_until("the new filter", |log| log.lines().iter().any(|line| line["level"] == "DEBUG")).await;
    let status = office.world.status(NAME).await.unwrap();
    assert_eq!(status.name, "office");
    let chain = status.chains.iter().find(|chain| chain.name == office.name(0)).unwrap();
    assert_eq!(chain.endpoints.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["only"]);

    fs::write(&config, format!("{}\n[nonsense]\nx = 1\n", after.replace("max_entries = 7", "max_entries = 8")))
        .unwrap();
    hang_up();
    let refused = "the configuration was not reloaded";
    log.wait_until("a refusal", |log| !log.with_message(refused).is_empty()).await;
    assert!(log.with_message(refused)[0]["refusal"].as_str().unwrap().contains("nonsense"));
    assert_eq!(log.keys("reloaded"), applied, "nothing of a configuration with a fault is taken over");

    // The key that waits for a restart is named again, and only what changed since is taken over.
    fs::write(&config, after.replace("max_entries = 7", "max_entries = 8")).unwrap();
    hang_up();
    log.wait_until("another reload", |log| log.with_message("configuration reloaded").len() == 2).await;
    assert_eq!(log.keys("reloaded").len(), applied.len() + 1);
    assert_eq!(log.keys("changed in the configuration, and in force only after a restart"), ["node.name", "node.name"]);
    assert!(office.world.casualty().is_none());
}
