//! `every`: timers on a host's clock.

use super::thread::Loop;
use crate::instance::{State, lock};
use meltica_core::clock;
use meltica_core::event::Nanos;
use pyo3::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A timer of an instance.
pub struct Timer {
    due: Option<Nanos>,
    period: Nanos,
    function: Py<PyAny>,
    cancelled: Arc<AtomicBool>,
}

impl Loop {
    pub fn take_timers(&mut self) {
        for seat in self.groups.iter_mut().flat_map(|g| &mut g.seats) {
            for request in lock(&seat.instance.timers).drain(..) {
                let now = if self.shared.event_clock { self.now } else { clock::wall() };
                // In replay the clock starts with the first event; the timer is due one period after it.
                let due = (now != 0).then(|| now.saturating_add(request.period));
                seat.timers.push(Timer {
                    due,
                    period: request.period,
                    function: request.function,
                    cancelled: request.cancelled,
                });
            }
        }
        self.plan_timers();
    }

    fn plan_timers(&mut self) {
        let timers = self.groups.iter().flat_map(|g| &g.seats).flat_map(|s| &s.timers);
        self.next_timer = timers.map(|t| t.due.unwrap_or(0)).min().unwrap_or(Nanos::MAX);
    }

    /// Fires the timers due by `now`, ordered by due time, then by instance and age.
    pub fn fire_timers(&mut self, py: Python<'_>, now: Nanos) {
        let mut failed = Vec::new();
        loop {
            let mut earliest: Option<(Nanos, usize, usize, usize)> = None;
            for (g, group) in self.groups.iter_mut().enumerate() {
                for (s, seat) in group.seats.iter_mut().enumerate() {
                    seat.timers.retain(|t| !t.cancelled.load(Ordering::Relaxed));
                    for (t, timer) in seat.timers.iter_mut().enumerate() {
                        let due = *timer.due.get_or_insert(now.saturating_add(timer.period));
                        if due <= now && earliest.is_none_or(|(first, ..)| due < first) {
                            earliest = Some((due, g, s, t));
                        }
                    }
                }
            }
            let Some((due, g, s, t)) = earliest else { break };
            let seat = &mut self.groups[g].seats[s];
            let timer = &mut seat.timers[t];
            // Live, a late timer skips the beats it missed; in replay it fires for each of them.
            let next = due + timer.period;
            timer.due = Some(if self.shared.event_clock || next > now { next } else { now + timer.period });
            let function = timer.function.clone_ref(py);
            seat.instance.now.store(if self.shared.event_clock { due } else { now }, Ordering::Relaxed);
            let result = self.shared.watched(seat.instance.number, clock::ticks(), || function.call0(py));
            match result {
                Ok(_) => seat.errors_in_a_row = 0,
                Err(error) => failed.extend(seat.failure(py, "every", &error)),
            }
            for number in failed.drain(..) {
                self.stop(py, number, State::Failed);
            }
            if self.shared.timers_changed.swap(false, Ordering::AcqRel) {
                self.take_timers();
            }
        }
        self.plan_timers();
    }
}
