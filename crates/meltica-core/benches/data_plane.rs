//! Each part of an event's path by itself: `cargo bench -p meltica-core --features workload`. Part of a benchmark's
//! name after `--` selects benchmarks.

#![allow(missing_docs)]

mod binance;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use meltica_core::book::{BookAssembler, DiffOutcome};
use meltica_core::codec::{BookIds, DecodeError, Decoded, Decoder, Levels};
use meltica_core::event::{Book, Kind};
use meltica_core::workload::{self, Books, Plane, Trades, route, symbol};
use std::hint::black_box;
use std::time::Duration;

fn pool(c: &mut Criterion) {
    let pool = workload::pool();
    c.bench_function("pool/borrow, fill, share, release", |b| b.iter(|| workload::cycle(&pool)));
}

fn publish(c: &mut Criterion) {
    let of = symbol("BTC-USDT");
    let mut group = c.benchmark_group("publish");
    for readers in [1, 8, 64] {
        let plane = Plane::new(readers, &[route(Kind::Trade, Some(of), 0)]);
        let mut trades = Trades::new(&plane, of);
        group.bench_function(format!("trade to {readers} full"), |b| b.iter(|| trades.publish()));
    }
    let plane = Plane::new(64, &[route(Kind::BookSnapshot, Some(of), 1000)]);
    let mut books = Books::new(&plane, of, 1000);
    group.bench_function("book of 1000 + 1000 to 64", |b| b.iter(|| books.publish()));
    let (mut publisher, other) = (plane.publisher(), symbol("ETH-USDT"));
    group.bench_function("unwanted", |b| b.iter(|| publisher.wanted(Kind::Trade, black_box(other))));
}

fn decode(c: &mut Criterion) {
    let mut decoder = Decoder::new(binance::codec(), workload::provider());
    let mut group = c.benchmark_group("decode");
    for (name, stream) in [
        ("trade", "@trade"),
        ("bookTicker", "@bookTicker"),
        ("24hrTicker", "@ticker"),
        ("depth 10 + 10", "@depth"),
    ] {
        let frames = frames(stream);
        for frame in &frames {
            let check = |decoded: Result<Decoded<'_>, DecodeError>| {
                assert!(
                    matches!(decoded, Ok(Decoded::Event { .. } | Decoded::BookDiff { .. })),
                    "{decoded:?}"
                );
            };
            decoder.decode(frame, &mut (|_, _| true, check));
        }
        group.throughput(Throughput::Bytes(frames[0].len() as u64));
        let mut next = frames.iter().cycle();
        group.bench_function(name, |b| {
            let mut sink = (
                |_, _| true,
                |decoded: Result<Decoded<'_>, DecodeError>| {
                    black_box(decoded.is_ok());
                },
            );
            b.iter(|| next.next().map(|frame| decoder.decode(frame, &mut sink)));
        });
    }
}

fn frames(stream: &str) -> Vec<Vec<u8>> {
    let of = |frame: &Vec<u8>| String::from_utf8_lossy(frame).contains(stream);
    workload::mix().into_iter().filter(of).collect()
}

/// Returns the changes of every diff of the mix.
fn changes() -> Vec<Levels> {
    let mut decoder = Decoder::new(binance::codec(), workload::provider());
    let mut changes = Vec::new();
    let mut keep = (
        |_, _| true,
        |decoded: Result<Decoded<'_>, DecodeError>| match decoded {
            Ok(Decoded::BookDiff { levels, .. }) => changes.push(levels.clone()),
            other => panic!("Invariant: the mix decodes, saw {other:?}"),
        },
    );
    for frame in frames("@depth") {
        decoder.decode(&frame, &mut keep);
    }
    changes
}

fn book(c: &mut Criterion) {
    let changes = changes();
    let mut group = c.benchmark_group("book");
    let levels: usize = changes.iter().map(|levels| levels.bids.len() + levels.asks.len()).sum();
    group.throughput(Throughput::Elements(levels as u64));
    group.bench_function("2,001 diffs of 10 + 10 levels", |b| {
        let apply = |mut book: BookAssembler| {
            for (id, levels) in (2..).zip(&changes) {
                let outcome = book.diff(BookIds::Range { first: id, last: id, prev: None }, None, levels);
                assert_eq!(outcome, DiffOutcome::Applied);
            }
            book
        };
        b.iter_batched(|| workload::book(1000), apply, BatchSize::LargeInput);
    });
    group.finish();
    let (book, mut out) = (workload::book(1000), Book::default());
    let mut group = c.benchmark_group("book, copy of the top");
    for depth in [25, 1000] {
        group.bench_function(depth.to_string(), |b| b.iter(|| book.copy_top(black_box(depth), &mut out)));
    }
}

fn short() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2))
}

criterion_group!(name = benches; config = short(); targets = pool, publish, decode, book);
criterion_main!(benches);
