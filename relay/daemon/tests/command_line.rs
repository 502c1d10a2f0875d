//! The binary as its users start it: exit codes, what goes to stdout, and recordings verified without a network.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::hash::keccak256;
use cityrelay_core::ids::{Address, Height, Index, LaneId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::message::{Message, Payload};
use cityrelay_core::opaque::Opaque;
use cityrelay_core::record::{ExtensionRecord, Record};
use cityrelay_journal::{Journal, Options};
use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn cityrelay(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cityrelay"));
    command.current_dir(repository()).env_remove("CITYRELAY_CONFIG").args(arguments);
    command.output().expect("the binary that cargo built can be started")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn last_line(output: &Output) -> String {
    stdout(output).lines().last().unwrap_or_default().to_owned()
}

#[track_caller]
fn assert_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "stdout:\n{}\nstderr:\n{}", stdout(output), stderr(output));
}

/// A recording with the configuration that verifies it and the summary that it must give.
struct Described {
    config: PathBuf,
    recording: PathBuf,
    expect: String,
}

/// Every file of `config/replay` says in its head which recording it is for and what to expect.
fn described() -> Vec<Described> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(repository().join("config/replay")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let described = paths.into_iter().map(|config| {
        let text = fs::read_to_string(&config).unwrap();
        let said = |what: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(&format!("# {what}: ")));
            found.unwrap_or_else(|| panic!("{} has no line `# {what}: …`", config.display())).to_owned()
        };
        Described { recording: repository().join(said("recording")), expect: said("expect"), config }
    });
    described.collect()
}

fn replay(config: &Path, recording: &Path, more: &[&str]) -> Output {
    let config = config.to_str().unwrap();
    let arguments = ["chain", "replay", "--config", config, "--chain", "recorded", recording.to_str().unwrap()];
    cityrelay(&[&arguments, more].concat())
}

#[test]
fn every_recorded_chain_verifies_to_its_end() {
    let all = described();
    assert!(all.len() >= 8, "only {} recordings are described", all.len());
    for Described { config, recording, expect } in all {
        let output = replay(&config, &recording, &[]);
        assert_eq!(last_line(&output), expect, "{}: {}", config.display(), stderr(&output));
        assert_code(&output, 0);
    }
}

fn first() -> Described {
    described().remove(0)
}

/// Numbers before the words of a summary line.
fn counts(line: &str) -> Vec<u64> {
    line.split(", ").map(|part| part.split(' ').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn verbose_prints_a_line_for_each_height_and_the_summary_last() {
    let Described { config, recording, expect } = first();
    let output = replay(&config, &recording, &["--verbose"]);
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().collect();
    let verified = counts(&expect)[0];
    assert_eq!(lines.len() as u64, verified + 1);
    assert_eq!(*lines.last().unwrap(), expect);
    let heights: Vec<u64> = lines[..lines.len() - 1]
        .iter()
        .map(|line| {
            let (height, fate) = line.split_once(' ').unwrap();
            assert!(fate.starts_with("verified"), "{line}");
            height.parse().unwrap()
        })
        .collect();
    assert!(heights.windows(2).all(|pair| pair[1] == pair[0] + 1));
}

#[test]
fn json_is_one_versioned_envelope() {
    let Described { config, recording, expect } = first();
    let output = replay(&config, &recording, &["--json"]);
    let envelope: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        (&envelope["v"], &envelope["command"], &envelope["ok"]),
        (&1.into(), &"chain replay".into(), &true.into())
    );
    assert_eq!(envelope["data"]["verified"], counts(&expect)[0]);
}

#[test]
fn several_recordings_each_start_from_the_anchor() {
    let Described { config, recording, expect } = first();
    let output = replay(&config, &recording, &[recording.to_str().unwrap()]);
    assert_eq!(counts(&last_line(&output))[0], 2 * counts(&expect)[0]);
    assert_code(&output, 0);
}

fn tampered(recording: &Path, change: impl FnOnce(&mut Value)) -> (tempfile::TempDir, PathBuf) {
    let mut value: Value = serde_json::from_slice(&fs::read(recording).unwrap()).unwrap();
    change(&mut value);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tampered.json");
    fs::write(&path, value.to_string()).unwrap();
    (folder, path)
}

#[test]
fn a_changed_header_is_refused_in_every_recording() {
    for Described { config, recording, .. } in described() {
        let mut position = 0;
        let (_folder, path) = tampered(&recording, |value| {
            let blocks = value["blocks"].as_array_mut().unwrap();
            position = blocks.len() / 2;
            blocks[position]["block"]["hash"] = Value::String(format!("0x{}", "11".repeat(32)));
        });
        let output = replay(&config, &path, &[]);
        assert_code(&output, 4);
        let line = last_line(&output);
        let [verified, held_back, refused, _] = counts(&line)[..] else { panic!("{line}") };
        assert_eq!(refused, 1, "{}: {line}\n{}", config.display(), stderr(&output));
        assert!(verified + held_back < position as u64 + 1, "{}: {line}", config.display());
        assert!(stderr(&output).contains("refused"), "{}", stderr(&output));
    }
}

#[test]
fn another_anchor_refuses_the_first_height() {
    for Described { config, recording, .. } in described() {
        let anchor = format!("chains.recorded.anchor.hash=0x{}", "22".repeat(32));
        let output = replay(&config, &recording, &["--set", &anchor]);
        assert_code(&output, 4);
        assert_eq!(counts(&last_line(&output)), [0, 0, 1, 0], "{}", config.display());
    }
}

#[test]
fn a_file_that_is_no_recording_is_refused_and_a_missing_one_is_a_usage_fault() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.json");
    let Described { config, .. } = first();
    assert_code(&replay(&config, &path, &[]), 2);
    for text in ["{", "{}", "[]"] {
        fs::write(&path, text).unwrap();
        let output = replay(&config, &path, &[]);
        assert_code(&output, 4);
        assert_eq!(last_line(&output), "0 verified, 0 held back, 1 refused, 0 set changes");
    }
}

#[test]
fn a_chain_that_is_not_configured_is_named() {
    let Described { config, recording, .. } = first();
    let config = config.to_str().unwrap();
    let output = cityrelay(&["chain", "replay", "--config", config, "--chain", "recordd", recording.to_str().unwrap()]);
    assert_code(&output, 2);
    assert!(stderr(&output).contains("did you mean \"recorded\"?"), "{}", stderr(&output));
}

#[test]
fn the_reference_in_the_repository_is_the_one_that_is_printed() {
    let output = cityrelay(&["config", "reference"]);
    assert_code(&output, 0);
    let kept = fs::read_to_string(repository().join("config/reference.toml")).unwrap();
    let make = "cargo run -p cityrelay -- config reference > config/reference.toml";
    assert!(stdout(&output) == kept, "config/reference.toml is not what the key table says: run `{make}`");
}

#[test]
fn the_example_configurations_have_no_faults() {
    let examples: Vec<PathBuf> = fs::read_dir(repository().join("config"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .filter(|path| path.file_stem().is_some_and(|name| name != "reference"))
        .collect();
    assert!(examples.len() >= 2);
    for example in examples {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.toml");
        fs::copy(&example, &config).unwrap();
        for (kind, name) in [("link", "link.key"), ("account", "account.key")] {
            let key = folder.path().join(name);
            assert_code(&cityrelay(&["keys", "new", kind, "--out", key.to_str().unwrap()]), 0);
        }
        let output = cityrelay(&["config", "check", "--config", config.to_str().unwrap()]);
        assert_code(&output, 0);
        assert!(stdout(&output).contains("12 lanes; no faults"), "{}", stdout(&output));
    }
}

/// What is wrong, and how it is made so, given the configuration and the name of its own chain.
type Slip = (&'static str, fn(&mut Value, &str));

/// An example configuration of a relay, and the name of the chain that it has an account on.
fn example() -> (PathBuf, Value, String) {
    let mut examples: Vec<PathBuf> =
        fs::read_dir(repository().join("config")).unwrap().map(|entry| entry.unwrap().path()).collect();
    examples.retain(|path| path.is_file() && path.file_stem().is_some_and(|name| name != "reference"));
    examples.sort();
    let path = examples.remove(0);
    let value: Value = toml::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let chains = value["chains"].as_object().unwrap();
    let chain = chains.iter().find(|(_, section)| section.get("account").is_some()).unwrap().0.clone();
    (path, value, chain)
}

#[test]
fn the_schema_takes_the_example_configurations_and_refuses_slips() {
    let output = cityrelay(&["config", "schema"]);
    assert_code(&output, 0);
    let schema: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert!(jsonschema::meta::is_valid(&schema));
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let read = |path: &Path| toml::from_str::<Value>(&fs::read_to_string(path).unwrap()).unwrap();
    let folders = [repository().join("config"), repository().join("config/replay")];
    let mut examples: Vec<PathBuf> =
        folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path()).collect();
    examples.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    assert!(examples.len() >= 10);
    for example in &examples {
        let faults: Vec<String> = validator.iter_errors(&read(example)).map(|error| error.to_string()).collect();
        assert!(faults.is_empty(), "{}: {faults:?}", example.display());
    }
    let (_, city, chain) = example();
    let slips: [Slip; 6] = [
        ("an unknown key", |city, _| city["link"]["lissten"] = "x".into()),
        ("a number for a name", |city, _| city["node"]["name"] = 5.into()),
        ("a short fingerprint", |city, _| city["peers"][0]["fingerprint"] = "ab".into()),
        ("an unknown adapter", |city, chain| city["chains"][chain]["adapter"] = "none".into()),
        ("a key of no adapter", |city, chain| city["chains"][chain]["colour"] = "red".into()),
        ("a missing name", |city, _| drop(city["lanes"][0].as_object_mut().unwrap().remove("salt"))),
    ];
    for (what, slip) in slips {
        let mut broken = city.clone();
        slip(&mut broken, &chain);
        assert!(!validator.is_valid(&broken), "{what} is not seen");
    }
}

#[test]
fn each_effective_value_is_explained_with_its_place() {
    let (example, value, chain) = example();
    let example = example.to_str().unwrap();
    let explain = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cityrelay"));
        command.env("CITYRELAY__BATCH__MAX_ENTRIES", "7").args(["config", "explain", "--config", example]).args(more);
        command.output().unwrap()
    };
    let output = explain(&["--set", "log.format=json"]);
    assert_code(&output, 0);
    let text = stdout(&output);
    let line = fs::read_to_string(example).unwrap().lines().position(|line| line.starts_with("name = ")).unwrap() + 1;
    for expected in [
        format!("node.name = {}  # {example}:{line}; text; required", value["node"]["name"]),
        "batch.max_entries = 7  # environment CITYRELAY__BATCH__MAX_ENTRIES; integer; default 64; reloadable"
            .to_owned(),
        "log.format = \"json\"  # flag --set log.format=json; \"text\" or \"json\"; default \"text\"".to_owned(),
        "batch.max_delay = \"200ms\"  # default; duration; default \"200ms\"; reloadable".to_owned(),
        format!("chains.{chain}.request_timeout = \"10s\"  # default; duration; default \"10s\"; reloadable"),
        "control.socket is not set  # file; default <node.data_dir>/control.sock".to_owned(),
    ] {
        assert!(text.lines().any(|line| line == expected), "{expected} is not in\n{text}");
    }
    let nodes = format!("chains.{chain}.nodes");
    let output = explain(&["--json", &nodes]);
    let envelope: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let settings = envelope["data"]["settings"].as_array().unwrap();
    assert!(settings.iter().all(|setting| setting["key"].as_str().unwrap().starts_with(&format!("{nodes}["))));
    assert!(settings.iter().any(|setting| setting["key"] == format!("{nodes}[0].url") && setting["form"].is_string()));
    assert_code(&explain(&["nonsense"]), 2);
}

#[test]
fn all_faults_of_a_configuration_are_printed_with_file_line_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("a.toml");
    fs::write(&config, "[node]\nname = \"A B\"\n\n[link]\nlissten = 5\n").unwrap();
    let output = cityrelay(&["config", "check", "--config", config.to_str().unwrap()]);
    assert_code(&output, 2);
    let text = stderr(&output);
    for fault in ["a.toml:2: node.name: expected", "a.toml:5: link.lissten: is no known key; did you mean \"listen\"?"]
    {
        assert!(text.contains(fault), "{fault} is not in\n{text}");
    }
    let output = cityrelay(&["--json", "config", "check", "--config", config.to_str().unwrap()]);
    let envelope: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&envelope["ok"], &envelope["error"]["code"]), (&false.into(), &"usage".into()));
    assert!(envelope["error"]["details"]["faults"].as_array().unwrap().len() >= 3);
}

#[test]
fn keys_are_made_once_closed_to_others_and_shown_alike() {
    let folder = tempfile::tempdir().unwrap();
    for kind in ["link", "attester", "account"] {
        let path = folder.path().join(kind);
        let file = path.to_str().unwrap();
        let made = cityrelay(&["keys", "new", kind, "--out", file]);
        assert_code(&made, 0);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let shown = cityrelay(&["keys", "show", file]);
        assert_code(&shown, 0);
        let word = stdout(&made).split_whitespace().last().unwrap().to_owned();
        assert!(stdout(&shown).contains(&word), "{word} is not in {}", stdout(&shown));
        let secret = fs::read(&path).unwrap();
        assert_code(&cityrelay(&["keys", "new", kind, "--out", file]), 5);
        assert_eq!(fs::read(&path).unwrap(), secret);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_code(&cityrelay(&["keys", "show", file]), 2);
    }
}

#[test]
fn a_daemon_that_does_not_run_is_unreachable() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("a.toml");
    fs::write(&config, "[node]\nname = \"a\"\ndata_dir = \"data\"\n").unwrap();
    for command in [&["status"][..], &["why", "medical:1"]] {
        let output = cityrelay(&[command, &["--config", config.to_str().unwrap()]].concat());
        assert_code(&output, 3);
        assert!(stderr(&output).contains("is it running"), "{}", stderr(&output));
    }
}

#[test]
fn an_anchor_is_fetched_with_a_section_that_has_none_yet() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("a.toml");
    let chain = "[chains.city]\nadapter = \"evm-bft\"\nchain_id = 571\nmode = \"qbft\"\nepoch_length = 30\n";
    let node = "[[chains.city.nodes]]\nname = \"gone\"\nurl = \"http://127.0.0.1:9\"\n";
    let fetch = |text: &str, more: &[&str]| {
        fs::write(&config, text).unwrap();
        let arguments = ["anchor", "fetch", "--config", config.to_str().unwrap(), "--chain", "city"];
        cityrelay(&[&arguments, more].concat())
    };
    let unreachable = fetch(&format!("{chain}{node}"), &[]);
    assert_code(&unreachable, 3);
    assert_eq!(stdout(&unreachable), "");
    assert!(stderr(&unreachable).contains("gone"), "{}", stderr(&unreachable));
    let json = fetch(&format!("{chain}{node}"), &["--json"]);
    let envelope: Value = serde_json::from_str(&stdout(&json)).unwrap();
    assert_eq!((&envelope["command"], &envelope["ok"]), (&"anchor fetch".into(), &false.into()));
    assert_eq!(envelope["error"]["code"], "unreachable");
    assert_eq!(envelope["error"]["details"]["endpoints"][0]["endpoint"], "gone");

    let no_anchor = fetch(&format!("{chain}{node}"), &["--height", "31"]);
    assert_code(&no_anchor, 2);
    assert!(stderr(&no_anchor).contains("multiple of epoch_length"), "{}", stderr(&no_anchor));
    assert_code(&fetch(chain, &[]), 2);
    let broken = fetch(&format!("{chain}anchor = {{ height = 7 }}\n"), &[]);
    assert_code(&broken, 2);
    assert!(stderr(&broken).contains("chains.city.anchor.hash"), "{}", stderr(&broken));
}

#[test]
fn a_wrong_command_line_is_a_usage_fault() {
    assert_code(&cityrelay(&["chain", "replay"]), 2);
    assert_code(&cityrelay(&["dance"]), 2);
    assert_code(&cityrelay(&["completions", "bash"]), 0);
}

/// A journal in `dir` with three messages on one lane, in two extensions, and one on another; the daemon that held it has ended.
fn closed_journal(dir: &Path) {
    let journal = Journal::open(dir, Options::default()).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let records = [outbox("lane", &[1..=2, 3..=3]), outbox("other", &[1..=1])].concat();
    journal.append(records, move |appended| sender.send(appended).unwrap());
    receiver.recv().unwrap().unwrap();
    journal.close();
}

/// Extensions of a lane's outbox, each with the messages of these indices.
fn outbox(lane: &str, extensions: &[RangeInclusive<u64>]) -> Vec<Record> {
    let flow = Flow { lane: LaneId(keccak256(lane.as_bytes())), direction: Direction::Outbox };
    let message = |index: u64| {
        Entry::Message(Message {
            index: Index(index),
            sender: Address::from_20([7; 20]),
            receiver: Address::from_20([8; 20]),
            deadline: UnixMillis(u64::MAX),
            gas_limit: 1,
            payload: Payload::Bytes(format!("{lane} payload {index}").into_bytes()),
        })
    };
    let mut tip = ChainPoint::start(flow);
    let extension = |indices: &RangeInclusive<u64>| {
        let (base, entries): (_, Vec<_>) = (tip, indices.clone().map(message).collect());
        tip = entries.iter().fold(tip, |point, entry| point.extended(Direction::Outbox, entry.link(flow)));
        Record::Extension(ExtensionRecord {
            flow,
            base,
            entries,
            proved_at: Height(5),
            block_hash: keccak256(b"block"),
            block_time: UnixMillis(1),
            tail: Vec::new(),
            proof: Opaque { adapter: "model".to_owned(), version: 1, bytes: vec![1] },
            at: UnixMillis(2),
        })
    };
    extensions.iter().map(extension).collect()
}

#[test]
fn a_journal_is_checked_and_exported_while_no_daemon_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, out) = (folder.path().join("journal"), folder.path().join("out.jsonl"));
    let (dir_text, out_text) = (dir.to_str().unwrap(), out.to_str().unwrap());
    let check = ["journal", "check", "--json", "--dir", dir_text];
    let missing = cityrelay(&check);
    assert_code(&missing, 2);
    assert!(!dir.exists(), "nothing is made where there is none");

    closed_journal(&dir);
    let checked = cityrelay(&check);
    assert_code(&checked, 0);
    let answer: Value = serde_json::from_str(&stdout(&checked)).unwrap();
    assert_eq!(answer["data"]["entries"], 4);
    let flows = answer["data"]["flows"].as_array().unwrap();
    let tips: BTreeSet<u64> = flows.iter().map(|flow| flow["tip"]["index"].as_u64().unwrap()).collect();
    assert_eq!(tips, BTreeSet::from([1, 3]));
    let export = ["journal", "export", "--dir", dir_text, "--out", out_text];
    assert_code(&cityrelay(&export), 0);
    let text = fs::read_to_string(&out).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_lane = |name: &str| {
        let lane = LaneId(keccak256(name.as_bytes())).to_string();
        lines.iter().skip_while(|line| line["lane"] != lane.as_str()).collect::<Vec<_>>()
    };
    for (name, kinds) in [("lane", ["flow", "entry", "entry", "entry"].as_slice()), ("other", &["flow", "entry"])] {
        let (lines, last) = (of_lane(name), kinds.len() - 1);
        let said: Vec<&str> = lines[..=last].iter().map(|line| line["kind"].as_str().unwrap()).collect();
        assert_eq!(said, kinds);
        assert_eq!(lines[last]["head"], lines[0]["tip"]["head"]);
        let payload = format!("{name} payload 1");
        assert_eq!(lines[1]["body"]["payload_hash"], keccak256(payload.as_bytes()).to_string());
        assert!(!text.contains(&hex::encode(payload)), "payloads are the institutions' own");
    }
    assert_eq!(lines.len(), 6);
    assert_code(&cityrelay(&export), 2);

    let held = Journal::open(&dir, Options::default()).unwrap();
    assert_code(&cityrelay(&check), 5);
    held.close();

    // Payloads that no longer have their hash: nothing of the file's own structure tells.
    let path = dir.join(cityrelay_journal::FILE_NAME);
    let mut bytes = fs::read(&path).unwrap();
    for payload in ["lane payload 2", "other payload 1"] {
        let at = bytes.windows(payload.len()).position(|window| window == payload.as_bytes()).unwrap();
        bytes[at] ^= 1;
    }
    fs::write(&path, bytes).unwrap();
    let damaged = cityrelay(&check);
    assert_code(&damaged, 4);
    let answer: Value = serde_json::from_str(&stdout(&damaged)).unwrap();
    let list = answer["error"]["details"]["damaged"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let lanes: BTreeSet<&str> = list.iter().map(|flow| flow["lane"].as_str().unwrap()).collect();
    let both = ["lane", "other"].map(|name| LaneId(keccak256(name.as_bytes())).to_string());
    assert_eq!(lanes, both.iter().map(String::as_str).collect());
    assert!(list.iter().all(|flow| flow["problem"].as_str().unwrap().contains("bodies")), "{answer}");
}

#[test]
fn a_journal_of_another_format_is_named_and_taken_over_only_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(cityrelay_journal::FILE_NAME);
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../journal/vectors");
    let oldest = cityrelay_journal::OLDEST_FORMAT;
    fs::copy(vectors.join(format!("format-{oldest}.redb")), &file).unwrap();
    let check = |more: &[&str]| {
        let dir = folder.path().to_str().unwrap();
        cityrelay(&[&["journal", "check", "--json", "--dir", dir], more].concat())
    };
    let older = check(&[]);
    assert_code(&older, 5);
    assert!(stdout(&older).contains(&format!("got {oldest}: the daemon takes it over")), "{}", stdout(&older));

    let taken = check(&["--take-over"]);
    assert_code(&taken, 0);
    let answer: Value = serde_json::from_str(&stdout(&taken)).unwrap();
    assert_eq!(answer["data"]["entries"], 22);
    assert_eq!(answer["data"]["flows"].as_array().unwrap().len(), 3);
    assert!(folder.path().join(format!("{}.format-{oldest}", cityrelay_journal::FILE_NAME)).exists());
    assert_code(&check(&[]), 0);
}

#[test]
fn a_journal_of_a_newer_format_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let newer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../journal/vectors/format-newest.redb");
    fs::copy(newer, folder.path().join(cityrelay_journal::FILE_NAME)).unwrap();
    let refused = cityrelay(&["journal", "check", "--json", "--dir", dir]);
    assert_code(&refused, 5);
    let text = stdout(&refused);
    assert!(text.contains("run the version that wrote it, or a newer one"), "{text}");
}
