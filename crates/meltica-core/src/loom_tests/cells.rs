//! Cells whose event the reader may not return yet: it goes back, beside the producer and a close.

use super::{Plane, all_items, ascending, assert_all_free, explore, provider, seqs};
use crate::bus::{DEFAULT_POLICIES, OverflowPolicy, Waker};
use crate::dispatch::Publisher;
use crate::event::Kind;
use crate::sync::{Arc, thread};

#[test]
fn loom_an_event_above_the_watermark_goes_back_beside_its_producer() {
    explore(|| {
        let plane = Plane::new();
        let waker = Arc::new(Waker::default());
        let (queue, mut reader, _) = plane.queue(DEFAULT_POLICIES, 1, &waker, &[Kind::Ticker]);
        let mut publisher = Publisher::new(&plane.dispatcher, provider());
        Plane::publish(&mut publisher, Kind::Ticker, 1);
        let producer = thread::spawn(move || Plane::publish(&mut publisher, Kind::Ticker, 2));
        let mut items = Vec::new();
        // Every event is above this watermark.
        assert_eq!(reader.read(0, 4, &mut items), 0);
        assert!(items.is_empty());
        producer.join().unwrap();
        items.extend(all_items(&mut reader, &plane.dispatcher));
        assert!(ascending(&seqs(&items)));
        assert_eq!(seqs(&items).last(), Some(&2), "the latest wins");
        assert_eq!(items.len() as u64 + queue.losses(Kind::Ticker).conflated(), 2);
        drop(items);
        assert_all_free(&plane);
    });
}

#[test]
fn loom_an_event_goes_back_beside_a_close() {
    explore(|| {
        let plane = Plane::new();
        let waker = Arc::new(Waker::default());
        let (queue, mut reader, _) = plane.queue(DEFAULT_POLICIES, 1, &waker, &[Kind::Ticker]);
        let mut publisher = Publisher::new(&plane.dispatcher, provider());
        Plane::publish(&mut publisher, Kind::Ticker, 1);
        let (dispatcher, closed) = (Arc::clone(&plane.dispatcher), Arc::clone(&queue));
        let other = thread::spawn(move || dispatcher.close(&closed));
        let mut items = Vec::new();
        reader.read(0, 4, &mut items);
        other.join().unwrap();
        assert!(items.is_empty());
        assert_all_free(&plane);
        let claim = queue.claim();
        drop(reader);
        assert!(queue.claim().events < claim.events, "the reader's share is released with the reader");
        assert_eq!(queue.claim().events, 0);
    });
}

#[test]
fn loom_a_cell_is_filled_again_beside_its_read() {
    explore(|| {
        let plane = Plane::new();
        let policies = [OverflowPolicy::Conflate; Kind::COUNT];
        let kinds = [Kind::Trade, Kind::Ticker];
        let (queue, mut reader, _) = plane.queue(policies, 1, &Arc::default(), &kinds);
        let mut publisher = Publisher::new(&plane.dispatcher, provider());
        Plane::publish(&mut publisher, Kind::Trade, 1);
        Plane::publish(&mut publisher, Kind::Ticker, 2);
        // The reader empties the cell of tickers first, whose link leads to the cell of trades.
        let producer = thread::spawn(move || Plane::publish(&mut publisher, Kind::Ticker, 3));
        let mut items = Vec::new();
        reader.read(plane.dispatcher.watermark(), 1, &mut items);
        producer.join().unwrap();
        items.extend(all_items(&mut reader, &plane.dispatcher));
        assert_eq!(seqs(&items).first(), Some(&1), "the event of the other cell is not lost");
        assert_eq!(seqs(&items).last(), Some(&3));
        assert_eq!(items.len() as u64 + queue.losses(Kind::Ticker).conflated(), 3);
        drop(items);
        assert_all_free(&plane);
    });
}
