//! Gathers the built-in provider files, which the library embeds as a folder: those of `providers` itself, not the
//! examples below it.

use std::path::Path;

fn main() {
    let from = Path::new("providers");
    let to = Path::new(&std::env::var_os("OUT_DIR").expect("cargo sets it")).join("providers");
    // What is no longer there must not stay embedded.
    let _ = std::fs::remove_dir_all(&to);
    std::fs::create_dir_all(&to).expect("the build folder can be written");
    println!("cargo::rerun-if-changed=providers");
    for entry in std::fs::read_dir(from).expect("the crate has its provider files").flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            std::fs::copy(&path, to.join(entry.file_name())).expect("the build folder can be written");
        }
    }
}
