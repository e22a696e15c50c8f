//! Queues: one per reader, with two lanes that are merged by sequence when read.
//!
//! # Lanes
//! The *market* lane has a policy per kind:
//! - [`OverflowPolicy::Conflate`] keeps one cell per provider, kind and symbol, in which the latest event replaces its
//!   predecessor. A symbol has cells only if the queue has paid for them, see [`Queue::admit`].
//! - [`OverflowPolicy::DropOldest`] is a ring that evicts its oldest event.
//! - [`OverflowPolicy::Block`] is a ring whose producer waits for room before it takes a sequence number.
//!
//! Extensions have a ring of their own under the policies other than `Conflate`, bounded by their bytes too, so that a
//! flood of them evicts nothing else.
//!
//! The *private* lane is a growing list of events that are never dropped. The queue is halted when the lane exceeds its
//! limit.
//!
//! # Capacity
//! A queue reserves the slots of all events that it and its reader can hold. No push needs a counter, and no queue can
//! consume the slots of another one.
//!
//! # Order
//! Producers push under the dispatch lock, in the order of their sequence numbers, and move the [`Watermark`] once an
//! event is in every queue of its route. A reader first loads the watermark and takes only events up to it, so every
//! later event has a higher number. No policy reorders events: conflation moves a route to the place of its latest
//! event.
//!
//! # Threads
//! One producer at a time, under the dispatch lock, and one [`Reader`]. The two contend only when a full ring evicts,
//! which an exchange of the ring's head decides. Events that a push displaces are returned to the producer, which frees
//! them after it has released the lock.
//!
//! # The end of a queue
//! A queue is closed under the dispatch lock, so no event is pushed afterwards, and is then emptied by the thread that
//! closed it. That thread may run beside the reader: ring and cells are emptied by exchanges, and the consumer's end of
//! the private lane is behind a lock. A closed queue holds no event, whatever keeps the queue itself alive. A halted
//! queue accepts no event of either lane, from the first private event that it refused.

mod admission;
mod conflation_cell;
mod depth;
mod extensions;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod fixtures;
mod losses;
mod merge;
mod private;
mod reader;
mod ring;
mod room;
mod waker;

use crate::dispatch::RouteKey;
use crate::event::{Event, Kind, Notice};
use crate::names::{ProviderId, SymbolId};
use crate::pool::{Claim, DepthClass, NoCapacity, Pools, Shared};
use crate::sync::{Arc, AtomicU32, Mutex, Ordering, fence, lock};
use admission::Admission;
pub use admission::{QueueOptions, UNLISTED_SYMBOLS};
pub use conflation_cell::ConflationCell;
use conflation_cell::Pending;
use extensions::Extensions;
pub use losses::Losses;
pub use merge::{Merge, Rule};
pub(crate) use private::Place;
use private::Private;
pub use reader::{Item, Reader};
use ring::Ring;
use room::Room;
use std::time::Instant;
pub use waker::{Waker, Watermark, spin};

/// The handling of events of the market lane when the reader is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OverflowPolicy {
    /// One cell per provider, kind and symbol. The latest event replaces its predecessor, which counts as conflated.
    Conflate,
    /// The oldest event of the ring is removed and counts as dropped.
    DropOldest,
    /// The producer waits for room. For replay and tests.
    Block,
}

impl OverflowPolicy {
    /// Returns the name used in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Conflate => "conflate",
            Self::DropOldest => "drop_oldest",
            Self::Block => "block",
        }
    }

    /// Returns the policy with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Conflate, Self::DropOldest, Self::Block].into_iter().find(|policy| policy.name() == name)
    }
}

/// A policy for each kind. The entries of private kinds have no effect.
pub type Policies = [OverflowPolicy; Kind::COUNT];

/// Books, tickers and instruments are conflated; the other kinds drop their oldest event.
pub const DEFAULT_POLICIES: Policies = {
    let mut policies = [OverflowPolicy::DropOldest; Kind::COUNT];
    policies[Kind::BookSnapshot as usize] = OverflowPolicy::Conflate;
    policies[Kind::Ticker as usize] = OverflowPolicy::Conflate;
    policies[Kind::InstrumentUpdate as usize] = OverflowPolicy::Conflate;
    policies
};

/// The producers' end of a queue.
pub struct Queue {
    policies: Policies,
    private_limit: usize,
    class: DepthClass,
    ring: Ring,
    blocking: Ring,
    extensions: Extensions,
    /// Events that may wait in each ring of the policy `Block`; 0 if no market route has it.
    blocking_capacity: usize,
    private: Private,
    pending: Pending,
    /// [`CLOSED`] and [`HALTED`]; zero while the queue accepts events. Written under the dispatch lock.
    shut: AtomicU32,
    waker: Arc<Waker>,
    /// Wakes the producers that wait for room.
    room: Room,
    losses: [Losses; Kind::COUNT],
    admission: Mutex<Admission>,
}

// SAFETY: events move between threads. The raw pointers are owned handles that the lanes pass on exactly once, and the
// `UnsafeCell` of the private lane is accessed only by the producer, under the dispatch lock.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

/// Set in `Queue::shut` when the queue is closed.
const CLOSED: u32 = 1;
/// Set in `Queue::shut` when the private lane exceeded its limit.
const HALTED: u32 = 2;

impl Queue {
    /// Returns a queue for the events of `routes` and its reader. It reserves its slots in `pools`. `listed` returns
    /// the number of symbols that a provider lists, if it lists any.
    ///
    /// # Errors
    /// [`NoCapacity`] if the pools' limit does not allow the queue's claim.
    pub fn new(
        pools: &Arc<Pools>,
        options: QueueOptions,
        routes: &[RouteKey],
        listed: impl Fn(ProviderId) -> Option<usize>,
        waker: Arc<Waker>,
    ) -> Result<(Arc<Self>, Reader), NoCapacity> {
        let policies = options.policies(routes);
        let options = QueueOptions { policies, ..options };
        let ring = |policy| {
            let used = admission::uses(&policies, routes, policy);
            Ring::new(if used { options.capacity.max(1) } else { 0 })
        };
        let blocks = routes
            .iter()
            .any(|key| !key.kind.is_private() && policies[key.kind as usize] == OverflowPolicy::Block);
        let extensions = if options.queues_extensions(routes) { options.capacity.max(1) } else { 0 };
        let queue = Arc::new(Self {
            policies,
            private_limit: options.private_limit,
            class: DepthClass::of(options.depth),
            ring: ring(OverflowPolicy::DropOldest),
            blocking: ring(OverflowPolicy::Block),
            extensions: Extensions::new(extensions, options.extension_bytes()),
            blocking_capacity: if blocks { options.capacity.next_power_of_two() } else { 0 },
            private: Private::new(),
            pending: Pending::new(),
            shut: AtomicU32::new(0),
            waker,
            room: Room::default(),
            losses: Default::default(),
            admission: Mutex::new(Admission::new(pools, options, routes, listed)?),
        });
        let reader = Reader::new(Arc::clone(&queue), options.batch);
        Ok((queue, reader))
    }

    /// Returns the cell of a symbol, to push its events with. `None` if the symbol is left out: its cells, those of the
    /// notices about it included, would exceed the claim of the queue.
    pub(crate) fn admit(
        &self,
        kind: Kind,
        provider: ProviderId,
        symbol: SymbolId,
    ) -> Option<Arc<ConflationCell>> {
        lock(&self.admission).admit((provider, kind, symbol))
    }

    /// Returns the cell of the notices about an admitted symbol, to push them with.
    pub(crate) fn notice_cell(
        &self,
        notice: Notice,
        provider: ProviderId,
        symbol: SymbolId,
    ) -> Arc<ConflationCell> {
        lock(&self.admission).notice_cell((provider, notice, symbol))
    }

    /// Returns whether a route for every symbol has used half of its claim, or has room for symbols that it left out, so
    /// that [`crate::dispatch::Dispatcher`] must grow the claim and admit them.
    pub(crate) fn wants_room(&self) -> bool {
        let admission = lock(&self.admission);
        admission.wants_growth() || admission.has_room_for_left_out()
    }

    /// Doubles the claims of the routes for every symbol, and grows the pools, until less than half of each claim is
    /// used or the pools refuse. It can take long, so a thread that publishes must not call it. Returns whether symbols
    /// that were left out have room.
    pub(crate) fn grow_claim(&self) -> bool {
        loop {
            let Some(growth) = lock(&self.admission).growth() else { break };
            let reserved = Pools::reserve(&growth.pools, growth.claim);
            lock(&self.admission).grow(&growth, reserved);
        }
        lock(&self.admission).has_room_for_left_out()
    }

    /// Lets the claims grow again after the pools have refused.
    pub(crate) fn retry_growth(&self) {
        lock(&self.admission).retry();
    }

    /// Grows the claim of a route for every symbol, which is expected to match `symbols` of them.
    pub(crate) fn expect(&self, provider: ProviderId, kind: Kind, symbols: usize) {
        lock(&self.admission).expect((provider, kind), symbols);
        self.grow_claim();
    }

    /// Returns the symbols that have no cell because the claim did not grow: provider, kind and symbol.
    pub fn left_out(&self) -> Vec<(ProviderId, Kind, SymbolId)> {
        lock(&self.admission).left_out().iter().copied().collect()
    }

    /// Returns why the claim did not grow, if it did not.
    pub fn refused_growth(&self) -> Option<NoCapacity> {
        lock(&self.admission).refused()
    }

    /// Returns whether the queue has left out symbols or lacks the room to admit them.
    pub fn lacks_room(&self) -> bool {
        let admission = lock(&self.admission);
        admission.refused().is_some() || !admission.left_out().is_empty()
    }

    /// Returns the slots reserved for the queue and its reader.
    pub fn claim(&self) -> Claim {
        lock(&self.admission).claim()
    }

    /// Returns the size of the queue's book slots.
    #[inline]
    pub fn class(&self) -> DepthClass {
        self.class
    }

    /// Returns whether the latest event of a kind and symbol replaces the earlier ones.
    pub(crate) fn conflates(&self, kind: Kind) -> bool {
        self.policies[kind as usize] == OverflowPolicy::Conflate
    }

    /// Returns whether a producer of the kind must wait for room before it takes a sequence number.
    #[inline]
    pub(crate) fn blocks(&self, kind: Kind) -> bool {
        if kind.is_private() {
            // Where market events wait for their reader, as in replay, private events wait too, so that their lane
            // stays bounded.
            return self.blocking_capacity != 0;
        }
        self.policies[kind as usize] == OverflowPolicy::Block
    }

    #[inline]
    pub(crate) fn has_room(&self, kind: Kind, cost: usize) -> bool {
        let full = if kind.is_private() {
            self.private.len() >= self.private_limit.min(self.blocking_capacity)
        } else if kind == Kind::Extension {
            !self.extensions.has_room(cost)
        } else {
            self.blocking.is_full()
        };
        !full || self.shut.load(Ordering::Acquire) != 0
    }

    /// Sleeps until the queue has room, is closed or is halted, at the latest until the deadline.
    pub(crate) fn wait_for_room(&self, kind: Kind, cost: usize, deadline: Option<Instant>) {
        self.room.wait(deadline, || self.has_room(kind, cost));
    }

    /// Evicts the oldest extension if one that costs `cost` bytes does not fit; the caller drops it after it has released
    /// the lock. Producer only, under the dispatch lock.
    pub(crate) fn evict_for(&self, cost: usize) -> Option<Shared<Event>> {
        let is_open = self.shut.load(Ordering::Relaxed) == 0;
        let drops = self.policies[Kind::Extension as usize] == OverflowPolicy::DropOldest;
        let evicted = if is_open && drops { self.extensions.evict_for(cost) } else { None };
        if evicted.is_some() {
            self.losses[Kind::Extension as usize].dropped.bump(1);
        }
        evicted
    }

    /// Pushes an extension, which has room, as [`Self::push`] does.
    #[must_use]
    pub(crate) fn push_extension(
        &self,
        cell: &Arc<ConflationCell>,
        cost: usize,
        seq: u64,
        event: Shared<Event>,
    ) -> Option<Shared<Event>> {
        let is_conflated = self.policies[Kind::Extension as usize] == OverflowPolicy::Conflate;
        if is_conflated || self.shut.load(Ordering::Relaxed) != 0 {
            return self.push(cell, Kind::Extension, seq, event);
        }
        self.extensions.push(event, seq, cost);
        None
    }

    /// Returns the bytes of the extensions that wait in the ring.
    pub fn extension_bytes(&self) -> u64 {
        self.extensions.bytes()
    }

    /// Pushes an event of the market lane. Returns the event that lost its place to it, or the event itself if the
    /// queue is closed or halted; the caller drops it after it has released the lock. Producer only, under the dispatch
    /// lock.
    #[inline]
    #[must_use]
    pub(crate) fn push(
        &self,
        cell: &Arc<ConflationCell>,
        kind: Kind,
        seq: u64,
        event: Shared<Event>,
    ) -> Option<Shared<Event>> {
        if self.shut.load(Ordering::Relaxed) != 0 {
            self.count_refusal(kind);
            return Some(event);
        }
        match self.policies[kind as usize] {
            OverflowPolicy::Conflate => {
                let replaced = self.pending.push(cell, event)?;
                self.losses[kind as usize].conflated.bump(1);
                Some(replaced)
            }
            policy => {
                debug_assert!(
                    policy == OverflowPolicy::DropOldest || !self.blocking.is_full(),
                    "Invariant: the producer waited for room"
                );
                let ring = if policy == OverflowPolicy::Block { &self.blocking } else { &self.ring };
                let evicted = ring.push(event, seq)?;
                self.losses[evicted.header().kind as usize].dropped.bump(1);
                Some(evicted)
            }
        }
    }

    /// Pushes an event of the private lane. Past the limit the event is refused and the queue halted. Returns the place
    /// of a refused event. Producer only, under the dispatch lock.
    pub(crate) fn push_private(&self, place: Place, kind: Kind, event: Arc<Event>) -> Result<(), Place> {
        if self.shut.load(Ordering::Relaxed) == 0 && self.private.len() >= self.private_limit {
            self.shut.store(HALTED, Ordering::Release);
        }
        if self.shut.load(Ordering::Relaxed) != 0 {
            self.count_refusal(kind);
            return Err(place);
        }
        self.private.push(place, event);
        Ok(())
    }

    /// Counts an event that a halted queue refused. The events of a closed queue have no reader that could miss them.
    #[cold]
    fn count_refusal(&self, kind: Kind) {
        if !self.is_closed() {
            self.losses[kind as usize].dropped.bump(1);
        }
    }

    /// Refuses every later event. The caller holds the dispatch lock, and calls [`Self::drain`] after releasing it.
    pub(crate) fn shut(&self) {
        self.shut.store(self.shut.load(Ordering::Relaxed) | CLOSED, Ordering::Release);
    }

    /// Empties a closed queue, then wakes its reader and the producers that wait for room.
    pub(crate) fn drain(&self) {
        debug_assert!(self.is_closed(), "Invariant: only a closed queue stays empty");
        // Pairs with the fence of a reader that puts an event back into its cell.
        fence(Ordering::SeqCst);
        self.ring.clear();
        self.blocking.clear();
        self.extensions.ring.clear();
        self.pending.take(|cell| drop(cell.take()));
        self.private.clear();
        lock(&self.admission).drained();
        self.room.wake();
        self.waker.wake();
    }

    fn reader_dropped(&self) {
        lock(&self.admission).reader_dropped();
    }

    /// Counts an event that was not published because a pool was exhausted. Producer only, under the dispatch lock.
    #[cold]
    pub(crate) fn count_lost(&self, kind: Kind) {
        if self.shut.load(Ordering::Relaxed) & CLOSED == 0 {
            self.losses[kind as usize].dropped.bump(1);
        }
    }

    /// Counts an event of a symbol that is left out.
    pub(crate) fn count_left_out(&self, kind: Kind) {
        if !self.is_closed() {
            self.losses[kind as usize].left_out.add(1);
        }
    }

    /// Returns whether the queue is closed: it refuses every event, and has none to read.
    pub fn is_closed(&self) -> bool {
        self.shut.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Returns whether the private lane exceeded its limit. The events up to the first refused one can be read; later
    /// ones of both lanes are refused, and the reader must be rebuilt.
    pub fn is_halted(&self) -> bool {
        self.shut.load(Ordering::Acquire) & HALTED != 0
    }

    /// Returns the losses of a kind.
    pub fn losses(&self, kind: Kind) -> &Losses {
        &self.losses[kind as usize]
    }

    pub(crate) fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod tests;
