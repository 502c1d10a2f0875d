//! The process that runs both chains, and the file in which it says where they are.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use cityrelay_devnet::{Pair, Pairing, Section};
use serde::{Deserialize, Serialize};

/// Name of the file in the demo's folder.
pub const CITIES_FILE: &str = "cities.json";

/// How long the chains may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// One running city.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct City {
    /// Its name, also of its chain's section.
    pub name: String,
    /// Keys of the chain's section, one a line.
    pub toml: String,
    /// URL of each node.
    pub urls: Vec<String>,
    /// Hash of the block that its domain is derived from.
    pub anchor: String,
    /// Whether its contracts see milliseconds.
    pub clock_is_millis: bool,
    /// Secret keys, in hex, of accounts that can pay.
    pub accounts: Vec<String>,
}

impl City {
    /// A chain of the devnet.
    #[must_use]
    pub fn of_section(name: &str, section: &Section) -> Self {
        Self {
            name: name.to_owned(),
            toml: section.toml.clone(),
            urls: section.urls.clone(),
            anchor: section.anchor.to_string(),
            clock_is_millis: section.clock_is_millis,
            accounts: section.accounts.iter().map(hex::encode).collect(),
        }
    }
}

/// Runs both chains until `until` resolves.
///
/// # Errors
/// When the chains don't start, or the file can't be written.
pub async fn serve(dir: &Path, pairing: &str, until: impl Future<Output = ()>) -> anyhow::Result<()> {
    let Some(pairing) = Pairing::from_name(pairing) else {
        bail!("{pairing:?} is no pairing: mixed, mixed-gm, alike, or the names of two chains with a + between them")
    };
    let pair = Pair::start(pairing).await.context("start the chains")?;
    let cities = pair.cities().iter().map(|(name, section)| City::of_section(name, section));
    let text = serde_json::to_string_pretty(&cities.collect::<Vec<_>>())?;
    // Whoever waits for the file must never see half of it.
    let (path, draft) = (dir.join(CITIES_FILE), dir.join(".cities.json"));
    std::fs::write(&draft, text).with_context(|| format!("write {}", draft.display()))?;
    std::fs::rename(&draft, &path).with_context(|| format!("write {}", path.display()))?;
    until.await;
    pair.stop().await;
    Ok(())
}

/// Waits for the file of the chains' process.
pub(super) async fn wait_for(dir: &Path) -> anyhow::Result<Vec<City>> {
    let path = dir.join(CITIES_FILE);
    let read = async {
        loop {
            if let Ok(text) = std::fs::read_to_string(&path) {
                return serde_json::from_str(&text).context("read the chains' file");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(START_TIMEOUT, read).await.context("the chains did not start in time")?
}
