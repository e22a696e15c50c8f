//! The routing table of one provider and kind.
//!
//! # Readers
//! A publisher keeps the [`Index`] that it read last and looks symbols up in it without waiting. An index only gains
//! entries; a change of the subscriptions replaces it.
//!
//! # Cost
//! A symbol that routes for every symbol match for the first time costs its entry. A change of the subscriptions costs
//! the entries of the changed routes and a copy of the index, on the thread that makes the change: the entries are
//! built before the part is locked.

use crate::bus::{ConflationCell, Queue, UNLISTED_SYMBOLS, Waker};
use crate::event::Kind;
use crate::filter::Filter;
use crate::janitor;
use crate::names::{ProviderId, SymbolId};
use crate::pool::DepthClass;
use crate::sync::{Arc, AtomicU64, AtomicUsize, Mutex, Ordering, Swap, lock};
use std::collections::HashMap;
use std::sync::OnceLock;

pub(super) type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Immutable, so plain reference counting is enough under loom too.
pub(super) type Filters = std::sync::Arc<[Filter]>;

pub(super) struct Target {
    pub queue: Arc<Queue>,
    pub waker: Arc<Waker>,
    pub cell: Arc<ConflationCell>,
    pub filters: Filters,
}

/// The targets of one symbol. Without targets, the symbol was routed before.
pub(super) struct Entry {
    pub symbol: SymbolId,
    /// For books: levels per side by class of the targets' queues, 0 for a class without a target.
    pub depths: [u32; DepthClass::COUNT],
    pub filtered: bool,
    pub blocking: bool,
    pub targets: Vec<Target>,
    /// The number of dispatched events, which only the holder of the dispatch lock changes. It belongs to the symbol:
    /// all publishers of a provider and all later entries share it.
    pub sequence: Arc<AtomicU64>,
}

/// The conditions of a route.
#[derive(Clone)]
pub(super) struct Terms {
    pub filters: Filters,
    pub depth: u32,
}

/// The routes of one subscriber in one part.
pub(super) struct Routes {
    pub queue: Arc<Queue>,
    pub exact: Map<SymbolId, Terms>,
    pub every: Option<Terms>,
}

impl Routes {
    pub fn new(queue: &Arc<Queue>) -> Self {
        Self { queue: Arc::clone(queue), exact: Map::default(), every: None }
    }

    /// Adds a route. The last of equal routes applies.
    pub fn add(&mut self, symbol: Option<SymbolId>, terms: Terms) {
        match symbol {
            Some(symbol) => drop(self.exact.insert(symbol, terms)),
            None => self.every = Some(terms),
        }
    }

    /// Returns the terms for a symbol. A route of the symbol takes precedence over one for every symbol.
    fn terms(&self, symbol: SymbolId) -> Option<&Terms> {
        self.exact.get(&symbol).or(self.every.as_ref())
    }

    /// Returns the cell of a symbol, or `None` if the queue leaves it out. A claim that is used up grows here, if the
    /// janitor has not grown it yet.
    fn admit(&self, kind: Kind, provider: ProviderId, symbol: SymbolId) -> Option<Arc<ConflationCell>> {
        let admit = || self.queue.admit(kind, provider, symbol);
        admit().or_else(|| {
            if self.queue.wants_growth() {
                self.queue.grow_claim();
            }
            admit()
        })
    }
}

type Subscribers = Vec<(u64, Arc<Routes>)>;

impl Entry {
    /// Builds the entry of a symbol. `old` is its former entry.
    fn build(
        (provider, kind): (ProviderId, Kind),
        symbol: SymbolId,
        subscribers: &Subscribers,
        old: Option<&Self>,
    ) -> Arc<Self> {
        let sequence = old.map_or_else(Arc::default, |old| Arc::clone(&old.sequence));
        let (depths, filtered, blocking) = ([0; DepthClass::COUNT], false, false);
        let mut entry = Self { symbol, depths, filtered, blocking, targets: Vec::new(), sequence };
        for (_, routes) in subscribers {
            let Some(Terms { filters, depth }) = routes.terms(symbol) else { continue };
            let Some(cell) = routes.admit(kind, provider, symbol) else { continue };
            let queue = &routes.queue;
            if kind == Kind::BookSnapshot {
                let class = queue.class();
                let deepest = &mut entry.depths[class.index()];
                *deepest = (*deepest).max((*depth).clamp(1, class.levels() as u32));
            }
            entry.filtered |= !filters.is_empty();
            entry.blocking |= queue.blocks(kind);
            entry.targets.push(Target {
                queue: Arc::clone(queue),
                waker: Arc::clone(queue.waker()),
                cell,
                filters: Filters::clone(filters),
            });
        }
        Arc::new(entry)
    }
}

impl Entry {
    /// Returns the next provider sequence. The caller holds the dispatch lock.
    #[inline]
    pub fn next_sequence(&self) -> u64 {
        let next = self.sequence.load(Ordering::Relaxed) + 1;
        self.sequence.store(next, Ordering::Relaxed);
        next
    }
}

struct Slot {
    symbol: SymbolId,
    entry: Arc<Entry>,
}

/// The entries of a part by symbol: a hash table with open addressing that only gains entries.
pub(super) struct Index {
    slots: Box<[OnceLock<Slot>]>,
    shift: u32,
    /// Whether the part has routes.
    pub routed: bool,
    /// Whether one of them is for every symbol.
    pub every: bool,
}

impl Index {
    /// Returns an index without entries.
    pub fn empty() -> Self {
        Self::new(0, &Vec::new())
    }

    /// Returns an index with room for `symbols` entries.
    fn new(symbols: usize, subscribers: &Subscribers) -> Self {
        let size = (symbols + symbols / 3 + 1).next_power_of_two();
        Self {
            slots: (0..size).map(|_| OnceLock::new()).collect(),
            shift: u64::BITS - size.trailing_zeros(),
            routed: !subscribers.is_empty(),
            every: subscribers.iter().any(|(_, routes)| routes.every.is_some()),
        }
    }

    /// Returns the index of `entries`. With a route for every symbol it has room for `listed` symbols.
    fn of(entries: &Map<SymbolId, Arc<Entry>>, listed: usize, subscribers: &Subscribers) -> Self {
        let mut index = Self::new(entries.len(), subscribers);
        if index.every && index.limit() < listed {
            index = Self::new(listed, subscribers);
        }
        for entry in entries.values() {
            index.add(Arc::clone(entry));
        }
        index
    }

    /// Returns the greatest number of entries. At least one slot stays empty and ends each search.
    fn limit(&self) -> usize {
        self.slots.len() * 3 / 4
    }

    /// Returns the places of a symbol, the likeliest first.
    #[inline]
    fn places(&self, symbol: SymbolId) -> impl Iterator<Item = usize> + use<> {
        let mask = self.slots.len() - 1;
        // Fibonacci hashing: ids are dense, so their products by this number are spread evenly.
        let hash = (symbol.index() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let first = hash.checked_shr(self.shift).unwrap_or(0) as usize;
        (0..self.slots.len()).map(move |step| (first + step) & mask)
    }

    /// Returns the place of a symbol's entry.
    #[inline]
    pub fn find(&self, symbol: SymbolId) -> Option<u32> {
        for place in self.places(symbol) {
            if self.slots[place].get()?.symbol == symbol {
                return Some(place as u32);
            }
        }
        None
    }

    /// Returns the entry at a place that [`Self::find`] returned.
    #[inline]
    pub fn entry(&self, place: u32) -> &Entry {
        let slot = self.slots[place as usize].get();
        &slot.expect("Invariant: an index loses no entry").entry
    }

    /// Returns the symbols with the number of their events so far.
    pub fn published(&self) -> impl Iterator<Item = (SymbolId, u64)> {
        self.entries().map(|entry| (entry.symbol, entry.sequence.load(Ordering::Relaxed)))
    }

    fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.slots.iter().filter_map(|slot| Some(&slot.get()?.entry))
    }

    /// Adds an entry of a new symbol. The part is locked or the index is not shared yet.
    fn add(&self, entry: Arc<Entry>) {
        let mut slot = Slot { symbol: entry.symbol, entry };
        for place in self.places(slot.symbol) {
            match self.slots[place].set(slot) {
                Ok(()) => return,
                Err(refused) => slot = refused,
            }
        }
    }
}

struct State {
    subscribers: Arc<Subscribers>,
    /// The number of entries of the current index.
    used: usize,
}

/// The routes of one provider and kind.
pub(super) struct Part {
    /// The provider and the kind.
    of: (ProviderId, Kind),
    index: Swap<Index>,
    state: Mutex<State>,
}

impl Part {
    fn new(of: (ProviderId, Kind)) -> Self {
        let state = Mutex::new(State { subscribers: Arc::default(), used: 0 });
        Self { of, index: Swap::new(Arc::new(Index::empty())), state }
    }

    pub fn index(&self) -> &Swap<Index> {
        &self.index
    }

    /// Adds the entry of a symbol that the routes for every symbol match. `listed` is the provider's number of symbols.
    pub fn add_symbol(&self, symbol: SymbolId, listed: usize) {
        let mut state = lock(&self.state);
        let mut index = self.index.load();
        if !index.every || index.find(symbol).is_some() {
            return;
        }
        let entry = Entry::build(self.of, symbol, &state.subscribers, None);
        if state.used == index.limit() {
            let larger = Arc::new(Index::new((2 * state.used).max(listed), &state.subscribers));
            index.entries().for_each(|entry| larger.add(Arc::clone(entry)));
            janitor::drop_later((index, self.index.swap(Arc::clone(&larger))));
            index = larger;
        }
        index.add(entry);
        state.used += 1;
        let every = state.subscribers.iter().filter(|(_, routes)| routes.every.is_some());
        for (_, routes) in every.filter(|(_, routes)| routes.queue.wants_growth()) {
            let queue = Arc::clone(&routes.queue);
            janitor::run(move || queue.grow_claim());
        }
    }

    /// Makes room for `listed` symbols. One caller at a time.
    pub fn make_room(&self, listed: usize) {
        let index = self.index.load();
        if index.every && index.limit() < listed {
            let subscribers = Arc::clone(&lock(&self.state).subscribers);
            self.replace(&subscribers, listed, None);
        }
    }

    /// Adds a subscriber. One caller at a time, as for every change.
    pub fn subscribe(&self, id: u64, routes: Routes, listed: usize) {
        let routes = Arc::new(routes);
        let mut subscribers = Subscribers::clone(&lock(&self.state).subscribers);
        subscribers.push((id, Arc::clone(&routes)));
        self.replace(&Arc::new(subscribers), listed, Some(&routes));
    }

    /// Removes a subscriber.
    pub fn unsubscribe(&self, id: u64, listed: usize) {
        let mut subscribers = Subscribers::clone(&lock(&self.state).subscribers);
        let Some(place) = subscribers.iter().position(|(of, _)| *of == id) else { return };
        let (_, routes) = subscribers.remove(place);
        self.replace(&Arc::new(subscribers), listed, Some(&routes));
    }

    /// Builds the entries of the subscriber with `queue` again, whose claim has grown. One caller at a time.
    pub fn readmit(&self, queue: &Arc<Queue>, listed: usize) {
        let subscribers = Arc::clone(&lock(&self.state).subscribers);
        for (_, routes) in subscribers.iter().filter(|(_, routes)| Arc::ptr_eq(&routes.queue, queue)) {
            self.replace(&subscribers, listed, Some(routes));
        }
    }

    /// Replaces the index by that of `subscribers`. Only the entries of `changed` routes are built.
    fn replace(&self, subscribers: &Arc<Subscribers>, listed: usize, changed: Option<&Routes>) {
        let build = |symbol, old| Entry::build(self.of, symbol, subscribers, old);
        let is_changed = |symbol| changed.is_some_and(|routes| routes.terms(symbol).is_some());
        let old = self.index.load();
        let before: Map<_, _> = old.entries().map(|entry| (entry.symbol, Arc::clone(entry))).collect();
        let mut entries = before.clone();
        for (symbol, entry) in before.iter().filter(|(symbol, _)| is_changed(**symbol)) {
            entries.insert(*symbol, build(*symbol, Some(entry)));
        }
        for symbol in changed.into_iter().flat_map(|routes| routes.exact.keys().copied()) {
            entries.entry(symbol).or_insert_with(|| build(symbol, None));
        }
        let mut index = Index::of(&entries, listed, subscribers);
        let mut state = lock(&self.state);
        let current = self.index.load();
        // Symbols that were seen for the first time meanwhile. `old` may have gained them as well.
        let late: Vec<_> = current.entries().filter(|entry| !before.contains_key(&entry.symbol)).collect();
        if !late.is_empty() {
            entries.extend(late.iter().map(|entry| (entry.symbol, build(entry.symbol, Some(entry)))));
            index = Index::of(&entries, listed, subscribers);
        }
        *state = State { subscribers: Arc::clone(subscribers), used: entries.len() };
        let replaced = self.index.swap(Arc::new(index));
        drop(state);
        drop(late);
        janitor::drop_later((old, before, current, replaced));
    }
}

/// The routes of one provider.
pub(super) struct ProviderRoutes {
    parts: [Part; Kind::COUNT],
    /// The number of dispatched notices of each kind and symbol.
    notices: Mutex<Map<(Kind, SymbolId), Arc<AtomicU64>>>,
    /// The number of symbols of the provider's instrument list; 0 if there is none.
    listed: AtomicUsize,
}

impl ProviderRoutes {
    pub fn new(provider: ProviderId) -> Self {
        Self {
            parts: Kind::ALL.map(|kind| Part::new((provider, kind))),
            notices: Mutex::default(),
            listed: AtomicUsize::new(0),
        }
    }

    #[inline]
    pub fn part(&self, kind: Kind) -> &Part {
        &self.parts[kind as usize]
    }

    /// Returns the sequence of the notices about a symbol, which all publishers of the provider share.
    pub fn notice_sequence(&self, kind: Kind, symbol: SymbolId) -> Arc<AtomicU64> {
        Arc::clone(lock(&self.notices).entry((kind, symbol)).or_default())
    }

    /// Returns the number of symbols of the provider's instrument list, or `None` if there is none.
    pub fn listed(&self) -> Option<usize> {
        let listed = self.listed.load(Ordering::Relaxed);
        (listed != 0).then_some(listed)
    }

    /// Returns the number of symbols that each part must have room for.
    pub fn expected(&self) -> usize {
        self.listed().unwrap_or(UNLISTED_SYMBOLS)
    }

    pub fn list(&self, symbols: usize) {
        self.listed.store(symbols, Ordering::Relaxed);
        self.parts.iter().for_each(|part| part.make_room(symbols));
    }
}
