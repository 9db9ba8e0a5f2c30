//! Token sources.

use std::ffi::{CString, c_char};
use std::time::Duration;

use qauth_core::{Again, Answer, CallOptions, Error, ErrorCode, TokenOptions, TokenSource};

use crate::code::qauth_code;
use crate::error::qauth_error;
use crate::guard::{Failure, Result, guard, guard_hot, quiet};
use crate::handle::{self, handle};
use crate::headers::qauth_headers;
use crate::request::{self, qauth_request, timeout};
use crate::response::qauth_response;
use crate::string::qauth_string;
use crate::text::{self, c_string};
use crate::token::qauth_token;

/// The live object of one profile: a valid token whenever it is asked for one, or a clear error. Any thread, any number at
/// once.
pub struct qauth_source {
    _opaque: [u8; 0],
}

handle! { qauth_source(Source) = b"qaSource"; }

/// A source and the names that C borrows from it.
pub(crate) struct Source {
    pub(crate) core: TokenSource,
    profile: CString,
    provider: CString,
}

impl Source {
    pub(crate) fn new(core: TokenSource) -> Source {
        Source { profile: c_string(&core.profile()), provider: c_string(core.provider().name()), core }
    }
}

/// A source for a call that may wait: it lives on if the handle is freed meanwhile.
pub(crate) fn keep(source: *const qauth_source) -> Result<TokenSource> {
    Ok(handle::borrow(source, "source")?.core.clone())
}

/// What a call of an operation is told beside its parameters.
pub(crate) fn call_options(timeout_ms: u64, save_as: *const c_char) -> Result<CallOptions> {
    let token = TokenOptions { timeout: timeout(timeout_ms), ..TokenOptions::default() };
    Ok(CallOptions { token, save_as: text::optional(save_as, "save_as")?.map(str::to_owned) })
}

/// Gets a valid token, from the cache when a fresh one is there. Blocks the caller for at most timeout_ms (0: cached only;
/// QAUTH_TIMEOUT_DEFAULT: the profile's own limit). Any thread, any number at once; all who wait share one renewal. Fails with
/// what the renewal met, QAUTH_TIMEOUT (the renewal goes on) or QAUTH_CLOSED. On QAUTH_OK *token_out is the caller's; free it
/// once with qauth_token_free. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_source_token(
    source: *const qauth_source,
    timeout_ms: u64,
    token_out: *mut *mut qauth_token,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    // SAFETY: the same contract.
    unsafe { qauth_source_token_min(source, timeout_ms, 0, token_out, error_out) }
}

/// The same for a token that lives at least min_remaining_ms from now on. Fails with QAUTH_INVALID_ARGUMENT, too, where a fresh
/// token of this provider does not live that long. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_source_token_min(
    source: *const qauth_source,
    timeout_ms: u64,
    min_remaining_ms: u64,
    token_out: *mut *mut qauth_token,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let place = handle::out(token_out, "token_out")?;
        let min_remaining = Duration::from_millis(min_remaining_ms);
        let options = TokenOptions { timeout: timeout(timeout_ms), min_remaining };
        let cached = handle::borrow(source, "source")?.core.cached().filter(|_| min_remaining.is_zero());
        let token = match cached {
            Some(token) => token,
            None => keep(source)?.token_blocking(options)?,
        };
        place.put(token.into());
        Ok(())
    })
}

/// A cached token that needs no thought, not even about to be renewed; NULL where there is none. The caller's; free it once
/// with qauth_token_free. Any thread; never blocks, starts nothing. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_source_cached(source: *const qauth_source) -> *mut qauth_token {
    quiet(std::ptr::null_mut(), || {
        let cached = handle::peek(source).and_then(|source| source.core.cached());
        cached.map_or(std::ptr::null_mut(), |token| handle::give(token.into()))
    })
}

/// Copies the value of the one header that carries the token, for instance "Bearer eyJ...", with a NUL after it into
/// buffer, which has room for size bytes (0 with NULL, to ask for the size). The fast path: it counts no references, so
/// that any number of threads go at full speed. Blocks like qauth_source_token with the profile's own limit where no token is
/// cached. *needed_out (NULL if it does not matter) is written with QAUTH_OK and with QAUTH_BUFFER_TOO_SMALL: the bytes
/// needed, the NUL included. QAUTH_BUFFER_TOO_SMALL leaves an empty text in buffer, if size is not 0: never part of a token.
/// Wipe the buffer after use. Fails with QAUTH_UNSUPPORTED where one constant header is not enough: then take
/// qauth_source_headers. Any thread. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_source_header(
    source: *const qauth_source,
    buffer: *mut c_char,
    size: usize,
    needed_out: *mut usize,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    let hot = || {
        let buffer = handle::buffer(buffer, size, "buffer").ok()?;
        let needed_out = handle::out_if_wanted(needed_out, "needed_out").ok()?;
        let (needed, fitted) =
            handle::peek(source)?.core.with_cached_header(|token| buffer.copy(token.header_value()))?;
        fitted.then(|| needed_out.map(|place| place.write(needed)).unwrap_or_default())
    };
    guard_hot(error_out, hot, || {
        let buffer = handle::buffer(buffer, size, "buffer")?;
        let needed_out = handle::out_if_wanted(needed_out, "needed_out")?;
        let (needed, fitted) = keep(source)?.with_header(TokenOptions::default(), |header| buffer.copy(header))?;
        if let Some(place) = needed_out {
            place.write(needed);
        }
        if fitted { Ok(()) } else { Err(Failure::TooSmall(needed)) }
    })
}

/// Everything that a request to url must carry: the token's header and those beside it. url is a path below the profile's API
/// address or a whole URL. Blocks like qauth_source_token. Fails like it, with QAUTH_INVALID_ARGUMENT for a host that is not
/// the profile's, and with QAUTH_CONFIG where the profile has no API address. On QAUTH_OK *headers_out is the caller's; free it
/// once with qauth_headers_free. Any thread. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_source_headers(
    source: *const qauth_source,
    method: *const c_char,
    url: *const c_char,
    timeout_ms: u64,
    headers_out: *mut *mut qauth_headers,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let place = handle::out(headers_out, "headers_out")?;
        let source = keep(source)?;
        let (method, url) = (text::required(method, "method")?, text::required(url, "url")?);
        let options = TokenOptions { timeout: timeout(timeout_ms), ..TokenOptions::default() };
        place.put(source.headers_blocking(method, url, options)?.into());
        Ok(())
    })
}

/// Whether and why to send a request once more: one of the QAUTH_AGAIN_... numbers; a program takes one that it does not know
/// for QAUTH_AGAIN_NO.
pub type qauth_again = i32;

/// The answer stands.
pub const QAUTH_AGAIN_NO: qauth_again = 0;
/// The API wants a nonce in the proof (RFC 9449 9), and it came with the answer. Nothing is wrong with the token.
pub const QAUTH_AGAIN_NONCE: qauth_again = 1;
/// The API rejected the token, and the next caller gets a new one.
pub const QAUTH_AGAIN_TOKEN: qauth_again = 2;

/// For requests that the program sends itself: takes note of what the API answered to one for url (as for
/// qauth_source_headers) with headers of this generation (qauth_headers_generation). To be called after every answer: a 401
/// invalidates the token, and a nonce for DPoP may come with any. www_authenticate is that header's value, several joined by
/// ", "; dpop_nonce is DPoP-Nonce's; NULL for one that is not there. *again_out, NULL if that does not matter, says whether to
/// send the request once more with fresh headers, if it can be: for each reason once, a second time tells nothing new. Fails
/// with QAUTH_INVALID_ARGUMENT, and with QAUTH_CONFIG where url is a path and the profile has no API address. Any thread; does
/// not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_source_answered(
    source: *mut qauth_source,
    url: *const c_char,
    generation: u64,
    http_status: i32,
    www_authenticate: *const c_char,
    dpop_nonce: *const c_char,
    again_out: *mut qauth_again,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let place = handle::out_if_wanted(again_out, "again_out")?;
        let source = &handle::borrow(source, "source")?.core;
        let url = text::required(url, "url")?;
        let Some(status) = u16::try_from(http_status).ok().filter(|status| (100..1000).contains(status)) else {
            let message = format!("http_status: expected 100 to 999, got {http_status}");
            return Err(Error::new(ErrorCode::InvalidArgument, message).into());
        };
        let www_authenticate = text::optional(www_authenticate, "www_authenticate")?;
        let dpop_nonce = text::optional(dpop_nonce, "dpop_nonce")?;
        let answer = Answer { generation, status, www_authenticate: www_authenticate.as_slice(), dpop_nonce };
        let again = match source.answered(url, &answer)? {
            None => QAUTH_AGAIN_NO,
            Some(Again::Nonce) => QAUTH_AGAIN_NONCE,
            Some(Again::Token) => QAUTH_AGAIN_TOKEN,
        };
        if let Some(place) = place {
            place.write(again);
        }
        Ok(())
    })
}

/// Calls the API with the token attached. Every status is a result; a 401 leads to one new token and one more try, a 403 to
/// neither; a redirect is returned, never followed. Blocks for at most request->timeout_ms. Fails with what kept the token or
/// the answer away, and with QAUTH_INVALID_ARGUMENT for a host that is not the profile's. On QAUTH_OK *response_out is the
/// caller's; free it once with qauth_response_free. Any thread. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_source_request(
    source: *const qauth_source,
    request: *const qauth_request,
    response_out: *mut *mut qauth_response,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let place = handle::out(response_out, "response_out")?;
        let source = keep(source)?;
        place.put(source.request_blocking(&request::read(request)?)?.into());
        Ok(())
    })
}

/// Runs an operation that the provider file declares ("whoami"), with its parameters as a JSON object (NULL for none). Blocks
/// for at most timeout_ms. Fails like qauth_source_request; statuses that are no success are failures too: QAUTH_ACCESS_DENIED,
/// QAUTH_INVALID_ARGUMENT, QAUTH_RATE_LIMITED, QAUTH_SERVER_ERROR. On QAUTH_OK *result_json_out holds the answer ("true" or
/// "false" where the status is the result, "null" where there was no body) and is the caller's; free it once with
/// qauth_string_free. Any thread. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_source_call(
    source: *const qauth_source,
    operation: *const c_char,
    parameters_json: *const c_char,
    timeout_ms: u64,
    result_json_out: *mut *mut qauth_string,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    // SAFETY: the same contract.
    unsafe {
        qauth_source_call_saving(
            source,
            operation,
            parameters_json,
            std::ptr::null(),
            timeout_ms,
            result_json_out,
            error_out,
        )
    }
}

/// The same for an operation that makes a new client ("create_client"), which becomes the profile save_as: a file
/// profiles.d/NAME.toml beside the configuration, for its owner alone, written durably before this returns. It works at once,
/// in this engine (qauth_engine_source) and in others of that file. NULL saves nothing. Before anything is sent, fails with
/// QAUTH_INVALID_ARGUMENT for a name that is taken or none and for an operation that makes no client, QAUTH_CONFIG where the
/// engine is of no file, QAUTH_STORE where the profile's could not be written. After it, with QAUTH_STORE or QAUTH_PROTOCOL:
/// then qauth_error_answer has the answer. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_source_call_saving(
    source: *const qauth_source,
    operation: *const c_char,
    parameters_json: *const c_char,
    save_as: *const c_char,
    timeout_ms: u64,
    result_json_out: *mut *mut qauth_string,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let place = handle::out(result_json_out, "result_json_out")?;
        let source = keep(source)?;
        let operation = text::required(operation, "operation")?;
        let parameters = text::object(parameters_json, "parameters_json")?;
        let options = call_options(timeout_ms, save_as)?;
        place.put(source.call_blocking(operation, &parameters, options)?.into());
        Ok(())
    })
}

/// The API rejected this token. Acts only if it is still the current one; the next caller then gets a new one. *acted_out tells
/// whether it acted; NULL if that does not matter. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_source_invalidate(
    source: *mut qauth_source,
    token: *const qauth_token,
    acted_out: *mut bool,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let place = handle::out_if_wanted(acted_out, "acted_out")?;
        let source = &handle::borrow(source, "source")?.core;
        let acted = source.invalidate(&handle::borrow(token, "token")?.token);
        if let Some(place) = place {
            place.write(acted);
        }
        Ok(())
    })
}

/// The same by the token's generation, for who has not kept the token. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_source_invalidate_generation(
    source: *mut qauth_source,
    generation: u64,
    acted_out: *mut bool,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let place = handle::out_if_wanted(acted_out, "acted_out")?;
        let acted = handle::borrow(source, "source")?.core.invalidate_generation(generation);
        if let Some(place) = place {
            place.write(acted);
        }
        Ok(())
    })
}

/// Forgets remembered failures and pauses: the next call tries again at once. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_source_reset(source: *mut qauth_source, error_out: *mut *mut qauth_error) -> qauth_code {
    guard(error_out, || {
        handle::borrow(source, "source")?.core.reset();
        Ok(())
    })
}

/// Replaces keys of the profile, given as a JSON object, for instance a secret. Tokens of the old ones are not served any more.
/// Fails with QAUTH_CONFIG, naming the field; then nothing has changed. Any thread; may read files, does not wait for the
/// network. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_source_update_json(
    source: *mut qauth_source,
    changes_json: *const c_char,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let source = keep(source)?;
        text::required(changes_json, "changes_json")?;
        Ok(source.update(&text::object(changes_json, "changes_json")?)?)
    })
}

/// Gives a source of the same profile whose tokens are narrowed to a scope, audience or resource (NULL for none). The same
/// narrowing gives the same source behind a handle of its own. Fails with QAUTH_CONFIG where the provider's grant does not
/// send it. On QAUTH_OK *source_out is the caller's; free it once with qauth_source_free. Any thread; does not block.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_source_scoped(
    source: *const qauth_source,
    scope: *const c_char,
    audience: *const c_char,
    resource: *const c_char,
    source_out: *mut *mut qauth_source,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let place = handle::out(source_out, "source_out")?;
        let source = keep(source)?;
        let (scope, audience) = (text::optional(scope, "scope")?, text::optional(audience, "audience")?);
        let resource = text::optional(resource, "resource")?;
        place.put(Source::new(source.scoped(scope, audience, resource)?));
        Ok(())
    })
}

/// The profile's name. Borrowed from the source; NULL for NULL. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_source_profile(source: *const qauth_source) -> *const c_char {
    handle::peek(source).map_or(std::ptr::null(), |source| source.profile.as_ptr())
}

/// The provider's name. Borrowed from the source; NULL for NULL. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_source_provider(source: *const qauth_source) -> *const c_char {
    handle::peek(source).map_or(std::ptr::null(), |source| source.provider.as_ptr())
}

/// Frees this handle; the engine keeps the source itself, with its token, until qauth_engine_remove. Calls that are under way
/// with this handle must have returned. NULL does nothing. Any thread, also in a callback; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_source_free(source: *mut qauth_source) {
    quiet((), || drop(handle::take(source)));
}
