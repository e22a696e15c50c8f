//! The queues against plain models, for all policies.

mod capacity;
mod extensions;
mod growth;
mod merge;
mod properties;

use crate::bus::fixtures::{Size, subscribed};
use crate::bus::{DEFAULT_POLICIES, Item, OverflowPolicy, Policies, Queue, Reader};
use crate::decimal::Decimal;
use crate::dispatch::{
    Dispatcher, NotDispatched, Origin, Publisher, Route, RouteKey, StopFlag, SubscriptionId,
};
use crate::event::{BalanceUpdate, Header, Kind, Kline, Payload, RiskControl, Ticker, Trade, VenueId};
use crate::names::{ProviderId, SymbolId};
use crate::pool::{DepthClass, Pools};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

const MARKET: [Kind; 4] = [Kind::Trade, Kind::Ticker, Kind::KlineSummary, Kind::BookSnapshot];
const PRIVATE: [Kind; 2] = [Kind::BalanceUpdate, Kind::RiskControl];
const SYMBOLS: usize = 2;

fn kinds() -> impl Iterator<Item = Kind> {
    MARKET.into_iter().chain(PRIVATE)
}

fn provider(name: &str) -> ProviderId {
    ProviderId::intern(name)
}

fn symbol(i: usize) -> SymbolId {
    SymbolId::intern(["BUS-A", "BUS-B"][i])
}

/// An event of a test: its kind, its symbol, and the number in its payload.
type Mark = (Kind, usize, u64);

fn send(publisher: &mut Publisher, (kind, of, tag): Mark) -> Result<Option<u64>, NotDispatched> {
    let symbol = symbol(of);
    let Some(wanted) = publisher.wanted(kind, symbol) else { return Ok(None) };
    let origin = Origin { kind, symbol, venue_time: None, received_time: 0 };
    if kind == Kind::BookSnapshot {
        return publisher.publish_book(wanted, origin, |book, _| book.last_update_id = tag);
    }
    let number = Decimal::new(i128::from(tag), 0).unwrap();
    let payload = match kind {
        Kind::Trade => Payload::Trade(Trade {
            id: Some(VenueId::Number(tag)),
            side: None,
            price: number,
            quantity: number,
            late: false,
        }),
        Kind::Ticker => Payload::Ticker(Ticker { last: Some(number), ..Ticker::default() }),
        Kind::KlineSummary => Payload::Kline(Kline {
            open: number,
            close: number,
            high: number,
            low: number,
            volume: number,
            open_time: 0,
            close_time: 0,
            interval: None,
            closed: None,
        }),
        Kind::BalanceUpdate => {
            Payload::Balance(BalanceUpdate { total: number, available: number, transfer: None })
        }
        _ => Payload::Risk(Box::new(RiskControl {
            strategy_id: tag.to_string(),
            status: String::new(),
            reason: String::new(),
            breach_type: String::new(),
            metrics: Vec::new(),
            kill_switch_engaged: false,
            circuit_breaker_open: false,
        })),
    };
    publisher.publish(wanted, origin, payload)
}

/// Returns the sequence number and the mark of an event.
fn read_mark(item: &Item) -> (u64, Mark) {
    let header = item.header();
    let tag = match &item.payload {
        Payload::Trade(trade) => trade.price.mantissa() as u64,
        Payload::Ticker(ticker) => ticker.last.unwrap().mantissa() as u64,
        Payload::Kline(kline) => kline.open.mantissa() as u64,
        Payload::Book(book) => book.last_update_id,
        Payload::Balance(balance) => balance.total.mantissa() as u64,
        Payload::Risk(risk) => risk.strategy_id.parse().unwrap(),
        other => panic!("{other:?}"),
    };
    let of = (0..SYMBOLS).find(|i| symbol(*i) == header.symbol).unwrap();
    (header.seq, (header.kind, of, tag))
}

/// A queue routed for every event, and the events read from it.
struct Subscriber {
    queue: Arc<Queue>,
    reader: Reader,
    id: SubscriptionId,
    policies: Policies,
    read: Vec<(u64, Mark)>,
}

impl Subscriber {
    /// Returns a subscriber of every event of `providers`.
    fn new(
        dispatcher: &Arc<Dispatcher>,
        policies: Policies,
        capacity: usize,
        private_limit: usize,
        providers: &[ProviderId],
    ) -> Self {
        let route = |provider| {
            let key = move |kind| RouteKey { provider, kind, symbol: None };
            kinds().map(move |kind| Route { key: key(kind), filters: Vec::new(), depth: 1 })
        };
        let routes = providers.iter().copied().flat_map(route).collect();
        let size = Size { capacity, batch: 16, private_limit };
        let (queue, reader, id) = subscribed(dispatcher, policies, size, routes, &Arc::default());
        Self { queue, reader, id, policies, read: Vec::new() }
    }

    fn read_batch(&mut self, dispatcher: &Dispatcher, max: usize) {
        let mut items = Vec::new();
        self.reader.read(dispatcher.watermark(), max, &mut items);
        self.read.extend(items.iter().map(read_mark));
    }

    fn read_out(&mut self, dispatcher: &Arc<Dispatcher>) {
        while self.reader.has_work() {
            self.read_batch(dispatcher, 7);
        }
    }

    fn is_full(&self, kind: Kind) -> bool {
        self.queue.blocks(kind) && !self.queue.has_room(kind, 0)
    }

    /// Compares the events read with the events sent. Without `all_read`, unread events may account for the difference.
    fn check(&self, sent: &BTreeMap<u64, Mark>, all_read: bool) -> Result<(), TestCaseError> {
        prop_assert!(self.read.is_sorted_by(|a, b| a.0 < b.0), "no policy reorders: {:?}", self.read);
        for (seq, mark) in &self.read {
            prop_assert_eq!(sent.get(seq), Some(mark));
        }
        for kind in kinds() {
            let count =
                |marks: &mut dyn Iterator<Item = &Mark>| marks.filter(|mark| mark.0 == kind).count() as u64;
            let (all, read) = (count(&mut sent.values()), count(&mut self.read.iter().map(|(_, mark)| mark)));
            let losses = self.queue.losses(kind);
            let (conflated, dropped) = (losses.conflated(), losses.dropped());
            prop_assert!(read + conflated + dropped <= all, "{:?}: {} {} {}", kind, read, conflated, dropped);
            if all_read {
                prop_assert_eq!(read + conflated + dropped, all, "{:?}: every loss is counted", kind);
            }
            let policy = self.policies[kind as usize];
            prop_assert!(
                conflated == 0 || (policy == OverflowPolicy::Conflate && !kind.is_private()),
                "{:?}",
                kind
            );
            prop_assert!(
                dropped == 0 || (policy == OverflowPolicy::DropOldest && !kind.is_private()),
                "{:?}",
                kind
            );
            if all_read && policy == OverflowPolicy::Conflate {
                for of in 0..SYMBOLS {
                    let last = |mark: &Mark| (mark.0, mark.1) == (kind, of);
                    let sent = sent.values().rfind(|mark| last(mark));
                    let read = self.read.iter().map(|(_, mark)| mark).rfind(|mark| last(mark));
                    prop_assert_eq!(read, sent, "the latest wins");
                }
            }
        }
        prop_assert!(!self.queue.is_halted());
        Ok(())
    }
}

fn header() -> Header {
    Header {
        seq: 1,
        provider_seq: 1,
        venue_time: None,
        received_time: 0,
        dispatched_time: 0,
        dispatched_ticks: 0,
        routing_version: 0,
        provider: provider("bus-tests"),
        symbol: symbol(0),
        kind: Kind::Trade,
    }
}

/// Returns a length that the private lane does not exceed. With `block`, producers wait for that lane too, so a short
/// one is enough.
fn private_limit(policies: &Policies) -> usize {
    let blocks = |kind: Kind| policies[kind as usize] == OverflowPolicy::Block;
    if MARKET.into_iter().any(blocks) { 2 } else { 10_000 }
}

fn plane() -> (Arc<Pools>, Arc<Dispatcher>) {
    let pools = Pools::new(1 << 26);
    (Arc::clone(&pools), Dispatcher::new(pools))
}

fn all_slots_are_free(pools: &Pools) -> bool {
    crate::janitor::settle();
    pools.events.free() == pools.events.capacity()
        && DepthClass::ALL.into_iter().all(|class| pools.books(class).free() == pools.books(class).capacity())
}

/// Returns a queue with the policy `block` that one trade fills.
fn full() -> (Arc<Pools>, Arc<Dispatcher>, Subscriber, Publisher) {
    let (pools, dispatcher) = plane();
    let name = provider("bus-tests");
    let subscriber = Subscriber::new(&dispatcher, [OverflowPolicy::Block; Kind::COUNT], 1, 10, &[name]);
    let mut publisher = Publisher::new(&dispatcher, name);
    assert_eq!(send(&mut publisher, (Kind::Trade, 0, 1)), Ok(Some(1)));
    assert!(subscriber.is_full(Kind::Trade) && subscriber.is_full(Kind::Ticker));
    (pools, dispatcher, subscriber, publisher)
}

#[test]
fn a_stopped_wait_takes_no_sequence_number() {
    let (pools, dispatcher, mut subscriber, mut publisher) = full();
    publisher.stop_flag().stop();
    for kind in MARKET {
        assert_eq!(send(&mut publisher, (kind, 0, 2)), Err(NotDispatched::Stopped));
    }
    assert_eq!(dispatcher.watermark(), 1);
    publisher.stop_flag().reset();
    subscriber.read_out(&dispatcher);
    assert_eq!(send(&mut publisher, (Kind::Trade, 0, 3)), Ok(Some(2)));
    subscriber.read_out(&dispatcher);
    assert_eq!(subscriber.read, [(1, (Kind::Trade, 0, 1)), (2, (Kind::Trade, 0, 3))]);
    assert!(all_slots_are_free(&pools), "undispatched events return their slots");
}

#[test]
fn an_interrupted_wait_takes_no_sequence_number() {
    let (_pools, dispatcher, _subscriber, publisher) = full();
    let mut publisher = publisher.stopped_by(Arc::new(StopFlag::with_interrupts(|| true)));
    let (done, result) = mpsc::channel();
    // Without interrupts the wait would not end.
    thread::spawn(move || done.send(send(&mut publisher, (Kind::Trade, 0, 2))));
    assert_eq!(result.recv_timeout(Duration::from_secs(20)), Ok(Err(NotDispatched::Stopped)));
    assert_eq!(dispatcher.watermark(), 1);
}

#[test]
fn closing_a_full_queue_releases_its_producer() {
    let (pools, dispatcher, mut subscriber, mut publisher) = full();
    let policies = [OverflowPolicy::DropOldest; Kind::COUNT];
    let witness = Subscriber::new(&dispatcher, policies, 4, 10, &[publisher.provider()]);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| send(&mut publisher, (Kind::Trade, 0, 2)));
        dispatcher.close(&subscriber.queue);
        assert_eq!(waiting.join().unwrap(), Ok(Some(2)));
    });
    subscriber.read_out(&dispatcher);
    assert_eq!(subscriber.read, [], "a closed queue is empty");
    assert_eq!(subscriber.queue.losses(Kind::Trade).dropped(), 0);
    let mut witness = witness;
    witness.read_out(&dispatcher);
    assert_eq!(
        witness.read,
        [(2, (Kind::Trade, 0, 2))],
        "other queues get the events that the closed queue refuses"
    );
    drop((subscriber, witness, publisher));
    assert!(all_slots_are_free(&pools));
}

#[test]
fn a_closed_queue_holds_nothing_whatever_keeps_it_alive() {
    let (pools, dispatcher) = plane();
    let name = provider("bus-tests");
    let mut subscriber = Subscriber::new(&dispatcher, DEFAULT_POLICIES, 8, 10, &[name]);
    let (mut idle, mut publisher) = (Publisher::new(&dispatcher, name), Publisher::new(&dispatcher, name));
    for n in 0..20 {
        for kind in kinds() {
            send(if n == 0 { &mut idle } else { &mut publisher }, (kind, n as usize % SYMBOLS, n)).unwrap();
        }
    }
    subscriber.read_batch(&dispatcher, 2);
    let read = subscriber.read.len();
    dispatcher.unsubscribe(subscriber.id);
    dispatcher.close(&subscriber.queue);
    subscriber.read_batch(&dispatcher, 2);
    assert_eq!(subscriber.read.len(), read, "the reader discards what it has taken");
    assert!(!subscriber.reader.has_work(), "the private lane is empty too");
    assert!(Arc::strong_count(&subscriber.queue) > 2, "the idle publisher's table keeps the queue alive");
    assert!(all_slots_are_free(&pools), "the queue that the idle publisher keeps alive holds no slot");
    send(&mut idle, (Kind::Trade, 0, 99)).unwrap();
    assert!(all_slots_are_free(&pools));
}

#[test]
fn a_displaced_event_is_freed_by_the_caller_of_push() {
    let (pools, dispatcher) = plane();
    let Subscriber { queue, reader: _reader, .. } =
        Subscriber::new(&dispatcher, DEFAULT_POLICIES, 1, 1, &[provider("bus-tests")]);
    let event = |kind| {
        let mut event = pools.events.borrow().unwrap();
        event.header = Some(Header { kind, ..header() });
        event.into_shared()
    };
    let cell = Arc::default();
    for kind in [Kind::Trade, Kind::Ticker] {
        assert!(queue.push(&cell, kind, 1, event(kind)).is_none());
        let in_use = pools.events.capacity() - pools.events.free();
        let displaced = queue.push(&cell, kind, 2, event(kind));
        assert_eq!(pools.events.capacity() - pools.events.free(), in_use + 1);
        drop(displaced);
        assert_eq!(pools.events.capacity() - pools.events.free(), in_use);
    }
    queue.shut();
    let refused = queue.push(&cell, Kind::Trade, 3, event(Kind::Trade));
    assert!(refused.is_some(), "a refused event is freed by the caller too");
}
