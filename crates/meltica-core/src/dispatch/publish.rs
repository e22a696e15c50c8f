//! The dispatch step: an event is numbered and pushed to the queues of its entry.

use super::{Dispatcher, Entry, RouteKey, StopFlag, Table, Target};
use crate::bus::{Place, Waker};
use crate::clock::{self, Anchor};
use crate::event::{Event, Header, Kind, Nanos, Payload};
use crate::names::{ProviderId, SymbolId};
use crate::pool::{Pool, Recycle, Shared, Unique};
use crate::sync::{Arc, MutexGuard, Ordering, fence, lock};
use std::time::{Duration, Instant};

/// The entry of a route. Valid until the next lookup.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    entry: u32,
    /// For books, the levels per side of the deepest route.
    pub depth: u32,
}

/// The origin of an event that is not yet dispatched.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// The kind.
    pub kind: Kind,
    /// The symbol.
    pub symbol: SymbolId,
    /// The venue's time.
    pub venue_time: Option<Nanos>,
    /// The arrival of the bytes.
    pub received_time: Nanos,
}

/// The reason for which an event was not dispatched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotDispatched {
    /// Every slot of the pool is in use.
    #[error("event not dispatched: every slot of the pool is in use")]
    PoolExhausted,
    /// The publisher was stopped while it waited for a slow reader.
    #[error("event not dispatched: the publisher was stopped while it waited for a slow reader")]
    Stopped,
    /// A queue that blocks is full, and its reader is the publishing thread, or the publisher never waits.
    #[error(
        "event not dispatched: a queue that blocks is full and the publisher must not wait for its reader"
    )]
    QueueFull,
}

/// The interval at which a wait for a slot or for room checks the stop flag.
const WAIT: Duration = Duration::from_millis(50);

fn borrow<T: Recycle + Send + Sync>(
    pool: &Pool<T>,
    blocking: bool,
    stop: &StopFlag,
) -> Result<Unique<T>, NotDispatched> {
    loop {
        if let Some(slot) = pool.borrow() {
            return Ok(slot);
        }
        if !blocking || stop.never_waits() {
            return Err(NotDispatched::PoolExhausted);
        }
        if let Some(slot) = pool.borrow_within(WAIT) {
            return Ok(slot);
        }
        if stop.is_stopped() {
            return Err(NotDispatched::Stopped);
        }
    }
}

/// The dispatch of one event to the queues of its entry.
struct Step<'p> {
    dispatcher: &'p Dispatcher,
    entry: &'p Entry,
    /// Whether the filters of each target matched; empty if no target has filters.
    passed: &'p [bool],
    wakes: &'p mut Vec<Arc<Waker>>,
    /// Events that lost their place in a queue, to be freed after the lock; empty between steps.
    displaced: &'p mut Vec<Shared<Event>>,
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
        self.displaced.reserve(readers);
        let mut order = self.lock_with_room(header.kind)?;
        let seq = *order + 1;
        event.header = Some(Header { seq, ..header });
        for (target, event) in self.targets().zip(event.share(readers as u32)) {
            self.displaced.extend(target.queue.push(&target.cell, header.kind, seq, event));
        }
        *order = seq;
        self.dispatcher.watermark.set(seq);
        drop(order);
        self.displaced.clear();
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
            if let Err(place) = target.queue.push_private(place, header.kind, Arc::clone(&event)) {
                refused.push((place, Arc::clone(&target.waker)));
            }
        }
        *order = seq;
        self.dispatcher.watermark.set(seq);
        drop(order);
        // The reader of a halted queue must be woken, so that it sees the halt.
        self.wakes.extend(refused.into_iter().map(|(_, waker)| waker));
        Ok(seq)
    }

    /// Takes the dispatch lock while every blocking queue has room.
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
                if self.stop.never_waits() || target.waker.is_mine() {
                    return Err(NotDispatched::QueueFull);
                }
                // Sleeping readers must be woken for the events already queued, or the wait would not end.
                wake_all(self.wakes);
                let one_at_a_time = lock(&dispatcher.waiting);
                target.queue.wait_for_room(kind, Some(Instant::now() + WAIT));
                drop(one_at_a_time);
                if self.stop.is_stopped() {
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

/// Publishes the events of one provider, on one thread at a time.
pub struct Publisher {
    dispatcher: Arc<Dispatcher>,
    provider: ProviderId,
    table: Arc<Table>,
    /// The provider sequence by entry id.
    sequences: Vec<u64>,
    passed: Vec<bool>,
    wakes: Vec<Arc<Waker>>,
    displaced: Vec<Shared<Event>>,
    anchor: Anchor,
    /// The time of the last dispatch.
    last_ticks: u64,
    stop: std::sync::Arc<StopFlag>,
}

impl Publisher {
    /// Returns a publisher of `provider`'s events.
    pub fn new(dispatcher: &Arc<Dispatcher>, provider: ProviderId) -> Self {
        Self {
            dispatcher: Arc::clone(dispatcher),
            provider,
            table: dispatcher.table.load(),
            sequences: Vec::new(),
            passed: Vec::new(),
            wakes: Vec::new(),
            displaced: Vec::new(),
            anchor: Anchor::now(),
            last_ticks: 0,
            stop: std::sync::Arc::default(),
        }
    }

    /// Returns the provider.
    pub fn provider(&self) -> ProviderId {
        self.provider
    }

    /// Returns the time of the last dispatch, in [`clock::ticks`].
    pub fn last_ticks(&self) -> u64 {
        self.last_ticks
    }

    /// Returns the flag that ends waits for slow readers.
    pub fn stop_flag(&self) -> std::sync::Arc<StopFlag> {
        std::sync::Arc::clone(&self.stop)
    }

    /// Uses `stop` as the flag that ends waits for slow readers.
    #[must_use]
    pub fn stopped_by(mut self, stop: std::sync::Arc<StopFlag>) -> Self {
        self.stop = stop;
        self
    }

    /// Returns whether `kind` is routed for any symbol.
    pub fn listened(&mut self, kind: Kind) -> bool {
        self.dispatcher.table.refresh(&mut self.table);
        self.table.any.contains(&(self.provider, kind))
    }

    /// Looks up the route of `kind` and `symbol`, or returns `None` if it has no subscriber.
    #[inline]
    pub fn wanted(&mut self, kind: Kind, symbol: SymbolId) -> Option<Wanted> {
        self.dispatcher.table.refresh(&mut self.table);
        let packed = RouteKey::packed(self.provider, kind, symbol);
        let entry = match self.table.exact.get(&packed) {
            Some(entry) => *entry,
            None if self.table.any.contains(&(self.provider, kind)) => {
                self.dispatcher.add_symbol(self.provider, kind, symbol);
                self.dispatcher.table.refresh(&mut self.table);
                *self.table.exact.get(&packed)?
            }
            None => return None,
        };
        Some(Wanted { entry, depth: self.table.entries[entry as usize].depth })
    }

    /// Looks up the route of the extension `name`, as [`Self::wanted`] does, and returns the symbol of its header.
    ///
    /// Extensions that no route names have the empty symbol, as their names are not interned.
    pub fn wanted_extension(&mut self, name: &str) -> Option<(Wanted, SymbolId)> {
        let kind = Kind::Extension;
        self.dispatcher.table.refresh(&mut self.table);
        let is_named =
            |id: &SymbolId| self.table.exact.contains_key(&RouteKey::packed(self.provider, kind, *id));
        let symbol = SymbolId::find(name).filter(is_named).unwrap_or(SymbolId::EMPTY);
        self.wanted(kind, symbol).map(|wanted| (wanted, symbol))
    }

    /// Borrows a book slot to publish.
    ///
    /// # Errors
    /// [`NotDispatched`] if the pool is exhausted, or if the wait for a slot was stopped.
    pub fn borrow_book(&self, wanted: Wanted) -> Result<Unique<crate::event::Book>, NotDispatched> {
        let blocking = self.table.entries[wanted.entry as usize].blocking;
        borrow(&self.dispatcher.pools.books, blocking, &self.stop)
    }

    /// Numbers the event and pushes it to the queues of its route. Returns the number, or `None` if no filter matched.
    ///
    /// # Errors
    /// [`NotDispatched`]; the event has not taken a number then.
    #[inline]
    pub fn publish(
        &mut self,
        wanted: Wanted,
        origin: Origin,
        mut payload: Payload,
    ) -> Result<Option<u64>, NotDispatched> {
        self.publish_from(wanted, origin, &mut payload)
    }

    /// Publishes as [`Self::publish`] does, but takes the payload in place, which saves a move.
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
            displaced: &mut self.displaced,
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

    /// Wakes the readers that slept when their events were pushed.
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
