//! Synchronisation between producers and readers: the watermark, and threads that sleep.

use crate::clock;
use crate::sync::{AtomicBool, AtomicU64, CachePadded, Ordering, fence, thread};
use std::time::{Duration, Instant};

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

/// Checks `ready` until it returns true or `limit` has passed, without sleeping. Returns whether it was true.
///
/// Producers need not wake a thread that spins, and it sees an event earlier than one that sleeps.
pub fn spin(limit: Duration, ready: impl Fn() -> bool) -> bool {
    let (started, limit) = (clock::ticks(), u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
    while !ready() {
        if clock::elapsed_ns(started, clock::ticks()) >= limit {
            return false;
        }
        std::hint::spin_loop();
    }
    true
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
    pub(super) fn park(deadline: Option<Instant>) -> bool {
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
    pub(super) fn park(_deadline: Option<Instant>) -> bool {
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

    /// Wakes the thread if it sleeps, also if a publisher has taken [`Self::take_parked`] and not yet unparked it: that
    /// publisher can be delayed until after its socket read, or by a debugger.
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        self.parked.store(false, Ordering::Relaxed);
        self.unpark();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::sync::{Arc, mpsc};

    #[test]
    fn a_spin_ends_when_it_is_ready_or_at_its_limit() {
        let checks = Cell::new(0);
        let ready_at = |n| {
            checks.set(checks.get() + 1);
            checks.get() >= n
        };
        assert!(spin(Duration::MAX, || ready_at(1000)), "it goes on until it is ready");
        assert_eq!(checks.replace(0), 1000);
        assert!(!spin(Duration::ZERO, || ready_at(2)));
        assert_eq!(checks.replace(0), 1, "without a limit it checks once");
        assert!(!spin(Duration::from_micros(50), || ready_at(u64::MAX)));
        assert!(spin(Duration::ZERO, || true));
    }

    #[test]
    fn a_wake_does_not_wait_for_a_delayed_publisher() {
        for _ in 0..100 {
            let (waker, is_ready) = (Arc::new(Waker::default()), Arc::new(AtomicBool::new(false)));
            let (woken, wait) = mpsc::channel();
            let (sleeper, ready) = (Arc::clone(&waker), Arc::clone(&is_ready));
            let thread = std::thread::spawn(move || {
                sleeper.wait(None, || ready.load(Ordering::Acquire));
                let _ = woken.send(());
            });
            // As a publisher does that is delayed before it calls `unpark`.
            while !waker.take_parked() {
                std::thread::yield_now();
            }
            is_ready.store(true, Ordering::Release);
            waker.wake();
            assert_eq!(wait.recv_timeout(Duration::from_secs(30)), Ok(()));
            thread.join().expect("no panic");
        }
    }
}
