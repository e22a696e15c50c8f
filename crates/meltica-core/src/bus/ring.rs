//! The ring of the market lane.

use super::Item;
use crate::event::Event;
use crate::pool::{Shared, Slot};
use crate::sync::{AtomicPtr, AtomicU64, CachePadded, Ordering};

struct Cell {
    event: AtomicPtr<Slot<Event>>,
    seq: AtomicU64,
}

/// A bounded ring with one producer, which can evict, and consumers, which take runs of events.
pub(super) struct Ring {
    /// The next event to take. Moved by a consumer, and by the producer when it evicts.
    head: CachePadded<AtomicU64>,
    /// The next place to fill. Moved by the producer.
    tail: CachePadded<AtomicU64>,
    cells: Box<[Cell]>,
}

impl Ring {
    pub fn new(capacity: usize) -> Self {
        let capacity = if capacity == 0 { 0 } else { capacity.next_power_of_two() };
        let cell = |_| Cell { event: AtomicPtr::new(std::ptr::null_mut()), seq: AtomicU64::new(0) };
        Self {
            head: CachePadded(AtomicU64::new(0)),
            tail: CachePadded(AtomicU64::new(0)),
            cells: (0..capacity).map(cell).collect(),
        }
    }

    /// Returns the maximum number of events; 0 if no policy uses the ring.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.cells.len()
    }

    #[inline]
    fn cell(&self, index: u64) -> &Cell {
        &self.cells[index as usize & (self.cells.len() - 1)]
    }

    /// Returns the number of events, exact while nothing is pushed or taken.
    pub fn len(&self) -> u64 {
        // The head first, which the tail never falls behind.
        let head = self.head.load(Ordering::Acquire);
        self.tail.load(Ordering::Acquire) - head
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::Acquire) == self.tail.load(Ordering::Acquire)
    }

    #[inline]
    pub fn is_full(&self) -> bool {
        // The head first: other producers and the reader may move both meanwhile, and the tail never falls behind a head
        // that was loaded before it.
        let head = self.head.load(Ordering::Acquire);
        self.tail.load(Ordering::Relaxed) - head >= self.cells.len() as u64
    }

    /// Returns the position of the oldest event, from 0.
    #[inline]
    pub fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// Returns the position of the next event. Producer only.
    #[inline]
    pub fn tail(&self) -> u64 {
        self.tail.load(Ordering::Relaxed)
    }

    /// Takes the oldest event, at `head`, unless a consumer has taken it. Producer only.
    #[inline]
    pub fn evict(&self, head: u64) -> Option<Shared<Event>> {
        let oldest = self.cell(head).event.load(Ordering::Relaxed);
        let exchanged = self.head.compare_exchange(head, head + 1, Ordering::AcqRel, Ordering::Acquire);
        // SAFETY: the exchange took cell `head` from the consumers; only this producer refills it.
        exchanged.is_ok().then(|| unsafe { Shared::from_raw(oldest) })
    }

    /// Appends `event`. If the ring is full, evicts and returns the oldest one. Producer only.
    #[inline]
    pub fn push(&self, event: Shared<Event>, seq: u64) -> Option<Shared<Event>> {
        let tail = self.tail.load(Ordering::Relaxed);
        let mut evicted = None;
        let head = self.head.load(Ordering::Acquire);
        if tail - head >= self.cells.len() as u64 {
            // Fails if a consumer has just taken the event; then the ring has room.
            evicted = self.evict(head);
        }
        let cell = self.cell(tail);
        cell.event.store(event.into_raw(), Ordering::Relaxed);
        cell.seq.store(seq, Ordering::Relaxed);
        // Release: a reader that sees the new tail also sees the cell and its event.
        self.tail.store(tail + 1, Ordering::Release);
        evicted
    }

    /// Takes up to `max` events whose number is at most `bound`, oldest first. Returns whether it stopped at `max`.
    #[inline]
    pub fn take(&self, bound: u64, max: usize, out: &mut Vec<Item>, raw: &mut Vec<*mut Slot<Event>>) -> bool {
        loop {
            let head = self.head.load(Ordering::Acquire);
            let tail = self.tail.load(Ordering::Acquire);
            let end = tail.min(head + max as u64);
            raw.clear();
            for index in head..end {
                let cell = self.cell(index);
                if cell.seq.load(Ordering::Relaxed) > bound {
                    break;
                }
                raw.push(cell.event.load(Ordering::Relaxed));
            }
            if raw.is_empty() {
                return false;
            }
            let next = head + raw.len() as u64;
            // Release: the producer refills these cells only after it has seen this exchange, hence after these loads.
            if self.head.compare_exchange(head, next, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                // SAFETY: the exchange made this consumer the owner of exactly the cells that it read.
                out.extend(raw.drain(..).map(|slot| Item::Pooled(unsafe { Shared::from_raw(slot) })));
                return next == head + max as u64;
            }
        }
    }

    /// Frees every event.
    pub fn clear(&self) {
        let (mut out, mut raw) = (Vec::new(), Vec::new());
        if !self.cells.is_empty() {
            self.take(u64::MAX, self.cells.len(), &mut out, &mut raw);
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.clear();
    }
}
