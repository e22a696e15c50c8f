//! Synchronisation between producers and readers: the watermark, and threads that sleep.

use crate::sync::{AtomicBool, AtomicU64, CachePadded, Ordering, fence, thread};
use std::time::Instant;

/// The highest sequence number whose event was pushed to every queue of its route.
#[derive(Debug, Default)]
pub struct Watermark(CachePadded<AtomicU64>);

impl Watermark {
    /// Returns the number.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Moves to `seq`, after the last push of the event.
    #[inline]
    pub(crate) fn set(&self, seq: u64) {
        self.0.store(seq, Ordering::Release);
    }
}

/// Lets one thread sleep until another thread wakes it.
#[derive(Debug)]
pub struct Waker {
    parked: CachePadded<AtomicBool>,
    /// A `std` lock also under loom, whose locks consume a pending unpark. It guards only the handle.
    thread: std::sync::Mutex<Option<thread::Thread>>,
}

impl Default for Waker {
    fn default() -> Self {
        Self { parked: CachePadded(AtomicBool::new(false)), thread: std::sync::Mutex::new(None) }
    }
}

impl Waker {
    /// Makes the calling thread the one that waits on this waker.
    pub fn adopt(&self) {
        *self.handle() = Some(thread::current());
    }

    /// Returns whether the calling thread is the one that waits on this waker, so that it would wait for itself.
    pub fn is_mine(&self) -> bool {
        self.handle().as_ref().is_some_and(|mine| mine.id() == thread::current().id())
    }

    /// Sleeps until `ready` returns true or the deadline has passed. Only one thread may wait on a waker.
    pub fn wait(&self, deadline: Option<Instant>, ready: impl Fn() -> bool) {
        if ready() {
            return;
        }
        self.adopt();
        loop {
            self.parked.store(true, Ordering::Relaxed);
            // Pairs with the fence of the pusher: either this thread sees the push, or the pusher sees it parked.
            fence(Ordering::SeqCst);
            if ready() {
                break;
            }
            if !Self::park(deadline) {
                break;
            }
        }
        self.parked.store(false, Ordering::Relaxed);
    }

    #[cfg(not(loom))]
    fn park(deadline: Option<Instant>) -> bool {
        let Some(deadline) = deadline else {
            thread::park();
            return true;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            thread::park_timeout(left);
        }
        !left.is_zero()
    }

    #[cfg(loom)]
    fn park(_deadline: Option<Instant>) -> bool {
        thread::park();
        true
    }

    /// Returns whether the thread sleeps; the caller must then [`Self::unpark`] it. Requires a `SeqCst` fence between
    /// the change that made the thread ready and this call.
    #[inline]
    pub(crate) fn take_parked(&self) -> bool {
        self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::Relaxed)
    }

    fn handle(&self) -> std::sync::MutexGuard<'_, Option<thread::Thread>> {
        self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn unpark(&self) {
        let thread = self.handle().clone();
        if let Some(thread) = thread {
            thread.unpark();
        }
    }

    /// Wakes the thread if it sleeps.
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.take_parked() {
            self.unpark();
        }
    }
}
