//! `cityrelay run`: the daemon itself, until it is told to stop.

use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};

use super::answer::{Answer, Exit, Failure};
use crate::config::{Layers, Sources, check};
use crate::observability::start_logging;
use crate::run::ReadFrom;

/// Checks the configuration and runs until SIGTERM or SIGINT, or `with_parent` until the standard input ends. SIGHUP makes
/// it read the configuration again.
pub(super) fn run(sources: &Sources, with_parent: bool) -> Result<Answer, Failure> {
    let layers = Layers::read(sources)?;
    let adapters = cityrelay_all::adapters();
    let config = check::config(&layers, adapters)?;
    let log = start_logging(&config.log).map_err(|error| Failure::new(Exit::Usage, format!("log: {error:#}")))?;
    let read_from = ReadFrom { sources: sources.clone(), layers, adapters, log: Some(log) };
    let name = config.node.name.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Internal, format!("the I/O runtime can't be started: {error}")))?;
    let outcome = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = input_ended(), if with_parent => {}
            }
        };
        crate::run::run(config, read_from, stop).await
    });
    // Tasks that wait for nodes are not waited for: what they would answer is asked again after a restart.
    runtime.shutdown_background();
    outcome.map_err(|error| Failure::new(Exit::Internal, format!("{error:#}")))?;
    Ok(Answer { data: json!({"name": name}), text: format!("{name} stopped") })
}

/// Resolves when nobody holds the other end of the standard input any more.
pub(super) async fn input_ended() {
    let mut input = tokio::io::stdin();
    let mut buffer = [0; 64];
    while input.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}
