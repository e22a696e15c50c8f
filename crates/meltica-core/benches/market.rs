//! A synthetic market without pacing: `cargo bench -p meltica-core --features workload --bench market`.
//!
//! [`Flood::run`] defines what counts as an event.

#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use meltica_core::event::Nanos;
use meltica_core::venue::market::{Event, Pair};
use meltica_core::workload::market::{Flood, SLICE, market};
use std::time::{Duration, Instant};

fn actions(c: &mut Criterion) {
    let mut market = market();
    let mut group = c.benchmark_group("market");
    let mut per_slice = |n: u64| {
        let mut actions = 0u64;
        for _ in 0..n {
            let until = market.now() + SLICE;
            market.advance(until, &mut |_: &Pair, _: Nanos, event: Event<'_>| {
                actions += u64::from(matches!(event, Event::Book(_)));
            });
        }
        actions
    };
    per_slice(300);
    group.throughput(Throughput::Elements(1));
    group.bench_function("an action, not published", |b| {
        b.iter_custom(|n| {
            let started = Instant::now();
            let actions = per_slice(n.div_ceil(1000));
            started.elapsed().mul_f64(n as f64 / actions as f64)
        });
    });
}

fn events(c: &mut Criterion) {
    let mut flood = Flood::started();
    let mut group = c.benchmark_group("market");
    group.throughput(Throughput::Elements(1));
    group.bench_function("an event into a queue", |b| {
        b.iter_custom(|n| {
            let started = Instant::now();
            let events = flood.run(n.div_ceil(1500));
            started.elapsed().mul_f64(n as f64 / events as f64)
        });
    });
}

fn short() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3))
}

criterion_group!(name = benches; config = short(); targets = actions, events);
criterion_main!(benches);
