//! The hot path: a function per source that tells the generation of the token that is valid now. JavaScript keeps the
//! string or promise of one generation and gives it again while this function gives that number.
//!
//! It is made without the `#[napi]` macro, because reading arguments costs more than everything else here: the source is
//! the function's own data instead.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use napi::bindgen_prelude::External;
use napi::{Env, Result, Unknown, check_status, sys};
use napi_derive::napi;
use qauth_core::{TokenRef, TokenSource, guarded};

/// `() => number`: the generation of the cached token, 0 where none is cached that needs no thought.
#[napi]
pub(crate) fn cached_generation<'env>(env: &'env Env, source: &External<TokenSource>) -> Result<Unknown<'env>> {
    function(env, source, token_generation)
}

/// The same for `header()`: 0 also where one constant header is not enough.
#[napi]
pub(crate) fn cached_header_generation<'env>(env: &'env Env, source: &External<TokenSource>) -> Result<Unknown<'env>> {
    function(env, source, header_generation)
}

type Callback = unsafe extern "C" fn(sys::napi_env, sys::napi_callback_info) -> sys::napi_value;

unsafe extern "C" fn token_generation(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: node calls this only as a function that `function` made.
    unsafe { answer(env, info, |source| source.with_cached(number)) }
}

unsafe extern "C" fn header_generation(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: as above.
    unsafe { answer(env, info, |source| source.with_cached_header(number)) }
}

/// Exact in a double: nobody obtains 2^53 tokens.
fn number(token: TokenRef<'_>) -> f64 {
    token.generation() as f64
}

/// # Safety
/// To be called from a callback of a function that [`function`] made, with that callback's arguments.
#[inline]
unsafe fn answer(
    env: sys::napi_env,
    info: sys::napi_callback_info,
    ask: impl FnOnce(&TokenSource) -> Option<f64>,
) -> sys::napi_value {
    let mut data = ptr::null_mut();
    let mut value = ptr::null_mut();
    // SAFETY: env and info are those of the running callback. The data is the box that `function` gave to this very
    // function, which lives until the function is collected, and is only read. A null value means undefined to node.
    unsafe {
        if sys::napi_get_cb_info(env, info, ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), &mut data) == 0 {
            let source = &*data.cast::<TokenSource>();
            // A panic must not unwind into node; the slow path then answers instead, with core's guard around it, which
            // costs too much here.
            let generation = catch_unwind(AssertUnwindSafe(|| ask(source))).ok().flatten().unwrap_or(0.0);
            sys::napi_create_double(env, generation, &mut value);
        }
    }
    value
}

fn function<'env>(env: &'env Env, source: &TokenSource, callback: Callback) -> Result<Unknown<'env>> {
    let data: *mut c_void = Box::into_raw(Box::new(source.clone())).cast();
    let mut made = ptr::null_mut();
    // SAFETY: env is that of the running call. The box belongs to the function from where its finalizer is added, and is
    // taken back where that did not happen; a function without it is dropped here and never called.
    unsafe {
        let mut status = sys::napi_create_function(env.raw(), ptr::null(), 0, Some(callback), data, &mut made);
        if status == 0 {
            status = sys::napi_add_finalizer(env.raw(), made, data, Some(release), ptr::null_mut(), ptr::null_mut());
        }
        if status != 0 {
            drop(Box::from_raw(data.cast::<TokenSource>()));
        }
        check_status!(status)?;
        Ok(Unknown::from_raw_unchecked(env.raw(), made))
    }
}

unsafe extern "C" fn release(_env: sys::napi_env, data: *mut c_void, _hint: *mut c_void) {
    // SAFETY: the box of `function`, whose owner has just been collected; a finalizer runs once.
    let source = unsafe { Box::from_raw(data.cast::<TokenSource>()) };
    // The last handle may drop a whole engine with it.
    let _ = guarded(move || drop(source));
}
