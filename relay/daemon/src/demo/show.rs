//! The demo's script.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use cityrelay_core::outcome::Status;
use futures_util::future::try_join_all;
use serde_json::{Value, json};

use super::configs::{self, ATTESTERS, Party, THRESHOLD};
use super::narrator::Narrator;
use super::setup::{self, Access, Account, Lane, Town};
use super::table::{self, Row};
use super::world::World;
use super::{ledger, traffic};

/// Rounds of one message on every lane.
const ROUNDS: usize = 6;

/// Time between two rounds.
const ROUND_INTERVAL: Duration = Duration::from_millis(800);

/// Lifetime of the order that must expire: the relay that would deliver it is down for longer.
const SHORT_LIFETIME: Duration = Duration::from_millis(2500);

/// How long the killed relay stays down.
const DOWN_TIME: Duration = Duration::from_secs(4);

/// How long everything may take to be settled after the last message.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How the demo runs.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Folder for everything; made anew.
    pub dir: PathBuf,
    /// This program.
    pub binary: PathBuf,
    /// Name of the two chains' pairing.
    pub pairing: &'static str,
    /// Keep running afterwards.
    pub watch: bool,
}

/// Runs the demo and gives the table, as text and as JSON.
///
/// # Errors
/// When something does not work, or an invariant does not hold.
pub async fn show(options: &DemoOptions) -> anyhow::Result<(String, Value)> {
    let mut say = Narrator::new();
    let mut world = World::start(&options.dir, &options.binary, options.pairing).await?;
    let names: Vec<&str> = world.cities().iter().map(|city| city.name.as_str()).collect();
    say.say(&format!("two chains run: {} (stand-ins with real seals and a real EVM)", names.join(" and ")));

    let parties = configs::parties(&world, ATTESTERS)?;
    let attesters: Vec<_> = parties.iter().filter(|party| party.is_attester).map(|party| party.attester).collect();
    let towns = setup::deploy(&options.dir, world.cities(), &attesters, THRESHOLD).await.context("deploy")?;
    let lanes = setup::open_lanes(&towns).await.context("open the lanes")?;
    say.say(&format!("gateways deployed, {} lanes open ({} channels, both ways)", lanes.len(), lanes.len() / 2));

    configs::write(&world, &parties, &towns, &lanes)?;
    for party in &parties {
        world.run(&party.name)?;
    }
    for party in &parties {
        world.wait_for(&party.name, Duration::from_secs(20)).await?;
    }
    say.say(&format!(
        "two relays and {} attesters run as processes; {THRESHOLD} signatures are enough",
        attesters.len()
    ));

    let applications: Vec<Access> = towns
        .iter()
        .map(|town| setup::access(&options.dir, &town.city, Account::Application))
        .collect::<anyhow::Result<_>>()?;
    play(&mut say, &mut world, &parties, &towns, &lanes, &applications).await?;

    let rows = check(&world, &towns, &lanes).await.with_context(|| format!("logs are in {}", options.dir.display()))?;
    let refunded_lane = lane_of(&lanes, "trade", 0)?;
    let buyer = applications.first().context("two applications")?;
    ensure!(
        traffic::is_refunded(buyer, &towns, refunded_lane).await?,
        "the order expired, but its price was not paid back"
    );
    expect_statuses(&rows)?;
    say.say(
        "checked on both chains: nothing forged (I1), nothing doubled (I2), nothing lost (I3); the order was refunded",
    );

    let text = format!("\n{}\n{}", table::text(&rows), summary(&rows, say.seconds()));
    let data = json!({"lanes": rows.iter().map(Row::json).collect::<Vec<_>>(), "seconds": say.seconds()});
    if options.watch {
        println!("{text}");
        watch(&mut say, &mut world, &parties, &towns, &lanes, &applications).await?;
    }
    Ok((text, data))
}

/// Sends everything, and breaks a few things meanwhile.
async fn play(
    say: &mut Narrator,
    world: &mut World,
    parties: &[Party],
    towns: &[Town],
    lanes: &[Lane],
    applications: &[Access],
) -> anyhow::Result<()> {
    let victim = parties.iter().filter(|party| !party.is_attester).nth(1).context("two relays")?;
    let absentee = parties.iter().filter(|party| party.is_attester).nth(3).context("four attesters")?;
    for round in 1..=ROUNDS {
        send_round(towns, lanes, applications, round).await?;
        match round {
            2 => {
                world.kill(&absentee.name).await?;
                say.say(&format!("{} is down for the rest of the demo: the other three are enough", absentee.name));
            }
            3 => {
                let lane = lane_of(lanes, "medical", 0)?;
                let sender = applications.first().context("two applications")?;
                traffic::send_to_a_receiver_that_fails(sender, towns, lane).await?;
                say.say("a message went to a receiver that fails");
            }
            4 => {
                world.kill(&victim.name).await?;
                say.say(&format!("{} was killed (SIGKILL) with messages under way", victim.name));
                let lane = lane_of(lanes, "trade", 0)?;
                let buyer = applications.first().context("two applications")?;
                traffic::order_with_a_deadline(buyer, towns, lane, SHORT_LIFETIME).await?;
                say.say("an order with a short deadline was sent and paid; nobody delivers it in time");
                tokio::time::sleep(DOWN_TIME).await;
                world.run(&victim.name)?;
                world.wait_for(&victim.name, Duration::from_secs(20)).await?;
                say.say(&format!("{} runs again, on its journal", victim.name));
            }
            _ => {}
        }
        show_progress(say, towns, lanes).await?;
        tokio::time::sleep(ROUND_INTERVAL).await;
    }
    wait_until_settled(say, world, towns, lanes).await
}

async fn send_round(towns: &[Town], lanes: &[Lane], applications: &[Access], round: usize) -> anyhow::Result<()> {
    try_join_all(applications.iter().enumerate().map(|(at, application)| async move {
        let own: Vec<&Lane> = lanes.iter().filter(|lane| lane.from == at).collect();
        traffic::send_round(application, towns, &own, round).await
    }))
    .await?;
    Ok(())
}

async fn totals(towns: &[Town], lanes: &[Lane]) -> anyhow::Result<(u64, u64, u64)> {
    let all = try_join_all(lanes.iter().map(|lane| ledger::progress(towns, lane))).await?;
    Ok(all.into_iter().fold((0, 0, 0), |sum, lane| (sum.0 + lane.0, sum.1 + lane.1, sum.2 + lane.2)))
}

async fn show_progress(say: &mut Narrator, towns: &[Town], lanes: &[Lane]) -> anyhow::Result<bool> {
    let (sent, delivered, settled) = totals(towns, lanes).await?;
    say.live(&format!("{sent} sent, {delivered} delivered, {settled} settled"));
    Ok(settled == sent)
}

async fn wait_until_settled(
    say: &mut Narrator,
    world: &mut World,
    towns: &[Town],
    lanes: &[Lane],
) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + SETTLE_TIMEOUT;
    while !show_progress(say, towns, lanes).await? {
        if let Some(casualty) = world.casualty() {
            bail!("{casualty}");
        }
        if tokio::time::Instant::now() >= deadline {
            bail!("not everything was settled in time");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Checks every lane and asks the relays how long its deliveries took.
async fn check(world: &World, towns: &[Town], lanes: &[Lane]) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::with_capacity(lanes.len());
    for lane in lanes {
        let (from, to) = towns.get(lane.from).zip(towns.get(lane.to)).context("two towns")?;
        let ledger = ledger::check(towns, lane).await?;
        let relay = format!("relay-{}", to.city.name);
        let mut millis = Vec::new();
        for index in 1..=ledger.sent {
            let report = world.why(&relay, &lane.id.to_string(), index).await?;
            let at = |what: &str| report.timeline.iter().find(|entry| entry.what == what).and_then(|entry| entry.at);
            if let (Some(sent), Some(taken)) = (at("message final"), at("message taken in")) {
                millis.push(taken.saturating_sub(sent));
            }
        }
        millis.sort_unstable();
        rows.push(Row {
            channel: lane.identity.channel.clone(),
            from: from.city.name.clone(),
            to: to.city.name.clone(),
            ledger,
            millis,
        });
    }
    Ok(rows)
}

/// The script sends one message that must fail and one that must expire; everything else is executed.
fn expect_statuses(rows: &[Row]) -> anyhow::Result<()> {
    let count = |status| rows.iter().map(|row| row.ledger.count(status)).sum::<u64>();
    let sent: u64 = rows.iter().map(|row| row.ledger.sent).sum();
    ensure!(count(Status::Failed) == 1, "expected one failed message, got {}", count(Status::Failed));
    ensure!(count(Status::Expired) == 1, "expected one expired message, got {}", count(Status::Expired));
    ensure!(count(Status::Executed) + 2 == sent, "expected all others to be executed");
    Ok(())
}

fn summary(rows: &[Row], seconds: f64) -> String {
    let sent: u64 = rows.iter().map(|row| row.ledger.sent).sum();
    let settled: u64 = rows.iter().map(|row| row.ledger.settled).sum();
    format!("{sent} messages sent, {settled} settled, 0 lost, 0 doubled, 0 forged, in {seconds:.0} s")
}

fn lane_of<'a>(lanes: &'a [Lane], channel: &str, from: usize) -> anyhow::Result<&'a Lane> {
    lanes.iter().find(|lane| lane.identity.channel == channel && lane.from == from).context("a lane of that channel")
}

/// Keeps everything running and a message going on every lane now and then.
async fn watch(
    say: &mut Narrator,
    world: &mut World,
    parties: &[Party],
    towns: &[Town],
    lanes: &[Lane],
    applications: &[Access],
) -> anyhow::Result<()> {
    for town in towns {
        say.say(&format!("{} nodes: {}", town.city.name, town.city.urls.join(" ")));
    }
    for party in parties {
        say.say(&format!("{} metrics: http://127.0.0.1:{}/metrics", party.name, party.metrics_port));
    }
    say.say("messages go on; Ctrl-C ends it");
    let mut round = ROUNDS;
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
        }
        if let Some(casualty) = world.casualty() {
            bail!("{casualty}");
        }
        round += 1;
        send_round(towns, lanes, applications, round).await?;
        show_progress(say, towns, lanes).await?;
    }
}
