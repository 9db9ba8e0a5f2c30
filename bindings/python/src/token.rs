//! `qauth.Token`.

use std::time::SystemTime;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::convert;

/// A valid access token, as a value that does not change. Neither `repr` nor `str` shows it.
#[pyclass(frozen, weakref, module = "qauth")]
pub(crate) struct Token(pub(crate) qauth_core::Token);

#[pymethods]
impl Token {
    /// The access token itself (RFC 6749 1.4). Keep it out of logs.
    #[getter]
    fn access_token(&self) -> &str {
        self.0.access_token()
    }

    /// How the API wants it, "Bearer" as a rule (RFC 6749 7.1).
    #[getter]
    fn token_type(&self) -> &str {
        self.0.token_type()
    }

    /// When it ends, in UTC; None for a token without an end.
    #[getter]
    fn expires_at(&self) -> Option<SystemTime> {
        self.0.expires_at()
    }

    /// How many seconds it is still valid: 0.0 once it has ended, None for a token without an end.
    #[getter]
    fn expires_in(&self) -> Option<f64> {
        self.0.expires_in().map(|left| left.as_secs_f64())
    }

    /// The scopes the server granted, if it said so (RFC 6749 3.3).
    #[getter]
    fn scope(&self) -> Option<&str> {
        self.0.scope()
    }

    /// Further members of the answer that the provider file keeps; a new dict each time.
    #[getter]
    fn extras<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        convert::members(py, self.0.extras())
    }

    /// Counts the tokens of its source upwards.
    #[getter]
    fn generation(&self) -> u64 {
        self.0.generation()
    }

    /// The value for the header that carries it, for instance "Bearer eyJ…".
    #[getter]
    fn header_value(&self) -> &str {
        self.0.header_value()
    }

    fn __repr__(&self) -> String {
        match self.0.expires_in() {
            Some(left) => format!("<qauth.Token {} expires_in={:.0}>", self.0.token_type(), left.as_secs_f64()),
            None => format!("<qauth.Token {} without an end>", self.0.token_type()),
        }
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__(slf: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a Token is not pickled: pass its access_token, or ask a source where it is needed"))
    }
}
