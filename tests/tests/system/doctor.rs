//! `cityrelay doctor` where many things are wrong at once: each is named, with a command that can be typed; some of those
//! commands are then typed.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cityrelay::demo::cities::City;
use cityrelay::demo::setup::{self, Account};
use cityrelay::demo::world::World;
use cityrelay::keys::create_secret;
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::keccak256;
use cityrelay_core::ids::LaneId;
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_devnet::misbehave::Fault;
use cityrelay_devnet::{CityConfig, Devnet, DevnetConfig};
use cityrelay_tests::process::trial::{START_TIMEOUT, Trial, second_city};
use cityrelay_tests::process::{play, program};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

/// How long the doctor may take: peers that do not answer are waited for.
const DOCTOR_TIMEOUT: Duration = Duration::from_secs(90);

/// The digits of a fingerprint that nobody has, eight times.
const WRONG: &str = "11223344";

/// How far a node is behind.
const LAG: u64 = 20;

/// Programs of a Debian system, and words of its shell, that repairs may begin with.
const PROGRAMS: [&str; 15] = [
    "${EDITOR:-vi}",
    "apt-get",
    "chmod",
    "cityrelay",
    "curl",
    "du",
    "findmnt",
    "install",
    "mv",
    "nc",
    "runuser",
    "sed",
    "ss",
    "systemctl",
    "timedatectl",
];

/// Two cities whose nodes can be told to misbehave.
struct Clinic {
    dir: PathBuf,
    trial: Trial,
    sealed: Devnet,
    weighted: Devnet,
}

/// A line of a diagnosis.
#[derive(Debug)]
struct Line {
    area: String,
    subject: String,
    verdict: String,
    words: String,
    repair: Option<String>,
}

#[test]
fn each_thing_that_is_wrong_is_named_with_a_command_that_can_be_typed() {
    play("doctor", async |dir| {
        let mut clinic = Clinic::open(dir).await?;
        clinic.nothing_is_broken_where_all_is_well().await?;
        clinic.much_is_wrong_at_once().await?;
        clinic.contracts_and_keys_of_somebody_else().await?;
        clinic.nodes_that_compute_wrongly().await?;
        clinic.a_daemon_runs().await?;
        clinic.sealed.stop().await;
        clinic.weighted.stop().await;
        Ok(())
    });
}

impl Clinic {
    async fn open(dir: PathBuf) -> anyhow::Result<Self> {
        let sealed = CityConfig { nodes: 3, block_period: Duration::from_millis(300), ..CityConfig::default() };
        let sealed = Devnet::start(DevnetConfig { sealed_evm: Some(sealed), weighted_bcos: None }).await?;
        let (weighted, shenzhen) = second_city().await?;
        let hangzhou = sealed.sealed_evm().context("it was started")?.section();
        let cities = vec![City::of_section("hangzhou", &hangzhou), shenzhen];
        let world = World::beside(&dir, program::cityrelay(), cities)?;
        let trial = Trial::begin(&dir, world).await?;
        Ok(Self { dir, trial, sealed, weighted })
    }

    fn config(&self, name: &str) -> PathBuf {
        self.trial.world.config(name)
    }

    /// What the doctor says of a process, and its exit code.
    async fn doctor(&self, name: &str, set: &[String]) -> anyhow::Result<(Vec<Line>, i32)> {
        self.diagnosis(name, &["doctor"], set).await
    }

    async fn diagnosis(&self, name: &str, arguments: &[&str], set: &[String]) -> anyhow::Result<(Vec<Line>, i32)> {
        let mut command = Command::new(program::cityrelay());
        command.arg("--json").arg("--config").arg(self.config(name)).args(arguments).stdin(Stdio::null());
        command.args(set.iter().flat_map(|set| ["--set", set])).kill_on_drop(true);
        let output = timeout(DOCTOR_TIMEOUT, command.output()).await.context("the doctor does not end")??;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let envelope: Value = serde_json::from_slice(&output.stdout).with_context(|| said.clone())?;
        let data = if envelope["ok"] == true { &envelope["data"] } else { &envelope["error"]["details"] };
        let findings = data["findings"].as_array().with_context(|| format!("{envelope} {said}"))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let lines: Vec<Line> = findings
            .iter()
            .map(|finding| Line {
                area: text(&finding["area"]),
                subject: text(&finding["subject"]),
                verdict: text(&finding["verdict"]),
                words: text(&finding["words"]),
                repair: finding["repair"].as_str().map(str::to_owned),
            })
            .collect();
        for line in &lines {
            ensure!((line.verdict == "ok") == line.repair.is_none(), "a line without its command: {line:?}");
            if let Some(repair) = &line.repair {
                can_be_typed(repair).await.with_context(|| format!("{line:?}"))?;
            }
        }
        let is_broken = lines.iter().any(|line| line.verdict == "broken");
        let code = output.status.code().context("an exit code")?;
        ensure!(code == if is_broken { 4 } else { 0 }, "exit code {code} of {lines:#?}");
        Ok((lines, code))
    }

    /// Types a repair, as the owner of the gateways.
    async fn type_as_owner(&self, repair: &str) -> anyhow::Result<()> {
        let city = &self.trial.scene.towns[0].city;
        let key = self.dir.join("owner-of-hangzhou.key");
        if !key.exists() {
            let mut secret = [0; 32];
            hex::decode_to_slice(setup::account_key(city, Account::Owner)?, &mut secret)?;
            create_secret(&key, &secret)?;
        }
        let (key, data) = (key.display().to_string(), self.dir.join("owner").display().to_string());
        let owner = [("CITYRELAY__CHAINS__HANGZHOU__ACCOUNT__KEY_FILE", key), ("CITYRELAY__NODE__DATA_DIR", data)];
        self.type_it(repair, &owner).await
    }

    async fn type_it(&self, repair: &str, environment: &[(&str, String)]) -> anyhow::Result<()> {
        let folder = program::cityrelay().parent().context("a folder")?;
        let path = format!("{}:{}", folder.display(), std::env::var("PATH")?);
        let mut command = Command::new("bash");
        command.args(["-c", repair]).env("PATH", path).stdin(Stdio::null()).kill_on_drop(true);
        command.envs(environment.iter().map(|(name, value)| (*name, value)));
        let output = timeout(DOCTOR_TIMEOUT, command.output()).await.context("the repair does not end")??;
        ensure!(output.status.success(), "{repair}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    async fn nothing_is_broken_where_all_is_well(&self) -> anyhow::Result<()> {
        for name in ["relay-hangzhou", "attester-1"] {
            let deadline = Instant::now() + START_TIMEOUT;
            // That no city of an attester is known is true of these configurations.
            let is_right = |line: &Line| line.verdict == "ok" || line.words.contains("no city is known");
            let lines = loop {
                let (lines, code) = self.doctor(name, &[]).await?;
                if code == 0 && lines.iter().all(is_right) {
                    break lines;
                }
                // Sessions may still be on their way.
                ensure!(Instant::now() < deadline, "{name}: {lines:#?}");
                sleep(Duration::from_millis(200)).await;
            };
            for area in ["clock", "disk", "limits", "ports", "keys", "peers", "nodes", "anchor", "contracts", "lanes"] {
                ensure!(lines.iter().any(|line| line.area == area), "{name}: nothing about {area}");
            }
        }
        Ok(())
    }

    /// Nodes, peers, the committee, lanes and an account, all in trouble while the relay stands still.
    async fn much_is_wrong_at_once(&mut self) -> anyhow::Result<()> {
        let relay = self.trial.relay(0);
        self.trial.world.kill(&relay).await?;
        self.trial.world.kill("attester-4").await?;
        let config = self.config(&relay);
        let whole = std::fs::read_to_string(&config)?;
        let broken =
            without_peers(&with_a_wrong_fingerprint(&whole, &self.trial.relay(1))?, &["attester-2", "attester-3"]);
        std::fs::write(&config, &broken)?;
        self.owner_stops_lanes().await?;
        self.leave_a_gap().await?;
        let sealed = self.sealed.sealed_evm().context("it was started")?;
        while sealed.height() < LAG + 1 {
            sleep(Duration::from_millis(100)).await;
        }
        sealed.stop_node(0).await?;
        sealed.misbehave(Some(1), Fault::Lag { blocks: LAG });
        let (method, pointer) = ("eth_getBlockByNumber".to_owned(), "/hash".to_owned());
        sealed.misbehave(Some(1), Fault::Lie { method, pointer, value: json!(format!("0x{}", "ab".repeat(32))) });

        let (lines, _) = self.doctor(&relay, &[]).await?;
        let line = |file: &str, words: &str| {
            let at = std::fs::read_to_string(file).unwrap().lines().position(|line| line.contains(words)).unwrap();
            format!("${{EDITOR:-vi}} +{} {file} && cityrelay --config {file} config check", at + 1)
        };
        let file = config.display().to_string();
        let nodes = line(&file, "nodes = ");
        let url = &self.trial.scene.towns[0].city.urls[0];
        let medical = self.lane("medical")?;
        let cityrelay = format!("cityrelay --config {file}");
        for (area, subject, verdict, words, repair) in [
            (
                "nodes",
                "node node0 of hangzhou",
                "warning",
                "node0",
                format!("curl -sS -m 5 -o /dev/null {url} && {nodes}"),
            ),
            (
                "nodes",
                "node node1 of hangzhou",
                "warning",
                "blocks behind",
                format!("{cityrelay} anchor fetch --chain hangzhou"),
            ),
            ("nodes", "chain hangzhou", "broken", "its nodes disagree", nodes.clone()),
            ("peers", "peer relay-shenzhen", "broken", "refused-here", line(&file, WRONG)),
            ("peers", "peer attester-4", "broken", "no session at", "nc -vzu -w 3 127.0.0.1".to_owned()),
            (
                "attesters",
                "verifier",
                "broken",
                "only 2 members are among our peers, and 3 must sign",
                "${EDITOR".to_owned(),
            ),
            (
                "lanes",
                "medical hangzhou",
                "warning",
                "is paused",
                format!("{cityrelay} lane resume --chain hangzhou --lane {medical}"),
            ),
            (
                "lanes",
                "trade hangzhou",
                "warning",
                "is closing",
                format!("{cityrelay} lane close --chain hangzhou --lane {}", self.lane("trade")?),
            ),
            (
                "contracts",
                "gateway",
                "warning",
                "is offered to",
                format!("{cityrelay} gateway handover --chain hangzhou --withdraw"),
            ),
            ("accounts", "account", "broken", "is missing: 1 with higher numbers wait", format!("{cityrelay} run")),
        ] {
            let found = lines.iter().find(|line| {
                line.area == area
                    && line.subject.starts_with(subject)
                    && line.words.contains(words)
                    && line.verdict == verdict
            });
            let found = found.with_context(|| format!("{verdict} {area}: {subject}: {words} is not in {lines:#?}"))?;
            let command = found.repair.as_deref().unwrap_or_default();
            ensure!(command.starts_with(&repair), "expected {repair}, got {found:?}");
        }

        // What the owner is told to type makes an end of it.
        for words in ["is paused", "is offered to"] {
            let found = lines.iter().find(|line| line.words.contains(words)).context("it was there")?;
            self.type_as_owner(found.repair.as_deref().context("a command")?).await?;
        }
        let sealed = self.sealed.sealed_evm().context("it was started")?;
        sealed.behave();
        sealed.start_node(0).await?;
        std::fs::write(&config, whole)?;
        self.trial.world.run("attester-4")?;
        self.trial.world.wait_for("attester-4", START_TIMEOUT).await?;
        let (lines, _) = self.doctor(&relay, &[]).await?;
        for words in ["is paused", "is offered to", "blocks behind", "disagree", "refused-here", "among our peers"] {
            ensure!(lines.iter().all(|line| !line.words.contains(words)), "{words}: {lines:#?}");
        }
        Ok(())
    }

    /// Contracts, chains and keys that are others than they should be.
    async fn contracts_and_keys_of_somebody_else(&self) -> anyhow::Result<()> {
        let town = &self.trial.scene.towns[0];
        let spare = self.dir.join("spare.key");
        create_secret(&spare, &[7; 32])?;
        let spare = spare.display();
        let relay = self.trial.relay(0);
        for (name, set, area, verdict, words, repair) in [
            (
                relay.as_str(),
                vec![format!("chains.hangzhou.gateway={}", town.board)],
                "contracts",
                "broken",
                "are not of this release",
                "${EDITOR:-vi} +",
            ),
            (
                &relay,
                vec![format!("chains.hangzhou.verifier={}", town.gateway)],
                "contracts",
                "broken",
                "is another contract of this release",
                "${EDITOR:-vi} +",
            ),
            (
                &relay,
                vec![format!("chains.hangzhou.verifier=0x{}", "77".repeat(20))],
                "contracts",
                "broken",
                "there is no contract",
                "${EDITOR:-vi} +",
            ),
            (
                &relay,
                vec![format!("chains.hangzhou.domain=0x{}", "12".repeat(32))],
                "contracts",
                "broken",
                "was deployed for domain",
                "${EDITOR:-vi} +",
            ),
            (
                &relay,
                vec![format!("chains.hangzhou.anchor.hash=0x{}", "22".repeat(32))],
                "anchor",
                "broken",
                "the anchor is 0x2222",
                "anchor fetch --chain hangzhou --height 0",
            ),
            (&relay, vec!["chains.hangzhou.chain_id=5".to_owned()], "nodes", "broken", "chain", "${EDITOR:-vi} +"),
            (
                &relay,
                vec![
                    format!("chains.hangzhou.account.key_file={spare}"),
                    "chains.hangzhou.account.gas_price=1000000000".to_owned(),
                ],
                "accounts",
                "broken",
                "enough for about 0",
                "keys show",
            ),
            (
                "attester-1",
                vec![format!("attester.key_file={spare}")],
                "attesters",
                "broken",
                "is no member",
                "attesters rotate propose --chain hangzhou --members",
            ),
        ] {
            let (lines, _) = self.doctor(name, &set).await?;
            let found =
                lines.iter().find(|line| line.area == area && line.verdict == verdict && line.words.contains(words));
            let found = found.with_context(|| format!("{set:?}: {verdict} {area}: {words} is not in {lines:#?}"))?;
            ensure!(found.repair.as_deref().is_some_and(|command| command.contains(repair)), "{set:?}: {found:?}");
        }

        let key = self.trial.world.home(&relay).join("link.key");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644))?;
        let (lines, _) = self.doctor(&relay, &[]).await?;
        let found = lines.iter().find(|line| line.area == "keys" && line.verdict == "broken").context("a key")?;
        ensure!(found.repair.as_deref() == Some(&format!("chmod 0600 {}", key.display())), "{found:?}");
        self.type_it(found.repair.as_deref().unwrap_or_default(), &[]).await?;
        let (lines, _) = self.doctor(&relay, &[]).await?;
        ensure!(lines.iter().all(|line| line.area != "keys" || line.verdict == "ok"), "{lines:#?}");
        Ok(())
    }

    /// Known answers: right on both chains, and wrong where nodes compute something else.
    async fn nodes_that_compute_wrongly(&self) -> anyhow::Result<()> {
        let known = |lines: &[Line], verdict: &str| -> Vec<String> {
            let lines =
                lines.iter().filter(|line| line.words.starts_with("known answers: ") && line.verdict == verdict);
            lines.map(|line| format!("{}: {}", line.subject, line.words)).collect()
        };
        // Three of a chain that tells why calls revert; that one of the other tells nobody, and runs calls as nobody only.
        let lines = self.gateway_status(0).await?;
        ensure!(known(&lines, "broken").is_empty(), "{lines:#?}");
        let right = known(&lines, "ok");
        ensure!(right.iter().filter(|words| words.contains("as this release does")).count() == 4, "{right:#?}");
        for (method, words) in [
            ("rotate(address[],uint32,bytes,bytes)", "it hashes and recovers signers"),
            (ANNOUNCE, "it computes ids of lanes"),
            (
                "deliver(bytes32,uint64,(bytes32,bytes32,uint64,uint64,bool,bytes)[],bytes32[],bytes32,bytes)",
                "it hashes payloads",
            ),
        ] {
            let sealed = self.sealed.sealed_evm().context("it was started")?;
            sealed.misbehave(None, Fault::Miscompute { selector: selector(method) });
            let lines = self.gateway_status(4).await.with_context(|| format!("{words} is computed wrongly"))?;
            sealed.behave();
            let wrong = known(&lines, "broken");
            ensure!(wrong.len() == 1 && wrong[0].contains("on hangzhou") && wrong[0].contains(words), "{lines:#?}");
        }
        let weighted = self.weighted.weighted_bcos().context("it was started")?;
        weighted.misbehave(None, Fault::Miscompute { selector: selector("send(bytes32,bytes32,uint64,uint64,bytes)") });
        let lines = self.gateway_status(4).await?;
        weighted.behave();
        let wrong = known(&lines, "broken");
        ensure!(
            wrong.len() == 1 && wrong[0].contains("on shenzhen") && wrong[0].contains("it hashes payloads"),
            "{lines:#?}"
        );
        ensure!(known(&self.gateway_status(0).await?, "broken").is_empty());
        Ok(())
    }

    /// What `gateway status` says of both chains.
    async fn gateway_status(&self, code: i32) -> anyhow::Result<Vec<Line>> {
        let (lines, got) = self.diagnosis("attester-1", &["gateway", "status"], &[]).await?;
        ensure!(got == code, "expected exit code {code}, got {got}: {lines:#?}");
        Ok(lines)
    }

    /// With a daemon: what it says of its peers, what it was started with, and a gap that its next transaction fills.
    async fn a_daemon_runs(&mut self) -> anyhow::Result<()> {
        let relay = self.trial.relay(0);
        self.trial.world.kill("attester-4").await?;
        self.trial.world.run(&relay)?;
        self.trial.world.wait_for(&relay, START_TIMEOUT).await?;
        let port = cityrelay::demo::configs::free_tcp_port()?;
        let set = [format!("metrics.listen=127.0.0.1:{port}")];
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let (lines, _) = self.doctor(&relay, &set).await?;
            let has = |area: &str, words: &str, repair: &str| {
                lines.iter().any(|line| {
                    let command = line.repair.as_deref().unwrap_or_default();
                    line.area == area
                        && line.verdict == "warning"
                        && line.words.contains(words)
                        && command.contains(repair)
                })
            };
            // Why a peer has no session is known when it was called in vain.
            if has("ports", "is not held by the daemon that runs", " run")
                && has("peers", "has no session: timeout", "nc -vzu")
            {
                break;
            }
            ensure!(Instant::now() < deadline, "{lines:#?}");
            sleep(Duration::from_millis(200)).await;
        }
        let (lines, _) = self.doctor(&relay, &[]).await?;
        let gap =
            lines.iter().find(|line| line.words.contains("with higher numbers wait")).context("the gap is there")?;
        let retry = gap.repair.clone().context("a command")?;
        ensure!(retry.ends_with(" retry --chain hangzhou"), "{retry}");
        self.type_it(&retry, &[]).await?;
        let receiver = self.trial.scene.towns[1].board;
        let (config, lane) = (self.config(&relay).display().to_string(), self.lane("finance")?);
        let send = format!("cityrelay --config {config} send --lane {lane} --receiver {receiver} --payload hello");
        self.type_it(&send, &[]).await?;
        let deadline = Instant::now() + DOCTOR_TIMEOUT;
        loop {
            let (lines, _) = self.doctor(&relay, &[]).await?;
            if lines.iter().any(|line| line.area == "accounts" && line.words.contains("0 waiting")) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the gap stays: {lines:#?}");
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// One lane is paused, another one closing, and the gateway is offered to somebody.
    async fn owner_stops_lanes(&self) -> anyhow::Result<()> {
        let town = &self.trial.scene.towns[0];
        let gateway = town.gateway;
        let heir = "0x00000000000000000000000000000000000000aa".parse()?;
        let lane = |channel| -> anyhow::Result<LaneId> { Ok(self.lane(channel)?.parse()?) };
        let calls = [
            GatewayCall::SetPaused { gateway, lane: Some(lane("medical")?), is_paused: true },
            GatewayCall::AnnounceClose { gateway, lane: lane("trade")? },
            GatewayCall::OfferOwnership { gateway, owner: heir },
        ];
        setup::carry_all(town.owner.target.as_ref(), &calls).await.map(drop)
    }

    /// A transaction of the relay's account whose predecessor no node has ever seen.
    async fn leave_a_gap(&self) -> anyhow::Result<()> {
        let town = &self.trial.scene.towns[0];
        let target = setup::access(&self.dir, &town.city, Account::Relay)?.target;
        let call = GatewayCall::Checkpoint {
            gateway: town.gateway,
            flow: Flow { lane: self.lane("finance")?.parse()?, direction: Direction::Outbox },
        };
        let never_sent = target.prepare(&call, &[], None).await?;
        let waits = target.prepare(&call, &[never_sent], None).await?;
        target.broadcast(&waits).await?;
        Ok(())
    }

    /// The lane from the first city on a channel.
    fn lane(&self, channel: &str) -> anyhow::Result<String> {
        let mut lanes = self.trial.scene.lanes.iter();
        let found = lanes.find(|lane| lane.identity.channel == channel && lane.from == 0);
        Ok(found.context("a lane")?.id.to_string())
    }
}

/// The function with which an owner announces a lane.
const ANNOUNCE: &str = "announceLane((bytes32,bytes32,bytes32,bytes32,bytes32,bytes32,bytes32,bytes32),\
                        (bool,uint32,uint64,uint64,uint64,uint64),bytes32[],bytes32[])";

/// The selector of a function of the contracts.
fn selector(signature: &str) -> String {
    format!("0x{}", hex::encode(&keccak256(signature.as_bytes()).0[..4]))
}

fn with_a_wrong_fingerprint(config: &str, peer: &str) -> anyhow::Result<String> {
    let (before, section) = config.split_once(&format!("name = \"{peer}\"")).context("the peer's section")?;
    let (words, rest) = section.split_once("fingerprint = \"").context("its fingerprint")?;
    let rest = rest.get(64..).context("64 digits")?;
    Ok(format!("{before}name = \"{peer}\"{words}fingerprint = \"{}{rest}", WRONG.repeat(8)))
}

fn without_peers(config: &str, peers: &[&str]) -> String {
    let is_gone = |section: &&str| !peers.iter().any(|peer| section.starts_with(&format!("\nname = \"{peer}\"")));
    // What follows the last section of a peer begins with a section of another kind.
    config.split("[[peers]]").filter(is_gone).collect::<Vec<_>>().join("[[peers]]")
}

/// Every command of a repair is known to the shell, and those of this program are parsed by it.
async fn can_be_typed(repair: &str) -> anyhow::Result<()> {
    let checked = Command::new("bash").args(["-n", "-c", repair]).output().await?;
    ensure!(checked.status.success(), "no command of a shell: {repair}");
    for command in repair.split(" && ") {
        let program = command.split(' ').next().unwrap_or_default();
        ensure!(PROGRAMS.contains(&program), "what is {program}? {repair}");
        if program == "cityrelay" {
            let words = words(command).await?;
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            cityrelay::cli::accepts(&words).map_err(anyhow::Error::msg)?;
        }
    }
    Ok(())
}

/// The words of a command as a shell reads them.
async fn words(command: &str) -> anyhow::Result<Vec<String>> {
    let printed = Command::new("bash").args(["-c", &format!("printf '%s\\0' {command}")]).output().await?;
    let text = String::from_utf8(printed.stdout)?;
    Ok(text.split_terminator('\0').map(str::to_owned).collect())
}
