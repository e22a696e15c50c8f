//! Models of producers that wait for room.

use super::{Plane, explore, provider};
use crate::bus::{OverflowPolicy, Policies};
use crate::dispatch::Publisher;
use crate::event::Kind;
use crate::sync::{Arc, thread};

const BLOCK: Policies = [OverflowPolicy::Block; Kind::COUNT];

#[test]
fn loom_a_stuck_reader_delays_no_producer_of_another() {
    explore(|| {
        let plane = Plane::new();
        let (stuck, _stuck, _) = plane.queue(BLOCK, 1, &Arc::default(), &[Kind::Trade]);
        let (_queue, mut reader, _) = plane.queue(BLOCK, 1, &Arc::default(), &[Kind::Ticker]);
        // In a model, a wait has no deadline: a producer that waited for the stuck reader's queue would not end.
        let producers = [Kind::Trade, Kind::Ticker].map(|kind| {
            let mut publisher = Publisher::new(&plane.dispatcher, provider());
            assert!(Plane::publish(&mut publisher, kind, 1).is_some());
            thread::spawn(move || Plane::publish(&mut publisher, kind, 2))
        });
        let [waiting, other] = producers;
        let mut items = Vec::new();
        reader.read(plane.dispatcher.watermark(), 2, &mut items);
        assert!(other.join().unwrap().is_some(), "the queue of the other reader has room");
        plane.dispatcher.close(&stuck);
        assert!(waiting.join().unwrap().is_some());
    });
}

#[test]
fn loom_room_is_checked_beside_a_producer_and_a_reader() {
    explore(|| {
        let plane = Plane::new();
        let (queue, mut reader, _) = plane.queue(BLOCK, 1, &Arc::default(), &[Kind::Trade]);
        let mut publisher = Publisher::new(&plane.dispatcher, provider());
        // Another producer that waits. A count of events below zero overflows, which fails the model.
        let other = thread::spawn(move || queue.has_room(Kind::Trade, 0));
        let mut items = Vec::new();
        for n in 1..=2 {
            assert_eq!(Plane::publish(&mut publisher, Kind::Trade, n), Some(n));
            reader.read(plane.dispatcher.watermark(), 2, &mut items);
        }
        other.join().unwrap();
        assert_eq!(items.len(), 2);
    });
}
