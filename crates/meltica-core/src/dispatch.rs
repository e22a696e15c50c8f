//! Dispatch: one step gives each event its global sequence number and pushes it to the queues of its route.
//!
//! # The table
//! [`Table`] maps (provider, kind, symbol) to queues. It is built as a whole from the routes of the subscribers,
//! swapped in one store, and read without waiting. A route without a symbol covers every symbol of its provider and
//! kind: the first event of a new symbol adds the exact entry, so a lookup usually costs one hash probe.
//!
//! # The step
//! [`Publisher::publish`] fills a slot and waits for room in queues that block. Then, under one short lock, it numbers
//! the event, pushes it to each queue and moves the watermark. The lock covers no allocation, deallocation, wait or log
//! call: room for the displaced events is reserved before, and they are freed after.
//! Wake-ups are collected, and [`Publisher::flush`] sends them once per socket read.

mod publish;
mod step;
mod stop_flag;

use crate::bus::{ConflationCell, Queue, QueueOptions, Reader, Waker, Watermark};
use crate::event::Kind;
use crate::filter::Filter;
use crate::names::{ProviderId, SymbolId};
use crate::pool::{DepthClass, NoCapacity, Pools};
use crate::sync::{Arc, Mutex, Swap, lock};
pub use publish::{NotDispatched, Origin, Publisher, Wanted};
use std::collections::{BTreeMap, BTreeSet, HashMap};
pub use stop_flag::StopFlag;

/// A subscription: one kind of one provider, for one symbol or for all symbols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteKey {
    /// The provider.
    pub provider: ProviderId,
    /// The kind.
    pub kind: Kind,
    /// The symbol; `None` covers every symbol.
    pub symbol: Option<SymbolId>,
}

impl RouteKey {
    fn packed(provider: ProviderId, kind: Kind, symbol: SymbolId) -> u64 {
        (provider.index() as u64) << 40 | (symbol.index() as u64) << 8 | kind as u64
    }
}

/// A subscription with its conditions.
#[derive(Debug, Clone)]
pub struct Route {
    /// The subscribed key.
    pub key: RouteKey,
    /// The conditions, all of which must hold.
    pub filters: Vec<Filter>,
    /// For books: levels per side.
    pub depth: u32,
}

/// A subscriber's handle in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(u64);

/// The changes of the providers' subscriptions that follow from a change of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// The new version of the table.
    pub version: u32,
    /// Routes that have their first subscriber, by provider, kind and symbol.
    pub subscribe: Vec<RouteKey>,
    /// Routes that have lost their last subscriber.
    pub unsubscribe: Vec<RouteKey>,
}

/// Immutable, so plain reference counting is enough under loom too.
type Filters = std::sync::Arc<[Filter]>;

struct Target {
    queue: Arc<Queue>,
    waker: Arc<Waker>,
    cell: Arc<ConflationCell>,
    filters: Filters,
}

struct Entry {
    /// The index of the entry in a publisher's counters. It is the same in all versions of the table.
    id: u32,
    /// For books: levels per side by class of the targets' queues, 0 for a class without a target.
    depths: [u32; DepthClass::COUNT],
    filtered: bool,
    blocking: bool,
    targets: Vec<Target>,
}

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The routing table. It is immutable and replaced as a whole.
#[derive(Default)]
pub struct Table {
    version: u32,
    exact: Map<u64, u32>,
    entries: Vec<Entry>,
    /// The (provider, kind) pairs with a route for every symbol.
    any: BTreeSet<(ProviderId, Kind)>,
}

struct Subscriber {
    queue: Arc<Queue>,
    routes: Vec<(RouteKey, Filters, u32)>,
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

    /// Builds the table. The queues admit the symbols of their routes.
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
            let mut entry = Entry {
                id,
                depths: Default::default(),
                filtered: false,
                blocking: false,
                targets: Vec::new(),
            };
            for subscriber in self.subscribers.values() {
                let covers = |key: &RouteKey| {
                    key.provider == provider && key.kind == kind && key.symbol.is_none_or(|s| s == symbol)
                };
                // An exact route takes precedence over one for every symbol of the same subscriber. A subscriber of
                // books receives every notice about them.
                let rank = |(key, filters, _): &&(RouteKey, Filters, u32)| {
                    (kind.is_notice() && filters.is_empty(), key.symbol)
                };
                let best = subscriber.routes.iter().filter(|(key, ..)| covers(key)).max_by_key(rank);
                let Some((_, filters, depth)) = best else { continue };
                let Some(cell) = subscriber.queue.admit(kind, provider, symbol) else { continue };
                if kind == Kind::BookSnapshot {
                    let class = subscriber.queue.class();
                    let deepest = &mut entry.depths[class.index()];
                    *deepest = (*deepest).max((*depth).clamp(1, class.levels() as u32));
                }
                entry.filtered |= !filters.is_empty();
                entry.blocking |= subscriber.queue.blocks(kind);
                entry.targets.push(Target {
                    queue: Arc::clone(&subscriber.queue),
                    waker: Arc::clone(subscriber.queue.waker()),
                    cell,
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
    /// The last assigned sequence number.
    order: Mutex<u64>,
    table: Swap<Table>,
    registry: Mutex<Registry>,
    /// Held by the one producer that sleeps until a queue has room.
    waiting: Mutex<()>,
}

impl Dispatcher {
    /// Returns a dispatcher without routes.
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

    /// Returns the highest sequence number whose event is in every queue of its route.
    #[inline]
    pub fn watermark(&self) -> u64 {
        self.watermark.get()
    }

    /// Returns the version of the routing table.
    pub fn version(&self) -> u32 {
        self.table.load().version
    }

    /// Makes a queue for events of `routes`, which [`Self::subscribe`] starts, and its reader. It reserves its slots.
    ///
    /// # Errors
    /// [`NoCapacity`] if the pools' limit does not allow the queue's claim.
    pub fn queue(
        &self,
        options: QueueOptions,
        routes: &[RouteKey],
        waker: Arc<Waker>,
    ) -> Result<(Arc<Queue>, Reader), NoCapacity> {
        Queue::new(&self.pools, options, routes, |_| None, waker)
    }

    /// Routes events into `queue`. A route includes the notices about its kind. The queue must have been made for these
    /// routes.
    pub fn subscribe(&self, queue: &Arc<Queue>, routes: Vec<Route>) -> (SubscriptionId, Change) {
        let notices = routes.iter().flat_map(|route| {
            let filters =
                if route.key.kind == Kind::BookSnapshot { Vec::new() } else { vec![Filter::feed_lost()] };
            let notice = |kind: &Kind| Route {
                key: RouteKey { kind: *kind, ..route.key },
                filters: filters.clone(),
                depth: 0,
            };
            route.key.kind.notices().iter().map(notice).collect::<Vec<_>>()
        });
        let notices: Vec<_> = notices.collect();
        let routes = routes.into_iter().chain(notices).map(|r| (r.key, r.filters.into(), r.depth)).collect();
        let subscriber = Subscriber { queue: Arc::clone(queue), routes };
        self.change(|registry| {
            registry.next += 1;
            let id = SubscriptionId(registry.next);
            registry.subscribers.insert(id, subscriber);
            id
        })
    }

    /// Ends a subscription. An event that is being published at the same time may still reach its queue.
    pub fn unsubscribe(&self, id: SubscriptionId) -> Change {
        self.change(|registry| drop(registry.subscribers.remove(&id))).1
    }

    /// Closes a queue: it is empty from then on and refuses every event. A reader may still hold events that it has
    /// already taken.
    pub fn close(&self, queue: &Queue) {
        let order = lock(&self.order);
        queue.shut();
        drop(order);
        queue.drain();
    }

    /// Returns every subscribed route except those of notices, by provider, kind and symbol.
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

    /// Adds the exact entry of a symbol that matches a route for every symbol for the first time.
    fn add_symbol(&self, provider: ProviderId, kind: Kind, symbol: SymbolId) {
        let mut registry = lock(&self.registry);
        if registry.found_symbols.insert((provider, kind, symbol)) {
            let table = registry.build();
            self.table.store(Arc::new(table));
            drop(registry);
            self.grow_claims();
        }
    }

    /// Grows the claims of queues that need it, and routes the symbols that have room then.
    fn grow_claims(&self) {
        let registry = lock(&self.registry);
        let queues: Vec<_> = registry.subscribers.values().map(|s| Arc::clone(&s.queue)).collect();
        drop(registry);
        let grown = queues.iter().filter(|queue| queue.wants_growth() && queue.grow_claim()).count();
        if grown > 0 {
            self.change(|_| ());
        }
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod tests;
