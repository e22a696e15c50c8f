//! Models of the routing table: entries that are added or replaced while publishers use them.

use super::{Plane, explore, provider, route, seqs};
use crate::bus::fixtures::{Size, options};
use crate::bus::{DEFAULT_POLICIES, Item, Queue, Reader};
use crate::dispatch::{Dispatcher, Publisher, Route, RouteKey};
use crate::event::Kind;
use crate::sync::{Arc, thread};

fn every(kind: Kind) -> Route {
    Route { key: RouteKey { symbol: None, ..route(kind).key }, ..route(kind) }
}

/// Makes a queue with a route for every symbol. The provider lists one, so that the claim is small.
fn wildcard(dispatcher: &Arc<Dispatcher>, kind: Kind) -> (Arc<Queue>, Reader) {
    dispatcher.list_symbols(provider(), 1);
    let routes = vec![every(kind)];
    let options = options(DEFAULT_POLICIES, Size::of(4), &routes);
    let (queue, reader) = dispatcher.queue(options, &[routes[0].key], Arc::default()).unwrap();
    Dispatcher::subscribe(dispatcher, &queue, routes);
    (queue, reader)
}

fn provider_seqs(items: &[Item]) -> Vec<u64> {
    items.iter().map(|item| item.header().provider_seq).collect()
}

#[test]
fn loom_two_publishers_of_one_symbol_share_its_sequence() {
    explore(|| {
        let plane = Plane::new();
        let (_queue, mut reader, _) = plane.queue(DEFAULT_POLICIES, 4, &Arc::default(), &[Kind::Trade]);
        let mut publishers = [1, 2].map(|_| Publisher::new(&plane.dispatcher, provider()));
        let [first, second] = &mut publishers;
        assert_eq!(Plane::publish(first, Kind::Trade, 1), Some(1));
        assert_eq!(Plane::publish(second, Kind::Trade, 2), Some(2));
        let threads = publishers
            .map(|mut publisher| thread::spawn(move || Plane::publish(&mut publisher, Kind::Trade, 3)));
        for thread in threads {
            thread.join().unwrap();
        }
        let mut items = Vec::new();
        reader.read(plane.dispatcher.watermark(), 4, &mut items);
        assert_eq!(seqs(&items), [1, 2, 3, 4]);
        assert_eq!(provider_seqs(&items), [1, 2, 3, 4]);
    });
}

#[test]
fn loom_two_publishers_see_a_symbol_for_the_first_time() {
    explore(|| {
        let plane = Plane::new();
        let (_queue, mut reader) = wildcard(&plane.dispatcher, Kind::Trade);
        let publish = |n| {
            let mut publisher = Publisher::new(&plane.dispatcher, provider());
            move || Plane::publish(&mut publisher, Kind::Trade, n)
        };
        let (mut here, other) = (publish(1), publish(2));
        let other = thread::spawn(other);
        let sent = [here(), other.join().unwrap()];
        assert!(sent == [Some(1), Some(2)] || sent == [Some(2), Some(1)], "both events are routed");
        let mut items = Vec::new();
        reader.read(plane.dispatcher.watermark(), 4, &mut items);
        assert_eq!(provider_seqs(&items), [1, 2], "the symbol has one entry");
    });
}

#[test]
fn loom_a_replaced_entry_keeps_its_full_cells() {
    explore(|| {
        let plane = Plane::new();
        let (queue, mut reader) = wildcard(&plane.dispatcher, Kind::Ticker);
        let mut publisher = Publisher::new(&plane.dispatcher, provider());
        assert_eq!(Plane::publish(&mut publisher, Kind::Ticker, 1), Some(1));
        let dispatcher = Arc::clone(&plane.dispatcher);
        let change = thread::spawn(move || wildcard(&dispatcher, Kind::Ticker));
        assert_eq!(Plane::publish(&mut publisher, Kind::Ticker, 2), Some(2));
        let _other = change.join().unwrap();
        assert_eq!(Plane::publish(&mut publisher, Kind::Ticker, 3), Some(3));
        let mut items = Vec::new();
        reader.read(plane.dispatcher.watermark(), 4, &mut items);
        assert_eq!(seqs(&items), [3], "each event replaced its predecessor in the same cell");
        assert_eq!(queue.losses(Kind::Ticker).conflated(), 2);
    });
}

#[test]
fn loom_a_symbol_is_first_seen_during_a_change() {
    explore(|| {
        let plane = Plane::new();
        let (_stays, mut reader) = wildcard(&plane.dispatcher, Kind::Trade);
        let mut publisher = Publisher::new(&plane.dispatcher, provider());
        let dispatcher = Arc::clone(&plane.dispatcher);
        let change = thread::spawn(move || wildcard(&dispatcher, Kind::Trade));
        assert_eq!(Plane::publish(&mut publisher, Kind::Trade, 1), Some(1));
        let (_comes, mut late) = change.join().unwrap();
        assert_eq!(Plane::publish(&mut publisher, Kind::Trade, 2), Some(2));
        let (mut items, mut late_items) = (Vec::new(), Vec::new());
        reader.read(plane.dispatcher.watermark(), 4, &mut items);
        late.read(plane.dispatcher.watermark(), 4, &mut late_items);
        assert_eq!((seqs(&items), provider_seqs(&items)), (vec![1, 2], vec![1, 2]));
        assert!(seqs(&late_items).ends_with(&[2]), "the new subscriber is in the entry");
    });
}
