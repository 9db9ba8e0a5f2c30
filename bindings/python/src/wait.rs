//! Calls that may block: without the interpreter lock, and interrupted by signals.

use std::pin::pin;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use qauth_core::TokenSource;

use crate::call::{call, imported};
use crate::custom;
use crate::error::checked;
use crate::events;

/// How soon a blocked main thread notices a signal. Python's handlers run on the main thread only, between two of its
/// instructions, so somebody has to look.
const LOOK: Duration = Duration::from_millis(50);
const NEVER: Duration = Duration::from_secs(86_400);

/// As long as core lets a call wait for a renewal while the token before is still valid.
const STALE_WAIT: Duration = Duration::from_millis(1100);

/// Waits for a call of core on `source`, and runs token functions meanwhile; before and after, logs what has happened.
/// Ctrl-C, or what else a signal handler raises, gives the call up; a renewal under way goes on.
pub(crate) fn wait<T: Send>(
    py: Python<'_>,
    source: &TokenSource,
    call: impl Future<Output = qauth_core::Result<T>> + Send,
) -> PyResult<T> {
    events::log(py)?;
    let result = waited(py, source, call);
    events::log(py)?;
    result
}

fn waited<T: Send>(
    py: Python<'_>,
    source: &TokenSource,
    call: impl Future<Output = qauth_core::Result<T>> + Send,
) -> PyResult<T> {
    // Its result could not come before the call has ended.
    let blocked = custom::runs_in_this_loop(py, source).unwrap_or(false).then(|| Instant::now() + STALE_WAIT);
    // While the interpreter ends, `threading` may be gone; then only the main thread runs.
    let every = if blocked.is_some() || is_main_thread(py).unwrap_or(true) { LOOK } else { NEVER };
    let mut call = pin!(call);
    let (result, mut left) = custom::blocking(|| {
        loop {
            // Only here does the thread let go of the interpreter lock and take it again: one whose interpreter has ended
            // meanwhile is put to sleep there.
            let ended = checked(py, || {
                Ok(py.detach(|| qauth_core::block_on_while(custom::interruptible(call.as_mut()), every, || false)))
            });
            match ended? {
                Some(Some(result)) => return checked(py, || result).map(Some),
                Some(None) if !custom::run_begun(py) => return Ok(None),
                Some(None) => {}
                None => {
                    py.check_signals()?;
                    if blocked.is_some_and(|end| Instant::now() >= end) {
                        return Err(custom::blocks(py, source));
                    }
                }
            }
        }
    });
    match left.interrupted() {
        Some(error) => Err(error),
        None => result
            .map(|result| result.expect("nothing but an exception ends it"))
            .map_err(|error| left.explain(py, error)),
    }
}

fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    static MAIN_THREAD: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static GET_IDENT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let main = call(imported(py, &MAIN_THREAD, "threading", "main_thread")?, (), None)?.getattr("ident")?;
    call(imported(py, &GET_IDENT, "threading", "get_ident")?, (), None)?.eq(main)
}
