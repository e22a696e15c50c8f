//! `every`: timers of the instances of a host, ordered by their due times, so that a beat costs the logarithm of their
//! number.

use super::thread::Loop;
use crate::instance::{State, TimerRequest};
use meltica_core::clock;
use meltica_core::event::Nanos;
use meltica_core::timer::{MAX_BEATS, Timer};
use pyo3::exceptions::PyRuntimeWarning;
use pyo3::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The order of timers: when a timer is due, the number of its instance, and its own number in the instance.
pub type TimerKey = (Nanos, u64, u64);

/// A timer of an instance, and the function that it calls.
pub struct Beat {
    timer: Timer,
    function: Py<PyAny>,
    cancelled: Arc<AtomicBool>,
}

impl Beat {
    fn is_wanted(&self) -> bool {
        !self.cancelled.load(Ordering::Relaxed)
    }

    /// Returns the timer's place in the order. A timer that is not started comes first.
    pub fn key(&self, instance: u64, id: u64) -> TimerKey {
        (self.timer.next().unwrap_or(0), instance, id)
    }
}

impl Loop {
    /// Takes over the timers that instances have requested, and drops the cancelled ones.
    pub fn take_timers(&mut self) {
        // In a replay the clock starts with the first event.
        let replayed = (self.now != 0).then_some(self.now);
        for seat in self.groups.iter_mut().flat_map(|g| &mut g.seats) {
            let number = seat.instance.number;
            // Not under the lock, because dropping a function may run Python code.
            let (requests, cancelled) = seat.instance.timers.lock().take();
            for (id, TimerRequest { period, function, cancelled }) in requests {
                let now = if self.shared.event_clock { replayed } else { Some(clock::monotonic()) };
                let beat = Beat { timer: Timer::new(period, now), function, cancelled };
                self.timers.insert(beat.key(number, id));
                seat.timers.insert(id, beat);
            }
            for id in cancelled {
                if let Some(beat) = seat.timers.remove(&id) {
                    self.timers.remove(&beat.key(number, id));
                }
            }
        }
        self.plan_timers();
    }

    fn plan_timers(&mut self) {
        self.next_timer = self.timers.first().map_or(Nanos::MAX, |(due, ..)| *due);
    }

    /// Calls the timers due by `now`, ordered by due time, then by instance and age. `now` is on the clock of
    /// `next_timer`.
    pub fn fire_timers(&mut self, py: Python<'_>, now: Nanos) {
        while let Some(key) =
            self.timers.first().copied().filter(|(due, ..)| *due <= now && *due < Nanos::MAX)
        {
            self.timers.remove(&key);
            self.beat(py, now, key);
            if self.shared.timers_changed.swap(false, Ordering::AcqRel) {
                self.take_timers();
            }
        }
        self.plan_timers();
    }

    /// Calls one timer, or drops it if it is cancelled or its instance ends.
    fn beat(&mut self, py: Python<'_>, now: Nanos, (_, number, id): TimerKey) {
        let mut seats = self.groups.iter_mut().flat_map(|group| &mut group.seats);
        let Some(seat) = seats.find(|seat| seat.instance.number == number) else { return };
        let is_running = seat.instance.state() == State::Running;
        let Some(beat) = seat.timers.get_mut(&id).filter(|beat| is_running && beat.is_wanted()) else {
            seat.timers.remove(&id);
            return;
        };
        let due = beat.timer.due_by(now);
        let mut skipped = 0;
        if due.is_some() {
            if self.shared.event_clock {
                skipped = beat.timer.beat_recorded(now);
            } else {
                beat.timer.beat_live(now);
            }
        }
        self.timers.insert(beat.key(number, id));
        let Some(due) = due else { return };
        if self.shared.event_clock {
            seat.instance.now.store(due, Ordering::Relaxed);
        }
        let function = beat.function.clone_ref(py);
        let failed = seat.call(py, &self.shared, "every", &function);
        if skipped > 0 {
            seat.instance.stats.skipped_beats.bump(skipped);
            let text = format!(
                "the recording's clock jumped: a timer made {MAX_BEATS} beats at once and skipped {skipped}"
            );
            seat.report(py, &self.shared, "every", &PyRuntimeWarning::new_err(text));
        }
        if let Some(number) = failed {
            self.stop(py, number, State::Failed);
        }
    }
}
