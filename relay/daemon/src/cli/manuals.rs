//! `cityrelay manuals`: a manual page for every command, out of the same definition as the commands themselves.

use std::path::Path;

use clap::Command;
use serde_json::json;

use super::answer::{Answer, Exit, Failure};

/// Writes `cityrelay.1`, and a page such as `cityrelay-config-check.1` for each command that `--help` shows.
pub(super) fn write(dir: &Path, command: Command) -> Result<Answer, Failure> {
    let failure = |error: std::io::Error| Failure::new(Exit::Internal, format!("write {}: {error}", dir.display()));
    std::fs::create_dir_all(dir).map_err(failure)?;
    clap_mangen::generate_to(command, dir).map_err(failure)?;
    Ok(Answer { data: json!({"dir": dir}), text: format!("the manual pages are in {}", dir.display()) })
}
