//! Lists of headers.

use std::ffi::{CString, c_char};

use zeroize::Zeroize;

use crate::guard::quiet;
use crate::handle::{self, handle};
use crate::text::c_string;

/// What a request must carry, in order. Its texts live until qauth_headers_free; any thread may read them. Hold it no longer
/// than the request: it has the token in it.
pub struct qauth_headers {
    _opaque: [u8; 0],
}

handle! { qauth_headers(List) = b"qaHeader"; }

/// Names and values as C reads them. Values can hold tokens and are wiped.
pub(crate) struct List(Vec<(CString, CString)>);

impl List {
    pub(crate) fn new<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> List {
        List(headers.map(|(name, value)| (c_string(name), c_string(value))).collect())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn name(&self, index: usize) -> *const c_char {
        self.0.get(index).map_or(std::ptr::null(), |(name, _)| name.as_ptr())
    }

    pub(crate) fn value(&self, index: usize) -> *const c_char {
        self.0.get(index).map_or(std::ptr::null(), |(_, value)| value.as_ptr())
    }

    pub(crate) fn find(&self, name: &str) -> *const c_char {
        let found = self.0.iter().find(|(own, _)| own.as_bytes().eq_ignore_ascii_case(name.as_bytes()));
        found.map_or(std::ptr::null(), |(_, value)| value.as_ptr())
    }
}

impl Drop for List {
    fn drop(&mut self) {
        for (_, value) in &mut self.0 {
            value.zeroize();
        }
    }
}

/// How many headers there are; 0 for NULL. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_headers_count(headers: *const qauth_headers) -> usize {
    handle::peek(headers).map_or(0, List::len)
}

/// The name of the header at an index; NULL from the count on. Borrowed from the headers. Any thread; does not block.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_headers_name(headers: *const qauth_headers, index: usize) -> *const c_char {
    handle::peek(headers).map_or(std::ptr::null(), |headers| headers.name(index))
}

/// The value of the header at an index; NULL from the count on. Borrowed from the headers. Any thread; does not block.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_headers_value(headers: *const qauth_headers, index: usize) -> *const c_char {
    handle::peek(headers).map_or(std::ptr::null(), |headers| headers.value(index))
}

/// Frees the headers and their texts. NULL does nothing. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_headers_free(headers: *mut qauth_headers) {
    quiet((), || drop(handle::take(headers)));
}
