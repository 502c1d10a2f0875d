//! The README's list of checks is closed: it names each check of the sources, and no other.

use std::collections::BTreeSet;
use std::path::Path;

/// Names between the `makers` and the next quotation mark.
fn names(text: &str, makers: &[&str], found: &mut BTreeSet<String>) {
    for maker in makers {
        for rest in text.split(maker).skip(1) {
            let rest = rest.trim_start();
            let name = rest.strip_prefix('"').and_then(|rest| rest.split('"').next());
            found.extend(name.map(str::to_owned));
        }
    }
}

fn collect(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().unwrap() != "tests" {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            names(&text, &["Refusal::new(", "rlp_refusal(", "trie_refusal(", "expect("], found);
        }
    }
}

#[test]
fn the_readme_lists_every_check() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut used = BTreeSet::new();
    collect(&root.join("src"), &mut used);
    used.retain(|name| name.contains('-') || !name.contains(' '));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let section = readme.split("## Checks").nth(1).unwrap().split("\n## ").next().unwrap();
    let listed: BTreeSet<_> = section.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let missing: Vec<_> = used.difference(&listed).collect();
    let unknown: Vec<_> = listed.difference(&used).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:?}, unknown {unknown:?}");
}
