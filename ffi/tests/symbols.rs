//! What the library exports is what the header declares is what `symbols.txt` lists, each with the version that added it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

const LISTED: &str = include_str!("../symbols.txt");
const HEADER: &str = include_str!("../../include/qauth.h");

/// Function and version, as `symbols.txt` has them.
fn listed() -> BTreeMap<&'static str, &'static str> {
    let lines = LISTED.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').unwrap_or_else(|| panic!("{line:?}: expected NAME VERSION"))).collect()
}

/// Function and comment, as the header has them.
fn declared() -> BTreeMap<&'static str, &'static str> {
    let functions = HEADER.split_once("extern \"C\" {").expect("functions").1;
    let mut declared = BTreeMap::new();
    for block in functions.split("/**").skip(1) {
        let (comment, code) = block.split_once("*/").expect("a comment has an end");
        if code.trim_start().starts_with('#') {
            continue;
        }
        let name = code.split('(').next().and_then(|before| before.rsplit([' ', '*']).next()).expect("a name");
        declared.insert(name, comment);
    }
    declared
}

#[test]
fn the_header_declares_what_is_listed() {
    let listed: BTreeSet<&str> = listed().into_keys().collect();
    let declared: BTreeSet<&str> = declared().into_keys().collect();
    assert_eq!(declared, listed, "ffi/symbols.txt lists every function with the version that added it");
}

#[test]
fn the_list_is_sorted_and_each_comment_tells_its_version() {
    let names: Vec<&str> = LISTED.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(names.is_sorted(), "ffi/symbols.txt is sorted");
    let declared = declared();
    for (name, version) in listed() {
        let comment = declared[name].replace("\n *", "");
        assert!(comment.contains(&format!("Since {version}.")), "{name}: its comment says \"Since {version}.\"");
    }
}

#[test]
fn the_library_exports_what_is_listed_and_nothing_else() {
    // fault 77
    let test = std::env::current_exe().expect("this test's own path");
    let library = test.parent().unwrap_or(Path::new(".")).join("libqauth.so");
    let output = Command::new("nm").args(["-D", "--defined-only"]).arg(&library).output().expect("nm of binutils");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names are ASCII");
    let exported: BTreeSet<&str> = text.lines().filter_map(|line| line.split_whitespace().next_back()).collect();
    assert_eq!(exported, listed().into_keys().collect());
}

#[test]
fn the_librarys_name_carries_the_abis_number() {
    let number = qauth::QAUTH_ABI_VERSION;
    assert!(HEADER.contains(&format!("#define QAUTH_ABI_VERSION {number}\n")));
    assert!(include_str!("../build.rs").contains(&format!("-soname,libqauth.so.{number}\"")));
    let makefile = include_str!("../../Makefile");
    let abi = makefile.lines().find_map(|line| line.strip_prefix("ABI")?.trim_start().strip_prefix(":="));
    assert_eq!(abi.map(str::trim), Some(number.to_string().as_str()));
}
