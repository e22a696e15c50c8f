//! The routing table of one provider and kind.
//!
//! # Readers
//! A publisher keeps the [`Index`] that it read last and looks symbols up in it without waiting. An index only gains
//! entries; a change of the subscriptions replaces it.
//!
//! # Cost
//! A symbol that routes for every symbol match for the first time costs its entry. A change of the subscriptions costs
//! the entries of the changed routes and a copy of the index, on the thread that makes the change: the entries are
//! built before the part is locked. No entry waits for memory: a queue without room for a symbol leaves it out until the
//! janitor has grown its claim, see [`super::Dispatcher`].

use super::entry::{Entry, Map, Routes, Subscribers};
use crate::bus::UNLISTED_SYMBOLS;
use crate::event::Kind;
use crate::janitor;
use crate::names::{ProviderId, SymbolId};
use crate::stats::Fanout;
use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering, Swap, lock};
use std::sync::OnceLock;

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
        // Also for symbols that are seen while the entries are built.
        let room = listed.max(entries.len() + entries.len() / 2);
        if index.every && index.limit() < room {
            index = Self::new(room, subscribers);
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

/// Returns entries in the order in which their symbols were added to the names: the first are admitted first.
fn by_age<'a>(entries: impl Iterator<Item = &'a Arc<Entry>>) -> Vec<&'a Arc<Entry>> {
    let mut entries: Vec<_> = entries.collect();
    entries.sort_unstable_by_key(|entry| entry.symbol);
    entries
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
    /// Whether the janitor is about to grow the claims of the queues.
    will_grow: AtomicBool,
}

impl Part {
    fn new(of: (ProviderId, Kind)) -> Self {
        let state = Mutex::new(State { subscribers: Arc::default(), used: 0 });
        Self { of, index: Swap::new(Arc::new(Index::empty())), state, will_grow: AtomicBool::new(false) }
    }

    pub fn index(&self) -> &Swap<Index> {
        &self.index
    }

    /// Adds the entry of a symbol that the routes for every symbol match. `listed` is the provider's number of symbols.
    /// Returns whether the caller must have the janitor call [`Self::grow`].
    #[must_use]
    pub fn add_symbol(&self, symbol: SymbolId, listed: usize) -> bool {
        let mut state = lock(&self.state);
        let mut index = self.index.load();
        if !index.every || index.find(symbol).is_some() {
            return false;
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
        self.wants_growth(&state.subscribers)
    }

    /// Returns whether a queue wants room, unless an earlier caller has got that answer.
    fn wants_growth(&self, subscribers: &Subscribers) -> bool {
        let mut every = subscribers.iter().filter(|(_, routes)| routes.every.is_some());
        every.any(|(_, routes)| routes.queue.wants_room()) && !self.will_grow.swap(true, Ordering::AcqRel)
    }

    /// Grows the claims of the queues with routes for every symbol. Returns whether [`Self::readmit`] must follow.
    pub fn grow(&self) -> bool {
        // First: a symbol that is left out from here on makes its publisher call the janitor again.
        self.will_grow.swap(false, Ordering::AcqRel);
        let subscribers = Arc::clone(&lock(&self.state).subscribers);
        let every = subscribers.iter().filter(|(_, routes)| routes.every.is_some());
        every.fold(false, |has_room, (_, routes)| routes.queue.grow_claim() || has_room)
    }

    /// Returns the number of symbols with entries.
    pub fn symbols(&self) -> usize {
        lock(&self.state).used
    }

    /// Makes room for `listed` symbols. One caller at a time.
    pub fn make_room(&self, listed: usize) {
        let index = self.index.load();
        if index.every && index.limit() < listed {
            let subscribers = Arc::clone(&lock(&self.state).subscribers);
            self.replace(&subscribers, listed, |_| false, None);
        }
    }

    /// Adds a subscriber. One caller at a time, as for every change. Returns as [`Self::add_symbol`] does.
    #[must_use]
    pub fn subscribe(&self, id: u64, routes: Routes, listed: usize) -> bool {
        let routes = Arc::new(routes);
        let mut subscribers = Subscribers::clone(&lock(&self.state).subscribers);
        subscribers.push((id, Arc::clone(&routes)));
        let subscribers = Arc::new(subscribers);
        self.change(&subscribers, listed, &routes);
        self.wants_growth(&subscribers)
    }

    /// Removes a subscriber.
    pub fn unsubscribe(&self, id: u64, listed: usize) {
        let mut subscribers = Subscribers::clone(&lock(&self.state).subscribers);
        let Some(place) = subscribers.iter().position(|(of, _)| *of == id) else { return };
        let (_, routes) = subscribers.remove(place);
        self.change(&Arc::new(subscribers), listed, &routes);
    }

    /// Builds the entries of the symbols again that queues have left out. One caller at a time.
    pub fn readmit(&self, listed: usize) {
        let subscribers = Arc::clone(&lock(&self.state).subscribers);
        self.replace(&subscribers, listed, |entry| !entry.left_out.is_empty(), None);
    }

    /// Replaces the index by that of `subscribers`, who have gained or lost `routes`.
    fn change(&self, subscribers: &Arc<Subscribers>, listed: usize, routes: &Routes) {
        let is_changed = |entry: &Entry| routes.terms(entry.symbol).is_some();
        self.replace(subscribers, listed, is_changed, routes.exact.keys().copied());
    }

    /// Replaces the index by that of `subscribers`. Only the entries of changed and of `added` symbols are built.
    fn replace(
        &self,
        subscribers: &Arc<Subscribers>,
        listed: usize,
        is_changed: impl Fn(&Entry) -> bool,
        added: impl IntoIterator<Item = SymbolId>,
    ) {
        let build = |symbol, old| Entry::build(self.of, symbol, subscribers, old);
        let old = self.index.load();
        let before: Map<_, _> = old.entries().map(|entry| (entry.symbol, Arc::clone(entry))).collect();
        let mut entries = before.clone();
        for entry in by_age(before.values().filter(|entry| is_changed(entry))) {
            entries.insert(entry.symbol, build(entry.symbol, Some(entry)));
        }
        for symbol in added {
            entries.entry(symbol).or_insert_with(|| build(symbol, None));
        }
        let mut index = Index::of(&entries, listed, subscribers);
        let mut state = lock(&self.state);
        let current = self.index.load();
        // Symbols that were seen for the first time meanwhile. `old` may have gained them as well.
        let late = by_age(current.entries().filter(|entry| !before.contains_key(&entry.symbol)));
        for entry in &late {
            entries.insert(entry.symbol, build(entry.symbol, Some(entry)));
        }
        if entries.len() > index.limit() {
            index = Index::of(&entries, listed, subscribers);
        } else {
            for entry in &late {
                index.add(Arc::clone(&entries[&entry.symbol]));
            }
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
    /// Written under the dispatch lock.
    fanout: Fanout,
}

impl ProviderRoutes {
    pub fn new(provider: ProviderId) -> Self {
        Self {
            parts: Kind::ALL.map(|kind| Part::new((provider, kind))),
            notices: Mutex::default(),
            listed: AtomicUsize::new(0),
            fanout: Fanout::default(),
        }
    }

    #[inline]
    pub fn part(&self, kind: Kind) -> &Part {
        &self.parts[kind as usize]
    }

    #[inline]
    pub fn fanout(&self) -> &Fanout {
        &self.fanout
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
