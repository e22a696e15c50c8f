//! The latest prices of a symbol and the state of its connection, for checks of orders.
//!
//! Prices are exact. A price that may be outdated is absent:
//! - while the feed is stale, all prices are, and those from before the loss do not come back;
//! - while the book is stale, bid and ask are, until the next book or ticker.
//!
//! # Times
//! The wall clock may be set at any time, in either direction. So the times are those of the clock of the caller, which
//! never goes back: [`Reading`] converts the receive time of an event when the event is observed.

mod connection;

use crate::decimal::Decimal;
use crate::event::{Book, Event, Nanos, Payload, PriceLevel, Side};
pub use connection::{Connection, FeedLag};

/// One reading of two clocks.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// The wall clock, by which events are stamped.
    pub wall: Nanos,
    /// The clock of the caller.
    pub now: Nanos,
}

impl Reading {
    /// Returns the time on the caller's clock of a recent time of the wall clock; never later than now.
    pub fn at(self, wall: Nanos) -> Nanos {
        self.now.saturating_sub(self.wall.saturating_sub(wall).max(0))
    }
}

/// The latest prices of one symbol at one provider.
#[derive(Debug, Default)]
pub struct Quote {
    /// Best bid.
    pub bid: Option<Decimal>,
    /// Best ask.
    pub ask: Option<Decimal>,
    /// Price of the last trade.
    pub last: Option<Decimal>,
    /// When the latest event was received, on the caller's clock; `None` before the first, and while the feed is stale.
    pub time: Option<Nanos>,
    /// Whether the book is complete.
    pub is_synced: bool,
    book: Book,
    /// The number of the last ticker.
    ticker: u64,
}

impl Quote {
    /// Takes an event of the symbol, and at most `depth` levels of a book.
    pub fn observe(&mut self, event: &Event, depth: usize, clocks: Reading) {
        let header = event.header();
        match &event.payload {
            Payload::Trade(trade) => self.last = Some(trade.price),
            Payload::Ticker(ticker) => {
                // What this one leaves out may have changed with one that was missed.
                if header.provider_seq != self.ticker + 1 {
                    (self.last, self.bid, self.ask) = (None, None, None);
                }
                self.ticker = header.provider_seq;
                self.last = ticker.last.or(self.last);
                self.bid = ticker.bid.or(self.bid);
                self.ask = ticker.ask.or(self.ask);
            }
            Payload::Book(book) => {
                self.book.copy_top(book, depth);
                let best = |levels: &[PriceLevel]| levels.first().and_then(|level| price(book, *level));
                (self.bid, self.ask) = (best(&book.bids), best(&book.asks));
                self.is_synced = true;
            }
            Payload::MarketStale(reason) => {
                self.mark_stale(reason.is_of_feed());
                return;
            }
            _ => return,
        }
        self.time = Some(clocks.at(header.received_time));
    }

    fn mark_stale(&mut self, is_lost: bool) {
        self.is_synced = false;
        (self.bid, self.ask) = (None, None);
        if is_lost {
            (self.last, self.time) = (None, None);
        }
    }

    /// Returns the quantity that an order of `side` meets at `limit` or better, within the kept levels; `None` without a
    /// complete book.
    pub fn depth(&self, side: Side, limit: Decimal) -> Option<Decimal> {
        if !self.is_synced {
            return None;
        }
        let book = &self.book;
        let levels = match side {
            Side::Buy => &book.asks,
            Side::Sell => &book.bids,
        };
        let is_met = |level: &&PriceLevel| {
            price(book, **level).is_some_and(|price| match side {
                Side::Buy => price <= limit,
                Side::Sell => price >= limit,
            })
        };
        let total = levels.iter().take_while(is_met).map(|level| i128::from(level.quantity)).sum();
        Decimal::new(total, book.quantity_scale)
    }
}

fn price(book: &Book, level: PriceLevel) -> Option<Decimal> {
    Decimal::new(i128::from(level.price), book.price_scale)
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod tests;
