//! The events of a market.

use super::machine::Market;
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
    /// Volume of the last 24 hours, with a resolution of one minute.
    pub volume_24h: i128,
}

/// A change of an account's order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report<'a> {
    /// The order after the change.
    pub order: &'a UserOrder,
    /// The fill, where the change is a fill.
    pub fill: Option<&'a UserFill>,
    /// Time of the change; before the time of the event where the report was held back.
    pub time: Nanos,
}

/// A deposit or a withdrawal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// Counts the venue's transfers from 1.
    pub id: u64,
    /// The amount; negative for a withdrawal.
    pub amount: i128,
}

/// A balance of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BalanceChange {
    /// The account.
    pub account: AccountId,
    /// The asset.
    pub asset: AssetId,
    /// The balance at `time`.
    pub balance: Balance,
    /// Before the time of the event where an older balance is sent again.
    pub time: Nanos,
    /// The transfer that led to it, if one did.
    pub transfer: Option<Transfer>,
}

impl BalanceChange {
    /// Returns a balance as it is now.
    pub fn of(market: &Market, account: AccountId, asset: AssetId) -> Self {
        let (balance, time) = (market.balance(account, asset), market.now());
        Self { account, asset, balance, time, transfer: None }
    }
}

/// One event. All events of a command have the same time. Trades and level changes precede the resulting book and
/// quote.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event<'a> {
    /// Two orders traded.
    Trade(Print),
    /// A price level changed.
    Level(LevelChange),
    /// All level changes of a command were published, up to this update id.
    Book(u64),
    /// Last price, volume or a best level changed.
    Quote(Quote),
    /// A candle closed.
    Candle(Candle),
    /// An order of an account changed.
    Report(Report<'a>),
    /// A balance of an account changed.
    Balance(BalanceChange),
}

/// Receives the events of a [`super::Market`] in order.
pub trait Sink {
    /// Receives one event of an instrument. Its book and quote already include the whole command.
    fn on(&mut self, pair: &Pair, time: Nanos, event: Event<'_>);
}

impl<F: FnMut(&Pair, Nanos, Event<'_>)> Sink for F {
    #[inline]
    fn on(&mut self, pair: &Pair, time: Nanos, event: Event<'_>) {
        self(pair, time, event);
    }
}
