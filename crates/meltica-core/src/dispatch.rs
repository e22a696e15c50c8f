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

use crate::bus::{Place, Pushed, Queue, Tap, Waker, Watermark};
use crate::clock::{self, Anchor};
use crate::event::{Event, Header, Kind, Nanos, Payload};
use crate::filter::Filter;
use crate::names::{ProviderId, SymbolId};
use crate::pool::{Pool, Pools, Recycle, Unique};
use crate::sync::{Arc, Mutex, MutexGuard, Ordering, Swap, fence, lock};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::AtomicBool as StopFlag;
use std::time::{Duration, Instant};

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
    tap: Arc<Tap>,
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
    taps: Map<u64, Arc<Tap>>,
}

#[derive(Default)]
struct Registry {
    next: u64,
    version: u32,
    subscribers: BTreeMap<SubscriptionId, Subscriber>,
    /// Symbols that routes for every symbol have met.
    met: BTreeSet<(ProviderId, Kind, SymbolId)>,
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
        keys.extend(self.met.iter().filter(|(provider, kind, _)| table.any.contains(&(*provider, *kind))));
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
                    tap: Arc::clone(subscriber.taps.entry(packed).or_default()),
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
            [notice(Kind::Gap), notice(Kind::Stale)]
        });
        let notices: Vec<Route> = notices.collect();
        let routes = routes.into_iter().chain(notices).map(|r| (r.key, r.filters.into(), r.depth)).collect();
        let subscriber = Subscriber { queue: Arc::clone(queue), routes, taps: Map::default() };
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

    /// Makes the exact entry for a symbol that a route for every symbol has just met.
    fn meet(&self, provider: ProviderId, kind: Kind, symbol: SymbolId) {
        let mut registry = lock(&self.registry);
        if registry.met.insert((provider, kind, symbol)) {
            let table = registry.build();
            self.table.store(Arc::new(table));
        }
    }
}

/// A route that was just looked up. Good until the next look-up.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    entry: u32,
    /// For books: levels per side of the deepest route.
    pub depth: u32,
}

/// When and where an event comes from, before it is dispatched.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// The kind.
    pub kind: Kind,
    /// The symbol.
    pub symbol: SymbolId,
    /// The venue's time.
    pub venue_time: Option<Nanos>,
    /// When the bytes arrived.
    pub received_time: Nanos,
}

/// Why an event was not dispatched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotDispatched {
    /// Every slot of the pool is out.
    #[error("the event pool is exhausted")]
    PoolExhausted,
    /// The publisher was stopped while it waited for a slow reader.
    #[error("stopped while waiting for a slow reader")]
    Stopped,
}

/// How long one wait for a slot or for room lasts before the stop flag is looked at.
const PATIENCE: Duration = Duration::from_millis(50);

fn borrow<T: Recycle + Send + Sync>(
    pool: &Pool<T>,
    patient: bool,
    stop: &StopFlag,
) -> Result<Unique<T>, NotDispatched> {
    loop {
        if let Some(slot) = pool.borrow() {
            return Ok(slot);
        }
        if !patient {
            return Err(NotDispatched::PoolExhausted);
        }
        if let Some(slot) = pool.borrow_within(PATIENCE) {
            return Ok(slot);
        }
        if stop.load(Ordering::Relaxed) {
            return Err(NotDispatched::Stopped);
        }
    }
}

/// One event on its way to the queues of one entry.
struct Step<'p> {
    dispatcher: &'p Dispatcher,
    entry: &'p Entry,
    /// Per target, whether its filters matched; empty when there are none.
    passed: &'p [bool],
    wakes: &'p mut Vec<Arc<Waker>>,
    stop: &'p StopFlag,
}

impl<'p> Step<'p> {
    #[inline]
    fn targets(&self) -> impl Iterator<Item = &'p Target> + use<'p> {
        let passed = self.passed;
        let wants = move |i: usize| passed.get(i).copied().unwrap_or(true);
        self.entry.targets.iter().enumerate().filter(move |(i, _)| wants(*i)).map(|(_, target)| target)
    }

    #[inline]
    fn market(
        &mut self,
        readers: usize,
        header: Header,
        payload: &mut Payload,
    ) -> Result<u64, NotDispatched> {
        let mut event = borrow(&self.dispatcher.pools.events, self.entry.blocking, self.stop)?;
        event.payload = std::mem::take(payload);
        let mut order = self.lock_with_room(header.kind)?;
        let seq = *order + 1;
        event.header = Some(Header { seq, ..header });
        for (target, event) in self.targets().zip(event.share(readers as u32)) {
            target.queue.push(&target.tap, header.kind, seq, event);
        }
        *order = seq;
        self.dispatcher.watermark.set(seq);
        Ok(seq)
    }

    fn private(
        &mut self,
        readers: usize,
        header: Header,
        payload: &mut Payload,
    ) -> Result<u64, NotDispatched> {
        let places: Vec<Place> = (0..readers).map(|_| Place::new()).collect();
        let mut event = Arc::new(Event { header: Some(header), payload: std::mem::take(payload) });
        let mut refused = Vec::with_capacity(readers);
        let mut order = self.lock_with_room(header.kind)?;
        let seq = *order + 1;
        if let Some(event) = Arc::get_mut(&mut event) {
            event.header = Some(Header { seq, ..header });
        }
        for (target, place) in self.targets().zip(places) {
            if target.queue.push_private(place, header.kind, Arc::clone(&event)) == Pushed::Refused {
                refused.push(Arc::clone(&target.waker));
            }
        }
        *order = seq;
        self.dispatcher.watermark.set(seq);
        drop(order);
        // A halted reader must look up, even one that sleeps.
        self.wakes.append(&mut refused);
        Ok(seq)
    }

    /// Takes the dispatch lock at a moment when every blocking queue has room.
    #[inline]
    fn lock_with_room(&mut self, kind: Kind) -> Result<MutexGuard<'p, u64>, NotDispatched> {
        let dispatcher = self.dispatcher;
        if !self.entry.blocking {
            return Ok(lock(&dispatcher.order));
        }
        let mut targets = self.targets();
        let full = |target: &&Target| target.queue.blocks(kind) && !target.queue.has_room(kind);
        loop {
            while let Some(target) = targets.find(full) {
                // Whoever sleeps must hear of what stands before it.
                wake_all(self.wakes);
                let one_at_a_time = lock(&dispatcher.waiting);
                target.queue.wait_for_room(kind, Some(Instant::now() + PATIENCE));
                drop(one_at_a_time);
                if self.stop.load(Ordering::Relaxed) {
                    return Err(NotDispatched::Stopped);
                }
                targets = self.targets();
            }
            let order = lock(&dispatcher.order);
            targets = self.targets();
            if targets.find(full).is_none() {
                return Ok(order);
            }
            targets = self.targets();
        }
    }
}

fn wake_all(wakes: &mut Vec<Arc<Waker>>) {
    for waker in wakes.drain(..) {
        waker.unpark();
    }
}

/// One provider's way into the step. Each provider has its own, on one thread at a time.
pub struct Publisher {
    dispatcher: Arc<Dispatcher>,
    provider: ProviderId,
    table: Arc<Table>,
    /// Per entry id: the provider sequence.
    sequences: Vec<u64>,
    passed: Vec<bool>,
    wakes: Vec<Arc<Waker>>,
    anchor: Anchor,
    /// When the last event was dispatched.
    last_ticks: u64,
    stop: std::sync::Arc<StopFlag>,
}

impl Publisher {
    /// Makes a publisher of `provider`'s events.
    pub fn new(dispatcher: &Arc<Dispatcher>, provider: ProviderId) -> Self {
        Self {
            dispatcher: Arc::clone(dispatcher),
            provider,
            table: dispatcher.table.load(),
            sequences: Vec::new(),
            passed: Vec::new(),
            wakes: Vec::new(),
            anchor: Anchor::now(),
            last_ticks: 0,
            stop: std::sync::Arc::default(),
        }
    }

    /// Returns whose events these are.
    pub fn provider(&self) -> ProviderId {
        self.provider
    }

    /// Returns when the last event was dispatched, in [`clock::ticks`].
    pub fn last_ticks(&self) -> u64 {
        self.last_ticks
    }

    /// Returns the flag that ends waits for slow readers.
    pub fn stop_flag(&self) -> std::sync::Arc<StopFlag> {
        std::sync::Arc::clone(&self.stop)
    }

    /// Whether anybody wants `kind` of whatever symbol.
    pub fn listened(&mut self, kind: Kind) -> bool {
        self.dispatcher.table.refresh(&mut self.table);
        self.table.any.contains(&(self.provider, kind))
    }

    /// Looks up who wants `kind` of `symbol`.
    #[inline]
    pub fn wanted(&mut self, kind: Kind, symbol: SymbolId) -> Option<Wanted> {
        self.dispatcher.table.refresh(&mut self.table);
        let packed = RouteKey::packed(self.provider, kind, symbol);
        let entry = match self.table.exact.get(&packed) {
            Some(entry) => *entry,
            None if self.table.any.contains(&(self.provider, kind)) => {
                self.dispatcher.meet(self.provider, kind, symbol);
                self.dispatcher.table.refresh(&mut self.table);
                *self.table.exact.get(&packed)?
            }
            None => return None,
        };
        Some(Wanted { entry, depth: self.table.entries[entry as usize].depth })
    }

    /// Borrows a book to publish.
    ///
    /// # Errors
    /// [`NotDispatched`] when there is none, or when the wait for one was stopped.
    pub fn borrow_book(&self, wanted: Wanted) -> Result<Unique<crate::event::Book>, NotDispatched> {
        let blocking = self.table.entries[wanted.entry as usize].blocking;
        borrow(&self.dispatcher.pools.books, blocking, &self.stop)
    }

    /// Numbers the event and hands it to whoever wants it; returns the number, or `None` when filters left nobody.
    ///
    /// # Errors
    /// [`NotDispatched`]; then no number was taken.
    #[inline]
    pub fn publish(
        &mut self,
        wanted: Wanted,
        origin: Origin,
        mut payload: Payload,
    ) -> Result<Option<u64>, NotDispatched> {
        self.publish_from(wanted, origin, &mut payload)
    }

    /// [`Self::publish`] with a payload that is taken from where it stands, which saves a move.
    ///
    /// # Errors
    /// As [`Self::publish`].
    #[inline]
    pub fn publish_from(
        &mut self,
        wanted: Wanted,
        origin: Origin,
        payload: &mut Payload,
    ) -> Result<Option<u64>, NotDispatched> {
        let entry = &self.table.entries[wanted.entry as usize];
        let mut readers = entry.targets.len();
        self.passed.clear();
        if entry.filtered {
            self.passed.extend(entry.targets.iter().map(|t| t.filters.iter().all(|f| f.matches(payload))));
            readers = self.passed.iter().filter(|passed| **passed).count();
        }
        if readers == 0 {
            return Ok(None);
        }
        let id = entry.id as usize;
        if self.sequences.len() <= id {
            self.sequences.resize(id + 1, 0);
        }
        let ticks = clock::ticks();
        let header = Header {
            seq: 0,
            provider_seq: self.sequences[id] + 1,
            venue_time: origin.venue_time,
            received_time: origin.received_time,
            dispatched_time: self.anchor.wall_at(ticks),
            dispatched_ticks: ticks,
            routing_version: self.table.version,
            provider: self.provider,
            symbol: origin.symbol,
            kind: origin.kind,
        };
        let mut step = Step {
            dispatcher: &self.dispatcher,
            entry,
            passed: &self.passed,
            wakes: &mut self.wakes,
            stop: &self.stop,
        };
        let seq = if origin.kind.is_private() {
            step.private(readers, header, payload)?
        } else {
            step.market(readers, header, payload)?
        };
        self.sequences[id] += 1;
        self.last_ticks = ticks;
        // Pairs with the fence of `Waker::wait`.
        fence(Ordering::SeqCst);
        for target in &entry.targets {
            if target.waker.take_parked() {
                self.wakes.push(Arc::clone(&target.waker));
            }
        }
        Ok(Some(seq))
    }

    /// Wakes the readers that slept when their events came.
    #[inline]
    pub fn flush(&mut self) {
        wake_all(&mut self.wakes);
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.flush();
    }
}
