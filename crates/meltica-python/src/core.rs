//! The data plane as one object: pools, dispatcher, hosts and producers.

use crate::barrier::Barrier;
use crate::convert::value_error;
use crate::extensions::Extensions;
use crate::feeds::Feeds;
use crate::host::{HostShared, PyHost, PySlowDelivery};
use crate::routes::{RouteTuple, Subscriptions};
use crate::stats::{feed_dict, pool_dict};
use meltica_core::dispatch::{Dispatcher, StopFlag};
use meltica_core::event::Kind;
use meltica_core::names::SymbolId;
use meltica_core::pool::{DepthClass, Pools};
use meltica_core::stats::BOUNDS;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The state that hosts, producers and instances of one data plane share.
pub struct CoreShared {
    pub dispatcher: Arc<Dispatcher>,
    pub barrier: Barrier,
    pub extensions: Extensions,
    pub subscriptions: Arc<Subscriptions>,
    pub feeds: Feeds,
    /// How often an instance has ended: the watch reports changes.
    pub ends: AtomicU64,
    next_instance: AtomicU64,
}

impl CoreShared {
    fn new(dispatcher: Arc<Dispatcher>) -> Self {
        Self {
            barrier: Barrier::new(&dispatcher),
            extensions: Extensions::new(&dispatcher),
            subscriptions: Subscriptions::new(&dispatcher),
            next_instance: AtomicU64::new(1),
            feeds: Feeds::new(),
            ends: AtomicU64::new(0),
            dispatcher,
        }
    }

    pub fn next_instance_number(&self) -> u64 {
        self.next_instance.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether lambdas subscribe to each other, so that a replay must go step by step to stay repeatable.
    pub fn lambdas_listen(&self) -> bool {
        self.barrier.replays() && self.extensions.listened()
    }

    /// Ends a step of a replay; false when `stop` ended the wait for the hosts.
    pub fn settle(&self, stop: &StopFlag) -> PyResult<bool> {
        self.extensions.settle(&self.barrier, stop)
    }
}

/// One data plane: pools, routing table, producers and hosts.
///
/// `max_pool_bytes` limits the memory of all pools, 1 GiB by default.
#[pyclass(module = "meltica._core", name = "Core", frozen, immutable_type)]
pub struct PyCore {
    pub shared: Arc<CoreShared>,
}

#[pymethods]
impl PyCore {
    #[new]
    #[pyo3(signature = (*, max_pool_bytes = 1 << 30))]
    fn new(max_pool_bytes: usize) -> Self {
        let dispatcher = Dispatcher::new(Pools::new(max_pool_bytes));
        Self { shared: Arc::new(CoreShared::new(dispatcher)) }
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
    /// `names` is the number of interned symbols, `extension_bytes` the size of the extensions that wait in queues. The
    /// free slots of the pools are counted, which takes milliseconds while the pools are large.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(py);
        let pools = self.shared.dispatcher.pools();
        let event_pool = pool_dict(py, [&pools.events])?;
        let book_pool = pool_dict(py, DepthClass::ALL.map(|class| pools.books(class)))?;
        out.set_item("dispatched", self.shared.dispatcher.watermark())?;
        out.set_item("routing_version", self.shared.dispatcher.version())?;
        out.set_item("names", SymbolId::count())?;
        out.set_item("hosts", self.shared.barrier.len())?;
        out.set_item("event_pool", event_pool)?;
        out.set_item("book_pool", book_pool)?;
        out.set_item("reserved_bytes", pools.reserved_bytes())?;
        out.set_item("extension_bytes", self.shared.subscriptions.extension_bytes())?;
        out.set_item("capacity_bytes", pools.capacity_bytes())?;
        out.set_item("providers", self.provider_stats(py)?)?;
        Ok(out)
    }

    /// Returns the counters and latency summaries (ns) of each provider: the key `providers` of `stats`.
    fn provider_stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let providers = PyDict::new(py);
        for feed in self.shared.feeds.all() {
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
        self.shared.subscriptions.wanted()
    }

    /// Calls `callback(version, subscribe, unsubscribe)` after each change of `routes()`; None ends it.
    ///
    /// The callback runs on the thread that made the change and must return fast, because a host may wait for it.
    #[pyo3(signature = (callback))]
    fn watch_routes(&self, callback: Option<Py<PyAny>>) {
        self.shared.subscriptions.watch(callback);
    }

    /// Returns, by provider, the time from received to dispatched.
    ///
    /// Each histogram is (number of values below each of `HISTOGRAM_BOUNDS_NS`, sum of all values in ns, their number).
    fn histograms<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(py);
        for feed in self.shared.feeds.all() {
            out.set_item(feed.provider.name(), feed.decode.cumulative())?;
        }
        Ok(out)
    }

    /// Returns the slowest deliveries of the last minute, at most 50, the slowest first: from dispatched to the end of the
    /// callback. Those of replays are not counted.
    fn slowest(&self, py: Python<'_>) -> Vec<PySlowDelivery> {
        py.detach(|| PySlowDelivery::ranked(self.shared.barrier.slowest()))
    }

    /// Closes every queue: events that were not delivered are discarded. Stop the hosts first.
    fn close(&self) {
        self.shared.subscriptions.close();
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let kinds = PyList::new(module.py(), Kind::PUBLIC.iter().map(|kind| kind.name()))?.to_tuple();
    module.add("KINDS", kinds)?;
    module.add("HISTOGRAM_BOUNDS_NS", PyList::new(module.py(), BOUNDS)?.to_tuple())?;
    module.add_class::<PyCore>()
}
