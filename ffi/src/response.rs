//! What an API answered.

use std::ffi::c_char;

use qauth_core::Response;

use crate::guard::quiet;
use crate::handle::{self, handle};
use crate::headers::List;
use crate::text;

/// What the API answered, whatever the status. Its texts and body live until qauth_response_free; any thread may read them.
pub struct qauth_response {
    _opaque: [u8; 0],
}

handle! { qauth_response(Answer) = b"qaRespon"; }

/// An answer as C reads it.
pub(crate) struct Answer {
    status: u16,
    headers: List,
    /// With a NUL after its end.
    body: Vec<u8>,
}

impl From<Response> for Answer {
    fn from(response: Response) -> Answer {
        let headers = response.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let headers = List::new(headers);
        let mut body = response.body;
        body.push(0);
        Answer { status: response.status, headers, body }
    }
}

/// The HTTP status; 0 for NULL. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_response_status(response: *const qauth_response) -> i32 {
    handle::peek(response).map_or(0, |response| i32::from(response.status))
}

/// How many headers there are; 0 for NULL. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_response_header_count(response: *const qauth_response) -> usize {
    handle::peek(response).map_or(0, |response| response.headers.len())
}

/// The name of the header at an index, in lower case; NULL from the count on. Borrowed from the response. Any thread; does not
/// block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_response_header_name(response: *const qauth_response, index: usize) -> *const c_char {
    handle::peek(response).map_or(std::ptr::null(), |response| response.headers.name(index))
}

/// The value of the header at an index; NULL from the count on. Borrowed from the response. Any thread; does not block.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_response_header_value(response: *const qauth_response, index: usize) -> *const c_char {
    handle::peek(response).map_or(std::ptr::null(), |response| response.headers.value(index))
}

/// The value of the first header of this name, in any case; NULL where there is none. Borrowed from the response. Any thread;
/// does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_response_header(response: *const qauth_response, name: *const c_char) -> *const c_char {
    match (handle::peek(response), text::required(name, "name")) {
        (Some(response), Ok(name)) => response.headers.find(name),
        _ => std::ptr::null(),
    }
}

/// The body, decoded, with a NUL after its last byte that its length does not count. Borrowed from the response; NULL for NULL
/// only. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_response_body(response: *const qauth_response) -> *const u8 {
    handle::peek(response).map_or(std::ptr::null(), |response| response.body.as_ptr())
}

/// The length of the body in bytes; 0 for NULL. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_response_body_length(response: *const qauth_response) -> usize {
    handle::peek(response).map_or(0, |response| response.body.len() - 1)
}

/// Frees a response with its texts and body. NULL does nothing. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_response_free(response: *mut qauth_response) {
    quiet((), || drop(handle::take(response)));
}
