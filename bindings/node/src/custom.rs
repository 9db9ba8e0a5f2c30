//! Token functions written in JavaScript.
//!
//! `lib/custom.js` keeps the functions of an environment by number. Core asks for a call wherever somebody waits for the
//! token; the call is then handed to the function's own environment, which makes it on its own thread, and never touches
//! another one.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, ThreadId};

use napi::Result;
use napi::bindgen_prelude::External;
use napi_derive::napi;
use qauth_core::{
    CustomToken, Engine, Error, ErrorCode, Secret, TokenCall, TokenFunction, TokenSource, duration_argument,
};

use serde_json::{Map, Value};

use crate::convert::{fallible, object};
use crate::promises::{Promises, Wake};

/// The functions that were given for one source. Environments that share the engine may each give their own: a call is
/// made where somebody waits for it, if that environment has one, else by the last one that was given.
#[derive(Clone, Default)]
struct Functions(Arc<Mutex<Vec<Given>>>);

/// One environment's function.
struct Given {
    thread: ThreadId,
    wake: Arc<Wake>,
    number: f64,
}

impl Drop for Given {
    fn drop(&mut self) {
        self.wake.forget(self.number);
    }
}

/// Those of the engine that all environments share, by name and options, as long as their source lives; every other engine
/// belongs to one environment.
static SHARED: Mutex<BTreeMap<(String, String), WeakFunctions>> = Mutex::new(BTreeMap::new());

type WeakFunctions = Weak<Mutex<Vec<Given>>>;

/// The functions of the shared engine's source of this name, with these options in whatever order.
fn shared_functions(name: &str, options: &Map<String, Value>) -> Functions {
    let sorted: BTreeMap<&String, &Value> = options.iter().collect();
    let key = (name.to_owned(), serde_json::to_string(&sorted).unwrap_or_default());
    let mut shared = lock(&SHARED);
    shared.retain(|_, functions| functions.strong_count() > 0);
    if let Some(functions) = shared.get(&key).and_then(Weak::upgrade) {
        return Functions(functions);
    }
    let functions = Functions::default();
    shared.insert(key, Arc::downgrade(&functions.0));
    functions
}

/// Locked before the `Wake` of an environment, never while one is locked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Functions {
    /// In place of the one that this environment gave before.
    fn add(&self, given: Given) {
        let mut all = lock(&self.0);
        all.retain(|other| !Arc::ptr_eq(&other.wake, &given.wake) && other.wake.is_alive());
        all.push(given);
    }

    fn remove(&self, number: f64, wake: &Arc<Wake>) {
        lock(&self.0).retain(|other| !Arc::ptr_eq(&other.wake, wake) || other.number != number);
    }
}

impl TokenFunction for Functions {
    fn begin(&self, mut call: TokenCall) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        let here = thread::current().id();
        let all = lock(&self.0);
        let (own, others): (Vec<_>, Vec<_>) = all.iter().rev().partition(|given| given.thread == here);
        for given in own.into_iter().chain(others) {
            call = given.wake.call(given.number, call)?;
        }
        let message = "the thread that gave the token function has ended: give one to customSource in this thread";
        call.answer(Err(Error::new(ErrorCode::Closed, message)));
        None
    }
}

/// The source whose tokens come from this environment's function of this number.
#[napi]
pub(crate) fn engine_custom_source(
    promises: &External<Promises>,
    engine: &External<Engine>,
    shared: bool,
    name: String,
    options: String,
    number: f64,
) -> Result<External<TokenSource>> {
    let wake = promises.wake.clone();
    // Forgotten, wherever this fails.
    let given = Given { thread: thread::current().id(), wake: wake.clone(), number };
    let options = object("options", &options)?;
    fallible(|| {
        let functions = match shared {
            true => shared_functions(&name, &options),
            false => Functions::default(),
        };
        // Before the source has it, so that no call finds it empty.
        functions.add(given);
        let made = engine.custom_source(&name, &options, functions.clone());
        if made.is_err() {
            functions.remove(number, &wake);
        }
        made
    })
    .map(External::new)
}

/// What a function gave, as `lib/custom.js` has read it.
#[napi(object, object_to_js = false)]
pub(crate) struct GivenToken {
    /// The token itself.
    pub access_token: String,
    /// Seconds.
    pub expires_in: Option<f64>,
    /// `Bearer` where nothing is said.
    pub token_type: Option<String>,
    /// What was granted.
    pub scope: Option<String>,
    /// A JSON object.
    pub extras: String,
}

/// Answers a call with a token.
#[napi]
pub(crate) fn call_given(promises: &External<Promises>, call: f64, token: GivenToken) -> Result<()> {
    let lifetime = || token.expires_in.map(|seconds| duration_argument("expiresIn", seconds)).transpose();
    let expires_in = lifetime().map_err(|error| {
        Error::new(ErrorCode::Protocol, format!("the token function gave no valid {}", error.message()))
    });
    let extras = object("extras", &token.extras)?;
    let given = expires_in.map(|expires_in| CustomToken {
        access_token: Secret::new(token.access_token),
        expires_in,
        token_type: token.token_type,
        scope: token.scope,
        extras,
    });
    answer(promises, call, given)
}

/// Answers a call with an error that was met on the way: of a class, with the words of a `QauthError` if it was one. An
/// unknown code is `protocol`.
#[napi]
pub(crate) fn call_failed(
    promises: &External<Promises>,
    call: f64,
    class: String,
    code: Option<String>,
    retry_after_ms: Option<f64>,
) -> Result<()> {
    let code = code.and_then(|code| ErrorCode::from_name(&code)).unwrap_or(ErrorCode::Protocol);
    let retry_after = retry_after_ms.and_then(|ms| duration_argument("retryAfterMs", ms / 1000.0).ok());
    answer(promises, call, Err(TokenCall::failed(code, &class, retry_after)))
}

/// Answers a call whose function gave no token; `message` tells what it gave instead, and not its value.
#[napi]
pub(crate) fn call_refused(promises: &External<Promises>, call: f64, message: String) -> Result<()> {
    answer(promises, call, Err(Error::new(ErrorCode::Protocol, format!("the token function gave no token: {message}"))))
}

fn answer(promises: &External<Promises>, call: f64, result: qauth_core::Result<CustomToken>) -> Result<()> {
    fallible(|| {
        if let Some(call) = promises.wake.take_call(call as u64) {
            call.answer(result);
        }
        Ok(())
    })
}
