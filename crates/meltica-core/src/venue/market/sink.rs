//! What a market tells.

use super::orders::{UserFill, UserOrder};
use super::pair::Pair;
use super::tape::Candle;
use crate::event::{Nanos, Side};
use crate::venue::{AccountId, AssetId, Balance, BookLevel, LevelChange};

/// A public trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Print {
    /// Counts the instrument's trades from 1.
    pub trade_id: u64,
    /// The taker's side.
    pub taker_side: Side,
    /// Price.
    pub price: i64,
    /// Quantity.
    pub quantity: i64,
}

/// Last price and best levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quote {
    /// Price of the last trade.
    pub last: Option<i64>,
    /// The best bid.
    pub bid: Option<BookLevel>,
    /// The best ask.
    pub ask: Option<BookLevel>,
    /// Volume of the last 24 hours, to the minute.
    pub volume_24h: i128,
}

/// What happened to an order of an account.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report<'a> {
    /// The order after it.
    pub order: &'a UserOrder,
    /// The fill, where it is one.
    pub fill: Option<&'a UserFill>,
}

/// One thing that happened. All of one command have the same time, and its trades and level changes come before the
/// book and the quote that they lead to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event<'a> {
    /// Two orders traded.
    Trade(Print),
    /// A level changed.
    Level(LevelChange),
    /// The levels that a command changed are all told, up to this update id.
    Book(u64),
    /// Last price, volume or a best level changed.
    Quote(Quote),
    /// A candle's time is over.
    Candle(Candle),
    /// Something happened to an order of an account.
    Report(Report<'a>),
    /// A balance of an account changed.
    Balance(AccountId, AssetId, Balance),
}

/// Takes what a [`super::Market`] tells, in order.
pub trait Sink {
    /// Takes one event of an instrument, whose book and quote are those after the whole command.
    fn on(&mut self, pair: &Pair, time: Nanos, event: Event<'_>);
}

impl<F: FnMut(&Pair, Nanos, Event<'_>)> Sink for F {
    #[inline]
    fn on(&mut self, pair: &Pair, time: Nanos, event: Event<'_>) {
        self(pair, time, event);
    }
}
