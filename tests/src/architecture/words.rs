//! A chain's name occurs in its own folder and where chains are brought together, nowhere else.

use crate::architecture::{Breach, SourceFile};

/// A word and the folder of the chain that it names.
const NAMES: [(&str, &str); 6] = [
    ("fisco", "adapters/fisco-bcos/"),
    ("bcos", "adapters/fisco-bcos/"),
    ("shenzhen", "adapters/fisco-bcos/"),
    ("besu", "adapters/evm-bft/"),
    ("goquorum", "adapters/evm-bft/"),
    ("hangzhou", "adapters/evm-bft/"),
];

/// Named in code only for what it is: comments may cite where a rule was first written down.
const NAMES_IN_CODE: [(&str, &str); 1] = [("ethereum", "adapters/evm-bft/")];

/// Where chains are brought together.
const EVERYWHERE: [&str; 8] =
    ["adapters/all/", "adapters/devnet/", "config/", "deploy/", "tests/", "README.md", "Cargo.toml", ".ci/"];

/// Every line that names a chain where it must not.
#[must_use]
pub fn breaches(files: &[SourceFile]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for file in files.iter().filter(|file| !EVERYWHERE.iter().any(|place| file.path.starts_with(place))) {
        for (number, line) in file.text.lines().enumerate() {
            let line = line.to_lowercase();
            let code = if file.path.ends_with(".rs") { line.split("//").next().unwrap_or_default() } else { "" };
            let named = NAMES.iter().filter(|(name, _)| line.contains(name));
            let coded = NAMES_IN_CODE.iter().filter(|(name, _)| code.contains(name));
            for (name, _) in named.chain(coded).filter(|(_, home)| !file.path.starts_with(home)) {
                let place = format!("{}:{}", file.path, number + 1);
                breaches.push(Breach::new(place, format!("names {name}: use a neutral word")));
            }
        }
    }
    breaches
}
