//! The relay stage alone: from a peer's claim to the durable acknowledgement.
//!
//! `cargo bench --bench relay_stage`; what it measures and how is printed with the numbers.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "relay_stage/floor.rs"]
mod floor;
#[path = "relay_stage/machine_config.rs"]
mod machine_config;
#[path = "relay_stage/peer.rs"]
mod peer;
#[path = "relay_stage/processor.rs"]
mod processor;
#[path = "relay_stage/source_chain.rs"]
mod source_chain;
#[path = "relay_stage/stage.rs"]
mod stage;

use std::path::Path;
use std::thread;
use std::time::Duration;

use cityrelay_wire::frame::encode_frame;

use crate::floor::Work;
use crate::peer::WINDOW;
use crate::processor::Meter;
use crate::source_chain::{LANES, PAYLOAD_BYTES, QUORUM, SourceChain};

/// Messages a head, and heads in a run.
const RUNS: [(usize, usize); 4] = [(1, 4096), (16, 4096), (64, 3072), (256, 1024)];

/// Messages a second that are asked for at 64 a head, on two cores.
const GOAL: f64 = 100_000.0;

/// How many times the floor's time the stage may take.
const GOAL_RATIO: f64 = 2.0;

fn main() {
    let dir = tempfile::Builder::new().prefix("relay-stage-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    println!("relay stage, {cores} cores, {PAYLOAD_BYTES}-byte payloads, {WINDOW} heads in flight over {LANES} lanes");
    println!();
    println!(
        "{:>8} {:>7} {:>11} {:>11} {:>6} {:>10} {:>10} {:>6} {:>7} {:>6} {:>7}",
        "messages", "heads", "messages/s", "floor", "ratio", "cpu µs", "floor", "ratio", "headers", "syncs", "others"
    );
    println!(
        "{:>8} {:>7} {:>11} {:>11} {:>6} {:>10} {:>10} {:>6} {:>7} {:>6} {:>7}",
        "a head", "", "", "messages/s", "", "a message", "a message", "", "/update", "", "cores"
    );
    for (messages, heads) in RUNS {
        let row = measure(messages, heads, dir.path());
        print_row(messages, heads, &row);
    }
    println!();
    println!("{METHOD}");
}

struct Row {
    elapsed: Duration,
    floor: Duration,
    cpu: Duration,
    floor_cpu: Duration,
    updates: usize,
    syncs: usize,
    others: f64,
}

fn measure(messages: usize, heads: usize, dir: &Path) -> Row {
    let dir = tempfile::tempdir_in(dir).unwrap();
    let chain = SourceChain::new("source", heads, messages);
    let mut hashes = chain.hashes.clone();
    let sealed_bytes = chain.sealed_bytes;
    let bytes: usize = chain.heads.iter().map(|head| encode_frame(&head.frame).unwrap().len()).sum();

    let meter = Meter::start();
    let outcome = stage::run(chain, dir.path());
    let usage = meter.read();

    // Seals are looked at once an update, at its last header; what they sign is hashed there.
    let recoveries = QUORUM * (outcome.updates + heads);
    hashes.add(sealed_bytes, outcome.updates);
    hashes.add(64, recoveries);
    let work = Work { recoveries, hashes, syncs: outcome.syncs, bytes_per_sync: bytes / outcome.syncs.max(1) };
    let meter = Meter::start();
    let floor = floor::run(&work, dir.path());
    let floor_usage = meter.read();
    Row {
        elapsed: outcome.elapsed,
        floor,
        cpu: usage.own,
        floor_cpu: floor_usage.own,
        updates: outcome.updates,
        syncs: outcome.syncs,
        others: f64::midpoint(usage.others, floor_usage.others),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn print_row(messages: usize, heads: usize, row: &Row) {
    let count = (messages * heads) as f64;
    let rate = |elapsed: Duration| count / elapsed.as_secs_f64();
    let micros = |cpu: Duration| cpu.as_secs_f64() * 1e6 / count;
    let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64();
    let (rate_reached, times_floor) = (rate(row.elapsed), ratio(row.elapsed, row.floor));
    let verdict = match messages {
        64 if rate_reached >= GOAL && times_floor <= GOAL_RATIO => "  goal reached".to_owned(),
        64 => format!("  goal missed: {GOAL:.0} messages/s within {GOAL_RATIO} x the floor"),
        _ => String::new(),
    };
    println!(
        "{messages:>8} {heads:>7} {rate_reached:>11.0} {:>11.0} {times_floor:>6.2} {:>10.2} {:>10.2} {:>6.2} {:>7.1} {:>6} {:>7.2}{verdict}",
        rate(row.floor),
        micros(row.cpu),
        micros(row.floor_cpu),
        ratio(row.cpu, row.floor_cpu),
        heads as f64 / row.updates as f64,
        row.syncs,
        row.others,
    );
}

const METHOD: &str = "Method: a peer keeps 64 heads in flight towards the relay's own machine, as a real one would: it \
sends the headers of four validators that the relay's client lacks, in one update each time the client says where it \
stands, and an extension (entries, storage proof of the gateway's slots, three of four attestations) once the client \
holds its header. Every head has a header of its own, every header three seals. The relay's light client verifies the \
headers (seals at the last one of an update, hashes of all), the core verifies proof, chain and attestations on worker \
threads, the journal makes it durable with real syncs on the disk under the target folder, and the clock stops when \
the last head is acknowledged. Making chain, proofs and signatures is not timed; decoding frames is not part of the \
stage; nothing is delivered. The floor does as many key recoveries with the same library, hashes inputs of the same \
lengths (each input once, however often the stage hashes it) on two threads, while a third appends as many bytes in as \
many fdatasyncs to a plain file; it runs right after its row. 'cpu' is processor time of the whole process; 'others' is \
what other processes took meanwhile: where it is not near 0, rates are too low and only the two 'ratio' columns mean much.";
