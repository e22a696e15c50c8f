//! A watched symbol: its queue, its quote, and the connection of its provider.

use crate::locks::Lock;
use meltica_core::bus::{Item, OverflowPolicy, Queue, QueueOptions, Reader, Waker};
use meltica_core::clock;
use meltica_core::decimal::Decimal;
use meltica_core::dispatch::{Dispatcher, Route, RouteKey};
use meltica_core::event::{Kind, Nanos, Side};
use meltica_core::feed::FeedStats;
use meltica_core::names::SymbolId;
use meltica_core::pool::NoCapacity;
use meltica_core::quotes::{Connection, Last, Quote, Reading, Top};
use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;

/// Levels of a book on each side.
const DEPTH: u32 = 128;

/// Tickers that may wait. They do not replace each other, as only some of them state the last price.
const TICKERS: usize = 64;

const KINDS: [Kind; 3] = [Kind::BookSnapshot, Kind::Trade, Kind::Ticker];

/// A clock that counts from the start of the machine, also while it is suspended.
#[derive(Clone, Copy)]
pub struct Clock {
    boot_time: Nanos,
}

impl Clock {
    #[cfg(target_os = "linux")]
    const ID: ClockId = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    const ID: ClockId = ClockId::Monotonic;

    /// Returns a clock of which `boot_time` is the time of the start.
    pub fn new(boot_time: Nanos) -> Self {
        Self { boot_time }
    }

    pub fn now(self) -> Nanos {
        let time = clock_gettime(Self::ID);
        self.boot_time + time.tv_sec * 1_000_000_000 + time.tv_nsec as Nanos
    }

    fn read(self) -> Reading {
        Reading { wall: clock::wall(), now: self.now() }
    }
}

/// The connection of a provider.
pub struct Provider {
    stats: Arc<FeedStats>,
    connection: Lock<Connection>,
}

impl Provider {
    pub fn new(stats: Arc<FeedStats>, now: Nanos) -> Self {
        let connection = Lock::leaf(Connection::new(stats.delivered(), now));
        Self { stats, connection }
    }

    /// Checks whether the connection has delivered anything; returns when it last did, and the lag of the feed.
    pub fn check(&self, now: Nanos) -> (Nanos, Option<Nanos>) {
        let mut connection = self.connection.lock();
        connection.check(self.stats.delivered(), now);
        (connection.time, connection.lag)
    }
}

/// Copies of the prices of a symbol.
pub struct Prices {
    pub top: Option<Top>,
    pub last: Option<Last>,
    pub is_crossed: bool,
}

/// A watched symbol. The thread and the callers observe its events by turns.
pub struct Source {
    provider: Arc<Provider>,
    state: Lock<State>,
}

struct State {
    reader: Reader,
    quote: Quote,
    /// Empty between observations.
    items: Vec<Item>,
}

impl Source {
    /// Makes a source, its queue, and the routes of the queue.
    pub fn make(
        dispatcher: &Dispatcher,
        provider: Arc<Provider>,
        symbol: SymbolId,
        waker: Arc<Waker>,
    ) -> Result<(Self, Arc<Queue>, Vec<Route>), NoCapacity> {
        let mut policies = [OverflowPolicy::Conflate; Kind::COUNT];
        policies[Kind::Ticker as usize] = OverflowPolicy::DropOldest;
        let options =
            QueueOptions { policies, capacity: TICKERS, batch: TICKERS, private_limit: 0, depth: DEPTH };
        let id = provider.stats.provider;
        let of = |kind| RouteKey { provider: id, kind, symbol: Some(symbol) };
        let route = |kind| Route { key: of(kind), filters: Vec::new(), depth: DEPTH };
        let (queue, reader) = dispatcher.queue(options, &KINDS.map(of), waker)?;
        let state = Lock::leaf(State { reader, quote: Quote::default(), items: Vec::new() });
        Ok((Self { provider, state }, queue, KINDS.map(route).into()))
    }

    /// Returns the connection of the provider.
    pub fn provider(&self) -> &Provider {
        &self.provider
    }

    /// Returns whether events have arrived that were not observed yet.
    pub fn has_work(&self) -> bool {
        self.state.lock().reader.has_work()
    }

    /// Observes the events that have arrived.
    pub fn observe(&self, watermark: u64, clock: Clock) {
        let mut times = [None; Kind::COUNT];
        {
            let State { reader, quote, items } = &mut *self.state.lock();
            if !reader.has_work() {
                return;
            }
            let clocks = clock.read();
            // A full ring gives back the later events of the other kinds with the next read.
            while {
                reader.read(watermark, TICKERS, items);
                !items.is_empty()
            } {
                for event in items.drain(..) {
                    let header = event.header();
                    quote.observe(&event, DEPTH as usize, clocks);
                    times[header.kind as usize] = Some((header.received_time, header.venue_time));
                }
            }
        }
        let mut connection = self.provider.connection.lock();
        for (received, venue) in KINDS.into_iter().filter_map(|kind| times[kind as usize]) {
            connection.observe(received, venue);
        }
    }

    /// Returns the prices.
    pub fn prices(&self) -> Prices {
        let Quote { top, last, is_crossed, .. } = &self.state.lock().quote;
        Prices { top: *top, last: *last, is_crossed: *is_crossed }
    }

    /// Returns the quantity that an order meets at a price or a better one; `None` without a complete book.
    pub fn depth(&self, side: Side, limit: Decimal) -> Option<Decimal> {
        self.state.lock().quote.depth(side, limit)
    }
}
