//! One step gives each event its global sequence number and hands it to the queues that want it.
//!
//! # The table
//! [`Table`] maps (provider, kind, symbol) to queues. It is built whole from what subscribers declare, swapped in one
//! store, and read without waiting. A route without a symbol wants every symbol of its provider and kind: the first
//! event of a new symbol makes the exact entry, so the usual lookup stays one hash probe.
//!
//! # The step
//! [`Publisher::publish`] fills a slot, waits for room where a queue says `block`, and then under one short lock
//! numbers the event, pushes it to each queue and moves the watermark. Inside the lock nothing is allocated, waited
//! for or logged. Wake-ups are collected and sent by [`Publisher::flush`], once per socket read.

mod publish;

use crate::bus::{ConflationCell, Queue, Waker, Watermark};
use crate::event::Kind;
use crate::filter::Filter;
use crate::names::{ProviderId, SymbolId};
use crate::pool::Pools;
use crate::sync::{Arc, Mutex, Swap, lock};
pub use publish::{NotDispatched, Origin, Publisher, Wanted};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What a subscriber wants: one kind from one provider, of one symbol or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteKey {
    /// From whom.
    pub provider: ProviderId,
    /// What.
    pub kind: Kind,
    /// Of what; `None` is every symbol.
    pub symbol: Option<SymbolId>,
}

impl RouteKey {
    fn packed(provider: ProviderId, kind: Kind, symbol: SymbolId) -> u64 {
        (provider.index() as u64) << 40 | (symbol.index() as u64) << 8 | kind as u64
    }
}

/// A route with its conditions.
#[derive(Debug, Clone)]
pub struct Route {
    /// What is wanted.
    pub key: RouteKey,
    /// All must match.
    pub filters: Vec<Filter>,
    /// For books: levels per side.
    pub depth: u32,
}

/// A subscriber's handle in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(u64);

/// What a change of the table asks of providers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Version of the table from now on.
    pub version: u32,
    /// Routes that nobody wanted before, by provider, kind and symbol.
    pub subscribe: Vec<RouteKey>,
    /// Routes that nobody wants any more.
    pub unsubscribe: Vec<RouteKey>,
}

/// Immutable once made: plain reference counting, even where loom looks.
type Filters = std::sync::Arc<[Filter]>;

struct Target {
    queue: Arc<Queue>,
    waker: Arc<Waker>,
    cell: Arc<ConflationCell>,
    filters: Filters,
}

struct Entry {
    /// Stable over table versions: indexes a publisher's own counters.
    id: u32,
    depth: u32,
    filtered: bool,
    blocking: bool,
    targets: Vec<Target>,
}

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The routing table: immutable, replaced whole.
#[derive(Default)]
pub struct Table {
    version: u32,
    exact: Map<u64, u32>,
    entries: Vec<Entry>,
    /// (provider, kind) pairs that somebody wants for every symbol.
    any: BTreeSet<(ProviderId, Kind)>,
}

struct Subscriber {
    queue: Arc<Queue>,
    routes: Vec<(RouteKey, Filters, u32)>,
    cells: Map<u64, Arc<ConflationCell>>,
}

#[derive(Default)]
struct Registry {
    next: u64,
    version: u32,
    subscribers: BTreeMap<SubscriptionId, Subscriber>,
    /// Symbols that routes for every symbol have matched so far.
    found_symbols: BTreeSet<(ProviderId, Kind, SymbolId)>,
    ids: Map<u64, u32>,
}

impl Registry {
    fn wanted(&self) -> BTreeSet<RouteKey> {
        let keys = self.subscribers.values().flat_map(|s| s.routes.iter().map(|(key, ..)| *key));
        keys.filter(|key| key.kind.route().is_some()).collect()
    }

    fn build(&mut self) -> Table {
        let mut table = Table { version: self.version, ..Table::default() };
        let mut keys = BTreeSet::new();
        for (key, ..) in self.subscribers.values().flat_map(|s| &s.routes) {
            match key.symbol {
                Some(symbol) => drop(keys.insert((key.provider, key.kind, symbol))),
                None => drop(table.any.insert((key.provider, key.kind))),
            }
        }
        keys.extend(
            self.found_symbols.iter().filter(|(provider, kind, _)| table.any.contains(&(*provider, *kind))),
        );
        for (provider, kind, symbol) in keys {
            let packed = RouteKey::packed(provider, kind, symbol);
            let next_id = self.ids.len() as u32;
            let id = *self.ids.entry(packed).or_insert(next_id);
            let mut entry = Entry { id, depth: 0, filtered: false, blocking: false, targets: Vec::new() };
            for subscriber in self.subscribers.values_mut() {
                let covers = |key: &RouteKey| {
                    key.provider == provider && key.kind == kind && key.symbol.is_none_or(|s| s == symbol)
                };
                // An exact route goes before one for every symbol of the same subscriber.
                let best = subscriber
                    .routes
                    .iter()
                    .filter(|(key, ..)| covers(key))
                    .max_by_key(|(key, ..)| key.symbol);
                let Some((_, filters, depth)) = best else { continue };
                entry.depth = entry.depth.max(*depth);
                entry.filtered |= !filters.is_empty();
                entry.blocking |= subscriber.queue.blocks(kind);
                entry.targets.push(Target {
                    queue: Arc::clone(&subscriber.queue),
                    waker: Arc::clone(subscriber.queue.waker()),
                    cell: Arc::clone(subscriber.cells.entry(packed).or_default()),
                    filters: Filters::clone(filters),
                });
            }
            table.exact.insert(packed, table.entries.len() as u32);
            table.entries.push(entry);
        }
        table
    }
}

/// The dispatch step and its routing table.
pub struct Dispatcher {
    pools: Arc<Pools>,
    watermark: Watermark,
    /// The last number given.
    order: Mutex<u64>,
    table: Swap<Table>,
    registry: Mutex<Registry>,
    /// Only one producer at a time may sleep for room.
    waiting: Mutex<()>,
}

impl Dispatcher {
    /// Makes a dispatcher without routes.
    pub fn new(pools: Arc<Pools>) -> Arc<Self> {
        Arc::new(Self {
            pools,
            watermark: Watermark::default(),
            order: Mutex::new(0),
            table: Swap::new(Arc::default()),
            registry: Mutex::default(),
            waiting: Mutex::default(),
        })
    }

    /// Returns the pools.
    pub fn pools(&self) -> &Arc<Pools> {
        &self.pools
    }

    /// Returns the highest number that stands in every queue it was routed to.
    #[inline]
    pub fn watermark(&self) -> u64 {
        self.watermark.get()
    }

    /// Returns the routing table's version.
    pub fn version(&self) -> u32 {
        self.table.load().version
    }

    /// Routes events into `queue`. Book routes bring the notices about those books with them.
    pub fn subscribe(&self, queue: &Arc<Queue>, routes: Vec<Route>) -> (SubscriptionId, Change) {
        let notices = routes.iter().filter(|route| route.key.kind == Kind::BookSnapshot).flat_map(|route| {
            let notice = |kind| Route { key: RouteKey { kind, ..route.key }, filters: Vec::new(), depth: 0 };
            [notice(Kind::BookGap), notice(Kind::MarketStale)]
        });
        let notices: Vec<Route> = notices.collect();
        let routes = routes.into_iter().chain(notices).map(|r| (r.key, r.filters.into(), r.depth)).collect();
        let subscriber = Subscriber { queue: Arc::clone(queue), routes, cells: Map::default() };
        self.change(|registry| {
            registry.next += 1;
            let id = SubscriptionId(registry.next);
            registry.subscribers.insert(id, subscriber);
            id
        })
    }

    /// Ends a subscription. Its queue may still get an event that is being published meanwhile.
    pub fn unsubscribe(&self, id: SubscriptionId) -> Change {
        self.change(|registry| drop(registry.subscribers.remove(&id))).1
    }

    /// Returns every route that somebody wants, notices apart, by provider, kind and symbol.
    pub fn wanted(&self) -> Vec<RouteKey> {
        lock(&self.registry).wanted().into_iter().collect()
    }

    fn change<R>(&self, edit: impl FnOnce(&mut Registry) -> R) -> (R, Change) {
        let mut registry = lock(&self.registry);
        let before = registry.wanted();
        let result = edit(&mut registry);
        let after = registry.wanted();
        registry.version += 1;
        let change = Change {
            version: registry.version,
            subscribe: after.difference(&before).copied().collect(),
            unsubscribe: before.difference(&after).copied().collect(),
        };
        let table = registry.build();
        self.table.store(Arc::new(table));
        (result, change)
    }

    /// Makes the exact entry for a symbol that a route for every symbol has just matched for the first time.
    fn meet(&self, provider: ProviderId, kind: Kind, symbol: SymbolId) {
        let mut registry = lock(&self.registry);
        if registry.found_symbols.insert((provider, kind, symbol)) {
            let table = registry.build();
            self.table.store(Arc::new(table));
        }
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod tests;
