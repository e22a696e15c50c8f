//! `every`: timers of the instances of a host, ordered by their due times, so that a beat costs the logarithm of their
//! number.
//!
//! Live, a timer that is due beyond its instance's share of a round waits for the next round. Those of the other instances
//! do not wait for it.

use super::seat::Seat;
use super::share::Share;
use super::thread::Loop;
use crate::instance::{State, TimerRequest};
use meltica_core::clock;
use meltica_core::event::Nanos;
use meltica_core::timer::{MAX_BEATS, Timer};
use pyo3::exceptions::PyRuntimeWarning;
use pyo3::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The instances of a host that have timers: when the first of them is due, and the number of the instance.
pub type Order = BTreeSet<(Nanos, u64)>;

/// A timer of an instance, and the function that it calls.
struct Beat {
    timer: Timer,
    function: Py<PyAny>,
    cancelled: Arc<AtomicBool>,
}

impl Beat {
    fn is_wanted(&self) -> bool {
        !self.cancelled.load(Ordering::Relaxed)
    }

    /// Returns when the timer is due. One that is not started comes first.
    fn due(&self) -> Nanos {
        self.timer.next().unwrap_or(0)
    }
}

/// The timers of an instance by number, and their order: by due time, then by age.
#[derive(Default)]
pub struct Timers {
    beats: BTreeMap<u64, Beat>,
    order: BTreeSet<(Nanos, u64)>,
    /// When the first is due, as the host's order has it.
    placed: Option<Nanos>,
    /// What they have used of a round.
    share: Share,
}

impl Timers {
    fn insert(&mut self, id: u64, beat: Beat) {
        self.order.insert((beat.due(), id));
        self.beats.insert(id, beat);
    }

    fn remove(&mut self, id: u64) -> Option<Beat> {
        let beat = self.beats.remove(&id)?;
        self.order.remove(&(beat.due(), id));
        Some(beat)
    }

    /// Removes and returns the first.
    fn pop(&mut self) -> Option<(u64, Beat)> {
        let (_, id) = self.order.pop_first()?;
        Some((id, self.beats.remove(&id)?))
    }
}

impl Seat {
    /// Updates the place of its timers in the host's order.
    fn place_timers(&mut self, order: &mut Order) {
        let next = self.timers.order.first().map(|(due, _)| *due);
        if next != self.timers.placed {
            self.leave_order(order);
            order.extend(next.map(|due| (due, self.instance.number)));
            self.timers.placed = next;
        }
    }

    /// Removes its timers from the host's order.
    pub fn leave_order(&mut self, order: &mut Order) {
        if let Some(due) = self.timers.placed.take() {
            order.remove(&(due, self.instance.number));
        }
    }
}

impl Loop {
    /// Takes over the timers that instances have requested, and drops the cancelled ones.
    pub fn take_timers(&mut self) {
        // In a replay the clock starts with the first event.
        let replayed = (self.now != 0).then_some(self.now);
        for seat in self.groups.iter_mut().flat_map(|g| &mut g.seats) {
            // Not under the lock, because dropping a function may run Python code.
            let (requests, cancelled) = seat.instance.timers.lock().take();
            for (id, TimerRequest { period, function, cancelled }) in requests {
                let now = if self.shared.event_clock { replayed } else { Some(clock::monotonic()) };
                seat.timers.insert(id, Beat { timer: Timer::new(period, now), function, cancelled });
            }
            for id in cancelled {
                seat.timers.remove(id);
            }
            seat.place_timers(&mut self.timers);
        }
        self.plan_timers();
    }

    fn plan_timers(&mut self) {
        self.next_timer = self.timers.first().map_or(Nanos::MAX, |(due, _)| *due);
    }

    /// Calls the timers due by `now`, ordered by due time, then by instance and age, as far as the shares of their
    /// instances last. `now` is on the clock of `next_timer`.
    pub fn fire_timers(&mut self, py: Python<'_>, now: Nanos) {
        // The instances before it have used up their shares.
        let mut from = (Nanos::MIN, 0);
        let is_due = |(due, _): &(Nanos, u64)| *due <= now && *due < Nanos::MAX;
        while let Some((due, number)) = self.timers.range(from..).next().copied().filter(is_due) {
            if !self.beat(py, now, number) {
                from = (due, number + 1);
            }
            if self.shared.timers_changed.swap(false, Ordering::AcqRel) {
                self.take_timers();
            }
        }
        self.plan_timers();
    }

    /// Calls the first timer of an instance, or drops it if it is cancelled or its instance ends. Returns false if the
    /// share of the instance is used up.
    fn beat(&mut self, py: Python<'_>, now: Nanos, number: u64) -> bool {
        let limit = self.limit();
        let mut seats = self.groups.iter_mut().flat_map(|group| &mut group.seats);
        let Some(seat) = seats.find(|seat| seat.instance.number == number) else { return false };
        if !seat.timers.share.has_room(limit) {
            return false;
        }
        let first = seat.timers.pop();
        let is_running = seat.instance.state() == State::Running;
        let Some((id, mut beat)) = first.filter(|(_, beat)| is_running && beat.is_wanted()) else {
            seat.place_timers(&mut self.timers);
            return true;
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
        let function = beat.function.clone_ref(py);
        seat.timers.insert(id, beat);
        seat.place_timers(&mut self.timers);
        let Some(due) = due else { return true };
        if self.shared.event_clock {
            seat.instance.now.store(due, Ordering::Relaxed);
        }
        let started = clock::ticks();
        let failed = seat.call(py, &self.shared, "every", &function);
        if skipped > 0 {
            seat.instance.stats.skipped_beats.bump(skipped);
            let text = format!(
                "the recording's clock jumped: a timer made {MAX_BEATS} beats at once and skipped {skipped}"
            );
            seat.report(py, &self.shared, "every", &PyRuntimeWarning::new_err(text));
        }
        seat.timers.share.spend(started);
        if let Some(number) = failed {
            self.stop(py, number, State::Failed);
        }
        true
    }
}
