//! Calls the functions that other threads post to an instance, and ends instances.
//!
//! Those beyond the instance's share of a round wait for the next round, so a function that posts itself delays neither the
//! events of its instance nor those of the others.
//!
//! An instance that stops receives no further event. It keeps its share of each round until the functions that were
//! posted before have been called; then `on_stop` runs.

use super::share::Limit;
use super::thread::Loop;
use super::trigger::Begun;
use super::{HostShared, seat::Seat};
use crate::callback::call;
use crate::instance::{POSTED_LIMIT, State};
use meltica_core::clock;
use pyo3::prelude::*;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;

/// An instance that stops, until `on_stop` has run.
pub struct Ending {
    seat: Seat,
    end: State,
    replies: Vec<Sender<()>>,
}

impl Loop {
    /// Calls functions posted to running instances, oldest first.
    ///
    /// What was posted before an instance runs waits for it, so that its first event comes after.
    ///
    /// Not inlined, as the loop over events would pay for it.
    #[cold]
    #[inline(never)]
    pub fn call_posted(&mut self, py: Python<'_>) {
        // An exchange: a store could overwrite the flag of a function that the locks below do not show yet.
        self.shared.posted.swap(false, Ordering::AcqRel);
        let limit = self.limit();
        for g in 0..self.groups.len() {
            for s in (0..self.groups[g].seats.len()).rev() {
                let seat = &mut self.groups[g].seats[s];
                let number = seat.instance.number;
                let (waiting, is_halted) = seat.instance.posted();
                if is_halted {
                    *seat.instance.last_error.lock() =
                        Some(format!("halted: more than {POSTED_LIMIT} posted functions were waiting"));
                    self.begin_stop(number, State::Failed, None);
                } else if waiting > 0 {
                    let has_failed = seat.call_share(py, &self.shared, limit);
                    self.posts_wait |= seat.instance.posted().0 > 0;
                    if has_failed {
                        self.stop(py, number, State::Failed);
                    }
                }
            }
        }
    }

    /// Ends the events of an instance, and its other end once its posted functions have been called.
    pub fn begin_stop(&mut self, number: u64, end: State, reply: Option<Sender<()>>) {
        let is_it = |ending: &&mut Ending| ending.seat.instance.number == number;
        if let Some(seat) = self.take_seat(number) {
            self.ending.push(Ending { seat, end, replies: reply.into_iter().collect() });
        } else if let Some(ending) = self.ending.iter_mut().find(is_it) {
            ending.replies.extend(reply);
        } else if let Some(reply) = reply {
            let _ = reply.send(());
        }
    }

    /// Calls functions posted to the instances that stop, and ends those that have called all of them.
    pub fn call_ending(&mut self, py: Python<'_>) {
        let limit = self.limit();
        for index in (0..self.ending.len()).rev() {
            let Ending { seat, end, .. } = &mut self.ending[index];
            if seat.call_share(py, &self.shared, limit) {
                *end = State::Failed;
            } else if seat.instance.posted().0 > 0 && !seat.instance.is_overdue() {
                continue;
            }
            let Ending { seat, end, replies } = self.ending.remove(index);
            self.finish(py, seat, end);
            for reply in replies {
                let _ = reply.send(());
            }
        }
    }

    /// Stops every instance and calls all that was posted to them.
    pub fn end_all(&mut self, py: Python<'_>) {
        while let Some(seat) = self.groups.iter().find_map(|group| group.seats.first()) {
            self.begin_stop(seat.instance.number, State::Stopped, None);
        }
        while !self.ending.is_empty() {
            self.round += 1;
            self.call_ending(py);
        }
    }
}

impl Seat {
    /// Calls the functions that wait now, as far as the share of the round lasts; returns whether the instance has
    /// reached its limit of errors.
    fn call_share(&mut self, py: Python<'_>, host: &HostShared, limit: Limit) -> bool {
        for _ in 0..self.instance.posted().0 {
            if !self.posts.has_room(limit) || self.instance.is_overdue() {
                break;
            }
            let Some(function) = self.instance.take_posted() else { break };
            let started = clock::ticks();
            let failed = self.call(py, host, "post", &function);
            self.posts.spend(started);
            if failed.is_some() {
                return true;
            }
        }
        false
    }

    /// Makes one call that no event caused; returns the instance's number if it has reached its limit of errors.
    pub fn call(
        &mut self,
        py: Python<'_>,
        host: &HostShared,
        name: &str,
        function: &Py<PyAny>,
    ) -> Option<u64> {
        let begun = Begun::now();
        let result = host.watched(py, self.turn(), begun, || call(function.bind(py), &[]));
        if clock::elapsed_ns(begun.ticks, clock::ticks()) >= self.member.slow_ns {
            self.instance.stats.slow.bump(1);
        }
        match result {
            Ok(_) => {
                self.errors_in_a_row = 0;
                None
            }
            Err(error) => self.failure(py, host, name, &error),
        }
    }
}
