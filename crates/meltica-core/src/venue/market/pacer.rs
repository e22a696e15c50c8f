//! Throttles tickers and books: at most one per interval, with the last value at its end.

use crate::event::Nanos;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Minimum virtual time between publications; 0 publishes every change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intervals {
    /// Of a ticker.
    pub ticker: Nanos,
    /// Of a book, or of its changes.
    pub book_snapshot: Nanos,
}

/// A throttled stream of an instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stream {
    Ticker,
    Book,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Earliest time of the next publication.
    next: Nanos,
    /// Whether a change is not yet published.
    pending: bool,
}

/// Schedules the publications of each instrument's ticker and book.
#[derive(Debug, Clone)]
pub(super) struct Pacer {
    intervals: [Nanos; 2],
    slots: Vec<[Slot; 2]>,
    pending: BinaryHeap<Reverse<(Nanos, usize, Stream)>>,
}

impl Pacer {
    const FRESH: Slot = Slot { next: Nanos::MIN, pending: false };

    pub fn new(intervals: Intervals, pairs: usize) -> Self {
        let Intervals { ticker, book_snapshot } = intervals;
        let slots = vec![[Self::FRESH; 2]; pairs];
        Self { intervals: [ticker, book_snapshot], slots, pending: BinaryHeap::new() }
    }

    /// Records a change. Returns whether to publish it now; otherwise it becomes pending.
    #[inline]
    pub fn is_due(&mut self, pair: usize, stream: Stream, time: Nanos) -> bool {
        let interval = self.intervals[stream as usize];
        if interval == 0 {
            return true;
        }
        let slot = &mut self.slots[pair][stream as usize];
        if time >= slot.next {
            *slot = Slot { next: time.saturating_add(interval), pending: false };
            return true;
        }
        if !slot.pending {
            slot.pending = true;
            self.pending.push(Reverse((slot.next, pair, stream)));
        }
        false
    }

    /// Returns when the next pending publication is due.
    #[inline]
    pub fn next_due(&self) -> Nanos {
        self.pending.peek().map_or(Nanos::MAX, |Reverse((time, ..))| *time)
    }

    /// Takes a publication that is due by `now`.
    pub fn take(&mut self, now: Nanos) -> Option<(usize, Stream)> {
        while let Some(&Reverse((time, pair, stream))) = self.pending.peek()
            && time <= now
        {
            self.pending.pop();
            let slot = &mut self.slots[pair][stream as usize];
            // A later change may have published it in the meantime.
            if slot.pending && slot.next <= now {
                *slot = Slot { next: now.saturating_add(self.intervals[stream as usize]), pending: false };
                return Some((pair, stream));
            }
        }
        None
    }

    /// Discards pending publications; the next change is published at once.
    pub fn reset(&mut self) {
        self.pending.clear();
        self.slots.fill([Self::FRESH; 2]);
    }
}
