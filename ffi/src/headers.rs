//! Lists of headers.

use std::ffi::{CString, c_char};

use qauth_core::Headers;
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
pub(crate) struct List {
    pairs: Vec<(CString, CString)>,
    /// Of the token in them; 0 for those of an answer.
    generation: u64,
}

impl List {
    pub(crate) fn new<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> List {
        List { pairs: headers.map(|(name, value)| (c_string(name), c_string(value))).collect(), generation: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.pairs.len()
    }

    pub(crate) fn name(&self, index: usize) -> *const c_char {
        self.pairs.get(index).map_or(std::ptr::null(), |(name, _)| name.as_ptr())
    }

    pub(crate) fn value(&self, index: usize) -> *const c_char {
        self.pairs.get(index).map_or(std::ptr::null(), |(_, value)| value.as_ptr())
    }

    pub(crate) fn find(&self, name: &str) -> *const c_char {
        let found = self.pairs.iter().find(|(own, _)| own.as_bytes().eq_ignore_ascii_case(name.as_bytes()));
        found.map_or(std::ptr::null(), |(_, value)| value.as_ptr())
    }
}

impl From<Headers> for List {
    fn from(headers: Headers) -> List {
        let mut list = List::new(headers.iter());
        list.generation = headers.generation();
        list
    }
}

impl Drop for List {
    fn drop(&mut self) {
        for (_, value) in &mut self.pairs {
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

/// The generation of the token in them, which qauth_source_answered takes; 0 for NULL. Any thread; does not block.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_headers_generation(headers: *const qauth_headers) -> u64 {
    handle::peek(headers).map_or(0, |headers| headers.generation)
}

/// Frees the headers and their texts. NULL does nothing. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_headers_free(headers: *mut qauth_headers) {
    quiet((), || drop(handle::take(headers)));
}
