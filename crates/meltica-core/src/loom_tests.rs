//! Models of the data structures that threads share, explored by loom:
//! `RUSTFLAGS="--cfg loom" cargo test -p meltica-core --profile loom --lib loom`.

mod cells;
mod close;
mod merge;
mod pool;
mod table;
mod waiting;

use crate::bus::fixtures::{Size, subscribed};
use crate::bus::{DEFAULT_POLICIES, Item, OverflowPolicy, Policies, Queue, Reader, Waker};
use crate::decimal::Decimal;
use crate::dispatch::{Dispatcher, Origin, Publisher, Route, RouteKey, SubscriptionId};
use crate::event::{BalanceUpdate, Kind, Payload, Ticker, Trade, VenueId};
use crate::names::{ProviderId, SymbolId};
use crate::pool::Pools;
use crate::sync::{Arc, thread};

fn explore(model: impl Fn() + Send + Sync + 'static) {
    explore_within(3, model);
}

fn explore_within(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 3_000;
    builder.check(model);
}

fn provider() -> ProviderId {
    ProviderId::intern("loom")
}

fn symbol() -> SymbolId {
    SymbolId::intern("BTC-USDT")
}

fn route(kind: Kind) -> Route {
    Route {
        key: RouteKey { provider: provider(), kind, symbol: Some(symbol()) },
        filters: Vec::new(),
        depth: 0,
    }
}

const BLOCK_TRADES: Policies = {
    let mut policies = DEFAULT_POLICIES;
    policies[Kind::Trade as usize] = OverflowPolicy::Block;
    policies
};

fn payload(kind: Kind, n: u64) -> Payload {
    let number = Decimal::new(i128::from(n), 0).unwrap();
    match kind {
        Kind::Trade => Payload::Trade(Trade {
            id: Some(VenueId::Number(n)),
            side: None,
            price: number,
            quantity: number,
            late: false,
        }),
        Kind::Ticker => Payload::Ticker(Ticker { last: Some(number), ..Ticker::default() }),
        _ => Payload::Balance(BalanceUpdate { total: number, available: number, transfer: None }),
    }
}

struct Plane {
    dispatcher: Arc<Dispatcher>,
}

impl Plane {
    fn new() -> Self {
        Self { dispatcher: Dispatcher::new(Pools::new(1 << 20)) }
    }

    /// Makes a queue for events of these kinds and subscribes it.
    fn queue(
        &self,
        policies: Policies,
        capacity: usize,
        waker: &Arc<Waker>,
        kinds: &[Kind],
    ) -> (Arc<Queue>, Reader, SubscriptionId) {
        let size = Size { capacity, batch: 4, private_limit: 8 };
        subscribed(&self.dispatcher, policies, size, kinds.iter().map(|kind| route(*kind)).collect(), waker)
    }

    fn publish(publisher: &mut Publisher, kind: Kind, n: u64) -> Option<u64> {
        let wanted = publisher.wanted(kind, symbol())?;
        let origin = Origin { kind, symbol: symbol(), venue_time: None, received_time: 0 };
        publisher.publish(wanted, origin, payload(kind, n)).ok().flatten()
    }
}

/// Panics if a slot is in use although its readers are dropped.
fn assert_all_free(plane: &Plane) {
    let pools = plane.dispatcher.pools();
    assert_eq!(pools.events.free(), pools.events.capacity(), "every slot is returned");
}

fn seqs(items: &[Item]) -> Vec<u64> {
    items.iter().map(|item| item.header().seq).collect()
}

/// Reads until the queue is empty.
fn all_items(reader: &mut Reader, dispatcher: &Dispatcher) -> Vec<Item> {
    let mut items = Vec::new();
    while reader.has_work() {
        reader.read(dispatcher.watermark(), 4, &mut items);
    }
    items
}

fn ascending(seqs: &[u64]) -> bool {
    seqs.windows(2).all(|pair| pair[0] < pair[1])
}

/// Reads until the queue is closed or `count` events were read, and sleeps while it is empty.
fn read_all(reader: &mut Reader, waker: &Waker, dispatcher: &Dispatcher, count: usize) -> Vec<Item> {
    let mut items = Vec::new();
    while !reader.queue().is_closed() && items.len() < count {
        waker.wait(None, || reader.has_work() || reader.queue().is_closed());
        reader.read(dispatcher.watermark(), 2, &mut items);
        if reader.has_work() {
            loom::thread::yield_now();
        }
    }
    items
}

#[test]
fn loom_both_lanes_in_order() {
    explore(|| {
        let plane = Plane::new();
        let waker = Arc::new(Waker::default());
        let (_queue, mut reader, _) =
            plane.queue(DEFAULT_POLICIES, 2, &waker, &[Kind::Trade, Kind::BalanceUpdate]);
        let mut publisher = Publisher::new(&plane.dispatcher, provider());
        let other = thread::spawn(move || {
            Plane::publish(&mut publisher, Kind::Trade, 1);
            Plane::publish(&mut publisher, Kind::BalanceUpdate, 2);
        });
        let mut items = Vec::new();
        reader.read(plane.dispatcher.watermark(), 2, &mut items);
        other.join().unwrap();
        reader.read(plane.dispatcher.watermark(), 2, &mut items);
        assert_eq!(seqs(&items), [1, 2]);
    });
}

#[test]
fn loom_a_parked_reader_is_woken() {
    explore(|| {
        let plane = Plane::new();
        let waker = Arc::new(Waker::default());
        let (_queue, reader, _) = plane.queue(DEFAULT_POLICIES, 2, &waker, &[Kind::Trade]);
        let mut publisher = Publisher::new(&plane.dispatcher, provider());
        let other = thread::spawn(move || {
            Plane::publish(&mut publisher, Kind::Trade, 1);
            publisher.flush();
        });
        waker.wait(None, || reader.has_work());
        other.join().unwrap();
        assert!(reader.has_work());
    });
}

#[test]
fn loom_eviction_counts_every_loss() {
    explore(|| {
        let plane = Plane::new();
        let waker = Arc::new(Waker::default());
        let (queue, mut reader, _) = plane.queue(DEFAULT_POLICIES, 1, &waker, &[Kind::Trade]);
        let mut publisher = Publisher::new(&plane.dispatcher, provider());
        let other = thread::spawn(move || {
            for n in 1..=3 {
                Plane::publish(&mut publisher, Kind::Trade, n);
            }
        });
        let mut items = Vec::new();
        reader.read(plane.dispatcher.watermark(), 2, &mut items);
        other.join().unwrap();
        reader.read(plane.dispatcher.watermark(), 2, &mut items);
        assert!(ascending(&seqs(&items)));
        assert_eq!(items.len() as u64 + queue.losses(Kind::Trade).dropped(), 3);
        assert_eq!(seqs(&items).last(), Some(&3), "the latest event is not evicted");
        drop(items);
        assert_all_free(&plane);
    });
}

#[test]
fn loom_conflation_keeps_the_latest() {
    explore(|| {
        let plane = Plane::new();
        let waker = Arc::new(Waker::default());
        let (queue, mut reader, _) = plane.queue(DEFAULT_POLICIES, 1, &waker, &[Kind::Ticker]);
        let mut publisher = Publisher::new(&plane.dispatcher, provider());
        let other = thread::spawn(move || {
            for n in 1..=3 {
                Plane::publish(&mut publisher, Kind::Ticker, n);
            }
        });
        let mut items = Vec::new();
        for _ in 0..2 {
            reader.read(plane.dispatcher.watermark(), 2, &mut items);
        }
        other.join().unwrap();
        for _ in 0..2 {
            reader.read(plane.dispatcher.watermark(), 2, &mut items);
        }
        assert!(ascending(&seqs(&items)));
        assert_eq!(seqs(&items).last(), Some(&3));
        assert_eq!(items.len() as u64 + queue.losses(Kind::Ticker).conflated(), 3);
        drop(items);
        assert_all_free(&plane);
    });
}

#[test]
fn loom_cells_of_two_routes_are_both_read() {
    explore(|| {
        let plane = Plane::new();
        let waker = Arc::new(Waker::default());
        let (_queue, mut reader, _) =
            plane.queue([OverflowPolicy::Conflate; Kind::COUNT], 1, &waker, &[Kind::Ticker, Kind::Trade]);
        let mut publisher = Publisher::new(&plane.dispatcher, provider());
        let other = thread::spawn(move || {
            Plane::publish(&mut publisher, Kind::Ticker, 1);
            Plane::publish(&mut publisher, Kind::Trade, 2);
        });
        let mut items = Vec::new();
        reader.read(plane.dispatcher.watermark(), 2, &mut items);
        other.join().unwrap();
        for _ in 0..2 {
            reader.read(plane.dispatcher.watermark(), 2, &mut items);
        }
        assert_eq!(seqs(&items), [1, 2]);
    });
}

#[test]
fn loom_subscribe_and_unsubscribe_during_publish() {
    explore(|| {
        let plane = Plane::new();
        let waker = Arc::new(Waker::default());
        let (_stays, mut reader, _) = plane.queue(DEFAULT_POLICIES, 4, &waker, &[Kind::Trade]);
        let mut publisher = Publisher::new(&plane.dispatcher, provider());
        let other = thread::spawn(move || {
            (1..=2).filter_map(|n| Plane::publish(&mut publisher, Kind::Trade, n)).collect::<Vec<_>>()
        });
        let (comes, mut late, id) = plane.queue(DEFAULT_POLICIES, 4, &waker, &[Kind::Trade]);
        let change = plane.dispatcher.unsubscribe(id);
        assert!(change.unsubscribe.is_empty(), "the route still has a subscriber");
        let sent = other.join().unwrap();
        assert_eq!(sent, [1, 2]);
        let mut items = Vec::new();
        reader.read(plane.dispatcher.watermark(), 4, &mut items);
        assert_eq!(seqs(&items), sent, "the remaining subscriber gets every event");
        items.clear();
        late.read(plane.dispatcher.watermark(), 4, &mut items);
        assert!(ascending(&seqs(&items)), "a short subscription gets each event at most once");
        drop((items, late, comes));
        assert_all_free(&plane);
    });
}

#[test]
fn loom_close_releases_a_blocked_producer() {
    explore(|| {
        let plane = Plane::new();
        let waker = Arc::new(Waker::default());
        let (queue, mut reader, _) = plane.queue(BLOCK_TRADES, 1, &waker, &[Kind::Trade]);
        let mut publisher = Publisher::new(&plane.dispatcher, provider());
        assert_eq!(Plane::publish(&mut publisher, Kind::Trade, 1), Some(1));
        let other = thread::spawn(move || Plane::publish(&mut publisher, Kind::Trade, 2));
        plane.dispatcher.close(&queue);
        assert_eq!(other.join().unwrap(), Some(2));
        let mut items = Vec::new();
        reader.read(plane.dispatcher.watermark(), 2, &mut items);
        assert!(items.is_empty(), "a closed queue is empty and accepts no event");
        assert_all_free(&plane);
    });
}

#[test]
fn loom_a_blocked_producer_continues() {
    explore(|| {
        let plane = Plane::new();
        let waker = Arc::new(Waker::default());
        let (_queue, mut reader, _) = plane.queue(BLOCK_TRADES, 1, &waker, &[Kind::Trade]);
        let mut publisher = Publisher::new(&plane.dispatcher, provider());
        let other = thread::spawn(move || {
            for n in 1..=2 {
                Plane::publish(&mut publisher, Kind::Trade, n);
            }
            publisher.flush();
        });
        let items = read_all(&mut reader, &waker, &plane.dispatcher, 2);
        other.join().unwrap();
        assert_eq!(seqs(&items), [1, 2]);
    });
}

#[test]
fn loom_a_blocked_producer_takes_no_number() {
    explore(|| {
        let plane = Plane::new();
        let waker = Arc::new(Waker::default());
        let (_queue, mut reader, _) = plane.queue(BLOCK_TRADES, 1, &waker, &[Kind::Trade]);
        let (_free, _reader, _) = plane.queue(DEFAULT_POLICIES, 1, &waker, &[Kind::Ticker]);
        let mut publisher = Publisher::new(&plane.dispatcher, provider());
        assert_eq!(Plane::publish(&mut publisher, Kind::Trade, 1), Some(1));
        let other = thread::spawn(move || Plane::publish(&mut publisher, Kind::Trade, 2));
        let mut publisher = Publisher::new(&plane.dispatcher, provider());
        assert_eq!(
            Plane::publish(&mut publisher, Kind::Ticker, 3),
            Some(2),
            "the full queue is not read yet"
        );
        let mut items = Vec::new();
        reader.read(plane.dispatcher.watermark(), 2, &mut items);
        assert_eq!(other.join().unwrap(), Some(3));
        reader.read(plane.dispatcher.watermark(), 2, &mut items);
        assert_eq!(seqs(&items), [1, 3], "the policy block loses no events");
    });
}

#[test]
fn loom_two_producers_share_one_sequence() {
    explore(|| {
        let plane = Plane::new();
        let waker = Arc::new(Waker::default());
        let (_queue, mut reader, _) =
            plane.queue(DEFAULT_POLICIES, 4, &waker, &[Kind::Trade, Kind::BalanceUpdate]);
        let other = {
            let mut publisher = Publisher::new(&plane.dispatcher, provider());
            thread::spawn(move || Plane::publish(&mut publisher, Kind::Trade, 1))
        };
        let mut publisher = Publisher::new(&plane.dispatcher, provider());
        let first = Plane::publish(&mut publisher, Kind::BalanceUpdate, 2);
        let mut items = Vec::new();
        let upto = reader.read(plane.dispatcher.watermark(), 4, &mut items);
        assert_eq!(seqs(&items), (1..=upto).collect::<Vec<_>>(), "every event up to the watermark is read");
        let second = other.join().unwrap();
        assert_eq!(first.min(second), Some(1));
        assert_eq!(first.max(second), Some(2));
        reader.read(plane.dispatcher.watermark(), 4, &mut items);
        assert_eq!(seqs(&items), [1, 2]);
    });
}

#[test]
fn loom_ring_cells_and_private_lane_in_order() {
    explore(|| {
        let plane = Plane::new();
        let waker = Arc::new(Waker::default());
        let kinds = [Kind::Ticker, Kind::Trade, Kind::BalanceUpdate];
        let (queue, mut reader, _) = plane.queue(DEFAULT_POLICIES, 2, &waker, &kinds);
        let mut publisher = Publisher::new(&plane.dispatcher, provider());
        let other = thread::spawn(move || {
            for (n, kind) in (1..).zip([Kind::Ticker, Kind::Trade, Kind::Ticker, Kind::BalanceUpdate]) {
                Plane::publish(&mut publisher, kind, n);
            }
        });
        let mut items = Vec::new();
        reader.read(plane.dispatcher.watermark(), 1, &mut items);
        other.join().unwrap();
        while reader.has_work() {
            reader.read(plane.dispatcher.watermark(), 1, &mut items);
        }
        let conflated = queue.losses(Kind::Ticker).conflated();
        let expected: &[u64] = if conflated == 1 { &[2, 3, 4] } else { &[1, 2, 3, 4] };
        assert_eq!(seqs(&items), expected);
        drop(items);
        assert_all_free(&plane);
    });
}

#[test]
fn loom_two_producers_compete_for_room() {
    explore(|| {
        let plane = Plane::new();
        let waker = Arc::new(Waker::default());
        let (queue, mut reader, _) = plane.queue(BLOCK_TRADES, 1, &waker, &[Kind::Trade]);
        let publish = |n| {
            let mut publisher = Publisher::new(&plane.dispatcher, provider());
            thread::spawn(move || Plane::publish(&mut publisher, Kind::Trade, n))
        };
        let producers = [publish(1), publish(2)];
        let mut items = Vec::new();
        reader.read(plane.dispatcher.watermark(), 1, &mut items);
        plane.dispatcher.close(&queue);
        for producer in producers {
            producer.join().unwrap();
        }
        assert!(ascending(&seqs(&items)));
        assert_eq!(queue.losses(Kind::Trade).dropped(), 0, "a producer checks for room again under the lock");
    });
}
