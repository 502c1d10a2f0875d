//! The whole system in one process under a seed: no real time, no threads, no sockets.
//!
//! Real: the machines, the verification, the signatures. Stand-ins, and named so: the chains and their light client
//! ([`model_client`], [`model_chain`]), the contracts ([`model_gateway`]). Everything that an effect asks for is done by
//! [`effects`] with delays and failures drawn from the seed; [`checks`] looks at every step.
//!
//! Code here runs in tests only; a broken assumption of the harness itself may end the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod agenda;
pub mod breakage;
pub mod checks;
pub mod clock;
pub mod dice;
pub mod disk;
pub mod effects;
pub mod falsehood;
pub mod model_chain;
pub mod model_client;
pub mod model_gateway;
pub mod process;
pub mod traffic;
pub mod weather;
pub mod world;

use std::collections::BTreeMap;

use crate::world::{EPOCH_MILLIS, World};

/// Milliseconds after the last breakage within which everything must be at rest, beside the time that the chains need for what
/// then waits.
const REST_MILLIS: u64 = 240_000;

/// Milliseconds that a message which halts a strict lane may take: until somebody acts, and until it is tried again.
const HALT_MILLIS: u64 = 30_000;

/// Milliseconds that a batch may take: a block, and as much again until it is seen.
const BATCH_MILLIS: u64 = 2_000;

/// Events in one virtual second beyond which parties talk each other into a loop.
const MOST_STEPS_A_SECOND: u64 = 20_000;

/// What a run did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Virtual milliseconds until everything was at rest.
    pub millis: u64,
    /// What happened how often.
    pub tally: BTreeMap<&'static str, u64>,
    /// Grows with each event: two runs of one seed agree.
    pub digest: u64,
}

/// A run that showed something wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}: {what}\n{standing}\nreplay: tests/run --seeds 1 --from {seed}")]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What was wrong.
    pub what: String,
    /// Where everything stood.
    pub standing: String,
}

/// Runs a seed with all the breakage that it draws.
///
/// # Errors
/// The first [`Failure`].
pub fn run(seed: u64) -> Result<Run, Failure> {
    let mut world = World::new(seed);
    world.begin();
    finish(seed, world)
}

/// Runs a seed in which nothing breaks.
///
/// # Errors
/// The first [`Failure`].
pub fn run_without_faults(seed: u64) -> Result<Run, Failure> {
    let mut world = World::without_faults(seed);
    world.begin();
    finish(seed, world)
}

/// Runs a world that has begun until everything is at rest.
///
/// # Errors
/// The first [`Failure`].
pub fn finish(seed: u64, mut world: World) -> Result<Run, Failure> {
    let calm = EPOCH_MILLIS + world.plan.calm_millis;
    let (mut moment, mut steps) = (world.now, 0_u64);
    while world.violation.is_none() && world.step() {
        steps = if world.now.0 < moment.0 + 1000 { steps + 1 } else { 0 };
        moment = if steps == 0 { world.now } else { moment };
        if steps > MOST_STEPS_A_SECOND {
            world.violated(format!("more than {MOST_STEPS_A_SECOND} events within a second"));
        }
        if world.now.0 <= calm {
            continue;
        }
        if world.is_complete() {
            break;
        }
        if world.now.0 > calm + REST_MILLIS + BATCH_MILLIS * world.batches() + HALT_MILLIS * world.halting {
            world.violated("not everything came to rest in time".to_owned());
        }
    }
    // What is still on its way may not change anything any more.
    let settled = world.now.0 + 5000;
    while world.violation.is_none() && world.now.0 < settled && world.step() {}
    if world.violation.is_none() {
        world.verify_rest();
    }
    match world.violation.take() {
        Some(what) => Err(Failure { seed, what, standing: world.standing() }),
        None => Ok(Run { millis: settled - 5000 - EPOCH_MILLIS, tally: world.tally, digest: world.digest }),
    }
}
