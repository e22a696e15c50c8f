//! Feeds lines of frames through decoder, books, dispatch and a queue. The first line may name a venue of the fixtures, whose
//! books of two symbols are synchronised first; otherwise it is Binance's. A line that begins with `@` is of a second
//! connection.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meltica_core::bus::{Item, OverflowPolicy, QueueOptions};
use meltica_core::codec::Codec;
use meltica_core::codec::fixtures::{SNAPSHOT, TICKER, VENUES, binance_spec, wrap};
use meltica_core::dispatch::{Dispatcher, Publisher, Route, RouteKey};
use meltica_core::event::{Book, Kind, Payload};
use meltica_core::feed::{Feed, Source};
use meltica_core::names::ProviderId;
use meltica_core::pool::{DepthClass, Pools};
use std::sync::{Arc, LazyLock};

const DEPTH: usize = 25;

type Venue = (&'static str, Arc<Codec>, Vec<String>);

/// The name, the codec and the first frames of each venue.
static VENUE: LazyLock<Vec<Venue>> = LazyLock::new(|| {
    let codec = |spec| Codec::compile(spec).expect("the fixture compiles");
    let frames = |frames: &[&str]| frames.iter().map(|frame| (*frame).to_owned()).collect();
    let others = VENUES.map(|venue| (venue.name, codec((venue.spec)()), frames(venue.frames)));
    let binance = ("binance", codec(binance_spec()), vec![wrap(SNAPSHOT)]);
    [binance].into_iter().chain(others).collect()
});
static POOLS: LazyLock<Arc<Pools>> = LazyLock::new(|| Pools::new(1 << 28));

fuzz_target!(|data: &[u8]| {
    let name = data.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let named = VENUE.iter().find(|venue| venue.0.as_bytes() == name);
    let (_, codec, first) = named.unwrap_or(&VENUE[0]);
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
    let mut feed = Feed::new(Publisher::new(&dispatcher, provider), Some(Arc::clone(codec)));
    let mut last = 0;
    let mut run = |feed: &mut Feed, connection: u32, frame: &[u8]| {
        let events = feed.frame_from(Source::Recording, connection, frame, 0).expect("not stopped").events;
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
    let started: u32 = first.iter().map(|frame| run(&mut feed, 0, frame.as_bytes())).sum();
    assert!(started > 0 && feed.unsynced().is_empty(), "synchronised books");
    for line in data.split(|byte| *byte == b'\n') {
        match line.strip_prefix(b"@") {
            Some(frame) => run(&mut feed, 1, frame),
            None => run(&mut feed, 0, line),
        };
    }
    if named.is_none() {
        assert_eq!(run(&mut feed, 0, TICKER.as_bytes()), 1, "the feed remains usable");
    }
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
