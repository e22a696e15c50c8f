//! Publishers: they look up the route of an event, fill its slots and start the dispatch step.

mod notice;

use super::entry::{Entry, Target};
use super::part::{Index, ProviderRoutes};
use super::step::{Content, Copies, Step, wake_all};
use super::{Dispatcher, StopFlag};
use crate::bus::Waker;
use crate::clock::{self, Anchor};
use crate::event::{Book, Event, Header, Kind, Nanos, Payload};
use crate::janitor;
use crate::names::{ProviderId, SymbolId};
use crate::pool::{Bundle, DepthClass, InFlight, Pools};
use crate::sync::{Arc, Ordering, fence, lock};

/// The entry of a route. Valid until the next lookup.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    kind: Kind,
    place: u32,
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

/// What a publisher has read of one part of the table.
struct View {
    /// The version of the table that it belongs to.
    version: u32,
    index: Arc<Index>,
}

/// Publishes the events of one provider, on one thread at a time.
pub struct Publisher {
    dispatcher: Arc<Dispatcher>,
    provider: ProviderId,
    routes: Arc<ProviderRoutes>,
    views: [View; Kind::COUNT],
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
        let routes = Arc::clone(lock(&dispatcher.registry).provider(provider));
        let (version, index) = (dispatcher.version().wrapping_sub(1), Arc::new(Index::empty()));
        Self {
            dispatcher: Arc::clone(dispatcher),
            provider,
            // An outdated version: each index is read when it is used first.
            views: Kind::ALL.map(|_| View { version, index: Arc::clone(&index) }),
            routes,
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

    /// Returns the current index of `kind`. Without a change of the table this costs one load and a comparison.
    #[inline]
    fn index(&mut self, kind: Kind) -> &Index {
        let version = self.dispatcher.version();
        if self.views[kind as usize].version != version {
            self.refresh(kind, version);
        }
        &self.views[kind as usize].index
    }

    #[cold]
    fn refresh(&mut self, kind: Kind, version: u32) {
        let index = self.routes.part(kind).index().load();
        let view = &mut self.views[kind as usize];
        view.version = version;
        if !Arc::ptr_eq(&index, &view.index) {
            // The last user of an index of many symbols would otherwise drop it here.
            janitor::drop_later(std::mem::replace(&mut view.index, index));
        }
    }

    /// Returns whether `kind` has a route.
    pub fn listened(&mut self, kind: Kind) -> bool {
        self.index(kind).routed
    }

    /// Looks up the route of `kind` and `symbol`, or returns `None` if it has no subscriber, also none that leaves the
    /// symbol out.
    #[inline]
    pub fn wanted(&mut self, kind: Kind, symbol: SymbolId) -> Option<Wanted> {
        let index = self.index(kind);
        let place = match index.find(symbol) {
            Some(place) => place,
            None if index.every => self.add_symbol(kind, symbol)?,
            None => return None,
        };
        let entry = self.views[kind as usize].index.entry(place);
        let depth = entry.depths.into_iter().max().unwrap_or_default();
        entry.is_wanted().then_some(Wanted { kind, place, depth })
    }

    /// Returns the symbols of `kind` that have or had a route, with the number of their events so far.
    pub fn published(&mut self, kind: Kind) -> impl Iterator<Item = (SymbolId, u64)> {
        // Another publisher of the provider may have added symbols.
        self.refresh(kind, self.dispatcher.version());
        self.views[kind as usize].index.published()
    }

    /// Adds the entry of a symbol that matches a route for every symbol for the first time.
    #[cold]
    fn add_symbol(&mut self, kind: Kind, symbol: SymbolId) -> Option<u32> {
        if self.routes.part(kind).add_symbol(symbol, self.routes.expected()) {
            Dispatcher::grow_later(&self.dispatcher, Arc::clone(&self.routes), kind);
        }
        self.refresh(kind, self.views[kind as usize].version);
        self.views[kind as usize].index.find(symbol)
    }

    /// Looks up the route of the extension `name`, as [`Self::wanted`] does, and returns the symbol of its header.
    ///
    /// Extensions that no route names have the empty symbol, as their names are not interned.
    pub fn wanted_extension(&mut self, name: &str) -> Option<(Wanted, SymbolId)> {
        let index = self.index(Kind::Extension);
        let symbol = SymbolId::find(name).filter(|symbol| index.find(*symbol).is_some());
        let symbol = symbol.unwrap_or(SymbolId::EMPTY);
        self.wanted(Kind::Extension, symbol).map(|wanted| (wanted, symbol))
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
        let depths = self.entry(wanted).depths;
        let mut copies: Copies = [const { None }; DepthClass::COUNT];
        let mut classes = DepthClass::ALL.into_iter().rev().filter(|class| depths[class.index()] > 0);
        let Some(deepest) = classes.next() else {
            self.entry(wanted).count_left_out(origin.kind, None);
            return Ok(None);
        };
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

    #[inline]
    fn entry(&self, wanted: Wanted) -> &Entry {
        self.views[wanted.kind as usize].index.entry(wanted.place)
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
        if !self.entry(wanted).is_whole {
            let payload = if let Content::Payload(payload) = &content { Some(&**payload) } else { None };
            self.report_left_out(wanted, origin, payload)?;
        }
        let view = &self.views[wanted.kind as usize];
        let entry = view.index.entry(wanted.place);
        let mut readers = entry.targets.len();
        self.passed.clear();
        // Before the filters, so that latencies include them.
        let ticks = clock::ticks();
        if entry.filtered
            && let Content::Payload(payload) = &content
        {
            self.passed.extend(entry.targets.iter().map(|t| t.filters.iter().all(|f| f.matches(payload))));
            readers = self.passed.iter().filter(|passed| **passed).count();
        }
        if readers == 0 {
            return Ok(None);
        }
        let header = self.header(origin, view.version, ticks);
        let mut step = self.step(wanted);
        let seq = match content {
            Content::Payload(payload) if origin.kind.is_private() => {
                step.private(readers, header, payload)?
            }
            Content::Payload(payload) if origin.kind == Kind::Extension => {
                step.extension(readers, header, payload)?
            }
            Content::Payload(payload) => step.market(readers, header, payload)?,
            Content::Books(copies) => step.books(readers, header, copies)?,
        };
        self.last_ticks = ticks;
        wake_parked(&self.views[wanted.kind as usize].index.entry(wanted.place).targets, &mut self.wakes);
        Ok(Some(seq))
    }

    /// Returns the header of an event that is not yet numbered.
    #[inline]
    fn header(&mut self, origin: Origin, routing_version: u32, ticks: u64) -> Header {
        Header {
            seq: 0,
            provider_seq: 0,
            venue_time: origin.venue_time,
            received_time: origin.received_time,
            dispatched_time: self.anchor.wall_at(ticks),
            dispatched_ticks: ticks,
            routing_version,
            provider: self.provider,
            symbol: origin.symbol,
            kind: origin.kind,
        }
    }

    #[inline]
    fn step(&mut self, wanted: Wanted) -> Step<'_> {
        Step {
            dispatcher: &self.dispatcher,
            entry: self.views[wanted.kind as usize].index.entry(wanted.place),
            passed: &self.passed,
            wakes: &mut self.wakes,
            displaced: &mut self.displaced,
            stop: &self.stop,
            fanout: self.routes.fanout(),
        }
    }

    /// Wakes the readers that slept when their events were pushed.
    #[inline]
    pub fn flush(&mut self) {
        wake_all(&mut self.wakes);
    }
}

/// Collects the wake-ups of the readers that sleep, after an event was pushed to their queues.
#[inline]
fn wake_parked(targets: &[Target], wakes: &mut Vec<Arc<Waker>>) {
    // Pairs with the fence of `Waker::wait`.
    fence(Ordering::SeqCst);
    for target in targets {
        if target.waker.take_parked() {
            wakes.push(Arc::clone(&target.waker));
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.flush();
    }
}
