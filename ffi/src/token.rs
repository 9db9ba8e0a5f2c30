//! Tokens: counted, immutable.

use std::ffi::{CString, c_char};
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::time::UNIX_EPOCH;

use once_cell::race::OnceBox;
use qauth_core::Token;
use serde_json::Value;

use crate::guard::quiet;
use crate::handle::{self, handle};
use crate::string::Wiped;
use crate::text::{c_string, pointer};

/// A valid access token as one source lent it: immutable and counted. Its texts live until the last qauth_token_free; any
/// thread may read them. Keep it out of logs.
pub struct qauth_token {
    _opaque: [u8; 0],
}

handle! { qauth_token(Counted) = b"qaToken "; }

/// A token with its texts as C reads them.
pub(crate) struct Counted {
    pub(crate) token: Token,
    references: AtomicUsize,
    header: Wiped,
    /// Where in `header` the access token begins, if it ends there too.
    token_at: usize,
    /// The access token, where the header goes on after it.
    apart: Option<Wiped>,
    token_type: CString,
    scope: Option<CString>,
    extras: OnceBox<Wiped>,
}

impl From<Token> for Counted {
    fn from(token: Token) -> Counted {
        let header = Wiped(c_string(token.header_value()));
        let ends = token.header_value().ends_with(token.access_token());
        Counted {
            references: AtomicUsize::new(1),
            token_at: header.0.as_bytes().len().saturating_sub(token.access_token().len()),
            apart: (!ends).then(|| Wiped(c_string(token.access_token()))),
            header,
            token_type: c_string(token.token_type()),
            scope: token.scope().map(c_string),
            extras: OnceBox::new(),
            token,
        }
    }
}

/// The access token itself. Borrowed from the token; NULL for NULL. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_token_access_token(token: *const qauth_token) -> *const c_char {
    handle::peek(token).map_or(std::ptr::null(), |token| match &token.apart {
        Some(apart) => apart.0.as_ptr(),
        None => token.header.0.as_bytes_with_nul()[token.token_at..].as_ptr().cast(),
    })
}

/// The value for the header that carries it, for instance "Bearer eyJ...". Borrowed from the token; NULL for NULL. Any thread;
/// does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_token_header_value(token: *const qauth_token) -> *const c_char {
    handle::peek(token).map_or(std::ptr::null(), |token| token.header.0.as_ptr())
}

/// How the API wants it, as the server spelled it, "Bearer" where it said nothing (RFC 6749 7.1). Borrowed from the token; NULL
/// for NULL. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_token_type(token: *const qauth_token) -> *const c_char {
    handle::peek(token).map_or(std::ptr::null(), |token| token.token_type.as_ptr())
}

/// The scopes that the server granted (RFC 6749 3.3), or NULL where it did not say. Borrowed from the token. Any thread; does
/// not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_token_scope(token: *const qauth_token) -> *const c_char {
    handle::peek(token).map_or(std::ptr::null(), |token| pointer(token.scope.as_ref()))
}

/// When it ends by the wall clock, in seconds since 1970; -1 for a token without an end, and for NULL. Any thread; does not
/// block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_token_expires_at_unix_s(token: *const qauth_token) -> i64 {
    let end = handle::peek(token).and_then(|token| token.token.expires_at());
    end.and_then(|end| end.duration_since(UNIX_EPOCH).ok())
        .map_or(-1, |end| end.as_secs().try_into().unwrap_or(i64::MAX))
}

/// How long it is still valid, in milliseconds: 0 once it has ended, -1 for a token without an end, and for NULL. Any thread;
/// does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_token_expires_in_ms(token: *const qauth_token) -> i64 {
    quiet(0, || {
        let left = handle::peek(token).and_then(|token| token.token.expires_in());
        left.map_or(-1, |left| left.as_millis().try_into().unwrap_or(i64::MAX))
    })
}

/// Counts the tokens of one source upwards: a later token has a larger number. 0 for NULL. Any thread; does not block.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_token_generation(token: *const qauth_token) -> u64 {
    handle::peek(token).map_or(0, |token| token.token.generation())
}

/// Further members of the answer that the provider file keeps, as a JSON object. Borrowed from the token; NULL for NULL. Any
/// thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_token_extras_json(token: *const qauth_token) -> *const c_char {
    quiet(std::ptr::null(), || {
        handle::peek(token).map_or(std::ptr::null(), |token| {
            token.extras.get_or_init(|| Box::new(Value::Object(token.token.extras().clone()).into())).0.as_ptr()
        })
    })
}

/// Counts one more owner and returns the same pointer, to be freed once more with qauth_token_free. NULL gives NULL. Any thread;
/// does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_token_retain(token: *mut qauth_token) -> *mut qauth_token {
    match handle::peek(token) {
        Some(counted) => {
            counted.references.fetch_add(1, Ordering::Relaxed);
            token
        }
        None => std::ptr::null_mut(),
    }
}

/// Counts one owner less; the last one frees the token and its texts. NULL does nothing. Any thread; does not block.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_token_free(token: *mut qauth_token) {
    quiet((), || {
        if let Some(counted) = handle::peek(token)
            && counted.references.fetch_sub(1, Ordering::Release) == 1
        {
            // As in `Arc`: what other owners did with it comes before its end.
            fence(Ordering::Acquire);
            drop(handle::take(token));
        }
    });
}
