//! The native module of the Python package, `qauth._qauth`: each function converts, makes one call of `qauth-core`, and
//! converts back. What is in Python only (exceptions, adapters, the coroutines) lies in `python/qauth`.

mod asyncio;
mod call;
mod convert;
mod custom;
mod engine;
mod error;
mod events;
mod kept;
mod ready;
mod response;
mod source;
mod token;
mod wait;

use std::ffi::OsString;
use std::sync::atomic::{AtomicI64, Ordering};

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

#[cfg(Py_GIL_DISABLED)]
compile_error!(
    "the interpreter lock guards what this module keeps (see kept.rs); free-threaded Python is not supported yet"
);

/// Runs the command line; returns the exit status.
#[pyfunction]
fn cli(py: Python<'_>, argv: Vec<OsString>) -> u8 {
    py.detach(|| qauth_cli::run(argv))
}

/// The last thing of Python's own end, behind which Ctrl-C ends the process by a signal.
#[pyfunction]
fn wait_for_answers(py: Python<'_>) {
    py.detach(qauth_core::wait_for_answers);
}

/// What is kept for the whole process (classes, exceptions) belongs to the interpreter that imported the module first.
/// Python itself refuses others from 3.12 on.
fn check_interpreter() -> PyResult<()> {
    static HOME: AtomicI64 = AtomicI64::new(-1);
    // SAFETY: attached to an interpreter, which is running this import.
    let here = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    match HOME.compare_exchange(-1, here, Ordering::Relaxed, Ordering::Relaxed) {
        Err(home) if home != here => Err(PyImportError::new_err(
            "qauth is in use by another interpreter of this process, and one alone can have it (mod_wsgi: set \
             WSGIApplicationGroup to %{GLOBAL})",
        )),
        _ => Ok(()),
    }
}

/// The native half of the package `qauth`.
#[pymodule(gil_used = true)]
fn _qauth(module: &Bound<'_, PyModule>) -> PyResult<()> {
    check_interpreter()?;
    module.add("__version__", qauth_core::VERSION)?;
    module.add("CODES", qauth_core::ErrorCode::ALL.iter().map(|code| code.name()).collect::<Vec<_>>())?;
    module.add_class::<engine::Engine>()?;
    module.add_class::<source::TokenSource>()?;
    module.add_class::<token::Token>()?;
    module.add_class::<response::Response>()?;
    module.add_class::<asyncio::Queue>()?;
    module.add_class::<asyncio::Call>()?;
    module.add_class::<asyncio::Pending>()?;
    module.add_class::<custom::TokenCall>()?;
    module.add_class::<custom::Reply>()?;
    module.add_class::<events::Event>()?;
    module.add_function(wrap_pyfunction!(events::log_events, module)?)?;
    module.add_function(wrap_pyfunction!(cli, module)?)?;
    let wait = wrap_pyfunction!(wait_for_answers, module)?;
    module.py().import("atexit")?.call_method1("register", (wait,))?;
    Ok(())
}
