//! The growth of the claims of routes for every symbol: never on a thread that publishes, and nothing is lost uncounted.

use super::capacity::{publish, route};
use super::{DEFAULT_POLICIES, Size, provider, subscribed};
use crate::bus::fixtures::options;
use crate::bus::{Item, Queue, Reader, UNLISTED_SYMBOLS};
use crate::dispatch::{Dispatcher, Publisher};
use crate::event::{Kind, Payload, StaleReason};
use crate::filter::{Filter, Operand};
use crate::janitor;
use crate::names::SymbolId;
use crate::pool::Pools;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

const SYMBOLS: usize = 1000;

fn symbol(i: usize) -> SymbolId {
    SymbolId::intern(&format!("GROWTH-{i:03}"))
}

fn read(dispatcher: &Dispatcher, reader: &mut Reader) -> Vec<Item> {
    let mut items = Vec::new();
    while reader.has_work() {
        reader.read(dispatcher.watermark(), 16, &mut items);
    }
    items
}

/// Returns how many of the events are not notices.
fn data(items: &[Item]) -> u64 {
    items.iter().filter(|item| !item.header().kind.is_notice()).count() as u64
}

/// Returns the events that a queue lost or replaced.
fn lost(queue: &Queue) -> u64 {
    let losses = [Kind::Trade, Kind::Ticker].map(|kind| queue.losses(kind));
    losses.iter().map(|losses| losses.conflated() + losses.dropped()).sum()
}

/// Asserts that a notice precedes the first event of each of `missed` symbols, if earlier events are lost.
fn assert_notices(items: &[Item], is_lossy: bool, missed: usize) {
    let mut reported = BTreeSet::new();
    for (item, next) in items.iter().zip(items.iter().skip(1)) {
        if item.header().kind.is_notice() {
            assert!(matches!(item.payload, Payload::MarketStale(StaleReason::LeftOut)), "{item:?}");
            assert_eq!(next.header().symbol, item.header().symbol, "it precedes the event");
            assert!(reported.insert(item.header().symbol), "it is sent once");
        }
    }
    assert_eq!(reported.len(), if is_lossy { missed } else { 0 });
}

#[test]
fn a_publisher_never_waits_for_growth() {
    let pools = Pools::new(1 << 30);
    let dispatcher = Dispatcher::new(Arc::clone(&pools));
    for kind in [Kind::Trade, Kind::Ticker, Kind::BookSnapshot] {
        let name = provider("growth-thread");
        let subscribe = || {
            let routes = vec![route(name, kind, None, 5)];
            subscribed(&dispatcher, DEFAULT_POLICIES, Size::of(2 * SYMBOLS), routes, &Arc::default())
        };
        let mut readers = [subscribe(), subscribe()];
        let mut publisher = Publisher::new(&dispatcher, name);
        let (held, before) = (janitor::hold(), pools.capacity_bytes());
        let mut publish_each = || {
            (0..SYMBOLS).for_each(|i| {
                publish(&mut publisher, kind, symbol(i), 1);
            });
        };
        publish_each();
        assert_eq!(pools.capacity_bytes(), before, "{kind:?}: the publishing thread allocates no slot");
        let missed = SYMBOLS - UNLISTED_SYMBOLS;
        for (queue, ..) in &readers {
            assert_eq!(queue.left_out().len(), missed, "{kind:?}: each symbol left out is named");
            assert_eq!(queue.losses(kind).dropped(), missed as u64, "{kind:?}: its event is counted");
        }
        drop(held);
        janitor::settle();
        publish_each();
        for (queue, reader, _) in &mut readers {
            assert_eq!(queue.left_out(), [], "{kind:?}: every symbol is admitted");
            assert_eq!(queue.losses(kind).dropped(), missed as u64);
            let items = read(&dispatcher, reader);
            let received: BTreeSet<_> = items.iter().map(|item| item.header().symbol).collect();
            assert_eq!(received.len(), SYMBOLS, "{kind:?}");
            assert_notices(&items, kind == Kind::Trade, missed);
        }
    }
}

#[test]
fn an_event_of_a_symbol_left_out_counts_only_if_its_filters_match() {
    let dispatcher = Dispatcher::new(Pools::new(1 << 28));
    let name = provider("growth-filtered");
    let subscribe = |side: &str| {
        let mut routes = vec![route(name, Kind::Ticker, None, 0)];
        let operands = vec![Operand::Text(side.into())];
        routes[0].filters = vec![Filter::compile(Kind::Ticker, "last", "eq", operands).unwrap()];
        subscribed(&dispatcher, DEFAULT_POLICIES, Size::of(16), routes, &Arc::default()).0
    };
    let queues = [subscribe("1"), subscribe("2")];
    let mut publisher = Publisher::new(&dispatcher, name);
    let held = janitor::hold();
    (0..UNLISTED_SYMBOLS + 3).for_each(|i| {
        publish(&mut publisher, Kind::Ticker, symbol(i), 0);
    });
    assert_eq!(queues.each_ref().map(|queue| queue.left_out().len()), [3, 3]);
    assert_eq!(queues.each_ref().map(|queue| queue.losses(Kind::Ticker).dropped()), [3, 0]);
    drop(held);
}

#[test]
fn a_late_subscriber_has_room_for_every_symbol_so_far() {
    let dispatcher = Dispatcher::new(Pools::new(1 << 28));
    let name = provider("growth-late");
    let routes = vec![route(name, Kind::Ticker, None, 0)];
    let _first = subscribed(&dispatcher, DEFAULT_POLICIES, Size::of(16), routes.clone(), &Arc::default());
    let mut publisher = Publisher::new(&dispatcher, name);
    (0..SYMBOLS).for_each(|i| {
        publish(&mut publisher, Kind::Ticker, symbol(i), 0);
    });
    janitor::settle();
    let held = janitor::hold();
    let (queue, mut reader, _) =
        subscribed(&dispatcher, DEFAULT_POLICIES, Size::of(16), routes, &Arc::default());
    (0..SYMBOLS).for_each(|i| {
        publish(&mut publisher, Kind::Ticker, symbol(i), 0);
    });
    assert_eq!((queue.left_out(), read(&dispatcher, &mut reader).len()), (vec![], SYMBOLS));
    drop(held);
}

#[test]
fn a_subscriber_whose_queue_is_too_small_is_grown_for() {
    let pools = Pools::new(1 << 28);
    let dispatcher = Dispatcher::new(Arc::clone(&pools));
    let name = provider("growth-overtaken");
    let routes = vec![route(name, Kind::Ticker, None, 0)];
    let _first = subscribed(&dispatcher, DEFAULT_POLICIES, Size::of(16), routes.clone(), &Arc::default());
    let mut publisher = Publisher::new(&dispatcher, name);
    (0..SYMBOLS).for_each(|i| {
        publish(&mut publisher, Kind::Ticker, symbol(i), 0);
    });
    janitor::settle();
    // As if the symbols had appeared after the queue was made.
    let options = options(DEFAULT_POLICIES, Size::of(16), &routes);
    let (queue, _reader) = Queue::new(&pools, options, &[routes[0].key], |_| None, Arc::default()).unwrap();
    Dispatcher::subscribe(&dispatcher, &queue, routes);
    janitor::settle();
    assert_eq!(queue.left_out(), []);
}

#[test]
fn a_symbol_that_is_left_out_precedes_later_ones() {
    let pools = Pools::new(1 << 28);
    let name = provider("growth-first");
    let routes = vec![route(name, Kind::Ticker, None, 0)];
    let options = options(DEFAULT_POLICIES, Size::of(16), &routes);
    let (queue, _reader) = Queue::new(&pools, options, &[routes[0].key], |_| None, Arc::default()).unwrap();
    let admits = |i| queue.admit(Kind::Ticker, name, symbol(i)).is_some();
    assert!((0..UNLISTED_SYMBOLS).all(admits) && !admits(UNLISTED_SYMBOLS));
    assert!(queue.grow_claim(), "it has room");
    let later = (UNLISTED_SYMBOLS + 1..SYMBOLS).filter(|i| admits(*i)).count();
    assert!(later > 0 && !admits(SYMBOLS), "others use up the rest of the room");
    assert!(admits(UNLISTED_SYMBOLS), "the room of the first was kept");
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Send(Kind, usize),
    Read(usize),
    /// Waits for the janitor.
    Settle,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kind = prop::sample::select(vec![Kind::Trade, Kind::Ticker]);
    let step = prop_oneof![
        200 => (kind, 0usize..400).prop_map(|(kind, i)| Step::Send(kind, i)),
        2 => (0usize..2).prop_map(Step::Read),
        1 => Just(Step::Settle),
    ];
    proptest::collection::vec(step, 1..2000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn prop_an_event_is_received_or_counted(steps in steps(), limit in 400_000usize..1_500_000) {
        let pools = Pools::new(limit);
        let dispatcher = Dispatcher::new(Arc::clone(&pools));
        let name = provider("growth-counted");
        let subscribe = || {
            let routes = [Kind::Trade, Kind::Ticker].map(|kind| route(name, kind, None, 0)).into();
            let (queue, reader, _) =
                subscribed(&dispatcher, DEFAULT_POLICIES, Size::of(16), routes, &Arc::default());
            (queue, reader, 0)
        };
        let mut readers = [subscribe(), subscribe()];
        let mut publisher = Publisher::new(&dispatcher, name);
        let mut sent = 0;
        for step in steps {
            match step {
                Step::Send(kind, i) => {
                    publish(&mut publisher, kind, symbol(i), 0);
                    sent += 1;
                }
                Step::Read(i) => readers[i].2 += data(&read(&dispatcher, &mut readers[i].1)),
                Step::Settle => janitor::settle(),
            }
        }
        janitor::settle();
        prop_assert_eq!(pools.events.exhausted(), 0);
        for (queue, reader, received) in &mut readers {
            *received += data(&read(&dispatcher, reader));
            prop_assert_eq!(*received + lost(queue), sent);
            let has_refused = queue.refused_growth().is_some();
            prop_assert!(has_refused || queue.left_out().is_empty(), "only what the pools refuse stays left out");
        }
    }
}
