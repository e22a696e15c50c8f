//! Order books assembled from snapshots and diffs, one [`BookAssembler`] per instrument.
//!
//! The branches are numbered by Binance's rules for a local book:
//! 1. Buffer the diffs that arrive before the snapshot.
//! 2. A snapshot whose `lastUpdateId` is lower than the first buffered `U - 1` is too old: request another one.
//! 3. Drop every buffered diff whose `u` is at most `lastUpdateId`.
//! 4. The first applied diff has `U <= lastUpdateId + 1 <= u`.
//! 5. Each further diff has `U == u + 1` of its predecessor. Otherwise diffs were lost.
//! 6. A quantity is absolute. Zero removes the level, which may be absent.
//!
//! If a venue sends the last id of the previous diff (`prev`), it must equal the last id of the book.
//!
//! Both sides are sorted arrays with the best level last, as most changes are near the best level and move few others.
//! The assembler keeps all levels; [`BookAssembler::copy_top`] returns the top of the book.

mod ladder;
#[cfg(any(test, feature = "fixtures"))]
pub mod scenario;

use crate::codec::{Levels, Part};
use crate::event::Book;
use ladder::Ladder;
use std::collections::VecDeque;

/// Maximum number of buffered diffs.
pub const MAX_BUFFERED: usize = 1024;
/// Maximum number of levels in the buffered diffs.
const MAX_BUFFERED_LEVELS: usize = 200_000;

/// The update ids of a diff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiffIds {
    /// The id of the first update.
    pub first: u64,
    /// The id of the last update.
    pub last: u64,
    /// The id of the last update before the diff, if the venue sends it.
    pub prev: Option<u64>,
}

/// The outcome of a diff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiffOutcome {
    /// The diff was applied.
    Applied,
    /// The diff is older than the book.
    Old,
    /// The diff was buffered until a snapshot arrives.
    Buffered,
    /// The diff was buffered, and the oldest buffered diff was dropped.
    BufferFull {
        /// Whether it is the first drop since the last snapshot.
        first_time: bool,
    },
    /// Diffs before this one were lost. The book is stale until a newer snapshot arrives.
    Gap {
        /// The expected id.
        expected: u64,
        /// The received id.
        received: u64,
    },
    /// The best bid reached the best ask. The book is stale.
    Crossed,
    /// A number does not fit into the scale of the book. The book is stale.
    Overflow,
}

/// The outcome of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotOutcome {
    /// The book is synchronised.
    Synced {
        /// The number of buffered diffs that were applied.
        applied: u32,
    },
    /// The snapshot is too old for the buffered diffs.
    TooOld,
    /// The snapshot is not newer than the synchronised book.
    Older,
    /// Diffs were lost between the buffered ones.
    Gap {
        /// The expected id.
        expected: u64,
        /// The received id.
        received: u64,
    },
    /// The best bid reached the best ask.
    Crossed,
    /// A number does not fit into the scale of the book.
    Overflow,
}

/// The book of one instrument.
#[derive(Debug, Default)]
pub struct BookAssembler {
    bids: Ladder<false>,
    asks: Ladder<true>,
    price_scale: u8,
    quantity_scale: u8,
    last: u64,
    synced: bool,
    buffer: VecDeque<(DiffIds, Levels)>,
    buffered_levels: usize,
    dropped: bool,
}

impl BookAssembler {
    /// Returns whether the book is synchronised.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// Returns the last update id of the book.
    pub fn last_update_id(&self) -> u64 {
        self.last
    }

    /// Resets the book, after the connection was lost.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Applies or buffers a diff.
    pub fn diff(&mut self, ids: DiffIds, levels: &Levels) -> DiffOutcome {
        if !self.synced {
            return self.wait(ids, levels); // 1
        }
        if ids.last <= self.last {
            return DiffOutcome::Old; // 3
        }
        let expected = self.last + 1;
        let follows = ids.prev.map_or(ids.first <= expected, |prev| prev <= self.last); // 4, 5
        if !follows {
            self.synced = false;
            self.wait(ids, levels);
            return DiffOutcome::Gap { expected, received: ids.first };
        }
        self.apply(ids.last, levels)
    }

    fn wait(&mut self, ids: DiffIds, levels: &Levels) -> DiffOutcome {
        self.buffered_levels += levels.bids.len() + levels.asks.len();
        self.buffer.push_back((ids, levels.clone()));
        let mut full = false;
        while self.buffer.len() > MAX_BUFFERED || self.buffered_levels > MAX_BUFFERED_LEVELS {
            if let Some((_, oldest)) = self.buffer.pop_front() {
                self.buffered_levels -= oldest.bids.len() + oldest.asks.len();
            }
            full = true;
        }
        if full {
            let first_time = !std::mem::replace(&mut self.dropped, true);
            return DiffOutcome::BufferFull { first_time };
        }
        DiffOutcome::Buffered
    }

    fn apply(&mut self, last: u64, levels: &Levels) -> DiffOutcome {
        if (levels.price_scale, levels.quantity_scale) == (self.price_scale, self.quantity_scale) {
            self.bids.apply(&levels.bids); // 6
            self.asks.apply(&levels.asks);
        } else {
            let mut own = levels.clone();
            if !self.reconcile(&mut own) {
                self.synced = false;
                return DiffOutcome::Overflow;
            }
            self.bids.apply(&own.bids);
            self.asks.apply(&own.asks);
        }
        self.last = last;
        if let (Some(bid), Some(ask)) = (self.bids.best(), self.asks.best())
            && bid >= ask
        {
            self.synced = false;
            return DiffOutcome::Crossed;
        }
        DiffOutcome::Applied
    }

    /// Converts the book and `levels` exactly to common scales: the finer ones if all numbers fit, otherwise those of
    /// the book.
    fn reconcile(&mut self, levels: &mut Levels) -> bool {
        let parts = [
            (Part::Price, &mut self.price_scale, levels.price_scale),
            (Part::Quantity, &mut self.quantity_scale, levels.quantity_scale),
        ];
        for (part, own, theirs) in parts {
            let mut message = [&mut levels.bids[..], &mut levels.asks[..]];
            let mut book = [self.bids.live(), self.asks.live()];
            if theirs > *own && part.rescale(&mut book, *own, theirs) {
                *own = theirs;
            } else if !part.rescale(&mut message, theirs, *own) {
                // The numbers may fit on the smallest scale on which both are exact.
                let scale = part.places(&mut book, *own).max(part.places(&mut message, theirs));
                if !part.rescale(&mut book, *own, scale) || !part.rescale(&mut message, theirs, scale) {
                    return false;
                }
                *own = scale;
            }
        }
        true
    }

    /// Replaces the book by a snapshot of all updates up to `last`, then applies the buffered diffs. `applied` is
    /// called after each of them, with the book and the first id of the diff.
    pub fn snapshot(
        &mut self,
        last: u64,
        levels: &Levels,
        mut applied: impl FnMut(&Self, u64),
    ) -> SnapshotOutcome {
        if self.synced && last <= self.last {
            return SnapshotOutcome::Older;
        }
        while self.buffer.front().is_some_and(|(ids, _)| ids.last <= last) {
            self.buffer.pop_front(); // 3
        }
        self.buffered_levels = self.buffer.iter().map(|(_, l)| l.bids.len() + l.asks.len()).sum();
        if self
            .buffer
            .front()
            .is_some_and(|(ids, _)| ids.prev.map_or(ids.first > last + 1, |prev| prev > last))
        {
            return SnapshotOutcome::TooOld; // 2
        }
        self.bids.clear();
        self.asks.clear();
        (self.price_scale, self.quantity_scale) = (levels.price_scale, levels.quantity_scale);
        match self.apply(last, levels) {
            DiffOutcome::Applied => {}
            DiffOutcome::Overflow => return SnapshotOutcome::Overflow,
            _ => return SnapshotOutcome::Crossed,
        }
        self.synced = true;
        self.dropped = false;
        let mut n = 0;
        let mut waiting = std::mem::take(&mut self.buffer);
        self.buffered_levels = 0;
        while let Some((ids, levels)) = waiting.pop_front() {
            match self.diff(ids, &levels) {
                DiffOutcome::Applied => {
                    n += 1;
                    applied(self, ids.first);
                }
                DiffOutcome::Gap { expected, received } => {
                    // The diffs after the gap stay buffered until the next snapshot.
                    for (ids, levels) in waiting {
                        self.wait(ids, &levels);
                    }
                    return SnapshotOutcome::Gap { expected, received };
                }
                DiffOutcome::Crossed => return SnapshotOutcome::Crossed,
                DiffOutcome::Overflow => return SnapshotOutcome::Overflow,
                _ => {}
            }
        }
        SnapshotOutcome::Synced { applied: n }
    }

    /// Copies the top `depth` levels of both sides into `out` and reuses its buffers.
    pub fn copy_top(&self, depth: usize, out: &mut Book) {
        self.bids.top(depth, &mut out.bids);
        self.asks.top(depth, &mut out.asks);
        (out.price_scale, out.quantity_scale) = (self.price_scale, self.quantity_scale);
        (out.bid_count, out.ask_count) = (self.bids.len() as u32, self.asks.len() as u32);
        (out.first_update_id, out.last_update_id) = (self.last, self.last);
        out.checksum = None;
    }
}

#[cfg(test)]
mod tests;
