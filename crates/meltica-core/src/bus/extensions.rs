//! The ring of extensions, which is bounded by their bytes as well as by their number.
//!
//! # Bytes
//! Beside each event, the ring keeps how many bytes were pushed before it. So the bytes that wait follow from the head
//! alone, and a reader that takes events writes no counter. A reader takes no next batch before the last is given back,
//! so what it holds was in the ring at once: the queue pays for twice the limit.
//!
//! A payload counts in each queue that holds it. Queues that share one pay for it each, so none depends on another.

use super::Ring;
use crate::event::Event;
use crate::pool::Shared;
use crate::sync::{AtomicU64, Ordering};

/// A ring of extensions with one producer, which makes room before it pushes, and consumers.
pub(super) struct Extensions {
    pub ring: Ring,
    /// The bytes pushed before each event.
    before: Box<[AtomicU64]>,
    pushed: AtomicU64,
    limit: u64,
}

impl Extensions {
    /// Returns a ring for `capacity` events that cost at most `limit` bytes. Without capacity it is not used.
    pub fn new(capacity: usize, limit: usize) -> Self {
        let ring = Ring::new(capacity);
        let before = (0..ring.capacity()).map(|_| AtomicU64::new(0)).collect();
        Self { ring, before, pushed: AtomicU64::new(0), limit: limit as u64 }
    }

    /// Returns the bytes from the event at `head` on.
    fn from(&self, head: u64) -> u64 {
        let before = &self.before[head as usize & (self.before.len() - 1)];
        self.pushed.load(Ordering::Relaxed).saturating_sub(before.load(Ordering::Relaxed))
    }

    /// Returns the bytes that wait: exact while nothing is pushed or taken, otherwise an estimate.
    pub fn bytes(&self) -> u64 {
        if self.ring.is_empty() { 0 } else { self.from(self.ring.head()) }
    }

    fn fits(&self, head: u64, cost: usize) -> bool {
        self.ring.is_empty() || (!self.ring.is_full() && self.from(head) + cost as u64 <= self.limit)
    }

    /// Returns whether an event that costs `cost` bytes fits.
    pub fn has_room(&self, cost: usize) -> bool {
        self.fits(self.ring.head(), cost)
    }

    /// Evicts the oldest event if one that costs `cost` bytes does not fit. Producer only.
    pub fn evict_for(&self, cost: usize) -> Option<Shared<Event>> {
        loop {
            let head = self.ring.head();
            if self.fits(head, cost) {
                return None;
            }
            // Fails if a consumer has just taken the event, which also makes room.
            let evicted = self.ring.evict(head);
            if evicted.is_some() {
                return evicted;
            }
        }
    }

    /// Appends an event that has room. Producer only.
    pub fn push(&self, event: Shared<Event>, seq: u64, cost: usize) {
        let pushed = self.pushed.load(Ordering::Relaxed);
        let place = self.ring.tail() as usize & (self.before.len() - 1);
        self.before[place].store(pushed, Ordering::Relaxed);
        self.pushed.store(pushed + cost as u64, Ordering::Relaxed);
        let evicted = self.ring.push(event, seq);
        debug_assert!(evicted.is_none(), "Invariant: the producer has made room");
    }
}
