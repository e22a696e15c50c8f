//! Calls a Python callback with minimal overhead: how it is called.
//!
//! `Step::deliver` in `host/thread.rs` decides when: once per event and seat that has a callback for the event's kind.

use crate::exit::Hang;
use pyo3::ffi;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyAny;
use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The stack of a thread that runs Python code, in bytes. Only what is used takes memory.
///
/// At the interpreter's default limit of recursion, calls through `sorted` need more than Rust's default of 2 MiB.
const STACK: usize = 16 << 20;

/// Returns a builder of a thread that runs Python code.
pub fn python_thread(name: &str) -> std::thread::Builder {
    std::thread::Builder::new().name(name.to_owned()).stack_size(STACK)
}

/// A vectorcall entry that an ending interpreter may unwind, see [`crate::exit`].
type Enter = unsafe extern "C-unwind" fn(
    *mut ffi::PyObject,
    *const *mut ffi::PyObject,
    usize,
    *mut ffi::PyObject,
) -> *mut ffi::PyObject;

/// Makes a call that parks the thread if the interpreter ends meanwhile.
///
/// # Safety
/// As for `PyObject_Vectorcall`: `enter` belongs to `function`, and the arguments match `flags`.
#[inline]
unsafe fn guarded(
    enter: ffi::vectorcallfunc,
    function: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    flags: usize,
) -> *mut ffi::PyObject {
    let hang = Hang;
    // SAFETY: the two ABIs differ only in what an unwind does; the call is valid by the caller's promise.
    let result = unsafe {
        let enter = std::mem::transmute::<ffi::vectorcallfunc, Enter>(enter);
        enter(function, arguments, flags, std::ptr::null_mut())
    };
    std::mem::forget(hang);
    result
}

/// Calls a Python function, and parks the thread if the interpreter ends meanwhile.
pub fn call<'py>(
    function: &Bound<'py, PyAny>,
    arguments: &[&Bound<'py, PyAny>],
) -> PyResult<Bound<'py, PyAny>> {
    let pointers: Vec<_> = arguments.iter().map(|argument| argument.as_ptr()).collect();
    // Hidden from the compiler, which would otherwise use the declaration of the entry, that it never unwinds.
    let enter = std::hint::black_box(ffi::PyObject_Vectorcall as ffi::vectorcallfunc);
    // SAFETY: the function and the arguments are live objects, and the result is a new reference or null.
    let result = unsafe {
        let result = guarded(enter, function.as_ptr(), pointers.as_ptr(), pointers.len());
        Bound::from_owned_ptr_or_opt(function.py(), result)
    };
    result.ok_or_else(|| raised(function.py()))
}

/// Returns the exception that a call has raised. A panic that Python code has passed on is one like others: it ends with
/// the callback, and not with the thread.
#[cold]
fn raised(py: Python<'_>) -> PyErr {
    catch_unwind(AssertUnwindSafe(|| PyErr::fetch(py))).unwrap_or_else(|panic| {
        PanicException::new_err(format!("the core panicked: {}", panic_text(&*panic)))
    })
}

/// Returns the message of a panic.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

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
        let result = unsafe { guarded(self.enter, self.function.as_ptr(), args.as_ptr().add(1), flags) };
        if result.is_null() {
            return Err(raised(py));
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
    let _ = raise_pending(py);
}

/// Raises an exception that another thread has set on this one, now instead of at the next bytecode.
pub fn raise_pending(py: Python<'_>) -> PyResult<()> {
    static NOTHING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let nothing = || py.eval(c"lambda: None", None, None).map(Bound::unbind);
    // A failure is the exception, raised before the function exists.
    NOTHING.get_or_try_init(py, nothing).and_then(|nothing| call(nothing.bind(py), &[])).map(drop)
}

/// Returns the interpreter's id of the calling thread.
pub fn thread_ident(py: Python<'_>) -> PyResult<u64> {
    py.import("threading")?.getattr("get_ident")?.call0()?.extract()
}
