//! The routing table against the plain filter that it stands for.

use crate::bus::{OverflowPolicy, Queue, Reader, Waker};
use crate::decimal::Decimal;
use crate::dispatch::{Dispatcher, Origin, Publisher, Route, RouteKey, SubscriptionId};
use crate::event::{BookGap, Kind, Payload, Side, Ticker, Trade, VenueId};
use crate::filter::{Filter, Operand};
use crate::names::{ProviderId, SymbolId};
use crate::pool::{Claim, Pools};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is sent; the last is a notice, which nobody subscribes to: it comes with books.
const KINDS: [Kind; 4] = [Kind::Trade, Kind::Ticker, Kind::BookSnapshot, Kind::BookGap];
const PROVIDERS: [&str; 2] = ["table-a", "table-b"];
const SYMBOLS: [&str; 3] = ["TABLE-A", "TABLE-B", "TABLE-C"];

#[derive(Debug, Clone)]
struct Condition {
    field: &'static str,
    op: &'static str,
    operands: Vec<&'static str>,
}

/// One declared route, by indices.
#[derive(Debug, Clone)]
struct Want {
    provider: usize,
    kind: Kind,
    symbol: Option<usize>,
    depth: u32,
    conditions: Vec<Condition>,
}

/// One event, by indices; `number` is a trade's price and id, and a ticker's last price.
#[derive(Debug, Clone)]
struct Sent {
    provider: usize,
    kind: Kind,
    symbol: usize,
    side: Option<Side>,
    number: Option<u8>,
}

#[derive(Debug, Clone)]
enum Step {
    Subscribe(Vec<Want>),
    Unsubscribe(Index),
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

fn want() -> impl Strategy<Value = Want> {
    select(&KINDS[..3]).prop_flat_map(|kind| {
        let most = if kind == Kind::BookSnapshot { 0 } else { 2 };
        let conditions = proptest::collection::vec(condition(kind), 0..=most);
        let symbol = proptest::option::weighted(0.6, 0..SYMBOLS.len());
        (0..PROVIDERS.len(), symbol, 1u32..9, conditions).prop_map(
            move |(provider, symbol, depth, conditions)| Want { provider, kind, symbol, depth, conditions },
        )
    })
}

fn sent() -> impl Strategy<Value = Sent> {
    let side = proptest::option::of(select(vec![Side::Buy, Side::Sell]));
    (0..PROVIDERS.len(), select(&KINDS[..]), 0..SYMBOLS.len(), side, proptest::option::of(1u8..4))
        .prop_map(|(provider, kind, symbol, side, number)| Sent { provider, kind, symbol, side, number })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => proptest::collection::vec(want(), 0..5).prop_map(Step::Subscribe),
        1 => any::<Index>().prop_map(Step::Unsubscribe),
        9 => sent().prop_map(Step::Send),
    ];
    proptest::collection::vec(step, 1..120)
}

impl Want {
    fn key(&self) -> RouteKey {
        RouteKey {
            provider: ProviderId::intern(PROVIDERS[self.provider]).unwrap(),
            kind: self.kind,
            symbol: self.symbol.map(|i| SymbolId::intern(SYMBOLS[i]).unwrap()),
        }
    }

    fn route(&self) -> Route {
        let compile = |condition: &Condition| {
            let operands = condition.operands.iter().map(|text| Operand::Text((*text).into())).collect();
            Filter::compile(self.kind, condition.field, condition.op, operands).unwrap()
        };
        Route { key: self.key(), filters: self.conditions.iter().map(compile).collect(), depth: self.depth }
    }

    /// Whether the route is about the event, its conditions aside.
    fn covers(&self, sent: &Sent) -> bool {
        let kind = if sent.kind == Kind::BookGap { Kind::BookSnapshot } else { sent.kind };
        (self.provider, self.kind) == (sent.provider, kind) && self.symbol.is_none_or(|s| s == sent.symbol)
    }

    fn meets(&self, sent: &Sent) -> bool {
        self.conditions.iter().all(|condition| condition.meets(sent))
    }
}

impl Condition {
    /// What the condition says, without the decimals and the field table of the code under test.
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

/// Returns the route that speaks for a subscriber: an exact one goes before one for every symbol, and the one
/// declared last before its equals.
fn best<'w>(wants: &'w [Want], sent: &Sent) -> Option<&'w Want> {
    let covering = || wants.iter().filter(|want| want.covers(sent));
    covering().rfind(|want| want.symbol.is_some()).or_else(|| covering().next_back())
}

fn payload(sent: &Sent, publisher: &Publisher, wanted: crate::dispatch::Wanted) -> Payload {
    let number = |n: u8| Decimal::new(i128::from(n) * 10, 1).unwrap();
    match sent.kind {
        Kind::Trade => {
            let n = sent.number.unwrap_or(7);
            let (price, quantity) = (number(n), number(n));
            Payload::Trade(Trade { id: VenueId::Number(n.into()), side: sent.side, price, quantity })
        }
        Kind::Ticker => Payload::Ticker(Ticker { last: sent.number.map(number), ..Ticker::default() }),
        Kind::BookSnapshot => Payload::Book(publisher.borrow_book(wanted).unwrap().into_shared()),
        _ => Payload::BookGap(BookGap { expected: 1, seen: 2 }),
    }
}

struct Subscriber {
    id: SubscriptionId,
    wants: Vec<Want>,
    reader: Reader,
}

fn keys(subscribers: &[Subscriber]) -> BTreeSet<RouteKey> {
    subscribers.iter().flat_map(|s| &s.wants).map(Want::key).collect()
}

proptest! {
    #[test]
    fn prop_the_table_is_a_filter(steps in steps()) {
        let pools = Pools::new(1 << 24);
        Pools::reserve(&pools, Claim { events: 256, books: 64, depth: 1 }).unwrap();
        let dispatcher = Dispatcher::new(Arc::clone(&pools));
        let providers = PROVIDERS.map(|name| ProviderId::intern(name).unwrap());
        let mut publishers = providers.map(|provider| Publisher::new(&dispatcher, provider));
        let mut subscribers: Vec<Subscriber> = Vec::new();
        let (mut version, mut last, mut counted) = (0, 0, BTreeMap::new());
        for step in steps {
            let before = keys(&subscribers);
            let change = match step {
                Step::Subscribe(wants) => {
                    let (queue, reader) =
                        Queue::new([OverflowPolicy::DropOldest; Kind::COUNT], 4, 4, Arc::new(Waker::default()));
                    let routes = wants.iter().map(Want::route).collect();
                    let (id, change) = dispatcher.subscribe(&queue, routes);
                    subscribers.push(Subscriber { id, wants, reader });
                    change
                }
                Step::Unsubscribe(_) if subscribers.is_empty() => continue,
                Step::Unsubscribe(which) => {
                    let gone = subscribers.remove(which.index(subscribers.len()));
                    dispatcher.unsubscribe(gone.id)
                }
                Step::Send(sent) => {
                    let symbol = SymbolId::intern(SYMBOLS[sent.symbol]).unwrap();
                    let publisher = &mut publishers[sent.provider];
                    let found: Vec<_> = subscribers.iter().map(|s| best(&s.wants, &sent)).collect();
                    let wanted = publisher.wanted(sent.kind, symbol);
                    prop_assert_eq!(wanted.is_some(), found.iter().any(Option::is_some));
                    let matched: Vec<bool> = found.iter().map(|want| {
                        // A notice comes with its book, whatever the book's conditions.
                        want.is_some_and(|want| sent.kind == Kind::BookGap || want.meets(&sent))
                    }).collect();
                    if let Some(wanted) = wanted {
                        let depth = if sent.kind == Kind::BookGap { 0 } else {
                            found.iter().flatten().map(|want| want.depth).max().unwrap_or(0)
                        };
                        prop_assert_eq!(wanted.depth, depth, "as deep as the deepest route");
                        let payload = payload(&sent, publisher, wanted);
                        let origin = Origin { kind: sent.kind, symbol, venue_time: None, received_time: 0 };
                        let seq = publisher.publish(wanted, origin, payload).unwrap();
                        prop_assert_eq!(seq, matched.contains(&true).then_some(last + 1));
                        last = seq.unwrap_or(last);
                    }
                    if matched.contains(&true) {
                        *counted.entry((sent.provider, sent.kind, sent.symbol)).or_insert(0u64) += 1;
                    }
                    for (subscriber, matched) in subscribers.iter_mut().zip(matched) {
                        let mut items = Vec::new();
                        subscriber.reader.read(dispatcher.watermark(), 4, &mut items);
                        prop_assert_eq!(items.len(), usize::from(matched), "{:?}: {:?}", sent, subscriber.wants);
                        for item in items {
                            let header = item.header();
                            prop_assert_eq!((header.seq, header.routing_version), (last, version));
                            prop_assert_eq!((header.provider, header.kind, header.symbol), (providers[sent.provider], sent.kind, symbol));
                            prop_assert_eq!(header.provider_seq, counted[&(sent.provider, sent.kind, sent.symbol)]);
                        }
                    }
                    continue;
                }
            };
            version += 1;
            prop_assert_eq!((change.version, dispatcher.version()), (version, version));
            let after = keys(&subscribers);
            prop_assert!(change.subscribe.iter().eq(after.difference(&before)), "what nobody wanted before");
            prop_assert!(change.unsubscribe.iter().eq(before.difference(&after)), "what nobody wants any more");
        }
        drop((subscribers, publishers, dispatcher));
        prop_assert_eq!(pools.events.free(), pools.events.capacity(), "every slot comes back");
        prop_assert_eq!(pools.books.free(), pools.books.capacity(), "every slot comes back");
    }
}
