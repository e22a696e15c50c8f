//! One provider's way into the data plane, from Python.

use crate::codec::PyCodec;
use crate::convert::value_error;
use crate::core::CoreShared;
use crate::instance::{lock, summary_dict};
use crate::payload::{self, Parsed};
use meltica_core::clock;
use meltica_core::dispatch::{NotDispatched, Origin, Publisher};
use meltica_core::event::{Kind, Nanos, StaleReason};
use meltica_core::feed::{Feed, FeedStats};
use meltica_core::names::SymbolId;
use meltica_core::replay::{Line, Merge, Pace};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A Python file object as a Rust reader.
struct PyReader(Py<PyAny>);

impl io::Read for PyReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        Python::attach(|py| {
            let mut read = || -> PyResult<usize> {
                let bytes = self.0.bind(py).call_method1("read", (out.len(),))?;
                let bytes = bytes.cast::<PyBytes>()?.as_bytes();
                let n = bytes.len().min(out.len());
                out[..n].copy_from_slice(&bytes[..n]);
                Ok(n)
            };
            read().map_err(io::Error::other)
        })
    }
}

/// One provider's way into the data plane.
#[pyclass(module = "meltica._core", name = "Producer", frozen)]
pub struct PyProducer {
    core: Arc<CoreShared>,
    feed: Mutex<Feed>,
    stats: Arc<FeedStats>,
    stop: Arc<AtomicBool>,
}

impl PyProducer {
    pub fn new(core: &Arc<CoreShared>, provider: &str, codec: Option<&Bound<'_, PyCodec>>) -> PyResult<Self> {
        let provider = crate::convert::provider(provider)?;
        let publisher = Publisher::new(&core.dispatcher, provider);
        let stop = publisher.stop_flag();
        let stats = core.feed_stats(provider);
        let codec = codec.map(|codec| Arc::clone(&codec.get().0));
        let feed = Feed::counting(publisher, codec, Arc::clone(&stats));
        Ok(Self { core: Arc::clone(core), feed: Mutex::new(feed), stats, stop })
    }

    /// Whoever publishes without frames: has the feed for itself, and the readers are woken after it.
    pub fn with_feed<R>(&self, publish: impl FnOnce(&mut Feed) -> R) -> R {
        let mut feed = lock(&self.feed);
        let result = publish(&mut feed);
        feed.flush();
        result
    }

    /// Whether it was stopped.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// One frame of a replay; in lockstep where lambdas listen to each other.
    fn step(&self, feed: &mut Feed, frame: &[u8], time: Nanos, lockstep: bool) -> PyResult<bool> {
        match feed.frame(frame, time) {
            Ok(_) => {}
            Err(NotDispatched::Stopped) => return Ok(false),
            Err(error) => return Err(value_error(error)),
        }
        if lockstep {
            feed.flush();
            self.core.settle()?;
        }
        Ok(true)
    }

    fn run(
        &self,
        feed: &mut Feed,
        merge: &mut Merge,
        speed: Option<f64>,
        restamp: bool,
        progress: Option<&Py<PyAny>>,
    ) -> PyResult<()> {
        const LOOK_AROUND: u32 = 256;
        let mut pace = speed.map(Pace::new);
        let mut reported = Instant::now();
        let mut until_look = LOOK_AROUND;
        let mut first = true;
        let mut lockstep = self.core.lambdas_listen();
        let mut done = 0u64;
        loop {
            let Some((file, line)) = merge.next_line().map_err(into_py)? else { break };
            match line {
                Line::Frame(time, frame) => {
                    done += frame.len() as u64 + 21;
                    if let Some(pace) = &mut pace {
                        let mut wait = pace.wait_for(time);
                        if !wait.is_zero() {
                            feed.flush();
                        }
                        while !wait.is_zero() && !self.stop.load(Ordering::Relaxed) {
                            std::thread::sleep(wait.min(Duration::from_millis(50)));
                            wait = pace.wait_for(time);
                            Python::attach(|py| py.check_signals())?;
                        }
                    }
                    let received = if restamp { clock::wall() } else { time };
                    if !self.step(feed, frame, received, lockstep)? {
                        break;
                    }
                    if pace.is_some() {
                        feed.flush();
                    }
                }
                Line::Bad(line) => {
                    if first {
                        let seen = String::from_utf8_lossy(&line[..line.len().min(60)]).into_owned();
                        let text = format!(
                            "file {}: expected lines of `<receive ns> <frame>`, saw {seen:?}",
                            file + 1
                        );
                        return Err(value_error(text));
                    }
                    self.stats.bad("bad_line", "expected `<receive ns> <frame>`".into(), 0, line);
                }
                Line::TooLong(line) => {
                    self.stats.bad("too_large", "the line is longer than a frame may be".into(), 0, line);
                }
            }
            first = false;
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            until_look -= 1;
            if until_look == 0 {
                until_look = LOOK_AROUND;
                feed.flush();
                lockstep = self.core.lambdas_listen();
                if reported.elapsed() > Duration::from_millis(100) {
                    reported = Instant::now();
                    Python::attach(|py| {
                        py.check_signals()?;
                        progress.map_or(Ok(()), |f| f.call1(py, (done,)).map(drop))
                    })?;
                }
            }
        }
        feed.unsynced();
        if !lockstep {
            return Ok(());
        }
        feed.flush();
        self.core.settle()
    }
}

fn into_py(error: io::Error) -> PyErr {
    if error.get_ref().is_some_and(|inner| inner.is::<PyErr>())
        && let Some(inner) = error.into_inner()
        && let Ok(inner) = inner.downcast::<PyErr>()
    {
        return *inner;
    }
    PyRuntimeError::new_err("a recording could not be read")
}

#[pymethods]
impl PyProducer {
    #[getter]
    fn provider(&self) -> &'static str {
        self.stats.provider.name()
    }

    #[pyo3(signature = (frame, received_time = None))]
    fn feed(&self, py: Python<'_>, frame: &[u8], received_time: Option<Nanos>) -> PyResult<u32> {
        py.detach(|| {
            let mut feed = lock(&self.feed);
            let n = feed.frame(frame, received_time.unwrap_or_else(clock::wall)).map_err(value_error);
            feed.flush();
            n
        })
    }

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
        let received_time = received_time.unwrap_or_else(clock::wall);
        let origin = Origin { kind, symbol: crate::convert::symbol(symbol)?, venue_time, received_time };
        py.detach(|| {
            let mut feed = lock(&self.feed);
            let wanted = match parsed {
                Parsed::Payload(payload) => feed.publish(origin, payload),
                Parsed::Book(book) => feed.publish_book(origin, &book),
            };
            feed.flush();
            if self.core.lambdas_listen() {
                self.core.settle()?;
            }
            wanted.map_err(value_error)
        })
    }

    #[pyo3(signature = (received_time = None))]
    fn restart(&self, py: Python<'_>, received_time: Option<Nanos>) -> PyResult<u32> {
        py.detach(|| {
            let mut feed = lock(&self.feed);
            let n = feed.restart(received_time.unwrap_or_else(clock::wall)).map_err(value_error);
            feed.flush();
            n
        })
    }

    fn unsynced(&self, py: Python<'_>) -> Vec<&'static str> {
        py.detach(|| lock(&self.feed).unsynced().into_iter().map(SymbolId::name).collect())
    }

    #[pyo3(signature = (files, *, speed = None, restamp = false, progress = None))]
    fn replay(
        &self,
        py: Python<'_>,
        files: Vec<Py<PyAny>>,
        speed: Option<f64>,
        restamp: bool,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        if speed.is_some_and(|speed| !(speed > 0.0 && speed.is_finite())) {
            return Err(value_error("expected a speed above 0, or None for as fast as possible"));
        }
        let readers = files.into_iter().map(|file| Box::new(PyReader(file)) as Box<dyn io::Read + Send>);
        let mut merge = Merge::new(readers.collect());
        py.detach(|| {
            let mut feed = lock(&self.feed);
            let result = self.run(&mut feed, &mut merge, speed, restamp, progress.as_ref());
            // Whatever ended it: the readers are woken for what was dispatched before.
            feed.flush();
            result
        })
    }

    #[pyo3(signature = (timeout = None))]
    fn drain(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let deadline = match timeout {
            Some(timeout) => {
                Some(Instant::now() + Duration::try_from_secs_f64(timeout).map_err(value_error)?)
            }
            None => None,
        };
        loop {
            let slice = Instant::now() + Duration::from_millis(100);
            let slice = deadline.map_or(slice, |deadline| deadline.min(slice));
            if py.detach(|| self.core.drain(Some(slice))) {
                return Ok(true);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(false);
            }
            py.check_signals()?;
        }
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        stats_dict(py, &self.stats)
    }

    fn bad_frames<'py>(&self, py: Python<'py>) -> Vec<(Nanos, String, Bound<'py, PyBytes>)> {
        let bad = lock(&self.stats.bad);
        bad.iter().map(|bad| (bad.received_time, bad.error.clone(), PyBytes::new(py, &bad.head))).collect()
    }
}

/// A provider's counters as a dictionary.
pub fn stats_dict<'py>(py: Python<'py>, stats: &FeedStats) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    for (name, counter) in [
        ("frames", &stats.frames),
        ("bytes", &stats.bytes),
        ("unwanted", &stats.unwanted),
        ("ignored", &stats.ignored),
        ("unknown_enums", &stats.unknown_enums),
        ("duplicates", &stats.duplicates),
        ("stale_ids", &stats.stale_ids),
        ("old_books", &stats.old_books),
        ("buffered_diffs", &stats.buffered),
        ("gaps", &stats.gaps),
        ("orphan_snapshots", &stats.orphan_snapshots),
        ("old_snapshots", &stats.old_snapshots),
        ("no_slot", &stats.no_slot),
    ] {
        out.set_item(name, counter.get())?;
    }
    out.set_item("unsynced_books", stats.unsynced.load(Ordering::Relaxed))?;
    let events = PyDict::new(py);
    for kind in Kind::ALL {
        let n = stats.dispatched[kind as usize].get();
        if n > 0 {
            events.set_item(kind.name(), n)?;
        }
    }
    out.set_item("events", events)?;
    let stale = PyDict::new(py);
    for reason in StaleReason::ALL {
        let n = stats.stale[reason as usize].get();
        if n > 0 {
            stale.set_item(reason.name(), n)?;
        }
    }
    out.set_item("stale", stale)?;
    let errors = PyDict::new(py);
    for (kind, n) in lock(&stats.errors).iter() {
        errors.set_item(*kind, *n)?;
    }
    out.set_item("errors", errors)?;
    out.set_item("decode_ns", summary_dict(py, stats.decode.summary())?)?;
    Ok(out)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyProducer>()
}
