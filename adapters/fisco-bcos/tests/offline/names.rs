//! The README's closed list of check names is the code's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn every_check_is_in_the_readme_and_every_name_there_is_a_check() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let table = readme.split("## Checks").nth(1).unwrap().split("##").next().unwrap();
    let listed: BTreeSet<&str> = table.split('`').skip(1).step_by(2).collect();
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    let code: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let mut refused = BTreeSet::new();
    for call in code.split("Refusal::new(").skip(1) {
        if let Some(rest) = call.trim_start().strip_prefix('"') {
            refused.insert(rest.split('"').next().unwrap());
        }
    }
    assert!(refused.len() > 60, "{refused:?}");
    let unlisted: Vec<_> = refused.difference(&listed).collect();
    assert!(unlisted.is_empty(), "not in the README: {unlisted:?}");
    let unknown: Vec<_> = listed.iter().filter(|name| !code.contains(&format!("\"{name}\""))).collect();
    assert!(unknown.is_empty(), "no such check: {unknown:?}");
}
