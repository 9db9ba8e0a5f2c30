//! Tokens that a function of the program obtains: grant `custom`.

use std::ffi::{CString, c_char, c_void};
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use qauth_core::{CustomToken, Error, ErrorCode, Secret, TokenCall, TokenFunction};

use crate::code::{self, qauth_code};
use crate::engine::qauth_engine;
use crate::error::qauth_error;
use crate::guard::{Failure, Result, guard, quiet};
use crate::handle::{self, handle};
use crate::source::{Source, qauth_source};
use crate::text::{self, c_string, pointer};
use crate::user_data::{Lent, qauth_free_function};

/// One call of a program's own token function. Used up by exactly one of qauth_token_call_give, qauth_token_call_fail and
/// qauth_token_call_free, inside the function or later, on any thread. Its texts live until then.
pub struct qauth_token_call {
    _opaque: [u8; 0],
}

handle! { qauth_token_call(Call) = b"qaTokCal"; }

/// As expires_in_ms: nobody knows how long the token lives.
pub const QAUTH_EXPIRES_IN_UNKNOWN: i64 = -1;

/// What a token function gives. Begin with QAUTH_CUSTOM_TOKEN_INIT and set what is known; everything is borrowed during the
/// call that gets it. Members are only ever added at the end; struct_size tells the library which of them the program knows.
#[repr(C)]
pub struct qauth_custom_token {
    /// sizeof(qauth_custom_token) in the program.
    pub struct_size: usize,
    /// The token itself: 1 to 65536 visible ASCII characters.
    pub access_token: *const c_char,
    /// How long it lives, counted from when the function was called. QAUTH_EXPIRES_IN_UNKNOWN: the profile's
    /// default_lifetime, else five minutes.
    pub expires_in_ms: i64,
    /// NULL: "Bearer".
    pub token_type: *const c_char,
    /// The scopes that were granted; NULL where that is not known.
    pub scope: *const c_char,
    /// What qauth_token_extras_json is to give, a JSON object; NULL for none.
    pub extras_json: *const c_char,
}

/// A token function: begins to obtain a token for call, and owns it from now on. It may answer at once, or keep it, return,
/// and answer later; a call that is never answered ends in QAUTH_TIMEOUT for all who wait. It may call any function of this
/// library, and free any handle; but a token of its own source ends in QAUTH_TIMEOUT, since that one is this call. No
/// exception may leave it, nor longjmp.
pub type qauth_token_function = Option<unsafe extern "C" fn(user_data: *mut c_void, call: *mut qauth_token_call)>;

/// A call on its way to an answer, and the texts that C borrows from it.
pub(crate) struct Call {
    /// Never dropped in a child of fork: those who wait are its parent's.
    call: ManuallyDrop<TokenCall>,
    process: u32,
    profile: CString,
    scope: Option<CString>,
    audience: Option<CString>,
    resource: Option<CString>,
}

impl Call {
    fn new(call: TokenCall) -> Call {
        let own = |text: &Option<String>| text.as_deref().map(c_string);
        Call {
            profile: c_string(&call.profile),
            scope: own(&call.scope),
            audience: own(&call.audience),
            resource: own(&call.resource),
            process: std::process::id(),
            call: ManuallyDrop::new(call),
        }
    }

    fn answer(self, result: qauth_core::Result<CustomToken>) -> Result<()> {
        if self.process != std::process::id() {
            let message = "call: was made by the parent of this process, which alone can answer it";
            return Err(Error::new(ErrorCode::InvalidArgument, message).into());
        }
        ManuallyDrop::into_inner(self.call).answer(result);
        Ok(())
    }
}

/// A program's function and what it works on.
struct Function {
    function: unsafe extern "C" fn(*mut c_void, *mut qauth_token_call),
    user_data: Lent,
}

/// What core holds: the same function, counted.
struct Counted(Arc<Function>);

impl TokenFunction for Counted {
    fn begin(&self, call: TokenCall) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        let call = handle::give::<qauth_token_call>(Call::new(call));
        // SAFETY: the host gave this function and promised that it can be called so; we are on a thread of the host.
        unsafe { (self.0.function)(self.0.user_data.get(), call) };
        None
    }
}

/// Gives the source of a profile whose tokens come from a function of the program: a profile of the configuration whose grant
/// is "custom", or one made here of options_json ({"api_base_url": "https://..."}; NULL for none). Everything else is as with
/// any source: one call of the function for all who wait, a cache, renewal before the end.
///
/// function never runs on a thread of the library. In a call that waits for a token it runs on the caller's thread, inside of
/// that call, whose timeout_ms it may outlast; for the asynchronous ones on the thread that runs their queue, inside of
/// qauth_queue_run. One call for all who wait, made by whoever of them comes first. Calls for sources that were narrowed
/// differently may run at once, and so may a call and one that has outlasted the profile's timeout. A token that is due is
/// renewed when somebody asks for one.
///
/// On QAUTH_OK user_data is the library's: free_user_data (NULL if there is nothing to free) gets it once, when the source is
/// gone (qauth_engine_remove, qauth_engine_close, or the last handle) or has got another function by a later call with the
/// same name and options, and no call of it runs any more; sources that were narrowed before keep the old one. It runs on a
/// thread of the program, inside of a function of this library. On a failure user_data stays the caller's.
///
/// Fails like qauth_engine_source, and with QAUTH_CONFIG for a profile with another grant. On QAUTH_OK *source_out is the
/// caller's; free it once with qauth_source_free. Any thread; may read files, does not call function. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_engine_custom_source(
    engine: *const qauth_engine,
    name: *const c_char,
    options_json: *const c_char,
    function: qauth_token_function,
    user_data: *mut c_void,
    free_user_data: qauth_free_function,
    source_out: *mut *mut qauth_source,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let place = handle::out(source_out, "source_out")?;
        let engine = handle::borrow(engine, "engine")?;
        let name = text::required(name, "name")?;
        let options = text::object(options_json, "options_json")?;
        let Some(function) = function else {
            return Err(Error::new(ErrorCode::InvalidArgument, "function: must not be NULL").into());
        };
        let function = Arc::new(Function { function, user_data: Lent::new(user_data, free_user_data) });
        let source = engine.custom_source(name, &options, Counted(function.clone()))?;
        function.user_data.accept();
        place.put(Source::new(source));
        Ok(())
    })
}

fn read(call: *const qauth_token_call, read: impl FnOnce(&Call) -> *const c_char) -> *const c_char {
    handle::peek(call).map_or(std::ptr::null(), read)
}

/// The profile's name. Borrowed from the call; NULL for NULL. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_token_call_profile(call: *const qauth_token_call) -> *const c_char {
    read(call, |call| call.profile.as_ptr())
}

/// The scope that the token is to be narrowed to, or NULL. Borrowed from the call. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_token_call_scope(call: *const qauth_token_call) -> *const c_char {
    read(call, |call| pointer(call.scope.as_ref()))
}

/// The audience that the token is for, or NULL. Borrowed from the call. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_token_call_audience(call: *const qauth_token_call) -> *const c_char {
    read(call, |call| pointer(call.audience.as_ref()))
}

/// The resource that the token is for, or NULL. Borrowed from the call. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_token_call_resource(call: *const qauth_token_call) -> *const c_char {
    read(call, |call| pointer(call.resource.as_ref()))
}

fn given(token: *const qauth_custom_token) -> Result<CustomToken> {
    // SAFETY: as `sized` asks; pointers and numbers have any bits.
    let token = unsafe { handle::sized(token, "token", "QAUTH_CUSTOM_TOKEN_INIT")? };
    let expires_in = match token.expires_in_ms {
        QAUTH_EXPIRES_IN_UNKNOWN => None,
        known => Some(Duration::from_millis(u64::try_from(known).map_err(|_| {
            let message = "token.expires_in_ms: is negative, and not QAUTH_EXPIRES_IN_UNKNOWN";
            Error::new(ErrorCode::InvalidArgument, message)
        })?)),
    };
    Ok(CustomToken {
        access_token: Secret::new(text::required(token.access_token, "token.access_token")?),
        expires_in,
        token_type: text::optional(token.token_type, "token.token_type")?.map(str::to_owned),
        scope: text::optional(token.scope, "token.scope")?.map(str::to_owned),
        extras: text::object(token.extras_json, "token.extras_json")?,
    })
}

/// Answers a call with a token, and uses it up whatever is returned. With QAUTH_INVALID_ARGUMENT for what token points to, all
/// who wait get QAUTH_PROTOCOL; so they do where access_token is what no token can be. QAUTH_OK also where nobody waits any
/// more. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_token_call_give(
    call: *mut qauth_token_call,
    token: *const qauth_custom_token,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let call = handle::consume(call, "call")?;
        match given(token) {
            Ok(token) => call.answer(Ok(token)),
            Err(failure) => {
                call.answer(Err(failed()))?;
                Err(failure)
            }
        }
    })
}

/// Answers a call with an error, and uses it up whatever is returned: all who wait get code and message, and the error is
/// remembered for a moment, growing, like that of a server. message is for people and logs: it holds no secret and no token;
/// NULL: "the token function failed". With QAUTH_INVALID_ARGUMENT for code (one of the table above that is no success and
/// below 100) or message, they get QAUTH_PROTOCOL. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_token_call_fail(
    call: *mut qauth_token_call,
    code: qauth_code,
    message: *const c_char,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let call = handle::consume(call, "call")?;
        let refusal = || -> Result<Error> {
            let Some(code) = code::of_core(code) else {
                let message = format!("code: {code} is no code that a token function can fail with");
                return Err(Error::new(ErrorCode::InvalidArgument, message).into());
            };
            let message = text::optional(message, "message")?;
            Ok(Error::new(code, message.unwrap_or(FAILED)))
        };
        match refusal() {
            Ok(error) => call.answer(Err(error)),
            Err(failure) => {
                call.answer(Err(failed()))?;
                Err(failure)
            }
        }
    })
}

/// Gives a call up without an answer: all who wait get QAUTH_PROTOCOL. NULL does nothing. Any thread; does not block.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_token_call_free(call: *mut qauth_token_call) {
    quiet((), || {
        if let Some(call) = handle::take(call) {
            let message = "the token function gave its call up without an answer";
            // A child of fork frees its copy; there is nobody to tell.
            let _: std::result::Result<(), Failure> = call.answer(Err(Error::new(ErrorCode::Protocol, message)));
        }
    });
}

const FAILED: &str = "the token function failed";

fn failed() -> Error {
    Error::new(ErrorCode::Protocol, FAILED)
}
