//! The error object.

use std::ffi::{CString, c_char};

use qauth_core::Error;

use crate::code::{QAUTH_INVALID_ARGUMENT, QAUTH_OK, qauth_code};
use crate::guard::{Failure, quiet};
use crate::handle::{self, handle};
use crate::string::Wiped;
use crate::text::{c_string, pointer};

/// Why a call failed: a code, a text to act on, and what the server said. None of them holds a secret or a token;
/// qauth_error_answer alone may. Its texts live until qauth_error_free; any thread may read them.
pub struct qauth_error {
    _opaque: [u8; 0],
}

handle! { qauth_error(Texts) = b"qaError "; }

/// An error as C reads it.
pub(crate) struct Texts {
    pub(crate) code: qauth_code,
    pub(crate) message: CString,
    profile: Option<CString>,
    provider: Option<CString>,
    http_status: i32,
    server_error: Option<CString>,
    server_error_description: Option<CString>,
    retryable: bool,
    retry_after_ms: i64,
    answer: Option<Wiped>,
}

impl From<&Error> for Texts {
    fn from(error: &Error) -> Texts {
        Texts {
            code: error.code() as qauth_code,
            message: c_string(&error.to_string()),
            profile: error.profile().map(c_string),
            provider: error.provider().map(c_string),
            http_status: error.status().map_or(0, i32::from),
            server_error: error.server_error().map(c_string),
            server_error_description: error.server_error_description().map(c_string),
            retryable: error.retryable(),
            retry_after_ms: error.retry_after().map_or(-1, |after| after.as_millis().try_into().unwrap_or(i64::MAX)),
            answer: error.answer().cloned().map(Wiped::from),
        }
    }
}

impl From<&Failure> for Texts {
    fn from(failure: &Failure) -> Texts {
        match failure {
            Failure::Core(error) => Texts::from(error),
            Failure::TooSmall(needed) => Texts {
                code: failure.code(),
                message: c_string(&format!("buffer_too_small: size: {needed} bytes are needed")),
                profile: None,
                provider: None,
                http_status: 0,
                server_error: None,
                server_error_description: None,
                retryable: false,
                retry_after_ms: -1,
                answer: None,
            },
        }
    }
}

/// Hands an error over, if the caller wants it.
pub(crate) fn put(error_out: *mut *mut qauth_error, failure: &Failure) {
    if let Ok(Some(place)) = handle::out_if_wanted(error_out, "error_out") {
        place.put(Texts::from(failure));
    }
}

fn read<T>(error: *const qauth_error, otherwise: T, read: impl FnOnce(&Texts) -> T) -> T {
    handle::peek(error).map_or(otherwise, read)
}

/// The code that the failed call returned; QAUTH_OK for NULL. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_error_code(error: *const qauth_error) -> qauth_code {
    if error.is_null() { QAUTH_OK } else { read(error, QAUTH_INVALID_ARGUMENT, |error| error.code) }
}

/// The whole text: code, profile, what happened and what to do, HTTP status, what the server said. For people and logs; its
/// wording is no part of the ABI. Borrowed from the error; NULL for NULL. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_error_message(error: *const qauth_error) -> *const c_char {
    read(error, std::ptr::null(), |error| error.message.as_ptr())
}

/// The profile whose token was asked for, or NULL. Borrowed from the error. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_error_profile(error: *const qauth_error) -> *const c_char {
    read(error, std::ptr::null(), |error| pointer(error.profile.as_ref()))
}

/// The provider of that profile, or NULL. Borrowed from the error. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_error_provider(error: *const qauth_error) -> *const c_char {
    read(error, std::ptr::null(), |error| pointer(error.provider.as_ref()))
}

/// The HTTP status of the server's answer; 0 where there was none. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_error_http_status(error: *const qauth_error) -> i32 {
    read(error, 0, |error| error.http_status)
}

/// The server's `error` (RFC 6749 5.2), at most 64 characters, or NULL. Borrowed from the error. Any thread; does not block.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_error_server_error(error: *const qauth_error) -> *const c_char {
    read(error, std::ptr::null(), |error| pointer(error.server_error.as_ref()))
}

/// The server's `error_description`, secrets masked, at most 256 printable characters, or NULL. Borrowed from the error. Any
/// thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_error_server_error_description(error: *const qauth_error) -> *const c_char {
    read(error, std::ptr::null(), |error| pointer(error.server_error_description.as_ref()))
}

/// Whether the same call may succeed later with nothing changed. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_error_retryable(error: *const qauth_error) -> bool {
    read(error, false, |error| error.retryable)
}

/// How long to wait, in milliseconds, before the next try can help; -1 where nobody knows. Any thread; does not block.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_error_retry_after_ms(error: *const qauth_error) -> i64 {
    read(error, -1, |error| error.retry_after_ms)
}

/// What the vendor answered, as JSON, where it holds a secret that is shown this once only and the call could not finish with
/// it: the profile could not be saved (qauth_source_call_saving), or the answer not be read (then it is its text). NULL with
/// every other error. It is the only copy: store it, and keep it out of logs. Borrowed from the error, and wiped with it. Any
/// thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_error_answer(error: *const qauth_error) -> *const c_char {
    read(error, std::ptr::null(), |error| pointer(error.answer.as_ref().map(|answer| &answer.0)))
}

/// Frees an error and its texts. NULL does nothing. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_error_free(error: *mut qauth_error) {
    quiet((), || drop(handle::take(error)));
}
