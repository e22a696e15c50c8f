//! The merge of two queues beside their producer.

use super::{Plane, explore, provider};
use crate::bus::{DEFAULT_POLICIES, Merge, Rule, Waker};
use crate::dispatch::Publisher;
use crate::event::Kind;
use crate::sync::{Arc, thread};

#[test]
fn loom_merged_queues_ascend_beside_their_producer() {
    explore(|| {
        let plane = Plane::new();
        let waker = Arc::new(Waker::default());
        let mut merge = Merge::new(Rule::Common, 2);
        for kind in [Kind::Trade, Kind::BalanceUpdate] {
            let (_, reader, _) = plane.queue(DEFAULT_POLICIES, 4, &waker, &[kind]);
            merge.push(reader);
        }
        let mut publisher = Publisher::new(&plane.dispatcher, provider());
        for (n, kind) in [Kind::Trade, Kind::Trade, Kind::BalanceUpdate, Kind::Trade].into_iter().enumerate()
        {
            Plane::publish(&mut publisher, kind, n as u64);
        }
        let mut numbers = Vec::new();
        let mut round = |watermark| {
            merge.read(watermark);
            while let Some((_, item)) = merge.next(0) {
                numbers.push(item.header().seq);
            }
        };
        round(plane.dispatcher.watermark());
        let producer = thread::spawn(move || {
            Plane::publish(&mut publisher, Kind::BalanceUpdate, 5);
            Plane::publish(&mut publisher, Kind::Trade, 6);
        });
        round(plane.dispatcher.watermark());
        producer.join().unwrap();
        for _ in 0..3 {
            round(plane.dispatcher.watermark());
        }
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    });
}
