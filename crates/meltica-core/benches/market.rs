//! A synthetic market as fast as it goes: `cargo bench -p meltica-core --bench market`.
//!
//! An event is one that a queue takes: a trade, a ticker or a whole book of 25 levels a side, one of the latter two with
//! every change. The queue conflates tickers and books and drops its oldest trades, as it does by default; nobody reads.

#![allow(missing_docs)]

// Of what the benches share this one needs little.
#[allow(dead_code, unused_imports)]
mod workload;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use meltica_core::decimal::Decimal;
use meltica_core::event::{Kind, Nanos};
use meltica_core::feed::Feed;
use meltica_core::instrument::{Instrument, InstrumentType};
use meltica_core::venue::market::{Broadcast, Event, Intervals, Listing, Market, Options, Pair};
use std::time::{Duration, Instant};
use workload::{Plane, route};

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
const SLICE: Nanos = 1_000_000_000;

fn market() -> Market {
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

fn actions(c: &mut Criterion) {
    let mut market = market();
    let mut group = c.benchmark_group("market");
    let mut per_slice = |n: u64| {
        let mut actions = 0u64;
        for _ in 0..n {
            let until = market.now() + SLICE;
            market.advance(until, &mut |_: &Pair, _: Nanos, event: Event<'_>| {
                actions += u64::from(matches!(event, Event::Book(_)));
            });
        }
        actions
    };
    per_slice(300);
    group.throughput(Throughput::Elements(1));
    group.bench_function("an action, told to nobody", |b| {
        b.iter_custom(|n| {
            let started = Instant::now();
            let actions = per_slice(n.div_ceil(1000));
            started.elapsed().mul_f64(n as f64 / actions as f64)
        });
    });
}

fn events(c: &mut Criterion) {
    let kinds = [Kind::Trade, Kind::Ticker, Kind::BookSnapshot];
    let plane = Plane::new(1, &kinds.map(|kind| route(kind, None, 25)));
    let mut feed = Feed::new(plane.publisher(), None);
    let mut market = market();
    let account = market.open_account();
    let intervals = Intervals { ticker: 0, book_snapshot: 0 };
    let broadcast = Broadcast::new(&market, account, intervals, "1m");
    let mut broadcast = broadcast.expect("Invariant: the table of names has room");
    let mut per_slice = |n: u64| {
        let dispatched = |feed: &Feed| -> u64 {
            kinds.iter().map(|kind| feed.stats().dispatched[*kind as usize].get()).sum()
        };
        let before = dispatched(&feed);
        for _ in 0..n {
            let until = market.now() + SLICE;
            let mut to = broadcast.to(&mut feed, None);
            market.advance(until, &mut to);
            to.finish().expect("Invariant: nobody stops it");
            feed.flush();
        }
        dispatched(&feed) - before
    };
    per_slice(300);
    let mut group = c.benchmark_group("market");
    group.throughput(Throughput::Elements(1));
    group.bench_function("an event into a queue", |b| {
        b.iter_custom(|n| {
            let started = Instant::now();
            let events = per_slice(n.div_ceil(1500));
            started.elapsed().mul_f64(n as f64 / events as f64)
        });
    });
}

fn short() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3))
}

criterion_group!(name = benches; config = short(); targets = actions, events);
criterion_main!(benches);
