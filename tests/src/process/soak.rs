//! A soak: a great many messages through real processes that are killed at random, with bounds on what they take.

pub mod crowd;
pub mod gauges;

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use cityrelay::demo::ledger::flow;
use cityrelay::demo::setup::Lane;
use cityrelay::demo::world::World;
use cityrelay_core::lane::Direction;
use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep};

use self::crowd::Crowd;
use self::gauges::Gauges;
use super::blows::{DrawnBlows, strike};
use super::trial::{Scene, Trial};
use super::{ledgers, program};

/// Messages in one transaction of a sender.
const CHUNK: u64 = 200;

/// Messages that may be under way: senders wait at more, so that memory is that of a busy relay and not of a backlog.
const MOST_UNDER_WAY: u64 = 12_000;

/// The pause between two looks at the processes.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// The longest pause between two blows.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Without an outcome for so long the soak has failed.
const STALL: Duration = Duration::from_secs(180);

/// How long the journals keep what finished messages need no longer.
const KEEP_SECONDS: u64 = 30;

/// What a journal takes for a message for good: I3 promises 128 bytes of rows at most, and a tree's pages are half full
/// at worst.
const BYTES_A_MESSAGE: u64 = 256;

/// What a journal may take besides: everything of the messages of the last minute or so, and free pages.
const JOURNAL_SLACK: u64 = 160 << 20;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Order {
    /// Messages, both ways together.
    pub messages: u64,
    /// The devnet's chains.
    pub pairing: String,
    /// Draws the blows.
    pub seed: u64,
}

/// Sends, kills, and checks everything in the end.
///
/// # Errors
/// What was lost or doubled, what grew, or what stood still.
pub async fn soak(dir: &Path, order: &Order) -> anyhow::Result<()> {
    let world = World::start(dir, program::cityrelay(), &order.pairing).await?;
    let mut trial = Trial::prepare(dir, world, 0).await?;
    let crowds = try_join_all(trial.scene.towns.iter().map(Crowd::deploy)).await?;
    for party in &trial.parties {
        widen(&trial.world.home(&party.name).join("cityrelay.toml"))?;
    }
    trial.start().await?;
    let started = Instant::now();
    let lanes = trial.scene.lanes.clone();
    let shares = shares(&lanes, order.messages);
    let settled = Cell::new(0);
    let may_go = async |sent: u64| {
        // Both cities send alike.
        while sent * 2 > settled.get() + MOST_UNDER_WAY {
            sleep(Duration::from_millis(100)).await;
        }
    };
    let senders = send_shares(&trial.scene, &crowds, &shares, may_go);
    let watch = watch(&mut trial.world, &trial.parties, &trial.scene, order, &settled);
    let ((), gauges) = tokio::try_join!(senders, watch)?;
    let took = started.elapsed();
    println!("{} messages in {} s: {:.0} messages/s", order.messages, took.as_secs(), rate(order.messages, took));
    verify(&mut trial, &crowds, &shares, order, &gauges).await
}

/// More messages in one extension, and journals that keep little: what is tried is what stays.
pub(super) fn widen(config: &Path) -> anyhow::Result<()> {
    let mut text = String::new();
    let mut is_evm = false;
    for line in std::fs::read_to_string(config)?.lines() {
        if line.starts_with("adapter = ") {
            is_evm = line.contains("evm");
        }
        let wide = match line {
            "[batch]" => "[batch]\nmax_entries = 256".to_owned(),
            "adapter = \"fisco-bcos\"" => format!("{line}\nmax_transaction_bytes = 1048576"),
            account if is_evm && account.starts_with("account = { ") => {
                account.replace("{ ", "{ max_transaction_bytes = 131072, ")
            }
            line => line.replace("info,cityrelay=debug", "info"),
        };
        text.push_str(&wide);
        text.push('\n');
    }
    let keep = format!("[journal]\nkeep_payloads = \"{KEEP_SECONDS}s\"\nkeep_bodies = \"{KEEP_SECONDS}s\"\n");
    std::fs::write(config, format!("{text}\n{keep}")).with_context(|| format!("write {}", config.display()))
}

/// How many messages each lane gets.
pub(super) fn shares(lanes: &[Lane], messages: u64) -> Vec<(&Lane, u64)> {
    let count = lanes.len() as u64;
    (0..).zip(lanes).map(|(at, lane)| (lane, messages / count + u64::from(at < messages % count))).collect()
}

/// Sends all of these shares, each city its own. Before each round a city that has sent so many waits for `may_go`.
pub(super) async fn send_shares(
    scene: &Scene,
    crowds: &[Crowd],
    shares: &[(&Lane, u64)],
    may_go: impl AsyncFn(u64),
) -> anyhow::Result<()> {
    let may_go = &may_go;
    let senders = scene.applications.iter().enumerate().map(|(from, application)| async move {
        let mut left: Vec<(&Lane, u64)> =
            shares.iter().filter(|(lane, count)| lane.from == from && *count > 0).copied().collect();
        let mut sent = 0;
        while !left.is_empty() {
            may_go(sent).await;
            let round: Vec<_> = left.iter().map(|(lane, count)| (*lane, (*count).min(CHUNK))).collect();
            crowds[from].send(&scene.towns[from], application, &crowds[1 - from], &round).await?;
            for ((_, left), (_, count)) in left.iter_mut().zip(&round) {
                *left -= count;
                sent += count;
            }
            left.retain(|(_, count)| *count > 0);
        }
        anyhow::Ok(())
    });
    try_join_all(senders).await.map(|_| ())
}

/// Looks at the processes and kills some of them, until everything is settled. In the first half those with an even number
/// are killed, then the others: each lives half of the soak undisturbed, and is looked at meanwhile.
async fn watch(
    world: &mut World,
    parties: &[cityrelay::demo::configs::Party],
    scene: &Scene,
    order: &Order,
    settled: &Cell<u64>,
) -> anyhow::Result<Gauges> {
    let names: Vec<String> = parties.iter().map(|party| party.name.clone()).collect();
    let wait_millis = u64::try_from(LONGEST_WAIT.as_millis())?;
    let mut blows = DrawnBlows::new(order.seed, parties.len() / 2, wait_millis);
    let mut gauges = Gauges::default();
    let (mut struck, mut hits) = (0, 0);
    let mut blow = blows.next().context("blows have no end")?;
    let mut next_blow = Instant::now() + Duration::from_millis(blow.after_millis);
    let (mut before, mut moved) = ((Instant::now(), 0), Instant::now());
    loop {
        sleep(LOOK_INTERVAL).await;
        if let Some(casualty) = world.casualty() {
            bail!("{casualty}");
        }
        // A node that is busy is asked again; one that stays away is a stall.
        let Ok((sent, delivered, now_settled)) = scene.totals().await else {
            ensure!(moved.elapsed() < STALL, "the chains' nodes do not answer");
            continue;
        };
        if now_settled > settled.get() {
            moved = Instant::now();
        }
        ensure!(
            moved.elapsed() < STALL,
            "of {sent} messages {delivered} are delivered and {now_settled} settled, none since"
        );
        settled.set(now_settled);
        let speed = rate(now_settled - before.1, before.0.elapsed());
        before = (Instant::now(), now_settled);
        println!("{now_settled} of {sent} settled, {speed:.0}/s{}", gauges.look(world, &names)?);
        if now_settled == order.messages {
            println!("{struck} blows, {hits} of them while messages were under way");
            return Ok(gauges);
        }
        if Instant::now() >= next_blow {
            let half = usize::from(now_settled >= order.messages / 2);
            blow.after_millis = 0;
            blow.victims = blow.victims.iter().map(|victim| victim * 2 + half).collect::<Vec<_>>().into();
            hits += strike(world, parties, scene, [blow]).await?;
            struck += 1;
            blow = blows.next().context("blows have no end")?;
            next_blow = Instant::now() + Duration::from_millis(blow.after_millis);
        }
    }
}

/// Nothing lost, nothing doubled, nothing grown.
async fn verify(
    trial: &mut Trial,
    crowds: &[Crowd],
    shares: &[(&Lane, u64)],
    order: &Order,
    gauges: &Gauges,
) -> anyhow::Result<()> {
    verify_all_came_once(trial, crowds, shares).await?;
    println!(
        "0 lost, 0 doubled: both chains, the contracts' counts and all journals agree on {} messages",
        order.messages
    );
    for line in gauges.verify_flat()? {
        println!("{line}");
    }
    let bound = order.messages * BYTES_A_MESSAGE + JOURNAL_SLACK;
    for (name, bytes) in gauges.journals() {
        println!("{name}: journal {} MiB, {} bytes a message", bytes >> 20, bytes / order.messages);
        ensure!(bytes <= bound, "{name}: the journal takes {bytes} bytes, retention bounds it to {bound}");
    }
    Ok(())
}

/// The contracts counted each message of these shares once, both chains agree, and so do all journals, whose processes are ended.
pub(super) async fn verify_all_came_once(
    trial: &mut Trial,
    crowds: &[Crowd],
    shares: &[(&Lane, u64)],
) -> anyhow::Result<()> {
    for (at, (town, crowd)) in trial.scene.towns.iter().zip(crowds).enumerate() {
        let came: Vec<(&Lane, u64)> = shares.iter().filter(|(lane, _)| lane.to == at).copied().collect();
        crowd.verify_received(town, &came).await?;
        let sent = shares.iter().filter(|(lane, _)| lane.from == at).map(|(_, count)| count).sum();
        crowd.verify_outcomes(town, sent).await?;
    }
    for (lane, count) in shares {
        for direction in [Direction::Outbox, Direction::Inbox] {
            let (from, to) = Scene::ends(lane, direction);
            let (from, to) = (&trial.scene.towns[from], &trial.scene.towns[to]);
            let flow = flow(lane, direction);
            let head = from.owner.source.head_hint(from.gateway, flow).await?;
            let accepted = to.owner.target.accepted(to.gateway, flow).await?;
            ensure!(head == accepted && head.index.0 == *count, "I1: {flow:?}: {count} sent, {head:?}, {accepted:?}");
        }
    }
    let heads = trial.rest(&[]).await?;
    ledgers::check_journals(&trial.world, &trial.parties, &trial.scene, &heads)
}

pub(super) fn rate(messages: u64, elapsed: Duration) -> f64 {
    messages as f64 / elapsed.as_secs_f64()
}
