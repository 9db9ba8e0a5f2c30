//! Token functions in Python: where they run is decided here and in `qauth._custom`.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyMapping, PyString, PyTuple};
use qauth_core::{CustomToken, Error, ErrorCode};

use crate::call::{call, imported, unraisable};
use crate::convert::{self, Seconds};

thread_local! {
    /// What functions leave for the call that blocks this thread. `None`: the thread runs a loop's queue, or no call.
    static LEFT: RefCell<Option<Left>> = const { RefCell::new(None) };
}

#[derive(Default)]
pub(crate) struct Left {
    /// What this thread is to run once it has the interpreter lock again. It let go of it, and must not take it in any other
    /// way than it will: the interpreter may have ended.
    begun: Option<(Arc<Py<PyAny>>, qauth_core::TokenCall)>,
    /// Ends the call that blocks this thread, and no other; what it was to answer is another waiter's from then on.
    interrupted: Option<(PyErr, Option<qauth_core::TokenCall>)>,
    /// The exception behind the error with this message, which every waiter gets.
    failed: Option<(String, PyErr)>,
}

impl Left {
    pub(crate) fn interrupted(&mut self) -> Option<PyErr> {
        self.interrupted.take().map(|(error, _)| error)
    }

    /// Names the exception as the error's cause, if it is that.
    pub(crate) fn explain(self, py: Python<'_>, error: PyErr) -> PyErr {
        if let Some((message, failed)) = self.failed
            && error.value(py).getattr("message").is_ok_and(|told| told.eq(message).unwrap_or(false))
        {
            error.set_cause(py, Some(failed));
        }
        error
    }
}

/// Puts back what was there before, whatever happens.
struct Before(Option<Left>);

impl Drop for Before {
    fn drop(&mut self) {
        // What is dropped may run Python code, and that another call: not while the cell is lent.
        drop(LEFT.replace(self.0.take()));
    }
}

/// Runs a call that blocks this thread: token functions run in it.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> (T, Left) {
    let _before = Before(LEFT.replace(Some(Left::default())));
    let result = work();
    (result, LEFT.replace(None).unwrap_or_default())
}

/// Runs what a loop's queue brings: token functions run in the loop.
pub(crate) fn in_loop(work: impl FnOnce()) {
    let _before = Before(LEFT.replace(None));
    work();
}

/// Ends without a result when something is to be done with the interpreter lock.
pub(crate) async fn interruptible<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let poll = |context: &mut Context<'_>| match work.as_mut().poll(context) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending if LEFT.with_borrow(|left| left.as_ref().is_some_and(|left| left.begun.is_some())) => {
            Poll::Ready(None)
        }
        Poll::Pending => Poll::Pending,
    };
    poll_fn(poll).await
}

/// Runs the token function whose turn has come, if one has. Whether the call that blocks this thread goes on.
pub(crate) fn run_begun(py: Python<'_>) -> bool {
    if let Some((function, call)) = LEFT.with_borrow_mut(|left| left.as_mut().and_then(|left| left.begun.take())) {
        run(function.bind(py), "run", call);
    }
    LEFT.with_borrow(|left| left.as_ref().is_none_or(|left| left.interrupted.is_none()))
}

/// Whether this thread's own loop is obtaining a token of this profile by a coroutine.
pub(crate) fn runs_in_this_loop(py: Python<'_>, source: &qauth_core::TokenSource) -> PyResult<bool> {
    static RUNNING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    for reply in call(imported(py, &RUNNING, "qauth._asyncio", "running_here")?, (), None)?.try_iter()? {
        if reply?.cast::<Reply>()?.get().is_of(source) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The error for a call that blocks that loop.
pub(crate) fn blocks(py: Python<'_>, source: &qauth_core::TokenSource) -> PyErr {
    static BLOCKED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let made = imported(py, &BLOCKED, "qauth._custom", "blocked");
    made.and_then(|made| call(made, (source.profile(),), None)).map_or_else(|failed| failed, PyErr::from_value)
}

/// A `qauth._custom.Function`, which knows how its function wants to be called.
pub(crate) struct Function(Arc<Py<PyAny>>);

impl Function {
    pub(crate) fn new(function: &Bound<'_, PyAny>) -> PyResult<Function> {
        static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let class = imported(function.py(), &CLASS, "qauth._custom", "Function")?;
        call(class, (function,), None).map(|function| Function(Arc::new(function.unbind())))
    }
}

impl qauth_core::TokenFunction for Function {
    fn begin(&self, given: qauth_core::TokenCall) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        let given = LEFT.with_borrow_mut(|left| match left {
            Some(left) => {
                // One at a time: another one is given back, for whoever waits next.
                left.begun.get_or_insert((self.0.clone(), given));
                None
            }
            None => Some(given),
        });
        if let Some(given) = given {
            Python::attach(|py| run(self.0.bind(py), "start", given));
        }
        None
    }
}

fn run(function: &Bound<'_, PyAny>, method: &str, given: qauth_core::TokenCall) {
    let py = function.py();
    let about = TokenCall {
        profile: given.profile.clone(),
        scope: given.scope.clone(),
        audience: given.audience.clone(),
        resource: given.resource.clone(),
    };
    let begun = Py::new(py, Reply(Mutex::new(Some(given)))).and_then(|reply| {
        let begun = function.getattr(method).and_then(|method| call(&method, (about, &reply), None));
        // Both answer what they catch; what is left over is a fault, or came between two of their lines.
        begun.map(drop).or_else(|error| reply.get().leave(error.into_value(py).into_bound(py).into_any()))
    });
    if let Err(error) = begun {
        unraisable(py, error, None);
    }
}

/// What a token function is asked for.
#[pyclass(frozen, module = "qauth")]
pub(crate) struct TokenCall {
    /// The profile's name.
    #[pyo3(get)]
    profile: String,
    /// What the token is to be narrowed to, if anything.
    #[pyo3(get)]
    scope: Option<String>,
    /// The same.
    #[pyo3(get)]
    audience: Option<String>,
    /// The same.
    #[pyo3(get)]
    resource: Option<String>,
}

#[pymethods]
impl TokenCall {
    fn __repr__(&self) -> String {
        format!("<qauth.TokenCall for {:?}>", self.profile)
    }
}

/// The one answer to a call of a token function. Dropped without one, the call is another waiter's.
#[pyclass(frozen, module = "qauth._qauth")]
pub(crate) struct Reply(Mutex<Option<qauth_core::TokenCall>>);

impl Reply {
    fn is_of(&self, source: &qauth_core::TokenSource) -> bool {
        let call = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        call.as_ref().is_some_and(|call| source.waits_for(call))
    }

    fn take(&self) -> Option<qauth_core::TokenCall> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[pymethods]
impl Reply {
    /// What the function gave.
    #[pyo3(signature = (given, /))]
    fn give(&self, given: &Bound<'_, PyAny>) {
        let token = token(given);
        if let Some(call) = self.take() {
            call.answer(token);
        }
    }

    /// The function has raised this: an error for everybody who waits.
    #[pyo3(signature = (error, /))]
    fn fail(&self, error: Bound<'_, PyAny>) -> PyResult<()> {
        let Some(call) = self.take() else { return Ok(()) };
        let failed = failed(&error)?;
        let behind = (failed.message().to_owned(), PyErr::from_value(error));
        // What is dropped here may run Python code: not while the cell is lent.
        let _old = LEFT.with_borrow_mut(|left| left.as_mut().and_then(|left| left.failed.replace(behind)));
        call.answer(Err(failed));
        Ok(())
    }

    /// The function has raised this: for the call alone that blocks this thread, if one does; else as `fail`.
    #[pyo3(signature = (error, /))]
    fn leave(&self, error: Bound<'_, PyAny>) -> PyResult<()> {
        if LEFT.with_borrow(Option::is_none) {
            return self.fail(error);
        }
        let end = (PyErr::from_value(error), self.take());
        let _old = LEFT.with_borrow_mut(|left| left.as_mut().and_then(|left| left.interrupted.replace(end)));
        Ok(())
    }

    /// Somebody else is to make the call.
    fn give_back(&self) {
        drop(self.take());
    }
}

/// A function's exception as everybody's error: with the code of a `qauth.Error`, and never with its text.
fn failed(error: &Bound<'_, PyAny>) -> PyResult<Error> {
    static BASE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let (mut code, mut retry_after) = (ErrorCode::Protocol, None);
    if error.is_instance(imported(error.py(), &BASE, "qauth._errors", "Error")?)? {
        let name = error.getattr("code")?.extract::<String>().ok();
        code = name.and_then(|name| ErrorCode::from_name(&name)).unwrap_or(code);
        let seconds = error.getattr("retry_after")?.extract::<f64>().ok();
        retry_after = seconds.and_then(|seconds| qauth_core::duration_argument("retry_after", seconds).ok());
    }
    Ok(qauth_core::TokenCall::failed(code, &error.get_type().name()?.to_string_lossy(), retry_after))
}

/// What a function gave as a token; an error never shows it.
fn token(given: &Bound<'_, PyAny>) -> Result<CustomToken, Error> {
    if given.is_instance_of::<PyString>() {
        return Ok(CustomToken::new(word(given, "access_token")?, None));
    }
    if let Ok(pair) = given.cast::<PyTuple>() {
        let (Ok(text), Ok(expires_in), 2) = (pair.get_item(0), pair.get_item(1), pair.len()) else {
            return Err(wrong("a tuple of another length", GIVEN));
        };
        return Ok(CustomToken::new(word(&text, "access_token")?, lifetime(&expires_in)?));
    }
    let Ok(mapping) = given.cast::<PyMapping>() else { return Err(wrong(&kind(given), GIVEN)) };
    let unreadable = |_| wrong("a mapping that cannot be read", GIVEN);
    let members = PyDict::new(given.py());
    members.update(mapping).map_err(unreadable)?;
    let member = |name: &str| Ok::<_, Error>(members.get_item(name).map_err(unreadable)?.filter(|it| !it.is_none()));
    let named = |name: &str| member(name)?.map(|it| word(&it, name)).transpose();
    let Some(access_token) = named("access_token")? else {
        return Err(wrong("a mapping without access_token", GIVEN));
    };
    let (token_type, scope) = (named("token_type")?, named("scope")?);
    let expires_in = member("expires_in")?.map_or(Ok(None), |it| lifetime(&it))?;
    // Names of members stay out of errors: where a function mixes things up, one may be the token.
    let extras = convert::object(&members, "")
        .map_err(|_| wrong("a further member that is no JSON", "texts, numbers, bools, lists and mappings"))?;
    let known = ["access_token", "token_type", "expires_in", "scope"];
    let extras = extras.into_iter().filter(|(name, _)| !known.contains(&name.as_str())).collect();
    Ok(CustomToken { token_type, scope, extras, ..CustomToken::new(access_token, expires_in) })
}

const GIVEN: &str = "a str, a tuple of str and seconds, or a mapping with access_token";

fn wrong(found: &str, expected: &str) -> Error {
    Error::new(ErrorCode::Protocol, format!("the token function gave {found}: expected {expected}"))
}

fn kind(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "another type".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn word(value: &Bound<'_, PyAny>, name: &str) -> Result<String, Error> {
    let wrong = |found: &str| Err(wrong(&format!("{found} as {name}"), "a str of Unicode text"));
    match value.cast::<PyString>().map(|word| word.to_cow()) {
        Ok(Ok(word)) => Ok(word.into_owned()),
        Ok(Err(_)) => wrong("what is no text"),
        Err(_) => wrong(&kind(value)),
    }
}

fn lifetime(value: &Bound<'_, PyAny>) -> Result<Option<Duration>, Error> {
    if value.is_none() {
        return Ok(None);
    }
    let Ok(Seconds(seconds)) = value.extract::<Seconds>() else {
        return Err(wrong(&format!("{} as expires_in", kind(value)), "seconds as a number, or a timedelta"));
    };
    qauth_core::duration_argument("expires_in", seconds)
        .map(Some)
        .map_err(|error| wrong("a lifetime that cannot be", error.message()))
}
