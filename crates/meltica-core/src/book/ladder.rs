//! One side of a book.
//!
//! A sorted array with the best level last, so that a change near the best level moves few others. A level removed
//! deeper in the book stays as a tombstone (quantity 0) until its place is reused or the tombstones are too many,
//! because most removed levels return. The levels of a diff are sorted, so each search gallops from the result of the
//! previous one.

use super::BookAssembler;
use crate::event::PriceLevel;

/// Positions this close to the best level are removed at once, as that is cheap and a tombstone would slow down copies.
const NEAR: usize = 64;

/// The bids, or with `ASKS` the asks, whose prices are negated so that the best one is the greatest on both sides.
#[derive(Debug, Default)]
pub(super) struct Ladder<const ASKS: bool> {
    /// The levels by ascending key. The last one is not a tombstone.
    levels: Vec<PriceLevel>,
    tombstones: usize,
}

impl<const ASKS: bool> Ladder<ASKS> {
    /// Converts a price to a key, or a key to a price.
    #[inline(always)]
    const fn flip(price: i64) -> i64 {
        if ASKS { -price } else { price }
    }

    /// Returns the number of levels.
    #[inline]
    pub fn len(&self) -> usize {
        self.levels.len() - self.tombstones
    }

    /// Returns the best price.
    #[inline]
    pub fn best(&self) -> Option<i64> {
        self.levels.last().map(|level| Self::flip(level.price))
    }

    /// Returns the worst price.
    pub fn worst(&self) -> Option<i64> {
        self.levels.iter().find(|level| level.quantity != 0).map(|level| Self::flip(level.price))
    }

    /// Returns the largest quantity; 0 without levels.
    pub fn largest(&self) -> i64 {
        self.levels.iter().map(|level| level.quantity).max().unwrap_or_default()
    }

    /// Removes all levels.
    pub fn clear(&mut self) {
        self.levels.clear();
        self.tombstones = 0;
    }

    /// Removes all but the best `levels`.
    pub fn cut(&mut self, levels: usize) {
        if self.len() > levels {
            let live = self.live().len();
            self.levels.drain(..live - levels);
        }
    }

    /// Moves all but the best `levels` to another side.
    pub fn cut_into(&mut self, levels: usize, other: &mut Self) {
        if self.len() > levels {
            let live = self.live().len();
            for level in self.levels.drain(..live - levels) {
                other.set(level.price, level.quantity, 0);
            }
        }
    }

    /// Moves all levels of another side to this one.
    pub fn take(&mut self, other: &mut Self) {
        for level in other.live() {
            self.set(level.price, level.quantity, 0);
        }
        other.clear();
    }

    /// Removes the levels that a message names.
    pub fn remove(&mut self, changes: &[PriceLevel]) {
        if self.levels.is_empty() {
            return;
        }
        for change in changes {
            self.set(Self::flip(change.price), 0, self.levels.len());
        }
        self.compact();
    }

    /// Removes the tombstones if they are too many.
    #[inline]
    fn compact(&mut self) {
        if self.tombstones > NEAR + self.levels.len() / 2 {
            self.live();
        }
    }

    /// Returns whether a level has a better price than another one.
    pub const fn is_better(level: &PriceLevel, other: &PriceLevel) -> bool {
        Self::flip(level.price) > Self::flip(other.price)
    }

    /// Returns the number of levels with a better price.
    pub fn rank(&self, price: i64) -> usize {
        let key = Self::flip(price);
        self.levels
            .iter()
            .rev()
            .take_while(|level| level.price > key)
            .filter(|level| level.quantity != 0)
            .count()
    }

    /// Returns the levels without tombstones, with keys in place of prices.
    pub fn live(&mut self) -> &mut [PriceLevel] {
        if self.tombstones != 0 {
            self.levels.retain(|level| level.quantity != 0);
            self.tombstones = 0;
        }
        &mut self.levels
    }

    /// Copies the best `depth` levels into `out`, best first.
    pub fn top(&self, depth: usize, out: &mut Vec<PriceLevel>) {
        out.clear();
        let price = |level: &PriceLevel| PriceLevel { price: Self::flip(level.price), ..*level };
        let near = &self.levels[self.levels.len().saturating_sub(depth)..];
        // Without a check of each level, the compiler copies several at once.
        if self.tombstones == 0 || depth <= NEAR && near.iter().all(|level| level.quantity != 0) {
            out.extend(near.iter().rev().map(price));
        } else {
            out.extend(self.levels.iter().rev().filter(|level| level.quantity != 0).take(depth).map(price));
        }
    }

    /// Returns the best `depth` levels, best first.
    pub fn best_first(&self, depth: usize) -> impl Iterator<Item = PriceLevel> {
        let price = |level: &PriceLevel| PriceLevel { price: Self::flip(level.price), ..*level };
        self.levels.iter().rev().filter(|level| level.quantity != 0).take(depth).map(price)
    }

    /// Sets the quantities of levels. Zero removes a level.
    pub fn apply(&mut self, changes: &[PriceLevel]) {
        if self.levels.is_empty() {
            return self.fill(changes);
        }
        let mut cursor = self.levels.len();
        for change in changes {
            cursor = self.set(Self::flip(change.price), change.quantity, cursor);
        }
        self.compact();
    }

    /// Sets the levels of an empty side at once: those of a snapshot come best first, and inserting each of them below
    /// the others would move all others.
    fn fill(&mut self, levels: &[PriceLevel]) {
        let key = |level: &PriceLevel| PriceLevel { price: Self::flip(level.price), ..*level };
        self.levels.extend(levels.iter().rev().map(key));
        if !self.levels.is_sorted_by(|a, b| a.price < b.price) {
            // Of a price that comes twice, the last one is first here, and a stable sort keeps it there.
            self.levels.sort_by_key(|level| level.price);
            self.levels.dedup_by_key(|level| level.price);
        }
        self.levels.retain(|level| level.quantity != 0);
    }

    /// Sets one level and returns its position, or the position at which it would be.
    #[inline(always)]
    fn set(&mut self, key: i64, quantity: i64, cursor: usize) -> usize {
        let at = self.search(key, cursor);
        let len = self.levels.len();
        match self.levels.get_mut(at) {
            Some(level) if level.price == key => {
                if quantity == 0 && len - at <= NEAR {
                    self.tombstones -= usize::from(level.quantity == 0);
                    self.levels.remove(at);
                    self.fall_back();
                    return at;
                }
                self.tombstones += usize::from(quantity == 0);
                self.tombstones -= usize::from(level.quantity == 0);
                level.quantity = quantity;
            }
            _ if quantity == 0 => {}
            // A neighbouring tombstone can be reused without a change of the order.
            Some(level) if level.quantity == 0 => {
                *level = PriceLevel { price: key, quantity };
                self.tombstones -= 1;
            }
            _ => match at.checked_sub(1).and_then(|below| self.levels.get_mut(below)) {
                Some(level) if level.quantity == 0 => {
                    *level = PriceLevel { price: key, quantity };
                    self.tombstones -= 1;
                }
                _ => self.levels.insert(at, PriceLevel { price: key, quantity }),
            },
        }
        at
    }

    /// Removes the tombstones at the top.
    #[inline]
    fn fall_back(&mut self) {
        while self.levels.pop_if(|level| level.quantity == 0).is_some() {
            self.tombstones -= 1;
        }
    }

    /// Returns the first position whose key is at least `key`, galloping from `cursor`.
    #[inline(always)]
    fn search(&self, key: i64, cursor: usize) -> usize {
        let levels = &*self.levels;
        let (mut low, mut high, mut step) = (0, levels.len(), 1);
        if levels.get(cursor).is_some_and(|level| level.price < key) {
            low = cursor + 1;
            while let Some(level) = levels.get(low - 1 + step) {
                if level.price >= key {
                    high = low - 1 + step;
                    break;
                }
                low += step;
                step *= 2;
            }
        } else {
            high = cursor.min(high);
            while let Some(level) = high.checked_sub(step).and_then(|at| levels.get(at)) {
                if level.price < key {
                    low = high - step + 1;
                    break;
                }
                high -= step;
                step *= 2;
            }
        }
        low + levels[low..high].partition_point(|level| level.price < key)
    }
}

impl BookAssembler {
    /// Returns the digits after the point of each quantity.
    pub fn quantity_scale(&self) -> u8 {
        self.quantity_scale
    }

    /// Returns the largest quantity of a level, as a mantissa.
    pub fn largest_quantity(&self) -> i64 {
        self.bids.largest().max(self.asks.largest())
    }
}
