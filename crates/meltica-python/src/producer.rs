//! One provider's entry into the data plane, from Python.

mod replay;

use crate::codec::PyCodec;
use crate::convert::{canonical, value_error};
use crate::core::CoreShared;
use crate::errors::LambdaError;
use crate::locks::{Lock, Rank, core_lock};
use crate::payload::{self, Parsed};
use crate::stats::feed_dict;
use meltica_core::clock;
use meltica_core::dispatch::{NotDispatched, Origin, Publisher, StopFlag};
use meltica_core::event::{Kind, Nanos, Payload};
use meltica_core::feed::{Feed, FeedOutcome, FeedStats, Source};
use meltica_core::names::{ProviderId, SymbolId};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use replay::{Run, merge};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What `Producer.feed` did with a frame.
///
/// The message of a frame counts as exactly one of `decoded`, `control`, `unmatched` and `bad`.
#[pyclass(module = "meltica._core", name = "FeedOutcome", frozen, immutable_type)]
pub struct PyFeedOutcome(FeedOutcome);

#[pymethods]
impl PyFeedOutcome {
    /// Number of events dispatched, notices about books included.
    #[getter]
    fn events(&self) -> u32 {
        self.0.events
    }

    /// Number of market data messages.
    ///
    /// They need not have events: duplicates, book changes that wait for a snapshot, and unwanted messages count too.
    #[getter]
    fn decoded(&self) -> u32 {
        self.0.decoded
    }

    /// Number of messages that the codec declares as not market data.
    #[getter]
    fn control(&self) -> u32 {
        self.0.control
    }

    /// Number of well-formed messages that match no declaration of the codec.
    #[getter]
    fn unmatched(&self) -> u32 {
        self.0.unmatched
    }

    /// Number of messages that could not be decoded. `Producer.bad_frames` has the latest.
    #[getter]
    fn bad(&self) -> u32 {
        self.0.bad
    }

    /// Whether the adapter has to handle the frame: it holds control or unmatched messages.
    #[getter]
    fn needs_adapter(&self) -> bool {
        self.0.needs_adapter()
    }

    fn __repr__(&self) -> String {
        let FeedOutcome { events, decoded, control, unmatched, bad } = self.0;
        format!(
            "FeedOutcome(events={events} decoded={decoded} control={control} unmatched={unmatched} bad={bad})"
        )
    }
}

/// One provider's entry into the data plane, made by `Core.producer`.
#[pyclass(module = "meltica._core", name = "Producer", frozen, immutable_type)]
pub struct PyProducer {
    core: Arc<CoreShared>,
    feed: Lock<Feed>,
    stats: Arc<FeedStats>,
    stop: Arc<StopFlag>,
    /// Whether checksums are verified. Not behind `feed`, which a replay locks until it ends.
    checksums: Arc<AtomicBool>,
    /// What the handler of a signal raised while a call waited for a reader.
    interrupt: Arc<Lock<Option<PyErr>>>,
}

impl PyProducer {
    pub fn new(core: &Arc<CoreShared>, provider: &str, codec: Option<&Bound<'_, PyCodec>>) -> PyResult<Self> {
        let provider = ProviderId::intern(provider);
        let interrupt = Arc::new(Lock::leaf(None));
        let handler = Arc::clone(&interrupt);
        // Signals are handled on the main thread only; on other threads the check does nothing.
        let stop = Arc::new(StopFlag::with_interrupts(move || {
            let raised = Python::attach(|py| py.check_signals()).err();
            let interrupted = raised.is_some();
            if interrupted {
                *handler.lock() = raised;
            }
            interrupted
        }));
        let publisher = Publisher::new(&core.dispatcher, provider).stopped_by(Arc::clone(&stop));
        let stats = core.feeds.of(provider);
        let codec = codec.map(|codec| Arc::clone(&codec.get().0));
        let feed = Feed::counting(publisher, codec, Arc::clone(&stats));
        let (core, checksums) = (Arc::clone(core), Arc::clone(feed.checksum_switch()));
        Ok(Self { core, feed: Lock::new(Rank::Feed, feed), stats, stop, checksums, interrupt })
    }

    /// Publishes without frames: runs `publish` with exclusive use of the feed, then wakes the readers.
    pub fn with_feed<R>(&self, publish: impl FnOnce(&mut Feed) -> R) -> R {
        let mut feed = self.feed.lock();
        let result = publish(&mut feed);
        feed.flush();
        result
    }

    /// Interns the symbol of an event. The name of an extension is not interned; it stays in the payload.
    fn symbol(&self, kind: Kind, symbol: &str, parsed: &Parsed) -> PyResult<SymbolId> {
        if let Parsed::Payload(Payload::Extension(extension)) = parsed {
            let name = extension.name();
            if symbol != name {
                return Err(value_error(format!(
                    "extension {name:?}: expected its name as the symbol of the event, saw {symbol:?}"
                )));
            }
            return Ok(SymbolId::EMPTY);
        }
        let (provider, name) = (self.stats.provider, canonical(symbol));
        let id = if kind == Kind::BalanceUpdate { provider.currency(&name) } else { provider.symbol(&name) };
        id.map_err(value_error)
    }

    /// Whether `stop` was called.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_set()
    }

    /// Raises what the handler of a signal raised while the last call waited for a reader.
    pub fn raise_interrupt(&self) -> PyResult<()> {
        self.interrupt.lock().take().map_or(Ok(()), Err)
    }

    fn raised(&self, error: NotDispatched) -> PyErr {
        match (self.raise_interrupt(), error) {
            (Err(interrupt), _) => interrupt,
            (Ok(()), NotDispatched::QueueFull) => LambdaError::new_err(
                "publish failed: a callback must not wait for its own queue, which blocks and is full; \
                 call it from another thread",
            ),
            (Ok(()), error) => value_error(error),
        }
    }
}

#[pymethods]
impl PyProducer {
    /// Name of the provider.
    #[getter]
    fn provider(&self) -> &'static str {
        self.stats.provider.name()
    }

    /// Decodes one frame, dispatches its events and returns what became of the frame.
    ///
    /// `received_time` is in ns, None for now. `symbol` is the one that the frame was requested for: it is that of a book
    /// snapshot that names none. A frame that cannot be decoded is counted, not raised, and so is a book snapshot of
    /// another symbol or without one. `connection` is a number of the adapter's: each connection has books of its own.
    #[pyo3(signature = (frame, received_time = None, *, symbol = None, connection = 0))]
    fn feed(
        &self,
        py: Python<'_>,
        frame: &[u8],
        received_time: Option<Nanos>,
        symbol: Option<&str>,
        connection: u32,
    ) -> PyResult<PyFeedOutcome> {
        py.detach(|| {
            let source = match symbol {
                Some(symbol) => {
                    Source::Request(self.stats.provider.symbol(&canonical(symbol)).map_err(value_error)?)
                }
                None => Source::Stream,
            };
            let mut feed = self.feed.lock();
            let received_time = received_time.unwrap_or_else(clock::wall);
            let outcome = feed.frame_from(source, connection, frame, received_time);
            feed.flush();
            outcome.map(PyFeedOutcome).map_err(|error| self.raised(error))
        })
    }

    /// Dispatches one event and returns whether an instance receives it.
    ///
    /// `payload` has the form of `Event.to_dict()["payload"]`; times are in ns, `received_time` None for now. Of a book
    /// whose best bid reaches its best ask, only a `MarketStale` is dispatched. Raises `ValueError` naming the key that
    /// is missing or has a wrong value, such as a negative price, or the book level that is empty or not in order.
    #[pyo3(signature = (kind, symbol, payload, *, venue_time = None, received_time = None))]
    fn publish(
        &self,
        py: Python<'_>,
        kind: &str,
        symbol: &str,
        payload: &Bound<'_, PyAny>,
        venue_time: Option<Nanos>,
        received_time: Option<Nanos>,
    ) -> PyResult<bool> {
        let kind = crate::convert::kind(kind)?;
        let parsed = payload::from_dict(kind, payload)?;
        match &parsed {
            Parsed::Payload(payload) => payload.check(),
            Parsed::Book(book) => book.check(),
        }
        .map_err(value_error)?;
        let received_time = received_time.unwrap_or_else(clock::wall);
        let origin = Origin { kind, symbol: self.symbol(kind, symbol, &parsed)?, venue_time, received_time };
        py.detach(|| {
            let lockstep = self.core.lambdas_listen();
            if lockstep {
                self.core.barrier.refuse_own_hosts("publish")?;
            }
            let mut feed = self.feed.lock();
            let wanted = match parsed {
                Parsed::Payload(payload) => feed.publish(origin, payload),
                Parsed::Book(book) => feed.publish_book(origin, &book),
            };
            feed.flush();
            if lockstep && !self.core.settle(&self.stop)? {
                self.raise_interrupt()?;
            }
            wanted.map_err(|error| self.raised(error))
        })
    }

    /// Sizes the routing table for the symbols of the venue's instruments, so that their first events cost less.
    ///
    /// `texts` has the venue's text of symbols, which takes precedence over the codec's rule of `category`, the first one by
    /// default. Raises `ValueError` if the provider has used up its allowance of new symbols, for a text whose symbol is not
    /// one, and for a category that the codec does not have.
    #[pyo3(signature = (symbols, texts = None, *, category = None))]
    fn list_symbols(
        &self,
        py: Python<'_>,
        symbols: Vec<String>,
        texts: Option<HashMap<String, String>>,
        category: Option<&str>,
    ) -> PyResult<()> {
        py.detach(|| {
            let provider = self.stats.provider;
            let listed = symbols.iter().map(|symbol| provider.symbol(&canonical(symbol)));
            let listed = listed.collect::<Result<HashSet<_>, _>>().map_err(value_error)?;
            if let Some(texts) = texts {
                let mut feed = self.feed.lock();
                let category = category_of(&feed, category)?;
                feed.list_symbols(category, texts).map_err(|symbol| {
                    value_error(format!("expected a symbol such as BTC-USDT in `texts`, saw {symbol:?}"))
                })?;
            }
            self.core.dispatcher.list_symbols(provider, listed.len());
            Ok(())
        })
    }

    /// Sets the category of a connection, which decides what its symbols mean; the first one of the codec until then.
    ///
    /// Raises `ValueError` for a category that the codec does not have.
    #[pyo3(signature = (category, *, connection = 0))]
    fn set_category(&self, py: Python<'_>, category: &str, connection: u32) -> PyResult<()> {
        py.detach(|| {
            let mut feed = self.feed.lock();
            let category = category_of(&feed, Some(category))?;
            feed.set_category(connection, category);
            Ok(())
        })
    }

    /// Reports that a connection was lost: market data that no other one delivers is stale until its next event.
    ///
    /// `received_time` is in ns, None for now; `connection` None for all connections. The good books of other connections
    /// are published in place of those of the lost one. `forget_ids` delivers messages that were delivered before again.
    /// Returns the number of events that were dispatched.
    #[pyo3(signature = (received_time = None, *, connection = None, forget_ids = false))]
    fn restart(
        &self,
        py: Python<'_>,
        received_time: Option<Nanos>,
        connection: Option<u32>,
        forget_ids: bool,
    ) -> PyResult<u32> {
        py.detach(|| {
            let mut feed = self.feed.lock();
            let received_time = received_time.unwrap_or_else(clock::wall);
            let n = match connection {
                Some(connection) => feed.restart_connection(connection, received_time),
                None => feed.restart(received_time),
            };
            if forget_ids {
                feed.forget_ids();
            }
            feed.flush();
            n.map_err(|error| self.raised(error))
        })
    }

    /// Returns the symbols whose book waits for a snapshot: after its first diffs, a gap or `restart`.
    ///
    /// With a `connection`, those whose book of this connection waits, otherwise those without a good book on any.
    #[pyo3(signature = (connection = None))]
    fn unsynced(&self, py: Python<'_>, connection: Option<u32>) -> Vec<&'static str> {
        py.detach(|| {
            let feed = self.feed.lock();
            let symbols = connection.map_or_else(|| feed.unsynced(), |number| feed.unsynced_on(number));
            symbols.into_iter().map(SymbolId::name).collect()
        })
    }

    /// Returns the symbols whose book is stale, and whether it was good before, unless its connection was lost then.
    fn stale_books(&self, py: Python<'_>) -> BTreeMap<&'static str, bool> {
        py.detach(|| self.feed.lock().stale_books())
    }

    /// Sets whether the checksums of books are verified, as they are at first; otherwise they count as unverified.
    ///
    /// Any thread may call it, also during a `replay`. A book that is stale stays so until its next snapshot.
    fn verify_checksums(&self, enabled: bool) {
        self.checksums.store(enabled, Ordering::Relaxed);
    }

    /// Returns the faults of checksums by symbol: `snapshots` if the last three did not have theirs, as the declared layout
    /// or the decimals are wrong; `decimals` if the checksums have others than the instrument list, which are used.
    fn checksum_faults(&self, py: Python<'_>) -> BTreeMap<&'static str, &'static str> {
        py.detach(|| self.feed.lock().checksum_faults())
    }

    /// Returns the symbols with checksums that were not verified, their number, and whether others were verified.
    fn unverified(&self, py: Python<'_>) -> BTreeMap<&'static str, (u64, bool)> {
        py.detach(|| {
            self.feed.lock().unverified().into_iter().map(|(symbol, n)| (symbol.name(), n)).collect()
        })
    }

    /// Feeds recorded lines `<receive ns> <frame>`, merged by (time, file, line), until the files end or `stop`.
    ///
    /// A line may name a connection and a symbol before its frame, and mark that a connection was opened or lost; see
    /// docs/replay.md.
    ///
    /// `speed` 1.0 keeps the recorded pace, None replays as fast as the readers allow. `restamp` replaces the recorded
    /// receive times with the current time. `on_stamp` is called with the index of the file, the number of the line and
    /// the result of `stamp_fault` for each receive time that is at fault. `progress` is called with the number of
    /// consumed bytes, about ten times a second.
    ///
    /// Raises `ValueError` if a file does not start with such a line or `speed` is not above 0, and what a file,
    /// `on_stamp` or `progress` raises.
    #[pyo3(signature = (files, *, speed = None, restamp = false, on_stamp = None, progress = None))]
    #[allow(clippy::too_many_arguments)]
    fn replay(
        &self,
        py: Python<'_>,
        files: Vec<Py<PyAny>>,
        speed: Option<f64>,
        restamp: bool,
        on_stamp: Option<Py<PyAny>>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        if speed.is_some_and(|speed| !(speed > 0.0 && speed.is_finite())) {
            return Err(value_error("expected a speed above 0, or None for as fast as possible"));
        }
        py.detach(|| {
            let mut feed = self.feed.lock();
            let mut merge = merge(files, feed.max_frame());
            let run = Run::new(self, speed, restamp, on_stamp.as_ref(), progress.as_ref());
            let result = run.run(&mut feed, &mut merge);
            // Whatever ended the replay, readers are woken for the events dispatched before.
            feed.flush();
            result
        })
    }

    /// Waits until every host has handled the events dispatched so far; False after `timeout` seconds.
    ///
    /// Without a timeout, `stop` ends the wait. Raises `LambdaError` in a callback, whose host would wait for itself.
    #[pyo3(signature = (timeout = None))]
    fn drain(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        self.core.barrier.refuse_own_hosts("drain")?;
        let deadline = match timeout {
            Some(timeout) => {
                Some(Instant::now() + Duration::try_from_secs_f64(timeout).map_err(value_error)?)
            }
            None => None,
        };
        let seq = self.core.barrier.dispatched();
        loop {
            let slice = Instant::now() + Duration::from_millis(100);
            let slice = deadline.map_or(slice, |deadline| deadline.min(slice));
            if py.detach(|| self.core.barrier.drain(seq, slice)) {
                return Ok(true);
            }
            if deadline.map_or_else(|| self.is_stopped(), |deadline| Instant::now() >= deadline) {
                return Ok(false);
            }
            py.check_signals()?;
        }
    }

    /// Stops a running `replay` soon, and every later one at once. Any thread may call it.
    ///
    /// Ends the waits of `publish` and `feed` for slow readers too.
    fn stop(&self) {
        self.stop.stop();
    }

    /// Returns counters: frames, bytes, events by kind, gaps, stale books, unknown enum values, errors by kind.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        feed_dict(py, &self.stats)
    }

    /// Returns the first frames that match no declaration of the codec, up to 8, each the first 400 bytes.
    fn ignored_frames<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        let ignored = core_lock(&self.stats.ignored).clone();
        ignored.into_iter().map(|frame| PyBytes::new(py, &frame)).collect()
    }

    /// Returns the latest frames that could not be decoded: (received ns, the fault, the first 4 KiB).
    fn bad_frames<'py>(&self, py: Python<'py>) -> Vec<(Nanos, String, Bound<'py, PyBytes>)> {
        let bad = core_lock(&self.stats.bad).clone();
        bad.into_iter().map(|bad| (bad.received_time, bad.error, PyBytes::new(py, &bad.head))).collect()
    }
}

/// Returns the index of a category of the feed's codec; that of the first one for None.
fn category_of(feed: &Feed, name: Option<&str>) -> PyResult<usize> {
    let Some(name) = name else { return Ok(0) };
    let categories = feed.categories();
    categories.iter().position(|category| category == name).ok_or_else(|| {
        let expected = categories.join(", ");
        value_error(format!("expected a category of the codec, one of {expected:?}, saw {name:?}"))
    })
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(replay::stamp_fault, module)?)?;
    module.add_function(wrap_pyfunction!(replay::read_line, module)?)?;
    module.add_class::<PyProducer>()?;
    module.add_class::<PyFeedOutcome>()
}
