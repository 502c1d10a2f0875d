//! Dropping from the journal what finished messages need no longer, as the configuration says.

use std::time::Duration;

use cityrelay_core::ids::UnixMillis;
use cityrelay_journal::{Journal, JournalError, PruneDepth, Pruned};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::clock::unix_millis;
use crate::config::settings::JournalConfig;

/// The shortest and the longest pause between two rounds.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// Rounds in the shortest time that something is kept: it stays at most a tenth longer than it must.
const ROUNDS: u32 = 10;

/// The task; dropping this ends it.
pub(super) struct Retention(JoinHandle<()>);

impl Drop for Retention {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Retention {
    /// Starts dropping.
    pub fn start(journal: &Journal, config: JournalConfig) -> Self {
        Self(tokio::spawn(run(journal.clone(), config)))
    }

    /// Whether it has ended, which it does not by itself.
    pub fn has_ended(&self) -> bool {
        self.0.is_finished()
    }
}

async fn run(journal: Journal, config: JournalConfig) {
    let shortest = config.keep_bodies.unwrap_or(config.keep_payloads).min(config.keep_payloads);
    let pause = (shortest / ROUNDS).clamp(PAUSES.0, PAUSES.1);
    loop {
        tokio::time::sleep(pause).await;
        let journal = journal.clone();
        let now = unix_millis();
        // A thread that broke off has reported itself; the next round is another one.
        let Ok(pruned) = tokio::task::spawn_blocking(move || prune(&journal, config, now)).await else { continue };
        match pruned {
            Ok(Pruned { extensions: 0, .. }) => {}
            Ok(Pruned { extensions, payload_bytes }) => {
                info!(extensions, payload_bytes, "the journal dropped what finished messages need no longer");
            }
            Err(error) => warn!(%error, "the journal could not drop what finished messages need no longer"),
        }
    }
}

fn prune(journal: &Journal, config: JournalConfig, now: UnixMillis) -> Result<Pruned, JournalError> {
    let before = |keep: Duration| UnixMillis(now.0.saturating_sub(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX)));
    let payloads = journal.prune(before(config.keep_payloads), PruneDepth::Payloads)?;
    let Some(keep) = config.keep_bodies else { return Ok(payloads) };
    let bodies = journal.prune(before(keep), PruneDepth::Bodies)?;
    Ok(Pruned {
        extensions: payloads.extensions + bodies.extensions,
        payload_bytes: payloads.payload_bytes + bodies.payload_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use cityrelay_core::chain::{ChainPoint, Entry};
    use cityrelay_core::hash::Hash32;
    use cityrelay_core::ids::{Address, Height, Index, LaneId};
    use cityrelay_core::lane::{Direction, Flow};
    use cityrelay_core::message::{Message, Payload};
    use cityrelay_core::opaque::Opaque;
    use cityrelay_core::record::{ExtensionRecord, Record};

    const FLOW: Flow = Flow { lane: LaneId(Hash32([1; 32])), direction: Direction::Outbox };

    fn message(index: u64) -> Entry {
        Entry::Message(Message {
            index: Index(index),
            sender: Address::from_20([1; 20]),
            receiver: Address::from_20([2; 20]),
            deadline: UnixMillis(5_000),
            gas_limit: 100_000,
            payload: Payload::Bytes(b"payload".to_vec()),
        })
    }

    fn append(journal: &Journal, records: Vec<Record>) {
        let (answer, answered) = std::sync::mpsc::channel();
        journal.append(records, move |result| answer.send(result).unwrap());
        answered.recv().unwrap().unwrap();
    }

    #[test]
    fn each_part_of_a_finished_message_goes_when_its_time_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path(), cityrelay_journal::Options::default()).unwrap();
        let base = ChainPoint::start(FLOW);
        let tip = base.extended(FLOW.direction, message(1).link(FLOW));
        let extension = ExtensionRecord {
            flow: FLOW,
            base,
            entries: vec![message(1)],
            proved_at: Height(1),
            block_hash: Hash32([2; 32]),
            block_time: UnixMillis(1),
            tail: Vec::new(),
            proof: Opaque { adapter: "model".to_owned(), version: 1, bytes: vec![1] },
            at: UnixMillis(1_000),
        };
        append(&journal, vec![Record::Extension(extension)]);
        append(&journal, vec![Record::Done { flow: FLOW, point: tip, at: UnixMillis(2_000) }]);
        let config =
            JournalConfig { keep_payloads: Duration::from_secs(10), keep_bodies: Some(Duration::from_secs(20)) };
        let held = || journal.entries(FLOW, Index(1), Index(1)).map(|entries| entries.first().cloned());
        prune(&journal, config, UnixMillis(12_000)).unwrap();
        assert_eq!(held().unwrap(), Some(message(1)), "finished 10 s ago, not longer");
        let pruned = prune(&journal, config, UnixMillis(12_001)).unwrap();
        assert_eq!((pruned.extensions, pruned.payload_bytes), (1, 7));
        assert_eq!(held().unwrap(), Some(message(1).without_payload()));
        prune(&journal, config, UnixMillis(22_001)).unwrap();
        assert!(matches!(held(), Err(JournalError::Pruned { .. })));
        let forever = JournalConfig { keep_bodies: None, ..config };
        assert_eq!(prune(&journal, forever, UnixMillis(u64::MAX)).unwrap(), Pruned::default());
    }
}
