//! Candles that are not delivered, and those that the venue does not close.
//!
//! Without a flag, a candle is closed by the start of a later one on its connection. A lost connection forgets the last
//! candle, as later changes of it may be lost: it is closed only if the venue sends it again. No candle is made up for an
//! interval that the venue does not send. A candle between the last closed one and the running one shows that the start of
//! the running one was wrong, and takes its place.

use super::FeedStats;
use crate::event::{Kline, Nanos, ShortText};
use crate::names::SymbolId;
use foldhash::fast::RandomState;
use std::collections::{HashMap, VecDeque};

/// The closed candles that are known of a symbol and interval, so that a slower connection repeats none.
const KNOWN: usize = 16;

#[derive(Default)]
pub(super) struct Candles {
    /// The last closed candles of each symbol and interval, the newest one last.
    closed: HashMap<(SymbolId, Option<ShortText>), VecDeque<Kline>, RandomState>,
    /// The last candle of each connection, symbol and interval that the venue does not close.
    running: HashMap<(u32, SymbolId, ShortText), Kline, RandomState>,
}

impl Candles {
    /// Returns whether a closed candle has the values with which it was closed before.
    pub fn is_repeated(&mut self, symbol: SymbolId, candle: &Kline) -> bool {
        if candle.closed != Some(true) {
            return false;
        }
        let known = self.closed.entry((symbol, candle.interval)).or_default();
        if let Some(known) = known.iter_mut().find(|known| known.open_time == candle.open_time) {
            return std::mem::replace(known, *candle) == *candle;
        }
        if known.len() == KNOWN {
            known.pop_front();
        }
        known.push_back(*candle);
        false
    }

    /// Returns the start of the newest closed candle.
    fn newest(&self, of: &(SymbolId, Option<ShortText>)) -> Option<Nanos> {
        self.closed.get(of)?.iter().map(|known| known.open_time).max()
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
        let newest = self.closed.get(&(symbol, Some(interval))).and_then(|known| known.back());
        let is_jumped = newest
            .is_some_and(|newest| newest.open_time < candle.open_time && candle.open_time < last.open_time);
        if candle.open_time < last.open_time && !is_jumped {
            return [self.close(stats, symbol, candle), None];
        }
        let before = std::mem::replace(last, candle);
        let closed =
            if before.open_time < candle.open_time { self.close(stats, symbol, before) } else { None };
        let is_closed =
            self.newest(&(symbol, Some(interval))).is_some_and(|newest| newest >= candle.open_time);
        if is_closed {
            stats.repeated_candles.bump(1);
        }
        [closed, (!is_closed).then_some(Kline { closed: Some(false), ..candle })]
    }

    /// Returns a candle as closed, unless a later one is or it was delivered.
    fn close(&mut self, stats: &FeedStats, symbol: SymbolId, candle: Kline) -> Option<Kline> {
        let candle = Kline { closed: Some(true), ..candle };
        let of = (symbol, candle.interval);
        let is_old = self.newest(&of).is_some_and(|newest| newest > candle.open_time);
        if is_old || self.is_repeated(symbol, &candle) {
            stats.repeated_candles.bump(1);
            return None;
        }
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
