//! `cityrelay demo`, and the hidden command that runs its chains.

use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

use super::answer::{Answer, Exit, Failure};
use super::arguments::DemoArguments;
use crate::demo::{self, DemoOptions};

/// Runs the demo in a folder of its own.
pub(super) async fn demo(arguments: &DemoArguments) -> Result<Answer, Failure> {
    let internal = |error: anyhow::Error| Failure::new(Exit::Internal, format!("{error:#}"));
    let binary = std::env::current_exe().map_err(|error| internal(error.into()))?;
    let dir = arguments
        .dir
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("cityrelay-demo-{}", std::process::id())));
    let pairing = if arguments.gm { "mixed-gm" } else { "mixed" };
    let options = DemoOptions { dir: dir.clone(), binary, pairing, watch: arguments.watch };
    // Dropping the demo ends its processes, also when it is told to stop.
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signals) => signals.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    let outcome = tokio::select! {
        outcome = demo::show(&options) => outcome,
        // Somebody who only watches ends it that way.
        _ = terminated => if arguments.watch { return Ok(watched(&dir)) } else { Err(anyhow::anyhow!("terminated")) },
        _ = tokio::signal::ctrl_c(), if !arguments.watch => Err(anyhow::anyhow!("interrupted")),
    };
    match outcome {
        Ok((text, data)) => {
            if arguments.dir.is_none() {
                // What is left there helps nobody after a success.
                let _ = std::fs::remove_dir_all(&dir);
            }
            Ok(Answer { data, text })
        }
        Err(error) => {
            Err(internal(error.context(format!("the demo failed; everything it left is in {}", dir.display()))))
        }
    }
}

/// What a demo that went on until it was told to end has to say.
fn watched(dir: &Path) -> Answer {
    Answer { data: serde_json::json!({ "dir": dir }), text: format!("ended; its folder is {}", dir.display()) }
}

/// Runs both chains for whoever started this process.
pub(super) async fn chains(dir: &Path, pairing: &str) -> Result<Answer, Failure> {
    let failure = |error: anyhow::Error| Failure::new(Exit::Internal, format!("{error:#}"));
    demo::cities::serve(dir, pairing, super::run::input_ended()).await.map_err(failure)?;
    Ok(Answer { data: serde_json::json!({}), text: String::new() })
}
