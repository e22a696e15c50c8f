//! What is measured, apart from how: one operation of each part of the data plane, on input made up once.
//!
//! Shared by the criterion benches of this crate and by `meltica bench`, so that both speak of the same work.

mod frames;
// Not every bench needs a market.
#[allow(dead_code)]
pub mod market;

pub use frames::mix;

use frames::MID;
use meltica_core::book::BookAssembler;
use meltica_core::bus::{DEFAULT_POLICIES, Queue, Reader, Waker};
use meltica_core::codec::Levels;
use meltica_core::decimal::Decimal;
use meltica_core::dispatch::{Dispatcher, Origin, Publisher, Route, RouteKey};
use meltica_core::event::{Event, Kind, Payload, PriceLevel, Side, StaleReason, Trade, VenueId};
use meltica_core::names::{ProviderId, SymbolId};
use meltica_core::pool::{Claim, Pool, Pools, Reservation};
use std::hint::black_box;
use std::sync::Arc;

/// Returns the provider of all that is measured.
pub fn provider() -> ProviderId {
    ProviderId::intern("bench").expect("Invariant: the table of names has room")
}

/// Returns a symbol's id.
pub fn symbol(name: &str) -> SymbolId {
    SymbolId::intern(name).expect("Invariant: the table of names has room")
}

/// Returns a pool of events.
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

/// A data plane whose queues hold 1,024 events and are read by nobody unless their readers are taken.
pub struct Plane {
    pub dispatcher: Arc<Dispatcher>,
    pub readers: Vec<(Reader, Arc<Waker>)>,
    reservations: Vec<Reservation>,
}

impl Plane {
    /// Makes a plane of `readers` queues with the same routes.
    pub fn new(readers: usize, routes: &[Route]) -> Self {
        let dispatcher = Dispatcher::new(Pools::new(4 << 30));
        let mut plane = Self { dispatcher, readers: Vec::new(), reservations: Vec::new() };
        for _ in 0..readers {
            plane.add(routes);
        }
        plane
    }

    /// Adds a queue.
    pub fn add(&mut self, routes: &[Route]) {
        let depth = routes.iter().map(|route| route.depth as usize).max().unwrap_or_default();
        let claim = Claim { events: 2048, books: 64, depth };
        let reservation = Pools::reserve(self.dispatcher.pools(), claim);
        self.reservations.push(reservation.expect("Invariant: the pools have room"));
        let waker = Arc::new(Waker::default());
        let (queue, reader) = Queue::new(DEFAULT_POLICIES, 1024, 1024, Arc::clone(&waker));
        self.dispatcher.subscribe(&queue, routes.to_vec());
        self.readers.push((reader, waker));
    }

    /// Returns a publisher of the plane's only provider.
    pub fn publisher(&self) -> Publisher {
        Publisher::new(&self.dispatcher, provider())
    }
}

/// Publishes one trade after the other.
pub struct Trades {
    pub publisher: Publisher,
    origin: Origin,
    trade: Trade,
}

impl Trades {
    /// Publishes trades of `symbol` into `plane`.
    pub fn new(plane: &Plane, symbol: SymbolId) -> Self {
        let number = Decimal::from_i64(7);
        let trade = Trade { id: VenueId::Number(1), side: Some(Side::Buy), price: number, quantity: number };
        let origin = Origin { kind: Kind::Trade, symbol, venue_time: Some(1), received_time: 2 };
        Self { publisher: plane.publisher(), origin, trade }
    }

    /// Looks the route up and publishes a trade to whoever wants it.
    #[inline]
    pub fn publish(&mut self) {
        if let Some(wanted) = self.publisher.wanted(Kind::Trade, black_box(self.origin.symbol)) {
            let payload = Payload::Trade(self.trade);
            let _ = black_box(self.publisher.publish(wanted, self.origin, payload));
        }
    }
}

/// Publishes the whole of one book again and again.
pub struct Books {
    publisher: Publisher,
    origin: Origin,
    book: BookAssembler,
}

impl Books {
    /// Publishes a book of `symbol`, `levels` on either side, into `plane`.
    pub fn new(plane: &Plane, symbol: SymbolId, levels: u64) -> Self {
        let origin = Origin { kind: Kind::BookSnapshot, symbol, venue_time: Some(1), received_time: 2 };
        Self { publisher: plane.publisher(), origin, book: book(levels) }
    }

    /// Copies the book into a slot, once, and publishes it.
    #[inline]
    pub fn publish(&mut self) {
        let Some(wanted) = self.publisher.wanted(Kind::BookSnapshot, black_box(self.origin.symbol)) else {
            return;
        };
        if let Ok(mut slot) = self.publisher.borrow_book(wanted) {
            self.book.copy_top(wanted.depth as usize, &mut slot);
            let payload = Payload::Book(slot.into_shared());
            let _ = black_box(self.publisher.publish(wanted, self.origin, payload));
        }
    }
}

/// Returns a good book with `levels` on either side, where the diffs of the mix begin.
pub fn book(levels: u64) -> BookAssembler {
    let level = |price| PriceLevel { price, quantity: 1 + price % 97 };
    let mut snapshot = Levels::default();
    (snapshot.price_scale, snapshot.quantity_scale) = (2, 8);
    snapshot.bids = (1..=levels).map(|i| level((MID - i).cast_signed())).collect();
    snapshot.asks = (1..=levels).map(|i| level((MID + i).cast_signed())).collect();
    let mut book = BookAssembler::default();
    book.snapshot(1, &snapshot, |_, _| {});
    book
}
