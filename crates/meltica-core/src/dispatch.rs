//! Dispatch: one step gives each event its global sequence number and pushes it to the queues of its route.
//!
//! # The table
//! The table maps (provider, kind, symbol) to queues. Each provider and kind has a part of its own, which is read
//! without waiting. A route without a symbol covers every symbol of its provider and kind: the first event of a new
//! symbol adds its entry, so a lookup usually costs one hash probe.
//!
//! # The step
//! [`Publisher::publish`] fills a slot and waits for room in queues that block. Then, under one short lock, it numbers
//! the event, pushes it to each queue and moves the watermark. The lock covers no allocation, deallocation, wait or log
//! call: room for the displaced events is reserved before, and they are freed after.
//! Wake-ups are collected, and [`Publisher::flush`] sends them once per socket read.

mod entry;
mod part;
mod publish;
mod step;
mod stop_flag;

use crate::bus::{Queue, QueueOptions, Reader, Waker, Watermark};
use crate::event::Kind;
use crate::filter::Filter;
use crate::janitor;
use crate::metrics::Distribution;
use crate::names::{ProviderId, SymbolId};
use crate::pool::{NoCapacity, Pools};
use crate::sync::{Arc, AtomicU32, CachePadded, Mutex, Ordering, lock};
use entry::{Routes, Terms};
use part::ProviderRoutes;
pub use publish::{NotDispatched, Origin, Publisher, Wanted};
use std::collections::{BTreeMap, BTreeSet};
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

#[derive(Default)]
struct Registry {
    next: u64,
    subscribers: BTreeMap<SubscriptionId, BTreeSet<RouteKey>>,
    providers: BTreeMap<ProviderId, Arc<ProviderRoutes>>,
    /// The number of subscribers of each route.
    wanted: BTreeMap<RouteKey, usize>,
}

impl Registry {
    fn provider(&mut self, provider: ProviderId) -> &Arc<ProviderRoutes> {
        self.providers.entry(provider).or_insert_with(|| Arc::new(ProviderRoutes::new(provider)))
    }
}

/// The dispatch step and its routing table.
pub struct Dispatcher {
    pools: Arc<Pools>,
    watermark: Watermark,
    /// The last assigned sequence number.
    order: Mutex<u64>,
    /// The number of changes so far.
    version: CachePadded<AtomicU32>,
    /// Held during a change, never by a feed.
    registry: Mutex<Registry>,
}

impl Dispatcher {
    /// Returns a dispatcher without routes.
    pub fn new(pools: Arc<Pools>) -> Arc<Self> {
        Arc::new(Self {
            pools,
            watermark: Watermark::default(),
            order: Mutex::new(0),
            version: CachePadded(AtomicU32::new(0)),
            registry: Mutex::default(),
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
        self.version.load(Ordering::Acquire)
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
        let made = Queue::new(&self.pools, options, routes, |provider| self.listed_symbols(provider), waker)?;
        for key in routes.iter().filter(|key| key.symbol.is_none()) {
            // The symbols of a provider without a list. What the pools refuse is left out.
            made.0.expect(key.provider, key.kind, self.symbols(key));
        }
        Ok(made)
    }

    /// Returns the number of symbols of a route's provider and kind that have entries.
    fn symbols(&self, key: &RouteKey) -> usize {
        let provider = lock(&self.registry).providers.get(&key.provider).map(Arc::clone);
        provider.map_or(0, |provider| provider.part(key.kind).symbols())
    }

    /// Routes events into `queue`. The queue must have been made for these routes. The notices about their
    /// symbols need no routes.
    pub fn subscribe(
        dispatcher: &Arc<Self>,
        queue: &Arc<Queue>,
        routes: Vec<Route>,
    ) -> (SubscriptionId, Change) {
        let mut keys = BTreeSet::new();
        let mut parts = BTreeMap::new();
        for Route { key, filters, depth } in routes {
            keys.insert(key);
            let part = parts.entry((key.provider, key.kind)).or_insert_with(|| Routes::new(queue));
            part.add(key.symbol, Terms { filters: filters.into(), depth });
        }
        let mut registry = lock(&dispatcher.registry);
        registry.next += 1;
        let id = SubscriptionId(registry.next);
        let mut grows = Vec::new();
        for ((provider, kind), routes) in parts {
            let provider = registry.provider(provider);
            if provider.part(kind).subscribe(id.0, routes, provider.expected()) {
                grows.push((Arc::clone(provider), kind));
            }
        }
        let mut change = Change { version: dispatcher.next_version(), ..Change::default() };
        for key in &keys {
            let count = registry.wanted.entry(*key).or_insert(0);
            *count += 1;
            if *count == 1 {
                change.subscribe.push(*key);
            }
        }
        registry.subscribers.insert(id, keys);
        drop(registry);
        for (provider, kind) in grows {
            Self::grow_later(dispatcher, provider, kind);
        }
        (id, change)
    }

    /// Ends a subscription. An event that is being published at the same time may still reach its queue.
    pub fn unsubscribe(&self, id: SubscriptionId) -> Change {
        let mut registry = lock(&self.registry);
        let keys = registry.subscribers.remove(&id).unwrap_or_default();
        let parts: BTreeSet<_> = keys.iter().map(|key| (key.provider, key.kind)).collect();
        for (provider, kind) in parts {
            let provider = registry.provider(provider);
            provider.part(kind).unsubscribe(id.0, provider.expected());
        }
        let mut change = Change { version: self.next_version(), ..Change::default() };
        for key in keys {
            let Some(count) = registry.wanted.get_mut(&key) else { continue };
            *count -= 1;
            if *count == 0 {
                registry.wanted.remove(&key);
                change.unsubscribe.push(key);
            }
        }
        change
    }

    /// Has the janitor grow the claims of a part's queues, and admit the symbols that have room then: they are delivered
    /// from their next event on. A thread that publishes never waits for memory.
    fn grow_later(dispatcher: &Arc<Self>, provider: Arc<ProviderRoutes>, kind: Kind) {
        let dispatcher = Arc::clone(dispatcher);
        janitor::run(move || dispatcher.grow(&provider, kind));
    }

    fn grow(&self, provider: &ProviderRoutes, kind: Kind) {
        if provider.part(kind).grow() {
            let registry = lock(&self.registry);
            provider.part(kind).readmit(provider.expected());
            self.next_version();
            drop(registry);
        }
    }

    /// Tries again to grow the claim of a subscribed queue that has left symbols out, and admits those that have room.
    /// Returns whether some had.
    pub fn retry_growth(&self, queue: &Queue) -> bool {
        let left_out = queue.left_out();
        queue.retry_growth();
        let parts: BTreeSet<_> = left_out.iter().map(|(provider, kind, _)| (*provider, *kind)).collect();
        for (provider, kind) in parts {
            let provider = Arc::clone(lock(&self.registry).provider(provider));
            self.grow(&provider, kind);
        }
        queue.left_out().len() < left_out.len()
    }

    /// Does as [`Self::retry_growth`], soon, on the janitor's thread.
    pub fn retry_growth_later(dispatcher: &Arc<Self>, queue: &Arc<Queue>) {
        let (dispatcher, queue) = (Arc::clone(dispatcher), Arc::clone(queue));
        janitor::run(move || {
            dispatcher.retry_growth(&queue);
        });
    }

    /// Returns the next version, which makes every publisher refresh what it has read of the table.
    fn next_version(&self) -> u32 {
        self.version.fetch_add(1, Ordering::Release) + 1
    }

    /// Closes a queue: it is empty from then on and refuses every event. A reader may still hold events that it has
    /// already taken.
    pub fn close(&self, queue: &Queue) {
        let order = lock(&self.order);
        queue.shut();
        drop(order);
        queue.drain();
    }

    /// Returns every subscribed route, by provider, kind and symbol.
    pub fn wanted(&self) -> Vec<RouteKey> {
        lock(&self.registry).wanted.keys().copied().collect()
    }

    /// Sizes the table for the `symbols` of a provider's instrument list.
    pub fn list_symbols(&self, provider: ProviderId, symbols: usize) {
        let mut registry = lock(&self.registry);
        registry.provider(provider).list(symbols);
        self.next_version();
    }

    /// Returns how many queues the events of each provider went to.
    pub fn fanouts(&self) -> Vec<(ProviderId, Distribution)> {
        let registry = lock(&self.registry);
        let of = |(id, routes): (&ProviderId, &Arc<ProviderRoutes>)| {
            (*id, Distribution::of_fanout(routes.fanout()))
        };
        registry.providers.iter().map(of).collect()
    }

    /// Returns the number of symbols of a provider's instrument list, or `None` if it has listed none.
    pub fn listed_symbols(&self, provider: ProviderId) -> Option<usize> {
        lock(&self.registry).providers.get(&provider)?.listed()
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod tests;
