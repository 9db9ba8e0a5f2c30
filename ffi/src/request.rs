//! API calls as C describes them.

use std::ffi::c_char;
use std::time::Duration;

use qauth_core::Request;

use crate::code::QAUTH_TIMEOUT_DEFAULT;
use crate::guard::Result;
use crate::handle;
use crate::text;

/// A name and a value, both with a NUL after them. Borrowed during the call that gets it. Never changes its layout.
#[repr(C)]
pub struct qauth_pair {
    /// The name.
    pub name: *const c_char,
    /// The value.
    pub value: *const c_char,
}

/// An API call. Begin with QAUTH_REQUEST_INIT and set what is needed; everything is borrowed during the call that gets it, no
/// longer, also where that call is asynchronous. Members are only ever added at the end; struct_size tells the library which
/// of them the program knows.
#[repr(C)]
pub struct qauth_request {
    /// sizeof(qauth_request) in the program.
    pub struct_size: usize,
    /// "GET", "POST" and so on.
    pub method: *const c_char,
    /// A path below the profile's API address that begins with "/", or a whole URL on one of its hosts.
    pub target: *const c_char,
    /// Appended to the target's query, encoded; NULL for none.
    pub query: *const qauth_pair,
    /// How many pairs query has.
    pub query_count: usize,
    /// Sent beside those that the token needs; NULL for none. Authorization, Host and the framing headers are refused.
    pub headers: *const qauth_pair,
    /// How many pairs headers has.
    pub header_count: usize,
    /// Sent as it is; NULL for none.
    pub body: *const u8,
    /// How many bytes body has.
    pub body_length: usize,
    /// For token and call together. 0: only a token that is cached; QAUTH_TIMEOUT_DEFAULT: the profile's own limit.
    pub timeout_ms: u64,
}

/// `None` is the profile's own limit.
pub(crate) fn timeout(timeout_ms: u64) -> Option<Duration> {
    (timeout_ms != QAUTH_TIMEOUT_DEFAULT).then(|| Duration::from_millis(timeout_ms))
}

/// Copies the whole call, so that nothing of the caller's is needed any more.
pub(crate) fn read(request: *const qauth_request) -> Result<Request> {
    // SAFETY: as `sized` asks; pointers and numbers have any bits.
    let request = unsafe { handle::sized(request, "request", "QAUTH_REQUEST_INIT")? };
    let body = match (request.body.is_null(), request.body_length) {
        (true, 0) => None,
        _ => Some(handle::slice(request.body, request.body_length, "request.body")?.to_vec()),
    };
    Ok(Request {
        method: text::required(request.method, "request.method")?.to_owned(),
        target: text::required(request.target, "request.target")?.to_owned(),
        query: pairs(request.query, request.query_count, "request.query")?,
        headers: pairs(request.headers, request.header_count, "request.headers")?,
        body,
        timeout: timeout(request.timeout_ms),
    })
}

fn pairs(first: *const qauth_pair, count: usize, parameter: &str) -> Result<Vec<(String, String)>> {
    let pairs = handle::slice(first, count, parameter)?.iter().enumerate();
    pairs
        .map(|(index, pair)| {
            let name = text::required(pair.name, &format!("{parameter}[{index}].name"))?;
            let value = text::required(pair.value, &format!("{parameter}[{index}].value"))?;
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::Failure;

    fn request() -> qauth_request {
        qauth_request {
            struct_size: size_of::<qauth_request>(),
            method: c"GET".as_ptr(),
            target: c"/x".as_ptr(),
            query: std::ptr::null(),
            query_count: 0,
            headers: std::ptr::null(),
            header_count: 0,
            body: std::ptr::null(),
            body_length: 0,
            timeout_ms: QAUTH_TIMEOUT_DEFAULT,
        }
    }

    fn complaint(request: *const qauth_request) -> String {
        match read(request) {
            Err(Failure::Core(error)) => error.to_string(),
            _ => String::new(),
        }
    }

    #[test]
    fn a_newer_program_is_understood_as_long_as_it_uses_nothing_new() {
        // fault 77
        #[repr(C)]
        struct Newer {
            request: qauth_request,
            more: u64,
        }
        let mut newer = Newer { request: request(), more: 0 };
        newer.request.struct_size = size_of::<Newer>();
        let pointer = (&raw const newer).cast::<qauth_request>();
        assert_eq!(complaint(pointer), "");
        newer.more = 1;
        assert!(complaint((&raw const newer).cast()).contains("does not know"));
    }

    #[test]
    fn a_size_that_no_header_had_is_refused() {
        // fault 77
        for size in [0, 8, size_of::<qauth_request>() - 1, usize::MAX] {
            let wrong = qauth_request { struct_size: size, ..request() };
            assert!(complaint(&wrong).contains("struct_size"), "{size}");
        }
    }

    #[test]
    fn lengths_need_something_to_measure() {
        // fault 76
        assert!(complaint(&qauth_request { body_length: 1, ..request() }).contains("request.body"));
        assert!(
            complaint(&qauth_request { body: c"x".as_ptr().cast(), body_length: usize::MAX, ..request() })
                .contains("memory")
        );
        assert!(complaint(&qauth_request { query_count: 1, ..request() }).contains("request.query"));
        let pair = qauth_pair { name: c"n".as_ptr(), value: std::ptr::null() };
        assert!(
            complaint(&qauth_request { headers: &pair, header_count: 1, ..request() })
                .contains("request.headers[0].value")
        );
        let empty = qauth_request { body: c"".as_ptr().cast(), ..request() };
        assert_eq!(read(&empty).ok().unwrap().body, Some(Vec::new()));
    }
}
