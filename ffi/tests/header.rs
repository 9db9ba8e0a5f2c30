//! `include/qauth.h` is what cbindgen makes of the source. `QAUTH_UPDATE_HEADER=1 cargo test -p qauth-ffi --test header`
//! writes it anew.

use std::path::Path;

#[test]
fn the_committed_header_is_what_the_source_says() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = here.join("../include/qauth.h");
    let config = cbindgen::Config::from_file(here.join("cbindgen.toml")).expect("cbindgen.toml");
    let bindings = cbindgen::generate_with_config(here, config).expect("the header");
    let mut made = Vec::new();
    bindings.write(&mut made);
    let made = String::from_utf8(made).expect("UTF-8");
    if std::env::var_os("QAUTH_UPDATE_HEADER").is_some() {
        std::fs::write(&committed, &made).expect("include/qauth.h is writable");
    }
    let committed = std::fs::read_to_string(&committed).unwrap_or_default();
    let first = made.lines().zip(committed.lines()).position(|(made, committed)| made != committed);
    let first = first.unwrap_or_else(|| made.lines().count().min(committed.lines().count())) + 1;
    assert!(made == committed, "include/qauth.h is outdated from line {first} on; run `make header`");
}
