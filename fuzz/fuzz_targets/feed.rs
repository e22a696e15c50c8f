//! Feeds lines of frames through decoder, books, dispatch and a queue.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meltica_core::bus::{Item, OverflowPolicy, QueueOptions};
use meltica_core::codec::Codec;
use meltica_core::codec::fixtures::{SNAPSHOT, TICKER, binance_spec, wrap};
use meltica_core::dispatch::{Dispatcher, Publisher, Route, RouteKey};
use meltica_core::event::{Book, Kind, Payload};
use meltica_core::feed::{Feed, Source};
use meltica_core::names::ProviderId;
use meltica_core::pool::{DepthClass, Pools};
use std::sync::{Arc, LazyLock};

const DEPTH: usize = 25;

static CODEC: LazyLock<Arc<Codec>> =
    LazyLock::new(|| Codec::compile(binance_spec()).expect("the fixture compiles"));
static POOLS: LazyLock<Arc<Pools>> = LazyLock::new(|| Pools::new(1 << 28));

fuzz_target!(|data: &[u8]| {
    let provider = ProviderId::intern("fuzz");
    let dispatcher = Dispatcher::new(Arc::clone(&POOLS));
    let route = |kind: &Kind| Route {
        key: RouteKey { provider, kind: *kind, symbol: None },
        filters: Vec::new(),
        depth: DEPTH as u32,
    };
    let routes: Vec<_> = Kind::PUBLIC.iter().map(route).collect();
    let options = QueueOptions {
        policies: [OverflowPolicy::DropOldest; Kind::COUNT],
        capacity: 2048,
        batch: 4096,
        private_limit: 4096,
        depth: DEPTH as u32,
    };
    let keys: Vec<_> = routes.iter().map(|route| route.key).collect();
    let (queue, mut reader) =
        dispatcher.queue(options, &keys, Arc::default()).expect("the pools hold one queue");
    Dispatcher::subscribe(&dispatcher, &queue, routes);
    let mut feed = Feed::new(Publisher::new(&dispatcher, provider), Some(Arc::clone(&CODEC)));
    let mut last = 0;
    let mut run = |feed: &mut Feed, frame: &[u8]| {
        let events = feed.frame_from(Source::Recording, 0, frame, 0).expect("not stopped").events;
        let mut items: Vec<Item> = Vec::new();
        while reader.has_work() {
            reader.read(dispatcher.watermark(), 4096, &mut items);
        }
        assert_eq!(items.len(), events as usize);
        for item in &items {
            assert_eq!(item.header().seq, last + 1, "sequence numbers have no gaps");
            last += 1;
            if let Payload::Book(book) = &item.payload {
                check(book);
            }
        }
        events
    };
    let started = run(&mut feed, wrap(SNAPSHOT).as_bytes());
    assert_eq!(started, 1, "a synchronised book");
    for frame in data.split(|byte| *byte == b'\n') {
        run(&mut feed, frame);
    }
    assert_eq!(run(&mut feed, TICKER.as_bytes()), 1, "the feed remains usable");
    drop((feed, reader, queue, dispatcher));
    assert_eq!(POOLS.events.free(), POOLS.events.capacity(), "every slot is returned");
    for books in DepthClass::ALL.map(|class| POOLS.books(class)) {
        assert_eq!(books.free(), books.capacity(), "every slot is returned");
    }
});

/// Checks the invariants of a published book.
fn check(book: &Book) {
    assert!(book.bids.is_sorted_by(|a, b| a.price > b.price), "{:?}", book.bids);
    assert!(book.asks.is_sorted_by(|a, b| a.price < b.price), "{:?}", book.asks);
    for (side, count) in [(&book.bids, book.bid_count), (&book.asks, book.ask_count)] {
        assert_eq!(side.len(), DEPTH.min(count as usize));
        assert!(side.iter().all(|level| level.price > 0 && level.quantity > 0));
    }
    if let (Some(bid), Some(ask)) = (book.bids.first(), book.asks.first()) {
        assert!(bid.price < ask.price, "a crossed book");
    }
}
