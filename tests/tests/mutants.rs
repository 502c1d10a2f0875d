//! The list of deliberate bugs in `tests/mutants.d` cannot rot: every patch still fits the source. `tests/mutants` plants
//! them.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The least that the list must hold.
const LEAST: &str = "20";

/// Whether the list in `folder` is sound, and what is said about it.
fn checked(folder: &Path) -> (bool, String) {
    checked_for(folder, LEAST)
}

fn checked_for(folder: &Path, least: &str) -> (bool, String) {
    let mut command = Command::new(repository().join("tests/mutants"));
    command.arg("--check").env("CITYRELAY_MUTANTS", folder).env("CITYRELAY_MUTANTS_LEAST", least);
    let output = command.output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn every_mutant_fits_the_source_and_names_a_test_that_exists() {
    let (is_sound, said) = checked(&repository().join("tests/mutants.d"));
    assert!(is_sound, "{said}");
}

#[test]
fn a_mutant_that_does_not_fit_or_that_nothing_catches_is_found() {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(repository().join("tests/mutants.d")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    assert!(checked(folder.path()).0, "the copy of the list is sound");
    let path = folder.path().join("high-s-accepted.patch");
    let text = fs::read_to_string(&path).unwrap();
    let caught = text.lines().find(|line| line.starts_with("Caught by: ")).unwrap();
    let removed = text.lines().find(|line| line.starts_with("-  ")).unwrap();
    for (from, to) in [
        (removed, "-        what never stood there"),
        (caught, "Caught by: good luck"),
        (caught, "Caught by: cityrelay-core lib attestation::tests::a_test_that_nobody_wrote"),
    ] {
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let (is_sound, said) = checked(folder.path());
        assert!(!is_sound && said.starts_with("high-s-accepted: "), "{to}: {said}");
    }
    fs::write(&path, text).unwrap();
    let (is_sound, said) = checked_for(folder.path(), "1000");
    assert!(!is_sound && said.starts_with("expected at least 1000 mutants"), "{said}");
}
