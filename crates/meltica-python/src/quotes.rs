//! `Quotes`: the latest prices of the symbols that trading watches, kept without Python.
//!
//! Each watched symbol has a queue of its own, whose events replace each other. A thread observes them as they arrive,
//! without the interpreter, so that the times are true; a caller that reads a quote observes what has arrived since.

mod source;

use crate::convert::{decimal, py_decimal, value_error};
use crate::core::{CoreShared, PyCore};
use crate::errors::CapacityError;
use crate::locks::Lock;
use crate::routes::Routes;
use meltica_core::bus::Waker;
use meltica_core::decimal::Decimal;
use meltica_core::event::{Nanos, Side};
use meltica_core::names::{ProviderId, SymbolId};
use pyo3::prelude::*;
use source::{Clock, Prices, Provider, Source};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the thread checks whether the connections have delivered anything.
const CHECK: Duration = Duration::from_millis(100);

type Key = (ProviderId, SymbolId);

/// A watched symbol. Its routes end when the last reference is dropped, which only attached threads hold.
struct Watched {
    source: Arc<Source>,
    _routes: Arc<Routes>,
}

/// What the thread and the callers share.
struct Shared {
    core: Arc<CoreShared>,
    clock: Clock,
    watched: Lock<HashMap<Key, Watched>>,
    providers: Lock<BTreeMap<ProviderId, Arc<Provider>>>,
    waker: Arc<Waker>,
    /// Whether `watched` has changed since the thread has read it.
    is_changed: AtomicBool,
    is_closed: AtomicBool,
    /// Whether the thread has ended, so that the prices are no longer observed as they arrive.
    has_ended: AtomicBool,
}

impl Shared {
    /// Observes events until the quotes are closed.
    fn run(&self) {
        let (mut sources, mut providers) = (Vec::new(), Vec::new());
        let mut check_at = Instant::now();
        while !self.is_closed.load(Ordering::Acquire) {
            if self.is_changed.swap(false, Ordering::AcqRel) {
                sources = self.watched.lock().values().map(|one| Arc::clone(&one.source)).collect();
                providers = self.providers.lock().values().cloned().collect();
            }
            for source in &sources {
                source.observe(self.core.dispatcher.watermark(), self.clock);
            }
            if Instant::now() >= check_at {
                for provider in &providers {
                    provider.check(self.clock.now());
                }
                check_at = Instant::now() + CHECK;
            }
            let is_ready = || {
                self.is_closed.load(Ordering::Acquire)
                    || self.is_changed.load(Ordering::Acquire)
                    || sources.iter().any(|source: &Arc<Source>| source.has_work())
            };
            self.waker.wait((!sources.is_empty()).then_some(check_at), is_ready);
        }
    }

    fn find(&self, provider: &str, symbol: &str) -> Option<Arc<Source>> {
        if self.has_ended.load(Ordering::Acquire) {
            return None;
        }
        let key = (ProviderId::find(provider)?, SymbolId::find(symbol)?);
        self.watched.lock().get(&key).map(|watched| Arc::clone(&watched.source))
    }

    /// Returns the state of a provider's connection, from now on.
    fn provider(&self, id: ProviderId) -> Arc<Provider> {
        let stats = self.core.feeds.of(id);
        let mut providers = self.providers.lock();
        let provider =
            providers.entry(id).or_insert_with(|| Arc::new(Provider::new(stats, self.clock.now())));
        Arc::clone(provider)
    }

    fn changed(&self) {
        self.is_changed.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Ends the routes and the thread. The caller is attached.
    fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        let watched = std::mem::take(&mut *self.watched.lock());
        self.changed();
        drop(watched);
    }
}

/// Marks the end of the thread, also by a panic.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.has_ended.store(true, Ordering::Release);
    }
}

/// Bid, ask, last price, times of bid and ask and of the last price, whether a complete book has that bid and ask,
/// whether they are crossed, when the connection delivered anything, and the lag of the feed.
type QuoteTuple<'py> = (
    Option<Bound<'py, PyAny>>,
    Option<Bound<'py, PyAny>>,
    Option<Bound<'py, PyAny>>,
    Nanos,
    Nanos,
    bool,
    bool,
    Nanos,
    Option<Nanos>,
);

/// The latest prices of watched symbols, kept by a thread that needs no interpreter.
///
/// Times are those of a clock that counts from the start of the machine, with `boot_time` added: the time of the start.
#[pyclass(module = "meltica._core", name = "Quotes", frozen, immutable_type)]
pub struct PyQuotes {
    shared: Arc<Shared>,
    thread: Lock<Option<JoinHandle<()>>>,
}

#[pymethods]
impl PyQuotes {
    #[new]
    fn new(core: &Bound<'_, PyCore>, boot_time: Nanos) -> PyResult<Self> {
        let shared = Arc::new(Shared {
            core: Arc::clone(&core.get().shared),
            clock: Clock::new(boot_time),
            watched: Lock::leaf(HashMap::new()),
            providers: Lock::leaf(BTreeMap::new()),
            waker: Arc::default(),
            is_changed: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
        });
        let ended = Ended(Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("meltica-quotes".into());
        let thread = thread.spawn(move || ended.0.run())?;
        Ok(Self { shared, thread: Lock::leaf(Some(thread)) })
    }

    /// Watches these symbols, as (provider, symbol), in place of the previous ones. One thread at a time may call it.
    ///
    /// Raises `CapacityError` if the core lacks room for a symbol; those before it are watched.
    fn watch(&self, py: Python<'_>, routes: Vec<(String, String)>) -> PyResult<()> {
        let shared = &self.shared;
        let mut wanted = BTreeSet::new();
        for (provider, symbol) in routes {
            let provider = ProviderId::intern(&provider);
            wanted.insert((provider, provider.routed(&symbol).map_err(value_error)?));
        }
        let removed: Vec<_> = shared.watched.lock().extract_if(|key, _| !wanted.contains(key)).collect();
        shared.changed();
        drop(removed);
        for (provider, symbol) in wanted {
            if shared.watched.lock().contains_key(&(provider, symbol)) {
                continue;
            }
            let connection = shared.provider(provider);
            let waker = Arc::clone(&shared.waker);
            let made = py.detach(|| Source::make(&shared.core.dispatcher, connection, symbol, waker));
            let (source, queue, routes) = made.map_err(|error| {
                CapacityError::new_err(format!(
                    "{} of {} not watched: {error}",
                    symbol.name(),
                    provider.name()
                ))
            })?;
            let routes = Routes::subscribe(py, &shared.core.subscriptions, &queue, routes);
            let watched = Watched { source: Arc::new(source), _routes: routes };
            shared.watched.lock().insert((provider, symbol), watched);
            shared.changed();
        }
        Ok(())
    }

    /// Returns the latest prices of a symbol:
    /// (bid, ask, last, time of bid and ask, time of last, of a book, crossed, connected, lag).
    ///
    /// Bid and ask have one time, because each event states both. A time without a price is 0. While bid and ask are
    /// crossed, both are None.
    ///
    /// None before its first event, while its feed is stale, and for a symbol that is not watched.
    fn quote<'py>(&self, py: Python<'py>, provider: &str, symbol: &str) -> PyResult<Option<QuoteTuple<'py>>> {
        let shared = &*self.shared;
        let Some(source) = shared.find(provider, symbol) else { return Ok(None) };
        source.observe(shared.core.dispatcher.watermark(), shared.clock);
        let Prices { top, last, is_crossed } = source.prices();
        if top.is_none() && last.is_none() && !is_crossed {
            return Ok(None);
        }
        let (connected_at, lag) = source.provider().check(shared.clock.now());
        let number = |price: Option<Decimal>| price.map(|price| py_decimal(py, price)).transpose();
        let (bid, ask) = (number(top.and_then(|top| top.bid))?, number(top.and_then(|top| top.ask))?);
        let (top_at, is_of_book) = top.map_or((0, false), |top| (top.time, top.is_of_book));
        let last_at = last.map_or(0, |last| last.time);
        let last = number(last.map(|last| last.price))?;
        Ok(Some((bid, ask, last, top_at, last_at, is_of_book, is_crossed, connected_at, lag)))
    }

    /// Returns the quantity that an order of `side` meets at `limit` or better, within the best 128 levels.
    ///
    /// None without a complete book.
    fn depth<'py>(
        &self,
        py: Python<'py>,
        provider: &str,
        symbol: &str,
        side: &str,
        limit: &Bound<'_, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let shared = &*self.shared;
        let side = Side::from_name(side)
            .ok_or_else(|| value_error(format!("expected the side Buy or Sell, saw {side:?}")))?;
        let limit = decimal(limit)?;
        let Some(source) = shared.find(provider, symbol) else { return Ok(None) };
        source.observe(shared.core.dispatcher.watermark(), shared.clock);
        source.depth(side, limit).map(|quantity| py_decimal(py, quantity)).transpose()
    }

    /// Ends the thread. `quote` and `depth` return None afterwards.
    fn close(&self, py: Python<'_>) {
        self.shared.close();
        let thread = self.thread.lock().take();
        py.detach(|| thread.map(JoinHandle::join));
    }
}

impl Drop for PyQuotes {
    fn drop(&mut self) {
        self.shared.close();
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyQuotes>()
}
