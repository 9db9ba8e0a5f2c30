//! Events on their way to the standard `logging` module: core puts them into a log, and whichever thread calls qauth next
//! gives them on. No thread of the engine ever calls Python.

use std::cell::Cell;
use std::time::UNIX_EPOCH;

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use qauth_core::{EventLog, Severity};

use crate::call::{call, imported, unraisable};

/// Of all engines of this package.
static LOG: EventLog = EventLog::new();

thread_local! {
    /// This thread is inside a logging handler, which may call qauth: what comes of that is for the next call.
    static LOGGING: Cell<bool> = const { Cell::new(false) };
}

/// From now on the engine's events come here.
pub(crate) fn listen(engine: &qauth_core::Engine) {
    engine.log_to(&LOG);
}

/// Logs what has come: at the beginning of every call, and at the end of those that have waited. With no lock held.
///
/// What a handler raises breaks no call, unless it is meant to end more than that, as `KeyboardInterrupt`; that is raised
/// once all have been logged.
#[inline(always)]
pub(crate) fn log(py: Python<'_>) -> PyResult<()> {
    if LOG.pending() { log_pending(py) } else { Ok(()) }
}

#[cold]
#[inline(never)]
fn log_pending(py: Python<'_>) -> PyResult<()> {
    if LOGGING.replace(true) {
        return Ok(());
    }
    let result = log_taken(py);
    LOGGING.set(false);
    result
}

fn log_taken(py: Python<'_>) -> PyResult<()> {
    static LOG_EVENT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let log = imported(py, &LOG_EVENT, "qauth._events", "log")?;
    let mut result = Ok(());
    for event in LOG.take() {
        match call(log, (Event(event),), None) {
            Ok(_) => {}
            Err(error) if error.is_instance_of::<PyException>(py) => unraisable(py, error, Some(log)),
            Err(error) => result = result.and(Err(error)),
        }
    }
    result
}

/// Logs what has come since the last call, at the end of the process.
#[pyfunction]
pub(crate) fn log_events(py: Python<'_>) -> PyResult<()> {
    log(py)
}

/// What `qauth._events` makes a record of.
#[pyclass(frozen, module = "qauth._qauth")]
pub(crate) struct Event(qauth_core::Event);

#[pymethods]
impl Event {
    /// As `logging` counts them.
    #[getter]
    fn level(&self) -> u8 {
        match self.0.kind().severity() {
            Severity::Debug => 10,
            Severity::Info => 20,
            Severity::Warning => 30,
        }
    }

    #[getter]
    fn kind(&self) -> &'static str {
        self.0.kind().name()
    }

    #[getter]
    fn profile(&self) -> &str {
        self.0.profile()
    }

    #[getter]
    fn provider(&self) -> &str {
        self.0.provider()
    }

    #[getter]
    fn reason(&self) -> &str {
        self.0.reason()
    }

    #[getter]
    fn seconds(&self) -> f64 {
        self.0.duration().as_secs_f64()
    }

    /// Of the error, if there is one.
    #[getter]
    fn code(&self) -> Option<&'static str> {
        self.0.error().map(|error| error.code().name())
    }

    /// Seconds since 1970, as `time.time()` gives them.
    #[getter]
    fn at(&self) -> f64 {
        self.0.at().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    }

    /// Of the token that came or was rejected.
    #[getter]
    fn generation(&self) -> Option<u64> {
        self.0.generation()
    }

    /// How many before it were dropped.
    #[getter]
    fn lost(&self) -> u64 {
        self.0.lost()
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }
}
