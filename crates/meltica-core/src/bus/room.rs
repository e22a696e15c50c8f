//! Producers that wait for room in a queue.

use super::Waker;
use crate::sync::{AtomicBool, Ordering, fence, thread};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Lets any number of producers sleep until a queue has room.
#[derive(Debug)]
pub(super) struct Room {
    /// Whether a thread may sleep.
    waiting: AtomicBool,
    /// The threads in [`Room::wait`]. A `std` lock also under loom, whose locks consume a pending unpark. It guards
    /// only the handles.
    threads: Mutex<Vec<thread::Thread>>,
}

impl Default for Room {
    fn default() -> Self {
        Self { waiting: AtomicBool::new(false), threads: Mutex::new(Vec::new()) }
    }
}

impl Room {
    fn threads(&self) -> MutexGuard<'_, Vec<thread::Thread>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until `ready` returns true or the deadline has passed.
    pub fn wait(&self, deadline: Option<Instant>, ready: impl Fn() -> bool) {
        if ready() {
            return;
        }
        let own = thread::current();
        self.threads().push(own.clone());
        loop {
            self.waiting.store(true, Ordering::Relaxed);
            // Pairs with the fence of `wake`: either this thread sees the room, or the reader sees that it waits.
            fence(Ordering::SeqCst);
            if ready() || !Waker::park(deadline) || ready() {
                break;
            }
        }
        // `waiting` may stay set, as another thread may wait; then the next `wake` finds no thread.
        self.threads().retain(|thread| thread.id() != own.id());
    }

    /// Wakes every thread that waits; each checks again whether it is ready.
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) && self.waiting.swap(false, Ordering::Relaxed) {
            let threads = self.threads().clone();
            threads.iter().for_each(thread::Thread::unpark);
        }
    }
}
