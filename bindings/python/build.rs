//! Tells the code which interpreter it is built for, and the linker that it stays.

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // The engine's threads, and what runs at a fork and at the end of the process, must not lose their code.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
