//! Read access to the book between two commands.

use super::engine::Engine;
use super::order::{BookLevel, OpenOrder, OrderId};
use crate::event::{Book, PriceLevel, Side};

impl Engine {
    /// Returns the id of the last change of the book; 0 before the first change.
    pub fn update_id(&self) -> u64 {
        self.book.update_id()
    }

    /// Returns a side's best level.
    #[inline]
    pub fn best(&self, side: Side) -> Option<BookLevel> {
        self.book.best(side).map(|(_, level)| self.book.level(level))
    }

    /// Returns a side's levels, best first.
    pub fn levels(&self, side: Side) -> impl ExactSizeIterator<Item = BookLevel> {
        self.book.ladder(side).slots().map(|level| self.book.level(level))
    }

    /// Returns a side's open orders by price, then time.
    pub fn orders(&self, side: Side) -> impl Iterator<Item = OpenOrder> {
        let slots = self.book.ladder(side).slots().flat_map(|level| self.book.queue(level));
        slots.map(|slot| self.book.describe(slot))
    }

    /// Returns an open order.
    pub fn order(&self, order: OrderId) -> Option<OpenOrder> {
        self.book.find(order).map(|slot| self.book.describe(slot))
    }

    /// Copies the top `depth` levels of both sides into `out`, whose buffers it reuses.
    pub fn copy_top(&self, depth: usize, out: &mut Book) {
        for (side, levels) in [(Side::Buy, &mut out.bids), (Side::Sell, &mut out.asks)] {
            let top = self.levels(side).take(depth);
            levels.clear();
            levels.extend(top.map(|level| PriceLevel { price: level.price, quantity: level.quantity }));
        }
        (out.price_scale, out.quantity_scale) = (self.rules().price_scale, self.rules().quantity_scale);
        let count = |side| self.book.ladder(side).len() as u32;
        (out.bid_count, out.ask_count) = (count(Side::Buy), count(Side::Sell));
        (out.first_update_id, out.last_update_id) = (self.update_id(), self.update_id());
        (out.bid_horizon, out.ask_horizon) = (None, None);
        out.checksum = None;
    }
}
