//! Deploys the application that takes every message and counts it: `counter CITIES_FILE CITY` prints its address. What
//! walks through `deploy/INSTALL.md` sends its first message there.

use std::path::Path;

use anyhow::{Context as _, bail};
use cityrelay::demo::cities::City;
use cityrelay::demo::setup::{Account, access, carry_all};
use cityrelay_tests::process::soak::crowd::deploy_counter;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, name] = &arguments[..] else { bail!("expected CITIES_FILE CITY, got {arguments:?}") };
    let text = std::fs::read_to_string(file).with_context(|| format!("read {file}"))?;
    let cities: Vec<City> = serde_json::from_str(&text).with_context(|| format!("read {file}"))?;
    let city = cities.iter().find(|city| city.name == *name).with_context(|| format!("{file} has no city {name}"))?;
    let folder = Path::new(file).parent().context("the file lies in a folder")?;
    let application = access(folder, city, Account::Application)?;
    let made = carry_all(application.target.as_ref(), &[deploy_counter()?]).await?;
    let address = made.first().copied().flatten().context("the deployment made no contract")?;
    println!("{address}");
    Ok(())
}
