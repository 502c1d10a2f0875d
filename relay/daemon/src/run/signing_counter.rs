//! How often this attester signed, kept outside of the data folder: a journal that knows less is an older one.
//!
//! The file is one line, the number. It is written after the sign-once record and before the signature leaves, so it is
//! never ahead of the journal that made it. A journal that is behind it has forgotten signatures: it must not sign.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use thiserror::Error;

use crate::durable_file::{sync_folder_of, write_durably};

/// Why an attester does not start. Its operator must act; nothing is signed meanwhile.
#[derive(Debug, Error)]
pub(super) enum CounterError {
    /// The file is there, and can't be read or is no number.
    #[error(
        "the signing counter {}: expected one line with a number, got {got}: make it readable again; it is never \
         restored from a backup", path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
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
        /// The journal's number.
        signed: u64,
    },
    /// The journal is an older one, or is gone.
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
        /// The journal's number.
        got: u64,
    },
}

/// The counter of the one process that holds the journal.
#[derive(Debug)]
pub(super) struct SigningCounter {
    path: PathBuf,
    value: u64,
}

impl SigningCounter {
    /// Opens the counter beside a journal that has signed so often; makes it where nothing was signed yet.
    ///
    /// # Errors
    /// [`CounterError`] when counter and journal do not fit together; another when the file can't be written.
    pub fn open(path: &Path, signed: u64) -> anyhow::Result<Self> {
        let unreadable = |got: String| CounterError::Unreadable { path: path.to_owned(), got };
        let held = match fs::read_to_string(path) {
            Ok(text) => Some(text.trim_end().parse().map_err(|_| unreadable(format!("{text:?}")))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unreadable(error.to_string()).into()),
        };
        let mut counter = Self { path: path.to_owned(), value: held.unwrap_or(0) };
        match held {
            Some(expected) if expected > signed => {
                return Err(CounterError::JournalIsOlder { path: counter.path, expected, got: signed }.into());
            }
            Some(_) => counter.raise_to(signed)?,
            None if signed > 0 => return Err(CounterError::Missing { path: counter.path, signed }.into()),
            None => {
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder).with_context(|| format!("{}: can't be made", folder.display()))?;
                    sync_folder_of(folder)?;
                }
                counter.write(0)?;
            }
        }
        Ok(counter)
    }

    /// Makes the number at least `signed`; it is on disk when this returns.
    ///
    /// # Errors
    /// When it can't be written: what would be signed must not be.
    pub fn raise_to(&mut self, signed: u64) -> anyhow::Result<()> {
        if signed > self.value {
            self.write(signed)?;
            self.value = signed;
        }
        Ok(())
    }

    fn write(&self, value: u64) -> anyhow::Result<()> {
        write_durably(&self.path, format!("{value}\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: &Path, signed: u64) -> CounterError {
        SigningCounter::open(path, signed).unwrap_err().downcast().unwrap()
    }

    #[test]
    fn a_journal_that_is_behind_its_counter_must_not_sign() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signer").join("counter");
        let mut counter = SigningCounter::open(&path, 0).unwrap();
        counter.raise_to(7).unwrap();
        counter.raise_to(5).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "7\n");
        for older in [0, 6] {
            let error = refusal(&path, older);
            let is_named = matches!(error, CounterError::JournalIsOlder { expected: 7, got, .. } if got == older);
            assert!(is_named, "{error}");
        }
        SigningCounter::open(&path, 7).unwrap();
        // Killed between the sign-once record and the counter: no signature left, the journal is the newest.
        SigningCounter::open(&path, 9).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "9\n");
    }

    #[test]
    fn a_counter_that_is_gone_or_damaged_is_not_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("counter");
        assert!(matches!(refusal(&path, 3), CounterError::Missing { signed: 3, .. }));
        assert!(!path.exists());
        for damaged in ["", "x", "-1", "3 4"] {
            fs::write(&path, damaged).unwrap();
            assert!(matches!(refusal(&path, 3), CounterError::Unreadable { .. }), "{damaged:?}");
        }
        fs::write(&path, "3\n").unwrap();
        SigningCounter::open(&path, 3).unwrap();
    }
}
