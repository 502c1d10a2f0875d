//! Every committed input of every target, the ones that once failed among them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use cityrelay_fuzz::TARGETS;

#[test]
fn every_committed_input_keeps_the_properties_of_its_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let folders: BTreeSet<String> = fs::read_dir(&corpus)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(folders, names, "one folder of inputs for each target, and a target for each folder");
    for target in TARGETS {
        (target.run)(&[]);
        let inputs: Vec<_> =
            fs::read_dir(corpus.join(target.name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!inputs.is_empty(), "{}: no inputs", target.name);
        for input in inputs {
            println!("{}", input.display());
            (target.run)(&fs::read(&input).unwrap());
        }
    }
}
