//! Measurements of the core alone, for `meltica bench`.

use crate::codec::PyCodec;
use crate::convert::{provider, symbol, value_error};
use meltica_core::bus::{DEFAULT_POLICIES, Queue, Reader, Waker};
use meltica_core::decimal::Decimal;
use meltica_core::dispatch::{Dispatcher, Origin, Publisher, Route, RouteKey};
use meltica_core::event::{Event, Kind, Payload, Side, Trade, VenueId};
use meltica_core::feed::Feed;
use meltica_core::pool::{Claim, Pool, Pools, Reservation};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

/// Runs `work`, which does `n` operations, once to warm up and five times to measure.
fn median(n: usize, mut work: impl FnMut()) -> f64 {
    work();
    let mut runs = [0.0; 5].map(|_: f64| {
        let started = Instant::now();
        work();
        started.elapsed().as_nanos() as f64 / n as f64
    });
    runs.sort_by(f64::total_cmp);
    runs[2]
}

fn pool(threads: usize) -> f64 {
    const N: usize = 500_000;
    let pool: Pool<Event> = Pool::new(10, Event::default);
    pool.grow_to(1024);
    let work = || {
        for _ in 0..N {
            if let Some(mut slot) = pool.borrow() {
                slot.payload = Payload::Stale(meltica_core::event::StaleReason::Gap);
                drop(black_box(slot.into_shared()));
            }
        }
    };
    if threads == 1 {
        return median(N, work);
    }
    median(N, || {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
    })
}

struct Plane {
    dispatcher: Arc<Dispatcher>,
    _readers: Vec<Reader>,
    _reservation: Reservation,
}

fn plane(readers: usize, routes: &[Route]) -> PyResult<Plane> {
    let pools = Pools::new(1 << 30);
    let claim = Claim { events: readers * 2048, books: readers * 64, depth: 25 };
    let reservation = Pools::reserve(&pools, claim).map_err(value_error)?;
    let dispatcher = Dispatcher::new(pools);
    let attach = |_| {
        let (queue, reader) = Queue::new(DEFAULT_POLICIES, 1024, 1024, Arc::new(Waker::default()));
        dispatcher.subscribe(&queue, routes.to_vec());
        reader
    };
    let readers = (0..readers).map(attach).collect();
    Ok(Plane { dispatcher, _readers: readers, _reservation: reservation })
}

fn route(kind: Kind, of: Option<&str>) -> PyResult<Route> {
    let key = RouteKey { provider: provider("bench")?, kind, symbol: of.map(symbol).transpose()? };
    Ok(Route { key, filters: Vec::new(), depth: 25 })
}

fn publish(readers: usize) -> PyResult<f64> {
    const N: usize = 100_000;
    let plane = plane(readers, &[route(Kind::Trade, Some("BTC-USDT"))?])?;
    let mut publisher = Publisher::new(&plane.dispatcher, provider("bench")?);
    let of = symbol("BTC-USDT")?;
    let origin = Origin { kind: Kind::Trade, symbol: of, venue_time: Some(1), received_time: 2 };
    let number = Decimal::from_i64(7);
    let trade = Trade { id: VenueId::Number(1), side: Some(Side::Buy), price: number, quantity: number };
    Ok(median(N, || {
        for _ in 0..N {
            if let Some(wanted) = publisher.wanted(Kind::Trade, black_box(of)) {
                let _ = black_box(publisher.publish(wanted, origin, Payload::Trade(trade)));
            }
        }
    }))
}

fn unwanted() -> PyResult<f64> {
    const N: usize = 1_000_000;
    let plane = plane(1, &[route(Kind::Trade, Some("BTC-USDT"))?])?;
    let mut publisher = Publisher::new(&plane.dispatcher, provider("bench")?);
    let other = symbol("ETH-USDT")?;
    Ok(median(N, || {
        for _ in 0..N {
            black_box(publisher.wanted(Kind::Trade, black_box(other)));
        }
    }))
}

#[pyfunction]
#[pyo3(signature = (name, readers = 1))]
fn benchmark(py: Python<'_>, name: &str, readers: usize) -> PyResult<f64> {
    py.detach(|| match name {
        "pool" => Ok(pool(1)),
        "pool_contended" => Ok(pool(2)),
        "publish" => publish(readers.clamp(1, 1024)),
        "unwanted" => unwanted(),
        _ => Err(value_error(format!("expected pool, pool_contended, publish or unwanted, saw {name:?}"))),
    })
}

#[pyfunction]
fn benchmark_frames(
    py: Python<'_>,
    codec: &Bound<'_, PyCodec>,
    frames: Vec<Bound<'_, PyBytes>>,
) -> PyResult<f64> {
    let frames: Vec<Vec<u8>> = frames.iter().map(|frame| frame.as_bytes().to_vec()).collect();
    let codec = Arc::clone(&codec.get().0);
    py.detach(|| {
        let routes = [Kind::BookSnapshot, Kind::Trade, Kind::Ticker].map(|kind| route(kind, None));
        let routes = routes.into_iter().collect::<PyResult<Vec<_>>>()?;
        let plane = plane(1, &routes)?;
        // Ids and books start anew in each run, so each has a feed of its own.
        Ok(median(frames.len(), || {
            let Ok(source) = provider("bench") else { return };
            let mut feed = Feed::new(Publisher::new(&plane.dispatcher, source), Some(Arc::clone(&codec)));
            for frame in &frames {
                let _ = black_box(feed.frame(frame, 1));
            }
        }))
    })
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(benchmark, module)?)?;
    module.add_function(wrap_pyfunction!(benchmark_frames, module)?)
}
