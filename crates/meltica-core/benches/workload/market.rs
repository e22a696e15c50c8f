//! A synthetic market, as fast as it goes.

use super::{Plane, route};
use meltica_core::decimal::Decimal;
use meltica_core::event::{Kind, Nanos};
use meltica_core::feed::Feed;
use meltica_core::instrument::{Instrument, InstrumentType};
use meltica_core::venue::market::{Broadcast, Intervals, Listing, Market, Options};

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
/// Actions of each instrument a virtual second.
const RATE: f64 = 100.0;
/// A piece of virtual time, ns.
pub const SLICE: Nanos = 1_000_000_000;

/// Returns ten made-up instruments, each with a hundred actions a virtual second.
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
            price_precision: Some(2),
            quantity_precision: Some(4),
            notional_precision: Some(2),
        },
        price: Decimal::from_i64(price),
        rate: RATE,
    };
    Market::new(&Options::default(), &SYMBOLS.map(listing)).expect("Invariant: the options are good")
}

/// A market into one queue that conflates tickers and books and drops its oldest trades; nobody reads.
pub struct Flood {
    _plane: Plane,
    feed: Feed,
    market: Market,
    broadcast: Broadcast,
}

impl Flood {
    const KINDS: [Kind; 3] = [Kind::Trade, Kind::Ticker, Kind::BookSnapshot];

    /// Returns one that has been running for five virtual minutes.
    pub fn new() -> Self {
        let plane = Plane::new(1, &Self::KINDS.map(|kind| route(kind, None, 25)));
        let feed = Feed::new(plane.publisher(), None);
        let mut market = market();
        let account = market.open_account();
        let intervals = Intervals { ticker: 0, book_snapshot: 0 };
        let broadcast = Broadcast::new(&market, account, intervals, "1m");
        let broadcast = broadcast.expect("Invariant: the table of names has room");
        let mut flood = Self { _plane: plane, feed, market, broadcast };
        flood.run(300);
        flood
    }

    /// Runs for so many slices and returns how many events the queue took: trades, tickers, whole books of 25 levels a
    /// side, one of the latter two with every change.
    pub fn run(&mut self, slices: u64) -> u64 {
        let before = self.dispatched();
        for _ in 0..slices {
            let until = self.market.now() + SLICE;
            let mut to = self.broadcast.to(&mut self.feed, None);
            self.market.advance(until, &mut to);
            to.finish().expect("Invariant: nobody stops it");
            self.feed.flush();
        }
        self.dispatched() - before
    }

    fn dispatched(&self) -> u64 {
        Self::KINDS.iter().map(|kind| self.feed.stats().dispatched[*kind as usize].get()).sum()
    }
}
