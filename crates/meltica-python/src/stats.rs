//! Counters and histograms as dictionaries.

use crate::locks::core_lock;
use meltica_core::event::{Kind, StaleReason};
use meltica_core::feed::FeedStats;
use meltica_core::pool::{Pool, Recycle};
use meltica_core::stats::{BOUNDS, Histogram, Summary};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::atomic::Ordering;

/// A histogram as Python sees it: the number of values below each bound, their sum in ns, and their number.
pub type Counts = ([u64; BOUNDS.len()], u64, u64);

/// A histogram of durations, with the bounds `HISTOGRAM_BOUNDS_NS`. Only one thread at a time may record.
#[pyclass(module = "meltica._core", name = "Histogram", frozen, immutable_type)]
pub struct PyHistogram(pub Histogram);

#[pymethods]
impl PyHistogram {
    #[new]
    fn new() -> Self {
        Self(Histogram::default())
    }

    /// Counts a duration in ns; a negative one counts as 0.
    fn record(&self, ns: i64) {
        self.0.record(ns.max(0) as u64);
    }

    /// Returns the number of values below each of `HISTOGRAM_BOUNDS_NS`, the sum of all values in ns, and their number.
    fn counts(&self) -> Counts {
        self.0.cumulative()
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyHistogram>()
}

/// Returns `{kind: count}` without the kinds whose count is 0.
pub fn by_kind(py: Python<'_>, count: impl Fn(Kind) -> u64) -> PyResult<Bound<'_, PyDict>> {
    nonzero(py, Kind::ALL.map(|kind| (kind.name(), count(kind))))
}

fn nonzero(
    py: Python<'_>,
    counts: impl IntoIterator<Item = (&'static str, u64)>,
) -> PyResult<Bound<'_, PyDict>> {
    let out = PyDict::new(py);
    for (name, count) in counts {
        if count > 0 {
            out.set_item(name, count)?;
        }
    }
    Ok(out)
}

/// Returns a histogram's summary.
pub fn summary_dict(py: Python<'_>, summary: Summary) -> PyResult<Bound<'_, PyDict>> {
    let out = PyDict::new(py);
    out.set_item("count", summary.count)?;
    out.set_item("mean", summary.sum.checked_div(summary.count).unwrap_or(0))?;
    out.set_item("p50", summary.p50)?;
    out.set_item("p99", summary.p99)?;
    out.set_item("max", summary.max)?;
    Ok(out)
}

/// Returns the size and the use of pools of one type.
pub fn pool_dict<'py, 'a, T: Recycle + Send + Sync + 'a>(
    py: Python<'py>,
    pools: impl IntoIterator<Item = &'a Pool<T>> + Clone + Sync,
) -> PyResult<Bound<'py, PyDict>> {
    let sum = |count: fn(&Pool<T>) -> u64| pools.clone().into_iter().map(count).sum::<u64>();
    // A walk of the free lists: a count that each borrow and return updates would cost them too much.
    let free = py.detach(|| sum(|pool| pool.free() as u64));
    let out = PyDict::new(py);
    out.set_item("capacity", sum(|pool| pool.capacity() as u64))?;
    out.set_item("free", free)?;
    out.set_item("exhausted", sum(Pool::exhausted))?;
    Ok(out)
}

/// Returns a provider's counters.
pub fn feed_dict<'py>(py: Python<'py>, stats: &FeedStats) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    for (name, counter) in [
        ("frames", &stats.frames),
        ("bytes", &stats.bytes),
        ("unwanted", &stats.unwanted),
        ("control", &stats.control),
        ("unmatched", &stats.unmatched),
        ("unknown_enums", &stats.unknown_enums),
        ("duplicates", &stats.duplicates),
        ("stale_ids", &stats.stale_ids),
        ("checksums_verified", &stats.checksums_verified),
        ("checksums_unverified", &stats.checksums_unverified),
        ("checksums_failed", &stats.checksums_failed),
        ("checksum_faults", &stats.checksum_faults),
        ("scale_faults", &stats.scale_faults),
        ("history_trades", &stats.history),
        ("late_trades", &stats.late),
        ("id_restarts", &stats.id_restarts),
        ("crossed_tickers", &stats.crossed_tickers),
        ("unchanged_tickers", &stats.unchanged_tickers),
        ("bad_candles", &stats.bad_candles),
        ("repeated_candles", &stats.repeated_candles),
        ("frame_gaps", &stats.frame_gaps),
        ("frame_restarts", &stats.frame_restarts),
        ("old_frames", &stats.old_frames),
        ("partial_books", &stats.partial_books),
        ("old_books", &stats.old_books),
        ("repeated_diffs", &stats.repeated_diffs),
        ("heartbeats", &stats.heartbeats),
        ("crossed_diffs", &stats.crossed_diffs),
        ("standby_books", &stats.standby),
        ("takeovers", &stats.takeovers),
        ("buffered_diffs", &stats.buffered),
        ("gaps", &stats.gaps),
        ("old_snapshots", &stats.old_snapshots),
        ("no_slot", &stats.no_slot),
    ] {
        out.set_item(name, counter.get())?;
    }
    out.set_item("ignored", stats.control.get() + stats.unmatched.get())?;
    out.set_item("waiting_bytes", stats.waiting_bytes.load(Ordering::Relaxed))?;
    out.set_item("unsynced_books", stats.unsynced.load(Ordering::Relaxed))?;
    out.set_item("events", by_kind(py, |kind| stats.dispatched[kind as usize].get())?)?;
    let stale = StaleReason::ALL.map(|reason| (reason.name(), stats.stale[reason as usize].get()));
    out.set_item("stale", nonzero(py, stale)?)?;
    let errors = PyDict::new(py);
    let counts: Vec<_> = core_lock(&stats.errors).iter().map(|(kind, n)| (*kind, *n)).collect();
    for (kind, n) in counts {
        errors.set_item(kind, n)?;
    }
    out.set_item("errors", errors)?;
    out.set_item("decode_ns", summary_dict(py, stats.decode.summary())?)?;
    Ok(out)
}
