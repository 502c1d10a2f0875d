//! The newest heads that this attester signed, kept outside of the data folder: a journal that does not reach them is an
//! older one.
//!
//! The file is written after the sign-once record and before the signature leaves, so it is never ahead of the journal that
//! made it. A journal that is behind it has forgotten signatures: what it lacks is merged back from the relays first.
//!
//! ```text
//! cityrelay signing counter 2
//! head <lane> <outbox|inbox> <index> <head>           one line for each flow of which a head was signed
//! set <chain> <height> <hash before> <digest>         one line for each chain of which a validator set was signed
//! check <keccak256 of all lines before>
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Domain, Height, Index, LaneId};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::light_client::SetStatement;
use cityrelay_core::set_attestation::{Attestable, SetFact};
use thiserror::Error;

use crate::durable_file::{sync_folder_of, write_durably};

/// The first line.
const TITLE: &str = "cityrelay signing counter 2";

/// The longest file that is read, 4 MiB: the flows of 10,000 lanes.
const MAX_BYTES: u64 = 4 << 20;

/// Why an attester does not start. Its operator must act; nothing is signed meanwhile.
#[derive(Debug, Error)]
pub(super) enum CounterError {
    /// The file is there, and can't be read or is damaged.
    #[error(
        "the signing counter {}: expected {expected}, got {got}: make it readable again; it is never restored from a backup",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What should stand there.
        expected: &'static str,
        /// What came instead.
        got: String,
    },
    /// The journal has signed, and there is no file.
    #[error(
        "the signing counter {} is missing, and the journal has signed {signed} times: only when this journal is the \
         newest one of this key, and no copy, write {signed} into that file, as its owner, and start again", path.display()
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// How often the journal has signed.
        signed: u64,
    },
    /// Journal and counter have different heads where one was signed: one of them is forged, or of another world.
    #[error(
        "the signing counter {} and the journal differ: head {} was signed at index {} of lane {} {}, the journal has {}: \
         they are not of one attester; put the journal back that belongs to this counter", path.display(), signed.head,
        signed.index, flow.lane, flow.direction.as_str(), ours.head
    )]
    Contradiction {
        /// The counter.
        path: PathBuf,
        /// The flow.
        flow: Flow,
        /// The journal's head.
        ours: Box<ChainPoint>,
        /// The head that was signed.
        signed: Box<ChainPoint>,
    },
    /// The file is a number, of a version that kept no more, or written by hand, and the journal is an older one.
    #[error(
        "the journal is an older one, and must not sign: the signing counter {} expects {expected} signatures, the \
         journal has {got}: put the newest journal back, or, where it is lost, never use this key again: make a new one, \
         let the set of attesters change to it, and begin with neither this journal nor this counter", path.display()
    )]
    JournalIsOlder {
        /// The counter.
        path: PathBuf,
        /// Its number.
        expected: u64,
        /// How often the journal has signed.
        got: u64,
    },
}

/// The newest of what was signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// The newest head of each flow.
    pub heads: BTreeMap<Flow, ChainPoint>,
    /// The newest validator set of each chain.
    pub sets: BTreeMap<Domain, SetFact>,
}

impl Marks {
    /// Takes in what is signed; true when it is newer than what was.
    fn raise_to(&mut self, what: &Attestable) -> bool {
        match what {
            Attestable::Head(statement) => {
                let held = self.heads.entry(statement.flow).or_insert(ChainPoint::start(statement.flow));
                let is_newer = statement.point.index > held.index;
                if is_newer {
                    *held = statement.point;
                }
                is_newer
            }
            Attestable::Set(attestation) => {
                let fact = attestation.fact;
                let held = self.sets.get(&fact.domain).map(|held| held.statement.height);
                let is_newer = held.is_none_or(|held| held < fact.statement.height);
                if is_newer {
                    self.sets.insert(fact.domain, fact);
                }
                is_newer
            }
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{TITLE}\n");
        // Writing to memory does not fail.
        for (flow, point) in &self.heads {
            let _ = writeln!(text, "head {} {} {} {}", flow.lane, flow.direction.as_str(), point.index, point.head);
        }
        for (domain, fact) in &self.sets {
            let SetStatement { height, digest } = fact.statement;
            let _ = writeln!(text, "set {domain} {height} {} {digest}", fact.parent);
        }
        let check = keccak256(text.as_bytes());
        let _ = writeln!(text, "check {check}");
        text
    }

    /// Reads what [`Marks::text`] wrote, or says what stands there instead.
    fn read(text: &str) -> Result<Self, (&'static str, String)> {
        let body = text.strip_suffix('\n').unwrap_or(text);
        let (body, check) =
            body.rsplit_once('\n').ok_or(("a title and a last line with a check", format!("{body:?}")))?;
        let body = format!("{body}\n");
        let expected = format!("check {}", keccak256(body.as_bytes()));
        if check != expected {
            return Err(("a last line with the check of all others", format!("{check:?}")));
        }
        let mut lines = body.lines();
        let title = lines.next().unwrap_or_default();
        if title != TITLE {
            return Err((TITLE, format!("{title:?}")));
        }
        let mut marks = Self::default();
        for line in lines {
            marks.read_line(line).ok_or(("a line with a head or a set", format!("{line:?}")))?;
        }
        Ok(marks)
    }

    fn read_line(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["head", lane, direction, index, head] => {
                let direction = match direction {
                    "outbox" => Direction::Outbox,
                    "inbox" => Direction::Inbox,
                    _ => return None,
                };
                let flow = Flow { lane: lane.parse::<LaneId>().ok()?, direction };
                let point = ChainPoint { index: Index(index.parse().ok()?), head: Hash32::from_hex(head).ok()? };
                self.heads.insert(flow, point);
            }
            ["set", domain, height, parent, digest] => {
                let domain = domain.parse::<Domain>().ok()?;
                let (parent, digest) = (Hash32::from_hex(parent).ok()?, Hash32::from_hex(digest).ok()?);
                let statement = SetStatement { height: Height(height.parse().ok()?), digest };
                self.sets.insert(domain, SetFact { domain, parent, statement });
            }
            _ => return None,
        }
        Some(())
    }
}

/// What the journal beside it says.
#[derive(Clone, Debug, Default)]
pub(super) struct Journalled {
    /// How often it has signed.
    pub signed: u64,
    /// The newest head that it signed of each flow.
    pub heads: BTreeMap<Flow, ChainPoint>,
}

/// The counter of the one process that holds the journal.
#[derive(Debug)]
pub(super) struct SigningCounter {
    path: PathBuf,
    marks: Marks,
}

impl SigningCounter {
    /// Opens the counter beside a journal; makes it where nothing was signed yet.
    ///
    /// # Errors
    /// [`CounterError`] when it can't be relied on; another when the file can't be written.
    pub fn open(path: &Path, journal: &Journalled) -> anyhow::Result<Self> {
        let mut marks = match Self::read(path)? {
            Some(Found::Marks(marks)) => marks,
            Some(Found::Number(expected)) if expected > journal.signed => {
                let (path, got) = (path.to_owned(), journal.signed);
                return Err(CounterError::JournalIsOlder { path, expected, got }.into());
            }
            Some(Found::Number(_)) => Marks::default(),
            None if journal.signed > 0 => {
                return Err(CounterError::Missing { path: path.to_owned(), signed: journal.signed }.into());
            }
            None => {
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder).with_context(|| format!("{}: can't be made", folder.display()))?;
                    sync_folder_of(folder)?;
                }
                Marks::default()
            }
        };
        // Killed between the sign-once record and the counter: no signature left, and the journal is the newest.
        for (flow, point) in &journal.heads {
            let held = marks.heads.entry(*flow).or_insert(*point);
            if held.index < point.index {
                *held = *point;
            }
        }
        let counter = Self { path: path.to_owned(), marks };
        counter.write()?;
        Ok(counter)
    }

    fn read(path: &Path) -> Result<Option<Found>, CounterError> {
        let unreadable = |expected, got| CounterError::Unreadable { path: path.to_owned(), expected, got };
        match fs::metadata(path) {
            Ok(data) if data.len() > MAX_BYTES => {
                return Err(unreadable("at most 4 MiB", format!("{} bytes", data.len())));
            }
            _ => {}
        }
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable("a text", error.to_string())),
        };
        if let Ok(number) = text.trim_end().parse() {
            return Ok(Some(Found::Number(number)));
        }
        Marks::read(&text).map(|marks| Some(Found::Marks(marks))).map_err(|(expected, got)| unreadable(expected, got))
    }

    /// What was signed last.
    pub const fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Takes in what is about to be signed; it is on disk when this returns.
    ///
    /// # Errors
    /// When it can't be written: what would be signed must not be.
    pub fn raise_to(&mut self, what: &Attestable) -> anyhow::Result<()> {
        let before = self.marks.clone();
        if self.marks.raise_to(what)
            && let Err(error) = self.write()
        {
            self.marks = before;
            return Err(error);
        }
        Ok(())
    }

    fn write(&self) -> anyhow::Result<()> {
        write_durably(&self.path, self.marks.text().as_bytes())
    }
}

/// What stands in the file.
enum Found {
    Marks(Marks),
    /// A number: how often was signed.
    Number(u64),
}

#[cfg(test)]
mod tests {
    use cityrelay_core::attestation::Statement;
    use cityrelay_core::ids::{Address, Epoch};
    use cityrelay_core::lane::GatewayAt;
    use cityrelay_core::set_attestation::SetAttestation;

    use super::*;

    fn word(byte: u8) -> Hash32 {
        Hash32([byte; 32])
    }

    fn flow(direction: Direction) -> Flow {
        Flow { lane: LaneId(word(1)), direction }
    }

    fn point(index: u64) -> ChainPoint {
        ChainPoint { index: Index(index), head: word(u8::try_from(index).unwrap()) }
    }

    fn head(direction: Direction, index: u64) -> Attestable {
        let verifying = GatewayAt { domain: Domain(word(2)), gateway: Address(word(3)) };
        Attestable::Head(Statement { flow: flow(direction), point: point(index), epoch: Epoch(1), verifying })
    }

    fn set(height: u64) -> Attestable {
        let statement = SetStatement { height: Height(height), digest: word(4) };
        let fact = SetFact { domain: Domain(word(5)), parent: word(6), statement };
        let (verifier, verifier_domain) = (Address(word(7)), Domain(word(8)));
        Attestable::Set(SetAttestation { fact, epoch: Epoch(1), verifier, verifier_domain })
    }

    fn journal(signed: u64, outbox: Option<u64>) -> Journalled {
        Journalled { signed, heads: outbox.map(|index| (flow(Direction::Outbox), point(index))).into_iter().collect() }
    }

    fn refusal(path: &Path, journal: &Journalled) -> CounterError {
        SigningCounter::open(path, journal).unwrap_err().downcast().unwrap()
    }

    #[test]
    fn the_newest_of_what_was_signed_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signer").join("counter");
        let mut counter = SigningCounter::open(&path, &journal(0, None)).unwrap();
        for what in [head(Direction::Outbox, 7), head(Direction::Outbox, 5), head(Direction::Inbox, 2), set(9), set(8)]
        {
            counter.raise_to(&what).unwrap();
        }
        // Whatever the journal says less: it is an older one.
        let counter = SigningCounter::open(&path, &journal(1, Some(3))).unwrap();
        let heads = [(flow(Direction::Outbox), point(7)), (flow(Direction::Inbox), point(2))];
        assert_eq!(counter.marks().heads, heads.into());
        let sets: Vec<Height> = counter.marks().sets.values().map(|fact| fact.statement.height).collect();
        assert_eq!(sets, [Height(9)]);
        // And what it says more: killed between the sign-once record and the counter.
        let counter = SigningCounter::open(&path, &journal(9, Some(8))).unwrap();
        assert_eq!(counter.marks().heads[&flow(Direction::Outbox)], point(8));
    }

    #[test]
    fn a_counter_that_is_gone_or_damaged_is_not_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("counter");
        assert!(matches!(refusal(&path, &journal(3, Some(3))), CounterError::Missing { signed: 3, .. }));
        assert!(!path.exists());
        let mut counter = SigningCounter::open(&path, &journal(0, None)).unwrap();
        counter.raise_to(&head(Direction::Outbox, 7)).unwrap();
        let sound = fs::read(&path).unwrap();
        for at in 0..sound.len() - 1 {
            let mut damaged = sound.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            let error = refusal(&path, &journal(3, Some(3)));
            assert!(matches!(error, CounterError::Unreadable { .. }), "byte {at}: {error}");
            fs::write(&path, &sound[..at]).unwrap();
            let error = refusal(&path, &journal(3, Some(3)));
            assert!(matches!(error, CounterError::Unreadable { .. }), "cut at {at}: {error}");
        }
        for damaged in ["", "x", "-1", "3 4"] {
            fs::write(&path, damaged).unwrap();
            assert!(matches!(refusal(&path, &journal(3, None)), CounterError::Unreadable { .. }), "{damaged:?}");
        }
    }

    #[test]
    fn a_number_becomes_marks_unless_the_journal_is_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("counter");
        fs::write(&path, "7\n").unwrap();
        for older in [0, 6] {
            let error = refusal(&path, &journal(older, Some(3)));
            let is_named = matches!(error, CounterError::JournalIsOlder { expected: 7, got, .. } if got == older);
            assert!(is_named, "{error}");
        }
        SigningCounter::open(&path, &journal(7, Some(3))).unwrap();
        let counter = SigningCounter::open(&path, &journal(0, None)).unwrap();
        assert_eq!(counter.marks().heads[&flow(Direction::Outbox)], point(3));
    }
}
