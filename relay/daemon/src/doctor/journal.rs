//! What is durable: every checksum and every link between records, while no daemon holds it.

use cityrelay_journal::{Journal, JournalError, Options};

use super::{Area, Finding};
use crate::config::Config;
use crate::config::settings::JOURNAL_FOLDER;

/// What to do with a journal that is damaged.
pub(crate) const REPAIR: &str = "keep the folder as it is, and follow deploy/RUNBOOK.md";

/// Reads the whole journal. Where a daemon holds it, that daemon checks what it reads.
#[must_use]
pub fn journal(config: &Config) -> Finding {
    let dir = config.node.data_dir.join(JOURNAL_FOLDER);
    let subject = dir.display().to_string();
    if !dir.is_dir() {
        return Area::Journal.ok(subject, "does not exist yet: the first start makes it");
    }
    let journal = match Journal::open(&dir, Options::default()) {
        Ok(journal) => journal,
        Err(JournalError::AlreadyOpen { .. }) => {
            return Area::Journal.ok(subject, "is held by a daemon: stop it to have the whole of it checked here");
        }
        Err(error) => return Area::Journal.broken(subject, error.to_string(), REPAIR),
    };
    let verified = journal.read(|view| view.verify());
    journal.close();
    match verified {
        Ok(entries) => Area::Journal.ok(subject, format!("all of its {entries} entries hold together")),
        Err(error) => Area::Journal.broken(subject, error.to_string(), REPAIR),
    }
}
