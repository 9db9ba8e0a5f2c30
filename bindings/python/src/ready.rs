//! What `token_async()` gives when a token is cached: a coroutine that is already through.
//!
//! Awaiting a Python coroutine costs 80 ns, one made by PyO3, which must raise `StopIteration`, 160. This type answers in
//! the slot that the interpreter asks first (`am_send`, since Python 3.10), without an exception, and takes 20.
//! It has `send`, `throw` and `close` too, so that `create_task`, `gather` and `asyncio.run` take it as the coroutine that
//! the caller expects. It is immutable and may be awaited any number of times, in any loop.

use std::ffi::c_int;
use std::ptr::null_mut;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

#[repr(C)]
struct Ready {
    base: ffi::PyObject,
    /// Owned; never null once `of` has returned.
    value: *mut ffi::PyObject,
}

/// A finished coroutine with this result.
pub(crate) fn of(py: Python<'_>, value: Py<PyAny>) -> PyResult<Py<PyAny>> {
    let class = class(py)?.as_ptr().cast::<ffi::PyTypeObject>();
    // SAFETY: the type's instances are laid out as `Ready`, zeroed by the allocation; `value` is put in before anybody
    // sees the object.
    unsafe {
        let object = Bound::from_owned_ptr_or_err(py, ffi::PyType_GenericAlloc(class, 0))?;
        (*object.as_ptr().cast::<Ready>()).value = value.into_ptr();
        Ok(object.unbind())
    }
}

fn class(py: Python<'_>) -> PyResult<&Py<PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    // Not by `get_or_try_init`, for the reason said at `call::imported`.
    if CLASS.get(py).is_none() {
        let _ = CLASS.set(py, made(py)?);
    }
    Ok(CLASS.get(py).expect("it is set"))
}

fn made(py: Python<'_>) -> PyResult<Py<PyAny>> {
    // Lives as long as the type, which is as long as the process.
    let methods = Box::leak(Box::new([
        method(c"send", ffi::PyMethodDefPointer { PyCFunction: send }, ffi::METH_O),
        method(c"throw", ffi::PyMethodDefPointer { PyCFunction: throw }, ffi::METH_VARARGS),
        method(c"close", ffi::PyMethodDefPointer { PyCFunction: close }, ffi::METH_NOARGS),
        ffi::PyMethodDef::zeroed(),
    ]));
    let slot = |slot: c_int, function: *mut std::ffi::c_void| ffi::PyType_Slot { slot, pfunc: function };
    let mut slots = [
        slot(ffi::Py_am_await, itself as *mut _),
        slot(ffi::Py_am_send, am_send as *mut _),
        slot(ffi::Py_tp_iter, itself as *mut _),
        slot(ffi::Py_tp_iternext, next as *mut _),
        slot(ffi::Py_tp_methods, methods.as_mut_ptr().cast()),
        slot(ffi::Py_tp_dealloc, dealloc as *mut _),
        slot(0, null_mut()),
    ];
    let mut spec = ffi::PyType_Spec {
        name: c"qauth._qauth.ReadyToken".as_ptr(),
        basicsize: size_of::<Ready>() as c_int,
        itemsize: 0,
        flags: (ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION) as _,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the specification is whole, ends its lists, and its functions have the signatures of their slots. Python
    // copies it; the method table stays.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&mut spec)).map(Bound::unbind) }
}

fn method(name: &'static std::ffi::CStr, function: ffi::PyMethodDefPointer, flags: c_int) -> ffi::PyMethodDef {
    ffi::PyMethodDef { ml_name: name.as_ptr(), ml_meth: function, ml_flags: flags, ml_doc: std::ptr::null() }
}

/// Its result, as a new reference.
///
/// # Safety
/// `object` is an instance of the type, and the interpreter is attached.
unsafe fn result(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: by the contract of this function.
    unsafe {
        let value = (*object.cast::<Ready>()).value;
        ffi::Py_INCREF(value);
        value
    }
}

unsafe extern "C" fn itself(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: Python calls its slots attached, with an instance.
    unsafe { ffi::Py_INCREF(object) };
    object
}

unsafe extern "C" fn am_send(
    object: *mut ffi::PyObject,
    _sent: *mut ffi::PyObject,
    out: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: Python calls its slots attached, with an instance; `out` is writable.
    unsafe { *out = result(object) };
    ffi::PySendResult::PYGEN_RETURN
}

unsafe extern "C" fn next(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: Python calls its slots attached, with an instance. The exception takes a reference of its own.
    unsafe { ffi::PyErr_SetObject(ffi::PyExc_StopIteration, (*object.cast::<Ready>()).value) };
    null_mut()
}

unsafe extern "C" fn send(object: *mut ffi::PyObject, _sent: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: a method of the type is called with an instance.
    unsafe { next(object) }
}

/// `throw(exception)`, or the old form `throw(type, value, traceback)`: raised as it is, for nothing here could catch it.
unsafe extern "C" fn throw(_object: *mut ffi::PyObject, arguments: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: Python gives a tuple; items are borrowed from it.
    unsafe {
        let given = ffi::PyTuple_Size(arguments);
        if given < 1 {
            ffi::PyErr_SetString(ffi::PyExc_TypeError, c"throw: expected an exception".as_ptr());
            return null_mut();
        }
        let exception = ffi::PyTuple_GetItem(arguments, 0);
        let value = if given > 1 { ffi::PyTuple_GetItem(arguments, 1) } else { ffi::Py_None() };
        if ffi::PyExceptionInstance_Check(exception) != 0 {
            ffi::PyErr_SetObject(ffi::Py_TYPE(exception).cast(), exception);
        } else if ffi::PyExceptionClass_Check(exception) != 0 {
            ffi::PyErr_SetObject(exception, value);
        } else {
            ffi::PyErr_SetString(ffi::PyExc_TypeError, c"throw: expected an exception".as_ptr());
        }
    }
    null_mut()
}

unsafe extern "C" fn close(_object: *mut ffi::PyObject, _nothing: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: attached, as in every method.
    unsafe {
        let none = ffi::Py_None();
        ffi::Py_INCREF(none);
        none
    }
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: the last reference is gone; an instance of a heap type holds one to its type.
    unsafe {
        ffi::Py_XDECREF((*object.cast::<Ready>()).value);
        let class = ffi::Py_TYPE(object);
        ffi::PyObject_Free(object.cast());
        ffi::Py_DECREF(class.cast());
    }
}
