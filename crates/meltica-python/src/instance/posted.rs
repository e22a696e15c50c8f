//! The functions that wait to be called between the callbacks of an instance.
//!
//! A function is accepted until the instance stops, and every accepted one is called before `on_stop`. The exceptions: the
//! instance fails, or its stop waits for too long. It then ends `failed` or `stuck`, and `discarded_posts` counts what was
//! not called. So an instance that has ended `stopped` after a run has called all.

use super::{InstanceShared, State};
use pyo3::prelude::*;
use std::collections::VecDeque;

/// Most functions that may wait for an instance; one more halts it.
pub const POSTED_LIMIT: usize = 65_536;

#[derive(Default)]
pub struct Posted {
    waiting: VecDeque<Py<PyAny>>,
    /// Whether a function was refused because of the limit. Later ones are refused too: they would follow a hole.
    halted: bool,
}

impl InstanceShared {
    /// Adds a function to call between callbacks; returns false if it is refused.
    pub fn post(&self, function: Py<PyAny>) -> bool {
        let mut posted = self.posted.lock();
        // Under the lock, so that an instance that ends finds the function, or refuses it.
        if !matches!(self.state(), State::Created | State::Starting | State::Running) {
            return false;
        }
        if posted.halted || posted.waiting.len() >= POSTED_LIMIT {
            posted.halted = true;
            return false;
        }
        posted.waiting.push_back(function);
        drop(posted);
        self.host.wake_for_posted();
        true
    }

    /// Takes the oldest function that waits.
    pub fn take_posted(&self) -> Option<Py<PyAny>> {
        self.posted.lock().waiting.pop_front()
    }

    /// Returns the number of functions that wait, and whether one was refused because of the limit.
    pub fn posted(&self) -> (usize, bool) {
        let posted = self.posted.lock();
        (posted.waiting.len(), posted.halted)
    }

    /// Drops and counts the functions that wait.
    pub(super) fn discard_posted(&self) {
        let waiting = std::mem::take(&mut self.posted.lock().waiting);
        self.stats.discarded_posts.add(waiting.len() as u64);
    }
}
