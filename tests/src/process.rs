//! The real program as separate operating-system processes, with real sockets, files and signals.
//!
//! [`trial`] sets a pair of cities up and sends between them; [`blows`] kills processes meanwhile; [`ledgers`] compares
//! what both chains and all journals say in the end; [`changes`] changes validators and attesters. The chains are the
//! devnet's, in one test [`anvil_sealed_by_test`], and real [`networks`] on demand. [`browser`] and [`terminal`] look at it
//! as people do; [`service_manager`] starts a process as a service; [`soak`] lets a great many messages go through, and
//! [`network`] disturbs what lies between the relays.
//! [`secrets`] searches whatever a trial leaves behind for keys.
//! [`installed`] sets a pair up by the program's own commands, and [`walk`] runs what the runbook says against it.
//! [`stand_in_collector`] takes the spans that processes tell.

pub mod anvil_sealed_by_test;
pub mod blows;
pub mod browser;
pub mod changes;
pub mod installed;
pub mod ledgers;
pub mod network;
pub mod networks;
pub mod program;
pub mod prometheus;
pub mod secrets;
pub mod service_manager;
pub mod soak;
pub mod stand_in_collector;
pub mod terminal;
pub mod trial;
pub mod walk;

use std::path::{Path, PathBuf};

/// Plays a trial in a folder of its own, which stays when it fails.
///
/// Each has seven processes or more, which wait for blocks most of the time: as many are played at a time as the test program
/// has threads.
///
/// # Panics
/// With the error and the folder, when the trial fails.
pub fn play(name: &str, trial: impl AsyncFnOnce(PathBuf) -> anyhow::Result<()>) {
    // Building counts for nobody's timeouts.
    program::cityrelay();
    let dir = tempfile::Builder::new().prefix(&format!("cityrelay-{name}-")).tempdir().unwrap().keep();
    eprintln!("{name}: configurations, journals and logs are in {}", dir.display());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let played = runtime.block_on(trial(dir.clone()));
    // Whatever else was tried: no key is in any log, answer or journal.
    match played.and_then(|()| secrets::search(&dir)) {
        Ok(_) => std::fs::remove_dir_all(&dir).unwrap(),
        Err(error) => panic!("{name}: {error:#}\nconfigurations, journals and logs are in {}", dir.display()),
    }
}

/// Makes `to` hold exactly the files of `from`.
///
/// # Errors
/// When a file can't be read or written.
pub fn copy_files(from: &Path, to: &Path) -> anyhow::Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
