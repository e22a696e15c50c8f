//! The reading end of a queue: both lanes, merged by sequence.

use super::{OverflowPolicy, Queue};
use crate::event::Event;
use crate::pool::{Shared, Slot};
use crate::sync::Arc;
use std::collections::VecDeque;
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

/// The reading end of a queue.
pub struct Reader {
    queue: Arc<Queue>,
    /// The watermark of the current round. Each event up to it is either staged or still in a lane.
    bound: u64,
    /// Events taken from the lanes and not yet delivered, by sequence.
    staged: VecDeque<Item>,
    /// The number of staged events that came from conflation cells in the current round.
    cells_due: usize,
    raw: Vec<*mut Slot<Event>>,
}

// SAFETY: `raw` is empty between calls.
unsafe impl Send for Reader {}

impl Reader {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self { queue, bound: 0, staged: VecDeque::new(), cells_due: 0, raw: Vec::new() }
    }

    /// Returns the queue.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// Returns whether [`Self::read`] has events to return, now or after the watermark moves.
    pub fn has_work(&self) -> bool {
        let queue = &*self.queue;
        !self.staged.is_empty()
            || !queue.ring.is_empty()
            || !queue.pending.is_empty()
            || !queue.blocking.is_empty()
            || !queue.private.is_empty()
    }

    /// Appends events in ascending sequence to `out`, at most about `max` per lane. `watermark` is a reading of the
    /// dispatcher's watermark. Returns the number up to which every event of this queue has been returned.
    ///
    /// A round ends once the events of the emptied cells are delivered up to the round's watermark. Only then are cells
    /// emptied again. So the reader holds at most two events per route beyond its rings, and delivers no event above
    /// the watermark of a round before it has emptied the cells again. A closed queue has nothing to return.
    pub fn read(&mut self, watermark: u64, max: usize, out: &mut Vec<Item>) -> u64 {
        let queue = &*self.queue;
        if queue.is_closed() {
            self.staged.clear();
            self.cells_due = 0;
            self.bound = watermark.max(self.bound);
            return self.bound;
        }
        let new_round = self.cells_due == 0;
        if new_round {
            self.bound = watermark.max(self.bound);
            queue.pending.take(|cell| self.staged.extend(cell.take().map(Item::Pooled)));
        }
        let staged_cells = !self.staged.is_empty();
        let mut safe = self.bound;
        let mut lanes = usize::from(!self.staged.is_empty());
        for ring in [&queue.ring, &queue.blocking] {
            if ring.capacity() == 0 {
                continue;
            }
            let before = self.staged.len();
            if ring.take(self.bound, max, &mut self.staged, &mut self.raw) {
                safe = safe.min(self.staged.back().map_or(safe, |last| last.header().seq));
            }
            lanes += usize::from(self.staged.len() > before);
        }
        let staged = &mut self.staged;
        let taken = queue.private.take(self.bound, max, |event| staged.push_back(Item::Private(event)));
        if taken == max {
            safe = safe.min(self.staged.back().map_or(safe, |last| last.header().seq));
        }
        lanes += usize::from(taken > 0);
        if queue.blocking.capacity() != 0 {
            queue.room.wake();
        }
        if lanes > 1 || staged_cells {
            self.staged.make_contiguous().sort_by_key(|item| item.header().seq);
        }
        let upto = |seq| self.staged.iter().take_while(|item| item.header().seq <= seq).count();
        let n = upto(safe);
        if new_round && staged_cells {
            self.cells_due =
                self.staged.iter().take(upto(self.bound)).filter(|item| self.is_conflated(item)).count();
        }
        if self.cells_due > 0 {
            self.cells_due -= self.staged.iter().take(n).filter(|item| self.is_conflated(item)).count();
        }
        out.extend(self.staged.drain(..n));
        safe
    }

    fn is_conflated(&self, item: &Item) -> bool {
        matches!(item, Item::Pooled(event)
            if self.queue.policies[event.header().kind as usize] == OverflowPolicy::Conflate)
    }
}
