//! How a command ends when it has no result: what is said, and with which exit status.

use std::io;

use qauth_core::{Error, ErrorCode, Provider};
use serde_json::{Value, json};

use crate::console::Console;

/// The output could not be written, for instance because the disk is full (EX_IOERR of sysexits.h).
pub(crate) const OUTPUT_STATUS: u8 = 74;

/// Why a command has no result.
pub(crate) enum Failure {
    /// What the core reports, or a wrong argument; with a hint that fits better than that of the code.
    Core(Error, Option<String>),
    /// The API's own refusal, where the caller asked for an error (`request --fail`).
    Refused(Refusal),
    /// Standard output failed.
    Output(io::Error),
}

/// A status of 400 or more.
pub(crate) struct Refusal {
    pub(crate) profile: String,
    pub(crate) provider: String,
    pub(crate) status: u16,
    /// The header in seconds, if it has this form.
    pub(crate) retry_after: Option<u64>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Core(error, None)
    }
}

impl Refusal {
    /// As `call` judges it.
    fn code(&self) -> ErrorCode {
        match self.status {
            401 | 403 => ErrorCode::AccessDenied,
            429 => ErrorCode::RateLimited,
            500.. => ErrorCode::ServerError,
            _ => ErrorCode::InvalidArgument,
        }
    }

    fn to_json(&self) -> Value {
        let code = self.code();
        json!({"error": {
            "code": code.name(),
            "message": self.message(),
            "profile": self.profile,
            "provider": self.provider,
            "status": self.status,
            "server_error": null,
            "server_error_description": null,
            "retryable": code.retryable(),
            "retry_after": self.retry_after,
        }})
    }

    fn message(&self) -> String {
        format!("the API answered {}", self.status)
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
            Failure::Refused(refusal) => {
                let code = refusal.code();
                match console.is_json() {
                    true => console.complain(&format!("{}\n", refusal.to_json())),
                    false => console.error(&format!("{code}: profile {:?}: {}", refusal.profile, refusal.message())),
                }
                code.exit_status()
            }
            // The reader has seen enough: no fault of anybody's.
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Failure::Output(error) => {
                console.error(&format!("the output could not be written: {}", error.kind()));
                OUTPUT_STATUS
            }
        }
    }
}

/// The one object that `--json` promises.
pub(crate) fn to_json(error: &Error) -> Value {
    json!({"error": {
        "code": error.code().name(),
        "message": error.message(),
        "profile": error.profile(),
        "provider": error.provider(),
        "status": error.status(),
        "server_error": error.server_error(),
        "server_error_description": error.server_error_description(),
        "retryable": error.retryable(),
        "retry_after": error.retry_after().map(|after| after.as_secs_f64()),
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
