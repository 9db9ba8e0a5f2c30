//! Which library this is.

use std::ffi::{CStr, c_char};

/// The ABI's number: it rises only when a program compiled against an older header would break.
pub const QAUTH_ABI_VERSION: u32 = 1;

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => panic!("a version holds no NUL"),
};

/// The library's version, for instance "0.1.0". Static: never freed. Any thread; does not block; cannot fail.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn qauth_version() -> *const c_char {
    VERSION.as_ptr()
}

/// The ABI's number of the library that is loaded. A program may use it if it equals the QAUTH_ABI_VERSION that the program
/// was compiled with. Any thread; does not block; cannot fail. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn qauth_abi_version() -> u32 {
    QAUTH_ABI_VERSION
}
