//! Between the types of core and of JavaScript.

use napi::Error;
use qauth_core::{ErrorCode, Result, TokenOptions, duration_argument, guarded};
use serde_json::{Map, Value, json};

/// An error of core on its way to JavaScript: as JSON in the message of an `Error`, which `lib/error.js` turns into a
/// `QauthError`.
pub(crate) fn refused(error: qauth_core::Error) -> Error {
    Error::from_reason(detail(&error).to_string())
}

/// What a `QauthError` is made of.
pub(crate) fn detail(error: &qauth_core::Error) -> Value {
    json!({
        "code": error.code().name(),
        "message": error.to_string(),
        "profile": error.profile(),
        "provider": error.provider(),
        "status": error.status(),
        "serverError": error.server_error(),
        "serverErrorDescription": error.server_error_description(),
        "retryable": error.retryable(),
        "retryAfterMs": error.retry_after().map(|after| after.as_millis() as u64),
        "answer": error.answer(),
    })
}

/// One call of core. No panic leaves it: node would be ended by one.
pub(crate) fn fallible<T>(call: impl FnOnce() -> Result<T>) -> napi::Result<T> {
    guarded(call).and_then(|result| result).map_err(refused)
}

/// The same for a call that only fails by a fault in core.
pub(crate) fn infallible<T>(call: impl FnOnce() -> T) -> napi::Result<T> {
    guarded(call).map_err(refused)
}

/// The JSON text of an object, as `lib/check.js` writes it.
pub(crate) fn object(name: &str, text: &str) -> napi::Result<Map<String, Value>> {
    serde_json::from_str(text).map_err(|_| {
        refused(qauth_core::Error::new(ErrorCode::InvalidArgument, format!("{name}: expected an object of JSON")))
    })
}

pub(crate) fn options(timeout_ms: Option<f64>, min_remaining_ms: Option<f64>) -> napi::Result<TokenOptions> {
    let duration = |name, given: Option<f64>| given.map(|ms| duration_argument(name, ms / 1000.0)).transpose();
    fallible(|| {
        Ok(TokenOptions {
            timeout: duration("timeoutMs", timeout_ms)?,
            min_remaining: duration("minRemainingMs", min_remaining_ms)?.unwrap_or_default(),
        })
    })
}
