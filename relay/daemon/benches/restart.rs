//! A restart of the real program on a journal with a long history.
//!
//! `cargo bench --bench restart`; what it measures and how is printed with the numbers. `CITYRELAY_FINISHED=N` makes another
//! history than 1,000,000 messages.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "restart/history.rs"]
mod history;
#[path = "restart/start.rs"]
mod start;

use std::path::Path;
use std::time::{Duration, Instant};

use cityrelay::demo::configs::{self, ATTESTERS, Party, THRESHOLD};
use cityrelay::demo::setup;
use cityrelay::demo::world::World;
use cityrelay_link::{Identity, Link, LinkConfig, LinkLimits};

use crate::history::History;
use crate::start::Start;

/// Finished messages, and messages under way.
const FINISHED: u64 = 1_000_000;
const OPEN: u64 = 10_000;

/// Starts of each kind; they take turns.
const STARTS: usize = 7;

/// How soon a daemon should be ready.
const GOAL: Duration = Duration::from_secs(1);

fn main() {
    let finished = std::env::var("CITYRELAY_FINISHED").map_or(FINISHED, |count| count.parse().unwrap());
    let dir = tempfile::Builder::new().prefix("restart-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(bench(dir.path(), finished));
}

async fn bench(dir: &Path, finished: u64) {
    let world = World::start(dir, Path::new(env!("CARGO_BIN_EXE_cityrelay")), "mixed").await.unwrap();
    let parties = configs::parties(&world, ATTESTERS).unwrap();
    let attesters: Vec<_> = parties.iter().filter(|party| party.is_attester).map(|party| party.attester).collect();
    let towns = setup::deploy(dir, world.cities(), &attesters, THRESHOLD).await.unwrap();
    let lanes = setup::open_lanes(&towns).await.unwrap();
    configs::write(&world, &parties, &towns, &lanes).unwrap();
    let (relay, others) = parties.split_first().unwrap();
    let _strangers: Vec<Link> = others.iter().map(stranger).collect();

    let journal = world.journal(&relay.name);
    let made = Instant::now();
    let history = History { lanes: &lanes, domain: towns[0].domain, finished, open: OPEN };
    history.write(&journal);
    println!(
        "restart: {finished} finished and {OPEN} open messages, a journal of {} MiB, made in {} s",
        std::fs::metadata(journal.join(cityrelay_journal::FILE_NAME)).unwrap().len() >> 20,
        made.elapsed().as_secs()
    );
    let (long, empty) = (world.home(&relay.name).join("data"), dir.join("empty"));
    let (mut with_history, mut without) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        with_history.push(Start::of(&world, &relay.name, &long).await);
        let _ = std::fs::remove_dir_all(&empty);
        without.push(Start::of(&world, &relay.name, &empty).await);
    }
    println!();
    println!("{:>12} {:>12} {:>12} {:>12} {:>14}", "", "answers, ms", "ready, ms", "slowest, ms", "resident, MiB");
    let (long, empty) = (print("history", &mut with_history), print("empty", &mut without));
    let verdict = if long <= GOAL { "goal reached" } else { "goal missed" };
    println!();
    println!(
        "ready after {:.2} s, {:.2} times as long as with an empty journal: {verdict} ({} s)",
        long.as_secs_f64(),
        long.as_secs_f64() / empty.as_secs_f64(),
        GOAL.as_secs()
    );
    println!();
    println!("{METHOD}");
}

/// Listens where a peer would, and is not whom the relay expects: each first call ends at once.
fn stranger(party: &Party) -> Link {
    let identity = Identity::generate(&rand::random()).unwrap();
    let listen = Some(([127, 0, 0, 1], party.port).into());
    let config = LinkConfig { listen, identity, peers: Vec::new(), limits: LinkLimits::default() };
    Link::start(config).unwrap().0
}

/// Medians of some starts; returns how long it took to be ready.
fn print(name: &str, starts: &mut [Start]) -> Duration {
    let median = |mut values: Vec<Duration>| {
        values.sort();
        values[values.len() / 2]
    };
    let ready = median(starts.iter().map(|start| start.ready).collect());
    let answers = median(starts.iter().map(|start| start.answers).collect());
    let slowest = starts.iter().map(|start| start.ready).max().unwrap();
    let resident = starts.iter().map(|start| start.resident_bytes).max().unwrap();
    println!(
        "{name:>12} {:>12} {:>12} {:>12} {:>14}",
        answers.as_millis(),
        ready.as_millis(),
        slowest.as_millis(),
        resident >> 20
    );
    ready
}

const METHOD: &str = "Method: the devnet's two chains run in a process of their own, with gateways and twelve lanes. The \
journal of one relay is written as the relay itself writes it: extensions of 64 messages and of their outcomes, with \
attested heads of three signatures, transactions, and marks of what the peer and the chain have taken; payloads of 64 \
bytes, proofs of 2 KiB, nothing pruned. Open are the newest messages of each lane, half of them on their way out, half \
waiting for delivery. Then the real program is started on it and on an empty journal in turns; each time it is ended \
with SIGKILL, so that the next start is one after a crash. 'answers' is the first answer of the control socket, 'ready' \
is READY=1 to the service manager: the journal is read, each chain's nodes have answered and fit the trusted state, and \
each peer was called once. Peers are strangers that refuse the call, so that no traffic disturbs what is measured, and \
the chains hold none of the messages. Times are medians, memory is the most that any start had when it was ready.";
