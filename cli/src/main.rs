//! The binary `qauth`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(qauth_cli::run(std::env::args_os()))
}
