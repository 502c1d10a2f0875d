//! Processor time, read from the kernel: how much of it a stretch of work took, and how much others took meanwhile.

use std::fs;
use std::time::{Duration, Instant};

/// Clock ticks of `/proc` in a second: `USER_HZ`, the same on every Linux.
const TICKS: u64 = 100;

/// Two readings apart.
pub struct Usage {
    /// Processor time of this process.
    pub own: Duration,
    /// Processors that everybody else kept busy, on average.
    pub others: f64,
}

pub struct Meter {
    started: Instant,
    own: u64,
    all: u64,
}

impl Meter {
    pub fn start() -> Self {
        Self { started: Instant::now(), own: own_ticks(), all: busy_ticks() }
    }

    pub fn read(&self) -> Usage {
        let own = own_ticks() - self.own;
        let others = (busy_ticks() - self.all).saturating_sub(own);
        let millis = |ticks: u64| Duration::from_millis(ticks * 1000 / TICKS);
        Usage { own: millis(own), others: millis(others).as_secs_f64() / self.started.elapsed().as_secs_f64() }
    }
}

/// User and system time of this process (proc(5), `/proc/self/stat` fields 14 and 15).
fn own_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

/// Time that all processors were not idle (proc(5), first line of `/proc/stat`: 4 is idle, 5 waits for disks, 9 and 10
/// are within 1 and 2).
fn busy_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap();
    let fields = stat.lines().next().unwrap().split_whitespace().skip(1).take(8).enumerate();
    fields.filter(|(at, _)| *at != 3 && *at != 4).map(|(_, field)| field.parse::<u64>().unwrap()).sum()
}
