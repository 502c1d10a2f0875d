//! Honest lanes beside a configured peer that floods false claims, over real QUIC.
//!
//! `cargo bench --bench hostile`; what it measures and how is printed with the numbers.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "hostile/flood.rs"]
mod flood;
#[path = "relay_stage/floor.rs"]
#[expect(dead_code, reason = "the floor itself is another bench's; the chain counts its hashes")]
mod floor;
#[path = "hostile/honest.rs"]
mod honest;
#[path = "relay_stage/machine_config.rs"]
mod machine_config;
#[path = "relay_stage/peer.rs"]
mod peer;
#[path = "hostile/relay.rs"]
mod relay;
#[path = "relay_stage/source_chain.rs"]
#[expect(dead_code, reason = "what the floor of another bench needs")]
mod source_chain;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::flood::Flood;
use crate::relay::{Relay, Shares};
use crate::source_chain::{LANES, SourceChain};

/// Messages a head, and heads in one stretch.
const MESSAGES: usize = 64;
const HEADS: usize = 1024;

/// Stretches with and without the flood; they take turns. Without shares there is one: it takes ten times as long.
const ROUNDS: usize = 5;

/// What honest lanes keep of their rate.
const GOAL: f64 = 0.8;

fn main() {
    let dir = tempfile::Builder::new().prefix("hostile-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "hostile peer, {cores} cores, {LANES} honest lanes and {LANES} of the hostile peer, {MESSAGES} messages a head"
    );
    println!();
    println!(
        "{:>10} {:>11} {:>9} {:>12} {:>10} {:>14} {:>12}",
        "", "messages/s", "slowest", "false claims", "frames", "resident, MiB", "at its start"
    );
    let chains = [SourceChain::new("honest", HEADS, MESSAGES), SourceChain::new("hostile", LANES, MESSAGES)];
    let kinds = [Kind::Alone, Kind::Flooded, Kind::Unrationed];
    let mut rows: Vec<Vec<Stretch>> = kinds.iter().map(|_| Vec::new()).collect();
    for round in 0..ROUNDS {
        let kinds = kinds.iter().filter(|kind| round == 0 || **kind != Kind::Unrationed);
        for (kind, row) in kinds.zip(&mut rows) {
            row.push(measure(*kind, chains.clone(), dir.path()));
        }
    }
    let rates: Vec<f64> = kinds.iter().zip(&mut rows).map(|(kind, row)| print_row(*kind, row)).collect();
    println!();
    let ratio = rates[1] / rates[0];
    let verdict = if ratio >= GOAL { "goal reached" } else { "goal missed" };
    println!(
        "honest lanes keep {ratio:.2} of their rate: {verdict} ({GOAL}); without shares {:.2}",
        rates[2] / rates[0]
    );
    println!();
    println!("{METHOD}");
}

/// What goes on beside the honest lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing.
    Alone,
    /// The flood, and each peer's work runs in its share.
    Flooded,
    /// The flood, and work runs as it comes.
    Unrationed,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Flooded => "flooded",
            Self::Unrationed => "no shares",
        }
    }
}

struct Stretch {
    rate: f64,
    refused: u64,
    frames: u64,
    resident: u64,
    resident_at_start: u64,
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn measure(kind: Kind, [honest, hostile]: [SourceChain; 2], dir: &Path) -> Stretch {
    let dir = tempfile::tempdir_in(dir).unwrap();
    let shares = if kind == Kind::Unrationed { Shares::None } else { Shares::Each };
    let relay = Relay::start(&honest, &hostile, shares, dir.path());
    let flood = (kind != Kind::Alone).then(|| Flood::start(hostile, relay.address, relay.fingerprint));
    if let Some(flood) = &flood {
        // The flood stands: the relay has refused some of it.
        while relay.refused.load(Ordering::Relaxed) < 16 || !flood.is_up() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let resident_at_start = resident();
    let most = watch_memory();
    let (refused_before, frames_before) =
        (relay.refused.load(Ordering::Relaxed), relay.hostile_frames.load(Ordering::Relaxed));
    let started = Instant::now();
    honest::run(honest, relay.address, relay.fingerprint);
    let elapsed = started.elapsed();
    let stretch = Stretch {
        rate: (HEADS * MESSAGES) as f64 / elapsed.as_secs_f64(),
        refused: relay.refused.load(Ordering::Relaxed) - refused_before,
        frames: relay.hostile_frames.load(Ordering::Relaxed) - frames_before,
        resident: most.stop(),
        resident_at_start,
    };
    drop(flood);
    relay.stop();
    stretch
}

/// Prints a line for stretches of one kind; returns the median rate.
fn print_row(kind: Kind, row: &mut [Stretch]) -> f64 {
    row.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let median = &row[row.len() / 2];
    let most = row.iter().map(|stretch| stretch.resident).max().unwrap();
    println!(
        "{:>10} {:>11.0} {:>9.0} {:>12} {:>10} {:>14} {:>12}",
        kind.as_str(),
        median.rate,
        row[0].rate,
        median.refused,
        median.frames,
        most >> 20,
        median.resident_at_start >> 20,
    );
    median.rate
}

/// Looks at the resident memory of this process until it is stopped, and tells the most that it saw.
struct Watch {
    is_over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<u64>,
}

fn watch_memory() -> Watch {
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let thread = std::thread::spawn(move || {
        let mut most = resident();
        while !over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
            most = most.max(resident());
        }
        most
    });
    Watch { is_over, thread }
}

impl Watch {
    fn stop(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Bytes of this process in memory (proc(5), `VmRSS`).
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

const METHOD: &str = "Method: a relay (its machine, light client, journal with real syncs, link and shares, put together \
as the daemon does it) takes in what an honest relay of one city proves, 64 heads in flight over eight lanes as in the bench \
relay_stage, and is asked for as much as it can do. A second relay, of another city, is configured too and has eight \
lanes of its own. It sends true headers first and then, as fast as QUIC takes it and on all its lanes at once, claims in \
which everything holds (proof, chain, two attestations) but the third attestation: each costs a whole verification. 'false \
claims' is how many of them were verified during the stretch, 'frames' how many of its frames were read. Stretches with and without \
the flood take turns, rates are medians. 'no shares', one stretch, takes frames and runs the same work as it comes, in place of a share and a pace of each peer's own. All \
three parties live in this process: the flood's own encoding and encryption takes the same processors, and 'resident' is the whole \
process with both chains in memory, the most of any stretch beside the median at the start of the stretch.";
