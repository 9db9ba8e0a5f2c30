//! Texts that are handed over whole, as a rule JSON.

use std::ffi::{CString, c_char};

use qauth_core::CallResult;
use serde_json::Value;
use zeroize::Zeroize;

use crate::guard::quiet;
use crate::handle::{self, handle};
use crate::text::c_string;

/// A text of its own, as a rule JSON. It can hold what a vendor shows only once; its memory is wiped when it is freed.
pub struct qauth_string {
    _opaque: [u8; 0],
}

handle! { qauth_string(Wiped) = b"qaString"; }

/// A text whose memory is wiped.
pub(crate) struct Wiped(pub(crate) CString);

impl From<Value> for Wiped {
    fn from(value: Value) -> Wiped {
        let mut json = value.to_string();
        let text = c_string(&json);
        json.zeroize();
        Wiped(text)
    }
}

impl From<String> for Wiped {
    fn from(text: String) -> Wiped {
        Wiped(c_string(&text))
    }
}

impl From<CallResult> for Wiped {
    fn from(result: CallResult) -> Wiped {
        result.into_value().into()
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The text, with a NUL after it. Borrowed from the string; NULL for NULL. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_string_text(string: *const qauth_string) -> *const c_char {
    handle::peek(string).map_or(std::ptr::null(), |text| text.0.as_ptr())
}

/// The length of the text in bytes, without the NUL. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_string_length(string: *const qauth_string) -> usize {
    handle::peek(string).map_or(0, |text| text.0.as_bytes().len())
}

/// Frees a string. NULL does nothing. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_string_free(string: *mut qauth_string) {
    quiet((), || drop(handle::take(string)));
}
