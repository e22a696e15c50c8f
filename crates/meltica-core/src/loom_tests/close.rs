//! The end of a queue: closed or halted beside its producer and its reader.

use super::{Plane, assert_all_free, explore, provider, route, seqs};
use crate::bus::fixtures::{Size, subscribed};
use crate::bus::{DEFAULT_POLICIES, Waker};
use crate::dispatch::Publisher;
use crate::event::Kind;
use crate::sync::{Arc, thread};

/// Closes a queue beside its producer and its reader. All that keeps the queue alive afterwards is the table.
fn close_beside_push(kinds: [Kind; 2], expected: &'static [&'static [u64]]) {
    explore(move || {
        let plane = Plane::new();
        let waker = Arc::new(Waker::default());
        let (queue, mut reader, _) = plane.queue(DEFAULT_POLICIES, 2, &waker, &kinds);
        let mut publisher = Publisher::new(&plane.dispatcher, provider());
        let producer = thread::spawn(move || {
            for (n, kind) in (1..).zip(kinds) {
                Plane::publish(&mut publisher, kind, n);
            }
            publisher.flush();
            publisher
        });
        let dispatcher = Arc::clone(&plane.dispatcher);
        let other = thread::spawn(move || dispatcher.close(&queue));
        // Without a wait: a lock of loom consumes a pending unpark.
        let mut items = Vec::new();
        for _ in 0..2 {
            reader.read(plane.dispatcher.watermark(), 2, &mut items);
        }
        other.join().unwrap();
        let publisher = producer.join().unwrap();
        assert!(expected.contains(&&seqs(&items)[..]), "events pushed before the close, in order");
        let queue = Arc::clone(reader.queue());
        assert!(Kind::ALL.into_iter().all(|kind| queue.losses(kind).dropped() == 0));
        drop((items, reader));
        assert_all_free(&plane);
        // loom's leak check fails the model if an event of the private lane is not freed exactly once.
        drop((publisher, queue));
    });
}

#[test]
fn loom_close_beside_push_to_ring_and_cell() {
    close_beside_push([Kind::Trade, Kind::Ticker], &[&[1, 2], &[1], &[]]);
}

#[test]
fn loom_close_beside_push_to_the_private_lane() {
    close_beside_push([Kind::BalanceUpdate, Kind::BalanceUpdate], &[&[1, 2], &[1], &[]]);
}

#[test]
fn loom_a_halted_queue_ends_before_the_first_refused_event() {
    explore(|| {
        let plane = Plane::new();
        let waker = Arc::new(Waker::default());
        let size = Size { capacity: 4, batch: 4, private_limit: 1 };
        let routes = [Kind::BalanceUpdate, Kind::Trade, Kind::Ticker].map(route).into();
        let (queue, mut reader, _) = subscribed(&plane.dispatcher, DEFAULT_POLICIES, size, routes, &waker);
        let mut publisher = Publisher::new(&plane.dispatcher, provider());
        let kinds =
            [Kind::BalanceUpdate, Kind::Trade, Kind::BalanceUpdate, Kind::Ticker, Kind::BalanceUpdate];
        let other = thread::spawn(move || {
            for (n, kind) in (1..).zip(kinds) {
                Plane::publish(&mut publisher, kind, n);
            }
        });
        let mut items = Vec::new();
        reader.read(plane.dispatcher.watermark(), 4, &mut items);
        other.join().unwrap();
        reader.read(plane.dispatcher.watermark(), 4, &mut items);
        let seqs = seqs(&items);
        let lost: u64 = Kind::ALL.into_iter().map(|kind| queue.losses(kind).dropped()).sum();
        assert!((1..).zip(&seqs).all(|(n, seq)| n == *seq), "no hole before the end: {seqs:?}");
        assert_eq!(seqs.len() as u64 + lost, kinds.len() as u64, "every refused event is counted");
        assert_eq!(queue.is_halted(), lost > 0);
    });
}
