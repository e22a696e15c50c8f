//! `post`: functions that other threads pass to an instance, called between its callbacks.

use super::thread::Loop;
use crate::instance::State;
use meltica_core::clock;
use pyo3::prelude::*;
use std::sync::atomic::Ordering;

impl Loop {
    /// Calls what was posted to running instances, oldest first.
    ///
    /// What was posted before an instance runs waits for it, so that its first event comes after.
    ///
    /// Not inlined, as the loop over events would pay for it.
    #[cold]
    #[inline(never)]
    pub fn call_posted(&mut self, py: Python<'_>) {
        self.shared.posted.store(false, Ordering::Release);
        for g in 0..self.groups.len() {
            for s in (0..self.groups[g].seats.len()).rev() {
                self.call_posted_to(py, g, s);
            }
        }
    }

    fn call_posted_to(&mut self, py: Python<'_>, g: usize, s: usize) {
        let seat = &mut self.groups[g].seats[s];
        loop {
            if seat.instance.state() != State::Running {
                return;
            }
            let Some(function) = seat.instance.take_posted() else { return };
            if let Some(number) = seat.call(py, &self.shared, "post", &function) {
                self.stop(py, number, State::Failed);
                return;
            }
        }
    }
}

impl super::seat::Seat {
    /// Makes one call that no event caused; returns the instance's number if it has reached its limit of errors.
    pub fn call(
        &mut self,
        py: Python<'_>,
        host: &super::HostShared,
        name: &str,
        function: &Py<PyAny>,
    ) -> Option<u64> {
        let started = clock::ticks();
        let result = host.watched(py, self.instance.number, started, || function.call0(py));
        if clock::elapsed_ns(started, clock::ticks()) >= self.member.slow_ns {
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
