//! The conformance suite on its Rust face alone, so that `cargo test` runs it; `make conformance` runs every face.

use std::path::Path;

use qauth_tests::face::Face;
use qauth_tests::{case, suite};

#[test]
fn every_case_holds_in_rust() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
    let cases = case::load(&folder).unwrap_or_else(|why| panic!("{why}"));
    let rust = Face { name: "rust".into(), command: vec![env!("CARGO_BIN_EXE_conformance-rust").into()] };
    let report = suite::run(&cases, &[rust], false).unwrap_or_else(|why| panic!("{why}"));
    assert!(report.failed() == 0, "{}", report.text());
}

#[test]
fn a_driver_that_is_missing_is_a_failure_and_no_skip() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
    let cases = case::load(&folder).unwrap_or_else(|why| panic!("{why}"));
    let nobody = Face { name: "nobody".into(), command: vec!["/nonexistent/driver".into()] };
    let report = suite::run(&cases[..2], &[nobody], false).unwrap_or_else(|why| panic!("{why}"));
    assert!(report.failed() == 2 && report.text().contains("cannot be started"), "{}", report.text());
}

#[test]
fn only_the_command_line_has_cases_that_do_not_apply() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
    for case in case::load(&folder).unwrap_or_else(|why| panic!("{why}")) {
        assert!(case.not_for.keys().all(|face| face == "cli"), "{}", case.name);
        assert!(case.not_for.values().all(|reason| reason.len() > 20), "{}", case.name);
    }
}
