//! The data plane as one object: pools, dispatcher, hosts and producers.

use crate::call::Callback;
use crate::convert::{kind, provider, symbol, value_error};
use crate::errors::CapacityError;
use crate::host::{Command, HostShared, Member, Signature, spawn};
use crate::instance::{InstanceShared, Plan, PyInstance, State, lock};
use meltica_core::bus::{DEFAULT_POLICIES, OverflowPolicy, Policies, Queue};
use meltica_core::dispatch::{Change, Dispatcher, Origin, Publisher, Route, RouteKey, SubscriptionId};
use meltica_core::event::{Extension, Kind, Nanos, Payload};
use meltica_core::feed::FeedStats;
use meltica_core::names::{ProviderId, SymbolId};
use meltica_core::pool::{Claim, Pools};
use meltica_core::stats::BOUNDS;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

/// Past this many private events waiting for it, an instance is halted.
pub const PRIVATE_LIMIT: usize = 65_536;

/// The provider of what lambdas emit.
pub const LAMBDAS: &str = "meltica";

/// An extension that waits for the end of the present step of a replay.
struct Emitted {
    origin: u64,
    extension: Extension,
    time: Nanos,
}

/// What everything of one data plane shares.
pub struct CoreShared {
    pub dispatcher: Arc<Dispatcher>,
    hosts: Mutex<Vec<Weak<HostShared>>>,
    seats: Mutex<HashMap<u64, (Arc<Queue>, SubscriptionId)>>,
    emitter: Mutex<Publisher>,
    outbox: Mutex<Vec<Emitted>>,
    next_instance: AtomicU64,
    /// By provider: a provider that starts anew counts on.
    feeds: Mutex<BTreeMap<ProviderId, Arc<FeedStats>>>,
    /// Called with what a change of the routing table asks of providers.
    watch: Mutex<Option<Py<PyAny>>>,
}

impl CoreShared {
    pub fn join(&self, number: u64, queue: &Arc<Queue>, subscription: SubscriptionId) {
        lock(&self.seats).insert(number, (Arc::clone(queue), subscription));
    }

    pub fn leave(&self, number: u64) {
        lock(&self.seats).remove(&number);
    }

    /// Routes nothing more to an instance that does not end.
    pub fn cut_off(&self, py: Python<'_>, number: u64) {
        let mut seats = lock(&self.seats);
        if let Some((queue, subscription)) = seats.remove(&number)
            && !seats.values().any(|(_, other)| *other == subscription)
        {
            drop(seats);
            let change = self.dispatcher.unsubscribe(subscription);
            queue.close();
            self.tell(py, &change);
        }
    }

    /// Tells whoever watches what a change of the routing table asks of providers.
    pub fn tell(&self, py: Python<'_>, change: &Change) {
        let Some(watch) = lock(&self.watch).as_ref().map(|watch| watch.clone_ref(py)) else { return };
        if change.subscribe.is_empty() && change.unsubscribe.is_empty() {
            return;
        }
        let (subscribe, unsubscribe) = (route_tuples(&change.subscribe), route_tuples(&change.unsubscribe));
        if let Err(error) = watch.call1(py, (change.version, subscribe, unsubscribe)) {
            error.write_unraisable(py, Some(watch.bind(py)));
        }
    }

    /// Returns a provider's counters.
    pub fn feed_stats(&self, provider: ProviderId) -> Arc<FeedStats> {
        Arc::clone(lock(&self.feeds).entry(provider).or_insert_with(|| Arc::new(FeedStats::new(provider))))
    }

    /// Waits until every host has handled what was dispatched so far.
    pub fn drain(&self, deadline: Option<Instant>) -> bool {
        let seq = self.dispatcher.watermark();
        let hosts: Vec<_> = lock(&self.hosts).iter().filter_map(Weak::upgrade).collect();
        hosts.iter().all(|host| host.wait_drained(seq, deadline))
    }

    /// Whether lambdas listen to each other, so that a replay must go step by step to stay repeatable.
    pub fn lambdas_listen(&self) -> bool {
        let replaying = lock(&self.hosts).iter().filter_map(Weak::upgrade).any(|host| host.event_clock);
        replaying && lock(&self.emitter).listened(Kind::Extension)
    }

    /// Sends an extension, at once or at the end of the step.
    pub fn emit(
        &self,
        py: Python<'_>,
        extension: Extension,
        origin: u64,
        time: Nanos,
        later: bool,
    ) -> PyResult<()> {
        if later {
            lock(&self.outbox).push(Emitted { origin, extension, time });
            return Ok(());
        }
        py.detach(|| self.publish_extension(extension, time))
    }

    fn publish_extension(&self, extension: Extension, time: Nanos) -> PyResult<()> {
        let symbol = symbol(&extension.name)?;
        let mut publisher = lock(&self.emitter);
        if let Some(wanted) = publisher.wanted(Kind::Extension, symbol) {
            let origin = Origin { kind: Kind::Extension, symbol, venue_time: None, received_time: time };
            publisher
                .publish(wanted, origin, Payload::Extension(Box::new(extension)))
                .map_err(value_error)?;
            publisher.flush();
        }
        Ok(())
    }

    /// Sends what was emitted during a step, by instance, until nobody answers any more.
    pub fn settle(&self) -> PyResult<()> {
        const ROUNDS: usize = 1000;
        for _ in 0..ROUNDS {
            self.drain(None);
            let mut emitted = std::mem::take(&mut *lock(&self.outbox));
            if emitted.is_empty() {
                return Ok(());
            }
            emitted.sort_by_key(|e| e.origin);
            for Emitted { extension, time, .. } in emitted {
                self.publish_extension(extension, time)?;
            }
        }
        Err(crate::errors::LambdaError::new_err(format!(
            "lambdas answer each other's extensions without end: {ROUNDS} rounds within one event"
        )))
    }
}

/// A route as Python sees it: provider, kind, symbol or None for every symbol.
type RouteTuple = (&'static str, &'static str, Option<&'static str>);

fn route_tuples(keys: &[RouteKey]) -> Vec<RouteTuple> {
    keys.iter().map(|key| (key.provider.name(), key.kind.name(), key.symbol.map(SymbolId::name))).collect()
}

/// One data plane.
#[pyclass(module = "meltica._core", name = "Core", frozen)]
pub struct PyCore {
    pub shared: Arc<CoreShared>,
}

#[pymethods]
impl PyCore {
    #[new]
    #[pyo3(signature = (*, max_pool_bytes = 1 << 30))]
    fn new(max_pool_bytes: usize) -> PyResult<Self> {
        let dispatcher = Dispatcher::new(Pools::new(max_pool_bytes));
        let emitter = Mutex::new(Publisher::new(&dispatcher, provider(LAMBDAS)?));
        let shared = Arc::new(CoreShared {
            dispatcher,
            hosts: Mutex::default(),
            seats: Mutex::default(),
            emitter,
            outbox: Mutex::default(),
            next_instance: AtomicU64::new(1),
            feeds: Mutex::default(),
            watch: Mutex::default(),
        });
        Ok(Self { shared })
    }

    #[pyo3(signature = (provider, codec = None))]
    fn producer(
        &self,
        provider: &str,
        codec: Option<&Bound<'_, crate::codec::PyCodec>>,
    ) -> PyResult<crate::producer::PyProducer> {
        crate::producer::PyProducer::new(&self.shared, provider, codec)
    }

    #[pyo3(signature = (mode, *, clock = "wall", batch = 256))]
    fn host(&self, mode: &str, clock: &str, batch: usize) -> PyResult<PyHost> {
        let shared_mode = match mode {
            "thread" => false,
            "shared" => true,
            _ => return Err(value_error(format!("expected the host thread or shared, saw {mode:?}"))),
        };
        let event_clock = match clock {
            "wall" => false,
            "event" => true,
            _ => return Err(value_error(format!("expected the clock wall or event, saw {clock:?}"))),
        };
        if !(1..=65_536).contains(&batch) {
            return Err(value_error(format!("expected a batch of 1 to 65536 events, saw {batch}")));
        }
        let shared = HostShared::new(Arc::clone(&self.shared), shared_mode, event_clock, batch);
        lock(&self.shared.hosts).push(Arc::downgrade(&shared));
        Ok(PyHost {
            shared,
            core: Arc::clone(&self.shared),
            thread: OnceLock::new(),
            instances: Mutex::default(),
        })
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(py);
        let pools = self.shared.dispatcher.pools();
        let pool = |capacity: usize, free: usize, exhausted: u64| -> PyResult<Bound<'py, PyDict>> {
            let pool = PyDict::new(py);
            pool.set_item("capacity", capacity)?;
            pool.set_item("free", free)?;
            pool.set_item("exhausted", exhausted)?;
            Ok(pool)
        };
        let (events, books) = (&pools.events, &pools.books);
        out.set_item("dispatched", self.shared.dispatcher.watermark())?;
        out.set_item("routing_version", self.shared.dispatcher.version())?;
        out.set_item("event_pool", pool(events.capacity(), events.free(), events.exhausted())?)?;
        out.set_item("book_pool", pool(books.capacity(), books.free(), books.exhausted())?)?;
        out.set_item("reserved_bytes", pools.reserved_bytes())?;
        let providers = PyDict::new(py);
        for (provider, feed) in lock(&self.shared.feeds).iter() {
            providers.set_item(provider.name(), crate::producer::stats_dict(py, feed)?)?;
        }
        out.set_item("providers", providers)?;
        Ok(out)
    }

    fn routes(&self) -> Vec<RouteTuple> {
        route_tuples(&self.shared.dispatcher.wanted())
    }

    #[pyo3(signature = (callback))]
    fn watch_routes(&self, callback: Option<Py<PyAny>>) {
        *lock(&self.shared.watch) = callback;
    }

    fn histograms<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(py);
        for (provider, feed) in lock(&self.shared.feeds).iter() {
            out.set_item(provider.name(), feed.decode.cumulative())?;
        }
        Ok(out)
    }

    fn close(&self) {
        for (queue, _) in lock(&self.shared.seats).values() {
            queue.close();
        }
    }
}

/// One thread that runs callbacks.
#[pyclass(module = "meltica._core", name = "Host", frozen)]
pub struct PyHost {
    shared: Arc<HostShared>,
    core: Arc<CoreShared>,
    thread: OnceLock<Mutex<Option<std::thread::JoinHandle<()>>>>,
    instances: Mutex<Vec<Arc<InstanceShared>>>,
}

/// How many symbols a route for every symbol is reserved for.
const WILDCARD_SYMBOLS: usize = 64;

fn claim(
    policies: &Policies,
    capacity: usize,
    batch: usize,
    depth: u32,
    routes: &[Route],
    keep_book: bool,
) -> Claim {
    let cells = |wanted: &dyn Fn(Kind) -> bool| -> usize {
        let routes = routes.iter().filter(|r| wanted(r.key.kind));
        routes.map(|r| if r.key.symbol.is_some() { 1 } else { WILDCARD_SYMBOLS }).sum()
    };
    let ring = |kind: Kind| !kind.is_private() && policies[kind as usize] != OverflowPolicy::Conflate;
    let in_ring = |kind: Kind| routes.iter().any(|r| r.key.kind == kind && ring(kind));
    let in_rings = capacity.next_power_of_two() + 2 * batch;
    let book = Kind::BookSnapshot;
    let conflated = |kind| policies[kind as usize] == OverflowPolicy::Conflate;
    // A conflated route holds one event in its cell and two that were taken and wait their turn.
    let events = 3 * cells(&conflated) + if Kind::ALL.into_iter().any(in_ring) { in_rings } else { 0 };
    let books = if in_ring(book) { in_rings } else { 3 * cells(&|k| k == book) };
    let kept = if keep_book { cells(&|k| k == book) } else { 0 };
    Claim { events, books: books + kept, depth: if books > 0 { depth as usize } else { 0 } }
}

#[pymethods]
impl PyHost {
    #[getter]
    fn mode(&self) -> &'static str {
        if self.shared.shared_mode { "shared" } else { "thread" }
    }

    #[pyo3(signature = (
        id, *, callbacks, routes, filters = None, policies = None, capacity = 1024, book_depth = 25,
        keep_market = false, keep_book = false, on_start = None, on_stop = None, on_error = None, max_errors = 0,
        slow_ns = 100_000_000
    ))]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools)]
    fn add(
        &self,
        id: String,
        callbacks: &Bound<'_, PyDict>,
        routes: &Bound<'_, PyAny>,
        filters: Option<&Bound<'_, PyDict>>,
        policies: Option<HashMap<String, String>>,
        capacity: usize,
        book_depth: u32,
        keep_market: bool,
        keep_book: bool,
        on_start: Option<Py<PyAny>>,
        on_stop: Option<Py<PyAny>>,
        on_error: Option<Py<PyAny>>,
        max_errors: u64,
        slow_ns: u64,
    ) -> PyResult<PyInstance> {
        if !(1..=5000).contains(&book_depth) {
            return Err(value_error(format!("expected a book depth of 1 to 5000 levels, saw {book_depth}")));
        }
        if !(1..=1 << 20).contains(&capacity) {
            return Err(value_error(format!(
                "expected a queue capacity of 1 to 1048576 events, saw {capacity}"
            )));
        }
        let mut compiled_policies = DEFAULT_POLICIES;
        for (name, policy) in policies.unwrap_or_default() {
            compiled_policies[kind(&name)? as usize] =
                OverflowPolicy::from_name(&policy).ok_or_else(|| {
                    value_error(format!(
                        "{name}: expected the policy conflate, drop_oldest or block, saw {policy:?}"
                    ))
                })?;
        }
        let filters = filters.map(crate::filter::filters).transpose()?.unwrap_or_default();
        let mut compiled_routes = Vec::new();
        for route in routes.try_iter()? {
            let (source, name, of): (String, String, Option<String>) = route?.cast::<PyTuple>()?.extract()?;
            let kind = kind(&name)?;
            let key = RouteKey {
                provider: provider(&source)?,
                kind,
                symbol: of.as_deref().map(symbol).transpose()?,
            };
            let filters = filters.get(&kind).cloned().unwrap_or_default();
            compiled_routes.push(Route { key, filters, depth: book_depth });
        }
        compiled_routes.sort_by_key(|route| route.key);
        let mut by_kind = [const { None }; Kind::COUNT];
        for (name, callable) in callbacks {
            by_kind[kind(&name.extract::<String>()?)? as usize] = Some(Callback::new(&callable)?);
        }
        let mut instances = lock(&self.instances);
        if !self.shared.shared_mode && !instances.is_empty() {
            let text = "a thread host runs one instance; make another host, or one in shared mode";
            return Err(crate::errors::LambdaError::new_err(text));
        }
        let batch = self.shared.batch();
        let claim = claim(&compiled_policies, capacity, batch, book_depth, &compiled_routes, keep_book);
        let reservation = Pools::reserve(self.core.dispatcher.pools(), claim)
            .map_err(|error| CapacityError::new_err(format!("instance {id}: {error}")))?;
        self.run()?;
        let number = self.core.next_instance.fetch_add(1, Ordering::Relaxed);
        let host = Arc::clone(&self.shared);
        let shared = Arc::new(InstanceShared::new(number, id, host, keep_market, keep_book, book_depth));
        let member = Member { callbacks: by_kind, on_start, on_stop, on_error, max_errors, slow_ns };
        let signature = Signature {
            policies: compiled_policies,
            capacity,
            depth: book_depth,
            routes: compiled_routes.iter().map(|route| route.key).collect(),
            filtered: !filters.is_empty(),
        };
        *lock(&shared.plan) = Some(Plan { member, signature, routes: compiled_routes, reservation });
        instances.retain(|other| !matches!(other.state(), State::Stopped | State::Failed));
        instances.push(Arc::clone(&shared));
        Ok(PyInstance { shared, core: Arc::clone(&self.core) })
    }

    #[pyo3(signature = (timeout = 5.0))]
    fn stop(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let instances = lock(&self.instances).clone();
        let mut clean = true;
        for shared in instances {
            clean &= PyInstance { shared, core: Arc::clone(&self.core) }.stop(py, timeout)?;
        }
        self.shared.send(Command::End);
        let Some(thread) = self.thread.get() else { return Ok(clean) };
        let deadline = Instant::now() + Duration::try_from_secs_f64(timeout).map_err(value_error)?;
        py.detach(|| {
            let mut thread = lock(thread);
            while !self.shared.has_ended() && clean && Instant::now() < deadline {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            if self.shared.has_ended()
                && let Some(thread) = thread.take()
            {
                let _ = thread.join();
            }
        });
        Ok(clean && self.shared.has_ended())
    }
}

impl PyHost {
    fn run(&self) -> PyResult<()> {
        if self.thread.get().is_none() {
            let name = format!("meltica-{}", self.mode());
            let thread = spawn(Arc::clone(&self.shared), &name)?;
            let _ = self.thread.set(Mutex::new(Some(thread)));
        }
        Ok(())
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let kinds = PyList::new(module.py(), Kind::PUBLIC.iter().map(|kind| kind.name()))?.to_tuple();
    module.add("KINDS", kinds)?;
    module.add("HISTOGRAM_BOUNDS_NS", PyList::new(module.py(), BOUNDS)?.to_tuple())?;
    module.add_class::<PyCore>()?;
    module.add_class::<PyHost>()
}
