//! Whole order books out of snapshots and diffs, one [`BookAssembler`] per instrument.
//!
//! Binance's rules for a local book, which the branches below are numbered by:
//! 1. Buffer the diffs that come before the snapshot.
//! 2. A snapshot whose `lastUpdateId` is lower than the first buffered `U - 1` is too old: get another.
//! 3. Drop every buffered diff whose `u` is at or below `lastUpdateId`.
//! 4. The first diff applied has `U <= lastUpdateId + 1 <= u`.
//! 5. Each further diff begins where the last one ended: `U == u + 1` of the one before. Otherwise diffs were lost.
//! 6. A quantity is absolute; zero removes the level, and removing an absent level is normal.
//!
//! Where a venue sends the last id of the diff before (`prev`), that must be the book's own.
//!
//! Both sides are arrays sorted so that the best level stands last: most changes are near the best and move little.
//! The book is never cut; [`BookAssembler::copy_top`] delivers its top.

mod ladder;

use crate::codec::{Levels, Part};
use crate::event::Book;
use ladder::Ladder;
use std::collections::VecDeque;

/// Most diffs that wait for a snapshot.
pub const MAX_BUFFERED: usize = 1024;
/// Most levels in those.
const MAX_BUFFERED_LEVELS: usize = 200_000;

/// The update ids of a diff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiffIds {
    /// Of its first update.
    pub first: u64,
    /// Of its last update.
    pub last: u64,
    /// Of the last update before it, where the venue says.
    pub prev: Option<u64>,
}

/// What became of a diff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiffOutcome {
    /// It is in the book.
    Applied,
    /// It is older than the book.
    Old,
    /// It waits for a snapshot.
    Buffered,
    /// It waits, and the oldest that waited was dropped; `first_time` since the last snapshot.
    BufferFull {
        /// Whether nothing had been dropped before.
        first_time: bool,
    },
    /// Diffs were lost before it. The book is stale until a newer snapshot comes.
    Gap {
        /// The id that should have come.
        expected: u64,
        /// The id that came.
        seen: u64,
    },
    /// The best bid reached the best ask. The book is stale.
    Crossed,
    /// A number does not fit the book's scale. The book is stale.
    Overflow,
}

/// What became of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotOutcome {
    /// The book is good; so many buffered diffs were applied to it.
    Synced {
        /// How many.
        applied: u32,
    },
    /// Older than what the buffered diffs need.
    TooOld,
    /// Not newer than a book that is good.
    Older,
    /// Diffs were lost among those buffered.
    Gap {
        /// The id that should have come.
        expected: u64,
        /// The id that came.
        seen: u64,
    },
    /// The best bid reached the best ask.
    Crossed,
    /// A number does not fit the book's scale.
    Overflow,
}

/// One instrument's book.
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
    /// Whether the book is good.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// Returns the venue's last update id in the book.
    pub fn last_update_id(&self) -> u64 {
        self.last
    }

    /// Forgets everything, after a connection was lost.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Takes a diff.
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
            return DiffOutcome::Gap { expected, seen: ids.first };
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

    /// Brings the book and `levels` to common scales, exactly: the finer ones if everything fits them, else the
    /// book's.
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
                // One side may still fit where the other was reduced: the fewest places exact for both.
                let scale = part.places(&mut book, *own).max(part.places(&mut message, theirs));
                if !part.rescale(&mut book, *own, scale) || !part.rescale(&mut message, theirs, scale) {
                    return false;
                }
                *own = scale;
            }
        }
        true
    }

    /// Takes a snapshot that holds everything up to `last`, then the buffered diffs after it; `applied` is called with
    /// the book after each of those and the diff's first id.
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
                DiffOutcome::Gap { expected, seen } => {
                    // What followed the hole waits for the next snapshot.
                    for (ids, levels) in waiting {
                        self.wait(ids, &levels);
                    }
                    return SnapshotOutcome::Gap { expected, seen };
                }
                DiffOutcome::Crossed => return SnapshotOutcome::Crossed,
                DiffOutcome::Overflow => return SnapshotOutcome::Overflow,
                _ => {}
            }
        }
        SnapshotOutcome::Synced { applied: n }
    }

    /// Copies the top `depth` levels of both sides into `out`, whose buffers it reuses.
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
