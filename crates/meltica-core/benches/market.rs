//! A synthetic market as fast as it goes: `cargo bench -p meltica-core --bench market`.
//!
//! What an event is says [`Flood::run`].

#![allow(missing_docs)]

// Of what the benches share this one needs little.
#[allow(dead_code, unused_imports)]
mod workload;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use meltica_core::event::Nanos;
use meltica_core::venue::market::{Event, Pair};
use std::time::{Duration, Instant};
use workload::market::{Flood, SLICE, market};

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
    group.bench_function("an action, told to nobody", |b| {
        b.iter_custom(|n| {
            let started = Instant::now();
            let actions = per_slice(n.div_ceil(1000));
            started.elapsed().mul_f64(n as f64 / actions as f64)
        });
    });
}

fn events(c: &mut Criterion) {
    let mut flood = Flood::new();
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
