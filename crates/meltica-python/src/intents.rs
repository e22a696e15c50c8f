//! `IntentQueue`: the queue of the core with Python objects, and a descriptor that an event loop can wait for.

use crate::convert::value_error;
use crate::errors::CapacityError;
use crate::wake::Wake;
use meltica_core::intents::{Intents, Pushed};
use pyo3::prelude::*;

/// Requests of strategies on their way to trading. Any thread may push; one event loop takes.
///
/// `fileno` is readable while a batch waits that was not taken: one wake-up per batch. Raises `ValueError` for a capacity
/// of zero, `OSError` when the process has no free descriptor.
#[pyclass(module = "meltica._core", name = "IntentQueue", frozen, immutable_type)]
pub struct PyIntentQueue {
    intents: Intents<Py<PyAny>>,
    wake: Wake,
}

#[pymethods]
impl PyIntentQueue {
    #[new]
    #[pyo3(signature = (capacity = 65_536))]
    fn new(capacity: usize) -> PyResult<Self> {
        if capacity == 0 {
            return Err(value_error("expected a capacity of at least 1, saw 0"));
        }
        Ok(Self { intents: Intents::new(capacity), wake: Wake::new()? })
    }

    /// Adds a request; never waits. `trace` is the 128-bit id of a trace.
    ///
    /// Raises `CapacityError` when the queue is full.
    #[pyo3(signature = (body, trace = None))]
    fn push(&self, body: Py<PyAny>, trace: Option<u128>) -> PyResult<()> {
        match self.intents.push(body, trace) {
            Pushed::Joined => Ok(()),
            Pushed::First => Ok(self.wake.wake()?),
            Pushed::Full(_) => Err(CapacityError::new_err(format!(
                "the queue of requests is full: {} wait for trading; retry later",
                self.intents.capacity()
            ))),
        }
    }

    /// Takes all requests, oldest first, as (body, trace).
    fn take(&self) -> PyResult<Vec<(Py<PyAny>, Option<u128>)>> {
        // Before the requests: one that is pushed in between wakes the reader once more.
        self.wake.clear();
        Ok(self.intents.take().into_iter().map(|intent| (intent.body, intent.trace)).collect())
    }

    /// The descriptor to wait for.
    fn fileno(&self) -> i32 {
        self.wake.fileno()
    }

    fn __len__(&self) -> usize {
        self.intents.len()
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyIntentQueue>()
}
