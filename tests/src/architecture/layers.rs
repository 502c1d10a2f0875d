//! Dependencies point strictly downward.

use std::collections::BTreeMap;

use crate::architecture::{Breach, Package, chain_of};

/// `core ← wire ← journal, link`; `core ← api ← gateway ← adapters ← all`; the daemon joins both; tests on top.
///
/// Every member must have a place here, and may use only the layers named for it. A chain's adapter never uses
/// another's; the daemon reaches chains through `adapters/all` and the devnet, never by name.
#[must_use]
pub fn breaches(packages: &[Package]) -> Vec<Breach> {
    let layers: BTreeMap<&str, Option<&str>> =
        packages.iter().map(|package| (package.name.as_str(), layer(&package.folder))).collect();
    let mut breaches = Vec::new();
    for package in packages {
        let Some(own) = layer(&package.folder) else {
            breaches
                .push(Breach::new(&package.folder, "this folder has no layer: give it one in the architecture test"));
            continue;
        };
        for used in &package.uses {
            let Some(Some(below)) = layers.get(used.as_str()) else { continue };
            if !may_use(own).contains(below) {
                let what = format!("{own} must not depend on {below} ({used}); it may use {}", may_use(own).join(", "));
                breaches.push(Breach::new(&package.name, what));
            }
        }
    }
    breaches
}

fn layer(folder: &str) -> Option<&'static str> {
    if chain_of(folder).is_some() {
        return Some("a chain's adapter");
    }
    let layers = [
        ("relay/core", "core"),
        ("relay/wire", "wire"),
        ("relay/journal", "journal"),
        ("relay/link", "link"),
        ("relay/daemon", "daemon"),
        ("adapters/api", "api"),
        ("adapters/gateway", "gateway"),
        ("adapters/devnet", "devnet"),
        ("adapters/all", "all"),
        ("tests", "tests"),
        ("tests/fuzz", "tests"),
        ("tests/simulation", "tests"),
    ];
    layers.into_iter().find(|(known, _)| *known == folder).map(|(_, layer)| layer)
}

fn may_use(layer: &str) -> &'static [&'static str] {
    match layer {
        "wire" | "api" => &["core"],
        "journal" | "link" => &["core", "wire"],
        "gateway" => &["core", "api"],
        "a chain's adapter" => &["core", "api", "gateway"],
        "devnet" => &["core", "api", "gateway", "a chain's adapter"],
        "all" => &["core", "api", "gateway", "a chain's adapter", "devnet"],
        "daemon" => &["core", "wire", "journal", "link", "api", "gateway", "all", "devnet"],
        "tests" => {
            &["core", "wire", "journal", "link", "daemon", "api", "gateway", "a chain's adapter", "devnet", "all"]
        }
        _ => &[],
    }
}
