//! A host as the data plane uses it.

use super::HostShared;
use super::slowest::Slow;
use crate::barrier::{Drains, Running};
use crate::errors::LambdaError;
use pyo3::prelude::*;
use std::sync::atomic::Ordering;
use std::time::Instant;

impl Drains for HostShared {
    fn wait_drained(&self, seq: u64, deadline: Instant) -> bool {
        self.drain_to.fetch_max(seq, Ordering::AcqRel);
        self.waker.wake();
        let mut guard = self.drained.0.lock();
        while self.done.load(Ordering::Acquire) < seq && !self.has_ended() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            guard = guard.wait(&self.drained.1, left);
        }
        true
    }

    fn refuse_own_thread(&self, what: &str) -> PyResult<()> {
        if self.waker.is_mine() {
            return Err(LambdaError::new_err(format!(
                "{what} failed: it was called in a callback, on the host's own thread; call it from another thread"
            )));
        }
        Ok(())
    }

    fn replays(&self) -> bool {
        self.event_clock
    }

    fn running(&self) -> Option<Running> {
        let number = self.current.load(Ordering::Acquire);
        let for_ns = self.in_callback_ns(number);
        let instance = self.find(number)?;
        Some(Running { lambda: instance.id.clone(), for_ns, thread: self.thread.load(Ordering::Relaxed) })
    }

    fn lambda(&self, number: u64) -> Option<String> {
        self.find(number).map(|instance| instance.id.clone())
    }

    fn check_blocked(&self, limit_ns: u64) -> bool {
        let number = self.current.load(Ordering::Acquire);
        let blocked = if self.in_callback_ns(number) > limit_ns { number } else { 0 };
        self.blocked.swap(blocked, Ordering::AcqRel) != blocked
    }

    fn lacks_room(&self) -> bool {
        self.instances().iter().any(|instance| instance.lacks_room())
    }

    fn slowest(&self, now: u64) -> Vec<Slow> {
        self.slowest.lock().recent(now)
    }
}
