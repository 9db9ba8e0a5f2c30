//! The Python values of the token that is published now, kept by its generation: what the cached path hands out.

use std::cell::UnsafeCell;

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::ready;
use crate::token::Token;

/// One token in the forms that callers want.
pub(crate) struct Kept {
    generation: u64,
    pub(crate) token: Py<Token>,
    pub(crate) header: Py<PyString>,
    /// A finished coroutine whose result is the token.
    pub(crate) ready: Py<PyAny>,
}

impl Kept {
    pub(crate) fn new(py: Python<'_>, token: qauth_core::Token) -> PyResult<Kept> {
        let header = PyString::new(py, token.header_value()).unbind();
        let generation = token.generation();
        let token = Py::new(py, Token(token))?;
        let ready = ready::of(py, token.clone_ref(py).into_any())?;
        Ok(Kept { generation, token, header, ready })
    }
}

/// What a source keeps. The interpreter lock guards it: a mutex would cost as much as the rest of the cached path.
#[derive(Default)]
pub(crate) struct KeptCell(UnsafeCell<Option<Kept>>);

// SAFETY: both methods take the proof that the interpreter lock is held, so that one thread at a time is inside; neither
// runs Python code, which could let another thread in, while a reference into the cell exists.
unsafe impl Sync for KeptCell {}

impl KeptCell {
    /// The chosen form of the token of this generation, if that is the one that is kept.
    #[inline]
    pub(crate) fn get<T>(&self, py: Python<'_>, generation: u64, form: fn(&Kept) -> &Py<T>) -> Option<Py<T>> {
        // SAFETY: as said above; `form` only names a field, and counting a reference runs no Python code.
        let kept = unsafe { &*self.0.get() }.as_ref()?;
        (kept.generation == generation).then(|| form(kept).clone_ref(py))
    }

    /// Keeps another one; returns the chosen form of the one that is kept now.
    pub(crate) fn put<T>(&self, py: Python<'_>, kept: Kept, form: fn(&Kept) -> &Py<T>) -> Py<T> {
        // Making it may have let another thread in, which made the same.
        if let Some(value) = self.get(py, kept.generation, form) {
            return value;
        }
        let value = form(&kept).clone_ref(py);
        // SAFETY: as said above. What was kept is dropped at the end, when no reference into the cell exists any more.
        let _old = unsafe { (*self.0.get()).replace(kept) };
        value
    }
}
