//! `qauth.Response`.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;

use crate::call::call;
use crate::error::raised;

/// What the API answered, whatever the status.
#[pyclass(frozen, module = "qauth")]
pub(crate) struct Response {
    response: qauth_core::Response,
    body: PyOnceLock<Py<PyBytes>>,
    headers: PyOnceLock<Py<PyAny>>,
}

impl Response {
    pub(crate) fn new(response: qauth_core::Response) -> Response {
        Response { response, body: PyOnceLock::new(), headers: PyOnceLock::new() }
    }
}

#[pymethods]
impl Response {
    /// The HTTP status.
    #[getter]
    fn status(&self) -> u16 {
        self.response.status
    }

    /// Whether the status is below 400.
    #[getter]
    fn ok(&self) -> bool {
        self.response.error().is_none()
    }

    /// A mapping without regard to case; several headers of one name are joined by ", ".
    #[getter]
    fn headers(&self, py: Python<'_>) -> PyResult<&Py<PyAny>> {
        self.headers.get_or_try_init(py, || {
            let make = py.import("qauth._headers")?.getattr("ResponseHeaders")?;
            call(&make, (self.response.headers.clone(),), None).map(Bound::unbind)
        })
    }

    /// The bytes, decompressed.
    #[getter]
    fn body(&self, py: Python<'_>) -> &Py<PyBytes> {
        self.body.get_or_init(py, || PyBytes::new(py, &self.response.body).unbind())
    }

    /// The body as UTF-8; what is none becomes U+FFFD.
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.response.body).into_owned()
    }

    /// The body as JSON; raises ValueError where it is none.
    fn json(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        call(&py.import("json")?.getattr("loads")?, (self.body(py),), None).map(Bound::unbind)
    }

    /// Raises the qauth.Error that a status of 400 or more stands for.
    fn raise_for_status(&self, py: Python<'_>) -> PyResult<()> {
        self.response.error().map_or(Ok(()), |error| Err(raised(py, error)))
    }

    fn __repr__(&self) -> String {
        format!("<qauth.Response {}, {} bytes>", self.response.status, self.response.body.len())
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a Response is not pickled: pass its status and body"))
    }
}
