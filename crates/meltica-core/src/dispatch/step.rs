//! The dispatch step: an event is numbered and pushed to the queues of its entry.

use super::entry::{Entry, Target};
use super::publish::NotDispatched;
use super::{Dispatcher, StopFlag};
use crate::bus::{Place, Waker};
use crate::event::{Book, Event, Header, Kind, Payload};
use crate::pool::{Bundle, DepthClass, Shared};
use crate::stats::Fanout;
use crate::sync::{Arc, MutexGuard, lock};
use std::time::{Duration, Instant};

/// The interval at which a wait for room checks the stop flag.
const WAIT: Duration = Duration::from_millis(50);

/// The most extensions that are evicted under the dispatch lock at once.
const EVICTED: usize = 64;

/// The copies of a book by class.
pub(super) type Copies = [Option<Shared<Book>>; DepthClass::COUNT];

/// The content of an event that is not yet dispatched.
pub(super) enum Content<'p> {
    Payload(&'p mut Payload),
    Books(Copies),
}

/// The dispatch of one event to the queues of its entry.
pub(super) struct Step<'p> {
    pub dispatcher: &'p Dispatcher,
    pub entry: &'p Entry,
    /// Whether the filters of each target matched; empty if no target has filters.
    pub passed: &'p [bool],
    pub wakes: &'p mut Vec<Arc<Waker>>,
    /// Events that lost their place in a queue, to be freed after the lock; empty between steps.
    pub displaced: &'p mut Vec<Bundle<Event>>,
    pub stop: &'p StopFlag,
    pub fanout: &'p Fanout,
}

impl<'p> Step<'p> {
    #[inline]
    fn targets(&self) -> impl Iterator<Item = &'p Target> + use<'p> {
        let passed = self.passed;
        let wants = move |i: usize| passed.get(i).copied().unwrap_or(true);
        self.entry.targets.iter().enumerate().filter(move |(i, _)| wants(*i)).map(|(_, target)| target)
    }

    #[inline]
    pub fn market(
        &mut self,
        readers: usize,
        header: Header,
        payload: &mut Payload,
    ) -> Result<u64, NotDispatched> {
        let Some(mut event) = self.dispatcher.pools.events.borrow() else {
            return Err(self.exhausted(header.kind));
        };
        event.payload = std::mem::take(payload);
        self.displaced.reserve(readers);
        let order = self.lock_with_room(header.kind, 0)?;
        let seq = *order + 1;
        event.header = Some(Header { seq, provider_seq: self.entry.next_sequence(), ..header });
        for (target, event) in self.targets().zip(event.share(readers as u32)) {
            self.displace(target.queue.push(&target.cell, header.kind, seq, event));
        }
        self.pushed(order, seq, readers);
        self.displaced.clear();
        Ok(seq)
    }

    /// Publishes an extension as [`Self::market`] does, after queues without room for its bytes have lost their oldest
    /// extensions.
    pub fn extension(
        &mut self,
        readers: usize,
        header: Header,
        payload: &mut Payload,
    ) -> Result<u64, NotDispatched> {
        let cost = if let Payload::Extension(extension) = &*payload { extension.cost() } else { 0 };
        let Some(mut event) = self.dispatcher.pools.events.borrow() else {
            return Err(self.exhausted(header.kind));
        };
        event.payload = std::mem::take(payload);
        let order = loop {
            self.displaced.reserve(EVICTED + readers);
            let order = self.lock_with_room(header.kind, cost)?;
            if self.evict_for(cost) {
                break order;
            }
            // Freed without the lock; another publisher may take the room meanwhile.
            drop(order);
            self.displaced.clear();
        };
        let seq = *order + 1;
        event.header = Some(Header { seq, provider_seq: self.entry.next_sequence(), ..header });
        for (target, event) in self.targets().zip(event.share(readers as u32)) {
            self.displace(target.queue.push_extension(&target.cell, cost, seq, event));
        }
        self.pushed(order, seq, readers);
        self.displaced.clear();
        Ok(seq)
    }

    /// Makes room for an extension; false if that takes more evictions than may be made at once.
    fn evict_for(&mut self, cost: usize) -> bool {
        for target in self.targets() {
            while let Some(evicted) = target.queue.evict_for(cost) {
                self.displace(Some(evicted));
                if self.displaced.len() >= EVICTED {
                    return false;
                }
            }
        }
        true
    }

    /// Publishes the copies of a book, each as an event of its own for the targets of its class.
    pub fn books(&mut self, readers: usize, header: Header, books: Copies) -> Result<u64, NotDispatched> {
        let mut readers_of = [0; DepthClass::COUNT];
        self.targets().for_each(|target| readers_of[target.queue.class().index()] += 1);
        let mut events = [const { None }; DepthClass::COUNT];
        for (event, book) in events.iter_mut().zip(books) {
            let Some(book) = book else { continue };
            let Some(mut slot) = self.dispatcher.pools.events.borrow() else {
                return Err(self.exhausted(header.kind));
            };
            slot.payload = Payload::Book(book);
            *event = Some(slot);
        }
        self.displaced.reserve(readers);
        let order = self.lock_with_room(header.kind, 0)?;
        let seq = *order + 1;
        let header = Header { seq, provider_seq: self.entry.next_sequence(), ..header };
        let mut copies = [const { None }; DepthClass::COUNT];
        for ((copies, event), readers) in copies.iter_mut().zip(events).zip(readers_of) {
            *copies = event.map(|mut event| {
                event.header = Some(header);
                event.share(readers)
            });
        }
        for target in self.targets() {
            let copy = copies[target.queue.class().index()].as_mut().and_then(Iterator::next);
            let Some(event) = copy else { continue };
            self.displace(target.queue.push(&target.cell, header.kind, seq, event));
        }
        self.pushed(order, seq, readers);
        self.displaced.clear();
        Ok(seq)
    }

    /// Ends the step of event `seq`, which is in the queues of `readers`.
    #[inline]
    fn pushed(&self, mut order: MutexGuard<'_, u64>, seq: u64, readers: usize) {
        *order = seq;
        self.dispatcher.watermark.set(seq);
        self.fanout.record(readers);
    }

    /// Keeps an event that lost its place until the lock is released. Queues often lose the same event.
    #[inline]
    fn displace(&mut self, event: Option<Shared<Event>>) {
        let Some(event) = event else { return };
        let other = match self.displaced.last_mut() {
            Some(last) => last.add(event),
            None => Err(event),
        };
        if let Err(event) = other {
            self.displaced.push(Bundle::new(event));
        }
    }

    /// Counts an event that found no slot, at each queue that misses it.
    #[cold]
    pub fn exhausted(&self, kind: Kind) -> NotDispatched {
        let order = lock(&self.dispatcher.order);
        self.targets().for_each(|target| target.queue.count_lost(kind));
        drop(order);
        NotDispatched::PoolExhausted
    }

    pub fn private(
        &mut self,
        readers: usize,
        header: Header,
        payload: &mut Payload,
    ) -> Result<u64, NotDispatched> {
        let places: Vec<Place> = (0..readers).map(|_| Place::new()).collect();
        let mut event = Arc::new(Event { header: Some(header), payload: std::mem::take(payload) });
        let mut refused = Vec::with_capacity(readers);
        let order = self.lock_with_room(header.kind, 0)?;
        let seq = *order + 1;
        if let Some(event) = Arc::get_mut(&mut event) {
            event.header = Some(Header { seq, provider_seq: self.entry.next_sequence(), ..header });
        }
        for (target, place) in self.targets().zip(places) {
            if let Err(place) = target.queue.push_private(place, header.kind, Arc::clone(&event)) {
                refused.push((place, Arc::clone(&target.waker)));
            }
        }
        self.pushed(order, seq, readers);
        // The reader of a halted queue must be woken, so that it sees the halt.
        self.wakes.extend(refused.into_iter().map(|(_, waker)| waker));
        Ok(seq)
    }

    /// Takes the dispatch lock while every blocking queue has room.
    #[inline]
    fn lock_with_room(&mut self, kind: Kind, cost: usize) -> Result<MutexGuard<'p, u64>, NotDispatched> {
        let dispatcher = self.dispatcher;
        if !self.entry.blocking {
            return Ok(lock(&dispatcher.order));
        }
        let full = |target: &&Target| target.queue.blocks(kind) && !target.queue.has_room(kind, cost);
        loop {
            // Checked under the lock only: another publisher may take the room until then.
            let order = lock(&dispatcher.order);
            let Some(target) = self.targets().find(full) else { return Ok(order) };
            drop(order);
            if self.stop.never_waits() || target.waker.is_mine() {
                return Err(NotDispatched::QueueFull);
            }
            // Sleeping readers must be woken for the events already queued, or the wait would not end.
            wake_all(self.wakes);
            target.queue.wait_for_room(kind, cost, Some(Instant::now() + WAIT));
            if self.stop.is_stopped() {
                return Err(NotDispatched::Stopped);
            }
        }
    }
}

pub(super) fn wake_all(wakes: &mut Vec<Arc<Waker>>) {
    for waker in wakes.drain(..) {
        waker.unpark();
    }
}
