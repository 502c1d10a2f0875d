//! Seeded runs of the whole system. `tests/run --seeds N --from S` picks the seeds.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use cityrelay_simulation::weather::{EVENTS, Fault};
use cityrelay_simulation::world::{EPOCH_MILLIS, World};
use cityrelay_simulation::{Failure, Run, run, run_without_faults};

/// Seeds of an ordinary test run: about five minutes on two idle cores.
const DEFAULT_SEEDS: u64 = 2_000;

/// So many seeds draw every kind of breakage.
const ENOUGH_SEEDS: u64 = 200;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Runs seeds on every core: a run shares nothing with another one. A failure is printed as soon as it is known.
fn run_seeds(seeds: Range<u64>) -> Vec<Result<Run, Failure>> {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut done = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return done;
            }
            done.push(run(seed).inspect_err(|failure| eprintln!("{failure}")));
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}

#[test]
fn simulation() {
    let (seeds, from) = (number("CITYRELAY_SEEDS", DEFAULT_SEEDS), number("CITYRELAY_FROM", 1));
    let mut tally: BTreeMap<&'static str, u64> = BTreeMap::new();
    let (mut passed, mut failed) = (0_u64, 0_u64);
    for outcome in run_seeds(from..from + seeds) {
        let Ok(run) = outcome else {
            failed += 1;
            continue;
        };
        passed += 1;
        run.tally.into_iter().for_each(|(what, count)| *tally.entry(what).or_default() += count);
    }
    for (what, count) in &tally {
        println!("{count:>10} {what}");
    }
    println!("{passed} passed, {failed} failed");
    assert_eq!(failed, 0, "the lines above replay each failing seed");
    // Few seeds, as in a replay, need not draw everything.
    if seeds >= ENOUGH_SEEDS {
        for what in Fault::ALL.map(Fault::counter).into_iter().chain(EVENTS) {
            assert!(
                tally.contains_key(what),
                "{what}: never happened in {seeds} seeds, so nothing shows that it does no harm"
            );
        }
    }
}

#[test]
fn without_faults_everything_is_done_soon() {
    for seed in 1..=5 {
        let run = run_without_faults(seed).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(run.millis < 75_000, "seed {seed} took {} ms", run.millis);
    }
}

#[test]
fn a_seed_replays_exactly() {
    assert_eq!(run(7), run(7));
}

/// A settlement needs an outbox head that the gateway still has; newer messages must not take it away.
#[test]
fn steady_traffic_is_settled_as_it_goes() {
    for (lane, interval) in [(0, 250), (0, 700), (1, 700), (0, 2000), (1, 2000)] {
        let mut world = World::without_faults(3);
        world.plan.steady = Some((lane, interval));
        world.begin();
        let (mut oldest, mut settled) = (0, 0);
        while world.violation.is_none() && world.now.0 < EPOCH_MILLIS + 45_000 && world.step() {
            let identity = &world.lanes[lane];
            let source = world.chains.iter().find(|chain| chain.domain == identity.source_domain).unwrap();
            let sent = &source.gateway.sources[&identity.id()];
            settled = sent.settled.len();
            let waiting = sent.messages.len() - settled;
            oldest = oldest.max(waiting as u64 * interval);
        }
        assert_eq!(world.violation, None);
        assert!(settled > 5, "{settled} messages of lane {lane} settled");
        assert!(oldest < 25_000, "lane {lane}, one message per {interval} ms: {oldest} ms until settlement");
    }
}
