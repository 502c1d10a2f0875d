//! A real browser: Debian's Chromium, driven by `tests/browser`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

/// How long all looks together may take.
const TIMEOUT: Duration = Duration::from_secs(240);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("browser")
}

/// Runs a script of `tests/browser` on the page at `url`; its screenshots go to `screenshots`.
///
/// # Errors
/// With everything that the script says, when something is not as it should be; with the command that installs what is
/// missing.
pub async fn look(script: &str, url: &str, about: &str, screenshots: &Path) -> anyhow::Result<()> {
    let chromium =
        std::env::var_os("CITYRELAY_CHROMIUM").map_or_else(|| PathBuf::from("/usr/bin/chromium"), Into::into);
    ensure!(chromium.exists(), "no {}: apt-get install -y --no-install-recommends chromium", chromium.display());
    let driver = folder().join("node_modules/playwright-core");
    ensure!(driver.exists(), "no {}: (cd tests/browser && npm ci)", driver.display());
    std::fs::create_dir_all(screenshots)?;
    let looking = Command::new("node")
        .arg(folder().join(script))
        .args([url, about])
        .arg(screenshots)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output =
        tokio::time::timeout(TIMEOUT, looking).await.context("the browser does not end")?.context("run node")?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{script} on the page at {url}:\n{said}");
    Ok(())
}

/// A folder that people can look into afterwards, where `CITYRELAY_SCREENSHOTS` names one.
#[must_use]
pub fn screenshots(dir: &Path) -> PathBuf {
    std::env::var_os("CITYRELAY_SCREENSHOTS").map_or_else(|| dir.join("screenshots"), PathBuf::from)
}
