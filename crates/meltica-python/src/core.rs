//! The data plane as one object: pools, dispatcher, hosts and producers.

use crate::convert::value_error;
use crate::errors::LambdaError;
use crate::host::{HostShared, PyHost};
use crate::instance::lock;
use crate::stats::{feed_dict, pool_dict};
use meltica_core::bus::Queue;
use meltica_core::dispatch::{
    Change, Dispatcher, NotDispatched, Origin, Publisher, RouteKey, StopFlag, SubscriptionId,
};
use meltica_core::event::{Extension, Kind, Nanos, Payload};
use meltica_core::feed::FeedStats;
use meltica_core::names::{ProviderId, SymbolId};
use meltica_core::pool::{DepthClass, Pools};
use meltica_core::stats::BOUNDS;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The provider name of events that lambdas emit.
pub const LAMBDAS: &str = "meltica";

/// An extension that is published at the end of the current step of a replay.
struct Emitted {
    origin: u64,
    extension: Extension,
    time: Nanos,
}

/// The state that hosts, producers and instances of one data plane share.
pub struct CoreShared {
    pub dispatcher: Arc<Dispatcher>,
    /// The hosts whose threads run.
    hosts: Mutex<Vec<Arc<HostShared>>>,
    /// How many of them are on the events' clock.
    replaying: AtomicUsize,
    /// The subscribed queues.
    queues: Mutex<BTreeMap<SubscriptionId, Arc<Queue>>>,
    emitter: Mutex<Publisher>,
    outbox: Mutex<Vec<Emitted>>,
    next_instance: AtomicU64,
    /// By provider, so that the counters of a provider survive its restarts.
    feeds: Mutex<BTreeMap<ProviderId, Arc<FeedStats>>>,
    /// Called with the subscription changes that providers have to make.
    watch: Mutex<Option<Py<PyAny>>>,
}

impl CoreShared {
    pub fn next_instance_number(&self) -> u64 {
        self.next_instance.fetch_add(1, Ordering::Relaxed)
    }

    pub fn add_queue(&self, subscription: SubscriptionId, queue: &Arc<Queue>) {
        lock(&self.queues).insert(subscription, Arc::clone(queue));
    }

    pub fn remove_queue(&self, subscription: SubscriptionId) {
        lock(&self.queues).remove(&subscription);
    }

    /// Reports a change of the routing table to the watcher, if it changes what providers must subscribe to.
    pub fn report_routes(&self, py: Python<'_>, change: &Change) {
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

    /// Adds a host whose thread has started.
    pub fn enter(&self, host: &Arc<HostShared>) {
        lock(&self.hosts).push(Arc::clone(host));
        self.replaying.fetch_add(usize::from(host.event_clock), Ordering::AcqRel);
    }

    /// Removes a host whose thread ends.
    pub fn exit(&self, host: &Arc<HostShared>) {
        lock(&self.hosts).retain(|other| !Arc::ptr_eq(other, host));
        self.replaying.fetch_sub(usize::from(host.event_clock), Ordering::AcqRel);
    }

    /// Refuses calls on the thread of a host, which would wait for themselves forever.
    pub fn refuse_own_hosts(&self, what: &str) -> PyResult<()> {
        lock(&self.hosts).iter().try_for_each(|host| host.refuse_own_thread(what))
    }

    /// Returns the counters of all providers. Without the lock: a thread that builds Python objects may detach.
    fn all_feeds(&self) -> Vec<Arc<FeedStats>> {
        lock(&self.feeds).values().cloned().collect()
    }

    /// Returns the hosts that exist.
    pub fn hosts(&self) -> Vec<Arc<HostShared>> {
        lock(&self.hosts).clone()
    }

    /// Waits until every host has handled the events dispatched so far; false when the deadline passed first.
    pub fn drain(&self, deadline: Instant) -> bool {
        let seq = self.dispatcher.watermark();
        self.hosts().iter().all(|host| host.wait_drained(seq, deadline))
    }

    /// Waits as [`Self::drain`] does; false when `stop` ended the wait.
    fn drain_until(&self, stop: &StopFlag) -> bool {
        while !self.drain(Instant::now() + DRAIN_SLICE) {
            if stop.is_stopped() {
                return false;
            }
        }
        true
    }

    /// Whether lambdas subscribe to each other, so that a replay must go step by step to stay repeatable.
    pub fn lambdas_listen(&self) -> bool {
        self.replaying.load(Ordering::Acquire) > 0 && lock(&self.emitter).listened(Kind::Extension)
    }

    /// Publishes an extension now, or at the end of the current step of a replay. Never waits for a reader.
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
        py.detach(|| self.publish_extension(extension, time)).map_err(not_published)
    }

    /// Publishes an extension without waiting: two hosts that emit to each other would wait for each other.
    fn publish_extension(&self, extension: Extension, time: Nanos) -> Result<(), NotDispatched> {
        let mut publisher = lock(&self.emitter);
        let Some((wanted, symbol)) = publisher.wanted_extension(&extension.name) else { return Ok(()) };
        let origin = Origin { kind: Kind::Extension, symbol, venue_time: None, received_time: time };
        let published = publisher.publish(wanted, origin, Payload::Extension(Box::new(extension)));
        publisher.flush();
        published.map(drop)
    }

    /// Ends a step of a replay: publishes the extensions emitted in it, in the order of their instances, and those
    /// that lambdas emit in response, until none is left. False when `stop` ended the wait for the hosts.
    pub fn settle(&self, stop: &StopFlag) -> PyResult<bool> {
        const ROUNDS: usize = 1000;
        for _ in 0..ROUNDS {
            if !self.drain_until(stop) {
                return Ok(false);
            }
            let mut emitted = std::mem::take(&mut *lock(&self.outbox));
            if emitted.is_empty() {
                return Ok(true);
            }
            emitted.sort_by_key(|e| e.origin);
            for Emitted { extension, time, .. } in emitted {
                // Once the hosts have handled everything, no queue is full.
                while let Err(full) = self.publish_extension(extension.clone(), time) {
                    if full != NotDispatched::QueueFull {
                        return Err(not_published(full));
                    }
                    if !self.drain_until(stop) {
                        return Ok(false);
                    }
                }
            }
        }
        Err(LambdaError::new_err(format!(
            "replay stopped: lambdas kept emitting in response to each other for {ROUNDS} rounds within one event"
        )))
    }
}

/// How long a wait for the hosts lasts before it checks whether it was stopped.
const DRAIN_SLICE: Duration = Duration::from_millis(50);

fn not_published(error: NotDispatched) -> PyErr {
    LambdaError::new_err(match error {
        NotDispatched::QueueFull => {
            "extension not published: a queue that blocks is full, and a callback must not \
            wait for it; emit less, or give the subscriber a larger queue or another policy"
                .into()
        }
        error => format!("extension not published: {error}"),
    })
}

/// A route as Python sees it: provider, kind, symbol or None for every symbol.
type RouteTuple = (&'static str, &'static str, Option<&'static str>);

fn route_tuples(keys: &[RouteKey]) -> Vec<RouteTuple> {
    keys.iter().map(|key| (key.provider.name(), key.kind.name(), key.symbol.map(SymbolId::name))).collect()
}

/// One data plane: pools, routing table, producers and hosts.
///
/// `max_pool_bytes` limits the memory of all pools, 1 GiB by default.
#[pyclass(module = "meltica._core", name = "Core", frozen)]
pub struct PyCore {
    pub shared: Arc<CoreShared>,
}

#[pymethods]
impl PyCore {
    #[new]
    #[pyo3(signature = (*, max_pool_bytes = 1 << 30))]
    fn new(max_pool_bytes: usize) -> Self {
        let dispatcher = Dispatcher::new(Pools::new(max_pool_bytes));
        let publisher = Publisher::new(&dispatcher, ProviderId::intern(LAMBDAS));
        let emitter = Mutex::new(publisher.stopped_by(Arc::new(StopFlag::never_wait())));
        let shared = Arc::new(CoreShared {
            dispatcher,
            hosts: Mutex::default(),
            replaying: AtomicUsize::new(0),
            queues: Mutex::default(),
            emitter,
            outbox: Mutex::default(),
            next_instance: AtomicU64::new(1),
            feeds: Mutex::default(),
            watch: Mutex::default(),
        });
        Self { shared }
    }

    /// Makes a producer that sends events under the name `provider`.
    ///
    /// Without a codec, only its `publish` can be used. Raises `ValueError` for a name that is not valid.
    #[pyo3(signature = (provider, codec = None))]
    fn producer(
        &self,
        provider: &str,
        codec: Option<&Bound<'_, crate::codec::PyCodec>>,
    ) -> PyResult<crate::producer::PyProducer> {
        crate::producer::PyProducer::new(&self.shared, provider, codec)
    }

    /// Makes a host: one thread that runs callbacks.
    ///
    /// A `thread` host runs one instance, a `shared` host many. With the `event` clock, timers and `Instance.now`
    /// follow the events, for replays. `batch` is the largest number of events read from one queue at once, 1 to 65536.
    /// The thread waits `spin_ns` for events, 0 to 1000000, before it sleeps; it holds no GIL meanwhile. Raises
    /// `ValueError` for other values.
    #[pyo3(signature = (mode, *, clock = "wall", batch = 256, spin_ns = 0))]
    fn host(&self, mode: &str, clock: &str, batch: usize, spin_ns: u64) -> PyResult<PyHost> {
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
        if spin_ns > 1_000_000 {
            return Err(value_error(format!("expected a spin of 0 to 1000000 ns, saw {spin_ns}")));
        }
        let spin = Duration::from_nanos(spin_ns);
        let shared = HostShared::new(Arc::clone(&self.shared), shared_mode, event_clock, batch, spin);
        Ok(PyHost::new(&self.shared, shared))
    }

    /// Returns counters and latency summaries (ns) of pools, hosts and providers.
    ///
    /// `names` is the number of interned symbols. The free slots of the pools are counted, which takes milliseconds while
    /// the pools are large.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(py);
        let pools = self.shared.dispatcher.pools();
        let event_pool = pool_dict(py, [&pools.events])?;
        let book_pool = pool_dict(py, DepthClass::ALL.map(|class| pools.books(class)))?;
        out.set_item("dispatched", self.shared.dispatcher.watermark())?;
        out.set_item("routing_version", self.shared.dispatcher.version())?;
        out.set_item("names", SymbolId::count())?;
        out.set_item("hosts", lock(&self.shared.hosts).len())?;
        out.set_item("event_pool", event_pool)?;
        out.set_item("book_pool", book_pool)?;
        out.set_item("reserved_bytes", pools.reserved_bytes())?;
        out.set_item("capacity_bytes", pools.capacity_bytes())?;
        out.set_item("providers", self.provider_stats(py)?)?;
        Ok(out)
    }

    /// Returns the counters and latency summaries (ns) of each provider: the key `providers` of `stats`.
    fn provider_stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let providers = PyDict::new(py);
        for feed in self.shared.all_feeds() {
            providers.set_item(feed.provider.name(), feed_dict(py, &feed)?)?;
        }
        Ok(providers)
    }

    /// Number of events dispatched so far.
    #[getter]
    fn dispatched(&self) -> u64 {
        self.shared.dispatcher.watermark()
    }

    /// Returns the routes of the running instances: (provider, kind, symbol), symbol None for every symbol.
    fn routes(&self) -> Vec<RouteTuple> {
        route_tuples(&self.shared.dispatcher.wanted())
    }

    /// Calls `callback(version, subscribe, unsubscribe)` after each change of `routes()`; None ends it.
    ///
    /// The callback runs on the thread that made the change and must return fast, because a host may wait for it.
    #[pyo3(signature = (callback))]
    fn watch_routes(&self, callback: Option<Py<PyAny>>) {
        *lock(&self.shared.watch) = callback;
    }

    /// Returns, by provider, the time from received to dispatched.
    ///
    /// Each histogram is (number of values below each of `HISTOGRAM_BOUNDS_NS`, sum of all values in ns).
    fn histograms<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(py);
        for feed in self.shared.all_feeds() {
            out.set_item(feed.provider.name(), feed.decode.cumulative())?;
        }
        Ok(out)
    }

    /// Closes every queue: events that were not delivered are discarded. Stop the hosts first.
    fn close(&self) {
        for queue in lock(&self.shared.queues).values() {
            self.shared.dispatcher.close(queue);
        }
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let kinds = PyList::new(module.py(), Kind::PUBLIC.iter().map(|kind| kind.name()))?.to_tuple();
    module.add("KINDS", kinds)?;
    module.add("HISTOGRAM_BOUNDS_NS", PyList::new(module.py(), BOUNDS)?.to_tuple())?;
    module.add_class::<PyCore>()
}
