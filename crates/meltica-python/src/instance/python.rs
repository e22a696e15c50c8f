//! `Instance` and `Timer` as Python sees them.

use super::market::PyMarketState;
use super::{InstanceShared, State, TimerRequest};
use crate::barrier::Drains;
use crate::convert::value_error;
use crate::core::CoreShared;
use crate::errors::{LambdaError, LambdaStopped};
use crate::host::{Command, PyTrigger};
use crate::locks::Lock;
use crate::stats::{Counts, by_kind, summary_dict};
use meltica_core::deliveries::Delivery;
use meltica_core::event::Nanos;
use meltica_core::stats::{Histogram, Summary};
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak, mpsc};
use std::time::Duration;

/// How long a wait for the host lasts before it handles signals.
const SIGNALS: Duration = Duration::from_millis(50);

/// How often a stop interrupts a callback before it gives up.
const INTERRUPTS: u32 = 4;

/// A running timer, made by `Lambda.every`. It ends with its instance, or with `cancel`.
#[pyclass(module = "meltica", name = "Timer", frozen, immutable_type)]
pub struct PyTimer {
    cancelled: Arc<AtomicBool>,
    /// Its number in its instance.
    id: u64,
    /// Not owned: the instance may own the timer through the function.
    instance: Weak<InstanceShared>,
}

#[pymethods]
impl PyTimer {
    /// Stops the timer; it does not fire again. Cancelling twice is allowed.
    fn cancel(&self) {
        if !self.cancelled.swap(true, Ordering::Relaxed)
            && let Some(instance) = self.instance.upgrade()
        {
            instance.timers.lock().cancel(self.id);
            instance.host.timers_changed();
        }
    }
}

/// One run of a lambda, made by `Host.add`.
#[pyclass(module = "meltica._core", name = "Instance", frozen, immutable_type)]
pub struct PyInstance {
    pub shared: Arc<InstanceShared>,
    pub core: Arc<CoreShared>,
}

#[pymethods]
impl PyInstance {
    /// Name of the instance.
    #[getter]
    fn id(&self) -> &str {
        &self.shared.id
    }

    /// Life-cycle state of the instance.
    #[getter]
    fn state(&self) -> &'static str {
        self.shared.state().name()
    }

    /// Runs `on_start` on the host's thread, then starts the delivery of events.
    ///
    /// Raises what `on_start` raised, or `LambdaError` if the instance was already started, or if a stop has given up
    /// waiting for `on_start`.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        let (instance, host) = (&self.shared, &self.shared.host);
        host.refuse_own_thread("start")?;
        let receiver = host.start(instance)?;
        let receiver = Lock::leaf(receiver);
        loop {
            match py.detach(|| receiver.lock().recv_timeout(SIGNALS)) {
                Ok(result) => return result,
                Err(mpsc::RecvTimeoutError::Timeout) if instance.state() == State::Stuck => {
                    return Err(LambdaError::new_err(format!(
                        "instance {} not started: it was stopped while a callback on its host did not return",
                        instance.id
                    )));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => py.check_signals()?,
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(LambdaError::new_err("instance not started: the host's thread has ended"));
                }
            }
        }
    }

    /// Stops the delivery of events, runs `on_stop` on the host's thread and waits for it.
    ///
    /// After `timeout` seconds, raises `LambdaStopped` inside a running callback, four times within the next second
    /// at most. Returns False if the callback does not return even then; the instance is then `stuck`.
    #[pyo3(signature = (timeout = 5.0))]
    pub fn stop(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let timeout = Duration::try_from_secs_f64(timeout).map_err(value_error)?;
        let (instance, host) = (&self.shared, &self.shared.host);
        if let Some(plan) = instance.take_plan(State::Stopped) {
            drop(plan);
            instance.clear();
        }
        match instance.state() {
            State::Stuck => return Ok(false),
            State::Stopped | State::Failed => return Ok(true),
            State::Created | State::Starting | State::Running | State::Stopping => {}
        }
        host.refuse_own_thread("stop")?;
        let (sender, receiver) = mpsc::channel();
        host.send(Command::Stop(Arc::clone(instance), sender));
        let receiver = Lock::leaf(receiver);
        let done = |patience| {
            py.detach(|| receiver.lock().recv_timeout(patience) != Err(mpsc::RecvTimeoutError::Timeout))
        };
        if !done(timeout) {
            // No further callback may start. Python drops an exception that it raises in a finalizer, in a callback of a
            // weak reference or during a garbage collection, so a callback that still runs is interrupted again.
            instance.forbid_calls();
            let exception = py.get_type::<LambdaStopped>().into_any();
            let patience = timeout.clamp(Duration::from_millis(100), Duration::from_secs(1));
            let stopped = (0..INTERRUPTS).any(|_| {
                host.interrupt(py, &exception, instance.number);
                done(patience / INTERRUPTS)
            });
            if !stopped && instance.enter(State::Stuck) {
                instance.leave();
            }
        }
        Ok(instance.state() != State::Stuck)
    }

    /// Calls `function` without arguments on the host's thread, between two callbacks; never waits.
    ///
    /// Functions are called in the order of their posts, at most 64 or for 2 ms at a time; those posted before the start
    /// come after `on_start` and before the first event. An exception is handled like one of a callback.
    ///
    /// Returns False if the function is refused: from the stop on, or because 65,536 wait, which also halts the instance.
    /// It then calls those that wait, receives no further event, and fails. The functions accepted before a stop are called
    /// before `on_stop`. Only an instance that fails, or whose stop exceeds its timeout, discards the rest and ends
    /// `failed` or `stuck`; `discarded_posts` of `stats` counts them.
    fn post(&self, function: Py<PyAny>) -> bool {
        self.shared.post(function)
    }

    /// How long the current callback has been running, in ns; 0 between callbacks.
    #[getter]
    fn in_callback_ns(&self) -> u64 {
        self.shared.host.in_callback_ns(self.shared.number)
    }

    /// Returns the time of the instance's clock, in ns: the wall clock live, the events' time in a replay.
    fn now(&self) -> Nanos {
        self.shared.now()
    }

    /// Returns what led to the callback of the instance that runs: its event, and how long ago that passed each step.
    ///
    /// Returns None between callbacks, and on any other thread than the host's.
    fn trigger(&self, py: Python<'_>) -> PyResult<Option<PyTrigger>> {
        self.shared.host.trigger(py, self.shared.number)
    }

    /// When the latest event reached the instance, in ns of the wall clock; 0 before the first.
    #[getter]
    fn delivered_at(&self) -> Nanos {
        self.shared.delivered_at.load(Ordering::Relaxed)
    }

    /// Returns the latest prices of a symbol; None before its first event.
    ///
    /// Raises `LambdaError` if several providers send the symbol and `provider` is None.
    #[pyo3(signature = (symbol, provider = None))]
    fn market(&self, symbol: &str, provider: Option<&str>) -> PyResult<Option<PyMarketState>> {
        self.shared.view.market(symbol, provider)
    }

    /// Returns the latest book of a symbol; None before the first, or while it is stale.
    ///
    /// Raises `LambdaError` if several providers send the symbol and `provider` is None.
    #[pyo3(signature = (symbol, provider = None))]
    fn book<'py>(
        &self,
        py: Python<'py>,
        symbol: &str,
        provider: Option<&str>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.shared.view.book(py, symbol, provider)
    }

    /// Calls `fn` every `seconds` (1e-6 to 1e9) of the instance's clock, on the host's thread, until cancelled.
    ///
    /// Functions that are due are called by due time, live at most 64 or for 2 ms at a time; then waiting events come first.
    ///
    /// Raises `LambdaError` once the instance has ended.
    fn every(&self, seconds: f64, r#fn: Py<PyAny>) -> PyResult<PyTimer> {
        self.refuse_ended("timer not started")?;
        let period = seconds * 1e9;
        if !(1e3..=1e18).contains(&period) {
            return Err(value_error(format!(
                "every: expected a period of 1e-6 to 1e9 seconds, saw {seconds}"
            )));
        }
        let cancelled = Arc::new(AtomicBool::new(false));
        let request =
            TimerRequest { period: period as Nanos, function: r#fn, cancelled: Arc::clone(&cancelled) };
        let id = self.shared.timers.lock().add(request);
        self.shared.host.timers_changed();
        Ok(PyTimer { cancelled, id, instance: Arc::downgrade(&self.shared) })
    }

    /// Publishes an `Extension` event with a payload of at most 100 KiB of JSON.
    ///
    /// In a replay, the event is published at the end of the current step. Raises `ValueError` for a larger payload or a
    /// name of more than 256 bytes, `LambdaError` once the instance has ended, if the queue of a subscriber blocks and is
    /// full, or if the lambdas emit more than 64 MiB within one step of a replay.
    fn emit(&self, py: Python<'_>, name: String, payload_json: String) -> PyResult<()> {
        self.refuse_ended("extension not published")?;
        let extension = crate::payload::extension(&name, &payload_json, self.shared.number)?;
        let (instance, extensions) = (&self.shared, &self.core.extensions);
        if instance.host.event_clock {
            extensions.emit_later(extension, instance.number, instance.now())?;
        } else {
            extensions.emit(py, extension, instance.now())?;
        }
        self.shared.stats.emitted.add(1);
        Ok(())
    }

    /// Returns two histograms by provider: `latency` from dispatched to delivered, `callback` from delivered to returned.
    ///
    /// Each is (number of values below each of `HISTOGRAM_BOUNDS_NS`, sum of all values in ns, their number).
    fn histograms(&self) -> BTreeMap<&'static str, BTreeMap<&'static str, Counts>> {
        let all = self.shared.stats.deliveries.all();
        let by = |of: fn(&Delivery) -> &Histogram| {
            all.iter().map(|(provider, delivery)| (provider.name(), of(delivery).cumulative())).collect()
        };
        BTreeMap::from([("latency", by(|each| &each.latency)), ("callback", by(|each| &each.callback))])
    }

    /// The symbols for which the queue has no room: by kind, (provider, symbol). Their events are not delivered.
    ///
    /// A route for every symbol claims more room in the background as new symbols appear, until the pools are at their
    /// maximum. Their events count as dropped.
    #[getter]
    fn left_out(&self) -> BTreeMap<&'static str, Vec<(&'static str, &'static str)>> {
        self.shared.routes.lock().as_ref().map(|routes| routes.left_out()).unwrap_or_default()
    }

    /// Why the queue could not get more room; None if it did.
    #[getter]
    fn refused_room(&self) -> Option<String> {
        self.shared.routes.lock().as_ref().and_then(|routes| routes.refused())
    }

    /// Requests again the room that was refused. The request is handled soon, in the background.
    ///
    /// A symbol that has room is delivered from its next event on.
    fn retry_room(&self) {
        if let Some(routes) = self.shared.routes.lock().as_ref() {
            routes.retry_growth();
        }
    }

    /// Returns counters (delivered, conflated, dropped and left out by kind, errors, slow callbacks) and latencies in
    /// ns. `left_out` counts symbols, `extension_bytes` the bytes of waiting extensions, the others events. `reserved_*`
    /// are the slots of the pools that the running instance has reserved, and their bytes with those of extensions.
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
        let left_out = self.left_out();
        out.set_item("left_out", left_out.into_iter().map(|(kind, of)| (kind, of.len())).into_py_dict(py)?)?;
        out.set_item("errors", stats.errors.get())?;
        out.set_item("slow_callbacks", stats.slow.get())?;
        out.set_item("skipped_beats", stats.skipped_beats.get())?;
        out.set_item("emitted", stats.emitted.get())?;
        out.set_item("extension_bytes", self.extension_bytes())?;
        let claim = self.shared.routes.lock().as_ref().map(|routes| routes.claim()).unwrap_or_default();
        out.set_item("reserved_events", claim.events)?;
        out.set_item("reserved_books", claim.books.iter().sum::<usize>())?;
        out.set_item("reserved_bytes", claim.bytes())?;
        out.set_item("discarded_posts", stats.discarded_posts.get())?;
        out.set_item("in_callback_ns", self.shared.host.in_callback_ns(self.shared.number))?;
        let last_error = self.shared.last_error.lock().clone();
        out.set_item("last_error", last_error)?;
        let all = stats.deliveries.all();
        let latency = Summary::of(all.iter().map(|(_, each)| &each.latency));
        let callback = Summary::of(all.iter().map(|(_, each)| &each.callback));
        out.set_item("latency_ns", summary_dict(py, latency)?)?;
        out.set_item("callback_ns", summary_dict(py, callback)?)?;
        Ok(out)
    }
}

impl PyInstance {
    /// Refuses a request of a thread that goes on after the end of the instance.
    fn refuse_ended(&self, what: &str) -> PyResult<()> {
        let state = self.shared.state();
        if state.has_ended() {
            let id = &self.shared.id;
            let text = format!(
                "{what}: the instance {id} has ended ({}); end its threads in `on_stop`",
                state.name()
            );
            return Err(LambdaError::new_err(text));
        }
        Ok(())
    }

    /// Returns the bytes of the extensions that wait in the queue.
    fn extension_bytes(&self) -> u64 {
        self.shared.routes.lock().as_ref().map_or(0, |routes| routes.extension_bytes())
    }
}
