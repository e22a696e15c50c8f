//! Queues: one per reader, with two lanes that are merged by sequence when read.
//!
//! # Lanes
//! The *market* lane has a policy per kind:
//! - [`OverflowPolicy::Conflate`] keeps one cell per route, in which the latest event replaces its predecessor.
//! - [`OverflowPolicy::DropOldest`] is a ring that evicts its oldest event.
//! - [`OverflowPolicy::Block`] is a ring whose producer waits for room before it takes a sequence number.
//!
//! The *private* lane is a growing list of events that are never dropped. The queue is halted when the lane exceeds its
//! limit.
//!
//! # Order
//! Producers push under the dispatch lock, in the order of their sequence numbers, and move the [`Watermark`] once an
//! event is in every queue of its route. A reader first loads the watermark and takes only events up to it, so every
//! later event has a higher number. No policy reorders events: conflation moves a route to the place of its latest
//! event.
//!
//! # Threads
//! One producer at a time, under the dispatch lock, and one [`Reader`]. The two contend only when a full ring evicts,
//! which an exchange of the ring's head decides.

mod conflation_cell;
mod private;
mod reader;
mod ring;
mod waker;

use crate::event::{Event, Kind};
use crate::pool::Shared;
use crate::stats::Counter;
use crate::sync::{Arc, AtomicBool, Ordering};
pub use conflation_cell::ConflationCell;
use conflation_cell::Pending;
pub(crate) use private::Place;
use private::Private;
pub use reader::{Item, Reader};
use ring::Ring;
use std::time::Instant;
pub use waker::{Waker, Watermark};

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

/// Books and tickers are conflated; the other kinds drop their oldest event.
pub const DEFAULT_POLICIES: Policies = {
    let mut policies = [OverflowPolicy::DropOldest; Kind::COUNT];
    policies[Kind::BookSnapshot as usize] = OverflowPolicy::Conflate;
    policies[Kind::Ticker as usize] = OverflowPolicy::Conflate;
    policies
};

/// The losses of one kind in one queue.
#[derive(Debug, Default)]
pub struct Losses {
    /// Events replaced by a later event of the same route.
    pub conflated: Counter,
    /// Events evicted from a full ring or refused by a halted queue.
    pub dropped: Counter,
}

/// The producers' end of a queue.
pub struct Queue {
    policies: Policies,
    ring: Ring,
    blocking: Ring,
    private: Private,
    private_limit: usize,
    pending: Pending,
    closed: AtomicBool,
    halted: AtomicBool,
    waker: Arc<Waker>,
    /// Wakes a producer that waits for room.
    room: Waker,
    losses: [Losses; Kind::COUNT],
}

// SAFETY: events move between threads. The raw pointers are owned handles that the lanes pass on exactly once, and each
// `UnsafeCell` of the private lane is accessed by the producer (under the dispatch lock) or by the reader, never both.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

/// The outcome of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    Queued,
    /// The queue is closed or halted; the event was not taken.
    Refused,
}

impl Queue {
    /// Returns a queue of `capacity` events, rounded up to a power of two, and its reader. The queue is halted when its
    /// private lane exceeds `private_limit` events.
    pub fn new(
        policies: Policies,
        capacity: usize,
        private_limit: usize,
        waker: Arc<Waker>,
    ) -> (Arc<Self>, Reader) {
        let uses = |policy| Kind::ALL.into_iter().any(|k| !k.is_private() && policies[k as usize] == policy);
        let size = |policy| if uses(policy) { capacity.max(1) } else { 0 };
        let queue = Arc::new(Self {
            policies,
            ring: Ring::new(size(OverflowPolicy::DropOldest)),
            blocking: Ring::new(size(OverflowPolicy::Block)),
            private: Private::new(),
            private_limit,
            pending: Pending::new(),
            closed: AtomicBool::new(false),
            halted: AtomicBool::new(false),
            waker,
            room: Waker::default(),
            losses: Default::default(),
        });
        let reader = Reader::new(Arc::clone(&queue));
        (queue, reader)
    }

    /// Returns whether a producer of the kind must wait for room before it takes a sequence number.
    #[inline]
    pub(crate) fn blocks(&self, kind: Kind) -> bool {
        if kind.is_private() {
            // Where market events wait for their reader, as in replay, private events wait too, so that their lane
            // stays bounded.
            return self.blocking.capacity() != 0;
        }
        self.policies[kind as usize] == OverflowPolicy::Block
    }

    #[inline]
    pub(crate) fn has_room(&self, kind: Kind) -> bool {
        let full = if kind.is_private() {
            self.private.len() >= self.private_limit.min(self.blocking.capacity())
        } else {
            self.blocking.is_full()
        };
        !full || self.is_closed()
    }

    /// Sleeps until the queue has room or is closed. One producer at a time.
    pub(crate) fn wait_for_room(&self, kind: Kind, deadline: Option<Instant>) {
        self.room.wait(deadline, || self.has_room(kind));
    }

    /// Pushes an event of the market lane. Producer only, under the dispatch lock.
    #[inline]
    pub(crate) fn push(
        &self,
        cell: &Arc<ConflationCell>,
        kind: Kind,
        seq: u64,
        event: Shared<Event>,
    ) -> Pushed {
        if self.closed.load(Ordering::Relaxed) {
            return Pushed::Refused;
        }
        match self.policies[kind as usize] {
            OverflowPolicy::DropOldest => {
                if let Some(evicted) = self.ring.push(event, seq) {
                    self.losses[evicted.header().kind as usize].dropped.bump(1);
                }
            }
            OverflowPolicy::Block => {
                let evicted = self.blocking.push(event, seq);
                debug_assert!(evicted.is_none(), "Invariant: the producer waited for room");
                if let Some(evicted) = evicted {
                    self.losses[evicted.header().kind as usize].dropped.bump(1);
                }
            }
            OverflowPolicy::Conflate => {
                if self.pending.push(cell, event).is_some() {
                    self.losses[kind as usize].conflated.bump(1);
                }
            }
        }
        Pushed::Queued
    }

    /// Pushes an event of the private lane. Past the limit the event is refused and the queue halted. Producer only,
    /// under the dispatch lock.
    pub(crate) fn push_private(&self, place: Place, kind: Kind, event: Arc<Event>) -> Pushed {
        if self.closed.load(Ordering::Relaxed) {
            return Pushed::Refused;
        }
        if self.private.len() >= self.private_limit {
            self.halted.store(true, Ordering::Release);
            self.losses[kind as usize].dropped.bump(1);
            return Pushed::Refused;
        }
        self.private.push(place, event);
        Pushed::Queued
    }

    /// Closes the queue to new events and wakes reader and producer. Queued events can still be read.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.room.wake();
        self.waker.wake();
    }

    /// Returns whether [`Self::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Returns whether the private lane exceeded its limit: events were refused, and the reader must be rebuilt.
    pub fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Acquire)
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
