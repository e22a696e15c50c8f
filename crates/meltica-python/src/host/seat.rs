//! An instance's place in its host.

use super::share::Share;
use super::timers::Timers;
use super::trigger::Begun;
use super::{HostShared, Member, Signature};
use crate::callback::call;
use crate::errors::LambdaStopped;
use crate::instance::InstanceShared;
use crate::routes::Routes;
use meltica_core::bus::Queue;
use meltica_core::event::Kind;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::types::PyString;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// One running instance and the host's own data about it. What each delivery reads comes first.
#[repr(C, align(64))]
pub struct Seat {
    pub instance: Arc<InstanceShared>,
    /// Events up to this number were dispatched before the instance started.
    pub since: u64,
    pub errors_in_a_row: u64,
    /// From how many ns on a delivery, from dispatched to the end of its callback, is handled by [`Self::watch`].
    pub watch_ns: u64,
    pub member: Member,
    pub timers: Timers,
    /// What its posted functions have used of a round.
    pub posts: Share,
    /// Losses of the queue before the instance started: (conflated, dropped) by kind.
    pub lost_before: [(u64, u64); Kind::COUNT],
}

/// Seats that read one queue. Its reader has the same index in the host's `Merge`.
pub struct Group {
    pub signature: Signature,
    pub queue: Arc<Queue>,
    /// Held by the instances; gone when the last of them has left.
    pub routes: Weak<Routes>,
    pub seats: Vec<Seat>,
}

/// Returns how many events of a kind a queue conflated and dropped.
pub fn losses(queue: &Queue, kind: Kind) -> (u64, u64) {
    let losses = queue.losses(kind);
    (losses.conflated(), losses.dropped())
}

/// Updates the losses of the seats from their queue.
pub fn count_losses(group: &Group) {
    for kind in Kind::ALL {
        let (conflated, dropped) = losses(&group.queue, kind);
        if conflated + dropped > 0 {
            for seat in &group.seats {
                let (stats, before) = (&seat.instance.stats, seat.lost_before[kind as usize]);
                stats.conflated[kind as usize].store(conflated - before.0, Ordering::Relaxed);
                stats.dropped[kind as usize].store(dropped - before.1, Ordering::Relaxed);
            }
        }
    }
}

impl Seat {
    /// Returns what a call for the instance needs of it.
    #[inline]
    pub fn turn(&self) -> (u64, &Py<PyAny>) {
        (self.instance.number, &self.member.context)
    }

    /// Counts and reports an exception; returns the instance's number if it has to end: after a panic of the core, or at
    /// its limit of errors in a row.
    pub fn failure(
        &mut self,
        py: Python<'_>,
        host: &HostShared,
        callback: &str,
        error: &PyErr,
    ) -> Option<u64> {
        self.instance.stats.errors.bump(1);
        self.errors_in_a_row += 1;
        *self.instance.last_error.lock() = Some(error.to_string());
        self.report(py, host, callback, error);
        // A stop that waits for too long raises it. One that the callback raises is an error like others.
        let stopped = self.instance.is_overdue() && error.is_instance_of::<LambdaStopped>(py);
        let too_many = self.member.max_errors > 0 && self.errors_in_a_row >= self.member.max_errors;
        let has_panicked = error.is_instance_of::<PanicException>(py);
        (has_panicked || (too_many && !stopped)).then_some(self.instance.number)
    }

    /// Reports an exception, or a warning, to `on_error`.
    pub fn report(&self, py: Python<'_>, host: &HostShared, callback: &str, error: &PyErr) {
        if let Some(on_error) = &self.member.on_error {
            let callback = PyString::new(py, callback);
            // Unlike `value`, this attaches the traceback to the exception.
            let error = error.clone_ref(py).into_value(py).into_bound(py).into_any();
            let handle = || call(on_error.bind(py), &[&callback, &error]);
            if let Err(second) = host.watched(py, self.turn(), Begun::now(), handle) {
                second.write_unraisable(py, Some(on_error.bind(py)));
            }
        }
    }
}
