//! Rules about files: names of modules, who may name the codec library, what the devnet may use of an adapter.

use crate::architecture::{Breach, SourceFile, chain_of};

/// Names that say nothing.
const BANNED_MODULES: [&str; 12] =
    ["util", "utils", "common", "helper", "helpers", "misc", "shared", "base", "types", "manager", "managers", "mod"];

/// The library behind `relay/wire`, which nobody else may name.
const CODEC_LIBRARY: &str = "bincode";

impl SourceFile {
    /// Whether it is Rust that ships, not a test.
    #[must_use]
    pub fn is_rust_source(&self) -> bool {
        let is_test = self.path.split('/').any(|part| part == "tests" || part == "tests.rs");
        self.path.ends_with(".rs") && !is_test
    }

    /// Number and text of each line before the first `#[cfg(test)]` of a module, comments cut off.
    pub fn production_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut lines = self.text.lines().enumerate().peekable();
        std::iter::from_fn(move || {
            let (number, line) = lines.next()?;
            let opens_tests = line.trim() == "#[cfg(test)]"
                && lines.peek().is_some_and(|(_, next)| next.trim_start().starts_with("mod "));
            (!opens_tests).then(|| (number + 1, line.split("//").next().unwrap_or_default()))
        })
    }
}

/// No module is called util and the like; no `mod.rs`.
#[must_use]
pub fn name_breaches(files: &[SourceFile]) -> Vec<Breach> {
    let rust = files.iter().filter(|file| file.path.ends_with(".rs"));
    rust.filter_map(|file| {
        let parts = file.path.trim_end_matches(".rs").split('/');
        let banned = parts.into_iter().find(|part| BANNED_MODULES.contains(part))?;
        Some(Breach::new(&file.path, format!("`{banned}` says nothing: name it after the type or input that it owns")))
    })
    .collect()
}

/// Nobody but `relay/wire` names the codec library.
#[must_use]
pub fn codec_breaches(files: &[SourceFile]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for file in files {
        let is_code = file.path.ends_with(".rs") || file.path.ends_with("/Cargo.toml");
        if !is_code || file.path.starts_with("relay/wire/") || file.path.starts_with("tests/") {
            continue;
        }
        for (number, line) in file.text.lines().enumerate() {
            if line.contains(CODEC_LIBRARY) {
                let place = format!("{}:{}", file.path, number + 1);
                breaches.push(Breach::new(place, format!("names {CODEC_LIBRARY}; only relay/wire may")));
            }
        }
    }
    breaches
}

/// The devnet makes a chain with an adapter's `codec` and never with what checks it.
#[must_use]
pub fn devnet_breaches(files: &[SourceFile]) -> Vec<Breach> {
    let mut chains: Vec<&str> = files.iter().filter_map(|file| chain_of(&file.path)).collect();
    chains.dedup();
    let mut breaches = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with("adapters/devnet/src/") && file.is_rust_source()) {
        let code: Vec<(usize, &str)> = file.production_lines().collect();
        let text: String = code.iter().map(|(_, line)| *line).collect::<Vec<_>>().join("\n");
        for chain in &chains {
            let path = format!("cityrelay_{}::", chain.replace('-', "_"));
            for (at, _) in text.match_indices(&path) {
                let line = text[..at].matches('\n').count();
                for used in first_segments(&text[at + path.len()..]) {
                    if used != "codec" {
                        let place = format!("{}:{}", file.path, code[line].0);
                        let what = format!("uses {path}{used}; the devnet may use an adapter's codec only");
                        breaches.push(Breach::new(place, what));
                    }
                }
            }
        }
    }
    breaches
}

/// The first segment of a path, or of each path in braces.
fn first_segments(path: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(inside) = path.trim_start().strip_prefix('{') else { return vec![word(path)] };
    let (mut depth, mut segments, mut begins) = (0_usize, Vec::new(), true);
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            c if depth == 0 && begins && !c.is_whitespace() => {
                segments.push(word(&inside[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    segments
}
