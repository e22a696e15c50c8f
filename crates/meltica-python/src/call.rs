//! Calling Python with as little as possible in between.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyAny;

/// A callable of one argument, its receiver unpacked so that a bound method costs one call and not two.
pub struct Callback {
    function: Py<PyAny>,
    receiver: Option<Py<PyAny>>,
}

impl Callback {
    /// Prepares `callable`.
    pub fn new(callable: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = callable.py();
        let method = py.import("types")?.getattr("MethodType")?;
        if callable.is_exact_instance(&method) {
            let function = callable.getattr("__func__")?.unbind();
            let receiver = callable.getattr("__self__")?.unbind();
            return Ok(Self { function, receiver: Some(receiver) });
        }
        Ok(Self { function: callable.clone().into_any().unbind().clone_ref(py), receiver: None })
    }

    /// Calls with one argument and drops the result.
    #[inline]
    pub fn call(&self, py: Python<'_>, argument: &Bound<'_, PyAny>) -> PyResult<()> {
        let first = self.receiver.as_ref().unwrap_or(argument.as_unbound());
        let args = [std::ptr::null_mut(), first.as_ptr(), argument.as_ptr()];
        let flags = (1 + usize::from(self.receiver.is_some())) | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
        // SAFETY: all pointers are live objects for the duration of the call, `args` has at least the stated length, and
        // the callee may scribble on `args[0]` only, as the offset flag says, which is a slot of ours.
        let result = unsafe {
            ffi::PyObject_Vectorcall(
                self.function.as_ptr(),
                args.as_ptr().add(1),
                flags,
                std::ptr::null_mut(),
            )
        };
        if result.is_null() {
            return Err(PyErr::fetch(py));
        }
        // SAFETY: a new reference that is ours.
        unsafe { ffi::Py_DECREF(result) };
        Ok(())
    }
}

/// How many references there are to an object.
pub fn references(object: &Bound<'_, PyAny>) -> isize {
    // SAFETY: a live object, and the interpreter is held.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}

/// Raises `exception` in the thread `ident` at its next bytecode.
pub fn raise_in_thread(_py: Python<'_>, ident: u64, exception: &Bound<'_, PyAny>) {
    // SAFETY: the interpreter is held; an unknown thread is ignored.
    unsafe { ffi::PyThreadState_SetAsyncExc(ident as std::os::raw::c_long, exception.as_ptr()) };
}

/// Lets an exception that another thread raised in this one come out here, where nobody minds it.
///
/// Taking it back with a null exception would leave the interpreter's eval breaker set for good, in every thread.
pub fn absorb_pending(py: Python<'_>) {
    let _ = py.eval(c"None", None, None);
}

/// The interpreter's id of the calling thread.
pub fn thread_ident(py: Python<'_>) -> PyResult<u64> {
    py.import("threading")?.getattr("get_ident")?.call0()?.extract()
}
