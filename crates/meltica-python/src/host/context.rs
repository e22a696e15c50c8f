//! The state of a host's thread that a callback can change: context variables, trace and profile functions.
//!
//! Each instance has a `contextvars.Context` of its own. So what one sets, such as the precision of
//! `decimal.getcontext()`, does not apply to the other instances on the thread, and ends with the instance.

use pyo3::ffi;
use pyo3::prelude::*;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Returns an empty context.
pub fn new_context(py: Python<'_>) -> PyResult<Py<PyAny>> {
    // SAFETY: the interpreter is held; the result is a new reference or null.
    Ok(unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_New())? }.unbind())
}

/// The context that a host's thread has entered, null if none. The thread's state holds a reference to it.
#[derive(Default)]
pub struct Entered(AtomicPtr<ffi::PyObject>);

impl Entered {
    /// Enters a context, unless it is the one of the previous call.
    #[inline]
    pub fn enter(&self, py: Python<'_>, context: &Py<PyAny>) {
        if self.0.load(Ordering::Relaxed) != context.as_ptr() {
            self.change(py, context.as_ptr());
        }
    }

    /// Leaves the context, so that it ends with its instance.
    pub fn leave(&self, py: Python<'_>) {
        self.change(py, null_mut());
    }

    fn change(&self, py: Python<'_>, to: *mut ffi::PyObject) {
        let from = self.0.load(Ordering::Relaxed);
        // SAFETY: the interpreter is held; `from` is entered, so the thread's state keeps it alive, and the caller has `to`.
        let (left, entered) = unsafe {
            let left = from.is_null() || ffi::PyContext_Exit(from) == 0;
            (left, to.is_null() || (left && ffi::PyContext_Enter(to) == 0))
        };
        self.0.store(if entered { to } else { null_mut() }, Ordering::Relaxed);
        if !(left && entered) {
            PyErr::fetch(py).write_unraisable(py, None);
        }
    }
}

/// Removes the trace and profile functions that a callback has set for the thread with `sys.settrace`: they would delay
/// the other instances.
pub fn clear_tracing(_py: Python<'_>) {
    // SAFETY: the interpreter is held, and a null function has no argument.
    unsafe {
        ffi::PyEval_SetTrace(None, null_mut());
        ffi::PyEval_SetProfile(None, null_mut());
    }
}
