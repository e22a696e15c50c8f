//! The operations that benchmarks measure: one per part of the data plane, on input generated once.
//!
//! The criterion benches of this crate and `meltica bench` share them, so that both measure the same work. Needs the
//! feature `workload`.

mod frames;
pub mod market;

pub use frames::mix;

use crate::book::BookAssembler;
use crate::book::checksum::{Checker, Scales, Verified};
use crate::bus::{DEFAULT_POLICIES, QueueOptions, Reader, Waker};
use crate::codec::{BookIds, ChecksumRule, Digits, Layout, Levels, SnapshotMode};
use crate::decimal::Decimal;
use crate::dispatch::{Dispatcher, Origin, Publisher, Route, RouteKey};
use crate::event::{Book, Event, Kind, Payload, PriceLevel, Side, StaleReason, Ticker, Trade, VenueId};
use crate::names::{ProviderId, SymbolId};
use crate::pool::{Pool, Pools};
use frames::MID;
use std::hint::black_box;
use std::sync::Arc;

/// Returns the provider of every measured event.
pub fn provider() -> ProviderId {
    ProviderId::intern("bench")
}

/// Interns a symbol.
pub fn symbol(name: &str) -> SymbolId {
    SymbolId::intern(name)
}

/// Interns `count` symbols whose names start with `prefix`.
pub fn symbols(prefix: &str, count: usize) -> Vec<SymbolId> {
    (0..count).map(|i| symbol(&format!("{prefix}{i}-USDT"))).collect()
}

/// Returns a pool of 1,024 events.
pub fn pool() -> Pool<Event> {
    let pool = Pool::new(10, Event::default);
    pool.grow_to(1024);
    pool
}

/// Borrows a slot, fills, shares and releases it.
#[inline]
pub fn cycle(pool: &Pool<Event>) {
    if let Some(mut slot) = pool.borrow() {
        slot.payload = Payload::MarketStale(StaleReason::Gap);
        drop(black_box(slot.into_shared()));
    }
}

/// Returns a route without filters.
pub fn route(kind: Kind, symbol: Option<SymbolId>, depth: u32) -> Route {
    Route { key: RouteKey { provider: provider(), kind, symbol }, filters: Vec::new(), depth }
}

/// A data plane whose queues hold 1,024 events. A queue is not read unless its reader is taken out of `readers`.
pub struct Plane {
    /// Routes the events of the plane.
    pub dispatcher: Arc<Dispatcher>,
    /// The reader and the waker of each queue.
    pub readers: Vec<(Reader, Arc<Waker>)>,
}

impl Plane {
    /// Makes a plane of `readers` queues with the same routes.
    pub fn new(readers: usize, routes: &[Route]) -> Self {
        let dispatcher = Dispatcher::new(Pools::new(4 << 30));
        let mut plane = Self { dispatcher, readers: Vec::new() };
        for _ in 0..readers {
            plane.add(routes);
        }
        plane
    }

    /// Adds a queue.
    pub fn add(&mut self, routes: &[Route]) {
        let depth = routes.iter().map(|route| route.depth).max().unwrap_or_default();
        let options = QueueOptions {
            policies: DEFAULT_POLICIES,
            capacity: 1024,
            batch: 1024,
            private_limit: 1024,
            depth,
        };
        let keys: Vec<_> = routes.iter().map(|route| route.key).collect();
        let waker = Arc::new(Waker::default());
        let queue = self.dispatcher.queue(options, &keys, Arc::clone(&waker));
        let (queue, reader) = queue.expect("Invariant: the pools have room");
        Dispatcher::subscribe(&self.dispatcher, &queue, routes.to_vec());
        self.readers.push((reader, waker));
    }

    /// Returns a publisher of the plane's only provider.
    pub fn publisher(&self) -> Publisher {
        Publisher::new(&self.dispatcher, provider())
    }
}

/// Publishes the same trade repeatedly.
pub struct Trades {
    /// The publisher of the trades, to flush.
    pub publisher: Publisher,
    origin: Origin,
    trade: Trade,
}

impl Trades {
    /// Publishes trades of `symbol` into `plane`.
    pub fn new(plane: &Plane, symbol: SymbolId) -> Self {
        let number = Decimal::from_i64(7);
        let trade = Trade {
            id: Some(VenueId::Number(1)),
            side: Some(Side::Buy),
            price: number,
            quantity: number,
            late: false,
        };
        let origin = Origin { kind: Kind::Trade, symbol, venue_time: Some(1), received_time: 2 };
        Self { publisher: plane.publisher(), origin, trade }
    }

    /// Looks up the route and publishes a trade to its queues.
    #[inline]
    pub fn publish(&mut self) {
        if let Some(wanted) = self.publisher.wanted(Kind::Trade, black_box(self.origin.symbol)) {
            let payload = Payload::Trade(self.trade);
            let _ = black_box(self.publisher.publish(wanted, self.origin, payload));
        }
    }
}

/// Publishes the same payload of several symbols in turn.
pub struct Rotation {
    publisher: Publisher,
    kind: Kind,
    make: fn() -> Payload,
    symbols: Vec<SymbolId>,
    next: usize,
}

impl Rotation {
    /// Publishes trades of `symbols` into `plane`.
    pub fn trades(plane: &Plane, symbols: Vec<SymbolId>) -> Self {
        Self::new(plane, symbols, Kind::Trade, || {
            let number = Decimal::from_i64(7);
            Payload::Trade(Trade {
                id: Some(VenueId::Number(1)),
                side: None,
                price: number,
                quantity: number,
                late: false,
            })
        })
    }

    /// Publishes tickers of `symbols` into `plane`.
    pub fn tickers(plane: &Plane, symbols: Vec<SymbolId>) -> Self {
        Self::new(plane, symbols, Kind::Ticker, || {
            Payload::Ticker(Ticker { last: Some(Decimal::from_i64(7)), ..Ticker::default() })
        })
    }

    fn new(plane: &Plane, symbols: Vec<SymbolId>, kind: Kind, make: fn() -> Payload) -> Self {
        Self { publisher: plane.publisher(), kind, make, symbols, next: 0 }
    }

    /// Looks up the route of the next symbol and publishes to its queues.
    #[inline]
    pub fn publish(&mut self) {
        let symbol = self.symbols[self.next];
        self.next = if self.next + 1 == self.symbols.len() { 0 } else { self.next + 1 };
        if let Some(wanted) = self.publisher.wanted(self.kind, symbol) {
            let origin = Origin { kind: self.kind, symbol, venue_time: Some(1), received_time: 2 };
            let _ = black_box(self.publisher.publish(wanted, origin, (self.make)()));
        }
    }
}

/// Publishes the same book repeatedly.
pub struct Books {
    publisher: Publisher,
    origin: Origin,
    book: BookAssembler,
}

impl Books {
    /// Publishes a book of `symbol` with `levels` levels per side into `plane`.
    pub fn new(plane: &Plane, symbol: SymbolId, levels: u64) -> Self {
        let origin = Origin { kind: Kind::BookSnapshot, symbol, venue_time: Some(1), received_time: 2 };
        Self { publisher: plane.publisher(), origin, book: book(levels) }
    }

    /// Copies the book into one slot and publishes it.
    #[inline]
    pub fn publish(&mut self) {
        let Some(wanted) = self.publisher.wanted(Kind::BookSnapshot, black_box(self.origin.symbol)) else {
            return;
        };
        let fill = |slot: &mut Book, depth| self.book.copy_top(depth as usize, slot);
        let _ = black_box(self.publisher.publish_book(wanted, self.origin, fill));
    }
}

/// Verifies the checksum of a book repeatedly.
pub struct Checksums {
    book: BookAssembler,
    rule: ChecksumRule,
    checker: Checker,
}

impl Checksums {
    /// Computes the checksum of the best `levels` levels per side, all asks before all bids.
    pub fn new(levels: usize) -> Self {
        let (layout, separator, digits) = (Layout::AsksBids, String::new(), Digits::Mantissa);
        let rule = ChecksumRule { levels, layout, separator, digits };
        Self { book: book(1000), rule, checker: Checker::default() }
    }

    /// Computes the checksum of the book and compares it with a wrong one.
    pub fn verify(&mut self) -> Verified {
        let scales = Scales { price: 2, quantity: 8 };
        self.checker.verify(&self.book, &self.rule, scales, black_box(0))
    }
}

/// Returns a synchronised book with `levels` levels per side, to which the diffs of [`mix`] apply.
pub fn book(levels: u64) -> BookAssembler {
    let level = |price| PriceLevel { price, quantity: 1 + price % 97 };
    let mut snapshot = Levels::default();
    (snapshot.price_scale, snapshot.quantity_scale) = (2, 8);
    snapshot.bids = (1..=levels).map(|i| level((MID - i).cast_signed())).collect();
    snapshot.asks = (1..=levels).map(|i| level((MID + i).cast_signed())).collect();
    let mut book = BookAssembler::default();
    let ids = BookIds::Range { first: 1, last: 1, prev: None };
    book.snapshot(ids, SnapshotMode::Joins, &snapshot, |_, _| {});
    book
}
