//! The queues against plain models, whatever their policies.

use crate::bus::{Item, OverflowPolicy, Policies, Queue, Reader, Waker};
use crate::decimal::Decimal;
use crate::dispatch::{Dispatcher, NotDispatched, Origin, Publisher, Route, RouteKey};
use crate::event::{BalanceUpdate, Kind, Kline, Payload, RiskControl, Ticker, Trade, VenueId};
use crate::names::{ProviderId, SymbolId};
use crate::pool::{Claim, Pools};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

const MARKET: [Kind; 4] = [Kind::Trade, Kind::Ticker, Kind::KlineSummary, Kind::BookSnapshot];
const PRIVATE: [Kind; 2] = [Kind::BalanceUpdate, Kind::RiskControl];
const SYMBOLS: usize = 2;

fn kinds() -> impl Iterator<Item = Kind> {
    MARKET.into_iter().chain(PRIVATE)
}

fn provider(name: &str) -> ProviderId {
    ProviderId::intern(name).unwrap()
}

fn symbol(i: usize) -> SymbolId {
    SymbolId::intern(["BUS-A", "BUS-B"][i]).unwrap()
}

/// What a test knows of an event: kind, symbol, and the number that its payload carries.
type Mark = (Kind, usize, u64);

fn send(publisher: &mut Publisher, (kind, of, tag): Mark) -> Result<Option<u64>, NotDispatched> {
    let symbol = symbol(of);
    let Some(wanted) = publisher.wanted(kind, symbol) else { return Ok(None) };
    let number = Decimal::new(i128::from(tag), 0).unwrap();
    let payload = match kind {
        Kind::Trade => {
            Payload::Trade(Trade { id: VenueId::Number(tag), side: None, price: number, quantity: number })
        }
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
        Kind::BookSnapshot => {
            let mut book = publisher.borrow_book(wanted)?;
            book.last_update_id = tag;
            Payload::Book(book.into_shared())
        }
        Kind::BalanceUpdate => Payload::Balance(BalanceUpdate { total: number, available: number }),
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
    let origin = Origin { kind, symbol, venue_time: None, received_time: 0 };
    publisher.publish(wanted, origin, payload)
}

/// Returns the sequence number of an event and what its payload says.
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

/// A queue that wants everything, and what came out of it.
struct Seat {
    queue: Arc<Queue>,
    reader: Reader,
    policies: Policies,
    seen: Vec<(u64, Mark)>,
}

impl Seat {
    fn new(policies: Policies, capacity: usize, private_limit: usize) -> Self {
        let (queue, reader) = Queue::new(policies, capacity, private_limit, Arc::new(Waker::default()));
        Self { queue, reader, policies, seen: Vec::new() }
    }

    fn subscribe(&self, dispatcher: &Dispatcher, provider: ProviderId) {
        let route =
            |kind| Route { key: RouteKey { provider, kind, symbol: None }, filters: Vec::new(), depth: 1 };
        dispatcher.subscribe(&self.queue, kinds().map(route).collect());
    }

    fn read(&mut self, dispatcher: &Dispatcher, max: usize) {
        let mut items = Vec::new();
        self.reader.read(dispatcher.watermark(), max, &mut items);
        self.seen.extend(items.iter().map(read_mark));
    }

    fn read_out(&mut self, dispatcher: &Dispatcher) {
        while self.reader.has_work() {
            self.read(dispatcher, 7);
        }
    }

    fn is_full(&self, kind: Kind) -> bool {
        self.queue.blocks(kind) && !self.queue.has_room(kind)
    }

    /// Compares what was read with what was sent. Where not all was read, the rest of it is unknown.
    fn check(&self, sent: &BTreeMap<u64, Mark>, all_read: bool) -> Result<(), TestCaseError> {
        prop_assert!(self.seen.is_sorted_by(|a, b| a.0 < b.0), "no policy reorders: {:?}", self.seen);
        for (seq, mark) in &self.seen {
            prop_assert_eq!(sent.get(seq), Some(mark));
        }
        for kind in kinds() {
            let count =
                |marks: &mut dyn Iterator<Item = &Mark>| marks.filter(|mark| mark.0 == kind).count() as u64;
            let (all, got) = (count(&mut sent.values()), count(&mut self.seen.iter().map(|(_, mark)| mark)));
            let losses = self.queue.losses(kind);
            let (conflated, dropped) = (losses.conflated.get(), losses.dropped.get());
            prop_assert!(got + conflated + dropped <= all, "{:?}: {} {} {}", kind, got, conflated, dropped);
            if all_read {
                prop_assert_eq!(
                    got + conflated + dropped,
                    all,
                    "{:?}: what was lost is what was counted",
                    kind
                );
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
                    let seen = self.seen.iter().map(|(_, mark)| mark).rfind(|mark| last(mark));
                    prop_assert_eq!(seen, sent, "the latest wins");
                }
            }
        }
        prop_assert!(!self.queue.is_halted());
        Ok(())
    }
}

/// A length that the private lane never passes: with `block`, producers wait for that lane too, so a short one will do.
fn private_limit(policies: &Policies) -> usize {
    let blocks = |kind: Kind| !kind.is_private() && policies[kind as usize] == OverflowPolicy::Block;
    if Kind::ALL.into_iter().any(blocks) { 2 } else { 10_000 }
}

fn plane() -> (Arc<Pools>, Arc<Dispatcher>) {
    let pools = Pools::new(1 << 26);
    Pools::reserve(&pools, Claim { events: 1024, books: 512, depth: 1 }).unwrap();
    (Arc::clone(&pools), Dispatcher::new(pools))
}

fn slots_are_home(pools: &Pools) -> bool {
    pools.events.free() == pools.events.capacity() && pools.books.free() == pools.books.capacity()
}

/// A policy for each market kind; those of private kinds mean nothing, so they are anything too.
fn policies() -> impl Strategy<Value = Policies> {
    proptest::array::uniform(prop_oneof![
        Just(OverflowPolicy::Conflate),
        Just(OverflowPolicy::DropOldest),
        Just(OverflowPolicy::Block)
    ])
}

fn any_kind() -> impl Strategy<Value = Kind> {
    proptest::sample::select(kinds().collect::<Vec<_>>())
}

#[derive(Debug, Clone)]
enum Step {
    Send(Kind, usize),
    /// Which queue, and how many events of each lane at most.
    Read(usize, usize),
}

fn steps(queues: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (any_kind(), 0..SYMBOLS).prop_map(|(kind, of)| Step::Send(kind, of)),
        1 => (0..queues, 1usize..6).prop_map(|(queue, max)| Step::Read(queue, max)),
    ];
    proptest::collection::vec(step, 1..150)
}

/// Sends where a queue is full: the producer must wait, and take its number only when there is room.
fn send_to_full(
    dispatcher: &Dispatcher,
    seats: &mut [Seat],
    publisher: &mut Publisher,
    other: &mut Publisher,
    mark: Mark,
) -> (u64, u64) {
    thread::scope(|scope| {
        let waiting = scope.spawn(|| send(publisher, mark));
        // Nobody has read yet, so whoever does not wait is numbered first.
        let first = send(other, (Kind::Trade, 0, 0)).unwrap();
        while !waiting.is_finished() {
            for seat in seats.iter_mut().filter(|seat| seat.is_full(mark.0)) {
                seat.read(dispatcher, 1);
            }
            thread::yield_now();
        }
        let second = waiting.join().unwrap().unwrap();
        (first.unwrap(), second.unwrap())
    })
}

proptest! {
    #[test]
    fn prop_order_is_kept_and_losses_are_counted(
        steps in steps(3),
        policies in proptest::collection::vec((policies(), 1usize..6), 3),
        all_read: bool,
    ) {
        let (pools, dispatcher) = plane();
        let (name, other) = (provider("bus-tests"), provider("bus-tests-other"));
        let mut seats: Vec<_> = policies
            .into_iter()
            .map(|(policies, capacity)| Seat::new(policies, capacity, private_limit(&policies)))
            .collect();
        for seat in &seats {
            seat.subscribe(&dispatcher, name);
        }
        let witness = Seat::new([OverflowPolicy::DropOldest; Kind::COUNT], 1, 1);
        witness.subscribe(&dispatcher, other);
        let (mut publisher, mut other) = (Publisher::new(&dispatcher, name), Publisher::new(&dispatcher, other));
        let (mut sent, mut last) = (BTreeMap::new(), 0);
        for step in steps {
            match step {
                Step::Send(kind, of) => {
                    let mark = (kind, of, last);
                    if seats.iter().any(|seat| seat.is_full(kind)) {
                        let numbers = send_to_full(&dispatcher, &mut seats, &mut publisher, &mut other, mark);
                        prop_assert_eq!(numbers, (last + 1, last + 2), "who waits for room has no number yet");
                        last += 2;
                    } else {
                        prop_assert_eq!(send(&mut publisher, mark), Ok(Some(last + 1)));
                        last += 1;
                    }
                    sent.insert(last, mark);
                }
                Step::Read(queue, max) => seats[queue].read(&dispatcher, max),
            }
            prop_assert_eq!(dispatcher.watermark(), last);
        }
        if all_read {
            for seat in &mut seats {
                seat.read_out(&dispatcher);
            }
        }
        for seat in &seats {
            seat.check(&sent, all_read)?;
        }
        drop(witness);
        drop((seats, publisher, other, dispatcher));
        prop_assert!(slots_are_home(&pools), "every slot comes back");
    }

    #[test]
    fn prop_a_queue_that_is_read_out_equals_its_model(
        steps in steps(1), policies in policies(), capacity in 1usize..9,
    ) {
        let (pools, dispatcher) = plane();
        let name = provider("bus-tests");
        let mut seat = Seat::new(policies, capacity, 10_000);
        seat.subscribe(&dispatcher, name);
        let mut publisher = Publisher::new(&dispatcher, name);
        let capacity = capacity.next_power_of_two();
        let (mut ring, mut kept, mut cells) = (VecDeque::new(), Vec::new(), BTreeMap::new());
        let (mut dropped, mut conflated) = ([0; Kind::COUNT], [0; Kind::COUNT]);
        for (n, step) in (0u64..).zip(steps) {
            let sends = match step {
                Step::Send(kind, of) if !seat.is_full(kind) => Some((kind, of, n)),
                _ => None,
            };
            if let Some(mark @ (kind, of, _)) = sends {
                let event = (send(&mut publisher, mark).unwrap().unwrap(), mark);
                match policies[kind as usize] {
                    _ if kind.is_private() => kept.push(event),
                    OverflowPolicy::Block => kept.push(event),
                    OverflowPolicy::DropOldest => {
                        ring.push_back(event);
                        if ring.len() > capacity && let Some((_, oldest)) = ring.pop_front() {
                            dropped[oldest.0 as usize] += 1;
                        }
                    }
                    OverflowPolicy::Conflate => {
                        conflated[kind as usize] += u64::from(cells.insert((kind, of), event).is_some());
                    }
                }
                continue;
            }
            let mut expected: Vec<_> = ring.drain(..).chain(kept.drain(..)).collect();
            expected.extend(std::mem::take(&mut cells).into_values());
            expected.sort_unstable_by_key(|event| event.0);
            seat.seen.clear();
            seat.read_out(&dispatcher);
            prop_assert_eq!(&seat.seen, &expected);
            prop_assert!(slots_are_home(&pools), "a queue that was read out holds nothing");
        }
        for kind in kinds() {
            let losses = seat.queue.losses(kind);
            let model = (conflated[kind as usize], dropped[kind as usize]);
            prop_assert_eq!((losses.conflated.get(), losses.dropped.get()), model, "{:?}", kind);
        }
    }

    #[test]
    fn prop_a_private_lane_past_its_length_halts_and_counts(
        limit in 1usize..6, steps in proptest::collection::vec(proptest::option::of(1usize..4), 1..60),
    ) {
        let (_, dispatcher) = plane();
        let name = provider("bus-tests");
        let mut seat = Seat::new([OverflowPolicy::DropOldest; Kind::COUNT], 1, limit);
        seat.subscribe(&dispatcher, name);
        let mut publisher = Publisher::new(&dispatcher, name);
        let (mut lane, mut expected, mut refused) = (VecDeque::new(), Vec::new(), 0);
        for (n, step) in (0u64..).zip(steps) {
            if let Some(max) = step {
                seat.read(&dispatcher, max);
                expected.extend(lane.drain(..max.min(lane.len())));
            } else {
                let mark = (Kind::BalanceUpdate, 0, n);
                let seq = send(&mut publisher, mark).unwrap().unwrap();
                if lane.len() < limit { lane.push_back((seq, mark)) } else { refused += 1 }
            }
            prop_assert_eq!(&seat.seen, &expected);
            prop_assert_eq!(seat.queue.losses(Kind::BalanceUpdate).dropped.get(), refused);
            prop_assert_eq!(seat.queue.is_halted(), refused > 0, "nothing is lost without a halt");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn prop_threads_lose_what_is_counted(
        producers in proptest::collection::vec(proptest::collection::vec((any_kind(), 0..SYMBOLS), 0..200), 1..4),
        readers in proptest::collection::vec((policies(), 1usize..9, 1usize..9), 1..4),
    ) {
        let (pools, dispatcher) = plane();
        let names: Vec<_> = (0..producers.len()).map(|i| provider(["bus-a", "bus-b", "bus-c"][i])).collect();
        let mut seats = Vec::new();
        for (policies, capacity, _) in &readers {
            let seat = Seat::new(*policies, *capacity, private_limit(policies));
            for name in &names {
                seat.subscribe(&dispatcher, *name);
            }
            seats.push(seat);
        }
        let queues: Vec<_> = seats.iter().map(|seat| Arc::clone(&seat.queue)).collect();
        let sent = thread::scope(|scope| {
            for (seat, (_, _, max)) in seats.iter_mut().zip(&readers) {
                let dispatcher = &dispatcher;
                scope.spawn(move || loop {
                    let waker = Arc::clone(seat.queue.waker());
                    waker.wait(None, || seat.reader.has_work() || seat.queue.is_closed());
                    let closed = seat.queue.is_closed();
                    seat.read(dispatcher, *max);
                    if closed && !seat.reader.has_work() {
                        break;
                    }
                });
            }
            let sending: Vec<_> = (0u64..).zip(&producers).zip(names).map(|((i, events), name)| {
                let mut publisher = Publisher::new(&dispatcher, name);
                scope.spawn(move || {
                    let mark = |(n, (kind, of)): (u64, &(Kind, usize))| (*kind, *of, i << 32 | n);
                    let send = |mark| (send(&mut publisher, mark).unwrap().unwrap(), mark);
                    (0u64..).zip(events).map(mark).map(send).collect::<Vec<_>>()
                })
            }).collect();
            let sent: Vec<_> = sending.into_iter().map(thread::ScopedJoinHandle::join).collect();
            // Before a panic of a producer goes on: the readers' threads must end too.
            for queue in &queues {
                queue.close();
            }
            sent.into_iter().map(Result::unwrap).collect::<Vec<_>>()
        });
        for of_one in &sent {
            prop_assert!(of_one.is_sorted_by(|a, b| a.0 < b.0), "a producer's events are numbered as it sent them");
        }
        let sent: BTreeMap<u64, Mark> = sent.into_iter().flatten().collect();
        prop_assert!(sent.keys().copied().eq(1..=dispatcher.watermark()), "each number is given once");
        for seat in &seats {
            seat.check(&sent, true)?;
        }
        drop((seats, queues, dispatcher));
        prop_assert!(slots_are_home(&pools), "every slot comes back");
    }
}

/// A queue of one blocked trade, full.
fn full() -> (Arc<Pools>, Arc<Dispatcher>, Seat, Publisher) {
    let (pools, dispatcher) = plane();
    let name = provider("bus-tests");
    let seat = Seat::new([OverflowPolicy::Block; Kind::COUNT], 1, 10);
    seat.subscribe(&dispatcher, name);
    let mut publisher = Publisher::new(&dispatcher, name);
    assert_eq!(send(&mut publisher, (Kind::Trade, 0, 1)), Ok(Some(1)));
    assert!(seat.is_full(Kind::Trade) && seat.is_full(Kind::Ticker));
    (pools, dispatcher, seat, publisher)
}

#[test]
fn a_wait_that_is_stopped_takes_no_number() {
    let (pools, dispatcher, mut seat, mut publisher) = full();
    publisher.stop_flag().store(true, Ordering::Relaxed);
    for kind in MARKET {
        assert_eq!(send(&mut publisher, (kind, 0, 2)), Err(NotDispatched::Stopped));
    }
    assert_eq!(dispatcher.watermark(), 1);
    publisher.stop_flag().store(false, Ordering::Relaxed);
    seat.read_out(&dispatcher);
    assert_eq!(send(&mut publisher, (Kind::Trade, 0, 3)), Ok(Some(2)));
    seat.read_out(&dispatcher);
    assert_eq!(seat.seen, [(1, (Kind::Trade, 0, 1)), (2, (Kind::Trade, 0, 3))]);
    assert!(slots_are_home(&pools), "what was not dispatched gave its slots back");
}

#[test]
fn closing_a_full_queue_releases_its_producer() {
    let (pools, dispatcher, mut seat, mut publisher) = full();
    let witness = Seat::new([OverflowPolicy::DropOldest; Kind::COUNT], 4, 10);
    witness.subscribe(&dispatcher, publisher.provider());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| send(&mut publisher, (Kind::Trade, 0, 2)));
        seat.queue.close();
        assert_eq!(waiting.join().unwrap(), Ok(Some(2)));
    });
    seat.read_out(&dispatcher);
    assert_eq!(seat.seen, [(1, (Kind::Trade, 0, 1))], "what stood in the closed queue can still be read");
    assert_eq!(seat.queue.losses(Kind::Trade).dropped.get(), 0);
    let mut witness = witness;
    witness.read_out(&dispatcher);
    assert_eq!(witness.seen, [(2, (Kind::Trade, 0, 2))], "others get what the closed queue refuses");
    drop((seat, witness, publisher));
    assert!(slots_are_home(&pools));
}
