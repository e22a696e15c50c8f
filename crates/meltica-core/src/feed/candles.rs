//! Candles that are not delivered.

use crate::event::{Kline, ShortText};
use crate::names::SymbolId;
use std::collections::HashMap;

/// The last closed candle of each symbol and interval.
#[derive(Default)]
pub(super) struct Candles(HashMap<(SymbolId, Option<ShortText>), Kline, foldhash::fast::RandomState>);

impl Candles {
    /// Returns whether a closed candle has the values of the last one.
    pub fn is_repeated(&mut self, symbol: SymbolId, candle: &Kline) -> bool {
        if candle.closed != Some(true) {
            return false;
        }
        self.0.insert((symbol, candle.interval), *candle).is_some_and(|last| last == *candle)
    }
}
