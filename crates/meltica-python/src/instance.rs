//! One run of a lambda: what Python calls on it and what its host keeps about it.

use crate::book::BookBody;
use crate::core::CoreShared;
use crate::errors::{LambdaError, LambdaStopped};
use crate::events::{Body, Content, make};
use crate::host::{Command, HostShared, Member, Signature};
use meltica_core::clock;
use meltica_core::dispatch::Route;
use meltica_core::event::{Book, Event, Header, Kind, Nanos, Payload};
use meltica_core::names::{ProviderId, SymbolId};
use meltica_core::pool::{Reservation, Shared};
use meltica_core::stats::{Counter, Histogram, Summary};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

/// Locks whatever became of the last holder.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where an instance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    Created,
    Running,
    Stopping,
    Stopped,
    Failed,
    Stuck,
}

impl State {
    const ALL: [Self; 6] =
        [Self::Created, Self::Running, Self::Stopping, Self::Stopped, Self::Failed, Self::Stuck];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Stuck => "stuck",
        }
    }
}

/// What an instance last saw of one symbol.
#[derive(Debug, Clone, Copy, Default)]
struct Market {
    last: Option<f64>,
    bid: Option<f64>,
    ask: Option<f64>,
    time: Nanos,
    stale: bool,
}

type Key = (SymbolId, ProviderId);

/// A timer that was asked for.
pub struct TimerRequest {
    pub period: Nanos,
    pub function: Py<PyAny>,
    pub cancelled: Arc<AtomicBool>,
}

/// Everything a host needs to start the instance.
pub struct Plan {
    pub member: Member,
    pub signature: Signature,
    pub routes: Vec<Route>,
    pub reservation: Reservation,
}

/// Counters of one instance; its host's thread is the only writer.
#[derive(Default)]
pub struct InstanceStats {
    pub delivered: [Counter; Kind::COUNT],
    pub errors: Counter,
    pub slow: Counter,
    pub emitted: Counter,
    pub latency: Histogram,
    pub callback: Histogram,
    /// Losses of its queue, brought up to date by the host.
    pub conflated: [AtomicU64; Kind::COUNT],
    pub dropped: [AtomicU64; Kind::COUNT],
}

/// What host and Python share of an instance.
pub struct InstanceShared {
    pub number: u64,
    pub id: String,
    state: AtomicU8,
    pub host: Arc<HostShared>,
    pub plan: Mutex<Option<Plan>>,
    pub now: AtomicI64,
    pub delivered_at: AtomicI64,
    pub stats: InstanceStats,
    pub timers: Mutex<Vec<TimerRequest>>,
    pub last_error: Mutex<Option<String>>,
    pub keep_market: bool,
    pub keep_book: bool,
    pub book_depth: u32,
    market: Mutex<BTreeMap<Key, Market>>,
    books: Mutex<BTreeMap<Key, (Header, Shared<Book>)>>,
}

impl InstanceShared {
    pub fn new(
        number: u64,
        id: String,
        host: Arc<HostShared>,
        keep_market: bool,
        keep_book: bool,
        book_depth: u32,
    ) -> Self {
        Self {
            number,
            id,
            state: AtomicU8::new(State::Created as u8),
            host,
            plan: Mutex::default(),
            now: AtomicI64::new(0),
            delivered_at: AtomicI64::new(0),
            stats: InstanceStats::default(),
            timers: Mutex::default(),
            last_error: Mutex::default(),
            keep_market,
            keep_book,
            book_depth,
            market: Mutex::default(),
            books: Mutex::default(),
        }
    }

    pub fn state(&self) -> State {
        State::ALL[usize::from(self.state.load(Ordering::Acquire))]
    }

    pub fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// Goes from one state to another; false, and nothing happens, where it is in a third.
    pub fn change_state(&self, from: State, to: State) -> bool {
        self.state.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Keeps what `self.market` and `self.book` answer.
    pub fn observe(&self, event: &Event) {
        let header = event.header();
        let key = (header.symbol, header.provider);
        if self.keep_book {
            match &event.payload {
                Payload::Book(book) => drop(lock(&self.books).insert(key, (*header, book.clone()))),
                Payload::MarketStale(_) => drop(lock(&self.books).remove(&key)),
                _ => {}
            }
        }
        if !self.keep_market {
            return;
        }
        let mut markets = lock(&self.market);
        let market = markets.entry(key).or_default();
        match &event.payload {
            Payload::Trade(trade) => market.last = Some(trade.price.to_f64()),
            Payload::Ticker(ticker) => {
                let float = |value: Option<meltica_core::decimal::Decimal>| {
                    value.map(meltica_core::decimal::Decimal::to_f64)
                };
                market.last = float(ticker.last).or(market.last);
                market.bid = float(ticker.bid).or(market.bid);
                market.ask = float(ticker.ask).or(market.ask);
            }
            Payload::Book(book) => {
                let best = |levels: &[meltica_core::event::PriceLevel]| {
                    levels.first().map(|level| crate::payload::price(book, *level).to_f64())
                };
                (market.bid, market.ask, market.stale) = (best(&book.bids), best(&book.asks), false);
            }
            Payload::MarketStale(_) => market.stale = true,
            _ => return,
        }
        market.time = header.received_time;
    }

    /// Lets go of everything that holds pool slots or Python objects.
    pub fn clear(&self) {
        lock(&self.books).clear();
        lock(&self.timers).clear();
        lock(&self.plan).take();
    }

    pub fn now(&self) -> Nanos {
        if self.host.event_clock { self.now.load(Ordering::Relaxed) } else { clock::wall() }
    }
}

/// What an instance last saw of one symbol at one provider.
#[pyclass(module = "meltica", name = "MarketState", frozen)]
pub struct PyMarketState(Market);

#[pymethods]
impl PyMarketState {
    #[getter]
    fn last(&self) -> Option<f64> {
        self.0.last
    }

    #[getter]
    fn bid(&self) -> Option<f64> {
        self.0.bid
    }

    #[getter]
    fn ask(&self) -> Option<f64> {
        self.0.ask
    }

    #[getter]
    fn spread(&self) -> Option<f64> {
        Some(self.0.ask? - self.0.bid?)
    }

    #[getter]
    fn spread_pct(&self) -> Option<f64> {
        let bid = self.0.bid.filter(|bid| *bid > 0.0)?;
        Some(self.spread()? / bid * 100.0)
    }

    #[getter]
    fn time(&self) -> Nanos {
        self.0.time
    }

    #[getter]
    fn stale(&self) -> bool {
        self.0.stale
    }

    fn __repr__(&self) -> String {
        let number = |value: Option<f64>| value.map_or_else(|| "None".into(), |v| v.to_string());
        let Market { last, bid, ask, stale, .. } = self.0;
        let (last, bid, ask) = (number(last), number(bid), number(ask));
        format!("MarketState(last={last} bid={bid} ask={ask}{})", if stale { " stale" } else { "" })
    }

    /// What is known, for logs: `bid 60000.01, ask 60000.02, last 60000.02`.
    fn __str__(&self) -> String {
        let Market { last, bid, ask, stale, .. } = self.0;
        let parts = [("bid", bid), ("ask", ask), ("last", last)];
        let known = parts.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?)));
        known.chain(stale.then(|| "stale".into())).collect::<Vec<_>>().join(", ")
    }
}

/// A running `every`.
#[pyclass(module = "meltica", name = "Timer", frozen)]
pub struct PyTimer(Arc<AtomicBool>);

#[pymethods]
impl PyTimer {
    fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One run of a lambda.
#[pyclass(module = "meltica._core", name = "Instance", frozen)]
pub struct PyInstance {
    pub shared: Arc<InstanceShared>,
    pub core: Arc<CoreShared>,
}

/// Looks a symbol up, at the only provider it comes from unless one is named.
fn find<V: Copy>(
    map: &BTreeMap<(SymbolId, ProviderId), V>,
    symbol: &str,
    provider: Option<&str>,
) -> PyResult<Option<V>> {
    let symbol = crate::convert::symbol(symbol)?;
    if let Some(provider) = provider {
        return Ok(map.get(&(symbol, crate::convert::provider(provider)?)).copied());
    }
    let mut found = map.iter().filter(|((s, _), _)| *s == symbol);
    let Some(((_, first), value)) = found.next() else { return Ok(None) };
    if let Some(((_, second), _)) = found.next() {
        return Err(LambdaError::new_err(format!(
            "{} comes from {} and {}: say which provider is meant",
            symbol.name(),
            first.name(),
            second.name()
        )));
    }
    Ok(Some(*value))
}

impl PyInstance {
    fn command(
        &self,
        py: Python<'_>,
        timeout: Option<Duration>,
        make: impl FnOnce(mpsc::Sender<PyResult<()>>) -> Command,
    ) -> Option<PyResult<()>> {
        let (sender, receiver) = mpsc::channel();
        self.shared.host.send(make(sender));
        py.detach(move || match timeout {
            Some(timeout) => match receiver.recv_timeout(timeout) {
                Ok(result) => Some(result),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => Some(Err(ended())),
            },
            None => Some(receiver.recv().unwrap_or_else(|_| Err(ended()))),
        })
    }
}

fn ended() -> PyErr {
    LambdaError::new_err("the host's thread has ended")
}

#[pymethods]
impl PyInstance {
    #[getter]
    fn id(&self) -> &str {
        &self.shared.id
    }

    #[getter]
    fn state(&self) -> &'static str {
        self.shared.state().name()
    }

    fn start(&self, py: Python<'_>) -> PyResult<()> {
        if self.shared.state() != State::Created {
            let (id, state) = (&self.shared.id, self.shared.state().name());
            return Err(LambdaError::new_err(format!("instance {id} is {state}; an instance starts once")));
        }
        self.shared.host.refuse_own_thread(py, "start")?;
        self.command(py, None, |reply| Command::Start(Arc::clone(&self.shared), reply)).unwrap_or(Ok(()))
    }

    #[pyo3(signature = (timeout = 5.0))]
    pub fn stop(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        match self.shared.state() {
            State::Stuck => return Ok(false),
            State::Stopped | State::Failed => return Ok(true),
            // Who takes the plan decides: the host's thread has taken it when `on_start` runs.
            State::Created if lock(&self.shared.plan).take().is_some() => {
                self.shared.set_state(State::Stopped);
                self.shared.clear();
                return Ok(true);
            }
            State::Created | State::Running | State::Stopping => {}
        }
        self.shared.host.refuse_own_thread(py, "stop")?;
        let timeout = Duration::try_from_secs_f64(timeout).map_err(crate::convert::value_error)?;
        let (sender, receiver) = mpsc::channel();
        self.shared.host.send(Command::Stop(Arc::clone(&self.shared), sender));
        let receiver = Mutex::new(receiver);
        let done = |patience| {
            py.detach(|| lock(&receiver).recv_timeout(patience) != Err(mpsc::RecvTimeoutError::Timeout))
        };
        if done(timeout) {
            return Ok(true);
        }
        // The callback does not end by itself: no further one may begin, this one is interrupted if it runs Python
        // code, and else given up.
        self.shared.set_state(State::Stopping);
        self.shared.host.interrupt(py, &py.get_type::<LambdaStopped>().into_any(), self.shared.number);
        if done(timeout.clamp(Duration::from_millis(100), Duration::from_secs(1))) {
            return Ok(true);
        }
        self.shared.set_state(State::Stuck);
        self.shared.host.abandon(py, &self.shared);
        Ok(false)
    }

    #[getter]
    fn in_callback_ns(&self) -> u64 {
        self.shared.host.in_callback_ns(self.shared.number)
    }

    fn now(&self) -> Nanos {
        self.shared.now()
    }

    #[getter]
    fn delivered_at(&self) -> Nanos {
        self.shared.delivered_at.load(Ordering::Relaxed)
    }

    #[pyo3(signature = (symbol, provider = None))]
    fn market(&self, symbol: &str, provider: Option<&str>) -> PyResult<Option<PyMarketState>> {
        Ok(find(&lock(&self.shared.market), symbol, provider)?.map(PyMarketState))
    }

    #[pyo3(signature = (symbol, provider = None))]
    fn book<'py>(
        &self,
        py: Python<'py>,
        symbol: &str,
        provider: Option<&str>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let keys: BTreeMap<_, _> = lock(&self.shared.books).keys().map(|key| (*key, *key)).collect();
        let Some(key) = find(&keys, symbol, provider)? else { return Ok(None) };
        let kept = lock(&self.shared.books).get(&key).cloned();
        let Some((header, book)) = kept else { return Ok(None) };
        let body = BookBody::slot(book, self.shared.book_depth);
        body.keep();
        make(py, Content { header, body: Body::Book(body) }).map(Some)
    }

    fn every(&self, seconds: f64, r#fn: Py<PyAny>) -> PyResult<PyTimer> {
        let period = seconds * 1e9;
        if !(1e3..=1e18).contains(&period) {
            let text = format!("every: expected a period of 1e-6 to 1e9 seconds, saw {seconds}");
            return Err(crate::convert::value_error(text));
        }
        let cancelled = Arc::new(AtomicBool::new(false));
        let request =
            TimerRequest { period: period as Nanos, function: r#fn, cancelled: Arc::clone(&cancelled) };
        lock(&self.shared.timers).push(request);
        self.shared.host.timers_changed();
        Ok(PyTimer(cancelled))
    }

    fn emit(&self, py: Python<'_>, name: String, payload_json: String) -> PyResult<()> {
        let extension = crate::payload::extension(name, payload_json, self.shared.number)?;
        self.core.emit(py, extension, self.shared.number, self.shared.now(), self.shared.host.event_clock)?;
        self.shared.stats.emitted.add(1);
        Ok(())
    }

    fn histograms<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(py);
        out.set_item("latency", self.shared.stats.latency.cumulative())?;
        out.set_item("callback", self.shared.stats.callback.cumulative())?;
        Ok(out)
    }

    pub fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = &self.shared.stats;
        let out = PyDict::new(py);
        out.set_item("id", &self.shared.id)?;
        out.set_item("state", self.shared.state().name())?;
        let kinds = |count: &dyn Fn(usize) -> u64| -> PyResult<Bound<'py, PyDict>> {
            let kinds = PyDict::new(py);
            for kind in Kind::ALL {
                let n = count(kind as usize);
                if n > 0 {
                    kinds.set_item(kind.name(), n)?;
                }
            }
            Ok(kinds)
        };
        out.set_item("delivered", kinds(&|k| stats.delivered[k].get())?)?;
        out.set_item("conflated", kinds(&|k| stats.conflated[k].load(Ordering::Relaxed))?)?;
        out.set_item("dropped", kinds(&|k| stats.dropped[k].load(Ordering::Relaxed))?)?;
        out.set_item("errors", stats.errors.get())?;
        out.set_item("slow_callbacks", stats.slow.get())?;
        out.set_item("emitted", stats.emitted.get())?;
        out.set_item("in_callback_ns", self.shared.host.in_callback_ns(self.shared.number))?;
        out.set_item("last_error", lock(&self.shared.last_error).clone())?;
        out.set_item("latency_ns", summary_dict(py, stats.latency.summary())?)?;
        out.set_item("callback_ns", summary_dict(py, stats.callback.summary())?)?;
        Ok(out)
    }
}

/// A histogram's summary as a dictionary.
pub fn summary_dict(py: Python<'_>, summary: Summary) -> PyResult<Bound<'_, PyDict>> {
    let out = PyDict::new(py);
    out.set_item("count", summary.count)?;
    out.set_item("mean", summary.sum.checked_div(summary.count).unwrap_or(0))?;
    out.set_item("p50", summary.p50)?;
    out.set_item("p99", summary.p99)?;
    out.set_item("max", summary.max)?;
    Ok(out)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyInstance>()?;
    module.add_class::<PyMarketState>()?;
    module.add_class::<PyTimer>()
}
