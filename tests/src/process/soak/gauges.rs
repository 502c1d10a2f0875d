//! What each process takes over time: resident memory, open files, the size of its journal; and whether it stays flat.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use cityrelay::demo::world::World;
use cityrelay_journal::FILE_NAME;

/// By how much memory may be larger at the end of a life than after its warm-up: a quarter of it, and this many bytes.
const MEMORY_SLACK: u64 = 16 << 20;

/// By how many a process may have more files open at the end of its life than after its warm-up: connections to nodes
/// and to whoever asks it come and go.
const FILES_SLACK: u64 = 16;

/// Fewer looks at one life say nothing.
const LEAST_SAMPLES: usize = 9;

/// One look at one process.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pid: u32,
    /// Resident memory in bytes.
    pub resident: u64,
    /// Open files, sockets among them.
    pub files: u64,
    /// Bytes that the journal takes of the disk.
    pub journal: u64,
}

impl Sample {
    fn take(world: &World, name: &str) -> anyhow::Result<Self> {
        let pid = world.pid(name).with_context(|| format!("{name} is not running"))?;
        Ok(Self {
            pid,
            resident: memory(pid, "VmRSS:")?,
            files: std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64,
            journal: taken(&world.journal(name).join(FILE_NAME)),
        })
    }
}

/// The most bytes of memory that each of these processes has had resident since its start.
///
/// # Errors
/// When one is not running.
pub fn peaks(world: &World, names: &[String]) -> anyhow::Result<BTreeMap<String, u64>> {
    let peak = |name: &String| {
        let pid = world.pid(name).with_context(|| format!("{name} is not running"))?;
        Ok((name.clone(), memory(pid, "VmHWM:")?))
    };
    names.iter().map(peak).collect()
}

/// Bytes that the kernel says under this name.
fn memory(pid: u32, field: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = status.lines().find_map(|line| line.strip_prefix(field));
    let kibibytes = value.with_context(|| format!("{field} of process {pid}"))?.trim().trim_end_matches(" kB");
    Ok(kibibytes.parse::<u64>()? << 10)
}

/// Bytes that a file takes of the disk; 0 where there is none. The store makes its file longer in large steps, ahead of what it
/// writes: what was never written is a hole, so that the length says little.
fn taken(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |data| data.blocks() * 512)
}

/// All looks at all processes.
#[derive(Debug, Default)]
pub struct Gauges(BTreeMap<String, Vec<Sample>>);

impl Gauges {
    /// Looks at each of these processes, and says what it saw in one line.
    ///
    /// # Errors
    /// When one is not running.
    pub fn look(&mut self, world: &World, names: &[String]) -> anyhow::Result<String> {
        let mut line = String::new();
        for name in names {
            let sample = Sample::take(world, name)?;
            let Sample { resident, files, journal, .. } = sample;
            line += &format!(" | {name} {} MiB {files} files {} MiB", resident >> 20, journal >> 20);
            self.0.entry(name.clone()).or_default().push(sample);
        }
        Ok(line)
    }

    /// The longest life of each process is flat: after a third of it, which is the warm-up, neither memory nor open files
    /// grow. Returns a line for each.
    ///
    /// # Errors
    /// What grew, or a life that was too short to tell.
    pub fn verify_flat(&self) -> anyhow::Result<Vec<String>> {
        self.0.iter().map(|(name, samples)| verify_life(name, samples)).collect()
    }

    /// The last size of each journal.
    pub fn journals(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().filter_map(|(name, samples)| Some((name.as_str(), samples.last()?.journal)))
    }
}

fn verify_life(name: &str, samples: &[Sample]) -> anyhow::Result<String> {
    let longest = samples.chunk_by(|a, b| a.pid == b.pid).max_by_key(|life| life.len()).unwrap_or_default();
    ensure!(
        longest.len() >= LEAST_SAMPLES,
        "{name}: its longest life was looked at {} times, {LEAST_SAMPLES} are needed to tell: send more messages",
        longest.len()
    );
    let third = longest.len() / 3;
    let most = |part: &[Sample], of: fn(&Sample) -> u64| part.iter().map(of).max().unwrap_or(0);
    let (warm, late) = (&longest[third..2 * third], &longest[2 * third..]);
    let (memory, files) = (|sample: &Sample| sample.resident, |sample: &Sample| sample.files);
    let (warm_memory, late_memory) = (most(warm, memory), most(late, memory));
    let (warm_files, late_files) = (most(warm, files), most(late, files));
    ensure!(
        late_memory <= warm_memory + warm_memory / 4 + MEMORY_SLACK,
        "{name}: memory grows: {warm_memory} bytes after the warm-up, {late_memory} at the end"
    );
    ensure!(
        late_files <= warm_files + FILES_SLACK,
        "{name}: open files grow: {warm_files} after the warm-up, {late_files} at the end"
    );
    Ok(format!(
        "{name}: {} looks at one life; memory {} MiB after the warm-up, {} MiB at the end; files {warm_files}, {late_files}",
        longest.len(),
        warm_memory >> 20,
        late_memory >> 20
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(pid: u32, resident: impl Fn(u64) -> u64, files: impl Fn(u64) -> u64) -> Vec<Sample> {
        (0..30).map(|at| Sample { pid, resident: resident(at) << 20, files: files(at), journal: 0 }).collect()
    }

    #[test]
    fn what_grows_after_the_warm_up_is_named() {
        let flat = life(1, |at| 50 + at.min(10), |_| 40);
        assert!(verify_life("flat", &flat).unwrap().contains("memory 60 MiB after the warm-up, 60 MiB at the end"));
        let says = |samples: &[Sample]| verify_life("x", samples).unwrap_err().to_string();
        assert!(says(&life(1, |at| 50 + at * 8, |_| 40)).contains("memory grows"));
        assert!(says(&life(1, |_| 50, |at| 40 + at * 2)).contains("open files grow"));
    }

    #[test]
    fn only_the_longest_life_counts_and_a_short_one_says_nothing() {
        let mut samples = life(1, |_| 50, |_| 40);
        samples.extend(life(2, |at| 50 + at * 40, |_| 40).into_iter().take(8));
        verify_life("x", &samples).unwrap();
        assert!(verify_life("x", &samples[28..36]).unwrap_err().to_string().contains("send more messages"));
    }
}
