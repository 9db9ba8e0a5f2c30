//! Gives the shared library that users install its name for the dynamic linker: `libqauth.so.` and the ABI's number.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if target == "linux" {
        // The engine's threads, and what runs at the end of the process, must not lose their code to a `dlclose`.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
    // Builds for trying out are linked and run in place, where there is no `libqauth.so.1`.
    let installed = std::env::var("PROFILE").as_deref() == Ok("release");
    if target == "linux" && installed {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libqauth.so.1");
    }
}
