//! The rules of the architecture, first on the real repository, then each on made-up input that breaks it.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use cityrelay_tests::architecture::{Breach, Package, SourceFile, Tree, layers, purity, reader, sources, words};

fn assert_none(rule: &str, breaches: &[Breach]) {
    let lines: Vec<String> = breaches.iter().map(ToString::to_string).collect();
    assert!(breaches.is_empty(), "{rule}:\n  {}", lines.join("\n  "));
}

#[test]
fn the_whole_repository_is_looked_at() {
    let (packages, files) = (reader::packages(), reader::files());
    for folder in ["relay/core", "relay/daemon", "adapters/gateway", "adapters/all", "tests"] {
        assert!(packages.iter().any(|package| package.folder == folder), "no member {folder}");
        let manifest = format!("{folder}/Cargo.toml");
        assert!(files.iter().any(|file| file.path == manifest), "no {manifest}");
    }
    assert!(files.iter().any(|file| file.path == "relay/core/src/machine/outbound.rs"));
    assert!(files.iter().any(|file| file.path == "adapters/gateway/contracts/Gateway.sol"));
}

#[test]
fn dependencies_point_downward() {
    assert_none("layers", &layers::breaches(&reader::packages()));
}

#[test]
fn what_decides_pulls_in_nothing_impure() {
    let trees = reader::pure_trees(&reader::packages());
    assert!(trees.len() >= 4, "core, wire and the adapters are looked at, got {trees:?}");
    assert_none("purity of the graph", &purity::tree_breaches(&trees));
}

#[test]
fn what_decides_names_nothing_impure() {
    assert_none("purity of the sources", &purity::source_breaches(&reader::files()));
}

#[test]
fn a_chain_is_one_folder() {
    assert_none("names of chains", &words::breaches(&reader::files()));
}

#[test]
fn modules_have_names_that_say_something() {
    assert_none("names of modules", &sources::name_breaches(&reader::files()));
}

#[test]
fn only_wire_names_the_codec_library() {
    assert_none("codec library", &sources::codec_breaches(&reader::files()));
}

#[test]
fn the_devnet_uses_no_verifier() {
    assert_none("devnet", &sources::devnet_breaches(&reader::files()));
}

fn package(name: &str, folder: &str, uses: &[&str]) -> Package {
    Package {
        name: name.to_owned(),
        folder: folder.to_owned(),
        uses: uses.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.to_owned(), text: text.to_owned() }
}

fn places(breaches: &[Breach]) -> Vec<&str> {
    breaches.iter().map(|breach| breach.place.as_str()).collect()
}

#[test]
fn a_lower_layer_that_uses_a_higher_one_is_found() {
    let sound = [
        package("core", "relay/core", &[]),
        package("wire", "relay/wire", &["core"]),
        package("journal", "relay/journal", &["core", "wire"]),
        package("api", "adapters/api", &["core"]),
        package("one", "adapters/one", &["core", "api"]),
        package("two", "adapters/two", &["core", "api"]),
        package("all", "adapters/all", &["one", "two"]),
        package("daemon", "relay/daemon", &["core", "journal", "all"]),
    ];
    assert_none("sound", &layers::breaches(&sound));
    for (at, uses) in [
        (0, "wire"),
        (1, "journal"),
        (2, "daemon"),
        (3, "one"),
        (4, "two"),
        (4, "journal"),
        (5, "all"),
        (6, "daemon"),
        (7, "one"),
    ] {
        let mut broken = sound.clone();
        broken[at].uses.insert(uses.to_owned());
        assert_eq!(places(&layers::breaches(&broken)), [broken[at].name.as_str()], "{} uses {uses}", broken[at].name);
    }
}

#[test]
fn a_folder_without_a_layer_is_found() {
    assert_eq!(places(&layers::breaches(&[package("x", "relay/x", &[])])), ["relay/x"]);
}

#[test]
fn an_impure_dependency_is_found() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let tree = |direct: &[&str], all: &[&str]| Tree { root: "core".to_owned(), direct: names(direct), all: names(all) };
    assert_none("sound", &purity::tree_breaches(&[tree(&["k256"], &["k256", "rand_core", "getrandom"])]));
    for (direct, all) in [
        (&["tokio"][..], &["tokio"][..]),
        (&["x"], &["x", "mio"]),
        (&["x"], &["x", "rand"]),
        (&["x"], &["x", "reqwest"]),
        (&["getrandom"], &["getrandom"]),
    ] {
        assert_eq!(places(&purity::tree_breaches(&[tree(direct, all)])), ["core"], "{all:?}");
    }
}

#[test]
fn an_impure_word_is_found_in_verifiers_and_allowed_in_the_node_and_in_tests() {
    let lib =
        file("adapters/one/src/lib.rs", "pub mod codec;\n#[cfg(feature = \"node\")]\npub mod node;\npub mod verify;\n");
    let verify = |text: &str| file("adapters/one/src/verify/seals.rs", text);
    for text in ["use tokio::x;", "std::net::TcpStream", "std::fs::read(p)", "Instant::now()", "rand::random()"] {
        let breaches = purity::source_breaches(&[lib.clone(), verify(text)]);
        assert_eq!(places(&breaches), ["adapters/one/src/verify/seals.rs:1"], "{text}");
    }
    assert_eq!(
        places(&purity::source_breaches(&[file("relay/core/src/x.rs", "\nSystemTime::now()")])),
        ["relay/core/src/x.rs:2"]
    );
    let fine = [
        lib,
        file("adapters/one/src/node/rpc.rs", "use tokio::x;"),
        file("adapters/one/src/node.rs", "use tokio::x;"),
        verify("// tokio is not for here\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}"),
        file("relay/link/src/lib.rs", "use tokio::x;"),
        file("relay/core/tests/x.rs", "use std::fs;"),
    ];
    assert_none("sound", &purity::source_breaches(&fine));
}

#[test]
fn a_chains_name_is_found_outside_its_folder() {
    let line = "/// As FISCO BCOS does it.";
    for path in
        ["relay/core/src/x.rs", "adapters/api/README.md", "adapters/evm-bft/src/x.rs", "relay/daemon/Cargo.toml"]
    {
        let breaches = words::breaches(&[file(path, line)]);
        assert_eq!(places(&breaches), [format!("{path}:1"), format!("{path}:1")], "both words");
    }
    assert_eq!(words::breaches(&[file("relay/core/src/x.rs", "fn ethereum_hash() {}")]).len(), 1);
    for path in
        ["adapters/fisco-bcos/src/x.rs", "adapters/all/src/lib.rs", "config/shenzhen.toml", "README.md", "tests/x.rs"]
    {
        assert_none(path, &words::breaches(&[file(path, line)]));
    }
    assert_none("a chain", &words::breaches(&[file("adapters/one/src/x.rs", "fn ethereum_hash() {}")]));
    assert_none("a comment", &words::breaches(&[file("relay/core/src/x.rs", "// as Ethereum does")]));
}

#[test]
fn a_name_that_says_nothing_is_found() {
    for path in ["relay/core/src/util.rs", "relay/x/src/common/y.rs", "tests/tests/helpers.rs", "relay/x/src/y/mod.rs"]
    {
        assert_eq!(places(&sources::name_breaches(&[file(path, "")])), [path]);
    }
    assert_none("sound", &sources::name_breaches(&[file("relay/core/src/model.rs", "")]));
}

#[test]
fn the_codec_library_outside_wire_is_found() {
    for path in ["relay/journal/src/x.rs", "relay/link/Cargo.toml"] {
        assert_eq!(places(&sources::codec_breaches(&[file(path, "use bincode::x;")])), [format!("{path}:1")]);
    }
    for path in ["relay/wire/src/x.rs", "relay/wire/Cargo.toml", "Cargo.toml", "deny.toml"] {
        assert_none(path, &sources::codec_breaches(&[file(path, "bincode")]));
    }
}

#[test]
fn a_devnet_that_checks_with_the_adapters_checks_is_found() {
    let adapter = file("adapters/one-bft/src/lib.rs", "");
    let devnet = |text: &str| [adapter.clone(), file("adapters/devnet/src/x.rs", text)];
    for (text, count) in [
        ("use cityrelay_one_bft::verify::seals;", 1),
        ("use cityrelay_one_bft::{codec::header, verify};", 1),
        ("use cityrelay_one_bft::{\n    verify::{a, b},\n    quorum::c,\n};", 2),
        ("let x = cityrelay_one_bft::tally::count();", 1),
    ] {
        let breaches = sources::devnet_breaches(&devnet(text));
        assert_eq!(places(&breaches), vec!["adapters/devnet/src/x.rs:1"; count], "{text}");
    }
    for text in [
        "use cityrelay_one_bft::codec::header;",
        "use cityrelay_one_bft::{codec::{header, rlp}};",
        "// cityrelay_one_bft::verify is not for here",
        "#[cfg(test)]\nmod tests {\n    use cityrelay_one_bft::verify;\n}",
    ] {
        assert_none(text, &sources::devnet_breaches(&devnet(text)));
    }
}
