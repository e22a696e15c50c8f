//! Publishers: they look up the route of an event, fill its slots and start the dispatch step.

use super::step::{Content, Copies, Step, wake_all};
use super::{Dispatcher, RouteKey, StopFlag, Table};
use crate::bus::Waker;
use crate::clock::{self, Anchor};
use crate::event::{Book, Event, Header, Kind, Nanos, Payload};
use crate::names::{ProviderId, SymbolId};
use crate::pool::{Bundle, DepthClass, InFlight, Pools};
use crate::sync::{Arc, Ordering, fence};

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
    /// Every slot of the pool is in use, although each queue and publisher has reserved its share.
    #[error(
        "event not dispatched: every slot of the pool is in use; this is a fault of Meltica, please report it"
    )]
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

/// Publishes the events of one provider, on one thread at a time.
pub struct Publisher {
    dispatcher: Arc<Dispatcher>,
    provider: ProviderId,
    table: Arc<Table>,
    /// The provider sequence by entry id.
    sequences: Vec<u64>,
    passed: Vec<bool>,
    wakes: Vec<Arc<Waker>>,
    displaced: Vec<Bundle<Event>>,
    anchor: Anchor,
    /// The time of the last dispatch.
    last_ticks: u64,
    stop: std::sync::Arc<StopFlag>,
    _in_flight: InFlight,
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
            _in_flight: Pools::enter(&dispatcher.pools),
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
        let depth = self.table.entries[entry as usize].depths.into_iter().max().unwrap_or_default();
        Some(Wanted { entry, depth })
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

    /// Publishes the book that `fill` writes, given the levels per side of the deepest route. Routes of other depth
    /// classes get a copy of its top, one per [`DepthClass`].
    ///
    /// # Errors
    /// As [`Self::publish`].
    #[inline]
    pub fn publish_book(
        &mut self,
        wanted: Wanted,
        origin: Origin,
        fill: impl FnOnce(&mut Book, u32),
    ) -> Result<Option<u64>, NotDispatched> {
        let depths = self.table.entries[wanted.entry as usize].depths;
        let mut copies: Copies = [const { None }; DepthClass::COUNT];
        let mut classes = DepthClass::ALL.into_iter().rev().filter(|class| depths[class.index()] > 0);
        let Some(deepest) = classes.next() else { return Ok(None) };
        let Some(mut book) = self.dispatcher.pools.books(deepest).borrow() else {
            return Err(self.exhausted(wanted, origin.kind));
        };
        fill(&mut book, depths[deepest.index()]);
        let book = book.into_shared();
        let mut is_only = true;
        for class in classes {
            is_only = false;
            let Some(mut copy) = self.dispatcher.pools.books(class).borrow() else {
                return Err(self.exhausted(wanted, origin.kind));
            };
            copy.copy_top(&book, depths[class.index()] as usize);
            copies[class.index()] = Some(copy.into_shared());
        }
        if is_only {
            return self.dispatch(wanted, origin, Content::Payload(&mut Payload::Book(book)));
        }
        copies[deepest.index()] = Some(book);
        self.dispatch(wanted, origin, Content::Books(copies))
    }

    #[cold]
    fn exhausted(&mut self, wanted: Wanted, kind: Kind) -> NotDispatched {
        self.passed.clear();
        self.step(wanted).exhausted(kind)
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
        self.dispatch(wanted, origin, Content::Payload(payload))
    }

    #[inline]
    fn dispatch(
        &mut self,
        wanted: Wanted,
        origin: Origin,
        content: Content<'_>,
    ) -> Result<Option<u64>, NotDispatched> {
        let entry = &self.table.entries[wanted.entry as usize];
        let mut readers = entry.targets.len();
        self.passed.clear();
        if entry.filtered
            && let Content::Payload(payload) = &content
        {
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
        let mut step = self.step(wanted);
        let seq = match content {
            Content::Payload(payload) if origin.kind.is_private() => {
                step.private(readers, header, payload)?
            }
            Content::Payload(payload) => step.market(readers, header, payload)?,
            Content::Books(copies) => step.books(readers, header, copies)?,
        };
        self.sequences[id] += 1;
        self.last_ticks = ticks;
        // Pairs with the fence of `Waker::wait`.
        fence(Ordering::SeqCst);
        for target in &self.table.entries[wanted.entry as usize].targets {
            if target.waker.take_parked() {
                self.wakes.push(Arc::clone(&target.waker));
            }
        }
        Ok(Some(seq))
    }

    #[inline]
    fn step(&mut self, wanted: Wanted) -> Step<'_> {
        Step {
            dispatcher: &self.dispatcher,
            entry: &self.table.entries[wanted.entry as usize],
            passed: &self.passed,
            wakes: &mut self.wakes,
            displaced: &mut self.displaced,
            stop: &self.stop,
        }
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
