//! Calls a Python callback with minimal overhead: how it is called.
//!
//! `Step::deliver` in `host/thread.rs` decides when: once per event and seat that has a callback for the event's kind.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyAny;
use std::cell::UnsafeCell;

/// A callable of one argument. A bound method is unpacked, so that it costs one call instead of two.
pub struct Callback {
    function: Py<PyAny>,
    receiver: Option<Py<PyAny>>,
    /// The function's vectorcall entry, or the generic one if it has none.
    enter: ffi::vectorcallfunc,
}

impl Callback {
    /// Prepares `callable`.
    pub fn new(callable: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = callable.py();
        let method = py.import("types")?.getattr("MethodType")?;
        let (function, receiver) = if callable.is_exact_instance(&method) {
            (callable.getattr("__func__")?, Some(callable.getattr("__self__")?.unbind()))
        } else {
            (callable.clone(), None)
        };
        // SAFETY: a live object, and the interpreter is held.
        let own = unsafe { ffi::PyVectorcall_Function(function.as_ptr()) };
        Ok(Self { function: function.unbind(), receiver, enter: own.unwrap_or(ffi::PyObject_Vectorcall) })
    }

    /// Calls with one argument and drops the result.
    #[inline]
    pub fn call(&self, py: Python<'_>, argument: &Bound<'_, PyAny>) -> PyResult<()> {
        let first = self.receiver.as_ref().unwrap_or(argument.as_unbound());
        let args = [std::ptr::null_mut(), first.as_ptr(), argument.as_ptr()];
        let flags = (1 + usize::from(self.receiver.is_some())) | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
        // SAFETY: all pointers are live objects for the duration of the call, `args` has at least the stated length, the
        // callee may overwrite only `args[0]`, a slot of ours, as the offset flag says, and `enter` belongs to
        // `function`.
        let result = unsafe {
            (self.enter)(self.function.as_ptr(), args.as_ptr().add(1), flags, std::ptr::null_mut())
        };
        if result.is_null() {
            return Err(PyErr::fetch(py));
        }
        // SAFETY: a new reference that is ours.
        unsafe { ffi::Py_DECREF(result) };
        Ok(())
    }
}

/// A value that is read-only while shared; its only owner may change it.
pub struct Renewable<T>(UnsafeCell<T>);

// SAFETY: shared access is read-only; `renew` excludes it by its contract.
unsafe impl<T: Sync> Sync for Renewable<T> {}

impl<T> Renewable<T> {
    pub fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    #[inline]
    pub fn get(&self) -> &T {
        // SAFETY: by the contract of `renew`, no write happens while a reference to the value exists.
        unsafe { &*self.0.get() }
    }

    /// Changes the value.
    ///
    /// # Safety
    /// The caller holds the interpreter and the only reference to the object that contains the value, and no borrow of
    /// the value is alive.
    #[inline]
    pub unsafe fn renew(&self, change: impl FnOnce(&mut T)) {
        // SAFETY: by the caller's promise the value is not shared.
        change(unsafe { &mut *self.0.get() });
    }
}

/// Returns an object's reference count.
#[inline]
pub fn references(object: &Bound<'_, PyAny>) -> isize {
    // SAFETY: a live object, and the interpreter is held.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}

/// Raises `exception` in the thread `ident` at its next bytecode.
pub fn raise_in_thread(_py: Python<'_>, ident: u64, exception: &Bound<'_, PyAny>) {
    // SAFETY: the interpreter is held; an unknown thread is ignored.
    unsafe { ffi::PyThreadState_SetAsyncExc(ident as std::os::raw::c_long, exception.as_ptr()) };
}

/// Raises and drops an exception that another thread has set on this one.
///
/// Clearing it with a null exception would leave the interpreter's eval breaker set permanently, in every thread.
pub fn absorb_pending(py: Python<'_>) {
    let _ = py.eval(c"None", None, None);
}

/// Returns the interpreter's id of the calling thread.
pub fn thread_ident(py: Python<'_>) -> PyResult<u64> {
    py.import("threading")?.getattr("get_ident")?.call0()?.extract()
}
