//! Reading the real repository: cargo's graph and the files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::architecture::{Package, SourceFile, Tree, chain_of};

/// Kinds of files that are read.
const TEXT: [&str; 9] = ["rs", "toml", "md", "sol", "mjs", "js", "html", "sh", "css"];

/// The workspace's root.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().expect("cargo can be started");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

/// The members and how they depend on each other, with all features that a release has.
#[must_use]
pub fn packages() -> Vec<Package> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])).unwrap();
    let root = format!("{}/", root().display());
    let packages = metadata["packages"].as_array().expect("packages");
    let members: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    packages
        .iter()
        .map(|package| {
            let manifest = package["manifest_path"].as_str().unwrap().strip_prefix(&root).unwrap();
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let uses = dependencies.filter(|dependency| dependency["kind"].as_str() != Some("dev"));
            let uses = uses.filter_map(|dependency| dependency["name"].as_str()).filter(|name| members.contains(name));
            Package {
                name: package["name"].as_str().unwrap().to_owned(),
                folder: manifest.trim_end_matches("/Cargo.toml").to_owned(),
                uses: uses.map(str::to_owned).collect(),
            }
        })
        .collect()
}

/// What core, wire and every chain's adapter pull in when built alone without default features.
#[must_use]
pub fn pure_trees(packages: &[Package]) -> Vec<Tree> {
    let is_pure = |folder: &str| ["relay/core", "relay/wire"].contains(&folder) || chain_of(folder).is_some();
    packages
        .iter()
        .filter(|package| is_pure(&package.folder))
        .map(|package| {
            let tree = |depth: &str| -> BTreeSet<String> {
                let listed = cargo(&[
                    "tree",
                    "--package",
                    &package.name,
                    "--no-default-features",
                    "--edges",
                    "normal,build",
                    "--prefix",
                    "none",
                    "--format",
                    "{p}",
                    "--depth",
                    depth,
                ]);
                let names = listed.lines().filter_map(|line| line.split_whitespace().next());
                names.filter(|name| *name != package.name).map(str::to_owned).collect()
            };
            Tree { root: package.name.clone(), direct: tree("1"), all: tree("1000") }
        })
        .collect()
}

/// Every text file that is not data, generated or installed.
#[must_use]
pub fn files() -> Vec<SourceFile> {
    let mut found = Vec::new();
    read_folder(&root(), "", &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn read_folder(folder: &Path, prefix: &str, found: &mut Vec<SourceFile>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the repository") {
        let entry = entry.expect("an entry of the repository");
        let name = entry.file_name().into_string().expect("file names are UTF-8");
        let path = format!("{prefix}{name}");
        if entry.path().is_dir() {
            let is_data = ["target", "node_modules", "vectors", "artifacts", ".git"].contains(&name.as_str());
            if !is_data {
                read_folder(&entry.path(), &format!("{path}/"), found);
            }
        } else if entry.path().extension().is_some_and(|kind| TEXT.iter().any(|text| kind == *text)) {
            let text = std::fs::read_to_string(entry.path()).unwrap_or_else(|error| panic!("{path}: {error}"));
            found.push(SourceFile { path, text });
        }
    }
}
