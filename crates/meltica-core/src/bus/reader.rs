//! The reading end of a queue: its lanes, merged by sequence.

use super::ring::Ring;
use super::{ConflationCell, Queue};
use crate::event::Event;
use crate::pool::{Shared, Slot};
use crate::sync::{Arc, Ordering, fence};
use std::ops::Deref;

/// An event that a reader has taken out of its queue.
#[derive(Debug, Clone)]
pub enum Item {
    /// From the market lane.
    Pooled(Shared<Event>),
    /// From the private lane.
    Private(Arc<Event>),
}

impl Deref for Item {
    type Target = Event;
    #[inline]
    fn deref(&self) -> &Event {
        match self {
            Self::Pooled(event) => event,
            Self::Private(event) => event,
        }
    }
}

impl Item {
    #[inline]
    pub(super) fn seq(&self) -> u64 {
        self.header().seq
    }
}

/// Events taken from one source and not yet returned, by sequence.
#[derive(Default)]
struct Lane {
    staged: Vec<Item>,
    /// Every event of the source up to this number was taken.
    upto: u64,
}

impl Lane {
    /// Notes that the source was emptied up to `watermark`, or that it was left at the last event taken.
    fn taken(&mut self, stopped: bool, watermark: u64) {
        self.upto = if stopped { self.staged.last().map_or(watermark, Item::seq) } else { watermark };
    }

    /// Moves the events up to `safe` to `out`. Returns whether there were any.
    fn give(&mut self, safe: u64, out: &mut Vec<Item>) -> bool {
        let before = out.len();
        if self.upto <= safe {
            out.append(&mut self.staged);
        } else {
            let n = self.staged.partition_point(|item| item.seq() <= safe);
            out.extend(self.staged.drain(..n));
        }
        out.len() > before
    }
}

/// The reading end of a queue.
pub struct Reader {
    queue: Arc<Queue>,
    batch: usize,
    watermark: u64,
    cells: Lane,
    ring: Lane,
    blocking: Lane,
    extensions: Lane,
    private: Lane,
    raw: Vec<*mut Slot<Event>>,
}

// SAFETY: `raw` is empty between calls.
unsafe impl Send for Reader {}

impl Reader {
    pub(super) fn new(queue: Arc<Queue>, batch: usize) -> Self {
        Self {
            queue,
            batch,
            watermark: 0,
            cells: Lane::default(),
            ring: Lane::default(),
            blocking: Lane::default(),
            extensions: Lane::default(),
            private: Lane::default(),
            raw: Vec::new(),
        }
    }

    /// Returns the queue.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// Returns whether [`Self::read`] has events to return, now or after the watermark moves.
    pub fn has_work(&self) -> bool {
        let queue = &*self.queue;
        !self.lanes().iter().all(|lane| lane.staged.is_empty())
            || !queue.ring.is_empty()
            || !queue.pending.is_empty()
            || !queue.blocking.is_empty()
            || !queue.extensions.ring.is_empty()
            || !queue.private.is_empty()
    }

    fn lanes(&self) -> [&Lane; 5] {
        [&self.cells, &self.ring, &self.blocking, &self.extensions, &self.private]
    }

    /// Appends events in ascending sequence to `out`, at most `max` from each ring and from the private lane, where
    /// `max` is at most the batch of the queue. `watermark` is a reading of the dispatcher's watermark. Returns the
    /// number up to which every event of this queue has been returned. A closed queue has nothing to return.
    ///
    /// The events of the previous call must have been dropped: they count against the queue's claim. For the same
    /// reason, nothing is taken from a lane before the events taken from it earlier have been returned, and an event
    /// above the watermark stays in its cell. So the reader holds one batch of each ring and one event of each cell.
    pub fn read(&mut self, watermark: u64, max: usize, out: &mut Vec<Item>) -> u64 {
        debug_assert!(max <= self.batch, "Invariant: the queue has paid for one batch in the reader's hands");
        self.watermark = watermark.max(self.watermark);
        if !self.queue.is_closed() {
            self.take(max);
        }
        // Checked after the lanes were read, because another thread may have emptied one of them meanwhile: the events
        // of the others would follow a hole.
        if self.queue.is_closed() {
            self.clear();
            return self.watermark;
        }
        let safe = self.lanes().iter().map(|lane| lane.upto).min().unwrap_or(self.watermark);
        let first = out.len();
        let mut sources = 0;
        let Self { cells, ring, blocking, extensions, private, .. } = self;
        for lane in [cells, ring, blocking, extensions, private] {
            sources += usize::from(lane.give(safe, out));
        }
        if sources > 1 {
            out[first..].sort_by_key(Item::seq);
        }
        safe
    }

    /// Refills each lane whose events have all been returned.
    fn take(&mut self, max: usize) {
        if self.cells.staged.is_empty() {
            self.take_cells();
        }
        let (queue, watermark) = (&*self.queue, self.watermark);
        let rings: [(&Ring, &mut Lane); 3] = [
            (&queue.ring, &mut self.ring),
            (&queue.blocking, &mut self.blocking),
            (&queue.extensions.ring, &mut self.extensions),
        ];
        for (ring, lane) in rings {
            if lane.staged.is_empty() {
                let stopped =
                    ring.capacity() > 0 && ring.take(watermark, max, &mut lane.staged, &mut self.raw);
                lane.taken(stopped, watermark);
            }
        }
        if queue.blocking_capacity > 0 {
            queue.room.wake();
        }
        if self.private.staged.is_empty() {
            let staged = &mut self.private.staged;
            let taken = queue.private.take(watermark, max, |event| staged.push(Item::Private(event)));
            self.private.taken(taken == max, watermark);
        }
    }

    /// Empties the cells, except for events above the watermark.
    fn take_cells(&mut self) {
        let (queue, watermark) = (&*self.queue, self.watermark);
        let staged = &mut self.cells.staged;
        let mut has_returned = false;
        queue.pending.take(|cell| match cell.take() {
            Some(event) if event.header().seq > watermark => {
                has_returned = true;
                put_back(queue, cell, event);
            }
            Some(event) => staged.push(Item::Pooled(event)),
            None => {}
        });
        if has_returned {
            // Pairs with the fence of `Queue::drain`: either the thread that closes the queue finds the cell, or this
            // thread finds the queue closed.
            fence(Ordering::SeqCst);
            if queue.is_closed() {
                queue.pending.take(|cell| drop(cell.take()));
            }
        }
        // The cell that was filled last comes first.
        staged.reverse();
        if !staged.iter().is_sorted_by_key(Item::seq) {
            staged.sort_unstable_by_key(Item::seq);
        }
        self.cells.taken(false, watermark);
    }

    /// Drops the events that were taken and not returned.
    fn clear(&mut self) {
        let Self { cells, ring, blocking, extensions, private, .. } = self;
        for lane in [cells, ring, blocking, extensions, private] {
            lane.staged.clear();
            lane.upto = self.watermark;
        }
    }
}

/// Puts an event back into its cell, or drops it if a later one has arrived.
#[cold]
fn put_back(queue: &Queue, cell: Arc<ConflationCell>, event: Shared<Event>) {
    let kind = event.header().kind;
    if queue.pending.put_back(cell, event).is_some() {
        queue.losses[kind as usize].overtaken.bump(1);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.clear();
        self.queue.reader_dropped();
    }
}
