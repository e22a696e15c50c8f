//! What ends a publisher's wait for a slow reader.

use std::sync::atomic::{AtomicBool, Ordering};

type Interrupted = dyn Fn() -> bool + Send + Sync;

/// Ends the waits of a publisher: for a slot, or for room in a queue that blocks.
///
/// A wait checks the flag at least every 50 ms, without holding a lock.
#[derive(Default)]
pub struct StopFlag {
    stopped: AtomicBool,
    never_waits: bool,
    interrupted: Option<Box<Interrupted>>,
}

impl StopFlag {
    /// Returns a flag whose waits also end when `interrupted` returns true, for example because of a signal.
    pub fn with_interrupts(interrupted: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { interrupted: Some(Box::new(interrupted)), ..Self::default() }
    }

    /// Returns a flag that refuses every wait before it begins.
    pub fn never_wait() -> Self {
        Self { never_waits: true, ..Self::default() }
    }

    /// Ends the current wait and every later one.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Allows waits again.
    pub fn reset(&self) {
        self.stopped.store(false, Ordering::Relaxed);
    }

    /// Returns whether [`Self::stop`] was called.
    pub fn is_set(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Returns whether a wait has to end now. Called only between the slices of a wait, because it also checks for
    /// interrupts.
    pub fn is_stopped(&self) -> bool {
        self.is_set() || self.interrupted.as_ref().is_some_and(|interrupted| interrupted())
    }

    pub(super) fn never_waits(&self) -> bool {
        self.never_waits
    }
}
