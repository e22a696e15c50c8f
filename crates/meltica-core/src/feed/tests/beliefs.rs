//! What readers believe: a book or ticker that a reader believes good is the newest one, whatever others do.

use super::*;
use crate::bus::fixtures::Size;
use crate::bus::{DEFAULT_POLICIES, Policies, Queue};
use crate::decimal::Decimal;
use crate::dispatch::{StopFlag, SubscriptionId};
use crate::event::{PriceLevel, Ticker, Trade, VenueId};
use std::collections::BTreeSet;

const KINDS: [Kind; 3] = [Kind::BookSnapshot, Kind::Trade, Kind::Ticker];
/// More symbols than a route for every symbol claims at first.
const SYMBOLS: usize = 150;

fn symbol(i: usize) -> SymbolId {
    SymbolId::intern(&format!("S{i}-USDT"))
}

fn origin(kind: Kind, symbol: SymbolId) -> Origin {
    Origin { kind, symbol, venue_time: None, received_time: 0 }
}

/// Whether the latest event of a kind and symbol is good, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Latest {
    number: u64,
    good: bool,
}

/// The latest event of each kind and symbol, as the feed published it or as one reader saw it.
#[derive(Debug, Default)]
struct View(BTreeMap<(SymbolId, Kind), Latest>);

impl View {
    fn event(&mut self, symbol: SymbolId, kind: Kind, number: u64) {
        self.0.insert((symbol, kind), Latest { number, good: true });
    }

    fn stale(&mut self, symbol: SymbolId, reason: StaleReason) {
        for kind in reason.subject().concerns() {
            if let Some(latest) = self.0.get_mut(&(symbol, *kind)) {
                latest.good = false;
            }
        }
    }

    fn observe(&mut self, item: &Item) {
        let header = item.header();
        let number = match &item.payload {
            Payload::MarketStale(reason) => return self.stale(header.symbol, *reason),
            Payload::BookGap(_) => return,
            Payload::Book(book) => book.last_update_id,
            Payload::Trade(trade) => trade.price.mantissa() as u64,
            Payload::Ticker(ticker) => ticker.last.unwrap().mantissa() as u64,
            other => panic!("{other:?}"),
        };
        self.event(header.symbol, header.kind, number);
    }
}

struct Instance {
    queue: Arc<Queue>,
    reader: Reader,
    id: SubscriptionId,
    view: View,
}

/// A plane of one feed with little memory, its instances, and the neighbours that take the rest of the memory.
struct World {
    dispatcher: Arc<Dispatcher>,
    provider: ProviderId,
    feed: Feed,
    /// What the feed published.
    view: View,
    instances: [Option<Instance>; 3],
    neighbours: Vec<(Arc<Queue>, Reader)>,
    number: u64,
}

impl World {
    fn new(bytes: usize) -> Self {
        let dispatcher = Dispatcher::new(Pools::new(bytes));
        let provider = ProviderId::intern("feed-beliefs");
        let codec = Codec::compile(binance_spec()).unwrap();
        let feed = Feed::new(Publisher::new(&dispatcher, provider), Some(codec));
        let (view, neighbours) = (View::default(), Vec::new());
        Self { dispatcher, provider, feed, view, instances: Default::default(), neighbours, number: 0 }
    }

    fn queue(&self, policies: Policies, routes: Vec<Route>, capacity: usize) -> Option<Instance> {
        let keys: Vec<_> = routes.iter().map(|route| route.key).collect();
        let options = fixtures::options(policies, Size::of(capacity), &routes);
        let (queue, reader) = self.dispatcher.queue(options, &keys, Arc::default()).ok()?;
        let (id, _) = Dispatcher::subscribe(&self.dispatcher, &queue, routes);
        Some(Instance { queue, reader, id, view: View::default() })
    }

    fn start(&mut self, i: usize, policies: Policies, routes: &[(Kind, Option<usize>)]) {
        self.stop(i);
        let route = |(kind, of): &(Kind, Option<usize>)| Route {
            key: RouteKey { provider: self.provider, kind: *kind, symbol: of.map(symbol) },
            filters: Vec::new(),
            depth: 8,
        };
        self.instances[i] = self.queue(policies, routes.iter().map(route).collect(), 16);
    }

    fn stop(&mut self, i: usize) {
        if let Some(instance) = self.instances[i].take() {
            self.dispatcher.unsubscribe(instance.id);
            self.dispatcher.close(&instance.queue);
        }
    }

    /// Takes the rest of the memory.
    fn exhaust(&mut self) {
        let key = RouteKey { provider: self.provider, kind: Kind::KlineSummary, symbol: None };
        let mut capacity = 1 << 14;
        while capacity > 0 {
            let route = Route { key, filters: Vec::new(), depth: 0 };
            match self.queue(DEFAULT_POLICIES, vec![route], capacity) {
                Some(Instance { queue, reader, .. }) => self.neighbours.push((queue, reader)),
                None => capacity /= 2,
            }
        }
    }

    fn release(&mut self) {
        for (queue, _) in self.neighbours.drain(..) {
            self.dispatcher.close(&queue);
        }
    }

    fn event(&mut self, kind: Kind, of: usize) {
        self.number += 1;
        let (number, decimal) = (self.number, Decimal::from_i64(self.number as i64));
        let origin = origin(kind, symbol(of));
        match kind {
            Kind::BookSnapshot => {
                let asks = vec![PriceLevel { price: 2, quantity: 1 }];
                let book = Book { last_update_id: number, asks, ..Book::default() };
                self.feed.publish_book(origin, &book).unwrap();
            }
            Kind::Trade => {
                let trade = Trade {
                    id: Some(VenueId::Number(number)),
                    side: None,
                    price: decimal,
                    quantity: decimal,
                    late: false,
                };
                self.feed.publish(origin, Payload::Trade(trade)).unwrap();
            }
            _ => {
                let ticker = Ticker { last: Some(decimal), ..Ticker::default() };
                self.feed.publish(origin, Payload::Ticker(ticker)).unwrap();
            }
        }
        self.view.event(symbol(of), kind, number);
    }

    /// Publishes a book by a snapshot of the venue. The next diff follows it or shows a gap.
    fn assembled(&mut self, of: usize, gap: bool) {
        self.feed.books.remove(&symbol(of));
        self.number += 1_000;
        let number = self.number;
        let snapshot =
            format!(r#"{{"lastUpdateId":{number},"bids":[["1.0","1.0"]],"asks":[["2.0","1.0"]]}}"#);
        self.feed.frame_from(Source::Request(symbol(of)), 0, snapshot.as_bytes(), 0).unwrap();
        self.number += 1;
        let first = number + if gap { 50 } else { 1 };
        let diff = DIFF.replace("50093239203", &first.to_string()).replace("50093239207", &first.to_string());
        let diff = diff.replace("BTCUSDT", &format!("S{of}USDT"));
        self.feed.frame(diff.as_bytes(), 0).unwrap();
        if gap {
            self.view.event(symbol(of), Kind::BookSnapshot, number);
            self.view.stale(symbol(of), StaleReason::Gap);
        } else {
            self.view.event(symbol(of), Kind::BookSnapshot, number + 1);
        }
    }

    fn crossed(&mut self, of: usize) {
        let level = PriceLevel { price: 2, quantity: 1 };
        let book = Book { bids: vec![level], asks: vec![level], ..Book::default() };
        assert!(!self.feed.publish_book(origin(Kind::BookSnapshot, symbol(of)), &book).unwrap());
        self.view.stale(symbol(of), StaleReason::Crossed);
    }

    fn restart(&mut self) {
        self.feed.restart(0).unwrap();
        let symbols: BTreeSet<_> = self.view.0.keys().map(|(symbol, _)| *symbol).collect();
        for symbol in symbols {
            self.view.stale(symbol, StaleReason::Disconnected);
        }
    }

    fn retry(&mut self, i: usize) {
        if let Some(instance) = &self.instances[i] {
            self.dispatcher.retry_growth(&instance.queue);
        }
    }

    /// Reads everything that waits and compares what the reader believes with what the feed published.
    fn read(&mut self, i: usize) -> Result<(), TestCaseError> {
        crate::janitor::settle();
        let Some(Instance { reader, view, .. }) = &mut self.instances[i] else { return Ok(()) };
        while reader.has_work() {
            let mut items = Vec::new();
            reader.read(self.dispatcher.watermark(), 16, &mut items);
            for item in &items {
                view.observe(item);
            }
        }
        for (&(symbol, kind), latest) in view.0.iter().filter(|(_, latest)| latest.good) {
            let published = self.view.0[&(symbol, kind)];
            prop_assert!(published.good, "{} {kind:?}: no notice", symbol.name());
            // A full ring may have evicted the latest trade of a symbol.
            prop_assert!(kind == Kind::Trade || published == *latest, "{} {kind:?}: frozen", symbol.name());
        }
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum Step {
    Start(usize, Vec<(Kind, Option<usize>)>),
    Stop(usize),
    Event(Kind, usize),
    Events(Kind, usize, usize),
    Assembled(usize, bool),
    Crossed(usize),
    Restart,
    Exhaust,
    Release,
    Retry(usize),
    List(usize),
    Read(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kind = || select(&KINDS[..]);
    // A few symbols have most of the events.
    let of = || prop_oneof![0..4usize, 0..SYMBOLS];
    let route = || (kind(), proptest::option::weighted(0.3, of()));
    let step = prop_oneof![
        3 => (0..3usize, proptest::collection::vec(route(), 1..4)).prop_map(|(i, of)| Step::Start(i, of)),
        1 => (0..3usize).prop_map(Step::Stop),
        8 => (kind(), of()).prop_map(|(kind, of)| Step::Event(kind, of)),
        3 => (kind(), 0..SYMBOLS, 0..SYMBOLS).prop_map(|(kind, from, n)| Step::Events(kind, from, n)),
        3 => (of(), any::<bool>()).prop_map(|(of, gap)| Step::Assembled(of, gap)),
        2 => of().prop_map(Step::Crossed),
        3 => Just(Step::Restart),
        2 => Just(Step::Exhaust),
        1 => Just(Step::Release),
        1 => (0..3usize).prop_map(Step::Retry),
        1 => (0..SYMBOLS).prop_map(Step::List),
        4 => (0..3usize).prop_map(Step::Read),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn prop_a_market_that_is_believed_good_is_the_newest(kib in 200usize..2000, steps in steps()) {
        let mut world = World::new(kib << 10);
        for step in steps {
            match step {
                Step::Start(i, routes) => world.start(i, DEFAULT_POLICIES, &routes),
                Step::Stop(i) => world.stop(i),
                Step::Event(kind, of) => world.event(kind, of),
                Step::Events(kind, from, n) => (from..(from + n).min(SYMBOLS)).for_each(|of| world.event(kind, of)),
                Step::Assembled(of, gap) => world.assembled(of, gap),
                Step::Crossed(of) => world.crossed(of),
                Step::Restart => world.restart(),
                Step::Exhaust => world.exhaust(),
                Step::Release => world.release(),
                Step::Retry(i) => world.retry(i),
                Step::List(n) => world.dispatcher.list_symbols(world.provider, n),
                Step::Read(i) => world.read(i)?,
            }
            prop_assert_eq!(world.dispatcher.pools().events.exhausted(), 0);
        }
        (0..3).try_for_each(|i| world.read(i))?;
    }
}

/// Starts an instance with routes for every symbol and takes the rest of the memory.
fn full_world(policies: Policies, kinds: &[Kind]) -> World {
    let mut world = World::new(4 << 20);
    world.start(0, policies, &kinds.iter().map(|kind| (*kind, None)).collect::<Vec<_>>());
    for (kind, of) in kinds.iter().flat_map(|kind| (0..SYMBOLS).map(move |of| (*kind, of))) {
        world.event(kind, of);
        world.read(0).unwrap();
    }
    world.exhaust();
    world
}

fn good(world: &World) -> usize {
    world.instances[0].as_ref().unwrap().view.0.values().filter(|latest| latest.good).count()
}

#[test]
fn every_admitted_symbol_has_room_for_its_notices() {
    for kind in KINDS {
        let mut world = full_world(DEFAULT_POLICIES, &[kind]);
        assert_eq!(good(&world), SYMBOLS, "{kind:?}");
        world.restart();
        world.read(0).unwrap();
        assert_eq!(good(&world), 0, "{kind:?}");
        assert!(world.instances[0].as_ref().unwrap().queue.left_out().is_empty(), "{kind:?}");
    }
}

#[test]
fn a_lost_feed_is_reported_beside_a_later_notice_about_the_book() {
    let mut world = World::new(4 << 20);
    world.start(0, DEFAULT_POLICIES, &[(Kind::BookSnapshot, Some(0)), (Kind::Ticker, Some(0))]);
    world.event(Kind::Ticker, 0);
    world.restart();
    world.crossed(0);
    world.read(0).unwrap();
    assert_eq!(good(&world), 0, "the ticker is of the lost connection");
}

#[test]
fn a_notice_that_was_not_dispatched_is_published_before_the_next_event() {
    let mut world = World::new(4 << 20);
    let publisher = Publisher::new(&world.dispatcher, world.provider);
    world.feed = Feed::new(publisher.stopped_by(Arc::new(StopFlag::never_wait())), None);
    let routes = [(Kind::BookSnapshot, None), (Kind::Ticker, None)];
    world.start(0, [OverflowPolicy::Block; Kind::COUNT], &routes);
    (0..15).for_each(|of| world.event(Kind::Ticker, of));
    assert_eq!(world.feed.restart(0), Err(NotDispatched::QueueFull), "one of 15 notices has room");
    world.view.0.values_mut().for_each(|latest| latest.good = false);
    world.read(0).unwrap_err();
    world.event(Kind::Ticker, 20);
    world.read(0).unwrap();
    assert_eq!(good(&world), 1, "each symbol of the lost connection was reported");
}
