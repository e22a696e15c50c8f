//! `ChangeLock`: the lock under which a component's state changes, so that no exception leaves half a change unnoticed.
//!
//! Python raises an asynchronous exception between any two bytecodes, also inside a `with` block. Two rules follow:
//!
//! 1. The interrupt of a host waits while its thread holds the lock or requests it, and is raised after the release. An
//!    interrupt that was set before, and is still pending, is raised before the lock is requested.
//! 2. Any other exception that leaves the block and is not a `MelticaError`, which says that nothing has changed, is
//!    kept as `failure`. `__exit__` is native code: no exception is raised inside it before it has recorded that.

use crate::callback::raise_pending;
use crate::errors::{LambdaStopped, MelticaError};
use crate::exit::own_host;
use crate::locks::Lock;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::sync::{Arc, Condvar, OnceLock};
use std::time::Duration;

/// How long one wait for the lock lasts before it is repeated.
const SLICE: Duration = Duration::from_secs(3600);

/// A lock that one thread holds at a time, over any number of calls.
struct Held {
    held: Lock<bool>,
    released: Condvar,
}

impl Held {
    /// Waits for the lock, detached if another thread holds it.
    fn acquire(&self, py: Python<'_>) {
        let mut held = self.held.lock();
        if !*held {
            *held = true;
            return;
        }
        drop(held);
        py.detach(|| {
            let mut held = self.held.lock();
            while *held {
                held = held.wait(&self.released, SLICE);
            }
            *held = true;
        });
    }

    /// Releases the lock; returns false if no thread holds it.
    fn release(&self) -> bool {
        let was_held = std::mem::replace(&mut *self.held.lock(), false);
        self.released.notify_one();
        was_held
    }
}

/// Requests the lock for the calling thread, and defers the interrupts of its host.
fn enter(py: Python<'_>, lock: &Held) -> PyResult<()> {
    let Some(host) = own_host() else {
        lock.acquire(py);
        return Ok(());
    };
    // Before the wait, in which another thread may interrupt this one.
    if host.begin_change() {
        // 1: without this, it would be raised inside the block.
        if let Err(interrupt) = raise_pending(py) {
            host.end_change();
            return Err(interrupt);
        }
    }
    lock.acquire(py);
    Ok(())
}

/// Releases the lock, and raises the interrupt that was deferred.
fn exit(lock: &Held) -> PyResult<()> {
    if !lock.release() {
        return Err(PyRuntimeError::new_err("lock not released: no thread holds it"));
    }
    match own_host() {
        Some(host) if host.end_change() => Err(LambdaStopped::new_err(())),
        _ => Ok(()),
    }
}

/// The lock of a state that many threads change; a context manager, not reentrant.
///
/// A `LambdaStopped` for the thread of a lambda is raised when the lock is released, not inside the block. Any exception
/// that leaves the block, other than `MelticaError`, may have left half a change: the first one is kept as `failure`.
#[pyclass(module = "meltica._core", name = "ChangeLock", frozen, immutable_type)]
pub struct PyChangeLock {
    lock: Arc<Held>,
    failure: OnceLock<Py<PyAny>>,
}

#[pymethods]
impl PyChangeLock {
    #[new]
    pub fn new() -> Self {
        let lock = Arc::new(Held { held: Lock::leaf(false), released: Condvar::new() });
        Self { lock, failure: OnceLock::new() }
    }

    /// A context manager for blocks that change nothing: it holds the lock, and exceptions are not kept.
    #[getter]
    fn reading(&self) -> PyReading {
        PyReading { lock: Arc::clone(&self.lock) }
    }

    /// The first exception that may have left half a change; None if each change was whole.
    #[getter]
    fn failure(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.failure.get().map(|failure| failure.clone_ref(py))
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<()> {
        enter(py, &self.lock)
    }

    fn __exit__(
        &self,
        kind: &Bound<'_, PyAny>,
        exception: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        // 2: while the lock is held, so that its next holder sees it.
        if !kind.is_none() && !exception.is_instance_of::<MelticaError>() {
            let _ = self.failure.set(exception.clone().unbind());
        }
        exit(&self.lock)?;
        Ok(false)
    }
}

/// The lock of a `ChangeLock`, for blocks that change nothing.
#[pyclass(module = "meltica._core", name = "Reading", frozen, immutable_type)]
pub struct PyReading {
    lock: Arc<Held>,
}

#[pymethods]
impl PyReading {
    fn __enter__(&self, py: Python<'_>) -> PyResult<()> {
        enter(py, &self.lock)
    }

    fn __exit__(
        &self,
        _kind: &Bound<'_, PyAny>,
        _exception: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        exit(&self.lock)?;
        Ok(false)
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyChangeLock>()?;
    module.add_class::<PyReading>()
}
