//! How finished calls reach JavaScript: one queue and one thread-safe function per environment (the main thread, each
//! worker). A job of the queue settles one promise, on the environment's own thread.
//!
//! Node waits for the thread-safe function as long as promises are pending, and no longer. When the environment ends, a
//! hook takes the function away under the lock that the waker takes too: from then on no thread of the engine touches
//! node, and jobs that still come are dropped unrun.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use napi::bindgen_prelude::{External, ToNapiValue};
use napi::{Env, JsError, Result, Unknown, check_status, sys};
use napi_derive::napi;
use qauth_core::{CompletionQueue, Pending, guarded};

use crate::convert::{infallible, refused};

/// The promises of one environment.
pub(crate) struct Promises {
    queue: CompletionQueue,
    wake: Arc<Wake>,
}

/// A promise that was begun, and what gives its call up; nothing where the call was refused at once.
pub(crate) type Begun<'env> = (Unknown<'env>, Option<External<Cell<Option<Pending>>>>);

struct Wake {
    /// `None` from the end of the environment on.
    function: Mutex<Option<Function>>,
    /// Only touched by the environment's thread.
    pending: AtomicUsize,
}

#[derive(Clone, Copy)]
struct Function(sys::napi_threadsafe_function);

// SAFETY: that any thread may call it is what a thread-safe function is for; the mutex of `Wake` ends that with the
// environment.
unsafe impl Send for Function {}

impl Wake {
    fn with(&self, use_it: impl FnOnce(sys::napi_threadsafe_function)) {
        let function = self.function.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Function(function)) = *function {
            use_it(function);
        }
    }

    /// From an engine's thread: the queue has something to run.
    fn wake(&self) {
        self.with(|function| {
            // SAFETY: the function is alive while the lock is held with it inside. Nonblocking: an unbounded queue.
            unsafe {
                sys::napi_call_threadsafe_function(
                    function,
                    ptr::null_mut(),
                    sys::ThreadsafeFunctionCallMode::nonblocking,
                )
            };
        });
    }

    /// A promise was made: node stays for it.
    fn begin(&self, env: sys::napi_env) {
        if self.pending.fetch_add(1, Ordering::Relaxed) == 0 {
            // SAFETY: on the environment's thread, with a function that is alive.
            self.with(|function| unsafe {
                sys::napi_ref_threadsafe_function(env, function);
            });
        }
    }

    /// A promise was settled: node may go when it was the last one.
    fn end(&self, env: sys::napi_env) {
        if self.pending.fetch_sub(1, Ordering::Relaxed) == 1 {
            // SAFETY: as in `begin`.
            self.with(|function| unsafe {
                sys::napi_unref_threadsafe_function(env, function);
            });
        }
    }
}

/// Made once when the package is loaded into an environment.
#[napi]
pub(crate) fn promises(env: &Env) -> Result<External<Promises>> {
    let wake = Arc::new(Wake { function: Mutex::new(None), pending: AtomicUsize::new(0) });
    let waker = wake.clone();
    let queue = CompletionQueue::with_waker(move || waker.wake());
    let name = env.create_string("qauth")?;
    let context: *mut c_void = Box::into_raw(Box::new(queue.clone())).cast();
    let mut function = ptr::null_mut();
    // SAFETY: env is that of the running call. The box belongs to the thread-safe function, whose finalizer frees it
    // after the last call of `run`.
    unsafe {
        check_status!(sys::napi_create_threadsafe_function(
            env.raw(),
            ptr::null_mut(),
            ptr::null_mut(),
            napi::JsValue::raw(&name),
            0,
            1,
            context,
            Some(release),
            context,
            Some(run),
            &mut function,
        ))?;
        check_status!(sys::napi_unref_threadsafe_function(env.raw(), function))?;
    }
    *wake.function.lock().unwrap_or_else(PoisonError::into_inner) = Some(Function(function));
    env.add_env_cleanup_hook(wake.clone(), |wake| {
        let function = wake.function.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Function(function)) = function {
            // SAFETY: taken out under the lock, so that this is its last use; hooks run before node frees it.
            unsafe { sys::napi_release_threadsafe_function(function, sys::ThreadsafeFunctionReleaseMode::abort) };
        }
    })?;
    Ok(External::new(Promises { queue, wake }))
}

/// Gives a call up; its promise is rejected with `cancelled` unless it is settled already.
#[napi]
pub(crate) fn cancel(pending: &External<Cell<Option<Pending>>>) -> Result<()> {
    infallible(|| pending.take().map_or((), Pending::cancel))
}

unsafe extern "C" fn run(env: sys::napi_env, _callback: sys::napi_value, context: *mut c_void, _data: *mut c_void) {
    // Without an environment node is only emptying its own queue.
    if !env.is_null() {
        // SAFETY: the box of `promises`, alive until `release`.
        let queue = unsafe { &*context.cast::<CompletionQueue>() };
        // A panic must not unwind into node.
        let _ = guarded(|| queue.run(Duration::ZERO));
    }
}

unsafe extern "C" fn release(_env: sys::napi_env, context: *mut c_void, _hint: *mut c_void) {
    // SAFETY: the box of `promises`; node finalizes a thread-safe function once, after its last call.
    let queue = unsafe { Box::from_raw(context.cast::<CompletionQueue>()) };
    let _ = guarded(move || drop(queue));
}

impl Promises {
    /// A promise for what `begin` asks core for.
    pub(crate) fn begin<'env>(
        &self,
        env: &'env Env,
        begin: impl FnOnce(&CompletionQueue, Deferred) -> qauth_core::Result<Pending>,
    ) -> Result<Begun<'env>> {
        let (mut raw, mut promise) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: env is that of the running call.
        let promise = unsafe {
            check_status!(sys::napi_create_promise(env.raw(), &mut raw, &mut promise))?;
            Unknown::from_raw_unchecked(env.raw(), promise)
        };
        self.wake.begin(env.raw());
        let deferred = Deferred { env: env.raw(), raw, wake: self.wake.clone() };
        let refusal = Deferred { wake: self.wake.clone(), ..deferred };
        match guarded(|| begin(&self.queue, deferred)).and_then(|begun| begun) {
            Ok(pending) => Ok((promise, Some(External::new(Cell::new(Some(pending)))))),
            // Core has not kept the other one then.
            Err(error) => {
                refusal.settle::<()>(Err(error));
                Ok((promise, None))
            }
        }
    }
}

/// A promise's other end. Dropped unused, which happens after the environment's end only, it touches nothing.
pub(crate) struct Deferred {
    env: sys::napi_env,
    raw: sys::napi_deferred,
    wake: Arc<Wake>,
}

// SAFETY: other threads only carry it; `settle` is called by jobs of the queue, which `run` runs on the environment's
// thread, and by `begin` on that thread too.
unsafe impl Send for Deferred {}

impl Deferred {
    /// On the environment's thread, once.
    pub(crate) fn settle<T: ToNapiValue>(self, result: qauth_core::Result<T>) {
        // SAFETY: the environment is alive, since its thread runs this from one of its calls; the deferred is used once.
        // A status that is not ok means that the environment is ending: nobody waits any more.
        unsafe {
            match result.map_err(refused).and_then(|value| T::to_napi_value(self.env, value)) {
                Ok(value) => sys::napi_resolve_deferred(self.env, self.raw, value),
                Err(error) => sys::napi_reject_deferred(self.env, self.raw, JsError::from(error).into_value(self.env)),
            };
        }
        self.wake.end(self.env);
    }
}
