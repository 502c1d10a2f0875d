//! What is out there: bytes of released versions never change, and what a peer of a released version can't read is said only
//! under a newer protocol version.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use cityrelay_core::frame::PROTOCOL_VERSIONS;
use cityrelay_core::hash::keccak256;
use cityrelay_wire::frame::{decode_frame, encode_frame};
use cityrelay_wire::record::{decode_record, encode_record};

use crate::samples;

/// The newest protocol version that was released, whose vectors `vectors/released-1.txt` lists.
const RELEASED: u16 = 1;

fn vectors() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "vectors"].iter().collect()
}

/// Every file of golden bytes, as `frames/hello`, with what is in it.
fn files() -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in ["frames", "keys", "records", "rows"] {
        for entry in fs::read_dir(vectors().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let name = format!("{folder}/{}", path.file_stem().unwrap().to_str().unwrap());
            files.insert(name, hex::decode(text.split_whitespace().collect::<String>()).unwrap());
        }
    }
    files
}

/// Name and digest of every vector of the release.
fn released() -> BTreeMap<String, String> {
    let path = vectors().join(format!("released-{RELEASED}.txt"));
    if !path.exists() && std::env::var_os("CITYRELAY_WRITE_GOLDEN").is_some() {
        let lines = files().into_iter().map(|(name, bytes)| format!("{} {name}\n", keccak256(&bytes)));
        fs::write(&path, lines.collect::<String>()).unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    text.lines().map(|line| line.split_once(' ').unwrap()).map(|(digest, name)| (name.into(), digest.into())).collect()
}

#[test]
fn a_vector_of_a_release_never_changes() {
    let (files, released) = (files(), released());
    assert!(released.len() > 60, "{} vectors", released.len());
    for (name, digest) in released {
        let bytes = files.get(&name).unwrap_or_else(|| panic!("{name} was released and is gone"));
        assert_eq!(
            keccak256(bytes).to_string(),
            digest,
            "{name} is not as it was released: vectors/README.md says how a layout is changed"
        );
    }
}

#[test]
fn what_a_peer_or_a_disk_of_the_release_holds_is_read_and_written_the_same() {
    let files = files();
    for name in released().keys() {
        let bytes = &files[name];
        match name.split_once('/').unwrap().0 {
            "frames" => assert_eq!(&encode_frame(&decode_frame(bytes).unwrap()).unwrap(), bytes, "{name}"),
            "records" => assert_eq!(&encode_record(&decode_record(bytes).unwrap()).unwrap(), bytes, "{name}"),
            // Rows are read with their table and key in `golden`, and as a whole journal by `relay/journal`.
            _ => {}
        }
    }
}

/// A kind of frame or a choice in it that the release does not know ends the session there.
fn unknown_to_the_release() -> BTreeSet<String> {
    let released = released();
    let now = samples::frames().into_iter().map(|(name, _)| format!("frames/{name}"));
    now.filter(|name| !released.contains_key(name)).collect()
}

#[test]
fn a_frame_that_the_release_does_not_know_needs_a_newer_protocol_version() {
    let unknown = unknown_to_the_release();
    assert!(
        unknown.is_empty() || *PROTOCOL_VERSIONS.end() > RELEASED,
        "{unknown:?} would end the session with a peer of version {RELEASED}: raise PROTOCOL_VERSIONS, and send these only to \
         peers whose Hello names the newer version"
    );
}

#[test]
fn the_released_version_is_still_spoken() {
    assert!(PROTOCOL_VERSIONS.contains(&RELEASED), "a rolling upgrade from version {RELEASED} would break sessions");
}
