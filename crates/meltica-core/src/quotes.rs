//! The latest prices of a symbol and the state of its connection, for checks of orders.
//!
//! Prices are exact, and each has the time of the event that stated it. A price that may be outdated is absent:
//! - a ticker and a book state both bid and ask: a side without a price removes the former one;
//! - a bid that is not below the ask of the same event removes both, until the next ticker or book;
//! - a notice about the book removes both as well, and one about the feed removes all prices.
//!
//! # Times
//! The wall clock may be set at any time, in either direction. So the times are those of the clock of the caller, which
//! never goes back: [`Reading`] converts the receive time of an event when the event is observed.

mod connection;

use crate::decimal::Decimal;
use crate::event::{Book, Event, Nanos, Notice, Payload, PriceLevel, Side, StaleReason};
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

/// Best bid and ask, as one event stated them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Top {
    /// Best bid.
    pub bid: Option<Decimal>,
    /// Best ask.
    pub ask: Option<Decimal>,
    /// When the event was received, on the caller's clock.
    pub time: Nanos,
    /// Whether a complete book has these prices, so that no event means no change.
    pub is_of_book: bool,
}

/// Price of the last trade, as a trade or a ticker stated it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    /// The price.
    pub price: Decimal,
    /// When the event was received, on the caller's clock.
    pub time: Nanos,
}

/// The latest prices of one symbol at one provider.
#[derive(Debug, Default)]
pub struct Quote {
    /// Bid and ask, unless they are crossed or may be outdated.
    pub top: Option<Top>,
    /// The last price, unless it may be outdated.
    pub last: Option<Last>,
    /// Whether the bid reached the ask: no price is usable then.
    pub is_crossed: bool,
    /// Whether the book is complete.
    is_synced: bool,
    book: Book,
}

impl Quote {
    /// Takes an event of the symbol, and at most `depth` levels of a book.
    pub fn observe(&mut self, event: &Event, depth: usize, clocks: Reading) {
        let time = clocks.at(event.header().received_time);
        match &event.payload {
            Payload::Trade(trade) => self.last = Some(Last { price: trade.price, time }),
            Payload::Ticker(ticker) => {
                self.last = ticker.last.map(|price| Last { price, time }).or(self.last);
                self.set_top(ticker.bid, ticker.ask, time);
            }
            Payload::Book(book) => {
                self.book.copy_top(book, depth);
                self.is_synced = true;
                let [bid, ask] = self.best();
                self.set_top(bid, ask, time);
                self.is_synced = !self.is_crossed;
            }
            Payload::BookGap(_) => self.lose_book(),
            Payload::MarketStale(reason) => match reason.subject() {
                Notice::StaleTicker => (self.top, self.is_crossed) = (None, true),
                Notice::StaleTrades => {}
                subject => {
                    self.lose_book();
                    self.is_crossed |= *reason == StaleReason::Crossed;
                    if subject == Notice::StaleFeed {
                        self.last = None;
                    }
                }
            },
            _ => {}
        }
    }

    fn set_top(&mut self, bid: Option<Decimal>, ask: Option<Decimal>, time: Nanos) {
        let is_of_book = self.is_synced && [bid, ask] == self.best();
        self.is_crossed = bid.zip(ask).is_some_and(|(bid, ask)| bid >= ask);
        self.top = (!self.is_crossed).then_some(Top { bid, ask, time, is_of_book });
    }

    fn lose_book(&mut self) {
        self.is_synced = false;
        self.top = None;
    }

    /// Returns bid and ask of the book.
    fn best(&self) -> [Option<Decimal>; 2] {
        let book = &self.book;
        [&book.bids, &book.asks].map(|side| side.first().and_then(|level| price(book, *level)))
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
