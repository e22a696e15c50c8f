//! One instrument of a market: engine, background flow and tape.

use super::flow::Flow;
use super::options::{Listing, Options};
use super::sink::Quote;
use super::tape::{Candle, Tape};
use crate::event::{Nanos, Side};
use crate::instrument::Instrument;
use crate::venue::{AssetId, Engine, InstrumentRules, Ledger, OrderId};

/// One instrument of a market.
#[derive(Debug, Clone)]
pub struct Pair {
    index: usize,
    instrument: Instrument,
    pub(super) engine: Engine,
    pub(super) flow: Flow,
    pub(super) tape: Tape,
    pub(super) quote: Quote,
    pub(super) next_action: Nanos,
}

impl Pair {
    /// Returns an instrument with an empty book.
    pub(super) fn new(
        index: usize,
        options: &Options,
        listing: &Listing,
        rules: InstrumentRules,
        ledger: &Ledger,
        assets: [AssetId; 2],
    ) -> Result<Self, String> {
        let symbol = &listing.instrument.symbol;
        let capacity = 4 * options.order_book.levels as usize;
        let engine = Engine::new(rules, options.fees, options.self_trade, ledger, assets, capacity);
        let tick = rules.price(rules.tick_size).to_f64();
        let ticks = listing.price.to_f64() / tick;
        // Leaves room for a hundredfold price and for the most distant orders.
        if !(1.0..9e12).contains(&ticks) {
            return Err(format!("symbols.{symbol}.price: expected 1 to 9e12 ticks of {tick}, saw {ticks}"));
        }
        Ok(Self {
            index,
            instrument: listing.instrument.clone(),
            engine: engine.map_err(|error| format!("symbols.{symbol}: {error}"))?,
            flow: Flow::new(options, &rules, symbol, ticks, listing.rate),
            tape: Tape::new(options.start, options.kline_interval),
            quote: Quote::default(),
            next_action: options.start,
        })
    }

    /// Returns the instrument's index in the market.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Returns the instrument.
    pub fn instrument(&self) -> &Instrument {
        &self.instrument
    }

    /// Returns the engine's rules.
    pub fn rules(&self) -> &InstrumentRules {
        self.engine.rules()
    }

    /// Returns the engine, with the book.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the last published quote.
    pub fn quote(&self) -> &Quote {
        &self.quote
    }

    /// Returns the open candle; `None` before the first trade.
    pub fn candle(&self) -> Option<Candle> {
        self.tape.candle()
    }

    /// Returns the reference price, in ticks, towards which the background moves the book.
    pub fn reference(&self) -> f64 {
        self.flow.reference()
    }

    /// Returns the number of resting background orders of a side, and the target.
    pub fn background(&self, side: Side) -> (usize, usize) {
        (self.flow.resting(side), self.flow.target())
    }

    /// Returns the next due time.
    #[inline]
    pub(super) fn due(&self) -> Nanos {
        self.next_action.min(self.tape.closes())
    }

    #[inline]
    pub(super) fn quote_at(&mut self, now: Nanos) -> Quote {
        Quote {
            last: self.tape.last(),
            bid: self.engine.best(Side::Buy),
            ask: self.engine.best(Side::Sell),
            volume_24h: self.tape.volume_24h(now),
        }
    }

    #[inline]
    pub(super) fn opened(&mut self, tag: u64, order: OrderId) {
        self.flow.opened(tag, order);
    }
}
