//! What is verified has one producer: nobody outside `cityrelay_core::verify` can make it.
//!
//! It stands here and not in `tests/`, because each case is built with all dependencies of the crate it stands in.

#[test]
fn verified_things_cannot_be_made_elsewhere() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/compile-fail/control.rs");
    cases.compile_fail("tests/compile-fail/header.rs");
    cases.compile_fail("tests/compile-fail/header_restored.rs");
    cases.compile_fail("tests/compile-fail/extension.rs");
    cases.compile_fail("tests/compile-fail/evidence.rs");
    cases.compile_fail("tests/compile-fail/changed.rs");
    cases.compile_fail("tests/compile-fail/default.rs");
}
