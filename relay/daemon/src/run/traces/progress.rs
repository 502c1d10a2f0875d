//! Up to where each step of each lane was handed to the collector, kept over restarts.
//!
//! The file is no record of the protocol: it is replaced without waiting for the disk. Where it is lost, nothing that
//! happened before is told again; where it is older than what was sent, the same spans are sent again, under the same ids.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use cityrelay_core::ids::{Index, LaneId};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::recovery::Side;
use cityrelay_journal::FlowCounts;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::step::{Part, Step};

/// Version of the file's form.
const VERSION: u32 = 1;

/// One step of one lane, as it is told by this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Track {
    pub flow: Flow,
    pub side: Side,
    pub part: Part,
}

impl Track {
    pub const fn step(self) -> Step {
        Step { direction: self.flow.direction, part: self.part }
    }
}

/// How far each track has been told.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    file: PathBuf,
    told: BTreeMap<Track, Index>,
}

#[derive(Serialize, Deserialize)]
struct OnDisk {
    v: u32,
    told: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
struct Row {
    lane: String,
    step: String,
    index: u64,
}

impl Progress {
    /// Goes on where the file says. A track that it does not know begins after the messages that are known now: a tree is
    /// told from its beginning, or not at all.
    pub fn open(file: &Path, sides: &[(Flow, Side)], counts: &[FlowCounts]) -> Self {
        let known = read(file).unwrap_or_else(|error| {
            warn!(error = format!("{error:#}"), "spans of what was on its way are left out");
            HashMap::new()
        });
        let tracks = sides.iter().flat_map(|(flow, side)| {
            let track = |part: &Part| Track { flow: *flow, side: *side, part: *part };
            Part::of(*side).iter().map(track)
        });
        let told = tracks.map(|track| {
            let outbox = Flow { direction: Direction::Outbox, ..track.flow };
            let standing =
                || counts.iter().find(|counts| counts.flow == outbox).map_or(Index(0), |counts| counts.tip.index);
            let index = known.get(&(track.flow.lane, track.step().name())).copied();
            (track, index.unwrap_or_else(standing))
        });
        Self { file: file.to_owned(), told: told.collect() }
    }

    /// Every track with the last index that was told of it, in one order.
    pub fn tracks(&self) -> impl Iterator<Item = (Track, Index)> + '_ {
        self.told.iter().map(|(track, index)| (*track, *index))
    }

    /// Notes that a track has been told up to an index.
    pub fn advance(&mut self, track: Track, index: Index) {
        self.told.insert(track, index);
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn save(&self) -> anyhow::Result<()> {
        let rows = self.told.iter().map(|(track, index)| Row {
            lane: track.flow.lane.to_string(),
            step: track.step().name().to_owned(),
            index: index.0,
        });
        let text = serde_json::to_vec(&OnDisk { v: VERSION, told: rows.collect() })?;
        let draft = self.file.with_extension("draft");
        std::fs::write(&draft, text).with_context(|| format!("write {}", draft.display()))?;
        std::fs::rename(&draft, &self.file).with_context(|| format!("write {}", self.file.display()))
    }
}

fn read(file: &Path) -> anyhow::Result<HashMap<(LaneId, &'static str), Index>> {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(error) => return Err(error).with_context(|| format!("read {}", file.display())),
    };
    let OnDisk { v, told } = serde_json::from_slice(&bytes).with_context(|| format!("read {}", file.display()))?;
    ensure!(v == VERSION, "{}: expected version {VERSION}, got {v}", file.display());
    let mut known = HashMap::new();
    for row in told {
        let lane = row.lane.parse().with_context(|| format!("{}: {:?} is no lane", file.display(), row.lane))?;
        if let Some(step) = Step::ALL.iter().find(|step| step.name() == row.step) {
            known.insert((lane, step.name()), Index(row.index));
        }
    }
    Ok(known)
}

/// How far a part has come at least. Attested heads are found entry by entry; up to what the peer holds there are some.
pub(super) fn reached(part: Part, counts: &FlowCounts) -> Index {
    match part {
        Part::Verified | Part::Accepted => counts.tip.index,
        Part::Signed => counts.signed.map_or(Index(0), |point| point.index),
        Part::Attested | Part::Sent => counts.peer_accepted.index,
        Part::Finished => counts.done.index,
    }
}

#[cfg(test)]
mod tests {
    use cityrelay_core::chain::ChainPoint;
    use cityrelay_core::hash::{Hash32, keccak256};

    use super::*;

    fn flow(name: &str) -> Flow {
        Flow { lane: LaneId(keccak256(name.as_bytes())), direction: Direction::Outbox }
    }

    fn counts(flow: Flow) -> FlowCounts {
        let at = |index| ChainPoint { index: Index(index), head: Hash32::ZERO };
        FlowCounts {
            flow,
            tip: at(9),
            peer_accepted: at(7),
            done: at(5),
            signed: Some(at(8)),
            extensions: 1,
            payloads_pruned: Index(0),
            bodies_pruned: Index(0),
        }
    }

    fn told(progress: &Progress) -> Vec<(&'static str, u64)> {
        progress.tracks().map(|(track, index)| (track.step().name(), index.0)).collect()
    }

    #[test]
    fn it_begins_where_the_flow_stands_and_goes_on_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("traces.json");
        let sides = [(flow("a"), Side::Outbound)];
        let mut progress = Progress::open(&file, &sides, &[counts(flow("a"))]);
        assert_eq!(told(&progress), [("message verified", 9), ("message attested", 9), ("message sent", 9)]);
        let (first, _) = progress.tracks().next().unwrap();
        progress.advance(first, Index(12));
        progress.save().unwrap();
        // A lane that came with a restart begins where it stands; one that went is forgotten.
        let sides = [(flow("a"), Side::Outbound), (flow("b"), Side::Inbound)];
        let progress = Progress::open(&file, &sides, &[counts(flow("b"))]);
        let mut expected = vec![("message verified", 12), ("message attested", 9), ("message sent", 9)];
        expected.extend([("message accepted", 9), ("message delivered", 9)]);
        let mut found = told(&progress);
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_file_that_can_t_be_read_tells_nothing_of_before() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("traces.json");
        for text in [
            "",
            "{",
            "{\"v\":2,\"told\":[]}",
            "{\"v\":1,\"told\":[{\"lane\":\"x\",\"step\":\"message sent\",\"index\":1}]}",
        ] {
            std::fs::write(&file, text).unwrap();
            assert!(read(&file).is_err(), "{text}");
            let progress = Progress::open(&file, &[(flow("a"), Side::Attester)], &[counts(flow("a"))]);
            assert_eq!(told(&progress), [("message signed", 9)]);
        }
    }
}
