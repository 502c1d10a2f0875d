//! A long outage: the line is cut, a great many messages are sent and wait on both sides, and the line comes back.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{bail, ensure};
use cityrelay::demo::setup::Lane;
use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep};

use super::namespaces::Way;
use super::{Field, Roads};
use crate::process::soak::crowd::Crowd;
use crate::process::soak::{rate, send_shares, shares, verify_all_came_once, widen};

/// How often it is looked how far everything is.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Without any progress for so long the trial has failed.
const STALL: Duration = Duration::from_secs(180);

/// The most memory that a relay may ever have resident, however many messages wait.
const RELAY_BOUND: u64 = 512 << 20;

/// The same for an attester.
const ATTESTER_BOUND: u64 = 256 << 20;

/// See the module.
pub(super) async fn outage(dir: &Path, messages: u64) -> anyhow::Result<String> {
    let field = Field::lay(dir, Roads::Direct).await?;
    let crowds = try_join_all(field.trial.scene.towns.iter().map(Crowd::deploy)).await?;
    for party in &field.trial.parties {
        widen(&field.trial.world.config(&party.name))?;
    }
    let mut field = field.open().await?;
    let lanes = field.trial.scene.lanes.clone();
    let shares = shares(&lanes, messages);
    for way in Way::BOTH {
        field.net.cut(way).await?;
    }
    let cut = Instant::now();
    // As fast as the chains take it.
    let senders = send_shares(&field.trial.scene, &crowds, &shares, async |_| ());
    tokio::try_join!(senders, wait_until_all_wait(&field, &shares), field.wait_for_silence())?;
    let outage = cut.elapsed();
    let (_, delivered, _) = field.trial.scene.totals().await?;
    ensure!(delivered == 0, "{delivered} messages were delivered over a line that is cut");
    let waiting = field.peaks()?;
    println!("{messages} messages wait after {} s: {}", outage.as_secs(), mebibytes(&waiting));
    for way in Way::BOTH {
        field.net.heal(way).await?;
    }
    let healed = Instant::now();
    wait_until_all_is_settled(&mut field, messages).await?;
    let took = healed.elapsed();
    let peaks = field.peaks()?;
    println!("all settled {} s after the line was back: {}", took.as_secs(), mebibytes(&peaks));
    verify_all_came_once(&mut field.trial, &crowds, &shares).await?;
    field.net.end().await?;
    for (name, bytes) in &peaks {
        let bound = if name.starts_with("attester") { ATTESTER_BOUND } else { RELAY_BOUND };
        ensure!(bytes <= &bound, "{name} had {bytes} bytes resident, the bound is {bound}");
    }
    Ok(format!(
        "{messages} messages waited, up to {} s; all settled {} s after the line was back, {:.0} messages/s; \
         peak resident memory {}",
        outage.as_secs(),
        took.as_secs(),
        rate(messages, took),
        mebibytes(&peaks)
    ))
}

/// Waits until every message is verified and durable in the relay beside its chain.
async fn wait_until_all_wait(field: &Field, shares: &[(&Lane, u64)]) -> anyhow::Result<()> {
    let mut before = (Instant::now(), 0);
    loop {
        sleep(LOOK_INTERVAL).await;
        let mut durable = 0;
        for at in [0, 1] {
            let status = field.trial.world.status(&field.trial.parties[at].name).await?;
            for (lane, _) in shares.iter().filter(|(lane, _)| lane.from == at) {
                let id = lane.id.to_string();
                let flow = status.flows.iter().find(|flow| flow.lane == id && flow.direction == "outbox");
                durable += flow.map_or(0, |flow| flow.durable);
            }
        }
        if durable == shares.iter().map(|(_, count)| count).sum::<u64>() {
            return Ok(());
        }
        if durable > before.1 {
            before = (Instant::now(), durable);
        }
        println!("{durable} durable beside their chains: {}", mebibytes(&field.peaks()?));
        ensure!(before.0.elapsed() < STALL, "{durable} messages are durable beside their chains, none more since");
    }
}

async fn wait_until_all_is_settled(field: &mut Field, messages: u64) -> anyhow::Result<()> {
    let mut before = (Instant::now(), (0, 0));
    loop {
        sleep(LOOK_INTERVAL).await;
        if let Some(casualty) = field.trial.world.casualty() {
            bail!("{casualty}");
        }
        // A node that is busy is asked again; one that stays away is a stall.
        if let Ok((_, delivered, settled)) = field.trial.scene.totals().await {
            if settled == messages {
                return Ok(());
            }
            if (delivered, settled) > before.1 {
                before = (Instant::now(), (delivered, settled));
            }
            println!("{delivered} delivered, {settled} settled: {}", mebibytes(&field.peaks()?));
        }
        ensure!(before.0.elapsed() < STALL, "{:?} messages are delivered and settled, none more since", before.1);
    }
}

fn mebibytes(peaks: &BTreeMap<String, u64>) -> String {
    let each = peaks.iter().map(|(name, bytes)| format!("{name} {} MiB", bytes >> 20));
    each.collect::<Vec<_>>().join(", ")
}
