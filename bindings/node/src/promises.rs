//! How finished calls reach JavaScript: one queue and one thread-safe function per environment (the main thread, each
//! worker). A job of the queue settles one promise, on the environment's own thread.
//!
//! The same thread-safe function makes the calls of the environment's token functions (see `custom.rs`), and tells it of
//! events (`events.rs`).
//!
//! Node waits for the thread-safe function as long as promises are pending, and no longer. When the environment ends, a
//! hook takes the function away under the lock that the waker takes too: from then on no thread of the engine touches
//! node, and jobs that still come are dropped unrun.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use napi::bindgen_prelude::{Either, External, Null, ToNapiValue};
use napi::{Env, JsError, JsValue, Result, Unknown, check_status, sys};
use napi_derive::napi;
use qauth_core::{CompletionQueue, Pending, TokenCall, guarded};

use crate::convert::{infallible, refused};

/// The promises of one environment.
pub(crate) struct Promises {
    pub(crate) queue: CompletionQueue,
    pub(crate) wake: Arc<Wake>,
}

/// A promise that was begun, and what gives its call up; nothing where the call was refused at once.
pub(crate) type Begun<'env> = (Unknown<'env>, Option<External<Cell<Option<Pending>>>>);

/// What an environment's thread is woken for.
pub(crate) struct Wake {
    /// `None` from the end of the environment on.
    live: Mutex<Option<Live>>,
    /// Only touched by the environment's thread.
    pending: AtomicUsize,
}

struct Live {
    function: Function,
    /// For JavaScript, beside promises.
    work: VecDeque<Work>,
    /// Calls whose function has not answered yet. Their end is that of the environment too: core then asks elsewhere.
    calls: HashMap<u64, TokenCall>,
    called: u64,
}

enum Work {
    /// Call the function of this number.
    Call(f64, TokenCall),
    /// Nobody can ask for the function of this number any more.
    Forget(f64),
    /// An event, as JSON, for the listeners of this number.
    Event(f64, String),
}

#[derive(Clone, Copy)]
struct Function(sys::napi_threadsafe_function);

// SAFETY: that any thread may call it is what a thread-safe function is for; the mutex of `Wake` ends that with the
// environment.
unsafe impl Send for Function {}

impl Live {
    fn wake(&self) {
        // SAFETY: the function is alive, since the lock is held with it inside. Nonblocking: an unbounded queue.
        unsafe {
            sys::napi_call_threadsafe_function(
                self.function.0,
                ptr::null_mut(),
                sys::ThreadsafeFunctionCallMode::nonblocking,
            )
        };
    }

    fn add(&mut self, work: Work) {
        self.work.push_back(work);
        self.wake();
    }
}

/// What JavaScript is told: a word of `lib/begin.js` and a number, and what more the word wants.
enum Told {
    /// The function, the call, and what is asked for: profile, scope, audience, resource.
    Call(f64, u64, [Option<String>; 4]),
    Forget(f64),
    Event(f64, String),
}

impl Wake {
    fn lock(&self) -> MutexGuard<'_, Option<Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From an engine's thread: the queue has something to run.
    fn wake(&self) {
        if let Some(live) = &*self.lock() {
            live.wake();
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.lock().is_some()
    }

    /// From any thread: the environment is to call its function of this number. The call comes back where it has ended.
    pub(crate) fn call(&self, function: f64, call: TokenCall) -> Option<TokenCall> {
        let mut live = self.lock();
        let Some(live) = &mut *live else { return Some(call) };
        live.add(Work::Call(function, call));
        None
    }

    /// From any thread: the environment needs not keep its function of this number.
    pub(crate) fn forget(&self, function: f64) {
        if let Some(live) = &mut *self.lock() {
            live.add(Work::Forget(function));
        }
    }

    /// On the environment's thread: its listeners of this number are to hear of an event.
    pub(crate) fn event(&self, listeners: f64, event: String) {
        if let Some(live) = &mut *self.lock() {
            // This very thread is about to look.
            live.work.push_back(Work::Event(listeners, event));
        }
    }

    /// The call of this number, unless it was answered already.
    pub(crate) fn take_call(&self, number: u64) -> Option<TokenCall> {
        self.lock().as_mut()?.calls.remove(&number)
    }

    /// On the environment's thread: tells JavaScript what has come, without the lock.
    ///
    /// # Safety
    /// `env` and `dispatcher` are those of the running callback.
    unsafe fn dispatch(&self, env: sys::napi_env, dispatcher: sys::napi_value) -> Result<()> {
        while let Some(told) = self.next() {
            // SAFETY: by this function's own contract; the values live as long as the callback. A status that is not ok
            // means that the environment is ending: its end answers the call.
            unsafe {
                let mut this = ptr::null_mut();
                check_status!(sys::napi_get_undefined(env, &mut this))?;
                let (word, number) = match &told {
                    Told::Call(function, ..) => ("call", function),
                    Told::Forget(function) => ("forget", function),
                    Told::Event(listeners, _) => ("event", listeners),
                };
                let mut arguments = vec![<&str>::to_napi_value(env, word)?, f64::to_napi_value(env, *number)?];
                match told {
                    Told::Call(_, call, asked) => {
                        arguments.push(f64::to_napi_value(env, call as f64)?);
                        for text in asked {
                            let text = text.map_or(Either::B(Null), Either::A);
                            arguments.push(<Either<String, Null>>::to_napi_value(env, text)?);
                        }
                    }
                    Told::Forget(_) => {}
                    Told::Event(_, event) => arguments.push(String::to_napi_value(env, event)?),
                }
                let (count, arguments) = (arguments.len(), arguments.as_ptr());
                check_status!(sys::napi_call_function(env, this, dispatcher, count, arguments, ptr::null_mut()))?;
            }
        }
        Ok(())
    }

    /// What JavaScript is to be told next.
    fn next(&self) -> Option<Told> {
        let mut live = self.lock();
        let live = live.as_mut()?;
        Some(match live.work.pop_front()? {
            Work::Forget(function) => Told::Forget(function),
            Work::Event(listeners, event) => Told::Event(listeners, event),
            Work::Call(function, call) => {
                live.called += 1;
                let (scope, audience, resource) = (call.scope.clone(), call.audience.clone(), call.resource.clone());
                let asked = [Some(call.profile.clone()), scope, audience, resource];
                live.calls.insert(live.called, call);
                Told::Call(function, live.called, asked)
            }
        })
    }

    /// A promise was made: node stays for it.
    fn begin(&self, env: sys::napi_env) {
        if self.pending.fetch_add(1, Ordering::Relaxed) == 0
            && let Some(live) = &*self.lock()
        {
            // SAFETY: on the environment's thread, with a function that is alive.
            unsafe { sys::napi_ref_threadsafe_function(env, live.function.0) };
        }
    }

    /// A promise was settled: node may go when it was the last one.
    fn end(&self, env: sys::napi_env) {
        if self.pending.fetch_sub(1, Ordering::Relaxed) == 1
            && let Some(live) = &*self.lock()
        {
            // SAFETY: as in `begin`.
            unsafe { sys::napi_unref_threadsafe_function(env, live.function.0) };
        }
    }
}

/// Made once when the package is loaded into an environment. `dispatcher` is told what has come: see `Told`.
#[napi]
pub(crate) fn promises(env: &Env, dispatcher: Unknown<'_>) -> Result<External<Promises>> {
    let wake = Arc::new(Wake { live: Mutex::new(None), pending: AtomicUsize::new(0) });
    let waker = wake.clone();
    let queue = CompletionQueue::with_waker(move || waker.wake());
    let name = env.create_string("qauth")?;
    let context: *mut c_void = Box::into_raw(Box::new(Promises { queue: queue.clone(), wake: wake.clone() })).cast();
    let mut function = ptr::null_mut();
    // SAFETY: env is that of the running call. The box belongs to the thread-safe function, whose finalizer frees it
    // after the last call of `run`.
    unsafe {
        check_status!(sys::napi_create_threadsafe_function(
            env.raw(),
            dispatcher.raw(),
            ptr::null_mut(),
            name.raw(),
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
    let function = Function(function);
    *wake.lock() = Some(Live { function, work: VecDeque::new(), calls: HashMap::new(), called: 0 });
    env.add_env_cleanup_hook(wake.clone(), |wake| {
        let ended = wake.lock().take();
        if let Some(live) = ended {
            // SAFETY: taken out under the lock, so that this is its last use; hooks run before node frees it.
            unsafe {
                sys::napi_release_threadsafe_function(live.function.0, sys::ThreadsafeFunctionReleaseMode::abort)
            };
            // Calls that are dropped unanswered are made elsewhere.
            let _ = guarded(move || drop(live));
        }
    })?;
    Ok(External::new(Promises { queue, wake }))
}

/// Gives a call up; its promise is rejected with `cancelled` unless it is settled already.
#[napi]
pub(crate) fn cancel(pending: &External<Cell<Option<Pending>>>) -> Result<()> {
    infallible(|| pending.take().map_or((), Pending::cancel))
}

unsafe extern "C" fn run(env: sys::napi_env, dispatcher: sys::napi_value, context: *mut c_void, _data: *mut c_void) {
    // Without an environment node is only emptying its own queue.
    if !env.is_null() {
        // SAFETY: the box of `promises`, alive until `release`.
        let promises = unsafe { &*context.cast::<Promises>() };
        // A panic must not unwind into node.
        let _ = guarded(|| promises.queue.run(Duration::ZERO));
        // SAFETY: both are those of this callback.
        let _ = guarded(|| unsafe { promises.wake.dispatch(env, dispatcher) });
    }
}

unsafe extern "C" fn release(_env: sys::napi_env, context: *mut c_void, _hint: *mut c_void) {
    // SAFETY: the box of `promises`; node finalizes a thread-safe function once, after its last call.
    let promises = unsafe { Box::from_raw(context.cast::<Promises>()) };
    let _ = guarded(move || drop(promises));
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
