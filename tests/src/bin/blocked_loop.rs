//! The daemon's library with an event loop that can be blocked for good, which the shipped program has no way to do.
//!
//! `blocked-loop CONFIG` runs like `cityrelay run --config CONFIG` until a line comes on its standard input. From then
//! on the thread of the event loop waits for ever; everything else of the process goes on. It ends with SIGKILL.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use cityrelay::config::{Layers, Sources, check};
use cityrelay::run::ReadFrom;
use tokio::io::AsyncBufReadExt as _;

fn main() -> anyhow::Result<ExitCode> {
    let path = std::env::args_os().nth(1).map(Into::into);
    let sources = Sources { path, environment: Vec::new(), overrides: Vec::new() };
    let layers = Layers::read(&sources)?;
    let adapters = cityrelay_all::adapters();
    let config = check::config(&layers, adapters)?;
    let read_from = ReadFrom { sources, layers, adapters, log: None };
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let is_blocked = Arc::new(AtomicBool::new(false));
        let block = is_blocked.clone();
        tokio::spawn(async move {
            let mut line = String::new();
            if tokio::io::BufReader::new(tokio::io::stdin()).read_line(&mut line).await.is_ok_and(|bytes| bytes > 0) {
                block.store(true, Ordering::SeqCst);
            }
        });
        // The loop asks at each turn whether it is to stop: an answer that never comes blocks it.
        let stop = std::future::poll_fn(move |_| {
            while is_blocked.load(Ordering::SeqCst) {
                std::thread::park();
            }
            Poll::Pending
        });
        cityrelay::run::run(config, read_from, stop).await
    })?;
    Ok(ExitCode::SUCCESS)
}
