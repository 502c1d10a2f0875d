//! What an operator sees of a running relay: commands, the page in a real browser, the picture in a terminal.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cityrelay_tests::process::terminal::Terminal;
use cityrelay_tests::process::trial::{START_TIMEOUT, Trial};
use cityrelay_tests::process::{browser, play, program};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

/// How long a relay may take to know what has happened on the chains.
const NEWS_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// The user and the group that may nothing, on every Debian.
const NOBODY: u32 = 65_534;

/// The commands against one running daemon.
struct Desk {
    config: String,
}

impl Desk {
    fn of(trial: &Trial, name: &str) -> Self {
        Self { config: trial.world.home(name).join("cityrelay.toml").display().to_string() }
    }

    async fn output(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = Command::new(program::cityrelay());
        command.args(["--config", &self.config]).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        Ok(timeout(COMMAND_TIMEOUT, command.output()).await.context("the command does not end")??)
    }

    /// The data of a command that succeeds.
    async fn data(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let output = self.output(&[&["--json"], arguments].concat()).await?;
        let envelope: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))?;
        ensure!(output.status.success() && envelope["ok"] == true, "{arguments:?}: {envelope}");
        ensure!(envelope["command"] == arguments[0], "{arguments:?}: {envelope}");
        Ok(envelope["data"].clone())
    }

    /// What a command says that must end with `code`.
    async fn refused(&self, arguments: &[&str], code: i32) -> anyhow::Result<String> {
        let output = self.output(arguments).await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(code), "{arguments:?} ended with {}: {said}", output.status);
        Ok(said)
    }

    /// Waits until the lanes are as wanted.
    async fn lanes(&self, what: &str, is_so: impl Fn(&[Value]) -> bool) -> anyhow::Result<Vec<Value>> {
        let deadline = Instant::now() + NEWS_TIMEOUT;
        loop {
            let lanes = self.data(&["lanes"]).await?["lanes"].as_array().context("a list")?.clone();
            if is_so(&lanes) {
                return Ok(lanes);
            }
            ensure!(Instant::now() < deadline, "waited until {what}, have {lanes:?}");
            sleep(Duration::from_millis(200)).await;
        }
    }
}

#[test]
fn an_operator_sees_what_is_stuck_and_why() {
    play("operator", async |dir| {
        let mut trial = Trial::with_pairing(&dir, "mixed").await?;
        let relay = trial.relay(0);
        let desk = Desk::of(&trial, &relay);
        trial.scene.send_round(1, 1).await?;
        trial.settle().await?;
        everything_is_finished(&desk).await?;

        let away = ["attester-3", "attester-4"];
        for attester in away {
            trial.world.kill(attester).await?;
        }
        trial.scene.send_round(2, 1).await?;
        let lane = something_is_stuck(&desk).await?;
        let port = trial.parties[0].metrics_port;
        let chain = trial.scene.towns[0].city.name.clone();
        let (page, screenshots) = (format!("http://127.0.0.1:{port}/"), browser::screenshots(&dir));
        browser::look("look.mjs", &page, &chain, &screenshots).await?;
        in_a_terminal(&desk, &relay, &lane).await?;
        init_asks(&trial, &dir).await?;
        orders_are_kept(&desk).await?;
        browser::look("records.mjs", &page, "orders", &screenshots).await?;
        a_configuration_is_reloaded(&desk).await?;
        a_stranger_is_refused(&trial, &relay, &dir).await?;

        the_page_follows_a_restart(&mut trial, &relay, &page, &screenshots).await?;

        for attester in away {
            trial.world.run(attester)?;
            trial.world.wait_for(attester, START_TIMEOUT).await?;
        }
        let found = trial.finish().await?;
        ensure!(found == 24, "24 messages were sent, the chains have {found}");
        Ok(())
    });
}

/// The page says that nobody answers, and goes on by itself once somebody does.
async fn the_page_follows_a_restart(
    trial: &mut Trial,
    relay: &str,
    page: &str,
    screenshots: &Path,
) -> anyhow::Result<()> {
    let is_open = screenshots.join("open");
    drop(std::fs::remove_file(&is_open));
    tokio::try_join!(browser::look("records.mjs", page, "return", screenshots), async {
        let deadline = Instant::now() + NEWS_TIMEOUT;
        while !is_open.exists() {
            ensure!(Instant::now() < deadline, "the page does not open");
            sleep(Duration::from_millis(100)).await;
        }
        trial.world.kill(relay).await?;
        // Longer than the browser waits before it calls again.
        sleep(Duration::from_secs(4)).await;
        trial.world.run(relay)?;
        trial.world.wait_for(relay, START_TIMEOUT).await
    })?;
    Ok(())
}

async fn everything_is_finished(desk: &Desk) -> anyhow::Result<()> {
    let is_done = |lane: &Value| lane["state"] == "idle" && lane["finished"] == 1 && lane["waits_for"] == "idle";
    let lanes = desk.lanes("every lane is idle", |lanes| lanes.iter().all(is_done)).await?;
    ensure!(lanes.len() == 12, "{lanes:?}");
    let one = desk.data(&["lanes", "--lane", "medical"]).await?;
    ensure!(one["lanes"].as_array().is_some_and(|lanes| lanes.len() == 2), "{one}");

    // Page by page, every message once.
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let mut arguments = vec!["messages", "--limit", "5"];
        arguments.extend(after.iter().flat_map(|after: &String| ["--after", after]));
        let page = desk.data(&arguments).await?;
        seen.extend(page["messages"].as_array().context("a list")?.clone());
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    let mut ids: Vec<&str> = seen.iter().filter_map(|message| message["id"].as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    ensure!(seen.len() == 12 && ids.len() == 12, "{seen:?}");
    let is_settled = |message: &Value| message["state"] == "settled" && message["outcome"] == "executed";
    ensure!(seen.iter().all(|message| is_settled(message) && message["is_finished"] == true), "{seen:?}");

    // By state, by lane, by the first digits of an id, by the id.
    let count = |data: Value| data["messages"].as_array().map_or(0, Vec::len);
    ensure!(count(desk.data(&["messages", "--state", "settled"]).await?) == 12);
    ensure!(count(desk.data(&["messages", "--state", "verified"]).await?) == 0);
    ensure!(count(desk.data(&["messages", "--unfinished"]).await?) == 0);
    ensure!(count(desk.data(&["messages", "--lane", "medical"]).await?) == 2);
    let found = desk.data(&["messages", "--id", &ids[0][..12]]).await?;
    ensure!(found["messages"][0]["id"] == ids[0] && count(found.clone()) == 1, "{found}");
    let why = desk.data(&["why", ids[0]]).await?;
    ensure!(why["state"] == "settled" && why["outcome"] == "executed" && why["waits_for"] == "idle", "{why}");
    let steps: Vec<_> =
        why["timeline"].as_array().context("a list")?.iter().map(|step| step["what"].as_str()).collect();
    ensure!(steps.contains(&Some("message verified")) && steps.contains(&Some("outcome verified")), "{steps:?}");

    // What makes no sense is refused with what would.
    let said = desk.refused(&["messages", "--lane", "no-such"], 2).await?;
    ensure!(said.contains("no-such"), "{said}");
    let said = desk.refused(&["messages", "--limit", "501"], 2).await?;
    ensure!(said.contains("1 to 500"), "{said}");
    let said = desk.refused(&["messages", "--id", "0xzz00"], 2).await?;
    ensure!(said.contains("hex digits"), "{said}");
    Ok(())
}

/// The channel of a lane that waits for signatures.
async fn something_is_stuck(desk: &Desk) -> anyhow::Result<String> {
    let waits = |lane: &Value| lane["waits_for"] == "attestations" && lane["who"] == "the attesters";
    let lanes = desk.lanes("a lane waits for attesters", |lanes| lanes.iter().any(waits)).await?;
    let lane = lanes.iter().find(|lane| waits(lane)).context("there was one")?;
    ensure!(lane["state"] == "moving" && lane["depth"] == 1, "{lane}");
    let id = lane["lane"].as_str().context("an id")?;
    let page = desk.data(&["messages", "--unfinished", "--lane", id]).await?;
    let message = &page["messages"][0];
    ensure!(message["state"] == "verified" && message["waits_for"] == "attestations", "{page}");
    let why = desk.data(&["why", &format!("{id}:2")]).await?;
    ensure!(why["id"] == message["id"] && why["waits_for"] == "attestations" && why["is_finished"] == false, "{why}");
    // That an attester is away is known when its session has timed out.
    let deadline = Instant::now() + NEWS_TIMEOUT;
    while desk.output(&["status"]).await?.status.code() != Some(4) {
        ensure!(Instant::now() < deadline, "a relay without enough attesters is not ready");
        sleep(Duration::from_millis(200)).await;
    }
    Ok(lane["channel"].as_str().context("a name")?.to_owned())
}

/// Pause, resume, retry: each takes effect, and who gave it and why is on record.
async fn orders_are_kept(desk: &Desk) -> anyhow::Result<()> {
    let lanes = desk.data(&["lanes", "--lane", "trade"]).await?;
    let lane = lanes["lanes"][0]["lane"].as_str().context("an id")?.to_owned();
    let state = |wanted: &'static str| {
        let lane = lane.clone();
        move |lanes: &[Value]| lanes.iter().any(|found| found["lane"] == lane.as_str() && found["state"] == wanted)
    };
    let done = desk.data(&["pause", &lane, "--reason", "a look at the receiver"]).await?;
    ensure!(done["done"].as_str().is_some_and(|done| done.contains(&lane)), "{done}");
    let lanes = desk.lanes("the lane is paused", state("paused")).await?;
    let paused = lanes.iter().find(|found| found["lane"] == lane.as_str()).context("the lane")?;
    ensure!(paused["waits_for"] == "paused" && paused["who"] == "the operator", "{paused}");
    let said = desk.refused(&["pause", &lane], 5).await?;
    ensure!(said.contains("paused already"), "{said}");
    desk.data(&["resume", &lane]).await?;
    desk.lanes("the lane is not paused", |lanes| !state("paused")(lanes)).await?;
    let said = desk.refused(&["resume", &lane], 5).await?;
    ensure!(said.contains("not paused"), "{said}");
    desk.data(&["retry", "--lane", &lane, "--reason", "the attesters say they are back"]).await?;
    desk.data(&["retry"]).await?;
    // A name that two lanes have, or none, is no order.
    let said = desk.refused(&["pause", "trade"], 2).await?;
    ensure!(said.contains("several lanes have channel trade"), "{said}");
    let said = desk.refused(&["retry", "--chain", "no-such"], 2).await?;
    ensure!(said.contains("no chain is called no-such"), "{said}");

    let evidence = desk.data(&["evidence"]).await?;
    ensure!(evidence["evidence"] == Value::Array(Vec::new()) && evidence["undecided"] == Value::Array(Vec::new()));
    let hash = format!("0x{}", "12".repeat(32));
    let unfreeze = ["unfreeze", "--chain", "hangzhou", "--choose", &hash, "--other", &hash, "--reason", "none"];
    let said = desk.refused(&unfreeze, 5).await?;
    ensure!(said.contains("chain hangzhou is not frozen"), "{said}");

    // Newest first; what was refused changed nothing and is not there.
    let audit = desk.data(&["audit"]).await?;
    let orders = audit["orders"].as_array().context("a list")?;
    let actions: Vec<_> = orders.iter().filter_map(|order| order["action"].as_str()).collect();
    ensure!(actions == ["retry", "retry", "resume", "pause"], "{audit}");
    let uid = rustix::process::getuid().as_raw();
    for order in orders {
        ensure!(order["uid"] == uid && order["user"].as_str().is_some_and(|name| !name.is_empty()), "{order}");
        ensure!(order["at"].as_u64().is_some_and(|at| at > 0), "{order}");
    }
    ensure!(orders[3]["reason"] == "a look at the receiver", "{audit}");
    ensure!(
        orders[3]["about"].as_str().is_some_and(|about| about.contains("trade") && about.contains(&lane)),
        "{audit}"
    );
    ensure!(desk.data(&["audit", "--limit", "1"]).await?["orders"].as_array().is_some_and(|orders| orders.len() == 1));
    Ok(())
}

/// A changed configuration is taken over whole or not at all, and what comes of it is said.
async fn a_configuration_is_reloaded(desk: &Desk) -> anyhow::Result<()> {
    let keys = |changes: &Value| -> Vec<String> {
        let changes = changes.as_array().map_or(&[][..], Vec::as_slice);
        changes.iter().filter_map(|change| change["key"].as_str().map(str::to_owned)).collect()
    };
    let before = std::fs::read_to_string(&desk.config)?;
    let filter = "info,cityrelay=debug";
    ensure!(before.contains(filter), "{before}");
    std::fs::write(&desk.config, before.replace(filter, "info,cityrelay=trace"))?;
    let report = desk.data(&["reload", "--reason", "a closer look"]).await?;
    ensure!(keys(&report["applied"]) == ["log.filter"] && keys(&report["needs_restart"]).is_empty(), "{report}");
    std::fs::write(&desk.config, before.replace(filter, "info").replace("[node]", "[node]\nno_such_key = 1"))?;
    let said = desk.refused(&["reload"], 2).await?;
    ensure!(said.contains("no_such_key"), "{said}");
    std::fs::write(&desk.config, before)?;
    // What was refused has changed nothing: the way back is from the value before it.
    let report = desk.data(&["reload"]).await?;
    ensure!(keys(&report["applied"]) == ["log.filter"], "{report}");
    ensure!(report["applied"][0]["from"] == "info,cityrelay=trace", "{report}");
    let audit = desk.data(&["audit", "--limit", "3"]).await?;
    let abouts: Vec<_> = audit["orders"].as_array().context("a list")?.iter().map(|order| &order["about"]).collect();
    ensure!(abouts == ["reload", "reload", "reload"], "{audit}");
    ensure!(audit["orders"][2]["reason"] == "a closer look", "{audit}");
    Ok(())
}

/// Another user is kept out twice: by the mode of the socket, and by the daemon, which the kernel tells who asks.
async fn a_stranger_is_refused(trial: &Trial, relay: &str, dir: &Path) -> anyhow::Result<()> {
    ensure!(rustix::process::getuid().is_root(), "only root can be another user for a moment: run this test as root");
    let everybody = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
    let socket = trial.world.socket(relay);
    let (program, config) = (dir.join("cityrelay"), dir.join("stranger.toml"));
    std::fs::copy(program::cityrelay(), &program)?;
    std::fs::write(&config, format!("[control]\nsocket = \"{}\"\n", socket.display()))?;
    for (path, mode) in [(dir, 0o755), (&program, 0o755), (&config, 0o644)] {
        everybody(path, mode)?;
    }
    let ask = async |arguments: &[&str]| -> anyhow::Result<String> {
        let mut command = Command::new(&program);
        command.arg("--config").arg(&config).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(COMMAND_TIMEOUT, command.uid(NOBODY).gid(NOBODY).output()).await??;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(5), "{arguments:?} ended with {}: {said}", output.status);
        Ok(said)
    };
    let said = ask(&["status"]).await?;
    ensure!(said.contains(&socket.display().to_string()), "{said}");
    everybody(&socket, 0o666)?;
    for arguments in [&["status"][..], &["pause", "trade"], &["reload"]] {
        let said = ask(arguments).await?;
        ensure!(said.contains(&format!("(uid {NOBODY}) may not ask this daemon")), "{arguments:?}: {said}");
    }
    Ok(everybody(&socket, 0o600)?)
}

/// `init` on a terminal asks for what was not given, and pins an anchor only after somebody has typed what another
/// institution read out.
async fn init_asks(trial: &Trial, dir: &Path) -> anyhow::Result<()> {
    let city = &trial.scene.towns[0].city;
    let settings = city.toml.lines().filter(|line| !line.starts_with("anchor") && !line.starts_with("domain"));
    let settings: Vec<String> = settings.map(str::to_owned).collect();
    let program = program::cityrelay().display().to_string();
    let start = |folder: &Path| {
        let folder = folder.display().to_string();
        let mut command = vec![&*program, "--config", &folder, "init", "relay", "--chain", &city.name];
        command.extend(settings.iter().flat_map(|setting| ["--chain-set", setting]));
        Terminal::start(&command, 60, 200)
    };
    let (folder, other) = (dir.join("asked"), dir.join("not-compared"));
    for (folder, is_compared) in [(&other, false), (&folder, true)] {
        let mut asking = start(folder)?;
        asking.wait_for("a question for the name", |text| text.contains("Name of this relay")).await?;
        asking.press("relay-asked\n")?;
        asking.wait_for("a question for the anchor", |text| text.contains("type it as you were told it:")).await?;
        let text = asking.text().split_whitespace().collect::<String>();
        let hash = text.split("hasthehash0x").nth(1).and_then(|rest| rest.get(..64)).context("a hash")?.to_owned();
        asking
            .press(&format!("{}\n", if is_compared { format!("0x{hash}") } else { format!("0x{}", "0".repeat(64)) }))?;
        let status = asking.wait_for_end().await?;
        ensure!(status.code() == Some(if is_compared { 0 } else { 5 }), "{status}: {}", asking.text());
        let made = folder.join(format!("chain-{}.toml", city.name));
        ensure!(made.exists() == is_compared && folder.join("own.toml").exists() == is_compared, "{}", made.display());
        if is_compared {
            ensure!(std::fs::read_to_string(&made)?.contains(&hash), "the anchor is not the one that was compared");
            ensure!(std::fs::read_to_string(folder.join("own.toml"))?.contains("name = \"relay-asked\""));
        }
    }
    Ok(())
}

async fn in_a_terminal(desk: &Desk, relay: &str, channel: &str) -> anyhow::Result<()> {
    // Not in a terminal: a plain error, and what to use instead.
    let said = desk.refused(&["top"], 2).await?;
    ensure!(said.contains("needs a terminal") && said.contains("cityrelay status"), "{said}");

    let program = program::cityrelay().display().to_string();
    let command = [program.as_str(), "--config", &desk.config, "top"];
    let mut top = Terminal::start(&command, 40, 140)?;
    let words = [relay, channel, "NOT READY", "attestations", "attesters"];
    top.wait_for("the picture", |text| words.iter().all(|word| text.contains(word))).await?;
    ensure!(top.is_full_screen() && top.is_raw()?, "it takes the whole terminal");
    // Live: the height of the chain moves.
    let height = |text: &str| text.lines().find(|line| line.starts_with("chain hangzhou")).map(str::to_owned);
    let before = height(&top.text());
    top.wait_for("another height", |text| height(text).is_some() && height(text) != before).await?;

    top.resize(20, 90)?;
    top.wait_for("a smaller picture", |text| {
        let lines: Vec<&str> = text.lines().collect();
        lines.len() <= 20 && lines.last().is_some_and(|line| line.contains("q quit")) && text.contains(channel)
    })
    .await?;

    // To the messages, to the timeline of the first, back, and out.
    top.press("\t\r")?;
    top.wait_for("a timeline", |text| text.contains("Timeline") && text.contains("message verified")).await?;
    top.press("\x1b")?;
    top.wait_for("the picture again", |text| text.contains("Lanes (12)")).await?;
    top.press("q")?;
    let status = top.wait_for_end().await?;
    ensure!(status.code() == Some(0), "it ended with {status}");
    ensure!(!top.is_full_screen() && !top.is_raw()?, "the terminal is as it was before");

    // The terminal's own interrupt key ends it as well.
    let mut top = Terminal::start(&command, 40, 140)?;
    top.wait_for("the picture", |text| text.contains(relay)).await?;
    top.press("\x03")?;
    let status = top.wait_for_end().await?;
    ensure!(status.code() == Some(0), "it ended with {status}");
    ensure!(!top.is_full_screen() && !top.is_raw()?, "the terminal is as it was before");
    Ok(())
}
