//! Two cities set up by the program's own commands, one after the other as `deploy/INSTALL.md` says, with the configuration
//! of each process in a folder of several files.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cityrelay::config::{Layers, Sources, check};
use cityrelay::demo::cities::City;
use cityrelay::demo::configs::{self, ATTESTERS, Party, THRESHOLD};
use cityrelay::demo::setup::{self, Account, Lane, Town, account_key, carry_all};
use cityrelay::demo::world::World;
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Domain, LaneId};
use cityrelay_gateway::examples;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use super::program;
use super::trial::{START_TIMEOUT, Scene, Trial};

/// How long a command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// How far ahead the gateways close a lane: as short as it may be, so that a test sees both steps.
pub const CLOSE_DELAY: Duration = Duration::from_secs(2);

/// The channels on which each city sends.
pub const CHANNELS: [&[&str]; 2] = [&["medical", "trade", "finance"], &["medical"]];

/// The channel that is opened strict: one message that fails halts it.
pub const STRICT: &str = "finance";

/// What a command of the program answers with `--json`.
///
/// # Errors
/// When it does not succeed, with what it said.
pub async fn command(config: &Path, arguments: &[&str], environment: &[(String, String)]) -> anyhow::Result<Value> {
    let mut command = Command::new(program::cityrelay());
    command.arg("--json").arg("--config").arg(config).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let output = timeout(COMMAND_TIMEOUT, command.output()).await.context("the command does not end")??;
    let said = String::from_utf8_lossy(&output.stderr);
    let envelope: Value = serde_json::from_slice(&output.stdout).with_context(|| format!("{arguments:?}: {said}"))?;
    ensure!(output.status.success() && envelope["ok"] == true, "{arguments:?}: {envelope} {said}");
    Ok(envelope["data"].clone())
}

/// Sets everything up and starts it: relays, attesters, contracts, lanes.
///
/// # Errors
/// When a command fails, or a process does not start.
pub async fn install(dir: &Path, pairing: &str) -> anyhow::Result<Trial> {
    let world = World::start(dir, program::cityrelay(), pairing).await?;
    let mut parties = configs::parties(&world, ATTESTERS)?;
    let cards = dir.join("cards");
    std::fs::create_dir_all(&cards)?;
    for party in parties.iter_mut().filter(|party| party.is_attester) {
        init_attester(&world, party, &cards).await?;
    }
    let mut towns = Vec::new();
    for (at, city) in world.cities().iter().enumerate() {
        towns.push(init_relay(dir, &world, &parties, at, city, &cards).await?);
    }
    for party in &parties {
        join(&world, party, &parties, &cards).await?;
    }
    let lanes = lanes(&world, &parties[0])?;
    let applications = towns.iter().map(|town| setup::access(dir, &town.city, Account::Application));
    let scene = Scene { applications: applications.collect::<anyhow::Result<_>>()?, towns, lanes };
    for (at, town) in scene.towns.iter().enumerate() {
        open_lanes(dir, &world, &parties[at], &scene, town).await?;
    }
    let mut trial = Trial { world, parties, scene };
    for party in &trial.parties {
        trial.world.run(&party.name)?;
    }
    for party in &trial.parties {
        trial.world.wait_for(&party.name, START_TIMEOUT).await?;
    }
    Ok(trial)
}

/// Keys and the own part of an attester, and its card.
///
/// # Errors
/// When a command fails.
pub async fn init_attester(world: &World, party: &mut Party, cards: &Path) -> anyhow::Result<()> {
    let config = prepare(world, &party.name)?;
    let arguments = own_part(world, party);
    let arguments: Vec<&str> = ["init", "attester"].into_iter().chain(arguments.iter().map(String::as_str)).collect();
    let made = command(&config, &arguments, &[]).await?;
    party.attester = made["attester"].as_str().context("an attester's address")?.parse()?;
    card(&config, party, &[], cards).await
}

/// Keys and the own part of a relay, its city's contracts, and its card.
async fn init_relay(
    dir: &Path,
    world: &World,
    parties: &[Party],
    at: usize,
    city: &City,
    cards: &Path,
) -> anyhow::Result<Town> {
    let party = &parties[at];
    let config = prepare(world, &party.name)?;
    std::fs::create_dir_all(config.join("keys"))?;
    write_key(&config.join("keys/account.key"), &account_key(city, Account::Relay)?)?;
    let mut arguments = vec!["init".to_owned(), "relay".to_owned(), "--chain".to_owned(), city.name.clone()];
    arguments.extend(own_part(world, party));
    for setting in city.toml.lines().filter(|line| !line.starts_with("anchor")).chain(["poll_interval = \"100ms\""]) {
        arguments.extend(["--chain-set".to_owned(), setting.to_owned()]);
    }
    let height = city.toml.split("anchor = { height = ").nth(1).and_then(|rest| rest.split(',').next());
    arguments.extend(["--anchor-height".to_owned(), height.context("the anchor's height")?.trim().to_owned()]);
    arguments.extend(["--anchor-hash".to_owned(), city.anchor.clone()]);
    command(&config, &arguments.iter().map(String::as_str).collect::<Vec<_>>(), &[]).await?;

    let members: Vec<String> =
        parties.iter().filter(|party| party.is_attester).map(|party| party.attester.to_string()).collect();
    let (verifier, gateway) = deploy_gateway(dir, world, party, city, &members.join(",")).await?;
    let file = config.join(format!("chain-{}.toml", city.name));
    let section = std::fs::read_to_string(&file)?;
    std::fs::write(&file, format!("{section}gateway = \"{gateway}\"\nverifier = \"{verifier}\"\n"))?;
    card(&config, party, CHANNELS[at], cards).await?;

    let owner = setup::access(dir, city, Account::Owner)?;
    let board = GatewayCall::DeployCode { code: examples::deploy_notice_board(gateway)?.data };
    let orders = GatewayCall::DeployCode { code: examples::deploy_prepaid_orders(gateway)?.data };
    let made = carry_all(owner.target.as_ref(), &[board, orders]).await?;
    let [Some(board), Some(orders)] = made[..] else { anyhow::bail!("a deployment made no contract") };
    let anchor = Hash32::from_hex(&city.anchor).context("the anchor of a city")?;
    let domain = Domain::derive(&city.name, anchor);
    Ok(Town { city: city.clone(), domain, owner, gateway, verifier, board, orders })
}

/// What an owner's commands need beside a relay's configuration: its own account instead of the relay's, and a folder where
/// its transactions are noted.
///
/// # Errors
/// When the key can't be written.
pub fn owner(dir: &Path, city: &City) -> anyhow::Result<Vec<(String, String)>> {
    // Writes the key.
    drop(setup::access(dir, city, Account::Owner)?);
    let home = dir.join(format!("{}-owner", city.name));
    let account = format!("CITYRELAY__CHAINS__{}__ACCOUNT__KEY_FILE", city.name.to_uppercase());
    Ok(vec![
        (account, home.join("account.key").display().to_string()),
        ("CITYRELAY__NODE__DATA_DIR".to_owned(), home.join("data").display().to_string()),
    ])
}

/// A committee and a gateway; the owner deploys them.
async fn deploy_gateway(
    dir: &Path,
    world: &World,
    party: &Party,
    city: &City,
    members: &str,
) -> anyhow::Result<(Address, Address)> {
    let threshold = THRESHOLD.to_string();
    let clock = if city.clock_is_millis { "milliseconds" } else { "seconds" };
    let delay = format!("{}s", CLOSE_DELAY.as_secs());
    let arguments = [
        "gateway",
        "deploy",
        "--chain",
        &city.name,
        "--attesters",
        members,
        "--threshold",
        &threshold,
        "--clock",
        clock,
        "--close-delay",
        &delay,
    ];
    let made = command(&world.config(&party.name), &arguments, &owner(dir, city)?).await?;
    let address = |key: &str| -> anyhow::Result<Address> { Ok(made[key].as_str().context("an address")?.parse()?) };
    Ok((address("verifier")?, address("gateway")?))
}

/// The folder of a process's configuration, with what differs from an installed machine: where its socket is, and how long
/// it waits.
fn prepare(world: &World, name: &str) -> anyhow::Result<PathBuf> {
    let config = world.home(name).join("config");
    std::fs::create_dir_all(&config)?;
    let text = format!(
        "[control]\nsocket = \"{}\"\n\n[log]\nfilter = \"info,cityrelay=debug\"\n\n[batch]\nmax_delay = \"100ms\"\n",
        world.socket(name).display()
    );
    std::fs::write(config.join("here.toml"), text)?;
    Ok(config)
}

/// The flags that `init relay` and `init attester` have in common.
fn own_part(world: &World, party: &Party) -> Vec<String> {
    let data = world.home(&party.name).join("data").display().to_string();
    let (listen, metrics) = (format!("127.0.0.1:{}", party.port), format!("127.0.0.1:{}", party.metrics_port));
    ["--name", &party.name, "--listen", &listen, "--metrics", &metrics, "--data-dir", &data].map(str::to_owned).to_vec()
}

/// Writes the card that the process prints.
async fn card(config: &Path, party: &Party, channels: &[&str], cards: &Path) -> anyhow::Result<()> {
    let address = format!("127.0.0.1:{}", party.port);
    let mut command = Command::new(program::cityrelay());
    command.arg("--config").arg(config).args(["init", "card", "--address", &address]);
    command.args(channels.iter().flat_map(|channel| ["--channel", channel]));
    let output = timeout(COMMAND_TIMEOUT, command.stdin(Stdio::null()).kill_on_drop(true).output()).await??;
    ensure!(output.status.success(), "init card: {}", String::from_utf8_lossy(&output.stderr));
    Ok(std::fs::write(cards.join(format!("{}.card", party.name)), output.stdout)?)
}

/// Peers, the other chain and the lanes, out of the cards.
async fn join(world: &World, party: &Party, parties: &[Party], cards: &Path) -> anyhow::Result<()> {
    let known = parties.iter().filter(|other| !(party.is_attester && other.is_attester));
    let mut arguments = vec!["init".to_owned(), "join".to_owned()];
    arguments.extend(known.map(|other| cards.join(format!("{}.card", other.name)).display().to_string()));
    for city in world.cities().iter().filter(|_| party.is_attester) {
        let nodes = city.toml.lines().find_map(|line| line.strip_prefix("nodes = ")).context("a city's nodes")?;
        arguments.extend(["--chain-set".to_owned(), format!("{}.nodes={nodes}", city.name)]);
        arguments.extend(["--chain-set".to_owned(), format!("{}.poll_interval=\"100ms\"", city.name)]);
    }
    command(&world.config(&party.name), &arguments.iter().map(String::as_str).collect::<Vec<_>>(), &[]).await?;
    Ok(())
}

/// The lanes of a process's configuration.
///
/// # Errors
/// When it has faults.
pub fn lanes(world: &World, party: &Party) -> anyhow::Result<Vec<Lane>> {
    let sources = Sources { path: Some(world.config(&party.name)), ..Sources::default() };
    let layers = Layers::read(&sources).map_err(|faults| anyhow::anyhow!("{faults}"))?;
    let (_, lanes) =
        check::lanes_only(&layers, cityrelay_all::adapters()).map_err(|faults| anyhow::anyhow!("{faults}"))?;
    let city = |name: &str| world.cities().iter().position(|city| city.name == name).context("a city");
    let lane = |lane: &cityrelay::config::settings::LaneConfig| -> anyhow::Result<Lane> {
        let (from, to) = (city(&lane.source)?, city(&lane.destination)?);
        Ok(Lane { identity: lane.identity.clone(), id: lane.id, from, to })
    };
    lanes.iter().map(lane).collect()
}

/// Opens every lane that touches a town, and lets its receivers take from those that end there.
async fn open_lanes(dir: &Path, world: &World, party: &Party, scene: &Scene, town: &Town) -> anyhow::Result<()> {
    let owner = owner(dir, &town.city)?;
    for lane in &scene.lanes {
        let id = lane.id.to_string();
        let mut arguments = vec!["lane", "open", "--chain", &town.city.name, "--lane", &id];
        let senders = scene.applications[lane.from].target.account().to_string();
        let to = &scene.towns[lane.to];
        let receivers = format!("{},{}", to.board, to.orders);
        if lane.identity.channel == STRICT {
            arguments.extend(["--strict", "--senders", &senders, "--receivers", &receivers]);
        }
        command(&world.config(&party.name), &arguments, &owner).await?;
    }
    let ends_here = scene.lanes.iter().filter(|lane| scene.towns[lane.to].city.name == town.city.name);
    trust(town, &ends_here.map(|lane| lane.id).collect::<Vec<_>>()).await
}

/// Lets a town's notice board take from these lanes.
///
/// # Errors
/// When a transaction fails.
pub async fn trust(town: &Town, lanes: &[LaneId]) -> anyhow::Result<()> {
    let calls = lanes.iter().map(|lane| GatewayCall::Raw { to: town.board, data: examples::trust_lane(*lane, true) });
    carry_all(town.owner.target.as_ref(), &calls.collect::<Vec<_>>()).await.map(|_| ())
}

fn write_key(path: &Path, secret_hex: &str) -> anyhow::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(writeln!(file, "{secret_hex}")?)
}
