//! How a command ends when it has no result: what is said, and with which exit status.

use std::io;

use qauth_core::{Error, ErrorCode, Provider};
use serde_json::{Value, json};

use crate::console::Console;

/// The output could not be written, for instance because the disk is full (EX_IOERR of sysexits.h).
pub(crate) const OUTPUT_STATUS: u8 = 74;
/// Its word: the one that is not in the core's table, which knows no output.
pub(crate) const OUTPUT_NAME: &str = "output";

/// Why a command has no result.
pub(crate) enum Failure {
    /// What the core reports, or a wrong argument; with a hint that fits better than that of the code.
    Core(Error, Option<String>),
    /// Standard output failed.
    Output(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Core(error, None)
    }
}

impl Failure {
    /// Says it and returns the exit status.
    pub(crate) fn report(self, console: &mut Console<'_, '_>) -> u8 {
        match self {
            Failure::Core(error, hint) => {
                match console.is_json() {
                    true => console.complain(&format!("{}\n", to_json(&error))),
                    false => console.error(&error.to_string()),
                }
                if let Some(hint) = hint.or_else(|| hint_for(&error)) {
                    console.hint(&hint);
                }
                error.code().exit_status()
            }
            // The reader has seen enough: no fault of anybody's.
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Failure::Output(error) => {
                let message = format!("the result could not be written: {}", error.kind());
                match console.is_json() {
                    true => console.complain(&format!("{}\n", object(OUTPUT_NAME, &message, false))),
                    false => console.error(&format!("{OUTPUT_NAME}: {message}")),
                }
                OUTPUT_STATUS
            }
        }
    }
}

/// The one object that `--json` promises.
pub(crate) fn to_json(error: &Error) -> Value {
    let mut object = object(error.code().name(), error.message(), error.retryable());
    let inner = &mut object["error"];
    inner["profile"] = json!(error.profile());
    inner["provider"] = json!(error.provider());
    inner["status"] = json!(error.status());
    inner["server_error"] = json!(error.server_error());
    inner["server_error_description"] = json!(error.server_error_description());
    inner["retry_after"] = json!(error.retry_after().map(|after| after.as_secs_f64()));
    object
}

/// All its members, in their order.
fn object(code: &str, message: &str, retryable: bool) -> Value {
    json!({"error": {
        "code": code,
        "message": message,
        "profile": null,
        "provider": null,
        "status": null,
        "server_error": null,
        "server_error_description": null,
        "retryable": retryable,
        "retry_after": null,
    }})
}

/// Where to look next, when the message does not say it already.
fn hint_for(error: &Error) -> Option<String> {
    // `qauth providers` knows a provider file by its path only, which is not at hand here.
    let provider = error.provider().filter(|name| Provider::built_in(name).is_ok());
    Some(match (error.code(), provider) {
        (ErrorCode::Config, Some(name)) => {
            format!("`qauth providers {name}` shows its fields and where they are read from")
        }
        (ErrorCode::InvalidClient | ErrorCode::InvalidGrant, Some(name)) => {
            format!("check the profile's credentials; `qauth providers {name}` shows where they are read from")
        }
        (ErrorCode::Network, _) => {
            "check base_url and the network; a proxy is used only where [transport] names one".to_owned()
        }
        (ErrorCode::Tls, _) => {
            "a private certificate authority belongs in the configuration: [transport] ca_file".to_owned()
        }
        (ErrorCode::Timeout, _) => "--timeout SECONDS allows more time".to_owned(),
        _ => return None,
    })
}
