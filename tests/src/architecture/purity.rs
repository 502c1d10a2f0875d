//! What decides is pure: core, wire and every verifier know no runtime, clock, entropy, file or socket.

use crate::architecture::{Breach, SourceFile, Tree, chain_of};

/// Crates that bring a runtime, a socket or chance, wherever in the tree they are.
const BANNED_ANYWHERE: [&str; 9] =
    ["tokio", "mio", "socket2", "async-std", "smol", "quinn", "hyper", "reqwest", "rand"];

/// Crates that may lie in the tree (the curve library brings them) but that our own code must not call.
const BANNED_DIRECTLY: [&str; 3] = ["getrandom", "rand_core", "rand_chacha"];

/// What pure code must not name.
const BANNED_WORDS: [&str; 11] = [
    "tokio",
    "std::net",
    "std::fs",
    "std::thread",
    "std::env",
    "SystemTime",
    "Instant::now",
    "getrandom",
    "rand::",
    "OsRng",
    "thread_rng",
];

/// No pure crate pulls in anything impure.
#[must_use]
pub fn tree_breaches(trees: &[Tree]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for tree in trees {
        for banned in BANNED_ANYWHERE.iter().filter(|banned| tree.all.contains(**banned)) {
            let what = format!("pulls in {banned} without its feature `node`; it must be pure");
            breaches.push(Breach::new(&tree.root, what));
        }
        for banned in BANNED_DIRECTLY.iter().filter(|banned| tree.direct.contains(**banned)) {
            breaches.push(Breach::new(&tree.root, format!("depends on {banned}; chance is an argument")));
        }
    }
    breaches
}

/// No pure source names anything impure, tests aside.
#[must_use]
pub fn source_breaches(files: &[SourceFile]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for file in files.iter().filter(|file| is_pure(file, files)) {
        for (number, line) in file.production_lines() {
            for banned in BANNED_WORDS.iter().filter(|banned| line.contains(**banned)) {
                let what = format!("names {banned}; time, chance and bytes are arguments here");
                breaches.push(Breach::new(format!("{}:{number}", file.path), what));
            }
        }
    }
    breaches
}

/// Core, wire, and an adapter's sources outside the modules that its feature `node` opens.
fn is_pure(file: &SourceFile, files: &[SourceFile]) -> bool {
    if !file.is_rust_source() {
        return false;
    }
    if ["relay/core/src/", "relay/wire/src/"].iter().any(|folder| file.path.starts_with(folder)) {
        return true;
    }
    let Some(chain) = chain_of(&file.path) else { return false };
    let root = format!("adapters/{chain}/src/");
    let Some(inside) = file.path.strip_prefix(&root) else { return false };
    let module = inside.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    let lib = files.iter().find(|file| file.path == format!("{root}lib.rs"));
    !lib.is_some_and(|lib| node_modules(&lib.text).iter().any(|opened| opened == module))
}

/// The modules that stand under `#[cfg(feature = "node")]`.
fn node_modules(lib: &str) -> Vec<String> {
    let mut lines = lib.lines().map(str::trim);
    let mut modules = Vec::new();
    while let Some(line) = lines.next() {
        if line == "#[cfg(feature = \"node\")]" {
            let next = lines.next().unwrap_or_default();
            let module = next.trim_start_matches("pub(crate) ").trim_start_matches("pub ").strip_prefix("mod ");
            modules.extend(module.map(|module| module.trim_end_matches(';').to_owned()));
        }
    }
    modules
}
