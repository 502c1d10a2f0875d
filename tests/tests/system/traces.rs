//! One span tree a message, told by processes that know nothing of each other but what goes over the link anyway.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cityrelay::control::StatusReport;
use cityrelay_tests::process::play;
use cityrelay_tests::process::stand_in_collector::{StandInCollector, Told, attribute};
use cityrelay_tests::process::trial::{START_TIMEOUT, Trial};
use tokio::time::{Instant, sleep};

/// How long spans may take after their message is settled; a pause after failures is up to 30 s.
const PATIENCE: Duration = Duration::from_secs(60);

/// Messages of one round: one on each lane.
const ROUND: usize = 12;

/// Attesters whose signatures are enough; the others may be late.
const ENOUGH: usize = 3;

/// The steps that relays tell of, and the relay that tells: 0 beside the source chain, 1 beside the destination.
const STEPS: [(&str, usize); 11] = [
    ("message", 0),
    ("message verified", 0),
    ("message attested", 0),
    ("message sent", 0),
    ("message accepted", 1),
    ("message delivered", 1),
    ("outcome verified", 1),
    ("outcome attested", 1),
    ("outcome sent", 1),
    ("outcome accepted", 0),
    ("outcome settled", 0),
];

/// Steps of which the first ends before the second, whatever else goes on.
const ORDER: [(&str, &str); 10] = [
    ("message verified", "message attested"),
    ("message attested", "message accepted"),
    ("message accepted", "message sent"),
    ("message accepted", "message delivered"),
    ("message accepted", "outcome verified"),
    ("outcome verified", "outcome attested"),
    ("outcome attested", "outcome accepted"),
    ("outcome accepted", "outcome sent"),
    ("outcome accepted", "outcome settled"),
    ("outcome settled", "message"),
];

#[test]
fn both_relays_and_the_attesters_tell_one_tree_a_message() {
    play("traces", async |dir| {
        let mut trial = Trial::with_pairing(&dir, "mixed").await?;
        // Nobody traces yet: of these messages relays never tell anything.
        trial.scene.send_round(1, 1).await?;
        trial.settle().await?;
        for at in [0, 1] {
            let knows_all = |status: &StatusReport| status.flows.iter().all(|flow| flow.finished == 1);
            trial.wait_until(&trial.relay(at), "the first round", knows_all).await?;
        }

        let mut collector = StandInCollector::start().await?;
        for party in trial.parties.clone() {
            trial.world.kill(&party.name).await?;
            let path = trial.world.home(&party.name).join("cityrelay.toml");
            let mut file = OpenOptions::new().append(true).open(path)?;
            writeln!(file, "[traces]\notlp_endpoint = \"{}\"", collector.url())?;
            trial.world.run(&party.name)?;
        }
        for party in trial.parties.clone() {
            trial.world.wait_for(&party.name, START_TIMEOUT).await?;
        }
        trial.scene.send_round(2, 1).await?;
        trial.settle().await?;
        whole_trees(&trial, &collector, ROUND).await?;

        // A relay and an attester are killed while spans and messages are on their way.
        trial.scene.send_round(3, 1).await?;
        for name in [trial.relay(0), trial.parties[2].name.clone()] {
            trial.world.kill(&name).await?;
            trial.world.run(&name)?;
        }
        trial.settle().await?;
        whole_trees(&trial, &collector, 2 * ROUND).await?;

        // A collector that is away holds nothing up, and gets everything once it is back.
        collector.stop().await;
        trial.scene.send_round(4, 1).await?;
        trial.settle().await?;
        away_is_visible(&trial).await?;
        collector.restart().await?;
        whole_trees(&trial, &collector, 3 * ROUND).await?;

        let sent = trial.finish().await?;
        ensure!(sent == 4 * ROUND as u64, "{} messages were sent, the chains have {sent}", 4 * ROUND);
        Ok(())
    });
}

/// Waits until so many messages have a whole tree, and looks at every one.
async fn whole_trees(trial: &Trial, collector: &StandInCollector, count: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (old, traces): (BTreeMap<_, _>, BTreeMap<_, _>) =
            collector.traces().into_iter().partition(|(_, told)| is_old(told));
        // An attester may learn of one only now.
        let mut tellers = old.values().flatten().map(|told| told.by.as_str());
        ensure!(tellers.all(|by| by.starts_with("attester")), "a message from before was told: {old:?}");
        let faults: Vec<String> =
            traces.values().filter_map(|told| tree(trial, told).err()).map(|error| format!("{error:#}")).collect();
        if traces.len() == count && faults.is_empty() {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline && traces.len() <= count,
            "{} traces, expected {count}\n{}",
            traces.len(),
            faults.join("\n")
        );
        sleep(Duration::from_millis(500)).await;
    }
}

/// Whether it is a message of the first round: the first of its lane.
fn is_old(told: &[Told]) -> bool {
    told.iter().any(|told| attribute(&told.span.attributes, "cityrelay.index").as_deref() == Some("1"))
}

/// One tree: every step once, told by who knows it, under a parent that is there, in the order of the walk.
fn tree(trial: &Trial, told: &[Told]) -> anyhow::Result<()> {
    let message = told.iter().find_map(|told| attribute(&told.span.attributes, "cityrelay.message"));
    let message = message.context("a message")?;
    let trace = told.first().map(|told| hex::encode(&told.span.trace_id)).unwrap_or_default();
    ensure!(message[2..].starts_with(&trace), "trace {trace} is not that of {message}");
    // A process that was killed may tell a span again: the same one, under the same id.
    let mut spans: BTreeMap<&[u8], &Told> = BTreeMap::new();
    for told in told {
        let twin = spans.insert(&told.span.span_id, told);
        let is_same = twin.is_none_or(|twin| (&twin.by, &twin.span.name) == (&told.by, &told.span.name));
        ensure!(is_same, "{message}: two spans have one id: {} and {twin:?}", told.span.name);
    }
    let named = |name: &str| spans.values().filter(|told| told.span.name == name).collect::<Vec<_>>();
    let root =
        named("message").first().copied().with_context(|| format!("{message} has no root: {} spans", spans.len()))?;
    let source = attribute(&root.span.attributes, "cityrelay.source").context("a source")?;
    let relays = if trial.relay(0).ends_with(&source) { [0, 1] } else { [1, 0] }.map(|at| trial.relay(at));
    let mut ends = BTreeMap::new();
    for (name, teller) in STEPS {
        let found = named(name);
        ensure!(found.len() == 1, "{message}: {} spans are called {name}", found.len());
        ensure!(found[0].by == relays[teller], "{message}: {name} is told by {}", found[0].by);
        ends.insert(name, found[0].span.end_time_unix_nano);
    }
    for (first, second) in ORDER {
        ensure!(ends[first] <= ends[second], "{message}: {second} ends before {first}");
    }
    for name in ["message signed", "outcome signed"] {
        let attesters: BTreeSet<&str> = named(name).iter().map(|told| told.by.as_str()).collect();
        ensure!(attesters.len() >= ENOUGH, "{message}: {name} by {attesters:?}");
        ensure!(attesters.len() == named(name).len() && attesters.iter().all(|name| name.starts_with("attester")));
    }
    for Told { span, .. } in spans.values() {
        ensure!(span.start_time_unix_nano <= span.end_time_unix_nano, "{message}: {} ends before it begins", span.name);
        if span.parent_span_id.is_empty() {
            ensure!(span.span_id == root.span.span_id, "{message}: {} is a second root", span.name);
            continue;
        }
        ensure!(spans.contains_key(span.parent_span_id.as_slice()), "{message}: {} has no parent", span.name);
        ensure!(span.start_time_unix_nano >= root.span.start_time_unix_nano, "{message}: {} is too early", span.name);
    }
    Ok(())
}

async fn away_is_visible(trial: &Trial) -> anyhow::Result<()> {
    // The provider is the process's; somebody else may have set it.
    drop(rustls::crypto::ring::default_provider().install_default());
    let url = format!("http://127.0.0.1:{}", trial.parties[0].metrics_port);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = reqwest::get(format!("{url}/metrics")).await?.text().await?;
        let sample =
            |name: &str| -> Option<u64> { text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()) };
        let failed = sample("cityrelay_traces_failed_requests_total").context("failed requests")?;
        let waiting = sample("cityrelay_traces_waiting_spans").context("waiting spans")?;
        if failed > 0 && waiting > 0 {
            break;
        }
        ensure!(Instant::now() < deadline, "{failed} requests failed, {waiting} spans wait");
        sleep(Duration::from_millis(200)).await;
    }
    let ready = reqwest::get(format!("{url}/readyz")).await?.status();
    ensure!(ready == 200, "a collector that is away makes it unready: {ready}");
    Ok(())
}
