//! The result codes: core's table of errors, number for number.

use std::ffi::{CStr, c_char};

use qauth_core::ErrorCode;

/// What became of a call: QAUTH_OK or one of the other QAUTH_... codes. Numbers are never reused; a program must expect
/// codes that it does not know.
pub type qauth_code = i32;

/// Success.
pub const QAUTH_OK: qauth_code = 0;
/// An argument of this call is wrong; nothing was sent.
pub const QAUTH_INVALID_ARGUMENT: qauth_code = 1;
/// The configuration is wrong, or the vendor says that the request as configured can never work.
pub const QAUTH_CONFIG: qauth_code = 2;
/// The server refused the client's own credentials (RFC 6749 5.2 invalid_client).
pub const QAUTH_INVALID_CLIENT: qauth_code = 3;
/// The server refused the user's login, assertion or refresh token (RFC 6749 5.2 invalid_grant).
pub const QAUTH_INVALID_GRANT: qauth_code = 4;
/// No token can be had without a person: a static token was rejected or the refresh token is gone.
pub const QAUTH_REAUTHENTICATION_REQUIRED: qauth_code = 5;
/// The API or server understood and refused (403, access_denied).
pub const QAUTH_ACCESS_DENIED: qauth_code = 6;
/// Too many requests (429); qauth_error_retry_after_ms says when to come back.
pub const QAUTH_RATE_LIMITED: qauth_code = 7;
/// The server failed (5xx).
pub const QAUTH_SERVER_ERROR: qauth_code = 8;
/// The server could not be reached or the connection broke.
pub const QAUTH_NETWORK: qauth_code = 9;
/// The deadline passed first.
pub const QAUTH_TIMEOUT: qauth_code = 10;
/// The TLS handshake failed; certificates are always verified.
pub const QAUTH_TLS: qauth_code = 11;
/// The answer makes no sense: not JSON, no token, a redirect, an unknown token type.
pub const QAUTH_PROTOCOL: qauth_code = 12;
/// A record in the store could not be read or written.
pub const QAUTH_STORE: qauth_code = 13;
/// The store cannot be reached and this profile must not renew without it.
pub const QAUTH_STORE_UNAVAILABLE: qauth_code = 14;
/// Another party keeps taking over this account's only session.
pub const QAUTH_SESSION_CONFLICT: qauth_code = 15;
/// This provider or profile cannot do what was asked.
pub const QAUTH_UNSUPPORTED: qauth_code = 16;
/// The caller cancelled the call.
pub const QAUTH_CANCELLED: qauth_code = 17;
/// The engine or source was closed.
pub const QAUTH_CLOSED: qauth_code = 18;
/// A fault in qauth itself; please report it.
pub const QAUTH_INTERNAL: qauth_code = 19;
/// The caller's buffer is too small; nothing of the text was copied. Codes from 100 on are the C library's own.
pub const QAUTH_BUFFER_TOO_SMALL: qauth_code = 100;

/// As timeout_ms: the profile's own limit (30 s unless it says otherwise).
pub const QAUTH_TIMEOUT_DEFAULT: u64 = u64::MAX;

/// The word for a code, for instance "invalid_client": the same in every language. "ok" for QAUTH_OK, "unknown" for a number
/// that is no code. Static: never freed. Any thread; does not block; cannot fail. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn qauth_code_name(code: qauth_code) -> *const c_char {
    name(code).as_ptr()
}

/// Whether the same call can succeed later with nothing changed on the caller's side. An error may know better:
/// qauth_error_retryable. Any thread; does not block; cannot fail. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn qauth_code_retryable(code: qauth_code) -> bool {
    of_core(code).is_some_and(ErrorCode::retryable)
}

pub(crate) fn of_core(code: qauth_code) -> Option<ErrorCode> {
    ErrorCode::ALL.iter().copied().find(|of_core| *of_core as qauth_code == code)
}

/// Core's words have no NUL behind them; the test below keeps these the same.
fn name(code: qauth_code) -> &'static CStr {
    match code {
        QAUTH_OK => c"ok",
        QAUTH_INVALID_ARGUMENT => c"invalid_argument",
        QAUTH_CONFIG => c"config",
        QAUTH_INVALID_CLIENT => c"invalid_client",
        QAUTH_INVALID_GRANT => c"invalid_grant",
        QAUTH_REAUTHENTICATION_REQUIRED => c"reauthentication_required",
        QAUTH_ACCESS_DENIED => c"access_denied",
        QAUTH_RATE_LIMITED => c"rate_limited",
        QAUTH_SERVER_ERROR => c"server_error",
        QAUTH_NETWORK => c"network",
        QAUTH_TIMEOUT => c"timeout",
        QAUTH_TLS => c"tls",
        QAUTH_PROTOCOL => c"protocol",
        QAUTH_STORE => c"store",
        QAUTH_STORE_UNAVAILABLE => c"store_unavailable",
        QAUTH_SESSION_CONFLICT => c"session_conflict",
        QAUTH_UNSUPPORTED => c"unsupported",
        QAUTH_CANCELLED => c"cancelled",
        QAUTH_CLOSED => c"closed",
        QAUTH_INTERNAL => c"internal",
        QAUTH_BUFFER_TOO_SMALL => c"buffer_too_small",
        _ => c"unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_core_has_its_number_and_name_here() {
        for code in ErrorCode::ALL {
            let number = *code as qauth_code;
            assert!(number > 0 && number < 100, "{code}: 100 and up are the C library's own");
            assert_eq!(name(number).to_str().unwrap(), code.name());
            assert_eq!(qauth_code_retryable(number), code.retryable());
        }
        let known = (-10..1000).filter(|number| name(*number) != c"unknown").count();
        assert_eq!(known, ErrorCode::ALL.len() + 2);
        assert!(!qauth_code_retryable(QAUTH_OK) && !qauth_code_retryable(QAUTH_BUFFER_TOO_SMALL));
    }

    #[test]
    fn each_constant_is_named_after_its_word() {
        let source = include_str!("code.rs");
        for code in ErrorCode::ALL {
            let line = format!("pub const QAUTH_{}: qauth_code = {};", code.name().to_uppercase(), *code as qauth_code);
            assert!(source.contains(&line), "{line}");
        }
    }
}
