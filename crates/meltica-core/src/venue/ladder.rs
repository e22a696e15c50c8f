//! The prices of one side, sorted, the best last: most changes are near the best and move little.
//!
//! Keys are prices, an ask's negated, so that the best is the greatest on either side. They lie apart from what they
//! lead to: a search through 1,000 of them touches few cache lines.

use crate::event::Side;

/// One side's prices and the places of their levels.
#[derive(Debug, Clone, Default)]
pub(super) struct Ladder {
    keys: Vec<i64>,
    places: Vec<u32>,
}

/// Turns a price into a key, and back.
#[inline(always)]
pub(super) const fn flip(side: Side, price: i64) -> i64 {
    match side {
        Side::Buy => price,
        Side::Sell => -price,
    }
}

impl Ladder {
    /// Returns a ladder with room for `levels`.
    pub fn with_capacity(levels: usize) -> Self {
        Self { keys: Vec::with_capacity(levels), places: Vec::with_capacity(levels) }
    }

    /// Returns how many levels there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns the best level's key and place.
    #[inline]
    pub fn best(&self) -> Option<(i64, u32)> {
        Some((*self.keys.last()?, *self.places.last()?))
    }

    /// Returns the worst level's key.
    pub fn worst(&self) -> Option<i64> {
        self.keys.first().copied()
    }

    /// Returns the places, best first.
    pub fn places(&self) -> impl ExactSizeIterator<Item = u32> {
        self.places.iter().rev().copied()
    }

    /// Returns the place at `key`, else the position to insert it at.
    #[inline]
    pub fn find(&self, key: i64) -> Result<u32, usize> {
        let at = self.search(key);
        if self.keys.get(at) == Some(&key) { Ok(self.places[at]) } else { Err(at) }
    }

    /// Inserts a level where [`Self::find`] said.
    #[inline]
    pub fn insert(&mut self, at: usize, key: i64, place: u32) {
        self.keys.insert(at, key);
        self.places.insert(at, place);
    }

    /// Removes the level at `key`.
    #[inline]
    pub fn remove(&mut self, key: i64) {
        let at = self.search(key);
        self.keys.remove(at);
        self.places.remove(at);
    }

    /// Returns the first position whose key is `key` or above: outwards from the best in doubling steps, then halving.
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
        self.keys.capacity() + self.places.capacity()
    }
}
