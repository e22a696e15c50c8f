//! The routing table against a plain filter.

mod parts;

use crate::bus::fixtures::{self, Size};
use crate::bus::{OverflowPolicy, Reader};
use crate::decimal::Decimal;
use crate::dispatch::{Change, Dispatcher, Origin, Publisher, Route, RouteKey, SubscriptionId};
use crate::event::{BookGap, Kind, Payload, Side, Ticker, Trade, VenueId};
use crate::filter::{Filter, Operand};
use crate::names::{ProviderId, SymbolId};
use crate::pool::{DepthClass, Pools};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The kinds of the events. The last one is a notice, which is routed with books.
const KINDS: [Kind; 4] = [Kind::Trade, Kind::Ticker, Kind::BookSnapshot, Kind::BookGap];
const PROVIDERS: [&str; 2] = ["table-a", "table-b"];
const SYMBOLS: [&str; 3] = ["TABLE-A", "TABLE-B", "TABLE-C"];

#[derive(Debug, Clone)]
struct Condition {
    field: &'static str,
    op: &'static str,
    operands: Vec<&'static str>,
}

/// A declared route. Provider and symbol are indices.
#[derive(Debug, Clone)]
struct Declared {
    provider: usize,
    kind: Kind,
    symbol: Option<usize>,
    depth: u32,
    conditions: Vec<Condition>,
}

/// An event. Provider and symbol are indices; `number` is the price and id of a trade, or the last price of a ticker.
#[derive(Debug, Clone)]
struct Sent {
    provider: usize,
    /// Which of the provider's publishers.
    publisher: usize,
    kind: Kind,
    symbol: usize,
    side: Option<Side>,
    number: Option<u8>,
}

#[derive(Debug, Clone)]
enum Step {
    Subscribe(Vec<Declared>),
    Unsubscribe(Index),
    List(usize, usize),
    Send(Sent),
}

fn condition(kind: Kind) -> BoxedStrategy<Condition> {
    let numbers = || select(vec!["1", "2.0", "3.00", "0.2e1", "7"]);
    let of = |fields: Vec<&'static str>, texts: BoxedStrategy<&'static str>, ops: Vec<&'static str>| {
        let operands = proptest::collection::vec(texts, 1..3);
        (select(fields), select(ops), operands).prop_map(|(field, op, mut operands)| {
            operands.truncate(if op == "in" { 2 } else { 1 });
            Condition { field, op, operands }
        })
    };
    let equal = || vec!["eq", "neq", "in"];
    let prefix = || vec!["prefix"];
    match kind {
        Kind::Trade => prop_oneof![
            of(vec!["price", "quantity"], numbers().boxed(), equal()),
            of(vec!["side"], select(vec!["Buy", "Sell"]).boxed(), equal()),
            of(vec!["side"], select(vec!["Buy", "B", "S", ""]).boxed(), prefix()),
            of(vec!["trade_id"], select(vec!["1", "2", "2.0", ""]).boxed(), equal()),
            of(vec!["trade_id"], select(vec!["1", "2.", ""]).boxed(), prefix()),
        ]
        .boxed(),
        _ => of(vec!["last", "bid"], numbers().boxed(), equal()).boxed(),
    }
}

fn declared() -> impl Strategy<Value = Declared> {
    select(&KINDS[..3]).prop_flat_map(|kind| {
        let most = if kind == Kind::BookSnapshot { 0 } else { 2 };
        let conditions = proptest::collection::vec(condition(kind), 0..=most);
        let symbol = proptest::option::weighted(0.6, 0..SYMBOLS.len());
        (0..PROVIDERS.len(), symbol, 1u32..9, conditions).prop_map(
            move |(provider, symbol, depth, conditions)| Declared {
                provider,
                kind,
                symbol,
                depth,
                conditions,
            },
        )
    })
}

fn sent() -> impl Strategy<Value = Sent> {
    let side = proptest::option::of(select(vec![Side::Buy, Side::Sell]));
    let (of, kind) = ((0..PROVIDERS.len(), 0..2usize), select(&KINDS[..]));
    (of, kind, 0..SYMBOLS.len(), side, proptest::option::of(1u8..4)).prop_map(
        |((provider, publisher), kind, symbol, side, number)| Sent {
            provider,
            publisher,
            kind,
            symbol,
            side,
            number,
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => proptest::collection::vec(declared(), 0..5).prop_map(Step::Subscribe),
        1 => any::<Index>().prop_map(Step::Unsubscribe),
        1 => (0..PROVIDERS.len(), SYMBOLS.len()..200).prop_map(|(provider, symbols)| Step::List(provider, symbols)),
        9 => sent().prop_map(Step::Send),
    ];
    proptest::collection::vec(step, 1..120)
}

impl Declared {
    fn key(&self) -> RouteKey {
        RouteKey {
            provider: ProviderId::intern(PROVIDERS[self.provider]),
            kind: self.kind,
            symbol: self.symbol.map(|i| SymbolId::intern(SYMBOLS[i])),
        }
    }

    fn route(&self) -> Route {
        let compile = |condition: &Condition| {
            let operands = condition.operands.iter().map(|text| Operand::Text((*text).into())).collect();
            Filter::compile(self.kind, condition.field, condition.op, operands).unwrap()
        };
        Route { key: self.key(), filters: self.conditions.iter().map(compile).collect(), depth: self.depth }
    }

    /// Returns whether the route covers the event, without its conditions.
    fn covers(&self, sent: &Sent) -> bool {
        let kind = if sent.kind == Kind::BookGap { Kind::BookSnapshot } else { sent.kind };
        (self.provider, self.kind) == (sent.provider, kind) && self.symbol.is_none_or(|s| s == sent.symbol)
    }

    fn meets(&self, sent: &Sent) -> bool {
        self.conditions.iter().all(|condition| condition.meets(sent))
    }
}

impl Condition {
    /// Evaluates the condition without the decimals and the field table of the code under test.
    fn meets(&self, sent: &Sent) -> bool {
        let text = match self.field {
            "side" => sent.side.map(|side| if side == Side::Buy { "Buy" } else { "Sell" }.to_owned()),
            "bid" => None,
            "last" => sent.number.map(|n| n.to_string()),
            _ => Some(sent.number.unwrap_or(7).to_string()),
        };
        let Some(text) = text else { return false };
        let is_text = matches!(self.field, "side" | "trade_id");
        let equal = |operand: &&&str| {
            if is_text { **operand == text } else { operand.parse() == Ok(text.parse::<f64>().unwrap()) }
        };
        match self.op {
            "neq" => !self.operands.iter().any(|operand| equal(&operand)),
            "prefix" => text.starts_with(self.operands[0]),
            _ => self.operands.iter().any(|operand| equal(&operand)),
        }
    }
}

/// Returns the route of a subscriber that applies to an event: an exact one before one for every symbol, and the last
/// one of equals.
fn best<'r>(routes: &'r [Declared], sent: &Sent) -> Option<&'r Declared> {
    let covering = || routes.iter().filter(|route| route.covers(sent));
    covering().rfind(|route| route.symbol.is_some()).or_else(|| covering().next_back())
}

fn payload(sent: &Sent) -> Payload {
    let number = |n: u8| Decimal::new(i128::from(n) * 10, 1).unwrap();
    match sent.kind {
        Kind::Trade => {
            let n = sent.number.unwrap_or(7);
            let (price, quantity) = (number(n), number(n));
            Payload::Trade(Trade {
                id: Some(VenueId::Number(n.into())),
                side: sent.side,
                price,
                quantity,
                late: false,
            })
        }
        Kind::Ticker => Payload::Ticker(Ticker { last: sent.number.map(number), ..Ticker::default() }),
        _ => Payload::BookGap(BookGap { expected: 1, received: 2 }),
    }
}

struct Subscriber {
    id: SubscriptionId,
    routes: Vec<Declared>,
    reader: Reader,
}

fn keys(subscribers: &[Subscriber]) -> BTreeSet<RouteKey> {
    subscribers.iter().flat_map(|subscriber| &subscriber.routes).map(Declared::key).collect()
}

/// A dispatcher beside the list of its subscribers.
struct Plane {
    dispatcher: Arc<Dispatcher>,
    publishers: [[Publisher; 2]; PROVIDERS.len()],
    subscribers: Vec<Subscriber>,
    version: u32,
    /// The last global sequence number.
    last: u64,
    /// The last provider sequence of each provider, kind and symbol.
    counts: BTreeMap<(usize, Kind, usize), u64>,
}

impl Plane {
    fn new(pools: &Arc<Pools>) -> Self {
        let dispatcher = Dispatcher::new(Arc::clone(pools));
        let publisher = |name| Publisher::new(&dispatcher, ProviderId::intern(name));
        let publishers = PROVIDERS.map(|name| [publisher(name), publisher(name)]);
        let subscribers = Vec::new();
        Self { dispatcher, publishers, subscribers, version: 0, last: 0, counts: BTreeMap::new() }
    }

    fn subscribe(&mut self, routes: Vec<Declared>) -> Change {
        let declared: Vec<_> = routes.iter().map(Declared::route).collect();
        let keys: Vec<_> = declared.iter().map(|route| route.key).collect();
        let options = fixtures::options([OverflowPolicy::DropOldest; Kind::COUNT], Size::of(4), &declared);
        let (queue, reader) = self.dispatcher.queue(options, &keys, Arc::default()).unwrap();
        let (id, change) = Dispatcher::subscribe(&self.dispatcher, &queue, declared);
        self.subscribers.push(Subscriber { id, routes, reader });
        change
    }

    fn unsubscribe(&mut self, which: Index) -> Change {
        let subscriber = self.subscribers.remove(which.index(self.subscribers.len()));
        self.dispatcher.unsubscribe(subscriber.id)
    }

    /// Changes the subscriptions and compares the difference with that of the subscribers' routes.
    fn change(&mut self, change: impl FnOnce(&mut Self) -> Change) -> Result<(), TestCaseError> {
        let before = keys(&self.subscribers);
        let change = change(self);
        let after = keys(&self.subscribers);
        self.version += 1;
        prop_assert_eq!((change.version, self.dispatcher.version()), (self.version, self.version));
        prop_assert!(change.subscribe.iter().eq(after.difference(&before)), "routes that are new");
        prop_assert!(change.unsubscribe.iter().eq(before.difference(&after)), "routes without subscribers");
        Ok(())
    }

    fn list(&mut self, provider: usize, symbols: usize) {
        self.dispatcher.list_symbols(ProviderId::intern(PROVIDERS[provider]), symbols);
        self.version += 1;
    }

    /// Publishes an event and compares what each subscriber reads with its routes.
    fn send(&mut self, sent: &Sent) -> Result<(), TestCaseError> {
        let symbol = SymbolId::intern(SYMBOLS[sent.symbol]);
        let publisher = &mut self.publishers[sent.provider][sent.publisher];
        let routes: Vec<_> = self.subscribers.iter().map(|s| best(&s.routes, sent)).collect();
        // A notice is routed with its book, whatever the conditions of the book.
        let is_notice = sent.kind == Kind::BookGap;
        let matches = |route: &Declared| is_notice || route.meets(sent);
        let matched: Vec<bool> = routes.iter().map(|route| route.is_some_and(matches)).collect();
        let origin = Origin { kind: sent.kind, symbol, venue_time: None, received_time: 0 };
        if is_notice {
            let seq = publisher.publish_notice(origin, payload(sent)).unwrap();
            prop_assert_eq!(seq, matched.contains(&true).then_some(self.last + 1));
            self.last = seq.unwrap_or(self.last);
        } else if let Some(wanted) = publisher.wanted(sent.kind, symbol) {
            prop_assert!(routes.iter().any(Option::is_some));
            let deepest = routes.iter().flatten().map(|route| route.depth).max().unwrap_or(0);
            let depth = if sent.kind == Kind::BookSnapshot { deepest } else { 0 };
            prop_assert_eq!(wanted.depth, depth, "as deep as the deepest route");
            let seq = if sent.kind == Kind::BookSnapshot {
                publisher.publish_book(wanted, origin, |_, asked| assert_eq!(asked, depth)).unwrap()
            } else {
                publisher.publish(wanted, origin, payload(sent)).unwrap()
            };
            prop_assert_eq!(seq, matched.contains(&true).then_some(self.last + 1));
            self.last = seq.unwrap_or(self.last);
        } else {
            prop_assert!(routes.iter().all(Option::is_none));
        }
        let (provider, key) = (publisher.provider(), (sent.provider, sent.kind, sent.symbol));
        if matched.contains(&true) {
            *self.counts.entry(key).or_insert(0) += 1;
        }
        for (subscriber, matched) in self.subscribers.iter_mut().zip(matched) {
            let mut items = Vec::new();
            subscriber.reader.read(self.dispatcher.watermark(), 4, &mut items);
            prop_assert_eq!(items.len(), usize::from(matched), "{:?}: {:?}", sent, subscriber.routes);
            for item in items {
                let header = item.header();
                prop_assert_eq!((header.seq, header.routing_version), (self.last, self.version));
                prop_assert_eq!((header.provider, header.kind, header.symbol), (provider, sent.kind, symbol));
                prop_assert_eq!(header.provider_seq, self.counts[&key]);
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn prop_the_table_is_a_filter(steps in steps()) {
        let pools = Pools::new(1 << 28);
        let mut plane = Plane::new(&pools);
        for step in steps {
            match step {
                Step::Subscribe(routes) => plane.change(|plane| plane.subscribe(routes))?,
                Step::Unsubscribe(_) if plane.subscribers.is_empty() => {}
                Step::Unsubscribe(which) => plane.change(|plane| plane.unsubscribe(which))?,
                Step::List(provider, symbols) => plane.list(provider, symbols),
                Step::Send(sent) => plane.send(&sent)?,
            }
        }
        drop(plane);
        crate::janitor::settle();
        prop_assert_eq!(pools.events.free(), pools.events.capacity(), "every slot is returned");
        for books in DepthClass::ALL.map(|class| pools.books(class)) {
            prop_assert_eq!(books.free(), books.capacity(), "every slot is returned");
        }
    }
}
