//! What `SECURITY.md` and `tests/README.md` claim is guarded by tests that exist.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Claims that the table of invariants has at least, and holes that the other one has.
const INVARIANTS: usize = 8;
const HOLES: usize = 11;

/// Kinds of harm that the table of hostile peers has at least.
const HOSTILE: usize = 14;

/// How far above a test's function its attribute may stand.
const ATTRIBUTE_LINES: usize = 8;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The text between two code marks, such as `relay/core: a_name`.
fn named(row: &str) -> Vec<(&str, &str)> {
    row.split('`').skip(1).step_by(2).filter_map(|code| code.split_once(": ")).collect()
}

/// Rows of the table under a heading, without its two first lines.
fn rows<'a>(text: &'a str, heading: &str) -> Vec<&'a str> {
    let (_, section) = text.split_once(heading).unwrap_or_else(|| panic!("there is no section {heading:?}"));
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    section.lines().filter(|line| line.starts_with('|')).skip(2).collect()
}

fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() && !["target", "node_modules", ".git"].contains(&name.as_str()) {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            found.push(fs::read_to_string(&path).unwrap());
        }
    }
}

/// Names of all tests under a folder, also of those that a property-testing macro makes.
fn tests_in(folder: &Path) -> BTreeSet<String> {
    let mut texts = Vec::new();
    sources(folder, &mut texts);
    let mut names = BTreeSet::new();
    for text in texts {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let Some((_, rest)) = line.split_once("fn ") else { continue };
            let above = &lines[at.saturating_sub(ATTRIBUTE_LINES)..at];
            let attributes =
                above.iter().rev().take_while(|line| !line.trim().is_empty() && !line.trim().ends_with('}'));
            if attributes.into_iter().any(|line| line.trim().starts_with("#[") && line.contains("test")) {
                names.insert(rest.split(['(', '<']).next().unwrap().to_owned());
            }
        }
    }
    names
}

#[test]
fn every_test_that_security_md_names_exists() {
    let text = fs::read_to_string(repository().join("SECURITY.md")).unwrap();
    let invariants = rows(&text, "## Invariants and the tests that guard them");
    let holes = rows(&text, "## Holes that other bridges had");
    assert_eq!(invariants.len(), INVARIANTS);
    assert!(holes.len() >= HOLES, "{} holes", holes.len());
    for row in invariants.iter().chain(&holes) {
        assert!(!named(row).is_empty(), "no test guards {row}");
    }
    verify_names("SECURITY.md", invariants.iter().chain(&holes));
}

#[test]
fn every_test_that_shows_what_a_hostile_peer_can_do_exists() {
    let text = fs::read_to_string(repository().join("tests/README.md")).unwrap();
    let rows = rows(&text, "## Hostile peers");
    assert!(rows.len() >= HOSTILE, "{} rows", rows.len());
    verify_names("tests/README.md", rows.iter());
}

fn verify_names<'a>(document: &str, rows: impl Iterator<Item = &'a &'a str>) {
    let all: Vec<(&str, &str)> = rows.flat_map(|row| named(row)).collect();
    let folders: BTreeSet<&str> = all.iter().map(|(folder, _)| *folder).collect();
    for folder in folders {
        let exist = tests_in(&repository().join(folder));
        let missing: Vec<&str> =
            all.iter().filter(|(of, name)| *of == folder && !exist.contains(*name)).map(|(_, name)| *name).collect();
        assert!(missing.is_empty(), "{document} names tests that {folder} does not have: {missing:?}");
    }
}

#[test]
fn a_name_that_no_test_has_is_found() {
    let exist = tests_in(&repository().join("tests"));
    assert!(exist.contains("a_name_that_no_test_has_is_found"));
    assert!(!exist.contains("tests_in"), "a function that is no test is taken for one");
}
