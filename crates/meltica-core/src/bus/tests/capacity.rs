//! Claims: whatever queues, readers and publishers do, the slots in use never exceed what is reserved.

use super::{DEFAULT_POLICIES, Size, provider, subscribed};
use crate::bus::fixtures::options;
use crate::bus::{Item, OverflowPolicy, Policies, Queue, Reader, UNLISTED_SYMBOLS};
use crate::decimal::Decimal;
use crate::dispatch::{Dispatcher, Origin, Publisher, Route, RouteKey, SubscriptionId};
use crate::event::{BookGap, Kind, Payload, PriceLevel, StaleReason, Ticker, Trade, VenueId};
use crate::names::{ProviderId, SymbolId};
use crate::pool::{Claim, DepthClass, Pools};
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeSet;
use std::sync::Arc;

const KINDS: [Kind; 3] = [Kind::Trade, Kind::Ticker, Kind::BookSnapshot];
const SENT: [Kind; 5] = [Kind::Trade, Kind::Ticker, Kind::BookSnapshot, Kind::BookGap, Kind::MarketStale];
const SYMBOLS: usize = 4;

fn symbol(i: usize) -> SymbolId {
    SymbolId::intern(&format!("CLAIM-{i}"))
}

pub fn route(provider: ProviderId, kind: Kind, symbol: Option<SymbolId>, depth: u32) -> Route {
    Route { key: RouteKey { provider, kind, symbol }, filters: Vec::new(), depth }
}

pub fn publish(publisher: &mut Publisher, kind: Kind, symbol: SymbolId, levels: usize) -> Option<u64> {
    let origin = Origin { kind, symbol, venue_time: None, received_time: 0 };
    if kind.is_notice() {
        let gap = Payload::BookGap(BookGap { expected: 1, received: 2 });
        let stale = Payload::MarketStale(StaleReason::Disconnected);
        return publisher.publish_notice(origin, if kind == Kind::BookGap { gap } else { stale }).unwrap();
    }
    let wanted = publisher.wanted(kind, symbol)?;
    let (price, quantity) = (Decimal::from_i64(1), Decimal::from_i64(1));
    let payload = match kind {
        Kind::BookSnapshot => {
            let level = |i: usize| PriceLevel { price: i as i64 + 1, quantity: 1 };
            let published = publisher.publish_book(wanted, origin, |book, depth| {
                book.asks.extend((0..levels.min(depth as usize)).map(level));
            });
            return published.unwrap();
        }
        Kind::Trade => {
            Payload::Trade(Trade { id: Some(VenueId::Number(1)), side: None, price, quantity, late: false })
        }
        _ => Payload::Ticker(Ticker { last: Some(price), ..Ticker::default() }),
    };
    publisher.publish(wanted, origin, payload).unwrap()
}

/// Returns the slots in use.
fn in_use(pools: &Pools) -> Claim {
    let mut claim = Claim { events: pools.events.capacity() - pools.events.free(), ..Claim::default() };
    for class in DepthClass::ALL {
        claim.books[class.index()] = pools.books(class).capacity() - pools.books(class).free();
    }
    claim
}

/// What an instance subscribes to, and its queue.
#[derive(Debug, Clone)]
struct Wish {
    policies: Policies,
    capacity: usize,
    depth: u32,
    /// No symbol stands for every symbol.
    symbols: Vec<Option<usize>>,
}

fn wish() -> impl Strategy<Value = Wish> {
    let policy = || select(vec![OverflowPolicy::Conflate, OverflowPolicy::DropOldest]);
    let symbols = proptest::collection::vec(proptest::option::of(0..SYMBOLS), 1..4);
    (proptest::array::uniform(policy()), 1usize..9, select(vec![1u32, 25, 100, 1000]), symbols)
        .prop_map(|(policies, capacity, depth, symbols)| Wish { policies, capacity, depth, symbols })
}

#[derive(Debug, Clone)]
enum Step {
    Start(usize, Wish),
    /// Unsubscribes and closes. The reader goes on if the host is stuck.
    Stop(usize, bool),
    Read(usize, usize),
    Send(Kind, usize, usize),
    RestartPublisher,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0usize..3, wish()).prop_map(|(i, wish)| Step::Start(i, wish)),
        1 => (0usize..3, any::<bool>()).prop_map(|(i, stuck)| Step::Stop(i, stuck)),
        4 => (0usize..4, 1usize..5).prop_map(|(i, max)| Step::Read(i, max)),
        20 => (select(&SENT[..]), 0..SYMBOLS, 0usize..1200).prop_map(|(k, s, n)| Step::Send(k, s, n)),
        1 => Just(Step::RestartPublisher),
    ];
    proptest::collection::vec(step, 1..200)
}

/// A queue with its reader, and the batch that the host has in hand.
struct Instance {
    id: SubscriptionId,
    queue: Arc<Queue>,
    reader: Reader,
    batch: Vec<Item>,
}

impl Instance {
    fn start(dispatcher: &Arc<Dispatcher>, name: ProviderId, wish: &Wish) -> Self {
        let of_symbol = |symbol: &Option<usize>| {
            let id = symbol.map(self::symbol);
            KINDS.map(|kind| route(name, kind, id, wish.depth))
        };
        let routes = wish.symbols.iter().flat_map(of_symbol).collect();
        let size = Size { capacity: wish.capacity, batch: 4, private_limit: 1 };
        let (queue, reader, id) = subscribed(dispatcher, wish.policies, size, routes, &Arc::default());
        Self { id, queue, reader, batch: Vec::new() }
    }

    fn read(&mut self, dispatcher: &Dispatcher, max: usize) {
        self.batch.clear();
        self.reader.read(dispatcher.watermark(), max, &mut self.batch);
    }
}

proptest! {
    #[test]
    fn prop_claims_cover_what_is_in_use(steps in steps()) {
        let pools = Pools::new(1 << 30);
        let dispatcher = Dispatcher::new(Arc::clone(&pools));
        let name = provider("claims");
        let mut publisher = Publisher::new(&dispatcher, name);
        let deep = Wish {
            policies: [OverflowPolicy::DropOldest; Kind::COUNT],
            capacity: 256,
            depth: 1000,
            symbols: vec![None],
        };
        let mut innocent = Instance::start(&dispatcher, name, &deep);
        let mut running: [Option<Instance>; 3] = Default::default();
        let mut stuck: Vec<Instance> = Vec::new();
        let (mut sent, mut received) = (0, 0);
        for step in steps {
            match step {
                Step::Start(i, wish) => {
                    if let Some(old) = running[i].take() {
                        dispatcher.unsubscribe(old.id);
                        dispatcher.close(&old.queue);
                    }
                    running[i] = Some(Instance::start(&dispatcher, name, &wish));
                }
                Step::Stop(i, is_stuck) => {
                    let Some(old) = running[i].take() else { continue };
                    dispatcher.unsubscribe(old.id);
                    dispatcher.close(&old.queue);
                    if is_stuck {
                        stuck.push(old);
                    }
                }
                Step::Read(3, max) => {
                    innocent.read(&dispatcher, max);
                    received += innocent.batch.iter().filter(|item| item.header().kind == Kind::Trade).count();
                }
                Step::Read(i, max) => if let Some(instance) = &mut running[i] {
                    instance.read(&dispatcher, max);
                },
                Step::Send(kind, of, levels) => {
                    publish(&mut publisher, kind, symbol(of), levels);
                    sent += usize::from(kind == Kind::Trade);
                }
                Step::RestartPublisher => publisher = Publisher::new(&dispatcher, name),
            }
            let (reserved, in_use) = (pools.reserved(), in_use(&pools));
            prop_assert!(in_use.events <= reserved.events, "{in_use} of {reserved}");
            prop_assert!(in_use.books.iter().zip(reserved.books).all(|(n, of)| *n <= of), "{in_use} of {reserved}");
            prop_assert_eq!(pools.events.exhausted(), 0);
        }
        while innocent.reader.has_work() {
            innocent.read(&dispatcher, 4);
            received += innocent.batch.iter().filter(|item| item.header().kind == Kind::Trade).count();
        }
        prop_assert_eq!(received, sent, "an instance with room loses nothing, whatever others do");
        prop_assert_eq!(KINDS.map(|kind| innocent.queue.losses(kind).dropped()), [0; 3]);
        for instance in running.iter().flatten().chain([&innocent]) {
            dispatcher.unsubscribe(instance.id);
            dispatcher.close(&instance.queue);
        }
        drop((innocent, running, stuck, publisher));
        prop_assert_eq!(pools.reserved(), Claim::default(), "all is released");
    }
}

/// Publishes a ticker of each of `symbols` new symbols of `provider`, whose prefix is `name`. The janitor works meanwhile
/// or, if `is_late`, after the last of them.
fn publish_new(publisher: &mut Publisher, name: &str, symbols: usize, is_late: bool) {
    let held = is_late.then(crate::janitor::hold);
    for i in 0..symbols {
        publish(publisher, Kind::Ticker, SymbolId::intern(&format!("{name}-{i:04}")), 0);
    }
    drop(held);
    crate::janitor::settle();
}

/// Whenever the janitor grows the claim: before, while or after the symbols appear.
#[test]
fn symbols_beyond_the_limit_are_left_out_and_named() {
    for (run, is_late) in [true, false, true, false].into_iter().enumerate() {
        leave_out(&format!("LEFT-{run}"), is_late);
    }
}

fn leave_out(name: &str, is_late: bool) {
    // Room for the first claim of the wildcard, one growth, and the other queue.
    let pools = Pools::new(300_000);
    let dispatcher = Dispatcher::new(Arc::clone(&pools));
    let (greedy, other) = (provider("claims-greedy"), provider("claims-other"));
    let of = symbol(0);
    let (trades, mut reader, _) = subscribed(
        &dispatcher,
        DEFAULT_POLICIES,
        Size::of(64),
        vec![route(other, Kind::Trade, Some(of), 0)],
        &Arc::default(),
    );
    let routes = vec![route(greedy, Kind::Ticker, None, 0)];
    let (queue, _reader, _) =
        subscribed(&dispatcher, DEFAULT_POLICIES, Size::of(16), routes, &Arc::default());
    let mut publishers = [Publisher::new(&dispatcher, greedy), Publisher::new(&dispatcher, other)];
    publish_new(&mut publishers[0], name, 3000, is_late);
    let left_out: BTreeSet<_> = queue.left_out().iter().map(|(_, _, symbol)| symbol.name()).collect();
    let admitted = 3000 - left_out.len();
    assert!(admitted > UNLISTED_SYMBOLS, "the claim grew");
    let expected: BTreeSet<_> = (admitted..3000).map(|i| format!("{name}-{i:04}")).collect();
    assert!(left_out.iter().eq(&expected), "the first symbols have their cells: {left_out:?}");
    let refused = queue.refused_growth().unwrap();
    assert!(refused.wanted > refused.left && refused.max == 300_000, "{refused}");
    for _ in 0..64 {
        publish(&mut publishers[1], Kind::Trade, of, 0);
    }
    let mut items = Vec::new();
    reader.read(dispatcher.watermark(), 64, &mut items);
    assert_eq!(items.len(), 64, "the other queue has its own slots");
    assert_eq!(trades.losses(Kind::Trade).dropped(), 0);
    assert_eq!(pools.events.exhausted(), 0);
}

#[test]
fn symbols_that_were_left_out_are_admitted_once_there_is_room() {
    let pools = Pools::new(1_800_000);
    let dispatcher = Dispatcher::new(Arc::clone(&pools));
    let (greedy, other) = (provider("claims-retry"), provider("claims-leaving"));
    let routes = vec![route(other, Kind::Trade, None, 0)];
    let (leaving, leaving_reader, id) =
        subscribed(&dispatcher, DEFAULT_POLICIES, Size::of(1536), routes, &Arc::default());
    let routes = vec![route(greedy, Kind::Ticker, None, 0)];
    let (queue, mut reader, _) =
        subscribed(&dispatcher, DEFAULT_POLICIES, Size::of(16), routes, &Arc::default());
    let mut publisher = Publisher::new(&dispatcher, greedy);
    let symbols: Vec<_> = (0..300).map(|i| SymbolId::intern(&format!("RETRY-{i:03}"))).collect();
    let mut publish_each = || {
        for of in &symbols {
            publish(&mut publisher, Kind::Ticker, *of, 0);
        }
    };
    publish_each();
    crate::janitor::settle();
    let left_out = queue.left_out().len();
    assert!(left_out > 0 && queue.refused_growth().is_some(), "{left_out}");
    assert!(!dispatcher.retry_growth(&queue), "the other queue has the room");
    assert_eq!(queue.left_out().len(), left_out);
    dispatcher.unsubscribe(id);
    dispatcher.close(&leaving);
    drop((leaving, leaving_reader));
    assert!(dispatcher.retry_growth(&queue));
    assert!(queue.left_out().is_empty(), "{:?}", queue.left_out());
    assert_eq!(queue.refused_growth(), None);
    publish_each();
    let mut items = Vec::new();
    reader.read(dispatcher.watermark(), 16, &mut items);
    assert_eq!(items.len(), symbols.len());
}

#[test]
fn symbols_that_were_left_out_are_admitted_after_another_growth() {
    let dispatcher = Dispatcher::new(Pools::new(540_000));
    let (greedy, other) = (provider("claims-raced"), provider("claims-raced-leaving"));
    let routes = vec![route(other, Kind::Trade, None, 0)];
    let (leaving, leaving_reader, id) =
        subscribed(&dispatcher, DEFAULT_POLICIES, Size::of(128), routes, &Arc::default());
    let routes = vec![route(greedy, Kind::Ticker, None, 0)];
    let (queue, _reader, _) =
        subscribed(&dispatcher, DEFAULT_POLICIES, Size::of(16), routes, &Arc::default());
    let mut publisher = Publisher::new(&dispatcher, greedy);
    for i in 0..140 {
        publish(&mut publisher, Kind::Ticker, SymbolId::intern(&format!("RACED-{i:03}")), 0);
    }
    crate::janitor::settle();
    assert!(!queue.left_out().is_empty());
    dispatcher.unsubscribe(id);
    dispatcher.close(&leaving);
    drop((leaving, leaving_reader));
    // Another thread grows the claim between a retry's steps.
    queue.retry_growth();
    assert!(queue.grow_claim());
    assert!(dispatcher.retry_growth(&queue));
    assert!(queue.left_out().is_empty(), "{:?}", queue.left_out());
}

#[test]
fn a_symbol_is_paid_for_with_its_notices() {
    let dispatcher = Dispatcher::new(Pools::new(1 << 28));
    for (kind, ring, cells) in [(Kind::Trade, 32, 2), (Kind::Ticker, 0, 3), (Kind::BookSnapshot, 0, 4)] {
        for (of, symbols) in [(Some(symbol(0)), 1), (None, 64)] {
            let routes = vec![route(provider("claims-notices"), kind, of, 8)];
            let (queue, ..) =
                subscribed(&dispatcher, DEFAULT_POLICIES, Size::of(16), routes, &Arc::default());
            assert_eq!(queue.claim().events, ring + 2 * cells * symbols, "{kind:?} {symbols}");
        }
    }
}

#[test]
fn a_claim_above_the_limit_is_refused_with_its_numbers() {
    let pools = Pools::new(1 << 20);
    let dispatcher = Dispatcher::new(Arc::clone(&pools));
    let routes = vec![route(provider("claims"), Kind::BookSnapshot, None, 5000)];
    let keys: Vec<_> = routes.iter().map(|route| route.key).collect();
    let options = options(DEFAULT_POLICIES, Size::of(16), &routes);
    let Err(refused) = dispatcher.queue(options, &keys, Arc::default()) else { panic!("accepted") };
    let text = refused.to_string();
    assert!(text.contains("128 books of 5000 levels") && text.contains("1048576 bytes"), "{text}");
    assert_eq!(pools.reserved(), Claim::default());
}

#[test]
fn readers_of_one_book_have_slots_of_their_own_depth() {
    let pools = Pools::new(1 << 28);
    let dispatcher = Dispatcher::new(Arc::clone(&pools));
    let name = provider("claims-depth");
    let of = symbol(0);
    let subscribe = |depth| {
        let routes = vec![route(name, Kind::BookSnapshot, Some(of), depth)];
        subscribed(&dispatcher, DEFAULT_POLICIES, Size::of(4), routes, &Arc::default())
    };
    let mut readers: Vec<_> = [5, 8, 25, 1000].map(|depth| (depth, subscribe(depth))).into();
    let mut publisher = Publisher::new(&dispatcher, name);
    for levels in [1000, 3] {
        let seq = publish(&mut publisher, Kind::BookSnapshot, of, levels);
        for (depth, (queue, reader, _)) in &mut readers {
            let mut items = Vec::new();
            reader.read(dispatcher.watermark(), 4, &mut items);
            assert_eq!(items.iter().map(|item| Some(item.header().seq)).collect::<Vec<_>>(), [seq]);
            let Payload::Book(book) = &items[0].payload else { panic!("{items:?}") };
            // Readers of one class share the copy of the deepest of them.
            let deepest = if *depth < 9 { 8 } else { *depth as usize };
            assert_eq!(book.asks.len(), levels.min(deepest));
            assert_eq!(book.asks.capacity(), queue.class().levels(), "a slot never grows");
        }
    }
    assert_eq!(in_use(&pools), Claim::default());
}

#[test]
fn an_event_above_the_watermark_stays_in_its_cell() {
    let pools = Pools::new(1 << 28);
    let dispatcher = Dispatcher::new(Arc::clone(&pools));
    let name = provider("claims-late");
    let routes = vec![route(name, Kind::Ticker, None, 0)];
    let (queue, mut reader, _) =
        subscribed(&dispatcher, DEFAULT_POLICIES, Size::of(4), routes, &Arc::default());
    let mut publisher = Publisher::new(&dispatcher, name);
    let mut items = Vec::new();
    publish(&mut publisher, Kind::Ticker, symbol(0), 0);
    let old = dispatcher.watermark();
    publish(&mut publisher, Kind::Ticker, symbol(1), 0);
    assert_eq!(reader.read(old, 4, &mut items), 1);
    assert_eq!((items.len(), items[0].header().seq), (1, 1));
    assert!(reader.has_work());
    publish(&mut publisher, Kind::Ticker, symbol(1), 0);
    assert_eq!(queue.losses(Kind::Ticker).conflated(), 1, "it waits in its cell");
    items.clear();
    assert_eq!(reader.read(dispatcher.watermark(), 4, &mut items), 3);
    assert_eq!((items.len(), items[0].header().seq), (1, 3));
}

#[test]
fn trades_learn_that_their_feed_is_lost_and_not_that_a_book_is() {
    let pools = Pools::new(1 << 28);
    let dispatcher = Dispatcher::new(pools);
    let name = provider("claims-stale");
    let (of, policies) = (symbol(0), DEFAULT_POLICIES);
    // A route of books for every symbol counts before an exact one of trades.
    let books = vec![route(name, Kind::Trade, Some(of), 0), route(name, Kind::BookSnapshot, None, 5)];
    let trades = vec![route(name, Kind::Trade, Some(of), 0)];
    let mut readers =
        [books, trades].map(|routes| subscribed(&dispatcher, policies, Size::of(4), routes, &Arc::default()));
    let mut publisher = Publisher::new(&dispatcher, name);
    for (reason, expected) in
        [(StaleReason::Gap, [1, 0]), (StaleReason::Disconnected, [1, 1]), (StaleReason::Silent, [1, 1])]
    {
        let origin = Origin { kind: Kind::MarketStale, symbol: of, venue_time: None, received_time: 0 };
        publisher.publish_notice(origin, Payload::MarketStale(reason)).unwrap();
        for ((_, reader, _), expected) in readers.iter_mut().zip(expected) {
            let mut items = Vec::new();
            reader.read(dispatcher.watermark(), 4, &mut items);
            assert_eq!(items.len(), expected, "{reason:?}");
        }
    }
}
