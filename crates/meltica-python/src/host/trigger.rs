//! What led to the callback that runs, for those who ask inside of it: its event, and when that passed each step.

use super::HostShared;
use meltica_core::clock;
use meltica_core::event::{Event, Nanos};
use pyo3::prelude::*;
use std::ptr;
use std::sync::atomic::Ordering;

/// The beginning of a call.
#[derive(Clone, Copy)]
pub struct Begun<'a> {
    /// When, in ticks.
    pub ticks: u64,
    /// The event that the call is about; `None` for timers, posted functions and the like.
    pub event: Option<&'a Event>,
}

impl Begun<'_> {
    /// Returns the beginning, now, of a call that is about no event.
    pub fn now() -> Self {
        Self { ticks: clock::ticks(), event: None }
    }

    /// Returns the event as a pointer, null without one.
    #[inline]
    pub fn event(&self) -> *mut Event {
        self.event.map_or(ptr::null_mut(), |event| ptr::from_ref(event).cast_mut())
    }
}

/// What led to the callback that runs. Ages are in ns before the call of `Instance.trigger`, on the monotonic clock.
#[pyclass(module = "meltica._core", name = "Trigger", frozen, get_all, immutable_type)]
pub struct PyTrigger {
    /// How long ago the callback began.
    callback_age: Nanos,
    /// The event; None for a timer, a posted function or `on_start`.
    event: Option<Py<PyTriggerEvent>>,
}

/// The event that a callback is about.
#[pyclass(module = "meltica._core", name = "TriggerEvent", frozen, get_all, immutable_type)]
pub struct PyTriggerEvent {
    /// Its global number.
    sequence: u64,
    /// Its kind.
    kind: &'static str,
    /// Its provider.
    provider: &'static str,
    /// Its symbol.
    symbol: &'static str,
    /// The time by the venue; None if the venue sends none.
    venue_time: Option<Nanos>,
    /// When its bytes arrived, wall clock.
    received_time: Nanos,
    /// The same, as an age: negative if the wall clock was set back before the dispatch.
    received_age: Nanos,
    /// How long ago it was numbered and routed.
    dispatched_age: Nanos,
    /// How long ago the host began the round of deliveries that has it.
    read_age: Nanos,
}

impl HostShared {
    /// Returns what led to the callback of instance `number` that runs; `None` between callbacks and on other threads.
    pub fn trigger(&self, py: Python<'_>, number: u64) -> PyResult<Option<PyTrigger>> {
        if !self.waker.is_mine() || self.current.load(Ordering::Relaxed) != number {
            return Ok(None);
        }
        let now = clock::ticks();
        let age = |ticks| clock::elapsed_ns(ticks, now) as Nanos;
        // SAFETY: this is the host's thread, inside the call that `watched` makes. The pointer is that of the call: null, or
        // an event that the loop below on the stack holds until the call has returned.
        let event = unsafe { self.event.load(Ordering::Relaxed).as_ref() };
        let read_age = age(self.round.load(Ordering::Relaxed));
        let of_event = |event: &Event| {
            let header = event.header();
            let dispatched_age = age(header.dispatched_ticks);
            let event = PyTriggerEvent {
                sequence: header.seq,
                kind: header.kind.name(),
                provider: header.provider.name(),
                symbol: header.symbol.name(),
                venue_time: header.venue_time,
                received_time: header.received_time,
                received_age: dispatched_age + (header.dispatched_time - header.received_time),
                dispatched_age,
                read_age,
            };
            Py::new(py, event)
        };
        let callback_age = age(self.started.load(Ordering::Relaxed));
        Ok(Some(PyTrigger { callback_age, event: event.map(of_event).transpose()? }))
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyTrigger>()?;
    module.add_class::<PyTriggerEvent>()
}
