//! The program under test, built once with the profile of the tests; or the one that `CITYRELAY_PROGRAM` names.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// The path of `cityrelay`, as cargo itself names it.
///
/// # Panics
/// When it does not build.
pub fn cityrelay() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(build)
}

fn build() -> PathBuf {
    if let Some(program) = std::env::var_os("CITYRELAY_PROGRAM") {
        return program.into();
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let mut command = Command::new(cargo);
    // What cargo tells this test about its own package: build scripts that look at it (ring's does) would take it for a
    // change, and everything above them would be built anew at each run.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    // Asked for as the whole workspace's tests are: with a package alone, libraries would have other features, and be built
    // a second time. Cargo builds the program because this test of its package uses it.
    let output = command
        .args(["test", "--workspace", "--test", "command_line", "--no-run"])
        .args(["--profile", profile, "--message-format=json"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "the program does not build");
    let text = String::from_utf8(output.stdout).unwrap();
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_ours = message["target"]["name"] == "cityrelay" && message["target"]["kind"][0] == "bin";
        message["executable"].as_str().filter(|_| is_ours).map(PathBuf::from)
    };
    text.lines().find_map(executable).expect("cargo names the executable that it has built")
}
