//! Candles that are not delivered, and those that the venue does not close.
//!
//! Without a flag, a candle is closed by the start of a later one on its connection. A lost connection forgets the last
//! candle, as later changes of it may be lost: it is closed only if the venue sends it again. No candle is made up for an
//! interval that the venue does not send.

use super::FeedStats;
use crate::event::{Kline, ShortText};
use crate::names::SymbolId;
use foldhash::fast::RandomState;
use std::collections::HashMap;

#[derive(Default)]
pub(super) struct Candles {
    /// The last closed candle of each symbol and interval.
    closed: HashMap<(SymbolId, Option<ShortText>), Kline, RandomState>,
    /// The last candle of each connection, symbol and interval that the venue does not close.
    running: HashMap<(u32, SymbolId, ShortText), Kline, RandomState>,
}

impl Candles {
    /// Returns whether a closed candle has the values of the last one.
    pub fn is_repeated(&mut self, symbol: SymbolId, candle: &Kline) -> bool {
        if candle.closed != Some(true) {
            return false;
        }
        self.closed.insert((symbol, candle.interval), *candle).is_some_and(|last| last == *candle)
    }

    /// Returns the candles to deliver after one of an `interval` that the venue does not close: the one before it, which
    /// is now closed, and itself.
    pub fn next(
        &mut self,
        stats: &FeedStats,
        (connection, symbol, interval): (u32, SymbolId, ShortText),
        candle: Kline,
    ) -> [Option<Kline>; 2] {
        let last = self.running.entry((connection, symbol, interval)).or_insert(candle);
        if candle.open_time < last.open_time {
            return [self.close(stats, symbol, candle), None];
        }
        let before = std::mem::replace(last, candle);
        let closed =
            if before.open_time < candle.open_time { self.close(stats, symbol, before) } else { None };
        let is_closed =
            self.closed.get(&(symbol, Some(interval))).is_some_and(|last| last.open_time >= candle.open_time);
        if is_closed {
            stats.repeated_candles.bump(1);
        }
        [closed, (!is_closed).then_some(Kline { closed: Some(false), ..candle })]
    }

    /// Returns a candle as closed, unless a later one is or it was delivered.
    fn close(&mut self, stats: &FeedStats, symbol: SymbolId, candle: Kline) -> Option<Kline> {
        let candle = Kline { closed: Some(true), ..candle };
        let of = (symbol, candle.interval);
        if self.closed.get(&of).is_some_and(|last| last.open_time > candle.open_time || *last == candle) {
            stats.repeated_candles.bump(1);
            return None;
        }
        self.closed.insert(of, candle);
        Some(candle)
    }

    /// Forgets the last candles of a connection, or of all: of one symbol, or of all.
    pub fn forget(&mut self, connection: Option<u32>, symbol: Option<SymbolId>) {
        self.running.retain(|(of, about, _), _| {
            connection.is_some_and(|connection| connection != *of)
                || symbol.is_some_and(|symbol| symbol != *about)
        });
    }
}
