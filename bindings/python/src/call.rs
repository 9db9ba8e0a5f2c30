//! Calls of Python code.

use std::thread;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple};

// PyO3 declares them as ones that do not unwind.
unsafe extern "C-unwind" {
    fn PyObject_Call(
        callable: *mut ffi::PyObject,
        arguments: *mut ffi::PyObject,
        keywords: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
    fn PyImport_Import(name: *mut ffi::PyObject) -> *mut ffi::PyObject;
    fn PyErr_WriteUnraisable(object: *mut ffi::PyObject);
}

/// Calls what may run Python code. Before Python 3.14, a daemon thread that does so while the interpreter ends is ended in
/// the middle, by an unwinding that aborts the process when it meets Rust; here the thread sleeps instead, as it does from
/// 3.14 on, and as PyO3 lets it where it waits for the interpreter lock.
pub(crate) fn call<'py>(
    callable: &Bound<'py, PyAny>,
    arguments: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error: Into<PyErr>>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = callable.py();
    let arguments = arguments.into_pyobject(py).map_err(Into::into)?;
    let keywords = keywords.map_or(std::ptr::null_mut(), |keywords| keywords.as_ptr());
    let asleep = Asleep;
    // SAFETY: attached, with a callable, a tuple, and a dict or nothing; the result is a new reference or an exception.
    let result = unsafe { PyObject_Call(callable.as_ptr(), arguments.as_ptr(), keywords) };
    std::mem::forget(asleep);
    // SAFETY: as said.
    unsafe { Bound::from_owned_ptr_or_err(py, result) }
}

/// A member of a module, which is imported at the first use. The cell's own ways to fill itself let go of the interpreter
/// lock meanwhile: the child of a fork that falls into that time would wait for ever.
pub(crate) fn imported<'a, 'py>(
    py: Python<'py>,
    cell: &'a PyOnceLock<Py<PyAny>>,
    module: &str,
    member: &str,
) -> PyResult<&'a Bound<'py, PyAny>> {
    if cell.get(py).is_none() {
        let name = PyString::new(py, module);
        let asleep = Asleep;
        // SAFETY: attached, with a name; the result is a new reference or an exception.
        let found = unsafe { PyImport_Import(name.as_ptr()) };
        std::mem::forget(asleep);
        // SAFETY: as said.
        let found = unsafe { Bound::from_owned_ptr_or_err(py, found)? };
        // Another thread may have been faster, with the same.
        let _ = cell.set(py, found.getattr(member)?.unbind());
    }
    Ok(cell.get(py).expect("it is set").bind(py))
}

/// Tells `sys.unraisablehook` of an exception that no caller can be given.
pub(crate) fn unraisable(py: Python<'_>, error: PyErr, object: Option<&Bound<'_, PyAny>>) {
    error.restore(py);
    let asleep = Asleep;
    // SAFETY: attached, with an exception set, and an object or nothing.
    unsafe { PyErr_WriteUnraisable(object.map_or(std::ptr::null_mut(), |object| object.as_ptr())) };
    std::mem::forget(asleep);
}

struct Asleep;

impl Drop for Asleep {
    fn drop(&mut self) {
        loop {
            thread::park();
        }
    }
}
