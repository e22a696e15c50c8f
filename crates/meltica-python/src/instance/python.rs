//! `Instance` and `Timer` as Python sees them.

use super::market::PyMarketState;
use super::{InstanceShared, State, TimerRequest, lock};
use crate::convert::value_error;
use crate::core::CoreShared;
use crate::errors::{LambdaError, LambdaStopped};
use crate::host::Command;
use crate::stats::{by_kind, summary_dict};
use meltica_core::event::Nanos;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// A running `every`.
#[pyclass(module = "meltica", name = "Timer", frozen)]
pub struct PyTimer(Arc<AtomicBool>);

#[pymethods]
impl PyTimer {
    fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One run of a lambda.
#[pyclass(module = "meltica._core", name = "Instance", frozen)]
pub struct PyInstance {
    pub shared: Arc<InstanceShared>,
    pub core: Arc<CoreShared>,
}

#[pymethods]
impl PyInstance {
    #[getter]
    fn id(&self) -> &str {
        &self.shared.id
    }

    #[getter]
    fn state(&self) -> &'static str {
        self.shared.state().name()
    }

    fn start(&self, py: Python<'_>) -> PyResult<()> {
        if self.shared.state() != State::Created {
            let (id, state) = (&self.shared.id, self.shared.state().name());
            let text = format!("instance {id} not started: it is {state}; an instance starts only once");
            return Err(LambdaError::new_err(text));
        }
        self.shared.host.refuse_own_thread(py, "start")?;
        let (sender, receiver) = mpsc::channel();
        self.shared.host.send(Command::Start(Arc::clone(&self.shared), sender));
        let ended = || LambdaError::new_err("instance not started: the host's thread has ended");
        py.detach(move || receiver.recv()).unwrap_or_else(|_| Err(ended()))
    }

    #[pyo3(signature = (timeout = 5.0))]
    pub fn stop(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        match self.shared.state() {
            State::Stuck => return Ok(false),
            State::Stopped | State::Failed => return Ok(true),
            // Taking the plan decides: if it is gone, the host's thread is already running `on_start`.
            State::Created if lock(&self.shared.plan).take().is_some() => {
                self.shared.set_state(State::Stopped);
                self.shared.clear();
                return Ok(true);
            }
            State::Created | State::Running | State::Stopping => {}
        }
        self.shared.host.refuse_own_thread(py, "stop")?;
        let timeout = Duration::try_from_secs_f64(timeout).map_err(value_error)?;
        let (sender, receiver) = mpsc::channel();
        self.shared.host.send(Command::Stop(Arc::clone(&self.shared), sender));
        let receiver = Mutex::new(receiver);
        let done = |patience| {
            py.detach(|| lock(&receiver).recv_timeout(patience) != Err(mpsc::RecvTimeoutError::Timeout))
        };
        if done(timeout) {
            return Ok(true);
        }
        // The callback did not return in time. No further callback may start; a running one is interrupted, which
        // works only while it executes Python code. If that fails too, the instance is stuck.
        self.shared.set_state(State::Stopping);
        self.shared.host.interrupt(py, &py.get_type::<LambdaStopped>().into_any(), self.shared.number);
        if done(timeout.clamp(Duration::from_millis(100), Duration::from_secs(1))) {
            return Ok(true);
        }
        self.shared.set_state(State::Stuck);
        self.shared.host.abandon(py, &self.shared);
        Ok(false)
    }

    #[getter]
    fn in_callback_ns(&self) -> u64 {
        self.shared.host.in_callback_ns(self.shared.number)
    }

    fn now(&self) -> Nanos {
        self.shared.now()
    }

    #[getter]
    fn delivered_at(&self) -> Nanos {
        self.shared.delivered_at.load(Ordering::Relaxed)
    }

    #[pyo3(signature = (symbol, provider = None))]
    fn market(&self, symbol: &str, provider: Option<&str>) -> PyResult<Option<PyMarketState>> {
        self.shared.view.market(symbol, provider)
    }

    #[pyo3(signature = (symbol, provider = None))]
    fn book<'py>(
        &self,
        py: Python<'py>,
        symbol: &str,
        provider: Option<&str>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.shared.view.book(py, symbol, provider)
    }

    fn every(&self, seconds: f64, r#fn: Py<PyAny>) -> PyResult<PyTimer> {
        let period = seconds * 1e9;
        if !(1e3..=1e18).contains(&period) {
            return Err(value_error(format!(
                "every: expected a period of 1e-6 to 1e9 seconds, saw {seconds}"
            )));
        }
        let cancelled = Arc::new(AtomicBool::new(false));
        let request =
            TimerRequest { period: period as Nanos, function: r#fn, cancelled: Arc::clone(&cancelled) };
        lock(&self.shared.timers).push(request);
        self.shared.host.timers_changed();
        Ok(PyTimer(cancelled))
    }

    fn emit(&self, py: Python<'_>, name: String, payload_json: String) -> PyResult<()> {
        let extension = crate::payload::extension(name, payload_json, self.shared.number)?;
        self.core.emit(py, extension, self.shared.number, self.shared.now(), self.shared.host.event_clock)?;
        self.shared.stats.emitted.add(1);
        Ok(())
    }

    fn histograms<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(py);
        out.set_item("latency", self.shared.stats.latency.cumulative())?;
        out.set_item("callback", self.shared.stats.callback.cumulative())?;
        Ok(out)
    }

    pub fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = &self.shared.stats;
        let out = PyDict::new(py);
        out.set_item("id", &self.shared.id)?;
        out.set_item("state", self.shared.state().name())?;
        out.set_item("delivered", by_kind(py, |kind| stats.delivered[kind as usize].get())?)?;
        out.set_item(
            "conflated",
            by_kind(py, |kind| stats.conflated[kind as usize].load(Ordering::Relaxed))?,
        )?;
        out.set_item("dropped", by_kind(py, |kind| stats.dropped[kind as usize].load(Ordering::Relaxed))?)?;
        out.set_item("errors", stats.errors.get())?;
        out.set_item("slow_callbacks", stats.slow.get())?;
        out.set_item("emitted", stats.emitted.get())?;
        out.set_item("in_callback_ns", self.shared.host.in_callback_ns(self.shared.number))?;
        out.set_item("last_error", lock(&self.shared.last_error).clone())?;
        out.set_item("latency_ns", summary_dict(py, stats.latency.summary())?)?;
        out.set_item("callback_ns", summary_dict(py, stats.callback.summary())?)?;
        Ok(out)
    }
}
