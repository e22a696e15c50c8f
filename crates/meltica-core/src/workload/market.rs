//! A synthetic market that runs without pacing.

use super::{Plane, route};
use crate::decimal::Decimal;
use crate::event::{Kind, Nanos};
use crate::feed::Feed;
use crate::instrument::{Instrument, InstrumentType};
use crate::venue::market::{Broadcast, Intervals, Listing, Market, Options};

const SYMBOLS: [(&str, i64); 10] = [
    ("BTC", 60_000),
    ("ETH", 2_000),
    ("XRP", 100),
    ("SOL", 150),
    ("ADA", 100),
    ("DOGE", 100),
    ("BNB", 100),
    ("LTC", 100),
    ("DOT", 100),
    ("AVAX", 100),
];
/// Actions per instrument and virtual second.
const RATE: f64 = 100.0;
/// The step of virtual time, ns.
pub const SLICE: Nanos = 1_000_000_000;

/// Returns a market of ten instruments with a hundred actions each per virtual second.
pub fn market() -> Market {
    let some = |text: &str| text.parse().ok();
    let listing = |(base, price): (&str, i64)| Listing {
        instrument: Instrument {
            symbol: format!("{base}-USDT"),
            kind: InstrumentType::Spot,
            base: base.into(),
            quote: "USDT".into(),
            venue: "FAKE".into(),
            expiry: None,
            contract_value: None,
            contract_currency: None,
            strike: None,
            option_type: None,
            price_increment: some("0.01"),
            quantity_increment: some("0.0001"),
            min_quantity: some("0.0001"),
            max_quantity: some("1000"),
            min_notional: some("10"),
            max_notional: None,
            price_precision: Some(2),
            quantity_precision: Some(4),
            notional_precision: Some(2),
            halted: false,
        },
        price: Decimal::from_i64(price),
        rate: RATE,
    };
    Market::new(&Options::default(), &SYMBOLS.map(listing)).expect("Invariant: the options are good")
}

/// A market that publishes into one queue without reading it: tickers and books conflate, old trades are dropped.
pub struct Flood {
    _plane: Plane,
    feed: Feed,
    market: Market,
    broadcast: Broadcast,
}

impl Flood {
    const KINDS: [Kind; 3] = [Kind::Trade, Kind::Ticker, Kind::BookSnapshot];

    /// Returns a market that has run for five virtual minutes.
    pub fn started() -> Self {
        let plane = Plane::new(1, &Self::KINDS.map(|kind| route(kind, None, 25)));
        let feed = Feed::new(plane.publisher(), None);
        let mut market = market();
        let account = market.open_account();
        let intervals = Intervals { ticker: 0, book_snapshot: 0 };
        let broadcast = Broadcast::new(&market, account, intervals, "1m");
        let mut flood = Self { _plane: plane, feed, market, broadcast };
        flood.run(300);
        flood
    }

    /// Runs for `slices` steps of [`SLICE`] and returns the number of dispatched events: trades, and a ticker and a
    /// book of 25 levels per side for every change.
    pub fn run(&mut self, slices: u64) -> u64 {
        let before = self.dispatched();
        for _ in 0..slices {
            let until = self.market.now() + SLICE;
            let mut to = self.broadcast.to(&mut self.feed, None);
            self.market.advance(until, &mut to);
            to.finish().expect("Invariant: the feed is not stopped");
            self.feed.flush();
        }
        self.dispatched() - before
    }

    fn dispatched(&self) -> u64 {
        Self::KINDS.iter().map(|kind| self.feed.stats().dispatched[*kind as usize].get()).sum()
    }
}
