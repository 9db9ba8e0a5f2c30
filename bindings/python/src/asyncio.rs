//! Calls that asyncio awaits: their results come back through one descriptor per loop, without a thread per waiter.

use std::os::fd::AsRawFd;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};
use qauth_core::CompletionQueue;

use crate::call::{call, imported, unraisable};
use crate::custom;
use crate::error::{checked, raised};
use crate::events;

/// The finished calls of one event loop. `qauth._asyncio` makes it and watches its descriptor.
#[pyclass(frozen, module = "qauth._qauth")]
pub(crate) struct Queue(CompletionQueue);

#[pymethods]
impl Queue {
    #[new]
    fn new(py: Python<'_>) -> PyResult<Queue> {
        checked(py, CompletionQueue::new).map(Queue)
    }

    /// Readable while calls wait to be settled.
    fn fileno(&self) -> i32 {
        self.0.fd().map_or(-1, |fd| fd.as_raw_fd())
    }

    /// Settles what is done, and logs what has happened; for the loop's reader.
    fn run(&self, py: Python<'_>) -> PyResult<()> {
        custom::in_loop(|| {
            self.0.run(Duration::ZERO);
        });
        events::log(py)
    }
}

/// A call under way.
#[pyclass(frozen, module = "qauth._qauth")]
pub(crate) struct Pending(Mutex<Option<qauth_core::Pending>>);

#[pymethods]
impl Pending {
    /// Gives the call up; a renewal under way goes on.
    fn cancel(&self) {
        if let Some(call) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            call.cancel();
        }
    }
}

/// The function that core runs with a call's result, on the loop's thread.
pub(crate) type Done<T> = Box<dyn FnOnce(qauth_core::Result<T>) + Send>;

type Begin = Box<dyn FnOnce(Python<'_>, &Queue, Py<PyAny>) -> PyResult<Pending> + Send>;

/// A call that has not begun: it does when its coroutine first runs, for only then is the loop known.
#[pyclass(frozen, module = "qauth._qauth")]
pub(crate) struct Call(Mutex<Option<Begin>>);

#[pymethods]
impl Call {
    /// Begins it; its result settles `future` when the queue runs.
    fn begin(&self, py: Python<'_>, queue: &Queue, future: Py<PyAny>) -> PyResult<Pending> {
        let begin = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let begin = begin.ok_or_else(|| PyRuntimeError::new_err("the call has begun already"))?;
        begin(py, queue, future)
    }
}

/// A coroutine for the call that `start` begins, with the result that `convert` makes.
pub(crate) fn coroutine<'py, T: 'static>(
    py: Python<'py>,
    convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    start: impl FnOnce(&CompletionQueue, Done<T>) -> qauth_core::Result<qauth_core::Pending> + Send + 'static,
) -> PyResult<Bound<'py, PyAny>> {
    static RESULT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    events::log(py)?;
    let begin: Begin = Box::new(move |py, queue, future| {
        let done = settling(PyWeakrefReference::new(future.bind(py))?.unbind(), convert);
        let call = checked(py, || start(&queue.0, done))?;
        Ok(Pending(Mutex::new(Some(call))))
    });
    call(imported(py, &RESULT, "qauth._asyncio", "result")?, (Call(Mutex::new(Some(begin))),), None)
}

/// Settles the future, if it still waits. `qauth._asyncio` keeps it alive, not the call: where a loop has ended without
/// its calls, the collector could not see that nobody but they held the loop.
fn settling<T: 'static>(
    future: Py<PyWeakrefReference>,
    convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
) -> Done<T> {
    Box::new(move |result| {
        Python::attach(|py| {
            let Some(future) = future.bind(py).upgrade() else { return };
            let result = match result {
                Ok(value) => convert(py, value),
                Err(error) => Err(raised(py, &error)),
            };
            if let Err(error) = settle(&future, result) {
                unraisable(py, error, Some(&future));
            }
        });
    })
}

fn settle(future: &Bound<'_, PyAny>, result: PyResult<Py<PyAny>>) -> PyResult<()> {
    if call(&future.getattr("done")?, (), None)?.is_truthy()? {
        return Ok(());
    }
    match result {
        Ok(value) => call(&future.getattr("set_result")?, (value,), None)?,
        Err(error) => call(&future.getattr("set_exception")?, (error,), None)?,
    };
    Ok(())
}
