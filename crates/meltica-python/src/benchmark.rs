//! Measurements of the core alone, for `meltica bench`.

use crate::codec::PyCodec;
use crate::convert::value_error;
use meltica_core::book::checksum::Verified;
use meltica_core::event::Kind;
use meltica_core::feed::{Feed, Source};
use meltica_core::venue::{Command, Fees, flow};
use meltica_core::workload::{self, Books, Checksums, Plane, Rotation, Trades, route, symbol};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The docstring of `meltica._core.benchmarks`.
pub const DOC: &str = "Benchmarks of the core without Python, for `meltica bench`.";

/// Returns the median of five runs after a warm-up run.
fn median(mut run: impl FnMut() -> f64) -> f64 {
    run();
    middle((0..5).map(|_| run()).collect())
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs `work`, which is `n` operations, and returns the ns per operation.
fn timed(n: usize, work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_nanos() as f64 / n as f64
}

/// Returns the ns per operation, for an operation whose cost does not change. The result of a run is the median of a
/// hundred pieces of `n` operations. A piece takes a fraction of a millisecond, so that interruptions by other
/// processes do not reach the median.
fn steady(n: usize, mut operation: impl FnMut()) -> f64 {
    median(|| middle((0..100).map(|_| timed(n, || (0..n).for_each(|_| operation()))).collect()))
}

fn pool() -> f64 {
    let pool = workload::pool();
    steady(10_000, || workload::cycle(&pool))
}

/// Two threads that use one pool. Before each piece, the other thread has to answer within microseconds, so that both
/// are running when the piece starts. On a machine that is too busy for that, pieces start regardless after 2 s.
fn pool_contended() -> f64 {
    const PIECES: u64 = 300;
    const N: usize = 5000;
    const AT_ONCE: Duration = Duration::from_micros(2);
    const GO: u64 = 1 << 63;
    let (pool, request, answer) = (workload::pool(), AtomicU64::new(0), AtomicU64::new(0));
    let work = || (0..N).for_each(|_| workload::cycle(&pool));
    let other = || {
        let mut pieces = 0;
        while pieces < PIECES {
            let number = request.load(Ordering::Acquire);
            if number & GO != 0 && number != answer.load(Ordering::Relaxed) {
                work();
                pieces += 1;
            }
            answer.store(number, Ordering::Release);
        }
    };
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut number = 0;
    let mut ask = |flag: u64, meanwhile: &dyn Fn()| {
        number += 1;
        request.store(number | flag, Ordering::Release);
        let ns = timed(1, meanwhile);
        while answer.load(Ordering::Acquire) != number | flag {
            std::hint::spin_loop();
        }
        ns
    };
    let mut piece = || {
        loop {
            let since = Instant::now();
            ask(0, &|| ());
            if since.elapsed() < AT_ONCE || Instant::now() > deadline {
                break ask(GO, &work) / N as f64;
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(other);
        middle((0..PIECES).map(|_| piece()).skip(50).collect())
    })
}

fn trades_of_btc(readers: usize) -> Plane {
    Plane::new(readers, &[route(Kind::Trade, Some(symbol("BTC-USDT")), 0)])
}

fn publish(readers: usize) -> f64 {
    let plane = trades_of_btc(readers);
    let mut trades = Trades::new(&plane, symbol("BTC-USDT"));
    steady(10_000 / (readers + 4), || trades.publish())
}

/// Publishes tickers of a thousand symbols in turn to queues that conflate them.
fn publish_conflated(readers: usize) -> f64 {
    let symbols = workload::symbols("CONFLATED", 1000);
    let routes: Vec<_> = symbols.iter().map(|symbol| route(Kind::Ticker, Some(*symbol), 0)).collect();
    let plane = Plane::new(readers, &routes);
    let mut tickers = Rotation::tickers(&plane, symbols);
    steady(10_000 / (readers + 4), || tickers.publish())
}

/// Publishes trades of twenty symbols in turn, each to its share of the queues.
fn publish_spread(readers: usize) -> f64 {
    let symbols = workload::symbols("SPREAD", 20);
    let mut plane = Plane::new(0, &[]);
    for symbol in symbols.iter().cycle().take(readers) {
        plane.add(&[route(Kind::Trade, Some(*symbol), 0)]);
    }
    let mut trades = Rotation::trades(&plane, symbols);
    steady(10_000 / (readers / 20 + 4), || trades.publish())
}

/// Publishes the first trade of each symbol to wildcard subscribers. Returns the ns of all and the slowest as a multiple
/// of the median.
fn first_sight(symbols: usize, readers: usize) -> (f64, f64) {
    let symbols = workload::symbols("FIRST", symbols);
    let plane = Plane::new(readers, &[route(Kind::Trade, None, 0)]);
    let mut trades = Rotation::trades(&plane, symbols.clone());
    let each: Vec<f64> = symbols.iter().map(|_| timed(1, || trades.publish())).collect();
    let (all, worst) = (each.iter().sum(), each.iter().copied().fold(0.0, f64::max));
    (all, worst / middle(each))
}

fn publish_book(readers: usize) -> f64 {
    let of = symbol("BTC-USDT");
    let plane = Plane::new(readers, &[route(Kind::BookSnapshot, Some(of), 1000)]);
    let mut books = Books::new(&plane, of, 1000);
    steady(100, || books.publish())
}

fn unwanted() -> f64 {
    let plane = trades_of_btc(1);
    let mut publisher = plane.publisher();
    let other = symbol("ETH-USDT");
    let mut lookup = || {
        black_box(publisher.wanted(Kind::Trade, black_box(other)));
    };
    steady(10_000, &mut lookup)
}

/// Publishes to one queue alone, and to one beside `others` queues of other symbols; returns the ns of each. Short runs
/// of both alternate and the medians are compared, because the difference is smaller than the noise of a shared machine.
fn beside(others: usize) -> (f64, f64) {
    let (alone, mut among) = (trades_of_btc(1), trades_of_btc(1));
    for i in 0..others {
        among.add(&[route(Kind::Trade, Some(symbol(&format!("OTHER{i}-USDT"))), 0)]);
    }
    let mut planes = [&alone, &among].map(|plane| Trades::new(plane, symbol("BTC-USDT")));
    let mut figures = [Vec::new(), Vec::new()];
    for _ in 0..501 {
        for (trades, figures) in planes.iter_mut().zip(&mut figures) {
            figures.push(timed(1000, || (0..1000).for_each(|_| trades.publish())));
        }
    }
    let [alone, among] = figures.map(middle);
    (alone, among)
}

/// Returns the ns to publish an event and wake its only reader, which has been asleep for `nap`.
fn wake(nap: Duration) -> f64 {
    const N: usize = 500;
    let mut plane = trades_of_btc(1);
    let mut trades = Trades::new(&plane, symbol("BTC-USDT"));
    let Some((mut reader, waker)) = plane.readers.pop() else { return f64::NAN };
    let dispatcher = Arc::clone(&plane.dispatcher);
    let (asleep, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let read = || {
        let mut events = Vec::new();
        while !stop.load(Ordering::Acquire) {
            let checks = Cell::new(0);
            waker.wait(None, || {
                let ready = reader.has_work() || stop.load(Ordering::Acquire);
                checks.set(checks.get() + 1);
                // `wait` checks twice before it sleeps.
                if !ready && checks.get() > 1 {
                    asleep.store(true, Ordering::Release);
                }
                ready
            });
            reader.read(dispatcher.watermark(), 64, &mut events);
            events.clear();
        }
    };
    let mut one = || {
        while !asleep.swap(false, Ordering::AcqRel) {
            std::thread::yield_now();
        }
        let since = Instant::now();
        while since.elapsed() < nap {
            std::hint::spin_loop();
        }
        timed(1, || {
            trades.publish();
            trades.publisher.flush();
        })
    };
    std::thread::scope(|scope| {
        scope.spawn(read);
        let figure = median(|| middle((0..N).map(|_| one()).collect()));
        stop.store(true, Ordering::Release);
        waker.wake();
        figure
    })
}

/// Returns the ns per order of a mixed flow on a book of 1,000 levels: limit orders, cancellations, taking orders.
fn order() -> f64 {
    const N: usize = 100_000;
    let flow = flow::mixed(N, 1);
    let (engine, ledger) = flow::engine(Fees::default());
    let mut out = Vec::new();
    median(|| {
        let (mut engine, mut ledger) = (engine.clone(), ledger.clone());
        let mut process = |command: &Command| {
            out.clear();
            engine.process(&mut ledger, *command, 0, &mut out);
            black_box(&out);
        };
        flow.build.iter().for_each(&mut process);
        timed(N, || flow.steps.iter().for_each(process))
    })
}

/// Returns the ns to verify the checksum of a book.
fn checksum() -> f64 {
    let mut checksums = Checksums::new(10);
    steady(500, || assert_eq!(black_box(checksums.verify()), Verified::Different))
}

/// Returns the ns per event of a synthetic market, from its order to a queue.
fn market() -> f64 {
    let mut flood = workload::market::Flood::started();
    median(|| {
        let started = Instant::now();
        let events = flood.run(200);
        started.elapsed().as_nanos() as f64 / events as f64
    })
}

/// Returns the nanoseconds that one operation of the core takes: the median of five runs after a warm-up.
///
/// Raises `ValueError` for an unknown name.
#[pyfunction]
#[pyo3(signature = (name, readers = 1))]
fn benchmark(py: Python<'_>, name: &str, readers: usize) -> PyResult<f64> {
    let readers = readers.clamp(1, 1024);
    py.detach(|| match name {
        "pool" => Ok(pool()),
        "pool_contended" => Ok(pool_contended()),
        "publish" => Ok(publish(readers)),
        "publish_book" => Ok(publish_book(readers)),
        "publish_conflated" => Ok(publish_conflated(readers)),
        "publish_spread" => Ok(publish_spread(readers)),
        "unwanted" => Ok(unwanted()),
        "checksum" => Ok(checksum()),
        "order" => Ok(order()),
        "market" => Ok(market()),
        _ => Err(value_error(format!(
            "expected pool, pool_contended, publish, publish_book, publish_conflated, publish_spread, unwanted, \
             checksum, order or market, saw {name:?}"
        ))),
    })
}

/// Returns the nanoseconds to publish a trade and wake its only reader, asleep for `asleep_us` microseconds.
#[pyfunction]
fn benchmark_wake(py: Python<'_>, asleep_us: u64) -> f64 {
    py.detach(|| wake(Duration::from_micros(asleep_us.min(10_000))))
}

/// Returns the nanoseconds to publish a trade to one queue, alone and beside `others` queues of other symbols.
#[pyfunction]
fn benchmark_beside(py: Python<'_>, others: usize) -> (f64, f64) {
    py.detach(|| beside(others.clamp(1, 1024)))
}

/// Returns the nanoseconds of the first trades of `symbols` symbols to `readers` wildcard subscribers, in all, and the
/// slowest of them as a multiple of the median.
#[pyfunction]
fn benchmark_first_sight(py: Python<'_>, symbols: usize, readers: usize) -> (f64, f64) {
    py.detach(|| first_sight(symbols.clamp(1, 20_000), readers.clamp(1, 1024)))
}

fn copied(frames: &[Bound<'_, PyBytes>]) -> Vec<Vec<u8>> {
    frames.iter().map(|frame| frame.as_bytes().to_vec()).collect()
}

/// Returns the nanoseconds from a frame's bytes to its dispatched event, with books of depth 25.
///
/// `before` is fed first and not measured, to build up the books.
#[pyfunction]
#[pyo3(signature = (codec, frames, before = Vec::new()))]
fn benchmark_frames(
    py: Python<'_>,
    codec: &Bound<'_, PyCodec>,
    frames: Vec<Bound<'_, PyBytes>>,
    before: Vec<Bound<'_, PyBytes>>,
) -> f64 {
    const PIECE: usize = 64;
    let (frames, before) = (copied(&frames), copied(&before));
    let codec = Arc::clone(&codec.get().0);
    py.detach(|| {
        let plane =
            Plane::new(1, &[Kind::BookSnapshot, Kind::Trade, Kind::Ticker].map(|kind| route(kind, None, 25)));
        // Each run has its own feed, because ids and books restart. The frames of a piece differ from those of the
        // others, so a piece's result is the median of the five runs.
        let mut pieces = vec![Vec::new(); frames.chunks(PIECE).len()];
        for run in 0..6 {
            let mut feed = Feed::new(plane.publisher(), Some(Arc::clone(&codec)));
            let mut feed_all = |frames: &[Vec<u8>]| {
                for frame in frames {
                    let _ = black_box(feed.frame_from(Source::Recording, 0, frame, 1));
                }
            };
            feed_all(&before);
            for (frames, figures) in frames.chunks(PIECE).zip(&mut pieces) {
                let ns = timed(1, || feed_all(frames));
                if run > 0 {
                    figures.push(ns);
                }
            }
        }
        pieces.into_iter().map(middle).sum::<f64>() / frames.len() as f64
    })
}

/// Returns generated frames: two that build up a book, then a mix.
///
/// The mix has 40 % trades, 20 % book tickers, 20 % day tickers and 20 % book diffs.
#[pyfunction]
fn benchmark_mix(py: Python<'_>) -> Vec<Bound<'_, PyBytes>> {
    workload::mix().iter().map(|frame| PyBytes::new(py, frame)).collect()
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(benchmark, module)?)?;
    module.add_function(wrap_pyfunction!(benchmark_wake, module)?)?;
    module.add_function(wrap_pyfunction!(benchmark_beside, module)?)?;
    module.add_function(wrap_pyfunction!(benchmark_first_sight, module)?)?;
    module.add_function(wrap_pyfunction!(benchmark_frames, module)?)?;
    module.add_function(wrap_pyfunction!(benchmark_mix, module)?)
}
