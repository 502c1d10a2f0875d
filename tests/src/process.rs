//! The real program as separate operating-system processes, with real sockets, files and signals.
//!
//! [`trial`] sets a pair of cities up and sends between them; [`blows`] kills processes meanwhile; [`ledgers`] compares
//! what both chains and all journals say in the end; [`changes`] changes validators and attesters. The chains are the
//! devnet's, in one test [`anvil_sealed_by_test`], and real [`networks`] on demand. [`browser`] and [`terminal`] look at it
//! as people do; [`service_manager`] starts a process as a service.

pub mod anvil_sealed_by_test;
pub mod blows;
pub mod browser;
pub mod changes;
pub mod ledgers;
pub mod networks;
pub mod program;
pub mod prometheus;
pub mod service_manager;
pub mod terminal;
pub mod trial;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// One trial at a time: each has seven processes or more.
static TURN: Mutex<()> = Mutex::new(());

/// Plays a trial in a folder of its own, which stays when it fails.
///
/// # Panics
/// With the error and the folder, when the trial fails.
pub fn play(name: &str, trial: impl AsyncFnOnce(PathBuf) -> anyhow::Result<()>) {
    // Building counts for nobody's timeouts.
    program::cityrelay();
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::Builder::new().prefix(&format!("cityrelay-{name}-")).tempdir().unwrap().keep();
    eprintln!("{name}: configurations, journals and logs are in {}", dir.display());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match runtime.block_on(trial(dir.clone())) {
        Ok(()) => std::fs::remove_dir_all(&dir).unwrap(),
        Err(error) => panic!("{name}: {error:#}\nconfigurations, journals and logs are in {}", dir.display()),
    }
}
