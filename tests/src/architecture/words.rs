//! A chain's name occurs in its own folder and where chains are brought together, nowhere else.

use crate::architecture::{Breach, SourceFile, chain_of};

/// A word and the folder of the chain that it names.
const NAMES: [(&str, &str); 6] = [
    ("fisco", "adapters/fisco-bcos/"),
    ("bcos", "adapters/fisco-bcos/"),
    ("shenzhen", "adapters/fisco-bcos/"),
    ("besu", "adapters/evm-bft/"),
    ("goquorum", "adapters/evm-bft/"),
    ("hangzhou", "adapters/evm-bft/"),
];

/// A name whose rules and formats others took over: neutral code must not use it, comments may cite it, and every
/// chain's folder may say that its chain does the same.
const NAMES_IN_NEUTRAL_CODE: [&str; 1] = ["ethereum"];

/// Where chains are brought together.
const EVERYWHERE: [&str; 9] = [
    "adapters/all/",
    "adapters/devnet/",
    "config/",
    "deploy/",
    "tests/",
    "README.md",
    "SECURITY.md",
    "Cargo.toml",
    ".ci/",
];

/// Every line that names a chain where it must not.
#[must_use]
pub fn breaches(files: &[SourceFile]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for file in files.iter().filter(|file| !EVERYWHERE.iter().any(|place| file.path.starts_with(place))) {
        for (number, line) in file.text.lines().enumerate() {
            let line = line.to_lowercase();
            let code = if file.path.ends_with(".rs") { line.split("//").next().unwrap_or_default() } else { "" };
            let is_home = |home: &str| file.path.starts_with(home);
            let named = NAMES.iter().filter(|(name, home)| line.contains(name) && !is_home(home));
            let is_neutral = chain_of(&file.path).is_none();
            let coded = NAMES_IN_NEUTRAL_CODE.iter().filter(|name| is_neutral && code.contains(**name));
            for name in named.map(|(name, _)| name).chain(coded) {
                let place = format!("{}:{}", file.path, number + 1);
                breaches.push(Breach::new(place, format!("names {name}: use a neutral word")));
            }
        }
    }
    breaches
}
