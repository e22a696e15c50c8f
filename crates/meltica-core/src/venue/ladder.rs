//! The sorted prices of one side, best last: most changes are near the best price and move few entries.
//!
//! Keys are prices, negated for asks, so the best key is the greatest on either side. Keys and values are in separate
//! arrays: a search through 1,000 keys touches few cache lines.

use crate::event::Side;

/// The prices of one side and the slots of their levels.
#[derive(Debug, Clone, Default)]
pub(super) struct Ladder {
    keys: Vec<i64>,
    slots: Vec<u32>,
}

/// Converts a price to a key, and back.
#[inline(always)]
pub(super) const fn flip(side: Side, price: i64) -> i64 {
    match side {
        Side::Buy => price,
        Side::Sell => -price,
    }
}

impl Ladder {
    /// Returns an empty ladder with capacity for `levels`.
    pub fn with_capacity(levels: usize) -> Self {
        Self { keys: Vec::with_capacity(levels), slots: Vec::with_capacity(levels) }
    }

    /// Returns the number of levels.
    #[inline]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns the key and the slot of the best level.
    #[inline]
    pub fn best(&self) -> Option<(i64, u32)> {
        Some((*self.keys.last()?, *self.slots.last()?))
    }

    /// Returns the key of the worst level.
    pub fn worst(&self) -> Option<i64> {
        self.keys.first().copied()
    }

    /// Returns the slots, best first.
    pub fn slots(&self) -> impl ExactSizeIterator<Item = u32> {
        self.slots.iter().rev().copied()
    }

    /// Returns the slot at `key`, or else the position for an insertion.
    #[inline]
    pub fn find(&self, key: i64) -> Result<u32, usize> {
        let at = self.search(key);
        if self.keys.get(at) == Some(&key) { Ok(self.slots[at]) } else { Err(at) }
    }

    /// Inserts a level at a position that [`Self::find`] returned.
    #[inline]
    pub fn insert(&mut self, at: usize, key: i64, slot: u32) {
        self.keys.insert(at, key);
        self.slots.insert(at, slot);
    }

    /// Removes the level at `key`.
    #[inline]
    pub fn remove(&mut self, key: i64) {
        let at = self.search(key);
        self.keys.remove(at);
        self.slots.remove(at);
    }

    /// Returns the first position whose key is `key` or above: a galloping search outwards from the best, then a binary
    /// search.
    #[inline]
    fn search(&self, key: i64) -> usize {
        let keys = &*self.keys;
        let (mut low, mut high, mut step) = (0, keys.len(), 1);
        while let Some(at) = high.checked_sub(step) {
            if keys[at] < key {
                low = at + 1;
                break;
            }
            high = at;
            step *= 2;
        }
        low + keys[low..high].partition_point(|&other| other < key)
    }

    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.keys.capacity() + self.slots.capacity()
    }
}
