//! `every`: timers of the instances of a host.

use super::thread::Loop;
use crate::instance::{State, TimerRequest};
use meltica_core::clock;
use meltica_core::event::Nanos;
use meltica_core::timer::{MAX_BEATS, Timer};
use pyo3::exceptions::PyRuntimeWarning;
use pyo3::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
}

/// The place of a timer: group, seat, timer.
type Place = (usize, usize, usize);

impl Loop {
    /// Takes over the timers that instances have requested, and drops the cancelled ones.
    pub fn take_timers(&mut self) {
        // In a replay the clock starts with the first event.
        let replayed = (self.now != 0).then_some(self.now);
        for seat in self.groups.iter_mut().flat_map(|g| &mut g.seats) {
            seat.timers.retain(Beat::is_wanted);
            if seat.timers.len() < seat.timers.capacity() / 4 {
                seat.timers.shrink_to(2 * seat.timers.len());
            }
            // Not under the lock, because dropping a function may run Python code.
            let requests = std::mem::take(&mut *seat.instance.timers.lock());
            let beats = requests.into_iter().map(|request| {
                let now = if self.shared.event_clock { replayed } else { Some(clock::monotonic()) };
                let TimerRequest { period, function, cancelled } = request;
                Beat { timer: Timer::new(period, now), function, cancelled }
            });
            seat.timers.extend(beats.filter(Beat::is_wanted));
        }
        self.plan_timers();
    }

    fn plan_timers(&mut self) {
        let timers = self.groups.iter().flat_map(|g| &g.seats).flat_map(|s| &s.timers);
        self.next_timer = timers.map(|beat| beat.timer.next().unwrap_or(0)).min().unwrap_or(Nanos::MAX);
    }

    /// Calls the timers due by `now`, ordered by due time, then by instance and age. `now` is on the clock of
    /// `next_timer`.
    pub fn fire_timers(&mut self, py: Python<'_>, now: Nanos) {
        while let Some((due, place)) = self.earliest(now) {
            self.beat(py, now, due, place);
            if self.shared.timers_changed.swap(false, Ordering::AcqRel) {
                self.take_timers();
            }
        }
        self.plan_timers();
    }

    /// Returns the earliest timer that is due, and drops those that are cancelled or whose instance ends.
    fn earliest(&mut self, now: Nanos) -> Option<(Nanos, Place)> {
        let mut earliest: Option<(Nanos, Place)> = None;
        for (g, group) in self.groups.iter_mut().enumerate() {
            for (s, seat) in group.seats.iter_mut().enumerate() {
                let ends = seat.instance.state() != State::Running;
                seat.timers.retain(|beat| !ends && beat.is_wanted());
                for (t, beat) in seat.timers.iter_mut().enumerate() {
                    if let Some(due) = beat.timer.due_by(now)
                        && earliest.is_none_or(|(first, _)| due < first)
                    {
                        earliest = Some((due, (g, s, t)));
                    }
                }
            }
        }
        earliest
    }

    /// Calls one timer.
    fn beat(&mut self, py: Python<'_>, now: Nanos, due: Nanos, (g, s, t): Place) {
        let seat = &mut self.groups[g].seats[s];
        let beat = &mut seat.timers[t];
        let mut skipped = 0;
        if self.shared.event_clock {
            skipped = beat.timer.beat_recorded(now);
            seat.instance.now.store(due, Ordering::Relaxed);
        } else {
            beat.timer.beat_live(now);
        }
        let function = beat.function.clone_ref(py);
        if seat.instance.state() != State::Running {
            return;
        }
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
