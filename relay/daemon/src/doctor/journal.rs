//! What is durable: every checksum and every link between records, while no daemon holds it.

use cityrelay_journal::{Journal, JournalError, Options};

use super::{Area, Finding, Instance, Repair};
use crate::config::Config;
use crate::config::settings::JOURNAL_FOLDER;

/// What to do with a journal that is damaged.
pub(crate) const KEEP_IT: &str =
    "keep the folder as it is; \"CityRelayJournalFailing\" in deploy/RUNBOOK.md says how to go on";

/// Reads the whole journal. Where a daemon holds it, that daemon checks what it reads.
#[must_use]
pub fn journal(config: &Config, instance: &Instance) -> Finding {
    let dir = config.node.data_dir.join(JOURNAL_FOLDER);
    let subject = dir.display().to_string();
    if !dir.is_dir() {
        return Area::Journal.ok(&subject, "does not exist yet: the first start makes it");
    }
    let damaged = || instance.cityrelay(["journal", "check", "--dir", &subject]).advice(KEEP_IT);
    let journal = match Journal::open(&dir, Options { take_over: false, ..Options::default() }) {
        Ok(journal) => journal,
        Err(JournalError::AlreadyOpen { .. }) => {
            return Area::Journal.ok(&subject, "is held by a daemon: stop it to have the whole of it checked here");
        }
        Err(error @ JournalError::OlderFormat { .. }) => return Area::Journal.ok(&subject, error.to_string()),
        Err(error @ (JournalError::NewerFormat { .. } | JournalError::UnknownFormat { .. })) => {
            return Area::Journal.broken(&subject, error.to_string(), install());
        }
        Err(error) => return Area::Journal.broken(&subject, error.to_string(), damaged()),
    };
    let verified = journal.read(|view| view.verify());
    journal.close();
    match verified {
        Ok(entries) => Area::Journal.ok(&subject, format!("all of its {entries} entries hold together")),
        Err(error) => Area::Journal.broken(&subject, error.to_string(), damaged()),
    }
}

/// A newer program wrote it.
fn install() -> Repair {
    Repair::of("apt-get", ["install", "--only-upgrade", "cityrelay"])
        .advice("the version that wrote it, or a later one, reads it; change no file")
}
