//! The border: what goes wrong inside becomes a code and an error object; no panic crosses into C.

use std::panic::{self, AssertUnwindSafe};

use qauth_core::{Error, guarded};

use crate::code::{QAUTH_BUFFER_TOO_SMALL, QAUTH_INTERNAL, QAUTH_OK, qauth_code};
use crate::error::{self, qauth_error};
use crate::user_data::free_what_is_left;

/// Why a call failed.
pub(crate) enum Failure {
    /// Core says so.
    Core(Error),
    /// A text does not fit into the caller's buffer; it needs this many bytes.
    TooSmall(usize),
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Core(error)
    }
}

impl Failure {
    pub(crate) fn code(&self) -> qauth_code {
        match self {
            Failure::Core(error) => error.code() as qauth_code,
            Failure::TooSmall(_) => QAUTH_BUFFER_TOO_SMALL,
        }
    }
}

/// Runs a function's body; a failure goes to `error_out` if the caller wants it.
#[inline]
pub(crate) fn guard(error_out: *mut *mut qauth_error, body: impl FnOnce() -> Result<()>) -> qauth_code {
    let code = match guarded(body) {
        Ok(Ok(())) => QAUTH_OK,
        Ok(Err(failure)) => hand_over(error_out, &failure),
        Err(panicked) => hand_over(error_out, &Failure::Core(panicked)),
    };
    free_what_is_left();
    code
}

/// The same with a fast path before it: `hot` has done all, or gives `None` and has done nothing that counts. It is only not
/// marked as ours for core's panic hook, which would cost as much as all the rest of it.
#[inline(always)]
pub(crate) fn guard_hot(
    error_out: *mut *mut qauth_error,
    hot: impl FnOnce() -> Option<()>,
    body: impl FnOnce() -> Result<()>,
) -> qauth_code {
    match panic::catch_unwind(AssertUnwindSafe(hot)) {
        Ok(Some(())) => QAUTH_OK,
        _ => guard(error_out, body),
    }
}

/// The same for a function that has no error to give: a panic gives `otherwise`.
#[inline]
pub(crate) fn quiet<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    let value = guarded(body).unwrap_or(otherwise);
    free_what_is_left();
    value
}

#[cold]
#[inline(never)]
fn hand_over(error_out: *mut *mut qauth_error, failure: &Failure) -> qauth_code {
    guarded(|| error::put(error_out, failure)).map_or(QAUTH_INTERNAL, |()| failure.code())
}

#[cfg(test)]
mod tests {
    use qauth_core::ErrorCode;

    use super::*;
    use crate::code::QAUTH_INVALID_ARGUMENT;
    use crate::handle;

    #[test]
    fn a_panic_becomes_internal_and_names_its_place_but_not_its_text() {
        // fault 76
        let mut error = std::ptr::null_mut();
        assert_eq!(guard(&mut error, || panic!("secret-canary")), QAUTH_INTERNAL);
        let text = handle::peek(error).unwrap().message.to_str().unwrap().to_owned();
        assert!(text.contains("guard.rs:") && !text.contains("canary"), "{text}");
        drop(handle::take(error));
        assert_eq!(guard(std::ptr::null_mut(), || panic!("again")), QAUTH_INTERNAL);
        assert_eq!(quiet(7, || panic!("again")), 7);
    }

    #[test]
    fn a_failure_is_handed_over_only_where_it_is_wanted() {
        let fail = || Err(Error::new(ErrorCode::InvalidArgument, "no").into());
        assert_eq!(guard(std::ptr::null_mut(), fail), QAUTH_INVALID_ARGUMENT);
        let mut error = std::ptr::null_mut();
        assert_eq!(guard(&mut error, fail), QAUTH_INVALID_ARGUMENT);
        assert_eq!(handle::take(error).unwrap().code, QAUTH_INVALID_ARGUMENT);
    }
}
