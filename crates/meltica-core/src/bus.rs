//! Queues: one per reader, two lanes each, merged by sequence when read.
//!
//! # Lanes
//! *Market* lane, with a policy per kind: [`OverflowPolicy::Conflate`] keeps one cell per route, latest wins;
//! [`OverflowPolicy::DropOldest`] is a ring that evicts; [`OverflowPolicy::Block`] is a ring whose producer waits for room before it
//! takes a sequence number. *Private* lane: a list that grows, for what may never be dropped; past its stated length
//! the queue is halted.
//!
//! # Order
//! Producers push under the dispatch lock, in the order of their sequence numbers, and move the [`Watermark`] once an
//! event stands in every queue. A reader first loads the watermark and takes nothing beyond it, so whatever it has not
//! seen by then carries a higher number. No policy reorders: conflation moves a value to the place of the latest one.
//!
//! # Threads
//! One producer at a time (the dispatch lock) and one [`Reader`]. The two contend only where a full ring evicts, which
//! an exchange on the ring's head settles.

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

/// What happens to an event of the market lane when its reader is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OverflowPolicy {
    /// One cell per provider, kind and symbol; the latest wins and the replaced one counts as conflated.
    Conflate,
    /// The oldest event of the ring goes, counted as dropped.
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

    /// Returns the policy of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Conflate, Self::DropOldest, Self::Block].into_iter().find(|policy| policy.name() == name)
    }
}

/// A policy for each kind. The private kinds' entries mean nothing.
pub type Policies = [OverflowPolicy; Kind::COUNT];

/// Books and tickers conflate, the rest drops its oldest.
pub const DEFAULT_POLICIES: Policies = {
    let mut policies = [OverflowPolicy::DropOldest; Kind::COUNT];
    policies[Kind::BookSnapshot as usize] = OverflowPolicy::Conflate;
    policies[Kind::Ticker as usize] = OverflowPolicy::Conflate;
    policies
};

/// What one kind lost in one queue.
#[derive(Debug, Default)]
pub struct Losses {
    /// Replaced by a later value of the same route.
    pub conflated: Counter,
    /// Evicted from a full ring, or refused by a halted queue.
    pub dropped: Counter,
}

/// A reader's queue, as its producers see it.
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
    /// Where a blocked producer sleeps.
    room: Waker,
    losses: [Losses; Kind::COUNT],
}

// SAFETY: events go from one thread to another; the raw pointers are owned handles that the lanes pass on exactly once,
// and the two `UnsafeCell`s of the private lane are touched by the producer (under the dispatch lock) and the reader only.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    Queued,
    /// The queue is closed or halted; the event was not taken.
    Refused,
}

impl Queue {
    /// Makes a queue of `capacity` events (rounded up to a power of two) and its reader. `private_limit` is the length
    /// of the private lane past which the queue is halted.
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

    /// Whether a producer of that kind has to wait for room before it takes a number.
    #[inline]
    pub(crate) fn blocks(&self, kind: Kind) -> bool {
        if kind.is_private() {
            // Where market events wait for their reader (replay), so do the others: the lane must not fill up.
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

    /// Sleeps until there is room or the queue is closed. One producer at a time.
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
                debug_assert!(evicted.is_none(), "Invariant: room was waited for");
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

    /// Pushes an event of the private lane; refused, with the queue halted, past the stated length. Producer only,
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

    /// Takes no more events and wakes reader and producer. What is queued can still be read.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.room.wake();
        self.waker.wake();
    }

    /// Whether [`Self::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether the private lane passed its stated length: events were refused and the reader must be rebuilt.
    pub fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Acquire)
    }

    /// Returns what kind `kind` lost.
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
