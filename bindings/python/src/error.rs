//! Errors of core as exceptions of `qauth._errors`.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use qauth_core::{Error, guarded};

use crate::call::{call, imported};
use crate::convert::python;

/// The exception for an error: the class of its code, with everything the error knows as attributes.
pub(crate) fn raised(py: Python<'_>, error: &Error) -> PyErr {
    instance(py, error).map_or_else(|failed| failed, PyErr::from_value)
}

fn instance<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = imported(py, &MAKE, "qauth._errors", "of_code")?;
    let fields = PyDict::new(py);
    fields.set_item("message", error.message())?;
    fields.set_item("profile", error.profile())?;
    fields.set_item("provider", error.provider())?;
    fields.set_item("status", error.status())?;
    fields.set_item("server_error", error.server_error())?;
    fields.set_item("server_error_description", error.server_error_description())?;
    fields.set_item("retryable", error.retryable())?;
    fields.set_item("retry_after", error.retry_after().map(|after| after.as_secs_f64()))?;
    fields.set_item("answer", error.answer().map(|answer| python(py, answer)).transpose()?)?;
    call(make, (error.code().name(), error.to_string()), Some(&fields))
}

/// One call of core. A panic becomes `InternalError`: PyO3's own exception for it is none that `except Exception` catches.
pub(crate) fn checked<T>(py: Python<'_>, call: impl FnOnce() -> qauth_core::Result<T>) -> PyResult<T> {
    guarded(call).and_then(|result| result).map_err(|error| raised(py, &error))
}
