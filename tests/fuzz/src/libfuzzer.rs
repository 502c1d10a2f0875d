//! The program that libFuzzer drives: one binary, the target named by `CITYRELAY_FUZZ_TARGET`.
#![no_main]

use std::sync::LazyLock;

static TARGET: LazyLock<&'static cityrelay_fuzz::Target> = LazyLock::new(|| {
    let name = std::env::var("CITYRELAY_FUZZ_TARGET").unwrap_or_default();
    cityrelay_fuzz::find(&name).unwrap_or_else(|| {
        let names: Vec<_> = cityrelay_fuzz::TARGETS.iter().map(|target| target.name).collect();
        panic!("CITYRELAY_FUZZ_TARGET: expected one of {}, got {name:?}", names.join(", "))
    })
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| (TARGET.run)(input));
