//! The native module of the Node package: each function converts, makes one call of `qauth-core`, and converts back. The
//! classes that users see are written in JavaScript (`lib/*.js`); what they hold of this side are externals.

// The macro leaves its exports out of test builds, which lints are run on; what they call seems unused there.
#![cfg_attr(test, allow(dead_code))]

mod cached;
mod convert;
mod custom;
mod engine;
mod events;
mod promises;
mod source;
mod token;

use std::ffi::OsString;

use napi_derive::napi;

/// The library's version.
#[napi]
pub fn version() -> &'static str {
    qauth_core::VERSION
}

/// Runs the command line; returns the exit status.
#[napi]
pub fn cli(argv: Vec<String>) -> napi::Result<u32> {
    convert::infallible(|| qauth_cli::run(argv.into_iter().map(OsString::from)).into())
}

/// Does nothing: the floor that the benchmark measures against.
#[napi]
pub fn empty() {}
